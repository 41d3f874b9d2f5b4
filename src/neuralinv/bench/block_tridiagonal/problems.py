"""What is measured: matrices, right-hand sides, the work done with them, and its gradients."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from neuralinv.block_tridiagonal.conformance import random_precision

CONDITION = 10.0
"""About the condition number of the matrices that are timed."""

FACTOR, SOLVE, FORWARD, BACKWARD = "factor", "solve", "forward", "backward"
WORKS = {
    FACTOR: "factor",
    SOLVE: "factor + both solves",
    FORWARD: "factor + 2 solves + log-determinant, forward",
    BACKWARD: "the same, forward + backward",
}
"""What an implementation can be asked for. Its answers: nothing that is judged; ``x``; ``x`` and the log-determinants;
the gradients of ``Σ weights · x + Σ log det M`` with respect to ``diag``, ``lower`` and ``b``."""


@dataclass(frozen=True)
class Problem:
    """One measurement's input.

    Attributes
    ----------
    diag, lower
        Of the matrices: ``(*batch, T, n, n)`` and ``(*batch, T − 1, n, n)``, the batch () or (sequences,).
    b, weights
        Right-hand sides, and what the solutions are weighted with in the differentiated scalar: ``(*batch, T, n)``.
    condition
        About the condition number of each matrix.
    """

    diag: Tensor
    lower: Tensor
    b: Tensor
    weights: Tensor
    condition: float

    @property
    def steps(self) -> int:
        """T."""
        return self.diag.shape[-3]

    @property
    def n(self) -> int:
        """The size of a block."""
        return self.diag.shape[-1]

    @property
    def batch(self) -> int | None:
        """How many sequences; None for one without a batch dimension."""
        return self.diag.shape[0] if self.diag.ndim == 4 else None

    @property
    def dtype(self) -> torch.dtype:
        """Of all tensors."""
        return self.diag.dtype


def make_problem(
    steps: int, n: int, dtype: torch.dtype, *, batch: int | None = None, condition: float = CONDITION
) -> Problem:
    """Draw a problem from a seed that depends on n alone: everybody gets the same one."""
    shape = () if batch is None else (batch,)
    diag, lower = random_precision(*shape, steps=steps, n=n, dtype=dtype, condition=condition, seed=n)
    generator = torch.Generator().manual_seed(n)
    b, weights = (torch.randn(*shape, steps, n, generator=generator, dtype=torch.float64).to(dtype) for _ in range(2))
    return Problem(diag, lower, b, weights, condition)


def leaves(problem: Problem) -> tuple[Tensor, Tensor, Tensor]:
    """Return ``diag``, ``lower`` and ``b`` as tensors that want gradients."""
    diag, lower, b = (x.clone().requires_grad_() for x in (problem.diag, problem.lower, problem.b))
    return diag, lower, b
