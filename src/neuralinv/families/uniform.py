"""Independent entries: uniform on an interval, or normal."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from neuralinv.families.registry import Family

_FEWEST_ACCEPTED = 1e-4
_TRIAL = 20_000


def _draw_uniform(
    count: int,
    size: int,
    *,
    generator: torch.Generator,
    dtype: torch.dtype,
    device: torch.device | str,
    low: float,
    high: float,
    min_abs_det: float,
) -> Tensor:
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ValueError(f"low = {low}, high = {high}: expected finite numbers with low < high")

    def draw(k: int) -> Tensor:
        unit = torch.rand(k, size, size, generator=generator, dtype=dtype, device=device)
        return (low + (high - low) * unit).clamp_(low, high)

    A = draw(count)
    if min_abs_det <= 0:
        return A
    refused = _refused(A, min_abs_det)
    drawn, kept = count, count - len(refused)
    while len(refused):
        again = draw(len(refused))
        drawn += len(again)
        A[refused] = again
        refused = refused[_refused(again, min_abs_det)]
        kept = count - len(refused)
        if drawn > _TRIAL + 2 * count and kept < _FEWEST_ACCEPTED * drawn:
            raise ValueError(
                f"min_abs_det = {min_abs_det}: fewer than one in {drawn // max(kept, 1):,} {size}×{size} matrices with "
                f"elements in [{low}, {high}] has a determinant as large; lower it"
            )
    return A


def _refused(A: Tensor, min_abs_det: float) -> Tensor:
    """Indices of the matrices with a smaller determinant."""
    return (torch.linalg.det(A).abs() <= min_abs_det).nonzero().squeeze(1)


def _draw_gaussian(
    count: int,
    size: int,
    *,
    generator: torch.Generator,
    dtype: torch.dtype,
    device: torch.device | str,
    scale: float,
) -> Tensor:
    return scale * torch.randn(count, size, size, generator=generator, dtype=dtype, device=device)


UNIFORM = Family(
    "uniform",
    "independent entries, uniform on [low, high]; matrices with |det| ≤ min_abs_det are redrawn",
    _draw_uniform,
    {"low": -1.0, "high": 1.0, "min_abs_det": 0.0},
)
GAUSSIAN = Family(
    "gaussian",
    "independent normal entries (Ginibre's ensemble) of standard deviation scale",
    _draw_gaussian,
    {"scale": 1.0},
)
