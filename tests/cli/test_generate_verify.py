import numpy as np
import pytest

from neuralinv.families import FAMILIES
from neuralinv.io import read_matrices, write_matrices

NAMES = ("matrices", "inverses", "singular", "pseudoinverses")


@pytest.mark.parametrize("suffix", ["mx", "npy", "npz", "csv"])
@pytest.mark.parametrize("size", [1, 3])
def test_what_is_generated_verifies(neuralinv, tmp_path, suffix, size):
    out = tmp_path / "data"
    done = neuralinv(
        "generate", "--size", size, "--count", 200, "--min-abs-det", 0.1, "--format", suffix, "--seed", 3, "--out", out
    )
    assert done.exit_code == 0, done.output
    assert sorted(path.name for path in out.iterdir()) == sorted(f"{name}.{suffix}" for name in NAMES)
    A = read_matrices(out / f"matrices.{suffix}")
    assert A.shape == (200, size, size)
    assert np.abs(A).max() <= 1
    assert np.abs(np.linalg.det(A)).min() > 0.1
    for name in NAMES:
        assert name in done.stdout

    paths = [out / f"{name}.{suffix}" for name in NAMES]
    checked = neuralinv("verify", *paths[:2])
    assert checked.exit_code == 0, checked.output
    assert "200 inverses" in checked.stdout
    checked = neuralinv("verify", *paths[2:], "--singular")
    assert checked.exit_code == 0, checked.output
    assert neuralinv("verify", *paths[2:]).exit_code == 1


def test_the_seed_decides(neuralinv, tmp_path):
    for out, seed in (("a", 0), ("b", 0), ("c", 1)):
        assert neuralinv("generate", "--count", 50, "--seed", seed, "--out", tmp_path / out).exit_code == 0
    a, b, c = ((tmp_path / out / "matrices.npy").read_bytes() for out in "abc")
    assert a == b != c


@pytest.mark.parametrize("family", [name for name in FAMILIES if name != "uniform"])
def test_every_family(neuralinv, tmp_path, family):
    assert neuralinv("generate", "--family", family, "--count", 20, "--out", tmp_path).exit_code == 0
    assert neuralinv("verify", tmp_path / "matrices.npy", tmp_path / "inverses.npy").exit_code == 0
    A = read_matrices(tmp_path / "matrices.npy")
    assert np.iscomplexobj(A) == FAMILIES[family].complex


def test_parameters_and_distance(neuralinv, tmp_path):
    arguments = ("generate", "--family", "rbf", "--size", 5, "--count", 10, "--set", "nugget=0.5", "--out", tmp_path)
    assert neuralinv(*arguments).exit_code == 0
    A = read_matrices(tmp_path / "matrices.npy")
    np.testing.assert_allclose(A.diagonal(axis1=-2, axis2=-1), 1.5)
    assert neuralinv(*arguments, "--distance", 1e-4).exit_code == 0
    np.testing.assert_allclose(np.linalg.cond(read_matrices(tmp_path / "matrices.npy")), 1e4, rtol=1e-6)


def test_one_matrix_market_file(neuralinv, tmp_path):
    assert neuralinv("generate", "--count", 1, "--format", "mtx", "--out", tmp_path).exit_code == 0
    assert neuralinv("verify", tmp_path / "matrices.mtx", tmp_path / "inverses.mtx").exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--family", "unifrom"], "known are uniform"),
        (["--format", "txt"], "known are"),
        (["--format", "mtx"], "holds one matrix"),
        (["--low", 1, "--high", 0], "low < high"),
        (["--min-abs-det", 100], "lower it"),
        (["--size", 0], "size"),
        (["--family", "rbf", "--set", "nugget"], "write name=value"),
        (
            ["--family", "rbf", "--set", "nuget=1"],
            "has no parameter 'nuget'; known are dimension, length_scale, nugget",
        ),
        (["--distance", 2], "distance = 2.0"),
        (["--count", 0], "count"),
        (["--size", 2**63], "1048576"),
        (["--size", 10**6, "--count", 1], "not enough memory"),
        (["--seed", 2**70], "9223372036854775807"),
        (["--low", 1e-310, "--high", 2e-310], "have no inverse"),
        (["--distance", 0, "--count", 20], "have no inverse that double precision can tell, the first at index"),
        (
            ["--family", "conditioned", "--cond", 1e300],
            "matrices have no inverse that double precision can tell",
        ),
        (["--low", 1, "--high", 1.0000000000000002], "have no inverse"),
        (["--low", -1e308, "--high", 1e308], "torch.float64 holds numbers, and differences, of at most 1.8e+308"),
    ],
)
def test_mistakes_exit_with_2_and_write_nothing(neuralinv, tmp_path, arguments, message):
    out = tmp_path / "data"
    result = neuralinv("generate", *arguments, "--out", out)
    assert result.exit_code == 2
    assert message in " ".join(result.stderr.split())
    assert not out.exists()


def test_an_unwritable_folder(neuralinv, tmp_path):
    (tmp_path / "file").write_text("x")
    result = neuralinv("generate", "--count", 5, "--out", tmp_path / "file" / "data")
    assert result.exit_code == 2
    assert "cannot be written" in result.stderr


def test_offenders_are_named(neuralinv, tmp_path):
    A = np.random.default_rng(0).uniform(-1, 1, (30, 3, 3))
    X = np.linalg.inv(A)
    X[[4, 17]] *= 1.01
    X[20] = np.nan
    write_matrices(tmp_path / "a.npy", A)
    write_matrices(tmp_path / "x.npy", X)
    result = neuralinv("verify", tmp_path / "a.npy", tmp_path / "x.npy")
    assert result.exit_code == 1
    assert "3 of 30 inverses fail" in result.stdout
    for index in (4, 17, 20):
        assert f"matrix {index}: relative residual" in result.stdout
    assert "matrix 5:" not in result.stdout


def test_tolerance_is_the_users(neuralinv, tmp_path):
    A = np.random.default_rng(0).uniform(-1, 1, (30, 3, 3))
    write_matrices(tmp_path / "a.mx", A, digits=4)
    write_matrices(tmp_path / "x.mx", np.linalg.inv(A), digits=4)
    assert neuralinv("verify", tmp_path / "a.mx", tmp_path / "x.mx").exit_code == 1
    assert neuralinv("verify", tmp_path / "a.mx", tmp_path / "x.mx", "--tolerance", 1e-3).exit_code == 0


def test_files_that_do_not_belong_together(neuralinv, tmp_path):
    write_matrices(tmp_path / "a.npy", np.ones((2, 3, 3)))
    write_matrices(tmp_path / "b.npy", np.ones((3, 3, 3)))
    (tmp_path / "c.mx").write_text("1,2\n3\nEND\n")
    for name, message in (("b.npy", "expected the same"), ("none.npy", "no such file"), ("c.mx", "line 2: ragged")):
        result = neuralinv("verify", tmp_path / "a.npy", tmp_path / name)
        assert result.exit_code == 2
        assert message in " ".join(result.stderr.split())
        assert "Traceback" not in result.output
