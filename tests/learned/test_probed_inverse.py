import math
import warnings
from fractions import Fraction

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import neuralinv as ni
from neuralinv.dense import native, native_probing
from neuralinv.dense.probabilistic import Odds
from neuralinv.families import Range, get_family
from neuralinv.learned import fit_parametric, load_parametric, save_parametric
from neuralinv.learned.architectures.combination import Combination
from neuralinv.learned.architectures.probed import certify_with_probes
from neuralinv.learned.probed_fit import probes_of
from neuralinv.testing import relative_error

N = 12


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def family():
    return get_family("poisson").matrix_function(N, generator=generator())


@pytest.fixture(scope="module")
def model(family):
    ranges = get_family("poisson").ranges
    made = fit_parametric(family, ranges=ranges, rtol=1e-5, snapshots=256, certificate="probabilistic")
    assert made.report.order == 1
    assert made.report.certified_share == 1
    return made


def thetas(count: int, seed: int = 1) -> torch.Tensor:
    return get_family("poisson").thetas(count, generator=generator(seed))


class WatchProducts(TorchDispatchMode):
    """Keeps the shapes of what torch multiplies by."""

    def __init__(self) -> None:
        super().__init__()
        self.factors: set[tuple[int, ...]] = set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function.overloadpacket in (torch.ops.aten.bmm, torch.ops.aten.mm):
            self.factors.add(tuple(args[1].shape[-2:]))
        return function(*args, **(kwargs or {}))


ROUTES = ["kernel", "torch"] if native.AVAILABLE else ["torch"]


def routed(route: str, monkeypatch) -> None:
    """Send the residuals of random vectors to the kernel, as they go, or to torch."""
    if route == "torch":
        monkeypatch.setattr(native_probing, "probes", lambda A, count: False)


@pytest.mark.parametrize("route", ROUTES)
def test_matrices_are_certified_as_they_are_proposed_without_a_product(model, family, monkeypatch, route):
    routed(route, monkeypatch)
    theta = thetas(100)
    A = family(theta).float()
    monkeypatch.setattr(native, "correct", None)
    with WatchProducts() as watched:
        result = model.inv(A, theta, certificate="probabilistic")
    assert (N, N) not in watched.factors
    # Where torch multiplies by the vectors, they are seen.
    assert ((N, probes_of(model)) in watched.factors) == (route == "torch")
    monkeypatch.setattr(native, "corrects", lambda A: False)
    with WatchProducts() as watched:
        model.inv(A, theta)
    assert (N, N) in watched.factors
    monkeypatch.undo()
    assert set(result.source.tolist()) == {int(ni.Source.PROPOSED)}
    assert bool(result.certified.all())
    assert result.failure_probability == 1e-10
    assert bool((relative_error(A, result.inverse) <= result.error_bound).all())
    assert model.inv(A, theta).failure_probability == 0
    arrays = model.inv(A.numpy().reshape(4, 25, N, N), theta.numpy().reshape(4, 25, 2), certificate="probabilistic")
    assert isinstance(arrays.error_bound, np.ndarray)
    assert arrays.error_bound.shape == (4, 25)


def wrong_by(model, family, theta, size, seed):
    """Matrices of rank-one residual of this size: the worst case, in which the lemma is almost sharp."""
    A = family(theta)
    u, v = (torch.randn(len(theta), N, 1, generator=generator(seed), dtype=A.dtype) for _ in range(2))
    R = u @ v.mH / (torch.linalg.matrix_norm(u) * torch.linalg.matrix_norm(v))[:, None, None]
    # A' = (I − R) X⁻¹, so that I − A'X = size · R.
    c = model.coefficients(model.positions(theta))
    X = model.as_matrices(c @ model.combination.terms)
    eye = torch.eye(N, dtype=A.dtype)
    return torch.linalg.solve(X.mT, (eye - size * R).mT).mT


@pytest.mark.parametrize("complex_", [False, True])
@pytest.mark.parametrize("probability", [0.3, 0.03])
def test_the_failure_rate_is_what_it_says(complex_, probability):
    name = "mimo" if complex_ else "poisson"
    ranges = get_family(name).ranges
    function = get_family(name).matrix_function(N, generator=generator())
    dtype = torch.complex128 if complex_ else torch.float64
    made = fit_parametric(function, ranges=ranges, rank=16, rtol=1e-1, snapshots=128, dtype=dtype)
    theta = get_family(name).thetas(50, generator=generator(1))
    A = wrong_by(made, function, theta, 1e-3, 2)
    failures = []
    for seed in range(100):
        odds = Odds(probability, generator(100 + seed))
        X, bound = certify_with_probes(made, A, made.positions(theta) * (1 - 1e-12), odds)
        failures.append(float((bound < relative_error(A, X)).double().mean()))
    rate = sum(failures) / len(failures)
    spread = torch.tensor(failures).std().item() / math.sqrt(len(failures))
    assert rate <= probability + 4 * spread
    assert rate >= 0.02 * probability  # and is not merely cautious


def test_wrong_candidates_are_never_certified(model, family):
    theta = thetas(60)
    for size in (1e-5, 1e-3, 0.3):
        A = wrong_by(model, family, theta, size, 3).float()
        X, bound = certify_with_probes(model, A, model.positions(theta), Odds())
        assert bool((relative_error(A, X) <= bound).all())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            answered = model.inv(A, theta, certificate="probabilistic")
        assert bool((relative_error(A, answered.inverse) <= answered.error_bound).all())
        assert bool(answered.certified.all())
        if size > model.rtol:  # what is just right enough may be found to be
            assert answered.count(ni.Source.PROPOSED) == 0
        assert answered.failure_probability == 1e-10


def test_outside_and_other_matrices_take_the_long_way(model, family):
    theta = thetas(40)
    A = family(theta).float()
    theta[3] = 7.0
    A[5] = get_family("conditioned").sample(1, N, generator=generator(), dtype=torch.float32)[0]
    A[6] = 0
    A[7, 0, 0] = torch.nan
    with pytest.warns(UserWarning, match="4 of 40 matrices were inverted exactly"):
        result = model.inv(A, theta, certificate="probabilistic", on_singular="nan")
    assert (result.source == int(ni.Source.FALLBACK)).nonzero().flatten().tolist() == [3, 5, 6, 7]
    assert result.status[[6, 7]].tolist() == [int(ni.Status.SINGULAR), int(ni.Status.NONFINITE)]


def test_probes_are_fresh_unless_a_generator_says_otherwise(model, family):
    theta = thetas(5)
    A = family(theta).float()
    bounds = [
        model.inv(A, theta, certificate="probabilistic", generator=random).error_bound
        for random in (generator(1), generator(1), None, None)
    ]
    assert torch.equal(bounds[0], bounds[1])
    assert not torch.equal(bounds[2], bounds[3])


@pytest.mark.parametrize("rank", [6, 40])
def test_rounding_of_a_combination_is_bounded_by_exact_arithmetic(rank):
    terms = torch.linalg.qr(torch.randn(64, rank, generator=generator(), dtype=torch.float64))[0].mT.contiguous()
    c = torch.randn(3, rank, generator=generator(1), dtype=torch.float64) * torch.logspace(2, -2, rank)
    combination = Combination(terms, 8, torch.float32)
    X = torch.empty(3, 64)
    combination.combine(terms.float(), c.float(), X)
    bound = combination.rounding(c)
    for k in range(3):
        exact = [
            sum(Fraction(float(a)) * Fraction(float(b)) for a, b in zip(c[k], column, strict=True))
            for column in terms.T
        ]
        error = math.sqrt(sum((Fraction(float(x)) - e) ** 2 for x, e in zip(X[k], exact, strict=True)))
        assert 0 < error <= float(bound[k]) < 3e-6 * float(X[k].norm())
        norm = math.sqrt(sum(e**2 for e in exact))
        assert combination.least_norm(c)[k] <= norm <= combination.most_norm(c)[k]


def test_rounding_to_float32_that_no_modes_can_undo_is_named():
    ranges = {"a": Range(1.0, 2.0)}
    base = get_family("conditioned").sample(1, 6, generator=generator(), cond=1e4)[0]

    def function(theta: torch.Tensor) -> torch.Tensor:
        return base * theta[:, :, None]

    with pytest.warns(UserWarning, match=r"the deterministic way is taken: rounding the matrices to float32 alone"):
        made = fit_parametric(function, ranges=ranges, rtol=1e-5, snapshots=64, certificate="probabilistic")
    theta = torch.linspace(1, 2, 9, dtype=torch.float64)[:, None]
    assert bool(made.inv(function(theta).float(), theta, certificate="probabilistic").certified.all())
    wide = fit_parametric(
        function, ranges=ranges, rtol=1e-5, snapshots=64, certificate="probabilistic", dtype=torch.float64
    )
    assert wide.inv(function(theta), theta, certificate="probabilistic").count(ni.Source.PROPOSED) == 9


def test_saved_and_loaded(model, family, tmp_path):
    save_parametric(model, tmp_path)
    again = load_parametric(tmp_path)
    theta = thetas(6)
    A = family(theta).float()
    bounds = [m.inv(A, theta, certificate="probabilistic", generator=generator(3)).error_bound for m in (model, again)]
    assert torch.equal(*bounds)
    assert again.most_overestimated == model.most_overestimated


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"certificate": "likely"}, "certificate='likely'; expected 'deterministic' or 'probabilistic'"),
        ({"certificate": "probabilistic", "failure_probability": 0.0}, r"failure_probability=0\.0"),
        ({"certificate": "probabilistic", "failure_probability": 1}, "failure_probability=1;"),
    ],
)
def test_bad_arguments(model, family, keywords, message):
    theta = thetas(2)
    with pytest.raises(ValueError, match=message):
        model.inv(family(theta).float(), theta, **keywords)
