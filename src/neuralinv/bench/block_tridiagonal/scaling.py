"""Time against T, up to a million steps, and against n.

Made to take minutes: an implementation that gets slow drops out of longer cases, a call that takes long is timed once,
and what compiles for each shape is asked at every second size.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import torch

from neuralinv.bench.block_tridiagonal.problems import BACKWARD, FORWARD, make_problem
from neuralinv.bench.block_tridiagonal.rivals import COMPILED, DENSE, Prepare, describe
from neuralinv.bench.rivals import OURS, UnavailableError
from neuralinv.measuring.formatting import dtype_name
from neuralinv.measuring.timing import limited_threads, time_interleaved

STEPS = (10, 30, 100, 300, 1000, 3000, 10_000, 30_000, 100_000, 300_000, 1_000_000)
SIZES = (1, 2, 3, 5, 8, 10, 16, 20, 32, 48, 64)
FIXED_STEPS, FIXED_N = 250, 10
_LEFT_OUT = (DENSE, "socu")
_PATIENCE = 1.0
"""Seconds of one call: an implementation that is expected to take longer is not asked."""
_LONG = 0.2
"""Seconds of one call from which on it is timed once, after a first one that is not counted."""


@dataclass(frozen=True)
class Sample:
    """Seconds of one call: one sequence."""

    name: str
    work: str
    steps: int
    n: int
    dtype: str
    seconds: float


def steps_up_to(longest: int) -> tuple[int, ...]:
    """Return the numbers of steps that are measured."""
    return tuple(steps for steps in STEPS if steps <= longest)


def measure_scaling(
    able: Mapping[str, Mapping[str, Prepare]],
    dtype: torch.dtype,
    *,
    longest: int,
    largest: int = SIZES[-1],
    threads: int,
    seconds: float,
    progress: Callable[[int], None] = lambda count: None,
    announce: Callable[[str], None] = lambda what: None,
) -> list[Sample]:
    """Measure forward, and forward + backward, of one sequence: over T for n = 10, and over n for T = 250.

    Parameters
    ----------
    able
        What each implementation can do. Dense matrices are left out, and socu, which compiles kernels for each n.
    dtype, threads, seconds
        Precision; torch's threads; shortest time to measure each.
    longest, largest
        Bounds of T and n.
    progress
        Called with 1 after each of :func:`point_count` points.
    announce
        Called with what is being done.
    """
    able = {name: works for name, works in able.items() if name not in _LEFT_OUT}
    without_compiled = {name: works for name, works in able.items() if name not in COMPILED}
    samples: list[Sample] = []
    for sizes in (_over_steps(longest), _over_n(largest)):
        last: dict[tuple[str, str], tuple[float, float]] = {}
        for at, (steps, n, size) in enumerate(sizes):
            asked = without_compiled if at % 2 else able
            samples += _measure_point(asked, steps, n, dtype, threads, seconds, last, size, announce)
            progress(1)
    return samples


def point_count(longest: int, largest: int = SIZES[-1]) -> int:
    """Return how many times :func:`measure_scaling` reports progress."""
    return len(_over_steps(longest)) + len(_over_n(largest))


def _over_steps(longest: int) -> list[tuple[int, int, float]]:
    """Return T, n and what times are expected to be proportional to."""
    return [(steps, FIXED_N, float(steps)) for steps in steps_up_to(longest)]


def _over_n(largest: int) -> list[tuple[int, int, float]]:
    return [(FIXED_STEPS, n, float(n**2)) for n in SIZES if n <= largest]


def _measure_point(
    able: Mapping[str, Mapping[str, Prepare]],
    steps: int,
    n: int,
    dtype: torch.dtype,
    threads: int,
    seconds: float,
    last: dict[tuple[str, str], tuple[float, float]],
    size: float,
    announce: Callable[[str], None],
) -> list[Sample]:
    """Measure what is expected to take less than the patience; ``last`` holds the last times and their sizes."""
    problem = make_problem(steps, n, dtype)
    samples = []
    for work in (FORWARD, BACKWARD):
        calls: dict[str, Callable[[], Any]] = {}
        found: dict[str, float] = {}
        with limited_threads(threads):
            for name in (name for name in able if work in able[name]):
                time, at = last.get((name, work), (0.0, size))
                if time * size / at > _PATIENCE and name != OURS:
                    continue
                announce(describe(name, problem))
                try:
                    call = able[name][work](problem).call
                except UnavailableError:
                    continue
                if _seconds(call) < _LONG:
                    calls[name] = call
                else:
                    found[name] = _seconds(call)
            found |= {
                name: timing.median
                for name, timing in time_interleaved(calls, seconds, threads=threads, rounds=2).items()
            }
        for name in (name for name in able if name in found):
            last[name, work] = found[name], size
            samples.append(Sample(name, work, steps, n, dtype_name(dtype), found[name]))
    return samples


def _seconds(call: Callable[[], Any]) -> float:
    started = perf_counter()
    call()
    return perf_counter() - started
