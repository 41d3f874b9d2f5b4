import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

import neuralinv as ni
from neuralinv.families import get_family
from neuralinv.learned.architectures.schulz import SchulzIteration, evaluate_polynomial, relative_scale, schulz
from neuralinv.learned.minimax import _remez, best_step, cheapest_plan, early_steps, step_products


def spectrum(*eigenvalues: float, seed: int = 0) -> torch.Tensor:
    """One positive definite matrix with these eigenvalues."""
    n = len(eigenvalues)
    Q, _ = torch.linalg.qr(torch.randn(n, n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64))
    A = (Q * torch.tensor(eigenvalues, dtype=torch.float64)) @ Q.mT
    return ((A + A.mT) / 2)[None]


def with_one(value: float) -> torch.Tensor:
    """Sixteen identities, the entries of one replaced."""
    A = torch.eye(3, dtype=torch.float64).repeat(16, 1, 1)
    A[5] = value
    return A


def evaluate(step, m: np.ndarray) -> np.ndarray:
    return np.polynomial.polynomial.polyval(1 - m, step.coefficients)


@pytest.mark.parametrize("degree", [1, 2, 3, 4])
@pytest.mark.parametrize(("low", "high"), [(1e-4, 1.0), (0.3, 1.0), (0.9, 1.1)])
def test_chebyshev_steps_equioscillate(low, high, degree):
    step = best_step(low, high, degree)
    m = np.linspace(low, high, 100_001)
    residual = 1 - m * evaluate(step, m)
    assert np.abs(residual).max() == pytest.approx(step.error, rel=1e-6)
    # Chebyshev's alternation: degree + 2 extrema of equal size and alternating sign, which proves it best.
    extreme = np.sign(residual[np.abs(residual) > step.error * (1 - 1e-3)])
    assert 1 + (np.diff(extreme) != 0).sum() == degree + 2
    assert step.degree == degree


@given(st.floats(1e-6, 0.9), st.sampled_from([1, 2, 4]))
@settings(max_examples=20, deadline=None)
def test_exchange_finds_chebyshev_where_that_is_known(low, degree):
    exchanged, known = _remez(low, 1.0, degree, 1), best_step(low, 1.0, degree)
    assert exchanged.error == pytest.approx(known.error, rel=1e-3)


@pytest.mark.parametrize("root", [2, 3, 4])
@pytest.mark.parametrize("degree", [1, 2, 4])
def test_steps_for_roots_equioscillate(root, degree):
    step = best_step(1e-2, 1.0, degree, root)
    m = np.geomspace(1e-2, 1.0, 50_001)
    deviation = 1 - m ** (1 / root) * evaluate(step, m)
    assert np.abs(deviation).max() == pytest.approx(step.error, rel=1e-3)
    extreme = np.sign(deviation[np.abs(deviation) > step.error * (1 - 1e-2)])
    assert 1 + (np.diff(extreme) != 0).sum() == degree + 2


def test_half_the_products_of_newton_schulz():
    # Positive definite, condition number 1e3, to 1e-5. Newton–Schulz takes two products a step, none in its first.
    plan = cheapest_plan(1e-3, 1.0, 1e-5)
    residual, products = 1 - 2e-3 / (1 + 1e-3), -2  # the best α, which needs λ_min; ‖A‖ alone costs one step more
    while residual > 1e-5:
        residual, products = residual**2, products + 2
    assert plan.error <= 1e-5
    assert 2 * plan.products <= products
    # The usual start Aᵀ / (‖A‖₁ ‖A‖_∞) squares the condition number.
    residual, usual = 1 - 1e-6, 0
    while residual > 1e-5:
        residual, usual = residual**2, usual + 2
    assert 3.5 * plan.products <= usual


@pytest.mark.parametrize("degree", [1, 2, 4])
@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
def test_polynomials_of_matrices(degree, dtype):
    R = torch.randn(3, 4, 4, generator=torch.Generator().manual_seed(0), dtype=dtype)
    c = [0.5, -1.0, 2.0, 0.25, -3.0][: degree + 1]
    expected = sum(value * torch.linalg.matrix_power(R, k) for k, value in enumerate(c))
    torch.testing.assert_close(evaluate_polynomial(R, c), expected)


class CountProducts(TorchDispatchMode):
    products = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.products += function.overloadpacket in (torch.ops.aten.bmm, torch.ops.aten.mm, torch.ops.aten.baddbmm)
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("positive", [True, False])
def test_products_are_counted_as_they_happen(positive):
    A = spectrum(1.0, 0.3, 0.01)
    iteration = schulz(1e-3 if positive else 1e-2, positive=positive)
    with CountProducts() as counter:
        iteration(A)
    assert counter.products == iteration.products
    assert iteration.products == sum(
        step_products(len(c) - 1, first=positive and k == 0) for k, c in enumerate(iteration.coefficients)
    )


@pytest.mark.parametrize("positive", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.complex64, torch.complex128])
def test_iterations_reach_their_tolerance(positive, dtype):
    name = "wishart" if positive else "orthogonal_plus_noise"
    A = get_family(name).sample(20, 9, generator=torch.Generator().manual_seed(0), dtype=dtype)
    values = (torch.linalg.eigvalsh if positive else torch.linalg.svdvals)(A / relative_scale(A))
    X = schulz(float(values.min()) * 0.999, positive=positive, tolerance=1e-3).propose(7 * A)
    assert X.dtype == dtype
    residual = torch.linalg.matrix_norm(torch.eye(9) - 7 * A @ X, ord=2)
    assert float(residual.max()) <= (1e-3 if A.dtype in (torch.float64, torch.complex128) else 1.1e-3)
    result = ni.certified_inv(A, schulz(float(values.min()) * 0.999, positive=positive))
    assert bool(result.certified.all())
    assert result.count(ni.Source.FALLBACK) == 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_early_steps_in_bfloat16_leave_the_same_residual(dtype):
    A = spectrum(*np.geomspace(1, 0.3, 60)).to(dtype)
    low = 0.1  # relative to the scale
    iteration = schulz(low, tolerance=1e-3, precision="bfloat16")
    assert 0 < iteration.early < len(iteration.coefficients)
    late = sum(step_products(len(c) - 1) for c in list(iteration.coefficients)[iteration.early :])
    assert late < schulz(low, tolerance=1e-3).products
    X = iteration.propose(A)
    assert X.dtype == dtype
    residual = float(torch.linalg.matrix_norm(torch.eye(60) - A.double() @ X.double(), ord=2))
    assert residual <= 1.1e-3
    # The early steps did run in it.
    exact = SchulzIteration([c.tolist() for c in iteration.coefficients]).propose(A)
    assert float((X - exact).abs().max()) > 1e-6
    result = ni.certified_inv(A, iteration)
    assert bool(result.certified.all())
    assert result.count(ni.Source.FALLBACK) == 0


def test_every_step_in_bfloat16_would_not_do():
    A = spectrum(*np.geomspace(1, 0.3, 60))
    steps = [step.coefficients for step in cheapest_plan(0.3 / float(relative_scale(A)), 1.0, 1e-3).steps]
    X = SchulzIteration(steps, early=len(steps)).propose(A)
    assert float(torch.linalg.matrix_norm(torch.eye(60) - A @ X, ord=2)) > 5e-3


def test_no_step_is_early_where_rounding_would_show():
    iteration = schulz(1e-4, precision="bfloat16")
    assert iteration.early == 0
    assert [c.tolist() for c in iteration.coefficients] == [c.tolist() for c in schulz(1e-4).coefficients]
    # Two early steps would leave less than four times their rounding errors.
    assert schulz(0.02, precision="bfloat16").early == 1
    # A finer precision can do more.
    plan = cheapest_plan(1e-2, 1.0, 1e-6)
    counts = [early_steps(plan, 1e-2, 1.0, 1e-6, u, largest=1e2)[1] for u in (2.0**-9, 2.0**-12, 2.0**-24)]
    assert counts == sorted(counts)
    assert counts[-1] > counts[0]


def test_complex_matrices_have_no_bfloat16():
    A = (spectrum(1.0, 0.5, 0.2) + 0j).to(torch.complex64)
    X = schulz(0.1, precision="bfloat16").propose(A)
    assert X.dtype == torch.complex64
    assert float(torch.linalg.matrix_norm(torch.eye(3) - A @ X)) < 2e-3


def test_the_spectrum_decides_the_residual():
    eigenvalues = (1.0, 0.4, 0.02, 0.005)
    A, iteration = spectrum(*eigenvalues), schulz(0.002)
    relative = torch.tensor(eigenvalues, dtype=torch.float64) / relative_scale(A).item()
    expected = (1 - iteration.on_spectrum(relative)).square().sum().sqrt()
    residual = torch.linalg.matrix_norm(torch.eye(4) - A @ iteration(A))
    torch.testing.assert_close(residual[0], expected, rtol=1e-6, atol=1e-12)


def test_matrices_that_break_the_assumption_fall_back():
    A = torch.diag(torch.tensor([1.0, -0.5, 0.25], dtype=torch.float64))[None]
    result = ni.certified_inv(A, schulz(1e-2))
    assert bool(result.certified.all())
    assert result.count(ni.Source.FALLBACK) == 1
    result = ni.certified_inv(spectrum(1.0, 1e-7), schulz(1e-2), rtol=1e-5)
    assert bool(result.certified.all())
    assert result.count(ni.Source.FALLBACK) == 1


def test_iterations_are_differentiable():
    A = spectrum(1.0, 0.5, 0.2).requires_grad_()
    assert torch.autograd.gradcheck(schulz(0.05, tolerance=0.1), (A,))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: schulz(0.0), "0 < low < high"),
        (lambda: schulz(2.0), "0 < low < high"),
        (lambda: schulz(-0.5, positive=False), r"low = -0\.5, high = 1\.0: expected"),
        (lambda: schulz(1e-3, 1e300, positive=False), r"low = 0\.001, high = 1e\+300: expected"),
        (lambda: schulz(1e-20), r"low = 1e-20 is too small beside high = 1\.0: expected at least 6\.0e-17"),
        (
            lambda: schulz(1e-9, positive=False),
            r"low = 1e-09 is too small beside high = 1\.0: expected at least 7\.7e-09 .* count twice",
        ),
        (lambda: cheapest_plan(1e-20, 1.0, 1e-3), r"low = 1e-20 is too small beside high = 1\.0"),
        (lambda: schulz(0.5, tolerance=1e-300), r"eigenvalues in \[5\.0e-01, 1\.0e\+00\] need more than 60 .* 1e-300"),
        (lambda: schulz(1e-3, tolerance=1.0), r"tolerance = 1\.0"),
        (lambda: cheapest_plan(1e-12, 1.0, 1e-3, most_products=5), "more than 5 matrix products"),
        (lambda: best_step(0.1, 1.0, 0), "degree = 0"),
        (lambda: SchulzIteration([[1.0, 2.0, 3.0, 4.0]]), "each of degree 1, 2 or 4"),
        (lambda: SchulzIteration([]), "at least one step"),
        (lambda: SchulzIteration([[1.0, 1.0]], early=2), "early=2"),
        (lambda: schulz(0.1, precision="tf32"), "precision='tf32'"),
        (lambda: ni.learned.train_schulz(torch.eye(3).expand(4, 3, 3)), "at least 8"),
        (lambda: ni.learned.train_schulz(-torch.eye(3).expand(9, 3, 3)), "not positive definite"),
        (lambda: ni.learned.train_schulz(with_one(0.0)), r"matrices at \[5\] are zero, not finite"),
        (lambda: ni.learned.train_schulz(with_one(math.nan)), r"matrices at \[5\] are zero, not finite"),
        (
            lambda: ni.learned.train_schulz(with_one(math.inf), positive=False),
            r"matrices at \[5\] are zero, not finite",
        ),
        (lambda: ni.learned.train_schulz(with_one(1e308)), r"matrices at \[5\] are .* too large"),
        (lambda: ni.learned.train_schulz(with_one(0.0).numpy()), r"matrices at \[5\] are zero, not finite"),
    ],
)
def test_impossible_requests(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("positive", [True, False])
def test_training_reaches_the_tolerance_with_no_more_products(positive):
    name = "wishart" if positive else "orthogonal_plus_noise"
    A = get_family(name).sample(24, 8, generator=torch.Generator().manual_seed(0))
    trained = ni.learned.train_schulz(A, positive=positive, tolerance=0.05, share=0.8)
    values = (torch.linalg.eigvalsh if positive else torch.linalg.svdvals)(A / relative_scale(A))
    guarded = schulz(float(values.min()), float(values.max()), positive=positive, tolerance=0.05 / math.sqrt(8))
    assert trained.products <= guarded.products
    residual = torch.linalg.matrix_norm(torch.eye(8) - A[::4] @ trained(A[::4]))
    assert float((residual <= 0.05).double().mean()) >= 0.8
    assert not any(parameter.requires_grad for parameter in trained.parameters())
    again = ni.learned.train_schulz(A.numpy(), positive=positive, tolerance=0.05, share=0.8)
    assert all(torch.equal(a, b) for a, b in zip(again.parameters(), trained.parameters(), strict=True))
