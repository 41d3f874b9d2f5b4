"""What callers may say about their matrices: SciPy's ``assume_a``."""

from __future__ import annotations

from typing import Literal, TypeAlias

Assumption: TypeAlias = Literal["gen", "pos"]
"""``"gen"``: any square matrices. ``"pos"``: symmetric (Hermitian) positive definite; the lower triangle is read."""

_POSITIVE = {"gen": False, "pos": True}


def is_positive(assume_a: str) -> bool:
    """Return whether positive definite matrices were promised.

    Raises
    ------
    ValueError
        If ``assume_a`` is neither of the two.
    """
    try:
        return _POSITIVE[assume_a]
    except (KeyError, TypeError):
        raise ValueError(
            f"assume_a={assume_a!r}; expected 'gen' (general matrices) or 'pos' (symmetric positive definite ones)"
        ) from None
