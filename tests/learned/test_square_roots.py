import numpy as np
import pytest
import torch

import neuralinv as ni
from neuralinv.dense import native_roots
from neuralinv.dense.probabilistic import Odds
from neuralinv.learned import inv_sqrt
from neuralinv.learned.root_certificate import correct_square_root, probable_error_bound
from neuralinv.learned.shifted_inverses import approximate_inverse_square_root, shortest_sum, survey

SIZES = [1, 2, 7, 33, 200, 512]
REAL = [torch.float32, torch.float64]
norm = torch.linalg.matrix_norm


def of_condition(count: int, n: int, cond: float, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    random = torch.Generator().manual_seed(n)
    Q, _ = torch.linalg.qr(torch.randn(count, n, n, generator=random, dtype=torch.float64))
    A = (Q * torch.logspace(0, -np.log10(cond), n, dtype=torch.float64)) @ Q.mT
    return symmetric(A).to(dtype)


def symmetric(A: torch.Tensor) -> torch.Tensor:
    return ((A + A.mT) / 2).contiguous()


def true_root(A: torch.Tensor) -> torch.Tensor:
    L, Q = torch.linalg.eigh(A.double())
    return symmetric((Q * L.rsqrt()[..., None, :]) @ Q.mT)


def error(A: torch.Tensor, X: torch.Tensor) -> torch.Tensor:
    Y = true_root(A)
    return norm(X.double() - Y) / norm(Y)


def without_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native_roots, "takes", lambda A: False)


@pytest.mark.parametrize("certificate", ["deterministic", "probabilistic"])
@pytest.mark.parametrize("dtype", REAL)
@pytest.mark.parametrize("n", SIZES)
def test_bounds_are_never_below_the_errors(n, dtype, certificate):
    A = of_condition(3, n, 60.0, dtype) * torch.tensor([1e-3, 1.0, 1e4], dtype=dtype)[:, None, None]
    rtol = 1e-5 if dtype == torch.float32 else 1e-8
    result = inv_sqrt(A, cond=300.0, rtol=rtol, certificate=certificate)
    assert bool((result.status == ni.Status.CERTIFIED).all())
    assert bool((result.source == ni.Source.REFINED).all())
    assert bool((error(A, result.root) <= result.error_bound).all())
    assert torch.equal(result.root, result.root.mT)


@pytest.mark.parametrize("kernels", [True, False])
@pytest.mark.parametrize("dtype", REAL)
@pytest.mark.parametrize("n", [2, 7, 33, 130])
def test_spoiled_roots_are_corrected_as_far_as_they_commute(n, dtype, kernels, monkeypatch):
    if not kernels:
        without_kernels(monkeypatch)
    A = of_condition(20, n, 30.0, dtype)
    noise = torch.randn(20, n, n, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    noise = symmetric(noise) / norm(noise)[:, None, None]
    for size in (1e-6, 1e-4, 1e-2):
        spoiled = symmetric(true_root(A) + size * noise).to(dtype)
        X, bound = correct_square_root(A, spoiled.clone())
        assert bool((error(A, X) <= bound).all())
        assert bool((bound < 1).all())
        # (1 + size) Y commutes with A: what is left is its square.
        scaled = symmetric((1 + size) * true_root(A)).to(dtype)
        before = error(A, scaled)
        X, bound = correct_square_root(A, scaled)
        assert bool((error(A, X) <= bound).all())
        assert bool((error(A, X) <= 2 * before**2 + 20 * torch.finfo(dtype).eps).all())
        if size * n**0.5 < 0.02:
            rounding = 60 * n**0.5 * torch.finfo(dtype).eps + 1e-9
            assert bool((bound <= 6 * n**0.5 * before**2 + rounding).all())


@pytest.mark.parametrize("dtype", REAL)
@pytest.mark.parametrize("n", SIZES)
def test_the_kernel_and_torch_agree(n, dtype, monkeypatch):
    A = of_condition(2, n, 50.0, dtype)
    looked = survey(A)
    X = approximate_inverse_square_root(A, looked, 200.0, 1e-3)
    corrected, bound = correct_square_root(A, X.clone())
    without_kernels(monkeypatch)
    beside = survey(A)
    torch.testing.assert_close(beside.frobenius, looked.frobenius, rtol=1e-5, atol=0)
    torch.testing.assert_close(beside.norm, looked.norm, rtol=1e-5, atol=0)
    largest = torch.linalg.eigvalsh(A.double())[:, -1]
    for each in (looked, beside):
        assert bool((each.largest <= 1.0001 * largest).all())
        assert bool((each.largest >= 0.7 * largest).all())
        assert bool(each.hermitian.all())
    close = {"rtol": 0, "atol": 1e-4 if dtype == torch.float32 else 1e-11}
    torch.testing.assert_close(approximate_inverse_square_root(A, looked, 200.0, 1e-3), X, **close)
    again, other = correct_square_root(A, X)
    torch.testing.assert_close(again, corrected, **close)
    torch.testing.assert_close(other, bound, rtol=0.5, atol=1e-12)


@pytest.mark.parametrize("dtype", REAL)
@pytest.mark.parametrize("n", [2, 7, 33, 200])
def test_an_indefinite_root_of_small_residual_proves_nothing(n, dtype):
    A = of_condition(2, n, 30.0, dtype)
    L, Q = torch.linalg.eigh(A.double())
    for flipped in (0, n // 2, n - 1):  # the largest, some and the smallest eigenvalue of the root
        signs = torch.ones(n, dtype=torch.float64)
        signs[flipped] = -1
        X = symmetric((Q * (signs * L.rsqrt())[:, None, :]) @ Q.mT).to(dtype)
        assert float(norm(X.double() @ A.double() @ X.double() - torch.eye(n)).max()) < 1e-3
        assert not bool(native_roots.has_positive_pivots(X).any())
        assert bool((probable_error_bound(A, X, 2, Odds(1e-10, torch.Generator().manual_seed(2))) == 1).all())
        assert bool((correct_square_root(A, X)[1] == 1).all())


@pytest.mark.parametrize("dtype", REAL)
@pytest.mark.parametrize("n", SIZES)
def test_positive_pivots(n, dtype):
    A = of_condition(3, n, 100.0, dtype)
    assert bool(native_roots.has_positive_pivots(A).all())
    for at in {0, n // 2, n - 1}:
        B = A.clone()
        B[1, at, at] = -1e-3
        B[2, at, at] = torch.nan
        assert native_roots.has_positive_pivots(B).tolist() == [True, False, False]


@pytest.mark.parametrize("dtype", REAL)
@pytest.mark.parametrize("n", [1, 7, 33, 200])
def test_matrices_that_are_not_positive_definite(n, dtype):
    A = of_condition(5, n, 30.0, dtype)
    A[1] = -A[1]
    A[2] = 0
    A[3, -1, -1] = torch.nan
    result = inv_sqrt(A, rtol=1e-5, on_singular="nan")
    singular, certified = ni.Status.SINGULAR, ni.Status.CERTIFIED
    assert result.status.tolist() == [certified, singular, singular, ni.Status.NONFINITE, certified]
    assert bool(result.root[1:4].isnan().all())
    assert bool((error(A[[0, 4]], result.root[[0, 4]]) <= result.error_bound[[0, 4]]).all())


@pytest.mark.parametrize("scale", [1e-30, 1e-22, 1e22, 1e30])
def test_badly_scaled_matrices(scale):
    A = of_condition(2, 33, 30.0) * scale
    single = A.to(torch.float32)
    result = inv_sqrt(single)
    assert bool((result.status == ni.Status.CERTIFIED).all())
    assert bool((error(single, result.root) <= result.error_bound).all())


@pytest.mark.parametrize("dtype", REAL)
def test_a_shifted_matrix_that_is_not_positive_definite_gives_nan(dtype):
    A = of_condition(3, 40, 30.0, dtype)
    A[1] -= 2 * torch.eye(40, dtype=dtype)
    looked = survey(A)
    terms = shortest_sum(100.0, 1e-3)
    X = native_roots.sum_inverses(A, looked.norm, terms.shifts, terms.weights, torch.empty_like(A))
    assert X.isnan().flatten(1).all(1).tolist() == [False, True, False]


@pytest.mark.parametrize("certificate", ["deterministic", "probabilistic"])
def test_matrices_a_little_beyond_the_range_need_no_eigenvalues(certificate):
    A = of_condition(2, 60, 900.0, torch.float32)
    cond = 300.0  # min(‖A‖_F, ‖A‖_∞) / λ_min is larger by a factor of three, and more
    result = inv_sqrt(A, cond=cond, certificate=certificate)
    assert bool((result.source == ni.Source.REFINED).all())
    assert bool((result.status == ni.Status.CERTIFIED).all())
    assert bool((error(A, result.root) <= result.error_bound).all())


def test_strided_and_transposed_batches():
    A = of_condition(4, 20, 30.0, torch.float32)
    expected = inv_sqrt(A).root
    assert torch.equal(inv_sqrt(A.mT).root, expected)
    wide = torch.zeros(4, 20, 25)
    wide[..., :20] = A
    assert torch.equal(inv_sqrt(wide[..., :20]).root, expected)
    assert torch.equal(inv_sqrt(A[:1].expand(3, 20, 20)).root[2], expected[0])
