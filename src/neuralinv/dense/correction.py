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

Matrices on the CPU up to n = 1024 go to a kernel, ``cpp/include/neuralinv/correction.hpp``, which gives each matrix the
order that it needs. Where A and X are symmetric, it forms half of each product with X and mirrors it: the inverse is
symmetric, too, and the bound counts rounding twice. Others go to torch, where a call costs as much as thousands of
operations. So all matrices go through the same few calls, in chunks that the second-level cache holds, in memory that
is used again, with the order that the first chunk asks for; bounds are computed for all of them at once, and the few
that need a higher order are done again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from neuralinv.dense import native
from neuralinv.dense.extrapolation import extrapolate
from neuralinv.dense.precision import product_roundoff
from neuralinv.dense.result import Source
from neuralinv.dense.result_memory import new_tensor

HIGHEST_ORDER = 4

CHUNK_ELEMENTS = 1 << 16
"""Matrix elements worked on at once: three float64 copies of them nearly fit the second-level cache."""

_CHUNK_ELEMENTS_ELSEWHERE = 1 << 24

NATIVE_CHUNK_ELEMENTS = 1 << 21
"""The same for the kernel, which works through a chunk by single matrices: several for each thread."""

_U64 = torch.finfo(torch.float64).eps / 2
# Squares of entries that underflow are then too small to matter beside the rounding of the norms.
SAFE_NORM = {torch.float32: 1e12, torch.float64: 1e100}

Guess: TypeAlias = Callable[[slice | Tensor], Tensor]
"""Gives the approximate inverses of some matrices of a batch. What it returns is read before it is called again."""


class Corrected(NamedTuple):
    """Inverses of a batch; a proved float64 bound of the relative error of each, infinity where nothing is proved; and
    the order that each was corrected with, int8. Both of shape ``(batch,)``.
    """

    inverse: Tensor
    error_bound: Tensor
    order: Tensor

    @classmethod
    def room_for(cls, A: Tensor) -> Corrected:
        """Return memory for the inverses of ``A``, ``(batch, n, n)``."""
        return cls(new_tensor(A), A.new_empty(len(A), dtype=torch.float64), A.new_empty(len(A), dtype=torch.int8))

    @property
    def source(self) -> Tensor:
        """Where each comes from, int8: ``PROPOSED`` for order 1, else ``REFINED``."""
        return self.order.clamp(int(Source.PROPOSED), int(Source.REFINED))


class Workspace:
    """Memory that is used again from call to call; one for each thread."""

    def __init__(self) -> None:
        self._memory: dict[tuple[str, torch.dtype, torch.device], Tensor] = {}
        self._views: dict[tuple[str, torch.dtype, torch.device, torch.Size], Tensor] = {}

    def take(self, name: str, like: Tensor, dtype: torch.dtype) -> Tensor:
        """Return an uninitialised tensor of the shape of ``like``; the same memory for the same name."""
        key = (name, dtype, like.device)
        view = self._views.get((*key, like.shape))
        if view is not None and not _is_sealed(view):
            return view
        held = self._memory.get(key)
        if held is None or held.numel() < like.numel() or _is_sealed(held):
            held = self._memory[key] = torch.empty(like.numel(), dtype=dtype, device=like.device)
            self._views = {known: seen for known, seen in self._views.items() if known[:3] != key}
        view = self._views[(*key, like.shape)] = held[: like.numel()].view(like.shape)
        return view


def _is_sealed(memory: Tensor) -> bool:
    """Tell memory that was made in ``torch.inference_mode`` and cannot be written to outside of it."""
    return memory.is_inference() and not torch.is_inference_mode_enabled()


@torch.no_grad()
def correct(
    A: Tensor,
    guess: Tensor | Sequence[Tensor] | Guess,
    rtol: float,
    *,
    work: Workspace,
    highest_order: int = HIGHEST_ORDER,
    out: Corrected | None = None,
) -> Corrected:
    """Correct and certify approximate inverses with the lowest order that brings them to ``rtol``.

    Parameters
    ----------
    A
        Shape ``(batch, n, n)``, float32, float64, complex64 or complex128.
    guess
        Approximate inverses, shape and dtype of ``A``; or one to four of them, the last ones of a sequence, latest
        first, to be continued by a polynomial; or a function that gives those of some of the matrices. An empty
        sequence asks for exact inverses, of matrices that the kernels both invert and correct.
    rtol
        The relative error to reach. The kernel gives each matrix the lowest order that reaches it; torch gives all of
        them the one that the matrices of the first chunk ask for, as far as any order can help them, and what they need
        to those further on that this order leaves short.
    work
        Scratch memory.
    highest_order
        1 to 4; order k costs k − 1 products in the precision of ``A``.
    out
        Where the results go, contiguous and overlapping nothing; by default, new memory.

    Returns
    -------
    Where a bound exceeds rtol, the inverse is of no use.

    Notes
    -----
    One product in float64 (complex128), 2 n³ floating-point operations; k − 1 in the precision of A.
    """
    if isinstance(guess, Tensor):
        guess = [guess]
    out = Corrected.room_for(A) if out is None else out
    if native.corrects(A):
        _correct_natively(A, guess, rtol, highest_order, out)
    else:
        _correct_by_torch(A, guess, rtol, work, highest_order, out)
    return out


def _correct_natively(
    A: Tensor, guess: Sequence[Tensor] | Guess, rtol: float, highest_order: int, result: Corrected
) -> None:
    total = A.shape[0]
    if not callable(guess):
        native.correct(A, guess, rtol, highest_order, *result)
        return
    step = max(2 * native.threads(), NATIVE_CHUNK_ELEMENTS // A.shape[-1] ** 2)
    for start in range(0, total, step):
        part = slice(start, start + step)
        native.correct(A[part], [guess(part)], rtol, highest_order, *(field[part] for field in result))


def _correct_by_torch(
    A: Tensor,
    guess: Sequence[Tensor] | Guess,
    rtol: float,
    work: Workspace,
    highest_order: int,
    result: Corrected,
) -> None:
    if callable(guess):
        candidates = guess
    else:
        past = guess

        def candidates(part: slice | Tensor) -> Tensor:
            pieces = [X[part] for X in past]
            return extrapolate(pieces, work.take("guess", pieces[0], A.dtype))

    total, n = A.shape[0], A.shape[-1]
    out = result.inverse
    norms = torch.empty(3, total, dtype=A.dtype.to_real(), device=A.device)
    step = matrices_at_once(A, CHUNK_ELEMENTS)
    order = highest_order
    for start in range(0, total, step):
        part = slice(start, start + step)
        a, x = A[part], candidates(part)
        R = _residual(a, x, norms[:, part], work)
        if start == 0:
            order = _Bounds(norms[:, part], n, A.dtype, rtol).lowest_order(highest_order)
        _apply(x, R, order, out[part], work)
    bounds = _Bounds(norms, n, A.dtype, rtol)
    found, orders = bounds.at(order), np.full(total, order, dtype=np.int8)
    short = np.flatnonzero(~(found <= rtol) & (bounds.at(highest_order) <= rtol))
    if len(short):
        left = torch.from_numpy(short).to(A.device)
        again = _Bounds(norms[:, left], n, A.dtype, rtol)
        order = again.lowest_order(highest_order)
        for piece in left.split(step):
            x = candidates(piece)
            R = _residual(A[piece], x, norms[:, : len(piece)], work)
            better = torch.empty_like(x)
            _apply(x, R, order, better, work)
            out[piece] = better
        found[short], orders[short] = again.at(order), order
    result.error_bound.copy_(torch.from_numpy(found))
    result.order.copy_(torch.from_numpy(orders))


def matrices_at_once(A: Tensor, elements: int) -> int:
    """Return how many matrices like those of ``A``, ``(batch, n, n)``, torch works on at once: of so many elements on a
    CPU, for its caches, and as many as fill another device.
    """
    if A.device.type != "cpu":
        elements = _CHUNK_ELEMENTS_ELSEWHERE
    return max(1, elements // max(1, A.shape[-1] ** 2))


def order_for(residual: float, rtol: float, n: int, dtype: torch.dtype) -> int | None:
    """Return the order that brings a residual norm to ``rtol``, apart from the rounding of the residual; None if none
    does.
    """
    for order in range(1, HIGHEST_ORDER + 1):
        if _bound(np.array([residual]), np.zeros(1), order, n, dtype)[0] <= rtol:
            return order
    return None


def gamma(k: int, u: float, dtype: torch.dtype) -> float:
    """Return ``γ_k = k u / (1 − k u)``; a complex operation counts four times, which covers Higham's Lemma 3.5."""
    k = 4 * k if dtype.is_complex else k
    return k * u / (1 - k * u) if k * u < 0.5 else float("inf")


def _residual(A: Tensor, X: Tensor, norms: Tensor, work: Workspace) -> Tensor:
    """Return ``AX − I`` in the dtype of A, computed in double precision; write the norms of A, X and it."""
    wide = torch.complex128 if A.is_complex() else torch.float64
    if A.dtype == wide:
        wide_A, wide_X = A, X
    else:
        wide_A, wide_X = work.take("A", A, wide).copy_(A), work.take("X", X, wide).copy_(X)
    D = torch.bmm(wide_A, wide_X, out=work.take("D", A, wide))
    # Subtracting from the diagonal touches n entries.
    D.diagonal(dim1=-2, dim2=-1).sub_(1)
    R = D if A.dtype == wide else work.take("R", A, A.dtype).copy_(D)
    for row, M in zip(norms, (A, X, R), strict=True):
        torch.linalg.vector_norm(M, dim=(-2, -1), out=row)
    return R


def _apply(X: Tensor, R: Tensor, order: int, out: Tensor, work: Workspace) -> None:
    """Write the hyperpower step into ``out``; with R = AX − I: X, X − XR, X − X(R − R²), and (X − XR)(I + R²).

    X is added by a call of its own: a product that accumulates onto X would round n sums as large as X.
    """
    if order == 1:
        out.copy_(X)
        return
    product = work.take("product", X, X.dtype)
    if order == 3:
        R = torch.baddbmm(R, R, R, alpha=-1, out=work.take("square", X, X.dtype))
    torch.sub(X, torch.bmm(X, R, out=product), out=out)
    if order == 4:
        square = torch.bmm(R, R, out=work.take("square", X, X.dtype))
        out.add_(torch.bmm(out, square, out=product))


class _Bounds:
    """What norms of A, X and of the residual in working precision, ``(3, batch)``, prove.

    The residual's own rounding to working precision is at most u relative to each entry, and covered by the rounding of
    the norm; entries that underflow on the way, squared or not, are below the root of the smallest normal number.
    """

    def __init__(self, norms: Tensor, n: int, dtype: torch.dtype, rtol: float) -> None:
        # A few numbers for each matrix: NumPy is quicker with those, and everything from here on needs them on the CPU.
        norm_A, norm_X, norm_R = norms.double().cpu().numpy()
        # Norms in working precision are sums of n² squares.
        information = torch.finfo(dtype)
        up = 1 + 4 * (n * n + 64) * (information.eps / 2)
        limit = SAFE_NORM[dtype.to_real()]
        with np.errstate(all="ignore"):
            delta = gamma(n + 2, _U64, dtype) * (norm_A * norm_X * up * up + n**0.5)
            rho = (norm_R * up + n * information.tiny**0.5 + delta) * (1 + 64 * _U64)
            safe = (norm_A < limit) & (norm_A > 1 / limit) & (norm_X < limit) & (norm_X > 1 / limit) & (rho < 1)
        self._rho, self._delta = np.where(safe, rho, np.inf), delta
        self._n, self._dtype, self._rtol = n, dtype, rtol

    def at(self, order: int) -> NDArray[np.float64]:
        return _bound(self._rho, self._delta, order, self._n, self._dtype)

    def lowest_order(self, highest: int) -> int:
        """Return the lowest order that certifies whatever the highest one would."""
        able = self.at(highest) <= self._rtol
        for order in range(1, highest):
            if not (able & ~(self.at(order) <= self._rtol)).any():
                return order
        return highest


def _bound(
    rho: NDArray[np.float64], delta: NDArray[np.float64], order: int, n: int, dtype: torch.dtype
) -> NDArray[np.float64]:
    if order == 1:
        return np.where(rho < 1, rho, np.inf)
    single = dtype in (torch.float32, torch.complex64)
    products = gamma(n + 3, product_roundoff(dtype), dtype)
    u = 2.0**-24 if single else _U64
    with np.errstate(all="ignore"):
        # Both steps of order 4 end in a rounded sum: u (1 + ρ²)² + u (1 + ρ⁴).
        rounding = (1 + rho) * (delta + order * products * rho) / (1 - rho) ** 2 + 6 * u
        return np.where(rho < 1, (rho**order + rounding) * (1 + 64 * _U64), np.inf)
