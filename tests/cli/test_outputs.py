"""Files that a command writes: never the one that it reads, never one twice; and what the streams cannot show."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

COMMAND = [sys.executable, "-c", "from neuralinv.cli import main; main()"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["invert", "{a}", "--out", "{a}"],
        ["invert", "{a}", "--report", "{a}"],
        ["invert", "{a}", "--out", "o.csv", "--report", "{folder}/./o.csv"],
        ["invert", "{a}", "--target", "{b}", "--plot", "{b}"],
        ["invert", "{a}", "--out", "{link}"],
        ["evaluate", "--model", "3x3", "--matrices", "{a}", "--out", "{a}"],
        ["evaluate", "--model", "3x3", "--plot", "p.png", "--plot-elements", "p.png"],
        ["advise", "{a}", "--json", "{a}"],
        ["advise", "{a}", "--json", "x", "--html", "x"],
        ["fit", "--matrices", "{a}", "--parameters", "config.toml", "--out", "."],
        ["bench", "dense", "--json", "x.png", "--plot", "x.png"],
    ],
    ids=" ".join,
)
def test_one_file_for_two_purposes(neuralinv, matrices: Path, tmp_path: Path, monkeypatch, arguments) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("b.npy", np.linalg.inv(np.load(matrices)))
    Path("link.npy").symlink_to(matrices)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    names = {"a": matrices, "b": tmp_path / "b.npy", "link": tmp_path / "link.npy", "folder": tmp_path}
    result = neuralinv(*(argument.format(**names) for argument in arguments))
    assert result.exit_code == 2
    assert "too: give it another name" in " ".join(result.stderr.replace("│", "").split())
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize(
    "arguments",
    [
        ["invert", "{a}", "--target", "{a}", "--plot", "p.xyz"],
        ["evaluate", "--model", "3x3", "--plot", "p.xyz"],
        ["evaluate", "--model", "3x3", "--plot-elements", "p"],
    ],
    ids=" ".join,
)
def test_unknown_formats_of_plots_are_found_before_the_work(neuralinv, matrices: Path, tmp_path, arguments) -> None:
    before = {path.name for path in tmp_path.iterdir()}
    result = neuralinv(*(argument.format(a=matrices) for argument in arguments))
    assert result.exit_code == 2
    assert "no format of figures; known are" in result.stderr
    assert {path.name for path in tmp_path.iterdir()} == before


def run(arguments: list[str], folder: Path, **options) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *arguments], cwd=folder, text=True, check=False, **options)


def test_a_character_that_the_terminal_lacks_is_no_error(matrices: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = run(["invert", str(matrices)], tmp_path, capture_output=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert "3?3" in done.stdout
    assert (tmp_path / "matrices_inverses.npy").exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
@pytest.mark.parametrize(
    "arguments",
    [
        ["invert", "matrices.npy", "--out", "result"],
        ["evaluate", "--model", "3x3", "--count", "10", "--out", "result"],
        ["advise", "matrices.npy", "--json", "result"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_a_full_standard_output_is_named_and_results_are_there(matrices: Path, tmp_path: Path, arguments) -> None:
    result = f"result.{'npy' if arguments[0] == 'invert' else 'json'}"
    with open("/dev/full", "w") as full:
        done = run([*arguments[:-1], result], tmp_path, stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == 2
    assert "standard output: cannot be written: No space left on device" in done.stderr
    assert "Exception ignored" not in done.stderr
    assert (tmp_path / result).stat().st_size > 0


def test_names_are_shown_as_they_are(neuralinv, matrices: Path, tmp_path: Path) -> None:
    name = tmp_path / "m:100:[b].npy"
    matrices.rename(name)
    result = neuralinv("invert", name)
    assert "m:100:[b]_inverses.npy" in result.stdout
