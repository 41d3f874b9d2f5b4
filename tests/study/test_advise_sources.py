"""What advice is asked on: every kind of input gives the same matrices, and every bad one a clear error."""

import resource
from pathlib import Path

import numpy as np
import pytest
import torch

import neuralinv as ni
from neuralinv.io import FileError
from neuralinv.study.advise.sample import draw_sample, sample_indices
from neuralinv.study.advise.source import open_source

N = 4


def stack(count: int = 40, n: int = N) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(count, n, n)) + n * np.eye(n)


def test_all_kinds_of_arrays_are_the_same_sample(tmp_path: Path) -> None:
    A = stack()
    np.save(tmp_path / "a.npy", A)
    np.save(tmp_path / "swapped.npy", A.astype(">f8"))
    np.savez(tmp_path / "a.npz", A)
    given = [
        A, torch.from_numpy(A), list(A), A.tolist(), tmp_path / "a.npy", str(tmp_path / "a.npz"),
        tmp_path / "swapped.npy", A.reshape(8, 5, N, N), np.asfortranarray(A), torch.from_numpy(A).reshape(4, 10, N, N),
    ]  # fmt: skip
    expected = draw_sample(open_source(A), count=10, seed=3).matrices
    assert len(expected) == 10
    for matrices in given:
        source = open_source(matrices)
        assert (source.total, source.size, source.dtype) == (40, N, torch.float64)
        assert torch.equal(draw_sample(source, count=10, seed=3).matrices, expected)


def test_another_seed_draws_others() -> None:
    source = open_source(stack())
    one, other = (draw_sample(source, count=10, seed=seed).matrices for seed in (0, 1))
    assert not torch.equal(one, other)


def test_parameters_stay_with_their_matrices() -> None:
    theta = np.linspace(1, 2, 100)
    source = open_source(lambda t: t[:, :, None] * torch.eye(3, dtype=torch.float64), theta)
    sample = draw_sample(source, count=20)
    assert sample.parameters is not None
    assert torch.equal(sample.matrices[:, 0, 0], sample.parameters[:, 0])


def test_a_path_is_consecutive_along_the_first_axis() -> None:
    A = np.zeros((30, 2, N, N)) + np.arange(30)[:, None, None, None] + np.array([0, 100])[:, None, None]
    path = draw_sample(open_source(A)).path
    assert path is not None
    assert path.shape == (12, 2, N, N)
    assert torch.equal(path[1:] - path[:-1], torch.ones(11, 2, N, N, dtype=torch.float64))
    assert torch.equal(path[:, 1] - path[:, 0], torch.full((12, N, N), 100.0, dtype=torch.float64))
    assert draw_sample(open_source(A[:11])).path is None


def test_large_matrices_are_sampled_sparingly() -> None:
    assert len(sample_indices(10**9, 4)) == 256
    assert len(sample_indices(10**9, 512)) == 8
    assert len(sample_indices(3, 4)) == 3
    assert (np.diff(sample_indices(10**9, 4)) > 0).all()


def sparse_file(path: Path, total: int, n: int) -> None:
    """Write a file of ``total`` zero matrices that takes hardly any room, with random ones where advice looks."""
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f8", "fortran_order": False, "shape": (total, n, n)})
        start, size = file.tell(), n * n * 8
        for index in sample_indices(total, n).tolist():
            file.seek(start + index * size)
            file.write((np.random.default_rng(index).normal(size=(n, n)) + n * np.eye(n)).tobytes())
        file.truncate(start + total * size)


def test_ten_gigabytes_are_sampled_without_being_read(tmp_path: Path) -> None:
    path = tmp_path / "large.npy"
    total, n = 20_000_000, 8
    sparse_file(path, total, n)
    assert path.stat().st_size > 10e9
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    advice = ni.advise(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000  # kB
    assert advice.properties.total == total
    assert (advice.properties.sampled, advice.properties.singular) == (256, 0)
    assert advice.recommended.name in ("exact", "certified")


def test_one_matrix() -> None:
    advice = ni.advise(stack(1)[0])
    assert advice.recommended.name == "exact"
    assert not advice.train
    assert not any(option.possible for option in advice.options if option.trained)
    assert any("1 invertible matrix says nothing" in warning for warning in advice.warnings)
    assert ni.advise([[2.0]]).properties.size == 1


@pytest.mark.parametrize("count", [1, 40])
def test_only_singular_matrices(count: int) -> None:
    advice = ni.advise(np.ones((count, N, N)))
    assert advice.properties.singular == count
    assert advice.properties.condition is None
    assert advice.recommended.name == "certified"
    assert any("are singular in double precision" in warning for warning in advice.warnings)
    assert [o.name for o in advice.options if o.possible and o.name != "nothing"] == ["certified"]


def test_some_singular_matrices_leave_the_certified_kernel() -> None:
    A = stack()
    A[7] = 0
    advice = ni.advise(A)
    assert advice.properties.singular == 1
    assert advice.recommended.name == "certified"
    exact = next(option for option in advice.options if option.name == "exact")
    assert exact.reason == "1 of the matrices looked at are singular."


def test_nan_is_left_out_and_told() -> None:
    A = stack()
    A[3, 1, 1] = np.nan
    A[9, 0, 0] = np.inf
    advice = ni.advise(A)
    assert advice.properties.nonfinite == 2
    assert advice.properties.singular == 0
    assert any("2 of the 40 matrices looked at hold NaN or infinity" in warning for warning in advice.warnings)
    with pytest.raises(ValueError, match="all 40 matrices that were looked at hold NaN"):
        ni.advise(np.full((40, N, N), np.nan))


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "complex64", "complex128", "int32"])
def test_every_dtype_gets_advice(dtype: str) -> None:
    A = (4 * stack()).astype(dtype)
    advice = ni.advise(A)
    assert advice.properties.dtype == ("float64" if dtype == "int32" else dtype)
    assert advice.recommended.prediction is not None


BAD = [
    (np.zeros((5, 3, 4)), None, "last 2 dimensions must be square"),
    (np.zeros(3), None, "at least two-dimensional"),
    (np.zeros((0, 3, 3)), None, "holds none"),
    ([np.eye(3), np.eye(3), np.eye(4)], None, r"mixed sizes: \(3, 3\) at position 0 and \(4, 4\) at position 2"),
    (lambda t: t, None, "a function comes with parameters"),
    (stack(), np.zeros((7, 2)), "7 rows of parameters for 40 matrices"),
    (stack(), np.full((40, 2), np.nan), r"row 0 \(counted from 0\) holds NaN"),
    (stack(), np.array(["a"] * 40), "expected real numbers"),
    (lambda t: np.eye(3), np.zeros((5, 1)), r"returned shape \(3, 3\) for parameters of shape"),
    (lambda t: "no", np.zeros((5, 1)), "returned str; expected an array"),
    (
        lambda t: torch.eye(3 if len(t) == 1 else 4).repeat(len(t), 1, 1),
        np.zeros((5, 1)),
        r"torch\.float32 matrices of size 4 .* of size 3 before; expected one size",
    ),
]


@pytest.mark.parametrize(("matrices", "parameters", "message"), BAD)
def test_bad_input(matrices: object, parameters: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ni.advise(matrices, parameters)


def test_a_function_that_raises_is_named_with_its_parameters() -> None:
    def broken(theta: torch.Tensor) -> torch.Tensor:
        raise KeyError("nothing here")

    with pytest.raises(ValueError, match=r"raised KeyError for parameters .* begin with \(2, 3\): 'nothing here'"):
        ni.advise(broken, [[2.0, 3.0]] * 20)


def test_wrong_dtypes() -> None:
    with pytest.raises(TypeError, match="dtype"):
        ni.advise(np.array([["a", "b"], ["c", "d"]]))
    with pytest.raises(TypeError, match="floating-point or complex tensor"):
        ni.advise(torch.ones(5, 3, 3, dtype=torch.int64))
    with pytest.raises(TypeError, match=r"what the function returned has dtype torch\.int64"):
        ni.advise(lambda t: torch.ones(len(t), 3, 3, dtype=torch.int64), np.zeros((5, 1)))
    meta = torch.ones(5, 3, 3, device="meta")
    for matrices in (meta, list(meta)):
        with pytest.raises(TypeError, match="matrices is a meta tensor"):
            ni.advise(matrices)
    with pytest.raises(TypeError, match="parameters is a meta tensor"):
        ni.advise(stack(5), meta[:, 0])
    with pytest.raises(TypeError, match="calibration is str; expected what neuralinv"):
        ni.advise(stack(), calibration="x")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rtol": 2.0}, "between 0 and 1"),
        ({"count": 0}, "count=0"),
        ({"count": 2.5}, r"count=2\.5"),
        ({"seed": -1}, "seed=-1: expected a whole number"),
        ({"seed": 0.5}, r"seed=0\.5"),
        ({"budget": 0.0}, "positive number of seconds"),
    ],
)
def test_bad_arguments(arguments: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ni.advise(stack(), **arguments)


def test_bad_files(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="no such file"):
        ni.advise(tmp_path / "none.npy")
    np.save(tmp_path / "flat.npy", np.zeros(5))
    with pytest.raises(FileError, match="square"):
        ni.advise(tmp_path / "flat.npy")
    np.save(tmp_path / "cut.npy", stack())
    with (tmp_path / "cut.npy").open("r+b") as file:
        file.truncate(1000)
    with pytest.raises(FileError, match="where the header promises"):
        ni.advise(tmp_path / "cut.npy")
    np.save(tmp_path / "objects.npy", np.array([object()]), allow_pickle=True)
    with pytest.raises(FileError, match="not numbers"):
        ni.advise(tmp_path / "objects.npy")
