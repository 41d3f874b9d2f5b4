"""A certificate for O(k n²) instead of O(n³) operations, wrong with a probability that the caller chooses.

Let X approximate ``A⁻¹`` and ``R = I − AX``, ``‖R‖_F ≤ ρ < 1``. From ``A⁻¹ − X = XR (I − R)⁻¹`` and ``X = A⁻¹ (I −
R)``,

    ‖A⁻¹ − X‖_F / ‖A⁻¹‖_F ≤ (1 + ρ) / (1 − ρ) · ‖XR‖_F / ‖X‖_F.

That is sharp, where ρ itself can be larger than the error by a condition number: X need only be good, not ``AX``. Both
norms are looked at through k independent standard normal vectors ω_i that do not depend on A and X. For any matrix M,
the mean of ``‖M ω_i‖²`` falls below ``τ ‖M‖_F²``, τ < 1, with probability at most ``(τ e^{1−τ})^{k/2}``: the Laplace
transform of ``‖Mω‖²`` at θ is ``Π (1 + 2θσ_j²)^{-1/2} ≤ (1 + 2θ ‖M‖_F²)^{-1/2}``, and Chernoff's bound follows with the
best θ. Complex vectors count twice. A lemma of this kind about the largest ``‖M ω_i‖`` and ``‖M‖₂`` is due to Halko,
Martinsson & Tropp 2011 (doi:10.1137/090771806, Lemma 4.1).

``D = ω − A (X ω)`` is computed in float64, and wrong by at most ``γ_{2n+8} (‖A‖_F ‖X‖_F + 1) ‖ω‖₂``; ``X D`` in the
precision of X, and wrong by ``γ_{n+4} ‖X‖_F ‖D‖₂`` there. Both are added. γ has four times as many terms for complex
products: the kernel makes each of three real ones (``cpp/include/neuralinv/planes.hpp``).
"""

from __future__ import annotations

import math
import secrets
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from neuralinv.dense import native_probing
from neuralinv.dense.correction import CHUNK_ELEMENTS, SAFE_NORM, gamma, matrices_at_once

LARGEST_FAILURE_PROBABILITY = 0.5

MOST_OVERESTIMATED = 7.3
"""By a factor: 16 vectors, or 8 complex ones, for a probability of 1e-10."""

_U = torch.finfo(torch.float64).eps / 2


def check_probability(failure_probability: float) -> float:
    """Return the probability.

    Raises
    ------
    ValueError
        If it is out of range.
    """
    if not isinstance(failure_probability, float) or not 1e-300 <= failure_probability <= LARGEST_FAILURE_PROBABILITY:
        raise ValueError(f"failure_probability={failure_probability!r}; expected a number in (0, 0.5], such as 1e-10")
    return failure_probability


@dataclass(frozen=True)
class Odds:
    """How a probabilistic certificate was asked for: with which probability it may fail, and where chance comes from.

    Without a generator the seed comes from the operating system, so that no input can have been made for it.

    Raises
    ------
    ValueError
        If the probability is out of range.
    """

    failure_probability: float = 1e-10
    generator: torch.Generator | None = None

    def __post_init__(self) -> None:
        check_probability(self.failure_probability)

    def draw(self, A: Tensor, count: int) -> Tensor:
        """Draw standard normal vectors ``(n, count)`` in the dtype of ``A``."""
        generator = self.generator
        if generator is None:
            generator = torch.Generator(A.device).manual_seed(secrets.randbits(63))
        return torch.randn(A.shape[-1], count, generator=generator, dtype=A.dtype, device=A.device)


@lru_cache(maxsize=256)
def smallest_share(failure_probability: float, freedom: int) -> float:
    """Return τ < 1 with ``(τ e^{1−τ})^{freedom/2} ≤ failure_probability``, by bisection of its logarithm.

    ``freedom`` is k, the number of vectors, or 2k for complex ones.
    """
    wanted = 2 * math.log(failure_probability) / freedom
    low, high = wanted - 1, 0.0  # of log τ
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if middle + 1 - math.exp(middle) <= wanted else (low, middle)
    return math.exp(low)


def overestimate(failure_probability: float, count: int, *, is_complex: bool) -> float:
    """Return by which factor so many vectors may overestimate both norms."""
    # Two norms share the probability.
    return smallest_share(failure_probability / 2, 2 * count if is_complex else count) ** -0.5


def probe_count(failure_probability: float, *, is_complex: bool = False, most: float = MOST_OVERESTIMATED) -> int:
    """Return k: so many vectors that they overestimate by a factor of at most ``most``.

    Raises
    ------
    ValueError
        If the probability is out of range.
    """
    needed = -2 * math.log(check_probability(failure_probability) / 2) / (2 * math.log(most) - 1 + most**-2)
    return max(1, math.ceil((needed / 2 if is_complex else needed) - 1e-9))


def draw_probes(A: Tensor, odds: Odds, *, most: float = MOST_OVERESTIMATED) -> Tensor:
    """Draw vectors ``(n, k)`` in double precision for matrices like ``A``, shared by a batch: every matrix has its own
    guarantee all the same. See :class:`Odds`.
    """
    wide = torch.complex128 if A.is_complex() else torch.float64
    k = probe_count(odds.failure_probability, is_complex=A.is_complex(), most=most)
    return odds.draw(A.new_empty(0, A.shape[-1], dtype=wide), k)


@torch.no_grad()
def probable_error_bound(A: Tensor, X: Tensor, probes: Tensor, failure_probability: float) -> Tensor:
    """Bound ``‖A⁻¹ − X‖_F / ‖A⁻¹‖_F`` with at most this probability of failure, for each matrix of its own.

    Parameters
    ----------
    A, X
        Shape ``(batch, n, n)``, of one dtype, float32, float64, complex64 or complex128; neither made with knowledge of
        the vectors.
    probes
        From :func:`draw_probes`.
    failure_probability
        The one that they were drawn for.

    Returns
    -------
    Float64, shape ``(batch,)``; infinity where nothing is proved, as of matrices that are not finite, or whose norms
    are so extreme that something could under- or overflow.

    Notes
    -----
    6 k n² floating-point operations, 4 k n² of them in double precision. Matrices up to n = 1024 go to a
    kernel on the CPU, ``cpp/include/neuralinv/probing.hpp``, which reads A and X once.
    """
    n, k = probes.shape
    squares, norms = _probe(A, X, probes)  # of D and XD; of A and X
    up = 1 + 4 * (n * n + 64) * _U
    norm_A, norm_X = norms.unbind(1)
    least_X, norm_A, norm_X = norm_X / up, norm_A * up, norm_X * up
    sizes = torch.linalg.vector_norm(probes, dim=0) * up
    information = torch.finfo(A.dtype)

    wrong_D = (gamma(2 * n + 8, _U, A.dtype) * (norm_A * norm_X + 1))[:, None] * sizes
    D = squares[:, 0].sqrt() * up + wrong_D
    # What underflows is below n² times the smallest normal number.
    lost = n * n * information.tiny * (1 + norm_X)
    wrong_XD = gamma(n + 4, information.eps / 2, A.dtype) * norm_X[:, None] * D + norm_X[:, None] * wrong_D
    XD = squares[:, 1].sqrt() * up + wrong_XD + lost[:, None]

    factor = overestimate(failure_probability, k, is_complex=A.is_complex()) * (1 + 64 * _U)
    rho, spread = (factor * M.square().mean(1).sqrt() for M in (D, XD))
    bound = torch.minimum(rho, (1 + rho) / (1 - rho) * spread / least_X) * (1 + 64 * _U)
    limit = SAFE_NORM[A.dtype.to_real()]
    safe = (norm_A < limit) & (norm_A > 1 / limit) & (norm_X < limit) & (norm_X > 1 / limit)
    return torch.where(safe & (rho < 1) & torch.isfinite(bound), bound, torch.inf)


def _probe(A: Tensor, X: Tensor, probes: Tensor) -> tuple[Tensor, Tensor]:
    """Return squares of the norms ``‖Dω_i‖₂`` and ``‖XDω_i‖₂``, ``(batch, 2, k)``, and the norms of A and X, ``(batch,
    2)``, in double precision.
    """
    if native_probing.probes(A, probes.shape[1]):
        squares, squared_norms = native_probing.probe(A, X, probes)
        return squares, squared_norms.sqrt()
    k = probes.shape[1]
    wide, real = probes.dtype, probes.dtype.to_real()
    squares = torch.empty(len(A), 2, k, dtype=real, device=A.device)
    norms = torch.empty(len(A), 2, dtype=real, device=A.device)
    step = matrices_at_once(A, CHUNK_ELEMENTS)
    for start in range(0, len(A), step):
        part = slice(start, start + step)
        a, x = A[part].to(wide), X[part].to(wide)
        D = probes - a @ (x @ probes)
        for j, (M, images) in enumerate(((a, D), (x, x @ D))):
            norms[part, j] = torch.linalg.vector_norm(M, dim=(-2, -1))
            squares[part, j] = images.abs().square().sum(-2)
    return squares, norms
