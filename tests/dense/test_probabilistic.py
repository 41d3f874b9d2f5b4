import math

import pytest
import torch

import neuralinv as ni
from neuralinv.dense.probabilistic import draw_probes, probable_residual_bound, probe_count
from neuralinv.families import get_family
from neuralinv.testing import relative_error

DTYPES = [torch.float32, torch.float64, torch.complex64, torch.complex128]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def failures(R: torch.Tensor, probability: float, seed: int) -> float:
    """How often ``‖R‖₂`` exceeds its bound, with A = I and W = I − R."""
    n = R.shape[-1]
    identity = torch.eye(n, dtype=R.dtype).expand_as(R)
    probes = draw_probes(R, probability, generator(seed))
    bound = probable_residual_bound(identity, identity - R, probes, probability)
    return float((torch.linalg.matrix_norm(R, ord=2) > bound).double().mean())


@pytest.mark.parametrize("probability", [0.3, 0.1, 0.01])
def test_the_failure_rate_is_what_it_says(probability):
    # Rank one is the worst case, in which the lemma is almost sharp. Fresh probes for each of 100 batches of 100.
    rates = []
    for seed in range(100):
        random = generator(1000 + seed)
        u, v = (torch.randn(100, 8, 1, generator=random, dtype=torch.float64) for _ in range(2))
        rates.append(failures(u @ v.mT, probability, seed))
    rate = sum(rates) / len(rates)
    spread = torch.tensor(rates).std().item() / math.sqrt(len(rates))
    assert rate <= probability + 4 * spread
    assert rate >= 0.5 * probability  # and is not merely cautious


@pytest.mark.parametrize("probability", [0.3, 0.01])
def test_complex_probes_fail_as_often_as_they_say_and_are_half_as_many(probability):
    random = generator(5)
    u, v = (torch.randn(100, 8, 1, generator=random, dtype=torch.complex128) for _ in range(2))
    rates = [failures(u @ v.mH, probability, seed) for seed in range(200)]
    rate = sum(rates) / len(rates)
    spread = torch.tensor(rates).std().item() / math.sqrt(len(rates))
    assert 0.5 * probability <= rate <= probability + 4 * spread
    assert len(draw_probes(u @ v.mH, 1e-10, random)[0]) == 5


def test_full_residuals_practically_never_fail():
    R = torch.randn(2000, 12, 12, generator=generator(1), dtype=torch.float64)
    assert failures(R, 1e-3, 0) == 0
    assert failures(R, 1e-10, 0) == 0
    probes = draw_probes(R, 1e-10, generator())
    assert probes.shape == (12, 10)
    identity = torch.eye(12, dtype=torch.float64).expand_as(R)
    bound = probable_residual_bound(identity, identity - R, probes, 1e-10)
    assert float((bound / torch.linalg.matrix_norm(R)).max()) < 20


@pytest.mark.parametrize(("probability", "count"), [(0.5, 1), (0.1, 1), (0.09, 2), (1e-10, 10), (1e-11, 11)])
def test_number_of_probes(probability, count):
    assert probe_count(probability) == count
    assert probability ** (-1 / count) <= 10 * (1 + 1e-9)


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
