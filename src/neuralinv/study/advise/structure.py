"""Structure that all matrices of a sample share: their zeros, constant diagonals, low rank off the diagonal."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

_CHECKED = 16
"""Matrices whose ranks are computed."""
_SPARSE = 0.7
_SMALLEST_RANK_SIZE = 8


@dataclass(frozen=True)
class Structure:
    """What was found; sizes are 0 where the structure is not there.

    Attributes
    ----------
    diagonal
        Nothing but the diagonal.
    zero_diagonals
        How many matrices have a zero on the diagonal.
    bandwidth
        Largest ``|i − j|`` of an entry that is not zero, where a band of that width is at most half of the matrix.
    block
        Size of the blocks of a block-tridiagonal matrix of at least three block rows, the smallest that fits.
    toeplitz
        Constant along diagonals.
    off_diagonal_rank
        Rank r ≥ 1, at most n/4, of a low-rank matrix to which the diagonal adds.
    zeros
        Share of entries that are zero in all matrices.
    sparse
        At least 70 % of them, n ≥ 8.
    """

    diagonal: bool
    zero_diagonals: int
    bandwidth: int | None
    block: int
    toeplitz: bool
    off_diagonal_rank: int
    zeros: float
    sparse: bool

    @property
    def names(self) -> tuple[str, ...]:
        """What was found, for people."""
        found = []
        if self.diagonal:
            found.append("diagonal")
        elif self.bandwidth is not None:
            found.append(f"banded, bandwidth {self.bandwidth}")
        if self.block and not self.diagonal:
            found.append(f"block tridiagonal, {self.block}×{self.block} blocks")
        if self.toeplitz:
            found.append("Toeplitz")
        if self.off_diagonal_rank:
            found.append(f"diagonal plus rank {self.off_diagonal_rank}")
        if self.sparse:
            found.append(f"sparse, {self.zeros:.0%} zeros")
        return tuple(found)


def find_structure(A: Tensor, *, tolerance: float) -> Structure:
    """Look for structure in matrices ``(count, n, n)``.

    ``tolerance``, relative to the largest entry of each matrix, is what counts as zero. O(n²) for each matrix, and
    O(n³) for a few of them.
    """
    n = A.shape[-1]
    largest = A.abs().amax((-2, -1), keepdim=True)
    nonzero = (A.abs() > tolerance * largest).any(0).numpy()
    i, j = np.nonzero(nonzero)
    width = int(np.abs(i - j).max()) if len(i) else 0
    zeros = 1 - len(i) / n**2
    return Structure(
        diagonal=n > 1 and width == 0,
        zero_diagonals=int((A.diagonal(dim1=1, dim2=2) == 0).any(1).sum()),
        bandwidth=width if n > 2 and 2 * width + 1 <= max(n / 2, 1) else None,
        block=_block_size(i, j, n),
        toeplitz=n > 2 and _is_toeplitz(A, largest, tolerance),
        off_diagonal_rank=_off_diagonal_rank(A, tolerance) if width else 0,
        zeros=zeros,
        sparse=n >= _SMALLEST_RANK_SIZE and zeros >= _SPARSE,
    )


def _block_size(i: np.ndarray, j: np.ndarray, n: int) -> int:
    for block in range(1, n // 3 + 1):
        if n % block == 0 and bool((np.abs(i // block - j // block) <= 1).all()):
            return block
    return 0


def _is_toeplitz(A: Tensor, largest: Tensor, tolerance: float) -> bool:
    return bool(((A[:, 1:, 1:] - A[:, :-1, :-1]).abs() <= 4 * tolerance * largest).all())


def _off_diagonal_rank(A: Tensor, tolerance: float) -> int:
    """Return the rank of blocks ``A[I, J]`` of disjoint index sets, 0 where it exceeds n/4.

    If A = D + L with a diagonal D and L of rank r, each has rank r at most. Sets are drawn at random: contiguous ones
    would take inverses of banded matrices for low-rank ones.
    """
    n = A.shape[-1]
    if n < _SMALLEST_RANK_SIZE:
        return 0
    few = A[:: max(1, len(A) // _CHECKED)][:_CHECKED]
    random = torch.Generator().manual_seed(0)
    highest = 0
    for _ in range(2):
        order = torch.randperm(n, generator=random)
        block = few[:, order[: n // 2]][:, :, order[n // 2 :]]
        values = np.linalg.svd(block.numpy(), compute_uv=False)
        size = np.linalg.norm(few.numpy(), axis=(1, 2))[:, None]
        highest = max(highest, int((values > n * tolerance * size).sum(-1).max()))
    return highest if highest <= n // 4 else 0
