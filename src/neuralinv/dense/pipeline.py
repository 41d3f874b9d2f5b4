"""Propose → refine → certify → fall back, for one batch of finite, normalised matrices."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor

from neuralinv.dense import lapack, native
from neuralinv.dense.certificate import relative_error_bound, residual
from neuralinv.dense.probabilistic import probable_error_bound
from neuralinv.dense.refine import newton_schulz
from neuralinv.dense.result import Source, Status
from neuralinv.dense.routes import Route, route
from neuralinv.dense.scaling import scale_by_power_of_two

Proposer: TypeAlias = Callable[[Tensor], Tensor]
"""Maps matrices ``(batch, n, n)`` to candidate inverses of that shape: any accuracy, any dtype, NaN for "cannot"."""


class Outcome(NamedTuple):
    """Per matrix: inverse in the output dtype, float64 error bound, int8 status and source."""

    inverse: Tensor
    error_bound: Tensor
    status: Tensor
    source: Tensor


class _Candidate(NamedTuple):
    inverse: Tensor  # X, in the output dtype and the user's units
    error_bound: Tensor
    rho: Tensor


def invert_and_certify(
    A: Tensor, exponent: Tensor, proposed: Tensor | None, *, dtype: torch.dtype, rtol: float
) -> Outcome:
    """Run the four stages.

    Parameters
    ----------
    A, exponent
        Normalised matrices, float64 or complex128, shape ``(batch, n, n)``, and their exponents ``(batch,)``: the
        user's matrices are ``A · 2**exponent``.
    proposed
        Candidate inverses of the user's matrices, or None to start from the exact kernel.
    dtype
        Of the inverses returned.
    rtol
        The relative error that certifies.
    """
    # ρ must leave room for the rounding of the answer to its dtype (at most u relative to each entry).
    unit_roundoff = torch.finfo(dtype).eps / 2
    tolerance = max(rtol - 1.001 * unit_roundoff, rtol / 2)

    if proposed is None:
        best = _exact(A, exponent, dtype, rtol, tolerance)
        source = torch.full_like(exponent, Source.EXACT)
    else:
        witness = scale_by_power_of_two(proposed.to(A.dtype), exponent)
        witness, rho, steps = newton_schulz(A, witness, tolerance)
        best = _round(witness, rho, exponent, dtype)
        source = torch.where(steps > 0, Source.REFINED, Source.PROPOSED)
        # NaN bounds compare false with everything: ask for what is certified, not for what is not.
        failed = (~(best.error_bound <= rtol)).nonzero().squeeze(1)
        if len(failed):
            exact = _exact(A[failed], exponent[failed], dtype, rtol, tolerance)
            # Where neither is certified, keep the answer with the smaller bound, and of two without a bound (the
            # inverse overflows) the one that at least proves the matrix nonsingular. NaN in ρ compares false.
            earlier = _Candidate(*(field[failed] for field in best))
            equal = exact.error_bound == earlier.error_bound
            better = (exact.error_bound < earlier.error_bound) | (equal & ~((earlier.rho < 1) & ~(exact.rho < 1)))
            wins = better.nonzero().squeeze(1)
            for field, replacement in zip(best, exact, strict=True):
                field[failed[wins]] = replacement[wins]
            source[failed[wins]] = Source.FALLBACK

    proved = best.rho < 1
    certified = proved & (best.error_bound <= rtol)
    status = torch.where(certified, Status.CERTIFIED, torch.where(proved, Status.ILL_CONDITIONED, Status.SINGULAR))
    return Outcome(best.inverse, best.error_bound, status.to(torch.int8), source.to(torch.int8))


def invert_and_probably_certify(
    A: Tensor,
    exponent: Tensor,
    proposed: Tensor | None,
    probes: Tensor,
    failure_probability: float,
    *,
    dtype: torch.dtype,
    rtol: float,
) -> Outcome:
    """Certify candidates, or exact inverses, through random vectors; what that cannot certify runs the four stages.

    ``probes`` come from :func:`~neuralinv.dense.probabilistic.draw_probes`, after the candidates; the others as for
    :func:`invert_and_certify`.
    """
    witness = exact_candidates(A) if proposed is None else scale_by_power_of_two(proposed.to(A.dtype), exponent)
    # The bound of the witness takes the place of ρ in the bound of what is rounded: it, too, says how far ‖W‖_F can be
    # from ‖A⁻¹‖_F.
    likely = _round(witness, probable_error_bound(A, witness, probes, failure_probability), exponent, dtype)
    status = torch.full_like(exponent, Status.CERTIFIED, dtype=torch.int8)
    source = torch.full_like(exponent, Source.EXACT if proposed is None else Source.PROPOSED, dtype=torch.int8)
    outcome = Outcome(likely.inverse, likely.error_bound, status, source)
    left = (~(likely.error_bound <= rtol)).nonzero().squeeze(1)
    if len(left):
        there = None if proposed is None else proposed[left]
        rest = invert_and_certify(A[left], exponent[left], there, dtype=dtype, rtol=rtol)
        for whole, piece in zip(outcome, rest, strict=True):
            whole[left] = piece
    return outcome


def propose(proposer: Proposer, A: Tensor) -> Tensor:
    """Ask a proposer, and check that what it returns is a batch of candidates for ``A`` of shape ``(batch, n, n)``.

    Raises
    ------
    TypeError
        If it is not.
    """
    # A proposer may write into what it gets: hand over a copy.
    return check_candidates(proposer(A.clone()), A)


def check_candidates(proposed: object, A: Tensor) -> Tensor:
    """Return what a proposer answered, detached and on the device of ``A``, if it is a batch of candidates for ``A``.

    Raises
    ------
    TypeError
        If it is not.
    """
    if not isinstance(proposed, Tensor):
        raise _no_candidates(type(proposed).__name__, A)
    if odd := [kind for kind in ("nested", "quantized", "meta") if getattr(proposed, f"is_{kind}")]:
        raise _no_candidates(f"a {odd[0]} tensor", A)
    if proposed.layout != torch.strided:
        raise _no_candidates(f"a tensor of layout {proposed.layout}", A)
    if proposed.shape != A.shape:
        raise _no_candidates(f"shape {tuple(proposed.shape)}", A)
    if proposed.is_complex() and not A.is_complex():
        raise TypeError("the proposer returned complex candidates for real matrices")
    return proposed.detach().to(A.device)


def _no_candidates(returned: str, A: Tensor) -> TypeError:
    shape = tuple(A.shape)
    return TypeError(
        f"the proposer returned {returned} for matrices of shape {shape}; expected a dense tensor like them"
    )


def _exact(A: Tensor, exponent: Tensor, dtype: torch.dtype, rtol: float, tolerance: float) -> _Candidate:
    witness, rho, _ = newton_schulz(A, exact_candidates(A), tolerance)
    candidate = _round(witness, rho, exponent, dtype)
    loose = (~(candidate.error_bound <= rtol) & torch.isfinite(witness).flatten(1).all(1)).nonzero().squeeze(1)
    if len(loose):
        # Bad column scaling disappears in |A| |W|, bad row scaling in |W| |A|: with L = I − WA, A⁻¹ − W = L A⁻¹ as
        # well.
        right = residual(A[loose], witness[loose], tight=True).bound
        left = residual(A[loose].mT, witness[loose].mT, tight=True).bound
        rho[loose] = torch.fmin(torch.fmin(right, left), rho[loose])
        candidate = _round(witness, rho, exponent, dtype)
    return candidate


def exact_candidates(A: Tensor) -> Tensor:
    """Return inverses from the kernels or LAPACK, in the precision of ``A``; NaN for singular matrices."""
    direct = route(A) is Route.DIRECT
    X, info = native.invert_ex(A) if direct else lapack.inverse_ex(A, positive=False)
    # A zero pivot leaves garbage behind.
    X[info != 0] = torch.nan
    return X


def _round(witness: Tensor, rho: Tensor, exponent: Tensor, dtype: torch.dtype) -> _Candidate:
    """Bring the witness to the user's dtype and units, and bound the result's error."""
    answer = scale_by_power_of_two(witness, -exponent).to(dtype)
    back = scale_by_power_of_two(answer.to(witness.dtype), exponent)
    return _Candidate(answer, relative_error_bound(rho, witness, back), rho)
