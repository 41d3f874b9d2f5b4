"""Differential operators on the unit square, discretised by finite volumes over coefficient and wave number.

The grid has n interior points in the most nearly square rows × columns, natural order, and zero boundary values. Rows
are multiplied by the area of a cell, which makes the entries independent of the mesh width on a square grid.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from neuralinv.families.registry import Family, MatrixFunction, Range
from neuralinv.families.settings import nonnegative


@dataclass(frozen=True)
class _Grid:
    """Points and faces; a face joins two points, or a point and the boundary."""

    rows: int
    columns: int
    device: torch.device | str

    @classmethod
    def of(cls, size: int, device: torch.device | str) -> _Grid:
        rows = next(k for k in range(math.isqrt(size), 0, -1) if size % k == 0)
        return cls(rows, size // rows, device)

    def points(self) -> tuple[Tensor, Tensor]:
        """Coordinates x and y of the points, each ``(n,)``."""
        x = torch.arange(1, self.columns + 1, dtype=torch.float64, device=self.device) / (self.columns + 1)
        y = torch.arange(1, self.rows + 1, dtype=torch.float64, device=self.device) / (self.rows + 1)
        return x.repeat(self.rows), y.repeat_interleave(self.columns)

    def faces(self) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Index of the point on either side of each face (n for the boundary), its midpoint, and its length divided by
        the distance of the two points; each ``(faces,)``.
        """
        hx, hy = 1 / (self.columns + 1), 1 / (self.rows + 1)
        n = self.rows * self.columns
        padded = torch.full((self.rows + 2, self.columns + 2), n, device=self.device)
        padded[1:-1, 1:-1] = torch.arange(n, device=self.device).reshape(self.rows, self.columns)
        ys, xs = (torch.arange(k + 2, dtype=torch.float64, device=self.device) for k in (self.rows, self.columns))
        across = (padded[1:-1, :-1], padded[1:-1, 1:], (xs[:-1] + 0.5) * hx, ys[1:-1, None] * hy, hy / hx)
        along = (padded[:-1, 1:-1], padded[1:, 1:-1], xs[1:-1] * hx, (ys[:-1, None] + 0.5) * hy, hx / hy)
        parts = []
        for first, second, x, y, ratio in (across, along):
            parts.append([first.flatten(), second.flatten()])
            parts[-1] += [t.expand_as(first).flatten() for t in (x, y, torch.full_like(x[:1], ratio))]
        joined = [torch.cat(pair) for pair in zip(*parts, strict=True)]
        return joined[0], joined[1], joined[2], joined[3], joined[4]


def _assemble(size: int, first: Tensor, second: Tensor, flux: Tensor) -> Tensor:
    """Sum ``flux · (e_i − e_j)(e_i − e_j)ᵀ`` over the faces: ``(*batch, faces)`` to ``(*batch, n, n)``."""
    m = size + 1  # row and column n stand for the boundary and are cut off
    index = torch.cat([first * m + first, second * m + second, first * m + second, second * m + first])
    values = torch.cat([flux, flux, -flux, -flux], -1)
    flat = values.new_zeros(*values.shape[:-1], m * m).index_add(-1, index, values)
    return flat.unflatten(-1, (m, m))[..., :size, :size]


def _build_poisson(
    size: int, *, generator: torch.Generator, dtype: torch.dtype, device: torch.device | str
) -> MatrixFunction:
    first, second, x, y, ratio = _Grid.of(size, device).faces()
    modes = torch.stack([torch.cos(math.pi * x), torch.cos(2 * math.pi * x) * torch.cos(2 * math.pi * y)])

    def matrices(theta: Tensor) -> Tensor:
        return _assemble(size, first, second, ratio * torch.exp(theta @ modes)).to(dtype)

    return matrices


def _build_helmholtz(
    size: int, *, generator: torch.Generator, dtype: torch.dtype, device: torch.device | str, absorption: float
) -> MatrixFunction:
    nonnegative("absorption", absorption)
    grid = _Grid.of(size, device)
    first, second, _, _, ratio = grid.faces()
    laplacian = _assemble(size, first, second, ratio).to(dtype)
    x, y = grid.points()
    lens = torch.exp(-((x - 0.5).square() + (y - 0.5).square()) / 0.08)
    area = 1 / ((grid.rows + 1) * (grid.columns + 1))

    def matrices(theta: Tensor) -> Tensor:
        wavelengths, contrast = theta[..., None].unbind(-2)
        potential = area * (2 * math.pi * wavelengths).square() * (1 + contrast * lens)
        return laplacian - torch.diag_embed(potential * complex(1, absorption)).to(dtype)

    return matrices


POISSON = Family(
    "poisson",
    "−∇·(a∇u) with the coefficient a = exp(θ₁ cos πx + θ₂ cos 2πx cos 2πy), five-point stencil",
    spectrum="condition number of order m² · max a / min a, m points along the longer side: √n to n; positive definite",
    reference="LeVeque 2007, Finite Difference Methods, ch. 3; Zahm & Nouy 2016, doi:10.1137/15M1019210 (the use)",
    symmetry="positive",
    build=_build_poisson,
    ranges={"first": Range(-1.0, 1.0), "second": Range(-1.0, 1.0)},
)
HELMHOLTZ = Family(
    "helmholtz",
    "−Δu − k²(1 + i·absorption)(1 + contrast·lens)u, k = 2π·wavelengths; without absorption singular at resonances",
    parameters={"absorption": 0.1},
    spectrum="the Laplacian's eigenvalues, moved left by k² and down by absorption · k²; "
    "in about half of the draws some lie left of 0",
    reference="Erlangga, Vuik & Oosterlee 2004, doi:10.1016/j.apnum.2004.01.009 (the complex shift)",
    complex=True,
    build=_build_helmholtz,
    ranges={"wavelengths": Range(0.25, 1.0), "contrast": Range(0.0, 0.5)},
    domains={"wavelengths": nonnegative},
)
