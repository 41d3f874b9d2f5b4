"""Inverse square roots from a few shifted inverses and one polynomial step: fewer operations than products alone.

On [1/κ, 1] the best rational approximation of ``x^{-1/2}`` with m simple poles is a sum of positive terms,

    x^{-1/2} ≈ Σ w_j / (x + s_j),    s_j = sc²(t_j) / κ,  w_j ∝ dn(t_j) / cn²(t_j),  t_j = (j − 1/2) K / m

(Zolotarev 1877; in this form Hale, Higham & Trefethen 2008, doi:10.1137/070700607, §4), with elliptic functions of
parameter 1 − 1/κ. Its relative error ε falls like ``exp(−2π² m / (ln κ + 3))``. With ``X_a = Σ w_j (A + s_j I)⁻¹`` the
eigenvalues of ``M = A X_a²`` lie in [(1 − ε)², (1 + ε)²], and the best polynomial step for them
(:mod:`neuralinv.learned.minimax`) gives ``X = X_a h(M)``. Polynomials alone need degrees of order √κ.

The interval is that of the matrices at hand: a few powers give the largest eigenvalue far better than a norm does. The
estimate needs no proof, since the certificate decides.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import cast

import numpy as np
import torch
from torch import Tensor

from neuralinv.dense.inverse import inv_ex
from neuralinv.learned.architectures.schulz import evaluate_polynomial
from neuralinv.learned.minimax import PRODUCTS, Step, best_step

_MOST_SHIFTS = 16
_INVERSE_COST = 1.5  # of a positive definite inverse, in products of the same size and precision on a CPU
_LEAF = 128  # up to this size a routine inverts; larger ones come from blocks
_GRID = 4000
_POWERS, _COLUMNS = 5, 4
_ALLOWANCE = 1.15  # powers approach the largest eigenvalue from below
_SPACING = 1.25  # of the condition numbers that plans are made for


@dataclass(frozen=True)
class RationalPlan:
    """Shifts and weights of the sum, the step after it, and the largest relative error of the result."""

    shifts: tuple[float, ...]
    weights: tuple[float, ...]
    step: Step


@lru_cache(maxsize=64)
def cheapest_rational_plan(cond: float, tolerance: float) -> RationalPlan:
    """Return the cheapest sum and step that take eigenvalues in [1/cond, 1] to a relative error of ``tolerance``; the
    most accurate one if none does.
    """
    offers: list[tuple[bool, float, RationalPlan]] = []
    for count in range(1, _MOST_SHIFTS + 1):
        shifts, weights, error = _zolotarev(cond, count)
        error = min(max(error, 1e-8), 0.99)  # an interval of no width has no best polynomial
        for degree, products in PRODUCTS.items():
            step = best_step((1 - error) ** 2, (1 + error) ** 2, degree, 2)
            reached = step.error <= tolerance
            price = count * _INVERSE_COST + products if reached else step.error
            offers.append((not reached, price, RationalPlan(shifts, weights, step)))
    return min(offers, key=lambda offer: offer[:2])[2]


def _zolotarev(cond: float, count: int) -> tuple[tuple[float, ...], tuple[float, ...], float]:
    from scipy.special import ellipj, ellipkm1  # loading it takes a moment

    t = (np.arange(count) + 0.5) * ellipkm1(1 / cond) / count
    sn, cn, dn, _ = ellipj(t, 1 - 1 / cond)
    shifts, weights = (sn / cn) ** 2 / cond, dn / cn**2
    x = np.geomspace(1 / cond, 1, _GRID)
    values = np.sqrt(x) * (weights / (x[:, None] + shifts)).sum(1)
    low, high = float(values.min()), float(values.max())
    weights = weights * 2 / (low + high)
    return tuple(shifts.tolist()), tuple(weights.tolist()), (high - low) / (high + low)


def approximate_inverse_square_root(A: Tensor, smallest: Tensor, norms: Tensor, tolerance: float) -> Tensor:
    """Return Hermitian X close to ``A^{-1/2}``; what it is worth is for a certificate to say.

    Parameters
    ----------
    A
        Shape ``(batch, n, n)``, Hermitian positive definite, computed with in its dtype.
    smallest
        Shape ``(batch,)``: no eigenvalue is expected below.
    norms
        Shape ``(batch,)``: at least the largest eigenvalue.
    tolerance
        The relative error to aim at, apart from rounding.

    Returns
    -------
    Shape and dtype of ``A``; NaN where a shifted matrix is not positive definite.

    Notes
    -----
    For a condition number of 1e3 and 1e-6: 3 inverses and 4 products.
    """
    scale = torch.minimum(norms, _ALLOWANCE * _largest_eigenvalue(A))
    ratio = float((scale / smallest).nan_to_num(nan=1.0).clamp(1.0, 1e14).max()) if len(A) else 1.0
    cond = _SPACING ** math.ceil(math.log(max(ratio, 2.0), _SPACING))
    plan = cheapest_rational_plan(cond, tolerance)
    s = scale[:, None, None]
    A = A / s
    X: Tensor | None = None
    for shift, weight in zip(plan.shifts, plan.weights, strict=True):
        shifted = A.clone()
        shifted.diagonal(dim1=-2, dim2=-1).add_(shift)
        inverse = _positive_inverse(shifted)
        X = inverse.mul_(weight) if X is None else X.add_(inverse, alpha=weight)
    X = cast(Tensor, X)
    R = torch.bmm(torch.bmm(X, A), X).neg_()
    R.diagonal(dim1=-2, dim2=-1).add_(1)
    X = torch.bmm(X, evaluate_polynomial(R, plan.step.coefficients))
    return X.add(X.mH).mul_(0.5 * s.rsqrt())


def _largest_eigenvalue(A: Tensor) -> Tensor:
    """Estimate the largest eigenvalue of each matrix from below, by powers (Golub & Van Loan, *Matrix Computations*,
    §7.3).
    """
    random = torch.Generator().manual_seed(0)
    x = torch.randn(A.shape[-1], _COLUMNS, generator=random, dtype=torch.float64).to(A.device, A.dtype)
    x = x.expand(len(A), *x.shape)
    norm = partial(torch.linalg.vector_norm, dim=1, keepdim=True)
    for _ in range(_POWERS):
        x = torch.bmm(A, x / norm(x))
    return (norm(torch.bmm(A, x)) / norm(x)).flatten(1).amax(1)


def _positive_inverse(A: Tensor) -> Tensor:
    """Invert ``(batch, n, n)`` by halves: four products of half the size, and two inverses."""
    n = A.shape[-1]
    if n <= _LEAF:
        inverse, _ = inv_ex(A, assume_a="pos")
        return inverse
    k = n // 2
    P = _positive_inverse(A[:, :k, :k].contiguous())
    W = torch.bmm(P, A[:, :k, k:])
    Q = _positive_inverse(torch.baddbmm(A[:, k:, k:], A[:, k:, :k], W, alpha=-1))
    corner = torch.bmm(W, Q).neg_()
    X = torch.empty_like(A)
    X[:, :k, k:], X[:, k:, :k], X[:, k:, k:] = corner, corner.mH, Q
    X[:, :k, :k] = torch.baddbmm(P, corner, W.mH, alpha=-1)
    return X
