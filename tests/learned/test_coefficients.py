import pytest
import torch

import neuralinv as ni
from neuralinv.families import Range, get_family
from neuralinv.io import FileError
from neuralinv.learned import coefficient_training as training
from neuralinv.learned import fit_parametric, load_parametric, save_parametric
from neuralinv.learned.architectures.coefficients import draw_sketch, normal_equations, project
from neuralinv.testing import relative_error

N = 8
FITTED = [("ridge", "network"), ("ridge", "projection"), ("mimo", "projection")]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def fits():
    fitted = {}
    for name, kind in FITTED:
        family = get_family(name)
        function = family.matrix_function(N, generator=generator())
        made = fit_parametric(function, ranges=family.ranges, rtol=1e-5, snapshots=256, coefficients=kind)
        fitted[name, kind] = made, function
    return fitted


@pytest.mark.parametrize(("name", "kind"), FITTED)
def test_certified_like_any_other(fits, name, kind, tmp_path):
    model, function = fits[name, kind]
    theta = get_family(name).thetas(100, generator=generator(5))
    A = function(theta).to(model.dtype)
    result = model.inv(A, theta)
    assert model.kind == kind
    assert bool(result.certified.all())
    assert result.count(ni.Source.FALLBACK) == 0
    assert bool((relative_error(A, result.inverse) <= result.error_bound).all())
    save_parametric(model, tmp_path)
    again = load_parametric(tmp_path)
    assert again.kind == kind
    assert torch.equal(again.inv(A, theta).inverse, result.inverse)


def test_a_projection_is_the_least_residual_on_the_sketch():
    B = torch.randn(5, N, N, generator=generator(), dtype=torch.complex128)
    A = torch.randn(3, N, N, generator=generator(1), dtype=torch.complex128)
    sketch = draw_sketch(N, 5, dtype=A.dtype, seed=2)
    assert sketch.shape == (N, 4)
    c = project(A, B @ sketch, sketch)
    for k in range(3):
        M = torch.view_as_real((A[k] @ B @ sketch).reshape(5, -1)).flatten(1).mT
        expected = torch.linalg.lstsq(M, torch.view_as_real(sketch.reshape(-1)).flatten()[:, None]).solution[:, 0]
        torch.testing.assert_close(c[k], expected)


def test_the_quadratic_form_is_the_residual_of_the_sketch():
    B = torch.randn(3, N, N, generator=generator(), dtype=torch.float64)
    A = torch.randn(2, N, N, generator=generator(1), dtype=torch.float64)
    sketch = draw_sketch(N, 3, dtype=A.dtype, seed=2)
    squares, products = normal_equations(A, B @ sketch, sketch)
    c = torch.randn(2, 3, generator=generator(3), dtype=torch.float64)
    X = torch.einsum("br,rij->bij", c, B)
    expected = torch.linalg.matrix_norm((torch.eye(N, dtype=A.dtype) - A @ X) @ sketch).square()
    form = ((squares @ c[..., None]).squeeze(-1) * c - 2 * products * c).sum(1) + sketch.square().sum()
    torch.testing.assert_close(form, expected)


def test_sketches_keep_norms_on_average():
    R = torch.randn(6, 6, generator=generator(), dtype=torch.float64)
    squares = [float((R @ draw_sketch(6, 4, dtype=R.dtype, seed=k)).square().sum()) for k in range(400)]
    assert sum(squares) / 400 == pytest.approx(float(R.square().sum()), rel=0.1)


def test_training_lowers_the_residual(monkeypatch):
    family = get_family("ridge")
    function = family.matrix_function(N, generator=generator())
    residuals = []
    for iterations in (0, 100):
        monkeypatch.setattr(training, "_ITERATIONS", iterations)
        made = fit_parametric(function, ranges=family.ranges, rtol=1e-1, rank=8, snapshots=256, coefficients="network")
        residuals.append(made.report.residual)
    assert residuals[1] < 0.7 * residuals[0]


def test_more_modes_than_polynomials_can_follow():
    # A kink: polynomials of θ converge slowly, the projection looks at the matrix.
    C = torch.randn(2, N, N, generator=generator(), dtype=torch.float64) / N

    def function(theta: torch.Tensor) -> torch.Tensor:
        t = theta[:, :, None]
        return torch.eye(N, dtype=torch.float64) + t.abs() * C[0] + t * C[1]

    ranges = {"t": Range(-0.5, 0.5)}
    residuals = {
        kind: fit_parametric(function, ranges=ranges, rank=12, rtol=1e-4, snapshots=64, coefficients=kind).report
        for kind in ("polynomial", "projection")
    }
    assert residuals["projection"].residual < 0.1 * residuals["polynomial"].residual


def test_bad_input(fits, tmp_path):
    model, function = fits["ridge", "projection"]
    theta = get_family("ridge").thetas(3, generator=generator())
    with pytest.raises(ValueError, match="coefficients by projection depend on the matrices"):
        model.propose(theta)
    A = function(theta).reshape(1, 3, N, N)
    assert model.propose(theta.reshape(1, 3, 2), A).shape == (1, 3, N, N)
    with pytest.raises(ValueError, match="coefficients='spline'; expected one of polynomial, network, projection"):
        fit_parametric(function, ranges=model.ranges, coefficients="spline")
    with pytest.raises(ValueError, match="certificate='likely'; expected"):
        fit_parametric(function, ranges=model.ranges, certificate="likely")
    with pytest.warns(UserWarning, match="3 of 3 matrices were inverted exactly"):
        outside = model.inv(function(theta).float(), theta + 10)
    assert outside.count(ni.Source.FALLBACK) == 3
    singular = torch.zeros(200, N, N)
    result = model.inv(singular, theta[:1].expand(200, 2), on_singular="nan")
    assert result.count(ni.Status.SINGULAR) == 200
    for kind in ("network", "projection"):
        with pytest.raises(ValueError, match="3 snapshots are too few"):
            fit_parametric((torch.arange(4.0)[:, None], torch.eye(2).expand(4, 2, 2)), coefficients=kind)
        with pytest.raises(ValueError, match=r"asked for in torch\.complex64"):
            fit_parametric(function, ranges=model.ranges, coefficients=kind, dtype=torch.complex64, snapshots=16)


def test_damaged_files(fits, tmp_path):
    model, _ = fits["ridge", "network"]
    save_parametric(model, tmp_path)
    config = tmp_path / "config.toml"
    text = config.read_text()
    for old, new, message in (
        ('coefficients = "network"', 'coefficients = "spline"', "coefficients are polynomial, network, projection"),
        ('coefficients = "network"', 'coefficients = "projection"', "holds other tensors"),
        ("most_overestimated = 7.3", "most_overestimated = 0.5", "most_overestimated > 1"),
        ("most_overestimated = 7.3", 'most_overestimated = "7"', "most_overestimated > 1"),
    ):
        config.write_text(text.replace(old, new))
        with pytest.raises(FileError, match=message):
            load_parametric(tmp_path)
