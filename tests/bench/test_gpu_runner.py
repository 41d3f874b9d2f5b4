"""What the benchmarks for a GPU do where something breaks or time is short: on the CPU, with rows made up for it."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
SCRIPT = """
import argparse, os, sys
from pathlib import Path
sys.path.insert(0, {folder!r})
from gpu_runner import Benchmark, Outcome, Task, add_arguments, run

healthy = True

def row(name, good=True):
    return Task(name, lambda: Outcome(f"row {{name}}", {{"name": name}}, good))

def failing():
    raise ValueError("no\\nsecond line")

def breaking():
    global healthy
    healthy = False
    raise RuntimeError("CUDA error")

def compile():
    Path("warm").mkdir(exist_ok=True)
    Path("warm", str(os.getpid())).touch()

GROUPS = {{
    "first": lambda: [row("a"), Task("b", failing), Task("c", breaking), row("d")],
    "second": lambda: [row("e"), Task("f", lambda: os._exit(9)), row("g")],
    "empty": lambda: sys.exit(5),
    "last": lambda: [row("j", good=False)],
}}
parser = argparse.ArgumentParser()
parser.add_argument("--only", default="")
add_arguments(parser, Path("figures.json"))
options = parser.parse_args()
groups = {{name: group for name, group in GROUPS.items() if name in options.only.split(",")}}
warm_ups = [failing, compile, compile]
sys.exit(run(Benchmark(groups, lambda: {{"gpu": "none"}}, lambda: warm_ups, lambda: healthy), options))
"""


def run(folder: Path, *arguments: str) -> tuple[int, str, dict[str, Any]]:
    """Run the script on some groups: its status, what it printed, its figures."""
    script = folder / "script.py"
    script.write_text(SCRIPT.format(folder=str(BENCHMARKS)))
    done = subprocess.run(
        [sys.executable, str(script), *arguments], cwd=folder, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout, json.loads((folder / "figures.json").read_text())


def test_what_breaks_is_a_line_of_the_table(tmp_path: Path) -> None:
    status, printed, figures = run(tmp_path, "--only", "first,second,empty")
    assert status == 1
    assert [row.get("name", row.get("failure")) for row in figures["rows"]] == [
        *("a", "b", "c", "d"),  # "d" by another process
        *("e", "the process ended with 9", "g"),
        "the process ended with 5",
    ]
    assert [row["good"] for row in figures["rows"]] == [True, False, False, True, True, False, True, False]
    assert "b  FAILED: ValueError: no\n" in printed
    assert "8 rows, 4 wrong or failed; figures in figures.json" in printed
    assert figures["machine"] == {"gpu": "none"}
    assert list((tmp_path / "warm").iterdir())  # although another warm-up failed


def test_time_is_limited(tmp_path: Path) -> None:
    _, printed, figures = run(tmp_path, "--only", "first,last", "--seconds", "0")
    assert figures["left_out"] == {"first": "all", "last": "all"}
    assert "0 rows, 0 wrong or failed; left out, for lack of time: first (all)" in printed


@pytest.fixture
def runner(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("gpu_runner")


def test_time_is_looked_at_between_rows(
    runner: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = [0.0]
    monkeypatch.setattr(runner, "time", SimpleNamespace(time=lambda: clock[0]))

    def measure() -> Any:
        clock[0] += 2.0
        return runner.Outcome(f"at {clock[0]}", {"at": clock[0]})

    options = SimpleNamespace(json=tmp_path / "figures.json", group="some", start=1, deadline=3.0)
    before = [{"group": "some", "good": True, "at": -1.0}]
    options.json.write_text(json.dumps({"machine": {"gpu": "none"}, "rows": before, "left_out": {}}))
    benchmark = runner.Benchmark({"some": lambda: [runner.Task("", measure)] * 6}, dict, list, lambda: True)
    assert runner._measure(benchmark, options) == 0
    figures = json.loads(options.json.read_text())
    assert [row["at"] for row in figures["rows"]] == [-1.0, 2.0, 4.0]
    assert figures["left_out"] == {"some": 3}
    assert capsys.readouterr().out == "at 2.0\nat 4.0\n"


def test_a_row_that_does_not_return_is_given_up(
    runner: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def hang(command: list[str], *, timeout: float, check: bool) -> None:
        raise subprocess.TimeoutExpired(command, timeout)

    monkeypatch.setattr(runner.subprocess, "run", hang)
    path = tmp_path / "figures.json"
    path.write_text(json.dumps({"machine": {}, "rows": [], "left_out": {}}))
    runner._run_group("some", path, 0.0)
    (row,) = json.loads(path.read_text())["rows"]
    assert row == {"group": "some", "good": False, "failure": "did not return in time"}


def test_errors_at_both_ends_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    module = importlib.import_module("gpu_calls")
    A = torch.eye(2, dtype=torch.float64).repeat(3000, 1, 1) * 2
    X, B = A / 4, torch.ones(3000, 2, 1, dtype=torch.float64)
    for position in (0, 499, 2500, 2999):
        wrong = X.clone()
        wrong[position] += 1
        for right, results in ((True, X), (False, wrong)):
            error, allowed = module.inverse_error((A,), results)
            assert (error <= allowed) is right
            error, allowed = module.solution_error((A, B), results @ B)
            assert (error <= allowed) is right
            error, allowed = module.determinant_error((A,), -torch.linalg.slogdet(results).logabsdet)
            assert (error <= allowed) is right


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("name", ["gpu.py", "gpu_block_tridiagonal.py"])
def test_from_a_source_tree_alone(name: str, tmp_path: Path) -> None:
    """Neither installed nor built, and without what only writing needs."""
    (tmp_path / "tomli_w.py").write_text("raise ImportError('not installed')")
    path = os.pathsep.join((str(tmp_path), sysconfig.get_path("purelib")))
    done = subprocess.run(
        [sys.executable, "-S", str(BENCHMARKS / name)],  # -S: no editable installation
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
