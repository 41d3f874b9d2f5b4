"""`solve` and `solve_ex`: exact solutions of batches of linear systems."""

from __future__ import annotations

from typing import Any, NamedTuple, TypeVar, cast

import numpy as np
import torch
from torch import Tensor

from neuralinv.dense import failures, lapack, native, numpy_arrays, operators
from neuralinv.dense._arrays import Array, as_tensor, at_least_single, check_square, check_tensor, is_jax
from neuralinv.dense.assumptions import Assumption, is_positive
from neuralinv.dense.errors import TorchDeviceError, TorchDtypeError, TorchShapeError, raise_if_any
from neuralinv.dense.routes import Route, route

ArrayT = TypeVar("ArrayT", bound=Array)


class SolutionInfo(NamedTuple):
    """Solutions, shaped like the right-hand sides, and LAPACK's ``info`` for each matrix, int32."""

    result: Any
    info: Any


def solve(A: ArrayT, b: ArrayT, *, assume_a: Assumption = "gen") -> ArrayT:
    """Solve ``A x = b`` for every matrix of a batch.

    Parameters
    ----------
    A
        Shape ``(*batch, n, n)``: NumPy array, torch tensor or JAX array.
    b
        Right-hand sides. ``(*batch, n, k)`` for k of them per matrix, ``(n,)`` for one vector; a tensor may also have
        shape ``(*batch, n)`` for one vector per matrix. That is the rule of ``numpy.linalg.solve`` (NumPy 2) for
        NumPy and JAX arrays, and of ``torch.linalg.solve`` for tensors. Batch dimensions broadcast.
    assume_a
        ``"gen"`` for general matrices; ``"pos"`` for symmetric positive definite ones, as for :func:`inv`.

    Returns
    -------
    The solutions, shaped like ``b`` (batch dimensions broadcast), of the same kind. Differentiable for tensors.

    Raises
    ------
    numpy.linalg.LinAlgError, torch.linalg.LinAlgError
        If a matrix is exactly singular, or not positive definite where that was promised.
    ValueError
        If ``A`` is not a batch of square matrices, or ``b`` does not fit it or lies on another device (for tensors a
        ``RuntimeError``, too).
    TypeError
        If something is no floating-point or complex number; if two tensors differ in dtype.

    Notes
    -----
    (2/3) n³ + 2 n² k floating-point operations per matrix; with ``"pos"`` (1/3) n³ + 2 n² k. No inverse is formed.
    """
    positive = is_positive(assume_a)
    if isinstance(A, Tensor):
        return cast(ArrayT, _solve(A, _tensor_beside(A, b), positive, torch.linalg.LinAlgError))
    if is_jax(A) or is_jax(b):
        tensor, rhs, restore = _from_jax(A, b)
        X = _solve(tensor, rhs, positive, np.linalg.LinAlgError)
        return cast(ArrayT, restore(X.squeeze(-1) if b.ndim == 1 else X))
    return cast(ArrayT, numpy_arrays.solve(A, b, positive))


def solve_ex(A: Array, b: Array, *, assume_a: Assumption = "gen") -> SolutionInfo:
    """Solve ``A x = b`` for every matrix of a batch, and tell instead of raising where there is no solution.

    Parameters
    ----------
    A, b, assume_a
        As for :func:`solve`.

    Returns
    -------
    ``(result, info)``; ``info`` as for :func:`inv_ex`, in the shape of the batch of ``A``.

    Raises
    ------
    ValueError, TypeError
        As :func:`solve`.

    Notes
    -----
    Costs what :func:`solve` costs.
    """
    positive = is_positive(assume_a)
    if isinstance(A, Tensor):
        return SolutionInfo(*_solve_ex(A, _tensor_beside(A, b), positive))
    if is_jax(A) or is_jax(b):
        tensor, rhs, restore = _from_jax(A, b)
        X, info = _solve_ex(tensor, rhs, positive)
        return SolutionInfo(restore(X.squeeze(-1) if b.ndim == 1 else X), restore(info))
    return SolutionInfo(*numpy_arrays.solve_ex(A, b, positive))


def _solve(A: Tensor, b: Tensor, positive: bool, error: type[Exception]) -> Tensor:
    wide, columns, is_vector = _broadcast(A, b)
    way = route(wide, columns, operation="solve", positive=positive)
    if way is Route.DIRECT:
        X, failed = native.solve(wide, columns, positive=positive)
        if failed >= 0:
            raise failures.of_solve(wide, columns, failed, error, positive=positive)
    elif way is Route.DIFFERENTIATED:
        X = operators.DifferentiableSolution.apply(wide, columns, positive)
    elif way is Route.COMPILED:
        X = operators.solve_op(wide, columns, positive)
    elif way is Route.TORCH:
        X = lapack.solution(wide, columns, positive)
    else:
        X = _by_lapack(wide, columns, positive, error)
    return _shaped(X, A, is_vector)


def _solve_ex(A: Tensor, b: Tensor, positive: bool) -> tuple[Tensor, Tensor]:
    wide, columns, is_vector = _broadcast(A, b)
    way = route(wide, columns, operation="solve", positive=positive)
    if way is Route.DIRECT:
        X, info = native.solve_ex(wide, columns, positive=positive)
    elif way in (Route.DIFFERENTIATED, Route.COMPILED):
        X, info = operators.solve_ex_op(wide, columns, positive)
    else:
        X, info = lapack.solution_ex(wide, columns, positive)
    return _shaped(X, A, is_vector), failures.info_of_matrices(info, A.shape[:-2])


def _by_lapack(A: Tensor, B: Tensor, positive: bool, error: type[Exception]) -> Tensor:
    try:
        return lapack.solution(A, B, positive)
    except torch.linalg.LinAlgError:
        _, info = lapack.solution_ex(A.detach(), B.detach(), positive)
        raise_if_any(info, error, positive=positive)
        raise


def _tensor_beside(A: Tensor, b: Any) -> Tensor:
    rhs, _ = as_tensor(b, name="b")
    if rhs.dtype != A.dtype:
        raise TorchDtypeError(f"A and b must have the same dtype; A has {A.dtype} and b {rhs.dtype}")
    if rhs.device != A.device:
        raise TorchDeviceError(f"A and b must lie on the same device; A is on {A.device} and b on {rhs.device}")
    return rhs


def _from_jax(A: Any, b: Any) -> tuple[Tensor, Tensor, Any]:
    (tensor, restore_A), (rhs, restore_b) = as_tensor(A), as_tensor(b, name="b")
    restore = restore_A if is_jax(A) else restore_b
    # A matrix of one column, so that torch's rule for vectors never comes in.
    rhs = rhs.unsqueeze(-1) if rhs.ndim == 1 else rhs
    dtype = torch.promote_types(tensor.dtype, rhs.dtype)
    check_square(tensor)
    if rhs.ndim < tensor.ndim:
        rhs = rhs.expand(*tensor.shape[:-2], *rhs.shape[-2:])
    return tensor.to(dtype), rhs.to(dtype), restore


def _broadcast(A: Tensor, b: Tensor) -> tuple[Tensor, Tensor, bool]:
    """Bring both to ``(*batch, n, n)`` and ``(*batch, n, k)``, at least single precision."""
    check_tensor(A, "A")
    check_square(A)
    # torch's rule: (*batch, n) beside (*batch, n, n) is one vector for each matrix.
    is_vector = b.ndim == 1 or (b.ndim == A.ndim - 1 and b.shape == A.shape[:-1])
    columns = b.unsqueeze(-1) if is_vector else b
    if columns.ndim < 2 or columns.shape[-2] != A.shape[-1]:
        raise TorchShapeError(
            f"incompatible shapes of A {tuple(A.shape)} and b {tuple(b.shape)}; expected b of (n,), (*batch, n) or "
            "(*batch, n, k)"
        )
    if A.shape[:-2] != columns.shape[:-2]:
        try:
            batch = torch.broadcast_shapes(A.shape[:-2], columns.shape[:-2])
        except RuntimeError:
            raise TorchShapeError(
                f"the batch dimensions of A {tuple(A.shape)} and b {tuple(b.shape)} must be broadcastable"
            ) from None
        A, columns = A.expand(*batch, *A.shape[-2:]), columns.expand(*batch, *columns.shape[-2:])
    return at_least_single(A), at_least_single(columns), is_vector


def _shaped(X: Tensor, A: Tensor, is_vector: bool) -> Tensor:
    X = X.squeeze(-1) if is_vector else X
    return X if X.dtype == A.dtype else X.to(A.dtype)
