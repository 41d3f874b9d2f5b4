"""Reached errors: against inverses that are more accurate than double precision."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from neuralinv.dense import certified_inv
from neuralinv.dense.scaling import widen

_QUANTILE = 0.9


class Truth:
    """Inverses of ``(count, n, n)`` in extended precision, and the errors of others against them.

    One Newton–Schulz step, ``X + X(I − AX)``, in NumPy's long double from the certified inverse in double precision:
    errors of κu become (κu)². Where long double is no longer than double, errors below about κ·1e-16 cannot be seen.
    """

    def __init__(self, A: Tensor) -> None:
        wide = widen(A)
        X = _extended(certified_inv(wide, on_singular="nan").inverse)
        self.matrices = _extended(wide)
        self.inverses = X + X @ (np.eye(A.shape[-1]) - self.matrices @ X)

    def error(self, X: Tensor) -> float:
        """Return the relative Frobenius error of inverses ``X``, 90 % quantile; infinite where that is not finite."""
        return self._quantile(_extended(X) - self.inverses, self.inverses)

    def solution_error(self, x: Tensor, b: Tensor) -> float:
        """Return that of solutions ``x`` for right-hand sides ``b``, each ``(count, n)``."""
        exact = (self.inverses @ _extended(b)[..., None])[..., 0]
        return self._quantile((_extended(x) - exact)[..., None], exact[..., None])

    def _quantile(self, difference: NDArray[Any], true: NDArray[Any]) -> float:
        error = np.sqrt((np.abs(difference) ** 2).sum((1, 2)) / (np.abs(true) ** 2).sum((1, 2)))
        error = np.where(np.isfinite(error), error, np.inf)
        return float(np.quantile(error.astype(np.float64), _QUANTILE, method="inverted_cdf"))


def _extended(A: Tensor) -> NDArray[Any]:
    values = torch.view_as_real(widen(A).contiguous()).numpy() if A.is_complex() else widen(A).numpy()
    longer = values.astype(np.longdouble)
    return longer[..., 0] + 1j * longer[..., 1] if A.is_complex() else longer
