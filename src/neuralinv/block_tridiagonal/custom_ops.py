"""The kernels as operators ``neuralinv::block_tridiagonal_*``, for torch.compile, torch.func and torch.export.

The blocks of the inverse have none: there torch sees cyclic reduction.

They take batches of one shape, have fake kernels, map under vmap, and know their derivatives. Eager calls of plain
tensors take the shorter way of :mod:`neuralinv.block_tridiagonal.native`: an operator costs some ten microseconds more.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from neuralinv.block_tridiagonal import backends, cyclic_reduction
from neuralinv.block_tridiagonal.backends import backend
from neuralinv.dense.operators import WAITING
from neuralinv.dense.precision import without_autocast

_DEVICES = ("cpu", "cuda")


@torch.library.custom_op("neuralinv::block_tridiagonal_factor", mutates_args=(), device_types=_DEVICES, **WAITING)
def factor(D: Tensor, B: Tensor, check: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Return ``L``, ``C`` and ``info``; raise ``torch.linalg.LinAlgError`` on failure if ``check``."""
    L, C, info = backends.factor(D.contiguous(), B.contiguous(), check)
    return L, C, D.new_zeros(D.shape[:-3], dtype=torch.int64) if info is None else info


@torch.library.custom_op("neuralinv::block_tridiagonal_factor_backward", mutates_args=(), device_types=_DEVICES)
def factor_backward(D: Tensor, B: Tensor, L: Tensor, C: Tensor, L_bar: Tensor, C_bar: Tensor) -> tuple[Tensor, Tensor]:
    """Return ``D_bar`` and ``B_bar``. ``D`` and ``B`` serve higher derivatives alone."""
    return backend(L).factor_backward(L.contiguous(), C.contiguous(), L_bar.contiguous(), C_bar.contiguous())


@torch.library.custom_op("neuralinv::block_tridiagonal_solve", mutates_args=(), device_types=_DEVICES)
def solve(L: Tensor, C: Tensor, b: Tensor, transposed: bool) -> Tensor:
    """Solve ``F x = b`` or ``Fᵀ x = b`` for ``b (*batch, T, n, k)``."""
    return backend(L).solve(L.contiguous(), C.contiguous(), b.contiguous(), transposed)


@torch.library.custom_op("neuralinv::block_tridiagonal_log_diagonal", mutates_args=(), device_types=_DEVICES)
def log_diagonal(L: Tensor) -> Tensor:
    """Sum the logarithms of the diagonals of all ``L_t``."""
    return backend(L).log_diagonal(L.contiguous())


# ---- derivatives, written once for the operators and for eager calls -------------------------------------------------


@without_autocast
def vjp(
    function: Callable[..., tuple[Tensor, ...]],
    inputs: tuple[Tensor, ...],
    grads: tuple[Tensor, ...],
    *,
    create_graph: bool,
) -> tuple[Tensor, ...]:
    """Pull ``grads`` back through ``function`` at ``inputs``, zeros where an input does not need it."""
    with torch.enable_grad():
        # Views, so that of two inputs one may have been computed from the other: each counts by itself here.
        inputs = tuple(x.view_as(x) if x.requires_grad else x for x in inputs)
        needed = [x for x in inputs if x.requires_grad]
        pairs = [pair for pair in zip(function(*inputs), grads, strict=True) if pair[0].requires_grad]
        outputs, cotangents = zip(*pairs, strict=True)
        found = torch.autograd.grad(outputs, needed, cotangents, create_graph=create_graph, materialize_grads=True)
    by_input = iter(found)
    return tuple(next(by_input) if x.requires_grad else torch.zeros_like(x) for x in inputs)


def _factor_vjp(D: Tensor, B: Tensor, L_bar: Tensor, C_bar: Tensor) -> tuple[Tensor, ...]:
    """Return ``D_bar`` and ``B_bar`` as a differentiable function of all four: cyclic reduction computes again."""
    return vjp(_cyclic_factor, (D, B), (L_bar, C_bar), create_graph=True)


def _cyclic_factor(D: Tensor, B: Tensor) -> tuple[Tensor, Tensor]:
    return cyclic_reduction.factor(D, B, check=False)[:2]


@without_autocast
def solve_gradients(x: Tensor, b_bar: Tensor, transposed: bool) -> tuple[Tensor, Tensor]:
    """Return ``L_bar`` and ``C_bar``: see ``solve_sequence_rev`` in block_tridiagonal_rev.hpp."""
    u, v = (x, b_bar) if transposed else (b_bar, x)
    return -(u @ v.mT).tril(), -(u[..., 1:, :, :] @ v[..., :-1, :, :].mT)


def log_diagonal_gradient(L: Tensor, result_bar: Tensor) -> Tensor:
    """Return ``L_bar``."""
    return torch.diag_embed(result_bar[..., None, None] / L.diagonal(dim1=-2, dim2=-1))


# ---- registration ----------------------------------------------------------------------------------------------------


@factor.register_fake
def _(D: Tensor, B: Tensor, check: bool) -> tuple[Tensor, Tensor, Tensor]:
    return D.new_empty(D.shape), B.new_empty(B.shape), D.new_empty(D.shape[:-3], dtype=torch.int64)


@factor_backward.register_fake
def _(D: Tensor, B: Tensor, L: Tensor, C: Tensor, L_bar: Tensor, C_bar: Tensor) -> tuple[Tensor, Tensor]:
    return L.new_empty(L.shape), C.new_empty(C.shape)


@solve.register_fake
def _(L: Tensor, C: Tensor, b: Tensor, transposed: bool) -> Tensor:
    return b.new_empty(b.shape)


@log_diagonal.register_fake
def _(L: Tensor) -> Tensor:
    return L.new_empty(L.shape[:-3])


def _save_factor(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    ctx.mark_non_differentiable(output[2])
    ctx.save_for_backward(*inputs[:2], *output[:2])


def _factor_gradients(ctx: Any, L_bar: Tensor, C_bar: Tensor, _info: Tensor) -> tuple[Tensor, Tensor, None]:
    return *factor_backward(*ctx.saved_tensors, L_bar, C_bar), None


def _save_factor_backward(ctx: Any, inputs: tuple[Tensor, ...], output: tuple[Tensor, ...]) -> None:
    ctx.save_for_backward(inputs[0], inputs[1], inputs[4], inputs[5])


def _factor_second_gradients(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
    D, B, L_bar, C_bar = vjp(_factor_vjp, ctx.saved_tensors, grads, create_graph=torch.is_grad_enabled())
    return D, B, None, None, L_bar, C_bar


def _save_solve(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.transposed = inputs[3]
    ctx.save_for_backward(inputs[0], inputs[1], output)


def _solve_gradients(ctx: Any, x_bar: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
    L, C, x = ctx.saved_tensors
    b_bar = solve(L, C, x_bar, not ctx.transposed)
    return *solve_gradients(x, b_bar, ctx.transposed), b_bar, None


def _save_inputs(ctx: Any, inputs: tuple[Tensor, ...], output: Any) -> None:
    ctx.save_for_backward(*inputs)


def _log_diagonal_gradients(ctx: Any, result_bar: Tensor) -> Tensor:
    (L,) = ctx.saved_tensors
    return log_diagonal_gradient(L, result_bar)


factor.register_autograd(_factor_gradients, setup_context=_save_factor)
factor_backward.register_autograd(_factor_second_gradients, setup_context=_save_factor_backward)
solve.register_autograd(_solve_gradients, setup_context=_save_solve)
log_diagonal.register_autograd(_log_diagonal_gradients, setup_context=_save_inputs)


def _map(operator: Any) -> None:
    """Register the rule of vmap: the mapped dimension becomes the first of the batch, of all tensors."""

    def rule(info: Any, in_dims: tuple[int | None, ...], *args: Any) -> tuple[Any, Any]:
        moved = [
            a
            if not isinstance(a, Tensor)
            else a.expand(info.batch_size, *a.shape)
            if dim is None
            else a.movedim(dim, 0)
            for a, dim in zip(args, in_dims, strict=True)
        ]
        result = operator(*moved)
        return result, 0 if isinstance(result, Tensor) else (0,) * len(result)

    operator.register_vmap(rule)


for _operator in (factor, factor_backward, solve, log_diagonal):
    _map(_operator)
