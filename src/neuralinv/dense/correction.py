"""A good guess becomes a certified inverse with one float64 product: what makes warm starts and learned guesses pay.

Let X approximate ``A⁻¹`` and ``R = I − AX`` with ``‖R‖_F ≤ ρ < 1``. The hyperpower step of order k,

    X_k = X (I + R + … + R^{k−1}),    satisfies    A⁻¹ − X_k = A⁻¹ R^k

(Higham, *Functions of Matrices*, §7.3; k = 2 is Newton–Schulz). Only R itself has to be computed in float64: everything
after it is multiplied by R, so that rounding errors of the working precision enter times ρ. With the rounding term δ of
the float64 residual (:mod:`neuralinv.dense.certificate`), unit roundoff u of the working precision and γ = γ_{n+3},

    ‖A⁻¹ − fl(X_k)‖_F / ‖A⁻¹‖_F ≤ ρᵏ + (1 + ρ) (δ + kγρ) / (1 − ρ)² + 6u,    k ≥ 2,

since ‖X‖_F ≤ (1 + ρ) ‖A⁻¹‖_F: replacing R by what is used of it, R̂ + E with ‖E‖_F ≤ δ + uρ, changes ``R + … +
R^{k−1}`` by at most ``‖E‖_F / (1 − ρ)²``; each of the k − 1 products in working precision, whose factors are at most ρ
and ρ / (1 − ρ), adds at most ``γρ / (1 − ρ)``; and the last sum is rounded. For k = 1 nothing is done, and the bound is
ρ.

Matrices whose norms are so extreme that something could under- or overflow get no bound.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

HIGHEST_ORDER = 4

CHUNK_ELEMENTS = 1 << 18
"""Matrix elements for each call: the calls' own cost is spread over them, and scratch memory stays near the caches."""

_U64 = torch.finfo(torch.float64).eps / 2
# What products of float32 matrices are rounded to, by torch.get_float32_matmul_precision().
_PRODUCT_ROUNDOFF = {"highest": 2.0**-24, "high": 2.0**-11, "medium": 2.0**-8}
_SAFE_NORM = {torch.float32: 1e15, torch.float64: 1e100}


class Corrected(NamedTuple):
    """Inverses of a batch, a proved bound of the relative error of each (infinity where nothing is proved), and the
    order.
    """

    inverse: Tensor
    error_bound: Tensor
    order: int


class Workspace:
    """Memory that :func:`correct` uses again from call to call; one for each thread."""

    def __init__(self) -> None:
        self._memory: dict[tuple[str, torch.dtype, torch.device], Tensor] = {}

    def take(self, name: str, like: Tensor, dtype: torch.dtype) -> Tensor:
        """Return an uninitialised tensor of the shape of ``like``; the same memory for the same name."""
        key = (name, dtype, like.device)
        held = self._memory.get(key)
        if held is None or held.numel() < like.numel():
            held = self._memory[key] = torch.empty(like.numel(), dtype=dtype, device=like.device)
        return held[: like.numel()].view(like.shape)


@torch.no_grad()
def correct(
    A: Tensor, X: Tensor, rtol: float, *, work: Workspace, out: Tensor | None = None, highest_order: int = HIGHEST_ORDER
) -> Corrected:
    """Correct and certify approximate inverses with the lowest order that brings them to ``rtol``.

    Parameters
    ----------
    A, X
        Shape ``(batch, n, n)``, both float32, float64, complex64 or complex128.
    rtol
        The relative error to reach: the order is the lowest one that reaches it for every matrix that any order can
        help.
    work
        Scratch memory.
    out
        Where the inverses go: shape and dtype of ``X``, not overlapping it.
    highest_order
        1 to 4; order k costs k − 1 products in the precision of ``A``.

    Returns
    -------
    The inverses (``X`` itself for order 1), and bounds of shape ``(batch,)``, float64. Where a bound exceeds rtol, the
    inverse is of no use.

    Notes
    -----
    One product in float64 (complex128), 2 n³ floating-point operations; k − 1 in the precision of A.
    """
    wide = torch.complex128 if A.is_complex() else torch.float64
    narrow = A.dtype
    n = A.shape[-1]
    wide_A = A if narrow == wide else work.take("A", A, wide).copy_(A)
    wide_X = X if narrow == wide else work.take("X", X, wide).copy_(X)
    # D = AX − I = −R: subtracting from the diagonal touches n entries.
    D = torch.bmm(wide_A, wide_X, out=work.take("D", A, wide))
    D.diagonal(dim1=-2, dim2=-1).sub_(1)
    rho, delta = _residual_bound(A, X, D)
    order, found = _choose_order(rho, delta, rtol, n, narrow, highest_order)
    bound = torch.from_numpy(found).to(A.device)
    if order == 1:
        return Corrected(X, bound, 1)
    R = D if narrow == wide else work.take("R", A, narrow).copy_(D)
    out = torch.empty_like(X) if out is None else out
    # X − XD, X − X(D − D²), and (X − XD)(I + D²).
    if order == 3:
        square = torch.bmm(R, R, out=work.take("square", A, narrow))
        R = torch.sub(R, square, out=square)
    torch.sub(X, torch.bmm(X, R, out=work.take("product", A, narrow)), out=out)
    if order == 4:
        square = torch.bmm(R, R, out=work.take("square", A, narrow))
        out.add_(torch.bmm(out, square, out=work.take("product", A, narrow)))
    return Corrected(out, bound, order)


def order_for(residual: float, rtol: float, n: int, dtype: torch.dtype) -> int | None:
    """Return the order that brings a residual norm to ``rtol``, apart from the rounding of the residual; None if none
    does.
    """
    rho, delta = np.array([residual]), np.zeros(1)
    for order in range(1, HIGHEST_ORDER + 1):
        reached, bound = _choose_order(rho, delta, rtol, n, dtype, order)
        if reached == order and bound[0] <= rtol:
            return order
    return None


def _residual_bound(A: Tensor, X: Tensor, D: Tensor) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return ρ and δ, each ``(batch,)``; ρ is infinite where a norm is out of the safe range."""
    n = A.shape[-1]
    norms = torch.stack([torch.linalg.vector_norm(M, dim=(-2, -1)).double() for M in (A, X, D)])
    # A few numbers for each matrix: NumPy is quicker with those, and everything from here on needs them on the CPU.
    norm_A, norm_X, norm_D = norms.cpu().numpy()
    # Norms in working precision are sums of n² squares.
    up = 1 + 4 * (n * n + 64) * (torch.finfo(A.dtype).eps / 2)
    limit = _SAFE_NORM[A.dtype.to_real()]
    with np.errstate(all="ignore"):
        delta = _gamma(n + 2, _U64, A.dtype) * (norm_A * norm_X * up * up + n**0.5)
        rho = (norm_D + delta) * (1 + 4 * (n * n + 64) * _U64)
        safe = (norm_A < limit) & (norm_A > 1 / limit) & (norm_X < limit) & (norm_X > 1 / limit) & (rho < 1)
    return np.where(safe, rho, np.inf), delta


def _choose_order(
    rho: NDArray[np.float64], delta: NDArray[np.float64], rtol: float, n: int, dtype: torch.dtype, highest: int
) -> tuple[int, NDArray[np.float64]]:
    """Return the lowest order that certifies whatever the highest one would, and its bounds."""
    single = dtype in (torch.float32, torch.complex64)
    gamma = _gamma(n + 3, _PRODUCT_ROUNDOFF[torch.get_float32_matmul_precision()] if single else _U64, dtype)
    u = 2.0**-24 if single else _U64

    def bounds(order: int) -> NDArray[np.float64]:
        if order == 1:
            return rho
        with np.errstate(all="ignore"):
            # Both steps of order 4 end in a rounded sum: u (1 + ρ²)² + u (1 + ρ⁴).
            rounding = (1 + rho) * (delta + order * gamma * rho) / (1 - rho) ** 2 + 6 * u
            return np.where(rho < 1, (rho**order + rounding) * (1 + 64 * _U64), np.inf)

    able = bounds(highest) <= rtol
    for order in range(1, highest):
        found = bounds(order)
        if not (able & ~(found <= rtol)).any():
            return order, found
    return highest, bounds(highest)


def _gamma(k: int, u: float, dtype: torch.dtype) -> float:
    k = 4 * k if dtype.is_complex else k
    return k * u / (1 - k * u) if k * u < 0.5 else float("inf")
