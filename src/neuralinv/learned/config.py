"""What a network is and how it is trained: two validated records that are saved beside the weights."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields
from typing import Any, Self


class ConfigError(ValueError):
    """A configuration value is out of range; the message names it and what is allowed."""


class _Record:
    """Shared by the two records: to and from a plain table."""

    def to_table(self) -> dict[str, Any]:
        """Return the values as a table that TOML can hold (it has no null: unset values are left out)."""
        return {key: value for key, value in asdict(self).items() if value is not None}  # type: ignore[call-overload]

    @classmethod
    def from_table(cls, table: dict[str, Any]) -> Self:
        """Build from a table.

        Raises
        ------
        ConfigError
            If a key is unknown, a value has the wrong type or is out of range.
        """
        known = {field.name: field.type for field in fields(cls)}  # type: ignore[arg-type]
        for key, value in table.items():
            if key not in known:
                raise ConfigError(f"unknown setting {key!r}; known are {', '.join(known)}")
            expected = str(known[key]).removesuffix(" | None")
            if not _has_type(value, expected):
                raise ConfigError(f"{key} = {value!r} should be of type {expected}")
        return cls(**table)


@dataclass(frozen=True)
class ModelConfig(_Record):
    """What a network is: enough to build it again.

    Attributes
    ----------
    architecture
        A name in :data:`neuralinv.learned.architectures.ARCHITECTURES`.
    size
        n: the network maps n×n matrices to n×n inverses.
    hidden, depth
        Width and number of hidden layers or blocks; None takes the architecture's own default for this size.
    newton_schulz_steps
        Unrolled Newton–Schulz steps behind the network (``gated`` only).
    low, high
        The range of the elements that the network is trained on. Inversion is homogeneous, so that other scales are
        served too.
    members
        Networks in the ensemble; for each matrix the candidate with the smallest residual is taken.
    """

    architecture: str = "gated"
    size: int = 3
    hidden: int | None = None
    depth: int | None = None
    newton_schulz_steps: int = 2
    low: float = -1.0
    high: float = 1.0
    members: int = 1

    def __post_init__(self) -> None:
        _check_range("size", self.size, 1, 64)
        _check_range("members", self.members, 1, 1024)
        _check_range("newton_schulz_steps", self.newton_schulz_steps, 0, 16)
        if self.hidden is not None:
            _check_range("hidden", self.hidden, 1, 16_384)
        if self.depth is not None:
            _check_range("depth", self.depth, 0, 256)
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise ConfigError(f"low = {self.low}, high = {self.high}: expected finite numbers with low < high")


@dataclass(frozen=True)
class TrainingConfig(_Record):
    """How a network is trained.

    Attributes
    ----------
    steps, budget
        Length of the training: a number of optimiser steps, or seconds of wall-clock time; one of the two.
    batch_size
        Fresh matrices per step and member.
    learning_rate, schedule
        Peak learning rate of AdamW, and its course: a name in :data:`neuralinv.learned.schedules.SCHEDULES`.
    loss
        A name in :data:`neuralinv.learned.losses.LOSSES`.
    min_abs_det
        Matrices with a smaller absolute determinant are redrawn.
    gradient_clip
        Largest Euclidean norm of a member's gradient.
    seed
        Fixes initial weights, every batch and the validation set.
    device, precision
        ``auto``, ``cpu``, ``cuda``, …; ``32-true``, ``bf16-mixed`` or ``64-true``, as Lightning Fabric names them.
    validations
        How often, evenly over the training, the members are validated and the state is saved.
    """

    steps: int | None = None
    budget: float | None = None
    batch_size: int = 256
    learning_rate: float = 2e-3
    schedule: str = "linear"
    loss: str = "residual"
    min_abs_det: float = 0.0
    gradient_clip: float = 1.0
    seed: int = 0
    device: str = "auto"
    precision: str = "32-true"
    validations: int = 20

    @staticmethod
    def default_loss(architecture: str) -> str:
        """Return the loss that measured best for an architecture."""
        return "direction" if architecture == "gated" else "residual"

    def __post_init__(self) -> None:
        if (self.steps is None) == (self.budget is None):
            raise ConfigError("give either steps or a wall-clock budget, and not both")
        if self.steps is not None:
            _check_range("steps", self.steps, 1, 10**12)
        if self.budget is not None and not 0 < self.budget < math.inf:
            raise ConfigError(f"budget = {self.budget}: expected a positive number of seconds")
        _check_range("batch_size", self.batch_size, 1, 2**24)
        _check_range("validations", self.validations, 1, 10_000)
        _check_range("seed", self.seed, 0, 2**31 - 1)
        for name in ("learning_rate", "gradient_clip"):
            if not 0 < getattr(self, name) < math.inf:
                raise ConfigError(f"{name} = {getattr(self, name)}: expected a positive number")
        if not 0 <= self.min_abs_det < math.inf:
            raise ConfigError(f"min_abs_det = {self.min_abs_det}: expected a number that is not negative")
        if self.precision not in ("32-true", "bf16-mixed", "64-true"):
            raise ConfigError(f"precision = {self.precision!r}: expected 32-true, bf16-mixed or 64-true")


def _check_range(name: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise ConfigError(f"{name} = {value}: expected a whole number from {low} to {high}")


def _has_type(value: Any, expected: str) -> bool:
    if expected == "float":
        return isinstance(value, float | int) and not isinstance(value, bool)
    return type(value).__name__ == expected
