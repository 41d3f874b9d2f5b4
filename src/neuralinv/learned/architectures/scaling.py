"""The scale that a network works in. Inversion is homogeneous of degree −1, ``inv(s A) = inv(A) / s``: an exact
symmetry.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from neuralinv.learned.config import ModelConfig


def by_norm(A: Tensor) -> Tensor:
    """Return ``‖A‖_F / √n`` in float64, shape ``(*batch, 1, 1)``: every matrix then lies on one sphere."""
    # In float64 the squares of any float32 number stay in range.
    return torch.linalg.vector_norm(A, dim=(-2, -1), keepdim=True, dtype=torch.float64) / math.sqrt(A.shape[-1])


class ScaledByRange(nn.Module):
    """What architectures without gates share: they work on entries in [−1, 1]."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.members, self.bound = config.members, max(abs(config.low), abs(config.high))

    def gate_matrices(self) -> list[nn.Parameter]:
        """There are no gates."""
        return []

    def scale(self, A: Tensor) -> Tensor:
        """Scale by the element range, and further where a matrix exceeds it; shape ``(*batch, 1, 1)``."""
        return A.abs().amax((-2, -1), keepdim=True).clamp(min=self.bound)
