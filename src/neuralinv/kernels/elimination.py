"""Elimination of matrices up to 32×32, a few to a warp, spread over its threads: inverses, solutions, determinants.

No row is ever moved. ``place[i]`` is where LAPACK would have row i by now: rows with ``place < k`` have been pivots,
the pivot of step k is the first, by place, of largest modulus among the others, and in the end ``place`` says where
each row belongs. What the rows that are left see is LU with partial pivoting, with products rounded before they are
subtracted: launch with ``enable_fp_fusion=False``.

A tile is loaded in six dimensions, which say what lies where: ``(DOWN, MATRICES, 1, rows / DOWN, columns / (ACROSS
VECTOR), ACROSS VECTOR)``. Triton spreads the threads over the last dimension, VECTOR entries to each, then over the
first ones: a matrix lies in a grid of DOWN × ACROSS threads, and sums along rows and columns cross few of them.
"""

from __future__ import annotations

import triton
import triton.language as tl

from neuralinv.kernels.error_bounds import bound_corrected, bound_residual
from neuralinv.kernels.numbers import range_scale, reciprocal


@triton.jit
def tile_indices(
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    MATRICES: tl.constexpr,
    DOWN: tl.constexpr,
    ACROSS: tl.constexpr,
    VECTOR: tl.constexpr,
):
    """Return matrix, row and column of the entries of a tile as it is loaded."""
    WIDE: tl.constexpr = ACROSS * VECTOR
    matrix = tl.arange(0, MATRICES)[None, :, None, None, None, None]
    row = (
        tl.arange(0, DOWN)[:, None, None, None, None, None]
        + tl.arange(0, ROWS // DOWN)[None, None, None, :, None, None] * DOWN
    )
    column = (
        tl.arange(0, COLUMNS // WIDE)[None, None, None, None, :, None] * WIDE
        + tl.arange(0, WIDE)[None, None, None, None, None, :]
    )
    return matrix, row, column


@triton.jit
def to_matrices(tile):
    """Turn a loaded tile into ``(MATRICES, rows, columns)``."""
    MATRICES: tl.constexpr = tile.shape[1]
    ROWS: tl.constexpr = tile.shape[0] * tile.shape[3]
    COLUMNS: tl.constexpr = tile.shape[4] * tile.shape[5]
    return tl.reshape(tl.trans(tile, 2, 1, 3, 0, 4, 5), (MATRICES, ROWS, COLUMNS))


@triton.jit
def from_matrices(T, DOWN: tl.constexpr, WIDE: tl.constexpr):
    """Undo :func:`to_matrices`."""
    tile = tl.reshape(T, (1, T.shape[0], T.shape[1] // DOWN, DOWN, T.shape[2] // WIDE, WIDE))
    return tl.trans(tile, 3, 1, 0, 2, 4, 5)


@triton.jit
def load_matrices(
    pointer,
    left,  # matrices
    rows: tl.constexpr,
    columns,
    stride,  # from matrix to matrix
    pitch,  # from row to row
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    MATRICES: tl.constexpr,
    DOWN: tl.constexpr,
    ACROSS: tl.constexpr,
    VECTOR: tl.constexpr,
):
    """Load ``(MATRICES, ROWS, COLUMNS)``, zero outside."""
    matrix, row, column = tile_indices(ROWS, COLUMNS, MATRICES, DOWN, ACROSS, VECTOR)
    inside = (matrix < left) & (row < rows) & (column < columns)
    return to_matrices(tl.load(pointer + matrix * stride + row * pitch + column, mask=inside, other=0.0))


@triton.jit
def store_matrices(
    pointer,
    T,
    place,  # (MATRICES, ROWS): where each row goes
    left,
    rows: tl.constexpr,
    columns,
    stride,
    pitch,
    DOWN: tl.constexpr,
    ACROSS: tl.constexpr,
    VECTOR: tl.constexpr,
):
    """Store ``(MATRICES, ROWS, COLUMNS)``, rows at their places."""
    WIDE: tl.constexpr = ACROSS * VECTOR
    matrix, row, column = tile_indices(T.shape[1], T.shape[2], T.shape[0], DOWN, ACROSS, VECTOR)
    inside = (matrix < left) & (row < rows) & (column < columns)
    # Spread over the columns last: the compiler sees then that a row stays together, and stores it so.
    target = tl.trans(tl.reshape(place, (1, T.shape[0], T.shape[1] // DOWN, DOWN)), 3, 1, 0, 2)[:, :, :, :, None, None]
    tl.store(pointer + matrix * stride + target * pitch + column, from_matrices(T, DOWN, WIDE), mask=inside)


@triton.jit
def first_places(T):
    """Return places before the first step, ``(MATRICES, ROWS)``."""
    return tl.arange(0, T.shape[1])[None, :] + tl.zeros((T.shape[0], T.shape[1]), tl.int32)


@triton.jit
def choose_pivot(T, place, k):
    """Return column k, its pivots ``(MATRICES,)``, which rows they are in, and which place those have had."""
    N: tl.constexpr = T.shape[1]
    column = tl.sum(tl.where(tl.arange(0, T.shape[2])[None, None, :] == k, T, 0.0), axis=2)
    size = tl.abs(column)
    # LAPACK takes NaN where it stands first, and nowhere else.
    size = tl.where(size == size, size, tl.where(place == k, float("inf"), -1.0))
    size = tl.where(place < k, -1.0, size)
    largest = tl.max(size, axis=1)
    old = tl.min(tl.where(size == largest[:, None], place, N), axis=1)
    is_pivot = place == old[:, None]
    pivot = tl.sum(tl.where(is_pivot, column, 0.0), axis=1)
    return column, pivot, is_pivot, old


@triton.jit
def exchange_places(place, is_pivot, old, k):
    """Give the pivot's row place k, and the row that had it the pivot's old one."""
    return tl.where(is_pivot, k, tl.where(place == k, old[:, None], place))


@triton.jit
def pivot_row(T, is_pivot):
    """Return the row of each matrix that the pivot is in, ``(MATRICES, COLUMNS)``."""
    return tl.sum(tl.where(is_pivot[:, :, None], T, 0.0), axis=1)


@triton.jit
def invert_tile(T, n: tl.constexpr):
    """Invert by Gauss–Jordan elimination in place. Row i of what comes back belongs in row ``place[i]``.

    Returns
    -------
    The inverses, NaN where there is none; ``place``; LAPACK's info.
    """
    index = tl.arange(0, T.shape[2])
    place = first_places(T)
    info = tl.zeros((T.shape[0],), tl.int32)
    for k in range(n):
        column, pivot, is_pivot, old = choose_pivot(T, place, k)
        row = pivot_row(T, is_pivot)
        info = tl.where((info == 0) & (pivot == 0.0), k + 1, info)
        scale = range_scale(pivot)
        r = reciprocal(pivot * scale)
        # In place of the column that becomes a unit vector stands a column of the inverse. With −1/p in the pivot's row
        # of the factors and 1 in column k of its row, one update makes all of it.
        factor = tl.where(is_pivot, -(scale * r)[:, None], column * scale[:, None] * r[:, None])
        row = tl.where(index[None, :] == k, 1.0, row)
        left = tl.where(is_pivot[:, :, None] | (index[None, None, :] == k), 0.0, T)
        T = left - factor[:, :, None] * row[:, None, :]
        place = exchange_places(place, is_pivot, old, k)
    # Rows of A that changed places are columns of the inverse that do.
    T = tl.gather(T, place[:, None, :] + tl.zeros(T.shape, tl.int32), axis=2)
    return tl.where((info > 0)[:, None, None], float("nan"), T), place, info


@triton.jit
def sum_of_squares(T):
    """Return ``(MATRICES,)``."""
    return tl.sum(tl.sum(T * T, axis=2), axis=1)


@triton.jit(do_not_specialize=["batch"])  # one compilation, whatever the batch
def invert_kernel(
    A,  # (batch, n, n)
    X,  # (batch, n, n)
    INFO,  # (batch,)
    BOUND,  # (batch,), float64; unused without CERTIFY
    rtol,
    batch,
    n: tl.constexpr,
    SIZE: tl.constexpr,  # of a tile
    MATRICES: tl.constexpr,
    DOWN: tl.constexpr,
    ACROSS: tl.constexpr,
    VECTOR: tl.constexpr,
    CERTIFY: tl.constexpr,
):
    first = tl.program_id(0).to(tl.int64) * MATRICES
    left = batch - first
    A += first * (n * n)
    X += first * (n * n)
    T = load_matrices(A, left, n, n, n * n, n, SIZE, SIZE, MATRICES, DOWN, ACROSS, VECTOR)
    T, place, info = invert_tile(T, n)
    matrix = tl.arange(0, MATRICES)
    if CERTIFY:
        a = load_matrices(A, left, n, n, n * n, n, SIZE, SIZE, MATRICES, DOWN, ACROSS, VECTOR).to(tl.float64)
        w = T.to(tl.float64)
        # Rows of T are not in place: columns of A join them.
        shuffled = tl.gather(a, place[:, None, :] + tl.zeros(T.shape, tl.int32), axis=2)
        index = tl.arange(0, SIZE)
        identity = tl.where((index[:, None] == index[None, :]) & (index < n)[:, None], 1.0, 0.0).to(tl.float64)
        start = tl.zeros((MATRICES, SIZE, SIZE), tl.float64) - identity[None, :, :]
        residual = tl.dot(shuffled, w, acc=start, out_dtype=tl.float64)  # −R̂
        rho, delta = bound_residual(n, sum_of_squares(residual), sum_of_squares(a), sum_of_squares(w))
        bound = rho
        if T.dtype == tl.float32:
            wanted = rho > rtol
            if tl.max(wanted.to(tl.int32), axis=0) > 0:
                corrected = w - tl.dot(w, residual, out_dtype=tl.float64)
                rounded = corrected.to(tl.float32)
                distance = rounded.to(tl.float64) - corrected
                better = bound_corrected(n, rho, delta, sum_of_squares(distance), sum_of_squares(corrected))
                take = wanted & (better < rho)
                bound = tl.where(take, better, rho)
                T = tl.where(take[:, None, None], rounded, T)
        tl.store(BOUND + first + matrix, bound, mask=matrix < left)
    else:
        tl.store(INFO + first + matrix, info, mask=matrix < left)
    store_matrices(X, T, place, left, n, n, n * n, n, DOWN, ACROSS, VECTOR)


@triton.jit
def eliminate_below(T, pivot, column, row, place, is_pivot, k):
    """One step of LU on rows that have not been pivots; returns T and the multipliers, 0 elsewhere."""
    scale = range_scale(pivot)
    r = reciprocal(pivot * scale)
    below = (place > k) & (pivot != 0.0)[:, None]
    factor = tl.where(below, column * scale[:, None] * r[:, None], 0.0)
    return tl.where(below[:, :, None], T - factor[:, :, None] * row[:, None, :], T), factor, below


@triton.jit(do_not_specialize=["batch", "columns", "panels"])
def solve_kernel(
    A,  # (batch, n, n)
    B,  # (batch, n, columns)
    X,  # (batch, n, columns)
    INFO,  # (batch,)
    batch,
    columns,
    panels,  # of columns
    n: tl.constexpr,
    SIZE: tl.constexpr,
    PANEL: tl.constexpr,  # right-hand sides of a program
    MATRICES: tl.constexpr,
    DOWN: tl.constexpr,
    ACROSS: tl.constexpr,
    VECTOR: tl.constexpr,
):
    # The panels of a group of matrices are neighbours in one dimension: CUDA has but 65,535 programs in a second one.
    program = tl.program_id(0)
    first = (program // panels).to(tl.int64) * MATRICES
    start = (program % panels) * PANEL
    left = batch - first
    pitch = columns.to(tl.int64)  # a matrix of right-hand sides may have more than 2³¹ entries
    stride = n * pitch
    offset = first * stride + start
    T = load_matrices(A + first * (n * n), left, n, n, n * n, n, SIZE, SIZE, MATRICES, DOWN, ACROSS, VECTOR)
    P = load_matrices(B + offset, left, n, columns - start, stride, pitch, SIZE, PANEL, MATRICES, DOWN, ACROSS, 1)
    place = first_places(T)
    info = tl.zeros((MATRICES,), tl.int32)
    for k in range(n):
        column, pivot, is_pivot, old = choose_pivot(T, place, k)
        row = pivot_row(T, is_pivot)
        right = pivot_row(P, is_pivot)
        info = tl.where((info == 0) & (pivot == 0.0), k + 1, info)
        place = exchange_places(place, is_pivot, old, k)
        T, factor, below = eliminate_below(T, pivot, column, row, place, is_pivot, k)
        P = tl.where(below[:, :, None], P - factor[:, :, None] * right[:, None, :], P)
    index = tl.arange(0, SIZE)
    for step in range(n):
        k = n - 1 - step
        column = tl.sum(tl.where(index[None, None, :] == k, T, 0.0), axis=2)
        is_pivot = place == k
        pivot = tl.sum(tl.where(is_pivot, column, 0.0), axis=1)
        scale = range_scale(pivot)
        r = reciprocal(pivot * scale)
        right = pivot_row(P, is_pivot) * scale[:, None] * r[:, None]
        above = P - column[:, :, None] * right[:, None, :]
        P = tl.where(is_pivot[:, :, None], right[:, None, :], tl.where((place < k)[:, :, None], above, P))
    P = tl.where((info > 0)[:, None, None], float("nan"), P)
    store_matrices(X + offset, P, place, left, n, columns - start, stride, pitch, DOWN, ACROSS, 1)
    matrix = tl.arange(0, MATRICES)
    tl.store(INFO + first + matrix, info, mask=(matrix < left) & (start == 0))


@triton.jit(do_not_specialize=["batch"])
def determinant_kernel(
    A,  # (batch, n, n)
    SIGN,  # (batch,)
    LOGARITHM,  # (batch,): of the absolute value
    batch,
    n: tl.constexpr,
    SIZE: tl.constexpr,
    MATRICES: tl.constexpr,
    DOWN: tl.constexpr,
    ACROSS: tl.constexpr,
    VECTOR: tl.constexpr,
):
    first = tl.program_id(0).to(tl.int64) * MATRICES
    left = batch - first
    T = load_matrices(A + first * (n * n), left, n, n, n * n, n, SIZE, SIZE, MATRICES, DOWN, ACROSS, VECTOR)
    place = first_places(T)
    pivots = tl.full((MATRICES, SIZE), 1.0, T.dtype)
    exchanges = tl.zeros((MATRICES,), tl.int32)
    for k in range(n):
        column, pivot, is_pivot, old = choose_pivot(T, place, k)
        row = pivot_row(T, is_pivot)
        exchanges += (old != k).to(tl.int32)
        pivots = tl.where(is_pivot, pivot[:, None], pivots)
        place = exchange_places(place, is_pivot, old, k)
        T, _, _ = eliminate_below(T, pivot, column, row, place, is_pivot, k)
    negative = tl.sum((pivots < 0.0).to(tl.int32), axis=1)
    # Zero and NaN have no sign.
    signless = tl.sum(1 - ((pivots < 0.0) | (pivots > 0.0)).to(tl.int32), axis=1)
    sign = tl.where(signless > 0, 0, 1 - 2 * ((exchanges + negative) % 2))
    # In float64: the fast logarithm of float32 is good for half of its digits near 1.
    logarithm = tl.sum(tl.log(tl.abs(pivots).to(tl.float64)), axis=1)
    matrix = tl.arange(0, MATRICES)
    tl.store(SIGN + first + matrix, sign.to(T.dtype), mask=matrix < left)
    tl.store(LOGARITHM + first + matrix, logarithm.to(T.dtype), mask=matrix < left)
