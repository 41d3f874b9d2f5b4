"""`slogdet`: signs and logarithms of determinants of batches of matrices."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from neuralinv.dense import lapack, numpy_arrays, operators
from neuralinv.dense._arrays import Array, at_least_single, check_square, check_tensor, from_jax, is_jax
from neuralinv.dense.assumptions import Assumption, is_positive
from neuralinv.dense.errors import raise_if_any
from neuralinv.dense.routes import Route, route, straight_shape


class SlogdetResult(NamedTuple):
    """Sign (or phase) and logarithm of the absolute value of a determinant, both of shape ``(*batch,)``."""

    sign: Any
    logabsdet: Any


def slogdet(A: Array, *, assume_a: Assumption = "gen") -> SlogdetResult:
    """Return sign and log|det| of every matrix of a batch.

    Parameters
    ----------
    A
        Shape ``(*batch, n, n)``: NumPy array, torch tensor or JAX array.
    assume_a
        ``"gen"`` for general matrices; ``"pos"`` for symmetric positive definite ones, as for :func:`inv`.

    Returns
    -------
    ``(sign, logabsdet)``, each of shape ``(*batch,)``; 0 and -inf for a singular matrix, as NumPy and torch have it.
    ``sign`` has the dtype of ``A`` (of modulus 1 for complex matrices), ``logabsdet`` is real. Differentiable for
    tensors.

    Raises
    ------
    ValueError
        If ``A`` is not a batch of square matrices.
    numpy.linalg.LinAlgError, torch.linalg.LinAlgError
        With ``"pos"``, if a matrix is not positive definite.
    TypeError
        If ``A`` holds no floating-point or complex numbers.

    Notes
    -----
    (2/3) n³ floating-point operations per matrix; with ``"pos"`` half of that.
    """
    positive = is_positive(assume_a)
    if isinstance(A, Tensor):
        return SlogdetResult(*_slogdet(A, positive, torch.linalg.LinAlgError))
    if is_jax(A):
        tensor, restore = from_jax(A, "A")
        return SlogdetResult(*map(restore, _slogdet(tensor, positive, np.linalg.LinAlgError)))
    return SlogdetResult(*numpy_arrays.slogdet(A, positive))


def _slogdet(A: Tensor, positive: bool, error: type[Exception]) -> tuple[Tensor, Tensor]:
    if straight_shape(A, "slogdet", positive=positive) is not None:
        return operators.determinant_or_raise(A, positive, error)
    check_tensor(A, "A")
    check_square(A)
    wide = at_least_single(A)
    way = route(wide, operation="slogdet", positive=positive)
    if way is Route.DIRECT:
        sign, logabsdet = operators.determinant_or_raise(wide, positive, error)
    elif way is Route.DIFFERENTIATED:
        sign, logabsdet = operators.DifferentiableDeterminant.apply(wide, positive)
    elif way is Route.COMPILED:
        sign, logabsdet = operators.slogdet_op(wide, positive)
    elif way is Route.TORCH:
        sign, logabsdet = lapack.determinant(wide, positive)
    else:
        sign, logabsdet = _by_lapack(wide, positive, error)
    if A is wide:
        return sign, logabsdet
    return sign.to(A.dtype), logabsdet.to(A.dtype)


def _by_lapack(A: Tensor, positive: bool, error: type[Exception]) -> tuple[Tensor, Tensor]:
    try:
        return lapack.determinant(A, positive)
    except torch.linalg.LinAlgError:
        raise_if_any(torch.linalg.cholesky_ex(A.detach()).info, error, positive=positive)
        raise
