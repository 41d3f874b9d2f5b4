"""Gram matrices of multi-antenna channels, as linear receivers invert them, over frequency and noise."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from neuralinv.families.gram import gram
from neuralinv.families.registry import Family, MatrixFunction, Range
from neuralinv.families.settings import aspect_ratio, nonnegative, whole


def _build_mimo(
    size: int,
    *,
    generator: torch.Generator,
    dtype: torch.dtype,
    device: torch.device | str,
    antennas: float,
    taps: float,
    delay_spread: float,
) -> MatrixFunction:
    aspect_ratio("antennas", antennas, "a linear receiver has at least one antenna for each stream")
    nonnegative("delay_spread", delay_spread)
    rows, paths = math.ceil(antennas * size), whole("taps", taps)
    wide = torch.complex128
    H = torch.randn(paths, rows * size, generator=generator, dtype=wide, device=device)
    delay = torch.arange(paths, dtype=torch.float64, device=device) * (delay_spread / max(paths - 1, 1))
    # An exponential power-delay profile of total power 1: the last tap is e⁻² weaker than the first.
    power = torch.exp(-2 * torch.arange(paths, dtype=torch.float64, device=device) / max(paths - 1, 1))
    H = H * (power / power.sum()).sqrt()[:, None]
    identity = torch.eye(size, dtype=torch.float64, device=device)

    def matrices(theta: Tensor) -> Tensor:
        frequency, snr = theta.unbind(-1)
        phase = torch.exp(-2j * math.pi * (frequency[..., None] * delay))
        channel = (phase.to(wide) @ H).unflatten(-1, (rows, size))
        variance = torch.pow(10, -snr / 10)[..., None, None]
        return gram(channel, rows).to(dtype) + variance * identity

    return matrices


MIMO = Family(
    "mimo",
    "HᴴH/m + σ²I of an m×n tapped-delay-line channel (m = ⌈antennas · n⌉) at frequency f ∈ [0, 1] of the band and "
    "signal-to-noise ratio 1/σ² in decibels",
    parameters={"antennas": 2.0, "taps": 4.0, "delay_spread": 1.0},
    spectrum="Marchenko and Pastur's law moved right by σ²: about [(1 − 1/√antennas)² + σ², (1 + 1/√antennas)² + σ²]",
    reference="Tse & Viswanath 2005, Fundamentals of Wireless Communication, §2.2 and §8.3; NeuMatC, arXiv:2511.22934",
    symmetry="positive",
    complex=True,
    build=_build_mimo,
    ranges={"frequency": Range(0.0, 1.0), "snr_db": Range(0.0, 30.0)},
)
