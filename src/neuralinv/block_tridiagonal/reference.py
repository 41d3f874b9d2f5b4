"""The recursions as a plain loop over time in torch: the other methods are tested and measured against it.

``M = F Fᵀ`` with diagonal blocks ``L_t`` and sub-diagonal blocks ``C_t`` of ``F``::

    L_t L_tᵀ = D_t − C_{t−1} C_{t−1}ᵀ        C_t = B_t L_t⁻ᵀ
"""

from __future__ import annotations

import torch
from torch import Tensor

from neuralinv.block_tridiagonal.errors import as_nan, can_branch, raise_if_failed
from neuralinv.dense.hermitian import from_lower
from neuralinv.dense.precision import without_autocast


@without_autocast
def factor(D: Tensor, B: Tensor, *, check: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Factor ``D (*batch, T, n, n)``, ``B (*batch, T − 1, n, n)``.

    Returns
    -------
    ``L`` and ``C``, shaped like ``D`` and ``B``, and ``info (*batch,)``: 0, or the order of the first leading minor
    that is not positive and finite, where ``L`` and ``C`` are NaN, and so are their derivatives. ``check`` raises
    ``torch.linalg.LinAlgError`` instead, where Python may look at values.
    """
    D = from_lower(D)
    steps, n = D.shape[-3], D.shape[-1]
    info = torch.zeros(D.shape[:-3], dtype=torch.int64, device=D.device)
    L: list[Tensor] = []
    C: list[Tensor] = []
    for t in range(steps):
        S = D[..., t, :, :]
        if t > 0:
            S = S - C[-1] @ C[-1].mT
        L_t, failed = factor_block(S)
        info = torch.where((info == 0) & (failed > 0), t * n + failed, info)
        L.append(L_t)
        if t + 1 < steps:
            C.append(torch.linalg.solve_triangular(L_t, B[..., t, :, :].mT, upper=False).mT)
    if check and can_branch(D):
        raise_if_failed(info, n)
    factors = as_nan(info != 0, torch.stack(L, -3), torch.stack(C, -3) if C else B)
    return factors[0], factors[1], info


def factor_block(S: Tensor) -> tuple[Tensor, Tensor]:
    """Factor ``S (*batch, n, n)``; info also counts a pivot that is infinite or not a number, unlike LAPACK's."""
    L, info = torch.linalg.cholesky_ex(S)
    wrong = ~torch.isfinite(L.diagonal(dim1=-2, dim2=-1))
    first = torch.where(wrong.any(-1), wrong.int().argmax(-1) + 1, 0)
    # Of two failures the first.
    failed = torch.where((info > 0) & ((first == 0) | (info < first)), info, first)
    return L, failed


@without_autocast
def solve(L: Tensor, C: Tensor, b: Tensor, *, transposed: bool) -> Tensor:
    """Solve ``F x = b``, or ``Fᵀ x = b``, for ``b (*batch, T, n, k)``."""
    steps = L.shape[-3]
    x: list[Tensor] = []
    for t in reversed(range(steps)) if transposed else range(steps):
        rhs = b[..., t, :, :]
        if x:
            coupling = C[..., t, :, :].mT if transposed else C[..., t - 1, :, :]
            rhs = rhs - coupling @ x[-1]
        L_t = L[..., t, :, :].mT if transposed else L[..., t, :, :]
        x.append(torch.linalg.solve_triangular(L_t, rhs, upper=transposed))
    return torch.stack(x[::-1] if transposed else x, -3)


@without_autocast
def inverse_blocks(L: Tensor, C: Tensor) -> tuple[Tensor, Tensor]:
    """Return ``Σ_tt (*batch, T, n, n)`` and ``Σ_{t+1,t} (*batch, T − 1, n, n)`` of ``Σ = M⁻¹ = F⁻ᵀ F⁻¹``."""
    steps, n = L.shape[-3], L.shape[-1]
    identity = torch.eye(n, dtype=L.dtype, device=L.device)
    diagonal: list[Tensor] = []
    below: list[Tensor] = []
    for t in reversed(range(steps)):
        K = torch.linalg.solve_triangular(L[..., t, :, :], identity, upper=False)
        sigma = K.mT @ K
        if diagonal:
            G = C[..., t, :, :] @ K
            below.append(-diagonal[-1] @ G)
            sigma = sigma - G.mT @ below[-1]
        diagonal.append(sigma)
    return torch.stack(diagonal[::-1], -3), torch.stack(below[::-1], -3) if below else C


def log_diagonal(L: Tensor) -> Tensor:
    """Sum the logarithms of the diagonals of ``L (*batch, T, n, n)``: half the log-determinant; ``(*batch,)``."""
    return L.diagonal(dim1=-2, dim2=-1).log().sum((-2, -1))
