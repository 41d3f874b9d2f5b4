"""On a GPU: one warp for each sequence, step by step, or all time steps at once? A table says, stored as data.

``gpu_crossover.json`` beside this file: up to how many steps the recursion of the Triton kernels is taken where there
are few sequences. Many sequences occupy the GPU by themselves; there the recursion, which does a third of the work, is
taken at any length. While ``measured_on`` is null the numbers are reasoned, not measured: a step of the recursion takes
a few thousand cycles for 20×20 blocks, and cyclic reduction some twenty launches for each doubling of the length.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

_PACKAGED = Path(__file__).with_name("gpu_crossover.json")


class Table(NamedTuple):
    """What the file says."""

    measured_on: str | None
    """The GPU, or None where nothing was measured."""
    few_sequences: int
    """Batches up to this one are few."""
    longest: tuple[tuple[int, int], ...]
    """Largest n of each class, in rising order, and the most time steps that the recursion takes then."""


def read(path: Path) -> Table:
    """Read a table."""
    document = json.loads(path.read_text(encoding="utf-8"))
    longest = tuple((row["largest_n"], row["steps"]) for row in document["longest_by_triton"])
    return Table(document["measured_on"], document["few_sequences"], longest)


TABLE = read(_PACKAGED)
"""The packaged table, read at once: torch.compile could not trace the reading."""


def recursion_pays(batch: int, steps: int, n: int) -> bool:
    """Tell whether the Triton kernels answer for so many sequences of so many steps and blocks n×n."""
    longest = next((most for largest, most in TABLE.longest if n <= largest), 0)
    return longest > 0 and (batch > TABLE.few_sequences or steps <= longest)
