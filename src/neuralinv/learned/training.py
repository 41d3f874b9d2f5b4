"""Train an ensemble on matrices that are drawn afresh for every step.

Lightning Fabric places the network on its device, runs the precision, writes the logs and the resumable state. All
members of the ensemble train in the same batched products. Batch ``k`` is a function of ``(seed, k)`` alone, so that a
run which was interrupted and resumed sees the same sequence, and ends in the same weights, as one that was not.
"""

from __future__ import annotations

import copy
import logging
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from lightning_fabric import Fabric
from lightning_fabric.loggers import CSVLogger, TensorBoardLogger
from torch import Tensor

from neuralinv.families import get_family
from neuralinv.io import FileError, atomic_path
from neuralinv.learned.architectures import Architecture, Candidates
from neuralinv.learned.checkpoints import CONFIG_FILE, STATE_FILE, load_network, save_network
from neuralinv.learned.config import ConfigError, ModelConfig, TrainingConfig
from neuralinv.learned.interrupts import InterruptRequest
from neuralinv.learned.losses import LOSSES, residual_norm
from neuralinv.learned.network import InverseNetwork
from neuralinv.learned.optimizers import build_optimizers
from neuralinv.learned.resumable import check_counters, check_like, check_optimizer, check_score
from neuralinv.learned.schedules import SCHEDULES, rate_factor

_VALIDATION_MATRICES = 4096
_SECONDS_BETWEEN_REPORTS = 0.1
_STEPS_BETWEEN_LOGS = 50
_MOST_UNANSWERED = 0.01
"""Of the validation set: a healthy network, too, has no finite answer for a matrix that is singular."""


class TrainingError(RuntimeError):
    """Training cannot go on; the message says why and what to change."""


@dataclass(frozen=True)
class TrainingProgress:
    """Where a run stands, for whoever shows it."""

    step: int
    fraction: float
    elapsed: float
    loss: float
    validation: float
    samples_per_second: float


@dataclass(frozen=True)
class TrainingOutcome:
    """What a run came to.

    ``validation`` is the best member's mean ``‖I − AX‖_F`` on the validation set (residuals above √n count as √n).
    """

    network: InverseNetwork
    steps: int
    elapsed: float
    validation: float
    samples_per_second: float
    interrupted: bool


def train(
    model: ModelConfig,
    training: TrainingConfig,
    folder: Path,
    *,
    resume: bool = False,
    report: Callable[[TrainingProgress], object] | None = None,
) -> TrainingOutcome:
    """Train a network and leave the best one on validation, its configuration and its logs in ``folder``.

    Parameters
    ----------
    model, training
        What to train and how; with ``resume`` they must be those of the interrupted run (:func:`saved_configuration`).
    folder
        Receives ``config.toml``, ``member-*.safetensors``, ``resume.ckpt`` and ``logs/`` (CSV and TensorBoard).
    resume
        Continue from ``resume.ckpt``.
    report
        Called a few times a second with the progress.

    Returns
    -------
    TrainingOutcome
        ``interrupted`` tells that Ctrl-C (or SIGTERM) stopped the run; its state is saved.

    Raises
    ------
    ConfigError
        If a name in the configuration is unknown.
    FileError
        If the folder cannot be written, or there is nothing to resume.
    TrainingError
        If the training diverges: weights, or answers to the validation set, are no longer finite. What an earlier
        validation found good stays in ``folder``.
    """
    if training.loss not in LOSSES:
        raise ConfigError(f"unknown loss {training.loss!r}; known are {', '.join(LOSSES)}")
    if training.schedule not in SCHEDULES:
        raise ConfigError(f"unknown schedule {training.schedule!r}; known are {', '.join(SCHEDULES)}")
    run = _Run(model, training, folder)
    if resume:
        run.restore()
    with InterruptRequest() as interrupt:
        run.loop(interrupt, report)
    return run.finish(interrupted=interrupt.requested and run.fraction < 1)


def holds_run(folder: Path) -> bool:
    """Tell whether ``folder`` holds a network or the state of a run."""
    return (folder / CONFIG_FILE).exists() or (folder / STATE_FILE).exists()


def saved_configuration(folder: Path) -> tuple[ModelConfig, TrainingConfig]:
    """Return the configuration of the run whose state lies in ``folder``.

    Raises
    ------
    FileError
        If there is no readable state.
    """
    state = _read_state(folder)
    try:
        model, training = state["model"], state["training"]
        if not isinstance(model, dict) or not isinstance(training, dict):
            raise TypeError("model and training are tables")
        return ModelConfig.from_table(model), TrainingConfig.from_table(training)
    except (KeyError, TypeError, ConfigError) as error:
        raise FileError(
            f"{folder / STATE_FILE}: not a training state ({error}); train again without --resume"
        ) from error


class _Run:
    """One training run: the state that is saved and restored, and the loop over it."""

    def __init__(self, model: ModelConfig, training: TrainingConfig, folder: Path) -> None:
        self.model, self.training, self.folder = model, training, folder
        self.loss, self.family = LOSSES[training.loss], get_family("uniform")
        with atomic_path(folder / STATE_FILE, probe=True):
            pass  # find out now, not after an hour, whether the folder can be written
        try:
            self.fabric = _fabric(training, folder)
        except Exception as error:  # Lightning raises many kinds for a device or precision that is not there
            raise ConfigError(f"device {training.device!r} with precision {training.precision!r}: {error}") from error
        with torch.random.fork_rng(devices=[]):  # the caller's random state is not ours to change
            torch.manual_seed(training.seed)
            network = InverseNetwork(model)
        architecture = cast(Architecture, network.architecture)
        optimizers = build_optimizers(network, training.learning_rate, gates=architecture.gate_matrices())
        wrapped: Any = self.fabric.setup(network, *optimizers)
        self.network, *self.optimizers = wrapped
        self.network.mark_forward_method("candidates")
        self.parameters = list(network.parameters())
        self.step = 0
        self.elapsed = 0.0
        self.validations = 0
        self.best = {name: value.detach().clone() for name, value in network.state_dict().items()}
        self.best_score = torch.full((model.members,), torch.inf, device=self.fabric.device)
        self.validation_set = self._draw(-1, _VALIDATION_MATRICES)

    @property
    def fraction(self) -> float:
        """How much of the training is done, 0 to 1."""
        if self.training.steps is not None:
            return self.step / self.training.steps
        assert self.training.budget is not None
        return min(1.0, self.elapsed / self.training.budget)

    @property
    def samples_per_second(self) -> float:
        samples = self.step * self.training.batch_size * self.model.members
        return samples / self.elapsed if self.elapsed else 0.0

    def loop(self, interrupt: InterruptRequest, report: Callable[[TrainingProgress], object] | None) -> None:
        started, already, reported = time.monotonic(), self.elapsed, 0.0
        while self.fraction < 1 and not interrupt.requested:
            loss = self._train_step()
            self.elapsed = already + time.monotonic() - started
            if self.step % _STEPS_BETWEEN_LOGS == 0:
                rate = self.optimizers[0].param_groups[0]["lr"]
                self.fabric.log_dict({"loss": loss.mean().item(), "learning_rate": rate}, step=self.step)
            if self.fraction * self.training.validations >= self.validations + 1:
                self._validate()
                self.save()
            if report is not None and (self.elapsed - reported >= _SECONDS_BETWEEN_REPORTS or self.fraction >= 1):
                reported = self.elapsed
                best = self.best_score.min().item()
                report(
                    TrainingProgress(
                        self.step, self.fraction, self.elapsed, loss.mean().item(), best, self.samples_per_second
                    )
                )

    def finish(self, *, interrupted: bool) -> TrainingOutcome:
        if interrupted:
            self.save()
        for logger in self.fabric.loggers:
            logger.finalize("interrupted" if interrupted else "success")
        best = float(self.best_score.min())
        network = self._unwrapped() if best == torch.inf else load_network(self.folder)
        return TrainingOutcome(network, self.step, self.elapsed, best, self.samples_per_second, interrupted)

    def save(self) -> None:
        """Write the resumable state."""
        state = {
            "network": self.network,
            **{f"optimizer-{i}": optimizer for i, optimizer in enumerate(self.optimizers)},
            "best": self.best,
            "best_score": self.best_score,
            "counters": {"step": self.step, "elapsed": self.elapsed, "validations": self.validations},
            "model": self.model.to_table(),
            "training": self.training.to_table(),
        }
        with atomic_path(self.folder / STATE_FILE) as temporary:
            self.fabric.save(temporary, state)

    def restore(self) -> None:
        """Take up the state that :meth:`save` wrote."""
        state = _read_state(self.folder)
        try:
            check_like(state["network"], self._unwrapped().state_dict(), "network")
            check_like(state["best"], self.best, "best")
            for i, optimizer in enumerate(self.optimizers):
                check_optimizer(state[f"optimizer-{i}"], optimizer)
            step, elapsed, validations = check_counters(state["counters"], self.training)
            score = check_score(state["best_score"], self.model)
            self.network.load_state_dict(state["network"])
            for i, optimizer in enumerate(self.optimizers):
                optimizer.load_state_dict(state[f"optimizer-{i}"])
            self.best = {name: state["best"][name].to(value) for name, value in self.best.items()}
            self.best_score = score.to(self.best_score)
            self.step, self.elapsed, self.validations = step, elapsed, validations
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            path = self.folder / STATE_FILE
            raise FileError(
                f"{path}: does not fit this configuration ({error}); train again without --resume"
            ) from error

    def _train_step(self) -> Tensor:
        """Take one optimiser step; return each member's loss, shape ``(members,)``."""
        factor = rate_factor(self.training.schedule, self.fraction)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = factor * group["peak_lr"]
            optimizer.zero_grad()
        A = self._draw(self.step, self.training.batch_size)
        inverse = torch.linalg.inv_ex(A).inverse if self.loss.needs_inverse else A
        scaled, candidates, scale = self.network.candidates(A)
        # Losses are products of nearly inverse matrices: never in reduced precision.
        with torch.autocast(self.fabric.device.type, enabled=False):
            wide = Candidates(*(part.to(A.dtype) for part in candidates))
            loss = self.loss.function(scaled, wide, (inverse * scale).to(A.dtype)).mean(1)
        self.fabric.backward(loss.sum())  # members share no parameters: the sum trains each on its own loss
        clip_each_member(self.parameters, self.training.gradient_clip)
        for optimizer in self.optimizers:
            optimizer.step()
        self.step += 1
        return loss.detach()

    @torch.no_grad()
    def _validate(self) -> None:
        scaled, (inverse, _), _ = self.network.candidates(self.validation_set)
        residual = residual_norm(scaled, inverse.to(scaled.dtype))
        self._check_finite(residual)
        score = residual.nan_to_num(nan=torch.inf).clamp(max=self.model.size**0.5).mean(1)
        if self.validations == 0 or bool((score < self.best_score).any()):
            better = score < self.best_score
            self.best_score = torch.where(better, score, self.best_score)
            for name, value in self._unwrapped().state_dict().items():
                self.best[name][better] = value[better]
            self._save_best()
        self.validations = int(self.fraction * self.training.validations)
        self.fabric.log_dict({"validation_mean_residual": score.min().item()}, step=self.step)

    def _check_finite(self, residual: Tensor) -> None:
        """Stop a run that has diverged, before anything of it is saved; ``residual`` is ``(members, batch)``."""
        what = ""
        if not all(bool(torch.isfinite(parameter).all()) for parameter in self.parameters):
            what = "weights"
        elif bool(((~torch.isfinite(residual)).double().mean(1) > _MOST_UNANSWERED).any()):
            what = "network's answers"
        if what:
            raise TrainingError(
                f"the {what} are no longer finite after step {self.step}: try a learning rate below "
                f"{self.training.learning_rate:g}"
            )

    def _save_best(self) -> None:
        network = copy.deepcopy(self._unwrapped())
        network.load_state_dict(self.best)
        measured = {
            "steps": self.step,
            "seconds": round(self.elapsed, 1),
            "validation_mean_residual": float(self.best_score.min()),
        }
        save_network(network, self.folder, training=self.training, measured=measured)

    def _unwrapped(self) -> InverseNetwork:
        module: InverseNetwork = self.network.module
        return module

    def _draw(self, index: int, count: int) -> Tensor:
        """Draw batch ``index`` for every member, ``(members, count, n, n)``; −1 is the validation set, shared by
        all.
        """
        members = 1 if index < 0 else self.model.members
        generator = torch.Generator(self.fabric.device).manual_seed(_batch_seed(self.training.seed, index))
        dtype = torch.float64 if self.training.precision == "64-true" else torch.float32
        A = self.family.sample(
            members * count,
            self.model.size,
            generator=generator,
            dtype=dtype,
            device=self.fabric.device,
            low=self.model.low,
            high=self.model.high,
            min_abs_det=self.training.min_abs_det,
        )
        n = self.model.size
        return A.reshape(members, count, n, n).expand(self.model.members, count, n, n)


def _batch_seed(seed: int, index: int) -> int:
    # Distinct for every (seed, index): 31 bits of seed above 32 bits of step, the validation set at step 2³² − 1.
    return (seed << 32) | (index % 2**32)


def clip_each_member(parameters: list[torch.nn.Parameter], limit: float) -> None:
    """Scale each member's gradient to a norm of at most ``limit``; drop one that is not finite."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    squares = torch.stack([g.square().flatten(1).sum(1) for g in gradients]).sum(0)
    factor = (limit / squares.sqrt()).clamp(max=1.0)
    healthy = torch.isfinite(squares)
    if bool(healthy.all()):
        for g in gradients:
            g.mul_(factor.view(-1, *[1] * (g.ndim - 1)))
        return
    for g in gradients:
        shape = (-1, *[1] * (g.ndim - 1))
        g.copy_(torch.where(healthy.view(shape), g * factor.view(shape), 0))


def _fabric(training: TrainingConfig, folder: Path) -> Fabric:
    accelerator, _, index = training.device.partition(":")
    logs = folder / "logs"
    loggers = [
        CSVLogger(logs, name="csv", flush_logs_every_n_steps=1),
        TensorBoardLogger(logs, name="tensorboard"),
    ]
    # Fabric announces on its logger and by warnings what the caller asked for anyway.
    logging.getLogger("lightning_fabric").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return Fabric(
            accelerator=accelerator,
            devices=[int(index)] if index else 1,
            precision=training.precision,  # type: ignore[arg-type]  # checked by TrainingConfig
            loggers=loggers,
        )


def _read_state(folder: Path) -> dict[str, Any]:
    path = folder / STATE_FILE
    if not path.is_file():
        raise FileError(f"{path}: no such file; there is nothing to resume, start without --resume")
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a corrupt file makes torch raise nearly anything
        raise FileError(f"{path}: not a training state ({error}); train again without --resume") from error
    if not isinstance(state, dict):
        raise FileError(f"{path}: not a training state; train again without --resume")
    return state
