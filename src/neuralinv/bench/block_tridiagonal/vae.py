"""The whole training step of the Lorenz example, with the compiled operator and with the loop."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from neuralinv.measuring.timing import limited_threads
from neuralinv.study.lorenz_vae import Settings, simulate, train


@dataclass(frozen=True)
class VaeStep:
    """Median seconds of a training step, and by how much the lower bounds differ at most, in nats per time step."""

    window: int
    latent: int
    ours: float
    loop: float
    difference: float

    @property
    def ratio(self) -> float:
        """The loop's time over ours."""
        return self.loop / self.ours


def measure_vae(steps: int, *, window: int, threads: int) -> VaeStep:
    """Train the example for so many steps with each, from the same weights, windows and noise."""
    settings = Settings(window=window, path=4 * window)
    observations = torch.as_tensor(simulate(settings.path).observations, dtype=settings.dtype)
    with limited_threads(threads):
        (_, ours), (_, loop) = (train(observations, settings, m, stop_after=steps) for m in ("auto", "loop"))
    difference = float(np.abs(ours.elbo - loop.elbo).max())
    return VaeStep(window, settings.latent, ours.step_seconds, loop.step_seconds, difference)
