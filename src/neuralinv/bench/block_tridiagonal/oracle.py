"""The truth in float64, and how far answers are from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from neuralinv.bench.block_tridiagonal import torch_loops
from neuralinv.bench.block_tridiagonal.problems import BACKWARD, FACTOR, Problem, leaves
from neuralinv.bench.block_tridiagonal.rivals import LARGEST_DENSE
from neuralinv.block_tridiagonal.conformance import TOLERANCE, Case, dense

_JUDGED = 2
_MOST_STEPS = 20_000
_REFINEMENTS = 4
_BLOCKS, _VECTORS = (-3, -2, -1), (-2, -1)


@dataclass(frozen=True)
class Truth:
    """Solution, log-determinants and gradients of a problem's first sequences, in float64."""

    sequences: int | None
    solution: Tensor
    logdet: Tensor
    gradients: tuple[Tensor, Tensor, Tensor]


def find_truth(problem: Problem) -> Truth | None:
    """Solve the problem, its numbers taken as exact, in float64; of a batch the first two sequences.

    With dense matrices up to T n = 5000: Cholesky factor, inverse, and solutions refined with residuals in NumPy's long
    double. Beyond, with the loop over time steps that ``torch_loops.py`` holds, up to T = 20,000. Longer sequences have
    None.
    """
    if problem.steps > _MOST_STEPS:
        return None
    if problem.batch is None:
        return _truth(problem, None)
    D, B, b, weights = (x[:_JUDGED] for x in (problem.diag, problem.lower, problem.b, problem.weights))
    return _truth(Problem(D, B, b, weights, problem.condition), min(_JUDGED, problem.batch))


def largest_error(truth: Truth, work: str, answer: Sequence[Tensor]) -> float:
    """Return the largest relative error among the parts of an answer; infinite where one is not finite.

    Solutions and gradients are compared in the Euclidean norm of a whole sequence, log-determinants by
    ``|l − l̂| / max(1, |l|)``. Gradients with respect to symmetric blocks are made symmetric first: some implementations
    read one triangle, and give all of the gradient to it.
    """
    if work == FACTOR:
        return 0.0
    answer = [x if truth.sequences is None else x[: truth.sequences] for x in answer]
    if work == BACKWARD:
        diag, lower, b = answer
        errors = [
            _relative(truth.gradients[0], (diag + diag.mT) / 2, _BLOCKS),
            _relative(truth.gradients[1], lower, _BLOCKS),
            _relative(truth.gradients[2], b, _VECTORS),
        ]
    else:
        errors = [_relative(truth.solution, answer[0], _VECTORS)]
        if len(answer) > 1:
            distance = (truth.logdet - answer[1].double()).abs() / truth.logdet.abs().clamp(min=1)
            errors.append(distance.max())
    error = float(torch.stack(errors).max())
    return error if error == error else float("inf")


def is_inaccurate(error: float, dtype: torch.dtype, condition: float) -> bool:
    """Tell whether an error exceeds what the conformance suite allows; NaN does, too."""
    return not error <= TOLERANCE[dtype] * condition


def _truth(problem: Problem, sequences: int | None) -> Truth:
    wide = Problem(
        problem.diag.double(), problem.lower.double(), problem.b.double(), problem.weights.double(), problem.condition
    )
    if problem.steps * problem.n > LARGEST_DENSE:
        inputs = leaves(wide)
        x, logdet = torch_loops.work_with_triangular_solves(*inputs)
        gradients = torch.autograd.grad((wide.weights * x).sum() + logdet.sum(), inputs)
        return Truth(sequences, x.detach(), logdet.detach(), (gradients[0], gradients[1], gradients[2]))
    root = torch.linalg.cholesky(dense(Case("", wide.diag, wide.lower)))
    x, v = _refined(root, wide, wide.b), _refined(root, wide, wide.weights)
    logdet = 2 * root.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    inverse = torch.cholesky_inverse(root).unflatten(-1, (wide.steps, wide.n)).unflatten(-3, (wide.steps, wide.n))
    index = torch.arange(wide.steps)
    diagonal = inverse[..., index, :, index, :].movedim(0, -3)
    below = inverse[..., index[1:], :, index[:-1], :].movedim(0, -3)
    # d(wᵀ M⁻¹ b) = −vᵀ dM x with v = M⁻¹ w, and d log det M = tr(M⁻¹ dM); B_t stands in M twice.
    outer = v[..., :, None] * x[..., None, :]
    lower = 2 * below - v[..., 1:, :, None] * x[..., :-1, None, :] - x[..., 1:, :, None] * v[..., :-1, None, :]
    return Truth(sequences, x, logdet, (diagonal - (outer + outer.mT) / 2, lower, v))


def _refined(root: Tensor, problem: Problem, b: Tensor) -> Tensor:
    """Solve ``M x = b (*batch, T, n)``; each step of refinement takes its residual in long double."""
    x = torch.zeros_like(b)
    D, B, rhs = (tensor.numpy().astype(np.longdouble) for tensor in (problem.diag, problem.lower, b))
    for _ in range(_REFINEMENTS):
        wide = x.numpy().astype(np.longdouble)[..., None]
        product = D @ wide
        product[..., 1:, :, :] += B @ wide[..., :-1, :, :]
        product[..., :-1, :, :] += np.swapaxes(B, -1, -2) @ wide[..., 1:, :, :]
        residual = torch.from_numpy((rhs - product[..., 0]).astype(np.float64))
        x = x + torch.cholesky_solve(residual.flatten(-2).unsqueeze(-1), root).reshape(b.shape)
    return x


def condition_number(problem: Problem) -> float:
    """Return the condition number of a problem's matrix, from dense float64 eigenvalues."""
    eigenvalues = torch.linalg.eigvalsh(dense(Case("", problem.diag, problem.lower)))
    return float((eigenvalues[..., -1] / eigenvalues[..., 0].clamp(min=0)).max())


def _relative(true: Tensor, found: Tensor, dims: tuple[int, ...]) -> Tensor:
    if not true.numel():
        return torch.zeros((), dtype=torch.float64)
    size = torch.linalg.vector_norm(true, dim=dims)
    return (torch.linalg.vector_norm(true - found.double(), dim=dims) / size).max()
