"""`neuralinv bench block-tridiagonal`: what it prints and writes; no time is asserted."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import pytest
from PIL import Image

from neuralinv.bench.block_tridiagonal import conditioning, memory, rivals, scaling
from neuralinv.bench.block_tridiagonal.problems import FORWARD, Problem
from neuralinv.bench.rivals import Prepared, Rival
from neuralinv.cli import bench_block_tridiagonal
from neuralinv.cli.bench_block_tridiagonal import parse_pairs

TINY = ("--quick", "--sizes", "6x2,5x3", "--batch", 2, "--seconds", 0.002, "--longest", 10, "--threads", 1)


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conditioning, "CONDITIONS", (1e1, 1e4))
    monkeypatch.setattr(scaling, "FIXED_STEPS", 20)
    monkeypatch.setattr(scaling, "STEPS", (10,))
    monkeypatch.setattr(scaling, "SIZES", (1, 2))
    monkeypatch.setattr(bench_block_tridiagonal, "_QUICK_VAE_STEPS", 2)
    # The process that it starts is tested elsewhere.
    monkeypatch.setattr(memory, "measure_memory", lambda steps, n, dtype: memory.Memory(steps, n, dtype, 100, 300))


def test_everything_that_was_asked_for(neuralinv, tmp_path: Path) -> None:
    out, plot = tmp_path / "o" / "figures.json", tmp_path / "plot.png"
    result = neuralinv(
        "bench", "block-tridiagonal", *TINY, "--rivals", "torch-loop,scipy,torch-kf", "--json", out, "--plot", plot
    )
    assert result.exit_code == 0, result.output
    assert max(map(len, result.stdout.splitlines()[1:])) <= 120
    for text in (
        "factor + both solves, one sequence, float32: time",
        "batch of 2, for each sequence, float64: largest relative error",
        "by condition number",
        "peak memory, T = 10,000, n = 10",
        "training step of the Lorenz example",
        "goals, as ratios in this run",
        "plot in",
    ):
        assert text in result.stdout
    assert "…" not in result.stdout

    document = json.loads(out.read_text())
    assert document["settings"]["sizes"] == [[6, 2], [5, 3]]
    assert document["settings"]["dtypes"] == ["float32", "float64"]
    rows = document["rows"]
    assert len(rows) == 2 * 2 * (4 + 2)
    for row in rows:
        assert next(iter(row["figures"])) == "neuralinv"
        assert row["inaccurate"] is False
        for figure in row["figures"].values():
            assert 0 < figure["lower"] <= figure["seconds"] <= figure["upper"]
            assert figure["error"] is None or figure["error"] < 1e-6
    assert {row["batch"] for row in rows} == {None, 2}
    assert len(document["conditioning"]) == 4
    assert {sample["name"] for sample in document["scaling"]} == {"neuralinv", "torch-loop", "scipy"}
    assert {goal["against"] for goal in document["goals"]} == {"torch-loop", "scipy", "inputs + gradients"}
    assert document["memory"]["peak"] == 300
    assert len(document["smoother"]) == (4 if find_spec("torch_kf") else 0)
    with Image.open(plot) as image:
        image.verify()
        assert image.format == "PNG"


def test_inaccurate_results_of_ours_make_the_exit_code_one(neuralinv, monkeypatch: pytest.MonkeyPatch) -> None:
    right = rivals.ours.load()

    def prepare(problem: Problem) -> Prepared:
        return Prepared(right[FORWARD](problem).call, lambda value: tuple(1.01 * x for x in value))

    monkeypatch.setattr(rivals, "ours", Rival("neuralinv", "", lambda: {**right, FORWARD: prepare}))
    result = neuralinv("bench", "block-tridiagonal", *TINY, "--rivals", "", "--dtypes", "float32", "--batch", 0)
    assert result.exit_code == 1
    assert "inaccurate: forward, float32, T = 6, n = 2" in result.stderr
    assert "INACCURATE" in result.stdout


def test_what_is_missing_is_named(neuralinv, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "torch_kf", None)
    monkeypatch.setitem(sys.modules, "warp", None)
    result = neuralinv(
        "bench", "block-tridiagonal", *TINY, "--rivals", "torch-kf,socu", "--dtypes", "float32", "--batch", 0
    )
    assert result.exit_code == 0, result.output
    assert "torch-kf: not installed: pip install torch-kf" in result.stdout
    assert "socu: not installed: pip install socu" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--sizes", "250"], "--sizes 250: write pairs of T from 2 to 100000 and n from 1 to 128, as in 250x3"),
        (["--sizes", "1x3"], "--sizes 1x3"),
        (["--sizes", "250x300"], "--sizes 250x300"),
        (["--sizes", ""], "write pairs"),
        (["--batch", "-1"], "batch"),
        (["--dtypes", "float16"], "unknown 'float16'; known are float32, float64"),
        (["--rivals", "matlab"], "unknown 'matlab'; known are torch-loop"),
        (["--longest", "5"], "longest"),
        (["--threads", "100000"], "more than the cores"),
        (["--seconds", "0"], "positive time"),
        (["--plot", "plot.xlsx"], "unknown format"),
        (["--json", "{file}/x.json"], "cannot be written"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_mistakes(refuses_bench, arguments: list[str], message: str) -> None:
    refuses_bench(["block-tridiagonal", *arguments], message)


def test_pairs_appear_once() -> None:
    assert parse_pairs("250x3, 10×2,250x3") == ((250, 3), (10, 2))
