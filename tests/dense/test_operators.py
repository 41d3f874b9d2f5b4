"""What torch does with `inv`, `solve` and `slogdet`: compile, map, differentiate twice and forwards."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import neuralinv as ni
from neuralinv.dense import native, operators


def regular(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    G = torch.randn(*shape, dtype=dtype, generator=generator)
    return G @ G.mH + torch.eye(shape[-1], dtype=dtype)


B = torch.randn(3, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
Functions = tuple[Callable[[Tensor], Any], Callable[[Tensor], Any]]
PAIRS: dict[str, Functions] = {
    "inv": (ni.inv, torch.linalg.inv),
    "inv_ex": (lambda A: ni.inv_ex(A).inverse, torch.linalg.inv),
    "solve": (lambda A: ni.solve(A, B), lambda A: torch.linalg.solve(A, B)),
    "solve_ex": (lambda A: ni.solve_ex(A, B).result, lambda A: torch.linalg.solve(A, B)),
    "slogdet": (lambda A: ni.slogdet(A).logabsdet, lambda A: torch.linalg.slogdet(A).logabsdet),
    "inv pos": (lambda A: ni.inv(A, assume_a="pos"), torch.linalg.inv),
    "solve pos": (lambda A: ni.solve(A, B, assume_a="pos"), lambda A: torch.linalg.solve(A, B)),
    "slogdet pos": (lambda A: ni.slogdet(A, assume_a="pos").logabsdet, lambda A: torch.linalg.slogdet(A).logabsdet),
}


@pytest.fixture(params=PAIRS)
def functions(request: pytest.FixtureRequest) -> Functions:
    ours, theirs = PAIRS[request.param]
    # Symmetric from either side, so that gradients agree.
    return lambda A: ours((A + A.mT) / 2), lambda A: theirs((A + A.mT) / 2)


@pytest.mark.parametrize("grad", [False, True])
def test_compiles_without_graph_breaks(functions: Functions, grad: bool) -> None:
    ours, theirs = functions
    torch._dynamo.reset()
    A = regular(40, 3, 3).requires_grad_(grad)
    compiled = torch.compile(lambda A: ours(A).sin(), fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(A), theirs(A).sin())
    if grad:
        (mine,) = torch.autograd.grad(compiled(A).sum(), A)
        (expected,) = torch.autograd.grad(theirs(A).sin().sum(), A)
        torch.testing.assert_close(mine, expected)


def test_function_transforms(functions: Functions, request: pytest.FixtureRequest) -> None:
    ours, theirs = functions
    A = regular(6, 3, 3)
    for transform in (torch.func.vmap, lambda f: torch.func.vmap(torch.func.vmap(f))):
        batch = A if transform is torch.func.vmap else A.reshape(2, 3, 3, 3)
        torch.testing.assert_close(transform(ours)(batch), transform(theirs)(batch))
    for transform in (torch.func.jacrev, torch.func.jacfwd, torch.func.hessian):
        torch.testing.assert_close(transform(ours)(A[0]), transform(theirs)(A[0]))
        # torch 2.13 errs where it maps the forward derivatives of solve and slogdet, which run for general matrices.
        general = request.node.name.endswith(("[solve]", "[solve_ex]", "[slogdet]"))
        if not general or transform is torch.func.jacrev:
            one_by_one = torch.stack([transform(theirs)(matrix) for matrix in A])
            torch.testing.assert_close(torch.func.vmap(transform(ours))(A), one_by_one)
    tangent = torch.randn_like(A)
    torch.testing.assert_close(torch.func.jvp(ours, (A,), (tangent,)), torch.func.jvp(theirs, (A,), (tangent,)))
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(A, tangent)
        mine, expected = (torch.autograd.forward_ad.unpack_dual(f(dual)).tangent for f in (ours, theirs))
    torch.testing.assert_close(mine, expected)


def test_function_transforms_inside_of_compiled_functions(functions: Functions) -> None:
    ours, _ = functions
    A = regular(2, 3, 3)
    tangent = torch.randn(3, 3, dtype=A.dtype)

    def number(A: Tensor) -> Tensor:
        return ours(A).sin().sum()

    def along(A: Tensor) -> Any:
        return torch.func.jvp(number, (A,), (tangent,))

    gradient = torch.func.grad(number)
    for function, argument in ((along, A[0].clone()), (gradient, A[0]), (torch.func.vmap(gradient), A)):
        torch._dynamo.reset()
        compiled = torch.compile(function, fullgraph=True, backend="eager")
        torch.testing.assert_close(compiled(argument), function(argument))


def test_gradients_through_mapped_functions(functions: Functions) -> None:
    A = regular(6, 3, 3).requires_grad_()
    mine, expected = (torch.autograd.grad(torch.func.vmap(f)(A).sin().sum(), A)[0] for f in functions)
    torch.testing.assert_close(mine, expected)


def test_a_mapped_matrix_beside_a_shared_right_hand_side() -> None:
    A, b = regular(5, 3, 3), torch.randn(4, 3, 1, dtype=torch.float64)
    for in_dims in ((0, None), (None, 0)):
        arguments = (A, b[0]) if in_dims[1] is None else (A[0], b)
        mine, expected = (torch.func.vmap(f, in_dims=in_dims)(*arguments) for f in (ni.solve, torch.linalg.solve))
        torch.testing.assert_close(mine, expected)


HAVE = {operation: native.largest_size(operation, torch.float64, positive=False) > 0 for operation in native.OPERATIONS}


@pytest.mark.parametrize("positive", [False, True])
@pytest.mark.parametrize("grad", [False, True])
def test_the_operators_are_what_torch_expects(grad: bool, positive: bool) -> None:
    A, b = regular(5, 3, 3).requires_grad_(grad), torch.randn(5, 3, 2, dtype=torch.float64, requires_grad=grad)
    for operation, arguments, ops in (
        ("inv", (A, positive), (operators.inv_op, operators.inv_ex_op)),
        ("solve", (A, b, positive), (operators.solve_op, operators.solve_ex_op)),
        ("slogdet", (A, positive), (operators.slogdet_op,)),
    ):
        if native.largest_size(operation, torch.float64, positive=positive):
            for op in ops:
                torch.library.opcheck(op, arguments)


def test_singular_matrices_in_compiled_code() -> None:
    compiled = torch.compile(lambda A: ni.solve(A, A), fullgraph=True, backend="aot_eager")
    with pytest.raises(torch.linalg.LinAlgError, match=r"[Ss]ingular"):
        compiled(torch.zeros(4, 3, 3))


def test_several_gradients_at_once() -> None:
    A, b = regular(7, 4, 4).requires_grad_(), torch.randn(4, dtype=torch.float64, requires_grad=True)
    for ours, theirs in ((ni.solve, torch.linalg.solve),):
        mine, expected = (torch.autograd.grad(f(A, b).sin().sum(), (A, b)) for f in (ours, theirs))
        torch.testing.assert_close(mine, expected)
    (only,) = torch.autograd.grad(ni.solve(A.detach(), b).sum(), b)
    torch.testing.assert_close(only, torch.autograd.grad(torch.linalg.solve(A.detach(), b).sum(), b)[0])
