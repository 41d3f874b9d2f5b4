"""Losses vanish at the inverse and say what they measure."""

import math
from itertools import pairwise

import pytest
import torch

from neuralinv.learned.architectures import Candidates
from neuralinv.learned.losses import LOSSES
from neuralinv.learned.schedules import SCHEDULES, rate_factor


def problem() -> tuple[torch.Tensor, torch.Tensor]:
    A = torch.rand(1, 20, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) + torch.eye(3)
    return A, torch.linalg.inv(A)


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_the_inverse_is_better_than_anything_near_it(name: str) -> None:
    A, inverse = problem()
    loss = LOSSES[name].function
    best = loss(A, Candidates(inverse, inverse), inverse)
    noise = torch.randn(inverse.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    for size in (1e-6, 1e-3, 1e-1):
        X = inverse + size * noise
        assert (loss(A, Candidates(X, X), inverse) > best).all()
    assert best.shape == (1, 20)


def test_each_measures_what_it_says() -> None:
    A, inverse = problem()
    X = inverse + 0.1
    candidates = Candidates(X, X)
    R, L = torch.eye(3) - A @ X, torch.eye(3) - X @ A
    norm = torch.linalg.matrix_norm
    expected = {
        "residual": norm(R),
        "log_residual": norm(R).log(),
        "two_sided": (norm(R) + norm(L)) / 2,
        "error": norm(inverse - X),
        "mse": ((inverse - X) ** 2).mean((-2, -1)),
    }
    for name, value in expected.items():
        torch.testing.assert_close(LOSSES[name].function(A, candidates, inverse), value)


def test_direction_ignores_length_and_catches_one_sided_optima() -> None:
    A, inverse = problem()
    loss = LOSSES["direction"].function
    exact = loss(A, Candidates(inverse, 7 * inverse), inverse)
    torch.testing.assert_close(exact, loss(A, Candidates(inverse, inverse), inverse), rtol=0, atol=2.0)
    assert (exact < math.log(1e-12)).all()
    # N = v wᵀ with v the right singular vector of the smallest singular value makes AN − tI small on one side only.
    U, _, V = torch.linalg.svd(A)
    rank_one = V.mT[..., -1:] @ U[..., -1:].mT
    assert (loss(A, Candidates(inverse, rank_one), inverse) > math.log(1e-3)).all()


def test_gradients_at_the_exact_inverse_are_finite() -> None:
    A = torch.eye(3).expand(1, 1, 3, 3)
    X = A.clone().requires_grad_()
    for loss in LOSSES.values():
        (gradient,) = torch.autograd.grad(loss.function(A, Candidates(X, X), A).sum(), X)
        assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("schedule", sorted(SCHEDULES))
def test_schedules_warm_up_and_never_leave_the_unit_interval(schedule: str) -> None:
    factors = [rate_factor(schedule, i / 200) for i in range(201)]
    assert factors[0] < 0.1
    assert max(factors) > 0.8
    assert all(0 <= f <= 1 for f in factors)
    after = factors[4:]
    assert all(a >= b for a, b in pairwise(after))
    assert rate_factor(schedule, 7.0) == factors[-1]
