"""Exact inverses, solutions and log-determinants: compiled kernels, or LAPACK's LU with partial pivoting."""

from __future__ import annotations

from typing import NamedTuple, TypeVar, cast

import torch
from torch import Tensor

from neuralinv.dense import native
from neuralinv.dense._arrays import Array, as_tensor, check_square, linalg_error

ArrayT = TypeVar("ArrayT", bound=Array)

_BY_ROUTE = {
    native.Route.DIFFERENTIATED: native.DifferentiableInverse.apply,
    native.Route.COMPILED: native.inv_op,
    native.Route.TORCH: torch.linalg.inv,
}
_HALF = (torch.float16, torch.bfloat16)


class SlogdetResult(NamedTuple):
    """Sign (or phase) and logarithm of the absolute value of a determinant, both of shape ``(*batch,)``."""

    sign: Array
    logabsdet: Array


def inv(A: ArrayT) -> ArrayT:
    """Invert every matrix of a batch.

    Parameters
    ----------
    A
        Shape ``(*batch, n, n)``, NumPy array or torch tensor; real or complex, half precision is computed in
        float32 and cast back.

    Returns
    -------
    The inverses: same shape, dtype, kind and device as ``A``. Differentiable for tensors.

    Raises
    ------
    numpy.linalg.LinAlgError, torch.linalg.LinAlgError
        If a matrix is exactly singular (a zero pivot); the type follows the kind of ``A``.
    ValueError
        If ``A`` is not a batch of square matrices.

    Notes
    -----
    2 n³ floating-point operations per matrix. Real matrices up to 32×32 on the CPU: Gauss–Jordan elimination with
    partial pivoting, one matrix in each SIMD lane (``cpp/include/neuralinv/inverse.hpp``); others: LU with partial
    pivoting (Golub & Van Loan, *Matrix Computations*, §3.4). No error bound comes with the answer:
    :func:`neuralinv.certified_inv` gives one.
    """
    tensor, restore = as_tensor(A)
    check_square(tensor)
    wide = _widen(tensor)
    route = native.route(wide)
    if route is native.Route.DIRECT:
        inverse, failed = native.invert(wide)
        native.raise_if_singular(wide, failed, linalg_error(A))
        return cast(ArrayT, restore(inverse.to(tensor.dtype)))
    if route is not native.Route.LAPACK and isinstance(A, Tensor):  # these raise by themselves
        return cast(ArrayT, _BY_ROUTE[route](wide).to(tensor.dtype))
    inverse, info = torch.linalg.inv_ex(wide)
    _raise_if_singular(info, A)
    return cast(ArrayT, restore(inverse.to(tensor.dtype)))


def solve(A: ArrayT, b: ArrayT) -> ArrayT:
    """Solve ``A x = b`` for every matrix of a batch.

    Parameters
    ----------
    A
        Shape ``(*batch, n, n)``.
    b
        Right-hand sides. ``(*batch, n, k)`` for k of them per matrix, ``(n,)`` for one vector; a tensor may also have
        shape ``(*batch, n)`` for one vector per matrix. That is the rule of ``numpy.linalg.solve`` (NumPy 2) for
        arrays, and of ``torch.linalg.solve`` for tensors.

    Returns
    -------
    The solutions, shaped like ``b`` (batch dimensions broadcast), of the same kind.

    Raises
    ------
    numpy.linalg.LinAlgError, torch.linalg.LinAlgError
        If a matrix is exactly singular.
    ValueError
        If ``A`` is not a batch of square matrices, or ``b`` does not fit it.

    Notes
    -----
    (2/3) n³ + 2 n² k floating-point operations per matrix.
    """
    tensor, restore = as_tensor(A)
    check_square(tensor)
    rhs, _ = as_tensor(b, name="b")
    dtype = torch.promote_types(tensor.dtype, rhs.dtype)
    tensor, rhs = _widen(tensor.to(dtype)), _widen(rhs.to(dtype))
    if isinstance(A, Tensor):
        result, info = torch.linalg.solve_ex(tensor, rhs)
    else:
        result, info = _solve_as_numpy(tensor, rhs)
    _raise_if_singular(info, A)
    return cast(ArrayT, restore(result.to(dtype)))


def slogdet(A: Array) -> SlogdetResult:
    """Return sign and log|det| of every matrix of a batch.

    Parameters
    ----------
    A
        Shape ``(*batch, n, n)``, NumPy array or torch tensor.

    Returns
    -------
    ``(sign, logabsdet)``, each of shape ``(*batch,)``; 0 and -inf for a singular matrix, as NumPy and torch have it.

    Raises
    ------
    ValueError
        If ``A`` is not a batch of square matrices.

    Notes
    -----
    (2/3) n³ floating-point operations per matrix.
    """
    tensor, restore = as_tensor(A)
    check_square(tensor)
    sign, logabsdet = torch.linalg.slogdet(_widen(tensor))
    real = tensor.dtype.to_real()
    return SlogdetResult(restore(sign.to(tensor.dtype)), restore(logabsdet.to(real)))


def _solve_as_numpy(A: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Solve with NumPy's rule: b is a vector only where it has one dimension; torch takes more shapes for vectors."""
    columns = b.unsqueeze(-1) if b.ndim == 1 else b
    try:
        batch = torch.broadcast_shapes(A.shape[:-2], columns.shape[:-2])
    except RuntimeError:
        batch = None
    if batch is None or columns.shape[-2] != A.shape[-1]:
        raise ValueError(f"A has shape {tuple(A.shape)} and b {tuple(b.shape)}; expected b of (n,) or (*batch, n, k)")
    # With as many dimensions as A, torch sees columns.
    result, info = torch.linalg.solve_ex(A.expand(*batch, *A.shape[-2:]), columns.expand(*batch, *columns.shape[-2:]))
    return (result.squeeze(-1) if b.ndim == 1 else result), info


def _widen(A: Tensor) -> Tensor:
    """Half precision has no LAPACK: compute in float32."""
    return A.float() if A.dtype in _HALF else A


def _raise_if_singular(info: Tensor, A: Array) -> None:
    # LAPACK's info: k ≥ 1 says that pivot k is exactly zero.
    if not bool(info.any()):
        return
    index = tuple(int(i) for i in info.nonzero()[0])
    raise native.singular(index, int(info[index]), linalg_error(A))
