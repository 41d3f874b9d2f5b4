"""The whole measurement: train the example, learn its precisions, and put surrogates beside the exact operator."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch

from neuralinv.bench.surrogate.errors import Errors, cut_errors, native_errors, surrogate_errors
from neuralinv.bench.surrogate.example import collect, fit, judge_model, observed_path
from neuralinv.bench.surrogate.ideal import CUT, cut_inverse
from neuralinv.bench.surrogate.refinement import Propose, Rescue, measure_rescue
from neuralinv.bench.surrogate.speed import NATIVE, Seconds, inferences, measure_speed
from neuralinv.learned.surrogate import Surrogate, SurrogateConfig, SurrogateTraining, train_surrogate
from neuralinv.measuring.machine import Machine, describe_machine
from neuralinv.measuring.timing import limited_threads
from neuralinv.study.lorenz_vae import Settings

_SNAPSHOTS = 25
_TRAINING_WINDOWS, _TEST_WINDOWS, _GRADIENT_WINDOWS = 1000, 64, 8
EARLY, FINAL = "anywhere in the training", "the trained example"


@dataclass(frozen=True)
class ExperimentSettings:
    """What to run: the bodies, seconds of training for each, the example's settings, and how to time."""

    bodies: tuple[str, ...]
    budget: float
    example: Settings
    bands: int
    threads: int
    seconds: float
    seed: int = 0


@dataclass(frozen=True)
class Learned:
    """A trained surrogate's particulars."""

    parameters: int
    training: SurrogateTraining


@dataclass(frozen=True)
class Through:
    """The example trained with one implementation.

    Attributes
    ----------
    claimed
        What it believed its lower bound to be, in nats per time step: the mean of the last twentieth.
    true_bound, reconstruction
        What exact inference makes of the trained weights, on a path never seen; and the root-mean-square distance of
        the reconstructed path from the true one.
    step_seconds, bounds, failed
        Median time of a step; the course of the believed bound; why the training ended early, if it did.
    """

    claimed: float
    true_bound: float
    reconstruction: float
    step_seconds: float
    bounds: list[float]
    failed: str | None


@dataclass
class Results:
    """Everything that one run measured; by implementation."""

    machine: Machine
    settings: ExperimentSettings
    learned: dict[str, Learned] = field(default_factory=dict)
    errors: dict[str, dict[str, Errors]] = field(default_factory=dict)
    """For each set of precisions."""
    speed: dict[str, Seconds] = field(default_factory=dict)
    rescue: dict[str, dict[str, Rescue]] = field(default_factory=dict)
    through: dict[str, Through] = field(default_factory=dict)


def run(settings: ExperimentSettings, *, progress: Callable[[float], object] = lambda fraction: None) -> Results:
    """Run everything; ``progress`` is called with the fraction that is done."""
    results = Results(describe_machine(settings.threads), settings)
    stages = _Stages(2 * len(settings.bodies) + 3, progress)
    example = settings.example
    with limited_threads(settings.threads):
        observations, _ = observed_path(example, seed=example.seed)
        unseen, states = observed_path(example, seed=example.seed + 1)
        exact = fit(observations, example, None, snapshots=_SNAPSHOTS)
        if exact.failed:
            raise ValueError(f"the example did not train: {exact.failed}")
        stages.done()
        given = collect(exact.snapshots, observations, example.window, _TRAINING_WINDOWS, seed=settings.seed)
        surrogates: dict[str, Surrogate] = {}
        for body in settings.bodies:
            config = SurrogateConfig(
                body, example.latent, bands=settings.bands, seconds=settings.budget, seed=settings.seed
            )
            surrogate = Surrogate(config)
            training = train_surrogate(surrogate, given.diag, given.lower)
            surrogate.eval().requires_grad_(False)
            surrogates[body] = surrogate
            results.learned[body] = Learned(sum(p.numel() for p in surrogate.parameters()), training)
            stages.done()

        # Windows of a path that neither the example nor the surrogates have seen.
        windows = [unseen[i * example.window : (i + 1) * example.window] for i in range(_GRADIENT_WINDOWS)]
        windows = [window for window in windows if len(window) == example.window]
        for name, models in ((EARLY, exact.snapshots), (FINAL, exact.snapshots[-1:])):
            test = collect(models, unseen, example.window, _TEST_WINDOWS, seed=settings.seed + 1)
            model = models[len(models) // 4] if name == EARLY else models[-1]
            exactly = {NATIVE: native_errors(test, model, windows), CUT: cut_errors(test, settings.bands)}
            results.errors[name] = exactly | {
                body: surrogate_errors(surrogate, test, model, windows) for body, surrogate in surrogates.items()
            }
            proposals: dict[str, Propose] = {CUT: partial(cut_inverse, bands=settings.bands), **surrogates}
            results.rescue[name] = measure_rescue(proposals, test, threads=settings.threads, seconds=settings.seconds)
        stages.done()
        results.speed = measure_speed(inferences(surrogates), test, threads=settings.threads, seconds=settings.seconds)
        stages.done()
        for name, chosen in ((NATIVE, None), *surrogates.items()):
            trained = exact if chosen is None else fit(observations, example, chosen)
            tail = trained.bounds[-max(1, len(trained.bounds) // 20) :]
            try:
                bound, error = judge_model(trained.model, unseen, states, example)
            except torch.linalg.LinAlgError:
                bound, error = float("nan"), float("nan")
            results.through[name] = Through(
                float(np.mean(tail)) if len(tail) else float("nan"), bound, error, trained.step_seconds,
                trained.bounds.tolist(), trained.failed,
            )  # fmt: skip
            if chosen is not None:
                stages.done()
    return results


class _Stages:
    def __init__(self, count: int, progress: Callable[[float], object]) -> None:
        self.count, self.finished, self.progress = count, 0, progress

    def done(self) -> None:
        self.finished += 1
        self.progress(self.finished / self.count)
