"""Algebra of small blocks in a warp, in Triton: a row of a block in each lane, its columns in registers.

A block ``X (n, n)`` is a tuple of n vectors: ``X[j]`` holds column j, row i in lane i: n registers in float32. An entry
that all rows need comes by one shuffle, ``tl.gather`` at the lane that has it; all else is multiply-adds. Lanes come in
groups of ``ROWS``, the power of two from n on, one group for each sequence; ``first`` is the first lane of a lane's
group, ``row`` its place in there.

Blocks are read and written as tiles, so that neighbouring lanes touch neighbouring memory, and cut into columns by
splitting the tile in halves of even and odd columns, again and again.

Only builtin functions of ``triton.language`` are used: those are interpreted, too, where Triton itself was imported
before anybody asked for its interpreter.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def load_block(pointer, row, valid, N: tl.constexpr, ROWS: tl.constexpr, TRANSPOSED: tl.constexpr):
    """Read the block at ``pointer`` (one address for each lane), or its transpose; zero where not ``valid``."""
    column = tl.arange(0, ROWS)
    if TRANSPOSED:
        offsets = row[:, None] + column[None, :] * N
    else:
        offsets = row[:, None] * N + column[None, :]
    return tl.load(pointer[:, None] + offsets, mask=valid[:, None] & (column < N)[None, :], other=0.0)


@triton.jit
def columns_of(tile, N: tl.constexpr, ROWS: tl.constexpr):
    """Cut a tile (lanes, ROWS) into its first N columns."""
    LANES: tl.constexpr = tile.shape[0]
    parts = (tile,)
    for _ in tl.static_range(5):
        if len(parts) < ROWS:  # parts[i] holds the columns i, i + len(parts), i + 2 len(parts), …
            even = ()
            odd = ()
            for i in tl.static_range(len(parts)):
                first, second = tl.split(tl.reshape(parts[i], [LANES, ROWS // (2 * len(parts)), 2]))
                even += (first,)
                odd += (second,)
            parts = even + odd
    columns = ()
    for j in tl.static_range(N):
        columns += (tl.reshape(parts[j], [LANES]),)
    return columns


@triton.jit
def tile_of(columns, N: tl.constexpr, ROWS: tl.constexpr):
    """Put columns together, the reverse of ``columns_of``; columns from N on are rubbish."""
    LANES: tl.constexpr = columns[0].shape[0]
    parts = ()
    for j in tl.static_range(ROWS):
        if j < N:
            parts += (tl.reshape(columns[j], [LANES, 1]),)
        else:
            parts += (tl.reshape(columns[0], [LANES, 1]),)
    for _ in tl.static_range(5):
        if len(parts) > 1:
            merged = ()
            for i in tl.static_range(len(parts) // 2):
                pair = tl.join(parts[i], parts[i + len(parts) // 2])
                merged += (tl.reshape(pair, [LANES, 2 * ROWS // len(parts)]),)
            parts = merged
    return parts[0]


@triton.jit
def store_block(pointer, columns, row, valid, N: tl.constexpr, ROWS: tl.constexpr):
    """Write the block to ``pointer`` (one address for each lane) where ``valid``."""
    column = tl.arange(0, ROWS)
    tile = tile_of(columns, N, ROWS)
    mask = valid[:, None] & (column < N)[None, :]
    tl.store(pointer[:, None] + row[:, None] * N + column[None, :], tile, mask=mask)


@triton.jit
def transpose(columns, N: tl.constexpr, ROWS: tl.constexpr):
    """Return ``Xᵀ``: the one function here that goes through shared memory."""
    LANES: tl.constexpr = columns[0].shape[0]
    tile = tl.reshape(tile_of(columns, N, ROWS), [LANES // ROWS, ROWS, ROWS])
    return columns_of(tl.reshape(tl.permute(tile, (0, 2, 1)), [LANES, ROWS]), N, ROWS)


@triton.jit
def zero_block(like, N: tl.constexpr):
    """Return zeros."""
    zeros = ()
    for _ in tl.static_range(N):
        zeros += (tl.full(like.shape, 0.0, like.dtype),)
    return zeros


@triton.jit
def combine(X, Y, x: tl.constexpr, y: tl.constexpr, N: tl.constexpr):
    """Return ``x X + y Y`` for numbers x and y."""
    result = ()
    for j in tl.static_range(N):
        result += (X[j] * x + Y[j] * y,)
    return result


@triton.jit
def lower_triangle(X, row, N: tl.constexpr):
    """Return the lower triangle of ``X``."""
    result = ()
    for j in tl.static_range(N):
        result += (tl.where(row >= j, X[j], 0.0),)
    return result


@triton.jit
def upper_triangle(X, row, N: tl.constexpr):
    """Return the upper triangle of ``X``."""
    result = ()
    for j in tl.static_range(N):
        result += (tl.where(row <= j, X[j], 0.0),)
    return result


@triton.jit
def halved_sum_with_transpose(X, N: tl.constexpr, ROWS: tl.constexpr):
    """Return ``½ (X + Xᵀ)``, symmetric to the last bit."""
    return combine(X, transpose(X, N, ROWS), 0.5, 0.5, N)


@triton.jit
def product(A, X, first, N: tl.constexpr):
    """Return ``A X``."""
    result = ()
    for j in tl.static_range(N):
        total = A[0] * tl.gather(X[j], first, 0)
        for k in tl.static_range(1, N):
            total += A[k] * tl.gather(X[j], first + k, 0)
        result += (total,)
    return result


@triton.jit
def product_with_transpose(A, X, first, N: tl.constexpr):
    """Return ``A Xᵀ``."""
    result = ()
    for j in tl.static_range(N):
        total = A[0] * tl.gather(X[0], first + j, 0)
        for k in tl.static_range(1, N):
            total += A[k] * tl.gather(X[k], first + j, 0)
        result += (total,)
    return result


@triton.jit
def product_with_lower(A, L, first, N: tl.constexpr):
    """Return ``A L`` for a lower triangular ``L``."""
    result = ()
    for j in tl.static_range(N):
        total = A[j] * tl.gather(L[j], first + j, 0)
        for k in tl.static_range(j + 1, N):
            total += A[k] * tl.gather(L[j], first + k, 0)
        result += (total,)
    return result


@triton.jit
def reciprocal_diagonal(L, row, valid, N: tl.constexpr):
    """Return the vector ``1 / L[i, i]``, with ones where not ``valid``."""
    diagonal = tl.full(row.shape, 1.0, L[0].dtype)
    for j in tl.static_range(N):
        diagonal = tl.where(row == j, L[j], diagonal)
    return 1.0 / tl.where(valid, diagonal, 1.0)


@triton.jit
def solve_from_right(X, L, reciprocal, first, N: tl.constexpr):
    """Return ``X L⁻¹``: its columns from the last to the first."""
    result = ()  # columns from j + 1 on
    for j in tl.static_range(N - 1, -1, -1):
        total = X[j]
        for k in tl.static_range(j + 1, N):
            total -= result[k - j - 1] * tl.gather(L[j], first + k, 0)
        result = (total * tl.gather(reciprocal, first + j, 0),) + result
    return result


@triton.jit
def solve_transpose_from_right(X, L, reciprocal, first, N: tl.constexpr):
    """Return ``X L⁻ᵀ``: its columns from the first to the last."""
    result = ()
    for j in tl.static_range(N):
        total = X[j]
        for k in tl.static_range(j):
            total -= result[k] * tl.gather(L[k], first + j, 0)
        result += (total * tl.gather(reciprocal, first + j, 0),)
    return result


@triton.jit
def unit_columns(T, reciprocal, row, first, N: tl.constexpr, LOWER: tl.constexpr):
    """Return the columns of a triangle ``T``, divided by their diagonal entries, without these.

    ``T x = b`` is ``(T D⁻¹) (D x) = b`` with D the diagonal of T: of the unit triangle ``T D⁻¹`` this is the rest.
    """
    result = ()
    for k in tl.static_range(N):
        scaled = T[k] * tl.gather(reciprocal, first + k, 0)
        if LOWER:
            result += (tl.where(row > k, scaled, 0.0),)
        else:
            result += (tl.where(row < k, scaled, 0.0),)
    return result


@triton.jit
def solve_unit(x, unit, first, N: tl.constexpr, LOWER: tl.constexpr):
    """Solve with the unit triangle of ``unit_columns`` for one vector."""
    for step in tl.static_range(N):
        if LOWER:
            x -= unit[step] * tl.gather(x, first + step, 0)
        else:
            x -= unit[N - 1 - step] * tl.gather(x, first + (N - 1 - step), 0)
    return x


@triton.jit
def solve_from_left(X, unit, reciprocal, first, N: tl.constexpr, LOWER: tl.constexpr):
    """Return ``T⁻¹ X`` for the triangle that ``unit`` and ``reciprocal`` stand for."""
    result = ()
    for j in tl.static_range(N):
        x = X[j]
        for step in tl.static_range(N):
            if LOWER:
                x -= unit[step] * tl.gather(x, first + step, 0)
            else:
                x -= unit[N - 1 - step] * tl.gather(x, first + (N - 1 - step), 0)
        result += (x * reciprocal,)
    return result


@triton.jit
def reciprocal_root(pivot):
    """Return ``1 / √pivot``: the fast approximation of float32 takes one step of Newton's method."""
    root = tl.rsqrt(pivot)
    if pivot.dtype == tl.float32:
        root += root * (0.5 - (0.5 * pivot * root) * root)
    return root
