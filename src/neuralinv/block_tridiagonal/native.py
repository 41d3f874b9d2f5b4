"""The compiled methods, native and triton: by which way tensors get to the kernels, and gradients in eager mode.

Second derivatives are composed of differentiable operations; those of the factor and of the blocks of the inverse go
through cyclic reduction, whose autograd graph is short. So does what torch.func differentiates; there a
matrix that is not positive definite gives NaN instead of an error.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.autograd.function import Function

from neuralinv.block_tridiagonal import backends, custom_ops, cyclic_reduction
from neuralinv.block_tridiagonal.backends import backend
from neuralinv.dense.routes import is_differentiated_inside

# A Parameter is a tensor to the kernels; of other subclasses nobody knows what they mean by their data.
_TYPES = (Tensor, torch.nn.Parameter)


def factor(D: Tensor, B: Tensor, *, check: bool) -> tuple[Tensor, Tensor, Tensor | None]:
    """Factor as :func:`neuralinv.block_tridiagonal.reference.factor` does."""
    if takes_directly(D, B):
        D, B = D.contiguous(), B.contiguous()
        if differentiated(D, B):
            return _Factor.apply(D, B, check)
        return backends.factor(D, B, check)
    return (cyclic_reduction.factor if is_differentiated_inside() else custom_ops.factor)(D, B, check=check)


def solve(L: Tensor, C: Tensor, b: Tensor, *, transposed: bool) -> Tensor:
    """Solve ``F x = b``, or ``Fᵀ x = b``, for ``b (*batch, T, n, k)``."""
    if takes_directly(L, C, b):
        L, C, b = L.contiguous(), C.contiguous(), b.contiguous()
        if differentiated(L, C, b):
            return _Solve.apply(L, C, b, transposed)
        return backend(L).solve(L, C, b, transposed)
    if is_differentiated_inside():
        return cyclic_reduction.solve(L, C, b, transposed=transposed)
    return custom_ops.solve(L, C, b, transposed)


def inverse_blocks(L: Tensor, C: Tensor) -> tuple[Tensor, Tensor]:
    """Return the diagonal and the sub-diagonal blocks of the inverse."""
    if takes_directly(L, C):
        L, C = L.contiguous(), C.contiguous()
        return _InverseBlocks.apply(L, C) if differentiated(L, C) else backend(L).inverse_blocks(L, C)
    return cyclic_reduction.inverse_blocks(L, C)


def log_diagonal(L: Tensor) -> Tensor:
    """Sum the logarithms of the diagonals of all ``L_t``."""
    if takes_directly(L):
        L = L.contiguous()
        return _LogDiagonal.apply(L) if differentiated(L) else backend(L).log_diagonal(L)
    return (cyclic_reduction.log_diagonal if is_differentiated_inside() else custom_ops.log_diagonal)(L)


def takes_directly(*tensors: Tensor) -> bool:
    """Tell whether these are plain memory that nobody traces, maps or differentiates forwards."""
    if (
        torch.compiler.is_compiling()
        or torch._C._functorch.peek_interpreter_stack() is not None
        or torch._C._len_torch_dispatch_stack() != 0
        or forward_ad._current_level >= 0
        or torch._C._get_tracing_state() is not None
    ):
        return False
    for x in tensors:  # noqa: SIM110 - a generator would cost more than the questions do
        if type(x) not in _TYPES or x.is_neg() or x._is_zerotensor():
            return False
    return True


def differentiated(*tensors: Tensor) -> bool:
    """Tell whether autograd wants to know about what becomes of these."""
    if torch.is_grad_enabled() and not torch.is_inference_mode_enabled():
        for x in tensors:
            if x.requires_grad:
                return True
    return False


class _Factor(Function):
    @staticmethod
    def forward(ctx: Any, D: Tensor, B: Tensor, check: bool) -> tuple[Tensor, Tensor, Tensor | None]:
        L, C, info = backends.factor(D, B, check)
        if info is not None:
            ctx.mark_non_differentiable(info)
        ctx.save_for_backward(D, B, L, C)
        return L, C, info

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        D, B, L, C = ctx.saved_tensors
        L_bar, C_bar, _ = grads
        if torch.is_grad_enabled():
            return *custom_ops.factor_backward(D, B, L, C, L_bar, C_bar), None
        return *backend(L).factor_backward(L, C, L_bar.contiguous(), C_bar.contiguous()), None


class _Solve(Function):
    @staticmethod
    def forward(ctx: Any, L: Tensor, C: Tensor, b: Tensor, transposed: bool) -> Tensor:
        x = backend(L).solve(L, C, b, transposed)
        ctx.transposed = transposed
        ctx.save_for_backward(L, C, x)
        return x

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        L, C, x = ctx.saved_tensors
        (x_bar,) = grads
        factor_needed = ctx.needs_input_grad[0] or ctx.needs_input_grad[1]
        if torch.is_grad_enabled() or not factor_needed:
            b_bar = solve(L, C, x_bar, transposed=not ctx.transposed)
            gradients = custom_ops.solve_gradients(x, b_bar, ctx.transposed) if factor_needed else (None, None)
            return *gradients, b_bar, None
        return *backend(L).solve_backward(L, C, x, x_bar.contiguous(), ctx.transposed), None


class _InverseBlocks(Function):
    @staticmethod
    def forward(ctx: Any, L: Tensor, C: Tensor) -> tuple[Tensor, Tensor]:
        diagonal, below = backend(L).inverse_blocks(L, C)
        ctx.save_for_backward(L, C, diagonal, below)
        return diagonal, below

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, ...]:
        L, C, diagonal, below = ctx.saved_tensors
        if torch.is_grad_enabled():
            return custom_ops.vjp(cyclic_reduction.inverse_blocks, (L, C), grads, create_graph=True)
        return backend(L).inverse_blocks_backward(L, C, diagonal, below, *(x.contiguous() for x in grads))


class _LogDiagonal(Function):
    @staticmethod
    def forward(ctx: Any, L: Tensor) -> Tensor:
        ctx.save_for_backward(L)
        return backend(L).log_diagonal(L)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        (L,) = ctx.saved_tensors
        if torch.is_grad_enabled():
            return custom_ops.log_diagonal_gradient(L, grads[0])
        return backend(L).log_diagonal_backward(L, grads[0].contiguous())
