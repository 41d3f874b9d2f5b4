"""Whose kernels compute on plain tensors: the compiled extension on the CPU, Triton on a GPU. The same functions."""

from __future__ import annotations

from typing import Protocol, cast

import torch
from torch import Tensor

from neuralinv.block_tridiagonal import kernels
from neuralinv.block_tridiagonal.errors import raise_if_failed
from neuralinv.kernels import availability

_DTYPES = (torch.float32, torch.float64)
LARGEST_ON_GPU = 32
"""The largest blocks that the Triton kernels take: a row for each lane of a warp."""


class Backend(Protocol):
    """What ``block_tridiagonal/kernels.py`` and ``kernels/block_tridiagonal.py`` both offer."""

    def factor(self, D: Tensor, B: Tensor, check: bool) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return ``L``, ``C`` and ``info``; the CPU raises itself with ``check``, and ``info`` is None then."""

    def factor_backward(self, L: Tensor, C: Tensor, L_bar: Tensor, C_bar: Tensor) -> tuple[Tensor, Tensor]:
        """Return ``D_bar`` and ``B_bar``."""

    def solve(self, L: Tensor, C: Tensor, b: Tensor, transposed: bool) -> Tensor:
        """Return ``x``."""

    def solve_backward(
        self, L: Tensor, C: Tensor, x: Tensor, x_bar: Tensor, transposed: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return ``L_bar``, ``C_bar`` and ``b_bar``."""

    def inverse_blocks(self, L: Tensor, C: Tensor) -> tuple[Tensor, Tensor]:
        """Return the diagonal and the sub-diagonal blocks of the inverse."""

    def inverse_blocks_backward(
        self, L: Tensor, C: Tensor, diagonal: Tensor, below: Tensor, diagonal_bar: Tensor, below_bar: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return ``L_bar`` and ``C_bar``."""

    def log_diagonal(self, L: Tensor) -> Tensor:
        """Return the sums of the logarithms of the diagonals."""

    def log_diagonal_backward(self, L: Tensor, result_bar: Tensor) -> Tensor:
        """Return ``L_bar``."""


def native_takes(x: Tensor) -> bool:
    """Tell whether the extension can answer for tensors like this."""
    return kernels.AVAILABLE and x.is_cpu and x.dtype in _DTYPES and x.layout == torch.strided


def triton_takes(D: Tensor) -> bool:
    """Tell whether the Triton kernels can answer for blocks like ``D (*batch, T, n, n)``."""
    return D.dtype in _DTYPES and D.shape[-1] <= LARGEST_ON_GPU and availability.serves(D.device)


def backend(x: Tensor) -> Backend:
    """Return the kernels for tensors like ``x``; Triton is imported when it is first asked for."""
    if x.is_cpu:
        return cast(Backend, kernels)
    from neuralinv.kernels import block_tridiagonal as triton_kernels

    return cast(Backend, triton_kernels)


def factor(D: Tensor, B: Tensor, check: bool) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return ``L``, ``C`` and ``info``, which may be None where ``check`` found nothing.

    Raises
    ------
    torch.linalg.LinAlgError
        With ``check``, if a sequence failed.
    """
    L, C, info = backend(D).factor(D, B, check)
    if check and info is not None:
        raise_if_failed(info, D.shape[-1])
    return L, C, info
