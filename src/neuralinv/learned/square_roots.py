"""Inverse square roots of matrices whose condition number is known: a sum of shifted inverses, proved and corrected.

Two ways share the sum. The deterministic proof corrects what it proves: an error ε of the sum becomes about ``√n ε²``
(:mod:`neuralinv.learned.root_certificate`), so that three or four inverses suffice. The probabilistic proof costs next
to nothing and corrects nothing, for which the sum has a term or two more.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TypeAlias

import torch
from torch import Tensor

from neuralinv.dense.probabilistic import Odds, overestimate
from neuralinv.dense.scaling import widen
from neuralinv.learned.root_certificate import PROBES, correct_square_root, probable_error_bound
from neuralinv.learned.shifted_inverses import Survey, approximate_inverse_square_root

_ROUNDING = 0.02  # error of square roots computed in single precision: this times eps times ``cond``, at least
_MARGIN = 1  # between what is asked for and what the error of the sum leaves
_PROBABLE_MARGIN = 1.1
_WIDER = 16.0  # times ``cond``: still a fraction of what an eigendecomposition takes

Attempt: TypeAlias = Callable[[Tensor, Survey], tuple[Tensor, Tensor]]
"""Takes contiguous matrices ``(batch, n, n)`` and a look at them; returns roots, perhaps in double precision, and
float64 bounds of their relative errors, ``(batch,)``, 1 where nothing is proved."""


def square_root_attempts(dtype: torch.dtype, cond: float, tolerance: float, odds: Odds | None) -> list[Attempt]:
    """Return what to try on matrices of this dtype, one after the other, to reach the tolerance.

    The last attempt is in double precision and for matrices somewhat beyond ``cond``.
    """
    attempts = [partial(_attempt, wider=_WIDER, in_double=True, cond=cond, tolerance=tolerance, odds=odds)]
    single = dtype in (torch.float32, torch.complex64)
    if not single or _ROUNDING * torch.finfo(dtype).eps * cond <= tolerance:
        attempts.insert(0, partial(_attempt, wider=1.0, in_double=False, cond=cond, tolerance=tolerance, odds=odds))
    return list(attempts)


def _attempt(
    A: Tensor, looked: Survey, *, wider: float, in_double: bool, cond: float, tolerance: float, odds: Odds | None
) -> tuple[Tensor, Tensor]:
    if in_double:
        A = widen(A)
    if odds is None:
        aim = (tolerance / (_MARGIN * max(1, A.shape[-1]) ** 0.5)) ** 0.5
        return correct_square_root(A, approximate_inverse_square_root(A, looked, wider * cond, aim))
    aim = tolerance / (_PROBABLE_MARGIN * overestimate(odds.failure_probability, PROBES, is_complex=False))
    X = approximate_inverse_square_root(A, looked, wider * cond, aim)
    bound = probable_error_bound(A, X, 2, odds)
    left = (~(bound <= tolerance)).nonzero().squeeze(1)
    if len(left):
        X[left], bound[left] = correct_square_root(A[left], X[left])
    return X, bound
