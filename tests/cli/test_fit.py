import numpy as np
import pytest

from neuralinv.io import FileError, read_matrices, read_parameters


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
        (["--family", "poisson", "--size", 4, "--snapshots", 2**40], "not enough memory"),
        (["--family", "gaussian"], "draws each matrix anew"),
        (["--family", "unknown"], "unknown family"),
        (["--family", "rbf", "--dtype", "int8"], "known are float32"),
        (["--family", "rbf", "--set", "x=1"], "has no parameter 'x'"),
        (["--family", "mimo", "--size", 3, "--dtype", "float32"], "asked for in torch.float32"),
        (["--matrices", "a.npy", "--parameters", "b.npy", "--samples", 3], "go with --family"),
        (["--family", "helmholtz", "--size", 1, "--set", "absorption=-1"], "absorption = -1"),
    ],
)
def test_mistakes_exit_with_2(neuralinv, tmp_path, arguments, message):
    result = neuralinv("fit", *arguments, "--out", tmp_path / "run")
    assert result.exit_code == 2
    assert message in " ".join(result.stderr.replace("│", " ").split())
    assert not list(tmp_path.glob("run/*"))


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
