"""Smoothness along the batch, read as a sequence: how far a matrix is from the one before, and from where it was
heading.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from neuralinv.dense import SequenceInverter


class PathSmoothness(NamedTuple):
    """Of consecutive matrices; 90 % quantiles.

    Attributes
    ----------
    step
        ``‖A_{t+1} − A_t‖_F / ‖A_t‖_F``.
    guess
        Relative error of the inverse that :class:`~neuralinv.SequenceInverter` starts from.
    residual
        ``‖I − A X₀‖_F`` of it: the correction converges below 1.
    """

    step: float
    guess: float
    residual: float


def path_smoothness(path: Tensor) -> PathSmoothness | None:
    """Measure matrices ``(steps, sequences, n, n)``, float64 or complex128; None where one is singular.

    Costs ``steps`` certified inverses of each sequence.
    """
    step = torch.linalg.matrix_norm(path[1:] - path[:-1]) / torch.linalg.matrix_norm(path[:-1])
    identity = torch.eye(path.shape[-1], dtype=path.dtype)
    inverter = SequenceInverter(on_singular="nan")
    guesses, residuals = [], []
    for k, A in enumerate(path):
        X0 = inverter.propose()
        X = inverter(A).inverse
        if not bool(torch.isfinite(X).all()):
            return None
        if X0 is not None and k >= len(path) // 2:  # the first steps find out which degree to extrapolate with
            guesses.append(torch.linalg.matrix_norm(X0 - X) / torch.linalg.matrix_norm(X))
            residuals.append(torch.linalg.matrix_norm(identity - A @ X0))
    quantiles = (float(torch.quantile(torch.cat(list(values)).flatten(), 0.9)) for values in (step, guesses, residuals))
    return PathSmoothness(*quantiles)
