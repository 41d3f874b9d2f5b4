"""Gradients of every method, eager, compiled and under torch.func."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import neuralinv as ni
from neuralinv.block_tridiagonal import custom_ops
from neuralinv.block_tridiagonal.conformance import random_precision

METHODS = ["native", "cyclic", "loop"]


def results(D: Tensor, B: Tensor, b: Tensor, method: str = "native") -> tuple[Any, ...]:
    """Everything that an operator computes, for D made symmetric."""
    M = ni.BlockTridiagonal((D + D.mT) / 2, B, method=method)
    F = M.cholesky()
    factored = F.diag, F.lower, F.solve(b), F.solve_transpose(b), *F.inverse_blocks()
    return *factored, M.solve(b), M.logdet(), *M.solve_logdet(b)


def total(D: Tensor, B: Tensor, b: Tensor, method: str = "native") -> Tensor:
    flat = torch.cat([r.flatten() for r in results(D, B, b, method)])
    return flat @ torch.linspace(1, 2, flat.numel()).to(flat)


def inputs(*batch: int, steps: int, n: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor]:
    D, B = random_precision(*batch, steps=steps, n=n, dtype=dtype)
    generator = torch.Generator().manual_seed(7)
    b = torch.randn(*batch, steps, n, generator=generator, dtype=torch.float64).to(dtype)
    return D.requires_grad_(), B.requires_grad_(), b.requires_grad_()


@pytest.mark.parametrize(("steps", "n"), [(1, 2), (2, 1), (3, 2)])
@pytest.mark.parametrize("method", METHODS)
def test_first_derivatives(method: str, steps: int, n: int) -> None:
    assert torch.autograd.gradcheck(lambda *a: results(*a, method), inputs(2, steps=steps, n=n))


@pytest.mark.parametrize("method", METHODS)
def test_second_derivatives(method: str) -> None:
    def everything(*arguments: Tensor) -> tuple[Any, ...]:
        return results(*arguments, method)

    assert torch.autograd.gradgradcheck(everything, inputs(steps=2, n=2), fast_mode=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("n", [1, 3, 4, 5, 8, 10, 12, 13, 16, 20, 24, 33])
def test_methods_agree(n: int, dtype: torch.dtype) -> None:
    arguments = inputs(2, steps=5, n=n, dtype=dtype)
    loop = torch.autograd.grad(total(*(x.double() for x in arguments), "loop"), arguments)
    native = torch.autograd.grad(total(*arguments, "native"), arguments)
    for ours, theirs in zip(native, loop, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=(1e-3 if dtype == torch.float32 else 1e-11) * float(theirs.abs().max()))  # fmt: skip  # noqa: E501


@pytest.mark.parametrize("k", [1, 2, 5])
def test_several_right_hand_sides(k: int) -> None:
    D, B, _ = inputs(3, steps=4, n=3)
    b = torch.randn(3, 4, 3, k, dtype=torch.float64, requires_grad=True)
    grads = [
        torch.autograd.grad((ni.BlockTridiagonal(D, B, method=m).cholesky().solve(b) ** 2).sum(), (D, B, b))
        for m in ("native", "loop")
    ]
    for ours, theirs in zip(*grads, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_the_gradient_of_diag_is_symmetric() -> None:
    D, B, b = inputs(steps=4, n=3)
    (gradient,) = torch.autograd.grad(ni.BlockTridiagonal(D, B).cholesky().solve(b).sum(), D)
    assert torch.equal(gradient, gradient.mT)


def test_one_of_the_inputs_alone() -> None:
    arguments = inputs(steps=4, n=2)
    everything = torch.autograd.grad(total(*arguments), arguments)
    for i, expected in enumerate(everything):
        alone = [x if i == j else x.detach() for j, x in enumerate(arguments)]
        torch.testing.assert_close(torch.autograd.grad(total(*alone), arguments[i])[0], expected)
    with torch.no_grad():
        assert not total(*arguments).requires_grad


def test_compiles_without_graph_breaks() -> None:
    arguments = inputs(2, steps=4, n=2)
    compiled = torch.compile(total, fullgraph=True, backend="aot_eager")
    expected = total(*arguments)
    torch.testing.assert_close(compiled(*arguments), expected)
    ours = torch.autograd.grad(compiled(*arguments), arguments)
    for mine, theirs in zip(ours, torch.autograd.grad(expected, arguments), strict=True):
        torch.testing.assert_close(mine, theirs)
    with pytest.raises(torch.linalg.LinAlgError, match=r"sequence 0\): at time step 0"):
        compiled(-arguments[0], *arguments[1:])


def test_the_operators_are_what_torch_expects() -> None:
    D, B, b = inputs(2, steps=4, n=2)
    L, C, _ = custom_ops.factor(D.detach(), B.detach(), True)
    torch.library.opcheck(custom_ops.factor, (D, B, True))
    torch.library.opcheck(custom_ops.factor_backward, (D.detach(), B.detach(), L, C, L, C))
    torch.library.opcheck(custom_ops.solve, (L.requires_grad_(), C, b[..., None], True))
    torch.library.opcheck(custom_ops.log_diagonal, (L,))


def test_function_transforms() -> None:
    D, B, b = (x.detach() for x in inputs(3, steps=4, n=2))
    for mapped, expected in zip(torch.func.vmap(results)(D, B, b), results(D, B, b), strict=True):
        torch.testing.assert_close(mapped, expected)
    E = D + 9 * torch.eye(2)  # with the couplings of another sequence, D alone is not positive definite
    shared = torch.func.vmap(results, in_dims=(1, None, 2))(E.transpose(0, 1), B[0], b.movedim(0, 2))
    for mapped, expected in zip(shared, results(E, B[:1], b), strict=True):
        torch.testing.assert_close(mapped, expected)
    with pytest.raises(torch.linalg.LinAlgError, match="time step 0, pivot 1 of 2"):
        torch.func.vmap(results)(-D, B, b)
    gradients = torch.func.vmap(torch.func.grad(total, argnums=(0, 1, 2)))(D, B, b)
    for i in range(3):
        arguments = [x[i].clone().requires_grad_() for x in (D, B, b)]
        for mapped, expected in zip(gradients, torch.autograd.grad(total(*arguments), arguments), strict=True):
            torch.testing.assert_close(mapped[i], expected)
    forward = torch.func.jacfwd(total)(D[0], B[0], b[0])
    torch.testing.assert_close(forward, torch.func.jacrev(total)(D[0], B[0], b[0]))
