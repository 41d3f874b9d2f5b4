"""Inverses of slowly changing matrices: extrapolated from the last ones, corrected, certified."""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from typing import Any, Literal, TypeVar, cast

import torch
from torch import Tensor

from neuralinv.dense._arrays import Array, as_numbers, as_tensor, check_square, is_differentiated
from neuralinv.dense.certified import (
    DEFAULT_RTOL,
    ImplicitInverse,
    certified_inv,
    check_arguments,
    check_raise_or_nan,
    inverse_gradient,
    raise_if_singular,
)
from neuralinv.dense.correction import Workspace, correct
from neuralinv.dense.extrapolation import MOST_TERMS, extrapolate
from neuralinv.dense.result import InverseResult, Source

ArrayT = TypeVar("ArrayT", bound=Array)

_SAMPLED_ROWS = 4
_SAMPLED_ENTRIES = 1 << 14  # so few that torch does not share them among threads
_SETTLED = 8  # calls after which the degree is judged anew
_EVERY = 4  # with each so many of them only: judging takes as long as a few inverses


class SequenceInverter:
    """Inverts one batch of matrices after another, each close to the one before: the factors of an optimiser, a channel
    over time, a covariance that is updated.

    Every call extrapolates the last inverses with the degree (0 to 3) that would have predicted an earlier call best
    (judged with each of the first calls and after a jump, later with every fourth), computes one float64 residual, and
    decides from it how many products the correction takes: none, one (Newton–Schulz), or up to three (order 4, the work
    of two Newton–Schulz steps; see :mod:`neuralinv.dense.correction`). Matrices that the correction cannot certify are
    inverted anew, and so is a batch of another shape, dtype or device.

    Results are certified like those of :func:`neuralinv.certified_inv`, and differentiable. Within a function that
    :func:`torch.compile` compiles, a call is one operator of the graph, ``neuralinv::next_in_sequence``; the function
    is compiled anew for the first few calls, while the past grows. An instance is not for several threads at once.

    Parameters
    ----------
    rtol
        The relative error that certifies; by default 1e-5 for float32, 1e-10 for float64.
    on_singular
        ``"raise"`` or ``"nan"``, as for :func:`neuralinv.certified_inv`.

    Examples
    --------
    >>> import torch, neuralinv as ni
    >>> inverter = ni.SequenceInverter()
    >>> A = torch.eye(8, dtype=torch.float64).expand(4, 8, 8)
    >>> [inverter(A * (1 + 1e-4 * t)).source[0].item() for t in range(3)]
    [0, 2, 2]
    """

    def __init__(self, *, rtol: float | None = None, on_singular: Literal["raise", "nan"] = "raise") -> None:
        check_raise_or_nan(on_singular)
        self.rtol = rtol
        self.on_singular = on_singular
        self._work = Workspace()
        self._history: deque[Tensor] = deque(maxlen=MOST_TERMS)  # the latest first
        self._degree: int | Tensor = 0  # a tensor after a call within a compiled function
        self._calls = 0

    def reset(self) -> None:
        """Forget the past: the next call inverts from scratch."""
        self._history.clear()
        self._degree = self._calls = 0

    def propose(self) -> Tensor | None:
        """Return the inverses that the next call will start from, ``(batch, n, n)``, unproved; None without a past."""
        if not self._history:
            return None
        past = self._past()
        return extrapolate(past, torch.empty_like(past[0])).clone()

    def __call__(self, A: ArrayT) -> InverseResult[ArrayT]:
        """Invert the next batch.

        Parameters
        ----------
        A
            Shape ``(*batch, n, n)``, NumPy array or torch tensor, real or complex.

        Returns
        -------
        As :func:`neuralinv.certified_inv`; ``source`` is ``EXACT`` from scratch, ``PROPOSED`` as extrapolated,
        ``REFINED`` corrected, and ``FALLBACK`` inverted anew.

        Raises
        ------
        numpy.linalg.LinAlgError, torch.linalg.LinAlgError
            With ``on_singular="raise"``, naming the matrices without an inverse. The next call starts from scratch for
            them.
        """
        if torch.compiler.is_compiling():
            if isinstance(A, Tensor):
                return cast("InverseResult[ArrayT]", self._compiled(A))
            # As a decorator, `disable` would import torch's compiler with this package.
            return torch.compiler.disable(self._next)(A)
        return self._next(A)

    def _compiled(self, A: Tensor) -> InverseResult[Tensor]:
        """Do the same as one operator of a compiled graph, with the past as its inputs and outputs."""
        check_square(A, A)
        rtol = DEFAULT_RTOL[A.dtype] if self.rtol is None else self.rtol
        rtol = check_arguments(rtol, self.on_singular)
        n = A.shape[-1]
        past = list(self._history)
        if past and not _alike(past[0], A.reshape(-1, n, n) if A.numel() else A):
            past = []
        degree = self._degree if isinstance(self._degree, Tensor) else torch.tensor(self._degree if past else 0)
        X, bound, status, source, following = next_in_sequence(A, past, degree, rtol, self.on_singular == "raise")
        if A.dtype not in (torch.float16, torch.bfloat16) and A.numel():
            self._history = deque([X.detach().reshape(-1, n, n), *past][:MOST_TERMS], maxlen=MOST_TERMS)
            self._degree = following
        return InverseResult(X, bound, status, source, rtol)

    def _next(self, A: ArrayT) -> InverseResult[ArrayT]:
        tensor, restore = as_tensor(A)
        tensor = as_numbers(tensor, "A")
        check_square(tensor, A)
        rtol = DEFAULT_RTOL[tensor.dtype] if self.rtol is None else self.rtol
        rtol = check_arguments(rtol, self.on_singular)
        batch, n = tensor.shape[:-2], tensor.shape[-1]
        flat = tensor.detach().reshape(batch.numel(), n, n)
        result: InverseResult[Any] = self._invert(flat, rtol)
        if tensor.ndim != 3:
            result = result.map(lambda field: field.reshape(batch + field.shape[1:]))
        if self.on_singular == "raise":
            raise_if_singular(result, A, "on_singular='nan'")
        if is_differentiated(tensor):
            inverse = cast(ArrayT, ImplicitInverse.apply(tensor, result.inverse))
            return replace(result, inverse=inverse)
        return result.map(restore)

    @torch.no_grad()
    def _invert(self, A: Tensor, rtol: float) -> InverseResult[Tensor]:
        half = A.dtype in (torch.float16, torch.bfloat16)
        if self._history and not _alike(self._history[0], A):
            self.reset()
        if half or not self._history or not A.numel():
            result = certified_inv(A, rtol=rtol, on_singular="nan")
            if not half:
                self._history.appendleft(result.inverse)
            return result

        corrected = correct(A, self._past(), rtol, work=self._work)
        X, bound, source = corrected.inverse, corrected.error_bound, corrected.source
        result = InverseResult(X, bound, torch.zeros_like(source), source, rtol)
        jumped = float(bound.max()) > rtol  # no bound is NaN
        if jumped:
            failed = (bound > rtol).nonzero().squeeze(1)
            anew = certified_inv(A[failed], rtol=rtol, on_singular="nan")
            X[failed], bound[failed], result.status[failed] = anew.inverse, anew.error_bound, anew.status
            source[failed] = int(Source.FALLBACK)
        self._calls += 1
        if jumped or self._calls < _SETTLED or self._calls % _EVERY == 0:
            self._degree = _best_degree(self._history, X)
        self._history.appendleft(X)
        return result

    def _past(self) -> list[Tensor]:
        """The inverses that the next ones are extrapolated from."""
        return list(self._history)[: int(self._degree) + 1]


def _alike(X: Tensor, A: Tensor) -> bool:
    return X.shape == A.shape and X.dtype == A.dtype and X.device == A.device


def _best_degree(history: deque[Tensor], X: Tensor) -> int:
    """Return the degree that the past should have been continued with to meet ``X``, judged by a few rows of some
    matrices.
    """
    stride = -(-len(X) * min(_SAMPLED_ROWS, X.shape[1]) * X.shape[2] // _SAMPLED_ENTRIES)
    rows = [past[::stride, :_SAMPLED_ROWS] for past in history]
    actual = X[::stride, :_SAMPLED_ROWS]
    errors = []
    for degree in range(len(rows)):
        error = torch.linalg.vector_norm(
            extrapolate(rows[: degree + 1], torch.empty_like(actual)) - actual, dim=(-2, -1)
        )
        # A median: single matrices that were inverted anew, or have no inverse, have no say.
        errors.append(error.nanmedian())
    best = int(torch.stack(errors).nan_to_num(nan=torch.inf).argmin())
    # The highest degree that could be tried did best: one more inverse is known now, so try one more.
    return min(best + 1, MOST_TERMS - 1) if best == len(rows) - 1 else best


@torch.library.custom_op("neuralinv::next_in_sequence", mutates_args=())
def next_in_sequence(
    A: Tensor, past: list[Tensor], degree: Tensor, rtol: float, strict: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Invert the next batch of a sequence: what an instance does in one call, without one.

    Parameters
    ----------
    A
        Shape ``(*batch, n, n)``.
    past
        Up to four inverses, the latest first, each ``(batch, n, n)``.
    degree
        A whole number from 0 to 3, the degree to extrapolate with.
    rtol
        The relative error that certifies.
    strict
        Raise ``torch.linalg.LinAlgError`` where there is no inverse.

    Returns
    -------
    Inverse, error bound, status, source, and the degree for the next call.
    """
    inverter = SequenceInverter(rtol=rtol, on_singular="raise" if strict else "nan")
    inverter._history.extend(past)
    inverter._degree = int(degree)
    result = inverter._next(A.detach())
    return result.inverse, result.error_bound, result.status, result.source, torch.tensor(inverter._degree)


@next_in_sequence.register_fake
def _fake_next(
    A: Tensor, past: list[Tensor], degree: Tensor, rtol: float, strict: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    batch = A.shape[:-2]
    bound, status = A.new_empty(batch, dtype=torch.float64), A.new_empty(batch, dtype=torch.int8)
    return A.new_empty(A.shape), bound, status, torch.empty_like(status), torch.empty((), dtype=torch.int64)


def _save_next(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    ctx.save_for_backward(output[0])
    ctx.past = len(inputs[1])


def _next_gradient(ctx: Any, *grads: Tensor) -> tuple[Tensor, list[None], None, None, None]:
    (X,) = ctx.saved_tensors
    return inverse_gradient(X, grads[0]), [None] * ctx.past, None, None, None


next_in_sequence.register_autograd(_next_gradient, setup_context=_save_next)
