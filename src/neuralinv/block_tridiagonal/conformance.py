"""Conformance checks for block-tridiagonal methods: one table of cases and tolerances, a dense float64 oracle."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from neuralinv.block_tridiagonal.dispatch import Method
from neuralinv.block_tridiagonal.operator import BlockBidiagonal, BlockTridiagonal

TOLERANCE = {torch.float32: 4e-6, torch.float64: 8e-15}
"""Allowed error relative to the largest entry, per unit of condition number."""


@dataclass(frozen=True)
class Case:
    """A named batch of positive definite matrices."""

    name: str
    diag: Tensor
    """Shape ``(*batch, T, n, n)``."""
    lower: Tensor
    """Shape ``(*batch, T − 1, n, n)``."""


def random_precision(
    *batch: int, steps: int, n: int, dtype: torch.dtype = torch.float64, condition: float = 10.0, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """Draw a positive definite matrix, as ``F Fᵀ + ‖F‖² I / condition`` for a random block-bidiagonal ``F``."""
    generator = torch.Generator().manual_seed(seed)

    def normal(count: int) -> Tensor:
        return torch.randn(*batch, count, n, n, generator=generator, dtype=torch.float64) / (2 * n) ** 0.5

    L, C = normal(steps), normal(steps - 1)
    D = L @ L.mT
    D[..., 1:, :, :] += C @ C.mT
    # ‖F‖₂ is about 2.5.
    D = D + 6 / condition * torch.eye(n, dtype=torch.float64)
    return D.to(dtype), (C @ L[..., :-1, :, :].mT).to(dtype)


def cases(dtype: torch.dtype) -> Iterator[Case]:
    """Yield sizes, batch shapes, memory layouts, scales and condition numbers."""
    sizes = ((1, 1), (1, 5), (2, 1), (2, 3), (3, 2), (5, 4), (8, 8), (9, 10), (16, 3), (33, 2), (6, 13), (3, 25))
    for steps, n in sizes:
        yield Case(f"T={steps}, n={n}", *random_precision(steps=steps, n=n, dtype=dtype, seed=n))
    yield Case("one batch dimension", *random_precision(7, steps=6, n=3, dtype=dtype))
    D, B = random_precision(2, 3, steps=5, n=4, dtype=dtype)
    yield Case("two batch dimensions", D, B)
    yield Case("transposed batch", D.transpose(0, 1), B.transpose(0, 1))
    yield Case("strided time", D.repeat_interleave(2, -3)[..., ::2, :, :], B.repeat_interleave(2, -3)[..., ::2, :, :])
    yield Case("transposed memory", D.mT.contiguous().mT, B.mT.contiguous().mT)
    yield Case("one diagonal for all", D[0, 0] + 9 * torch.eye(4, dtype=dtype), B)
    yield Case("empty batch", D[:0], B[:0])
    upper = torch.full_like(D, torch.nan).triu(1).nan_to_num(0.0, posinf=0.0) + torch.randn(4, 4).to(dtype).triu(1)
    yield Case("rubbish above the diagonal", D.tril() + upper, B)
    for scale in (1e-18, 1e18):
        yield Case(f"scale {scale:.0e}", D * scale, B * scale)
    for condition in (1e3, 1e6, 1e10) if dtype == torch.float64 else (1e3,):
        yield Case(f"condition {condition:.0e}", *random_precision(3, steps=12, n=5, dtype=dtype, condition=condition))


def dense(case: Case) -> Tensor:
    """Return the matrices as dense float64 ones ``(*batch, T n, T n)``."""
    D, B = case.diag.double(), case.lower.double()
    steps, n = D.shape[-3], D.shape[-1]
    batch = torch.broadcast_shapes(D.shape[:-3], B.shape[:-3])
    M = torch.zeros(*batch, steps * n, steps * n, dtype=torch.float64)
    for t in range(steps):
        rows = slice(t * n, (t + 1) * n)
        M[..., rows, rows] = D[..., t, :, :].tril() + D[..., t, :, :].tril(-1).mT
        if t + 1 < steps:
            after = slice((t + 1) * n, (t + 2) * n)
            M[..., after, rows], M[..., rows, after] = B[..., t, :, :], B[..., t, :, :].mT
    return M


def check_method(method: Method, dtype: torch.dtype) -> None:
    """Check every function of a method on every case against dense float64 linear algebra.

    Raises
    ------
    AssertionError
        Naming case and function, where a result has another shape or dtype, or is less accurate than the table allows.
    """
    for case in cases(dtype):
        check_case(case, method)


def check_case(case: Case, method: Method) -> None:
    """Check every function of a method on one case; raises as :func:`check_method`."""
    M = BlockTridiagonal(case.diag, case.lower, method=method)
    exact = dense(case)
    eigenvalues = torch.linalg.eigvalsh(exact)
    condition = float((eigenvalues[..., -1] / eigenvalues[..., 0]).max()) if exact.numel() else 1.0
    for name, ours, oracle in _results(M, exact, case.diag.shape[-3], case.diag.shape[-1]):
        _compare(f"{case.name}, {name}, method={method!r}", ours, oracle, case.diag.dtype, condition)


def _results(M: BlockTridiagonal, exact: Tensor, steps: int, n: int) -> Iterator[tuple[str, Tensor, Tensor]]:
    batch, dtype = exact.shape[:-2], M.diag.dtype
    b = torch.randn(*batch, steps, n, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(dtype)
    flat = b.double().flatten(-3, -2)
    root = torch.linalg.cholesky(exact)
    inverse = torch.linalg.inv(exact).unflatten(-1, (steps, n)).unflatten(-3, (steps, n))
    index = torch.arange(steps)
    F: BlockBidiagonal = M.cholesky()
    diag, lower = (cast(Tensor, x) for x in F.inverse_blocks())

    def several(x: Tensor) -> Tensor:
        return x.reshape(b.shape)

    yield "to_dense", M.to_dense(), exact
    yield "matmul", M.matmul(b), several(exact @ flat)
    yield "cholesky", F.to_dense(), root
    yield "solve", M.solve(b), several(torch.linalg.solve(exact, flat))
    yield "solve, one vector", M.solve(b[..., 0]), several(torch.linalg.solve(exact, flat))[..., 0]
    yield "factor.solve", F.solve(b), several(torch.linalg.solve_triangular(root, flat, upper=False))
    after = several(torch.linalg.solve_triangular(root.mT, flat, upper=True))
    yield "factor.solve_transpose", F.solve_transpose(b), after
    yield "factor.matmul", F.matmul(b), several(root @ flat)
    yield "logdet", M.logdet(), torch.linalg.slogdet(exact).logabsdet
    yield "inverse_blocks.diag", diag, inverse[..., index, :, index, :].movedim(0, -3)
    yield "inverse_blocks.lower", lower, inverse[..., index[1:], :, index[:-1], :].movedim(0, -3)


def _compare(name: str, ours: Tensor, oracle: Tensor, dtype: torch.dtype, condition: float) -> None:
    if ours.shape != oracle.shape or ours.dtype != dtype:
        raise AssertionError(f"{name}: got {ours.dtype} {tuple(ours.shape)}, expected {dtype} {tuple(oracle.shape)}")
    if not oracle.numel():
        return
    error = float((ours.double() - oracle).abs().max() / oracle.abs().max())
    allowed = TOLERANCE[dtype] * condition
    if not error <= allowed:
        raise AssertionError(f"{name}: relative error {error:.1e}, allowed {allowed:.1e}")
