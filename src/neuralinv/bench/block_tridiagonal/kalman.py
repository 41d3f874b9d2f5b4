"""torch-kf beside ours, on what it is for: the smoother of a time-invariant model.

It filters and smooths with covariances, we solve with the posterior's precision; means and covariances are the same.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

import neuralinv as ni
from neuralinv.bench.rivals import UnavailableError
from neuralinv.measuring.formatting import dtype_name
from neuralinv.measuring.timing import time_interleaved

NAME = "torch-kf"


@dataclass(frozen=True)
class SmootherRow:
    """Seconds for each sequence, and the largest difference of means and covariances relative to float64 of ours."""

    steps: int
    n: int
    batch: int
    dtype: str
    ours: float
    theirs: float
    our_error: float
    their_error: float


def load() -> Any:
    """Return the module.

    Raises
    ------
    UnavailableError
        If it is not installed.
    """
    try:
        import torch_kf
    except ImportError as error:
        raise UnavailableError("not installed: pip install torch-kf") from error
    return torch_kf


def measure_smoother(
    torch_kf: Any, steps: int, n: int, batch: int, dtype: torch.dtype, *, threads: int, seconds: float
) -> SmootherRow:
    """Smooth ``batch`` sequences: a rotating latent state of dimension n, observed in noise at every step."""
    generator = torch.Generator().manual_seed(n)
    A = 0.95 * torch.linalg.matrix_exp(0.1 * _skew(torch.randn(n, n, generator=generator, dtype=torch.float64)))
    Q, R = 0.1 * torch.eye(n, dtype=torch.float64), 0.5 * torch.eye(n, dtype=torch.float64)
    y = torch.randn(steps, batch, n, 1, generator=generator, dtype=torch.float64)

    def posterior(wanted: torch.dtype) -> Callable[[], tuple[Tensor, Tensor]]:
        A_, Q_, R_, y_ = (x.to(wanted) for x in (A, Q, R, y))
        observation, process = torch.linalg.inv(R_), torch.linalg.inv(Q_)
        h = (observation @ y_).squeeze(-1).transpose(0, 1).contiguous()
        first, last = torch.eye(n, dtype=wanted), A_.mT @ process @ A_
        diag = (observation + process + last).repeat(steps, 1, 1)
        diag[0] += first - process
        diag[-1] -= last
        lower = (-process @ A_).repeat(steps - 1, 1, 1)

        def call() -> tuple[Tensor, Tensor]:
            factor = ni.BlockTridiagonal(diag, lower).cholesky()
            return factor.solve_transpose(factor.solve(h)), cast(Tensor, factor.inverse_blocks().diag)

        return call

    A_, Q_, R_, y_ = (x.to(dtype) for x in (A, Q, R, y))
    eye = torch.eye(n, dtype=dtype)
    model = torch_kf.KalmanFilter(A_, eye, Q_, R_)
    prior = torch_kf.GaussianState(torch.zeros(batch, n, 1, dtype=dtype), eye.expand(batch, n, n).clone())

    def theirs() -> tuple[Tensor, Tensor]:
        smoothed = model.rts_smooth(model.filter(prior, y_, return_all=True))
        # Covariances do not depend on the data: those of the first sequence stand for all.
        return smoothed.mean.squeeze(-1).transpose(0, 1), smoothed.covariance[:, 0]

    ours, exact = posterior(dtype), posterior(torch.float64)()
    timings = time_interleaved({"ours": ours, "theirs": theirs}, seconds, threads=threads)
    errors = [
        max(
            float((found.double() - true).abs().max() / true.abs().max())
            for found, true in zip(call(), exact, strict=True)
        )
        for call in (ours, theirs)
    ]
    return SmootherRow(
        steps, n, batch, dtype_name(dtype), timings["ours"].median / batch, timings["theirs"].median / batch, *errors
    )


def _skew(A: Tensor) -> Tensor:
    return A - A.mT
