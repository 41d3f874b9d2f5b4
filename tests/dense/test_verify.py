import numpy as np
import pytest
import torch

from neuralinv.dense.verify import check_inverses, check_pseudo_inverses
from neuralinv.families import get_family
from neuralinv.families.singular import pseudo_inverses, singular_matrices


def conditioned(cond: float, count: int = 200, size: int = 3) -> np.ndarray:
    return get_family("conditioned").sample(count, size, generator=torch.Generator().manual_seed(0), cond=cond).numpy()


@pytest.mark.parametrize("cond", [1.0, 1e3, 1e6, 1e10])
@pytest.mark.parametrize("size", [1, 3, 20])
def test_accurate_inverses_pass(cond, size):
    A = conditioned(1.0 if size == 1 else cond, size=size)
    check = check_inverses(A, np.linalg.inv(A))
    assert check.passed.dtype == bool
    assert check.passed.shape == check.residual.shape == (200,)
    assert check.passed.all()


@pytest.mark.parametrize("cond", [10.0, 1e6])
@pytest.mark.parametrize("scale", [1.0, 1e-9, 1e9])
def test_one_wrong_element_fails(cond, scale):
    A = conditioned(cond) * scale
    X = np.linalg.inv(A)
    assert check_inverses(A, X).passed.all()
    largest = np.abs(X).reshape(len(X), -1).argmax(1)
    X.reshape(len(X), -1)[np.arange(50), largest[:50]] *= 1.001
    passed = check_inverses(A, X).passed
    assert not passed[:50].any()
    assert passed[50:].all()


def test_tolerance_for_text_of_four_decimals():
    A = conditioned(100.0)
    X = np.linalg.inv(A).round(4)
    A = A.round(4)
    assert not check_inverses(A, X).passed.all()
    assert check_inverses(A, X, 1e-3).passed.all()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("check", [check_inverses, check_pseudo_inverses])
def test_what_is_not_finite_never_passes(bad, check):
    A = np.stack([np.eye(2)] * 3)
    X = A.copy()
    X[1, 0, 0] = bad
    assert check(A, X, 1e300).passed.tolist() == [True, False, True]
    assert check(X, A, 1e300).passed.tolist() == [True, False, True]


@pytest.mark.parametrize("check", [check_inverses, check_pseudo_inverses])
def test_zero_is_no_inverse_of_one_and_shapes_must_agree(check):
    one = np.ones((1, 1, 1))
    assert not check(one, 0 * one).passed[0]
    assert not check(0 * one, one).passed[0]
    with pytest.raises(ValueError, match=r"shape \(1, 1, 1\) and inverses of shape \(2, 2, 2\); expected the same"):
        check(one, np.ones((2, 2, 2)))
    assert check(np.empty((0, 2, 2)), np.empty((0, 2, 2))).passed.shape == (0,)


def test_pseudo_inverse_of_zero_is_zero():
    zero = np.zeros((1, 2, 2))
    assert check_pseudo_inverses(zero, zero).passed[0]
    assert not check_inverses(zero, zero).passed[0]


@pytest.mark.parametrize("size", [2, 3, 6])
def test_pseudo_inverses(size):
    A, ranks = singular_matrices(200, size, generator=torch.Generator().manual_seed(0))
    X = pseudo_inverses(A, ranks).numpy()
    check = check_pseudo_inverses(A.numpy(), X)
    assert check.passed.all()
    assert not check_inverses(A.numpy(), X).passed.any()
    wrong = X.copy()
    wrong[:20] *= 1.001
    assert (~check_pseudo_inverses(A.numpy(), wrong).passed).tolist() == [True] * 20 + [False] * 180


def test_each_condition_of_moore_and_penrose_counts():
    A = np.diag([1.0, 0.0])[None]
    cases = {
        "AXA = A": [[0.0, 0], [0, 0]],
        "XAX = X": [[1.0, 0], [0, 1]],
        "AX symmetric": [[1.0, 1], [0, 0]],
        "XA symmetric": [[1.0, 0], [1, 0]],
    }
    for name, X in cases.items():
        assert not check_pseudo_inverses(A, np.array([X])).passed[0], name
    assert check_pseudo_inverses(A, A).passed[0]


def test_complex_and_many_chunks(monkeypatch):
    monkeypatch.setattr("neuralinv.dense.verify._CHUNK", 7)
    A = conditioned(10.0, 20) + 1j * conditioned(10.0, 20)[:, ::-1]
    X = np.linalg.inv(A)
    assert check_inverses(A, X).passed.all()
    assert check_pseudo_inverses(A, X).passed.all()
    X[13] = X[13].conj()
    assert np.flatnonzero(~check_inverses(A, X).passed).tolist() == [13]


def test_huge_factors_do_not_hide_that_the_product_is_wrong() -> None:
    singular, huge = np.ones((1, 2, 2)), 1e10 * np.array([[[1.0, 0], [-1, 0]]])
    assert not check_inverses(singular, huge).passed.any()
    graded = np.diag([1e-10, 1.0])[None]
    assert not check_inverses(graded, np.diag([3e10, -5.0])[None]).passed.any()
    assert not check_pseudo_inverses(graded, np.diag([1e10, -5.0])[None]).passed.any()
    assert check_inverses(graded, np.diag([1e10, 1.0])[None]).passed.all()
    assert check_pseudo_inverses(graded, np.diag([1e10, 1.0])[None]).passed.all()


def test_ill_conditioned_matrices_rounded_to_a_few_decimals_pass() -> None:
    rng = np.random.default_rng(0)
    A = rng.uniform(-1, 1, size=(50, 3, 3))
    A[:, 2] = A[:, 0] + A[:, 1] + 2e-5 * rng.uniform(-1, 1, size=(50, 3))
    X = np.linalg.inv(A).round(4)
    rounded = A.round(4)
    assert (np.linalg.norm(np.eye(3) - rounded @ X, axis=(1, 2)) > 1).any()
    assert check_inverses(rounded, X, 1e-3).passed.all()
    assert not check_inverses(rounded, X[::-1], 1e-3).passed.any()


@pytest.mark.parametrize("scale", [1e-300, 1e-200, 1e-170, 1e-100, 1e170, 1e200, 1e300])
def test_tiny_and_huge_matrices(scale: float) -> None:
    A = conditioned(10.0, 20)
    X = np.linalg.inv(A) / scale
    A *= scale
    singular, ranks = singular_matrices(20, 3, generator=torch.Generator().manual_seed(0))
    P = pseudo_inverses(singular, ranks).numpy() / scale
    S = singular.numpy() * scale
    assert check_inverses(A, X).passed.all()
    assert check_pseudo_inverses(A, X).passed.all()
    assert check_pseudo_inverses(S, P).passed.all()
    garbage = np.random.default_rng(0).uniform(-1, 1, (20, 3, 3))
    for wrong in (garbage * 1e-200, garbage * 1e-170, garbage, garbage / scale, garbage * 1e200, 1.001 * X, 0 * X):
        assert not check_inverses(A, wrong).passed.any()
        assert not check_pseudo_inverses(A, wrong).passed.any()
        assert not check_pseudo_inverses(S, wrong).passed.any()


def test_entries_of_very_different_sizes() -> None:
    A, X = np.diag([1e300, 1e-30])[None], np.diag([1e-300, 1e30])[None]
    for check in (check_inverses, check_pseudo_inverses):
        assert check(A, X).passed.all()
        assert check(X, A).passed.all()
        assert not check(A, np.diag([4e-300, 1e30])[None]).passed.any()
