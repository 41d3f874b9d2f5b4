"""Check inverses and pseudo-inverses that somebody else computed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from neuralinv.dense import lapack
from neuralinv.dense.scaling import normalise, scale_by_power_of_two

_CHUNK = 1 << 16


@dataclass(frozen=True)
class Verification:
    """Outcome for each matrix.

    Attributes
    ----------
    passed
        Shape ``(count,)``, bool; NaN never passes.
    residual
        Shape ``(count,)``: the largest of the checked conditions' relative residuals.
    """

    passed: NDArray[np.bool_]
    residual: NDArray[np.float64]


def check_inverses(A: NDArray[Any], X: NDArray[Any], tolerance: float = 1e-6) -> Verification:
    """Check ``AX = I``.

    Parameters
    ----------
    A, X
        Shape ``(count, n, n)``.
    tolerance
        Largest residual ``‖I − AX‖_F / (‖A‖_F ‖X‖_F)`` that passes: the relative backward error, which an accurate
        inverse has near the roundoff of its digits whatever the condition number. Where ``‖I − AX‖_F`` is not below 1,
        ``‖X⁻¹ − A‖_F / ‖A‖_F`` must not exceed it either.

    Raises
    ------
    ValueError
        If the shapes differ.
    """
    return _check(A, X, tolerance, _inverse_residual)


def check_pseudo_inverses(A: NDArray[Any], X: NDArray[Any], tolerance: float = 1e-6) -> Verification:
    """Check the four Moore–Penrose conditions ``AXA = A``, ``XAX = X``, ``(AX)ᴴ = AX`` and ``(XA)ᴴ = XA``.

    Each residual is relative to what its products can hold: ``‖A‖²_F ‖X‖_F``, ``‖A‖_F ‖X‖²_F`` and ``‖A‖_F ‖X‖_F``.
    Parameters and errors as for :func:`check_inverses`.
    """
    return _check(A, X, tolerance, _moore_penrose_residual)


def _check(A: NDArray[Any], X: NDArray[Any], tolerance: float, residual: Any) -> Verification:
    if A.shape != X.shape:
        raise ValueError(f"matrices of shape {A.shape} and inverses of shape {X.shape}; expected the same")
    dtype = np.complex128 if np.iscomplexobj(A) or np.iscomplexobj(X) else np.float64
    parts = []
    for start in range(0, len(A), _CHUNK):
        a, x = (torch.from_numpy(np.array(M[start : start + _CHUNK], dtype=dtype)) for M in (A, X))
        finite = torch.isfinite(a).flatten(1).all(1) & torch.isfinite(x).flatten(1).all(1)
        a, x = _balance(*(torch.where(finite[:, None, None], M, 0) for M in (a, x)))
        parts.append(torch.where(finite, residual(a, x), torch.nan))
    values: NDArray[np.float64] = torch.cat(parts).numpy() if parts else np.empty(0)
    return Verification(values <= tolerance, values)


def _balance(A: Tensor, X: Tensor) -> tuple[Tensor, Tensor]:
    """Give A and X largest entries of one size, by ``A / s`` and ``s X`` with s a power of two: every condition that is
    checked holds for these as for the originals, and what is near an inverse overflows and underflows no more.
    """
    (_, a), (_, x) = normalise(A), normalise(X)
    shift = (a - x).div(2, rounding_mode="floor")
    return scale_by_power_of_two(A, -shift), scale_by_power_of_two(X, shift)


def _inverse_residual(A: Tensor, X: Tensor) -> Tensor:
    residual = _norm(torch.eye(A.shape[-1], dtype=A.dtype) - A @ X)
    relative = residual / (_norm(A) * _norm(X))
    # A huge X makes any residual look small. Below 1 the residual proves that X is near the inverse; otherwise X must
    # be the exact inverse of a matrix near A, as inverses of ill-conditioned matrices are that were rounded to a few
    # decimals.
    doubtful = (~(residual < 1)).nonzero().squeeze(1)
    if len(doubtful):
        nearby, info = lapack.inverse_ex(X[doubtful], positive=False)
        distance = _norm(nearby - A[doubtful]) / _norm(A[doubtful])
        distance = torch.where(info == 0, distance, torch.inf)
        relative[doubtful] = torch.maximum(relative[doubtful], distance)
    return relative


def _moore_penrose_residual(A: Tensor, X: Tensor) -> Tensor:
    a, x = _norm(A), _norm(X)
    AX, XA = A @ X, X @ A
    # The pseudo-inverse of zero is zero, which every product confirms: 0/0 counts as 0.
    missed_A, missed_X = _norm(AX @ A - A), _norm(XA @ X - X)
    relative = torch.stack(
        [
            _divide(missed_A, a * a * x + (x == 0) * a),
            _divide(missed_X, a * x * x + (a == 0) * x),
            _divide(_norm(AX - AX.mH), a * x),
            _divide(_norm(XA - XA.mH), a * x),
        ]
    ).amax(0)  # NaN wins
    # As for inverses: products that miss A or X altogether are no pseudo-inverse, however large the factors are.
    altogether = torch.maximum(_divide(missed_A, a), _divide(missed_X, x))
    return torch.where(altogether < 1, relative, torch.maximum(relative, altogether))


def _divide(numerator: Tensor, denominator: Tensor) -> Tensor:
    return torch.where(numerator == 0, 0.0, numerator / denominator)


def _norm(A: Tensor) -> Tensor:
    """Return ``‖A‖_F`` of ``(batch, n, n)``, with squares that neither overflow nor vanish; NaN if A is not finite."""
    finite = torch.isfinite(A).flatten(1).all(1)
    scaled, exponent = normalise(torch.where(finite[:, None, None], A, 0))
    norm = torch.linalg.matrix_norm(scaled, keepdim=True)
    return torch.where(finite, scale_by_power_of_two(norm, exponent)[:, 0, 0], torch.nan)
