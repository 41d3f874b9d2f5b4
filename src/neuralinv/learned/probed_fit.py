"""Fitting a parametric inverse that random vectors certify as it is proposed, without a correction."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from neuralinv.dense.probabilistic import Odds, probe_count
from neuralinv.learned.architectures.parametric import ParametricInverse

RANKS = (1, 2, 3, 4, 6, 8, 12, 16, 20, 24, 32, 40, 48, 56, 64, 80, 96, 128, 160, 192, 256)
_OVERESTIMATES = (7.3, 4.35, 3.32)  # 16, 24 and 32 vectors for a probability of 1e-10; 8 would cost the same as 16
_MARGIN = 1.25  # between the largest bound held out and one that is yet to come
_PASSES = 15  # what the kernel takes for any number of vectors
_VECTOR = 4.0  # cost of a vector, in passes over a float32 matrix that a mode takes


def fit_probed(
    build: Callable[[int], ParametricInverse],
    test: tuple[Tensor, Tensor],
    ranks: Sequence[int],
    *,
    rtol: float,
    seed: int,
) -> tuple[ParametricInverse, float] | None:
    """Return the cheapest parametric inverse that certifies all matrices held out by random vectors, and its predicted
    cost in passes over a matrix; None if there is none.

    Few vectors overestimate residuals more, and ask for more modes: both are chosen here.

    Parameters
    ----------
    build
        Gives the inverse of a rank.
    test
        θ and matrices held out, in working precision.
    ranks
        To choose from, ascending.
    """
    theta, A = test
    best: tuple[ParametricInverse, float] | None = None
    start = 0
    for most in _OVERESTIMATES[::-1]:
        # The fewer vectors there are, the more modes it takes: no need to look at fewer again.
        for k in range(start, len(ranks)):
            model = build(ranks[k])
            model.most_overestimated = most
            if _certifies(model, A, theta, rtol, seed):
                start = k
                cost = ranks[k] + _VECTOR * probes_of(model) + _PASSES
                if best is None or cost < best[1]:
                    best = model, cost
                break
        else:
            break
    return best


def probes_of(model: ParametricInverse) -> int:
    """Return how many random vectors an inverse takes."""
    return probe_count(Odds().failure_probability, is_complex=model.dtype.is_complex, most=model.most_overestimated)


def _certifies(model: ParametricInverse, A: Tensor, theta: Tensor, rtol: float, seed: int) -> bool:
    odds = Odds(generator=torch.Generator(A.device).manual_seed(seed))
    return bool((model.certify_by_probes(A, theta, odds)[1] <= rtol / _MARGIN).all())
