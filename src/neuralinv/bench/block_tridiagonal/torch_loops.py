"""The work as a Python loop over time steps in torch, the way sequential auto-encoders write it.

Two loops, independent of ``neuralinv.block_tridiagonal``: one inverts each diagonal block of the factor, in the
factorisation and again in each solve, as the code accompanying Archer et al. 2015 (arXiv:1511.07367) does; one solves
triangular systems instead. Both take a batch of sequences in each step. Blocks are taken apart with ``unbind``, whose
gradient is one operation for all steps: kinder to the loop than indexing, whose gradient fills a tensor of T blocks for
each of the T steps.
"""

from __future__ import annotations

import torch
from torch import Tensor

Factor = tuple[list[Tensor], list[Tensor]]
"""Diagonal blocks ``L_t`` and blocks ``C_t`` below them."""


def work_with_inverses(diag: Tensor, lower: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Return ``M⁻¹ b`` and ``log det M``, inverting an n×n block in each step of each recursion."""
    factor = factor_with_inverses(diag, lower)
    return solve_with_inverses(factor, b), log_determinant(factor)


def work_with_triangular_solves(diag: Tensor, lower: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Return ``M⁻¹ b`` and ``log det M``, with triangular solves."""
    factor = factor_with_triangular_solves(diag, lower)
    return solve_with_triangular_solves(factor, b), log_determinant(factor)


def factor_with_inverses(diag: Tensor, lower: Tensor) -> Factor:
    """Factor ``diag (*batch, T, n, n)``, ``lower (*batch, T − 1, n, n)``."""
    D = diag.unbind(-3)
    L, C = [torch.linalg.cholesky(D[0])], []
    for D_t, B_t in zip(D[1:], lower.unbind(-3), strict=True):
        C.append(B_t @ torch.linalg.inv(L[-1]).mT)
        L.append(torch.linalg.cholesky(D_t - C[-1] @ C[-1].mT))
    return L, C


def factor_with_triangular_solves(diag: Tensor, lower: Tensor) -> Factor:
    """Factor with a triangular solve for each block below the diagonal."""
    D = diag.unbind(-3)
    L, C = [torch.linalg.cholesky(D[0])], []
    for D_t, B_t in zip(D[1:], lower.unbind(-3), strict=True):
        C.append(torch.linalg.solve_triangular(L[-1], B_t.mT, upper=False).mT)
        L.append(torch.linalg.cholesky(D_t - C[-1] @ C[-1].mT))
    return L, C


def solve_with_inverses(factor: Factor, b: Tensor) -> Tensor:
    """Solve ``F Fᵀ x = b`` for ``b (*batch, T, n)``."""
    L, C = factor
    y: list[Tensor] = []
    for t, b_t in enumerate(b.unsqueeze(-1).unbind(-3)):
        y.append(torch.linalg.inv(L[t]) @ (b_t - C[t - 1] @ y[-1] if t else b_t))
    return _solve_transposed_with_inverses(factor, y)


def color_with_inverses(factor: Factor, noise: Tensor) -> Tensor:
    """Solve ``Fᵀ x = noise`` for ``noise (*batch, T, n)``: standard normal noise becomes a draw of precision ``M``."""
    return _solve_transposed_with_inverses(factor, list(noise.unsqueeze(-1).unbind(-3)))


def _solve_transposed_with_inverses(factor: Factor, y: list[Tensor]) -> Tensor:
    L, C = factor
    x = [torch.linalg.inv(L[-1]).mT @ y[-1]]
    for t in reversed(range(len(C))):
        x.append(torch.linalg.inv(L[t]).mT @ (y[t] - C[t].mT @ x[-1]))
    return torch.stack(x[::-1], -3).squeeze(-1)


def solve_with_triangular_solves(factor: Factor, b: Tensor) -> Tensor:
    """Solve ``F Fᵀ x = b`` for ``b (*batch, T, n)``."""
    L, C = factor
    y: list[Tensor] = []
    for t, b_t in enumerate(b.unsqueeze(-1).unbind(-3)):
        y.append(torch.linalg.solve_triangular(L[t], b_t - C[t - 1] @ y[-1] if t else b_t, upper=False))
    x = [torch.linalg.solve_triangular(L[-1].mT, y[-1], upper=True)]
    for t in reversed(range(len(C))):
        x.append(torch.linalg.solve_triangular(L[t].mT, y[t] - C[t].mT @ x[-1], upper=True))
    return torch.stack(x[::-1], -3).squeeze(-1)


def log_determinant(factor: Factor) -> Tensor:
    """Return ``log det M``, shape ``(*batch,)``."""
    return 2 * torch.stack(factor[0], -3).diagonal(dim1=-2, dim2=-1).log().sum((-2, -1))
