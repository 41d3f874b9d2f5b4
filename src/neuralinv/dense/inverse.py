"""`inv` and `inv_ex`: exact inverses of batches of matrices."""

from __future__ import annotations

from typing import Any, NamedTuple, TypeVar, cast

import numpy as np
import torch
from torch import Tensor

from neuralinv.dense import blocked, failures, gpu, lapack, native, numpy_arrays, operators
from neuralinv.dense._arrays import Array, at_least_single, check_square, check_tensor, from_jax, is_jax
from neuralinv.dense.assumptions import Assumption, is_positive
from neuralinv.dense.errors import raise_if_any
from neuralinv.dense.routes import Route, route, straight_shape

ArrayT = TypeVar("ArrayT", bound=Array)


class InverseInfo(NamedTuple):
    """Inverses ``(*batch, n, n)`` and LAPACK's ``info`` ``(*batch,)``, int32."""

    inverse: Any
    info: Any


def inv(A: ArrayT, *, assume_a: Assumption = "gen") -> ArrayT:
    """Invert every matrix of a batch.

    Parameters
    ----------
    A
        Shape ``(*batch, n, n)``: NumPy array, torch tensor or JAX array; real or complex, half precision is computed in
        float32 and cast back.
    assume_a
        ``"gen"`` for general matrices. ``"pos"`` promises symmetric (Hermitian) positive definite ones: their lower
        triangles alone are read, by Cholesky factorisation without pivoting, and gradients are those with respect to a
        symmetric matrix (the symmetric part of the general gradient, as in ``torch.linalg.cholesky``).

    Returns
    -------
    The inverses: same shape, dtype, kind and device as ``A``. Differentiable for tensors.

    Raises
    ------
    numpy.linalg.LinAlgError, torch.linalg.LinAlgError
        If a matrix is exactly singular (a zero pivot), or not positive definite where that was promised; the type
        follows the kind of ``A``, JAX counting as NumPy.
    ValueError
        If ``A`` is not a batch of square matrices (also a ``numpy.linalg.LinAlgError`` for NumPy arrays, a
        ``RuntimeError`` for tensors), or ``assume_a`` is unknown.
    TypeError
        If ``A`` holds no floating-point or complex numbers, or is traced by JAX.

    Notes
    -----
    2 n³ floating-point operations per matrix, half of that with ``"pos"``. Small matrices on the CPU: the compiled
    kernels, Gauss–Jordan elimination with partial pivoting or LDLᵀ; general ones up to 32×32 on a GPU: the
    same elimination in Triton; others: LAPACK's LU with partial pivoting (Golub & Van Loan, *Matrix Computations*,
    §3.4) or Cholesky factors (§4.2). :func:`neuralinv.explain_dispatch` tells which.
    No error bound comes with the answer: :func:`neuralinv.certified_inv` gives one.
    """
    positive = is_positive(assume_a)
    if isinstance(A, Tensor):
        return cast(ArrayT, _inv(A, positive, torch.linalg.LinAlgError))
    if is_jax(A):
        tensor, restore = from_jax(A, "A")
        return cast(ArrayT, restore(_inv(tensor, positive, np.linalg.LinAlgError)))
    return cast(ArrayT, numpy_arrays.inv(A, positive))


def inv_ex(A: Array, *, assume_a: Assumption = "gen") -> InverseInfo:
    """Invert every matrix of a batch, and tell instead of raising where there is no inverse.

    Parameters
    ----------
    A, assume_a
        As for :func:`inv`.

    Returns
    -------
    ``(inverse, info)``. ``info`` has shape ``(*batch,)`` and dtype int32: 0 for success, k where pivot k is exactly
    zero (with ``"pos"``: where leading minor k is not positive). What stands for an inverse there means nothing:
    test ``info``.

    Raises
    ------
    ValueError, TypeError
        As :func:`inv`.

    Notes
    -----
    Costs what :func:`inv` costs.
    """
    positive = is_positive(assume_a)
    if isinstance(A, Tensor):
        return InverseInfo(*_inv_ex(A, positive))
    if is_jax(A):
        tensor, restore = from_jax(A, "A")
        return InverseInfo(*map(restore, _inv_ex(tensor, positive)))
    return InverseInfo(*numpy_arrays.inv_ex(A, positive))


def _inv(A: Tensor, positive: bool, error: type[Exception]) -> Tensor:
    shape = straight_shape(A, "inv", positive=positive)
    if shape is not None:
        X, failed = native.invert_ordinary(A, shape, positive)
        if failed >= 0:
            raise failures.of_inverse(A, failed, error, positive=positive)
        return X
    check_tensor(A, "A")
    check_square(A)
    wide = at_least_single(A)
    way = route(wide, positive=positive)
    if way is Route.DIRECT:
        X, failed = native.invert(wide, positive=positive)
        if failed >= 0:
            raise failures.of_inverse(wide, failed, error, positive=positive)
    elif way is Route.DIFFERENTIATED:
        X = operators.DifferentiableInverse.apply(wide, positive)
    elif way is Route.COMPILED:
        X = operators.inv_op(wide, positive)
    elif way is Route.TORCH:
        X = lapack.inverse(wide, positive)
    elif _goes_by_blocks(wide, positive):
        X = blocked.inverse(wide, gpu.reach(wide, "inv", positive=positive).kernel)
    else:
        X = _by_lapack(wide, positive, error)
    return X if A is wide else X.to(A.dtype)


def _inv_ex(A: Tensor, positive: bool) -> tuple[Tensor, Tensor]:
    check_tensor(A, "A")
    check_square(A)
    wide = at_least_single(A)
    way = route(wide, positive=positive)
    if way is Route.DIRECT:
        X, info = native.invert_ex(wide, positive=positive)
    elif way in (Route.DIFFERENTIATED, Route.COMPILED):
        X, info = operators.inv_ex_op(wide, positive)
    else:
        X, info = lapack.inverse_ex(wide, positive)
    return (X if A is wide else X.to(A.dtype)), info


def _goes_by_blocks(A: Tensor, positive: bool) -> bool:
    kernel, largest = gpu.reach(A, "inv", positive=positive) if gpu.holds(A) else gpu.NOTHING
    return kernel < A.shape[-1] <= largest and A.numel() > 0 and not (A.requires_grad and torch.is_grad_enabled())


def _by_lapack(A: Tensor, positive: bool, error: type[Exception]) -> Tensor:
    # For one small matrix, looking at info costs as much as the inverse: it is looked at after a failure.
    try:
        return lapack.inverse(A, positive)
    except torch.linalg.LinAlgError:
        _, info = lapack.inverse_ex(A.detach(), positive)
        raise_if_any(info, error, positive=positive)
        raise
