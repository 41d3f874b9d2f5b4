"""Times and errors of every implementation, case by case."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch

from neuralinv.bench.block_tridiagonal.oracle import find_truth, is_inaccurate, largest_error
from neuralinv.bench.block_tridiagonal.problems import BACKWARD, FACTOR, FORWARD, SOLVE, Problem, make_problem
from neuralinv.bench.block_tridiagonal.rivals import DENSE, LARGEST_DENSE, Prepare, describe
from neuralinv.bench.rivals import OURS, Prepared
from neuralinv.measuring.formatting import dtype_name
from neuralinv.measuring.timing import limited_threads, time_interleaved

DENSE_CASE = (LARGEST_DENSE // 10, 10)
_BANDED = ("scipy", "socu")
_BATCHED = ("torch-loop", "torch-triangular", "jax")


@dataclass(frozen=True)
class Settings:
    """What to measure: ``sizes`` are pairs (T, n), ``batch`` is 0 for no batches; rivals by name."""

    sizes: tuple[tuple[int, int], ...]
    batch: int
    dtypes: tuple[torch.dtype, ...]
    rivals: tuple[str, ...]
    threads: int
    seconds: float
    longest: int


@dataclass(frozen=True)
class Figure:
    """One implementation: seconds for each sequence (median and quartiles), and its largest error."""

    seconds: float
    lower: float
    upper: float
    error: float | None


@dataclass(frozen=True)
class Row:
    """One work at one size.

    Attributes
    ----------
    work, steps, n, batch, dtype
        What was measured; ``batch`` is None for one sequence alone.
    figures
        By implementation, ours first.
    inaccurate
        Whether our error exceeds what the conformance suite allows.
    """

    work: str
    steps: int
    n: int
    batch: int | None
    dtype: str
    figures: Mapping[str, Figure]
    inaccurate: bool


@dataclass
class Outcome:
    """Rows, and what could not be measured, by name: the reason."""

    rows: list[Row] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)


def measure(
    settings: Settings,
    able: Mapping[str, Mapping[str, Prepare]],
    *,
    progress: Callable[[int], None] = lambda count: None,
    announce: Callable[[str], None] = lambda what: None,
) -> Outcome:
    """Measure single sequences, batches, and the dense factorisation.

    Parameters
    ----------
    settings
        What to measure.
    able
        What each implementation can do: :func:`neuralinv.bench.block_tridiagonal.rivals.load_rivals`.
    progress
        Called with 1 after each of :func:`case_count` cases.
    announce
        Called with what is being done.
    """
    outcome = Outcome()
    for dtype in settings.dtypes:
        for (steps, n), batch, works in _cases(settings):
            problem = make_problem(steps, n, dtype, batch=batch)
            outcome.rows.extend(_measure_case(problem, works, able, settings, outcome.missing, announce))
            progress(1)
    return outcome


def case_count(settings: Settings) -> int:
    """Return how many times :func:`measure` reports progress."""
    return len(settings.dtypes) * len(_cases(settings))


Works = Mapping[str, Sequence[str] | None]
"""The work of a case, and for each the rivals that are asked; None asks all but the dense one."""


def _cases(settings: Settings) -> list[tuple[tuple[int, int], int | None, Works]]:
    single: Works = {FACTOR: _BANDED, SOLVE: _BANDED, FORWARD: None, BACKWARD: None}
    cases: list[tuple[tuple[int, int], int | None, Works]] = [(size, None, single) for size in settings.sizes]
    if settings.batch:
        cases += [(size, settings.batch, {FORWARD: _BATCHED, BACKWARD: _BATCHED}) for size in settings.sizes]
    if DENSE in settings.rivals:
        cases.append((DENSE_CASE, None, {FORWARD: (DENSE,)}))
    return cases


def _measure_case(
    problem: Problem,
    works: Works,
    able: Mapping[str, Mapping[str, Prepare]],
    settings: Settings,
    missing: dict[str, str],
    announce: Callable[[str], None],
) -> list[Row]:
    truth, rows = find_truth(problem), []
    for work, names in works.items():
        asked = [OURS, *(set(able) - {OURS, DENSE} if names is None else names)]
        prepared: dict[str, Prepared] = {}
        errors: dict[str, float | None] = {}
        with limited_threads(settings.threads):
            for name in (name for name in able if name in asked and work in able[name]):
                announce(describe(name, problem))
                try:
                    prepared[name] = able[name][work](problem)
                    answer = prepared[name].collect(prepared[name].call())
                    errors[name] = None if truth is None or work == FACTOR else largest_error(truth, work, answer)
                except Exception as error:
                    if name == OURS:
                        raise
                    # Another library's failure must not cost the figures of the others.
                    prepared.pop(name, None)
                    batch = "" if problem.batch is None else f", batch {problem.batch}"
                    missing[f"{name}, {work}, T = {problem.steps}, n = {problem.n}{batch}"] = str(error)
            announce(f"measuring all, T = {problem.steps:,}, n = {problem.n}")
            timings = time_interleaved(
                {name: p.call for name, p in prepared.items()}, settings.seconds, threads=settings.threads
            )
        count = problem.batch or 1
        figures = {
            name: Figure(timing.median / count, timing.lower / count, timing.upper / count, errors[name])
            for name, timing in timings.items()
        }
        ours = figures[OURS].error
        wrong = ours is not None and is_inaccurate(ours, problem.dtype, problem.condition)
        rows.append(Row(work, problem.steps, problem.n, problem.batch, dtype_name(problem.dtype), figures, wrong))
    return rows
