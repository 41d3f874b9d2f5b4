"""Singular matrices of known rank, and their pseudo-inverses."""

from __future__ import annotations

import torch
from torch import Tensor


def singular_matrices(
    count: int,
    size: int,
    *,
    generator: torch.Generator,
    low: float = -1.0,
    high: float = 1.0,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str = "cpu",
) -> tuple[Tensor, Tensor]:
    """Draw singular matrices of random rank 1 … n − 1.

    ``rank`` rows are uniform on [low, high]; the others are copies of them, so that the stored numbers are singular
    without rounding, and in the range. For n = 1 the only singular matrix is zero, of rank 0.

    Returns
    -------
    matrices, ranks
        Shapes ``(count, n, n)`` and ``(count,)``.
    """
    if size == 1:
        zeros = torch.zeros(count, 1, 1, dtype=dtype, device=device)
        return zeros, torch.zeros(count, dtype=torch.int64, device=device)
    rows = low + (high - low) * torch.rand(count, size, size, generator=generator, dtype=dtype, device=device)
    ranks = torch.randint(1, size, (count,), generator=generator, device=device)
    # Row i takes row i where i < rank, and a random one of the first `rank` rows otherwise; then all rows are shuffled.
    index = torch.arange(size, device=device).expand(count, size)
    source = (torch.rand(count, size, generator=generator, device=device) * ranks[:, None]).long()
    source = torch.where(index < ranks[:, None], index, source)
    order = torch.rand(count, size, generator=generator, device=device).argsort(1)
    source = source.gather(1, order)
    return rows.gather(1, source[:, :, None].expand(-1, -1, size)), ranks


def pseudo_inverses(matrices: Tensor, ranks: Tensor) -> Tensor:
    """Return the Moore–Penrose pseudo-inverses of ``(count, n, n)`` matrices of known rank ``(count,)``.

    About 20 n³ floating-point operations each, by singular values.
    """
    U, S, Vh = torch.linalg.svd(matrices)
    keep = torch.arange(S.shape[-1], device=S.device) < ranks[:, None]
    inverted = torch.where(keep, 1 / S, 0)
    return (Vh.mH * inverted[:, None, :]) @ U.mH
