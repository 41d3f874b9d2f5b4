"""What certified refinement rescues: conjugate gradients with a surrogate as preconditioner and first guess.

Each solution is refined until its error is proved to be below the tolerance. With a surrogate the bound of the inverse
that this takes comes from the surrogate itself (``block_tridiagonal/banded_inverse.py``) where it is good enough for
one. Elsewhere, and for the same iteration without a preconditioner or with the diagonal blocks alone, it is given: the
exact norm of the inverse, from eigenvalues. What stays without a proof goes to the exact solver.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from neuralinv.bench.surrogate.example import Precisions
from neuralinv.bench.surrogate.ideal import CUT
from neuralinv.block_tridiagonal import BlockTridiagonal
from neuralinv.block_tridiagonal.banded_inverse import distance_from_identity, inverse_bound, refine
from neuralinv.dense.result import Status
from neuralinv.learned.architectures.block_tridiagonal import multiply, multiply_transposed
from neuralinv.learned.surrogate import Approximation
from neuralinv.measuring.timing import time_interleaved

RTOL = 1e-5
EXACT, CERTIFIED = "exact solve", "exact solve, certified"
PLAIN, BLOCKS = "no preconditioner", "diagonal blocks"
_MOST = 400
_SEQUENCES = 16


@dataclass(frozen=True)
class Rescue:
    """What became of the sequences with one way to solve.

    Attributes
    ----------
    proposed, refined, fell_back
        How many were certified as they came, after conjugate gradients, and not at all.
    median_rho, proved
        Median of the proved ``‖G M Gᵀ − I‖_∞``, and for how many it is below 1, a proof that ``M`` is positive definite
        with a bound of its inverse. None where there is no surrogate.
    iterations, most_iterations
        Median and largest number of steps of those that were certified.
    true_error
        Largest true relative error of what was certified; no more than the tolerance, if the proofs are right.
    seconds
        For each sequence, of all of it: proposal, proof, refinement, fallback. None where the proposal is no method.
    """

    proposed: int
    refined: int
    fell_back: int
    median_rho: float | None
    proved: int | None
    iterations: float
    most_iterations: int
    true_error: float
    seconds: float | None


Propose = Callable[[Tensor, Tensor], Approximation]


def measure_rescue(
    surrogates: Mapping[str, Propose], precisions: Precisions, *, threads: int, seconds: float
) -> dict[str, Rescue]:
    """Solve for 16 posterior means to a proved relative error of 1e-5, in float64, as one batch."""
    precisions = Precisions(*(x[:_SEQUENCES] for x in (precisions.diag, precisions.lower, precisions.information)))
    D, B, h = (x.double() for x in (precisions.diag, precisions.lower, precisions.information))
    M = BlockTridiagonal(D, B)
    smallest = torch.linalg.eigvalsh(M.to_dense())[..., 0]
    blocks = torch.linalg.cholesky(D)

    def divide(r: Tensor) -> Tensor:
        return torch.cholesky_solve(r[..., None], blocks)[..., 0]

    ways: dict[str, Callable[[], _Solved]] = {
        EXACT: lambda: _Solved(M.solve(h), torch.full_like(smallest, torch.inf), None, None),
        CERTIFIED: partial(_exact_certified, M, h),
        PLAIN: partial(_iterated, D, B, h, lambda r: r, 1 / smallest),
        BLOCKS: partial(_iterated, D, B, h, divide, 1 / smallest),
    }
    for name, surrogate in surrogates.items():
        ways[name] = partial(_with_surrogate, surrogate, precisions, D, B, h, 1 / smallest)
    exact = M.solve(h)
    timings = time_interleaved(
        {name: way for name, way in ways.items() if name != CUT}, seconds, threads=threads, rounds=1
    )
    return {
        name: _summarise(way(), exact, timings[name].median / len(D) if name in timings else None)
        for name, way in ways.items()
    }


@dataclass(frozen=True)
class _Solved:
    solution: Tensor
    bound: Tensor
    iterations: Tensor | None
    rho: Tensor | None


def _exact_certified(M: BlockTridiagonal, h: Tensor) -> _Solved:
    result = M.solve(h, certify=True, rtol=RTOL)
    bound = torch.where(result.status == int(Status.CERTIFIED), result.error_bound, torch.inf)
    return _Solved(result.solution, bound, None, None)


def _iterated(
    D: Tensor, B: Tensor, h: Tensor, precondition: Callable[[Tensor], Tensor], largest_inverse: Tensor
) -> _Solved:
    refined = refine(D, B, h, precondition, rtol=RTOL, largest_inverse=largest_inverse, most=_MOST)
    return _Solved(refined.solution, refined.error_bound, refined.iterations, None)


@torch.no_grad()
def _with_surrogate(
    propose: Propose, precisions: Precisions, D: Tensor, B: Tensor, h: Tensor, largest_inverse: Tensor
) -> _Solved:
    G = propose(precisions.diag, precisions.lower).G.double()
    rho = distance_from_identity(D, B, G)
    bound_of_inverse = torch.where(rho < 1, inverse_bound(G, rho), largest_inverse)
    refined = refine(
        D, B, h, lambda r: multiply_transposed(G, multiply(G, r)), rtol=RTOL, largest_inverse=bound_of_inverse,
        most=_MOST,
    )  # fmt: skip
    solution, failed = refined.solution, ~(refined.error_bound <= RTOL)
    if bool(failed.any()):
        solution[failed] = BlockTridiagonal(D[failed], B[failed]).solve(h[failed], certify=True).solution
    return _Solved(solution, refined.error_bound, refined.iterations, rho)


def _summarise(solved: _Solved, exact: Tensor, seconds: float | None) -> Rescue:
    certified = solved.bound <= RTOL
    iterations = solved.iterations if solved.iterations is not None else torch.zeros(len(exact), dtype=torch.int64)
    done = iterations[certified]
    error = (solved.solution - exact).flatten(1).norm(dim=1) / exact.flatten(1).norm(dim=1)
    return Rescue(
        proposed=int((certified & (iterations == 0)).sum()),
        refined=int((certified & (iterations > 0)).sum()),
        fell_back=int((~certified).sum()),
        median_rho=None if solved.rho is None else float(solved.rho.median()),
        proved=None if solved.rho is None else int((solved.rho < 1).sum()),
        iterations=float(done.double().median()) if len(done) else 0.0,
        most_iterations=int(done.max()) if len(done) else 0,
        true_error=float(error.max()),
        seconds=seconds,
    )
