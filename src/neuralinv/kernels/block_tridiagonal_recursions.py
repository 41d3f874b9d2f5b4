"""The recursions over time of block-tridiagonal factors and their reverse passes, in Triton: loops inside the kernels.

A program serves one sequence or, of small blocks, several; see ``block_tridiagonal_lanes.py`` for how blocks lie in a
warp. Formulas and shapes are those of the C++ core: ``cpp/include/neuralinv/block_tridiagonal.hpp``,
``block_tridiagonal_rev.hpp`` and ``block_tridiagonal_lanes.hpp`` (for the blocks of the inverse) derive them.

The step that has no neighbour reads zeros for the coupling and its gradients, which the formulas take as they should:
no branch depends on the step. Addresses move from step to step, in 64 bits.
"""

from __future__ import annotations

import triton
import triton.language as tl

from neuralinv.kernels.block_tridiagonal_lanes import (
    columns_of,
    combine,
    halved_sum_with_transpose,
    load_block,
    lower_triangle,
    product,
    product_with_lower,
    product_with_transpose,
    reciprocal_diagonal,
    reciprocal_root,
    solve_from_left,
    solve_from_right,
    solve_transpose_from_right,
    solve_unit,
    store_block,
    transpose,
    unit_columns,
    upper_triangle,
    zero_block,
)

# Nothing is gained by kernels of their own for some lengths and batches.
SIZES = ("batch", "steps", "K")


@triton.jit
def _places(group, batch, steps, N: tl.constexpr, ROWS: tl.constexpr, LANES: tl.constexpr):
    """Return row and first lane, what is valid, and the entries before each sequence: of diag, and of lower."""
    lane = tl.arange(0, LANES)
    row = lane % ROWS
    sequence = group * (LANES // ROWS) + lane // ROWS
    before = sequence.to(tl.int64) * (N * N)
    return row, lane - row, (sequence < batch) & (row < N), before * steps, before * (steps - 1), sequence


@triton.jit(do_not_specialize=SIZES)
def factor_kernel(
    D, B, L, C, info, batch, steps, N: tl.constexpr, ROWS: tl.constexpr, LANES: tl.constexpr
):  # fmt: skip
    """Factor: ``L_t L_tᵀ = D_t − C_{t−1} C_{t−1}ᵀ``, ``C_t = B_t L_t⁻ᵀ``; sequences that fail become NaN.

    Left-looking over the columns of ``L_t`` and ``C_t`` together: one shuffle serves both. After a pivot that is not a
    positive finite number all others are NaN, so the count of the good ones tells where that was. The GPU's root of
    float32 takes subnormal pivots for zero: they fail, too.
    """
    row, first, valid, at, at_lower, sequence = _places(tl.program_id(0), batch, steps, N, ROWS, LANES)
    D += at
    L += at
    B += at_lower
    C += at_lower
    nan = float("nan")
    good_pivots = tl.full([LANES], 0, tl.int64)
    c = zero_block(tl.full([LANES], 0.0, D.dtype.element_ty), N)
    for t in tl.range(steps):
        coupled = valid & (t + 1 < steps)
        s = columns_of(load_block(D, row, valid, N, ROWS, False), N, ROWS)
        b = columns_of(load_block(B, row, coupled, N, ROWS, False), N, ROWS)
        l_t = ()
        c_t = ()
        for j in tl.static_range(N):
            l_j = s[j]
            for k in tl.static_range(N):
                l_j -= c[k] * tl.gather(c[k], first + j, 0)
            c_j = b[j]
            for k in tl.static_range(j):
                entry = tl.gather(l_t[k], first + j, 0)
                l_j -= l_t[k] * entry
                c_j -= c_t[k] * entry
            pivot = tl.where(valid, tl.gather(l_j, first + j, 0), 1.0)
            root = reciprocal_root(pivot)
            # Infinity minus itself is not a number, nor is the root of what was flushed to zero less than infinity.
            good = (pivot > 0) & (pivot - pivot == 0) & (root < float("inf"))
            good_pivots += good.to(tl.int64)
            scale = tl.where(good, root, nan)
            l_t += (tl.where(row >= j, l_j * scale, 0.0),)
            c_t += (c_j * scale,)
        c = c_t
        store_block(L, l_t, row, valid, N, ROWS)
        store_block(C, c_t, row, coupled, N, ROWS)
        D += N * N
        L += N * N
        B += N * N
        C += N * N
    failed = valid & (good_pivots < steps * N)
    status = tl.where(failed, good_pivots + 1, 0)
    tl.store(info + sequence, status, mask=valid & (row == 0))
    if tl.reduce(failed.to(tl.int32), 0, tl.standard._elementwise_max) > 0:
        tl.debug_barrier()  # what was written before the failure may come from other lanes
        column = tl.arange(0, ROWS)
        offsets = row[:, None] * N + column[None, :]
        bad = failed[:, None] & (column < N)[None, :]
        for t in tl.range(steps):
            L -= N * N
            C -= N * N
            tl.store(L[:, None] + offsets, nan, mask=bad)
            tl.store(C[:, None] + offsets, nan, mask=bad & (t > 0))


@triton.jit(do_not_specialize=SIZES)
def factor_rev_kernel(
    L, C, L_bar, C_bar, D_bar, B_bar, batch, steps, N: tl.constexpr, ROWS: tl.constexpr, LANES: tl.constexpr
):
    """``D̄``, ``B̄`` from ``L̄``, ``C̄``: see ``factor_sequence_rev``. ``L̄`` and P are held transposed, as there."""
    row, first, valid, at, at_lower, _ = _places(tl.program_id(0), batch, steps, N, ROWS, LANES)
    at += (steps - 1).to(tl.int64) * (N * N)
    at_lower += (steps - 1).to(tl.int64) * (N * N)
    L += at
    L_bar += at
    D_bar += at
    C += at_lower
    C_bar += at_lower
    B_bar += at_lower
    s_bar = zero_block(tl.full([LANES], 0.0, L.dtype.element_ty), N)  # S̄_{t+1}, times −2
    for t in tl.range(steps):
        coupled = valid & (t > 0)
        l_t = lower_triangle(columns_of(load_block(L, row, valid, N, ROWS, False), N, ROWS), row, N)
        reciprocal = reciprocal_diagonal(l_t, row, valid, N)
        c = columns_of(load_block(C, row, coupled, N, ROWS, False), N, ROWS)
        c_bar = columns_of(load_block(C_bar, row, coupled, N, ROWS, False), N, ROWS)
        c_bar = combine(c_bar, product(s_bar, c, first, N), 1.0, 1.0, N)
        b_bar = solve_from_right(c_bar, l_t, reciprocal, first, N)
        store_block(B_bar, b_bar, row, coupled, N, ROWS)
        c = columns_of(load_block(C, row, coupled, N, ROWS, True), N, ROWS)
        l_bar = columns_of(load_block(L_bar, row, valid, N, ROWS, True), N, ROWS)
        l_bar = upper_triangle(combine(l_bar, product(c, b_bar, first, N), 1.0, -1.0, N), row, N)
        p = product_with_lower(l_bar, l_t, first, N)
        phi = ()
        for j in tl.static_range(N):
            phi += (tl.where(row < j, p[j], tl.where(row == j, 0.5 * p[j], 0.0)),)
        half = solve_from_right(phi, l_t, reciprocal, first, N)
        upper = columns_of(load_block(L, row, valid, N, ROWS, True), N, ROWS)
        unit = unit_columns(upper, reciprocal, row, first, N, False)
        half = solve_from_left(half, unit, reciprocal, first, N, False)
        d_bar = halved_sum_with_transpose(half, N, ROWS)
        store_block(D_bar, d_bar, row, valid, N, ROWS)
        s_bar = combine(d_bar, d_bar, -1.0, -1.0, N)
        L -= N * N
        L_bar -= N * N
        D_bar -= N * N
        C -= N * N
        C_bar -= N * N
        B_bar -= N * N


@triton.jit(do_not_specialize=SIZES)
def solve_kernel(
    L, C, b, x, batch, steps, K, N: tl.constexpr, ROWS: tl.constexpr, LANES: tl.constexpr, TRANSPOSED: tl.constexpr
):
    """Solve ``F x = b`` or ``Fᵀ x = b`` for one of the ``K`` right-hand sides of each sequence."""
    row, first, valid, at, at_lower, sequence = _places(tl.program_id(0) // K, batch, steps, N, ROWS, LANES)
    at_rhs = (sequence.to(tl.int64) * steps * N + row) * K + tl.program_id(0) % K
    stride = N * K
    block = N * N
    if TRANSPOSED:
        at += (steps - 1).to(tl.int64) * (N * N)
        at_lower += (steps - 1).to(tl.int64) * (N * N)
        at_rhs += (steps - 1).to(tl.int64) * stride
        stride = -stride
        block = -(N * N)
    else:
        at_lower -= N * N
    L += at
    C += at_lower
    b += at_rhs
    x += at_rhs
    solution = tl.full([LANES], 0.0, b.dtype.element_ty)
    for t in tl.range(steps):
        l_t = columns_of(load_block(L, row, valid, N, ROWS, TRANSPOSED), N, ROWS)
        c = columns_of(load_block(C, row, valid & (t > 0), N, ROWS, TRANSPOSED), N, ROWS)
        rest = tl.load(b, mask=valid, other=0.0)
        for k in tl.static_range(N):
            rest -= c[k] * tl.gather(solution, first + k, 0)
        reciprocal = reciprocal_diagonal(l_t, row, valid, N)
        unit = unit_columns(l_t, reciprocal, row, first, N, not TRANSPOSED)
        solution = solve_unit(rest, unit, first, N, not TRANSPOSED) * reciprocal
        tl.store(x, solution, mask=valid)
        L += block
        C += block
        b += stride
        x += stride


@triton.jit(do_not_specialize=SIZES)
def solve_rev_kernel(u, v, L_bar, C_bar, steps, K, N: tl.constexpr, ROWS: tl.constexpr):
    """``L̄_t = −tril(u_t v_tᵀ)``, ``C̄_t = −u_{t+1} v_tᵀ``, one time step in each program."""
    block = tl.program_id(0).to(tl.int64)
    sequence = block // steps
    coupled = block % steps + 1 < steps
    row = tl.arange(0, ROWS)
    here = block * N * K + row * K
    diagonal = tl.full([ROWS, ROWS], 0.0, u.dtype.element_ty)
    below = tl.full([ROWS, ROWS], 0.0, u.dtype.element_ty)
    for k in tl.range(K):
        right = tl.load(v + here + k, mask=row < N, other=0.0)[None, :]
        diagonal -= tl.load(u + here + k, mask=row < N, other=0.0)[:, None] * right
        below -= tl.load(u + here + N * K + k, mask=(row < N) & coupled, other=0.0)[:, None] * right
    offsets = row[:, None] * N + row[None, :]
    inside = (row < N)[:, None] & (row < N)[None, :]
    diagonal = tl.where(row[:, None] >= row[None, :], diagonal, 0.0)
    tl.store(L_bar + block * (N * N) + offsets, diagonal, mask=inside)
    tl.store(C_bar + (block - sequence) * (N * N) + offsets, below, mask=inside & coupled)


@triton.jit(do_not_specialize=SIZES)
def inverse_blocks_kernel(
    L, C, diagonal, below, batch, steps, N: tl.constexpr, ROWS: tl.constexpr, LANES: tl.constexpr
):
    """Blocks of the inverse, from the last to the first: see ``inverse_blocks_sequence``."""
    row, first, valid, at, at_lower, _ = _places(tl.program_id(0), batch, steps, N, ROWS, LANES)
    at += (steps - 1).to(tl.int64) * (N * N)
    at_lower += (steps - 1).to(tl.int64) * (N * N)
    L += at
    diagonal += at
    C += at_lower
    below += at_lower
    sigma = zero_block(tl.full([LANES], 0.0, L.dtype.element_ty), N)
    for t in tl.range(steps):
        coupled = valid & (t > 0)
        l_t = columns_of(load_block(L, row, valid, N, ROWS, False), N, ROWS)
        reciprocal = reciprocal_diagonal(l_t, row, valid, N)
        c = columns_of(load_block(C, row, coupled, N, ROWS, False), N, ROWS)
        moved = product(sigma, c, first, N)
        lower = solve_from_right(moved, l_t, reciprocal, first, N)
        store_block(below, combine(lower, lower, -0.5, -0.5, N), row, coupled, N, ROWS)
        c = columns_of(load_block(C, row, coupled, N, ROWS, True), N, ROWS)
        inner = product(c, moved, first, N)
        whole = ()
        for j in tl.static_range(N):
            whole += (tl.where(row == j, inner[j] + 1.0, inner[j]),)
        half = solve_from_right(whole, l_t, reciprocal, first, N)
        upper = columns_of(load_block(L, row, valid, N, ROWS, True), N, ROWS)
        unit = unit_columns(upper, reciprocal, row, first, N, False)
        half = solve_from_left(half, unit, reciprocal, first, N, False)
        sigma = halved_sum_with_transpose(half, N, ROWS)
        store_block(diagonal, sigma, row, valid, N, ROWS)
        L -= N * N
        C -= N * N
        diagonal -= N * N
        below -= N * N


@triton.jit(do_not_specialize=SIZES)
def inverse_blocks_rev_kernel(
    L, C, diagonal, below, diagonal_bar, below_bar, L_bar, C_bar, batch, steps,
    N: tl.constexpr, ROWS: tl.constexpr, LANES: tl.constexpr,
):  # fmt: skip
    """``L̄`` and ``C̄`` from gradients of the blocks of the inverse, and these: see ``inverse_blocks_rev``."""
    row, first, valid, at, at_lower, _ = _places(tl.program_id(0), batch, steps, N, ROWS, LANES)
    L += at
    diagonal += at
    diagonal_bar += at
    L_bar += at
    C += at_lower
    below += at_lower
    below_bar += at_lower
    C_bar += at_lower
    carried = zero_block(tl.full([LANES], 0.0, L.dtype.element_ty), N)
    for t in tl.range(steps):
        coupled = valid & (t + 1 < steps)
        l_t = columns_of(load_block(L, row, valid, N, ROWS, False), N, ROWS)
        reciprocal = reciprocal_diagonal(l_t, row, valid, N)
        a = columns_of(load_block(diagonal_bar, row, valid, N, ROWS, False), N, ROWS)
        a = halved_sum_with_transpose(combine(a, carried, 1.0, 1.0, N), N, ROWS)
        c = columns_of(load_block(C, row, coupled, N, ROWS, False), N, ROWS)
        g = solve_from_right(c, l_t, reciprocal, first, N)
        e_bar = columns_of(load_block(below_bar, row, coupled, N, ROWS, False), N, ROWS)
        moved = combine(product(g, a, first, N), e_bar, 1.0, -1.0, N)
        carried = product_with_transpose(moved, g, first, N)
        sigma = columns_of(load_block(diagonal + N * N, row, coupled, N, ROWS, False), N, ROWS)
        g_bar = product(sigma, e_bar, first, N)
        e = columns_of(load_block(below, row, coupled, N, ROWS, False), N, ROWS)
        g_bar = combine(product(e, a, first, N), g_bar, -2.0, -1.0, N)
        c_bar = solve_transpose_from_right(g_bar, l_t, reciprocal, first, N)
        store_block(C_bar, c_bar, row, coupled, N, ROWS)
        coupling = product(transpose(g, N, ROWS), c_bar, first, N)
        a = solve_transpose_from_right(a, l_t, reciprocal, first, N)
        lower = unit_columns(l_t, reciprocal, row, first, N, True)
        a = solve_from_left(a, lower, reciprocal, first, N, True)
        upper = columns_of(load_block(L, row, valid, N, ROWS, True), N, ROWS)
        unit = unit_columns(upper, reciprocal, row, first, N, False)
        a = solve_from_left(a, unit, reciprocal, first, N, False)
        l_bar = lower_triangle(combine(a, coupling, -2.0, -1.0, N), row, N)
        store_block(L_bar, l_bar, row, valid, N, ROWS)
        L += N * N
        C += N * N
        diagonal += N * N
        below += N * N
        diagonal_bar += N * N
        below_bar += N * N
        L_bar += N * N
        C_bar += N * N


@triton.jit(do_not_specialize=SIZES)
def log_diagonal_kernel(L, result, steps, N: tl.constexpr, ROWS: tl.constexpr, CHUNK: tl.constexpr):
    """Sum the logarithms of the diagonals of a sequence: ``CHUNK`` steps at a time."""
    sequence = tl.program_id(0).to(tl.int64)
    row = tl.arange(0, ROWS)
    step = tl.arange(0, CHUNK)
    L += sequence * steps * (N * N)
    total = tl.full([CHUNK, ROWS], 0.0, L.dtype.element_ty)
    for start in tl.range(0, steps, CHUNK):
        inside = (start + step < steps)[:, None] & (row < N)[None, :]
        total += tl.log(tl.load(L + step[:, None] * (N * N) + row[None, :] * (N + 1), mask=inside, other=1.0))
        L += CHUNK * N * N
    rows = tl.reduce(total, 0, tl.standard._sum_combine)
    tl.store(result + sequence, tl.reduce(rows, 0, tl.standard._sum_combine))


@triton.jit(do_not_specialize=SIZES)
def log_diagonal_rev_kernel(L, result_bar, L_bar, steps, N: tl.constexpr, ROWS: tl.constexpr):
    """``L̄_t = diag(l̄ / L_t[i, i])``, one time step in each program."""
    block = tl.program_id(0).to(tl.int64)
    row = tl.arange(0, ROWS)
    diagonal = tl.load(L + block * (N * N) + row * (N + 1), mask=row < N, other=1.0)
    gradient = tl.load(result_bar + block // steps) / diagonal
    tile = tl.where(row[:, None] == row[None, :], gradient[:, None], 0.0)
    inside = (row < N)[:, None] & (row < N)[None, :]
    tl.store(L_bar + block * (N * N) + row[:, None] * N + row[None, :], tile, mask=inside)
