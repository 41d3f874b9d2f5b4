"""SciPy's banded Cholesky (LAPACK's pbtrf and pbtrs): forward only, one sequence; packing is not counted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg import cho_solve_banded, cholesky_banded

from neuralinv.bench.block_tridiagonal.problems import FACTOR, FORWARD, SOLVE, Problem
from neuralinv.bench.rivals import Prepared, UnavailableError, to_tensors


def band(problem: Problem) -> NDArray[Any]:
    """Return the lower band ``(2n, T n)``: entry ``[d, j]`` is ``M[j + d, j]``, zero beyond the matrix."""
    steps, n = problem.steps, problem.n
    below = torch.cat([problem.lower, torch.zeros_like(problem.diag[:1])])
    columns = torch.cat([problem.diag, below], -2)  # (T, 2n, n): column r of block t, from row (t, 0) on
    rows = torch.arange(2 * n)[:, None] + torch.arange(n)  # the diagonal of column r is its row r
    inside = rows < 2 * n
    packed = columns.gather(1, rows.clamp(max=2 * n - 1).expand(steps, -1, -1)) * inside
    return np.asfortranarray(packed.permute(1, 0, 2).reshape(2 * n, steps * n).numpy())


def load() -> Mapping[str, Callable[[Problem], Prepared]]:
    """Return what ``cholesky_banded`` and ``cho_solve_banded`` can do."""

    def prepare(work: Callable[[NDArray[Any], NDArray[Any]], Any]) -> Callable[[Problem], Prepared]:
        def prepared(problem: Problem) -> Prepared:
            if problem.batch is not None:
                raise UnavailableError("takes one sequence")
            ab, b, shape = band(problem), problem.b.reshape(-1).numpy(), problem.b.shape
            return Prepared(
                lambda: work(ab, b),
                lambda value: tuple(x.reshape(shape) if x.numel() == b.size else x for x in to_tensors(value)),
            )

        return prepared

    def solve(ab: NDArray[Any], b: NDArray[Any]) -> tuple[Any, ...]:
        return (cho_solve_banded((_factor(ab), True), b, check_finite=False),)

    def forward(ab: NDArray[Any], b: NDArray[Any]) -> tuple[Any, ...]:
        factor = _factor(ab)
        return cho_solve_banded((factor, True), b, check_finite=False), 2 * np.log(factor[0]).sum()

    return {FACTOR: prepare(lambda ab, _: _factor(ab)), SOLVE: prepare(solve), FORWARD: prepare(forward)}


def _factor(ab: NDArray[Any]) -> NDArray[Any]:
    return cholesky_banded(ab, lower=True, check_finite=False)
