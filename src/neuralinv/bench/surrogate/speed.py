"""Time of posterior mean, one sample and log-determinant, forward and backward: loop, compiled operator, surrogates."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from neuralinv.bench.block_tridiagonal import torch_loops
from neuralinv.bench.surrogate.example import Precisions
from neuralinv.block_tridiagonal import BlockTridiagonal
from neuralinv.learned.surrogate import Surrogate
from neuralinv.measuring.timing import time_interleaved

LOOP, NATIVE = "loop", "native"
Inference = Callable[[Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]
"""From ``diag``, ``lower``, information and noise, with a batch dimension, to mean, sample and log-determinant."""


@dataclass(frozen=True)
class Seconds:
    """Of one call, for each sequence: forward, and forward + backward; one sequence alone, and in a batch."""

    forward: float
    backward: float
    forward_in_batch: float
    backward_in_batch: float


def inferences(surrogates: Mapping[str, Surrogate]) -> dict[str, Inference]:
    """Return what is timed, by name."""

    def loop(diag: Tensor, lower: Tensor, h: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        factor = torch_loops.factor_with_inverses(diag, lower)
        mean = torch_loops.solve_with_inverses(factor, h)
        return mean, mean + torch_loops.color_with_inverses(factor, noise), torch_loops.log_determinant(factor)

    def native(diag: Tensor, lower: Tensor, h: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        factor = BlockTridiagonal(diag, lower).cholesky()
        mean = factor.solve_transpose(factor.solve(h))
        return mean, mean + factor.solve_transpose(noise), 2 * factor.logdet()

    def learned(surrogate: Surrogate) -> Inference:
        def infer(diag: Tensor, lower: Tensor, h: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            approximation = surrogate(diag, lower)
            mean = approximation.solve(h)
            return mean, mean + approximation.color(noise), approximation.logdet()

        return infer

    return {LOOP: loop, NATIVE: native} | {name: learned(surrogate) for name, surrogate in surrogates.items()}


def measure_speed(
    names: Mapping[str, Inference], precisions: Precisions, *, threads: int, seconds: float
) -> dict[str, Seconds]:
    """Time every implementation on the first of ``precisions``, and on all of them as a batch."""
    figures: dict[str, list[float]] = {name: [] for name in names}
    for count in (1, len(precisions.diag)):
        D, B, h = precisions.diag[:count], precisions.lower[:count], precisions.information[:count]
        noise = torch.randn(h.shape, generator=torch.Generator().manual_seed(0))
        forward = {name: _forward(infer, D, B, h, noise) for name, infer in names.items()}
        backward = {name: _backward(infer, D, B, h, noise) for name, infer in names.items()}
        for calls in (forward, backward):
            for name, timing in time_interleaved(calls, seconds, threads=threads).items():
                figures[name].append(timing.median / count)
    # In the order of the loops above: one sequence forward and backward, then the batch.
    return {name: Seconds(values[0], values[1], values[2], values[3]) for name, values in figures.items()}


def _forward(infer: Inference, diag: Tensor, lower: Tensor, h: Tensor, noise: Tensor) -> Callable[[], object]:
    def call() -> object:
        with torch.no_grad():
            return infer(diag, lower, h, noise)

    return call


def _backward(infer: Inference, diag: Tensor, lower: Tensor, h: Tensor, noise: Tensor) -> Callable[[], object]:
    leaves = [x.clone().requires_grad_() for x in (diag, lower, h)]

    def call() -> object:
        mean, sample, logdet = infer(leaves[0], leaves[1], leaves[2], noise)
        return torch.autograd.grad(mean.sum() + sample.square().sum() + logdet.sum(), leaves)

    return call
