"""The examples run as they stand and find what exact arithmetic finds."""

import re
import runpy
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


def run(name: str, capsys: pytest.CaptureFixture[str]) -> str:
    runpy.run_path(str(EXAMPLES / name))["main"]()
    return capsys.readouterr().out


def test_ordinary_least_squares(capsys: pytest.CaptureFixture[str]) -> None:
    output = run("ordinary_least_squares.py", capsys)
    assert "CERTIFIED 1" in output
    rows = re.findall(r"^b\d\s+(\S+)\s+(\S+)$", output, re.MULTILINE)
    assert len(rows) == 3
    assert all(float(found) == pytest.approx(float(exact), abs=1e-5) for found, exact in rows)


def test_response_surface_agrees_with_the_exact_coefficients_and_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    output = run("response_surface.py", capsys)
    assert "CERTIFIED 1" in output
    assert "FALLBACK" not in output
    rows = re.findall(r"^(?!coefficient )\S.*?\s+(-?\d+\.\d{4})\s+(-?\d+\.\d{4})$", output, re.MULTILINE)
    assert len(rows) == 10
    assert all(float(found) == pytest.approx(float(exact), abs=1e-4) for found, exact in rows)
    difference = float(re.search(r"largest difference\s+(\S+)", output)[1])
    bound = float(re.search(r"no more than\s+(\S+)", output)[1])
    assert difference <= bound <= 1e-4


def test_lorenz_vae_runs_with_the_loop(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main = runpy.run_path(str(EXAMPLES / "lorenz_vae.py"))["main"]
    main(["--backend", "loop", "--steps", "2", "--compare", "2", "--out", str(tmp_path)])
    output = capsys.readouterr().out
    assert re.search(r"step time +loop: \S+ ms; auto: \S+ ms", output)
    assert float(re.search(r"lower bounds differ by at most (\S+) nats", output)[1]) < 1e-3
    assert (tmp_path / "attractor.png").exists()


@pytest.mark.slow
def test_lorenz_vae_reconstructs_the_attractor(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(EXAMPLES / "lorenz_vae.py"))["main"](["--out", str(tmp_path), "--compare", "20"])
    output = capsys.readouterr().out
    assert float(re.search(r"reconstruction +off by (\S+)", output)[1]) < 0.9  # of a noise of 2
    assert float(re.search(r"certainty +(\d+)%", output)[1]) > 60


def test_advise_recommends_for_both_wishes(capsys: pytest.CaptureFixture[str]) -> None:
    output = run("advise.py", capsys)
    assert output.startswith("Recommended: ni.")
    assert "Hermitian positive definite" in output
    assert re.search(r"^polynomials, by degree", output, re.MULTILINE)
    assert re.search(r"with a proof of every answer: ni\.(certified_inv|learned)", output)
