"""Errors against condition numbers up to 1e10, ours and others', and what the certificate says about ours."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

import neuralinv as ni
from neuralinv.bench.block_tridiagonal.oracle import Truth, condition_number, find_truth, largest_error
from neuralinv.bench.block_tridiagonal.problems import BACKWARD, FORWARD, Problem, make_problem
from neuralinv.bench.block_tridiagonal.rivals import Prepare
from neuralinv.dense.result import Status
from neuralinv.measuring.formatting import dtype_name

CONDITIONS = (1e1, 1e2, 1e4, 1e6, 1e8, 1e10)
_STEPS, _N = 50, 10
_LEFT_OUT = "socu"  # gives no sign where a matrix is not positive definite


@dataclass(frozen=True)
class ConditionRow:
    """One matrix, T = 50, n = 10.

    Attributes
    ----------
    condition, dtype
        Its condition number, and the precision; infinite for a matrix which, rounded to it, is not positive definite.
    forward, backward
        The largest relative error of solution and log-determinant, and of the gradients, by implementation; None where
        none was given: the factorisation failed. Infinite for an answer about a matrix that is not positive definite.
    certified
        The error proved for ``solve(b, certify=True)``; None where there is no proof.
    certified_error
        The true error of that solution, which no proved bound may lie below.
    status
        Its status.
    """

    condition: float
    dtype: str
    forward: Mapping[str, float | None]
    backward: Mapping[str, float | None]
    certified: float | None
    certified_error: float | None
    status: str


def measure_conditioning(
    able: Mapping[str, Mapping[str, Prepare]],
    dtypes: tuple[torch.dtype, ...],
    *,
    progress: Callable[[int], None] = lambda count: None,
) -> list[ConditionRow]:
    """Measure every implementation in every precision at each condition number, against dense float64."""
    able = {name: works for name, works in able.items() if name != _LEFT_OUT}
    rows = []
    for dtype in dtypes:
        for condition in CONDITIONS:
            problem = make_problem(_STEPS, _N, dtype, condition=condition)
            try:
                truth = find_truth(problem)
            except torch.linalg.LinAlgError:  # rounded to this precision it is not positive definite any more
                truth = None
            errors: dict[str, dict[str, float | None]] = {
                work: {name: _error(works[work], problem, truth, work) for name, works in able.items() if work in works}
                for work in (FORWARD, BACKWARD)
            }
            result = ni.BlockTridiagonal(problem.diag, problem.lower).solve(problem.b, certify=True)
            bound, solution = float(result.error_bound), cast(Tensor, result.solution)
            proved = bound < float("inf")
            rows.append(
                ConditionRow(
                    condition=condition_number(problem),
                    dtype=dtype_name(dtype),
                    forward=errors[FORWARD],
                    backward=errors[BACKWARD],
                    certified=bound if proved else None,
                    certified_error=largest_error(truth, FORWARD, (solution,))
                    if proved and truth is not None
                    else None,
                    status=Status(int(result.status)).name,
                )
            )
            progress(1)
    return rows


def _error(prepare: Prepare, problem: Problem, truth: Truth | None, work: str) -> float | None:
    try:
        prepared = prepare(problem)
        answer = prepared.collect(prepared.call())
    except Exception:  # each library has its own error for a matrix that is not positive definite
        return None
    if not all(bool(torch.isfinite(part).all()) for part in answer):
        return None
    return float("inf") if truth is None else largest_error(truth, work, answer)
