"""`certified_inv`: every inverse with a proved bound of its error, a status and a source."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from numbers import Real
from typing import Any, Literal, TypeVar, cast

import numpy as np
import torch
from torch import Tensor

from neuralinv.dense import first_attempt, native
from neuralinv.dense._arrays import Array, as_numbers, as_tensor, check_square, is_differentiated, is_jax
from neuralinv.dense.correction import matrices_at_once
from neuralinv.dense.denormals import holds_flushed_denormals
from neuralinv.dense.eager import outside_of_graphs
from neuralinv.dense.errors import linalg_error
from neuralinv.dense.pipeline import (
    Outcome,
    Proposer,
    check_candidates,
    invert_and_certify,
    invert_and_probably_certify,
    propose,
)
from neuralinv.dense.probabilistic import Odds, draw_probes
from neuralinv.dense.result import InverseResult, Source, Status, name_indices
from neuralinv.dense.result_memory import new_tensor
from neuralinv.dense.routes import straight_shape
from neuralinv.dense.scaling import normalise, scale_by_power_of_two, widen
from neuralinv.dense.schur import SchurProposer

ArrayT = TypeVar("ArrayT", bound=Array)

DEFAULT_RTOL = {
    torch.float64: 1e-10,
    torch.complex128: 1e-10,
    torch.float32: 1e-5,
    torch.complex64: 1e-5,
    # A few units of roundoff: no inverse rounded to half precision can be closer than 5e-4 (float16) or 4e-3
    # (bfloat16).
    torch.float16: 2e-3,
    torch.bfloat16: 1e-2,
}
"""The relative error that certifies, by the dtype of the input."""

_ONE, _TINY = 1.0, 2.0**-60

_CHUNK_ELEMENTS = 1 << 17
"""Matrix elements worked on at once: keeps float64 temporaries in the cache, and memory bounded for any batch."""


@outside_of_graphs
def certified_inv(
    A: ArrayT,
    proposer: Proposer | Array | None = None,
    *,
    rtol: float | None = None,
    on_singular: Literal["raise", "nan", "pinv"] = "raise",
    certificate: Literal["deterministic", "probabilistic"] = "deterministic",
    failure_probability: float = 1e-10,
    generator: torch.Generator | None = None,
    progress: Callable[[int], object] | None = None,
) -> InverseResult[ArrayT]:
    """Invert every matrix of a batch and prove how wrong each answer can be.

    Each matrix goes through four stages: the proposer's candidate is refined by Newton–Schulz steps, certified from its
    float64 residual, and recomputed by the exact kernel in float64 where that fails. Most matrices on the CPU need
    less: :mod:`neuralinv.dense.first_attempt`.

    Parameters
    ----------
    A
        Shape ``(*batch, n, n)``: NumPy array, torch tensor or JAX array; real or complex.
    proposer
        A callable from ``(batch, n, n)`` tensors to candidate inverses, such as a network of
        :func:`neuralinv.learned.load`; or the candidates themselves, an array of the shape of ``A``, such as the
        inverses of similar matrices; None starts from the exact kernel. What it raises passes through. One
        with an attribute ``size`` different from n is applied to blocks
        (:class:`~neuralinv.dense.schur.SchurProposer`).
    rtol
        The relative error ``‖A⁻¹ − X‖_F / ‖A⁻¹‖_F`` that certifies; by default 1e-5 for float32, 1e-10 for float64.
    on_singular
        What becomes of matrices that have no inverse (singular or non-finite): ``"raise"`` an error that names them,
        ``"nan"`` in their place, or ``"pinv"``: the Moore–Penrose pseudo-inverse (NaN where the input is not finite).
    certificate, failure_probability, generator
        ``"probabilistic"`` first looks at the residual through a few random vectors, in O(n²) operations: its bound is
        wrong with at most this probability, for each matrix of its own. What it cannot certify takes the deterministic
        way. Without a generator (of the device of ``A``) the seed is fresh.
    progress
        Called with the number of matrices done, a chunk at a time.

    Returns
    -------
    InverseResult
        ``inverse``, ``error_bound``, ``status`` and ``source``, of the same kind as ``A``. ``inverse`` is
        differentiable for tensors.

    Raises
    ------
    numpy.linalg.LinAlgError, torch.linalg.LinAlgError
        With ``on_singular="raise"``, naming the matrices without an inverse; the type follows the kind of ``A``.
    ValueError
        If ``A`` is not a batch of square matrices or holds integers that floating-point numbers round, or if an
        argument is out of range.
    TypeError
        If ``A`` holds no numbers, or masked entries; if the proposer is neither callable nor an array, or returns
        something that is no candidate.

    Notes
    -----
    Beyond the proposer: 2 n³ floating-point operations for the residual, in float64, and 2 n³ for each step of the
    correction, in the precision of ``A`` on the CPU from n = 9 on; half of the latter where ``A`` is symmetric, and
    half of the inversion, too, where it is positive definite. Without a proposer, real matrices up to 32×32 (float64
    on the CPU: 40×40) are inverted and certified in one pass of the kernels (``cpp/include/neuralinv/certificate.hpp``,
    :mod:`neuralinv.kernels.elimination`); only what that pass cannot certify goes through the stages.

    Examples
    --------
    >>> import numpy as np, neuralinv as ni
    >>> result = ni.certified_inv(np.array([[2.0, 1.0], [1.0, 1.0]]))
    >>> result.inverse
    array([[ 1., -1.],
           [-1.,  2.]])
    >>> bool(result.error_bound < 1e-14)
    True
    """
    if proposer is None:
        pass
    elif isinstance(proposer, Tensor | np.ndarray) or is_jax(proposer):
        proposer = as_numbers(as_tensor(cast(Array, proposer), name="proposer")[0].detach(), "proposer")
    elif not callable(proposer):
        raise TypeError(f"proposer={proposer!r} is not callable; neuralinv.learned.load gives a network that is")
    tensor: Tensor
    # Of most tensors a quick look says all.
    if isinstance(A, Tensor) and straight_shape(A, "inv", positive=False) is not None:
        tensor, restore, watched = A, None, False
    else:
        tensor, restore = as_tensor(A)
        tensor = as_numbers(tensor, "A")
        check_square(tensor, A)
        watched = is_differentiated(tensor)
    rtol = check_arguments(DEFAULT_RTOL[tensor.dtype] if rtol is None else rtol, on_singular)
    if certificate not in ("deterministic", "probabilistic"):
        raise ValueError(f"certificate={certificate!r}; expected 'deterministic' or 'probabilistic'")
    odds = Odds(failure_probability, generator) if certificate == "probabilistic" else None

    matrices = tensor.detach() if watched else tensor
    if odds is None and proposer is None and native.certifies(matrices) and not first_attempt.pays(matrices):
        outcome, met = _by_kernel(matrices, rtol, on_singular, progress)
    else:
        outcome, met = _by_stages(matrices, proposer, rtol, on_singular, progress, odds)
    result: InverseResult[Any] = InverseResult(*outcome, rtol, 0.0 if odds is None else odds.failure_probability)
    if on_singular == "raise" and not met:
        raise_if_singular(result, A)
    if watched:
        inverse = cast(Tensor, ImplicitInverse.apply(tensor, result.inverse))
        if on_singular == "pinv":  # its derivative is another one: torch knows it
            singular = (result.status == int(Status.SINGULAR)).nonzero(as_tuple=True)
            if tensor.ndim == 2:
                inverse = _pseudo_inverse(tensor[None])[0] if result.count(Status.SINGULAR) else inverse
            else:
                inverse = inverse.index_put(singular, _pseudo_inverse(tensor[singular]))
        return replace(result, inverse=cast(ArrayT, inverse))
    return result if restore is None or isinstance(A, Tensor) else result.map(restore)


def check_arguments(rtol: float, on_singular: str) -> float:
    """Check what all certified functions take; return ``rtol`` as :func:`check_rtol` does.

    Raises
    ------
    ValueError
        If one is out of range.
    """
    if on_singular not in ("raise", "nan", "pinv"):
        raise ValueError(f"on_singular={on_singular!r}; expected 'raise', 'nan' or 'pinv'")
    return check_rtol(rtol)


def check_raise_or_nan(on_singular: str) -> None:
    """Raise ``ValueError`` unless this is ``"raise"`` or ``"nan"``, for functions that know no pseudo-inverse."""
    if on_singular not in ("raise", "nan"):
        raise ValueError(f"on_singular={on_singular!r}; expected 'raise' or 'nan'")


def check_rtol(rtol: object) -> float:
    """Return a relative error that something can be certified to.

    Raises
    ------
    ValueError
        If it is none.
    RuntimeError
        As :func:`check_rounding`: nothing is proved there.
    """
    if not isinstance(rtol, Real) or not 0 < float(rtol) < 1:
        raise ValueError(f"rtol={rtol!r}; expected a number between 0 and 1, such as 1e-5")
    check_rounding()
    return float(rtol)


def check_rounding() -> None:
    """Raise ``RuntimeError`` if this thread does not round to the nearest number, as all proofs assume."""
    if not _ONE - _TINY == _ONE == _ONE + _TINY:
        raise RuntimeError(
            "this thread does not round to the nearest number, as all proofs assume; reset its rounding mode: "
            "fesetround(FE_TONEAREST)"
        )


def _by_stages(
    A: Tensor,
    proposer: Proposer | Tensor | None,
    rtol: float,
    on_singular: str,
    progress: Callable[[int], object] | None,
    odds: Odds | None,
) -> tuple[Outcome, bool]:
    """Certify ``(*batch, n, n)`` by a first attempt, where that suits, and by the four stages. Also tells if nothing
    but the former was needed.
    """
    batch, n = A.shape[:-2], A.shape[-1]
    size = None if isinstance(proposer, Tensor) else getattr(proposer, "size", None)
    if isinstance(proposer, Tensor):
        proposer = check_candidates(proposer, A).reshape(batch.numel(), n, n)
    elif proposer is not None and isinstance(size, int) and size != n:
        proposer = SchurProposer(proposer, size)
    # reshape of a broadcast batch of zero matrices cannot infer a dimension: count them.
    flat = A if A.ndim == 3 else A.reshape(batch.numel(), n, n)
    if odds is None and first_attempt.suits(flat):
        outcome, left, candidates = first_attempt.attempt(flat, proposer, rtol, progress)
        met = not len(left)
        if not met and proposer is None and native.certifies(flat):  # which knows twice double precision
            again, met = _by_kernel(flat[left], rtol, on_singular, progress)
            _settle(outcome, left, again)
        elif not met:
            _settle(outcome, left, _by_chunks(flat[left], candidates, rtol, on_singular, progress))
    else:
        outcome, met = _by_chunks(flat, proposer, rtol, on_singular, progress, odds), False
    if A.ndim != 3:
        inverse, *fields = outcome
        outcome = Outcome(inverse.reshape(A.shape), *(field.reshape(batch) for field in fields))
    return outcome, met


def _by_kernel(
    A: Tensor, rtol: float, on_singular: str, progress: Callable[[int], object] | None
) -> tuple[Outcome, bool]:
    """Invert and certify ``(*batch, n, n)`` in one go; what the kernel cannot certify takes the long way. Also tells if
    nothing did.
    """
    n = A.shape[-1]
    if progress is None:
        *fields, met = native.certified_invert(A, rtol)  # zeros for Status.CERTIFIED and Source.EXACT
    else:
        parts, met = [], True
        for chunk in A.reshape(-1, n, n).split(max(1, _CHUNK_ELEMENTS // n**2)):
            *part, reached = native.certified_invert(chunk, rtol)
            parts.append(part)
            met &= reached
            progress(len(chunk))
        inverse, *others = map(torch.cat, zip(*parts, strict=True))
        fields = [inverse.view(A.shape), *(field.view(A.shape[:-2]) for field in others)]
    result = Outcome(*fields)
    if not met:
        left = (result.error_bound.view(-1) > rtol).nonzero().squeeze(1)  # no bound of the kernels is NaN
        flat = Outcome(result.inverse.view(-1, n, n), *(field.view(-1) for field in result[1:]))
        _settle(flat, left, _by_chunks(A.reshape(-1, n, n)[left], None, rtol, on_singular, None))
    return result, met


def _settle(result: Outcome, which: Tensor, outcome: Outcome) -> None:
    """Put what the long way found in the place of matrices that are not certified, unless there is a smaller bound."""
    better = ~(outcome.error_bound > result.error_bound[which])
    for whole, piece in zip(result, outcome, strict=True):
        whole[which[better]] = piece[better]
    result.status[which[~better]] = int(Status.ILL_CONDITIONED)


@torch.no_grad()
def _by_chunks(
    A: Tensor,
    proposer: Proposer | Tensor | None,
    rtol: float,
    on_singular: str,
    progress: Callable[[int], object] | None,
    odds: Odds | None = None,
) -> Outcome:
    total = A.shape[0]
    result = Outcome(
        new_tensor(A),
        A.new_empty(total, dtype=torch.float64),
        A.new_empty(total, dtype=torch.int8),
        A.new_empty(total, dtype=torch.int8),
    )
    step = matrices_at_once(A, _CHUNK_ELEMENTS)
    for start in range(0, total, step):
        part = slice(start, start + step)
        here = proposer[part] if isinstance(proposer, Tensor) else proposer
        outcome = _invert(A[part], here, rtol, on_singular, odds)
        for whole, piece in zip(result, outcome, strict=True):
            whole[part] = piece
        if progress is not None:
            progress(len(outcome.status))
    return result


def _invert(A: Tensor, proposer: Proposer | Tensor | None, rtol: float, on_singular: str, odds: Odds | None) -> Outcome:
    """Certify one chunk ``(batch, n, n)``, non-finite matrices included."""
    finite = torch.isfinite(A).flatten(1).all(1)
    legible = finite & ~holds_flushed_denormals(A)
    if not bool(legible.all()):
        there = proposer[legible] if isinstance(proposer, Tensor) else proposer
        inner = _invert(A[legible], there, rtol, on_singular, odds)
        outside = Outcome(
            torch.full_like(A, torch.nan),
            torch.full_like(finite, torch.inf, dtype=torch.float64),
            torch.where(finite, Status.SINGULAR, Status.NONFINITE).to(torch.int8),
            torch.full_like(finite, Source.EXACT if proposer is None else Source.FALLBACK, dtype=torch.int8),
        )
        for whole, piece in zip(outside, inner, strict=True):
            whole[legible] = piece
        return outside

    scaled, exponent = normalise(widen(A))
    if isinstance(proposer, Tensor):
        proposed: Tensor | None = proposer
    else:
        proposed = None if proposer is None or not A.shape[-1] else propose(proposer, A)
    if odds is None:
        outcome = invert_and_certify(scaled, exponent, proposed, dtype=A.dtype, rtol=rtol)
    else:
        probes = draw_probes(scaled, odds)
        outcome = invert_and_probably_certify(
            scaled, exponent, proposed, probes, odds.failure_probability, dtype=A.dtype, rtol=rtol
        )
    singular = outcome.status == Status.SINGULAR
    if bool(singular.any()):
        outcome.inverse[singular] = _pseudo_inverse(A[singular]) if on_singular == "pinv" else torch.nan
    return outcome


def _pseudo_inverse(A: Tensor) -> Tensor:
    """Moore–Penrose inverses of ``(batch, n, n)`` as stored: singular values below n·u of the largest count as zero."""
    wide = widen(A)
    with torch.no_grad():
        _, exponent = normalise(wide)
    scaled = scale_by_power_of_two(wide, -exponent)
    return scale_by_power_of_two(torch.linalg.pinv(scaled), -exponent).to(A.dtype)


def raise_if_singular(result: InverseResult[Any], A: Array, others: str = "on_singular='nan' or 'pinv'") -> None:
    """Raise an error that names the matrices without an inverse, if there are any; ``others`` says how to go on."""
    if not result.status.numel() or int(result.status.max()) < Status.SINGULAR:  # one look at what is mostly fine
        return
    found = [(s, result.status == int(s)) for s in (Status.SINGULAR, Status.NONFINITE) if result.count(s)]
    count = sum(int(mask.sum()) for _, mask in found)
    where = "; ".join(f"{status.name} at {name_indices(mask)}" for status, mask in found)
    noun = "1 matrix has" if count == 1 else f"{count} matrices have"
    raise linalg_error(A)(f"{noun} no certified inverse: {where}. Pass {others} to get the others.")


class ImplicitInverse(torch.autograd.Function):
    """Gives a certified inverse the derivative of the exact one: d(A⁻¹) = −A⁻¹ dA A⁻¹."""

    @staticmethod
    def forward(ctx: Any, A: Tensor, X: Tensor) -> Tensor:
        X = X.clone()
        ctx.save_for_backward(X)  # an output: second derivatives see that it depends on A
        ctx.save_for_forward(X)
        return X

    @staticmethod
    def jvp(ctx: Any, *tangents: Tensor) -> Tensor:
        (X,) = ctx.saved_tensors
        return -(X @ tangents[0] @ X)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (X,) = ctx.saved_tensors
        return inverse_gradient(X, grads[0]), None


def inverse_gradient(X: Tensor, G: Tensor) -> Tensor:
    """Return the gradient with respect to A of what has the gradient G with respect to X = A⁻¹."""
    # With G = ∂f/∂X: ∂f/∂A = −Xᴴ G Xᴴ. Where nobody used X, NaN in it must not reach the shared parameters behind A.
    unused = (G == 0).all(-1, keepdim=True).all(-2, keepdim=True)
    return torch.where(unused, 0, -(X.mH @ G @ X.mH))
