"""Posterior precisions of a linear-Gaussian state-space model: block tridiagonal, written as dense matrices."""

from __future__ import annotations

import torch
from torch import Tensor

from neuralinv.families.registry import Family, MatrixFunction, Range
from neuralinv.families.settings import positive, whole
from neuralinv.families.spectrum import haar


def _build_state_space(
    size: int, *, generator: torch.Generator, dtype: torch.dtype, device: torch.device | str, state: float
) -> MatrixFunction:
    # x₀ ~ N(0, I), x_{t+1} = ρ O x_t + w, y_t = C x_t + v with an orthogonal O, w ~ N(0, I), v ~ N(0, r I). Then the
    # precision of the path given y has the blocks I + ρ²I + CᵀC/r on its diagonal (no ρ² in the last) and −ρO below.
    d = whole("state", state)
    steps = -(-size // d)
    O = haar(1, d, generator=generator, dtype=torch.float64, device=device)[0].contiguous()  # noqa: E741
    C = torch.randn(d, d, generator=generator, dtype=torch.float64, device=device) / d**0.5
    time = torch.eye(steps, dtype=torch.float64, device=device)
    block = torch.eye(d, dtype=torch.float64, device=device)
    later = time.clone()
    later[-1, -1] = 0
    below = torch.kron(torch.diag(time.new_ones(steps - 1), -1), O)
    # A last, incomplete block: the precision given the coordinates that were cut off.
    cut = (slice(size), slice(size))
    noise, drift, moved, seen = (
        M[cut]
        for M in (torch.kron(time, block), torch.kron(later, block), below + below.mT, torch.kron(time, C.mT @ C))
    )

    def matrices(theta: Tensor) -> Tensor:
        persistence, variance = theta[..., None, None].unbind(-3)
        return (noise + persistence.square() * drift - persistence * moved + seen / variance).to(dtype)

    return matrices


STATE_SPACE = Family(
    "state_space",
    "block-tridiagonal precision of the path of a linear-Gaussian state-space model, given its noisy observations",
    parameters={"state": 2.0},
    spectrum="eigenvalues in [(1 − persistence)², (1 + persistence)²] plus those of CᵀC / variance",
    reference="Rauch, Tung & Striebel 1965, doi:10.2514/3.3166; Archer et al. 2015, arXiv:1511.07367",
    symmetry="positive",
    build=_build_state_space,
    ranges={"persistence": Range(0.5, 0.95), "variance": Range(1e-2, 1.0, log=True)},
    domains={"variance": positive},
)
