"""NumPy in, NumPy out; torch in, torch out: the one place where the two kinds meet."""

from __future__ import annotations

from typing import Any, Protocol, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Array: TypeAlias = Tensor | NDArray[Any]
"""A torch tensor or a NumPy array."""


class _Restore(Protocol):
    def __call__(self, value: Tensor) -> Any: ...


def as_tensor(array: Array, *, name: str = "A") -> tuple[Tensor, _Restore]:
    """View ``array`` as a tensor and return the function that brings results back to its kind.

    Integers and booleans in a NumPy array become float64, as ``numpy.linalg`` has it; a tensor of
    integers is refused, as ``torch.linalg`` has it.

    Raises
    ------
    TypeError
        If ``array`` is neither a tensor nor something that NumPy turns into a numeric array.
    """
    if isinstance(array, Tensor):
        if array.dtype not in _TORCH_DTYPES:
            raise TypeError(f"{name} has dtype {array.dtype}; expected a floating-point or complex tensor")
        if array.layout != torch.strided:
            raise TypeError(f"{name} is a sparse tensor; neuralinv inverts dense ones: pass {name}.to_dense()")
        return array, lambda value: value
    values = np.asarray(array)
    if values.dtype.kind in "iub":
        values = values.astype(np.float64)
    if values.dtype.newbyteorder("=") not in _NUMPY_DTYPES:
        raise TypeError(f"{name} has dtype {values.dtype}; expected float16, float32, float64, complex64 or complex128")
    # torch cannot view arrays with negative or odd strides, of foreign byte order, or (without a warning) read-only
    # ones.
    odd = any(stride < 0 or stride % values.itemsize for stride in values.strides)
    if odd or not values.dtype.isnative or not values.flags.writeable:
        values = values.astype(values.dtype.newbyteorder("="), copy=True)
    # [()] makes a scalar of an array without dimensions, as NumPy's own functions do.
    return torch.from_numpy(values), lambda value: value.detach().cpu().numpy()[()]


_TORCH_DTYPES = {
    torch.float16,
    torch.bfloat16,
    torch.float32,
    torch.float64,
    torch.complex64,
    torch.complex128,
}
_NUMPY_DTYPES = {np.dtype(name) for name in ("float16", "float32", "float64", "complex64", "complex128")}


def linalg_error(array: Array) -> type[Exception]:
    """Return the ``LinAlgError`` of the library that ``array`` belongs to."""
    return torch.linalg.LinAlgError if isinstance(array, Tensor) else np.linalg.LinAlgError


def check_square(A: Tensor, *, name: str = "A") -> None:
    """Raise ``ValueError`` unless ``A`` has shape ``(*batch, n, n)``."""
    if A.ndim < 2 or A.shape[-1] != A.shape[-2]:
        raise ValueError(f"{name} has shape {tuple(A.shape)}; expected (*batch, n, n) with square matrices")
