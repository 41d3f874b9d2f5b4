"""Ways from parameters to the coefficients of ``X(θ) = Σ_r c_r(θ) B_r`` other than polynomials.

- A small network of θ, :class:`CoefficientNetwork`.
- A projection for each matrix (Zahm & Nouy 2016, doi:10.1137/15M1019210): of all combinations, the one whose residual
  is least on a random sketch Θ of a few columns, ``min_c ‖(I − A Σ c_r B_r) Θ‖_F``, by its normal equations. It needs
  the matrices, and its cost is that of a few products of them.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn

Kind: TypeAlias = Literal["polynomial", "network", "projection"]
KINDS: tuple[Kind, ...] = ("polynomial", "network", "projection")

HIDDEN = 32
_FEWEST_COLUMNS = 4
_CHUNK_ELEMENTS = 1 << 22


class CoefficientNetwork(nn.Module):
    """Maps positions ``(batch, p)`` on [−1, 1] to coefficients ``(batch, rank)``, float64: two hidden layers of tanh.

    Parameters
    ----------
    parameters, rank, hidden
        p; number of coefficients; width of the hidden layers.
    """

    def __init__(self, parameters: int, rank: int, hidden: int = HIDDEN) -> None:
        super().__init__()
        self.hidden = hidden
        wide = torch.float64
        self.inner = nn.Sequential(
            nn.Linear(parameters, hidden, dtype=wide), nn.Tanh(), nn.Linear(hidden, hidden, dtype=wide), nn.Tanh()
        )
        self.outer = nn.Linear(hidden, rank, dtype=wide)
        self.requires_grad_(False)

    def forward(self, unit: Tensor) -> Tensor:
        """Return the coefficients."""
        out: Tensor = self.outer(self.inner(unit))
        return out


def sketch_columns(n: int, rank: int) -> int:
    """Return how many columns a sketch takes: four equations and more for each coefficient."""
    return min(n, max(_FEWEST_COLUMNS, -(-4 * rank // n)))


def draw_sketch(n: int, rank: int, *, dtype: torch.dtype, seed: int) -> Tensor:
    """Return a Gaussian sketch ``(n, columns)`` with ``E ‖RΘ‖_F² = ‖R‖_F²``, double precision."""
    generator = torch.Generator().manual_seed(seed)
    columns = sketch_columns(n, rank)
    return torch.randn(n, columns, generator=generator, dtype=dtype) / columns**0.5


def normal_equations(A: Tensor, images: Tensor, sketch: Tensor) -> tuple[Tensor, Tensor]:
    """Return ``MᵀM``, ``(batch, r, r)``, and ``Mᵀ vec Θ``, ``(batch, r)``; of M, the columns are ``vec A B_r Θ`` as
    real numbers. With them ``‖(I − A Σ c_r B_r) Θ‖_F² = cᵀMᵀMc − 2 cᵀMᵀvec Θ + ‖Θ‖_F²``.

    Parameters
    ----------
    A
        Shape ``(batch, n, n)``.
    images
        ``B_r Θ``, ``(r, n, columns)``, double precision.
    sketch
        Θ.

    Notes
    -----
    ``2 n² r columns`` operations for each matrix, and ``2 n r² columns``, all in double precision.
    """
    r, n, columns = images.shape
    side = images.permute(1, 0, 2).reshape(n, r * columns)
    flat = (torch.view_as_real(sketch) if sketch.is_complex() else sketch).reshape(-1)
    squares = torch.empty(len(A), r, r, dtype=flat.dtype, device=A.device)
    products = torch.empty(len(A), r, dtype=flat.dtype, device=A.device)
    step = max(1, _CHUNK_ELEMENTS // (n * r * columns))
    for start in range(0, len(A), step):
        part = slice(start, start + step)
        image = (A[part].to(images.dtype) @ side).view(-1, n, r, columns).permute(0, 2, 1, 3)
        M = (torch.view_as_real(image) if image.is_complex() else image).reshape(len(image), r, -1)
        torch.bmm(M, M.mT, out=squares[part])
        torch.matmul(M, flat, out=products[part])
    return squares, products


def project(A: Tensor, images: Tensor, sketch: Tensor) -> Tensor:
    """Return the coefficients ``(batch, r)`` of the least residual on the sketch; NaN where there is no unique one."""
    squares, products = normal_equations(A, images, sketch)
    factor, info = torch.linalg.cholesky_ex(squares)
    solution = torch.cholesky_solve(products[..., None], factor).squeeze(-1)
    return torch.where((info == 0)[:, None], solution, torch.nan)
