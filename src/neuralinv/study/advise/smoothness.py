"""How well a few numbers describe the inverses: along parameters, in a basis of few modes, by a neighbour's inverse."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from neuralinv.families import Range
from neuralinv.learned.architectures.parametric import chebyshev_features, feature_count, total_degree_exponents

RANKS = (1, 2, 4, 8, 16, 32, 64)
_WIDE = 30.0
"""Positive parameters whose largest value is so many times the smallest are spread in logarithm."""
_HELD_OUT = 5
_FEATURES_SHARE = 0.5
_RIDGE = 1e-3


def parameter_ranges(theta: Tensor) -> dict[str, Range] | None:
    """Guess where parameters ``(count, p)`` lie: their extremes, and as much beyond as one more draw would reach.

    Positive ones that spread widely are taken in logarithm. None if one does not move.
    """
    ranges = {}
    for k, column in enumerate(theta.T.tolist()):
        low, high = min(column), max(column)
        if not low < high:
            return None
        log = low > 0 and high > _WIDE * low
        if log:
            beyond = (high / low) ** (1 / max(len(column) - 1, 1))
            ranges[f"theta_{k}"] = Range(low / beyond, high * beyond, log=True)
        else:
            margin = (high - low) / max(len(column) - 1, 1)
            ranges[f"theta_{k}"] = Range(low - margin, high + margin)
    return ranges


def coordinates(A: Tensor) -> Tensor:
    """Return real coordinates ``(count, k)`` of matrices ``(count, n, n)`` in an orthonormal basis of their span.

    Norms, distances and products are those of the matrices, in at most ``count`` numbers each: what follows costs the
    same for every n. About 4 count² n² operations.
    """
    rows = (torch.view_as_real(A) if A.is_complex() else A).reshape(len(A), -1)
    return torch.linalg.qr(rows.mT, mode="r").R.mT if rows.shape[1] > len(rows) else rows


def distances(A: Tensor) -> NDArray[np.float64]:
    """Return the distances of all pairs of points ``(count, k)``, shape ``(count, count)``, infinite with itself."""
    # Differences, not the Gram matrix, which loses half of the digits of small distances.
    found = torch.cdist(A, A, compute_mode="donot_use_mm_for_euclid_dist").numpy()
    np.fill_diagonal(found, np.inf)
    return np.asarray(found)


def polynomial_errors(theta: Tensor, X: Tensor, ranges: Mapping[str, Range]) -> dict[int, float]:
    """Fit polynomials of the parameters to inverses, and return the error on a fifth of them by total degree.

    Parameters
    ----------
    theta, X
        Parameters ``(count, p)`` and :func:`coordinates` of the inverses.
    ranges
        Where the parameters lie.

    Returns
    -------
    90 % quantile of the relative Frobenius error, for each degree that half of the other matrices determine.
    """
    unit = torch.stack([2 * range_.position(theta[:, k]) - 1 for k, range_ in enumerate(ranges.values())], -1)
    held = torch.arange(len(theta)) % _HELD_OUT == 0
    errors: dict[int, float] = {}
    degree = 1
    while feature_count(len(ranges), degree) <= _FEATURES_SHARE * int((~held).sum()) and degree <= 24:
        features = chebyshev_features(unit, total_degree_exponents(len(ranges), degree))
        # The driver that knows deficient rank: columns may coincide where parameters repeat.
        weight = torch.linalg.lstsq(features[~held], X[~held], driver="gelsd").solution
        errors[degree] = _high(_relative(features[held] @ weight, X[held]))
        degree += 1 if degree < 4 else 2
    return errors


def rank_decay(X: Tensor) -> dict[int, float]:
    """Return the share of the inverses that the best r modes leave out, root mean square, by r; X from
    :func:`coordinates`.

    Each inverse has norm 1 here: a few large ones do not hide the others.
    """
    X = X / _largest(X)
    X = X / torch.linalg.vector_norm(X, dim=1, keepdim=True).clamp(min=1.0)  # 1 or more but for a row of zeros
    squares = torch.linalg.svdvals(X).square()
    left = squares.flip(0).cumsum(0).flip(0)  # of this mode and those after it, summed from the smallest
    shares = {r: left[r] if r < len(left) else left.new_zeros(()) for r in RANKS if r <= len(X) // 2}
    return {r: float((share / left[0]).sqrt()) for r, share in shares.items()}


def constant_error(X: Tensor) -> float:
    """Return the relative error (90 % quantile) of answering the mean inverse, whatever the matrix."""
    return _high(_relative(X.mean(0).expand_as(X), X))


def linear_error(A: Tensor, X: Tensor) -> float:
    """Return the relative error (90 % quantile, on a fifth) of the best affine map from matrices to inverses.

    Kernel ridge regression with the linear kernel on :func:`coordinates` of both.
    """
    held = torch.arange(len(A)) % _HELD_OUT == 0
    mean_in, mean_out = A[~held].mean(0), X[~held].mean(0)
    inputs, targets = A - mean_in, X[~held] - mean_out
    gram = inputs[~held] @ inputs[~held].mT
    gram.diagonal().add_(_RIDGE * gram.diagonal().mean() + torch.finfo(gram.dtype).tiny)
    weight = torch.linalg.solve(gram, targets)
    found = inputs[held] @ inputs[~held].mT @ weight + mean_out
    return _high(_relative(found, X[held]))


def neighbour_error(X: Tensor, distance: NDArray[np.float64]) -> float:
    """Return the relative error (90 % quantile) of answering the inverse of the nearest other matrix."""
    return _high(_relative(X[torch.from_numpy(distance.argmin(1))], X))


def needed_lipschitz(X: Tensor, distance: NDArray[np.float64]) -> float:
    """Return the largest ``‖X_i − X_j‖_F / ‖A_i − A_j‖_F`` over nearest neighbours: no map that is right on the sample
    has a smaller Lipschitz constant. X from :func:`coordinates` of the inverses, distances between the matrices.
    """
    apart = distance.min(1)
    moved = torch.linalg.vector_norm(X - X[torch.from_numpy(distance.argmin(1))], dim=1).numpy()
    ratios = moved[apart > 0] / apart[apart > 0]
    return float(ratios.max()) if len(ratios) else 0.0


def _relative(found: Tensor, true: Tensor) -> Tensor:
    size = _largest(true)
    return torch.linalg.vector_norm((found - true) / size, dim=1) / torch.linalg.vector_norm(true / size, dim=1)


def _largest(X: Tensor) -> Tensor:
    """Largest magnitude of each row, 1 for zeros: squares of rows of any size stay within the range."""
    largest = X.abs().amax(1, keepdim=True)
    return torch.where(largest > 0, largest, 1.0)


def _high(errors: Tensor) -> float:
    # Quantiles interpolate: infinities would become NaN.
    return float(torch.quantile(errors.nan_to_num(nan=torch.inf).clamp(max=torch.finfo(errors.dtype).max), 0.9))
