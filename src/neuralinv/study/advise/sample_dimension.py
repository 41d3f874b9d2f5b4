"""How many numbers move the matrices: a nearest-neighbour estimate of intrinsic dimension."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_NEIGHBOURS = (5, 10)
_FEWEST = 32


def distances(A: Tensor) -> NDArray[np.float64]:
    """Return the distances of all pairs of points ``(count, k)``, shape ``(count, count)``, infinite with itself."""
    # Differences, not the Gram matrix, which loses half of the digits of small distances.
    found = torch.cdist(A, A, compute_mode="donot_use_mm_for_euclid_dist").numpy()
    np.fill_diagonal(found, np.inf)
    return np.asarray(found)


def intrinsic_dimension(distance: NDArray[np.float64]) -> float:
    """Estimate the dimension of the set that points with these distances lie on; NaN for fewer than 32 points.

    Levina & Bickel's maximum likelihood from 5 to 10 neighbours (*Maximum likelihood estimation of intrinsic
    dimension*, NIPS 2004), with inverse estimates averaged over points as MacKay & Ghahramani propose (2005, comment on
    the same). A few hundred points cannot tell dimensions beyond about ten apart: the estimate is then too low. Copies
    of a matrix count as one; 0 if there is one point alone.
    """
    first = _distinct(distance)
    if len(first) == 1:
        return 0.0
    if len(first) < _FEWEST:
        return float("nan")
    nearest = np.sort(distance[np.ix_(first, first)], axis=1)[:, : _NEIGHBOURS[1]]
    estimates = []
    for k in range(*_NEIGHBOURS):
        inverse = np.log(nearest[:, k : k + 1] / nearest[:, :k]).mean()
        estimates.append(1 / inverse)
    return float(np.mean(estimates))


def _distinct(distance: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the first of each group of copies."""
    copies = np.tril(distance == 0, -1).any(1)
    return np.flatnonzero(~copies)
