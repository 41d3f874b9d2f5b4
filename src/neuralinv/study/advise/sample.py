"""A few hundred of the user's matrices: drawn by a seed, widened to double precision, without NaN."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from neuralinv.dense.scaling import normalise, widen
from neuralinv.study.advise.source import Source

COUNT = 256
_MOST_ELEMENTS = 1 << 21
_FEWEST = 4
_STEPS = 12
_SEQUENCES = 32


@dataclass(frozen=True)
class Sample:
    """What advice is judged by.

    Attributes
    ----------
    matrices
        ``(count, n, n)``, float64 or complex128, all finite.
    parameters
        ``(count, p)``, float64, or None.
    path
        Consecutive matrices ``(steps, sequences, n, n)`` along the first axis of the batch, of the same dtype, or None
        where there are too few or one is not finite.
    drawn, nonfinite
        How many were looked at, and how many of them were left out because they hold NaN or infinity.
    """

    matrices: Tensor
    parameters: Tensor | None
    path: Tensor | None
    drawn: int
    nonfinite: int


def draw_sample(source: Source, *, count: int = COUNT, seed: int = 0) -> Sample:
    """Draw ``count`` matrices (fewer if they are large), and a few consecutive ones; the same seed draws the same.

    Raises
    ------
    ValueError
        If every matrix that was drawn holds NaN or infinity.
    """
    indices = sample_indices(source.total, source.size, count=count, seed=seed)
    matrices = widen(source.take(indices))
    parameters = None if source.parameters is None else source.parameters[torch.from_numpy(indices)]
    finite = torch.isfinite(matrices).flatten(1).all(1)
    nonfinite = int((~finite).sum())
    if nonfinite == len(matrices):
        raise ValueError(
            f"all {nonfinite} matrices that were looked at hold NaN or infinity; there is nothing to advise on"
        )
    if nonfinite:
        matrices = matrices[finite]
        parameters = None if parameters is None else parameters[finite]
    return Sample(matrices, parameters, _path(source, seed), len(indices), nonfinite)


def sample_indices(total: int, size: int, *, count: int = COUNT, seed: int = 0) -> NDArray[np.int64]:
    """Return the positions that are looked at, ascending."""
    count = min(total, max(_FEWEST, min(count, _MOST_ELEMENTS // size**2)))
    chosen = np.random.default_rng(seed).choice(total, size=count, replace=False, shuffle=False)
    return np.sort(chosen).astype(np.int64)


def common_scale(A: Tensor) -> tuple[Tensor, int]:
    """Return ``A · 2**−exponent``, ``(*batch, n, n)`` with the largest entry of all in [1, 2), and the exponent.

    Squares, and inverses of squares, neither overflow nor underflow there; ratios stay what they are.
    """
    scaled, exponent = normalise(A.reshape(1, -1, A.shape[-1]))
    return scaled.reshape(A.shape), int(exponent)


def _path(source: Source, seed: int) -> Tensor | None:
    steps = source.batch[0] if source.batch else 1
    if steps < _STEPS:
        return None
    random = np.random.default_rng(seed + 1)
    start = int(random.integers(steps - _STEPS + 1))
    width = source.total // steps
    few = max(_FEWEST, min(_SEQUENCES, _MOST_ELEMENTS // 4 // source.size**2 // _STEPS))
    columns = np.sort(random.choice(width, size=min(width, few), replace=False))
    indices = ((start + np.arange(_STEPS))[:, None] * width + columns).astype(np.int64)
    path = widen(source.take(indices.ravel())).reshape(*indices.shape, source.size, source.size)
    return path if bool(torch.isfinite(path).all()) else None
