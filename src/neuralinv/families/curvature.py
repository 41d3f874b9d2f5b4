"""Kronecker factors of a network's curvature (K-FAC), recorded while a small network trains."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from neuralinv.families.gram import gram
from neuralinv.families.registry import Family
from neuralinv.families.regression import wine
from neuralinv.families.settings import positive, whole

_BATCH = 64
_DECAY = 0.95
_LEARNING_RATE = 0.1
_CLASSES = 3


class KroneckerFactors(NamedTuple):
    """Running averages after every step, without damping; each ``(steps, n, n)``, positive semidefinite."""

    activations: Tensor
    """``E[a aᵀ]`` of the inputs of the middle layer."""
    gradients: Tensor
    """``E[g gᵀ]`` of the loss's derivatives by the middle layer's outputs, with labels drawn from the model."""


def record_kronecker_factors(
    size: int, steps: int, *, generator: torch.Generator, device: torch.device | str = "cpu"
) -> KroneckerFactors:
    """Train a 13 → n → n → 3 network on the wine data and record the factors of its middle layer.

    Plain gradient descent on batches of 64, hyperbolic tangents; the factors are exponential moving averages with decay
    0.95, started at the first batch's (Martens & Grosse 2015, arXiv:1503.05671, §5). Successive factors make a slowly
    changing sequence. Everything is drawn from ``generator``.
    """
    features, cultivar = wine()
    X, y = torch.from_numpy(features).to(device), torch.from_numpy(cultivar).to(device)
    shapes = ((X.shape[1], size), (size, size), (size, _CLASSES))
    weights = [
        torch.randn(*shape, generator=generator, dtype=torch.float64, device=device) / math.sqrt(shape[0])
        for shape in shapes
    ]
    recorded: list[tuple[Tensor, Tensor]] = []
    for _ in range(steps):
        rows = torch.randint(len(X), (_BATCH,), generator=generator, device=device)
        with torch.enable_grad():
            first, middle, last = (W.requires_grad_() for W in weights)
            a = torch.tanh(X[rows] @ first)
            s = a @ middle
            logits = torch.tanh(s) @ last
            loss = torch.nn.functional.cross_entropy(logits, y[rows])
            gradients = torch.autograd.grad(loss, weights, retain_graph=True)
            # The Fisher matrix takes labels from the model's own distribution, not those of the data.
            drawn = torch.multinomial(logits.detach().softmax(-1), 1, generator=generator).squeeze(1)
            (g,) = torch.autograd.grad(torch.nn.functional.cross_entropy(logits, drawn, reduction="sum"), s)
        a, g = a.detach(), g.detach()
        fresh = (gram(a, _BATCH), gram(g, _BATCH))
        if recorded:
            fresh = (torch.lerp(fresh[0], recorded[-1][0], _DECAY), torch.lerp(fresh[1], recorded[-1][1], _DECAY))
        recorded.append(fresh)
        weights = [W.detach() - _LEARNING_RATE * dW for W, dW in zip(weights, gradients, strict=True)]
    activations, gradients_ = (torch.stack(factors) for factors in zip(*recorded, strict=True))
    return KroneckerFactors(activations, gradients_)


def _draw_kfac(
    count: int,
    size: int,
    *,
    generator: torch.Generator,
    dtype: torch.dtype,
    device: torch.device | str,
    damping: float,
    steps: float,
) -> Tensor:
    positive("damping", damping)
    factors = record_kronecker_factors(size, whole("steps", steps), generator=generator, device=device)
    both = torch.cat(factors)
    chosen = both[torch.randint(len(both), (count,), generator=generator, device=device)]
    mean = chosen.diagonal(dim1=-2, dim2=-1).mean(-1)[:, None, None]
    identity = torch.eye(size, dtype=torch.float64, device=device)
    return (chosen + damping * mean * identity).to(dtype)


KFAC = Family(
    "kfac",
    "Kronecker factors E[aaᵀ] and E[ggᵀ] from random steps of a small training run, plus damping · mean eigenvalue · I",
    _draw_kfac,
    {"damping": 1e-2, "steps": 50.0},
    spectrum="a few large eigenvalues and many close to the damping; condition number at most n/damping + 1",
    reference="Martens & Grosse 2015, arXiv:1503.05671",
    symmetry="positive",
)
