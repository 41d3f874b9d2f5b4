"""Fits with confidence intervals, and quantiles that survive what is not finite."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

_RESAMPLES = 1000
_CONFIDENCE = 0.95


@dataclass(frozen=True)
class Interval:
    """An estimate and its 95 % confidence interval; ``count`` points decided it."""

    value: float
    low: float
    high: float
    count: int

    def __str__(self) -> str:
        return f"{self.value:.2f} [{self.low:.2f}, {self.high:.2f}]"


def power_law(x: ArrayLike, y: ArrayLike) -> Interval:
    """Return the exponent b of ``y ≈ a xᵇ``: least squares in logarithms, with Student's interval.

    Raises
    ------
    ValueError
        If there are fewer than three points, they are not positive and finite, or all x are equal.
    """
    u, v = np.asarray(x, float), np.asarray(y, float)
    if u.shape != v.shape or u.ndim != 1 or len(u) < 3:
        raise ValueError(f"x of shape {u.shape}, y of shape {v.shape}: a fit takes at least three points of each")
    if not (np.all(np.isfinite(u) & np.isfinite(v)) and np.all((u > 0) & (v > 0))):
        raise ValueError("a power law is fitted to positive, finite numbers")
    if np.ptp(u) == 0:
        raise ValueError("all x are equal: there is no exponent to fit")
    fit = stats.linregress(np.log(u), np.log(v))
    half = float(stats.t.ppf((1 + _CONFIDENCE) / 2, len(u) - 2) * fit.stderr)
    return Interval(float(fit.slope), float(fit.slope) - half, float(fit.slope) + half, len(u))


def rank_correlation(x: ArrayLike, y: ArrayLike, *, seed: int = 0) -> Interval:
    """Return Spearman's rank correlation, with the bootstrap's percentile interval over pairs.

    Raises
    ------
    ValueError
        If there are fewer than four pairs.
    """
    u, v = np.asarray(x, float), np.asarray(y, float)
    if u.shape != v.shape or len(u) < 4:
        raise ValueError(f"x of shape {u.shape}, y of shape {v.shape}: a correlation takes at least four pairs")

    def correlation(chosen: NDArray[np.intp]) -> float:
        a, b = (ranks - ranks.mean() for ranks in (stats.rankdata(u[chosen]), stats.rankdata(v[chosen])))
        scale = float(np.sqrt((a @ a) * (b @ b)))
        return float(a @ b) / scale if scale else 0.0

    low, high = bootstrap(len(u), correlation, seed=seed)
    return Interval(correlation(np.arange(len(u))), low, high, len(u))


def bootstrap(count: int, statistic: Callable[[NDArray[np.intp]], float], *, seed: int = 0) -> tuple[float, float]:
    """Return the percentile interval of ``statistic``, a function of indices into ``count`` observations."""
    random = np.random.default_rng(seed)
    values = [statistic(random.integers(0, count, count)) for _ in range(_RESAMPLES)]
    low, high = np.quantile(values, ((1 - _CONFIDENCE) / 2, (1 + _CONFIDENCE) / 2))
    return float(low), float(high)


def geometric_mean(values: Sequence[float]) -> float:
    """Return the geometric mean of positive numbers."""
    return float(np.exp(np.mean(np.log(values))))
