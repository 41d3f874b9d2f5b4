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
