"""LAPACK's answers through torch, for general and positive definite matrices: differentiable, any device, any size.

On the CPU torch spreads the LU factorisations of a batch over threads, and the MKL inside it spreads each large one
over threads again. After ``torch.set_num_threads`` the two get in each other's way: the call never returns, or returns
wrong numbers (pytorch/pytorch#141358, #142815, #181570; seen with torch 2.13 from n ≈ 128 on). Large matrices therefore
go one by one here, each with all threads to itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.linalg import cholesky, cholesky_ex, inv, inv_ex, slogdet, solve, solve_ex  # kept: somebody may patch torch

from neuralinv.dense.hermitian import from_lower
from neuralinv.dense.routes import is_differentiated_inside

_SAFE_TOGETHER = 64  # up to this size MKL uses one thread for a matrix, and a batch is safe

# Each pair: one that raises torch's own error and hides nothing from torch (compiled, mapped, dual tensors), and one
# that returns LAPACK's info.


def inverse(A: Tensor, positive: bool) -> Tensor:
    """Invert ``(*batch, n, n)``; raises ``torch.linalg.LinAlgError``."""
    return _inverse_from_factor(cholesky(_symmetric(A))) if positive else _one_by_one(inv, A)


def inverse_ex(A: Tensor, positive: bool) -> tuple[Tensor, Tensor]:
    """Invert ``(*batch, n, n)`` and return LAPACK's info; the inverse of what is not positive definite is NaN."""
    if not positive:
        X, info = _one_by_one(inv_ex, A)
        return X, info
    L, info, failed = _factor(A)
    return torch.where(failed, torch.nan, _inverse_from_factor(L)), info


def solution(A: Tensor, B: Tensor, positive: bool) -> Tensor:
    """Solve ``A X = B``, both with the same batch dimensions; raises ``torch.linalg.LinAlgError``."""
    return torch.cholesky_solve(B, cholesky(_symmetric(A))) if positive else _one_by_one(solve, A, B)


def solution_ex(A: Tensor, B: Tensor, positive: bool) -> tuple[Tensor, Tensor]:
    """Solve ``A X = B`` and return LAPACK's info; the solution with what is not positive definite is NaN."""
    if not positive:
        X, info = _one_by_one(solve_ex, A, B)
        return X, info
    L, info, failed = _factor(A)
    return torch.where(failed, torch.nan, torch.cholesky_solve(B, L)), info


def determinant(A: Tensor, positive: bool) -> tuple[Tensor, Tensor]:
    """Return sign and log|det| of ``(*batch, n, n)``; raises ``torch.linalg.LinAlgError`` if not positive definite."""
    if not positive:
        sign, logabsdet = _one_by_one(slogdet, A)
        return sign, logabsdet
    diagonal = cholesky(_symmetric(A)).diagonal(dim1=-2, dim2=-1)
    logabsdet = 2 * (diagonal.real if diagonal.is_complex() else diagonal).log().sum(-1)
    return torch.ones_like(logabsdet, dtype=A.dtype), logabsdet


def _one_by_one(function: Callable[..., Any], *operands: Tensor) -> Any:
    """Apply ``function`` to a batch at once where that is safe, else to each of its matrices."""
    A = operands[0]
    batch = A.shape[:-2]
    safe = A.shape[-1] <= _SAFE_TOGETHER or not A.is_cpu or len(batch) == 0 or torch.get_num_threads() == 1
    if safe or batch.numel() <= 1 or torch.compiler.is_compiling():
        return function(*operands)
    each = [function(*matrices) for matrices in zip(*(X.flatten(0, -3) for X in operands), strict=True)]
    if isinstance(each[0], Tensor):
        return torch.stack(each).unflatten(0, batch)
    return tuple(torch.stack(parts).unflatten(0, batch) for parts in zip(*each, strict=True))


def _symmetric(A: Tensor) -> Tensor:
    """Say that ``A`` is Hermitian where torch may ask for a forward derivative: of a Cholesky factor, torch's own takes
    both triangles of a tangent at their word.
    """
    return from_lower(A) if is_differentiated_inside() else A


def _inverse_from_factor(L: Tensor) -> Tensor:
    if is_differentiated_inside():
        # torch's forward derivative of cholesky_inverse is wrong (2.13); this costs more, and is right.
        identity = torch.eye(L.shape[-1], dtype=L.dtype, device=L.device)
        return torch.cholesky_solve(identity.expand(L.shape), L)
    return torch.cholesky_inverse(L)


def _factor(A: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    L, info = cholesky_ex(_symmetric(A))
    failed = (info != 0)[..., None, None]
    # LAPACK refuses to go on with a zero on the diagonal: give it something regular there.
    return torch.where(failed, torch.eye(A.shape[-1], dtype=A.dtype, device=A.device), L), info, failed
