import shutil
import sys

import numpy as np
import pytest

from neuralinv.io import FileError, read_matrices, read_parameters
from neuralinv.learned import load


def test_a_family_is_fitted_and_its_matrices_inverted(neuralinv, tmp_path):
    out = tmp_path / "run"
    done = neuralinv(
        "fit", "--family", "poisson", "--size", 6, "--rtol", 1e-5, "--snapshots", 128, "--samples", 20, "--out", out
    )
    assert done.exit_code == 0, done.output
    assert "100 % of 128 unseen matrices certify" in done.stdout
    assert sorted(p.name for p in out.iterdir()) == [
        "config.toml",
        "matrices.npy",
        "parameters.npy",
        "parametric.safetensors",
    ]
    inverted = neuralinv(
        "invert",
        out / "matrices.npy",
        "--model",
        out,
        "--parameters",
        out / "parameters.npy",
        "--out",
        tmp_path / "x.npy",
    )
    assert inverted.exit_code == 0, inverted.output
    assert "CERTIFIED 20" in inverted.stdout
    assert "FALLBACK" not in inverted.stdout
    A, X = read_matrices(out / "matrices.npy"), read_matrices(tmp_path / "x.npy")
    np.testing.assert_allclose(A @ X, np.broadcast_to(np.eye(6), A.shape), atol=1e-3)


def test_random_vectors_and_projections(neuralinv, tmp_path):
    out = tmp_path / "run"
    done = neuralinv(
        "fit", "--family", "poisson", "--size", 6, "--rtol", 1e-4, "--snapshots", 128, "--samples", 20, "--out", out,
        "--certificate", "probabilistic", "--coefficients", "projection",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert "correction of order 1" in done.stdout
    assert 'coefficients = "projection"' in (out / "config.toml").read_text()
    arguments = ("invert", out / "matrices.npy", "--certificate", "probabilistic")
    inverted = neuralinv(*arguments, "--model", out, "--parameters", out / "parameters.npy")
    assert inverted.exit_code == 0, inverted.output
    assert "PROPOSED 20" in inverted.stdout
    assert "each bound wrong with a probability of at most 1e-10" in inverted.stdout
    wrong = neuralinv(*arguments)
    assert wrong.exit_code == 2
    assert "--certificate goes with --parameters" in wrong.stderr
    for option in (("--rtol", 1e-8), ("--on-singular", "pinv"), ("--device", "cuda")):
        wrong = neuralinv(*arguments, "--model", out, "--parameters", out / "parameters.npy", *option)
        assert wrong.exit_code == 2
        assert "leave out --rtol" in " ".join(wrong.stderr.replace("│", "").split())


def test_own_arrays_real_and_complex(neuralinv, tmp_path):
    random = np.random.default_rng(0)
    B = random.normal(size=(4, 4)) + 1j * random.normal(size=(4, 4))
    theta = random.uniform(-0.1, 0.1, size=200)
    np.save(tmp_path / "a.npy", np.eye(4) + theta[:, None, None] * B)
    np.savetxt(tmp_path / "theta.csv", theta)
    done = neuralinv(
        "fit", "--matrices", tmp_path / "a.npy", "--parameters", tmp_path / "theta.csv", "--dtype", "complex128",
        "--out", tmp_path / "run",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    arguments = ("invert", tmp_path / "a.npy", "--model", tmp_path / "run", "--parameters", tmp_path / "theta.csv")
    done = neuralinv(*arguments)
    assert done.exit_code == 0, done.output
    assert "CERTIFIED 200" in done.stdout
    np.save(tmp_path / "a.npy", np.load(tmp_path / "a.npy").astype(np.complex64))
    wrong = neuralinv(*arguments)
    assert wrong.exit_code == 2
    assert "the matrices are complex64 and the fit is for complex128" in wrong.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "fit a --family, or --matrices"),
        (["--family", "rbf", "--matrices", "a.npy"], "fit a --family, or --matrices"),
        (["--family", "poisson", "--cells", "9" * 5000], "expected auto or a whole number"),
        (["--family", "poisson", "--seed", 2**70], "9223372036854775807"),
        (["--family", "poisson", "--size", 4, "--snapshots", 2**40], "at most 1073741824 points"),
        (["--family", "gaussian"], "draws each matrix anew"),
        (["--family", "unknown"], "unknown family"),
        (["--family", "rbf", "--dtype", "int8"], "known are float32"),
        (["--family", "rbf", "--set", "x=1"], "has no parameter 'x'"),
        (["--family", "mimo", "--size", 3, "--dtype", "float32"], "asked for in torch.float32"),
        (["--family", "rbf", "--set", "dimension=1e30"], "dimension = 1e+30: expected a whole number"),
        (["--matrices", "a.npy", "--parameters", "b.npy", "--samples", 3], "go with --family"),
        (["--matrices", "a.npy", "--parameters", "b.npy", "--size", 8], "go with --family"),
        (["--matrices", "a.npy", "--parameters", "b.npy", "--size", 64], "go with --family"),
        (["--matrices", "a.npy", "--parameters", "b.npy", "--snapshots", 512], "go with --family"),
        (["--family", "helmholtz", "--size", 1, "--set", "absorption=-1"], "absorption = -1"),
    ],
)
def test_mistakes_exit_with_2(neuralinv, tmp_path, arguments, message):
    result = neuralinv("fit", *arguments, "--out", tmp_path / "run")
    assert result.exit_code == 2
    assert message in " ".join(result.stderr.replace("│", " ").split())
    assert not list(tmp_path.glob("run/*"))


FIT = ("fit", "--family", "ridge", "--size", 4, "--snapshots", 32, "--rtol", 1e-2)


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@pytest.mark.parametrize("overwrite", [(), ("--overwrite",)])
def test_a_network_is_never_replaced(neuralinv, trained, tmp_path, monkeypatch, overwrite):
    out = tmp_path / "net"
    shutil.copytree(trained, out)
    before = contents(out)
    monkeypatch.setattr(sys.modules["neuralinv.cli.fit"], "get_family", None)  # before any work
    result = neuralinv(*FIT, "--out", out, *overwrite)
    assert result.exit_code == 2
    assert f"{out}: holds a network already; pass another --out" in " ".join(result.stderr.split())
    assert contents(out) == before
    load(out)


def test_a_fit_is_replaced_only_when_asked(neuralinv, tmp_path, monkeypatch):
    out = tmp_path / "run"
    assert neuralinv(*FIT, "--samples", 5, "--out", out).exit_code == 0
    (out / "notes.txt").write_text("mine")
    before = contents(out)
    with monkeypatch.context() as patch:
        patch.setattr(sys.modules["neuralinv.cli.fit"], "get_family", None)
        result = neuralinv(*FIT, "--out", out)
    assert result.exit_code == 2
    assert "holds a fit already; pass --overwrite or another --out" in " ".join(result.stderr.split())
    # An error leaves everything where it was.
    assert neuralinv(*FIT, "--set", "x=1", "--overwrite", "--out", out).exit_code == 2
    assert contents(out) == before
    assert neuralinv(*FIT, "--seed", 1, "--overwrite", "--out", out).exit_code == 0
    assert sorted(contents(out)) == ["config.toml", "notes.txt", "parametric.safetensors"]
    assert contents(out)["parametric.safetensors"] != before["parametric.safetensors"]
    assert neuralinv(*FIT, "--samples", 3, "--overwrite", "--out", out).exit_code == 0
    assert len(read_matrices(out / "matrices.npy")) == len(read_parameters(out / "parameters.npy")) == 3


def test_a_user_s_arrays_beside_a_fit_stay(neuralinv, tmp_path):
    random = np.random.default_rng(0)
    theta = random.uniform(1, 2, size=(60, 1))
    np.save(tmp_path / "matrices.npy", theta[:, :, None] * np.eye(2))
    np.save(tmp_path / "parameters.npy", theta)
    before = contents(tmp_path)
    own = ("fit", "--matrices", tmp_path / "matrices.npy", "--parameters", tmp_path / "parameters.npy")
    assert neuralinv(*own, "--out", tmp_path).exit_code == 0
    assert neuralinv(*own, "--overwrite", "--out", tmp_path).exit_code == 0
    assert neuralinv(*FIT, "--overwrite", "--out", tmp_path).exit_code == 0
    assert before.items() <= contents(tmp_path).items()
    # Nor those that a fit of a family wrote, and that are fitted now.
    out = tmp_path / "run"
    assert neuralinv(*FIT, "--samples", 40, "--out", out).exit_code == 0
    samples = ("--matrices", out / "matrices.npy", "--parameters", out / "parameters.npy")
    assert neuralinv("fit", *samples, "--rtol", 1e-2, "--overwrite", "--out", out).exit_code == 0
    assert len(read_matrices(out / "matrices.npy")) == 40


def test_parameters_need_a_fit(neuralinv, matrices, tmp_path):
    np.save(tmp_path / "theta.npy", np.zeros((200, 2)))
    result = neuralinv("invert", matrices, "--parameters", tmp_path / "theta.npy")
    assert result.exit_code == 2
    assert "goes with --model" in " ".join(result.stderr.replace("│", " ").split())


def header(shape: str) -> bytes:
    """A `.npy` file that promises an array of this shape, and holds nothing."""
    text = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.npy", None, "no such file"),
        ("a.txt", "1 2", "read from .npy and .csv"),
        ("a.csv", "1,x", "no table of numbers"),
        ("a.csv", "1,nan", "NaN or infinity"),
        ("a.npy", "no array", "not a NumPy file"),
        ("a.npy", np.zeros((2, 2, 2)), r"expected \(rows, columns\)"),
        ("a.npy", np.zeros((2, 2), complex), "expected real numbers"),
        ("a.npy", np.array([{}], object), "holds object, not numbers"),
        ("a.npy", np.array([2**53 + 1]), "whole number 9007199254740993, which float64 rounds"),
        ("a.npy", "PK\x03\x04 nothing", "not a NumPy file"),
        ("a.npy", header("((((("), "not a NumPy file"),
        ("a.npy", header("(18446744073709551616, 1)"), "where the header promises"),
        ("a.npy", header("(True, 1, 1)"), r"expected \(rows, columns\)"),
        ("a.npy", header("(1000000000, 1000000)"), "0 bytes of data where the header promises"),
        ("a.csv", "", "holds no number"),
    ],
)
def test_bad_parameter_files(tmp_path, name, content, message):
    path = tmp_path / name
    if isinstance(content, str):
        path.write_text(content)
    elif isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        np.save(path, content)
    with pytest.raises(FileError, match=message):
        read_parameters(path)
