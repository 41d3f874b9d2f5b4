"""Which method factors and solves: compiled, parallel in time, or the plain loop. All have the same four functions."""

from __future__ import annotations

from typing import Literal, Protocol, cast

from torch import Tensor

from neuralinv.block_tridiagonal import cyclic_reduction, native, reference

Method = Literal["auto", "native", "cyclic", "loop"]
"""The names that ``method=`` takes."""

# Beyond this size of a block LAPACK's and BLAS's own blocking outweighs what Python costs the loop.
_LARGEST_NATIVE = 96


class Implementation(Protocol):
    """What a method offers. Batches have one shape; ``b`` is ``(*batch, T, n, k)``."""

    def factor(self, D: Tensor, B: Tensor, *, check: bool) -> tuple[Tensor, Tensor, Tensor]:
        """Return ``L``, ``C`` and ``info``."""

    def solve(self, L: Tensor, C: Tensor, b: Tensor, *, transposed: bool) -> Tensor:
        """Solve ``F x = b`` or ``Fᵀ x = b``."""

    def inverse_blocks(self, L: Tensor, C: Tensor) -> tuple[Tensor, Tensor]:
        """Return the diagonal and sub-diagonal blocks of ``(F Fᵀ)⁻¹``."""

    def log_diagonal(self, L: Tensor) -> Tensor:
        """Return the sums of the logarithms of the diagonals of ``L``."""


_IMPLEMENTATIONS = {
    name: cast(Implementation, module)
    for name, module in (("native", native), ("cyclic", cyclic_reduction), ("loop", reference))
}


def implementation(method: Method, D: Tensor) -> Implementation:
    """Return the implementation that answers for blocks like ``D (*batch, T, n, n)``."""
    name, _ = choose(method, D)
    return _IMPLEMENTATIONS[name]


def choose(method: Method, D: Tensor) -> tuple[str, str]:
    """Return the name of the implementation that answers, and why.

    Raises
    ------
    ValueError
        If there is no such method, or "native" is asked for and cannot take these tensors.
    """
    if method == "auto":
        if native.available(D) and D.shape[-1] <= _LARGEST_NATIVE:
            return "native", f"{D.dtype} blocks of {D.shape[-1]}×{D.shape[-1]} on the CPU: compiled kernels"
        if D.is_cpu:
            return "loop", f"no compiled kernel for {D.dtype} blocks of {D.shape[-1]}×{D.shape[-1]} pays on the CPU"
        return "cyclic", f"tensors on {D.device.type}: few large launches instead of many small ones"
    if method not in _IMPLEMENTATIONS:
        raise ValueError(f"method is {method!r}; expected 'auto', 'native', 'cyclic' or 'loop'")
    if method == "native" and not native.available(D):
        raise ValueError(
            f"method='native' takes float32 and float64 tensors on the CPU, with the extension built; "
            f"these are {D.dtype} on {D.device.type}. method='auto' chooses what fits"
        )
    return method, "asked for"
