"""Proved errors of inverse p-th roots, from the residual ``R = I − XᵖA`` in a cyclic order such as ``I − XAX``.

**Any p.** Let X be Hermitian positive definite and ``ρ ≥ ‖R‖_F`` with ρ < 1. The eigenvalues of AXᵖ are those of
``X^{p/2} A X^{p/2}``, hence real, and lie in [1 − ρ, 1 + ρ], so that ``(1 − ρ) A⁻¹ ≤ Xᵖ ≤ (1 + ρ) A⁻¹`` in the order of
Hermitian matrices. Roots preserve that order (Löwner 1934, Heinz 1951; Bhatia, *Matrix Analysis*, §V.1), and with
``Y = A^{-1/p}``

    (1 − ρ)^{1/p} Y ≤ X ≤ (1 + ρ)^{1/p} Y,    hence    ‖X − Y‖_F ≤ c ‖Y‖_F,   c = 1 − (1 − ρ)^{1/p}:

X − Y = Y^{1/2} K Y^{1/2} with ‖K‖₂ ≤ c, and ‖Y^{1/2} K Y^{1/2}‖_F ≤ ‖KY‖_F. That X is positive definite is proved, too:
a Cholesky factorisation in floating point succeeds only if λ_min(X) > −γ_{n+1} tr X / (1 − γ_{n+1}) (Higham, *Accuracy
and Stability*, Thm 10.3), while |λ_min(X)| ≥ ((1 − ρ) / ‖A‖_F)^{1/p}.

**p = 2, sharper, and corrected.** That bound takes the norm of all of R for its largest eigenvalue, and is √n too large
for what rounding leaves. Let B = Y⁻¹, E = X − Y and F = BE. From ``(I + F)ᴴ (I + F) = XAX = I − R`` and Fᴴ = EB,

    B E + E B = −S,    S = R + Fᴴ F.

In the eigenbasis of Y, with eigenvalues y, ``E_ij = −S_ij y_i y_j / (y_i + y_j)``, ``F_ij = −S_ij y_j / (y_i + y_j)``
and ``(YFᴴ)_ij = −S_ij y_i² / (y_i + y_j)``. Since ``y_i y_j / (y_i + y_j) ≤ √(y_i y_j) / 2`` and S is Hermitian,

    ‖E‖_F ≤ ‖YS‖_F / 2,    ‖F‖_F ≤ ‖S‖_F,    ‖YFᴴ‖_F ≤ ‖YS‖_F.

Now ``F = Y^{-1/2} K Y^{1/2}``, so that ``‖F‖₂ ≤ q = c κ(A)^{1/4}`` with ``κ(A) ≤ ‖A‖_F ‖X‖_F² / (1 − ρ)``. Where q < 1,
``‖F‖_F ≤ ρ + q ‖F‖_F`` gives ``‖F‖₂ ≤ f = min(q, ρ / (1 − q))``, and ``‖YS‖_F ≤ ‖YR‖_F + f ‖YS‖_F``. With ``U = RX``,
``‖YR‖_F ≤ ‖U‖_F + ρ ‖E‖_F``:

    ‖E‖_F ≤ e = ‖U‖_F / (2 (1 − f) − ρ).

The same product corrects X. ``X' = X + (U + Uᴴ) / 4`` takes for ``−E_ij`` not ``R_ij y_i y_j / (y_i + y_j)`` but ``R_ij
(y_i + y_j) / 4``, which is wrong by ``R_ij (y_i − y_j)² / (4 (y_i + y_j))``, at most a quarter of ``YR − RY``: what
commutes with A is corrected. Let ``k = ‖U − Uᴴ‖_F = ‖XR − RX‖_F`` and W = X' − Y. From ``E = W − (XR + RX) / 4``,
``‖ER − RE‖_F ≤ kρ/2 + 2ρ ‖W‖_F``. So is ``‖YR − RY‖_F ≤ k + ‖ER − RE‖_F`` bounded, and with ``‖ER + RE‖_F ≤ 2ρe``

    (1 − ρ/2) ‖W‖_F ≤ (1 + ρ/2) k/4 + (ρ/2 + f) e.

That gives a better f, for which the bound is computed once more: ``F + Fᴴ = −S``, and the entries of ``F − Fᴴ`` are
``S_ij (y_i − y_j) / (y_i + y_j)``, at most those of ``(YR − RY) ‖A‖^{1/2} / 2`` and of FᴴF together, whence

    ‖F‖₂ ≤ ρ/2 + ‖FᴴF‖_F + ‖A‖_F^{1/2} ‖YR − RY‖_F / 4.

The error ε of a sum of shifted inverses becomes about ``√n ε²``.

**Positive pivots.** Elimination in floating point, without square roots, of a symmetric X (``pivot_signs.hpp``) leaves
columns y and pivots d with ``X_ij = Σ_s y_is y_js (1 + θ_s) / d_s``: each term goes through at most n subtractions, and
two more roundings, of 1/d and of its product with y. If all d are positive, the sum without the θ is positive definite,
and by Cauchy and Schwarz differs from X by at most ``γ_{n+2} √(g_i g_j)`` with ``g_i = Σ_s y_is² / d_s ≤ X_ii / (1 −
γ_{n+2})``: λ_min(X) > −γ_{n+2} tr X / (1 − γ_{n+2}), nearly what a Cholesky factorisation proves.

**Half products.** The kernel forms the upper triangle of R in doubles and mirrors it. The Frobenius norm of its errors
is at most √2 times that of a whole product's: ``√2 · 2γ ≤ 3γ``.

**Probabilistic.** ``‖R‖_F`` and ``‖XR‖_F`` are bounded with O(k n²) operations, as in
:mod:`neuralinv.dense.probabilistic`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from neuralinv.dense import native_probing, native_roots
from neuralinv.dense.correction import SAFE_NORM, gamma
from neuralinv.dense.precision import product_roundoff
from neuralinv.dense.probabilistic import Odds, overestimate
from neuralinv.dense.scaling import widen

_U = torch.finfo(torch.float64).eps / 2
PROBES = 32


@dataclass(frozen=True)
class _Sizes:
    """What a proof begins with, each ``(batch,)``, float64, rounded up: ``‖A‖_F``, ``‖X‖_F`` and ρ."""

    A: Tensor
    X: Tensor
    rho: Tensor

    def closeness(self, p: int) -> Tensor:
        """Return c with ``‖X − Y‖_F ≤ c ‖Y‖_F``."""
        return -torch.expm1(torch.log1p(-self.rho.clamp(max=1)) / p) * (1 + 16 * _U)

    def proves(self, X: Tensor, positive_pivots: Tensor, trace: Tensor, p: int, dtype: torch.dtype) -> Tensor:
        """Tell whether the bounds hold: ρ < 1, and X, eliminated in its dtype, is positive definite. Norms have to be
        such that, computed with in ``dtype``, no square and no product that matters underflows.
        """
        limit = SAFE_NORM[dtype.to_real()]
        norm_A, norm_X = self.A, self.X
        safe = (norm_A < limit) & (norm_A > 1 / limit) & (norm_X < limit) & (norm_X > 1 / limit)
        smallest = ((1 - self.rho).clamp(min=0) / norm_A).pow(1 / p)  # of the magnitudes of eigenvalues of X
        # With room for the trace's own rounding and for entries that underflow.
        off = 1.01 * gamma(X.shape[-1] + 3, torch.finfo(X.dtype).eps / 2, X.dtype) * trace
        return safe & (self.rho < 1) & positive_pivots & (off < smallest * (1 - 1e-10))


def bound_error(A: Tensor, X: Tensor, p: int) -> tuple[Tensor, Tensor]:
    """Bound ``‖A^{-1/p} − X‖_F / ‖A^{-1/p}‖_F``.

    Parameters
    ----------
    A, X
        Shape ``(batch, n, n)``, float64 or complex128, Hermitian.
    p
        Of the root.

    Returns
    -------
    The bound, shape ``(batch,)``; 1: nothing is proved. And the computed residual ``I − AXᵖ`` in a cyclic order.
    """
    n = A.shape[-1]
    Z = torch.linalg.matrix_power(X, p // 2) if p > 3 else X
    P = Z @ (A @ Z) if p % 2 == 0 else Z @ (A @ Z) @ X if p > 1 else A @ X
    R = _identity_minus(P)
    norm_A, norm_X, norm_R = (_norm(M) for M in (A, X, R))
    # p products one inside the other: each costs γ_n, relative to the product of absolute values.
    rounding = gamma((p + 1) * (n + 2), _U, A.dtype) * (norm_A * norm_X.pow(p) + n**0.5)
    sizes = _Sizes(norm_A, norm_X, _up(norm_R + rounding, n))
    proved = sizes.proves(X, _has_positive_pivots(X), _trace(X), p, A.dtype)
    return torch.where(proved, sizes.closeness(p), 1), R


def correct_square_root(A: Tensor, X: Tensor) -> tuple[Tensor, Tensor]:
    """Correct an inverse square root, and bound ``‖A^{-1/2} − X'‖_F / ‖A^{-1/2}‖_F`` of what it becomes.

    Parameters
    ----------
    A, X
        Shape ``(batch, n, n)``, contiguous, of one dtype, exactly Hermitian. X may be overwritten.

    Returns
    -------
    X', exactly Hermitian, and the bound, float64, shape ``(batch,)``; 1: nothing is proved.

    Notes
    -----
    One product and a half in float64, one in the dtype of A, and an elimination, by a kernel for real matrices up to
    n = 1024 on the CPU (``cpp/include/neuralinv/root_residual.hpp``). Elsewhere two products in float64.
    """
    n, dtype = A.shape[-1], A.dtype
    u = torch.finfo(dtype).eps / 2
    positive_pivots, trace = _has_positive_pivots(X), _trace(X)
    if native_roots.takes(A):
        norms = _up(native_roots.correct(A, X).sqrt(), n).unbind(1)
        terms, product_u = native_roots.roundings(n), u
    else:
        wide_A, wide_X = widen(A), widen(X)
        R = _identity_minus(wide_X @ (wide_A @ wide_X))
        U = R.to(dtype) @ X
        norms = tuple(_norm(M) for M in (wide_A, wide_X, R, U, U - U.mH))
        terms, product_u = n, max(u, product_roundoff(dtype))
        X = X + (U + U.mH) / 4
    norm_A, norm_X, norm_R, norm_U, commutator = norms
    # What underflows, or is read as zero, is below n times the smallest normal number.
    lost = n * torch.finfo(dtype).tiny * (1 + norm_A * norm_X + norm_X.square())
    rounding = gamma(3 * (terms + 2), _U, dtype) * (norm_A * norm_X.square() + n**0.5) + lost
    sizes = _Sizes(norm_A, norm_X, _up(norm_R + rounding, n))
    # Of U: the product, R rounded for it, and the error of R.
    off = norm_X * ((gamma(terms + 2, product_u, dtype) + 2 * u) * (1 + u) * norm_R + rounding + lost)
    bound = _corrected(sizes, norm_U + off, (1 + 4 * u) * commutator + 2 * off, off, u, n)
    proved = sizes.proves(X, positive_pivots, trace, 2, dtype) & (bound < 1)
    return X, torch.where(proved, bound, 1)


def _corrected(sizes: _Sizes, spread: Tensor, commutator: Tensor, off: Tensor, u: float, n: int) -> Tensor:
    """Bound the relative error of X', given bounds of ``‖U‖_F``, of ``‖U − Uᴴ‖_F``, and of the error of U."""
    c, f, square, e = _uncorrected(sizes, spread, n)
    rho = sizes.rho
    wrong = _off_by(rho, commutator, f, e)
    beside = (1 + rho / 2) * commutator + 2 * rho * wrong
    f = torch.minimum(f, _up(rho / 2 + square + sizes.A.sqrt() * beside / 4, n))
    wrong = _off_by(rho, commutator, f, _distance(rho, spread, f, n))
    # U is off, and its Hermitian part and X' are rounded.
    rounded = off / 2 + 1.01 * u * (sizes.X + spread)
    sharp = (1 + c) * (wrong + rounded) / sizes.X
    # Where R is too large for that, X is known to be close, and the correction to be small.
    loose = c + (1 + c) * (spread / 2 + rounded) / sizes.X
    return _up(torch.minimum(sharp, loose), n)


def _off_by(rho: Tensor, commutator: Tensor, f: Tensor, e: Tensor) -> Tensor:
    return ((1 + rho / 2) * commutator / 4 + (rho / 2 + f) * e) / (1 - rho / 2).clamp(min=0.5)


def _uncorrected(sizes: _Sizes, spread: Tensor, n: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return bounds of ``‖X − Y‖_F / ‖Y‖_F``, ``‖F‖₂``, ``‖FᴴF‖_F`` and ``‖X − Y‖_F``; the last is infinite where
    nothing sharper than the first is proved.
    """
    c, rho = sizes.closeness(2), sizes.rho
    q = _up(c * (sizes.A * sizes.X.square() / (1 - rho)).pow(0.25), n)
    frobenius = torch.where(q < 1, _up(rho / (1 - q), n), torch.inf)
    f = torch.minimum(q, frobenius)
    return c, f, _up(f * frobenius, n), _distance(rho, spread, f, n)


def _distance(rho: Tensor, spread: Tensor, f: Tensor, n: int) -> Tensor:
    room = 2 * (1 - f) - rho
    return torch.where(room > 0, _up(spread / room, n), torch.inf)


def probable_error_bound(A: Tensor, X: Tensor, p: int, odds: Odds) -> Tensor:
    """Bound what :func:`bound_error` does with O(n²) operations beside an elimination, wrong with at most the given
    probability.

    Parameters
    ----------
    A, X
        Shape ``(batch, n, n)``, of one dtype, exactly Hermitian.
    p
        Of the root.
    odds
        The vectors are drawn here, after X was made.

    Returns
    -------
    Shape ``(batch,)``; 1: nothing is proved.
    """
    n, k = A.shape[-1], PROBES
    dtype, wide = A.dtype, torch.complex128 if A.is_complex() else torch.float64
    probes = odds.draw(A.new_empty(0, n, dtype=wide), k)
    norm_P = _norm(probes)
    if p == 2 and not A.is_complex() and native_probing.probes(A, k):
        squares, norms = native_probing.probe(A, X, probes, root=True)
        images, spread = _up(squares.sum(-1).sqrt(), n).unbind(1)
        norm_A, norm_X = _up(norms.sqrt(), n).unbind(1)
        u = torch.finfo(dtype).eps / 2
        off = norm_X * ((gamma(n + 2, u, dtype) + 2 * u) * images + n * torch.finfo(dtype).tiny * (1 + norm_P))
    else:
        wide_A, wide_X = widen(A), widen(X)
        D = probes.expand(len(A), n, k)
        for factor in (*(wide_X for _ in range(p // 2)), wide_A, *(wide_X for _ in range(p - p // 2))):
            D = factor @ D
        D = probes - D
        images, norm_A, norm_X, spread = (_norm(M) for M in (D, wide_A, wide_X, wide_X @ D))
        off = torch.zeros_like(images)
    scale = overestimate(odds.failure_probability, k, is_complex=False) / k**0.5
    rounding = gamma((p + 2) * (n + 2), _U, dtype) * (norm_A * norm_X.pow(p) + 1) * norm_P
    sizes = _Sizes(norm_A, norm_X, _up(scale * (images + rounding), n))
    bound = sizes.closeness(p)
    if p == 2:
        c, _, _, e = _uncorrected(sizes, _up(scale * (spread + off + 2 * norm_X * rounding), n), n)
        bound = torch.minimum(c, _up((1 + c) * e / norm_X, n))
    return torch.where(sizes.proves(X, _has_positive_pivots(X), _trace(X), p, dtype), bound, 1)


def _identity_minus(P: Tensor) -> Tensor:
    R = P.neg_()
    R.diagonal(dim1=-2, dim2=-1).add_(1)
    return R


def _has_positive_pivots(X: Tensor) -> Tensor:
    if native_roots.takes(X):
        return native_roots.has_positive_pivots(X)
    return torch.linalg.cholesky_ex(X).info == 0


def _trace(X: Tensor) -> Tensor:
    trace: Any = X.diagonal(dim1=-2, dim2=-1).real.sum(-1, dtype=torch.float64)
    return trace


def _norm(M: Tensor) -> Tensor:
    wide = torch.complex128 if M.is_complex() else torch.float64  # squares could underflow in single precision
    return _up(torch.linalg.vector_norm(M, dim=(-2, -1), dtype=wide), M.shape[-2])


def _up(value: Tensor, n: int) -> Tensor:
    # Norms are sums of n² squares; the handful of operations around them add a few u.
    return value * (1 + 4 * (n * n + 64) * _U)
