"""Choosing a partition of the box of parameters: a tree of cells grows where inverses cost most, and is pruned to what
pays (as decision trees are: Breiman, Friedman, Olshen & Stone 1984, chapter 3).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch

from neuralinv.dense import native
from neuralinv.dense.probabilistic import Odds
from neuralinv.families import Range
from neuralinv.learned import parametric_cost
from neuralinv.learned.architectures.parametric import ParametricInverse
from neuralinv.learned.architectures.partitioned import Split
from neuralinv.learned.parametric_choice import Chosen, Goal, choose, fewest_snapshots, residuals
from neuralinv.learned.snapshots import Snapshots, Source

MOST_CELLS = 64
_MOST_BYTES = 512 << 20
_MOST_GROWN = 16  # leaves, before the tree is pruned: what training may take
_SHARE = 2  # a cell gets one part in so many of the snapshots of the box
_FEWEST, _HELD_OUT = 32, 32
_LEAST_GAIN = 0.02  # of the cost of a cell: what a cut has to save if its halves are to be cut without a second thought


@dataclass(frozen=True)
class Held:
    """What held-out matrices of a cell say."""

    count: int
    share: float
    order: float
    residual: float


@dataclass(frozen=True)
class Cell:
    """A cell of the partition: its share of the box, the inverse chosen for it, and how many snapshots that took."""

    ranges: Mapping[str, Range]
    share: float
    chosen: Chosen
    held: Held
    snapshots: int

    @property
    def cost(self) -> float:
        """Of the cell for each matrix of the box."""
        return self.share * self.chosen.cost + self.chosen.overhead


class _Node:
    """A cell, and what became of it."""

    def __init__(self, cell: Cell, *, doubtful: bool = False) -> None:
        self.cell = cell
        self.doubtful = doubtful  # whether the cut that made it saved little
        self.closed = False
        self.cut: tuple[str, float] | None = None
        self.halves: list[_Node] = []

    def leaves(self) -> Iterator[_Node]:
        """Of the tree below."""
        if not self.halves:
            yield self
        for half in self.halves:
            yield from half.leaves()

    def prune(self) -> float:
        """Undo cuts that do not pay; return the cost of what is left."""
        if self.halves:
            below = sum(half.prune() for half in self.halves)
            if below < self.cell.cost:
                return below
            self.halves = []
        return self.cell.cost


def examine(model: ParametricInverse, test: Snapshots, goal: Goal) -> Held:
    """Certify matrices held out."""
    found = model.certify(test.A.to(model.dtype), test.theta, Odds() if goal.probabilistic else None)
    certified = (found.error_bound <= model.rtol).double().mean()
    largest = residuals(model, test).max()
    return Held(len(test), float(certified), float(found.order.double().mean()), float(largest))


def partition(
    first: Cell, source: Source, goal: Goal, snapshots: int, wanted: int | None
) -> tuple[list[Cell], list[Split]]:
    """Cut the box into ``wanted`` cells or, without that, into as many as pay.

    Parameters
    ----------
    first
        The box, fitted.
    source
        Of snapshots.
    snapshots
        For the whole box; a cell gets a part of that.
    wanted
        Number of cells; less where there are too few snapshots to cut further.
    """
    root = _Node(first)
    train = max(_FEWEST, snapshots // _SHARE, fewest_snapshots(len(first.ranges)))
    limit = _MOST_GROWN if wanted is None else wanted
    while True:
        leaves = list(root.leaves())
        open_leaves = [node for node in leaves if not node.closed]
        if len(leaves) >= limit or not open_leaves or _bytes(leaves) >= _MOST_BYTES:
            break
        _grow(max(open_leaves, key=lambda node: node.cell.cost), source, goal, train, by_cost=wanted is None)
    if wanted is None:
        cost = root.prune() + _sorting([node.cell.chosen.model for node in root.leaves()], goal)
        if cost >= first.cost:
            root.halves = []
    return _numbered(root)


def _grow(node: _Node, source: Source, goal: Goal, train: int, *, by_cost: bool) -> None:
    """Cut a cell along the parameter that leaves the least cost, or the first one that saves enough."""
    cell, best = node.cell, None
    for name in _by_variation(cell):
        halves = _halves(cell, name, source, goal, train)
        if halves is None:
            continue
        cost = sum(half.cost for half in halves)
        if best is None or cost < best[0]:
            best = cost, name, halves
        if by_cost and cell.cost - best[0] >= _LEAST_GAIN * cell.cost:
            break
    # A cut may pay only together with those below it; two in a row that do not are not followed.
    doubtful = best is None or cell.cost - best[0] < _LEAST_GAIN * cell.cost
    if best is None or (by_cost and doubtful and node.doubtful):
        node.closed = True
        return
    _, name, halves = best
    node.cut = name, halves[0].ranges[name].high
    node.halves = [_Node(half, doubtful=doubtful) for half in halves]


def _numbered(root: _Node) -> tuple[list[Cell], list[Split]]:
    """Return the cells, and the splits that make and number them."""
    leaves, splits, waiting = [root], list[Split](), [0]
    while waiting:
        number = waiting.pop()
        node = leaves[number]
        if node.halves and node.cut is not None:
            splits.append(Split(number, *node.cut))
            waiting += [number, len(leaves)]
            leaves[number] = node.halves[0]
            leaves.append(node.halves[1])
    return [node.cell for node in leaves], splits


def _by_variation(cell: Cell) -> list[str]:
    """Names of the parameters, those first along which inverses vary most."""
    variation = dict(zip(cell.ranges, cell.chosen.variation, strict=True))
    return sorted(variation, key=lambda name: -variation[name])


def _halves(cell: Cell, name: str, source: Source, goal: Goal, train: int) -> list[Cell] | None:
    """Return both halves, fitted; None where there are too few snapshots, or no number between the ends."""
    whole = cell.ranges[name]
    at = float(whole.at(torch.tensor(0.5, dtype=torch.float64)))
    if not whole.low < at < whole.high:
        return None
    halves = []
    for part in (Range(whole.low, at, log=whole.log), Range(at, whole.high, log=whole.log)):
        ranges = dict(cell.ranges) | {name: part}
        seen, test = source.within(ranges, train, _HELD_OUT)
        if len(seen) < max(_FEWEST, fewest_snapshots(len(ranges), 2)) or not len(test):
            return None
        chosen = choose(seen, test, ranges, goal)
        halves.append(Cell(ranges, cell.share / 2, chosen, examine(chosen.model, test, goal), len(seen)))
    return halves


def _sorting(models: list[ParametricInverse], goal: Goal) -> float:
    n, dtype = models[0].size, models[0].dtype
    plain = not goal.probabilistic and all(model.uniform is None for model in models)
    in_place = plain and native.corrects(torch.empty(1, 1, 1, dtype=dtype).expand(_HELD_OUT, n, n))
    return parametric_cost.sorting(parametric_cost.work_size(n, dtype), in_place=in_place)


def _bytes(leaves: list[_Node]) -> int:
    tensors = (value for node in leaves for value in node.cell.chosen.model.state_dict().values())
    return sum(value.numel() * value.element_size() for value in tensors)
