"""`neuralinv invert`: certified by default, honest about what it cannot do."""

import csv
import sys
from pathlib import Path

import numpy as np
import pytest

SINGULAR = np.array([[1.0, 2, 3], [2, 4, 6], [0, 1, 1]])


def test_inverts_with_the_packaged_network_before_anything_was_trained(neuralinv, matrices: Path) -> None:
    result = neuralinv("invert", matrices)
    assert result.exit_code == 0
    assert "CERTIFIED 200" in result.stdout
    assert "matrices/s" in result.stdout
    X = np.load(matrices.with_name("matrices_inverses.npy"))
    np.testing.assert_allclose(X, np.linalg.inv(np.load(matrices)), rtol=0, atol=1e-4)


def test_inverts_with_a_trained_network_and_writes_everything_asked_for(neuralinv, matrices, trained, tmp_path) -> None:
    A = np.load(matrices)
    np.save(tmp_path / "true.npy", np.linalg.inv(A))
    out, plot, table = tmp_path / "o" / "x.mx", tmp_path / "plot.png", tmp_path / "table.csv"
    result = neuralinv(
        "invert", matrices, "--model", trained, "--out", out, "--target", tmp_path / "true.npy",
        "--plot", plot, "--report", table,
    )  # fmt: skip
    assert result.exit_code == 0
    assert "R² 1.000000" in result.stdout
    assert "MAE" in result.stdout
    assert plot.read_bytes().startswith(b"\x89PNG")
    rows = list(csv.DictReader(table.open()))
    assert len(rows) == 200
    assert {row["status"] for row in rows} == {"CERTIFIED"}
    assert {row["source"] for row in rows} <= {"PROPOSED", "REFINED", "FALLBACK"}
    assert all(float(row["error_bound"]) <= 1e-5 for row in rows)
    assert out.read_text().count("END\n") == 200


def test_matrices_without_an_inverse_are_listed_and_make_the_exit_code_one(neuralinv, tmp_path) -> None:
    A = np.stack([np.eye(3), SINGULAR])
    np.save(tmp_path / "a.npy", A)
    result = neuralinv("invert", tmp_path / "a.npy")
    assert result.exit_code == 1
    assert "SINGULAR at [1]" in result.stdout
    X = np.load(tmp_path / "a_inverses.npy")
    np.testing.assert_allclose(X[0], np.eye(3), atol=1e-5)
    assert np.isnan(X[1]).all()


def test_on_singular_error_writes_nothing(neuralinv, tmp_path) -> None:
    np.save(tmp_path / "a.npy", SINGULAR)
    result = neuralinv("invert", tmp_path / "a.npy", "--on-singular", "error")
    assert result.exit_code == 1
    assert "nothing was written" in result.stdout
    assert {path.name for path in tmp_path.iterdir()} == {"a.npy"}


def test_on_singular_pinv_writes_the_pseudo_inverse(neuralinv, tmp_path) -> None:
    np.save(tmp_path / "a.npy", SINGULAR)
    assert neuralinv("invert", tmp_path / "a.npy", "--on-singular", "pinv").exit_code == 1
    np.testing.assert_allclose(np.load(tmp_path / "a_inverses.npy")[0], np.linalg.pinv(SINGULAR), atol=1e-12)


def test_raw_gives_the_networks_own_answer(neuralinv, matrices, trained, tmp_path) -> None:
    import neuralinv as ni

    result = neuralinv("invert", matrices, "--model", trained, "--raw", "--out", tmp_path / "raw.npy")
    assert result.exit_code == 0
    assert "unchecked" in result.stdout
    np.testing.assert_allclose(
        np.load(tmp_path / "raw.npy"), ni.learned.load(trained).propose(np.load(matrices)), rtol=1e-6
    )


@pytest.mark.parametrize("n", [1, 2, 4, 7])
def test_any_size_is_inverted_and_the_format_follows_the_suffix(neuralinv, tmp_path, n: int) -> None:
    A = np.random.default_rng(n).uniform(-1, 1, size=(4, n, n)) + n * np.eye(n)
    np.save(tmp_path / "a.npy", A)
    result = neuralinv("invert", tmp_path / "a.npy", "--out", tmp_path / "x.npz")
    assert result.exit_code == 0
    np.testing.assert_allclose(np.load(tmp_path / "x.npz")["matrices"] @ A, np.eye(n) + 0 * A, atol=1e-4)


def test_float32_stays_float32(neuralinv, tmp_path) -> None:
    np.save(tmp_path / "a.npy", np.eye(3, dtype=np.float32)[None])
    assert neuralinv("invert", tmp_path / "a.npy", "--model", "exact").exit_code == 0
    assert np.load(tmp_path / "a_inverses.npy").dtype == np.float32


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere.npy"], "no such file"),
        (["{a}", "--model", "nowhere"], "no such network"),
        (["{a}", "--out", "x.xlsx"], "unknown format '.xlsx'"),
        (["{a}", "--out", "{a}/x.npy"], "not a folder"),
        (["{a}", "--plot", "p.png"], "--target"),
        (["{a}", "--raw", "--report", "t.csv"], "--raw makes none"),
        (["{a}", "--raw", "--model", "exact"], "--model exact"),
        (["{a}", "--raw", "--model", "2x2"], "inverts 2×2 matrices and INPUT holds"),
        (["{a}", "--rtol", "7"], "rtol=7"),
        (["{a}", "--target", "{b}"], "shape"),
        (["{nan}"], "finite"),
        (["{c}", "--model", "3x3"], "networks invert real matrices"),
        (["{c}", "--raw"], "--raw asks for a network's answer: real"),
        (["{c}", "--out", "{c}.csv"], "holds real numbers only"),
        (["{a}", "--out", "x.mtx"], "holds one matrix"),
        (["{a}", "--device", "abacus"], "device 'abacus' cannot be used"),
        (["{a}", "--device", "meta"], "device 'meta' cannot be used"),
        (["{a}", "--device", "hpu"], "device 'hpu' cannot be used"),
        (["{a}", "--device", "abacus", "--model", "exact"], "is where a network goes, and none is used here"),
        (["{c}", "--device", "cuda"], "is where a network goes, and none is used here"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_mistakes_are_told_in_a_line_and_exit_with_two(neuralinv, matrices, tmp_path, arguments, message) -> None:
    np.save(tmp_path / "b.npy", np.eye(2)[None])
    np.save(tmp_path / "nan.npy", np.full((1, 3, 3), np.nan))
    np.save(tmp_path / "c.npy", np.full((1, 3, 3), 1j))
    before = {path.name for path in tmp_path.iterdir()}
    names = {"a": matrices, "b": tmp_path / "b.npy", "nan": tmp_path / "nan.npy", "c": tmp_path / "c.npy"}
    result = neuralinv("invert", *(argument.format(**names) for argument in arguments))
    assert result.exit_code == 2
    assert message in " ".join(result.stderr.split())
    assert "Traceback" not in result.stderr
    assert {path.name for path in tmp_path.iterdir()} == before


def test_complex_matrices_go_through_the_exact_kernel(neuralinv, tmp_path) -> None:
    A = np.eye(3) * np.array([1 + 1j, 2, 4j])[:, None, None]
    np.save(tmp_path / "c.npy", A)
    assert neuralinv("invert", tmp_path / "c.npy").exit_code == 0
    np.testing.assert_allclose(np.load(tmp_path / "c_inverses.npy"), np.linalg.inv(A), rtol=1e-14)


def test_what_cannot_be_written_is_found_before_the_work(neuralinv, matrices, tmp_path, monkeypatch) -> None:
    module = sys.modules["neuralinv.cli.invert"]
    monkeypatch.setattr(module, "certified_inv", lambda *_, **__: pytest.fail("worked in vain"))
    result = neuralinv("invert", matrices, "--out", tmp_path / "x.xyz")
    assert result.exit_code == 2
    assert "unknown format '.xyz'" in result.stderr


@pytest.mark.parametrize("kinds", ["complex against complex", "real against complex"])
def test_targets_are_compared_in_absolute_value(neuralinv, tmp_path, kinds: str) -> None:
    random = np.random.default_rng(0)
    A = random.normal(size=(20, 3, 3)) + 3 * np.eye(3) + 0j
    if kinds.startswith("complex"):
        A += 1j * random.normal(size=A.shape)
    X = np.linalg.inv(A)
    target = X * 1.1j
    np.save(tmp_path / "a.npy", A if kinds.startswith("complex") else A.real)
    np.save(tmp_path / "t.npy", target)
    result = neuralinv("invert", tmp_path / "a.npy", "--model", "exact", "--target", tmp_path / "t.npy",
                       "--plot", tmp_path / "p.png")  # fmt: skip
    assert result.exit_code == 0
    error = np.abs(X - target)
    assert f"R² {1 - np.mean(error**2) / np.var(target):.6f}" in result.stdout
    assert f"MSE {np.mean(error**2):.3e}" in result.stdout
    assert f"MAE {error.mean():.3e}" in result.stdout
