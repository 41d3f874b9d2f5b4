"""Exact inverses, solutions and log-determinants: LAPACK's partially pivoted LU through torch."""

from __future__ import annotations

from typing import NamedTuple, TypeVar, cast

import numpy as np
import torch
from torch import Tensor

from neuralinv.dense._arrays import Array, as_tensor, check_square, linalg_error

ArrayT = TypeVar("ArrayT", bound=Array)

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
    2 n³ floating-point operations per matrix. LU with partial pivoting (Golub & Van Loan, *Matrix Computations*, §3.4).
    No error bound comes with the answer: :func:`neuralinv.certified_inv` gives one.
    """
    tensor, restore = as_tensor(A)
    check_square(tensor)
    inverse, info = torch.linalg.inv_ex(_widen(tensor))
    _raise_if_singular(info, A)
    return cast(ArrayT, restore(inverse.to(tensor.dtype)))


def solve(A: ArrayT, b: ArrayT) -> ArrayT:
    """Solve ``A x = b`` for every matrix of a batch.

    Parameters
    ----------
    A
        Shape ``(*batch, n, n)``.
    b
        Right-hand sides, shape ``(n,)`` or ``(*batch, n)`` for one vector per matrix, ``(*batch, n, k)`` for several:
        the rule of ``numpy.linalg.solve`` for NumPy arrays and of ``torch.linalg.solve`` for tensors.

    Returns
    -------
    The solutions, shaped like ``b`` (batch dimensions broadcast), of the same kind.

    Raises
    ------
    numpy.linalg.LinAlgError, torch.linalg.LinAlgError
        If a matrix is exactly singular.
    ValueError
        If ``A`` is not a batch of square matrices.

    Notes
    -----
    (2/3) n³ + 2 n² k floating-point operations per matrix.
    """
    tensor, restore = as_tensor(A)
    check_square(tensor)
    rhs, _ = as_tensor(b, name="b")
    dtype = torch.promote_types(tensor.dtype, rhs.dtype)
    tensor, rhs = _widen(tensor.to(dtype)), _widen(rhs.to(dtype))
    # NumPy 2 takes b for a vector only where it is one-dimensional; torch also where its shape is A's less a column.
    if isinstance(A, np.ndarray) and rhs.ndim == 1:
        result, info = torch.linalg.solve_ex(tensor, rhs.unsqueeze(-1))
        result = result.squeeze(-1)
    else:
        result, info = torch.linalg.solve_ex(tensor, rhs)
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


def _widen(A: Tensor) -> Tensor:
    """Half precision has no LAPACK: compute in float32."""
    return A.float() if A.dtype in _HALF else A


def _raise_if_singular(info: Tensor, A: Array) -> None:
    # LAPACK's info: k ≥ 1 says that pivot k is exactly zero.
    if not bool(info.any()):
        return
    index = tuple(int(i) for i in info.nonzero()[0])
    where = f" (batch element {index})" if index else ""
    pivot = int(info[index])
    raise linalg_error(A)(f"Singular matrix{where}: pivot {pivot} of the LU factorisation is exactly zero")
