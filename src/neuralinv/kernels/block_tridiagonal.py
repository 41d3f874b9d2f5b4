"""The Triton kernels for block-tridiagonal matrices, called with plain tensors.

All tensors are on one GPU (or on the CPU, where Triton's interpreter is on), contiguous, of one dtype, float32 or
float64, with the same batch shape; blocks are at most ``LARGEST``. Nothing is checked. Launches go to the current
stream of the tensors' device, and nothing waits for it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from neuralinv.kernels import block_tridiagonal_recursions as recursions
from neuralinv.kernels.availability import on_device_of

LARGEST = 32
"""Rows that fit the lanes of a warp."""

_LANES = 32
# Warps that an H100's or H200's 132 multiprocessors start at once, four each: until there are so many, each sequence
# has a warp of its own, though a small block leaves most of its lanes idle. By reasoning, not by measurement.
_WARPS_TO_FILL = 528
# Of a thread, as many as there are: by itself the compiler takes 168 at most for a program of one warp, and memory for
# the rest.
_REGISTERS = 255
# Time steps whose diagonals are read at once, in entries.
_DIAGONAL_ENTRIES = 256


def factor(D: Tensor, B: Tensor, check: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Return ``L``, ``C`` and ``info``, whatever ``check`` asks for: to look at ``info`` is to wait for the GPU."""
    L, C = torch.empty_like(D), torch.empty_like(B)
    info = D.new_empty(D.shape[:-3], dtype=torch.int64)
    _launch_recursion(recursions.factor_kernel, (D, B, L, C, info), D)
    return L, C, info


def factor_backward(L: Tensor, C: Tensor, L_bar: Tensor, C_bar: Tensor) -> tuple[Tensor, Tensor]:
    """Return ``D_bar`` and ``B_bar``."""
    D_bar, B_bar = torch.empty_like(L), torch.empty_like(C)
    _launch_recursion(recursions.factor_rev_kernel, (L, C, L_bar, C_bar, D_bar, B_bar), L)
    return D_bar, B_bar


def solve(L: Tensor, C: Tensor, b: Tensor, transposed: bool) -> Tensor:
    """Return ``x``: a program for each right-hand side."""
    x, k = torch.empty_like(b), b.shape[-1]
    batch, steps, n = _sizes(L)
    lanes, groups = _share(batch, n, k)
    _launch(
        recursions.solve_kernel,
        groups * k,
        L,
        (L, C, b, x, batch, steps, k),
        {"N": n, "ROWS": _rows(n), "LANES": lanes, "TRANSPOSED": transposed},
    )
    return x


def solve_backward(L: Tensor, C: Tensor, x: Tensor, x_bar: Tensor, transposed: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Return ``L_bar``, ``C_bar`` and ``b_bar``."""
    b_bar = solve(L, C, x_bar, not transposed)
    u, v = (x, b_bar) if transposed else (b_bar, x)
    L_bar, C_bar = torch.empty_like(L), torch.empty_like(C)
    batch, steps, n = _sizes(L)
    arguments = (u, v, L_bar, C_bar, steps, x.shape[-1])
    _launch(recursions.solve_rev_kernel, batch * steps, L, arguments, {"N": n, "ROWS": _rows(n)})
    return L_bar, C_bar, b_bar


def inverse_blocks(L: Tensor, C: Tensor) -> tuple[Tensor, Tensor]:
    """Return the diagonal and the sub-diagonal blocks of the inverse."""
    diagonal, below = torch.empty_like(L), torch.empty_like(C)
    _launch_recursion(recursions.inverse_blocks_kernel, (L, C, diagonal, below), L)
    return diagonal, below


def inverse_blocks_backward(
    L: Tensor, C: Tensor, diagonal: Tensor, below: Tensor, diagonal_bar: Tensor, below_bar: Tensor
) -> tuple[Tensor, Tensor]:
    """Return ``L_bar`` and ``C_bar``."""
    L_bar, C_bar = torch.empty_like(L), torch.empty_like(C)
    arguments = (L, C, diagonal, below, diagonal_bar, below_bar, L_bar, C_bar)
    _launch_recursion(recursions.inverse_blocks_rev_kernel, arguments, L)
    return L_bar, C_bar


def log_diagonal(L: Tensor) -> Tensor:
    """Return the sums of the logarithms of the diagonals."""
    result = L.new_empty(L.shape[:-3])
    batch, steps, n = _sizes(L)
    rows = _rows(n)
    constants = {"N": n, "ROWS": rows, "CHUNK": _DIAGONAL_ENTRIES // rows}
    _launch(recursions.log_diagonal_kernel, batch, L, (L, result, steps), constants)
    return result


def log_diagonal_backward(L: Tensor, result_bar: Tensor) -> Tensor:
    """Return ``L_bar``."""
    L_bar = torch.empty_like(L)
    batch, steps, n = _sizes(L)
    arguments = (L, result_bar, L_bar, steps)
    _launch(recursions.log_diagonal_rev_kernel, batch * steps, L, arguments, {"N": n, "ROWS": _rows(n)})
    return L_bar


def _launch_recursion(kernel: Any, tensors: tuple[Tensor, ...], like: Tensor) -> None:
    batch, steps, n = _sizes(like)
    lanes, groups = _share(batch, n, 1)
    constants = {"N": n, "ROWS": _rows(n), "LANES": lanes}
    _launch(kernel, groups, like, (*tensors, batch, steps), constants)


def _launch(kernel: Any, programs: int, like: Tensor, arguments: tuple[Any, ...], constants: dict[str, int]) -> None:
    if programs == 0:
        return
    with on_device_of(like):
        kernel[(programs,)](*arguments, **constants, num_warps=1, maxnreg=_REGISTERS)


def _sizes(L: Tensor) -> tuple[int, int, int]:
    *batch, steps, n, _ = L.shape
    return torch.Size(batch).numel(), steps, n


def _rows(n: int) -> int:
    """Return the power of two from n on: the lanes that a block takes."""
    return 1 << (n - 1).bit_length()


def _share(batch: int, n: int, copies: int) -> tuple[int, int]:
    """Return how many lanes a program uses, and how many programs serve a batch, ``copies`` times."""
    rows = _rows(n)
    together = 1
    while together < _LANES // rows and batch * copies >= 2 * together * _WARPS_TO_FILL:
        together *= 2
    return rows * together, -(-batch // together)
