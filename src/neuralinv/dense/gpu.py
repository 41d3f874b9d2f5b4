"""The seam to the Triton kernels: tensors on a GPU in, tensors on it out. Triton is imported at the first call."""

from __future__ import annotations

import functools
from types import ModuleType

import torch
from torch import Tensor

from neuralinv.kernels import availability
from neuralinv.kernels.crossover import REACH, Reach

NOTHING = Reach(0, 0)


def holds(A: Tensor) -> bool:
    """Tell whether the kernels for GPUs are in charge of this tensor."""
    return not A.is_cpu


def reach(A: Tensor, operation: str, *, positive: bool) -> Reach:
    """Tell up to which size an operation on tensors like ``A`` runs on kernels."""
    return NOTHING if positive or not availability.serves(A.device) else reach_of(operation, A.dtype)


def reach_of(operation: str, dtype: torch.dtype) -> Reach:
    """Tell the same for a dtype on a GPU that has kernels; there are none for complex numbers."""
    return REACH.get((operation, dtype), NOTHING)


def certifies(A: Tensor) -> bool:
    """Tell whether :func:`certified_invert` takes ``A`` of shape ``(batch, n, n)``."""
    return A.numel() > 0 and A.shape[-1] <= reach(A, "inv", positive=False).kernel


def invert(A: Tensor) -> tuple[Tensor, int]:
    """Invert ``(*batch, n, n)``; waits for the device to say which matrix of the batch failed first, or -1."""
    X, info = invert_ex(A)
    return X, _first_failure(info)


def invert_ex(A: Tensor) -> tuple[Tensor, Tensor]:
    """Invert ``(*batch, n, n)``; returns LAPACK's info, and does not wait."""
    return _kernels().invert(A)


def certified_invert(A: Tensor, rtol: float) -> tuple[Tensor, Tensor]:
    """Invert ``(batch, n, n)`` and bound the errors, as :func:`neuralinv.dense.native.certified_invert` does."""
    return _kernels().certified_invert(A, rtol)


def solve(A: Tensor, B: Tensor) -> tuple[Tensor, int]:
    """Solve ``A X = B``; waits as :func:`invert` does."""
    X, info = solve_ex(A, B)
    return X, _first_failure(info)


def solve_ex(A: Tensor, B: Tensor) -> tuple[Tensor, Tensor]:
    """Solve ``A X = B`` for ``(*batch, n, n)`` and ``(*batch, n, k)``; does not wait."""
    return _kernels().solve(A, B)


def slogdet(A: Tensor) -> tuple[Tensor, Tensor]:
    """Return sign and log|det| of ``(*batch, n, n)``; does not wait."""
    return _kernels().slogdet(A)


@functools.cache
def _kernels() -> ModuleType:
    from neuralinv.kernels import dense

    return dense


def _first_failure(info: Tensor) -> int:
    # One small number crosses to the host, and as a rule no other.
    if not bool(info.any()):
        return -1
    return int((info.reshape(-1) != 0).int().argmax())  # the first of the largest
