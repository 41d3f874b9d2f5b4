"""Matrices moved to a given distance from singularity."""

from __future__ import annotations

import torch
from torch import Tensor


def at_distance(A: Tensor, distance: float) -> Tensor:
    """Change the smallest singular value of each matrix so that ``σ_n = distance · σ₁``.

    The change has rank one, ``(distance σ₁ − σ_n) u_n v_nᴴ``, and keeps Hermitian matrices Hermitian and positive
    definite ones positive definite. By the theorem of Eckart and Young, ``distance`` is then the distance to the
    nearest singular matrix in the 2-norm, relative to ``‖A‖₂`` (Higham, *Accuracy and Stability of Numerical
    Algorithms*, 2nd ed., §6.2). Where several singular values were smaller than ``distance · σ₁``, the smallest of the
    others decides.

    Parameters
    ----------
    A
        Shape ``(batch, n, n)`` with n ≥ 2, any dtype; worked on in double precision.
    distance
        In [0, 1). What is stored is rounded, so that a distance below the dtype's roundoff is reached only roughly.

    Returns
    -------
    Shape and dtype of ``A``.

    Raises
    ------
    ValueError
        If the distance is out of range, ``A`` is no batch of square matrices, or they are 1×1, whose relative distance
        is always 1.

    Notes
    -----
    Singular values and vectors of each matrix in double precision: about 20 n³ operations.
    """
    if not 0 <= distance < 1:
        raise ValueError(f"distance = {distance}: a relative distance from singularity lies in [0, 1)")
    distance = float(distance)  # of any kind of number, fractions among them
    if A.ndim != 3 or A.shape[-1] != A.shape[-2]:
        raise ValueError(f"matrices have shape {tuple(A.shape)}; expected (batch, n, n)")
    if A.shape[-1] < 2:
        raise ValueError("distance: the relative distance of 1×1 matrices from singularity is always 1; pass size ≥ 2")
    wide = A.to(torch.complex128 if A.is_complex() else torch.float64)
    U, S, Vh = torch.linalg.svd(wide)
    change = distance * S[:, 0] - S[:, -1]
    moved = wide + change[:, None, None] * (U[:, :, -1:] @ Vh[:, -1:, :])
    hermitian = (wide == wide.mH).flatten(1).all(1)[:, None, None]
    return torch.where(hermitian, (moved + moved.mH) / 2, moved).to(A.dtype)
