"""A certificate for O(k n²) instead of O(n³) operations, wrong with a probability that the caller chooses.

For k independent standard normal vectors ω_i and any matrix R that does not depend on them,

    ‖R‖₂ ≤ α √(2/π) max_i ‖R ω_i‖₂    with probability at least 1 − α⁻ᵏ

(Halko, Martinsson & Tropp 2011, doi:10.1137/090771806, Lemma 4.1). ``R ω = ω − A (W ω)`` takes two products of a matrix
with k vectors. In float64 they are wrong by at most ``γ_{2n+4} (‖A‖_F ‖W‖_F + 1) ‖ω‖₂``, which is added. With ``ρ ≥
‖R‖₂`` below 1, A is nonsingular and ``‖A⁻¹ − W‖_F ≤ ρ ‖A⁻¹‖_F``, as in :mod:`neuralinv.dense.certificate`.

Complex matrices get complex vectors. There ``v*ω`` has a modulus below t with probability ``1 − exp(−t²) ≤ t²`` for
any unit vector v, instead of ``√(2/π) t``, so that ``‖R‖₂ ≤ β max_i ‖R ω_i‖₂`` with probability at least ``1 − β⁻²ᵏ``:
half as many of them do.
"""

from __future__ import annotations

import math
import secrets
from dataclasses import dataclass

import torch
from torch import Tensor

LARGEST_FAILURE_PROBABILITY = 0.5
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


def probe_count(failure_probability: float, *, is_complex: bool = False, most: float = 10.0) -> int:
    """Return k: so many that the factor by which the bound overestimates, α or β, is at most ``most``.

    Raises
    ------
    ValueError
        If the probability is out of range.
    """
    needed = -math.log(check_probability(failure_probability)) / math.log(most)
    return max(1, math.ceil((needed / 2 if is_complex else needed) - 1e-9))


def overestimate(failure_probability: float, count: int, *, is_complex: bool) -> float:
    """Return what the largest ``‖R ω_i‖₂`` of so many probes has to be multiplied with."""
    if is_complex:
        return failure_probability ** (-1 / (2 * count))
    return failure_probability ** (-1 / count) * math.sqrt(2 / math.pi)


def draw_probes(
    A: Tensor, failure_probability: float, generator: torch.Generator | None, *, most: float = 10.0
) -> Tensor:
    """Draw vectors ``(n, k)`` in the dtype of ``A``, shared by a batch: every matrix has its own guarantee all the
    same. See :class:`Odds`.
    """
    k = probe_count(failure_probability, is_complex=A.is_complex(), most=most)
    return Odds(failure_probability, generator).draw(A, k)


def probable_residual_bound(A: Tensor, W: Tensor, probes: Tensor, failure_probability: float) -> Tensor:
    """Bound ``‖I − AW‖₂`` with at most this probability of failure, for each matrix of its own.

    Parameters
    ----------
    A, W
        Shape ``(batch, n, n)``, float64 or complex128, normalised; neither made with knowledge of the probes.
    probes
        From :func:`draw_probes`.
    failure_probability
        The one that the probes were drawn for.

    Returns
    -------
    Shape ``(batch,)``; NaN where a matrix is not finite.

    Notes
    -----
    4 k n² floating-point operations.
    """
    n, k = probes.shape
    images = probes - A @ (W @ probes)
    # Columns of complex products cost four times the index (Higham, Lemma 3.5).
    index = (2 * n + 4) * (4 if A.is_complex() else 1)
    gamma = index * _U / (1 - index * _U)
    norm = torch.linalg.vector_norm
    rounding = gamma * (norm(A, dim=(-2, -1)) * norm(W, dim=(-2, -1)) + 1)[:, None] * norm(probes, dim=0)
    largest = (norm(images, dim=-2) + rounding).amax(-1)
    return overestimate(failure_probability, k, is_complex=A.is_complex()) * largest * (1 + 8 * (n * n + 64) * _U)
