"""The compiled kernels as operators that torch differentiates, compiles and maps: ``neuralinv::inv`` and others.

Each operator takes what :mod:`neuralinv.dense.native` takes and raises ``torch.linalg.LinAlgError``, except those whose
name ends in ``_ex``, which return LAPACK's info. Matrices said to be positive definite are read from their lower
triangle; their gradients are those with respect to a symmetric (Hermitian) matrix.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from neuralinv.dense import failures, native
from neuralinv.dense.hermitian import hermitian_part

_Context = Any  # torch.autograd.function.FunctionCtx, to which everybody adds attributes


def invert_or_raise(A: Tensor, positive: bool = False) -> Tensor:
    """Invert ``(*batch, n, n)``; raises ``torch.linalg.LinAlgError``."""
    X, failed = native.invert(A, positive=positive)
    if failed >= 0:
        raise failures.of_inverse(A, failed, torch.linalg.LinAlgError, positive=positive)
    return X


def solve_or_raise(A: Tensor, B: Tensor, positive: bool = False) -> Tensor:
    """Solve ``A X = B`` for B of shape ``(*batch, n, k)``; raises ``torch.linalg.LinAlgError``."""
    X, failed = native.solve(A, B, positive=positive)
    if failed >= 0:
        raise failures.of_solve(A, B, failed, torch.linalg.LinAlgError, positive=positive)
    return X


def slogdet_or_raise(A: Tensor, positive: bool = False) -> tuple[Tensor, Tensor]:
    """Sign and log|det|, both ``(*batch,)``; raises ``torch.linalg.LinAlgError`` if not positive definite."""
    return determinant_or_raise(A, positive, torch.linalg.LinAlgError)


def determinant_or_raise(A: Tensor, positive: bool, error: type[Exception]) -> tuple[Tensor, Tensor]:
    """Sign and log|det|, both ``(*batch,)``; raises ``error`` if not positive definite."""
    sign, logabsdet, failed = native.slogdet(A, positive=positive)
    if failed >= 0 and positive:
        raise failures.of_cholesky(A, failed, error)
    if failed >= 0:  # the sign of NaN is a convention: torch's here, which the kernels for GPUs keep
        odd = ~(logabsdet < torch.inf)
        matrices = A.detach()[odd] if A.ndim > 2 else A.detach()
        signs, logarithms = torch.linalg.slogdet(matrices)
        if A.ndim == 2:
            return signs, logarithms
        sign[odd], logabsdet[odd] = signs, logarithms
    return sign, logabsdet


def _invert_ex(A: Tensor, positive: bool = False) -> tuple[Tensor, Tensor]:
    return native.invert_ex(A, positive=positive)


def _solve_ex(A: Tensor, B: Tensor, positive: bool = False) -> tuple[Tensor, Tensor]:
    return native.solve_ex(A, B, positive=positive)


# Gradients. With G = ∂f/∂X, and X̄ = Xᴴ:


def _save_inverse(ctx: _Context, inputs: tuple[Any, ...], output: Any) -> None:
    # An output is saved: second derivatives see that it depends on A.
    ctx.save_for_backward(output[0] if isinstance(output, tuple) else output)
    ctx.positive = inputs[1]


def _inverse_gradient(ctx: _Context, *grads: Tensor) -> tuple[Tensor, None]:
    (X,) = ctx.saved_tensors
    # dX = −X dA X: ∂f/∂A = −Xᴴ G Xᴴ.
    return _symmetrised(-(X.mH @ grads[0] @ X.mH), ctx.positive), None


def _save_solution(ctx: _Context, inputs: tuple[Any, ...], output: Any) -> None:
    ctx.save_for_backward(inputs[0], output[0] if isinstance(output, tuple) else output)
    ctx.positive = inputs[2]


def _solution_gradient(ctx: _Context, *grads: Tensor) -> tuple[Tensor | None, Tensor, None]:
    A, X = ctx.saved_tensors
    # dX = A⁻¹ (dB − dA X): ∂f/∂B = A⁻ᴴ G and ∂f/∂A = −(∂f/∂B) Xᴴ.
    B_gradient, _ = solve_ex_op(A if ctx.positive else A.mH, grads[0], ctx.positive)
    A_gradient = _symmetrised(-(B_gradient @ X.mH), ctx.positive) if ctx.needs_input_grad[0] else None
    return A_gradient, B_gradient, None


def _save_determinant(ctx: _Context, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    ctx.save_for_backward(inputs[0], output[0])
    ctx.positive = inputs[1]


def _determinant_gradient(ctx: _Context, *grads: Tensor) -> tuple[Tensor, None]:
    A, sign = ctx.saved_tensors
    # With t = tr(A⁻¹ dA): d log|det| = Re t and d sign = i sign Im t, so that ∂f/∂A = w A⁻ᴴ with
    # w = ∂f/∂log|det| + i Im(conj(sign) ∂f/∂sign). A real sign is constant.
    weight = grads[1]
    if A.is_complex() and not ctx.positive:
        weight = torch.complex(weight, (sign.conj() * grads[0]).imag)
    X, _ = inv_ex_op(A, ctx.positive)
    return _symmetrised(weight[..., None, None] * X.mH, ctx.positive), None


def _symmetrised(G: Tensor, positive: bool) -> Tensor:
    return hermitian_part(G) if positive else G


# Eager nodes: the operators cost 40 µs a call, and `setup_context` instead of `ctx` in `forward` 15 µs.


class DifferentiableInverse(torch.autograd.Function):
    """:func:`invert_or_raise` for eager tensors."""

    @staticmethod
    def forward(ctx: _Context, A: Tensor, positive: bool) -> Tensor:
        output = invert_or_raise(A, positive)
        _save_inverse(ctx, (A, positive), output)
        return output

    backward = staticmethod(_inverse_gradient)


class DifferentiableSolution(torch.autograd.Function):
    """:func:`solve_or_raise` for eager tensors."""

    @staticmethod
    def forward(ctx: _Context, A: Tensor, B: Tensor, positive: bool) -> Tensor:
        output = solve_or_raise(A, B, positive)
        _save_solution(ctx, (A, B, positive), output)
        return output

    backward = staticmethod(_solution_gradient)


class DifferentiableDeterminant(torch.autograd.Function):
    """:func:`slogdet_or_raise` for eager tensors."""

    @staticmethod
    def forward(ctx: _Context, A: Tensor, positive: bool) -> tuple[Tensor, Tensor]:
        output = slogdet_or_raise(A, positive)
        _save_determinant(ctx, (A, positive), output)
        return output

    backward = staticmethod(_determinant_gradient)


# For operators that raise: they wait for the device, which torch.compile must not do while it captures a CUDA graph.
# Releases of torch that do not know the tag leave that to the user.
WAITING: dict[str, Any] = {"tags": (torch.Tag.cudagraph_unsafe,)} if hasattr(torch.Tag, "cudagraph_unsafe") else {}


def _operator(name: str, function: Any, **options: Any) -> Any:
    return torch.library.custom_op(
        f"neuralinv::{name}", function, mutates_args=(), device_types=("cpu", "cuda"), **options
    )


inv_op = _operator("inv", invert_or_raise, **WAITING)
inv_ex_op = _operator("inv_ex", _invert_ex)
solve_op = _operator("solve", solve_or_raise, **WAITING)
solve_ex_op = _operator("solve_ex", _solve_ex)
slogdet_op = _operator("slogdet", slogdet_or_raise)

for _op, _gradient, _save in (
    (inv_op, _inverse_gradient, _save_inverse),
    (inv_ex_op, _inverse_gradient, _save_inverse),
    (solve_op, _solution_gradient, _save_solution),
    (solve_ex_op, _solution_gradient, _save_solution),
    (slogdet_op, _determinant_gradient, _save_determinant),
):
    _op.register_autograd(_gradient, setup_context=_save)


def _new_info(A: Tensor) -> Tensor:
    return A.new_empty(A.shape[:-2], dtype=torch.int32)


# What torch.compile needs to know: shapes and dtypes.
inv_op.register_fake(lambda A, positive=False: A.new_empty(A.shape))
inv_ex_op.register_fake(lambda A, positive=False: (A.new_empty(A.shape), _new_info(A)))
solve_op.register_fake(lambda A, B, positive=False: B.new_empty(B.shape))
solve_ex_op.register_fake(lambda A, B, positive=False: (B.new_empty(B.shape), _new_info(A)))
slogdet_op.register_fake(
    lambda A, positive=False: (A.new_empty(A.shape[:-2]), A.new_empty(A.shape[:-2], dtype=A.dtype.to_real()))
)


def _register_vmap(op: Any) -> None:
    """Put the mapped dimension first: for the kernels it is one more batch dimension."""

    def rule(info: Any, in_dims: tuple[int | None, ...], *inputs: Any) -> tuple[Any, Any]:
        moved = [_mapped_first(value, dim, info.batch_size) for value, dim in zip(inputs, in_dims, strict=True)]
        outputs = op(*moved)
        return outputs, (0,) * len(outputs) if isinstance(outputs, tuple) else 0

    op.register_vmap(rule)


def _mapped_first(value: Any, dim: int | None, size: int) -> Any:
    if not isinstance(value, Tensor):
        return value
    return value.expand(size, *value.shape) if dim is None else value.movedim(dim, 0)


for _op in (inv_op, inv_ex_op, solve_op, solve_ex_op, slogdet_op):
    _register_vmap(_op)
