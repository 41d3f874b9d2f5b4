"""The one training loop of the study: networks of the package on matrices from anywhere.

:mod:`neuralinv.learned.training` trains the networks that are kept: it draws uniform entries, writes folders and can
be resumed. Here hundreds of small networks are trained on sets with known inverses, measured and forgotten. Losses,
optimisers, schedules and clipping are those of the package. The members of an ensemble serve as repetitions, each with
weights and matrices of its own.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias, cast

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from neuralinv.learned.architectures import Architecture, Candidates, build
from neuralinv.learned.config import ModelConfig
from neuralinv.learned.losses import LOSSES, smooth_norm
from neuralinv.learned.optimizers import build_optimizers
from neuralinv.learned.schedules import rate_factor
from neuralinv.learned.training import clip_each_member

Draw: TypeAlias = Callable[[int, torch.Generator], tuple[Tensor, Tensor]]
"""Maps a count and a generator to matrices and inverses, each ``(count, n, n)``."""
LossFunction: TypeAlias = Callable[[Tensor, Candidates, Tensor], Tensor]


@dataclass(frozen=True)
class Recipe:
    """How a network is trained: optimiser steps, fresh matrices in each for each member, peak rate, and seed."""

    steps: int
    batch: int = 128
    learning_rate: float = 3e-3
    seed: int = 0


def absolute_error(A: Tensor, candidates: Candidates, inverse: Tensor) -> Tensor:
    """Return ``‖X − A⁻¹‖_F``, ``(members, batch)``: what a bound of the uniform error is about."""
    return smooth_norm(candidates.inverse - inverse)


def relative_error(A: Tensor, candidates: Candidates, inverse: Tensor) -> Tensor:
    """Return ``‖X − A⁻¹‖_F / ‖A⁻¹‖_F``, ``(members, batch)``: every matrix weighs the same."""
    return smooth_norm(candidates.inverse - inverse) / torch.linalg.vector_norm(inverse, dim=(-2, -1))


def default_loss(architecture: str) -> LossFunction:
    """Return the loss that suits an architecture: its direction for ``gated``, the relative error for the others."""
    return LOSSES["direction"].function if architecture == "gated" else relative_error


def fit(model: ModelConfig, draw: Draw, recipe: Recipe, *, loss: LossFunction | None = None) -> Architecture:
    """Train the architecture that ``model`` describes, without the scaling of whole matrices, and return it.

    Parameters
    ----------
    model
        Architecture, size, width, depth; each of its members is trained on its own.
    draw
        Where matrices and inverses come from; called once for each step.
    recipe
        How long, and with which seed: weights and matrices depend on nothing else.
    loss
        By default :func:`default_loss`.

    Returns
    -------
    The trained network in evaluation mode, float32, without gradients.
    """
    with torch.random.fork_rng(devices=[]):  # the caller's random state is not ours to change
        torch.manual_seed(recipe.seed)
        network = build(model)
    function = loss or default_loss(model.architecture)
    gates = cast(Architecture, network).gate_matrices()
    fabric = Fabric(accelerator="cpu", devices=1)
    wrapped: Any = fabric.setup(network, *build_optimizers(network, recipe.learning_rate, gates=gates))
    module, *optimizers = wrapped
    parameters = list(network.parameters())
    generator = torch.Generator().manual_seed(recipe.seed)
    for step in range(recipe.steps):
        factor = rate_factor("cosine", step / recipe.steps)
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = factor * group["peak_lr"]
            optimizer.zero_grad()
        A, inverse = (
            part.float().unflatten(0, (model.members, recipe.batch))
            for part in draw(model.members * recipe.batch, generator)
        )
        values = function(A, module(A), inverse).mean(1)
        fabric.backward(values.sum())  # members share no parameters: the sum trains each on its own loss
        clip_each_member(parameters, 1.0)
        for optimizer in optimizers:
            optimizer.step()
    network.eval().requires_grad_(False)
    return cast(Architecture, network)


def from_pool(A: Tensor, inverse: Tensor) -> Draw:
    """Draw from given matrices and inverses, with replacement."""

    def draw(count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        chosen = torch.randint(len(A), (count,), generator=generator)
        return A[chosen], inverse[chosen]

    return draw


def answers(network: Architecture, A: Tensor) -> Tensor:
    """Return every member's raw answer to ``A`` ``(batch, n, n)``: ``(members, batch, n, n)``, float64."""
    with torch.no_grad():
        return network(A.float()).inverse.double()


def double_function(network: Architecture) -> Callable[[Tensor], Tensor]:
    """Return the network as a map of matrices in float64, for searches that measure small differences."""
    assert isinstance(network, nn.Module)
    wide = copy.deepcopy(network).double()
    return lambda A: wide(A).inverse


def relative_errors(X: Tensor, inverse: Tensor) -> Tensor:
    """Return ``‖X − A⁻¹‖_F / ‖A⁻¹‖_F`` of answers ``(*batch, n, n)``; infinite where an answer is not finite."""
    error = torch.linalg.matrix_norm(X - inverse) / torch.linalg.matrix_norm(inverse)
    return error.nan_to_num(nan=torch.inf)


def parameter_count(model: ModelConfig) -> int:
    """Return the number of weights of one member."""
    with torch.random.fork_rng(devices=[]):
        return sum(p.numel() for p in build(model).parameters()) // model.members
