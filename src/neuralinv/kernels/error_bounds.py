"""Bounds of the errors of inverses while they are in registers: ``cpp/include/neuralinv/error_bounds.hpp`` for the GPU.

The derivation stands there and in ``docs/certificate.md``. Everything is float64, in which products of float32 numbers
are exact; GPUs do not flush its denormals.
"""

from __future__ import annotations

import triton
import triton.language as tl

UNIT_ROUNDOFF = tl.constexpr(2.0**-53)
HUGE = tl.constexpr(1e140)
TINY = tl.constexpr(2.0**-1022)


@triton.jit
def round_up(value, n: tl.constexpr):
    """Sums of n² squares are off by at most γ of n² + 2, the operations around them by a few u more."""
    return value * (1.0 + 2.0 * (n * n + 64.0) * UNIT_ROUNDOFF)


@triton.jit
def bound_residual(n: tl.constexpr, residual, size, inverse_size):
    """Return ρ, infinite where nothing is proved, and δ from the squares of the norms of R̂, A and X."""
    gamma: tl.constexpr = (n + 2) * UNIT_ROUNDOFF / (1.0 - (n + 2) * UNIT_ROUNDOFF)
    norm = tl.sqrt(size)
    inverse_norm = tl.sqrt(inverse_size)
    delta = round_up(gamma * (norm * inverse_norm + n**0.5) + n * TINY * inverse_norm, n)
    rho = round_up(tl.sqrt(residual) + delta, n)
    proved = (norm <= HUGE) & (inverse_norm <= HUGE) & (norm >= 1.0 / HUGE) & (inverse_norm >= 1.0 / HUGE) & (rho < 1.0)
    return tl.where(proved, rho, float("inf")), delta


@triton.jit
def bound_corrected(n: tl.constexpr, rho, delta, distance, size):
    """Bound the error of X' from the squares of ‖X' − W‖_F and ‖W‖_F, where W = X + X R̂ was made with ρ and δ."""
    after = round_up(delta + rho * rho + delta * (1.0 + rho), n)
    bound = round_up(after + (1.0 + after) * tl.sqrt(distance / size), n)
    return tl.where((after < 1.0) & (bound < float("inf")), bound, float("inf"))
