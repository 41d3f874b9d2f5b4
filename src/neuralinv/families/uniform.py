"""Independent entries: uniform on an interval, or normal."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from neuralinv.families.registry import Family
from neuralinv.families.settings import nonnegative, positive

_FEWEST_ACCEPTED = 1e-4
_FEWEST_CANDIDATES = 1024
_PATIENCE = 50_000


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
    largest = torch.finfo(dtype.to_real()).max
    if max(abs(low), abs(high), high - low) > largest:
        raise ValueError(
            f"low = {low}, high = {high}: {dtype} holds numbers, and differences, of at most {largest:.1e}; pass "
            "smaller ones, or another dtype"
        )
    nonnegative("min_abs_det", min_abs_det)

    def draw(k: int) -> Tensor:
        # Of complex entries, the real and the imaginary part are uniform.
        shape = (k, size, size, 2) if dtype.is_complex else (k, size, size)
        unit = torch.rand(*shape, generator=generator, dtype=dtype.to_real(), device=device)
        entries = (low + (high - low) * unit).clamp_(low, high)
        return torch.view_as_complex(entries) if dtype.is_complex else entries

    A = draw(count)
    if min_abs_det <= 0:
        return A
    missing = (~_accepted(A, min_abs_det)).nonzero().squeeze(1)
    drawn, kept = count, count - len(missing)
    while len(missing):
        candidates = draw(max(len(missing), _FEWEST_CANDIDATES))
        candidates = candidates[_accepted(candidates, min_abs_det)][: len(missing)]
        A[missing[: len(candidates)]] = candidates
        missing = missing[len(candidates) :]
        drawn += max(len(missing), _FEWEST_CANDIDATES)
        kept += len(candidates)
        if drawn > _PATIENCE and kept < _FEWEST_ACCEPTED * drawn:
            raise ValueError(
                f"min_abs_det = {min_abs_det}: hardly any {size}×{size} matrix with elements in [{low}, {high}] has a "
                f"determinant as large ({kept:,} of {drawn:,} drawn); lower it"
            )
    return A


def _accepted(A: Tensor, min_abs_det: float) -> Tensor:
    # LAPACK has no half precision.
    narrowest = torch.complex64 if A.is_complex() else torch.float32
    return torch.linalg.det(A.to(torch.promote_types(A.dtype, narrowest))).abs() > min_abs_det


def _draw_gaussian(
    count: int,
    size: int,
    *,
    generator: torch.Generator,
    dtype: torch.dtype,
    device: torch.device | str,
    scale: float,
) -> Tensor:
    positive("scale", scale)
    return scale * torch.randn(count, size, size, generator=generator, dtype=dtype, device=device)


UNIFORM = Family(
    "uniform",
    "independent entries, uniform on [low, high]; matrices with |det| ≤ min_abs_det are redrawn",
    _draw_uniform,
    {"low": -1.0, "high": 1.0, "min_abs_det": 0.0},
    spectrum="as gaussian for large n (the circular law), with an outlier n·(low + high)/2 where that is not 0",
    reference="Tao & Vu 2008, arXiv:0708.2895 (the circular law)",
)
GAUSSIAN = Family(
    "gaussian",
    "independent normal entries (Ginibre's ensemble) of standard deviation scale",
    _draw_gaussian,
    {"scale": 1.0},
    spectrum="singular values from about scale/√n to 2·scale·√n; condition number of order n",
    reference="Edelman 1988, doi:10.1137/0609045",
)
