"""Gram matrices that are Hermitian to the last bit."""

from __future__ import annotations

from torch import Tensor


def gram(Z: Tensor, count: float) -> Tensor:
    """Return ``ZᴴZ / count``, ``(*batch, m, n)`` to ``(*batch, n, n)``.

    A product of the two factors need not be Hermitian as rounded: on some processors libraries form entry (i, j) in
    another order than (j, i).
    """
    G = Z.mH @ Z / count
    return (G + G.mH) / 2
