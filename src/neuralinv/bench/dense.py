"""Exact inverses, solutions and log-determinants beside other libraries: times, errors, shares of the ceilings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch

import neuralinv as ni
from neuralinv.bench import rivals
from neuralinv.bench.accuracy import Accuracy, is_inaccurate, judged_count, measure_accuracy
from neuralinv.bench.problems import OPERATIONS, Operation, Problem, bounded_batch, make_problem
from neuralinv.bench.rivals import OURS, PLAIN, Prepare, Prepared, to_tensors
from neuralinv.dense import InverseResult
from neuralinv.measuring.formatting import dtype_name
from neuralinv.measuring.machine import Ceilings
from neuralinv.measuring.timing import Timing, limited_threads, time_interleaved

_SINGLE_SIZE = 3
_SINGLE_JUDGED = 1000
_LAPACK = "torch"
CERTIFICATE_GOAL = 1.6
"""The certified inverse is to take at most so many times as long as the plain one."""


@dataclass(frozen=True)
class Settings:
    """What to measure; names of operations and rivals are those of the registries."""

    sizes: tuple[int, ...]
    batch: int
    dtypes: tuple[torch.dtype, ...]
    operations: tuple[str, ...]
    rivals: tuple[str, ...]
    threads: int
    seconds: float


@dataclass(frozen=True)
class Figure:
    """One implementation: nanoseconds for each matrix (median and quartiles), and its errors."""

    nanoseconds: float
    lower: float
    upper: float
    accuracy: Accuracy


@dataclass(frozen=True)
class Certificate:
    """What the proof costs.

    Attributes
    ----------
    share
        Of the batch, how much was certified at the default ``rtol``.
    cost
        Time of the certified inverses over that of the plain ones.
    goal, met
        The largest cost that is wanted, and whether this is one.
    """

    share: float
    cost: float
    goal: float
    met: bool


@dataclass(frozen=True)
class Row:
    """One operation, dtype and size.

    Attributes
    ----------
    operation, dtype, n, batch
        What was measured; ``batch`` is what fitted into memory.
    figures
        By implementation, ours first.
    copy_share, peak_share
        What our bytes and operations per second are of a copy as large, and of a large matrix product; None where they
        mean nothing.
    inaccurate
        Whether our median error exceeds ten times LAPACK's.
    certificate
        Of certified inverses alone.
    """

    operation: str
    dtype: str
    n: int
    batch: int
    figures: Mapping[str, Figure]
    copy_share: float | None
    peak_share: float | None
    inaccurate: bool
    certificate: Certificate | None = None


@dataclass
class Outcome:
    """Rows, and what could not be measured, by name: the reason."""

    rows: list[Row] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)


def measure(settings: Settings, ceilings: Ceilings, *, progress: Callable[[int], None] = lambda count: None) -> Outcome:
    """Measure every operation, dtype and size.

    Parameters
    ----------
    settings
        What to measure.
    ceilings
        Of this machine, with as many threads.
    progress
        Called with the number of rows that were measured or left out.

    Raises
    ------
    ValueError
        If a rival is unknown.
    """
    loaded, missing = rivals.load_rivals(list(settings.rivals))
    outcome, ours = Outcome(missing=missing), rivals.ours.load()
    for name in settings.operations:
        operation = OPERATIONS[name]
        able = {OURS: ours[name]} | {rival: can[name] for rival, can in loaded.items() if name in can}
        if name == "certified":
            able = {OURS: able.pop(OURS), PLAIN: ours["inv"]} | able
        sizes = _sizes(settings, operation)
        if left_out := [str(n) for n in settings.sizes if n not in sizes]:
            outcome.missing[name] = f"measured up to n = {operation.largest}, not for {', '.join(left_out)}"
        for dtype in settings.dtypes:
            for n in sizes:
                outcome.rows.append(_measure_row(operation, n, dtype, settings, able, ceilings, outcome.missing))
                progress(1)
    return outcome


def row_count(settings: Settings) -> int:
    """Return how many times :func:`measure` reports progress."""
    sizes = sum(len(_sizes(settings, OPERATIONS[name])) for name in settings.operations)
    return len(settings.dtypes) * sizes


def _sizes(settings: Settings, operation: Operation) -> list[int]:
    return [n for n in settings.sizes if operation.largest is None or n <= operation.largest]


def measure_single(dtypes: tuple[torch.dtype, ...], threads: int, seconds: float) -> list[Row]:
    """Measure what one 3×3 inverse costs, NumPy array or tensor, beside the library that the array belongs to."""
    rows = []
    for dtype in dtypes:
        problem = make_problem(OPERATIONS["inv"], _SINGLE_SIZE, dtype, _SINGLE_JUDGED)
        a = problem.A[0]
        array = a.numpy()
        pairs: dict[str, dict[str, Callable[[], object]]] = {
            "numpy": {OURS: partial(ni.inv, array), "numpy": partial(np.linalg.inv, array)},
            "torch": {OURS: partial(ni.inv, a), "torch": partial(torch.linalg.inv, a)},
        }
        answers: dict[str, Callable[[torch.Tensor], object]] = {
            OURS: ni.inv, "numpy": lambda A: np.linalg.inv(A.numpy()), "torch": torch.linalg.inv,
        }  # fmt: skip
        for library, calls in pairs.items():
            with limited_threads(threads):
                timings = time_interleaved(calls, seconds, threads=threads)
            accuracies = {name: _judge_one_by_one(problem, answers[name]) for name in calls}
            rows.append(
                Row(
                    operation=f"single-{library}",
                    dtype=dtype_name(dtype),
                    n=_SINGLE_SIZE,
                    batch=1,
                    figures=_figures(timings, accuracies, 1),
                    copy_share=None,
                    peak_share=None,
                    inaccurate=is_inaccurate(accuracies[OURS], accuracies[library], dtype),
                )
            )
    return rows


def _judge_one_by_one(problem: Problem, function: Callable[[torch.Tensor], object]) -> Accuracy:
    inverses = torch.stack([to_tensors(function(a))[0] for a in problem.A])
    return measure_accuracy(problem, (inverses,))


def _measure_row(
    operation: Operation,
    n: int,
    dtype: torch.dtype,
    settings: Settings,
    able: Mapping[str, Prepare],
    ceilings: Ceilings,
    missing: dict[str, str],
) -> Row:
    batch = bounded_batch(settings.batch, n, dtype)
    problem = make_problem(operation, n, dtype, batch)
    prepared: dict[str, Prepared] = {}
    accuracies: dict[str, Accuracy] = {}
    share: float | None = None
    with limited_threads(settings.threads):
        for name, prepare in able.items():
            try:
                prepared[name] = prepare(problem, settings.threads)
                value = prepared[name].call()
                if isinstance(value, InverseResult):
                    share = float(value.certified.double().mean())
                accuracies[name] = measure_accuracy(problem, prepared[name].collect(value))
            except Exception as error:
                if name == OURS:
                    raise
                # Another library's failure must not cost the figures of the others.
                prepared.pop(name, None)
                missing[f"{name} {operation.name}, n = {n}, {dtype_name(dtype)}"] = f"failed: {error}"
        timings = time_interleaved(
            {name: p.call for name, p in prepared.items()}, settings.seconds, threads=settings.threads
        )
    seconds = timings[OURS].median
    certificate = None
    if share is not None and PLAIN in timings:
        cost = seconds / timings[PLAIN].median
        certificate = Certificate(share, cost, CERTIFICATE_GOAL, cost <= CERTIFICATE_GOAL)
    moved = batch * operation.numbers(n) * dtype.itemsize
    lapack = accuracies.get(_LAPACK) or _lapack_accuracy(problem)
    return Row(
        operation=operation.name,
        dtype=dtype_name(dtype),
        n=n,
        batch=batch,
        figures=_figures(timings, accuracies, batch),
        copy_share=moved / seconds / ceilings.copy_rate(moved),
        peak_share=batch * operation.flops(n) / seconds / ceilings.flops[dtype_name(dtype)],
        inaccurate=is_inaccurate(accuracies[OURS], lapack, dtype),
        certificate=certificate,
    )


def _lapack_accuracy(problem: Problem) -> Accuracy:
    """Judge torch's LAPACK where it is not among the rivals: our accuracy is measured by it all the same."""
    count = judged_count(problem)
    part = Problem(problem.operation, problem.A[:count], None if problem.b is None else problem.b[:count])
    prepared = rivals.RIVALS[_LAPACK].load()[problem.operation.name](part, 1)
    return measure_accuracy(part, prepared.collect(prepared.call()))


def _figures(timings: Mapping[str, Timing], accuracies: Mapping[str, Accuracy], batch: int) -> dict[str, Figure]:
    scale = 1e9 / batch
    return {
        name: Figure(scale * timing.median, scale * timing.lower, scale * timing.upper, accuracies[name])
        for name, timing in timings.items()
    }
