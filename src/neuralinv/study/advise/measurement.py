"""What an option reaches on matrices that it was not made from, and how long it takes beside the exact kernel."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import cycle
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from neuralinv.block_tridiagonal import BlockTridiagonal
from neuralinv.dense import SequenceInverter, certified_inv, inv_ex, solve_ex
from neuralinv.dense.scaling import widen
from neuralinv.families import MatrixFunction
from neuralinv.learned import fit_parametric
from neuralinv.study.advise.direct_network import STEPS, train_network
from neuralinv.study.advise.iteration import make_iteration
from neuralinv.study.advise.methods import METHODS, SNAPSHOTS
from neuralinv.study.advise.paired_times import time_beside
from neuralinv.study.advise.properties import Properties
from neuralinv.study.oracle import Reference, reference_inverse

_JUDGED = 64
_JUDGED_SEQUENCES = 32
"""At each step: there are many steps."""
_SLOW_JUDGED = 1 << 22


@dataclass(frozen=True)
class Problem:
    """What an option is given.

    Attributes
    ----------
    properties
        Of a sample; nothing else is known of the matrices to come.
    rtol
        The relative error wanted.
    training, training_parameters
        ``(count, n, n)`` and ``(count, p)``, to fit and train on.
    function
        What makes matrices of parameters, if there is such a function.
    test, test_parameters
        Others, to be judged by, in the dtype of the matrices.
    path
        ``(steps, sequences, n, n)``, consecutive ones.
    """

    properties: Properties
    rtol: float
    training: Tensor
    training_parameters: Tensor | None
    function: MatrixFunction | None
    test: Tensor
    test_parameters: Tensor | None
    path: Tensor | None = None

    @cached_property
    def judged(self) -> Tensor:
        """As many of the test matrices as are quickly inverted in extended precision."""
        return _judged(self.test)

    @cached_property
    def reference(self) -> Reference:
        """Their inverses, the same for every option."""
        return _reference(self.judged)

    def error(self, X: Tensor) -> float:
        """Return the relative error of inverses of :attr:`judged`, 90 % quantile."""
        return _high(self.reference.distances(_wide(X)))


@dataclass(frozen=True)
class Measured:
    """What was reached.

    Attributes
    ----------
    error
        Relative error, 90 % quantile: of the answers, or for options with a proof of what they start from, before any
        correction or fallback (``certified`` apart, which starts from the answers).
    ratio
        Time of a call, proof and fallback included, over the exact kernel's for the same job.
    training
        Seconds of fit or training.
    exact
        Seconds that the exact kernel takes for one matrix.
    """

    error: float
    ratio: float
    training: float
    exact: float


def measure(name: str, problem: Problem, *, budget: float = math.inf) -> Measured:
    """Measure the option ``name`` on a problem; ``budget`` bounds the seconds of training, roughly.

    Raises
    ------
    ValueError
        If the option cannot be made from these matrices.
    """
    obstacle = METHODS[name].obstacle(problem.properties)
    if obstacle is not None:
        raise ValueError(f"{METHODS[name].title}: {obstacle}")
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # fits that are too coarse show in the figures
        return _MEASURES[name](problem, budget)


def _exact(problem: Problem, budget: float) -> Measured:
    # The ratio is 1 by definition: what else a measurement finds is noise.
    return replace(_answers(problem, lambda A: inv_ex(A)[0]), ratio=1.0)


def _positive(problem: Problem, budget: float) -> Measured:
    return _answers(problem, lambda A: inv_ex(A, assume_a="pos")[0])


def _certified(problem: Problem, budget: float) -> Measured:
    return _answers(problem, lambda A: certified_inv(A, rtol=problem.rtol, on_singular="nan").inverse)


def _answers(problem: Problem, inverse: Callable[[Tensor], Tensor]) -> Measured:
    error = problem.error(inverse(problem.judged))
    return _timed(problem.test, error, lambda: inverse(problem.test))


def _block_tridiagonal(problem: Problem, budget: float) -> Measured:
    A, block = problem.test, problem.properties.structure.block
    count, n = len(A), A.shape[-1]
    blocks = A.reshape(count, n // block, block, n // block, block).transpose(2, 3)
    diag = blocks.diagonal(dim1=1, dim2=2).movedim(-1, 1).contiguous()
    lower = blocks.diagonal(offset=-1, dim1=1, dim2=2).movedim(-1, 1).contiguous()
    b = torch.randn(count, n, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(A.dtype)
    sequence = b.reshape(count, n // block, block)

    def solve() -> Tensor:
        x: Tensor = BlockTridiagonal(diag, lower).solve(sequence)
        return x

    few = len(problem.judged)
    x = solve().reshape(count, n)
    error = _high(problem.reference.solution_distances(_wide(x[:few]), _wide(b[:few])))
    column = b[..., None]
    return _timed(A, error, solve, lambda: solve_ex(A, column))


def _parametric(problem: Problem, budget: float) -> Measured:
    ranges, theta = problem.properties.ranges, problem.test_parameters
    assert ranges is not None
    assert theta is not None
    dtype = problem.test.dtype
    started = time.perf_counter()
    if problem.function is not None:
        model = fit_parametric(problem.function, ranges=ranges, rtol=problem.rtol, dtype=dtype, snapshots=SNAPSHOTS)
    else:
        assert problem.training_parameters is not None
        model = fit_parametric(
            (problem.training_parameters, problem.training), ranges=ranges, rtol=problem.rtol, dtype=dtype
        )
    spent = time.perf_counter() - started
    error = problem.error(model.propose(theta[: len(problem.judged)]))
    return _timed(problem.test, error, lambda: model.inv(problem.test, theta, on_singular="nan"), training=spent)


def _iteration(problem: Problem, budget: float) -> Measured:
    relative = problem.properties.relative
    assert relative is not None
    started = time.perf_counter()
    iteration = make_iteration(relative.smallest, positive=problem.properties.symmetry == "positive")
    assert iteration is not None  # what else would be an obstacle
    return _proposed(problem, iteration, time.perf_counter() - started)


def _network(problem: Problem, budget: float) -> Measured:
    network, spent = train_network(problem.training, steps=STEPS, budget=budget)
    return _proposed(problem, network, spent)


def _proposed(problem: Problem, proposer: Callable[[Tensor], Tensor], spent: float) -> Measured:
    return _timed(
        problem.test,
        problem.error(proposer(problem.judged)),
        lambda: certified_inv(problem.test, proposer, rtol=problem.rtol, on_singular="nan"),
        training=spent,
    )


def _sequence(problem: Problem, budget: float) -> Measured:
    path = problem.path
    if path is None:
        raise ValueError("warm-started sequence: there are no consecutive matrices to judge it by")
    inverter = SequenceInverter(rtol=problem.rtol, on_singular="nan")
    errors = []
    for k, A in enumerate(path):
        guess = inverter.propose()
        inverter(A)
        if guess is not None and k >= len(path) // 2:
            some = _judged(A)[:_JUDGED_SEQUENCES]
            errors.append(_reference(some).distances(_wide(guess[: len(some)])))
    # There and back again, so that every step is one of the path's own.
    steps = cycle([*path.flip(0)[1:], *path[1:]])
    return _timed(path[0], _high(np.concatenate(errors)), lambda: inverter(next(steps)))


def _timed(
    A: Tensor,
    error: float,
    call: Callable[[], Any],
    exact: Callable[[], Any] | None = None,
    *,
    training: float = 0.0,
) -> Measured:
    times = time_beside(call, exact if exact is not None else lambda: inv_ex(A))
    return Measured(error, times.ratio, training, times.reference / len(A))


def _judged(A: Tensor) -> Tensor:
    """As many as are quickly inverted in extended precision."""
    return A[: max(4, min(_JUDGED, _SLOW_JUDGED // A.shape[-1] ** 3))]


def _reference(A: Tensor) -> Reference:
    return reference_inverse(_wide(A))


def _wide(A: Tensor) -> NDArray[Any]:
    return np.asarray(widen(A).detach().resolve_conj().numpy())


def _high(errors: NDArray[np.float64]) -> float:
    return float(np.quantile(errors, 0.9, method="inverted_cdf"))


_MEASURES: Mapping[str, Callable[[Problem, float], Measured]] = {
    "exact": _exact,
    "positive": _positive,
    "certified": _certified,
    "block_tridiagonal": _block_tridiagonal,
    "parametric": _parametric,
    "iteration": _iteration,
    "sequence": _sequence,
    "network": _network,
}
