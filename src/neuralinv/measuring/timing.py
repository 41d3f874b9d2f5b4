"""Times of several calls that share one machine: rounds, in turn, so that drift hits all of them alike."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.utils.benchmark import Measurement, Timer

ROUNDS = 6
_FEWEST_ROUNDS = 2


@dataclass(frozen=True)
class Timing:
    """Seconds of one call.

    Attributes
    ----------
    median, lower, upper
        Median and quartiles over blocks of calls.
    blocks
        How many blocks were timed.
    """

    median: float
    lower: float
    upper: float
    blocks: int


def time_interleaved(
    calls: Mapping[str, Callable[[], Any]], seconds: float, *, threads: int = 1, rounds: int = ROUNDS
) -> dict[str, Timing]:
    """Time every call for at least ``seconds``, in rounds that visit all of them, back and forth.

    Parameters
    ----------
    calls
        What to time, by name.
    seconds
        Shortest time for each; calls that last longer are timed in fewer rounds.
    threads
        For torch while it is timed; other libraries are bounded by :func:`limited_threads`.
    rounds
        Into how many visits the time is split.

    Returns
    -------
    A :class:`Timing` for each name. The first call of each visit is not counted: caches and branch predictors have
    just served another implementation.

    Raises
    ------
    ValueError
        If ``seconds`` is not positive or there are no rounds.
    """
    if not seconds > 0 or rounds < 1:
        raise ValueError(f"seconds = {seconds}, rounds = {rounds}: expected a positive time and at least one round")
    timers = {
        name: Timer("call()", globals={"call": call}, num_threads=threads, label=name) for name, call in calls.items()
    }
    measured: dict[str, list[Measurement]] = {name: [] for name in timers}
    for k in range(rounds):
        for name in list(timers) if k % 2 == 0 else reversed(timers):
            if k >= _FEWEST_ROUNDS and _spent(measured[name]) >= seconds:
                continue
            measured[name].append(timers[name].blocked_autorange(min_run_time=seconds / rounds))
    return {name: _summarise(measurements) for name, measurements in measured.items()}


def _spent(measurements: list[Measurement]) -> float:
    return sum(sum(m.raw_times) for m in measurements)


def _summarise(measurements: list[Measurement]) -> Timing:
    (merged,) = Measurement.merge(measurements)
    lower, median, upper = np.quantile(merged.times, (0.25, 0.5, 0.75)).tolist()
    return Timing(median, lower, upper, len(merged.times))


@contextmanager
def limited_threads(threads: int) -> Iterator[None]:
    """Bound the threads of torch and, if threadpoolctl is installed, of the BLAS behind NumPy and SciPy."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        try:
            from threadpoolctl import threadpool_limits
        except ImportError:
            yield
            return
        with threadpool_limits(threads):
            yield
    finally:
        torch.set_num_threads(before)
