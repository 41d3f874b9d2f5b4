"""Covariances of Gaussian processes over their hyper-parameters: a kernel matrix plus a nugget."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from neuralinv.families.registry import Family, MatrixFunction, Range
from neuralinv.families.settings import nonnegative, positive, whole

_RANGES = {"length_scale": Range(0.2, 1.0, log=True), "nugget": Range(1e-2, 1.0, log=True)}
_DOMAINS = {"length_scale": positive, "nugget": nonnegative}


def _squared_distances(
    size: int, dimension: float, *, generator: torch.Generator, device: torch.device | str
) -> Tensor:
    """Between points drawn evenly from the unit cube."""
    points = torch.rand(size, whole("dimension", dimension), generator=generator, dtype=torch.float64, device=device)
    return (points[:, None] - points).square().sum(-1)


def _build_rbf(
    size: int, *, generator: torch.Generator, dtype: torch.dtype, device: torch.device | str, dimension: float
) -> MatrixFunction:
    squared = _squared_distances(size, dimension, generator=generator, device=device)
    identity = torch.eye(size, dtype=torch.float64, device=device)

    def matrices(theta: Tensor) -> Tensor:
        length, nugget = theta[..., None, None].unbind(-3)
        return (torch.exp(squared / (-2 * length.square())) + nugget * identity).to(dtype)

    return matrices


def _build_matern(
    size: int,
    *,
    generator: torch.Generator,
    dtype: torch.dtype,
    device: torch.device | str,
    dimension: float,
    smoothness: float,
) -> MatrixFunction:
    if smoothness not in (0.5, 1.5, 2.5):
        raise ValueError(f"smoothness = {smoothness}: known are 0.5, 1.5 and 2.5, where Matérn's kernel is elementary")
    distance = _squared_distances(size, dimension, generator=generator, device=device).sqrt()
    identity = torch.eye(size, dtype=torch.float64, device=device)

    def matrices(theta: Tensor) -> Tensor:
        length, nugget = theta[..., None, None].unbind(-3)
        t = math.sqrt(2 * smoothness) * distance / length
        polynomial = {0.5: torch.ones_like(t), 1.5: 1 + t, 2.5: 1 + t + t.square() / 3}[smoothness]
        return (polynomial * torch.exp(-t) + nugget * identity).to(dtype)

    return matrices


RBF = Family(
    "rbf",
    "Gaussian kernel exp(−d²/2ℓ²) on random points of the unit cube, plus a nugget on the diagonal",
    parameters={"dimension": 2.0},
    spectrum="eigenvalues in [nugget, n + nugget], most of them close to the nugget",
    reference="Rasmussen & Williams 2006, Gaussian Processes for Machine Learning, §4.2",
    symmetry="positive",
    build=_build_rbf,
    ranges=_RANGES,
    domains=_DOMAINS,
)
MATERN = Family(
    "matern",
    "Matérn kernel of smoothness 1/2, 3/2 or 5/2 on random points of the unit cube, plus a nugget on the diagonal",
    parameters={"dimension": 2.0, "smoothness": 1.5},
    spectrum="eigenvalues in [nugget, n + nugget], decaying like k^(−1 − 2·smoothness/dimension)",
    reference="Rasmussen & Williams 2006, Gaussian Processes for Machine Learning, §4.2",
    symmetry="positive",
    build=_build_matern,
    ranges=_RANGES,
    domains=_DOMAINS,
)
