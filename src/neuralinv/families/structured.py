"""Structured positive definite matrices: autoregressive Toeplitz covariances, and graph Laplacians plus a shift."""

from __future__ import annotations

import torch
from torch import Tensor

from neuralinv.families.registry import Family, MatrixFunction, Range
from neuralinv.families.settings import correlation, nonnegative, positive


def _build_autoregressive(
    size: int, *, generator: torch.Generator, dtype: torch.dtype, device: torch.device | str, noise: float
) -> MatrixFunction:
    nonnegative("noise", noise)
    index = torch.arange(size, device=device)
    lag = (index[:, None] - index).abs()
    observed = noise * torch.eye(size, dtype=dtype, device=device)

    def matrices(theta: Tensor) -> Tensor:
        # Partial autocorrelations parametrise exactly the stationary processes: φ₂ = p₂, φ₁ = p₁ (1 − p₂).
        p1, p2 = theta.unbind(-1)
        r = [torch.ones_like(p1), p1]
        for _ in range(2, size):
            r.append(p1 * (1 - p2) * r[-1] + p2 * r[-2])
        return torch.stack(r[:size], -1)[..., lag].to(dtype) + observed

    return matrices


def _build_laplacian(
    size: int, *, generator: torch.Generator, dtype: torch.dtype, device: torch.device | str, degree: float
) -> MatrixFunction:
    positive("degree", degree)
    weight = torch.rand(size, size, generator=generator, dtype=torch.float64, device=device) + 0.5
    edge = torch.rand(size, size, generator=generator, dtype=torch.float64, device=device) * max(size - 1, 1) < degree
    W = torch.triu(weight * edge, 1)
    W = W + W.mT
    laplacian = torch.diag(W.sum(-1)) - W
    identity = torch.eye(size, dtype=torch.float64, device=device)

    def matrices(theta: Tensor) -> Tensor:
        return (laplacian + theta[..., None] * identity).to(dtype)

    return matrices


AUTOREGRESSIVE = Family(
    "ar",
    "Toeplitz covariances of a second-order autoregressive process of variance 1, observed with white noise",
    parameters={"noise": 0.0},
    spectrum="between the extremes of the spectral density: condition number at most Π ((1 + |p|)/(1 − |p|))²",
    reference="Barndorff-Nielsen & Schou 1973, doi:10.1016/0047-259X(73)90030-4 (partial autocorrelations)",
    symmetry="positive",
    build=_build_autoregressive,
    ranges={"partial_1": Range(-0.8, 0.8), "partial_2": Range(-0.8, 0.8)},
    domains={"partial_1": correlation, "partial_2": correlation},
)
LAPLACIAN = Family(
    "laplacian",
    "Laplacian of a random weighted graph of the given mean degree, plus a shift on the diagonal",
    parameters={"degree": 8.0},
    spectrum="eigenvalues in [shift, shift + 2 · largest weighted degree], the smallest exactly the shift",
    reference="Chung 1997, Spectral Graph Theory; Smola & Kondor 2003 (the regularised Laplacian as a kernel)",
    symmetry="positive",
    build=_build_laplacian,
    ranges={"shift": Range(1e-2, 1.0, log=True)},
    domains={"shift": positive},
)
