"""A referee for certified inverses that shares no code with them: NumPy's float64 LAPACK, then extended precision."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_STEPS = 3
_USELESS = 0.1
"""A residual bound above this is no referee."""


@dataclass(frozen=True)
class Reference:
    """Reference inverses ``(count, n, n)`` and a bound of their own relative error ``(count,)``.

    The bound is infinite where a matrix is singular, or too close to it for this precision: nothing can be said there.
    """

    inverse: NDArray[Any]
    uncertainty: NDArray[np.float64]

    def distances(self, X: NDArray[Any]) -> NDArray[np.float64]:
        """Return ``‖X − W‖_F / ‖W‖_F`` for the reference W: the error of answers ``(count, n, n)`` up to its own.

        Infinite where an answer is not finite, or the reference says nothing.
        """
        with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
            found = _norms(X.astype(self.inverse.dtype) - self.inverse) / _norms(self.inverse)
        return self._where_known(found)

    def solution_distances(self, x: NDArray[Any], b: NDArray[Any]) -> NDArray[np.float64]:
        """Return the same for solutions ``x`` of ``A x = b``, each ``(count, n)``: relative to the exact ones."""
        with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
            exact = (self.inverse @ b.astype(self.inverse.dtype)[..., None])[..., 0]
            found = _norms((x - exact)[..., None]) / _norms(exact[..., None])
        return self._where_known(found)

    def _where_known(self, found: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.where(np.isfinite(found) & (self.uncertainty < _USELESS), found, np.inf)

    def errors(self, X: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return bounds ``low ≤ ‖A⁻¹ − X‖_F / ‖A⁻¹‖_F ≤ high`` for answers ``(count, n, n)``; NaN answers: infinity.

        With the reference W and ``‖A⁻¹ − W‖_F ≤ u ‖W‖_F``, the distance of X from ``A⁻¹`` is that from W up to
        ``u ‖W‖_F``, and ``‖A⁻¹‖_F`` is ``‖W‖_F`` up to a factor ``1 ± u``. Where u is infinite, low is 0.
        """
        distance, u = self.distances(X), self.uncertainty
        with np.errstate(invalid="ignore"):
            low = np.where(u < _USELESS, np.maximum(0, distance - u) / (1 + u), 0.0)
            high = np.where(u < _USELESS, (distance + u) / (1 - u), np.inf)
        unusable = ~np.isfinite(X).reshape(len(X), -1).all(1)
        return np.where(unusable, np.inf, low), np.where(unusable, np.inf, high)


def reference_inverse(A: NDArray[Any]) -> Reference:
    """Invert matrices ``(count, n, n)``, real or complex, and bound the error of the inverses.

    NumPy's inverse of each matrix is refined by Newton–Schulz steps in ``numpy.longdouble`` (64 bits of significand on
    x86; where it is float64, bounds are wider and still hold). With ``ρ = ‖I − AW‖_F`` and a first-order allowance
    for its rounding, the relative error of W is at most ``ρ / (1 − ρ)``.

    Raises
    ------
    ValueError
        If ``A`` is no batch of square, finite matrices.
    """
    if A.ndim != 3 or A.shape[1] != A.shape[2] or not np.isfinite(A).all():
        raise ValueError(f"matrices of shape {A.shape}: expected finite ones of shape (count, n, n)")
    wide = A.astype(np.clongdouble if np.iscomplexobj(A) else np.longdouble)
    identity = np.eye(A.shape[1], dtype=wide.dtype)
    W = np.stack([_start(matrix) for matrix in A]).astype(wide.dtype) if len(A) else wide.copy()
    with np.errstate(invalid="ignore", over="ignore"):
        for _ in range(_STEPS):
            residual = identity - _product(wide, W)
            W = W + _product(W, residual)
            if not (_norms(residual) ** 2 > np.finfo(np.longdouble).eps).any():
                break  # the step has squared them: the rest is rounding; and where there is no number, none comes
        roundoff = 4 * (A.shape[1] + 2) * float(np.finfo(np.longdouble).eps)
        rho = _norms(identity - _product(wide, W)) + roundoff * (_norms(wide) * _norms(W) + np.sqrt(A.shape[1]))
        uncertainty = np.where(rho < _USELESS, rho / (1 - np.minimum(rho, _USELESS)), np.inf)
    return Reference(W, np.asarray(uncertainty, np.float64))


def _start(matrix: NDArray[Any]) -> NDArray[Any]:
    try:
        return np.asarray(np.linalg.inv(matrix.astype(np.complex128 if np.iscomplexobj(matrix) else np.float64)))
    except np.linalg.LinAlgError:
        return np.full_like(matrix, np.nan, dtype=np.complex128 if np.iscomplexobj(matrix) else np.float64)


def _product(A: NDArray[Any], B: NDArray[Any]) -> NDArray[Any]:
    # No BLAS for extended precision; a sum over one index at a time keeps the temporaries small.
    total = np.zeros(np.broadcast_shapes(A.shape, B.shape), A.dtype)
    for k in range(A.shape[-1]):
        total += A[..., :, k, None] * B[..., k, None, :]
    return total


def _norms(A: NDArray[Any]) -> NDArray[np.float64]:
    with np.errstate(over="ignore"):
        return np.sqrt((np.abs(A) ** 2).sum((-2, -1))).astype(np.float64)
