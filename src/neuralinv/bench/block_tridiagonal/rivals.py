"""The implementations that are compared: one registry. What is not installed is named, with the way to get it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias, cast

import torch
from torch import Tensor

import neuralinv as ni
from neuralinv.bench.block_tridiagonal import jax_rivals, scipy_rival, socu_rival, torch_loops
from neuralinv.bench.block_tridiagonal.problems import BACKWARD, FACTOR, FORWARD, SOLVE, Problem, leaves
from neuralinv.bench.rivals import OURS, Prepared, Rival, UnavailableError, load_registered

Prepare: TypeAlias = Callable[[Problem], Prepared]
DENSE = "dense"
LARGEST_DENSE = 5000
"""T n beyond which dense matrices are not formed."""


def _ours_factor(diag: Tensor, lower: Tensor) -> ni.BlockBidiagonal:
    return ni.BlockTridiagonal(diag, lower).cholesky()


def _ours(diag: Tensor, lower: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    return cast(tuple[Tensor, Tensor], ni.BlockTridiagonal(diag, lower).solve_logdet(b))


def _dense_factor(diag: Tensor, lower: Tensor) -> Tensor:
    if diag.shape[-3] * diag.shape[-1] > LARGEST_DENSE:
        raise UnavailableError(f"left out above T n = {LARGEST_DENSE}")
    return torch.linalg.cholesky(ni.BlockTridiagonal(diag, lower).to_dense())


def _dense(diag: Tensor, lower: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    factor = _dense_factor(diag, lower)
    x = torch.cholesky_solve(b.flatten(-2).unsqueeze(-1), factor)
    return x.reshape(b.shape), 2 * factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)


def in_torch(
    factor: Callable[[Tensor, Tensor], object],
    work: Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]],
) -> Mapping[str, Prepare]:
    """Return what functions of tensors ``diag``, ``lower`` and ``b`` can do; autograd gives the gradients."""

    def prepare_factor(problem: Problem) -> Prepared:
        return Prepared(lambda: factor(problem.diag, problem.lower), lambda _: ())

    def prepare_forward(problem: Problem) -> Prepared:
        return Prepared(lambda: work(problem.diag, problem.lower, problem.b))

    def prepare_backward(problem: Problem) -> Prepared:
        inputs = leaves(problem)

        def call() -> tuple[Tensor, ...]:
            x, logdet = work(*inputs)
            return torch.autograd.grad((problem.weights * x).sum() + logdet.sum(), inputs)

        return Prepared(call)

    return {FACTOR: prepare_factor, FORWARD: prepare_forward, BACKWARD: prepare_backward}


def _load_ours() -> Mapping[str, Prepare]:
    def prepare_solve(problem: Problem) -> Prepared:
        return Prepared(lambda: ni.BlockTridiagonal(problem.diag, problem.lower).solve(problem.b))

    return {**in_torch(_ours_factor, _ours), SOLVE: prepare_solve}


def _load_dense() -> Mapping[str, Prepare]:
    works = in_torch(_dense_factor, _dense)
    return {work: works[work] for work in (FACTOR, FORWARD)}


COMPILED = ("jax", "tinygp", "socu")
"""Rivals that compile for each shape when they are prepared, for seconds; that is never part of a measured time."""

ours = Rival(OURS, "this package", _load_ours)
RIVALS = {
    rival.name: rival
    for rival in (
        Rival(
            "torch-loop",
            "Python loop over time steps with an inverse in each; vectorised over a batch",
            lambda: in_torch(torch_loops.factor_with_inverses, torch_loops.work_with_inverses),
        ),
        Rival(
            "torch-triangular",
            "the loop with triangular solves instead of inverses",
            lambda: in_torch(torch_loops.factor_with_triangular_solves, torch_loops.work_with_triangular_solves),
        ),
        Rival("jax", "jit of jax.lax.scan; vmap over a batch; takes its own number of threads", jax_rivals.load_scan),
        Rival("tinygp", "quasiseparable Cholesky of order n, row by row, in JAX; one sequence", jax_rivals.load_tinygp),
        Rival("scipy", "cholesky_banded + cho_solve_banded, packing excluded; forward, one sequence", scipy_rival.load),
        Rival("socu", "Warp kernels, meant for GPUs, on the CPU; forward, one sequence", socu_rival.load),
        Rival(DENSE, "torch.linalg.cholesky of the dense matrix, T n up to 5000; forward", _load_dense),
    )
}


def describe(name: str, problem: Problem) -> str:
    """Say, for a progress bar, what is being prepared."""
    batch = "" if problem.batch is None else f", batch {problem.batch}"
    verb = "compiling" if name in COMPILED else "measuring"
    return f"{verb} {name}, T = {problem.steps:,}, n = {problem.n}{batch}"


def load_rivals(names: Sequence[str]) -> tuple[dict[str, Mapping[str, Prepare]], dict[str, str]]:
    """Load ours and then those of :data:`RIVALS` by name: see :func:`neuralinv.bench.rivals.load_registered`."""
    loaded, missing = load_registered(RIVALS, names)
    return {OURS: ours.load()} | loaded, missing
