"""Proved errors of inverse p-th roots, from the residual ``R = I − XᵖA`` in a cyclic order such as ``I − XAX``.

**Any p.** Let X be Hermitian positive definite and ``ρ ≥ ‖R‖_F`` with ρ < 1. The eigenvalues of AXᵖ are those of
``X^{p/2} A X^{p/2}``, hence real, and lie in [1 − ρ, 1 + ρ], so that ``(1 − ρ) A⁻¹ ≤ Xᵖ ≤ (1 + ρ) A⁻¹`` in the order of
Hermitian matrices. Roots preserve that order (Löwner 1934, Heinz 1951; Bhatia, *Matrix Analysis*, §V.1), and with
``Y = A^{-1/p}``

    (1 − ρ)^{1/p} Y ≤ X ≤ (1 + ρ)^{1/p} Y,    hence    ‖X − Y‖_F ≤ c ‖Y‖_F,   c = 1 − (1 − ρ)^{1/p}:

X − Y = Y^{1/2} K Y^{1/2} with ‖K‖₂ ≤ c, and ‖Y^{1/2} K Y^{1/2}‖_F ≤ ‖KY‖_F. That X is positive definite is proved, too:
a Cholesky factorisation in floating point succeeds only if λ_min(X) > −γ_{n+1} tr X / (1 − γ_{n+1}) (Higham, *Accuracy
and Stability*, Thm 10.3), while |λ_min(X)| ≥ ((1 − ρ) / ‖A‖_F)^{1/p}.

**p = 2, sharper.** That bound takes the norm of all of R for its largest eigenvalue, and is √n too large for what
rounding leaves. Let B = Y⁻¹, E = X − Y and F = BE. From ``(I + F)ᴴ (I + F) = XAX = I − R`` and Fᴴ = EB,

    B E + E B = −S,    S = R + Fᴴ F.

In the eigenbasis of Y, with eigenvalues y, ``E_ij = −S_ij y_i y_j / (y_i + y_j)`` and ``F_ij = −S_ij y_j / (y_i +
y_j)``. Since ``y_i y_j / (y_i + y_j) ≤ √(y_i y_j) / 2`` and S is Hermitian, ``‖E‖_F ≤ ‖YS‖_F / 2``; and ``‖F‖_F ≤
‖S‖_F``. Now ``F = Y^{-1/2} K Y^{1/2}``, so that ``‖F‖₂ ≤ q = c κ(A)^{1/4}`` with ``κ(A) ≤ ‖A‖_F ‖X‖_F² / (1 − ρ)``.
Where q < 1, ``‖F‖_F ≤ ρ + q ‖F‖_F`` gives ``‖F‖_F ≤ ρ / (1 − q)``, and with ``‖YR‖_F ≤ ‖XR‖_F + ρ ‖E‖_F`` and
``‖X‖_F ≤ (1 + c) ‖Y‖_F``

    ‖X − Y‖_F / ‖Y‖_F ≤ ((1 + c) ‖XR‖_F / ‖X‖_F + (ρ / (1 − q))²) / (2 − ρ).

**Probabilistic.** ``‖R‖_F`` and ``‖XR‖_F`` are bounded with O(k n²) operations, as in
:mod:`neuralinv.dense.probabilistic`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from neuralinv.dense.correction import gamma, product_roundoff
from neuralinv.dense.probabilistic import Odds, overestimate

_U = torch.finfo(torch.float64).eps / 2
_PROBES = 32


def bound_error(A: Tensor, X: Tensor, p: int, *, work: torch.dtype) -> tuple[Tensor, Tensor]:
    """Bound ``‖A^{-1/p} − X‖_F / ‖A^{-1/p}‖_F``.

    Parameters
    ----------
    A, X
        Shape ``(batch, n, n)``, float64 or complex128, Hermitian.
    p
        Of the root.
    work
        Precision of what need not be float64: ``XR``, and the factorisation where that suffices for the proof. X must
        be representable in it.

    Returns
    -------
    The bound, shape ``(batch,)``; 1 or NaN: nothing is proved. And the computed residual ``I − AXᵖ`` in a cyclic order.

    Notes
    -----
    For p = 2 two products in float64, and one product and a Cholesky factorisation in ``work``.
    """
    n = A.shape[-1]
    Z = torch.linalg.matrix_power(X, p // 2) if p > 3 else X
    P = Z @ (A @ Z) if p % 2 == 0 else Z @ (A @ Z) @ X if p > 1 else A @ X
    R = P.neg_()
    R.diagonal(dim1=-2, dim2=-1).add_(1)
    norm_A, norm_X, norm_R = (torch.linalg.vector_norm(M, dim=(-2, -1)) for M in (A, X, R))
    # p products one inside the other: each costs γ_n, relative to the product of absolute values.
    rounding = gamma((p + 1) * (n + 2), _U, A.dtype) * (norm_A * norm_X.pow(p) + n**0.5)
    rho = _up(norm_R + rounding, n)
    spread = None
    if p == 2:
        # Squares of what is computed in single precision could underflow there.
        T = torch.linalg.vector_norm(X.to(work) @ R.to(work), dim=(-2, -1), dtype=A.dtype)
        u = torch.finfo(work).eps / 2
        lost = gamma(n + 2, max(u, product_roundoff(work)), work) + u  # of the product, of rounding R for it
        spread = _up(T + norm_X * (lost * (1 + u) * norm_R + rounding), n)
    return _from_residual(A, X, p, rho, spread, work), R


def probable_error_bound(A: Tensor, X: Tensor, p: int, odds: Odds, *, work: torch.dtype) -> Tensor:
    """Bound the same with O(n²) operations beside the Cholesky factorisation, wrong with at most the given
    probability.

    Parameters
    ----------
    A, X, p, work
        As for :func:`bound_error`.
    odds
        The vectors are drawn here, after X was made.

    Returns
    -------
    Shape ``(batch,)``; 1 or NaN: nothing is proved.
    """
    n, k = A.shape[-1], _PROBES
    probes = odds.draw(A, k)
    images = probes.expand(len(A), n, k)
    for factor in (*(X for _ in range(p // 2)), A, *(X for _ in range(p - p // 2))):
        images = factor @ images
    images = probes - images
    norm = torch.linalg.vector_norm
    norm_A, norm_X, norm_P = norm(A, dim=(-2, -1)), norm(X, dim=(-2, -1)), norm(probes)
    scale = overestimate(odds.failure_probability, k, is_complex=False) / k**0.5
    rounding = gamma((p + 2) * (n + 2), _U, A.dtype) * (norm_A * norm_X.pow(p) + 1) * norm_P
    rho = _up(scale * (norm(images, dim=(-2, -1)) + rounding), n)
    spread = None
    if p == 2:
        spread = _up(scale * (norm(X @ images, dim=(-2, -1)) + 2 * norm_X * rounding), n)
    return _from_residual(A, X, p, rho, spread, work)


def _from_residual(A: Tensor, X: Tensor, p: int, rho: Tensor, spread: Tensor | None, work: torch.dtype) -> Tensor:
    n = A.shape[-1]
    norm_A, norm_X = (torch.linalg.vector_norm(M, dim=(-2, -1)) for M in (A, X))
    c = -torch.expm1(torch.log1p(-rho.clamp(max=1)) / p) * (1 + 16 * _U)
    bound = c
    if spread is not None:
        q = _up(c * (norm_A * norm_X.square() / (1 - rho)).pow(0.25), n)
        sharper = _up(((1 + c) * spread / norm_X + (rho / (1 - q)).square()) / (2 - rho), n)
        bound = torch.where((q < 1) & (sharper < c), sharper, c)
    smallest = ((1 - rho).clamp(min=0) / _up(norm_A, n)).pow(1 / p)
    proved = (rho < 1) & (_is_positive(X, smallest, work) if n else True)
    return torch.where(proved, bound, torch.ones_like(bound))


def _is_positive(X: Tensor, smallest: Tensor, work: torch.dtype) -> Tensor:
    """Prove X positive definite where its eigenvalues are known to be at least ``smallest`` in absolute value."""
    n = X.shape[-1]
    trace: Any = X.diagonal(dim1=-2, dim2=-1).real.sum(-1)
    u = torch.finfo(work).eps / 2
    # With room for the trace's own rounding and for entries that underflow.
    suffices = 1.01 * gamma(n + 2, u, work) * trace < smallest * (1 - 1e-10)
    positive = torch.zeros_like(suffices)
    for dtype, chosen in ((work, suffices), (X.dtype, ~suffices)):
        index = chosen.nonzero().squeeze(1)
        if len(index):
            each = X if len(index) == len(X) else X[index]
            positive[index] = torch.linalg.cholesky_ex(each.to(dtype)).info == 0
    enough = 2 * gamma(n + 2, _U, X.dtype) * trace < smallest * (1 - 1e-10)
    return positive & enough


def _up(value: Tensor, n: int) -> Tensor:
    # Norms are sums of n² squares; the handful of operations around them add a few u.
    return value * (1 + 4 * (n * n + 64) * _U)
