"""Which method factors and solves: compiled kernels, parallel in time, or the plain loop. All have four functions."""

from __future__ import annotations

import math
from typing import Literal, Protocol, cast

from torch import Tensor

from neuralinv.block_tridiagonal import backends, cyclic_reduction, native, reference
from neuralinv.block_tridiagonal.gpu_crossover import recursion_pays
from neuralinv.kernels import availability

Method = Literal["auto", "native", "triton", "cyclic", "loop"]
"""The names that ``method=`` takes."""

# Beyond this size of a block LAPACK's and BLAS's own blocking outweighs what Python costs the loop.
_LARGEST_NATIVE = 96


class Implementation(Protocol):
    """What a method offers. Batches have one shape; ``b`` is ``(*batch, T, n, k)``."""

    def factor(self, D: Tensor, B: Tensor, *, check: bool) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return ``L``, ``C`` and ``info``; with ``check``, raise unless it is zero, and it may be None."""

    def solve(self, L: Tensor, C: Tensor, b: Tensor, *, transposed: bool) -> Tensor:
        """Solve ``F x = b`` or ``Fᵀ x = b``."""

    def inverse_blocks(self, L: Tensor, C: Tensor) -> tuple[Tensor, Tensor]:
        """Return the diagonal and sub-diagonal blocks of ``(F Fᵀ)⁻¹``."""

    def log_diagonal(self, L: Tensor) -> Tensor:
        """Return the sums of the logarithms of the diagonals of ``L``."""


_IMPLEMENTATIONS = {
    name: cast(Implementation, module)
    for name, module in (("native", native), ("triton", native), ("cyclic", cyclic_reduction), ("loop", reference))
}


def implementation(method: Method, D: Tensor) -> Implementation:
    """Return the implementation that answers for blocks like ``D (*batch, T, n, n)``."""
    return _IMPLEMENTATIONS[choose(method, D)]


def choose(method: Method, D: Tensor) -> str:
    """Return the name of the implementation that answers.

    Raises
    ------
    ValueError
        If there is no such method, or "native" or "triton" is asked for and cannot take these tensors.
    """
    if method == "auto":
        if D.is_cpu:
            return "native" if D.shape[-1] <= _LARGEST_NATIVE and backends.native_takes(D) else "loop"
        *batch, steps, n, _ = D.shape
        pays = backends.triton_takes(D) and recursion_pays(math.prod(batch), steps, n)
        return "triton" if pays else "cyclic"
    if method not in _IMPLEMENTATIONS:
        raise ValueError(f"method is {method!r}; expected 'auto', 'native', 'triton', 'cyclic' or 'loop'")
    if method == "native" and not backends.native_takes(D):
        raise ValueError(
            f"method='native' takes float32 and float64 tensors on the CPU, with the extension built; "
            f"these are {D.dtype} on {D.device.type}. method='auto' chooses what fits"
        )
    if method == "triton" and not backends.triton_takes(D):
        raise ValueError(
            f"method='triton' takes float32 and float64 tensors on a GPU, in blocks up to {backends.LARGEST_ON_GPU}; "
            f"these are {D.dtype} on {D.device.type}, n = {D.shape[-1]} ({availability.describe()}). "
            "method='auto' chooses what fits"
        )
    return method


def explain(method: Method, D: Tensor) -> str:
    """Say which implementation answers, and why."""
    name = choose(method, D)
    if method != "auto":
        return f"{name}: asked for"
    blocks = f"{D.dtype} blocks of {D.shape[-1]}×{D.shape[-1]}"
    reasons = {
        "native": f"{blocks} on the CPU: compiled kernels",
        "triton": f"{blocks} on a GPU: a warp goes through the steps of each sequence",
        "loop": f"no compiled kernel for {blocks} pays on the CPU",
        "cyclic": f"tensors on {D.device.type}: few large launches instead of many small ones",
    }
    return f"{name}: {reasons[name]}"
