"""Choosing a partition of the box of parameters: the cell that costs most is cut in two, as long as that pays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch

from neuralinv.dense.probabilistic import Odds
from neuralinv.families import Range
from neuralinv.learned.architectures.parametric import ParametricInverse
from neuralinv.learned.architectures.partitioned import Split
from neuralinv.learned.parametric_choice import Chosen, Goal, choose, fewest_snapshots, residuals
from neuralinv.learned.snapshots import Snapshots, Source

MOST_CELLS = 64
_MOST_BYTES = 512 << 20
_SNAPSHOTS_SHARE = 4  # of the snapshots of a box, each cell gets one part
_FEWEST, _HELD_OUT = 32, 32
_LEAST_GAIN = 0.005  # of the cost of the box: what a cut has to save


@dataclass(frozen=True)
class Held:
    """What held-out matrices of a cell say."""

    count: int
    share: float
    order: float
    residual: float


@dataclass
class Cell:
    """A cell of the partition: its share of the box, the inverse chosen for it, and how many snapshots that took."""

    ranges: Mapping[str, Range]
    share: float
    chosen: Chosen
    held: Held
    snapshots: int
    closed: bool = field(default=False)

    @property
    def cost(self) -> float:
        """Of the cell for each matrix of the box."""
        return self.share * self.chosen.cost + self.chosen.overhead


def examine(model: ParametricInverse, test: Snapshots, goal: Goal) -> Held:
    """Certify matrices held out."""
    found = model.certify(test.A.to(model.dtype), test.theta, Odds() if goal.probabilistic else None)
    certified = (found.error_bound <= model.rtol).double().mean()
    largest = residuals(model, test).max()
    return Held(len(test), float(certified), float(found.order.double().mean()), float(largest))


def partition(
    first: Cell, source: Source, goal: Goal, snapshots: int, wanted: int | None
) -> tuple[list[Cell], list[Split]]:
    """Cut the box until there are ``wanted`` cells or, without that, until no cut saves enough.

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
    cells, splits = [first], list[Split]()
    limit = MOST_CELLS if wanted is None else wanted
    train = max(_FEWEST, snapshots // _SNAPSHOTS_SHARE, fewest_snapshots(len(first.ranges)))
    while len(cells) < limit and sum(_bytes(cell.chosen.model) for cell in cells) < _MOST_BYTES:
        total = sum(cell.cost for cell in cells)
        order = sorted((k for k in range(len(cells)) if not cells[k].closed), key=lambda k: -cells[k].cost)
        if not order:
            break
        number = order[0]
        cell = cells[number]
        best: tuple[float, Split, list[Cell]] | None = None
        for name in _by_variation(cell):
            halves = _halves(cell, name, source, goal, train)
            if halves is None:
                continue
            cost = sum(half.cost for half in halves)
            if best is None or cost < best[0]:
                best = cost, Split(number, name, halves[1].ranges[name].low), halves
            if wanted is None and cell.cost - best[0] >= _LEAST_GAIN * total:
                break
        if best is None or (wanted is None and cell.cost - best[0] < _LEAST_GAIN * total):
            cell.closed = True
            continue
        splits.append(best[1])
        cells[number] = best[2][0]
        cells.append(best[2][1])
    return cells, splits


def _by_variation(cell: Cell) -> list[str]:
    """Names of the parameters, those first along which inverses vary most."""
    variation = dict(zip(cell.ranges, cell.chosen.variation, strict=True))
    return sorted(variation, key=lambda name: -variation[name])


def _halves(cell: Cell, name: str, source: Source, goal: Goal, train: int) -> list[Cell] | None:
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


def _bytes(model: ParametricInverse) -> int:
    return sum(value.numel() * value.element_size() for value in model.state_dict().values())
