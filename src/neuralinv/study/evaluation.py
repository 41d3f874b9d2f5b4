"""How accurate a raw network is, overall and by condition number."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from neuralinv.dense import inv_ex
from neuralinv.dense.pipeline import Proposer

_CHUNK = 1 << 16
_LARGEST_CONDITION = 1e307
"""What is larger, or overflows, shares the last bin."""
_QUANTILES = (0.5, 0.9, 0.99, 0.999, 1.0)


@dataclass(frozen=True)
class Accuracy:
    """Accuracy of candidate inverses over a set of matrices; errors are of the elements, against float64 inverses.

    ``residual`` figures are quantiles of ``‖I − AX‖_F``: median, 90 %, 99 %, 99.9 % and the largest.
    ``share_below_one`` is the share of matrices with a residual below 1, which Newton–Schulz steps can refine.
    """

    count: int
    r2: float
    mse: float
    mae: float
    residual: tuple[float, float, float, float, float]
    share_below_one: float


@dataclass(frozen=True)
class ConditionBin:
    """Accuracy over the matrices with ``low ≤ κ₂(A) < high``."""

    low: float
    high: float
    accuracy: Accuracy


@dataclass(frozen=True)
class Evaluation:
    """The whole set, its condition-number bins (those without a matrix left out), and the raw values for plots.

    ``invertible`` is the mask over the matrices given, ``(count,)``; everything else is about those where it is true.
    """

    overall: Accuracy
    bins: list[ConditionBin]
    invertible: NDArray[np.bool_]
    condition: NDArray[np.float64]
    residual: NDArray[np.float64]
    true: NDArray[np.float64]
    predicted: NDArray[np.float64]


def evaluate(proposer: Proposer, A: Tensor, *, progress: Callable[[int], object] | None = None) -> Evaluation:
    """Compare raw candidate inverses with exact ones.

    Parameters
    ----------
    proposer
        Maps ``(batch, n, n)`` to candidates.
    A
        Shape ``(count, n, n)``, real and finite.
    progress
        Called with the number of matrices done.

    Raises
    ------
    ValueError
        If there is no invertible matrix in ``A``.

    Notes
    -----
    Singular matrices (a zero pivot) have no inverse to compare with and are left out, and so are those whose inverse
    exceeds the range of double precision.
    """
    true, predicted, residual, condition, invertible = [], [], [], [], []
    for chunk in A.split(_CHUNK):
        wide = chunk.double()
        inverse, info = inv_ex(wide)
        keep = (info == 0) & torch.isfinite(inverse).flatten(1).all(1)
        wide, inverse = wide[keep], inverse[keep]
        with torch.no_grad():
            X = proposer(chunk[keep]).double()
        invertible.append(keep)
        true.append(inverse)
        predicted.append(X)
        residual.append(
            torch.linalg.matrix_norm(torch.eye(A.shape[-1], dtype=wide.dtype, device=wide.device) - wide @ X)
        )
        condition.append(torch.linalg.matrix_norm(wide, 2) * torch.linalg.matrix_norm(inverse, 2))
        if progress is not None:
            progress(len(chunk))
    arrays = [torch.cat(parts).cpu().numpy() for parts in (true, predicted, residual, condition)]
    if not len(arrays[0]):
        raise ValueError("there is no invertible matrix to evaluate on")
    inverses, candidates, residuals, conditions = arrays
    return _summarise(inverses, candidates, residuals, conditions, torch.cat(invertible).cpu().numpy())


def accuracy(true: NDArray[Any], predicted: NDArray[Any], residual: NDArray[Any]) -> Accuracy:
    """Summarise candidates ``predicted`` ``(count, n, n)`` against ``true`` ones, given the residuals ``(count,)``.

    Real or complex: errors and variance are those of absolute values.
    """
    difference = np.abs(predicted - true)
    # In units of the largest element, whose squares neither overflow nor vanish.
    unit = float(np.abs(true).max()) or 1.0
    with np.errstate(over="ignore"):  # a candidate that is off by far more than that
        relative = float(np.mean((difference / unit) ** 2))
    variance = float(np.var(true / unit))
    quantiles = np.quantile(residual, _QUANTILES) if not np.isnan(residual).any() else [np.nan] * len(_QUANTILES)
    return Accuracy(
        count=len(true),
        r2=1 - relative / variance if variance else np.nan,
        mse=relative * unit * unit,
        mae=unit * float(np.mean(difference / unit)),
        residual=tuple(float(q) for q in quantiles),  # type: ignore[arg-type]
        share_below_one=float(np.mean(residual < 1)),
    )


def _summarise(
    true: NDArray[Any],
    predicted: NDArray[Any],
    residual: NDArray[Any],
    condition: NDArray[Any],
    invertible: NDArray[np.bool_],
) -> Evaluation:
    decades = np.floor(np.log10(np.minimum(condition, _LARGEST_CONDITION))).astype(int)
    bins = [
        ConditionBin(10.0**d, 10.0 ** (d + 1), accuracy(true[where], predicted[where], residual[where]))
        for d in np.unique(decades).tolist()
        for where in [decades == d]
    ]
    return Evaluation(accuracy(true, predicted, residual), bins, invertible, condition, residual, true, predicted)
