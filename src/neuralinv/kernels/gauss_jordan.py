"""Inverses of the smallest matrices, one in each thread: Gauss–Jordan elimination in place with partial pivoting.

The arithmetic is that of ``cpp/include/neuralinv/unrolled.hpp``: what rows k.. see is LU with partial pivoting, with
products rounded before they are subtracted, so that a pivot is zero where it is zero for LAPACK. Launch with
``enable_fp_fusion=False``; products that may be fused are written as such.
"""

from __future__ import annotations

import triton
import triton.language as tl

from neuralinv.kernels.error_bounds import bound_corrected, bound_residual
from neuralinv.kernels.lanes import (
    choose_pivot,
    exchange_columns,
    exchange_rows,
    join_tile,
    own_entries,
    split_tile,
    tile_offsets,
)
from neuralinv.kernels.numbers import range_scale, reciprocal


@triton.jit
def invert_entries(a, n: tl.constexpr):
    """Invert n×n entries, a tuple of vectors, row by row; returns them and LAPACK's info. NaN where there is none."""
    info = tl.zeros(a[0].shape, tl.int32)
    chosen = ()
    for k in tl.static_range(n):
        row = choose_pivot(a[k::n], k, n)
        chosen = chosen + (row,)
        a = exchange_rows(a, row, k, n)
        p = a[k * n + k]
        info = tl.where((info == 0) & (p == 0.0), k + 1, info)
        scale = range_scale(p)
        r = reciprocal(p * scale)
        result = ()
        for i in tl.static_range(n):
            factor = a[i * n + k] * scale * r
            for j in tl.static_range(n):
                if i == k and j == k:
                    value = scale * r
                elif i == k:
                    value = a[k * n + j] * scale * r
                elif j == k:
                    value = -factor
                elif i > k and j > k:
                    value = a[i * n + j] - factor * a[k * n + j]
                else:
                    value = tl.fma(-factor, a[k * n + j], a[i * n + j])
                result = result + (value,)
        a = result
    # Swapped rows of A are swapped columns of the inverse: swap them back, last step first.
    for step in tl.static_range(1, n):
        a = exchange_columns(a, chosen[n - 1 - step], n - 1 - step, n)
    result = ()
    for q in tl.static_range(n * n):
        result = result + (tl.where(info > 0, float("nan"), a[q]),)
    return result, info


@triton.jit
def sum_of_squares(values):
    """Return the sum of squares of a tuple of vectors."""
    total = values[0] * values[0]
    for value in tl.static_range(1, len(values)):
        total = tl.fma(values[value], values[value], total)
    return total


@triton.jit
def to_double(values):
    """Return a tuple of vectors in float64."""
    result = ()
    for q in tl.static_range(len(values)):
        result = result + (values[q].to(tl.float64),)
    return result


@triton.jit
def products(a, x, start, n: tl.constexpr):
    """Return ``start + a x`` of n×n entries; ``start`` is added at the diagonal."""
    result = ()
    for i in tl.static_range(n):
        for j in tl.static_range(n):
            total = a[i * n] * x[j]
            for k in tl.static_range(1, n):
                total = tl.fma(a[i * n + k], x[k * n + j], total)
            if i == j:
                total = total + start
            result = result + (total,)
    return result


@triton.jit(do_not_specialize=["batch"])  # one compilation, whatever the batch
def invert_kernel(
    A,  # (batch, n, n)
    X,  # (batch, n, n)
    INFO,  # (batch,)
    BOUND,  # (batch,), float64; unused without CERTIFY
    rtol,
    batch,
    n: tl.constexpr,
    LEVELS: tl.constexpr,  # n² entries in 2**LEVELS columns
    BLOCK: tl.constexpr,  # matrices
    VECTOR: tl.constexpr,  # entries that may be read at once
    DIRECT: tl.constexpr,  # each thread reads its own matrix
    CERTIFY: tl.constexpr,
):
    first = tl.program_id(0).to(tl.int64) * BLOCK
    left = tl.minimum(batch - first, BLOCK).to(tl.int32)
    lane = tl.arange(0, BLOCK)
    inside = lane < left
    offsets, row, used = tile_offsets(n * n, 2**LEVELS, BLOCK, VECTOR)
    if DIRECT:
        a = own_entries(A + first * (n * n), lane, inside, n * n)
    else:
        tile = tl.load(A + first * (n * n) + offsets, mask=used & (row < left), other=0.0)
        a = split_tile(tile, LEVELS)[: n * n]
    x, info = invert_entries(a, n)
    if CERTIFY:
        a = to_double(a)
        w = to_double(x)
        residual = products(a, w, -1.0, n)  # −R̂
        rho, delta = bound_residual(n, sum_of_squares(residual), sum_of_squares(a), sum_of_squares(w))
        bound = rho
        if x[0].dtype == tl.float32:
            step = products(w, residual, 0.0, n)
            rounded = ()
            corrected = ()
            distance = ()
            for q in tl.static_range(n * n):
                corrected = corrected + (w[q] - step[q],)
                rounded = rounded + (corrected[q].to(tl.float32),)
                distance = distance + (rounded[q].to(tl.float64) - corrected[q],)
            better = bound_corrected(n, rho, delta, sum_of_squares(distance), sum_of_squares(corrected))
            take = (rho > rtol) & (better < rho)
            bound = tl.where(take, better, rho)
            result = ()
            for q in tl.static_range(n * n):
                result = result + (tl.where(take, rounded[q], x[q]),)
            x = result
        tl.store(BOUND + first + lane, bound, mask=inside)
    else:
        tl.store(INFO + first + lane, info, mask=inside)
    padded = x
    for _q in tl.static_range(2**LEVELS - n * n):
        padded = padded + (tl.zeros((BLOCK,), x[0].dtype),)
    tile = join_tile(padded, LEVELS, BLOCK, VECTOR)
    if left == BLOCK:  # rows need no looking at
        tl.store(X + first * (n * n) + offsets, tile, mask=used)
    else:
        tl.store(X + first * (n * n) + offsets, tile, mask=used & (row < left))
