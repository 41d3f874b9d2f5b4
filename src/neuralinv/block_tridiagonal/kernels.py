"""The compiled kernels, called with plain tensors; nothing else here knows the extension.

All tensors are on the CPU, contiguous, of one dtype, float32 or float64, with the same batch shape. Nothing is checked.
"""

from __future__ import annotations

import math
from array import array
from typing import Any

import torch
from torch import Tensor

from neuralinv.block_tridiagonal.errors import raise_if_failed
from neuralinv.dense.result_memory import new_entries, new_tensor

try:
    from neuralinv import _native
except ImportError:  # a source tree that was never built
    _native = None  # type: ignore[assignment]

AVAILABLE = _native is not None
"""Whether the extension was built."""

_MODULES: dict[torch.dtype, Any] = (
    {torch.float32: _native.block_tridiagonal_f32, torch.float64: _native.block_tridiagonal_f64} if AVAILABLE else {}
)


def factor(D: Tensor, B: Tensor, check: bool) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return ``L``, ``C`` and ``info``; with ``check`` raise ``torch.linalg.LinAlgError`` unless that is zero: None."""
    L, C, problem = new_tensor(D), new_tensor(B), _problem(D)
    info = _integers(problem[0])
    failed = _MODULES[D.dtype].factor(
        *problem, D.data_ptr(), B.data_ptr(), L.data_ptr(), C.data_ptr(), info.buffer_info()[0]
    )
    if check:
        if failed >= 0:
            raise_if_failed(_info(info, D), problem[2])
        return L, C, None
    return L, C, _info(info, D)


def factor_backward(L: Tensor, C: Tensor, L_bar: Tensor, C_bar: Tensor) -> tuple[Tensor, Tensor]:
    """Return ``D_bar`` and ``B_bar``."""
    D_bar, B_bar = new_tensor(L), new_tensor(C)
    _MODULES[L.dtype].factor_rev(
        *_problem(L),
        L.data_ptr(),
        C.data_ptr(),
        L_bar.data_ptr(),
        C_bar.data_ptr(),
        D_bar.data_ptr(),
        B_bar.data_ptr(),
    )
    return D_bar, B_bar


def solve(L: Tensor, C: Tensor, b: Tensor, transposed: bool) -> Tensor:
    """Return ``x``."""
    x = new_tensor(b)
    _MODULES[L.dtype].solve(
        *_problem(L), b.shape[-1], transposed, L.data_ptr(), C.data_ptr(), b.data_ptr(), x.data_ptr()
    )
    return x


def solve_backward(L: Tensor, C: Tensor, x: Tensor, x_bar: Tensor, transposed: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Return ``L_bar``, ``C_bar`` and ``b_bar``."""
    L_bar, C_bar, b_bar = new_tensor(L), new_tensor(C), new_tensor(x)
    _MODULES[L.dtype].solve_rev(
        *_problem(L),
        x.shape[-1],
        transposed,
        L.data_ptr(),
        C.data_ptr(),
        x.data_ptr(),
        x_bar.data_ptr(),
        L_bar.data_ptr(),
        C_bar.data_ptr(),
        b_bar.data_ptr(),
    )
    return L_bar, C_bar, b_bar


def inverse_blocks(L: Tensor, C: Tensor) -> tuple[Tensor, Tensor]:
    """Return the diagonal and the sub-diagonal blocks of the inverse."""
    diagonal, below = new_tensor(L), new_tensor(C)
    _MODULES[L.dtype].inverse_blocks(*_problem(L), L.data_ptr(), C.data_ptr(), diagonal.data_ptr(), below.data_ptr())
    return diagonal, below


def inverse_blocks_backward(
    L: Tensor, C: Tensor, diagonal: Tensor, below: Tensor, diagonal_bar: Tensor, below_bar: Tensor
) -> tuple[Tensor, Tensor]:
    """Return ``L_bar`` and ``C_bar``."""
    L_bar, C_bar = new_tensor(L), new_tensor(C)
    _MODULES[L.dtype].inverse_blocks_rev(
        *_problem(L),
        L.data_ptr(),
        C.data_ptr(),
        diagonal.data_ptr(),
        below.data_ptr(),
        diagonal_bar.data_ptr(),
        below_bar.data_ptr(),
        L_bar.data_ptr(),
        C_bar.data_ptr(),
    )
    return L_bar, C_bar


def log_diagonal(L: Tensor) -> Tensor:
    """Return the sums of the logarithms of the diagonals."""
    result = L.new_empty(L.shape[:-3])
    _MODULES[L.dtype].log_diagonal(*_problem(L), L.data_ptr(), result.data_ptr())
    return result


def log_diagonal_backward(L: Tensor, result_bar: Tensor) -> Tensor:
    """Return ``L_bar``."""
    L_bar = new_tensor(L)
    _MODULES[L.dtype].log_diagonal_rev(*_problem(L), L.data_ptr(), result_bar.data_ptr(), L_bar.data_ptr())
    return L_bar


def solve_system(
    D: Tensor, B: Tensor, b: Tensor | None, logdet: bool, keep_factors: bool
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Return ``x`` (None without ``b``), ``log det M`` if wanted, and the factors if they are to be kept.

    ``b`` and ``x`` have shape ``(*batch, T, n)`` or ``(*batch, T, n, k)``. The factors have a form that
    :func:`solve_system_backward` alone understands. A matrix that is not positive definite raises
    ``torch.linalg.LinAlgError``.
    """
    module, problem = _MODULES[D.dtype], _problem(D)
    x = None if b is None else new_tensor(b)
    logs = D.new_empty(D.shape[:-3]) if logdet else None
    info = _integers(problem[0])
    factors = new_entries(module.factor_entries(*problem), D) if keep_factors else None
    failed = module.solve_system(
        *problem,
        _count(b, D),
        D.data_ptr(),
        B.data_ptr(),
        _address(b),
        _address(x),
        _address(logs),
        info.buffer_info()[0],
        _address(factors),
    )
    if failed >= 0:
        raise_if_failed(_info(info, D), problem[2])
    return x, logs, factors


def solve_system_backward(
    D: Tensor,
    B: Tensor,
    factors: Tensor,
    x: Tensor | None,
    x_bar: Tensor | None,
    logs_bar: Tensor | None,
    blocks_needed: bool,
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Return ``D_bar`` and ``B_bar``, if needed, and ``b_bar``, if ``x_bar`` is given."""
    D_bar, B_bar = (new_tensor(D), new_tensor(B)) if blocks_needed else (None, None)
    b_bar = None if x_bar is None else new_tensor(x_bar)
    _MODULES[D.dtype].solve_system_rev(
        *_problem(D),
        _count(x_bar, D),
        factors.data_ptr(),
        _address(x),
        _address(x_bar),
        _address(logs_bar),
        _address(D_bar),
        _address(B_bar),
        _address(b_bar),
    )
    return D_bar, B_bar, b_bar


def _count(b: Tensor | None, D: Tensor) -> int:
    """Return how many right-hand sides each matrix has."""
    return 0 if b is None else b.shape[-1] if b.ndim == D.ndim else 1


def _integers(count: int) -> array[int]:
    """Return memory for ``info``, in a tenth of the time that a tensor takes: few callers want to see it."""
    return array("q", (0,)) * count


def _info(integers: array[int], D: Tensor) -> Tensor:
    return torch.tensor(integers, dtype=torch.int64).reshape(D.shape[:-3])


def _address(x: Tensor | None) -> int:
    return 0 if x is None else x.data_ptr()


def _problem(L: Tensor) -> tuple[int, int, int, int]:
    *batch, steps, n, _ = L.shape
    return math.prod(batch), steps, n, torch.get_num_threads()
