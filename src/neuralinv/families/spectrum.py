"""Matrices with a known conditioning: a given condition number, or diagonal dominance."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from neuralinv.families.registry import Family


def _draw_conditioned(
    count: int,
    size: int,
    *,
    generator: torch.Generator,
    dtype: torch.dtype,
    device: torch.device | str,
    cond: float,
) -> Tensor:
    if not 1 <= cond < math.inf:
        raise ValueError(f"cond = {cond}: a condition number is at least 1")
    U, V = (_orthogonal(count, size, generator, device) for _ in range(2))
    exponents = torch.linspace(0, -1, size, dtype=torch.float64, device=device) if size > 1 else torch.zeros(1)
    singular_values = torch.pow(torch.tensor(cond, dtype=torch.float64, device=device), exponents.to(device))
    return ((U * singular_values) @ V).to(dtype)


def _orthogonal(count: int, size: int, generator: torch.Generator, device: torch.device | str) -> Tensor:
    """Draw from the Haar measure: QR of a normal matrix with the signs fixed (Mezzadri 2007, arXiv:math-ph/0609050)."""
    G = torch.randn(count, size, size, generator=generator, dtype=torch.float64, device=device)
    Q, R = torch.linalg.qr(G)
    return Q * R.diagonal(dim1=-2, dim2=-1).sign()[:, None, :]


def _draw_dominant(
    count: int,
    size: int,
    *,
    generator: torch.Generator,
    dtype: torch.dtype,
    device: torch.device | str,
    dominance: float,
) -> Tensor:
    if not 0 < dominance < math.inf:
        raise ValueError(f"dominance = {dominance}: expected a positive number")
    A = 2 * torch.rand(count, size, size, generator=generator, dtype=torch.float64, device=device) - 1
    diagonal = A.diagonal(dim1=-2, dim2=-1)
    off_diagonal = A.abs().sum(-1) - diagonal.abs()
    signs = torch.where(diagonal < 0, -1.0, 1.0).double()
    diagonal.copy_(signs * ((1 + dominance) * off_diagonal + (size == 1)))
    return A.to(dtype)


CONDITIONED = Family(
    "conditioned",
    "random orthogonal factors around singular values spaced evenly in logarithm from 1 to 1/cond",
    _draw_conditioned,
    {"cond": 100.0},
)
DIAGONALLY_DOMINANT = Family(
    "diagonally_dominant",
    "uniform entries; each diagonal entry is (1 + dominance) times the absolute sum of the others in its row",
    _draw_dominant,
    {"dominance": 1.0},
)
