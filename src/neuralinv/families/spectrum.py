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
    wide = torch.complex128 if dtype.is_complex else torch.float64
    U, V = (haar(count, size, generator=generator, dtype=wide, device=device) for _ in range(2))
    exponents = torch.linspace(0, -1, size, dtype=torch.float64, device=device) if size > 1 else torch.zeros(1)
    singular_values = torch.pow(torch.tensor(cond, dtype=torch.float64, device=device), exponents.to(device)).to(wide)
    return ((U * singular_values) @ V).to(dtype)


def haar(
    count: int, size: int, *, generator: torch.Generator, dtype: torch.dtype, device: torch.device | str
) -> Tensor:
    """Draw orthogonal (unitary) matrices ``(count, size, size)`` from the Haar measure: QR of a normal matrix with the
    signs fixed (Mezzadri 2007, arXiv:math-ph/0609050).
    """
    G = torch.randn(count, size, size, generator=generator, dtype=dtype, device=device)
    Q, R = torch.linalg.qr(G)
    return Q * R.diagonal(dim1=-2, dim2=-1).sgn()[:, None, :]


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
    spectrum="singular values cond^(−k/(n−1)), k = 0 … n − 1, exactly",
    reference="Mezzadri 2007, arXiv:math-ph/0609050 (the factors); Higham, Accuracy and Stability, §28.3 (randsvd)",
)
DIAGONALLY_DOMINANT = Family(
    "diagonally_dominant",
    "uniform entries; each diagonal entry is (1 + dominance) times the absolute sum of the others in its row",
    _draw_dominant,
    {"dominance": 1.0},
    spectrum="eigenvalues in Gershgorin's discs around ± (1 + dominance) times the radius",
    reference="Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., §8.3 and §9.5",
)
