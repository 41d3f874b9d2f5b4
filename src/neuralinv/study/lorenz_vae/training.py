"""Training: stochastic gradient ascent on the evidence lower bound of random windows of one long path.

A plain loop: a step takes a few milliseconds, most of it torch's own overhead for small tensors, and whatever a
training framework adds to it would blur the comparison of the backends.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from neuralinv.block_tridiagonal.dispatch import Method
from neuralinv.study.lorenz_vae.model import SequentialVAE

_ADVICE = "try a smaller learning rate, and look for infinite observations"


@dataclass(frozen=True)
class Settings:
    """What a run is made of; everything random follows from ``seed``."""

    steps: int = 1500
    """Optimiser steps."""
    window: int = 250
    """T: time steps in the window that a step sees."""
    path: int = 5000
    """Time steps of the training path."""
    noise: float = 2.0
    """Standard deviation of the observation noise; the coordinates have deviations of 8 to 9."""
    learning_rate: float = 5e-3
    """Of Adam, falling linearly to zero."""
    latent: int = 3
    hidden: int = 64
    seed: int = 0
    dtype: torch.dtype = torch.float32

    def __post_init__(self) -> None:
        for name in ("steps", "window", "latent", "hidden"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} = {getattr(self, name)}; expected at least 1")
        if self.window > self.path:
            raise ValueError(f"window = {self.window} exceeds the training path of {self.path} time steps")


@dataclass(frozen=True)
class History:
    """How a training went."""

    elbo: NDArray[np.float64]
    """Nats per time step, one for each optimiser step."""
    step_seconds: float
    """The median time of an optimiser step."""


def train(
    observations: Tensor,
    settings: Settings,
    method: Method,
    *,
    stop_after: int | None = None,
    report: Callable[[int, float], None] | None = None,
) -> tuple[SequentialVAE, History]:
    """Train a model on ``observations (path, d)``.

    Parameters
    ----------
    observations
        The training path.
    settings
        Weights, windows and noise follow from ``settings.seed``: two methods see the same, and global random state
        stays as it was.
    method
        Who factors and solves: as for :class:`neuralinv.BlockTridiagonal`.
    stop_after
        End after so many steps of the same training.
    report
        Called after every step with the number of steps and the lower bound.

    Raises
    ------
    ValueError
        If the precision or the bound is no longer finite.
    """
    steps = settings.steps if stop_after is None else min(stop_after, settings.steps)
    bounds, seconds = np.empty(steps), np.empty(steps)
    with torch.random.fork_rng(devices=[observations.device] if observations.is_cuda else []):
        torch.manual_seed(settings.seed)
        model = SequentialVAE(observations, settings.latent, settings.hidden, method)
        optimizer = torch.optim.Adam(model.parameters(), lr=settings.learning_rate, fused=True)
        starts = torch.randint(len(observations) - settings.window + 1, (settings.steps,)).tolist()
        for step, start in enumerate(starts[:steps]):
            before = time.perf_counter()
            for group in optimizer.param_groups:
                group["lr"] = settings.learning_rate * (1 - step / settings.steps)
            try:
                bound = model.elbo(observations[start : start + settings.window])
            except torch.linalg.LinAlgError as error:
                raise ValueError(f"the training broke down at step {step + 1}; {_ADVICE}. {error}") from error
            optimizer.zero_grad()
            bound.neg().backward()
            optimizer.step()
            bounds[step] = bound.item()
            seconds[step] = time.perf_counter() - before
            if not np.isfinite(bounds[step]):
                raise ValueError(f"the training broke down at step {step + 1}; {_ADVICE}")
            if report is not None:
                report(step + 1, float(bounds[step]))
    return model, History(bounds, float(np.median(seconds)))
