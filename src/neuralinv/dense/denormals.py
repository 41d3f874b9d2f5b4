"""Denormal numbers, where the processor was told to read them as zero.

`torch.set_flush_denormal(True)`, or a library compiled for speed, switches a thread to a mode in which stored denormals
enter every operation as zero. What would be proved then is about another matrix than the one that is stored.
"""

from __future__ import annotations

import torch
from torch import Tensor

_INTEGERS = {2: torch.int16, 4: torch.int32, 8: torch.int64}


def holds_flushed_denormals(A: Tensor) -> Tensor:
    """Tell which of ``(batch, n, n)`` matrices hold numbers that are stored as nonzero and read as zero: bool
    ``(batch,)``.
    """
    smallest = torch.full((1,), torch.finfo(torch.float64).smallest_normal, dtype=torch.float64, device=A.device)
    if bool(smallest / 2 > 0):  # nothing is flushed on this thread
        return torch.zeros(A.shape[0], dtype=torch.bool, device=A.device)
    parts = torch.view_as_real(A.resolve_conj()) if A.is_complex() else A
    bits = parts.contiguous().view(_INTEGERS[parts.element_size()])
    # Shifted left, the sign is gone: what remains is zero for ±0 alone.
    return (((bits << 1) != 0) & (parts == 0)).flatten(1).any(1)
