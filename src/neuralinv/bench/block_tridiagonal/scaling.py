"""Time against T, up to a million steps, and against n. An implementation that gets slow drops out of longer cases."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from time import perf_counter

import torch

from neuralinv.bench.block_tridiagonal.problems import BACKWARD, FORWARD, make_problem
from neuralinv.bench.block_tridiagonal.rivals import DENSE, Prepare
from neuralinv.bench.block_tridiagonal.speed import dtype_name
from neuralinv.bench.rivals import OURS, Prepared, UnavailableError
from neuralinv.bench.timing import limited_threads, time_interleaved

STEPS = (10, 30, 100, 300, 1000, 3000, 10_000, 30_000, 100_000, 300_000, 1_000_000)
SIZES = (1, 2, 3, 5, 8, 10, 16, 20, 32, 48, 64)
FIXED_STEPS, FIXED_N = 250, 10
_LEFT_OUT = (DENSE, "socu")
_PATIENCE = 2.0
"""Seconds of one call: an implementation that is expected to take longer is not asked."""


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
    """
    able = {name: works for name, works in able.items() if name not in _LEFT_OUT}
    samples: list[Sample] = []
    for sizes in (_over_steps(longest), _over_n(largest)):
        expected: dict[tuple[str, str], float] = {}
        for (steps, n), growth in sizes:
            samples += _measure_point(able, steps, n, dtype, threads, seconds, expected, growth)
            progress(1)
    return samples


def point_count(longest: int, largest: int = SIZES[-1]) -> int:
    """Return how many times :func:`measure_scaling` reports progress."""
    return len(list(_over_steps(longest))) + len(list(_over_n(largest)))


def _over_steps(longest: int) -> Iterator[tuple[tuple[int, int], float]]:
    previous = STEPS[0]
    for steps in steps_up_to(longest):
        yield (steps, FIXED_N), steps / previous
        previous = steps


def _over_n(largest: int) -> Iterator[tuple[tuple[int, int], float]]:
    previous = SIZES[0]
    for n in SIZES:
        if n <= largest:
            yield (FIXED_STEPS, n), (n / previous) ** 2
            previous = n


def _measure_point(
    able: Mapping[str, Mapping[str, Prepare]],
    steps: int,
    n: int,
    dtype: torch.dtype,
    threads: int,
    seconds: float,
    expected: dict[tuple[str, str], float],
    growth: float,
) -> list[Sample]:
    """Measure what is expected to take less than the patience; ``expected`` holds the last times, and is updated."""
    problem = make_problem(steps, n, dtype)
    samples = []
    for work in (FORWARD, BACKWARD):
        prepared: dict[str, Prepared] = {}
        with limited_threads(threads):
            for name in (name for name in able if work in able[name]):
                if expected.get((name, work), 0.0) * growth > _PATIENCE and name != OURS:
                    expected[name, work] = float("inf")
                    continue
                try:
                    prepared[name] = able[name][work](problem)
                    started = perf_counter()
                    prepared[name].call()
                    expected[name, work] = perf_counter() - started
                except UnavailableError:
                    prepared.pop(name, None)
            calls = {name: p.call for name, p in prepared.items()}
            timings = time_interleaved(calls, seconds, threads=threads, rounds=2)
        for name, timing in timings.items():
            expected[name, work] = timing.median
            samples.append(Sample(name, work, steps, n, dtype_name(dtype), timing.median))
    return samples
