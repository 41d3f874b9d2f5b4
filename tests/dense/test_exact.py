"""`inv`, `solve` and `slogdet`: LAPACK's answers in the caller's kind of array."""

import numpy as np
import pytest
import torch

import neuralinv as ni
from neuralinv.testing import check_inverse, inverse_cases

DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.complex64, torch.complex128]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_inv_conforms(dtype: torch.dtype) -> None:
    check_inverse(ni.inv, dtype)


def test_numpy_in_numpy_out() -> None:
    for case in inverse_cases(torch.float32):
        A = case.A.numpy()
        X = ni.inv(A)
        assert isinstance(X, np.ndarray)
        assert X.dtype == np.float32
        np.testing.assert_allclose(X, np.linalg.inv(A), rtol=2e-4, atol=1e-5 * np.abs(X).max(initial=1e-30))


def test_integers_become_float64_as_in_numpy() -> None:
    X = ni.inv(np.array([[2, 0], [0, 4]]))
    assert X.dtype == np.float64
    np.testing.assert_array_equal(X, [[0.5, 0], [0, 0.25]])


def test_views_that_torch_cannot_share() -> None:
    A = np.random.default_rng(0).normal(size=(4, 3, 3))
    for view in (A[::-1], A[:, ::-1], A.astype(">f8")):
        np.testing.assert_allclose(ni.inv(view), np.linalg.inv(view), rtol=1e-10)
    A.flags.writeable = False
    np.testing.assert_allclose(ni.inv(A), np.linalg.inv(A), rtol=1e-10)


@pytest.mark.parametrize(
    ("kind", "error"), [(np.asarray, np.linalg.LinAlgError), (torch.tensor, torch.linalg.LinAlgError)]
)
def test_singular_matrices_raise_the_callers_error(kind, error) -> None:
    A = kind([[[1.0, 2.0], [3.0, 4.0]], [[1.0, 2.0], [2.0, 4.0]]])
    with pytest.raises(error, match=r"batch element \(1,\)\): pivot 2 .* exactly zero"):
        ni.inv(A)
    with pytest.raises(error, match="Singular"):
        ni.solve(A, kind([[[1.0], [2.0]]]))
    assert list(ni.slogdet(A).sign) == [-1, 0]
    assert ni.slogdet(A).logabsdet[1] == -np.inf


@pytest.mark.parametrize("function", [ni.inv, ni.slogdet, ni.certified_inv])
@pytest.mark.parametrize("shape", [(3,), (2, 3), (5, 2, 3), ()])
def test_shapes_that_are_no_square_matrices(function, shape) -> None:
    with pytest.raises(ValueError, match=r"expected .*square"):
        function(torch.zeros(shape))


@pytest.mark.parametrize("bad", [np.array(["a"]), np.array([[1, 2], [3, 4]], dtype=object), "text"])
def test_arrays_that_are_no_numbers(bad) -> None:
    with pytest.raises(TypeError, match="dtype"):
        ni.inv(bad)


def test_tensors_that_are_not_dense_floats() -> None:
    with pytest.raises(TypeError, match="sparse tensor"):
        ni.certified_inv(torch.eye(2).to_sparse())
    with pytest.raises(TypeError, match="float8"):
        ni.inv(torch.eye(2).to(torch.float8_e4m3fn))


def test_fields_of_structured_arrays() -> None:
    A = np.zeros(3, dtype=[("a", "f4"), ("b", "f8", (2, 2))])["b"]
    A[:] = np.eye(2) * 4
    np.testing.assert_array_equal(ni.inv(A)[2], np.eye(2) / 4)


def test_integer_tensors_are_refused_as_in_torch() -> None:
    with pytest.raises(TypeError, match=r"torch\.int64"):
        ni.inv(torch.eye(2, dtype=torch.int64))


def test_solve_follows_each_librarys_rule_for_vectors() -> None:
    rng = np.random.default_rng(1)
    A, vector, several = rng.normal(size=(5, 3, 3)), rng.normal(size=3), rng.normal(size=(5, 3, 2))
    np.testing.assert_allclose(ni.solve(A, vector), np.linalg.solve(A, vector), rtol=1e-10)
    np.testing.assert_allclose(ni.solve(A, several), np.linalg.solve(A, several), rtol=1e-10)
    TA, Tb = torch.from_numpy(A), torch.from_numpy(rng.normal(size=(5, 3)))
    torch.testing.assert_close(ni.solve(TA, Tb), torch.linalg.solve(TA, Tb))


@pytest.mark.parametrize(
    ("a", "b"), [((2, 2, 2), (2, 2)), ((2, 2), (2, 5)), ((3, 0, 0), (0, 2)), ((4, 1, 2, 2), (3, 2, 1)), ((2, 2), (2,))]
)
def test_solve_has_numpys_shapes(a, b) -> None:
    rng = np.random.default_rng(0)
    A, rhs = rng.normal(size=a), rng.normal(size=b)
    for kind in (np.asarray, np.ndarray.tolist):
        if 0 not in a:
            np.testing.assert_allclose(ni.solve(kind(A), rhs), np.linalg.solve(A, rhs), rtol=1e-9)
    assert ni.solve(A, rhs).shape == np.linalg.solve(A, rhs).shape


@pytest.mark.parametrize(("a", "b"), [((3, 2, 2), (3, 2)), ((2, 2), (3,)), ((2, 2, 2), (3, 2, 1))])
def test_solve_refuses_what_numpy_refuses(a, b) -> None:
    with pytest.raises(ValueError, match=r"shape|mismatch"):
        np.linalg.solve(np.ones(a), np.ones(b))
    with pytest.raises(ValueError, match=r"expected b of \(n,\) or"):
        ni.solve(np.ones(a) + np.eye(2), np.ones(b))


def test_slogdet_matches_numpy() -> None:
    A = np.random.default_rng(2).normal(size=(6, 4, 4)) + 1j * np.random.default_rng(3).normal(size=(6, 4, 4))
    ours, theirs = ni.slogdet(A), np.linalg.slogdet(A)
    np.testing.assert_allclose(ours.sign, theirs.sign, rtol=1e-12)
    np.testing.assert_allclose(ours.logabsdet, theirs.logabsdet, rtol=1e-12)


def test_gradients() -> None:
    A = (
        torch.rand(2, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) + torch.eye(3)
    ).requires_grad_()
    b = torch.ones(2, 3, 1, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(ni.inv, A)
    assert torch.autograd.gradgradcheck(ni.inv, A)
    assert torch.autograd.gradcheck(ni.solve, (A, b))
    assert torch.autograd.gradcheck(lambda A: ni.slogdet(A).logabsdet, A)


@pytest.mark.parametrize("assume_a", ["gen", "pos"])
@pytest.mark.parametrize("solve", [ni.solve, ni.solve_ex])
@pytest.mark.parametrize("devices", [("cpu", "meta"), ("meta", "cpu")])
def test_systems_lie_on_one_device(devices, solve, assume_a) -> None:
    A, b = torch.eye(3, device=devices[0]), torch.ones(3, 2, device=devices[1])
    with pytest.raises(RuntimeError, match=f"A is on {devices[0]} and b on {devices[1]}") as caught:
        solve(A, b, assume_a=assume_a)
    assert isinstance(caught.value, ValueError)
