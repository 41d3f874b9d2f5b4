"""How wrong the answers are: against float64 for float32, and by residuals or extended precision for float64."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from neuralinv.bench.problems import Problem
from neuralinv.dense import lapack

TOLERATED = 10.0
"""Our median error may exceed LAPACK's by this factor."""
_MOST_JUDGED = 10_000
_MOST_NUMBERS = 1 << 21


@dataclass(frozen=True)
class Accuracy:
    """Median and largest relative error of a batch; infinite where the answer is not finite."""

    median: float
    largest: float


def judged_count(problem: Problem) -> int:
    """Return how many matrices of the problem are judged: the oracle must not take longer than the measurement."""
    n = problem.A.shape[-1]
    return min(len(problem.A), _MOST_JUDGED, max(8, _MOST_NUMBERS // (n * n)))


def measure_accuracy(problem: Problem, result: Sequence[Tensor]) -> Accuracy:
    """Judge a result of the problem's first matrices.

    Parameters
    ----------
    problem
        With a batch dimension.
    result
        ``(X,)`` or ``(sign, logabsdet)``, for at least :func:`judged_count` matrices.

    Returns
    -------
    The errors, relative and normwise (Frobenius):

    - float32: ``‖X − X̂‖/‖X‖`` with ``X`` computed in float64;
    - float64: the residuals ``‖I − AX̂‖/(‖A‖‖X̂‖)`` and ``‖b − AX̂‖/(‖A‖‖X̂‖ + ‖b‖)``;
    - log-determinants: ``|l − l̂|/max(1, |l|)`` with ``l`` from elimination in NumPy's long double, and infinity for
      the wrong sign.
    """
    count = judged_count(problem)
    A, parts = problem.A[:count], [part[:count] for part in result]
    if problem.operation.name.startswith("slogdet"):
        error = _slogdet_error(A, parts[0], parts[1])
    elif problem.b is None:
        error = _inverse_error(A, parts[0])
    else:
        error = _solution_error(A, problem.b[:count], parts[0])
    error = torch.where(error.isfinite(), error, torch.inf)
    return Accuracy(float(error.median()), float(error.max()))


def is_inaccurate(ours: Accuracy, lapack: Accuracy, dtype: torch.dtype) -> bool:
    """Tell whether our median error is more than ten times LAPACK's; NaN is inaccurate too."""
    # LAPACK's median is zero where almost every answer is correctly rounded.
    reference = lapack.median or torch.finfo(dtype).eps / 2
    return not (math.isfinite(ours.median) and ours.median <= TOLERATED * reference)


def extended_slogdet(A: Tensor) -> tuple[Tensor, Tensor]:
    """Return sign and log|det| by elimination with partial pivoting in NumPy's long double.

    Shape ``(batch, n, n)`` to two float64 tensors ``(batch,)``. Long double has 64 bits of precision on x86, 113 on
    some others, and no more than float64 on a few.
    """
    U = A.double().numpy().astype(np.longdouble)
    batch, n = np.arange(len(U)), U.shape[-1]
    sign, logarithm = np.ones(len(U)), np.zeros(len(U), dtype=np.longdouble)
    with np.errstate(divide="ignore", invalid="ignore"):
        for k in range(n):
            p = k + np.abs(U[:, k:, k]).argmax(1)
            U[batch, k], U[batch, p] = U[batch, p], U[batch, k].copy()
            pivot = U[:, k, k]
            sign *= np.where(p == k, 1.0, -1.0) * np.sign(pivot).astype(np.float64)
            logarithm += np.log(np.abs(pivot))
            U[:, k + 1 :, k:] -= (U[:, k + 1 :, k] / pivot[:, None])[:, :, None] * U[:, None, k, k:]
    return torch.from_numpy(sign), torch.from_numpy(logarithm.astype(np.float64))


def _slogdet_error(A: Tensor, sign: Tensor, logabsdet: Tensor) -> Tensor:
    true_sign, true_logarithm = extended_slogdet(A)
    error = (logabsdet.double() - true_logarithm).abs() / true_logarithm.abs().clamp(min=1.0)
    return torch.where(sign.double() == true_sign, error, torch.inf)


def _inverse_error(A: Tensor, X: Tensor) -> Tensor:
    if A.dtype == torch.float64:
        return _norm(torch.eye(A.shape[-1], dtype=A.dtype) - A @ X) / (_norm(A) * _norm(X))
    true = lapack.inverse(A.double(), positive=False)
    return _norm(true - X) / _norm(true)


def _solution_error(A: Tensor, b: Tensor, X: Tensor) -> Tensor:
    if A.dtype == torch.float64:
        return _norm(b - A @ X) / (_norm(A) * _norm(X) + _norm(b))
    true = lapack.solution(A.double(), b.double(), positive=False)
    return _norm(true - X) / _norm(true)


def _norm(A: Tensor) -> Tensor:
    return torch.linalg.matrix_norm(A)
