"""Arithmetic that the kernels share: correctly rounded reciprocals, pivots out of the ordinary range."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def reciprocal(p):
    """Return 1/p, correctly rounded."""
    one = tl.full(p.shape, 1.0, p.dtype)
    if p.dtype == tl.float32:
        result = tl.div_rn(one, p)  # float64 divides so anyway
    else:
        result = one / p
    return result


@triton.jit
def range_scale(p):
    """Return the power of two, mostly 1, that brings a pivot to where its reciprocal is a normal number."""
    if p.dtype == tl.float32:
        exponent: tl.constexpr = 100.0
    else:
        exponent: tl.constexpr = 900.0
    large = tl.full(p.shape, 2.0**exponent, p.dtype)
    small = tl.full(p.shape, 2.0**-exponent, p.dtype)
    one = tl.full(p.shape, 1.0, p.dtype)
    return tl.where(tl.abs(p) < small, large, tl.where(tl.abs(p) > large, small, one))
