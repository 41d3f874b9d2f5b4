"""What is measured: the operations, the matrices that they get, and the work that they cannot avoid."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from neuralinv.families import get_family

MOST_BYTES = 256 << 20
"""Largest input of a measurement."""


@dataclass(frozen=True)
class Operation:
    """An operation on a batch of n×n matrices.

    Attributes
    ----------
    name, title
        On the command line, and in tables.
    flops
        Floating-point operations for each matrix, from n.
    numbers
        Numbers that each matrix must read and write at least once, from n.
    right_hand_sides
        k, from n; 0 for operations that have none.
    positive
        Whether the matrices are symmetric positive definite.
    largest
        The largest n that is measured; None for all.
    """

    name: str
    title: str
    flops: Callable[[int], float]
    numbers: Callable[[int], int]
    right_hand_sides: Callable[[int], int] = lambda n: 0
    positive: bool = False
    largest: int | None = None


OPERATIONS = {
    operation.name: operation
    for operation in (
        Operation("inv", "inverse", lambda n: 2 * n**3, lambda n: 2 * n * n),
        Operation("solve", "solve, 1 right-hand side", lambda n: 2 / 3 * n**3 + 2 * n * n, lambda n: n * n + 2 * n,
                  lambda n: 1),
        Operation("solve-n", "solve, n right-hand sides", lambda n: 8 / 3 * n**3, lambda n: 3 * n * n, lambda n: n),
        Operation("slogdet", "log-determinant", lambda n: 2 / 3 * n**3, lambda n: n * n + 2),
        Operation("inv-pos", "inverse, positive definite", lambda n: n**3, lambda n: 2 * n * n, positive=True),
        Operation("solve-pos", "solve, 1 right-hand side, positive definite", lambda n: n**3 / 3 + 2 * n * n,
                  lambda n: n * n + 2 * n, lambda n: 1, positive=True),
        Operation("slogdet-pos", "log-determinant, positive definite", lambda n: n**3 / 3, lambda n: n * n + 2,
                  positive=True),
        # The residual is another product, and the bound another number.
        Operation("certified", "certified inverse", lambda n: 4 * n**3, lambda n: 2 * n * n + 1, largest=16),
    )
}  # fmt: skip


@dataclass(frozen=True)
class Problem:
    """One measurement's input.

    Attributes
    ----------
    operation
        What to compute.
    A
        Shape ``(batch, n, n)``, or ``(n, n)`` for one matrix.
    b
        Shape ``(batch, n, k)``, or None.
    """

    operation: Operation
    A: Tensor
    b: Tensor | None = None


def make_problem(operation: Operation, n: int, dtype: torch.dtype, batch: int, *, seed: int | None = None) -> Problem:
    """Draw entries uniform on [−1, 1]; positive definite matrices are ``M Mᵀ/n + I/10`` of such M.

    The seed is n by default: every run and every implementation gets the same matrices.
    """
    generator = torch.Generator().manual_seed(n if seed is None else seed)
    A = get_family("uniform").sample(batch, n, generator=generator, dtype=dtype)
    if operation.positive:
        A = A @ A.mT / n + torch.eye(n, dtype=dtype) / 10
        A = (A + A.mT) / 2
    k = operation.right_hand_sides(n)
    b = torch.rand(batch, n, k, generator=generator, dtype=dtype) * 2 - 1 if k else None
    return Problem(operation, A, b)


def bounded_batch(batch: int, n: int, dtype: torch.dtype, *, most_bytes: int = MOST_BYTES) -> int:
    """Return how many matrices of the batch fit into ``most_bytes``, at least one."""
    return max(1, min(batch, most_bytes // (n * n * dtype.itemsize)))
