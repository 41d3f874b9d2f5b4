"""``M x = b`` and ``log det M`` together, with gradients that need no gradient of the Cholesky factor.

With ``w = M⁻¹ x̄`` and ``g`` the gradient of ``log det M``, the gradient of a symmetric ``M`` is
``g M⁻¹ − ½ (w xᵀ + x wᵀ)`` on the blocks that ``M`` has: one more solve, and the blocks of the inverse. The compiled
kernels do it in one call each way (block_tridiagonal_system.hpp). For second derivatives the formula is composed of
their solutions and blocks of the inverse; other methods and function transforms compose ``x`` and ``log det M``
themselves of factor, solves and log-determinant.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import Function

from neuralinv.block_tridiagonal import backends, kernels, native
from neuralinv.block_tridiagonal.dispatch import Implementation
from neuralinv.dense.precision import without_autocast

Solution = tuple[Tensor | None, Tensor | None]
"""``x`` and ``log det M``; None for what was not asked for."""


def solve_system(implementation: Implementation, D: Tensor, B: Tensor, b: Tensor | None, *, logdet: bool) -> Solution:
    """Solve ``M x = b`` for ``b`` of the same batch as the blocks, and find ``log det M (*batch,)``.

    ``b`` and ``x`` have shape ``(*batch, T, n)`` or ``(*batch, T, n, k)``.

    Raises
    ------
    torch.linalg.LinAlgError
        If a matrix is not positive definite.
    """
    given = (D, B) if b is None else (D, B, b)
    if implementation is not native or not backends.native_takes(D) or not native.takes_directly(*given):
        return _composed(implementation, D, B, b, logdet)
    D, B, b = D.contiguous(), B.contiguous(), None if b is None else b.contiguous()
    if native.differentiated(*given):
        x, logs = _System.apply(D, B, b, logdet)
        return x, logs
    x, logs, _ = kernels.solve_system(D, B, b, logdet, False)
    return x, logs


def _composed(implementation: Implementation, D: Tensor, B: Tensor, b: Tensor | None, logdet: bool) -> Solution:
    L, C, _ = implementation.factor(D, B, check=True)
    x = None if b is None else _solve_twice(implementation, L, C, b)
    return x, 2 * implementation.log_diagonal(L) if logdet else None


def _solve_twice(implementation: Implementation, L: Tensor, C: Tensor, b: Tensor) -> Tensor:
    columns = b if b.ndim == L.ndim else b.unsqueeze(-1)
    x = implementation.solve(L, C, implementation.solve(L, C, columns, transposed=False), transposed=True)
    return x if b.ndim == L.ndim else x.squeeze(-1)


class _System(Function):
    @staticmethod
    def forward(ctx: Any, D: Tensor, B: Tensor, b: Tensor | None, logdet: bool) -> Solution:
        x, logs, factors = kernels.solve_system(D, B, b, logdet, True)
        ctx.set_materialize_grads(False)
        if logs is not None and not (ctx.needs_input_grad[0] or ctx.needs_input_grad[1]):
            ctx.mark_non_differentiable(logs)
        ctx.save_for_backward(D, B, factors, x)
        return x, logs

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        D, B, factors, x = ctx.saved_tensors
        x_bar, logs_bar = (None if g is None else g.contiguous() for g in grads)
        if x_bar is None and logs_bar is None:
            return None, None, None, None
        needed = ctx.needs_input_grad[0] or ctx.needs_input_grad[1]
        if torch.is_grad_enabled():
            return *_differentiable_gradients(D, B, x, x_bar, logs_bar, needed), None
        return *kernels.solve_system_backward(D, B, factors, x, x_bar, logs_bar, needed), None


@without_autocast
def _differentiable_gradients(
    D: Tensor, B: Tensor, x: Tensor | None, x_bar: Tensor | None, logs_bar: Tensor | None, blocks_needed: bool
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Return the gradients of ``D``, ``B`` and ``b`` as differentiable functions, by the formulas above."""
    w = None if x_bar is None else _System.apply(D, B, x_bar, False)[0]
    if not blocks_needed:
        return None, None, w
    D_bar: Tensor | None = None
    B_bar: Tensor | None = None
    if w is not None and x is not None:
        u, v = (y if y.ndim == D.ndim else y.unsqueeze(-1) for y in (w, x))
        outer = u @ v.mT
        D_bar = -0.5 * (outer + outer.mT)
        B_bar = -u[..., 1:, :, :] @ v[..., :-1, :, :].mT - v[..., 1:, :, :] @ u[..., :-1, :, :].mT
    if logs_bar is not None:
        L, C, _ = native.factor(D, B, check=False)
        diagonal, below = (logs_bar[..., None, None, None] * block for block in native.inverse_blocks(L, C))
        D_bar = diagonal if D_bar is None else D_bar + diagonal
        B_bar = 2 * below if B_bar is None else B_bar + 2 * below
    return D_bar, B_bar, w
