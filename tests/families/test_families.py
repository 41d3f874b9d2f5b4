import math
import re
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

from neuralinv.families import FAMILIES, at_distance, get_family


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def wide(A: torch.Tensor) -> torch.Tensor:
    return A.to(torch.complex128 if A.is_complex() else torch.float64)


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("double", [False, True])
@pytest.mark.parametrize("size", [1, 2, 5, 6])
def test_every_family_draws_finite_invertible_matrices(name, double, size):
    family = get_family(name)
    dtype = family.default_dtype if double else {False: torch.float32, True: torch.complex64}[family.complex]
    A = family.sample(50, size, generator=generator(), dtype=dtype)
    assert A.shape == (50, size, size)
    assert A.dtype == dtype
    assert bool(torch.isfinite(A).all())
    assert bool((torch.linalg.svdvals(wide(A))[:, -1] > 0).all())
    assert family.sample(0, size, generator=generator(), dtype=dtype).shape == (0, size, size)
    assert family.sample((2, 3), size, generator=generator()).shape == (2, 3, size, size)


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("size", [2, 7, 20])
def test_every_family_has_the_symmetry_that_it_claims(name, size):
    family = get_family(name)
    A = family.sample(20, size, generator=generator())
    hermitian = torch.equal(A, A.mH)
    assert hermitian == (family.symmetry != "general")
    if family.symmetry == "positive":
        assert bool((torch.linalg.eigvalsh(A) > 0).all())


@pytest.mark.parametrize("name", [name for name, family in FAMILIES.items() if not family.complex])
def test_real_families_can_be_drawn_in_a_complex_dtype(name):
    A = get_family(name).sample(5, 3, generator=generator(), dtype=torch.complex128)
    assert A.dtype == torch.complex128
    assert bool((torch.linalg.svdvals(A)[:, -1] > 0).all())


@pytest.mark.parametrize("name", [name for name, family in FAMILIES.items() if family.complex])
def test_complex_families_cannot_be_drawn_as_real(name):
    with pytest.raises(ValueError, match=f"family '{name}' is complex and cannot be drawn as torch.float32"):
        get_family(name).sample(5, 3, generator=generator(), dtype=torch.float32)


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_at_a_distance_from_singularity(name):
    A = get_family(name).sample(10, 4, generator=generator(), distance=1e-5)
    S = torch.linalg.svdvals(A)
    assert bool((S[:, -1] / S[:, 0] <= 1.001e-5).all())
    # Where no other singular value was as small, the distance is exact.
    alone = S[:, -2] > 2e-5 * S[:, 0]
    assert bool(alone.any())
    torch.testing.assert_close(S[alone, -1], 1e-5 * S[alone, 0], rtol=1e-8, atol=0)
    assert torch.equal(A, A.mH) == (get_family(name).symmetry != "general")


@pytest.mark.parametrize(
    ("size", "distance", "message"), [(1, 0.1, "1×1"), (2, 1.0, r"\[0, 1\)"), (2, -0.1, "distance = -0.1")]
)
def test_impossible_distances(size, distance, message):
    with pytest.raises(ValueError, match=message):
        get_family("gaussian").sample(1, size, generator=generator(), distance=distance)


def test_exactly_singular_matrices():
    A = get_family("wishart").sample(10, 5, generator=generator(), distance=0.0)
    assert float(torch.linalg.svdvals(A)[:, -1].max()) < 1e-15


@pytest.mark.parametrize("name", FAMILIES)
def test_draws_depend_on_the_generator_alone(name):
    family = get_family(name)
    state = torch.random.get_rng_state()
    first, again, other = (family.sample(20, 3, generator=generator(seed)) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_says_what_it_is(name):
    family = FAMILIES[name]
    assert family.name == name
    assert min(len(family.description), len(family.spectrum), len(family.reference)) > 10
    assert family.parametric == bool(family.ranges) == (family.draw is None)
    with pytest.raises(ValueError, match=f"family '{name}' has no parameter 'typo'; known are"):
        family.sample(1, 2, generator=generator(), typo=1.0)
    with pytest.raises(ValueError, match=r"count = -1, size = 2: expected a whole count"):
        family.sample(-1, 2, generator=generator())
    with pytest.raises(ValueError, match=r"count = 1, size = 0: expected"):
        family.sample(1, 0, generator=generator())


def test_counts_are_whole_numbers_of_any_kind():
    family = get_family("gaussian")
    assert family.sample(np.int64(2), np.int32(3), generator=generator()).shape == (2, 3, 3)
    assert family.sample([2, 4], 3, generator=generator()).shape == (2, 4, 3, 3)
    for count, size in ((2.5, 3), (2, 3.0), ((2, -1), 3), (2, True)):
        with pytest.raises(ValueError, match="expected a whole count"):
            family.sample(count, size, generator=generator())
    with pytest.raises(ValueError, match=r"size = 2\.5: expected a whole number"):
        get_family("rbf").matrix_function(2.5, generator=generator())


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("dtype", [torch.int32, torch.bool])
def test_matrices_of_whole_numbers_are_refused(name, dtype):
    with pytest.raises(ValueError, match=rf"dtype = {dtype}: a family is drawn in a floating-point or complex dtype"):
        get_family(name).sample(2, 3, generator=generator(), dtype=dtype)


@pytest.mark.parametrize(
    ("name", "setting", "values"),
    [("gaussian", "scale", (math.nan, math.inf, 0.0, -1.0)), ("uniform", "min_abs_det", (math.nan, -1.0))],
)
def test_settings_without_a_meaning(name, setting, values):
    for value in values:
        with pytest.raises(ValueError, match=f"{setting} = {value}: expected a"):
            get_family(name).sample(2, 3, generator=generator(), **{setting: value})


@pytest.mark.parametrize("shape", [(3, 3), (2, 3, 4), (3,), (2, 2, 3, 3)])
def test_distances_of_what_is_no_batch_of_square_matrices(shape):
    with pytest.raises(ValueError, match=r"matrices have shape .*; expected \(batch, n, n\)"):
        at_distance(torch.zeros(shape), 0.1)


def test_unknown_family():
    with pytest.raises(ValueError, match="unknown family 'unifrom'; known are uniform"):
        get_family("unifrom")


@pytest.mark.parametrize(("low", "high"), [(-1.0, 1.0), (0.0, 1.0), (2.0, 3.0)])
def test_uniform_fills_its_range(low, high):
    A = get_family("uniform").sample(2000, 3, generator=generator(), dtype=torch.float32, low=low, high=high)
    assert low <= A.min() < low + 0.01
    assert high - 0.01 < A.max() <= high
    assert A.mean().item() == pytest.approx((low + high) / 2, abs=0.02)


@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_uniform_min_abs_det(size):
    A = get_family("uniform").sample(5000, size, generator=generator(), low=-1.0, high=1.0, min_abs_det=0.1)
    assert len(A) == 5000
    assert bool((torch.linalg.det(A).abs() > 0.1).all())
    # Matrices far from the threshold are as they were drawn: nothing is redrawn without need.
    free = get_family("uniform").sample(5000, size, generator=generator(), low=-1.0, high=1.0)
    kept = torch.linalg.det(free).abs() > 0.1
    assert torch.equal(A[kept], free[kept])


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"low": 1.0, "high": 1.0}, "low < high"),
        ({"low": 0.0, "high": float("inf")}, "finite numbers"),
        ({"low": float("nan")}, "finite numbers"),
        ({"low": -0.1, "high": 0.1, "min_abs_det": 0.1}, r"min_abs_det = 0\.1: hardly any 3×3 matrix .* lower it"),
    ],
)
@pytest.mark.parametrize("count", [1, 100])
def test_uniform_refuses_the_impossible(parameters, message, count):
    with pytest.raises(ValueError, match=message):
        get_family("uniform").sample(count, 3, generator=generator(), **parameters)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.complex32])
def test_determinants_of_half_precision(dtype):
    A = get_family("uniform").sample(300, 4, generator=generator(), dtype=dtype, min_abs_det=0.3)
    assert A.dtype == dtype
    assert bool((torch.linalg.det(wide(A)).abs() > 0.3 * (1 - 1e-5)).all())
    free = get_family("uniform").sample(300, 4, generator=generator(), dtype=dtype)
    assert bool((torch.linalg.det(wide(free)).abs() <= 0.3).any())


@pytest.mark.parametrize(
    ("dtype", "low", "high"),
    [(torch.float32, -1e300, 1e300), (torch.float64, -1e308, 1e308), (torch.complex32, 0.0, 1e5)],
)
def test_uniform_entries_that_the_dtype_does_not_hold(dtype, low, high):
    with pytest.raises(ValueError, match=rf"low = .*, high = .*: {dtype} holds numbers, and differences, of at most"):
        get_family("uniform").sample(3, 3, generator=generator(), dtype=dtype, low=low, high=high)


@pytest.mark.parametrize("distance", [None, 0.1])
@pytest.mark.parametrize(
    ("name", "setting", "value", "dtype"),
    [
        ("gaussian", "scale", 1e300, torch.float32),
        ("gaussian", "scale", 1e5, torch.float16),
        ("orthogonal_plus_noise", "noise", 1e39, torch.complex64),
        ("diagonally_dominant", "dominance", 1.7e308, torch.float64),
    ],
)
def test_matrices_that_would_not_be_finite_are_refused(name, setting, value, dtype, distance):
    message = rf"family '{name}' with {setting} = {re.escape(str(value))}: the matrices are not finite in {dtype}"
    with pytest.raises(ValueError, match=message):
        get_family(name).sample(20, 4, generator=generator(), dtype=dtype, distance=distance, **{setting: value})


def test_numbers_of_any_kind():
    third, family = Fraction(1, 3), get_family("gaussian")
    for value in (third, np.float64(1 / 3)):
        A = family.sample(2, 3, generator=generator(), scale=value, distance=value)
        assert torch.equal(A, family.sample(2, 3, generator=generator(), scale=1 / 3, distance=1 / 3))
    for name, setting in (("gaussian", "scale"), ("uniform", "low"), ("kfac", "steps")):
        with pytest.raises(ValueError, match=f"{setting}: expected a number that float64 holds"):
            get_family(name).sample(2, 3, generator=generator(), **{setting: 10**400})


@pytest.mark.parametrize(
    ("name", "setting"),
    [
        ("rbf", "dimension"), ("matern", "dimension"), ("mimo", "taps"), ("mimo", "antennas"), ("kfac", "steps"),
        ("state_space", "state"), ("wishart", "aspect"),
    ],
)  # fmt: skip
def test_counts_have_a_limit(name, setting):
    with pytest.raises(ValueError, match=rf"{setting} = 1e\+30: expected .*at most 1000000"):
        get_family(name).sample(2, 4, generator=generator(), **{setting: 1e30})


def test_gaussian_moments():
    A = get_family("gaussian").sample(5000, 3, generator=generator(), scale=2.0)
    assert A.mean().item() == pytest.approx(0, abs=0.05)
    assert A.std().item() == pytest.approx(2, abs=0.05)


@pytest.mark.parametrize("cond", [1.0, 100.0, 1e8])
def test_conditioned_has_the_condition_number(cond):
    A = get_family("conditioned").sample(50, 4, generator=generator(), cond=cond)
    torch.testing.assert_close(torch.linalg.cond(A), torch.full((50,), cond, dtype=torch.float64), rtol=1e-6, atol=0)
    with pytest.raises(ValueError, match="cond"):
        get_family("conditioned").sample(1, 4, generator=generator(), cond=0.5)


@pytest.mark.parametrize("size", [1, 2, 6])
def test_diagonally_dominant_rows(size):
    A = get_family("diagonally_dominant").sample(200, size, generator=generator())
    diagonal = A.diagonal(dim1=-2, dim2=-1).abs()
    assert bool((2 * diagonal > A.abs().sum(-1)).all())
    with pytest.raises(ValueError, match="dominance = 0"):
        get_family("diagonally_dominant").sample(1, 2, generator=generator(), dominance=0.0)


@pytest.mark.parametrize("aspect", [2.0, 4.0])
def test_wishart_follows_marchenko_and_pastur(aspect):
    eigenvalues = torch.linalg.eigvalsh(get_family("wishart").sample(10, 200, generator=generator(), aspect=aspect))
    for found, edge in ((eigenvalues.min(), 1 - aspect**-0.5), (eigenvalues.max(), 1 + aspect**-0.5)):
        assert float(found) == pytest.approx(edge**2, rel=0.15)
    with pytest.raises(ValueError, match=r"aspect = 0\.5"):
        get_family("wishart").sample(1, 2, generator=generator(), aspect=0.5)


def test_orthogonal_plus_noise_stays_near_the_orthogonal_matrices():
    family = get_family("orthogonal_plus_noise")
    S = torch.linalg.svdvals(family.sample(10, 100, generator=generator(), noise=0.1))
    assert 0.8 < S.min() < 0.9
    assert 1.1 < S.max() < 1.2
    Q = family.sample(3, 6, generator=generator(), noise=0.0, dtype=torch.complex128)
    torch.testing.assert_close(Q @ Q.mH, torch.eye(6, dtype=torch.complex128).expand(3, 6, 6))
    with pytest.raises(ValueError, match="noise = -1"):
        family.sample(1, 2, generator=generator(), noise=-1.0)


def test_kronecker_factors_are_those_of_a_training_run():
    family = get_family("kfac")
    A = family.sample(30, 20, generator=generator(), damping=1e-3)
    assert bool((torch.linalg.cond(A) <= 20 / 1e-3 + 1.001).all())
    with pytest.raises(ValueError, match="damping = 0"):
        family.sample(1, 2, generator=generator(), damping=0.0)
    with pytest.raises(ValueError, match=r"steps = 2\.5: expected a whole number"):
        family.sample(1, 2, generator=generator(), steps=2.5)


def test_a_family_knows_what_it_lacks():
    with pytest.raises(ValueError, match="family 'gaussian' draws each matrix anew"):
        get_family("gaussian").matrix_function(3, generator=generator())


def test_the_documentation_lists_every_family():
    page = (Path(__file__).parents[2] / "docs" / "families.md").read_text(encoding="utf-8")
    for family in FAMILIES.values():
        row = next(line for line in page.splitlines() if line.startswith(f"| `{family.name}` ({family.symmetry}"))
        for text in (family.description, family.spectrum, family.reference, *family.parameters, *family.ranges):
            assert text.replace("|", "\\|") in row
