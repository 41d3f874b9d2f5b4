"""The commands of DeepMatrixInversion: names, options, files and messages that scripts rely on."""

import os
import subprocess
import sysconfig
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from neuralinv.compat import dmx as dmx_module
from neuralinv.io import read_matrices, write_matrices
from neuralinv.learned.checkpoints import load_network

COMMANDS = {
    "dmxtrain": (dmx_module._train, False),
    "dmxinvert": (dmx_module._invert, False),
    "dmxdatasetgenerator": (dmx_module._generate, True),
    "dmxdatasetverify": (dmx_module._verify, False),
}

SCRIPT = """
set -euo pipefail
dmxdatasetgenerator 3 50 -1 1 val
dmxdatasetverify val_matrices_3x3.mx val_matrices_inverted_3x3.mx invertible
dmxdatasetverify val_singular_matrices_3x3.mx val_singular_matrices_pseudoinverted_3x3.mx singular
dmxtrain --msize 3 --nmx_samples 1024 --nunits 32 --nlayers 1 --rmin -1 --rmax 1 --epochs 20 --batch_size 128 \\
    --n_repeats 2 --mout model --plotout training.png
newest=$(ls -td model_*/ | head -n 1)
for name in val_matrices_3x3 val_matrices_inverted_3x3; do
    dmxinvert --inputmx $name.mx --model "$newest" --invert_mode nn --inverseout ${name}_out.mx
done
dmxinvert --inputmx val_matrices_3x3.mx --invtarget val_matrices_inverted_3x3.mx --model "$newest" --invert_mode nn \\
    --inverseout out.mx --plotout scatter.png
dmxinvert --inputmx val_matrices_3x3.mx --invert_mode numpy --inverseout exact.mx
dmxdatasetverify val_matrices_3x3.mx out.mx invertible
"""


@pytest.fixture
def shell(tmp_path: Path):
    """Run a shell script in an empty folder, with the installed commands on the PATH."""
    path = f"{sysconfig.get_path('scripts')}{os.pathsep}{os.environ['PATH']}"

    def run(script: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "PATH": path, "COLUMNS": "200"}
        return subprocess.run(
            ["bash", "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )

    return run


@pytest.mark.slow
def test_a_script_written_for_it_runs_unchanged(shell, tmp_path: Path) -> None:
    result = shell(SCRIPT)
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("Dataset valid.") == 3
    (model,) = tmp_path.glob("model_*")
    assert len(model.name) == len("model_20260101000000")
    assert {path.name for path in model.iterdir()} >= {"config.toml", "member-0.safetensors", "member-1.safetensors"}
    assert load_network(model).config.members == 2
    assert (tmp_path / "training.png").stat().st_size > 2000
    assert (tmp_path / "scatter.png").stat().st_size > 2000
    assert "R² 1.000000" in result.stdout

    A, X = read_matrices(tmp_path / "val_matrices_3x3.mx"), read_matrices(tmp_path / "out.mx")
    assert (np.abs(np.linalg.det(A)) > 0.1).all()
    np.testing.assert_allclose(X, np.linalg.inv(A), atol=1e-3)
    np.testing.assert_allclose(read_matrices(tmp_path / "exact.mx"), np.linalg.inv(A), rtol=1e-9)
    assert (tmp_path / "out.mx").read_text().splitlines()[3] == "END"
    S = read_matrices(tmp_path / "val_singular_matrices_3x3.mx")
    P = read_matrices(tmp_path / "val_singular_matrices_pseudoinverted_3x3.mx")
    np.testing.assert_allclose(P, np.linalg.pinv(S), atol=1e-8)


@pytest.fixture
def dmx(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Run a command line in this process, in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def run(line: str) -> Result:
        name, *arguments = line.split()
        command, negative_arguments = COMMANDS[name]
        return CliRunner().invoke(dmx_module.application(command, negative_arguments=negative_arguments), arguments)

    return run


def test_wrong_inverses_are_not_valid(dmx) -> None:
    write_matrices("a.mx", np.stack([np.eye(2), np.eye(2)]))
    write_matrices("x.mx", np.stack([np.eye(2), 2 * np.eye(2)]))
    result = dmx("dmxdatasetverify a.mx x.mx invertible")
    assert result.exit_code == 1
    assert "Dataset not valid: 1 wrong, the first at index 1." in result.stdout


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("dmxinvert --inputmx nowhere.mx --inverseout x.mx --invert_mode numpy", "nowhere.mx: no such file"),
        ("dmxinvert --inputmx a.mx --inverseout x.mx", "--invert_mode nn needs --model"),
        ("dmxinvert --inputmx a.mx --inverseout x.mx --model missing", "missing: no such network"),
        ("dmxinvert --inputmx a.mx --inverseout x.mx --invert_mode magic", "magic"),
        ("dmxtrain --msize 0", "size = 0"),
        ("dmxdatasetgenerator 3 10 1 -1 p", "low < high"),
        ("dmxdatasetverify a.mx b.mx invertible", "shape"),
        ("dmxdatasetverify a.mx a.mx both", "both"),
        ("dmxinvert --inputmx a.mx --inverseout a.mx --invert_mode numpy", "is the file of --inputmx, too"),
        ("dmxinvert --inputmx a.mx --inverseout o.txt --invert_mode numpy", "unknown format '.txt'"),
        ("dmxinvert --inputmx a.mx --inverseout o.mx --invert_mode numpy --plotout p.zzz", "no format of figures"),
        ("dmxinvert --inputmx c.npy --inverseout o.npy --model 2x2", "networks invert real matrices"),
        ("dmxtrain --plotout c.zzz", "no format of figures"),
        ("dmxtrain --rmin -1e300 --rmax 1e300", "networks compute in single precision"),
        ("dmxdatasetgenerator 9223372036854775808 10 -1 1 p", "1048576"),
        ("dmxdatasetgenerator 3 10 -1e-300 1e-300 p", "lower it"),
    ],
)
def test_mistakes_are_told_in_a_line(dmx, line: str, message: str) -> None:
    write_matrices("a.mx", np.eye(2)[None])
    write_matrices("b.mx", np.eye(3)[None])
    write_matrices("c.npy", 1j * np.eye(2)[None])
    before = {path.name: path.read_bytes() for path in Path().iterdir()}
    result = dmx(line)
    assert result.exit_code == 2
    assert message in " ".join(result.stderr.replace("│", "").split())
    assert isinstance(result.exception, SystemExit)
    assert {path.name: path.read_bytes() for path in Path().iterdir() if path.is_file()} == before


def test_matrices_without_an_inverse_make_the_exit_code_one(dmx) -> None:
    write_matrices("a.mx", np.stack([np.eye(2), np.zeros((2, 2))]))
    assert dmx("dmxinvert --inputmx a.mx --inverseout x.mx --invert_mode numpy").exit_code == 1
    X = read_matrices("x.mx", allow_nonfinite=True)
    np.testing.assert_allclose(X[0], np.eye(2))
    assert np.isnan(X[1]).all()


def test_a_network_of_one_linear_layer(dmx) -> None:
    result = dmx("dmxtrain --msize 2 --nmx_samples 32 --epochs 1 --batch_size 16 --nunits 8 --nlayers 0 --arch mlp")
    assert result.exit_code == 0
    (model,) = Path().glob("model_*")
    assert load_network(model).config.depth == 0
