"""Exact inverses for parametric fits: of a function anywhere in the box, of given arrays where they lie."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from neuralinv.dense import certified_inv
from neuralinv.dense._arrays import Array
from neuralinv.dense.hermitian import hermitian_part
from neuralinv.dense.scaling import widen
from neuralinv.families import Range
from neuralinv.learned.architectures.family_inverse import as_numeric

_HELD_OUT_SHARE = 0.2


@dataclass(frozen=True)
class Snapshots:
    """Parameters ``(batch, p)``, matrices and their inverses ``(batch, n, n)``, all in double precision."""

    theta: Tensor
    A: Tensor
    X: Tensor

    def __len__(self) -> int:
        return len(self.theta)

    def take(self, index: Tensor) -> Snapshots:
        """Return some of them."""
        return Snapshots(self.theta[index], self.A[index], self.X[index])

    def joined(self, more: Snapshots) -> Snapshots:
        """Return these and ``more``."""
        pairs = ((self.theta, more.theta), (self.A, more.A), (self.X, more.X))
        return Snapshots(*(torch.cat(pair) for pair in pairs))


class Source(Protocol):
    """Where the snapshots of a cell come from."""

    def within(self, ranges: Mapping[str, Range], train: int, held_out: int) -> tuple[Snapshots, Snapshots]:
        """Return those to fit to and those held out: as many as asked for, or all that there are."""
        ...


@dataclass(frozen=True)
class FunctionSource:
    """Snapshots of ``θ → A(θ)``, as many as are asked for, at low-discrepancy parameters."""

    function: Callable[[Tensor], Array]
    seed: int

    def sampler(self, ranges: Mapping[str, Range]) -> Callable[..., Snapshots]:
        """Return what draws so many snapshots of a box, others with each call; ``evenly=True`` for averages."""
        draw = torch.quasirandom.SobolEngine(len(ranges), scramble=True, seed=self.seed)

        def fresh(count: int, *, evenly: bool = False) -> Snapshots:
            if draw.num_generated + count > 2**draw.MAXBIT:  # where torch 2.14 stops, and 2.13 does not
                raise ValueError(f"{count} snapshots are more than can be drawn: at most {2**draw.MAXBIT} points")
            unit = draw.draw(count, dtype=torch.float64)
            # Chebyshev spacing: as many points near the ends as polynomials need there.
            unit = unit if evenly else (1 - torch.cos(math.pi * unit)) / 2
            theta = torch.stack([range_.at(unit[:, k]) for k, range_ in enumerate(ranges.values())], -1)
            return with_inverses(theta, self.function(theta))

        return fresh

    def within(self, ranges: Mapping[str, Range], train: int, held_out: int) -> tuple[Snapshots, Snapshots]:
        """Return fresh snapshots of a box; those held out are spread evenly."""
        fresh = self.sampler(ranges)
        return fresh(train), fresh(held_out, evenly=True)


@dataclass(frozen=True)
class ArraySource:
    """Snapshots that were given, and those of them that are held out."""

    train: Snapshots
    held_out: Snapshots

    def within(self, ranges: Mapping[str, Range], train: int, held_out: int) -> tuple[Snapshots, Snapshots]:
        """Return those of a box, faces included."""
        return self.train.take(_lies_within(self.train.theta, ranges)), self.held_out.take(
            _lies_within(self.held_out.theta, ranges)
        )


def _lies_within(theta: Tensor, ranges: Mapping[str, Range]) -> Tensor:
    low, high = (torch.tensor([getattr(r, end) for r in ranges.values()]).to(theta) for end in ("low", "high"))
    return ((theta >= low) & (theta <= high)).all(1)


def with_inverses(theta: Tensor, matrices: Array) -> Snapshots:
    """Invert matrices.

    Raises
    ------
    ValueError
        If their shape does not fit the parameters', or one of them is singular or nearly so.
    TypeError
        If they are no numeric array.
    """
    A = as_numeric(matrices, "the array of matrices")[0]
    if A.ndim != 3 or A.shape[-1] != A.shape[-2] or len(A) != len(theta) or not A.shape[-1]:
        raise ValueError(
            f"parameters of shape {tuple(theta.shape)} came with matrices of shape {tuple(A.shape)}; expected "
            "(batch, n, n)"
        )
    wide = widen(A)
    result = certified_inv(wide, rtol=1e-8, on_singular="nan")
    bad = (~result.certified).nonzero().squeeze(1)
    if len(bad):
        where = ", ".join(f"{value:.6g}" for value in theta[bad[0]].tolist())
        raise ValueError(
            f"the matrix at θ = ({where}) is singular or nearly so ({len(bad)} of {len(theta)} are): narrow the ranges"
        )
    # Hermitian to the last bit, as combinations of them are then: half of each product with one will do.
    hermitian = (wide == wide.mH).flatten(1).all(1)
    X = torch.where(hermitian[:, None, None], hermitian_part(result.inverse), result.inverse)
    return Snapshots(theta, wide, X)


def given(theta: Tensor, A: Array, seed: int) -> ArraySource:
    """Invert given matrices, and hold a fifth of them out."""
    everything = with_inverses(theta.double(), A)
    order = torch.randperm(len(theta), generator=torch.Generator().manual_seed(seed))
    held = max(1, int(_HELD_OUT_SHARE * len(theta)))
    return ArraySource(everything.take(order[held:]), everything.take(order[:held]))
