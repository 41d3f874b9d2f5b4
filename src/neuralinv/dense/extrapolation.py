"""The next of a row of tensors, continued by the polynomial through the last ones."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

MOST_TERMS = 4


def extrapolate(past: Sequence[Tensor], out: Tensor) -> Tensor:
    """Continue one to four tensors, latest first: X₁, 2X₁ − X₂, 3X₁ − 3X₂ + X₃, or 4X₁ − 6X₂ + 4X₃ − X₄; the first is
    returned as it is.
    """
    if len(past) == 1:
        return past[0]
    if len(past) == 2:
        return torch.lerp(past[1], past[0], 2.0, out=out)
    if len(past) == 3:
        return torch.sub(past[0], past[1], out=out).mul_(3).add_(past[2])
    # By differences, which hardly round where the past changes slowly.
    torch.sub(past[0], past[1], out=out).sub_(past[1]).add_(past[2])
    return out.mul_(3).add_(past[2]).sub_(past[3]).add_(past[0])
