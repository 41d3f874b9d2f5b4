"""What advice can be asked on: arrays, files and functions of parameters, looked at a few matrices at a time."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from neuralinv.dense._arrays import as_float_array, as_numbers, check_tensor, from_jax, is_jax
from neuralinv.dense.errors import not_square
from neuralinv.families import MatrixFunction
from neuralinv.io import open_matrices, read_parameters

Matrices: TypeAlias = Any
"""An array ``(*batch, n, n)``, a sequence of matrices, the path of a file, or a function of parameters."""


@dataclass(frozen=True)
class Source:
    """Matrices that can be taken by their positions, in row-major order of the batch.

    Attributes
    ----------
    batch
        The shape of the batch; its first axis is what a sequence would run along.
    size, dtype
        n, and torch's dtype.
    take
        From positions ``(k,)`` to matrices ``(k, n, n)``.
    parameters
        One row for each matrix, float64, or None.
    function
        What makes matrices of parameters, where that was given.
    """

    batch: tuple[int, ...]
    size: int
    dtype: torch.dtype
    take: Callable[[NDArray[np.int64]], Tensor]
    parameters: Tensor | None
    function: MatrixFunction | None

    @property
    def total(self) -> int:
        """How many matrices there are."""
        return math.prod(self.batch)


def open_source(matrices: Matrices, parameters: Any = None) -> Source:
    """Find out what was given; no matrix but the first is looked at.

    Parameters
    ----------
    matrices
        ``(*batch, n, n)`` as NumPy array, torch tensor, JAX array or (nested) list; the path of a file, of which
        ``.npy`` is mapped into memory; or a function from parameters ``(k, p)`` (a float64 tensor) to matrices
        ``(k, n, n)``.
    parameters
        One row for each matrix, ``(count, p)`` or ``(count,)``: an array, or the path of a ``.npy`` or ``.csv`` file.

    Raises
    ------
    ValueError
        If shapes do not fit, there is no matrix, sizes are mixed, or a function comes without parameters, raises or
        returns something else.
    TypeError
        If these are no numbers that can be inverted: integers in tensors, sparse or meta tensors.
    FileError
        If a file cannot be read.
    """
    theta = None if parameters is None else _as_parameters(parameters)
    if callable(matrices) and not isinstance(matrices, Tensor | np.ndarray):
        if theta is None:
            raise ValueError("a function comes with parameters=…, one row (p,) for each matrix to look at")
        return _from_function(matrices, theta)
    if isinstance(matrices, str | os.PathLike):
        matrices = open_matrices(matrices)
    elif isinstance(matrices, list | tuple):
        matrices = _stacked(matrices)
    source = _from_array(matrices, theta)
    if theta is not None and len(theta) != source.total:
        raise ValueError(f"{len(theta):,} rows of parameters for {source.total:,} matrices; expected one for each")
    return source


def _as_parameters(parameters: Any) -> Tensor:
    if isinstance(parameters, str | os.PathLike):
        return torch.from_numpy(read_parameters(parameters))
    if isinstance(parameters, Tensor):
        parameters = as_numbers(parameters, "parameters").detach().cpu().numpy()
    table = np.asarray(parameters)
    if table.dtype.kind not in "iuf" or table.ndim < 1 or not table.size:
        raise ValueError(
            f"parameters are {table.dtype} of shape {table.shape}; expected real numbers (count, p), a row for each "
            "matrix"
        )
    table = table.reshape(-1, table.shape[-1] if table.ndim > 1 else 1).astype(np.float64)
    bad = ~np.isfinite(table).all(1)
    if bad.any():
        raise ValueError(f"parameters: row {int(bad.argmax())} (counted from 0) holds NaN or infinity")
    return torch.from_numpy(table)


def _stacked(matrices: Any) -> NDArray[Any]:
    arrays = [
        as_numbers(m, "matrices").detach().cpu().numpy() if isinstance(m, Tensor) else np.asarray(m) for m in matrices
    ]
    shapes = list(dict.fromkeys(array.shape for array in arrays))
    if len(shapes) > 1:
        other = next(i for i, array in enumerate(arrays) if array.shape != shapes[0])
        raise ValueError(
            f"matrices of mixed sizes: {shapes[0]} at position 0 and {shapes[1]} at position {other}; ask for advice "
            "on each size apart"
        )
    return np.asarray(arrays)


def _from_array(array: Any, theta: Tensor | None) -> Source:
    if is_jax(array):
        array = from_jax(array, "matrices")[0]
    if isinstance(array, Tensor):
        check_tensor(array, "matrices")
        tensor = as_numbers(array, "matrices").detach()
        _check_shape(tensor, tuple(tensor.shape))
        batch = tuple(tensor.shape[:-2])

        def take(indices: NDArray[np.int64]) -> Tensor:
            where = tuple(torch.from_numpy(axis).to(tensor.device) for axis in _unravel(indices, batch))
            return (tensor[where] if batch else tensor[None]).cpu()

        return Source(batch, tensor.shape[-1], tensor.dtype, take, theta, None)

    values = np.asanyarray(array)
    _check_shape(array, values.shape)
    shape = values.shape[:-2]

    def take_rows(indices: NDArray[np.int64]) -> Tensor:
        # Fancy indexing of a memory map reads the pages of these matrices, and no others.
        rows = values[_unravel(indices, shape)] if shape else values[None]
        rows = np.array(as_float_array(rows, "matrices"))
        return torch.from_numpy(rows.astype(rows.dtype.newbyteorder("="), copy=False))

    return Source(shape, values.shape[-1], take_rows(np.zeros(1, np.int64)).dtype, take_rows, theta, None)


def _unravel(indices: NDArray[np.int64], batch: tuple[int, ...]) -> tuple[NDArray[np.int64], ...]:
    return tuple(np.unravel_index(indices, batch)) if batch else ()


def _from_function(function: Callable[[Tensor], Any], theta: Tensor) -> Source:
    def evaluate(rows: Tensor) -> Tensor:
        try:
            with torch.no_grad():
                found = function(rows)
        except Exception as error:  # a user's function may raise anything
            first = ", ".join(f"{value:.6g}" for value in rows[0].tolist())
            raise ValueError(
                f"the function raised {type(error).__name__} for parameters of shape {tuple(rows.shape)} that begin "
                f"with ({first}): {error}; it is called with (k, p) tensors and returns (k, n, n) matrices"
            ) from error
        if isinstance(found, np.ndarray):
            found = torch.from_numpy(np.array(as_float_array(found, "what the function returned")))
        if not isinstance(found, Tensor):
            raise ValueError(f"the function returned {type(found).__name__}; expected an array of (k, n, n) matrices")
        check_tensor(found, "what the function returned")
        found = as_numbers(found, "what the function returned")
        if found.ndim != 3 or found.shape[-1] != found.shape[-2] or len(found) != len(rows):
            raise ValueError(
                f"the function returned shape {tuple(found.shape)} for parameters of shape {tuple(rows.shape)}; "
                "expected (k, n, n), one square matrix for each row"
            )
        return found.detach().cpu()

    first = evaluate(theta[:1])
    _check_shape(first, tuple(first.shape))

    def evaluate_alike(rows: Tensor) -> Tensor:
        found = evaluate(rows)
        if found.shape[-1] != first.shape[-1] or found.dtype != first.dtype:
            raise ValueError(
                f"the function returned {found.dtype} matrices of size {found.shape[-1]} for parameters of shape "
                f"{tuple(rows.shape)}, and {first.dtype} ones of size {first.shape[-1]} before; expected one size and "
                "dtype for all parameters"
            )
        return found

    def take(indices: NDArray[np.int64]) -> Tensor:
        return evaluate_alike(theta[torch.from_numpy(indices)])

    return Source((len(theta),), first.shape[-1], first.dtype, take, theta, evaluate_alike)


def _check_shape(array: Any, shape: tuple[int, ...]) -> None:
    if len(shape) < 2 or shape[-1] != shape[-2]:
        raise not_square(array, shape, "matrices")
    if math.prod(shape) == 0:
        raise ValueError(f"matrices have shape {shape}, which holds none; expected at least one of size 1 or more")
