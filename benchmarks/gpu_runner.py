"""Rows of a benchmark on a GPU, in processes of their own: what breaks one of them leaves the others.

An error of CUDA ends a process for all that comes after it, so each group of rows has a process. Where the device no
longer answers after a row, another process goes on with the next. Figures are written after every row, time is looked
at between rows, and kernels are compiled beforehand by as many processes as there are processors: Triton's cache on
disk is common to all.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_BROKEN = 3
"""A process's status: the device does not answer any more."""
_GRACE = 30.0
"""Seconds beyond the limit after which a row that does not return is given up."""
_LONGEST_WARM_UP = 0.3
"""Of all the time."""


@dataclass(frozen=True)
class Outcome:
    """A row: its line of the table, its figures, and whether the result was right."""

    line: str
    figures: dict[str, Any]
    good: bool = True


@dataclass(frozen=True)
class Task:
    """A row that is to be measured, and its name, should that fail."""

    name: str
    measure: Callable[[], Outcome]


@dataclass(frozen=True)
class Benchmark:
    """What is measured.

    Attributes
    ----------
    groups
        By name, the most important first: what lists a group's rows. Called in the group's own process.
    machine
        Says where it is measured; also called there.
    warm_ups
        Lists calls after which nothing is left to compile, the longest first.
    works
        Tells whether the device still answers.
    """

    groups: Mapping[str, Callable[[], Sequence[Task]]]
    machine: Callable[[], dict[str, Any]]
    warm_ups: Callable[[], Sequence[Callable[[], object]]]
    works: Callable[[], bool]


def add_arguments(parser: argparse.ArgumentParser, figures: Path) -> None:
    """Add the arguments that :func:`run` reads; ``figures`` is where they go by default."""
    parser.add_argument("--json", type=Path, default=figures, help="where the figures go (%(default)s)")
    parser.add_argument("--seconds", type=float, default=540.0, help="no row begins later (%(default)s)")
    # What a process is told by the one that started it.
    parser.add_argument("--group", help=argparse.SUPPRESS)
    parser.add_argument("--start", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--deadline", type=float, help=argparse.SUPPRESS)
    parser.add_argument("--warm", type=int, help=argparse.SUPPRESS)


def explain(error: Exception) -> str:
    """Write an error in a line."""
    return f"{type(error).__name__}: {error}".splitlines()[0]


def cuda_works() -> bool:
    """Tell whether the GPU still answers; after some errors it does not, to the end of the process."""
    import torch

    try:
        torch.cuda.synchronize()
    except RuntimeError:
        return False
    return True


def run(benchmark: Benchmark, options: argparse.Namespace) -> int:
    """Measure all groups, or what a process was told to; returns its status: 1 if a row was wrong or failed."""
    if options.warm is not None:
        for call in benchmark.warm_ups()[options.warm :: _workers()]:
            with suppress(Exception):  # the row that needs it will say what is wrong
                call()
        return 0
    if options.group is not None:
        return _measure(benchmark, options)
    return _direct(benchmark, options)


def _direct(benchmark: Benchmark, options: argparse.Namespace) -> int:
    began = time.time()
    deadline = began + options.seconds
    _write(options.json, {"machine": {}, "rows": [], "left_out": {}})
    _warm_up(_LONGEST_WARM_UP * options.seconds)
    print(f"compiled for {time.time() - began:.0f} s", flush=True)
    for name in benchmark.groups:
        _run_group(name, options.json, deadline)
    figures = _read(options.json)
    bad = sum(not row["good"] for row in figures["rows"])
    left_out = "".join(f"; left out, for lack of time: {name} ({n})" for name, n in figures["left_out"].items())
    print(f"{len(figures['rows'])} rows, {bad} wrong or failed{left_out}; figures in {options.json}")
    return 1 if bad else 0


def _warm_up(seconds: float) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "env": environment}
    processes = [subprocess.Popen([*_command(), "--warm", str(k)], **quiet) for k in range(_workers())]
    end = time.monotonic() + seconds
    for process in processes:
        with suppress(subprocess.TimeoutExpired):
            process.wait(max(0.0, end - time.monotonic()))
        process.kill()
        process.wait()


def _run_group(name: str, path: Path, deadline: float) -> None:
    """Start processes until a group's rows are measured, have failed or are left out."""
    while True:
        done = _count(path, name)
        told = ["--group", name, "--start", str(done), "--deadline", str(deadline)]
        try:
            limit = max(0.0, deadline - time.time()) + _GRACE
            status = subprocess.run([*_command(), *told], timeout=limit, check=False).returncode
            why = f"the process ended with {status}"
        except subprocess.TimeoutExpired:
            status, why = None, "did not return in time"
        if status == 0:
            return
        if status == _BROKEN:
            print("the device does not answer any more: another process goes on", flush=True)
            continue
        went_on = _count(path, name) > done
        _report(path, name, Outcome(f"{name}  FAILED: {why}", {"failure": why}, good=False))
        if status is None or not went_on:  # twice the same would be no news
            return


def _measure(benchmark: Benchmark, options: argparse.Namespace) -> int:
    if time.time() >= options.deadline:
        _leave_out(options, "all")
        return 0
    tasks = benchmark.groups[options.group]()
    figures = _read(options.json)
    if not figures["machine"]:
        figures["machine"] = machine = benchmark.machine()
        _write(options.json, figures)
        told = (f"{name} {value:.4g}" if type(value) is float else f"{name} {value}" for name, value in machine.items())
        print(", ".join(told), flush=True)
    for position, task in enumerate(tasks[options.start :], options.start):
        if time.time() >= options.deadline:
            _leave_out(options, len(tasks) - position)
            return 0
        try:
            outcome = task.measure()
        except Exception as error:
            why = explain(error)
            outcome = Outcome(f"{task.name}  FAILED: {why}", {"name": task.name, "failure": why}, good=False)
        _report(options.json, options.group, outcome)
        if not benchmark.works():
            return _BROKEN
    return 0


def _leave_out(options: argparse.Namespace, rows: int | str) -> None:
    figures = _read(options.json)
    figures["left_out"][options.group] = rows
    _write(options.json, figures)


def _report(path: Path, group: str, outcome: Outcome) -> None:
    print(outcome.line, flush=True)
    figures = _read(path)
    figures["rows"].append({"group": group, "good": outcome.good, **outcome.figures})
    _write(path, figures)


def _count(path: Path, group: str) -> int:
    return sum(row["group"] == group for row in _read(path)["rows"])


def _read(path: Path) -> dict[str, Any]:
    figures: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return figures


def _write(path: Path, figures: dict[str, Any]) -> None:
    # Whole or not at all. Not neuralinv.io: it would bring torch to processes that only start others.
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(json.dumps(figures, indent=1), encoding="utf-8")
    temporary.replace(path)


def _command() -> list[str]:
    return [sys.executable, *sys.argv]


def _workers() -> int:
    return os.cpu_count() or 1
