"""The first attempt at certified inverses: in the precision of the matrices, with one float64 residual.

Most candidates need no float64 witness (:mod:`neuralinv.dense.pipeline`): exact inverses in working precision, and good
guesses, are certified and corrected as they are (:mod:`neuralinv.dense.correction`). What no order of the correction
brings to the tolerance is left to the four stages.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from neuralinv.dense import native
from neuralinv.dense.correction import NATIVE_CHUNK_ELEMENTS, Corrected, Workspace, correct
from neuralinv.dense.denormals import holds_flushed_denormals
from neuralinv.dense.pipeline import Outcome, Proposer, exact_candidates, propose
from neuralinv.dense.routes import Route, route

_SMALLEST = 9
"""Smaller matrices are no work for the kernel, which has rows of 32 entries in mind."""

_LARGEST_OF_ONE_PASS = {torch.float32: 32, torch.float64: 40}
"""As measured; ``certified_invert`` takes matrices up to 64×64."""


def suits(A: Tensor) -> bool:
    """Tell whether :func:`attempt` takes matrices ``(*batch, n, n)``, once flattened, and is likely to spare work."""
    return A.device.type == "cpu" and A.dtype in native.SUFFIX and A.shape[-1] >= _SMALLEST and A.numel() > 0


def pays(A: Tensor) -> bool:
    """Tell whether exact inverses of matrices ``(*batch, n, n)`` that :func:`native.certifies` are certified sooner
    here: by products of tiles, and from one triangle where they are positive definite.
    """
    return suits(A) and A.shape[-1] > _LARGEST_OF_ONE_PASS.get(A.dtype, 0) and native.corrects(A)


@torch.no_grad()
def attempt(
    A: Tensor, proposer: Proposer | Tensor | None, rtol: float, progress: Callable[[int], object] | None
) -> tuple[Outcome, Tensor, Tensor | None]:
    """Certify and correct exact inverses, or candidates.

    Parameters
    ----------
    A
        Shape ``(batch, n, n)``, one that :func:`suits`.
    proposer
        Candidates, what makes them, or None for exact inverses.
    rtol
        The relative error that certifies.
    progress
        Called with the number of matrices that are done, a chunk at a time.

    Returns
    -------
    Inverses with status ``CERTIFIED``; the indices of those whose bound exceeds ``rtol``, of which nothing else means
    anything; and what those are to start from.
    """
    total = len(A)
    found = Corrected.room_for(A)
    missed: list[Tensor] = []
    kept: list[Tensor] = []
    work = Workspace()
    step = max(2 * native.threads(), NATIVE_CHUNK_ELEMENTS // A.shape[-1] ** 2)
    for start in range(0, total, step):
        part = slice(start, start + step)
        matrices, here = A[part], Corrected(*(field[part] for field in found))
        guesses: list[Tensor] = []
        if isinstance(proposer, Tensor):
            guesses = [proposer[part]]
        elif proposer is not None:
            guesses = [_ask(proposer, matrices)]
        elif not (route(matrices) is Route.DIRECT and native.corrects(matrices)):
            guesses = [exact_candidates(matrices)]
        correct(matrices, [guess.to(A.dtype) for guess in guesses], rtol, work=work, out=here)
        if guesses:
            _correct_twice(matrices, guesses[0].to(A.dtype), rtol, work, here)
        here.error_bound[holds_flushed_denormals(matrices)] = torch.inf  # of what the processor does not see
        left = (~(here.error_bound <= rtol)).nonzero().squeeze(1)
        missed.append(left + start)
        if proposer is not None:
            kept.append(guesses[0][left])
        if progress is not None:
            progress(len(matrices) - len(left))
    status = torch.zeros_like(found.order)  # Status.CERTIFIED
    source = torch.zeros_like(status) if proposer is None else found.source  # Source.EXACT
    outcome = Outcome(found.inverse, found.error_bound, status, source)
    return outcome, torch.cat(missed), None if proposer is None else torch.cat(kept)


def _ask(proposer: Proposer, A: Tensor) -> Tensor:
    """Ask for candidates; a proposer never sees what is not finite."""
    finite = torch.isfinite(A).flatten(1).all(1)
    if bool(finite.all()):
        return propose(proposer, A)
    found = propose(proposer, A[finite])
    candidates = found.new_full(A.shape, torch.nan)
    candidates[finite] = found
    return candidates


def _correct_twice(A: Tensor, guess: Tensor, rtol: float, work: Workspace, found: Corrected) -> None:
    """Bring guesses that one correction leaves above ``rtol`` to where a second suffices, and correct them again."""
    bound = found.error_bound
    near = ((bound > rtol) & (bound < 1)).nonzero().squeeze(1)  # as they were guessed
    if not len(near):
        return
    matrices = A[near]
    better = correct(matrices, guess[near], rtol**0.25 / 2, work=work)
    again = correct(matrices, better.inverse, rtol, work=work)
    again.order.fill_(2)  # corrected, whatever the second time took
    for whole, piece in zip(found, again, strict=True):
        whole[near] = piece
