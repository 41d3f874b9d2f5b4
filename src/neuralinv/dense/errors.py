"""Errors that both worlds catch: the type follows the library whose array was given, and is a `ValueError` besides.

``numpy.linalg.LinAlgError`` is a ``ValueError`` already; torch raises ``RuntimeError`` for shapes and dtypes.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


class TorchShapeError(ValueError, RuntimeError):
    """A tensor has a shape that the function does not take."""


class TorchDeviceError(ValueError, RuntimeError):
    """Tensors lie on several devices."""


class TorchDtypeError(TypeError, RuntimeError):
    """A tensor has a dtype or a layout that the function does not take."""


def linalg_error(array: object) -> type[Exception]:
    """Return the ``LinAlgError`` of the library that ``array`` belongs to."""
    return torch.linalg.LinAlgError if isinstance(array, Tensor) else np.linalg.LinAlgError


def not_square(array: object, shape: tuple[int, ...], name: str) -> Exception:
    """Describe an array whose shape is not ``(*batch, n, n)``."""
    error = TorchShapeError if isinstance(array, Tensor) else np.linalg.LinAlgError
    if len(shape) < 2:
        return error(
            f"{name} has shape {shape}; it must be at least two-dimensional (must have at least 2 dimensions): "
            "expected (*batch, n, n) with square matrices"
        )
    return error(
        f"{name} has shape {shape}; it must be batches of square matrices, its last 2 dimensions must be square: "
        "expected (*batch, n, n) with square matrices"
    )


def singular(index: tuple[int, ...], pivot: int, error: type[Exception], *, positive: bool) -> Exception:
    """Describe the matrix at ``index`` of a batch, which failed at ``pivot`` (LAPACK's info, from 1)."""
    where = f" (batch element {index})" if index else ""
    if positive:
        return error(f"Matrix is not positive definite{where}: leading minor {pivot} is not positive")
    return error(f"Singular matrix{where}: pivot {pivot} of the LU factorisation is exactly zero")


def raise_if_any(info: Tensor, error: type[Exception], *, positive: bool) -> None:
    """Raise ``error`` naming the first matrix whose LAPACK info, of shape ``(*batch,)``, is not 0."""
    if bool(info.any()):
        index = tuple(int(i) for i in info.nonzero()[0])
        raise singular(index, int(info[index]), error, positive=positive)
