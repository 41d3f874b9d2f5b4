"""The seam to the compiled kernels of what is read off matrices and candidates: images of random vectors, norms."""

from __future__ import annotations

import torch
from torch import Tensor

from neuralinv.dense.native import AVAILABLE, load, plain, threads_for

if AVAILABLE:
    from neuralinv import _native

_ROW_SUMS, _PROBE = load("row_sums"), load("probe")


def largest_sums(X: Tensor) -> tuple[Tensor, Tensor]:
    """Return the norms ``‖X‖_∞`` and ``‖X‖₁`` of contiguous ``X``, ``(batch, n, n)``, on the CPU, as sums in its real
    dtype; of complex matrices, bounds of them that are at most 8 % larger.
    """
    rows, columns = (X.new_empty(len(X), dtype=X.dtype.to_real()) for _ in range(2))
    _ROW_SUMS[X.dtype](X.data_ptr(), rows.data_ptr(), columns.data_ptr(), *X.shape[:2], threads_for(X))
    return rows, columns


def probes(A: Tensor, count: int) -> bool:
    """Tell whether :func:`probe` takes ``A`` of shape ``(batch, n, n)`` with so many vectors."""
    if A.dtype not in _PROBE or A.device.type != "cpu" or not A.numel() or A.shape[-1] > _native.LARGEST_PROBED:
        return False
    return 0 < count * (2 if A.is_complex() else 1) <= _native.MOST_PROBED_COLUMNS


def probe(A: Tensor, X: Tensor, omega: Tensor, *, root: bool = False) -> tuple[Tensor, Tensor]:
    """Return sums of squares of the columns of ``D = AXΩ − Ω`` and of ``XD``, ``(batch, 2, k)``, and of the entries of
    ``A`` and ``X``, ``(batch, 2)``, in double precision. For a ``root``, ``D = XAXΩ − Ω``.

    Parameters
    ----------
    A, X
        Shape ``(batch, n, n)``, of one dtype.
    omega
        Shape ``(n, k)``, in double precision.
    """
    A, X, omega = A.resolve_neg().resolve_conj(), plain(X), plain(omega)
    count, k = len(A), omega.shape[1]
    parts = 2 if A.is_complex() else 1
    squares = torch.empty(count, 2, k, parts, dtype=torch.float64)
    norms = torch.empty(count, 2, dtype=torch.float64)
    _PROBE[A.dtype](
        A.data_ptr(),
        *A.shape[:2],
        *A.stride(),
        X.data_ptr(),
        omega.data_ptr(),
        k * parts,
        squares.data_ptr(),
        norms.data_ptr(),
        root,
        threads_for(A),
    )
    return squares.sum(-1), norms
