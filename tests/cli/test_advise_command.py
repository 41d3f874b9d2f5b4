"""`neuralinv advise` as a user meets it."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from typer.testing import Result


def test_advice_on_a_file(neuralinv: Callable[..., Result], matrices: Path, tmp_path: Path) -> None:
    result = neuralinv("advise", matrices, "--json", tmp_path / "a.json", "--html", tmp_path / "a.html")
    assert result.exit_code == 0
    assert "Recommended: ni.inv(A)" in result.stdout
    assert "Do not train anything." in result.stdout
    assert json.loads((tmp_path / "a.json").read_text())["recommended"] == "exact"
    assert (tmp_path / "a.html").read_text(encoding="utf-8").startswith("<!doctype html>")


def test_parameters_and_a_trial(neuralinv: Callable[..., Result], tmp_path: Path) -> None:
    theta = np.linspace(1, 2, 100)
    np.save(tmp_path / "A.npy", np.eye(3) * theta[:, None, None] + 0.1)
    np.savetxt(tmp_path / "theta.csv", theta)
    result = neuralinv("advise", tmp_path / "A.npy", "--parameters", tmp_path / "theta.csv", "--try", "--rtol", "1e-6")
    assert result.exit_code == 0
    assert "polynomials, by degree" in result.stdout
    assert "within 10×" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{missing}.npy"], "no such file"),
        (["{matrices}", "--rtol", "3"], "between 0 and 1"),
        (["{matrices}", "--parameters", "{missing}.csv"], "no such file"),
        (["{matrices}", "--calibration", "{matrices}"], "not UTF-8 text"),
        (["{matrices}", "--budget", "5s"], "--budget goes with --try"),
        (["{matrices}", "--json", "{folder}"], "is a folder"),
        ([], "give a FILE of matrices"),
        (["{matrices}", "--honesty"], "give a FILE of matrices"),
        (["--honesty", "--proof"], "go with a FILE"),
    ],
)
def test_mistakes_are_told_in_one_line(
    neuralinv: Callable[..., Result], matrices: Path, tmp_path: Path, arguments: list[str], message: str
) -> None:
    filled = [a.format(missing=tmp_path / "missing", matrices=matrices, folder=tmp_path) for a in arguments]
    result = neuralinv("advise", *filled)
    assert result.exit_code == 2
    assert message in " ".join(result.stderr.replace("│", "").split())


def test_a_function_of_a_module_in_this_folder(
    neuralinv: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "advise_on_me.py").write_text(
        "import torch\nnumber = 3\n"
        "def ints(t):\n    return torch.ones(len(t), 3, 3, dtype=torch.int64)\n"
        "def curve(t):\n    return 3 * torch.eye(4) + t[:, :1, None].sin() * torch.ones(4, 4)\n"
    )
    (tmp_path / "advise_on_exit.py").write_text("import sys\nsys.exit(3)\n")
    np.save("theta.npy", np.linspace(0, 1, 60))
    result = neuralinv("advise", "advise_on_me:ints", "--parameters", "theta.npy")
    assert result.exit_code == 2
    assert "what the function returned has dtype torch.int64" in " ".join(result.stderr.split())
    result = neuralinv("advise", "advise_on_me:curve", "--parameters", "theta.npy")
    assert result.exit_code == 0
    assert "60 of 4×4" in result.stdout
    for reference, message in (
        ("advise_on_me:number", "advise_on_me holds no function number"),
        ("nowhere_at_all:f", "importing nowhere_at_all raised ModuleNotFoundError"),
        ("advise_on_me:curve", "a function comes with parameters"),
        ("advise_on_exit:f", "importing advise_on_exit raised SystemExit: 3"),
    ):
        result = neuralinv("advise", reference)
        assert result.exit_code == 2
        assert message in " ".join(result.stderr.split())
