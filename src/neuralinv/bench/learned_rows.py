"""What `neuralinv bench learned` measures, and the rows that come of it; exact routines to compare with."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

import neuralinv as ni
from neuralinv.dense import lapack
from neuralinv.measuring.timing import time_interleaved

WORKS = ("parametric", "probable", "neumatc", "sequence", "iteration", "root", "coefficients")
OURS = "neuralinv"
RESIDUAL = "residual"
RTOL = 1e-5
BATCH_ELEMENTS = 1 << 22  # of the matrices of a parametric family: modes are read once for all of them


@dataclass(frozen=True)
class Settings:
    """What to measure.

    Attributes
    ----------
    works
        Some of :data:`WORKS`.
    families
        Parametric families.
    sizes
        n of the parametric inverses and the sequences; roots are measured from 256 on.
    threads, seconds
        For all implementations; shortest time of each.
    cells
        Into which the box of parameters is partitioned.
    """

    works: tuple[str, ...] = WORKS
    families: tuple[str, ...] = ("rbf", "matern", "poisson", "ridge", "mimo")
    sizes: tuple[int, ...] = (64, 128, 256)
    threads: int = 1
    seconds: float = 0.2
    cells: int = 1


@dataclass(frozen=True)
class Row:
    """One comparison: seconds for each matrix, or matrix products.

    Attributes
    ----------
    work, case, n
        What was computed.
    ours, rivals
        Ours, and the others' by name; our own exact routines, named ``ni.``, are shown beside them.
    goal
        How many times faster than the fastest of the other libraries we mean to be.
    certified
        Share that was proved at 1e-5 without fallback; NaN where nothing is proved.
    offline
        Seconds of training.
    unit
        Of ``ours`` and ``rivals``.
    """

    work: str
    case: str
    n: int
    ours: float
    rivals: Mapping[str, float]
    goal: float
    certified: float = math.nan
    offline: float = 0.0
    unit: str = "s"

    @property
    def fastest(self) -> str:
        """Name of the fastest routine of another library."""
        return min((name for name in self.rivals if not name.startswith("ni.")), key=lambda name: self.rivals[name])

    @property
    def ratio(self) -> float:
        """How many times faster than that we are."""
        return self.rivals[self.fastest] / self.ours

    @property
    def payback(self) -> float:
        """Number of inverses after which training is paid back; infinity where we are not faster."""
        saved = self.rivals[self.fastest] - self.ours
        return self.offline / saved if saved > 0 else math.inf


def batch_of(elements: int, n: int) -> int:
    """Return how many matrices of n×n have about so many elements: at least 2."""
    return max(2, elements // n**2)


def exact_routines(A: Tensor, *, positive: bool) -> dict[str, Callable[[], Any]]:
    """Return calls of exact routines, by name, on matrices ``(batch, n, n)``."""
    array = A.numpy()
    calls: dict[str, Callable[[], Any]] = {
        "torch": lambda: lapack.inverse(A, positive=False),
        "numpy": lambda: np.linalg.inv(array),
        "ni.inv": lambda: ni.inv(A),
        "ni.certified_inv": lambda: ni.certified_inv(A, rtol=RTOL),
    }
    if positive:
        calls["cholesky"] = lambda: torch.cholesky_inverse(torch.linalg.cholesky(A))
    return calls


def median_times(calls: Mapping[str, Callable[[], Any]], settings: Settings, count: int) -> dict[str, float]:
    """Return median seconds of the calls, by name, for each of ``count`` matrices."""
    timings = time_interleaved(calls, settings.seconds, threads=settings.threads)
    return {name: timing.median / count for name, timing in timings.items()}


def bind(function: Callable[..., Any], *arguments: Any, **keywords: Any) -> Callable[[], Any]:
    """Return the call with these arguments."""
    return lambda: function(*arguments, **keywords)
