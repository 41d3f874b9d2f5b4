"""`assume_a="pos"`: the lower triangle, Cholesky's outcome, gradients of symmetric matrices."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import neuralinv as ni

DTYPES = [torch.float32, torch.float64, torch.complex64, torch.complex128]


def positive(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    G = torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(sum(shape)))
    return G @ G.mH + torch.eye(shape[-1], dtype=dtype)


@pytest.mark.parametrize("kind", [torch.clone, Tensor.numpy], ids=["torch", "numpy"])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", [(3, 3), (200, 4, 4), (2, 3, 12, 12), (2, 40, 40), (0, 3, 3), (2, 0, 0)], ids=str)
def test_the_lower_triangle_alone_is_read(shape: tuple[int, ...], dtype: torch.dtype, kind: Any) -> None:
    A = positive(*shape, dtype=dtype)
    b = torch.randn(*shape[:-1], 2, dtype=dtype, generator=torch.Generator().manual_seed(1))
    lower = kind(torch.tril(A) + torch.triu(torch.full_like(A, torch.nan), 1))
    tolerance = {"rtol": 1e-3, "atol": 1e-4} if dtype in (torch.float32, torch.complex64) else {}
    expected = torch.linalg.inv(A)
    for X in (ni.inv(lower, assume_a="pos"), ni.inv_ex(lower, assume_a="pos").inverse):
        assert type(X) is type(lower)
        torch.testing.assert_close(torch.as_tensor(X), expected, **tolerance)
    expected = torch.linalg.solve(A, b)
    for X in (ni.solve(lower, kind(b), assume_a="pos"), ni.solve_ex(lower, kind(b), assume_a="pos").result):
        torch.testing.assert_close(torch.as_tensor(X), expected, **tolerance)
    sign, logabsdet = ni.slogdet(lower, assume_a="pos")
    assert (torch.as_tensor(sign) == 1).all()
    assert torch.as_tensor(sign).dtype == dtype
    torch.testing.assert_close(torch.as_tensor(logabsdet), torch.linalg.slogdet(A).logabsdet, **tolerance)


@pytest.mark.parametrize(
    ("kind", "error"), [(Tensor.numpy, np.linalg.LinAlgError), (torch.clone, torch.linalg.LinAlgError)]
)
@pytest.mark.parametrize("n", [3, 50])
def test_matrices_that_are_not_positive_definite(kind: Any, error: type[Exception], n: int) -> None:
    A = torch.eye(n, dtype=torch.float64).repeat(2, 3, 1, 1)
    A[1, 0, 1, 1] = -1
    b = torch.ones(2, 3, n, 1, dtype=torch.float64)
    message = r"not positive definite \(batch element \(1, 0\)\): leading minor 2 "
    for call in (ni.inv, ni.slogdet, lambda A, assume_a: ni.solve(A, kind(b), assume_a=assume_a)):
        with pytest.raises(error, match=message):
            call(kind(A), assume_a="pos")
    X, info = ni.inv_ex(kind(A), assume_a="pos")
    x, same = ni.solve_ex(kind(A), kind(b), assume_a="pos")
    assert info.tolist() == same.tolist() == [[0, 0, 0], [2, 0, 0]]
    assert bool(torch.as_tensor(X[1, 0]).isnan().all() & torch.as_tensor(x[1, 0]).isnan().all())
    assert bool(torch.as_tensor(X[0]).isfinite().all())
    assert bool(torch.as_tensor(ni.inv(kind(A))).isfinite().all())  # in general, these are regular


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128], ids=str)
def test_derivatives(dtype: torch.dtype) -> None:
    A = positive(2, 3, 3, dtype=dtype).requires_grad_()
    b = torch.randn(2, 3, 2, dtype=dtype, requires_grad=True)

    def hermitian(A: Tensor) -> Tensor:
        return (A + A.mH) / 2

    def inverse(A: Tensor) -> Tensor:
        return ni.inv(hermitian(A), assume_a="pos")

    def solution(A: Tensor, b: Tensor) -> Tensor:
        return ni.solve(hermitian(A), b, assume_a="pos")

    def determinant(A: Tensor) -> Tensor:
        return ni.slogdet(hermitian(A), assume_a="pos").logabsdet

    for function, inputs in ((inverse, (A,)), (solution, (A, b)), (determinant, (A,))):
        assert torch.autograd.gradcheck(function, inputs, check_forward_ad=True)
        assert torch.autograd.gradgradcheck(function, inputs)
    # What is promised to be symmetric has a symmetric gradient.
    weight = torch.randn(2, 3, 3, dtype=dtype)
    (gradient,) = torch.autograd.grad(ni.inv(A, assume_a="pos"), A, weight)
    torch.testing.assert_close(gradient, gradient.mH)
    assert not torch.equal(weight, weight.mH)


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128], ids=str)
@pytest.mark.parametrize("n", [2, 5, 40])
def test_forward_derivatives_are_those_of_the_symmetric_part(n: int, dtype: torch.dtype) -> None:
    A, tangent, weight = positive(n, n, dtype=dtype), torch.randn(n, n, dtype=dtype), torch.randn(n, n, dtype=dtype)
    above = torch.triu(torch.full((n, n), torch.nan, dtype=dtype), 1)  # which nobody reads

    def inverse(A: Tensor) -> Tensor:
        return (ni.inv(A, assume_a="pos") * weight).sum().real

    def solution(A: Tensor) -> Tensor:
        return (ni.solve(A, weight, assume_a="pos") * weight).sum().real

    def determinant(A: Tensor) -> Tensor:
        return ni.slogdet(A, assume_a="pos").logabsdet

    for function in (inverse, solution, determinant):
        expected = (torch.func.grad(function)(A).conj() * tangent).sum().real
        for matrix in (A, A + above):
            value, derivative = torch.func.jvp(function, (matrix,), (tangent,))
            torch.testing.assert_close(derivative, expected)
            torch.testing.assert_close(value, function(A))
        if dtype == torch.float64 and n < 10:
            hessian = torch.func.hessian(function)(A).reshape(n * n, n * n)  # forward over backward
            torch.testing.assert_close(hessian, hessian.mT)
            torch.testing.assert_close(hessian, torch.func.jacrev(torch.func.grad(function))(A).reshape(n * n, n * n))


@pytest.mark.parametrize("assume_a", ["sym", "positive", None, ["pos"]])
@pytest.mark.parametrize("function", [ni.inv, ni.inv_ex, ni.slogdet])
def test_unknown_assumptions(function: Any, assume_a: Any) -> None:
    with pytest.raises(ValueError, match=r"assume_a=.*expected 'gen' .* or 'pos'"):
        function(np.eye(2), assume_a=assume_a)
    with pytest.raises(ValueError, match=r"assume_a=.*expected 'gen' .* or 'pos'"):
        ni.solve(np.eye(2), np.ones(2), assume_a=assume_a)
