"""The next of a row of tensors, continued by the polynomial through the last ones."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

MOST_TERMS = 3


def extrapolate(past: Sequence[Tensor], out: Tensor) -> Tensor:
    """Continue one to three tensors, latest first: X₁, 2X₁ − X₂, or 3X₁ − 3X₂ + X₃; the first is returned as it is."""
    if len(past) == 1:
        return past[0]
    if len(past) == 2:
        return torch.lerp(past[1], past[0], 2.0, out=out)
    return torch.sub(past[0], past[1], out=out).mul_(3).add_(past[2])
