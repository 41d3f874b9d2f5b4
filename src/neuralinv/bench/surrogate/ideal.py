"""The best that a banded inverse factor can be: the exact one, cut."""

from __future__ import annotations

import torch
from torch import Tensor

from neuralinv.block_tridiagonal import BlockTridiagonal
from neuralinv.learned.surrogate import Approximation

CUT = "exact, cut"
"""Its name: what a surrogate with as many bands would say if it had nothing left to learn."""


def cut_inverse(diag: Tensor, lower: Tensor, bands: int) -> Approximation:
    """Return the exact factor, and of its inverse ``bands`` block diagonals; by way of dense float64 matrices."""
    steps, n = diag.shape[-3], diag.shape[-1]
    factor = BlockTridiagonal(diag.double(), lower.double()).cholesky()
    dense = factor.to_dense()
    inverse = torch.linalg.solve_triangular(dense, torch.eye(steps * n, dtype=dense.dtype), upper=False)
    blocks = inverse.unflatten(-1, (steps, n)).unflatten(-3, (steps, n)).transpose(-3, -2)
    t = torch.arange(steps)[:, None]
    source = t - torch.arange(bands)
    G = blocks[..., t, source.clamp(min=0), :, :] * (source >= 0)[..., None, None]
    return Approximation(*(x.to(diag.dtype) for x in (factor.diag, factor.lower, G)))
