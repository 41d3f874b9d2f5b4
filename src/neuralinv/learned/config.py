"""What a network is and how it is trained: two validated records that are saved beside the weights."""

from __future__ import annotations

import math
import sys
from dataclasses import asdict, dataclass, fields
from numbers import Integral, Real
from typing import Any, Self

import numpy as np

from neuralinv.families.settings import is_whole

_LARGEST_ELEMENT = 1e30
"""Of the range that networks are trained on: single precision goes further, but not without loss."""
_LONGEST = 80


class ConfigError(ValueError):
    """A configuration value is out of range; the message names it and what is allowed."""


class _Record:
    """Shared by the two records: to and from a plain table."""

    def to_table(self) -> dict[str, Any]:
        """Return the values as a table that TOML can hold (it has no null: unset values are left out)."""
        table = asdict(self)  # type: ignore[call-overload]
        # Numbers of NumPy become Python's, which files know.
        return {
            key: value.item() if isinstance(value, np.generic) else value
            for key, value in table.items()
            if value is not None
        }

    @classmethod
    def from_table(cls, table: dict[str, Any]) -> Self:
        """Build from a table.

        Raises
        ------
        ConfigError
            If a key is unknown, a value has the wrong type or is out of range.
        """
        known = [field.name for field in fields(cls)]  # type: ignore[arg-type]
        for key in table:
            if key not in known:
                raise ConfigError(f"unknown setting {key[:80]!r}; known are {', '.join(known)}")
        return cls(**table)

    def __post_init__(self) -> None:
        for field in fields(self):  # type: ignore[arg-type]
            value, (expected, *optional) = getattr(self, field.name), str(field.type).split(" | ")
            if not (_has_type(value, expected) or (optional and value is None)):
                raise ConfigError(f"{field.name} = {_shown(value)} should be of type {field.type}")


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

    Raises
    ------
    ConfigError
        If a value is out of range; a ``ValueError``. Whether there is such an architecture is known when it is built.
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
        super().__post_init__()
        _check_range("size", self.size, 1, 64)
        _check_range("members", self.members, 1, 1024)
        _check_range("newton_schulz_steps", self.newton_schulz_steps, 0, 16)
        if self.hidden is not None:
            _check_range("hidden", self.hidden, 1, 16_384)
        if self.depth is not None:
            _check_range("depth", self.depth, 0, 256)
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise ConfigError(f"low = {self.low}, high = {self.high}: expected finite numbers with low < high")
        largest = max(abs(self.low), abs(self.high))
        if not 1 / _LARGEST_ELEMENT <= largest <= _LARGEST_ELEMENT:
            raise ConfigError(
                f"low = {self.low}, high = {self.high}: networks compute in single precision, and need a range that "
                f"reaches to between {1 / _LARGEST_ELEMENT:g} and {_LARGEST_ELEMENT:g}; other scales are served as well"
            )


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

    Raises
    ------
    ConfigError
        If a value is out of range, or there are both or neither of ``steps`` and ``budget``; a ``ValueError``. Whether
        there is such a schedule, loss or device is known when the training begins.
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
        super().__post_init__()
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
    if not is_whole(value, low, high):
        raise ConfigError(f"{name} = {_shown(value)}: expected a whole number from {low} to {high}")


def _has_type(value: Any, expected: str) -> bool:
    if expected == "float":
        if isinstance(value, bool) or not isinstance(value, Real):
            return False
        return not isinstance(value, Integral) or abs(int(value)) <= sys.float_info.max  # what a float can hold
    if expected == "int":
        return isinstance(value, Integral) and not isinstance(value, bool)
    return isinstance(value, str)


def _shown(value: object) -> str:
    """Write a value that may come from a hostile file: short, and whole numbers of any length."""
    if isinstance(value, int) and value.bit_length() > _LONGEST:
        return f"a whole number of {value.bit_length():,} bits"
    text = repr(value)
    return text if len(text) <= _LONGEST else text[:_LONGEST] + "…"
