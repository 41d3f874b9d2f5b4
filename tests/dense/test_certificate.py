"""The bounds themselves, against rational arithmetic."""

from fractions import Fraction

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from neuralinv.dense.certificate import bound_after_newton_schulz, relative_error_bound, residual
from neuralinv.dense.refine import newton_schulz
from neuralinv.dense.scaling import normalise, scale_by_power_of_two


def exact_residual_norm(A: torch.Tensor, W: torch.Tensor) -> Fraction:
    """‖I − AW‖²_F without rounding; the square, so that it stays rational."""
    n = len(A)
    a = [[Fraction(v) for v in row] for row in A.tolist()]
    w = [[Fraction(v) for v in row] for row in W.tolist()]
    total = Fraction(0)
    for i in range(n):
        for j in range(n):
            entry = Fraction(int(i == j)) - sum(a[i][k] * w[k][j] for k in range(n))
            total += entry**2
    return total


def sample(n: int, count: int, noise: float, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    A = torch.rand(count, n, n, dtype=torch.float64, generator=generator) * 2 - 1
    A, _ = normalise(A)
    W = torch.linalg.inv(A)
    return A, W * (1 + noise * torch.randn(count, n, n, dtype=torch.float64, generator=generator))


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 6), st.sampled_from([0.0, 1e-14, 1e-8, 1e-3, 0.3]), st.integers(0, 2**20))
def test_residual_bounds_hold_exactly(n: int, noise: float, seed: int) -> None:
    A, W = sample(n, 4, noise, seed)
    for tight in (False, True):
        bound = residual(A, W, tight=tight).bound
        for i in range(4):
            assert exact_residual_norm(A[i], W[i]) <= Fraction(float(bound[i])) ** 2


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 5), st.sampled_from([1e-12, 1e-6, 1e-2, 0.1]), st.integers(0, 2**20))
def test_the_bound_after_a_step_holds_without_forming_the_residual(n: int, noise: float, seed: int) -> None:
    A, W = sample(n, 4, noise, seed)
    before = residual(A, W)
    after = torch.baddbmm(W, W, before.matrix)
    bound = bound_after_newton_schulz(before)
    for i in range(4):
        assert exact_residual_norm(A[i], after[i]) <= Fraction(float(bound[i])) ** 2


def test_a_step_squares_the_residual() -> None:
    A, W = sample(4, 100, 1e-3, 0)
    before = residual(A, W)
    good = before.bound < 0.1
    assert good.sum() > 50
    assert (bound_after_newton_schulz(before)[good] < 1.1 * before.bound[good] ** 2 + 1e-12).all()


def test_refinement_meets_the_tolerance_and_counts_its_steps() -> None:
    A, W = sample(3, 200, 0.05, 1)
    start = residual(A, W).bound
    refined, rho, steps = newton_schulz(A, W, 1e-9)
    assert (steps[start >= 1] == 0).all()
    assert torch.equal(refined[start >= 1], W[start >= 1])
    started = start < 0.9
    assert started.sum() > 150
    assert (rho[started] <= 1e-9).all()
    assert (steps[started] >= 1).all()
    for i in started.nonzero().squeeze(1).tolist():
        assert exact_residual_norm(A[i], refined[i]) <= Fraction(float(rho[i])) ** 2


def test_refinement_stops_at_the_rounding_level() -> None:
    # Hilbert matrices: condition 1.5e10 at n = 8; a residual of 1e-15 is out of reach.
    index = torch.arange(8, dtype=torch.float64)
    A, _ = normalise((1 / (index[:, None] + index + 1))[None])
    W = torch.linalg.inv(A) * (1 + 1e-13)
    refined, rho, steps = newton_schulz(A, W, 1e-15)
    assert rho[0] <= residual(A, W).bound[0]
    assert steps[0] < 8
    assert torch.isfinite(refined).all()


def test_rounding_the_answer_enters_the_bound() -> None:
    A, W = sample(3, 10, 0.0, 2)
    rho = residual(A, W).bound
    rounded = W.to(torch.float16).double()
    bound = relative_error_bound(rho, W, rounded)
    distance = torch.linalg.matrix_norm(rounded - W) / torch.linalg.matrix_norm(W)
    assert (bound >= rho + distance).all()
    assert (bound <= 1.01 * (rho + distance)).all()


def test_nothing_is_proved_where_the_residual_is_not_below_one() -> None:
    W = torch.eye(2, dtype=torch.float64)[None]
    for rho in (1.0, 2.0, np.inf, np.nan):
        assert relative_error_bound(torch.tensor([rho], dtype=torch.float64), W, W) == torch.inf


def test_scaling_is_exact_over_the_whole_range() -> None:
    A = torch.tensor([5e-324, 1.5e-310, 3.0, 1.7e308], dtype=torch.float64)[:, None, None]
    scaled, exponent = normalise(A)
    assert ((scaled >= 1) & (scaled < 2)).all()
    assert torch.equal(scale_by_power_of_two(scaled, exponent), A)
    zero, exponent = normalise(torch.zeros(1, 2, 2, dtype=torch.float64))
    assert torch.equal(zero, torch.zeros(1, 2, 2, dtype=torch.float64))
    assert exponent == 0
