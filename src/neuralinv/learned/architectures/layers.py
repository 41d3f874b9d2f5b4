"""Layers whose parameters carry a leading dimension of ensemble members, so that all members run in one batched
product.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn


class Candidates(NamedTuple):
    """What an architecture answers, both ``(members, batch, n, n)``."""

    inverse: Tensor
    direction: Tensor
    """The network's output before scale and Newton–Schulz steps; the candidate itself where there are none."""


class StackedLinear(nn.Module):
    """An affine map for each member: ``(members, batch, inputs)`` to ``(members, batch, outputs)``.

    Weights start uniform with variance ``gain² / inputs``, which keeps the variance of the features for ``gain=1``
    (linear) or ``gain=√2`` (ReLU); biases start at zero. ``gain=0`` starts as the zero map.
    """

    def __init__(self, members: int, inputs: int, outputs: int, *, gain: float = 1.0) -> None:
        super().__init__()
        bound = gain * math.sqrt(3 / inputs)
        self.weight = nn.Parameter(torch.empty(members, inputs, outputs).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.zeros(members, 1, outputs))

    def forward(self, x: Tensor) -> Tensor:
        """Map ``x`` of shape ``(members, batch, inputs)``."""
        return torch.baddbmm(self.bias, x, self.weight)


RELU_GAIN = math.sqrt(2)


def flatten_matrices(A: Tensor, members: int) -> Tensor:
    """Bring ``(batch, n, n)`` (shared by the members) or ``(members, batch, n, n)`` to ``(members, batch, n²)``."""
    flat = A.flatten(-2)
    return flat.expand(members, -1, -1) if flat.ndim == 2 else flat
