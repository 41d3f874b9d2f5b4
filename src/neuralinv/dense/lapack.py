"""LAPACK's answers through torch, for general and positive definite matrices: differentiable, any device, any size."""

from __future__ import annotations

import torch
from torch import Tensor
from torch._C._functorch import peek_interpreter_stack
from torch.autograd import forward_ad
from torch.linalg import cholesky, cholesky_ex, inv, inv_ex, slogdet, solve, solve_ex  # kept: somebody may patch torch

# Each pair: one that raises torch's own error and hides nothing from torch (compiled, mapped, dual tensors), and one
# that returns LAPACK's info.


def inverse(A: Tensor, positive: bool) -> Tensor:
    """Invert ``(*batch, n, n)``; raises ``torch.linalg.LinAlgError``."""
    return _inverse_from_factor(cholesky(A)) if positive else inv(A)


def inverse_ex(A: Tensor, positive: bool) -> tuple[Tensor, Tensor]:
    """Invert ``(*batch, n, n)`` and return LAPACK's info; the inverse of what is not positive definite is NaN."""
    if not positive:
        X, info = inv_ex(A)
        return X, info
    L, info, failed = _factor(A)
    return torch.where(failed, torch.nan, _inverse_from_factor(L)), info


def solution(A: Tensor, B: Tensor, positive: bool) -> Tensor:
    """Solve ``A X = B``, both with the same batch dimensions; raises ``torch.linalg.LinAlgError``."""
    return torch.cholesky_solve(B, cholesky(A)) if positive else solve(A, B)


def solution_ex(A: Tensor, B: Tensor, positive: bool) -> tuple[Tensor, Tensor]:
    """Solve ``A X = B`` and return LAPACK's info; the solution with what is not positive definite is NaN."""
    if not positive:
        X, info = solve_ex(A, B)
        return X, info
    L, info, failed = _factor(A)
    return torch.where(failed, torch.nan, torch.cholesky_solve(B, L)), info


def determinant(A: Tensor, positive: bool) -> tuple[Tensor, Tensor]:
    """Return sign and log|det| of ``(*batch, n, n)``; raises ``torch.linalg.LinAlgError`` if not positive definite."""
    if not positive:
        sign, logabsdet = slogdet(A)
        return sign, logabsdet
    diagonal = cholesky(A).diagonal(dim1=-2, dim2=-1)
    logabsdet = 2 * (diagonal.real if diagonal.is_complex() else diagonal).log().sum(-1)
    return torch.ones_like(logabsdet, dtype=A.dtype), logabsdet


def _inverse_from_factor(L: Tensor) -> Tensor:
    if not torch.compiler.is_compiling() and (forward_ad._current_level >= 0 or peek_interpreter_stack() is not None):
        # torch's forward derivative of cholesky_inverse is wrong (2.13); this costs more, and is right.
        identity = torch.eye(L.shape[-1], dtype=L.dtype, device=L.device)
        return torch.cholesky_solve(identity.expand(L.shape), L)
    return torch.cholesky_inverse(L)


def _factor(A: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    L, info = cholesky_ex(A)
    failed = (info != 0)[..., None, None]
    # LAPACK refuses to go on with a zero on the diagonal: give it something regular there.
    return torch.where(failed, torch.eye(A.shape[-1], dtype=A.dtype, device=A.device), L), info, failed
