"""Random-matrix ensembles whose spectrum is known in the limit: Wishart, and orthogonal plus noise."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from neuralinv.families.gram import gram
from neuralinv.families.registry import Family
from neuralinv.families.settings import aspect_ratio, nonnegative
from neuralinv.families.spectrum import haar


def _draw_wishart(
    count: int,
    size: int,
    *,
    generator: torch.Generator,
    dtype: torch.dtype,
    device: torch.device | str,
    aspect: float,
) -> Tensor:
    aspect_ratio("aspect", aspect, "fewer observations than variables would leave the matrices singular")
    observations = math.ceil(aspect * size)
    wide = torch.complex128 if dtype.is_complex else torch.float64
    Z = torch.randn(count, size, observations, generator=generator, dtype=wide, device=device)
    return gram(Z.mH, observations).to(dtype)


def _draw_orthogonal_plus_noise(
    count: int,
    size: int,
    *,
    generator: torch.Generator,
    dtype: torch.dtype,
    device: torch.device | str,
    noise: float,
) -> Tensor:
    nonnegative("noise", noise)
    wide = torch.complex128 if dtype.is_complex else torch.float64
    Q = haar(count, size, generator=generator, dtype=wide, device=device)
    G = torch.randn(count, size, size, generator=generator, dtype=wide, device=device)
    return (Q + noise / math.sqrt(size) * G).to(dtype)


WISHART = Family(
    "wishart",
    "Z Zᴴ / m with normal n×m Z and m = ⌈aspect · n⌉: sample covariances of white noise",
    _draw_wishart,
    {"aspect": 2.0},
    spectrum="eigenvalues in about [(1 − 1/√aspect)², (1 + 1/√aspect)²]",
    reference="Marchenko & Pastur 1967, doi:10.1070/SM1967v001n04ABEH001994",
    symmetry="positive",
)
ORTHOGONAL_PLUS_NOISE = Family(
    "orthogonal_plus_noise",
    "a Haar orthogonal (unitary) matrix plus noise/√n times a normal one",
    _draw_orthogonal_plus_noise,
    {"noise": 0.1},
    spectrum="singular values within about 1 ± 2·noise, the bound of the noise's norm for large n",
    reference="Mezzadri 2007, arXiv:math-ph/0609050; Davidson & Szarek 2001, Thm II.13 (the norm of the noise)",
)
