"""Symmetric positive definite block-tridiagonal matrices and their Cholesky factors, as operators."""

from __future__ import annotations

from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor

from neuralinv.block_tridiagonal import dispatch
from neuralinv.block_tridiagonal._blocks import (
    Blocks,
    Columns,
    as_blocks,
    as_columns,
    as_jitter,
    bidiagonal_product,
    common_batch,
    to_dense,
    tridiagonal_product,
)
from neuralinv.block_tridiagonal.certificate import RTOL, CertifiedSolution, certified_solve
from neuralinv.block_tridiagonal.dispatch import Implementation, Method
from neuralinv.block_tridiagonal.system import solve_system
from neuralinv.dense._arrays import Array, as_numbers
from neuralinv.dense.certified import check_rtol
from neuralinv.dense.eager import outside_of_graphs
from neuralinv.dense.hermitian import from_lower


class CholeskyResult(NamedTuple):
    """A factor, and what became of each sequence."""

    factor: BlockBidiagonal
    info: Array
    """Shape ``(*batch,)``: 0, or the order k ≥ 1 of the first leading minor that is not positive: pivot ``(k − 1) % n``
    (counted from 0) of time step ``(k − 1) // n``. The factor of such a sequence is NaN."""


class SolveLogdet(NamedTuple):
    """A solution and a log-determinant."""

    solution: Array
    """``M⁻¹ b``, shaped like ``b`` with the broadcast batch."""
    logdet: Array
    """``log det M``, shape ``(*batch,)`` of ``M``."""


class InverseBlocks(NamedTuple):
    """Blocks of an inverse ``Σ``: covariances and lag-one cross-covariances where ``M`` is a precision."""

    diag: Array
    """``Σ[t, t]``, shape ``(*batch, T, n, n)``."""
    lower: Array
    """``Σ[t+1, t]``, shape ``(*batch, T − 1, n, n)``."""


class _BlockMatrix:
    """A matrix ``(*batch, T n, T n)`` that is known by its blocks on two diagonals."""

    def __init__(self, diag: Array, lower: Array, *, method: Method = "auto") -> None:
        self._blocks = as_blocks(diag, lower)
        self.method: Method = method
        # Complain here, not at the first product.
        self._implementation = dispatch.implementation(method, self._blocks.diag)

    @property
    def diag(self) -> Any:
        """The diagonal blocks, shape ``(*batch, T, n, n)``."""
        return self._blocks.restore(self._blocks.diag)

    @property
    def lower(self) -> Any:
        """The sub-diagonal blocks, shape ``(*batch, T − 1, n, n)``."""
        return self._blocks.restore(self._blocks.lower)

    @property
    def shape(self) -> tuple[int, ...]:
        """``(*batch, T n, T n)``."""
        return self._blocks.shape

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._blocks}, method={self.method!r})"


class BlockTridiagonal(_BlockMatrix):
    """A symmetric positive definite matrix ``M (*batch, T n, T n)`` of blocks on three diagonals.

    Parameters
    ----------
    diag
        Diagonal blocks, shape ``(*batch, T, n, n)``, T ≥ 1, n ≥ 1, float32 or float64: a torch tensor or NumPy array.
        Of each block the lower triangle is read, as ``torch.linalg.cholesky`` does; its gradient is symmetric, and
        derivatives along a tangent are those along its symmetric part.
    lower
        ``lower[t]`` is block ``(t + 1, t)``, shape ``(*batch, T − 1, n, n)``. Batch dimensions broadcast.
    method
        "native" (compiled, CPU), "triton" (compiled, GPU, n ≤ 32), "cyclic" (cyclic reduction, parallel in time, any
        device), "loop" (torch operations step by step), or "auto", which chooses by device, dtype and size;
        :meth:`explain_dispatch` tells.

    Raises
    ------
    ValueError
        If the shapes do not fit each other, or the method does not exist or cannot take these blocks.
    TypeError
        If the dtypes differ or are neither float32 nor float64.

    Notes
    -----
    Results are of the kind (torch or NumPy) of the blocks, and differentiable for tensors, twice. The matrix is never
    formed, save by :meth:`to_dense`. Every method that needs the Cholesky factor computes it: call :meth:`cholesky`
    once where several are wanted. Factor: 7/3 T n³ floating-point operations; solve: 6 T n² for each right-hand side.
    """

    @property
    def mT(self) -> BlockTridiagonal:  # noqa: N802 - torch's and NumPy's name
        """The transpose: this matrix itself."""
        return self

    def explain_dispatch(self) -> str:
        """Say which method answers, and why."""
        return dispatch.explain(self.method, self._blocks.diag)

    def cholesky(self, *, jitter: float | Tensor = 0.0) -> BlockBidiagonal:
        """Return the factor ``F`` of ``M + jitter I = F Fᵀ``; 7/3 T n³ operations.

        Raises
        ------
        torch.linalg.LinAlgError, numpy.linalg.LinAlgError
            If a matrix is not positive definite, or holds NaN or infinity: names sequence, time step and pivot.
        TypeError, ValueError
            If ``jitter`` is no real number, or a tensor on another device.
        """
        return self._factor(jitter, check=True)[0]

    def cholesky_ex(self, *, jitter: float | Tensor = 0.0) -> CholeskyResult:
        """Return the factor and ``info``; failures raise nothing.

        Raises
        ------
        TypeError, ValueError
            If ``jitter`` is no real number, or a tensor on another device.
        """
        factor, info = self._factor(jitter, check=False)
        return CholeskyResult(factor, self._blocks.restore(info))

    def solve(self, b: Array, *, jitter: float | Tensor = 0.0, certify: bool = False, rtol: float | None = None) -> Any:
        """Solve ``(M + jitter I) x = b``.

        Parameters
        ----------
        b
            One right-hand side, shape ``(*batch, T, n)``, or k of them, ``(*batch, T, n, k)``; batch dimensions
            broadcast. Where both readings fit (T = n = k), as many dimensions as ``diag`` mean the latter.
        jitter
            Added to the diagonal of ``M``; nothing is added unless asked for. A tensor without dimensions is
            differentiated, too.
        certify
            Return a :class:`CertifiedSolution` with a proved bound of the error and a status for each sequence,
            computed in float64; not differentiable. Failures are statuses then, not exceptions.
        rtol
            With ``certify``, the relative error that CERTIFIED promises; unless given, 1e-5 for float32 and 1e-10 for
            float64.

        Returns
        -------
        Shaped like ``b`` with the broadcast batch.

        Raises
        ------
        torch.linalg.LinAlgError, numpy.linalg.LinAlgError
            If a matrix is not positive definite.
        ValueError
            If ``b`` does not fit, is on another device, or ``rtol`` is no number between 0 and 1, or comes without
            ``certify``.
        TypeError
            If ``b`` has another dtype than the blocks, or ``jitter`` is no real number. With ``certify``, if an
            argument has no entries to look at: on the meta device, or inside torch.func.

        Notes
        -----
        7/3 T n³ operations, and 6 T n² for each right-hand side. ``certify`` takes two to four factorisations in
        float64.
        """
        if certify:
            return self._certified_solve(b, jitter, rtol)
        if rtol is not None:
            raise ValueError(f"rtol={rtol!r} says what certify=True has to prove; nothing is proved without")
        columns = as_columns(self._blocks, b, "b")
        solution, _ = self._solve_system(columns, jitter, logdet=False)
        return self._blocks.restore(solution)

    def logdet(self, *, jitter: float | Tensor = 0.0) -> Any:
        """Return the logarithm of ``det(M + jitter I)``, shape ``(*batch,)``.

        Costs what :meth:`cholesky` does, and raises the same.
        """
        _, logdet = self._solve_system(None, jitter, logdet=True)
        return self._blocks.restore(logdet)

    def solve_logdet(self, b: Array, *, jitter: float | Tensor = 0.0) -> SolveLogdet:
        """Solve ``(M + jitter I) x = b`` and return ``log det(M + jitter I)`` with the solution.

        Faster than :meth:`solve` and :meth:`logdet`, which factor twice, and than a factor's methods: the gradient is
        that of both together, ``g M⁻¹ − ½ (w xᵀ + x wᵀ)`` with ``w = M⁻¹ x̄``, and needs no gradient of the factor.
        Arguments and errors are those of :meth:`solve`, and so is the cost.
        """
        columns = as_columns(self._blocks, b, "b")
        solution, logdet = self._solve_system(columns, jitter, logdet=True)
        return SolveLogdet(self._blocks.restore(solution), self._blocks.restore(logdet))

    def inverse_blocks(self, *, jitter: float | Tensor = 0.0) -> InverseBlocks:
        """Return the diagonal and sub-diagonal blocks of ``(M + jitter I)⁻¹``; raises as :meth:`cholesky`.

        O(T n³): Takahashi's recursion (Takahashi, Fagan & Chin 1973), which for state-space models is the smoother of
        Rauch, Tung & Striebel (1965).
        """
        return self.cholesky(jitter=jitter).inverse_blocks()

    def matmul(self, x: Array) -> Any:
        """Return ``M x`` for ``x`` of shape ``(*batch, T, n)`` or ``(*batch, T, n, k)``, as in :meth:`solve`.

        6 T n² operations for each column.

        Raises
        ------
        ValueError
            If ``x`` does not fit, or is on another device.
        TypeError
            If ``x`` has another dtype than the blocks.
        """
        columns = as_columns(self._blocks, x, "x")
        return columns.restore(tridiagonal_product(from_lower(self._blocks.diag), self._blocks.lower, columns.value))

    def to_dense(self) -> Any:
        """Return ``M`` as a dense matrix, shape ``(*batch, T n, T n)``: T² n² entries."""
        B = self._blocks.lower
        return self._blocks.restore(to_dense(from_lower(self._blocks.diag), B) + to_dense(None, B).mT)

    def __add__(self, other: object) -> BlockTridiagonal:
        if not isinstance(other, BlockTridiagonal):
            return NotImplemented
        ours, theirs = self._blocks, other._blocks
        if ours.is_numpy != theirs.is_numpy:
            raise TypeError("the blocks of one matrix are NumPy arrays, the other's are tensors; expected one kind")
        if ours.diag.device != theirs.diag.device:
            raise ValueError(f"diag is on {ours.diag.device} and {theirs.diag.device}; expected the same device")
        if self.diag.shape[-3:] != other.diag.shape[-3:] or common_batch(self.shape[:-2], other.shape[:-2]) is None:
            raise ValueError(
                f"diag has shapes {tuple(self.diag.shape)} and {tuple(other.diag.shape)}; expected the same T and n, "
                "and batch shapes that broadcast"
            )
        return BlockTridiagonal(self.diag + other.diag, self.lower + other.lower, method=self.method)

    def __mul__(self, factor: object) -> BlockTridiagonal:
        if not _is_scalar(factor):
            return NotImplemented
        scalar = cast(Any, factor)
        return BlockTridiagonal(self.diag * scalar, self.lower * scalar, method=self.method)

    __rmul__ = __mul__

    def _factor(self, jitter: float | Tensor, *, check: bool) -> tuple[BlockBidiagonal, Any]:
        blocks = self._blocks
        try:
            L, C, info = self._implementation.factor(self._diagonal(jitter), blocks.lower, check=check)
        except torch.linalg.LinAlgError as error:
            raise _in_kind(error, blocks) from None
        return BlockBidiagonal._of(Blocks(L, C, blocks.is_numpy), self.method, self._implementation), info

    def _solve_system(self, columns: Columns | None, jitter: float | Tensor, *, logdet: bool) -> tuple[Any, Any]:
        """Return the solution, shaped like ``columns.given``, and the log-determinant."""
        blocks = self._blocks
        if columns is not None and columns.widened:
            factor = self.cholesky(jitter=jitter)
            x = factor._solve(factor._solve(columns.value, transposed=False), transposed=True)
            return x.squeeze(-1) if columns.single else x, 2 * factor._log_determinant() if logdet else None
        rhs = None if columns is None else columns.given
        try:
            return solve_system(self._implementation, self._diagonal(jitter), blocks.lower, rhs, logdet=logdet)
        except torch.linalg.LinAlgError as error:
            raise _in_kind(error, blocks) from None

    def _diagonal(self, jitter: float | Tensor) -> Tensor:
        D = self._blocks.diag
        jitter = as_jitter(jitter, D)
        # A tensor is added in any case: it may be differentiated where it is zero, and mapped or traced, unseen.
        if isinstance(jitter, Tensor):
            jitter = jitter.to(D)
        elif jitter == 0:
            return D
        return D + jitter * torch.eye(D.shape[-1], dtype=D.dtype, device=D.device)

    @outside_of_graphs
    def _certified_solve(self, b: Array, jitter: float | Tensor, rtol: float | None) -> CertifiedSolution:
        blocks = self._blocks
        columns = as_columns(blocks, b, "b")
        D, B, rhs = (as_numbers(x, "a block or b") for x in (blocks.diag, blocks.lower, columns.value))
        D, B = (x.expand(*rhs.shape[:-3], *x.shape[-3:]) for x in (D, B))
        rtol = check_rtol(RTOL[D.dtype] if rtol is None else rtol)
        jitter = as_jitter(jitter, D)
        jitter = as_numbers(jitter, "jitter") if isinstance(jitter, Tensor) else jitter
        x, bound, status = certified_solve(D, B, rhs, self.method, rtol, jitter=jitter)
        return CertifiedSolution(columns.restore(x), blocks.restore(bound), blocks.restore(status), rtol)


class BlockBidiagonal(_BlockMatrix):
    """A lower block-bidiagonal matrix ``F (*batch, T n, T n)`` with lower triangular diagonal blocks.

    Parameters
    ----------
    diag
        Diagonal blocks, shape ``(*batch, T, n, n)``; the lower triangle is read. A Cholesky factor's diagonals are
        positive; :meth:`logdet` needs that, nothing else does.
    lower
        ``lower[t]`` is block ``(t + 1, t)``, shape ``(*batch, T − 1, n, n)``.
    method
        As for :class:`BlockTridiagonal`.

    Raises
    ------
    ValueError, TypeError
        As :class:`BlockTridiagonal`.
    """

    @classmethod
    def _of(cls, blocks: Blocks, method: Method, implementation: Implementation) -> BlockBidiagonal:
        """Wrap blocks that need no checks."""
        self = cls.__new__(cls)
        self._blocks, self.method, self._implementation = blocks, method, implementation
        return self

    def solve(self, b: Array) -> Any:
        """Solve ``F x = b`` for ``b`` of shape ``(*batch, T, n)`` or ``(*batch, T, n, k)``.

        A zero on a diagonal gives infinities or NaN, as ``torch.linalg.solve_triangular`` does. 3 T n² operations for
        each right-hand side.

        Raises
        ------
        ValueError
            If ``b`` does not fit, or is on another device.
        TypeError
            If ``b`` has another dtype than the blocks.
        """
        columns = as_columns(self._blocks, b, "b")
        return columns.restore(self._solve(columns.value, transposed=False))

    def solve_transpose(self, b: Array) -> Any:
        """Solve ``Fᵀ x = b``. Standard normal ``b`` makes ``x`` a draw from the normal law of precision ``F Fᵀ``.

        Shapes, errors and cost are those of :meth:`solve`.
        """
        columns = as_columns(self._blocks, b, "b")
        return columns.restore(self._solve(columns.value, transposed=True))

    def matmul(self, x: Array) -> Any:
        """Return ``F x`` for ``x`` of shape ``(*batch, T, n)`` or ``(*batch, T, n, k)``.

        Errors and cost are those of :meth:`solve`.
        """
        columns = as_columns(self._blocks, x, "x")
        return columns.restore(bidiagonal_product(self._blocks.diag.tril(), self._blocks.lower, columns.value))

    def logdet(self) -> Any:
        """Return ``log det F``, shape ``(*batch,)``: half that of ``F Fᵀ``. NaN if a diagonal is negative."""
        return self._blocks.restore(self._log_determinant())

    def inverse_blocks(self) -> InverseBlocks:
        """Return the diagonal and sub-diagonal blocks of ``(F Fᵀ)⁻¹``: see :meth:`BlockTridiagonal.inverse_blocks`."""
        blocks = self._blocks
        diag, lower = self._implementation.inverse_blocks(blocks.diag, blocks.lower)
        return InverseBlocks(blocks.restore(diag), blocks.restore(lower))

    def to_dense(self) -> Any:
        """Return ``F`` as a dense matrix, shape ``(*batch, T n, T n)``."""
        return self._blocks.restore(to_dense(self._blocks.diag.tril(), self._blocks.lower))

    def _log_determinant(self) -> Tensor:
        return self._implementation.log_diagonal(self._blocks.diag)

    def _solve(self, rhs: Tensor, *, transposed: bool) -> Tensor:
        """Solve for ``rhs (*batch, T, n, k)``, whose batch is that of the blocks, broadcast."""
        L, C = self._blocks.diag, self._blocks.lower
        method = self._implementation
        batch = rhs.shape[:-3]
        if L.shape[:-3] != batch:
            if L.shape[:-3].numel() == 1 and batch.numel() > 1:
                # One matrix for a batch of right-hand sides: they become its columns.
                steps, n = L.shape[-3], L.shape[-1]
                count, k = batch.numel(), rhs.shape[-1]
                wide = rhs.reshape(count, *rhs.shape[-3:]).permute(1, 2, 0, 3).flatten(-2)
                x = method.solve(L.reshape(steps, n, n), C.reshape(steps - 1, n, n), wide, transposed=transposed)
                return x.unflatten(-1, (count, k)).permute(2, 0, 1, 3).reshape(rhs.shape)
            L, C = L.expand(*batch, *L.shape[-3:]), C.expand(*batch, *C.shape[-3:])
        return method.solve(L, C, rhs, transposed=transposed)


def _in_kind(error: torch.linalg.LinAlgError, blocks: Blocks) -> Exception:
    """Return the error as NumPy's for blocks that came as NumPy arrays."""
    return np.linalg.LinAlgError(str(error)) if blocks.is_numpy else error


def _is_scalar(value: object) -> bool:
    return isinstance(value, int | float | np.floating) or (isinstance(value, Tensor | np.ndarray) and value.ndim == 0)
