"""Exact scaling of matrices by powers of two.

Inversion is homogeneous of degree −1: ``inv(s A) = inv(A) / s``. With ``s`` a power of two the identity holds in
floating point to the last bit, so that bounds are computed where nothing overflows, and carry over unchanged.
"""

from __future__ import annotations

import torch
from torch import Tensor


def widen(A: Tensor) -> Tensor:
    """Return ``A`` in float64 or complex128, with no conjugation pending: what the certificate computes in."""
    return A.to(torch.complex128 if A.is_complex() else torch.float64).resolve_conj()


def normalise(A: Tensor) -> tuple[Tensor, Tensor]:
    """Scale each matrix so that its largest entry lies in [1, 2).

    Parameters
    ----------
    A
        Shape ``(batch, n, n)``, float64 or complex128, finite.

    Returns
    -------
    scaled, exponent
        ``A = scaled · 2**exponent``; ``exponent`` is int64 of shape ``(batch,)``, 0 for a zero matrix. Entries more
        than 2¹⁰²² times smaller than the largest may round; the certificate's rounding term covers that.
    """
    parts = torch.view_as_real(A) if A.is_complex() else A
    largest = parts.abs().flatten(1).amax(1) if A.shape[-1] else A.new_zeros(A.shape[0], dtype=torch.float64)
    _, exponent = torch.frexp(largest)  # largest = m · 2**exponent with 0.5 ≤ m < 1
    exponent = torch.where(largest > 0, exponent.long() - 1, 0)
    return scale_by_power_of_two(A, -exponent), exponent


def scale_by_power_of_two(A: Tensor, exponent: Tensor) -> Tensor:
    """Return ``A · 2**exponent``, exact up to overflow and underflow.

    ``A`` has shape ``(batch, n, n)``, ``exponent`` is int64 of shape ``(batch,)`` with absolute value at most 2044.
    """
    # 2**exponent itself may lie outside the range of float64 while the product does not: go in two steps.
    half = exponent.div(2, rounding_mode="floor")
    return A * _power_of_two(half)[:, None, None] * _power_of_two(exponent - half)[:, None, None]


def _power_of_two(exponent: Tensor) -> Tensor:
    # Written into the exponent bits: exp2 is not exact on every device.
    return ((exponent + 1023) << 52).view(torch.float64)
