import pytest
import torch

from neuralinv.families import FAMILIES, get_family


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [1, 2, 5])
def test_every_family_draws_finite_invertible_matrices(name, dtype, size):
    A = get_family(name).sample(50, size, generator=generator(), dtype=dtype)
    assert A.shape == (50, size, size)
    assert A.dtype == dtype
    assert bool(torch.isfinite(A).all())
    assert bool((torch.linalg.svdvals(A.double())[:, -1] > 0).all())
    assert get_family(name).sample(0, size, generator=generator(), dtype=dtype).shape == (0, size, size)


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
    assert len(family.description) > 10
    with pytest.raises(ValueError, match=f"family '{name}' has no parameter 'typo'; known are"):
        family.sample(1, 2, generator=generator(), typo=1.0)
    with pytest.raises(ValueError, match=r"count = -1, size = 2: expected"):
        family.sample(-1, 2, generator=generator())
    with pytest.raises(ValueError, match=r"count = 1, size = 0: expected"):
        family.sample(1, 0, generator=generator())


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
