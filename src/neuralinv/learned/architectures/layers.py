"""Layers whose parameters carry a leading dimension of ensemble members, so that all members run in one batched
product.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class StackedLinear(nn.Module):
    """An affine map for each member: ``(members, batch, inputs)`` to ``(members, batch, outputs)``.

    Initialised like ``torch.nn.Linear``; ``zero=True`` starts as the zero map, ``bias=False`` is a linear map.
    """

    def __init__(self, members: int, inputs: int, outputs: int, *, bias: bool = True, zero: bool = False) -> None:
        super().__init__()
        bound = 0.0 if zero else 1 / math.sqrt(inputs)
        self.weight = nn.Parameter(torch.empty(members, inputs, outputs).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(members, 1, outputs).uniform_(-bound, bound)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        """Map ``x`` of shape ``(members, batch, inputs)``."""
        if self.bias is None:
            return torch.bmm(x, self.weight)
        return torch.baddbmm(self.bias, x, self.weight)


def flatten_matrices(A: Tensor, members: int) -> Tensor:
    """Bring ``(batch, n, n)`` (shared by the members) or ``(members, batch, n, n)`` to ``(members, batch, n²)``."""
    flat = A.flatten(-2)
    return flat.expand(members, -1, -1) if flat.ndim == 2 else flat
