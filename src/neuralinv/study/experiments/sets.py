"""Sets of matrices with known singular values, and their inverses without an elimination.

``A = U diag(s) V`` with Haar orthogonal factors: then ``A⁻¹ = Vᵀ diag(1/s) Uᵀ``, exact up to rounding. The factors are
taken from a pool drawn once, every pair anew: as many matrices as a study asks for, at the cost of two products.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor

from neuralinv.families.spectrum import haar

_POOL = 4096
_POOL_SEED = 2506_00642
Side = Literal["both", "positive"]


@dataclass(frozen=True)
class SpectralSet:
    """``{A: σ₁ = 1, σ_n ≥ δ}`` for n×n matrices (n = 1: ``δ ≤ |a| ≤ 1``), compact and at distance δ from the singular
    ones.

    Attributes
    ----------
    n, delta
        Size; the distance, which is also the reciprocal of the largest condition number.
    side
        Both components of the set, or that of positive determinant alone.
    exact
        Whether ``σ_n = δ`` for every matrix, and not spread evenly in logarithm from δ to 1.
    """

    n: int
    delta: float
    side: Side = "both"
    exact: bool = False

    def __post_init__(self) -> None:
        if self.n < 1 or not 0 < self.delta <= 1:
            raise ValueError(f"n = {self.n}, delta = {self.delta}: expected a size of at least 1 and delta in (0, 1]")

    def draw(self, count: int, *, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw ``count`` matrices and their inverses, each ``(count, n, n)``, float64."""
        return compose(self.singular_values(count, generator=generator), *self.factors(count, generator=generator))

    def source(self) -> Callable[[int, torch.Generator], tuple[Tensor, Tensor]]:
        """Return :meth:`draw` as the training loop calls it."""
        return lambda count, generator: self.draw(count, generator=generator)

    def singular_values(self, count: int, *, generator: torch.Generator) -> Tensor:
        """Draw ``(count, n)``: the first 1, the last δ or above, the others between, evenly in logarithm."""
        unit = torch.rand(count, self.n, generator=generator, dtype=torch.float64)
        depth = torch.ones_like(unit[:, -1]) if self.exact else unit[:, -1]
        exponents = unit * depth[:, None]
        exponents[:, 0] = 0.0
        exponents[:, -1] = depth
        return torch.exp(math.log(self.delta) * exponents)

    def factors(self, count: int, *, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw orthogonal ``U, V`` ``(count, n, n)``; on one side, their determinants have the same sign."""
        U, V, signs_U, signs_V = _pool(self.n)
        i, j = (torch.randint(_POOL, (count,), generator=generator) for _ in range(2))
        left = U[i].clone()
        if self.side == "positive":
            left[:, :, 0] *= (signs_U[i] * signs_V[j])[:, None]
        return left, V[j]


def compose(s: Tensor, U: Tensor, V: Tensor) -> tuple[Tensor, Tensor]:
    """Return ``U diag(s) V`` and its inverse ``Vᵀ diag(1/s) Uᵀ``, for ``s (count, n)`` without zeros; signs may
    differ.
    """
    return (U * s[:, None, :]) @ V, (V.mT / s[:, None, :]) @ U.mT


def real_form(A: Tensor) -> Tensor:
    """Write complex matrices ``(*batch, n, n)`` as real ones ``(*batch, 2n, 2n)``: inverses correspond, too."""
    if not A.is_complex():
        return A
    top = torch.cat([A.real, -A.imag], -1)
    return torch.cat([top, torch.cat([A.imag, A.real], -1)], -2)


def unit_scale(A: Tensor) -> Tensor:
    """Divide each matrix by ``‖A‖_F/√n``: inversion is homogeneous, and scale is nothing to be learned."""
    return A * (math.sqrt(A.shape[-1]) / torch.linalg.matrix_norm(A))[..., None, None]


@lru_cache(maxsize=32)
def _pool(n: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(_POOL_SEED + n)
    U, V = (haar(_POOL, n, generator=generator, dtype=torch.float64, device="cpu") for _ in range(2))
    return U, V, torch.linalg.det(U).sign(), torch.linalg.det(V).sign()
