"""The helper functions of Archer et al.'s black-box variational inference for dynamical systems, under their names.

Archer, Park, Buesing, Cunningham & Paninski 2015, arXiv:1511.07367. Their code (`blk_tridiag_chol_tools.py`,
`sym_blk_tridiag_inv.py`) and its ports factor and solve in a Python loop that inverts a matrix at each time step. Here
the arguments, their order, the results and the gradients are theirs, the work is done by the operators of this package:

    from neuralinv.compat.vilds import blk_chol_inv, blk_tridag_chol

Tensors give tensors, NumPy arrays NumPy arrays, float32 and float64 stay what they are. ``A`` and ``B`` may carry batch
dimensions in front, as in the ports that vectorise over sequences. All functions take T = 1.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from neuralinv.block_tridiagonal import BlockBidiagonal, BlockTridiagonal
from neuralinv.block_tridiagonal._blocks import as_blocks, as_columns, bidiagonal_product
from neuralinv.block_tridiagonal.errors import can_branch
from neuralinv.block_tridiagonal.smoother import prior_blocks
from neuralinv.dense import solve
from neuralinv.dense._arrays import Array, as_tensor
from neuralinv.dense.precision import without_autocast


def blk_tridag_chol(A: Array, B: Array, upper: bool = True) -> list[Any]:
    """Factor a symmetric positive definite block-tridiagonal matrix.

    Parameters
    ----------
    A
        Diagonal blocks, shape ``(T, n, n)``.
    B
        Shape ``(T − 1, n, n)``: ``B[t]`` is block (t, t + 1), above the diagonal; with ``upper=False`` (one of the
        ports has that) block (t + 1, t), below it.

    Returns
    -------
    ``[L, C]``: the factor's diagonal blocks ``(T, n, n)``, and the blocks below them ``(T − 1, n, n)``,
    ``C[t] = B[t]ᵀ L[t]⁻ᵀ``.

    Raises
    ------
    torch.linalg.LinAlgError, numpy.linalg.LinAlgError
        If the matrix is not positive definite: names time step and pivot.
    """
    factor = BlockTridiagonal(A, _transposed(B, "B") if upper else B).cholesky()
    return [factor.diag, factor.lower]


blk_tridiag_chol = blk_tridag_chol
"""The spelling of the ports."""


def blk_chol_inv(A: Array, B: Array, b: Array, lower: bool = True, transpose: bool = False) -> Any:
    """Solve ``C x = b`` for a block-bidiagonal ``C``.

    Parameters
    ----------
    A
        Diagonal blocks of ``C``, shape ``(T, n, n)``: triangular (a factor's) or any invertible ones.
    B
        Off-diagonal blocks, shape ``(T − 1, n, n)``.
    b
        Shape ``(T, n)``, or ``(T, n, k)`` for k right-hand sides.
    lower
        Whether ``B[t]`` is block (t + 1, t), below the diagonal, or (t, t + 1), above it.
    transpose
        Whether to transpose each block of ``A`` and ``B`` first. It moves none: with the factor ``[L, C]`` of
        :func:`blk_tridag_chol`, ``lower=False, transpose=True`` solves with the factor's transpose.

    Returns
    -------
    ``x``, shaped like ``b``.

    Raises
    ------
    torch.linalg.LinAlgError, numpy.linalg.LinAlgError
        If a block of ``A`` that is not triangular is singular. A zero on the diagonal of triangular blocks gives
        infinities or NaN.
    """
    blocks = as_blocks(A, B)
    columns = as_columns(blocks, b, "b")
    D, E, rhs = blocks.diag, blocks.lower, columns.value
    # The operator has its triangles and its blocks on one side: Fᵀ has upper triangles, and blocks above the diagonal.
    if lower != transpose and can_branch(D) and not bool(D.triu(1).any()):
        return columns.restore(_TriangularSolve.apply(D, E, rhs, not lower))
    if transpose:
        D, E = D.mT, E.mT
    try:
        # Divided by its diagonal blocks, C has identities there, which are triangular.
        x = solve(D, rhs)
        E = solve(D[..., 1:, :, :], E) if lower else solve(D[..., :-1, :, :], E).mT
    except torch.linalg.LinAlgError as error:
        if not blocks.is_numpy:
            raise
        raise np.linalg.LinAlgError(str(error)) from None
    unit = BlockBidiagonal(_identity_like(D), E)
    return columns.restore(unit.solve(x) if lower else unit.solve_transpose(x))


def blk_chol_mtimes(A: Array, B: Array, x: Array, lower: bool = True, transpose: bool = False) -> Any:
    """Return ``C x`` for the block-bidiagonal ``C`` of :func:`blk_chol_inv`, whose arguments these are."""
    blocks = as_blocks(A, B)
    columns = as_columns(blocks, x, "x")
    D, E = (blocks.diag.mT, blocks.lower.mT) if transpose else (blocks.diag, blocks.lower)
    if lower:
        return columns.restore(bidiagonal_product(D, E, columns.value))
    # Backwards in time, blocks above the diagonal are below it.
    return columns.restore(bidiagonal_product(D.flip(-3), E.flip(-3), columns.value.flip(-3)).flip(-3))


@without_autocast
def precision_blocks(A: Array, Qinv: Array, Q0inv: Array, Lambda: Array, mu: Array) -> tuple[Any, Any, Any]:
    """Return what a product of a linear dynamical prior and Gaussian potentials has as precision and information.

    Parameters
    ----------
    A
        Dynamics ``z_{t+1} ~ N(A z_t, Q)``, shape ``(n, n)``.
    Qinv, Q0inv
        Precisions ``Q⁻¹`` of the process and ``Q_0⁻¹`` of the first step, shape ``(n, n)``.
    Lambda
        Precisions ``Λ_t`` of the potentials, shape ``(T, n, n)``.
    mu
        Their means ``μ_t``, shape ``(T, n)``.

    Returns
    -------
    ``AA (T, n, n)``, diagonal blocks: ``Λ_t + Q⁻¹ + AᵀQ⁻¹A``, with ``Q_0⁻¹`` for ``Q⁻¹`` first, and without
    ``AᵀQ⁻¹A`` last; ``BB (T − 1, n, n)``, blocks (t, t + 1), ``−AᵀQ⁻¹``; ``LambdaMu (T, n)``, ``Λ_t μ_t``.
    """
    (dynamics, _), (process, _), (initial, _) = (
        as_tensor(x, name=name) for x, name in ((A, "A"), (Qinv, "Qinv"), (Q0inv, "Q0inv"))
    )
    (precision, restore), (means, _) = as_tensor(Lambda, name="Lambda"), as_tensor(mu, name="mu")
    if means.ndim < 2 or precision.ndim < 3 or precision.shape[-3:-1] != means.shape[-2:]:
        raise ValueError(
            f"Lambda has shape {tuple(precision.shape)} and mu {tuple(means.shape)}; expected (T, n, n) and (T, n)"
        )
    if len({x.dtype for x in (dynamics, process, initial, precision, means)}) > 1:
        raise TypeError(
            f"A is {dynamics.dtype}, Qinv {process.dtype}, Q0inv {initial.dtype}, Lambda {precision.dtype} and mu "
            f"{means.dtype}; expected the same dtype"
        )
    diag, below = prior_blocks(dynamics[None], process[None], initial, means.shape[-2])
    information = (precision @ means[..., None])[..., 0]
    return restore(precision + diag), restore(below.mT), restore(information)


@without_autocast
def calculate_cholesky_factors(
    mu: Array, cov: Array, dim_z: int, QinvChol: Array, Q0invChol: Array, A: Array, batch_size: int
) -> tuple[Any, Any, Any]:
    """Return ``AA``, ``BB`` and ``LambdaMu`` of :func:`precision_blocks` from roots of the precisions.

    Parameters
    ----------
    mu
        Shape ``(T, n)``.
    cov
        Roots ``R_t`` of ``Λ_t = R_t R_tᵀ``, shape ``(T, n²)`` or ``(T, n, n)``, as an encoder returns them.
    dim_z
        n.
    QinvChol, Q0invChol
        Roots of ``Q⁻¹`` and ``Q_0⁻¹``, shape ``(n, n)``; triangular or not.
    A
        Dynamics, shape ``(n, n)``.
    batch_size
        T: in that code a batch is one sequence.
    """
    (root, restore), (process, _), (initial, _) = (
        as_tensor(x, name=name) for x, name in ((cov, "cov"), (QinvChol, "QinvChol"), (Q0invChol, "Q0invChol"))
    )
    (means, _), (dynamics, _) = as_tensor(mu, name="mu"), as_tensor(A, name="A")
    if root.numel() != batch_size * dim_z**2 or means.shape != (batch_size, dim_z):
        raise ValueError(
            f"mu has shape {tuple(means.shape)} and cov {tuple(root.shape)}; expected ({batch_size}, {dim_z}) and "
            f"({batch_size}, {dim_z**2}) for batch_size={batch_size}, dim_z={dim_z}"
        )
    root = root.reshape(batch_size, dim_z, dim_z)
    AA, BB, LambdaMu = precision_blocks(dynamics, process @ process.mT, initial @ initial.mT, root @ root.mT, means)
    return restore(AA), restore(BB), restore(LambdaMu)


def compute_sym_blk_tridiag(AA: Array, BB: Array) -> tuple[Any, Any, Any]:
    """Return blocks of the inverse ``Σ`` of a symmetric positive definite block-tridiagonal matrix.

    ``AA`` and ``BB`` are ``A`` and ``B`` of :func:`blk_tridag_chol`.

    Returns
    -------
    ``D (T, n, n)``, the diagonal blocks of ``Σ``; ``OD (T − 1, n, n)``, its blocks (t + 1, t); and ``S``, with
    ``OD[t] = S[t]ᵀ D[t]``, for :func:`compute_sym_blk_tridiag_inv_b` (Jain, Li, Cauley, Koh & Balakrishnan 2007).
    """
    inverse = BlockTridiagonal(AA, _transposed(BB, "BB")).inverse_blocks()
    S = solve(inverse.diag[..., :-1, :, :], _transposed(inverse.lower, "OD"), assume_a="pos")
    return inverse.diag, inverse.lower, S


@without_autocast
def compute_sym_blk_tridiag_inv_b(S: Array, D: Array, b: Array) -> Any:
    """Solve with the matrix whose ``S`` and ``D`` :func:`compute_sym_blk_tridiag` returned; ``b`` and ``x (T, n)``.

    :func:`blk_tridag_chol` and two calls of :func:`blk_chol_inv` do the same in less time and with smaller errors.
    """
    blocks = as_blocks(D, S)
    columns = as_columns(blocks, b, "b")
    variances, rhs = blocks.diag, columns.value
    unit = BlockBidiagonal(_identity_like(variances), -blocks.lower.mT)
    # x_t = D_t p_t + q_{t−1} with p_t = b_t + S_t p_{t+1} and q_t = S_tᵀ (q_{t−1} + D_t b_t).
    later, own = unit.solve_transpose(rhs), variances @ rhs
    return columns.restore(variances @ later + unit.solve(own) - own)


class _TriangularSolve(torch.autograd.Function):
    """``F x = b`` or ``Fᵀ x = b`` where a user may ask for gradients of zeros above the diagonals, too.

    The operator reads lower triangles, and its gradient is zero above them. The loop that this replaces inverts whole
    matrices: where ``A`` is a leaf, its gradient is full. Derivatives: ``b̄ = F⁻ᵀ x̄``, ``L̄_t = −b̄_t x_tᵀ``,
    ``C̄_t = −b̄_{t+1} x_tᵀ``, with ``x`` and ``b̄`` exchanged for ``Fᵀ``.
    """

    @staticmethod
    def forward(ctx: Any, L: Tensor, C: Tensor, b: Tensor, transposed: bool) -> Tensor:
        factor = BlockBidiagonal(L, C)
        x = factor.solve_transpose(b) if transposed else factor.solve(b)
        ctx.transposed = transposed
        ctx.save_for_backward(L, C, x)
        return x

    @staticmethod
    @without_autocast
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        L, C, x = ctx.saved_tensors
        b_bar = _TriangularSolve.apply(L, C, grads[0], not ctx.transposed)
        u, v = (x, b_bar) if ctx.transposed else (b_bar, x)
        L_bar = -(u @ v.mT) if ctx.needs_input_grad[0] else None
        C_bar = -(u[..., 1:, :, :] @ v[..., :-1, :, :].mT) if ctx.needs_input_grad[1] else None
        return L_bar, C_bar, b_bar, None


def _identity_like(D: Tensor) -> Tensor:
    return torch.eye(D.shape[-1], dtype=D.dtype, device=D.device).expand_as(D)


def _transposed(blocks: Array, name: str) -> Array:
    """Transpose each block; leaves what is no stack of blocks to the operator's complaint."""
    tensor, restore = as_tensor(blocks, name=name)
    return restore(tensor.mT) if tensor.ndim >= 2 else blocks
