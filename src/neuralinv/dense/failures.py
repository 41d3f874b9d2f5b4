"""What to say about a matrix of a batch on which a kernel failed."""

from __future__ import annotations

from typing import Any

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
