from fractions import Fraction

import numpy as np
import pytest
import torch

import neuralinv as ni
from neuralinv.dense import native_roots
from neuralinv.dense.probabilistic import Odds
from neuralinv.families import get_family
from neuralinv.learned import inv_pth_root, inv_sqrt
from neuralinv.learned.root_certificate import bound_error, correct_square_root, probable_error_bound
from neuralinv.learned.shifted_inverses import _positive_inverse, _zolotarev, shortest_sum

DTYPES = [torch.float32, torch.float64, torch.complex64, torch.complex128]


def wide(A: torch.Tensor) -> torch.Tensor:
    return A.to(torch.complex128 if A.is_complex() else torch.float64)


def true_root(A: torch.Tensor, p: int) -> torch.Tensor:
    L, Q = torch.linalg.eigh(wide(A))
    return (Q * L.pow(-1 / p)[..., None, :]) @ Q.mH


def error(A: torch.Tensor, X: torch.Tensor, p: int) -> torch.Tensor:
    Y = true_root(A, p)
    return torch.linalg.matrix_norm(wide(X) - Y) / torch.linalg.matrix_norm(Y)


def wishart(*shape: int, dtype: torch.dtype = torch.float64, **parameters: float) -> torch.Tensor:
    random = torch.Generator().manual_seed(0)
    return get_family("wishart").sample(shape[:-1], shape[-1], generator=random, dtype=dtype, **parameters)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("p", [1, 2, 3, 4])
@pytest.mark.parametrize("n", [1, 2, 12])
def test_roots_are_certified_and_the_bound_holds(dtype, p, n):
    A = 3 * wishart(2, 3, n, dtype=dtype)
    result = inv_pth_root(A, p)
    assert result.root.dtype == dtype
    assert bool((result.status == ni.Status.CERTIFIED).all())
    assert bool((error(A, result.root, p) <= result.error_bound).all())
    assert float(result.error_bound.max()) <= result.rtol
    if n > 2 and p > 1:
        assert bool((result.source == ni.Source.REFINED).all())


def test_numpy_arrays_and_single_matrices():
    A = wishart(6)
    result = inv_sqrt(A.numpy())
    assert isinstance(result.root, np.ndarray)
    np.testing.assert_allclose(result.root @ A.numpy() @ result.root, np.eye(6), atol=1e-10)
    assert inv_sqrt(torch.zeros(0, 3, 3)).root.shape == (0, 3, 3)


@pytest.mark.parametrize("cond", [1e5, 1e6])
def test_matrices_beyond_the_range_fall_back(cond):
    U = torch.linalg.qr(torch.randn(8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64))[0]
    A = (U * torch.logspace(0, -np.log10(cond), 8, dtype=torch.float64)) @ U.mT
    A = (A + A.mT)[None] / 2
    result = inv_sqrt(A, cond=1e2, rtol=1e-5)
    assert result.status.item() == ni.Status.CERTIFIED
    assert result.source.item() == ni.Source.FALLBACK
    assert float(error(A, result.root, 2)) <= float(result.error_bound)
    wider = inv_sqrt(A, cond=10 * cond, rtol=1e-5)
    assert wider.source.item() == ni.Source.REFINED


def test_the_wrong_root_proves_nothing():
    # X with a negative eigenvalue also solves XAX = I: only the positive definite one is the root.
    A = wishart(3, 5)
    L, Q = torch.linalg.eigh(A)
    signs = torch.tensor([1.0, 1, -1, 1, 1])
    X = (Q * (signs * L.rsqrt())[:, None, :]) @ Q.mT
    X = (X + X.mT) / 2
    assert float(torch.linalg.matrix_norm(X @ A @ X - torch.eye(5)).max()) < 1e-12
    for proof in (lambda X: bound_error(A, X, 2)[0], lambda X: correct_square_root(A, X)[1]):
        assert bool((proof(X.clone()) == 1).all())
        Y = true_root(A, 2)
        assert float(proof((Y + Y.mT) / 2).max()) < 1e-10
    odds = Odds(1e-10, torch.Generator().manual_seed(2))
    assert bool((probable_error_bound(A, X, 2, odds) == 1).all())


@pytest.mark.parametrize("p", [2, 3])
def test_bounds_hold_for_spoiled_roots(p):
    A = wishart(50, 6)
    noise = torch.randn(50, 6, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    for size in (1e-6, 1e-3, 3e-2):
        X = true_root(A, p) + size * (noise + noise.mT)
        bound, _ = bound_error(A, X, p)
        assert bool((error(A, X, p) <= bound).all())
        assert float(bound.min()) < 1


def of_condition(n: int, cond: float, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    random = torch.Generator().manual_seed(n)
    Q, _ = torch.linalg.qr(torch.randn(n, n, generator=random, dtype=torch.float64))
    A = (Q * torch.logspace(0, -np.log10(cond), n, dtype=torch.float64)) @ Q.mT
    return ((A + A.mT) / 2).to(dtype)[None]


@pytest.mark.parametrize("kernels", [True, False])
@pytest.mark.parametrize("n", [129, 200])
def test_inverses_by_halves(n, kernels, monkeypatch):
    if not kernels:
        monkeypatch.setattr(native_roots, "takes", lambda A: False)
    A = of_condition(n, 100).expand(2, n, n) * torch.tensor([1.0, 3.0], dtype=torch.float64)[:, None, None]
    torch.testing.assert_close(_positive_inverse(A.contiguous()), torch.from_numpy(np.linalg.inv(A.numpy())))
    H = A + torch.eye(n) + 1j * (A.tril() - A.triu()) / 10
    torch.testing.assert_close(_positive_inverse(H), torch.from_numpy(np.linalg.inv(H.numpy())))


@pytest.mark.parametrize(("cond", "count"), [(50.0, 2), (1e3, 4)])
def test_sums_of_poles_are_the_best_ones(cond, count):
    terms = _zolotarev(cond, count)
    shifts, weights, error = terms.shifts, terms.weights, terms.error
    x = np.geomspace(1 / cond, 1, 100_001)
    deviation = 1 - np.sqrt(x) * (np.array(weights) / (x[:, None] + np.array(shifts))).sum(1)
    assert np.abs(deviation).max() == pytest.approx(error, rel=1e-3)
    extreme = np.sign(deviation[np.abs(deviation) > error * (1 - 1e-2)])
    assert 1 + (np.diff(extreme) != 0).sum() == 2 * count + 1
    assert min(*shifts, *weights) > 0


def test_sums_reach_their_tolerance_where_one_can():
    terms = shortest_sum(100.0, 1e-4)
    assert terms.error <= 1e-4 < _zolotarev(100.0, len(terms.shifts) - 1).error
    assert shortest_sum(1e14, 1e-15).error < 1e-3


@pytest.mark.parametrize("certificate", ["deterministic", "probabilistic"])
@pytest.mark.parametrize(("n", "cond"), [(150, 30.0), (150, 1e3), (40, 1e5)])
def test_single_precision_is_certified_to_five_digits(n, cond, certificate):
    A = of_condition(n, cond, torch.float32)
    result = inv_sqrt(A, cond=10 * cond, certificate=certificate)
    assert result.status.item() == ni.Status.CERTIFIED
    assert result.source.item() == ni.Source.REFINED
    assert float(error(A, result.root, 2)) <= float(result.error_bound)


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
@pytest.mark.parametrize("p", [1, 2, 3])
def test_probable_bounds_hold(p, dtype):
    A = wishart(200, 10, dtype=dtype)
    noise = torch.randn(200, 10, 10, generator=torch.Generator().manual_seed(1), dtype=dtype)
    X = true_root(A, p) + 1e-5 * (noise + noise.mH)
    odds = Odds(1e-10, torch.Generator().manual_seed(2))
    bound = probable_error_bound(A, X, p, odds)
    assert bool((error(A, X, p) <= bound).all())
    assert float(bound.max()) < 0.1


def ldexp(A: torch.Tensor, exponent: int) -> torch.Tensor:
    return torch.from_numpy(np.ldexp(A.numpy(), exponent))  # torch's overflows where 2^exponent does


@pytest.mark.parametrize("certificate", ["deterministic", "probabilistic"])
@pytest.mark.parametrize("p", [1, 2, 3, 4, 5, 16])
@pytest.mark.parametrize("exponent", [-1060, -600, -340, 340, 600, 1000])
def test_bounds_hold_at_any_scale(exponent, p, certificate):
    # The root of 2^{pq} A is 2^{−q} times that of A, exactly: the oracle works near 1.
    q = round(exponent / p)
    A = ldexp(wishart(40, 4), p * q)
    result = inv_pth_root(A, p, rtol=1e-6, certificate=certificate, on_singular="nan")
    near = ldexp(A, -p * q)
    if p == 1 and exponent == -1060:  # the inverse overflows
        assert bool((result.status == ni.Status.ILL_CONDITIONED).all())
        assert bool((result.error_bound == torch.inf).all())
    else:
        assert bool((result.status == ni.Status.CERTIFIED).all())
        assert bool((error(near, ldexp(result.root, q), p) <= result.error_bound).all())


@pytest.mark.parametrize("scale", [1e-310, 1e-200, 1e-101, 1e-30, 1e30, 1e101, 1e200, 1e307])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("p", [2, 3])
def test_multiples_of_the_identity_have_roots(p, dtype, scale):
    if dtype.to_real() == torch.float32 and not 1e-40 < scale < 1e38:
        scale = 1e-42 if scale < 1 else 3e38
    A = torch.eye(2, dtype=dtype) * scale
    expected = torch.eye(2, dtype=dtype) * float(A[0, 0].real) ** (-1 / p)
    torch.testing.assert_close(inv_pth_root(A, p).root, expected, rtol=1e-5, atol=0)


@pytest.mark.parametrize("certificate", ["deterministic", "probabilistic"])
@pytest.mark.parametrize("p", [2, 3, 4, 5])
def test_tiny_indefinite_matrices_have_no_root(p, certificate):
    # Off by an ulp or so from singular ones, and indefinite in exact arithmetic.
    angle = torch.linspace(0.3, 1.2, 400, dtype=torch.float64)
    v = torch.stack([angle.cos(), angle.sin()], -1)
    A = v[:, :, None] * v[:, None, :]
    a, b, c = (A[:, i, j].tolist() for i, j in ((0, 0), (0, 1), (1, 1)))
    exact = zip(map(Fraction, a), map(Fraction, b), map(Fraction, c), strict=True)
    A = A[torch.tensor([x * z < y * y for x, y, z in exact])]
    assert len(A) > 100
    result = inv_pth_root(ldexp(A, -600), p, rtol=1e-2, certificate=certificate, on_singular="nan")
    assert bool((result.status == ni.Status.SINGULAR).all())


@pytest.mark.parametrize("p", [2, 3, 4])
@pytest.mark.parametrize("exponent", [-600, 600])
def test_norms_whose_squares_leave_the_range_prove_nothing(p, exponent):
    A = ldexp(wishart(5, 3), p * (exponent // p))
    X = ldexp(true_root(wishart(5, 3), p), -(exponent // p))
    X = (X + X.mT) / 2
    odds = Odds(1e-10, torch.Generator().manual_seed(2))
    assert bool((bound_error(A, X, p)[0] == 1).all())
    assert bool((probable_error_bound(A, X, p, odds) == 1).all())


@pytest.mark.parametrize("p", [2, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64])
def test_denormals_that_the_processor_ignores_certify_nothing(dtype, p):
    A = torch.tensor([[1e-35, 9e-39], [9e-39, 1e-35]]).to(dtype)
    batch = torch.stack([torch.eye(2, dtype=dtype), A])
    torch.set_flush_denormal(True)
    try:
        flushed = inv_pth_root(batch, p, on_singular="nan")
        with pytest.raises(torch.linalg.LinAlgError, match="denormal entries, which this thread reads as zero"):
            inv_pth_root(A, p)
    finally:
        torch.set_flush_denormal(False)
    assert flushed.status.tolist() == [ni.Status.CERTIFIED, ni.Status.SINGULAR]
    assert flushed.error_bound[1] == torch.inf
    assert bool(flushed.root[1].isnan().all())
    result = inv_pth_root(batch, p)
    assert bool((result.status == ni.Status.CERTIFIED).all())
    assert bool((error(batch, result.root, p) <= result.error_bound).all())


def test_empty_matrices_have_empty_roots():
    result = inv_sqrt(np.zeros((2, 0, 0)))
    assert result.root.shape == (2, 0, 0)
    assert result.error_bound.tolist() == [0, 0]
    assert result.status.tolist() == [ni.Status.CERTIFIED] * 2
    A = torch.zeros(3, 0, 0, requires_grad=True)
    inv_pth_root(A, 3).root.sum().backward()
    assert A.grad.shape == (3, 0, 0)


def test_results_say_which_kind_of_bound_they_have():
    A = wishart(3, 4)
    assert inv_sqrt(A).failure_probability == 0
    assert inv_pth_root(A, 3, certificate="probabilistic", failure_probability=1e-8).failure_probability == 1e-8


@pytest.mark.parametrize("p", [np.int64(3), np.uint8(3)])
def test_whole_numbers_of_any_kind(p):
    A = wishart(4)
    assert torch.equal(inv_pth_root(A, p).root, inv_pth_root(A, 3).root)


@pytest.mark.parametrize(
    "A",
    [
        torch.diag(torch.tensor([1.0, -1.0])),
        torch.diag(torch.tensor([1.0, 0.0])),
        torch.zeros(2, 2),
        torch.diag(torch.tensor([1.0, torch.nan])),
        torch.diag(torch.tensor([1.0, torch.inf])),
    ],
)
def test_matrices_without_a_root(A):
    batch = torch.stack([torch.eye(2), A])
    with pytest.raises(torch.linalg.LinAlgError, match=r"matrices at \[1\] are not positive definite"):
        inv_sqrt(batch)
    with pytest.raises(np.linalg.LinAlgError, match="on_singular='nan'"):
        inv_sqrt(batch.numpy())
    with pytest.raises(torch.linalg.LinAlgError, match=r"^the matrix is not positive definite"):
        inv_sqrt(A)
    result = inv_sqrt(batch, on_singular="nan")
    assert result.status[0] == ni.Status.CERTIFIED
    assert result.status[1] in (ni.Status.SINGULAR, ni.Status.NONFINITE)
    assert bool(result.root[1].isnan().all())
    assert result.error_bound[1] == torch.inf


@pytest.mark.parametrize(
    ("arguments", "keywords", "message"),
    [
        ((torch.eye(2), 0), {}, "p=0"),
        ((torch.eye(2), 17), {}, "p=17"),
        ((torch.eye(2), True), {}, "p=True; expected a whole number"),
        ((torch.eye(2), 2.0), {}, r"p=2\.0; expected a whole number"),
        ((torch.eye(2), 2), {"cond": 1.0}, r"cond=1\.0"),
        ((torch.eye(2), 2), {"rtol": 2.0}, r"rtol=2\.0"),
        ((torch.eye(2), 2), {"on_singular": "pinv"}, "on_singular='pinv'"),
        ((torch.eye(2), 2), {"certificate": "none"}, "certificate='none'"),
        ((torch.eye(2), 2), {"certificate": "probabilistic", "failure_probability": 0.9}, r"failure_probability=0\.9"),
        ((torch.tensor([[1.0, 0.1], [0.0, 1.0]]), 2), {}, "^the matrix is not exactly Hermitian"),
        ((torch.tensor([[[[1.0, 0.1], [0.0, 1.0]]]]), 2), {}, r"matrices at \[\(0, 0\)\] are not exactly Hermitian"),
        ((torch.ones(2, 3), 2), {}, "square"),
    ],
)
def test_bad_input(arguments, keywords, message):
    with pytest.raises(ValueError, match=message):
        inv_pth_root(*arguments, **keywords)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_refused(dtype):
    with pytest.raises(TypeError, match=r"expected float32, float64, complex64 or complex128"):
        inv_sqrt(torch.eye(3, dtype=dtype))


def test_transformations_are_refused():
    with pytest.raises(TypeError, match=r"transformed by torch\.func"):
        torch.func.vmap(lambda A: inv_sqrt(A).root)(torch.eye(3).expand(2, 3, 3))


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
@pytest.mark.parametrize("p", [1, 2, 3, 4])
def test_derivatives_of_roots(p, dtype):
    A = wishart(3, dtype=dtype) + torch.eye(3)

    def root(A):
        return inv_pth_root((A + A.mH) / 2, p, rtol=1e-9).root

    assert torch.autograd.gradcheck(root, (A.requires_grad_(),), check_forward_ad=True)
    assert torch.autograd.gradgradcheck(root, (A,), fast_mode=True)


def test_derivatives_at_equal_eigenvalues():
    A = torch.diag(torch.tensor([4.0, 4.0, 1.0], dtype=torch.float64)).requires_grad_()
    (gradient,) = torch.autograd.grad(inv_sqrt(A).root[0, 1], A)
    # d(a^{-1/2}) = −a^{-3/2} / 2 da, shared by the two entries that a symmetric change moves.
    expected = torch.zeros(3, 3, dtype=torch.float64)
    expected[0, 1] = expected[1, 0] = -1 / 32
    torch.testing.assert_close(gradient, expected)


def test_derivatives_beside_matrices_without_a_root():
    A = torch.stack([torch.eye(2), -torch.eye(2)]).requires_grad_()
    root = inv_sqrt(A, on_singular="nan").root
    (gradient,) = torch.autograd.grad(root[0].sum(), A, retain_graph=True)
    torch.testing.assert_close(gradient, torch.tensor([[[-0.5] * 2] * 2, [[0.0] * 2] * 2]))
    (gradient,) = torch.autograd.grad(root.sum(), A)
    assert bool(gradient[1].isnan().all())
    assert not inv_sqrt(A.detach()[:1]).root.requires_grad
