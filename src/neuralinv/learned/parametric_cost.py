"""What a parametric inverse is predicted to cost for each matrix, in products of two n×n matrices in working precision.

Measured, with rough constants: what they decide between differs by more. A cell of a partition costs something with
every call, whatever the call brings: calls of kernels, and modes that are read from memory. That is shared among the
matrices of a batch of 2²² entries.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch

from neuralinv.dense.correction import HIGHEST_ORDER

_DOUBLE = 2.0  # cost of a float64 product in float32 ones
_PASS = 20.0  # cost of one pass over a matrix, in products of the matrix with a vector
# Over a matrix: of the correction by torch and by the kernel, and of what is proved for all parameters.
_PASSES, _PASSES_NATIVE = 8, 4
_PASSES_PROVED, _PASSES_PROVED_NATIVE = 7, 3
_HALF = 0.6  # cost of half a product, mirrored
_DEVIATION = 4.0  # products where a proof for all parameters does not cover a matrix as it is
_EXACT = 100.0  # products that a fallback may cost: more than it does, since fits with fallbacks are not wanted
_BATCH_ELEMENTS = 1 << 22
_CALL, _CALL_PROVED = 2.0, 8.0  # of a cell, in products of a matrix with a vector for each matrix of the batch
# Cost of sorting guesses by cells, and of gathering matrices by cells and putting inverses back, in the same.
_SORTING, _GATHERING = 45.0, 90.0
_READ = 10.0  # cost of reading a mode from memory, in the same


def work_size(n: int, dtype: torch.dtype) -> int:
    """Return the n of all other functions here: a product of complex matrices takes three times as many operations, and
    they have twice as many numbers.
    """
    return 3 * n // 2 if dtype.is_complex else n


def corrected(rank: int, n: int, orders: Iterable[int | None], *, native: bool, hermitian: bool = False) -> float:
    """Return the cost of combination, float64 residual and correction of the given orders, None where none suffices.

    The kernel gives each matrix the order that it needs, and forms half of each product of ``hermitian`` ones; torch
    gives all of them the highest.
    """
    known = list(orders)
    exact = sum(order is None for order in known) / len(known)
    found = [HIGHEST_ORDER if order is None else order for order in known]
    order = sum(found) / len(found) if native else max(found)
    products = (order - 1) * (_HALF if native and hermitian else 1.0)
    return (rank + _PASS * (_PASSES_NATIVE if native else _PASSES)) / n + _DOUBLE + products + _EXACT * exact


def least(rank: int, n: int) -> float:
    """Return what :func:`corrected` costs at least."""
    return corrected(rank, n, [1], native=True)


def proved(rank: int, matrix_rank: int, n: int, missing: float, *, native: bool) -> float:
    """Return the cost with a proof for all parameters, which does not cover the share ``missing`` of the matrices."""
    # Torch's temporaries of larger matrices leave the caches between the passes, of which some are in double precision.
    passes = _PASSES_PROVED_NATIVE if native else _PASSES_PROVED * max(1.0, n / 64) ** 0.5
    return (rank + _DOUBLE * matrix_rank + _PASS * passes) / n + missing * (_DEVIATION + 2 * _PASS / n)


def sorting(n: int, *, in_place: bool) -> float:
    """Return what it costs to sort guesses by cells and, if not corrected ``in_place``, matrices and inverses."""
    return (_SORTING if in_place else _GATHERING) / n


def cell(rank: int, n: int, *, matrix_rank: int = 0, vectors: int = 0) -> float:
    """Return what a cell costs for each matrix of a batch, however many of them lie in it."""
    calls = _CALL_PROVED if matrix_rank or vectors else _CALL
    batch = max(1.0, _BATCH_ELEMENTS / n**2)
    return (calls + (rank + 2 * matrix_rank) * (_READ + 2 * vectors) / batch) / n
