"""`neuralinv bench surrogate`: what it prints and writes; no time is asserted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from neuralinv.bench.surrogate import experiment, refinement


def test_everything_is_measured(neuralinv, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(experiment, "_TRAINING_WINDOWS", 20)
    monkeypatch.setattr(experiment, "_TEST_WINDOWS", 3)
    monkeypatch.setattr(experiment, "_GRADIENT_WINDOWS", 2)
    monkeypatch.setattr(refinement, "_SEQUENCES", 2)
    out, plot = tmp_path / "o" / "figures.json", tmp_path / "plot.png"
    result = neuralinv(
        "bench", "surrogate", "--bodies", "mlp", "--budget", "1s", "--steps", 30, "--window", 20, "--seconds", 0.002,
        "--threads", 1, "--json", out, "--plot", plot,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert max(map(len, result.stdout.splitlines()[1:])) <= 120
    assert "…" not in result.stdout
    document = json.loads(out.read_text())
    assert set(document["errors"]) == set(document["rescue"]) == {experiment.EARLY, experiment.FINAL}
    for errors in document["errors"].values():
        assert list(errors) == ["native", "exact, cut", "mlp"]
        assert errors["native"]["mean"]["largest"] < 1e-4
        assert errors["native"]["gradient"]["largest"] < 1e-2
        assert errors["native"]["cosine"]["median"] > 0.999
        assert errors["mlp"]["mean"]["median"] > errors["native"]["mean"]["median"]
    for rescue in document["rescue"].values():
        for way in rescue.values():
            assert way["proposed"] + way["refined"] + way["fell_back"] == 2
            assert way["true_error"] < 1e-5  # whatever a surrogate proposed
    assert set(document["speed"]) == {"loop", "native", "mlp"}
    assert all(seconds > 0 for figures in document["speed"].values() for seconds in figures.values())
    assert len(document["through"]["native"]["bounds"]) == 30
    assert document["learned"]["mlp"]["training"]["steps"] > 0
    with Image.open(plot) as image:
        image.verify()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--bodies", "transformer"], "unknown 'transformer'; known are mlp, convolution, recurrent"),
        (["--budget", "soon"], "no duration"),
        (["--steps", "1"], "steps"),
        (["--bands", "0"], "bands"),
        (["--plot", "plot.xlsx"], "unknown format"),
        (["--json", "{file}/x.json"], "cannot be written"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_mistakes(refuses_bench, arguments: list[str], message: str) -> None:
    refuses_bench(["surrogate", *arguments], message)
