"""Inverses by SciPy's LAPACK, one matrix after another: `getrf` and `getri`, 2 n³ operations.

NumPy and torch solve against an identity matrix instead ((8/3) n³), and torch's MKL holds back on processors that are
not Intel's.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor


def inverse(A: Tensor) -> Tensor:
    """Invert ``A`` of shape ``(batch, n, n)`` in the CPU's memory, n ≥ 1; raises ``torch.linalg.LinAlgError``."""
    from scipy.linalg import lapack  # loading it takes a moment, and most never come here

    matrices = A.detach().resolve_conj().resolve_neg().numpy()
    X = np.empty(matrices.shape, matrices.dtype)
    functions: Any = lapack.get_lapack_funcs(("getrf", "getri", "getri_lwork"), (matrices,))
    getrf, getri, getri_lwork = functions
    size, _ = getri_lwork(matrices.shape[-1])
    workspace = int(np.real(size))
    for index, matrix in enumerate(matrices):
        # LAPACK counts columns first: it sees the transpose, and so do we in its inverse.
        X[index] = _invert(matrix.T, getrf, getri, workspace, index).T
    return torch.from_numpy(X)


def _invert(matrix: Any, getrf: Any, getri: Any, workspace: int, index: int) -> Any:
    factors, pivots, info = getrf(matrix)
    if info == 0:
        X, info = getri(factors, pivots, lwork=workspace, overwrite_lu=True)
    if info:
        raise torch.linalg.LinAlgError(f"Singular matrix (batch element ({index},))")
    return X
