"""The proof: from the residual of an approximate inverse to a bound of its true relative error.

Let ``W`` approximate ``A⁻¹``, ``R = I − AW``, and let ``R̂`` be the residual as computed in arithmetic of unit roundoff
``u``. With ``γ_k = k u / (1 − k u)``, whatever the order of summation (Higham, *Accuracy and Stability of Numerical
Algorithms*, 2nd ed., §3.5),

    |R̂ − R| ≤ γ_{n+1} (|A| |W| + I)    elementwise, hence    ‖R‖_F ≤ ρ := ‖R̂‖_F + γ_{n+2} (‖A‖_F ‖W‖_F + √n).

If ``ρ < 1``, ``AW = I − R`` is nonsingular, so ``A`` is, and ``A⁻¹ − W = A⁻¹ R`` gives ``‖A⁻¹ − W‖_F ≤ ρ ‖A⁻¹‖_F``
(Higham, ch. 14).

The answer ``X`` that a user gets is ``W`` rounded to the precision asked for. From ``W = A⁻¹ (I − R)``, ``‖W‖_F ≤ (1 +
ρ) ‖A⁻¹‖_F``, so

    ‖A⁻¹ − X‖_F / ‖A⁻¹‖_F ≤ ρ + (1 + ρ) ‖X − W‖_F / ‖W‖_F.

The bounds hold for sums in any order, with or without fused multiply-adds, but not for Strassen-like or emulated
products.

Everything here is float64 (complex128): products of two float32 numbers are exact there, and it never runs in TF32 or
half precision. The matrices are expected as :func:`neuralinv.dense.scaling.normalise` leaves them, with entries near 1:
underflow in a product is then absorbed by the ``√n`` in the rounding term, and an overflow makes ``ρ`` infinite, which
certifies nothing.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

_U = torch.finfo(torch.float64).eps / 2


class Residual(NamedTuple):
    """A computed residual and what it proves."""

    matrix: Tensor
    """R̂ = I − AW as computed, shape ``(batch, n, n)``."""
    bound: Tensor
    """ρ ≥ ‖I − AW‖_F, shape ``(batch,)``; proves nothing where it is not below 1 (NaN included)."""
    rounding: Tensor
    """The part of ρ that rounding contributes, shape ``(batch,)``."""


def residual(A: Tensor, W: Tensor, *, tight: bool = False) -> Residual:
    """Compute ``I − AW`` and a proved upper bound of its Frobenius norm.

    Parameters
    ----------
    A, W
        Shape ``(batch, n, n)``, float64 or complex128.
    tight
        Use ``‖ |A| |W| ‖_F`` for ``‖A‖_F ‖W‖_F`` in the rounding term: one more product, and a far smaller term for
        badly scaled matrices.

    Notes
    -----
    2 n³ floating-point operations per matrix; 4 n³ with ``tight``.
    """
    n = A.shape[-1]
    R = torch.baddbmm(torch.eye(n, dtype=A.dtype, device=A.device), A, W, alpha=-1)
    if tight:
        # The product of absolute values is itself rounded: one more γ_n, covered by the next index.
        magnitude = _norm(torch.bmm(A.abs(), W.abs()))
        # Scaling may have rounded or flushed entries of A below 2⁻¹⁰²²; the plain bound has room for that, this one
        # not.
        lost = n * n * torch.finfo(torch.float64).tiny * W.abs().flatten(1).amax(1) if n else 0.0
        rounding = _gamma(2 * n + 2, A) * (magnitude + math.sqrt(n)) + lost
    else:
        rounding = _gamma(n + 2, A) * (_norm(A) * _norm(W) + math.sqrt(n))
    rounding = _round_up(rounding, n)
    return Residual(R, _round_up(_norm(R) + rounding, n), rounding)


def bound_after_newton_schulz(before: Residual) -> Tensor:
    """Bound ``‖I − A W₁‖_F`` for ``W₁ = fl(W + W R̂)`` without forming it.

    With ``W₁ = W + W R̂ + E``: ``I − A W₁ = (R − R̂) + R R̂ − A E``, and the rounding of the product and the sum gives
    ``|E| ≤ γ_{n+1} (|W| + |W| |R̂|)``. So ``ρ₁ ≤ δ + ρ ‖R̂‖_F + γ_{n+1} ‖A‖_F ‖W‖_F (1 + ‖R̂‖_F)``, where ``δ`` is the
    rounding term of ``R̂``, and ``γ_{n+1} ‖A‖_F ‖W‖_F ≤ δ``. Only for residuals computed without ``tight`` (δ would not
    bound the last term).
    """
    n = before.matrix.shape[-1]
    # ‖R̂‖_F ≤ ρ by the definition of ρ.
    rho, delta = before.bound, before.rounding
    return _round_up(delta + rho.square() + delta * (1 + rho), n)


def relative_error_bound(rho: Tensor, W: Tensor, X: Tensor) -> Tensor:
    """Bound ``‖A⁻¹ − X‖_F / ‖A⁻¹‖_F`` from a witness ``W`` with ``‖I − AW‖_F ≤ rho``; infinity where ``rho`` is not
    below 1.

    ``W`` and ``X`` have shape ``(batch, n, n)`` in the same scale and in float64 or complex128; ``rho`` has shape
    ``(batch,)``.
    """
    # ρ < 1 with W = 0 happens for 0×0 matrices alone, whose inverse is exact.
    size = _norm(W)
    distance = torch.where(size > 0, _norm(X - W) / size, 0)
    bound = _round_up(rho + (1 + rho) * distance, W.shape[-1])
    proved = (rho < 1) & torch.isfinite(bound)
    return torch.where(proved, bound, torch.inf)


def _gamma(k: int, A: Tensor) -> float:
    # A complex product or sum costs a few real ones (Higham, Lemma 3.5: √2 γ₂): four times the index covers it.
    k = 4 * k if A.is_complex() else k
    return k * _U / (1 - k * _U)


def _norm(A: Tensor) -> Tensor:
    """Frobenius norms, shape ``(batch,)``."""
    return torch.linalg.vector_norm(A, dim=(-2, -1))


def _round_up(value: Tensor, n: int) -> Tensor:
    # Norms are sums of n² squares: relative error at most γ_{n²+2}; the handful of operations around them add a few u.
    return value * (1 + 2 * (n * n + 64) * _U)
