import math
from fractions import Fraction

import pytest
import torch

from neuralinv.families import FAMILIES, Range, get_family
from neuralinv.families.curvature import record_kronecker_factors
from neuralinv.families.regression import wine

PARAMETRIC = [name for name, family in FAMILIES.items() if family.parametric]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("name", PARAMETRIC)
def test_samples_are_values_of_the_matrix_function(name):
    family = get_family(name)
    random = generator(3)
    function = family.matrix_function(6, generator=random)
    theta = family.thetas(10, generator=random)
    A = function(theta)
    assert torch.equal(A, family.sample(10, 6, generator=generator(3)))
    assert function(theta.reshape(2, 5, -1)).shape == (2, 5, 6, 6)
    torch.testing.assert_close(function(theta[4]), A[4])
    low = family.matrix_function(6, generator=generator(3), dtype=torch.complex64)(theta.float())
    assert low.dtype == torch.complex64
    torch.testing.assert_close(low, A.to(torch.complex64), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", PARAMETRIC)
def test_matrices_are_differentiable_by_the_parameters(name):
    family = get_family(name)
    function = family.matrix_function(5, generator=generator())
    theta = family.thetas(2, generator=generator(1)).requires_grad_()
    assert torch.autograd.gradcheck(function, (theta,))
    (gradient,) = torch.autograd.grad(function(theta).abs().square().sum(), theta)
    assert bool((gradient.abs() > 0).any(0).all() if name != "ridge" else gradient[:, 0].ne(0).all())


@pytest.mark.parametrize("name", PARAMETRIC)
def test_parameters_can_be_held(name):
    family = get_family(name)
    held, range_ = next(iter(family.ranges.items()))
    theta = family.thetas(50, generator=generator(), **{held: range_.low})
    assert bool((theta[:, 0] == range_.low).all())
    for k, other in enumerate(family.ranges.values()):
        assert bool((theta[:, k] >= other.low).all())
        assert bool((theta[:, k] <= other.high).all())
    family.sample(2, 4, generator=generator(), **{held: range_.high})


@pytest.mark.parametrize("name", PARAMETRIC)
def test_parameters_of_another_number_are_refused(name):
    family = get_family(name)
    function = family.matrix_function(4, generator=generator())
    with pytest.raises(ValueError, match=rf"family '{name}' has {len(family.ranges)} parameters .* shape \(3, 7\)"):
        function(torch.zeros(3, 7))
    with pytest.raises(ValueError, match="size = 0"):
        family.matrix_function(0, generator=generator())
    # θ is given to the function, not to what makes it.
    with pytest.raises(ValueError, match="has no parameter"):
        family.matrix_function(4, generator=generator(), **{next(iter(family.ranges)): 1.0})


@pytest.mark.parametrize("log", [False, True])
def test_ranges_map_to_the_unit_interval_and_back(log):
    range_ = Range(0.01, 10.0, log=log)
    unit = torch.linspace(0, 1, 11, dtype=torch.float64)
    torch.testing.assert_close(range_.position(range_.at(unit)), unit)
    assert float(range_.at(unit)[0]) == pytest.approx(0.01, rel=1e-12)
    assert float(range_.at(unit)[-1]) == pytest.approx(10.0, rel=1e-12)
    assert float(range_.position(torch.tensor(20.0))) > 1
    assert float(range_.position(torch.tensor(-1.0))) < 0


@pytest.mark.parametrize(
    ("low", "high", "log", "message"),
    [(1.0, 1.0, False, "low < high"), (0.0, math.inf, False, "finite"), (0.0, 1.0, True, "above 0")],
)
def test_impossible_ranges(low, high, log, message):
    with pytest.raises(ValueError, match=message):
        Range(low, high, log=log)


def test_autoregressive_covariances_are_toeplitz_with_known_inverse():
    function = get_family("ar").matrix_function(6, generator=generator())
    A = function(torch.tensor([[0.5, 0.0], [0.3, -0.6]]))
    assert torch.equal(A[:, 1:, 1:], A[:, :-1, :-1])
    # First order: r_k = 0.5^k. Second order: the inverse has bandwidth 2.
    torch.testing.assert_close(A[0, 0], 0.5 ** torch.arange(6, dtype=torch.float64))
    assert float(torch.triu(torch.linalg.inv(A[1]), 3).abs().max()) < 1e-14
    limit = ((1 + 0.8) / (1 - 0.8)) ** 4
    assert float(torch.linalg.cond(get_family("ar").sample(100, 30, generator=generator())).max()) < limit


def test_laplacian_has_the_shift_as_its_smallest_eigenvalue():
    A = get_family("laplacian").sample(3, 12, generator=generator(), shift=0.25)
    eigenvalues = torch.linalg.eigvalsh(A)
    torch.testing.assert_close(eigenvalues[:, 0], torch.full((3,), 0.25, dtype=torch.float64))
    torch.testing.assert_close(A.sum(-1), torch.full((3, 12), 0.25, dtype=torch.float64))


@pytest.mark.parametrize("name", ["rbf", "matern"])
def test_kernels_have_variance_one_and_the_nugget_below_their_spectrum(name):
    A = get_family(name).sample(5, 15, generator=generator(), nugget=0.5)
    torch.testing.assert_close(A.diagonal(dim1=-2, dim2=-1), torch.full((5, 15), 1.5, dtype=torch.float64))
    assert bool((torch.linalg.eigvalsh(A) > 0.5 - 1e-12).all())


def test_matern_kernels_approach_the_gaussian_one_with_their_smoothness():
    theta = torch.tensor([0.5, 0.1], dtype=torch.float64)
    gauss = get_family("rbf").matrix_function(10, generator=generator())(theta)
    distances = [
        float((get_family("matern").matrix_function(10, generator=generator(), smoothness=s)(theta) - gauss).norm())
        for s in (0.5, 1.5, 2.5)
    ]
    assert distances == sorted(distances, reverse=True)
    with pytest.raises(ValueError, match=r"smoothness = 1\.0: known are 0\.5, 1\.5 and 2\.5"):
        get_family("matern").sample(1, 2, generator=generator(), smoothness=1.0)
    with pytest.raises(ValueError, match=r"dimension = 1\.5"):
        get_family("rbf").sample(1, 2, generator=generator(), dimension=1.5)


def test_poisson_with_a_constant_coefficient_is_the_five_point_stencil():
    A = get_family("poisson").matrix_function(9, generator=generator())(torch.zeros(2))
    line = 2 * torch.eye(3) - torch.diag(torch.ones(2), 1) - torch.diag(torch.ones(2), -1)
    expected = torch.kron(line, torch.eye(3)) + torch.kron(torch.eye(3), line)
    torch.testing.assert_close(A, expected.double())


def test_poisson_converges_to_the_solution():
    # −∇·(a∇u) = f with u = sin πx sin πy and a = exp(θ₁ cos πx).
    theta, errors = 0.7, []
    for m in (7, 15):
        A = get_family("poisson").matrix_function(m * m, generator=generator())(torch.tensor([theta, 0.0]))
        t = torch.arange(1, m + 1, dtype=torch.float64) / (m + 1)
        x, y = t.repeat(m), t.repeat_interleave(m)
        a, u = torch.exp(theta * torch.cos(math.pi * x)), torch.sin(math.pi * x) * torch.sin(math.pi * y)
        slope = -theta * math.pi * torch.sin(math.pi * x)
        u_x = math.pi * torch.cos(math.pi * x) * torch.sin(math.pi * y)
        f = a * (2 * math.pi**2 * u - slope * u_x)
        errors.append(float((torch.linalg.solve(A, f / (m + 1) ** 2) - u).abs().max()))
    assert errors[1] < 0.3 * errors[0] < 0.01


def test_helmholtz_is_singular_at_a_resonance_without_absorption():
    family, m = get_family("helmholtz"), 5
    smallest = 2 * (2 - 2 * math.cos(math.pi / (m + 1))) * (m + 1) ** 2
    resonance = torch.tensor([math.sqrt(smallest) / (2 * math.pi), 0.0], dtype=torch.float64)
    S = [
        torch.linalg.svdvals(family.matrix_function(m * m, generator=generator(), absorption=a)(resonance))[-1]
        for a in (0.0, 0.1)
    ]
    assert S[0] < 1e-13 < 1e-2 < S[1]


def test_poisson_is_as_ill_conditioned_as_the_longer_side_of_its_grid_says():
    # Without a coefficient the eigenvalues are known: λ_max / λ_min is about (2/π²) ((m + 1)² + (n/m + 1)²).
    for n, m in ((16, 4), (64, 8), (31, 31), (97, 97), (12, 4)):
        A = get_family("poisson").matrix_function(n, generator=generator())(torch.zeros(2))
        expected = 2 / math.pi**2 * ((m + 1) ** 2 + (n // m + 1) ** 2)
        assert float(torch.linalg.cond(A)) == pytest.approx(expected, rel=0.25)
        assert 0.1 * m**2 < float(torch.linalg.cond(A)) < m**2


@pytest.mark.parametrize("size", [1, 2, 8, 20])
def test_ridge_stays_below_its_trace_and_penalty(size):
    family = get_family("ridge")
    for seed in range(20):
        function = family.matrix_function(size, generator=generator(seed))
        theta = family.thetas(5, generator=generator(seed))
        A = function(theta)
        trace = float(function(torch.full((2,), 1e-300)).trace())
        assert trace == pytest.approx(size, rel=0.6)
        eigenvalues = torch.linalg.eigvalsh(A)
        used = theta if size > 13 else theta[:, :1]
        assert bool((eigenvalues[:, 0] >= used.amin(1) * (1 - 1e-12)).all())
        assert bool((eigenvalues[:, -1] <= (trace + used.amax(1)) * (1 + 1e-12)).all())


@pytest.mark.parametrize("size", [1, 4, 20])
def test_helmholtz_is_indefinite_in_about_half_of_the_draws(size):
    A = get_family("helmholtz").sample(400, size, generator=generator())
    share = float((torch.linalg.eigvals(A).real.amin(-1) < 0).double().mean())
    assert 0.4 < share < 0.6


OUTSIDE = [
    ("rbf", "length_scale", (0.0, -1.0)),
    ("rbf", "nugget", (-5.0,)),
    ("matern", "length_scale", (0.0, -1.0)),
    ("matern", "nugget", (-1e-3,)),
    ("ar", "partial_1", (1.5, -1.0, 1.0)),
    ("ar", "partial_2", (1.0, -2.0)),
    ("state_space", "variance", (0.0, -1.0)),
    ("ridge", "penalty", (-3.0, 0.0)),
    ("ridge", "products_penalty", (-3.0, 0.0)),
    ("laplacian", "shift", (-1.0, 0.0)),
    ("helmholtz", "wavelengths", (-1.0,)),
]


@pytest.mark.parametrize(("name", "held", "values"), OUTSIDE)
def test_parameters_are_not_held_where_there_is_no_such_family(name, held, values):
    family = get_family(name)
    for value in values:
        for call in (family.sample, family.thetas):
            arguments = (2, 6) if call == family.sample else (2,)
            with pytest.raises(ValueError, match=rf"{held} = {value}: expected"):
                call(*arguments, generator=generator(), **{held: value})


@pytest.mark.parametrize("name", PARAMETRIC)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_no_parameter_is_held_at_what_is_not_finite(name, value):
    for held in get_family(name).ranges:
        with pytest.raises(ValueError, match=rf"{held} = .*: expected a finite number"):
            get_family(name).sample(2, 4, generator=generator(), **{held: value})
        with pytest.raises(ValueError, match=rf"{held} = '1': expected a number"):
            get_family(name).sample(2, 4, generator=generator(), **{held: "1"})


@pytest.mark.parametrize(
    ("name", "held"),
    [
        ("rbf", {"length_scale": 5.0, "nugget": 1e-4}),
        ("matern", {"length_scale": 0.01, "nugget": 0.0}),
        ("ar", {"partial_1": 0.95, "partial_2": -0.9}),
        ("state_space", {"persistence": 1.2, "variance": 10.0}),
        ("ridge", {"penalty": 1e-4, "products_penalty": 10.0}),
        ("laplacian", {"shift": 5.0}),
        ("poisson", {"first": 3.0, "second": -2.0}),
        ("mimo", {"frequency": 2.0, "snr_db": -10.0}),
    ],
)
def test_parameters_may_be_held_outside_their_ranges(name, held):
    A = get_family(name).sample(3, 20, generator=generator(), **held)
    assert bool((torch.linalg.eigvalsh(A) > 0).all())
    assert torch.equal(A[0], A[1]) == (set(held) == set(get_family(name).ranges))


@pytest.mark.parametrize("distance", [None, 1e-3])
@pytest.mark.parametrize(
    ("name", "held", "shown"),
    [
        ("poisson", {"first": 1000}, r"first = 1000\.0"),
        ("mimo", {"snr_db": -4000.0, "taps": 2}, r"snr_db = -4000\.0, taps = 2\.0"),
        ("rbf", {"length_scale": 1e-200}, "length_scale = 1e-200"),
        ("matern", {"length_scale": 1e-320}, "length_scale = 1e-320"),
        ("state_space", {"variance": 1e-320}, "variance = 1e-320"),
        ("helmholtz", {"wavelengths": 1e200}, r"wavelengths = 1e\+200"),
    ],
)
def test_parameters_at_which_matrices_are_not_finite(name, held, shown, distance):
    with pytest.raises(ValueError, match=rf"family '{name}' with {shown}: the matrices are not finite in torch\."):
        get_family(name).sample(2, 4, generator=generator(), distance=distance, **held)


def test_held_parameters_are_numbers_of_any_kind():
    family = get_family("rbf")
    third = family.thetas(2, generator=generator(), length_scale=Fraction(1, 3))
    assert torch.equal(third, family.thetas(2, generator=generator(), length_scale=1 / 3))
    assert torch.equal(
        family.sample(2, 4, generator=generator(), nugget=Fraction(1, 3)),
        family.sample(2, 4, generator=generator(), nugget=1 / 3),
    )
    for call, arguments in ((family.sample, (2, 4)), (family.thetas, (2,))):
        with pytest.raises(ValueError, match="length_scale: expected a number that float64 holds"):
            call(*arguments, generator=generator(), length_scale=10**400)


def test_parameters_of_a_family_are_checked_as_they_are_drawn():
    family = get_family("rbf")
    with pytest.raises(ValueError, match="family 'rbf' has no parameter 'nugett'; known are length_scale, nugget"):
        family.thetas(2, generator=generator(), nugett=0.1)
    with pytest.raises(ValueError, match="has no parameter 'dimension'"):
        family.thetas(2, generator=generator(), dimension=2.0)
    for count in (-1, 2.5, True):
        with pytest.raises(ValueError, match=f"count = {count}: expected a whole number"):
            family.thetas(count, generator=generator())
    with pytest.raises(ValueError, match="family 'gaussian' draws each matrix anew; it has no parameters to move"):
        get_family("gaussian").thetas(2, generator=generator())


def test_mimo_gram_matrices_are_periodic_and_contain_the_noise():
    function = get_family("mimo").matrix_function(8, generator=generator(), taps=2.0)
    # Two taps, one unit of delay apart: the channel has period 1 in frequency.
    A = function(torch.tensor([[0.0, 10.0], [1.0, 10.0], [0.5, 10.0]]))
    torch.testing.assert_close(A[0], A[1])
    assert float((A[0] - A[2]).abs().max()) > 0.1
    B = function(torch.tensor([0.0, 20.0]))
    torch.testing.assert_close(A[0] - B, 0.09 * torch.eye(8, dtype=torch.complex128))
    with pytest.raises(ValueError, match=r"antennas = 0\.5"):
        get_family("mimo").sample(1, 4, generator=generator(), antennas=0.5)


def test_ridge_is_the_gram_matrix_of_the_wine_data():
    X, cultivar = wine()
    assert X.shape == (178, 13)
    assert sorted(set(cultivar.tolist())) == [0, 1, 2]
    assert abs(X.mean(0)).max() < 1e-12
    A = get_family("ridge").matrix_function(20, generator=generator())
    difference = A(torch.tensor([0.5, 0.25])) - A(torch.tensor([0.1, 0.05]))
    torch.testing.assert_close(difference, torch.diag(torch.tensor([0.4] * 13 + [0.2] * 7)).double(), atol=1e-7, rtol=0)
    with pytest.raises(ValueError, match="size = 600: ridge has 559 features"):
        get_family("ridge").sample(1, 600, generator=generator())


def test_state_space_precisions_match_the_joint_covariance():
    # Simulate the covariance of the path by the recursion, and add the information of the observations.
    A = get_family("state_space").matrix_function(6, generator=generator())(torch.tensor([0.8, 1e9]))
    prior = torch.linalg.inv(A)
    torch.testing.assert_close(prior[:2, :2], torch.eye(2, dtype=torch.float64), atol=1e-6, rtol=0)
    torch.testing.assert_close(prior[2:4, 2:4], (1 + 0.64) * torch.eye(2, dtype=torch.float64), atol=1e-6, rtol=0)
    assert float(A[:2, 4:].abs().max()) == 0
    # An odd size cuts the last block off the next larger path.
    function = get_family("state_space").matrix_function(5, generator=generator())
    torch.testing.assert_close(function(torch.tensor([0.8, 1e9])), A[:5, :5])


def test_kronecker_factors_change_slowly_and_stay_semidefinite():
    state = torch.random.get_rng_state()
    factors = record_kronecker_factors(12, 30, generator=generator())
    assert torch.equal(torch.random.get_rng_state(), state)
    for F in factors:
        assert F.shape == (30, 12, 12)
        assert float(torch.linalg.eigvalsh(F).min()) > -1e-12
        change = torch.linalg.matrix_norm(F[1:] - F[:-1]) / torch.linalg.matrix_norm(F[:-1])
        assert 0 < float(change.min()) < float(change.max()) < 0.2
