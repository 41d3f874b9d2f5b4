"""Memory for results. The C library may give what is dropped back to the system, which clears what it maps anew: that
takes as long as inverting small matrices does. The memory of a large result that is dropped is kept for the next one.

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

LARGE = 1 << 20
"""In bytes: up to here the C library does, in next to no time."""

NUMPY_DTYPE: dict[torch.dtype, np.dtype[Any]] = {
    torch.float32: np.dtype(np.float32),
    torch.float64: np.dtype(np.float64),
    torch.complex64: np.dtype(np.complex64),
    torch.complex128: np.dtype(np.complex128),
}
"""NumPy's names of the dtypes that kernels return."""

_PLAIN = (Tensor, torch.nn.Parameter)


def new_tensor(like: Tensor) -> Tensor:
    """Return a contiguous tensor of the shape, dtype and device of ``like``, with arbitrary entries."""
    if like.nbytes <= LARGE or not _is_kept(like):
        return torch.empty_like(like, memory_format=torch.contiguous_format)
    # torch.frombuffer and a view take three times as long.
    return torch.from_numpy(np.ndarray(like.shape, NUMPY_DTYPE[like.dtype], _memory(like)))


def new_entries(count: int, like: Tensor) -> Tensor:
    """Return ``count`` arbitrary entries of the dtype of ``like``, on its device: ``(count,)``."""
    if count * like.itemsize <= LARGE:
        return like.new_empty(count)
    return new_tensor(like.new_empty(1).expand(count))


def new_array(like: NDArray[Any]) -> NDArray[Any]:
    """Return a contiguous array of the shape and dtype of ``like``, with arbitrary entries."""
    if like.nbytes <= LARGE or _native is None:
        return np.empty(like.shape, like.dtype)
    return np.ndarray(like.shape, like.dtype, _memory(like))


def _is_kept(like: Tensor) -> bool:
    return type(like) in _PLAIN and like.device.type == "cpu" and like.dtype in NUMPY_DTYPE and _native is not None


def _memory(like: Tensor | NDArray[Any]) -> Any:
    return _native.ResultMemory(like.nbytes)
