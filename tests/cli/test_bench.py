"""`neuralinv bench`: what it prints and writes; no time is asserted."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from PIL import Image

import neuralinv as ni
from neuralinv.bench import dense, rivals
from neuralinv.bench.problems import Operation, make_problem
from neuralinv.bench.rivals import Prepared, Rival, UnavailableError
from neuralinv.cli.bench import parse_sizes
from neuralinv.measuring.machine import usable_cores

OPERATIONS = ("inv", "solve", "solve-n", "slogdet", "inv-pos", "solve-pos", "slogdet-pos")
TINY = ("--sizes", "3,2", "--batch", 40, "--seconds", 0.005, "--threads", 1)


def test_everything_that_was_asked_for(neuralinv, tmp_path: Path) -> None:
    out, plot = tmp_path / "o" / "figures.json", tmp_path / "plot.png"
    result = neuralinv(
        "bench", "dense", *TINY, "--operations", ",".join(OPERATIONS), "--rivals", "torch,numpy,scipy",
        "--single", "--json", out, "--plot", plot,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert max(map(len, result.stdout.splitlines()[4:])) <= 120
    for text in ("inverse, float32", "log-determinant, float64", "copy, GB/s", "one 3×3 inverse a call", "plot in"):
        assert text in result.stdout

    document = json.loads(out.read_text())
    assert document["settings"]["sizes"] == [2, 3]
    assert document["settings"]["dtypes"] == ["float32", "float64"]
    assert document["machine"]["threads"] == 1
    rows = document["rows"]
    cases = [(row["operation"], row["dtype"], row["n"]) for row in rows if not row["operation"].startswith("single")]
    assert sorted(cases) == sorted((o, d, n) for o in OPERATIONS for d in ("float32", "float64") for n in (2, 3))
    for row in rows:
        assert next(iter(row["figures"])) == "neuralinv"
        assert row["inaccurate"] is False
        for figure in row["figures"].values():
            assert 0 < figure["lower"] <= figure["nanoseconds"] <= figure["upper"]
            assert figure["accuracy"]["median"] < 1e-6
    inverses = [row for row in rows if row["operation"] == "inv"]
    there = ["neuralinv", "torch", "numpy", *rivals.load_rivals(["scipy"])[0]]  # SciPy takes batches from 1.17 on
    assert all(list(row["figures"]) == there for row in inverses)
    assert all(row["batch"] == 40 and row["copy_share"] > 0 and row["peak_share"] > 0 for row in inverses)
    assert {row["operation"] for row in rows if row["batch"] == 1} == {"single-numpy", "single-torch"}
    with Image.open(plot) as image:
        image.verify()
        assert image.format == "PNG"


def test_every_implementation_there_is_fits_into_120_columns(neuralinv, tmp_path: Path) -> None:
    result = neuralinv("bench", "dense", *TINY, "--operations", "inv", "--plot", tmp_path / "p.svg")
    assert result.exit_code == 0, result.output
    assert max(map(len, result.stdout.splitlines()[4:])) <= 120
    assert "…" not in result.stdout
    assert (tmp_path / "p.svg").read_text().startswith("<?xml")


def test_what_is_missing_is_named_and_the_rest_is_measured(neuralinv, monkeypatch: pytest.MonkeyPatch) -> None:
    def unavailable() -> dict[str, rivals.Prepare]:
        raise UnavailableError("not installed: pip install jax")

    def broken() -> dict[str, rivals.Prepare]:
        def prepare(problem: rivals.Problem, threads: int) -> Prepared:
            raise RuntimeError("out of order")

        return {"inv": prepare}

    monkeypatch.setitem(rivals.RIVALS, "jax", Rival("jax", "", unavailable))
    monkeypatch.setitem(rivals.RIVALS, "scipy", Rival("scipy", "", broken))
    result = neuralinv("bench", "dense", *TINY, "--operations", "inv", "--rivals", "jax,numpy,scipy")
    assert result.exit_code == 0, result.output
    assert "jax: not installed: pip install jax" in result.stdout
    assert "scipy inv, n = 2, float32: failed: out of order" in result.stdout
    headings = {tuple(line.split()) for line in result.stdout.splitlines() if line.split()[:2] == ["n", "batch"]}
    assert headings == {("n", "batch", "neuralinv", "±", "numpy")}


def test_the_cost_of_the_certificate(neuralinv, tmp_path: Path) -> None:
    out, plot = tmp_path / "figures.json", tmp_path / "plot.png"
    arguments = ("--sizes", "3,16,17", *TINY[2:], "--rivals", "torch,numpy", "--json", out, "--plot", plot)
    result = neuralinv("bench", "dense", "--operations", "certified", *arguments)
    assert result.exit_code == 0, result.output
    assert "certified: measured up to n = 16, not for 17" in result.stdout
    assert "share certified, largest error; time over that of ni.inv, and its goal" in result.stdout
    assert max(map(len, result.stdout.splitlines()[4:])) <= 120
    assert plot.stat().st_size
    rows = json.loads(out.read_text())["rows"]
    assert [(row["dtype"], row["n"]) for row in rows] == [(d, n) for d in ("float32", "float64") for n in (3, 16)]
    for row in rows:
        assert list(row["figures"]) == ["neuralinv", "ni.inv", "torch"]
        ours, plain = row["figures"]["neuralinv"], row["figures"]["ni.inv"]
        certificate = row["certificate"]
        assert certificate["cost"] == pytest.approx(ours["nanoseconds"] / plain["nanoseconds"])
        assert certificate["goal"] == 1.6
        assert certificate["met"] is (certificate["cost"] <= 1.6)
        assert certificate["share"] == 1
        assert ours["accuracy"]["largest"] <= 1e-5


def test_what_has_no_certificate_is_counted(neuralinv, monkeypatch, tmp_path: Path) -> None:
    def with_nearly_singular_ones(operation: Operation, n: int, dtype: torch.dtype, batch: int) -> rivals.Problem:
        problem = make_problem(operation, n, dtype, batch)
        # No pivot is zero, but no condition number near 1e13 certifies at 1e-10, but for 2×2.
        problem.A[::4, 0] = problem.A[::4, 1] * (1 + 2.0**-43 * torch.arange(1, n + 1, dtype=dtype))
        return problem

    monkeypatch.setattr(dense, "make_problem", with_nearly_singular_ones)
    out = tmp_path / "x.json"
    arguments = (*TINY, "--sizes", "3,9", "--dtypes", "float64", "--rivals", "", "--json", out)
    neuralinv("bench", "dense", "--operations", "certified", *arguments)
    assert [row["certificate"]["share"] for row in json.loads(out.read_text())["rows"]] == [0.75] * 2


@pytest.mark.parametrize("reference", ["torch", "numpy"])
def test_inaccurate_results_of_ours_make_the_exit_code_one(neuralinv, monkeypatch, tmp_path, reference: str) -> None:
    def prepare(problem: rivals.Problem, threads: int) -> Prepared:
        return Prepared(lambda: ni.inv(problem.A) * (1 + 1e-5))

    monkeypatch.setattr(rivals, "ours", Rival("neuralinv", "", lambda: {"inv": prepare}))
    out = tmp_path / "x.json"
    result = neuralinv("bench", "dense", *TINY, "--operations", "inv", "--rivals", reference, "--json", out)
    assert result.exit_code == 1
    assert "inaccurate: inv, float32, n = 3" in result.stderr
    assert "INACCURATE" in result.stdout
    assert all(row["inaccurate"] for row in json.loads(out.read_text())["rows"])


def test_an_inaccurate_rival_does_not(neuralinv, monkeypatch, tmp_path: Path) -> None:
    def prepare(problem: rivals.Problem, threads: int) -> Prepared:
        return Prepared(lambda: torch.full_like(problem.A, torch.nan))

    monkeypatch.setitem(rivals.RIVALS, "numpy", Rival("numpy", "", lambda: {"inv": prepare}))
    out = tmp_path / "x.json"
    result = neuralinv("bench", "dense", *TINY, "--operations", "inv", "--rivals", "numpy", "--json", out)
    assert result.exit_code == 0
    # JSON has no infinity.
    assert json.loads(out.read_text())["rows"][0]["figures"]["numpy"]["accuracy"] == {"median": None, "largest": None}


def candidates(operation: str, n: int, dtype: torch.dtype, batch: int) -> dict[str, object]:
    return {name: getattr(torch.linalg, operation) for name in ("native", "torch")} if n <= 2 else {}


def test_tune_writes_the_table(neuralinv, monkeypatch, tmp_path: Path) -> None:
    dispatch = ModuleType("neuralinv.dense.dispatch")
    dispatch.candidates = candidates  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, dispatch.__name__, dispatch)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    result = neuralinv("bench", "tune", "--seconds", 0.001, "--threads", 1, "--operations", "inv,solve")
    assert result.exit_code == 0, result.output
    assert "native up to n" in result.stdout
    path = tmp_path / "neuralinv" / "crossover.json"
    assert str(path) in result.stdout
    document = json.loads(path.read_text())
    assert document["version"] == 1
    assert document["machine"]["cores"] == usable_cores()
    assert [tuple(entry) for entry in document["entries"]] == [("operation", "dtype", "batch", "largest_native_n")] * 20
    assert {entry["largest_native_n"] for entry in document["entries"]} <= {0, 1, 2}
    assert {entry["batch"] for entry in document["entries"]} == {1, 4, 16, 256, 4096}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["dense", "--sizes", "2,x"], "--sizes 2,x: write sizes from 1 to 4096"),
        (["dense", "--sizes", "0"], "--sizes 0"),
        (["dense", "--sizes", "5000"], "--sizes 5000"),
        (["dense", "--sizes", ""], "write sizes"),
        (["dense", "--batch", "0"], "batch"),
        (["dense", "--dtypes", "float16"], "unknown 'float16'; known are float32, float64"),
        (["dense", "--operations", ","], "nothing to measure"),
        (["dense", "--operations", "eig"], "unknown 'eig'"),
        (["dense", "--rivals", "matlab"], "unknown 'matlab'; known are torch"),
        (["dense", "--threads", "100000"], "--threads 100000: more than the cores that this process may use"),
        (["dense", "--seconds", "0"], "positive time"),
        (["dense", "--plot", "plot.xlsx"], "unknown format"),
        (["dense", "--json", "{file}/x.json"], "cannot be written"),
        (["tune", "--operations", "solve-n"], "unknown 'solve-n'; known are inv, solve, slogdet"),
        (["tune", "--out", "{file}/x.json"], "cannot be written"),
        (["tune", "--threads", "0"], "threads"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_mistakes(refuses_bench, monkeypatch, arguments: list[str], message: str) -> None:
    dispatch = ModuleType("neuralinv.dense.dispatch")
    dispatch.candidates = candidates  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, dispatch.__name__, dispatch)
    refuses_bench(arguments, message)


def test_sizes_ascend_and_appear_once() -> None:
    assert parse_sizes("16, 3,3") == (3, 16)
