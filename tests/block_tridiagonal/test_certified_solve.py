"""Bounds against exact rational solutions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction

import numpy as np
import pytest
import torch
from torch import Tensor

import neuralinv as ni
from neuralinv.block_tridiagonal.conformance import random_precision

METHODS = ["native", "cyclic", "loop"]


@contextmanager
def denormals_read_as_zero() -> Iterator[None]:
    """Where numbers are made in here, denormals are lost."""
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


def exact_solution(M: Tensor, b: Tensor) -> list[Fraction]:
    """Solve by elimination in rational numbers; positive definite matrices need no pivoting."""
    rows = [[Fraction(float(x)) for x in row] + [Fraction(float(r))] for row, r in zip(M, b, strict=True)]
    size = len(rows)
    for p in range(size):
        for i in range(size):
            if i != p and rows[i][p]:
                factor = rows[i][p] / rows[p][p]
                rows[i] = [x - factor * y for x, y in zip(rows[i], rows[p], strict=True)]
    return [row[-1] / row[p] for p, row in enumerate(rows)]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("condition", [10.0, 1e4, 1e6])
def test_the_bound_holds_and_is_not_idle(condition: float, dtype: torch.dtype, method: str) -> None:
    D, B = random_precision(3, steps=4, n=3, dtype=dtype, condition=condition)
    b = torch.randn(3, 4, 3, generator=torch.Generator().manual_seed(2)).to(dtype)
    M = ni.BlockTridiagonal(D, B, method=method)
    result = M.solve(b, certify=True)
    assert result.solution.dtype == dtype
    for s in range(3):
        true = exact_solution(M.to_dense()[s], b[s].flatten())
        distance = sum((x - Fraction(float(y))) ** 2 for x, y in zip(true, result.solution[s].flatten(), strict=True))
        error = float(distance / sum(x * x for x in true)) ** 0.5
        assert error <= float(result.error_bound[s])
        assert float(result.error_bound[s]) <= (1e-6 if dtype == torch.float32 else 1e-13 * condition)
    assert torch.equal(result.status == ni.Status.CERTIFIED, result.error_bound <= result.rtol)
    assert bool((result.status == ni.Status.CERTIFIED).all())


def test_statuses() -> None:
    D, B = random_precision(6, steps=5, n=2)
    b = torch.ones(6, 5, 2, dtype=torch.float64)
    D[1, 3] *= -1
    D[2, 0, 0, 0] = torch.nan
    b[3, 1, 1] = torch.inf
    b[4] = 0
    result = ni.BlockTridiagonal(D, B).solve(b, certify=True)
    assert [ni.Status(s).name for s in result.status.tolist()] == [
        "CERTIFIED",
        "SINGULAR",
        "NONFINITE",
        "NONFINITE",
        "CERTIFIED",
        "CERTIFIED",
    ]
    assert bool(result.solution[1:4].isnan().all())
    assert bool(torch.isinf(result.error_bound[1:4]).all())
    assert not bool(result.solution[4].any())
    torch.testing.assert_close(result.solution[0], ni.BlockTridiagonal(D[0], B[0]).solve(b[0]))
    strict = ni.BlockTridiagonal(D, B).solve(b, certify=True, rtol=1e-18)
    assert ni.Status(int(strict.status[0])) is ni.Status.ILL_CONDITIONED
    assert strict.rtol == 1e-18


@pytest.mark.parametrize("scale", [1e-200, 1e-30, 1e30, 1e200])
def test_scales(scale: float) -> None:
    D, B = random_precision(steps=4, n=2)
    b = torch.ones(4, 2, 3, dtype=torch.float64)
    expected = ni.BlockTridiagonal(D, B).solve(b, certify=True)
    result = ni.BlockTridiagonal(D * scale, B * scale).solve(b, certify=True)
    assert result.status == ni.Status.CERTIFIED
    torch.testing.assert_close(result.solution * scale, expected.solution)


def test_numpy_arrays() -> None:
    D, B = (x.numpy() for x in random_precision(2, steps=4, n=2, dtype=torch.float32))
    result = ni.BlockTridiagonal(D, B).solve(D[..., 0], certify=True)
    assert isinstance(result.solution, np.ndarray)
    assert result.error_bound.shape == result.status.shape == (2,)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("jitter", [1e-3, 1e-5, 0.3])
def test_jitter_is_not_rounded_away(jitter: float, dtype: torch.dtype) -> None:
    D, B = torch.ones(2, 2, 2, dtype=dtype), torch.zeros(1, 2, 2, dtype=dtype)  # singular without jitter
    b = torch.tensor([[1.0, -1.0], [3.0, 1.0]], dtype=dtype)
    result = ni.BlockTridiagonal(D, B).solve(b, jitter=jitter, certify=True, rtol=1e-4)
    assert result.status == ni.Status.CERTIFIED
    error = size = Fraction(0)
    for right, found in zip(b.tolist(), result.solution.tolist(), strict=True):
        diagonal = 1 + Fraction(jitter)
        determinant = diagonal**2 - 1
        first, second = map(Fraction, right)
        for x, y in zip(((diagonal * first - second), (diagonal * second - first)), found, strict=True):
            error += (x / determinant - Fraction(y)) ** 2
            size += (x / determinant) ** 2
    assert float(error / size) ** 0.5 <= float(result.error_bound)


def test_bad_tolerances_and_jitter() -> None:
    D, B = random_precision(1, steps=2, n=2)
    M, b = ni.BlockTridiagonal(D, B), torch.ones(1, 2, 2, dtype=torch.float64)
    for rtol in (0.0, -1.0, 2.0, float("nan"), "x"):
        with pytest.raises(ValueError, match="expected a number between 0 and 1"):
            M.solve(b, certify=True, rtol=rtol)
    for jitter in (1j, "a", None):
        for call in (M.logdet, M.cholesky, lambda jitter: M.solve(b, jitter=jitter, certify=True)):
            with pytest.raises(TypeError, match=r"jitter=.*; expected a real number"):
                call(jitter=jitter)
    with pytest.raises(TypeError, match=r"transformed by torch\.func"):
        torch.func.vmap(lambda b: M.solve(b, certify=True).solution)(b[None])


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("dtype", "scale"), [(torch.float32, 1e-35), (torch.float64, 1e-304)], ids=str)
def test_denormals_of_the_matrix_that_are_read_as_zero_prove_nothing(
    dtype: torch.dtype, scale: float, method: str
) -> None:
    D, B = torch.full((3, 2, 1, 1), scale, dtype=dtype), torch.zeros(3, 1, 1, 1, dtype=dtype)
    B[0] = 9e-5 * scale
    b = torch.tensor([[scale], [0]], dtype=dtype)
    # Nobody reads what stands above the diagonal.
    E = torch.tensor([[[scale, 1e-5 * scale], [0, scale]]], dtype=dtype)
    with denormals_read_as_zero():
        M = ni.BlockTridiagonal(D, B, method=method)
        result, shifted = M.solve(b, certify=True), M.solve(b, certify=True, jitter=1e-310)
        whole = ni.BlockTridiagonal(E, E[:0], method=method).solve(b.mT, certify=True)
    assert result.status.tolist() == [ni.Status.SINGULAR, ni.Status.CERTIFIED, ni.Status.CERTIFIED]
    assert result.error_bound[0] == torch.inf
    assert bool(result.solution[0].isnan().all())
    assert bool((shifted.status == ni.Status.SINGULAR).all())  # 1e-310 is a denormal, too
    assert whole.status == ni.Status.CERTIFIED


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_denormals_of_the_right_hand_side_that_are_read_as_zero_are_errors(dtype: torch.dtype) -> None:
    tiny = torch.finfo(dtype).smallest_normal
    D, B = torch.ones(3, 2, 1, 1, dtype=dtype), torch.zeros(3, 1, 1, 1, dtype=dtype)
    b = torch.tensor([[[0], [tiny / 8]], [[16 * tiny], [tiny / 2]], [[0], [0]]], dtype=dtype)  # the solution, too
    with denormals_read_as_zero():
        result = ni.BlockTridiagonal(D, B).solve(b, certify=True)
    assert result.error_bound[0] == torch.inf
    assert 1 / 32 <= float(result.error_bound[1]) <= 1 / 4
    assert float(result.error_bound[2]) == 0
    assert result.status.tolist() == [ni.Status.ILL_CONDITIONED, ni.Status.ILL_CONDITIONED, ni.Status.CERTIFIED]


def test_the_largest_numbers_where_the_powers_that_scale_them_are_denormal() -> None:
    D, B = torch.ones(2, 1, 1, dtype=torch.float64), torch.zeros(1, 1, 1, dtype=torch.float64)
    b = torch.tensor([[1.7e308], [1e300]], dtype=torch.float64)
    with denormals_read_as_zero():
        result = ni.BlockTridiagonal(D, B).solve(b, certify=True)
    assert torch.equal(result.solution, b)
    assert result.status == ni.Status.CERTIFIED


def test_denormals_that_are_read_are_certified() -> None:
    D, B = random_precision(steps=3, n=2)
    b = torch.ones(3, 2, dtype=torch.float64)
    small, expected = (D * 1e-311, B * 1e-311, b * 1e-311), ni.BlockTridiagonal(D, B).solve(b)
    result = ni.BlockTridiagonal(*small[:2]).solve(small[2], certify=True)
    assert result.status == ni.Status.CERTIFIED
    torch.testing.assert_close(result.solution, expected, rtol=1e-10, atol=0)


def test_a_tolerance_without_a_proof() -> None:
    D, B = random_precision(steps=2, n=2)
    with pytest.raises(ValueError, match=r"rtol=3 says what certify=True has to prove"):
        ni.BlockTridiagonal(D, B).solve(torch.ones(2, 2, dtype=torch.float64), rtol=3)
