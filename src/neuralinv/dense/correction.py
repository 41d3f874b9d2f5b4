"""A good guess becomes a certified inverse with one float64 product: what makes warm starts and learned guesses pay.

Let X approximate ``A⁻¹`` and ``R = I − AX`` with ``‖R‖_F ≤ ρ < 1``. The hyperpower step of order k,

    X_k = X (I + R + … + R^{k−1}),    satisfies    A⁻¹ − X_k = A⁻¹ R^k

(Higham, *Functions of Matrices*, §7.3; k = 2 is Newton–Schulz). Only R itself has to be computed in float64: everything
after it is multiplied by R, so that rounding errors of the working precision enter times ρ.

The error is ``A⁻¹ R^k = (XR) R^{k−1} (I − R)⁻¹``, and ``‖X‖_F ≤ (1 + ρ) ‖A⁻¹‖_F``: with ``η ≥ ‖XR‖_F / ‖X‖_F``,

    ‖A⁻¹ − X_k‖_F / ‖A⁻¹‖_F ≤ min(ρᵏ, η ρ^{k−1} (1 + ρ) / (1 − ρ)).

η is about the relative error of X, and often smaller than ρ by √n or more. It comes with the first product: the norm of
what that adds to X tells which order suffices. X_{j+1} is X + X_j R, so that no other powers of R are formed.

Rounding. What is used of R is off by E, ``‖E‖_F ≤ δ + uρ``, with the rounding term δ of the float64 residual
(:mod:`neuralinv.dense.certificate`) and the unit roundoff u of the working precision. A product of Y with it is off by
``γ_n ‖Y‖_F ρ``, and the sum with X is rounded. With γ = γ_{n+3} and ``q = δ + 2γρ + 2u`` the computed iterates Y_j thus
differ from X_j by ``ε_{j+1} ≤ ε_j ρ + q ‖Y_j‖_F``, where ``‖Y_j‖_F ≤ ‖X‖_F / (1 − ρ) + ε_j``. That adds

    (1 + ρ) q / ((1 − ρ) (1 − ρ − q))

to the bound, and ``δ + 2γρ`` to η. Only where ρ ≤ ½ is anything corrected. For k = 1 nothing is done: the bound is ρ.

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
        to those that this order leaves short.
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

    total = A.shape[0]
    out = result.inverse
    norms = torch.empty(4, total, dtype=A.dtype.to_real(), device=A.device)
    step = matrices_at_once(A, CHUNK_ELEMENTS)
    order: int | None = None
    for start in range(0, total, step):
        part = slice(start, start + step)
        goal = _Goal(rtol, highest_order, order)
        order = _correct_chunk(A[part], candidates(part), goal, out[part], norms[:, part], work)
    bounds = _Bounds(norms, A, rtol)
    found, orders = bounds.at(order or 1), np.full(total, order or 1, dtype=np.int8)
    short = torch.from_numpy(np.flatnonzero(~(found <= rtol) & bounds.promise(highest_order)))
    for which in short.split(step) if len(short) else ():
        piece = which.to(A.device)
        better, again = torch.empty_like(A[piece]), torch.empty_like(norms[:, : len(piece)])
        order = _correct_chunk(A[piece], candidates(piece), _Goal(rtol, highest_order, None), better, again, work)
        out[piece] = better
        found[which], orders[which] = _Bounds(again, A, rtol).at(order), order
    result.error_bound.copy_(torch.from_numpy(found))
    result.order.copy_(torch.from_numpy(orders))


class _Goal(NamedTuple):
    """What to correct to: with ``order`` or, if that is None, the lowest one that certifies what the highest would."""

    rtol: float
    highest: int
    order: int | None


def _correct_chunk(A: Tensor, X: Tensor, goal: _Goal, out: Tensor, norms: Tensor, work: Workspace) -> int:
    """Write the corrected inverses into ``out``, and norms of A, X, R and XR into ``norms``; return the order."""
    R = _residual(A, X, norms[:3], work)
    order = goal.order
    norms[3] = torch.inf
    if order is None and not _Bounds(norms, A, goal.rtol).promise(goal.highest).any():
        order = 1
    if order == 1:
        out.copy_(X)
        return order
    # X is added by a call of its own: a product that accumulates onto X would round n sums as large as X.
    product = torch.bmm(X, R, out=work.take("product", X, X.dtype))
    torch.linalg.vector_norm(product, dim=(-2, -1), out=norms[3])
    torch.sub(X, product, out=out)
    if order is None:
        order = _Bounds(norms, A, goal.rtol).lowest_order(goal.highest)
        if order == 1:
            out.copy_(X)
    for _ in range(order - 2):
        torch.sub(X, torch.bmm(out, R, out=product), out=out)
    return order


def matrices_at_once(A: Tensor, elements: int) -> int:
    """Return how many matrices like those of ``A``, ``(batch, n, n)``, torch works on at once: of so many elements on a
    CPU, for its caches, and as many as fill another device.
    """
    if A.device.type != "cpu":
        elements = _CHUNK_ELEMENTS_ELSEWHERE
    return max(1, elements // max(1, A.shape[-1] ** 2))


def order_for(residual: float, deviation: float, rtol: float, n: int, dtype: torch.dtype) -> int | None:
    """Return the order that brings a guess with these norms of R, and of XR over that of X, to ``rtol``, apart from the
    rounding of the residual; None if none does.
    """
    norms = _Norms(np.array([residual]), np.zeros(1), np.array([min(deviation, residual)]))
    for order in range(1, HIGHEST_ORDER + 1):
        if _bound(norms, order, n, dtype)[0] <= rtol:
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


class _Norms(NamedTuple):
    """ρ, of it δ, and η, each ``(batch,)``."""

    rho: NDArray[np.float64]
    delta: NDArray[np.float64]
    eta: NDArray[np.float64]


class _Bounds:
    """What norms of A, X, the residual and its product with X in working precision, ``(4, batch)``, prove.

    The residual's own rounding to working precision is at most u relative to each entry, and covered by the rounding of
    the norm; entries that underflow on the way, squared or not, are below the root of the smallest normal number.
    """

    def __init__(self, norms: Tensor, A: Tensor, rtol: float) -> None:
        # A few numbers for each matrix: NumPy is quicker with those, and everything from here on needs them on the CPU.
        norm_A, norm_X, norm_R, norm_XR = norms.double().cpu().numpy()
        n, dtype = A.shape[-1], A.dtype
        # Norms in working precision are sums of n² squares.
        information = torch.finfo(dtype)
        up = 1 + 4 * (n * n + 64) * (information.eps / 2)
        lost = n * information.tiny**0.5
        limit = SAFE_NORM[dtype.to_real()]
        with np.errstate(all="ignore"):
            delta = gamma(n + 2, _U64, dtype) * (norm_A * norm_X * up * up + n**0.5)
            rho = (norm_R * up + lost + delta) * (1 + 64 * _U64)
            safe = (norm_A < limit) & (norm_A > 1 / limit) & (norm_X < limit) & (norm_X > 1 / limit) & (rho < 1)
            rho = np.where(safe, rho, np.inf)
            eta = np.fmin(rho, (norm_XR * up + lost) / norm_X * up + _product_rounding(rho, delta, n, dtype))
        self._norms = _Norms(rho, delta, eta)
        self._n, self._dtype, self._rtol = n, dtype, rtol

    def at(self, order: int) -> NDArray[np.float64]:
        return _bound(self._norms, order, self._n, self._dtype)

    def promise(self, highest: int) -> NDArray[np.bool_]:
        """Tell which are worth a product to learn η: a sixteenth of ρ, as of matrices of some size, would suffice."""
        rho = self._norms.rho
        hoped = _bound(self._norms._replace(eta=rho / 16), highest, self._n, self._dtype)
        return ~(rho <= self._rtol) & (hoped <= self._rtol) & (highest > 1)

    def lowest_order(self, highest: int) -> int:
        """Return the lowest order, from 2 on, that certifies whatever the highest one would; 1 if that is nothing."""
        able = self.at(highest) <= self._rtol
        if not able.any():
            return 1
        for order in range(2, highest):
            if not (able & ~(self.at(order) <= self._rtol)).any():
                return order
        return highest


def _product_rounding(
    rho: NDArray[np.float64], delta: NDArray[np.float64], n: int, dtype: torch.dtype
) -> NDArray[np.float64]:
    return delta + 2 * gamma(n + 3, product_roundoff(dtype), dtype) * rho


def _bound(norms: _Norms, order: int, n: int, dtype: torch.dtype) -> NDArray[np.float64]:
    rho, delta, eta = norms
    if order == 1:
        return np.where(rho < 1, rho, np.inf)
    u = 2.0**-24 if dtype in (torch.float32, torch.complex64) else _U64
    with np.errstate(all="ignore"):
        left = np.fmin(rho**order, eta * rho ** (order - 1) * (1 + rho) / (1 - rho))
        q = _product_rounding(rho, delta, n, dtype) + 2 * u
        found = left + (1 + rho) * q / ((1 - rho) * (1 - rho - q))
        return np.where((rho <= 0.5) & (q < 0.25), found * (1 + 64 * _U64), np.inf)
