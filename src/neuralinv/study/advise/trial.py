"""Trying what was recommended: predicted against reached, on matrices that nothing was fitted to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from neuralinv.study.advise.measurement import Measured, Problem, measure
from neuralinv.study.advise.prediction import Prediction
from neuralinv.study.advise.properties import Properties, working_dtype
from neuralinv.study.advise.ranking import Option
from neuralinv.study.advise.source import Source

_ELEMENTS = 1 << 20
_MOST = 4096
_TESTED = 0.25
_FACTOR = 10.0


@dataclass(frozen=True)
class Trial:
    """One option, tried.

    Attributes
    ----------
    name, title
        Of the option.
    predicted, reached
        None where nothing could be predicted, or where it could not be tried.
    note
        Why it could not be tried; empty where it could.
    """

    name: str
    title: str
    predicted: Prediction | None
    reached: Measured | None
    note: str = ""

    @property
    def within(self) -> bool | None:
        """Whether the predicted error is within a factor 10 of the reached one; None where that cannot be said."""
        if self.predicted is None or self.reached is None:
            return None
        low, high = sorted((self.predicted.error, max(self.reached.error, 1e-18)))
        return high <= _FACTOR * low


def try_options(
    source: Source, properties: Properties, options: Sequence[Option], *, rtol: float, budget: float, seed: int
) -> tuple[Trial, ...]:
    """Try options one after another on up to 4,096 of the matrices, a quarter of which is kept to judge by.

    Trainings whose predicted seconds exceed ``budget`` are not begun; that of a network stops there.
    """
    problem = _problem(source, properties, rtol, seed)
    return tuple(_try(option, problem, budget) for option in options)


def _try(option: Option, problem: Problem | None, budget: float) -> Trial:
    def failed(note: str) -> Trial:
        return Trial(option.name, option.title, option.prediction, None, note)

    if problem is None:
        return failed("too few finite matrices to keep some for a trial")
    if option.prediction is not None and option.prediction.training > budget:
        return failed(
            f"its training is predicted to take {option.prediction.training:.0f} s, beyond the budget of {budget:g} s"
        )
    try:
        return Trial(option.name, option.title, option.prediction, measure(option.name, problem, budget=budget))
    except ValueError as error:
        return failed(str(error))


def _problem(source: Source, properties: Properties, rtol: float, seed: int) -> Problem | None:
    count = min(source.total, _MOST, max(64, _ELEMENTS // source.size**2))
    order = np.random.default_rng(seed + 2).choice(source.total, size=count, replace=False).astype(np.int64)
    matrices = source.take(order).to(working_dtype(source.dtype))
    finite = torch.isfinite(matrices).flatten(1).all(1)
    matrices, kept = matrices[finite], torch.from_numpy(order)[finite]
    theta = None if source.parameters is None else source.parameters[kept]
    tests = max(1, int(_TESTED * len(matrices)))
    if len(matrices) - tests < 1:
        return None
    return Problem(
        properties=properties,
        rtol=rtol,
        training=matrices[tests:],
        training_parameters=None if theta is None else theta[tests:],
        function=source.function,
        test=matrices[:tests],
        test_parameters=None if theta is None else theta[:tests],
        path=_path(source),
    )


def _path(source: Source) -> Tensor | None:
    """The first matrices along the first axis, as many as a sequence of trials needs."""
    if not source.batch or source.batch[0] < 12:
        return None
    width = source.total // source.batch[0]
    chosen = min(width, max(1, _ELEMENTS // (24 * source.size**2)))
    steps = min(source.batch[0], 24)
    indices = (np.arange(steps)[:, None] * width + np.arange(chosen)).astype(np.int64)
    path = source.take(indices.ravel()).to(working_dtype(source.dtype))
    return path.reshape(steps, chosen, source.size, source.size) if bool(torch.isfinite(path).all()) else None
