"""The minimax iteration for the spectra of a sample, and its errors on them: known before anything is inverted."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from neuralinv.learned import schulz
from neuralinv.learned.architectures.schulz import SchulzIteration

_MARGIN = 0.8
"""Of the smallest relative singular value seen: those to come may be a little smaller."""
_SMALLEST = 1e-5
"""Iterations for eigenvalues from here on take more products than anybody would pay."""


@lru_cache(maxsize=16)
def make_iteration(smallest: float, *, positive: bool) -> SchulzIteration | None:
    """Return the iteration for relative singular values from ``smallest`` on; None where they reach too close to zero.

    ``positive`` matrices are iterated on as they are; of others the singular values count twice.
    """
    if not smallest ** (1 if positive else 2) > _SMALLEST:
        return None
    return schulz(_MARGIN * smallest, positive=positive)


def iteration_errors(iteration: SchulzIteration, values: Tensor) -> Tensor:
    """Return ``‖X − A⁻¹‖_F / ‖A⁻¹‖_F`` in exact arithmetic for matrices of relative singular values ``(count, n)``.

    With ``A = U diag(σ) Vᵀ`` the iteration ends at ``X = V diag(p/σ) Uᵀ``: the error is that of ``p`` from 1, weighted
    by 1/σ. About 2 n operations for each product.
    """
    p = iteration.on_spectrum(values if iteration.positive else values.square())
    return torch.linalg.vector_norm((p - 1) / values, dim=-1) / torch.linalg.vector_norm(1 / values, dim=-1)
