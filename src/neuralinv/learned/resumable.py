"""Whether the state of a run is one that such a run can have: it comes from a file, which anybody may have changed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from neuralinv.families.settings import is_whole
from neuralinv.learned.config import ModelConfig, TrainingConfig

_NEEDED = ("params", "peak_lr")


def check_like(found: Any, expected: Mapping[str, Tensor], what: str) -> None:
    """Raise ``ValueError`` unless ``found`` holds finite tensors with the names and shapes of ``expected``."""
    if not isinstance(found, Mapping) or set(found) != set(expected):
        raise ValueError(f"{what}: other weights")
    for name, value in expected.items():
        _check_tensor(found[name], value.shape, f"{what}: {name}")
        if not bool(torch.isfinite(found[name]).all()):
            raise ValueError(f"{what}: {name} holds NaN or infinity")


def check_optimizer(found: Any, optimizer: Optimizer) -> None:
    """Raise ``ValueError`` unless ``found`` is a state of this optimiser: its settings, and tensors for the parameters
    that it has; the learning rate alone may differ, as it follows the schedule.
    """
    fresh = optimizer.state_dict()["param_groups"]
    if not isinstance(found, Mapping) or not isinstance(found.get("state"), Mapping):
        raise ValueError("optimizer: no state")
    groups = found.get("param_groups")
    if not isinstance(groups, list) or len(groups) != len(fresh):
        raise ValueError("optimizer: other groups")
    for group, own in zip(groups, fresh, strict=True):
        # Settings that only one version of torch knows are no matter.
        if not isinstance(group, Mapping) or any(group[k] != own[k] for k in {*group, *_NEEDED} & {*own} - {"lr"}):
            raise ValueError("optimizer: other settings than this training has")
        if not isinstance(group["lr"], float) or not 0 <= group["lr"] <= own["peak_lr"]:
            raise ValueError(f"optimizer: lr {group['lr']!r:.40}")
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for key, values in found["state"].items():
        if not is_whole(key, 0, len(parameters) - 1) or not isinstance(values, Mapping):
            raise ValueError("optimizer: a state of no parameter")
        for name, value in values.items():
            count = name == "step"
            _check_tensor(value, torch.Size() if count else parameters[key].shape, f"optimizer: {name}")
            if count and not 1 <= float(value) < math.inf:
                raise ValueError(f"optimizer: step {float(value)}")


def check_counters(found: Any, training: TrainingConfig) -> tuple[int, float, int]:
    """Return step, elapsed seconds and validations, if such a training can have come there; else ``ValueError``."""
    if not isinstance(found, Mapping):
        raise ValueError("counters: no table")
    step, elapsed, validations = found["step"], found["elapsed"], found["validations"]
    if not is_whole(step, 0, math.inf if training.steps is None else training.steps):
        raise ValueError(f"step {step!r:.40}")
    if not isinstance(elapsed, float) or not 0 <= elapsed < math.inf:
        raise ValueError(f"elapsed {elapsed!r:.40}")
    if not is_whole(validations, 0, training.validations):
        raise ValueError(f"validations {validations!r:.40}")
    return int(step), elapsed, int(validations)


def check_score(found: Any, model: ModelConfig) -> Tensor:
    """Return the best scores ``(members,)``, if they are mean residuals or infinite; else ``ValueError``."""
    if not isinstance(found, Tensor) or found.shape != (model.members,) or not found.is_floating_point():
        raise ValueError("best_score: not a number for each member")
    most = math.sqrt(model.size) * (1 + 1e-6)  # larger residuals count as this
    if not bool((((found >= 0) & (found <= most)) | found.isposinf()).all()):
        raise ValueError("best_score: not residuals")
    return found


def _check_tensor(found: Any, shape: torch.Size, what: str) -> None:
    if not isinstance(found, Tensor) or found.shape != shape or not found.is_floating_point():
        raise ValueError(f"{what} is no tensor of floats of shape {tuple(shape)}")
