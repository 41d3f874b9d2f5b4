"""Spectra of the sample: symmetry, definiteness, conditioning, distance from singularity, scale."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from neuralinv.learned.architectures.schulz import relative_scale

Symmetry = Literal["general", "hermitian", "positive"]

_WORK = 1 << 26
"""Spectra are computed of so many matrices at most that count · n³ stays below this."""
_FEWEST = 16
SINGULAR = 1 / (4 * torch.finfo(torch.float64).eps)
"""A condition number beyond which a matrix counts as singular: its inverse has no correct digit in double precision."""


@dataclass(frozen=True)
class Quantiles:
    """Of a sample: smallest, 10 %, median, 90 % and largest."""

    smallest: float
    low: float
    median: float
    high: float
    largest: float

    @classmethod
    def of(cls, values: NDArray[np.float64]) -> Quantiles:
        """Summarise ``values``, at least one."""
        return cls(*(float(q) for q in np.quantile(values, (0, 0.1, 0.5, 0.9, 1), method="inverted_cdf")))


@dataclass(frozen=True)
class Spectra:
    """Of some of the matrices, those at ``rows`` of the sample.

    Attributes
    ----------
    condition
        ``σ₁/σ_n``, infinite for singular matrices.
    distance
        ``σ_n``: the distance to the nearest singular matrix in the 2-norm (Eckart & Young; Higham, *Accuracy and
        Stability of Numerical Algorithms*, 2nd ed., §6.2).
    relative
        Singular values over ``s = √(‖A‖₁ ‖A‖_∞)``, descending, ``(rows, n)``: what an iteration sees.
    """

    rows: NDArray[np.int64]
    symmetry: Symmetry
    condition: NDArray[np.float64]
    distance: NDArray[np.float64]
    relative: NDArray[np.float64]


def spectra(A: Tensor, *, tolerance: float) -> Spectra:
    """Compute spectra of matrices ``(count, n, n)`` in double precision.

    ``tolerance`` is the relative size of an asymmetry that counts as rounding. NumPy's LAPACK works here, one matrix
    after another: about 4 n³ operations each, 9 n³ for those that are not Hermitian.
    """
    n = A.shape[-1]
    hermitian = is_hermitian(A, tolerance)
    few = max(_FEWEST, min(len(A), _WORK // n**3))
    rows = np.unique(np.linspace(0, len(A) - 1, min(few, len(A))).round().astype(np.int64))
    chosen = A[torch.from_numpy(rows)]
    values = chosen.numpy()
    symmetry: Symmetry = "general"
    if hermitian:
        eigenvalues = np.linalg.eigvalsh(values)
        # Rounding alone moves eigenvalues of a singular matrix to either side of zero.
        positive = bool((eigenvalues[:, 0] > n * np.finfo(np.float64).eps * eigenvalues[:, -1]).all())
        symmetry = "positive" if positive else "hermitian"
        singular_values = -np.sort(-np.abs(eigenvalues), axis=-1)
    else:
        singular_values = np.linalg.svd(values, compute_uv=False)
    largest, smallest = singular_values[:, 0], singular_values[:, -1]
    with np.errstate(divide="ignore", invalid="ignore"):
        condition = np.where(smallest > 0, largest / smallest, np.inf)
        relative = np.nan_to_num(singular_values / relative_scale(chosen).real.numpy()[:, 0])
    return Spectra(rows, symmetry, condition, smallest, relative)


def is_hermitian(A: Tensor, tolerance: float) -> bool:
    """Tell whether all of ``(count, n, n)`` are Hermitian up to ``tolerance`` times their largest entry."""
    largest = A.abs().amax((-2, -1))
    return bool(((A - A.mH).abs().amax((-2, -1)) <= tolerance * largest).all())


def scale_spread(A: Tensor, exponent: Tensor) -> float:
    """Return the largest over the smallest of the norms of ``A · 2**exponent``, ``(count, n, n)`` and ``(count,)``,
    zero matrices left out; 1 if there are none.
    """
    norms = torch.linalg.matrix_norm(A)
    norms, exponent = norms[norms > 0], exponent[norms > 0]
    if not len(norms):
        return 1.0
    order = norms.log2() + exponent
    high, low = int(order.argmax()), int(order.argmin())
    return float(ldexp(float(norms[high] / norms[low]), int(exponent[high] - exponent[low])))


def ldexp(values: ArrayLike, exponent: ArrayLike) -> NDArray[np.float64]:
    """Return ``values · 2**exponent``; what is out of range becomes 0 or infinity, without a warning."""
    with np.errstate(over="ignore", under="ignore"):
        return np.asarray(np.ldexp(values, exponent), np.float64)
