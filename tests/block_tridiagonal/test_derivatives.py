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


def nearly_singular() -> tuple[Tensor, Tensor]:
    """Positive definite by 2e-7: the kernels factor it, cyclic reduction in float32 does not."""
    D = torch.tensor([
        [[5.021724700927734, -4.7437214851379395], [-4.7437214851379395, 5.2169647216796875]],
        [[1.7713429927825928, -1.207329273223877], [-1.207329273223877, 1.7761379480361938]],
    ])  # fmt: skip
    B = torch.tensor([[[1.5268750190734863, -0.5177472233772278], [-0.3394452631473541, -0.2012666016817093]]])
    return D.requires_grad_(), B.requires_grad_()


@pytest.mark.parametrize("what", range(10))
def test_gradients_that_can_be_differentiated_are_the_same(what: int) -> None:
    D, B = nearly_singular()
    b = torch.ones(2, 2, requires_grad=True)
    value = results(D, B, b)[what].sum()
    once, twice = (
        torch.autograd.grad(value, (D, B, b), create_graph=again, retain_graph=True, materialize_grads=True)
        for again in (False, True)
    )
    for ours, theirs in zip(twice, once, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=0)
    assert float(once[0].abs().max()) > 0


def test_second_derivatives_where_cyclic_reduction_fails() -> None:
    D, B = nearly_singular()
    M = ni.BlockTridiagonal(D, B)
    for value, finite in ((M.logdet(), True), (M.solve(torch.ones(2, 2)).sum(), True), (M.cholesky().logdet(), False)):
        (gradient,) = torch.autograd.grad(value, D, create_graph=True)
        (again,) = torch.autograd.grad(gradient.sum(), D)
        assert bool(again.isfinite().all()) if finite else bool(again.isnan().all())  # never zero


def test_inputs_that_depend_on_each_other() -> None:
    A, _, _ = inputs(steps=3, n=2)

    def everything(A: Tensor) -> tuple[Any, ...]:
        D = (A + A.mT) / 2
        M = ni.BlockTridiagonal(D, D[1:] @ torch.tensor([[0.1, 0.2], [-0.2, 0.1]], dtype=D.dtype))
        F = M.cholesky()
        L = F.diag
        free = ni.BlockBidiagonal(L, L[1:] / 2)
        return L, F.lower, *free.inverse_blocks(), free.solve(L[..., 0]), *M.solve_logdet(D[..., 0].sin())

    for value in everything(A):
        once, twice = (
            torch.autograd.grad(value.sum(), A, create_graph=again, retain_graph=True)[0] for again in (False, True)
        )
        torch.testing.assert_close(twice, once)
    assert torch.autograd.gradgradcheck(everything, A, fast_mode=True)


def test_third_derivatives() -> None:
    D, B, b = inputs(steps=2, n=2)

    def gradients(D: Tensor, B: Tensor, b: Tensor) -> tuple[Tensor, ...]:
        return torch.autograd.grad(total(D, B, b).sin(), (D, B, b), create_graph=True)

    assert torch.autograd.gradgradcheck(gradients, (D, B, b), fast_mode=True)


@pytest.mark.parametrize("method", METHODS)
def test_failures_have_no_derivatives_either(method: Any) -> None:
    good, B = torch.eye(2).repeat(2, 1, 1), torch.zeros(1, 2, 2)
    bad = torch.stack([torch.eye(2), -torch.eye(2)])

    def value(D: Tensor, B: Tensor, b: Tensor) -> Tensor:
        x, logdet = ni.BlockTridiagonal(D, B, method=method).solve_logdet(b)
        return x.sum() + logdet

    arguments = torch.stack([good, bad]), B.repeat(2, 1, 1, 1), torch.ones(2, 2, 2)
    gradients = torch.func.vmap(torch.func.grad(value, argnums=(0, 1, 2)))(*arguments)
    _, tangents = torch.func.jvp(torch.func.vmap(value), arguments, arguments)
    for gradient in gradients:
        assert bool(gradient[0].isfinite().all())
        assert bool(gradient[1].isnan().all())
    assert tangents.isnan().tolist() == [False, True]
    D = arguments[0].clone().requires_grad_()
    factor = ni.BlockTridiagonal(D, arguments[1], method=method).cholesky_ex().factor
    for value_of_factor in (factor.logdet(), factor.solve(arguments[2]), factor.inverse_blocks().diag):
        (gradient,) = torch.autograd.grad(value_of_factor.sum(), D, retain_graph=True)
        assert bool(gradient[0].isfinite().all())
        assert bool(gradient[1].isnan().all())


def test_what_the_loop_factors_after_all_is_differentiated() -> None:
    # In float32 cyclic reduction comes to a pivot of zero in the first sequence.
    D = torch.tensor([[1.0105534187232479e-07, 0.08676716685295105, 0.4146234393119812], [1, 1, 1]])[..., None, None]
    B = torch.tensor([[-8.199550211429596e-05, 0.09160018712282181], [0, 0.5]])[..., None, None]
    gradients = []
    for method in ("cyclic", "loop"):
        leaf = D.clone().requires_grad_()
        value = ni.BlockTridiagonal(leaf, B, method=method).logdet()  # type: ignore[arg-type]
        gradients.append(torch.autograd.grad(value.sum(), leaf)[0])
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("method", METHODS)
def test_derivatives_along_tangents_that_are_not_symmetric(method: Any) -> None:
    D, B, b = (x.detach() for x in inputs(steps=3, n=2))
    junk = D.clone()
    junk[:, 0, 1] = torch.tensor([torch.nan, torch.inf, 7.0])
    E = torch.randn(D.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)

    def functions(D: Tensor) -> tuple[Any, ...]:
        M = ni.BlockTridiagonal(D, B, method=method)
        F = M.cholesky()
        return F.diag, F.lower, *F.inverse_blocks(), *M.solve_logdet(b), M.matmul(b), M.to_dense()

    expected, tangents = torch.func.jvp(functions, (D,), ((E + E.mT) / 2,))
    for primal in (D, junk):
        values, along = torch.func.jvp(functions, (primal,), (E,))
        for ours, theirs in zip((*values, *along), (*expected, *tangents), strict=True):
            torch.testing.assert_close(ours, theirs)
    for i, tangent in enumerate(tangents):
        weights = torch.linspace(1, 2, tangent.numel(), dtype=torch.float64).reshape(tangent.shape)
        gradient = torch.func.grad(lambda D, i=i, w=weights: (functions(D)[i] * w).sum())(D)
        torch.testing.assert_close((gradient * E).sum(), (weights * tangent).sum())
        assert torch.allclose(gradient, gradient.mT)
    hessian = torch.func.hessian(lambda D: functions(D)[5])(D).reshape(12, 12)
    torch.testing.assert_close(hessian, hessian.mT)


@pytest.mark.parametrize("method", METHODS)
def test_jitter_is_differentiated_mapped_and_traced(method: Any) -> None:
    D, B, b = (x.detach() for x in inputs(steps=3, n=2))
    M = ni.BlockTridiagonal(D, B, method=method)
    jitter = torch.tensor(0.0, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(M.logdet(jitter=jitter), jitter)
    torch.testing.assert_close(gradient, torch.linalg.inv(M.to_dense()).trace())
    shifts = torch.tensor([0.0, 0.5])  # float32, as numbers are
    expected = torch.stack([M.solve(b, jitter=shift) for shift in (0.0, 0.5)])
    torch.testing.assert_close(torch.func.vmap(lambda j: M.solve(b, jitter=j))(shifts), expected)
    compiled = torch.compile(lambda j: M.solve(b, jitter=j), fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(shifts[1]), expected[1])


@pytest.mark.parametrize("method", METHODS)
def test_derivatives_inside_of_compiled_functions(method: Any) -> None:
    D, B, b = (x.detach() for x in inputs(steps=2, n=2))
    E = torch.randn(D.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)

    def value(D: Tensor) -> Tensor:
        M = ni.BlockTridiagonal(D, B, method=method)
        return M.logdet() + (M.solve(b) * M.matmul(b)).sum()

    def along(D: Tensor) -> Any:
        return torch.func.jvp(value, (D,), (E,))

    torch.testing.assert_close(torch.compile(along, fullgraph=True, backend="eager")(D), along(D))
    leaf = D.clone().requires_grad_()
    compiled = torch.compile(value, fullgraph=True, backend="eager")
    (gradient,) = torch.autograd.grad(compiled(leaf), leaf)
    torch.testing.assert_close(gradient, torch.func.grad(value)(D))
    D[:, 0, 1] = torch.nan  # above the diagonal nothing is read
    torch.testing.assert_close(compiled(D), value(leaf))
    inner = torch.compile(torch.func.grad(value), fullgraph=True, backend="eager")
    torch.testing.assert_close(inner(leaf.detach()), gradient)
