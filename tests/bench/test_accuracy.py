"""The judge: right answers pass, wrong ones do not, in every operation and dtype."""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch
from torch import Tensor

from neuralinv.bench.accuracy import Accuracy, extended_slogdet, is_inaccurate, judged_count, measure_accuracy
from neuralinv.bench.problems import OPERATIONS, Problem, bounded_batch, make_problem
from neuralinv.bench.rivals import RIVALS

ROUNDOFF = {torch.float32: 6e-8, torch.float64: 1.1e-16}


def answer(problem: Problem) -> tuple[Tensor, ...]:
    prepared = RIVALS["torch"].load()[problem.operation.name](problem, 1)
    return prepared.collect(prepared.call())


@pytest.mark.parametrize("dtype", ROUNDOFF, ids=str)
@pytest.mark.parametrize("operation", OPERATIONS)
def test_the_error_of_a_right_answer_is_near_roundoff_and_a_disturbance_shows(operation: str, dtype) -> None:
    problem = make_problem(OPERATIONS[operation], 4, dtype, 300)
    result = answer(problem)
    right = measure_accuracy(problem, result)
    assert right.median < 20 * ROUNDOFF[dtype]
    assert right.median <= right.largest
    # The last part is logabsdet, or the only one.
    disturbed = measure_accuracy(problem, (*result[:-1], result[-1] * (1 + 1000 * ROUNDOFF[dtype]) + 0.0))
    assert is_inaccurate(disturbed, right, dtype)
    assert not is_inaccurate(right, right, dtype)


def test_the_errors_are_those_of_the_definition() -> None:
    A = torch.tensor([[[2.0, 0.0], [0.0, 4.0]]])
    X = torch.tensor([[[0.5, 0.0], [0.0, 0.5]]])  # the true one is diag(1/2, 1/4)
    forward = measure_accuracy(Problem(OPERATIONS["inv"], A), (X,))
    assert forward.median == pytest.approx(0.25 / (0.25 + 0.0625) ** 0.5)
    residual = measure_accuracy(Problem(OPERATIONS["inv"], A.double()), (X.double(),))
    assert residual.median == pytest.approx(1.0 / (20**0.5 * 0.5**0.5))  # I − AX = diag(0, −1)
    b = torch.tensor([[[2.0], [4.0]]], dtype=torch.float64)
    x = torch.tensor([[[1.0], [2.0]]], dtype=torch.float64)  # b − Ax = (0, −4)
    solution = measure_accuracy(Problem(OPERATIONS["solve"], A.double(), b), (x,))
    assert solution.median == pytest.approx(4 / (20**0.5 * 5**0.5 + 20**0.5))


def test_a_wrong_sign_and_an_answer_that_is_not_finite_are_infinitely_wrong() -> None:
    problem = make_problem(OPERATIONS["slogdet"], 3, torch.float64, 40)
    sign, logabsdet = answer(problem)
    assert measure_accuracy(problem, (-sign, logabsdet)).median == float("inf")
    inverses = make_problem(OPERATIONS["inv"], 3, torch.float64, 40)
    (X,) = answer(inverses)
    X[7] = torch.nan
    assert measure_accuracy(inverses, (X,)).largest == float("inf")
    assert measure_accuracy(inverses, (X,)).median < 1e-15


def test_extended_precision_against_rational_arithmetic() -> None:
    A = torch.randint(-9, 10, (50, 3, 3), generator=torch.Generator().manual_seed(1)).double()
    A[0] = torch.tensor([[0.0, 1, 2], [3, 0, 4], [5, 6, 0]])  # the first pivot must be looked for
    sign, logabsdet = extended_slogdet(A)
    for M, s, logarithm in zip(A.tolist(), sign.tolist(), logabsdet.tolist(), strict=True):
        (a, b, c), (d, e, f), (g, h, i) = [[Fraction(entry) for entry in row] for row in M]
        determinant = float(a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g))
        if determinant:
            assert s == (1 if determinant > 0 else -1)
            assert logarithm == pytest.approx(torch.tensor(abs(determinant)).double().log().item(), abs=1e-15)


def test_lapack_without_error_does_not_condemn_the_last_digit() -> None:
    assert not is_inaccurate(Accuracy(1e-16, 1.0), Accuracy(0.0, 1.0), torch.float64)
    assert is_inaccurate(Accuracy(1e-14, 1.0), Accuracy(0.0, 1.0), torch.float64)
    assert is_inaccurate(Accuracy(float("nan"), 1.0), Accuracy(1.0, 1.0), torch.float64)


def test_batches_are_bounded_and_so_is_what_is_judged() -> None:
    assert bounded_batch(10_000, 3, torch.float32) == 10_000
    assert bounded_batch(10_000, 128, torch.float64) == (256 << 20) // (128 * 128 * 8)
    assert bounded_batch(10, 4096, torch.float64, most_bytes=1) == 1
    large = make_problem(OPERATIONS["inv"], 64, torch.float32, 1000)
    assert judged_count(large) == 512
    assert judged_count(make_problem(OPERATIONS["inv"], 2, torch.float32, 7)) == 7


def test_problems_are_what_they_say() -> None:
    for name, operation in OPERATIONS.items():
        problem = make_problem(operation, 5, torch.float64, 8)
        again = make_problem(operation, 5, torch.float64, 8)
        torch.testing.assert_close(problem.A, again.A, rtol=0, atol=0)
        assert (problem.b is None) == (not name.startswith("solve"))
        if operation.positive:
            torch.testing.assert_close(problem.A, problem.A.mT, rtol=0, atol=0)
            assert float(torch.linalg.eigvalsh(problem.A).min()) > 0.09
