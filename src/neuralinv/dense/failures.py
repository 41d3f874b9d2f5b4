"""What to say about a matrix of a batch on which a kernel failed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from neuralinv.dense import native
from neuralinv.dense.errors import singular

# The kernels name the first matrix that failed; the pivot is worth a second look at that one matrix.


def of_inverse(A: Any, failed: int, error: type[Exception], *, positive: bool) -> Exception:
    """Describe the failure of an inverse: ``A`` is ``(*batch, n, n)``, ``failed`` an index in the flattened batch."""
    index = unravel(failed, A.shape[:-2])
    matrix = A[index].detach() if isinstance(A, Tensor) else A[index]
    _, info = native.invert_ex(matrix, positive=positive)
    return singular(index, int(info), error, positive=positive)


def of_solve(A: Any, B: Any, failed: int, error: type[Exception], *, positive: bool) -> Exception:
    """Describe the failure of a solution."""
    index = unravel(failed, A.shape[:-2])
    matrix, columns = (v[index].detach() if isinstance(v, Tensor) else v[index] for v in (A, B))
    _, info = native.solve_ex(matrix, columns, positive=positive)
    return singular(index, int(info), error, positive=positive)


def of_cholesky(A: Any, failed: int, error: type[Exception]) -> Exception:
    """Describe a matrix that is not positive definite, where the kernel tells no pivot."""
    index = unravel(failed, A.shape[:-2])
    matrix = A[index].detach() if isinstance(A, Tensor) else torch.from_numpy(A[index].copy())
    _, info = torch.linalg.cholesky_ex(matrix)
    # Rounding may decide otherwise there, for the last minor.
    return singular(index, int(info) or A.shape[-1], error, positive=True)


def unravel(position: int, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the index in ``shape`` of a position in the flattened array."""
    index: list[int] = []
    for size in reversed(shape):
        position, last = divmod(position, size)
        index.insert(0, last)
    return tuple(index)


def info_of_matrices(info: Any, batch: Sequence[int]) -> Any:
    """Return ``info`` in the shape of the matrices' own batch, where right-hand sides made it larger."""
    if tuple(info.shape) == tuple(batch):
        return info
    if not math.prod(info.shape):
        return info.new_zeros(batch) if isinstance(info, Tensor) else np.zeros(batch, info.dtype)
    own = tuple(slice(1) if size == 1 else slice(None) for size in batch)
    return info[(0,) * (info.ndim - len(batch)) + own]
