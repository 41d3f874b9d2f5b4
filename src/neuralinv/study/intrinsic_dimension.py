"""How many parameters a sample of matrices really has: two nearest-neighbour estimators."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from torch import Tensor

_DISCARDED = 0.1
_RESAMPLES = 200
_FEWEST = 20


@dataclass(frozen=True)
class Dimension:
    """An estimate, with its 95 % interval, and how many distinct points it comes from."""

    value: float
    low: float
    high: float
    points: int


def two_nn(points: NDArray[Any], *, discard: float = _DISCARDED, seed: int = 0) -> Dimension:
    """Estimate the intrinsic dimension from the ratio of the distances to the two nearest neighbours.

    Where density is constant over the second neighbour's distance, ``μ = r₂/r₁`` has the distribution
    ``F(μ) = 1 − μ^(−d)``: the slope of ``−log(1 − F)`` against ``log μ`` through the origin is d, fitted without the
    largest ratios.

    Parameters
    ----------
    points
        Shape ``(count, coordinates)``, real and finite; duplicates count once.
    discard
        Share of the largest ratios left out.
    seed
        Of the bootstrap behind the interval.

    Raises
    ------
    ValueError
        If fewer than 20 distinct points are left, or a coordinate is not finite.

    Notes
    -----
    In more than about 10 dimensions the estimate is too low unless points are very many. Noise counts as dimensions
    once points are denser than it. Cost: a k-d tree, O(count log count) in few dimensions, O(count²) in many.

    References
    ----------
    Facco, d'Errico, Rodriguez & Laio 2017, *Estimating the intrinsic dimension of datasets by a minimal neighborhood
    information*, Scientific Reports 7, 12140, doi:10.1038/s41598-017-11873-y.
    """
    distances = neighbour_distances(points, 2)
    log_mu = np.log(distances[:, 1] / distances[:, 0])
    return _with_interval(log_mu, lambda values: _slope(np.sort(values), discard), seed)


def levina_bickel(points: NDArray[Any], *, neighbours: tuple[int, int] = (5, 10), seed: int = 0) -> Dimension:
    """Estimate the intrinsic dimension by maximum likelihood over more neighbours, which smooths noise.

    The mean over points of ``Σ_{j<k} log(r_k/r_j)/(k − 1)``, whose expectation is 1/d, is inverted (MacKay and
    Ghahramani's correction); the estimate is the mean over k.

    Parameters
    ----------
    points
        Shape ``(count, coordinates)``, real and finite; duplicates count once.
    neighbours
        Smallest and largest k, at least 3.
    seed
        Of the bootstrap behind the interval.

    Raises
    ------
    ValueError
        If too few distinct points are left, or a coordinate is not finite.

    References
    ----------
    Levina & Bickel 2004, *Maximum likelihood estimation of intrinsic dimension*, NeurIPS 17; MacKay & Ghahramani 2005,
    comments on it.
    """
    fewest, most = neighbours
    if not 3 <= fewest <= most:
        raise ValueError(f"neighbours = {neighbours}: expected (smallest, largest) of at least 3")
    logarithms = np.log(neighbour_distances(points, most))
    inverse = np.stack(
        [(logarithms[:, k - 1 : k] - logarithms[:, : k - 1]).mean(1) for k in range(fewest, most + 1)], -1
    )
    return _with_interval(inverse, lambda values: float((1 / values.mean(0).clip(min=1e-12)).mean()), seed)


def as_points(matrices: Tensor) -> NDArray[np.float64]:
    """Flatten matrices ``(count, n, n)`` of any dtype to real points ``(count, n²)`` (complex ones: ``2n²``)."""
    flat = matrices.detach().cpu().flatten(1)
    real = torch.view_as_real(flat).flatten(1) if flat.is_complex() else flat
    return real.double().numpy()


def neighbour_distances(points: NDArray[Any], neighbours: int) -> NDArray[np.float64]:
    """Return the distances of each distinct point to its nearest ones, ascending: ``(distinct, neighbours)``.

    Raises
    ------
    ValueError
        If a coordinate is not finite, or fewer than 20 distinct points (or ``neighbours + 2``) are left.
    """
    array = np.asarray(points, float)
    if array.ndim != 2 or not np.isfinite(array).all():
        raise ValueError(f"points of shape {array.shape}: expected (count, coordinates), all finite")
    distinct = np.unique(array, axis=0)
    fewest = max(_FEWEST, neighbours + 2)
    if len(distinct) < fewest:
        raise ValueError(
            f"{len(distinct)} distinct points: an estimate of the dimension takes at least {fewest}; give more matrices"
        )
    found, _ = cKDTree(distinct).query(distinct, k=neighbours + 1)
    return np.maximum(np.asarray(found, float)[:, 1:], np.finfo(float).tiny)


def _slope(log_mu: NDArray[np.float64], discard: float) -> float:
    count = len(log_mu)
    kept = max(2, int(count * (1 - discard)))
    x = log_mu[:kept]
    y = -np.log1p(-np.arange(1, kept + 1) / count) if kept < count else -np.log1p(-np.arange(kept) / count)
    return float((x @ y) / max(float(x @ x), np.finfo(float).tiny))


def _with_interval(
    values: NDArray[np.float64], estimate: Callable[[NDArray[np.float64]], float], seed: int
) -> Dimension:
    """Bootstrap over points: ``values`` have one row for each."""
    random = np.random.default_rng(seed)
    drawn = [estimate(random.choice(values, len(values))) for _ in range(_RESAMPLES)]
    low, high = np.quantile(drawn, (0.025, 0.975))
    return Dimension(estimate(values), float(low), float(high), len(values))
