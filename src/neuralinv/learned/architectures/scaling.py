"""The scale that a network works in. Inversion is homogeneous of degree −1, ``inv(s A) = inv(A) / s``: an exact
symmetry.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def by_norm(A: Tensor) -> Tensor:
    """Return ``‖A‖_F / √n`` in float64, shape ``(*batch, 1, 1)``: every matrix then lies on one sphere."""
    # In float64 the squares of any float32 number stay in range.
    return torch.linalg.vector_norm(A, dim=(-2, -1), keepdim=True, dtype=torch.float64) / math.sqrt(A.shape[-1])


def by_range(A: Tensor, bound: float) -> Tensor:
    """Return ``max(bound, max |a_ij|)``, shape ``(*batch, 1, 1)``: entries come to lie in [−1, 1]."""
    return A.abs().amax((-2, -1), keepdim=True).clamp(min=bound)
