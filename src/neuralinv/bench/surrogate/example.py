"""The Lorenz example as the measuring ground: the precisions that occur in it, and training it through a surrogate."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from neuralinv.block_tridiagonal import GaussianMarkovChain
from neuralinv.learned.surrogate import Approximation, Surrogate
from neuralinv.study.lorenz_vae import SequentialVAE, Settings, simulate


@dataclass(frozen=True)
class Precisions:
    """Posteriors: ``diag (count, T, n, n)``, ``lower (count, T − 1, n, n)`` and ``information (count, T, n)``."""

    diag: Tensor
    lower: Tensor
    information: Tensor


class SurrogateChain:
    """What the example asks of a posterior, answered by a surrogate."""

    def __init__(self, approximation: Approximation, information: Tensor) -> None:
        self.approximation, self.information = approximation, information

    @property
    def mean(self) -> Tensor:
        """``(1, T, n)``."""
        return self.approximation.solve(self.information)

    def rsample(self) -> Tensor:
        """Draw one path; the same noise as :meth:`neuralinv.GaussianMarkovChain.rsample` for the same seed."""
        return self.mean + self.approximation.color(torch.randn_like(self.information))

    def entropy(self) -> Tensor:
        """In nats."""
        count = self.information.shape[-2] * self.information.shape[-1]
        return 0.5 * count * (1 + float(np.log(2 * np.pi))) - 0.5 * self.approximation.logdet()


class SurrogateVAE(SequentialVAE):
    """The example's model with a surrogate, whose weights stay as they are, in place of factor and solves."""

    surrogate: Surrogate | None = None

    def _posterior(self, seen: Tensor, process: Tensor, initial: Tensor) -> GaussianMarkovChain:
        exact = super()._posterior(seen, process, initial)  # factors when first asked, which nobody does
        if self.surrogate is None:
            return exact
        M = exact.precision
        approximation = self.surrogate(M.diag[None], M.lower[None])
        return SurrogateChain(approximation, exact.information[None])  # type: ignore[return-value]


@dataclass
class Fit:
    """One training of the example: the model, what it believed its bound to be, and copies of it on the way."""

    model: SurrogateVAE
    bounds: NDArray[np.float64]
    step_seconds: float
    failed: str | None = None
    snapshots: list[SurrogateVAE] = field(default_factory=list)


def fit(
    observations: Tensor,
    settings: Settings,
    surrogate: Surrogate | None,
    *,
    snapshots: int = 0,
    progress: Callable[[int], object] = lambda count: None,
) -> Fit:
    """Train the example as :func:`neuralinv.study.lorenz_vae.train` does, exactly or through a surrogate.

    Weights, windows and noise follow from ``settings.seed`` and are the same for all. Training ends early, and says
    why, if the bound is no longer finite or the exact factorisation fails.
    """
    bounds: list[float] = []
    seconds: list[float] = []
    failed = None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        model = SurrogateVAE(observations, settings.latent, settings.hidden)
        result = Fit(model, np.empty(0), 0.0)
        # Not a submodule: its weights are nobody's to train.
        object.__setattr__(model, "surrogate", surrogate)
        optimizer = torch.optim.Adam(model.parameters(), lr=settings.learning_rate, fused=True)
        starts = torch.randint(len(observations) - settings.window + 1, (settings.steps,)).tolist()
        for step, start in enumerate(starts):
            before = time.perf_counter()
            for group in optimizer.param_groups:
                group["lr"] = settings.learning_rate * (1 - step / settings.steps)
            try:
                bound = model.elbo(observations[start : start + settings.window]).mean()
            except torch.linalg.LinAlgError as error:
                failed = f"step {step + 1}: {error}"
                break
            optimizer.zero_grad()
            bound.neg().backward()
            optimizer.step()
            bounds.append(bound.item())
            seconds.append(time.perf_counter() - before)
            if not np.isfinite(bounds[-1]):
                failed = f"step {step + 1}: the lower bound is {bounds[-1]}"
                break
            if snapshots and (step + 1) % max(1, settings.steps // snapshots) == 0:
                result.snapshots.append(copy.deepcopy(model))
            progress(1)
    result.bounds, result.failed = np.array(bounds), failed
    result.step_seconds = float(np.median(seconds)) if seconds else float("nan")
    return result


@torch.no_grad()
def collect(models: Sequence[SurrogateVAE], observations: Tensor, window: int, count: int, *, seed: int) -> Precisions:
    """Return the posteriors of ``count`` random windows, in turn from each of ``models``."""
    generator = torch.Generator().manual_seed(seed)
    starts = torch.randint(len(observations) - window + 1, (count,), generator=generator).tolist()
    chains = [models[i % len(models)].posterior(observations[s : s + window]) for i, s in enumerate(starts)]
    return Precisions(
        torch.stack([chain.precision.diag for chain in chains]),
        torch.stack([chain.precision.lower for chain in chains]),
        torch.stack([chain.information for chain in chains]),
    )


def observed_path(settings: Settings, *, seed: int) -> tuple[Tensor, Tensor]:
    """Return noisy observations and true states ``(path, 3)`` of a path of the system."""
    path = simulate(settings.path, noise=settings.noise, seed=seed)
    return torch.as_tensor(path.observations, dtype=settings.dtype), torch.as_tensor(path.states, dtype=settings.dtype)


@torch.no_grad()
def judge_model(model: SurrogateVAE, observations: Tensor, states: Tensor, settings: Settings) -> tuple[float, float]:
    """Return the true lower bound, in nats per time step, with exact inference, and the error of reconstructions."""
    exact = copy.deepcopy(model)
    object.__setattr__(exact, "surrogate", None)
    bounds = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        for start in range(0, len(observations) - settings.window + 1, settings.window):
            bounds.append(float(exact.elbo(observations[start : start + settings.window])))
    reconstruction = exact.reconstruct(exact.posterior(observations).mean)
    return float(np.mean(bounds)), float((reconstruction - states).square().mean().sqrt())
