"""From which size on a library routine is faster than the native kernel, measured on this machine."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import torch

from neuralinv.bench.problems import OPERATIONS, Problem, bounded_batch, make_problem
from neuralinv.measuring.machine import Machine
from neuralinv.measuring.timing import time_interleaved

NATIVE = "native"
TUNED_OPERATIONS = ("inv", "solve", "slogdet")
BATCHES = (1, 4, 16, 256, 4096)
"""Classes of batches; the last stands for everything larger."""
SIZES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256)
FULL_SIZES = (*SIZES, 384, 512, 768, 1024)
_VERSION = 1
_MOST_BYTES = 64 << 20
_HOPELESS = 2.0
_PATIENCE = 3
_NO_CHOICE = -1e3
"""Stands for the logarithm of 0: finite, so that later sizes still count."""


class Candidates(Protocol):
    """What the dispatch offers: for a case, the routes that can compute it, by name."""

    def __call__(
        self, operation: Any, n: int, dtype: torch.dtype, batch: int
    ) -> Mapping[str, Callable[..., Any]]: ...  # pragma: no cover


Clock = Callable[[Mapping[str, Callable[[], Any]]], Mapping[str, float]]
"""From calls by name to seconds by name."""


@dataclass(frozen=True)
class Sample:
    """Seconds of one call for each route, at one size."""

    n: int
    seconds: Mapping[str, float]


@dataclass(frozen=True)
class Entry:
    """One class of cases.

    Attributes
    ----------
    operation, dtype, batch
        Which: ``batch`` is the class.
    largest_native_n
        Up to this n the native kernel is the better choice; 0 for nowhere.
    samples
        What was measured.
    """

    operation: str
    dtype: str
    batch: int
    largest_native_n: int
    samples: tuple[Sample, ...]


def clock(threads: int, seconds: float) -> Clock:
    """Return a clock that measures each call for ``seconds``, in turns."""

    def measure(calls: Mapping[str, Callable[[], Any]]) -> dict[str, float]:
        timings = time_interleaved(calls, seconds, threads=threads)
        return {name: timing.median for name, timing in timings.items()}

    return measure


def measure_crossover(
    candidates: Candidates,
    *,
    measure: Clock,
    operations: Sequence[str] = TUNED_OPERATIONS,
    dtypes: Sequence[torch.dtype] = (torch.float32, torch.float64),
    batches: Sequence[int] = BATCHES,
    sizes: Sequence[int] = SIZES,
    progress: Callable[[int], None] = lambda count: None,
) -> list[Entry]:
    """Measure the routes of every case and find where the native kernel stops paying.

    Parameters
    ----------
    candidates
        Names the routes of a case: "native" and others, which count as library routines.
    measure
        The clock.
    operations, dtypes, batches, sizes
        The cases; sizes ascend. Batches are cut to 64 MiB of input.
    progress
        Called with 1 after each entry.

    Returns
    -------
    An entry for each operation, dtype and batch. Sizes after three in a row at which the native kernel takes more than
    twice the time, or after the first at which there is none, are left out.
    """
    entries = []
    for operation in operations:
        for dtype in dtypes:
            for batch in batches:
                samples = _sample(candidates, measure, operation, dtype, batch, sizes)
                name = str(dtype).removeprefix("torch.")
                entries.append(Entry(operation, name, batch, largest_native_n(samples), tuple(samples)))
                progress(1)
    return entries


def largest_native_n(samples: Sequence[Sample]) -> int:
    """Return the size up to which to take the native kernel so that the least time is lost.

    Over all thresholds t, minimises ``Σ log(seconds chosen)``, where native is chosen for n ≤ t and the fastest library
    routine above. One disturbed measurement does not move the threshold, as it would if the first size at which the
    library wins decided. Where there is no library routine, native is the choice.
    """
    best_n, loss, least = 0, 0.0, 0.0
    for sample in sorted(samples, key=lambda sample: sample.n):
        loss += _logarithmic_cost(sample)
        if loss < least:
            best_n, least = sample.n, loss
    return best_n


def table(entries: Sequence[Entry], machine: Machine) -> dict[str, Any]:
    """Return the document that the dispatch reads, with the measurements beside it for people."""
    keys = ("operation", "dtype", "batch", "largest_native_n")
    return {
        "version": _VERSION,
        "machine": asdict(machine),
        "entries": [{key: getattr(entry, key) for key in keys} for entry in entries],
        "measurements": [
            {
                "operation": entry.operation,
                "dtype": entry.dtype,
                "batch": entry.batch,
                "samples": [{"n": sample.n, "seconds": dict(sample.seconds)} for sample in entry.samples],
            }
            for entry in entries
        ],
    }


def _sample(
    candidates: Candidates, measure: Clock, operation: str, dtype: torch.dtype, batch: int, sizes: Sequence[int]
) -> list[Sample]:
    samples: list[Sample] = []
    hopeless = 0
    for n in sizes:
        fitting = bounded_batch(batch, n, dtype, most_bytes=_MOST_BYTES)
        routes = candidates(operation, n, dtype, fitting)
        if NATIVE not in routes:
            break
        problem = make_problem(OPERATIONS[operation], n, dtype, fitting)
        samples.append(Sample(n, dict(measure({name: _bind(route, problem) for name, route in routes.items()}))))
        hopeless = hopeless + 1 if _logarithmic_cost(samples[-1]) > math.log(_HOPELESS) else 0
        if hopeless == _PATIENCE:
            break
    return samples


def _bind(route: Callable[..., Any], problem: Problem) -> Callable[[], Any]:
    if problem.b is None:
        return lambda: route(problem.A)
    return lambda: route(problem.A, problem.b)


def _logarithmic_cost(sample: Sample) -> float:
    """Return log(native/fastest library): negative where native wins."""
    library = [seconds for name, seconds in sample.seconds.items() if name != NATIVE]
    return math.log(sample.seconds[NATIVE] / min(library)) if library else _NO_CHOICE
