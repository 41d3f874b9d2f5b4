"""How wrong a surrogate's answers are, and what that does to the gradient of the example."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from neuralinv.bench.surrogate.example import Precisions, SurrogateVAE
from neuralinv.bench.surrogate.ideal import cut_inverse
from neuralinv.block_tridiagonal import BlockTridiagonal
from neuralinv.block_tridiagonal.dispatch import Method
from neuralinv.learned.surrogate import Approximation, Surrogate


@dataclass(frozen=True)
class Spread:
    """Median and largest over sequences."""

    median: float
    largest: float


@dataclass(frozen=True)
class Errors:
    """Of one implementation.

    Attributes
    ----------
    factor, mean, covariance
        Relative, in the Euclidean norm of a whole sequence; of covariances the diagonal blocks count.
    logdet
        Absolute, in nats for each time step: what the entropy is off by, twice.
    gradient
        Of the lower bound with respect to the example's weights, relative to that of the loop, for the same noise; None
        where there is none.
    cosine
        Between both gradients: median, and smallest (as ``largest``).
    """

    factor: Spread
    mean: Spread
    covariance: Spread
    logdet: Spread
    gradient: Spread | None
    cosine: Spread | None


def surrogate_errors(
    surrogate: Surrogate, precisions: Precisions, model: SurrogateVAE, windows: Sequence[Tensor]
) -> Errors:
    """Measure a surrogate on precisions, and on the gradient of the model's bound for windows of observations."""
    with torch.no_grad():
        approximation = surrogate(precisions.diag, precisions.lower)
    return _errors(approximation, precisions, model, surrogate, windows)


def cut_errors(precisions: Precisions, bands: int) -> Errors:
    """Measure the exact factor with its inverse cut to ``bands`` block diagonals; it has no gradient to measure."""
    return _errors(cut_inverse(precisions.diag, precisions.lower, bands), precisions, None, None, ())


def native_errors(precisions: Precisions, model: SurrogateVAE, windows: Sequence[Tensor]) -> Errors:
    """Measure the exact operator in float32, to compare with."""
    return _errors(None, precisions, model, None, windows)


def _errors(
    approximation: Approximation | None,
    precisions: Precisions,
    model: SurrogateVAE | None,
    surrogate: Surrogate | None,
    windows: Sequence[Tensor],
) -> Errors:
    true = _answers(None, precisions, torch.float64)
    found = _answers(approximation, precisions, torch.float32)
    steps = precisions.diag.shape[-3]
    relative = [
        _spread((f - t).flatten(1).norm(dim=1) / t.flatten(1).norm(dim=1))
        for f, t in zip(found[:3], true, strict=False)
    ]
    logdet = _spread((found[3] - true[3]).abs() / steps)
    gradient = cosine = None
    if model is not None:
        pairs = [(_gradient(model, w, None, "loop"), _gradient(model, w, surrogate)) for w in windows]
        gradient = _spread(torch.stack([(g - e).norm() / e.norm() for e, g in pairs]))
        cosines = torch.stack([torch.dot(g, e) / (g.norm() * e.norm()) for e, g in pairs])
        cosine = Spread(float(cosines.median()), float(cosines.min()))
    factor, mean, covariance = relative
    return Errors(factor, mean, covariance, logdet, gradient, cosine)


def _answers(approximation: Approximation | None, p: Precisions, dtype: torch.dtype) -> tuple[Tensor, ...]:
    """Return factor, mean, covariances and log-determinants in float64."""
    if approximation is not None:
        a, h = approximation, p.information
        factor = torch.cat([a.L.flatten(1), a.C.flatten(1)], 1)
        answers = (factor, a.solve(h), a.covariances(), a.logdet())
    else:
        exact = BlockTridiagonal(p.diag.to(dtype), p.lower.to(dtype)).cholesky()
        factor = torch.cat([exact.diag.flatten(1), exact.lower.flatten(1)], 1)
        mean = exact.solve_transpose(exact.solve(p.information.to(dtype)))
        answers = (factor, mean, cast(Tensor, exact.inverse_blocks().diag), 2 * exact.logdet())
    return tuple(x.double() for x in answers)


def _gradient(model: SurrogateVAE, window: Tensor, surrogate: Surrogate | None, method: Method = "auto") -> Tensor:
    """Return the gradient of the bound with respect to all weights as one vector; the noise is always the same."""
    model = copy.deepcopy(model)
    model.method = method
    object.__setattr__(model, "surrogate", surrogate)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        bound = model.elbo(window).sum()
    return torch.cat([g.flatten() for g in torch.autograd.grad(bound, list(model.parameters()))]).double()


def _spread(values: Tensor) -> Spread:
    return Spread(float(values.median()), float(values.max()))
