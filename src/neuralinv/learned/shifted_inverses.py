"""Inverse square roots as sums of a few shifted inverses.

On [1/κ, 1] the best rational approximation of ``x^{-1/2}`` with m simple poles is a sum of positive terms,

    x^{-1/2} ≈ Σ w_j / (x + s_j),    s_j = sc²(t_j) / κ,  w_j ∝ dn(t_j) / cn²(t_j),  t_j = (j − 1/2) K / m

(Zolotarev 1877; in this form Hale, Higham & Trefethen 2008, doi:10.1137/070700607, §4), with elliptic functions of
parameter 1 − 1/κ. Its relative error ε falls like ``exp(−2π² m / (ln κ + 3))``: with ``X = Σ w_j (A + s_j I)⁻¹`` the
eigenvalues of ``XAX`` lie in [(1 − ε)², (1 + ε)²]. The certificate squares the error, with what it computes anyway
(:mod:`neuralinv.learned.root_certificate`). Polynomials of A need degrees of order √κ instead.

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

from neuralinv.dense import native, native_roots
from neuralinv.dense.inverse import inv_ex

_MOST_SHIFTS = 16
_LEAF = 128  # up to this size a routine inverts where there are no kernels for more; larger ones come from blocks
_GRID = 4000
_POWERS, _COLUMNS = 5, 4
_ALLOWANCE = 1.15  # powers approach the largest eigenvalue from below
_SPACING = 1.05  # of the condition numbers that sums are made for


@dataclass(frozen=True)
class ShiftedSum:
    """Shifts and weights, and the largest relative error on the interval."""

    shifts: tuple[float, ...]
    weights: tuple[float, ...]
    error: float


@lru_cache(maxsize=64)
def shortest_sum(cond: float, tolerance: float) -> ShiftedSum:
    """Return the shortest sum with a relative error of at most ``tolerance`` on [1/cond, 1]; the most accurate one if
    none has.
    """
    for count in range(1, _MOST_SHIFTS + 1):
        offer = _zolotarev(cond, count)
        if offer.error <= tolerance:
            break
    return offer


def _zolotarev(cond: float, count: int) -> ShiftedSum:
    from scipy.special import ellipj, ellipkm1  # loading it takes a moment

    t = (np.arange(count) + 0.5) * ellipkm1(1 / cond) / count
    sn, cn, dn, _ = ellipj(t, 1 - 1 / cond)
    shifts, weights = (sn / cn) ** 2 / cond, dn / cn**2
    x = np.geomspace(1 / cond, 1, _GRID)
    values = np.sqrt(x) * (weights / (x[:, None] + shifts)).sum(1)
    low, high = float(values.min()), float(values.max())
    weights = weights * 2 / (low + high)
    return ShiftedSum(tuple(shifts.tolist()), tuple(weights.tolist()), (high - low) / (high + low))


@dataclass(frozen=True)
class Survey:
    """What a look at matrices ``(batch, n, n)`` tells, each field ``(batch,)``.

    Attributes
    ----------
    frobenius
        ``‖A‖_F``, float64.
    norm
        ``min(‖A‖_F, ‖A‖_∞)``, float64: at least the largest eigenvalue.
    largest
        An estimate of the largest eigenvalue from below, float64.
    hermitian
        Whether the matrix is, exactly.
    """

    frobenius: Tensor
    norm: Tensor
    largest: Tensor
    hermitian: Tensor

    def __getitem__(self, index: Tensor) -> Survey:
        return Survey(self.frobenius[index], self.norm[index], self.largest[index], self.hermitian[index])


def survey(A: Tensor) -> Survey:
    """Look at contiguous ``A``."""
    random = torch.Generator().manual_seed(0)
    start = torch.randn(A.shape[-1], _COLUMNS, generator=random, dtype=torch.float64)
    if native_roots.takes(A):
        sizes, hermitian = native_roots.survey(A, start[:, 0])
        frobenius, rows, largest = sizes[:, 0].sqrt(), sizes[:, 1], sizes[:, 2]
        return Survey(frobenius, torch.fmin(frobenius, rows), largest, hermitian)
    frobenius = torch.linalg.vector_norm(A, dim=(-2, -1)).double()
    rows = A.abs().sum(-1).amax(-1).double() if A.shape[-1] else frobenius
    hermitian = torch.ones_like(frobenius, dtype=torch.bool)
    if not torch.equal(A, A.mH):  # a fraction of the time that finding out which ones takes
        hermitian = (A.mH == A).flatten(1).all(1)
    largest = _largest_eigenvalue(A, start).double()
    return Survey(frobenius, torch.fmin(frobenius, rows), largest, hermitian)


def _largest_eigenvalue(A: Tensor, start: Tensor) -> Tensor:
    """Estimate the largest eigenvalue of each matrix from below, by powers (Golub & Van Loan, *Matrix Computations*,
    §7.3).
    """
    x = start.to(A.device, A.dtype).expand(len(A), *start.shape)
    norm = partial(torch.linalg.vector_norm, dim=1, keepdim=True)
    for _ in range(_POWERS):
        x = torch.bmm(A, x / norm(x))
    return (norm(torch.bmm(A, x)) / norm(x)).flatten(1).amax(1)


def approximate_inverse_square_root(A: Tensor, looked: Survey, cond: float, tolerance: float) -> Tensor:
    """Return Hermitian X close to ``A^{-1/2}``; what it is worth is for a certificate to say.

    Parameters
    ----------
    A
        Shape ``(batch, n, n)``, contiguous, Hermitian positive definite, computed with in its dtype.
    looked
        What :func:`survey` said.
    cond
        No eigenvalue is expected below ``looked.norm / cond``.
    tolerance
        The relative error to aim at, apart from rounding.

    Returns
    -------
    Shape and dtype of ``A``; NaN where a shifted matrix is not positive definite.

    Notes
    -----
    For eigenvalues between 1/50 and 1, and 3e-4: 3 inverses; 5 for 1e-6.
    """
    scale = torch.fmin(looked.norm, _ALLOWANCE * looked.largest)
    ratio = float((scale * cond / looked.norm).nan_to_num(nan=1.0).clamp(1.0, 1e14).max()) if len(A) else 1.0
    terms = shortest_sum(_SPACING ** math.ceil(math.log(max(ratio, 2.0), _SPACING)), tolerance)
    if native_roots.takes(A):
        return native_roots.sum_inverses(A, scale, terms.shifts, terms.weights, torch.empty_like(A))
    s = torch.where(scale > 0, scale, 1).to(A.dtype.to_real())[:, None, None]
    A = A / s
    X: Tensor | None = None
    for shift, weight in zip(reversed(terms.shifts), reversed(terms.weights), strict=True):
        shifted = A.clone()
        shifted.diagonal(dim1=-2, dim2=-1).add_(shift)
        inverse = _positive_inverse(shifted)
        X = inverse.mul_(weight) if X is None else X.add_(inverse, alpha=weight)
    X = cast(Tensor, X)
    return X.add(X.mH).mul_(0.5 * s.rsqrt())


def _positive_inverse(A: Tensor) -> Tensor:
    """Invert ``(batch, n, n)`` by halves: four products of half the size, and two inverses."""
    n = A.shape[-1]
    if native_roots.takes(A):
        return native.invert_ex(A, positive=True)[0]
    if n <= _LEAF:
        return inv_ex(A, assume_a="pos")[0]
    k = n // 2
    P = _positive_inverse(A[:, :k, :k].contiguous())
    W = torch.bmm(P, A[:, :k, k:])
    Q = _positive_inverse(torch.baddbmm(A[:, k:, k:], A[:, k:, :k], W, alpha=-1))
    corner = torch.bmm(W, Q).neg_()
    X = torch.empty_like(A)
    X[:, :k, k:], X[:, k:, :k], X[:, k:, k:] = corner, corner.mH, Q
    X[:, :k, :k] = torch.baddbmm(P, corner, W.mH, alpha=-1)
    return X
