"""Parallel in time: odd-even (cyclic) reduction, of depth O(log T), in batched torch operations on any device.

Every recursion over time is halved: the odd time steps are eliminated, what is left couples the even ones alone, and
has the same form. Afterwards the odd steps follow from their neighbours. Buzbee, Golub & Nielson (SIAM J. Numer. Anal.
7, 1970, https://doi.org/10.1137/0707049); Heller (SIAM J. Numer. Anal. 13, 1976, https://doi.org/10.1137/0713042).

O(T n³) operations, some three times those of the loop. Autograd differentiates it by itself, any number of times.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.linalg import solve_triangular
from torch.nn.functional import pad

from neuralinv.block_tridiagonal import reference
from neuralinv.block_tridiagonal.errors import as_nan, can_branch, raise_if_failed
from neuralinv.block_tridiagonal.reference import factor_block, log_diagonal
from neuralinv.dense.hermitian import from_lower
from neuralinv.dense.precision import without_autocast

__all__ = ["factor", "inverse_blocks", "log_diagonal", "solve"]


@without_autocast
def factor(D: Tensor, B: Tensor, *, check: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Factor as :func:`neuralinv.block_tridiagonal.reference.factor` does, to which sequences go that fail here.

    While torch.func or torch.compile look on, nobody can ask which sequences those are: they are NaN, ``info`` is 1.
    """
    D = from_lower(D)
    L, C, failed = _factor(D, B)
    status = failed.long()
    if not can_branch(D):
        factors = as_nan(failed, L, C)
        return factors[0], factors[1], status
    if not bool(failed.any()):
        return L, C, status
    # Rare: find the failing pivot in the natural order. What the loop factors after all, it factors for good.
    again_L, again_C, info = reference.factor(D[failed], B[failed], check=False)
    status = status.masked_scatter(failed, info)
    if check:
        raise_if_failed(status, D.shape[-1])
    # The others once more: a backward pass through what failed could give NaN for what the loop factored.
    L, C, _ = _factor(D[~failed], B[~failed])
    wide = failed[..., None, None, None]
    L = torch.zeros_like(D).masked_scatter(wide, again_L).masked_scatter(~wide, L)
    C = torch.zeros_like(B).masked_scatter(wide, again_C).masked_scatter(~wide, C)
    return L, C, status


def _factor(D: Tensor, B: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return ``L`` and ``C``, and which sequences failed, ``(*batch,)``: their blocks are anything."""
    S, failed = _prefix_schur_complements(D, B)
    L, info = factor_block(S)
    C = solve_triangular(L[..., :-1, :, :], B.mT, upper=False).mT
    return L, C, failed | (info > 0).any(-1) | ~torch.isfinite(C).all(-1).all(-1).all(-1)


def _prefix_schur_complements(D: Tensor, B: Tensor) -> tuple[Tensor, Tensor]:
    """Return ``S_t = D_t − B_{t−1} S_{t−1}⁻¹ B_{t−1}ᵀ`` for all t, and which sequences failed, ``(*batch,)``.

    Let e, o be neighbours, even and odd. Eliminating all odd steps leaves a block-tridiagonal matrix over the even
    ones, whose prefix complements lack, besides the past, the one odd step to their right. That step touches no other
    even step of the past, so its contribution ``B_eᵀ D_o⁻¹ B_e`` is added back: ``S_e = S'_e + B_eᵀ D_o⁻¹ B_e``, a sum
    of positive matrices. Then ``S_o = D_o − B_e S_e⁻¹ B_eᵀ``.
    """
    steps = D.shape[-3]
    if steps == 1:
        return D, torch.zeros(D.shape[:-3], dtype=torch.bool, device=D.device)
    even, odd = D[..., 0::2, :, :], D[..., 1::2, :, :]
    to_odd, to_even = B[..., 0::2, :, :], B[..., 1::2, :, :]  # blocks (2i + 1, 2i) and (2i + 2, 2i + 1)
    pairs = to_even.shape[-3]  # odd steps with an even one to their right
    L, info = factor_block(odd)
    X = solve_triangular(L, to_odd, upper=False)
    Y = solve_triangular(L[..., :pairs, :, :], to_even.mT, upper=False)
    right = X.mT @ X
    reduced = even - _pad_steps(right, 0, even.shape[-3] - right.shape[-3]) - _pad_steps(Y.mT @ Y, 1, 0)
    S, failed = _prefix_schur_complements(reduced, -Y.mT @ X[..., :pairs, :, :])
    S_even = S + _pad_steps(right, 0, even.shape[-3] - right.shape[-3])
    L_even, info_even = factor_block(S_even[..., : odd.shape[-3], :, :])
    Z = solve_triangular(L_even, to_odd.mT, upper=False)
    failed = failed | (info > 0).any(-1) | (info_even > 0).any(-1)
    return _interleave(S_even, odd - Z.mT @ Z), failed


@without_autocast
def solve(L: Tensor, C: Tensor, b: Tensor, *, transposed: bool) -> Tensor:
    """Solve ``F x = b``, or ``Fᵀ x = b``, for ``b (*batch, T, n, k)``."""
    if not transposed:
        return _solve(L, C, b, upper=False)
    # Backwards in time, Fᵀ is block-bidiagonal below its diagonal, with upper triangular blocks on it.
    return _solve(L.mT.flip(-3), C.mT.flip(-3), b.flip(-3), upper=True).flip(-3)


def _solve(L: Tensor, C: Tensor, b: Tensor, *, upper: bool) -> Tensor:
    # x_o = L_o⁻¹ (b_o − C_e x_e) for the odd step between the even steps e and f, put into the equation of f:
    # L_f x_f = (b_f − C_o L_o⁻¹ b_o) + (C_o L_o⁻¹ C_e) x_e.
    if L.shape[-3] == 1:
        return solve_triangular(L, b, upper=upper)
    to_odd, to_even = C[..., 0::2, :, :], C[..., 1::2, :, :]
    pairs, n = to_even.shape[-3], L.shape[-1]
    both = solve_triangular(
        L[..., 1::2, :, :], torch.cat([to_odd, b[..., 1::2, :, :]], -1), upper=upper
    )  # (*batch, odd steps, n, n + k)
    moved = to_even @ both[..., :pairs, :, :]
    rhs = b[..., 0::2, :, :] - _pad_steps(moved[..., n:], 1, 0)
    x_even = _solve(L[..., 0::2, :, :], -moved[..., :n], rhs, upper=upper)
    x_odd = both[..., n:] - both[..., :n] @ x_even[..., : both.shape[-3], :, :]
    return _interleave(x_even, x_odd)


@without_autocast
def inverse_blocks(L: Tensor, C: Tensor) -> tuple[Tensor, Tensor]:
    """Return the diagonal and sub-diagonal blocks of the inverse.

    With ``K_t = L_t⁻¹`` and ``G_t = C_t K_t``::

        Σ_tt = K_tᵀ K_t + G_tᵀ Σ_{t+1,t+1} G_t        Σ_{t+1,t} = −Σ_{t+1,t+1} G_t
    """
    K = solve_triangular(L, torch.eye(L.shape[-1], dtype=L.dtype, device=L.device), upper=False)
    G = C @ K[..., :-1, :, :]
    diagonal = _accumulate((K.mT @ K).flip(-3), G.flip(-3)).flip(-3)
    return diagonal, -diagonal[..., 1:, :, :] @ G


def _accumulate(Q: Tensor, G: Tensor) -> Tensor:
    """Solve ``Σ_0 = Q_0``, ``Σ_{s+1} = Q_{s+1} + G_sᵀ Σ_s G_s``; ``Q`` has one step more than ``G``."""
    if Q.shape[-3] == 1:
        return Q
    to_odd, to_even = G[..., 0::2, :, :], G[..., 1::2, :, :]
    pairs = to_even.shape[-3]
    odd = Q[..., 1::2, :, :]
    skipped = to_even.mT @ odd[..., :pairs, :, :] @ to_even
    even = _accumulate(Q[..., 0::2, :, :] + _pad_steps(skipped, 1, 0), to_odd[..., :pairs, :, :] @ to_even)
    return _interleave(even, odd + to_odd.mT @ even[..., : odd.shape[-3], :, :] @ to_odd)


def _pad_steps(x: Tensor, before: int, after: int) -> Tensor:
    """Put zero blocks before and after ``x (*batch, steps, n, k)``."""
    return pad(x, (0, 0, 0, 0, before, after))


def _interleave(even: Tensor, odd: Tensor) -> Tensor:
    """Merge steps 0, 2, … and 1, 3, …; there are as many of both, or one even step more."""
    steps = even.shape[-3] + odd.shape[-3]
    padded = _pad_steps(odd, 0, even.shape[-3] - odd.shape[-3])
    return torch.stack([even, padded], -3).flatten(-4, -3)[..., :steps, :, :]
