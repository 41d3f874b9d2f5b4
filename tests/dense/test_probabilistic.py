import math

import pytest
import torch

import neuralinv as ni
from neuralinv.dense import native, native_probing
from neuralinv.dense.probabilistic import (
    MOST_OVERESTIMATED,
    Odds,
    _probe,
    draw_probes,
    overestimate,
    probable_error_bound,
    probe_count,
    smallest_share,
)
from neuralinv.families import get_family
from neuralinv.testing import relative_error

DTYPES = [torch.float32, torch.float64, torch.complex64, torch.complex128]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def rank_one(count: int, n: int, dtype: torch.dtype, seed: int) -> torch.Tensor:
    """Residuals of rank one and norm 1e-3: the worst case, in which nothing averages out."""
    u, v = (torch.randn(count, n, 1, generator=generator(seed + j), dtype=dtype) for j in range(2))
    return 1e-3 * u @ v.mH / (torch.linalg.vector_norm(u, dim=1) * torch.linalg.vector_norm(v, dim=1))[..., None]


def failure_rate(R: torch.Tensor, probability: float, batches: int) -> tuple[float, float]:
    """How often the error of I − R as the inverse of I exceeds its bound, with fresh vectors for each batch, and the
    standard error of that.
    """
    identity = torch.eye(R.shape[-1], dtype=R.dtype).expand_as(R)
    error = relative_error(identity, identity - R)
    rates = []
    for seed in range(batches):
        probes = draw_probes(R, Odds(probability, generator(seed)))
        bound = probable_error_bound(identity, identity - R, probes, probability)
        rates.append((error > bound).double().mean())
    return float(torch.stack(rates).mean()), float(torch.stack(rates).std()) / math.sqrt(batches)


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
@pytest.mark.parametrize("probability", [0.4, 0.1, 0.01])
def test_failures_are_as_rare_as_they_say(dtype, probability):
    rate, spread = failure_rate(rank_one(100, 8, dtype, 7), probability, 400)
    assert rate <= probability + 4 * spread
    assert rate > 0.02 * probability  # and is not merely cautious


def test_shares_are_those_of_chernoffs_bound():
    # The mean of so many squares of standard normal numbers, which a matrix of rank one gives.
    shares = torch.randn(200_000, 32, generator=generator(), dtype=torch.float64).square().mean(1)
    for probability in (0.1, 0.01):
        rate = float((shares < smallest_share(probability, 32)).double().mean())
        assert 0.01 * probability < rate <= probability
    tau = smallest_share(1e-10, 32)
    assert (tau * math.exp(1 - tau)) ** 16 == pytest.approx(1e-10)


@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64])
def test_bounds_are_about_the_error_and_not_about_the_residual(dtype):
    wide = torch.complex128 if dtype.is_complex else torch.float64
    A = get_family("conditioned").sample(50, 12, generator=generator(), dtype=dtype, cond=1e5)
    X = torch.linalg.inv(A.to(wide)).to(dtype)
    bound = probable_error_bound(A, X, draw_probes(A, Odds(generator=generator(1))), 1e-10)
    residual = torch.linalg.matrix_norm(torch.eye(12) - A.to(wide) @ X.to(wide))
    assert bool((residual > 1e-4).all())  # of the rounding of X
    assert bool((relative_error(A, X) <= bound).all())
    assert bool((bound <= 1e-6).all())


@pytest.mark.skipif(not native.AVAILABLE, reason="the extension was not built")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("n", "k"), [(1, 1), (5, 3), (12, 8), (23, 32), (40, 17), (70, 20)])
def test_the_kernel_finds_what_torch_finds(dtype, n, k, monkeypatch):
    monkeypatch.setattr(native, "threads", lambda: 3)
    wide = torch.complex128 if dtype.is_complex else torch.float64
    A = torch.randn(9, n, 2 * n, generator=generator(2), dtype=dtype)[:, :, ::2].conj()
    X = torch.randn(9, n, n, generator=generator(3), dtype=dtype).mT
    probes = torch.randn(n, k, generator=generator(4), dtype=wide)
    squares, norms = _probe(A, X, probes)
    monkeypatch.setattr(native_probing, "probes", lambda A, count: False)
    expected, expected_norms = _probe(A, X, probes)
    rtol = 1e-11 if dtype.to_real() == torch.float64 else 1e-4
    torch.testing.assert_close(squares[:, 0], expected[:, 0], rtol=1e-11, atol=0)
    torch.testing.assert_close(squares[:, 1], expected[:, 1], rtol=rtol, atol=0)
    torch.testing.assert_close(norms, expected_norms, rtol=1e-11, atol=0)
    D = probes - A.to(wide) @ (X.to(wide) @ probes)
    torch.testing.assert_close(squares[:, 0].sqrt(), torch.linalg.vector_norm(D, dim=1), rtol=1e-10, atol=0)


@pytest.mark.parametrize("route", ["kernel", "torch"] if native.AVAILABLE else ["torch"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_what_proves_nothing(dtype, route, monkeypatch):
    if route == "torch":
        monkeypatch.setattr(native_probing, "probes", lambda A, count: False)
    A = torch.eye(6, dtype=dtype).repeat(6, 1, 1)
    X = A.clone()
    A[1, 2, 3] = torch.nan
    X[2, 5, 0] = torch.inf
    X[3] = 0
    A[4], X[4] = A[4] * 1e-35, X[4] * 1e35
    X[5] = -X[5]
    bound = probable_error_bound(A, X, draw_probes(A, Odds(generator=generator())), 1e-10)
    assert torch.isfinite(bound).tolist() == [True, *[False] * 3, dtype.to_real() == torch.float64, False]


@pytest.mark.parametrize(("probability", "count"), [(0.5, 1), (0.1, 3), (1e-10, 16), (1e-12, 19)])
def test_number_of_probes(probability, count):
    assert probe_count(probability) == count
    assert overestimate(probability, count, is_complex=False) <= MOST_OVERESTIMATED * (1 + 1e-9)
    assert count == 1 or overestimate(probability, count - 1, is_complex=False) > MOST_OVERESTIMATED
    assert probe_count(probability, is_complex=True) == (count + 1) // 2
    assert draw_probes(torch.eye(3), Odds(probability)).shape == (3, count)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("proposed", [False, True])
def test_certified_inverses(dtype, proposed):
    A = get_family("orthogonal_plus_noise").sample((2, 10), 12, generator=generator(), dtype=dtype)
    wide = torch.complex128 if dtype.is_complex else torch.float64
    proposer = torch.linalg.inv(A.to(wide)) if proposed else None
    result = ni.certified_inv(A, proposer, certificate="probabilistic")
    assert bool(result.certified.all())
    assert result.failure_probability == 1e-10
    assert result.error_bound.shape == (2, 10)
    assert bool((result.source == (ni.Source.PROPOSED if proposed else ni.Source.EXACT)).all())
    assert bool((relative_error(A, result.inverse) <= result.error_bound).all())
    assert "each bound wrong with a probability of at most 1e-10" in str(result)
    assert ni.certified_inv(A).failure_probability == 0
    assert "probability" not in str(ni.certified_inv(A))


def test_what_probes_cannot_certify_takes_the_long_way():
    A = get_family("gaussian").sample(6, 5, generator=generator())
    X = torch.linalg.inv(A)
    X[1] *= 1 + 1e-4
    X[2] = 0
    A[3] = 0
    A[4, 0, 0] = torch.nan
    result = ni.certified_inv(A, X, certificate="probabilistic", on_singular="nan")
    assert result.status.tolist() == [0, 0, 0, 2, 3, 0]
    assert [result.source[k].item() for k in (0, 1, 2, 5)] == [1, 2, 3, 1]


def test_a_generator_makes_it_reproducible():
    A = get_family("gaussian").sample(5, 4, generator=generator())
    state = torch.random.get_rng_state()
    bounds = [
        ni.certified_inv(A, certificate="probabilistic", generator=random).error_bound
        for random in (generator(1), generator(1), generator(2), None, None)
    ]
    assert torch.equal(bounds[0], bounds[1])
    assert not torch.equal(bounds[0], bounds[2])
    assert not torch.equal(bounds[3], bounds[4])
    assert torch.equal(torch.random.get_rng_state(), state)


def test_gradients_and_arrays():
    A = get_family("gaussian").sample(3, 4, generator=generator()).requires_grad_()
    result = ni.certified_inv(A, certificate="probabilistic")
    (gradient,) = torch.autograd.grad(result.inverse.sum(), A)
    (expected,) = torch.autograd.grad(torch.linalg.inv(A).sum(), A)
    torch.testing.assert_close(gradient, expected)
    assert ni.certified_inv(A.detach().numpy(), certificate="probabilistic").failure_probability == 1e-10
    assert ni.certified_inv(torch.zeros(0, 3, 3), certificate="probabilistic").inverse.shape == (0, 3, 3)


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"certificate": "likely"}, "certificate='likely'; expected 'deterministic' or 'probabilistic'"),
        ({"certificate": "probabilistic", "failure_probability": 0.0}, r"failure_probability=0\.0"),
        ({"certificate": "probabilistic", "failure_probability": 0.9}, r"failure_probability=0\.9"),
        ({"certificate": "probabilistic", "failure_probability": math.nan}, "failure_probability=nan"),
    ],
)
def test_bad_arguments(keywords, message):
    with pytest.raises(ValueError, match=message):
        ni.certified_inv(torch.eye(2), **keywords)
