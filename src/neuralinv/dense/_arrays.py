"""NumPy in, NumPy out; torch in, torch out; JAX in, JAX out: the one place where the kinds meet."""

from __future__ import annotations

import sys
from typing import Any, Protocol, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch._C._functorch import is_functorch_wrapped_tensor
from torch.autograd import forward_ad

from neuralinv.dense.errors import TorchDtypeError, not_square

Array: TypeAlias = Tensor | NDArray[Any]
"""A torch tensor or a NumPy array."""

_HALF = (torch.float16, torch.bfloat16)


class _Restore(Protocol):
    def __call__(self, value: Tensor) -> Any: ...


def as_tensor(array: Array, *, name: str = "A") -> tuple[Tensor, _Restore]:
    """View ``array`` as a tensor and return the function that brings results back to its kind.

    Integers and booleans in a NumPy array become float64, as ``numpy.linalg`` has it, and those in a JAX array JAX's
    default float; a tensor of integers is refused, as ``torch.linalg`` has it. Results for subclasses of
    ``numpy.ndarray`` are wrapped by their ``__array_wrap__``, as ``numpy.linalg`` does.

    Raises
    ------
    TypeError
        If ``array`` is neither a tensor nor something that NumPy turns into a numeric array, or has masked entries; for
        tensors it is a ``RuntimeError``, too.
    ValueError
        If an integer is no float: the answer would be about another matrix.
    """
    if isinstance(array, Tensor):
        check_tensor(array, name)
        return array, _unchanged
    if isinstance(array, np.ma.MaskedArray) and np.ma.is_masked(array):
        raise TypeError(f"{name} has masked entries, of which nothing is known: fill them first ({name}.filled(…))")
    if is_jax(array):
        tensor, restore = from_jax(array, name)
        if array.dtype.kind in "iu":
            _check_integers(np.asarray(array), tensor.numpy(force=True), name)
        return tensor, restore
    values, given = as_float_array(array, name), np.asarray(array)
    if given.dtype.kind in "iu":
        _check_integers(given, values, name)
    # torch cannot view arrays with negative or odd strides, of foreign byte order, or (without a warning) read-only
    # ones.
    odd = any(stride < 0 or stride % values.itemsize for stride in values.strides)
    if odd or not values.dtype.isnative or not values.flags.writeable:
        values = values.astype(values.dtype.newbyteorder("="), copy=True)
    wrap = wrapper_of(array)
    # [()] makes a scalar of an array without dimensions, as NumPy's own functions do.
    return torch.from_numpy(values), lambda value: wrap(value.detach().cpu().numpy()[()])


def _check_integers(integers: NDArray[Any], floats: NDArray[Any], name: str) -> None:
    with np.errstate(invalid="ignore"):  # what is out of range comes back as another number
        lost = floats.astype(integers.dtype) != integers
    if lost.any():
        raise ValueError(
            f"{name} holds the integer {integers[lost][0]}, which {floats.dtype} rounds: pass floating-point numbers, "
            "so that it is clear which matrix is meant"
        )


def check_tensor(tensor: Tensor, name: str) -> None:
    """Raise an error that is a ``TypeError`` and a ``RuntimeError`` unless ``tensor`` is dense and not of integers."""
    if tensor.is_nested:
        raise TorchDtypeError(
            f"{name} is a nested tensor; pass matrices of one size as a dense one: to_padded_tensor, or one by one"
        )
    if tensor.dtype not in _TORCH_DTYPES:
        raise TorchDtypeError(f"{name} has dtype {tensor.dtype}; expected a floating-point or complex tensor")
    if tensor.layout != torch.strided:
        raise TorchDtypeError(f"{name} is a sparse tensor; neuralinv inverts dense ones: pass {name}.to_dense()")


def as_numbers(tensor: Tensor, name: str) -> Tensor:
    """Return a tensor whose entries can be looked at: what is certified is a matrix of numbers.

    Raises
    ------
    TypeError
        If there are none: a meta tensor, one within a transformation of ``torch.func``, or one that is traced. A
        ``RuntimeError``, too.
    """
    if _is_traced():
        raise TorchDtypeError(
            f"{name} is traced (torch.jit.trace, make_fx, torch.export, FakeTensorMode): what is certified depends on "
            "its entries, which a trace does not have; call this outside of the traced function, or neuralinv.inv "
            "inside of it"
        )
    if is_functorch_wrapped_tensor(tensor):
        raise TorchDtypeError(
            f"{name} is transformed by torch.func (vmap, grad, jvp, …), where nobody knows its entries, and there is "
            "nothing to certify: call this outside of the transformed function, or neuralinv.inv inside of it"
        )
    if tensor.is_meta:
        raise TorchDtypeError(f"{name} is a meta tensor: it has no entries that could be certified")
    if tensor._is_zerotensor():  # autograd's own, without memory
        return torch.zeros(tensor.shape, dtype=tensor.dtype, device=tensor.device)
    return tensor


_TRACING_MODES = (torch._C._TorchDispatchModeKey.PROXY, torch._C._TorchDispatchModeKey.FAKE)


def _is_traced() -> bool:
    return torch._C._get_tracing_state() is not None or any(
        torch._C._get_dispatch_mode(mode) is not None for mode in _TRACING_MODES
    )


def is_differentiated(tensor: Tensor) -> bool:
    """Tell whether somebody wants a derivative, backward or forward."""
    if tensor.requires_grad:
        return True
    return forward_ad._current_level >= 0 and forward_ad.unpack_dual(tensor).tangent is not None


def as_float_array(array: Any, name: str) -> NDArray[Any]:
    """Return ``array`` as a plain NumPy array of a dtype that :func:`as_tensor` takes, in any layout."""
    values = np.asarray(array)
    if values.dtype.kind in "iub":
        values = values.astype(np.float64)
    if values.dtype.newbyteorder("=") not in _NUMPY_DTYPES:
        raise TypeError(f"{name} has dtype {values.dtype}; expected float16, float32, float64, complex64 or complex128")
    return values


def wrapper_of(array: object) -> Any:
    """Return what makes an array of the same class: the identity for plain arrays, lists and other foreign objects."""
    if type(array) is np.ndarray or not isinstance(array, np.ndarray):
        return _unchanged
    return lambda value: value if np.isscalar(value) else array.__array_wrap__(value)


def _unchanged(value: Any) -> Any:
    return value


def at_least_single(A: Tensor) -> Tensor:
    """Half precision has no LAPACK: compute in float32."""
    return A.float() if A.dtype in _HALF else A


def check_square(A: Tensor, original: object = None, *, name: str = "A") -> None:
    """Raise an error that is a ``ValueError`` unless ``A`` has shape ``(*batch, n, n)``.

    ``original`` is what the user passed, where that was no tensor.
    """
    if A.ndim < 2 or A.shape[-1] != A.shape[-2]:
        raise not_square(A if original is None else original, tuple(A.shape), name)


_TORCH_DTYPES = {
    torch.float16,
    torch.bfloat16,
    torch.float32,
    torch.float64,
    torch.complex64,
    torch.complex128,
}
_NUMPY_DTYPES = {np.dtype(name) for name in ("float16", "float32", "float64", "complex64", "complex128")}


def is_jax(array: object) -> bool:
    """Tell JAX arrays and tracers without importing JAX, which is no dependency."""
    kind = type(array)
    return kind is not np.ndarray and kind.__module__.partition(".")[0] in ("jax", "jaxlib")


def from_jax(array: Any, name: str) -> tuple[Tensor, _Restore]:
    """View a JAX array as a tensor, and return the function that makes JAX arrays of results."""
    jax = sys.modules["jax"]
    if isinstance(array, jax.core.Tracer):
        raise TypeError(
            f"{name} is traced by jax (jit, grad or vmap), where only jax's own operations run: call neuralinv outside "
            "of the transformed function, or neuralinv.jax.inv inside of it"
        )
    if not jax.numpy.issubdtype(array.dtype, jax.numpy.inexact):
        array = array.astype(float)
    if len(array.devices()) > 1:
        raise TypeError(f"{name} is spread over {len(array.devices())} devices; neuralinv works on one")
    # DLPack shares the memory. JAX takes results in row-major order only.
    return torch.from_dlpack(array), lambda value: jax.dlpack.from_dlpack(value.detach().contiguous())
