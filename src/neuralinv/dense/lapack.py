"""LAPACK through torch, for what has no kernel here; large matrices one after another.

On the CPU torch spreads the LU factorisations of a batch over threads, and the MKL inside it spreads each large one over
threads again. After ``torch.set_num_threads`` the two get in each other's way: the call never returns, or returns wrong
numbers (pytorch/pytorch#141358, #142815, #181570; seen with torch 2.13 from n ≈ 128 on). One matrix at a time has all
threads to itself and is safe.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

_SAFE_TOGETHER = 64
"""Up to this size MKL uses one thread for a matrix, and a batch is safe."""


def inv_ex(A: Tensor) -> tuple[Tensor, Tensor]:
    """Return the inverses of ``(*batch, n, n)`` and LAPACK's ``info``, as :func:`torch.linalg.inv_ex` does."""
    return _apart(lambda A: tuple(torch.linalg.inv_ex(A)), A)


def solve_ex(A: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Solve ``(*batch, n, n)`` for right-hand sides ``(*batch, n, k)`` of the same batch shape; also ``info``."""
    return _apart(lambda A, b: tuple(torch.linalg.solve_ex(A, b)), A, b)


def slogdet(A: Tensor) -> tuple[Tensor, Tensor]:
    """Return sign and logarithm of the determinants of ``(*batch, n, n)``."""
    return _apart(lambda A: tuple(torch.linalg.slogdet(A)), A)


def _apart(function: Callable[..., tuple[Tensor, Tensor]], *operands: Tensor) -> tuple[Tensor, Tensor]:
    """Apply ``function`` to a batch, or to its matrices one by one where that is the only safe way."""
    first = operands[0]
    batch = first.shape[:-2]
    if first.shape[-1] <= _SAFE_TOGETHER or not first.is_cpu or batch.numel() <= 1 or torch.get_num_threads() == 1:
        return function(*operands)
    matrices = zip(*(operand.flatten(0, -3) for operand in operands), strict=True)
    firsts, seconds = zip(*(function(*each) for each in matrices), strict=True)
    return tuple(torch.stack(results).unflatten(0, batch) for results in (firsts, seconds))  # type: ignore[return-value]
