"""The seam to the compiled kernels of inverse square roots: contiguous ``(batch, n, n)`` in, tensors out.

What comes in is what :func:`takes` allows.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from neuralinv.dense.native import AVAILABLE, load_real, threads

if AVAILABLE:
    from neuralinv import _native


_SURVEY, _SUM_INVERSES, _CORRECT, _PIVOT_SIGNS = (
    load_real(name) for name in ("survey", "sum_inverses", "correct_roots", "pivot_signs")
)


def takes(A: Tensor) -> bool:
    """Tell whether the kernels take ``A`` of shape ``(batch, n, n)``: real, on the CPU, of a size that they know."""
    if A.dtype not in _SURVEY or A.device.type != "cpu" or type(A) not in (Tensor, torch.nn.Parameter):
        return False
    return 0 < A.shape[-1] <= _native.LARGEST_ROOT and len(A) > 0


def survey(A: Tensor, start: Tensor) -> tuple[Tensor, Tensor]:
    """Return ``‖A‖_F²``, the largest sum of magnitudes of a column and an estimate of ``‖A‖₂`` from below, by powers
    that begin at ``start`` ``(n,)``: float64 ``(batch, 3)``; and whether each matrix is symmetric, ``(batch,)``.
    """
    sizes, symmetric = torch.empty(len(A), 3, dtype=torch.float64), torch.empty(len(A), dtype=torch.bool)
    start = start.to(A.dtype).contiguous()
    addresses = [start.data_ptr(), sizes.data_ptr(), symmetric.data_ptr()]
    _SURVEY[A.dtype](A.data_ptr(), *A.shape[:2], *addresses, threads())
    return sizes, symmetric


def sum_inverses(A: Tensor, scales: Tensor, shifts: Sequence[float], weights: Sequence[float], X: Tensor) -> Tensor:
    """Write ``Σⱼ wⱼ s^{1/2} (A + s tⱼ I)⁻¹`` with the scale s of each matrix into ``X``, and return it: exactly
    symmetric, NaN where a shifted matrix is not positive definite.
    """
    scales = scales.double().contiguous()
    t, w = torch.tensor(shifts, dtype=torch.float64), torch.tensor(weights, dtype=torch.float64)
    addresses = [scales.data_ptr(), t.data_ptr(), w.data_ptr()]
    _SUM_INVERSES[A.dtype](A.data_ptr(), *A.shape[:2], *addresses, len(t), X.data_ptr(), threads())
    return X


def correct(A: Tensor, X: Tensor) -> Tensor:
    """Add ``(U + Uᵀ) / 4`` to ``X``, with ``U = RX`` and ``R = I − XAX`` in float64, rounded for the product with X.

    Returns
    -------
    ``‖A‖_F²``, ``‖X‖_F²`` as it was, ``‖R‖_F²``, ``‖U‖_F²`` and ``‖U − Uᵀ‖_F²``, float64 ``(batch, 5)``.
    """
    squares = torch.empty(len(A), 5, dtype=torch.float64)
    _CORRECT[A.dtype](A.data_ptr(), *A.shape[:2], X.data_ptr(), squares.data_ptr(), threads())
    return squares


def has_positive_pivots(X: Tensor) -> Tensor:
    """Tell, matrix by matrix, whether elimination without interchanges meets positive pivots only: ``(batch,)``."""
    positive = torch.empty(len(X), dtype=torch.bool)
    _PIVOT_SIGNS[X.dtype](X.data_ptr(), *X.shape[:2], positive.data_ptr(), threads())
    return positive


def roundings(n: int) -> int:
    """Return how many roundings a product of two numbers goes through in the kernels' sum of n of them: 64 in a
    row, and sums of those (``cpp/include/neuralinv/product.hpp``).
    """
    return n if n <= 64 else 64 + (n - 1) // 64
