"""`neuralinv study` as a user meets it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result


def test_study_measures_shows_and_resumes(neuralinv: Callable[..., Result], tmp_path: Path) -> None:
    out = tmp_path / "study"
    arguments = ("study", "singular_set", "--out", out, "--threads", 1, "--seed", 3)
    result = neuralinv(*arguments)
    assert result.exit_code == 0
    assert "verdict: supported" in result.stdout
    assert {path.name for path in out.iterdir()} == {f"singular_set.{kind}" for kind in ("json", "png", "svg")}
    document = json.loads((out / "singular_set.json").read_text())
    assert (document["setting"], document["seed"], document["outcome"]) == ("small", 3, "supported")

    written = (out / "singular_set.json").read_bytes()
    again = neuralinv(*arguments, "--resume")
    assert "measured before" in again.stderr
    assert (out / "singular_set.json").read_bytes() == written
    other = neuralinv(*arguments[:-1], 4, "--resume")
    assert "seed 3; measuring again" in " ".join(other.stderr.split())

    for text, message in (("{", "not valid JSON"), ("[" * 100_000, "nested too deeply"), ("{}", "not a result")):
        (out / "singular_set.json").write_text(text)
        broken = neuralinv(*arguments, "--resume")
        assert broken.exit_code == 2
        assert message in broken.stderr
        assert "Traceback" not in broken.output
    # A cell of text is shown as it stands.
    document = json.loads(written)
    crossing = document["tables"]["crossing"]
    crossing.append({**crossing[0], "architecture": "[/red]"})
    (out / "singular_set.json").write_text(json.dumps(document))
    marked = neuralinv(*arguments, "--resume")
    assert marked.exit_code == 0, marked.output
    assert "[/red]" in marked.stdout


def test_study_says_what_the_budget_left_out(neuralinv: Callable[..., Result], tmp_path: Path) -> None:
    result = neuralinv("study", "singular_set", "size", "--out", tmp_path, "--threads", 1, "--budget", "0.001s")
    assert result.exit_code == 1
    assert "size" in result.stdout
    assert "not run: the budget is spent" in result.stdout
    assert not (tmp_path / "size.json").exists()


def test_study_refuses(neuralinv: Callable[..., Result], tmp_path: Path) -> None:
    unknown = neuralinv("study", "magic", "--out", tmp_path)
    assert unknown.exit_code == 2
    assert "unknown experiment 'magic'" in " ".join(unknown.stderr.replace("│", "").split())
    file = tmp_path / "file"
    file.write_text("x")
    blocked = neuralinv("study", "singular_set", "--out", file)
    assert blocked.exit_code == 2
    assert "is a file, not a folder" in " ".join(blocked.stderr.split())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(("--budget", "0.001"), "a calibration takes more"), (("size",), "only --budget goes with it")],
)
def test_a_calibration_that_cannot_be_made(
    neuralinv: Callable[..., Result], tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    result = neuralinv("study", "--calibrate", tmp_path / "c.json", *arguments)
    assert result.exit_code == 2
    assert message in " ".join(result.stderr.replace("│", "").split())
    assert not (tmp_path / "c.json").exists()
