"""M x = b and log det M in one call: values and gradients against dense float64 matrices."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import neuralinv as ni
from neuralinv.block_tridiagonal import kernels
from neuralinv.block_tridiagonal.conformance import TOLERANCE, random_precision

METHODS = ["native", "cyclic", "loop"]


def problem(*batch: int, steps: int, n: int, k: int, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    D, B = random_precision(*batch, steps=steps, n=n, dtype=dtype, seed=n)
    b = torch.randn(*batch, steps, n, k, generator=torch.Generator().manual_seed(n), dtype=torch.float64)
    return D, B, b.to(dtype)


def by_dense_matrices(D: Tensor, B: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Return solution and log-determinant of the dense symmetric matrices."""
    D = (D + D.mT) / 2
    steps, n = D.shape[-3], D.shape[-1]
    M = D.new_zeros(*D.shape[:-3], steps, n, steps, n)
    index = torch.arange(steps)
    M[..., index, :, index, :] = D.movedim(-3, 0)
    M[..., index[1:], :, index[:-1], :] = B.movedim(-3, 0)
    M[..., index[:-1], :, index[1:], :] = B.mT.movedim(-3, 0)
    M = M.flatten(-2).flatten(-3, -2)
    x = torch.linalg.solve(M, b.flatten(-3, -2))
    return x.reshape(b.shape), torch.linalg.slogdet(M).logabsdet


def with_gradients(function: Any, *inputs: Tensor) -> list[Tensor]:
    leaves = [x.clone().requires_grad_() for x in inputs]
    x, logdet = function(*leaves)
    weights = torch.linspace(-1, 1, x.numel(), dtype=x.dtype).reshape(x.shape)
    gains = torch.linspace(1, 2, logdet.numel(), dtype=x.dtype).reshape(logdet.shape)
    scalar = (weights * x).sum() + (gains * logdet).sum()
    gradients = torch.autograd.grad(scalar, leaves, materialize_grads=True)
    return [x.detach(), logdet.detach(), *gradients]


def assert_close(ours: list[Tensor], exact: list[Tensor], dtype: torch.dtype) -> None:
    for mine, truth in zip(ours, exact, strict=True):
        assert mine.dtype == dtype
        # Gradients hold products of two solutions: the condition number, 10, once more.
        atol = 100 * TOLERANCE[dtype] * float(truth.abs().max()) if truth.numel() else 0.0
        torch.testing.assert_close(mine.double(), truth, rtol=0, atol=atol)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 8, 10, 13, 16, 20, 32, 33])
def test_values_and_gradients(n: int, dtype: torch.dtype) -> None:
    # One after another, in lanes, lanes and some left over; right-hand sides that fit the padding of a block and not.
    for batch, steps, k in itertools.product(([], [16], [2, 11]), (1, 2, 3), (1, 3)):
        D, B, b = problem(*batch, steps=steps, n=n, k=k, dtype=dtype)
        ours = with_gradients(lambda D, B, b: ni.BlockTridiagonal(D, B).solve_logdet(b), D, B, b)
        exact = with_gradients(by_dense_matrices, D.double(), B.double(), b.double())
        assert_close(ours, exact, dtype)
        assert torch.equal(ours[2], ours[2].mT)  # the gradient of a symmetric block


@pytest.mark.parametrize("batch", [[], [16]], ids=["one", "lanes"])
def test_each_of_the_two_alone(batch: list[int]) -> None:
    D, B, b = problem(*batch, steps=4, n=5, k=2, dtype=torch.float64)
    both = ni.BlockTridiagonal(D, B).solve_logdet(b)
    torch.testing.assert_close(ni.BlockTridiagonal(D, B).solve(b), both.solution)
    torch.testing.assert_close(ni.BlockTridiagonal(D, B).logdet(), both.logdet)
    for part in (0, 1):
        leaves = [x.clone().requires_grad_() for x in (D, B, b)]
        dense = [x.clone().requires_grad_() for x in (D, B, b)]
        M = ni.BlockTridiagonal(leaves[0], leaves[1])
        alone = M.logdet() if part else M.solve(leaves[2])
        shared = ni.BlockTridiagonal(leaves[0], leaves[1]).solve_logdet(leaves[2])[part]
        for ours in (alone, shared):
            found = torch.autograd.grad(ours.square().sum(), leaves, materialize_grads=True)
            exact = torch.autograd.grad(by_dense_matrices(*dense)[part].square().sum(), dense, materialize_grads=True)
            assert_close(list(found), list(exact), torch.float64)


def test_one_right_hand_side_as_a_vector_and_right_hand_sides_alone_differentiated() -> None:
    D, B, b = problem(3, steps=4, n=3, k=1, dtype=torch.float64)
    rhs = b[..., 0].requires_grad_()
    result = ni.BlockTridiagonal(D, B).solve_logdet(rhs)
    assert result.solution.shape == rhs.shape
    assert not result.logdet.requires_grad
    (gradient,) = torch.autograd.grad(result.solution.sum(), rhs)
    torch.testing.assert_close(gradient, ni.BlockTridiagonal(D, B).solve(torch.ones_like(rhs)))


@pytest.mark.parametrize("method", METHODS)
def test_every_method_broadcasts_and_takes_jitter(method: Any) -> None:
    D, B, _ = problem(steps=3, n=2, k=1, dtype=torch.float64)
    b = torch.randn(5, 3, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    M = ni.BlockTridiagonal(D, B, method=method)
    found = M.solve_logdet(b, jitter=0.5)
    x, logdet = by_dense_matrices(D + 0.5 * torch.eye(2), B, b.permute(1, 2, 0))
    torch.testing.assert_close(found.solution, x.permute(2, 0, 1))
    torch.testing.assert_close(found.logdet, logdet)
    torch.testing.assert_close(M.solve_logdet(b[0], jitter=0.5).solution, x[..., 0])


def test_numpy_arrays() -> None:
    D, B, b = (x.numpy() for x in problem(2, steps=3, n=2, k=1, dtype=torch.float64))
    M = ni.BlockTridiagonal(D, B)
    x, logdet = M.solve_logdet(b)
    assert isinstance(x, np.ndarray)
    assert isinstance(logdet, np.ndarray)
    np.testing.assert_allclose(M.matmul(x), b)
    np.testing.assert_allclose(logdet, np.linalg.slogdet(M.to_dense()).logabsdet)
    with pytest.raises(np.linalg.LinAlgError, match=r"sequence 0\): at time step 0, pivot 1 of 2"):
        ni.BlockTridiagonal(-D, B).solve_logdet(b)


@pytest.mark.parametrize("sequences", [3, 40])
def test_failures_name_sequence_step_and_pivot(sequences: int) -> None:
    D, B, b = problem(sequences, steps=4, n=3, k=1, dtype=torch.float32)
    D[2, 3, 2, 2] = -1
    M = ni.BlockTridiagonal(D.requires_grad_(), B)
    for call in (lambda: M.solve_logdet(b), lambda: M.solve(b), M.logdet):
        with pytest.raises(torch.linalg.LinAlgError, match=r"sequence 2\): at time step 3, pivot 3 of 3"):
            call()


@pytest.mark.parametrize("batch", [[], [16]], ids=["one", "lanes"])
@pytest.mark.parametrize("scale", [1e-38, 1e37])
def test_pivots_whose_reciprocal_leaves_the_range(scale: float, batch: list[int]) -> None:
    D, B, b = problem(*batch, steps=3, n=5, k=1, dtype=torch.float32)
    x, logdet = ni.BlockTridiagonal(D * scale, B * scale).solve_logdet(b * scale)
    exact = ni.BlockTridiagonal(D.double(), B.double()).solve_logdet(b.double())
    torch.testing.assert_close(x.double(), exact.solution, rtol=0, atol=1e-4 * float(exact.solution.abs().max()))
    torch.testing.assert_close(logdet.double(), exact.logdet + 15 * np.log(scale), rtol=1e-5, atol=0)


def test_long_sequences_keep_the_precision_of_logarithms() -> None:
    D, B, _ = problem(16, steps=2000, n=3, k=1, dtype=torch.float32)
    exact = ni.BlockTridiagonal(D.double(), B.double(), method="native").logdet()
    torch.testing.assert_close(ni.BlockTridiagonal(D, B).logdet().double(), exact, rtol=3e-6, atol=0)


def test_threads_change_nothing() -> None:
    D, B, b = problem(70, steps=30, n=6, k=1, dtype=torch.float32)
    threads, results = torch.get_num_threads(), []
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            results.append(with_gradients(lambda D, B, b: ni.BlockTridiagonal(D, B).solve_logdet(b), D, B, b))
    finally:
        torch.set_num_threads(threads)
    for one, two in zip(*results, strict=True):
        assert torch.equal(one, two)


def test_one_call_of_the_kernels_each_way(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any, **kwargs: Any) -> Any:
        raise AssertionError("a step of its own")

    for name in ("factor", "factor_backward", "solve", "solve_backward", "log_diagonal", "log_diagonal_backward"):
        monkeypatch.setattr(kernels, name, refuse)
    D, B, b = (x.requires_grad_() for x in problem(steps=3, n=2, k=1, dtype=torch.float64))
    x, logdet = ni.BlockTridiagonal(D, B).solve_logdet(b)
    (x.sum() + logdet).backward()
    assert all(leaf.grad is not None for leaf in (D, B, b))


@pytest.mark.parametrize("batch", [[], [16]], ids=["one", "lanes"])
@pytest.mark.parametrize("needed", [(True, True, True), (False, False, True), (True, False, False)], ids=str)
def test_second_derivatives(needed: tuple[bool, ...], batch: list[int]) -> None:
    D, B, b = problem(*batch, steps=3, n=2, k=2, dtype=torch.float64)
    arguments = [x.requires_grad_(asked) for x, asked in zip((D, B, b), needed, strict=True)]

    def function(D: Tensor, B: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        x, logdet = ni.BlockTridiagonal((D + D.mT) / 2, B).solve_logdet(b)
        return x, logdet + b.square().sum()  # which is differentiated, too

    asked = [x for x in arguments if x.requires_grad]
    value = sum((y * torch.linspace(1, 2, y.numel()).reshape(y.shape)).sum() for y in function(*arguments))
    again = torch.autograd.grad(value, asked, create_graph=True, retain_graph=True)
    for ours, theirs in zip(again, torch.autograd.grad(value, asked), strict=True):
        torch.testing.assert_close(ours, theirs)
    assert torch.autograd.gradgradcheck(function, arguments, fast_mode=True)
