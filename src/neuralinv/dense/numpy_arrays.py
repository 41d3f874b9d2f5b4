"""NumPy arrays straight to the compiled kernels: a 3×3 inverse costs less than one visit to torch.

Shapes, dtypes, errors and classes are those of ``numpy.linalg``; subclasses of ``numpy.ndarray`` come back as
what they are.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.linalg import inv as numpy_inv
from numpy.linalg import slogdet as numpy_slogdet
from numpy.linalg import solve as numpy_solve
from numpy.typing import NDArray

from neuralinv.dense import failures, lapack, native
from neuralinv.dense._arrays import as_float_array, as_tensor, wrapper_of
from neuralinv.dense.crossover import TABLE
from neuralinv.dense.errors import not_square, raise_if_any
from neuralinv.dense.result_memory import NUMPY_DTYPE

_Array: TypeAlias = NDArray[Any]

_NATIVE = frozenset(NUMPY_DTYPE.values())
_ERROR = np.linalg.LinAlgError
# By the letter of the dtype, which is quicker to look up than the dtype.
_DOUBLE = {"f": np.dtype(np.float64), "F": np.dtype(np.complex128)}
# Up to so many entries, calling NumPy costs less than calling torch.
_SMALL = 4096


def inv(A: Any, positive: bool) -> Any:
    """Invert ``(*batch, n, n)``; see :func:`neuralinv.inv`."""
    values = _prepare(A)
    if _has_kernel("inv", values, positive):
        X, failed = native.invert(values, positive=positive)
        if failed >= 0:
            raise failures.of_inverse(values, failed, _ERROR, positive=positive)
    else:
        X = _inverse_by_lapack(values, positive)
    return X if type(A) is np.ndarray and A.dtype == X.dtype else _as(A, X)


def inv_ex(A: Any, positive: bool) -> tuple[Any, Any]:
    """Invert ``(*batch, n, n)``; see :func:`neuralinv.inv_ex`."""
    values = _prepare(A)
    if _has_kernel("inv", values, positive):
        X, info = native.invert_ex(values, positive=positive)
    else:
        X, info = _numbers(lapack.inverse_ex(_tensor(values), positive))
    return _as(A, X), info[()]


def solve(A: Any, b: Any, positive: bool) -> Any:
    """Solve ``A x = b``; see :func:`neuralinv.solve`."""
    values, columns, dtype = _prepare_both(A, b)
    if _has_kernel("solve", values, positive) and columns.size:
        X, failed = native.solve(values, columns, positive=positive)
        if failed >= 0:
            raise failures.of_solve(values, columns, failed, _ERROR, positive=positive)
    else:
        X = _solution_by_lapack(values, columns, positive)
    return _like_b(X, b, dtype)


def solve_ex(A: Any, b: Any, positive: bool) -> tuple[Any, Any]:
    """Solve ``A x = b``; see :func:`neuralinv.solve_ex`."""
    values, columns, dtype = _prepare_both(A, b)
    if _has_kernel("solve", values, positive) and columns.size:
        X, info = native.solve_ex(values, columns, positive=positive)
    else:
        X, info = _numbers(lapack.solution_ex(_tensor(values), _tensor(columns), positive))
    return _like_b(X, b, dtype), failures.info_of_matrices(info, np.shape(A)[:-2])[()]


def slogdet(A: Any, positive: bool) -> tuple[Any, Any]:
    """Return sign and log|det| of ``(*batch, n, n)``; see :func:`neuralinv.slogdet`."""
    values = _prepare(A)
    wide = _DOUBLE.get(values.dtype.char)
    if wide is not None:  # exp(log|det|) loses digits: numpy.linalg computes in double precision, too
        values = values.astype(wide)
    known = _has_kernel("slogdet", values, positive)
    if known and values.ndim == 2 and values.dtype.kind == "f":
        both, failed = native.slogdet_of_one(values, positive=positive)
        if failed < 0:
            if wide is not None:
                both = both.astype(_narrow(A))
            return both[0], both[1]
    if known:
        sign, logabsdet, failed = native.slogdet(values, positive=positive)
        if failed >= 0:
            if positive:
                raise failures.of_cholesky(values, failed, _ERROR)
            odd = ~(logabsdet < np.inf)  # the sign of NaN is a convention: NumPy's here
            sign[odd], logabsdet[odd] = numpy_slogdet(values[odd])
    else:
        sign, logabsdet = _determinant_by_lapack(values, positive)
    if wide is not None:
        sign = sign.astype(np.complex64 if sign.dtype.kind == "c" else _narrow(A))
        logabsdet = logabsdet.astype(_narrow(A))
    return sign[()], logabsdet[()]


def _narrow(A: Any) -> type[np.floating[Any]]:
    """Return what numbers of ``A`` are that are computed in double precision: ``float16`` or ``float32``."""
    return np.float16 if _is_half(A) else np.float32


def _prepare(A: Any) -> _Array:
    """Return ``A`` as a plain array of a dtype that LAPACK knows, ``(*batch, n, n)``."""
    values = _as_native(A, "A")
    shape = values.shape
    if len(shape) < 2 or shape[-1] != shape[-2]:
        raise not_square(values, shape, "A")
    return values


def _as_native(A: Any, name: str) -> _Array:
    if type(A) is np.ndarray and A.dtype in _NATIVE:  # most are
        return A
    values = as_float_array(A, name)
    if _is_half(values):
        return values.astype(np.float32)
    return values if values.dtype in _NATIVE else values.astype(values.dtype.newbyteorder("="))


def _prepare_both(A: Any, b: Any) -> tuple[_Array, _Array, np.dtype[Any]]:
    """Return ``(*batch, n, n)`` and ``(*batch, n, k)`` of one dtype, and the dtype of the result."""
    values, rhs = _prepare(A), _as_native(b, "b")
    # NumPy's rule: b is a vector only where it has one dimension; torch takes more shapes for vectors.
    columns = rhs[:, None] if rhs.ndim == 1 else rhs
    if columns.ndim < 2 or columns.shape[-2] != values.shape[-1]:
        raise _mismatch(values, rhs)
    if values.shape[:-2] != columns.shape[:-2]:
        try:
            batch = np.broadcast_shapes(values.shape[:-2], columns.shape[:-2])
        except ValueError:
            raise _mismatch(values, rhs) from None
        values = np.broadcast_to(values, batch + values.shape[-2:])
        columns = np.broadcast_to(columns, batch + columns.shape[-2:])
    if values.dtype != columns.dtype:
        dtype = np.result_type(values, columns)
        values, columns = values.astype(dtype), columns.astype(dtype)
    return values, columns, np.dtype(np.float16) if _is_half(A) and _is_half(b) else values.dtype


def _mismatch(A: _Array, b: _Array) -> ValueError:
    return ValueError(f"A has shape {A.shape} and b {b.shape}; expected b of (n,) or (*batch, n, k)")


def _has_kernel(operation: native.Operation, values: _Array, positive: bool) -> bool:
    limits, n = TABLE.limits[operation, values.dtype, positive], values.shape[-1]
    if not 0 < n <= limits.ever or not values.size:
        return False
    return n <= limits.always or n <= limits.for_batch(values.size // (n * n))


def _inverse_by_lapack(A: _Array, positive: bool) -> _Array:
    if not positive and A.size <= _SMALL:
        try:
            return numpy_inv(A)
        except _ERROR:
            pass  # NumPy does not say which
    X, info = lapack.inverse_ex(_tensor(A), positive)
    raise_if_any(info, _ERROR, positive=positive)
    return X.numpy()


def _solution_by_lapack(A: _Array, B: _Array, positive: bool) -> _Array:
    if not positive and A.size <= _SMALL:
        try:
            return numpy_solve(A, B)
        except _ERROR:
            pass
    X, info = lapack.solution_ex(_tensor(A), _tensor(B), positive)
    raise_if_any(info, _ERROR, positive=positive)
    return X.numpy()


def _determinant_by_lapack(A: _Array, positive: bool) -> tuple[_Array, _Array]:
    if not positive:
        return numpy_slogdet(A)
    tensor = _tensor(A)
    raise_if_any(torch.linalg.cholesky_ex(tensor).info, _ERROR, positive=True)
    sign, logabsdet = lapack.determinant(tensor, positive=True)
    return sign.numpy(), logabsdet.numpy()


def _tensor(values: _Array) -> torch.Tensor:
    return as_tensor(values)[0]


def _numbers(tensors: tuple[torch.Tensor, ...]) -> list[_Array]:
    return [tensor.numpy() for tensor in tensors]


def _is_half(A: Any) -> bool:
    return getattr(getattr(A, "dtype", None), "char", "") == "e"


def _as(A: Any, X: _Array) -> Any:
    """Give ``X`` the precision and the class of ``A``."""
    return wrapper_of(A)(X.astype(np.float16) if _is_half(A) else X)


def _like_b(X: _Array, b: Any, dtype: np.dtype[Any]) -> Any:
    X = X[..., 0] if np.ndim(b) == 1 else X
    return wrapper_of(b)(X if X.dtype == dtype else X.astype(dtype))
