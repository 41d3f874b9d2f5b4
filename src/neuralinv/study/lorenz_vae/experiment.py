"""The whole experiment: simulate, train, train for a while with another backend, reconstruct a path never seen."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from neuralinv.block_tridiagonal.dispatch import Method
from neuralinv.io import atomic_path
from neuralinv.learned.devices import usable_device
from neuralinv.study.lorenz_vae.data import Trajectory, simulate
from neuralinv.study.lorenz_vae.figure import attractor_figure
from neuralinv.study.lorenz_vae.model import SequentialVAE
from neuralinv.study.lorenz_vae.training import History, Settings, train
from neuralinv.study.plots import save_figure

_UNSEEN_STEPS = 2500


@dataclass(frozen=True)
class Outcome:
    """What came of it."""

    settings: Settings
    model: SequentialVAE
    backend: Method
    history: History
    other_backend: Method
    other: History | None
    """The first steps of the same training with the other backend, where they were asked for."""
    unseen: Trajectory
    """A path that the training has not seen."""
    reconstruction: NDArray[np.float64]
    """Expected observations at the posterior mean given the noisy ones, shape ``(steps, 3)``."""

    @property
    def error(self) -> float:
        """Root-mean-square distance of a reconstructed coordinate from the true one."""
        return float(np.sqrt(np.mean((self.reconstruction - self.unseen.states) ** 2)))

    @property
    def difference(self) -> float:
        """Largest difference of both backends' lower bounds, in nats per time step; 0 without the other."""
        if self.other is None:
            return 0.0
        return float(np.abs(self.history.elbo[: len(self.other.elbo)] - self.other.elbo).max())

    def summary(self) -> str:
        """Return a few lines to print."""
        tail = self.history.elbo[-max(1, len(self.history.elbo) // 20) :]
        lines = [
            f"trained         {len(self.history.elbo):,} steps of T = {self.settings.window}, "
            f"n = {self.settings.latent}; lower bound {tail.mean():.3f} nats per time step",
            f"reconstruction  off by {self.error:.2f} on a path never seen, observed with noise of "
            f"{self.unseen.noise:.2f}",
            f"step time       {self.backend}: {1e3 * self.history.step_seconds:.2f} ms",
        ]
        if self.other is not None:
            ratio = self.other.step_seconds / self.history.step_seconds
            faster = f"{ratio:.1f} times" if ratio >= 1 else f"1/{1 / ratio:.1f}"
            lines[-1] += f"; {self.other_backend}: {1e3 * self.other.step_seconds:.2f} ms, {faster} that"
            lines.append(
                f"agreement       lower bounds differ by at most {self.difference:.1e} nats in the first "
                f"{len(self.other.elbo)} steps"
            )
        return "\n".join(lines)

    def save(self, folder: Path) -> None:
        """Write ``attractor.png`` and ``run.json``: the settings, step times and lower bounds."""
        folder.mkdir(parents=True, exist_ok=True)
        histories: dict[str, History] = {self.backend: self.history}
        if self.other is not None:
            histories[self.other_backend] = self.other
        curves = {name: history.elbo for name, history in histories.items()}
        save_figure(
            attractor_figure(self.unseen.states, self.unseen.observations, self.reconstruction, curves),
            folder / "attractor.png",
        )
        document = {
            "settings": {**asdict(self.settings), "dtype": str(self.settings.dtype).removeprefix("torch.")},
            "error": self.error,
            "backends": {
                name: {"step_seconds": history.step_seconds, "elbo": history.elbo.tolist()}
                for name, history in histories.items()
            },
        }
        with atomic_path(folder / "run.json") as temporary:
            temporary.write_text(json.dumps(document, indent=1) + "\n")


def run(
    settings: Settings,
    backend: Method = "auto",
    *,
    compare: int = 100,
    report: Callable[[int, float], None] | None = None,
    device: str | torch.device = "cpu",
) -> Outcome:
    """Run the experiment.

    Parameters
    ----------
    settings
        What to train on, and how long.
    backend
        Who factors and solves in the training: as for :class:`neuralinv.BlockTridiagonal`.
    compare
        Repeat the first so many steps with the other backend: "loop", or "auto" where the training itself loops.
    report
        Called with the steps taken so far, of ``total_steps(settings, compare)``, and the latest lower bound.
    device
        Where to train.

    Raises
    ------
    ValueError
        If there is no such device, the backend cannot work there, or the training breaks down.
    """
    device = usable_device(device)
    path = simulate(settings.path, noise=settings.noise, seed=settings.seed)
    observations = torch.as_tensor(path.observations, dtype=settings.dtype, device=device)
    model, history = train(observations, settings, backend, report=report)
    other_backend: Method = "auto" if backend == "loop" else "loop"
    other = None
    if compare > 0:

        def later(step: int, bound: float) -> None:
            if report is not None:
                report(settings.steps + step, bound)

        _, other = train(observations, settings, other_backend, stop_after=compare, report=later)
    unseen = simulate(_UNSEEN_STEPS, noise=settings.noise, seed=settings.seed + 1)
    with torch.no_grad():
        q = model.posterior(torch.as_tensor(unseen.observations, dtype=settings.dtype, device=device))
        reconstruction = model.reconstruct(q.mean).double().cpu().numpy()
    return Outcome(settings, model, backend, history, other_backend, other, unseen, reconstruction)


def total_steps(settings: Settings, compare: int) -> int:
    """Return how many steps :func:`run` takes."""
    return settings.steps + min(max(compare, 0), settings.steps)
