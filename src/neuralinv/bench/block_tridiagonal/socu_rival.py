"""socu, Cholesky by nested dissection in Warp kernels, on the device of the problem: forward only.

It is written for NVIDIA's GPUs and says itself that its CPU mode is for tests. It works in place: copying the inputs
anew is counted, and small beside the rest.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

import torch

from neuralinv.bench.block_tridiagonal.problems import FACTOR, FORWARD, SOLVE, Problem
from neuralinv.bench.rivals import Prepared, UnavailableError

_LARGEST_BLOCK = 20
_MOST_STEPS = 10_000


def load() -> Mapping[str, Callable[[Problem], Prepared]]:
    """Return what socu can do.

    Raises
    ------
    UnavailableError
        If socu or Warp is not installed.
    """
    try:
        wp: Any = import_module("warp")
        wp.config.log_level = logging.ERROR  # it would report devices and kernels on standard output
        wp.init()
        socu: Any = import_module("socu.block_tridiag_solver")
    except ImportError as error:
        raise UnavailableError("not installed: pip install socu") from error

    launches: dict[tuple[object, ...], tuple[Any, ...]] = {}

    def prepared_launch(only_factor: bool, dtype: torch.dtype, originals: list[Any]) -> tuple[Any, ...]:
        # Kept for good: Warp unloads a launch's kernels with it, and with them later ones of the same name.
        key = (only_factor, dtype, originals[0].shape, str(originals[0].device))
        if key not in launches:
            D, E, x = (wp.clone(original) for original in originals)
            options: dict[str, Any] = {"device": str(D.device), "dtype": D.dtype}
            launch = (
                socu.create_cholesky_factor_launch(D, E, **options)
                if only_factor
                else socu.create_cholesky_factor_and_solve_launch(D, E, x, **options)
            )
            launches[key] = (D, E, x, launch)
        return launches[key]

    def prepare(work: str) -> Callable[[Problem], Prepared]:
        def prepared(problem: Problem) -> Prepared:
            if problem.batch is not None:
                raise UnavailableError("takes one sequence")
            if problem.n > _LARGEST_BLOCK or problem.steps > _MOST_STEPS:
                raise UnavailableError("left out: on the CPU it is for tests")
            dtype = wp.float32 if problem.dtype == torch.float32 else wp.float64
            storage = socu.calculate_off_diag_storage_len(problem.steps)
            lower = problem.lower.new_zeros(storage, problem.n, problem.n)
            lower[: problem.steps - 1] = problem.lower
            tensors = (problem.diag, lower, problem.b[..., None])
            originals = [wp.from_torch(x.contiguous(), dtype=dtype) for x in tensors]
            D, E, x, launch = prepared_launch(work == FACTOR, problem.dtype, originals)

            def call() -> tuple[torch.Tensor, ...]:
                for target, original in zip((D, E, x), originals, strict=True):
                    wp.copy(target, original)
                launch()
                if work == FACTOR:
                    return ()
                solution = wp.to_torch(x)[..., 0]
                if work == SOLVE:
                    return (solution,)
                return solution, 2 * wp.to_torch(D).diagonal(dim1=-2, dim2=-1).log().sum()

            return Prepared(call, lambda value: tuple(part.clone() for part in value))

        return prepared

    return {work: prepare(work) for work in (FACTOR, SOLVE, FORWARD)}
