import copy
import math
from fractions import Fraction
from unittest import mock

import pytest
import torch
from safetensors.torch import load_file, save_file

import neuralinv as ni
from neuralinv.dense import native
from neuralinv.dense.correction import Workspace
from neuralinv.families import Range, get_family
from neuralinv.learned import fit_parametric, load_parametric, save_parametric
from neuralinv.learned.architectures import uniform as uniform_module
from neuralinv.learned.architectures.parametric import ParametricInverse
from neuralinv.learned.architectures.uniform import UniformCertificate, certify_uniformly, prove
from neuralinv.learned.uniform_fit import principal_modes
from neuralinv.testing import relative_error

N = 12


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def affine(theta: torch.Tensor) -> torch.Tensor:
    """Well conditioned, symmetric, two parameters: the rounding of float32 matrices does not matter at 1e-5."""
    random = torch.randn(2, N, N, generator=generator(3), dtype=torch.float64) / N
    return torch.eye(N, dtype=torch.float64) + torch.einsum("bp,pij->bij", theta.double(), (random + random.mT) / 2)


RANGES = {"a": Range(-0.5, 0.5), "b": Range(-0.5, 0.5)}


def fit_without_kernel(*arguments, **keywords):
    """Fit as where no kernel corrects guesses: beside it, one proof for all parameters is dearer at these sizes."""
    with mock.patch.object(native, "corrects", return_value=False):
        return fit_parametric(*arguments, **keywords)


@pytest.fixture(scope="module")
def model():
    fitted = fit_without_kernel(affine, ranges=RANGES, rtol=1e-5, snapshots=256)
    assert fitted.uniform is not None
    assert fitted.uniform.hermitian
    return fitted


def thetas(count: int, seed: int = 1) -> torch.Tensor:
    return torch.rand(count, 2, generator=generator(seed), dtype=torch.float64) - 0.5


def test_matrices_of_the_family_are_certified_without_any_product(model, monkeypatch):
    theta = torch.cat([thetas(60), torch.tensor([[-0.5, -0.5], [0.5, 0.5], [-0.5, 0.5]], dtype=torch.float64)])
    A = affine(theta).float()

    bmm = torch.bmm

    def forbidden(*factors: torch.Tensor, **keywords: torch.Tensor) -> torch.Tensor:
        # Inner products, which norms are made of, are none.
        assert len(factors) == 2, "a product of matrices"
        assert factors[1].shape[-1] == 1, "a product of matrices"
        return bmm(*factors, **keywords)

    monkeypatch.setattr(torch, "bmm", forbidden)
    monkeypatch.setattr(torch, "baddbmm", forbidden)
    result = model.inv(A, theta)
    monkeypatch.undo()
    assert bool(result.certified.all())
    assert set(result.source.tolist()) == {int(ni.Source.PROPOSED)}
    assert bool((relative_error(A, result.inverse) <= result.error_bound).all())


def test_the_proof_holds_everywhere(model):
    unit = 2 * torch.rand(4000, 2, generator=generator(2), dtype=torch.float64) - 1
    corners = torch.cartesian_prod(*2 * [torch.tensor([-1.0, 1.0], dtype=torch.float64)])
    features = model.features(torch.cat([unit, corners]))
    X = model.as_matrices((features @ model.weight) @ model.uniform.inverse_basis)
    A = model.as_matrices((features @ model.uniform.weight) @ model.uniform.basis)
    found = torch.linalg.matrix_norm(torch.eye(N, dtype=torch.float64) - A @ X)
    assert float(found.max()) <= float(model.uniform.residual) < 1e-5 / 3
    assert float(model.uniform.residual) < 50 * float(found.max()) + 1e-7


@pytest.mark.parametrize("degree", [1, 5, 20])
def test_values_at_few_points_bound_a_polynomial(degree):
    # I − ÃX̂ = I − T_degree(t) I: the points know of its maximum at the ends only through the factor.
    made = ParametricInverse({"t": Range(-1.0, 1.0)}, 1, 1, 31, rtol=1e-2)
    made.uniform = UniformCertificate(len(made.exponents), 1, 1, 1, 1)
    made.uniform.basis.fill_(1)
    made.uniform.inverse_basis.fill_(1)
    made.uniform.weight[0] = 1
    made.weight.zero_()
    made.weight[made.exponents[:, 0] == degree] = 1
    assert 2.0 <= prove(made) <= 2.0 * math.sqrt(2) + 0.02


@pytest.mark.parametrize("size", [1e-7, 1e-5, 1e-3, 3e-2])
def test_what_is_not_of_the_family_is_corrected_and_bounded(model, size):
    theta = thetas(40)
    noise = torch.randn(40, N, N, generator=generator(5), dtype=torch.float64)
    A = (affine(theta) + size * noise / torch.linalg.matrix_norm(noise)[:, None, None]).float()
    corrected = certify_uniformly(model, A, 2 * theta, Workspace())
    assert bool((relative_error(A, corrected.inverse) <= corrected.error_bound).all())
    small = size <= 1e-3
    assert bool((corrected.error_bound <= 1e-5).all()) == small
    assert corrected.order.unique().tolist() == ([1] if size <= 1e-7 else [2])
    if small:
        assert model.inv(A, theta).count(ni.Source.FALLBACK) == 0


def test_deviations_made_against_the_bound(model):
    # E along the largest singular direction of X̂: the bound ‖E‖_F ‖X̂‖₂ has nothing to spare but its own slack.
    theta = thetas(30, seed=8)
    A = affine(theta)
    L, V = torch.linalg.eigh(A)
    v = V[:, :, :1]
    for size in (1e-6, 1e-4):
        B = (A + size * v @ v.mT).float()
        corrected = certify_uniformly(model, B, 2 * theta, Workspace())
        error = relative_error(B, corrected.inverse)
        assert bool((error <= corrected.error_bound).all())
        assert bool((corrected.error_bound <= 1e-5).all())
    assert bool((L[:, 0] > 0).all())


def test_extreme_scales_prove_nothing(model):
    scaled = copy.deepcopy(model)
    scaled.uniform.basis.mul_(1e14)
    scaled.uniform.inverse_basis.mul_(1e-14)
    theta = thetas(3)
    A = affine(theta).float() * 1e14
    assert bool(certify_uniformly(scaled, A, 2 * theta, Workspace()).error_bound.isinf().all())


def test_sums_of_many_modes_are_bounded_by_exact_arithmetic(model):
    theta = thetas(3, seed=9)
    features = model.features(2 * theta)
    c = features @ model.weight
    bounds = uniform_module._Bounds(model, model.uniform, c, features @ model.uniform.weight)
    X = torch.empty(3, N, N)
    model.combination.combine(model.basis, c.float(), X.view(3, -1))
    for k in range(3):
        exact = [
            sum(Fraction(float(a)) * Fraction(float(b)) for a, b in zip(c[k], column, strict=True))
            for column in model.uniform.inverse_basis.T
        ]
        squares = sum((Fraction(float(x)) - e) ** 2 for x, e in zip(X[k].flatten(), exact, strict=True))
        assert 0 < math.sqrt(squares) <= float(bounds._rounding_X[k]) < 1e-5 * float(torch.linalg.matrix_norm(X[k]))


def test_a_file_s_claim_is_proved_anew(model, tmp_path):
    save_parametric(model, tmp_path)
    weights = load_file(tmp_path / "parametric.safetensors")
    save_file(
        weights | {"uniform.residual": torch.tensor(0.0, dtype=torch.float64)}, tmp_path / "parametric.safetensors"
    )
    again = load_parametric(tmp_path)
    assert float(again.uniform.residual) == pytest.approx(float(model.uniform.residual), rel=1e-6, abs=0)
    save_file(weights | {"basis": 2 * weights["basis"]}, tmp_path / "parametric.safetensors")
    assert torch.equal(load_parametric(tmp_path).basis, model.basis)


def test_complex_families():
    family = get_family("mimo")
    function = family.matrix_function(6, generator=generator(), taps=2)
    made = fit_without_kernel(function, ranges={"frequency": Range(0.0, 0.3), "snr_db": Range(0.0, 10.0)}, rtol=1e-5)
    assert made.uniform is not None
    theta = torch.rand(50, 2, generator=generator(1), dtype=torch.float64) * torch.tensor([0.3, 10.0])
    A = function(theta).to(torch.complex64)
    result = made.inv(A, theta)
    assert bool(result.certified.all())
    assert bool((relative_error(A, result.inverse) <= result.error_bound).all())


def test_modes_are_orthonormal_and_resolve_more_than_half_the_digits():
    random = torch.randn(40, 60, generator=generator(), dtype=torch.float64)
    Q = torch.linalg.qr(random.mT)[0].mT
    rows = torch.randn(40, 40, generator=generator(1), dtype=torch.float64) * torch.logspace(0, -12, 40) @ Q
    modes = principal_modes(rows)
    torch.testing.assert_close(modes @ modes.mT, torch.eye(len(modes), dtype=torch.float64), rtol=0, atol=1e-12)
    assert float((rows - rows @ modes.mT @ modes).norm()) < 1e-11
    leading = modes[:30]
    assert float((rows - rows @ leading.mT @ leading).norm()) < 1e-7
