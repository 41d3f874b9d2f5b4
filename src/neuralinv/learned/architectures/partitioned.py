"""Inverses of a family whose box of parameters is partitioned: in each cell modes and polynomials of its own.

Over a smaller cell fewer modes and lower degrees reach the same residual, so that few large fits become many small ones
(the hp certified reduced basis method: Eftang, Patera & Rønquist 2010, doi:10.1137/090780122). The cells are the leaves
of a binary tree: a cut at a value of one parameter makes two cells of one, and what lies on the cut belongs to the
upper cell.

Online, a batch is sorted by cells, and the modes of each cell are read once for all of its matrices.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from neuralinv.dense import native
from neuralinv.dense.correction import Corrected, Workspace, correct
from neuralinv.dense.probabilistic import Odds
from neuralinv.families import Range
from neuralinv.learned.architectures.family_inverse import FamilyInverse, FitReport, only_inside
from neuralinv.learned.architectures.parametric import ParametricInverse, chebyshev_features

# Matrix elements worked on at once: gathered for the cache; guessed, and with random vectors, where each call reads all
# modes anew, as many as a cell has if that is not too much memory.
_CHUNK_ELEMENTS, _CHUNK_ELEMENTS_GUESSED, _CHUNK_ELEMENTS_PROBED = 1 << 19, 1 << 21, 1 << 22
_WINDOW_ELEMENTS = 1 << 23  # of guesses: the more at once, the more seldom modes are read


class Split(NamedTuple):
    """A cut of cell ``cell`` at the value ``at`` of parameter ``parameter``.

    The lower part keeps the number, the upper part gets the next one that is free.
    """

    cell: int
    parameter: str
    at: float


def split_ranges(ranges: Mapping[str, Range], splits: Sequence[Split]) -> list[dict[str, Range]]:
    """Return the ranges of all cells, in order.

    Raises
    ------
    ValueError
        If a split names no cell or parameter, or does not cut its cell.
    """
    cells = [dict(ranges)]
    for cell, name, at in splits:
        if not 0 <= cell < len(cells) or name not in ranges:
            raise ValueError(f"a split of cell {cell} at {name} = {at}: there is no such cell or parameter")
        old = cells[cell][name]
        if not old.low < at < old.high:
            raise ValueError(f"a split of cell {cell} at {name} = {at}: outside of {old.low} to {old.high}")
        cells.append(cells[cell] | {name: Range(at, old.high, log=old.log)})
        cells[cell][name] = Range(old.low, at, log=old.log)
    return cells


class PartitionedInverse(FamilyInverse):
    """A parametric inverse for each cell of a partition of the box of parameters.

    Made by :func:`neuralinv.learned.fit_parametric`; weights never change afterwards.

    Parameters
    ----------
    ranges
        θ by name, in order, of the whole box.
    splits
        How the box became cells, in order.
    cells
        One inverse for each cell of :func:`split_ranges`, all of one size, dtype, tolerance and kind.
    report
        What the fit found.

    Raises
    ------
    ValueError
        If there are more or fewer inverses than cells, or their ranges are others.
    """

    axis: Tensor
    at: Tensor
    branches: Tensor
    cell: Tensor
    middle: Tensor
    half_width: Tensor

    def __init__(
        self,
        ranges: Mapping[str, Range],
        splits: Sequence[Split],
        cells: Sequence[ParametricInverse],
        *,
        report: FitReport | None = None,
    ) -> None:
        boxes = split_ranges(ranges, splits)
        if [cell.ranges for cell in cells] != boxes:
            raise ValueError(f"{len(cells)} inverses for {len(boxes)} cells, or of other ranges than these")
        super().__init__(ranges, cells[0].size, dtype=cells[0].dtype, rtol=cells[0].rtol, report=report)
        self.splits = tuple(splits)
        self.cells: Sequence[ParametricInverse] = nn.ModuleList(cells)  # type: ignore[assignment]
        self.work = Workspace()
        for cell in cells:
            cell.work = self.work
        self._grow_tree()
        bounds = [[[box[name].low, box[name].high] for name in ranges] for box in boxes]
        # (cells, p), as positions in the box.
        low, high = (
            self.positions(torch.tensor(bounds, dtype=torch.float64).mT.reshape(-1, len(ranges)))
            .view(len(boxes), 2, -1)
            .unbind(1)
        )
        self.register_buffer("middle", (low + high) / 2, persistent=False)
        self.register_buffer("half_width", (high - low) / 2, persistent=False)
        degrees = [cell.degree for cell in cells]
        self._of_highest_degree = degrees.index(max(degrees))

    def _grow_tree(self) -> None:
        """Store the tree: for each node axis and value of its cut and its two children; a leaf is its own child."""
        names = list(self.ranges)
        axis, at, branches, leaf, depth = [0], [torch.inf], [(0, 0)], [0], [0]
        for cell, name, value in self.splits:
            node, free = leaf[cell], len(axis)
            axis[node], at[node], branches[node] = names.index(name), value, (free, free + 1)
            axis += [0, 0]
            at += [torch.inf, torch.inf]
            branches += [(free, free), (free + 1, free + 1)]
            depth += [depth[node] + 1] * 2
            leaf[cell] = free
            leaf.append(free + 1)
        cells = torch.zeros(len(axis), dtype=torch.int64)
        cells[torch.tensor(leaf)] = torch.arange(len(leaf))
        self._depth = max(depth)
        self.register_buffer("axis", torch.tensor(axis), persistent=False)
        self.register_buffer("at", torch.tensor(at, dtype=torch.float64), persistent=False)
        self.register_buffer("branches", torch.tensor(branches).flatten(), persistent=False)
        self.register_buffer("cell", cells, persistent=False)

    def cell_of(self, theta: Tensor) -> Tensor:
        """Return the number of the cell of each θ ``(batch, p)``: int64 ``(batch,)``; outside the box, of a nearby
        cell.
        """
        theta = theta.detach().double()
        node = torch.zeros(len(theta), dtype=torch.int64, device=theta.device)
        for _ in range(self._depth):
            value = theta.gather(1, self.axis[node][:, None]).squeeze(1)
            node = self.branches[2 * node + (value >= self.at[node])]
        return self.cell[node]

    def candidates(self, theta: Tensor, A: Tensor | None) -> Tensor:
        """Return the candidates for parameters ``(batch, p)``; differentiable."""
        order, counts = self._sorted(theta)
        groups = zip(self.cells, order.split(counts), strict=True)
        pieces = [cell.candidates(theta[index], None if A is None else A[index]) for cell, index in groups]
        return torch.cat(pieces)[order.argsort()]

    def certify(self, A: Tensor, theta: Tensor, odds: Odds | None) -> Corrected:
        """Propose, certify and correct; see :meth:`FamilyInverse.certify`."""
        plain = odds is None and all(cell.uniform is None and cell.sketch is None for cell in self.cells)
        if plain and native.corrects(A):
            return self._correct_in_place(A, theta)
        return self._certify_by_cells(A, theta, odds)

    def _correct_in_place(self, A: Tensor, theta: Tensor) -> Corrected:
        """Sort nothing but the guesses: the kernel gives each matrix the order that it needs, wherever it lies."""
        rows = max(1, _WINDOW_ELEMENTS // self.size**2)
        start, guesses = 0, A[:0]

        def guess(part: slice | Tensor) -> Tensor:
            nonlocal start, guesses
            if isinstance(part, Tensor):
                return self._guesses(theta[part])
            first, last, _ = part.indices(len(A))
            if not start <= first <= last <= start + len(guesses):
                start, guesses = first, self._guesses(theta[first : max(last, first + rows)])
            return guesses[first - start : last - start]

        return correct(A, guess, self.rtol, work=self.work)

    def _guesses(self, theta: Tensor) -> Tensor:
        """Return the candidates in working precision, in memory that is used again; NaN outside of the box."""
        order, counts, unit, features = self._located(theta)
        like = self.cells[0].as_matrices(self.cells[0].basis[:1]).expand(len(theta), -1, -1)
        out = self.work.take("guesses", like, self.dtype)
        for model, part in self._parts(counts, _CHUNK_ELEMENTS_GUESSED):
            c = model.coefficients(unit[part], None, features[part, : len(model.exponents)])
            _scatter(model.combine(c), order[part], out)
        return out

    def _certify_by_cells(self, A: Tensor, theta: Tensor, odds: Odds | None) -> Corrected:
        """Gather the matrices of each cell, certify them as it does, and put the inverses back to their places."""
        order, counts, unit, features = self._located(theta)
        X, bounds, orders = Corrected.room_for(A)
        # Where a fit for random vectors found that they cannot certify a cell, they are not asked.
        made = any(cell.probed for cell in self.cells)
        for model, part in self._parts(counts, _CHUNK_ELEMENTS if odds is None else _CHUNK_ELEMENTS_PROBED):
            index = order[part]
            gathered = self.work.take("gathered", A[:1].expand(len(index), -1, -1), A.dtype)
            torch.index_select(A, 0, index, out=gathered)
            found = model.certify_at(
                gathered, unit[part], odds if model.probed or not made else None, features[part, : len(model.exponents)]
            )
            _scatter(found.inverse, index, X)
            bounds[part], orders[part] = found.error_bound, found.order
        back = order.argsort()
        return Corrected(X, bounds[back], orders[back])

    def _located(self, theta: Tensor) -> tuple[Tensor, list[int], Tensor, Tensor]:
        """Return the order that sorts parameters by cells, how many are in each and, sorted, positions in the cell and
        polynomials there.
        """
        order, counts = self._sorted(theta)
        cell = torch.repeat_interleave(torch.tensor(counts, device=order.device))
        unit = only_inside((self.positions(theta)[order] - self.middle[cell]) / self.half_width[cell])
        # At the highest degree of all cells; lower ones come first.
        return order, counts, unit, chebyshev_features(unit, self.cells[self._of_highest_degree].exponents)

    def _parts(self, counts: list[int], elements: int) -> Iterator[tuple[ParametricInverse, slice]]:
        """Yield the cells, and which of the sorted matrices are theirs, at most so many elements at once."""
        step, end = max(1, elements // self.size**2), 0
        for model, count in zip(self.cells, counts, strict=True):
            start, end = end, end + count
            for first in range(start, end, step):
                yield model, slice(first, min(first + step, end))

    def _sorted(self, theta: Tensor) -> tuple[Tensor, list[int]]:
        """Return the order that sorts parameters by cells, and how many are in each."""
        cell = self.cell_of(theta)
        return cell.argsort(stable=True), torch.bincount(cell, minlength=len(self.cells)).tolist()


def _scatter(pieces: Tensor, index: Tensor, out: Tensor) -> None:
    """Write matrices to the places ``index`` of ``out``."""
    if out.device.type == "cpu":
        # NumPy copies whole matrices, past the caches: in half of torch's time.
        out.numpy()[index.numpy()] = pieces.numpy()
    else:
        out.index_copy_(0, index, pieces)
