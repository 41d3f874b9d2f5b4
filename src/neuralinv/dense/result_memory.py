"""Memory for results. The C library maps large ones anew with every call, and the system clears what it maps, which
takes as long as inverting small matrices does: the memory of a large result that is dropped is kept for the next one.

At most 256 MiB are kept; the environment variable ``NEURALINV_SPARE_MEMORY`` says how many MiB instead, 0 for none.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

try:
    from neuralinv import _native
except ImportError:  # a source tree that was never built
    _native = None  # type: ignore[assignment]

LARGE = 32 << 20
"""In bytes: up to here the C library keeps memory itself."""

_FEW = LARGE // 16  # entries that are not large in any dtype: one quick look has to do for small calls
_PLAIN = (Tensor, torch.nn.Parameter)


def new_tensor(like: Tensor) -> Tensor:
    """Return a contiguous tensor of the shape, dtype and device of ``like``, with arbitrary entries."""
    if like.numel() <= _FEW or not _is_kept(like):
        return torch.empty_like(like, memory_format=torch.contiguous_format)
    memory: Any = _native.ResultMemory(like.nbytes)
    return torch.frombuffer(memory, dtype=like.dtype, count=like.numel()).view(like.shape)


def new_entries(count: int, like: Tensor) -> Tensor:
    """Return ``count`` arbitrary entries of the dtype of ``like``, on its device: ``(count,)``."""
    return like.new_empty(count) if count <= _FEW else new_tensor(like.new_empty(1).expand(count))


def _is_kept(like: Tensor) -> bool:
    return type(like) in _PLAIN and like.device.type == "cpu" and like.nbytes > LARGE and _native is not None


def new_array(like: NDArray[Any]) -> NDArray[Any]:
    """Return a contiguous array of the shape and dtype of ``like``, with arbitrary entries."""
    if like.size <= _FEW or like.nbytes <= LARGE or _native is None:
        return np.empty(like.shape, like.dtype)
    memory: Any = _native.ResultMemory(like.nbytes)
    return np.frombuffer(memory, like.dtype, like.size).reshape(like.shape)
