"""The goals: how many times the time of a rival ours is to be, and what was measured."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from neuralinv.bench.block_tridiagonal.memory import Memory
from neuralinv.bench.block_tridiagonal.problems import BACKWARD, FACTOR, FORWARD, SOLVE
from neuralinv.bench.block_tridiagonal.speed import DENSE_CASE, Row
from neuralinv.bench.block_tridiagonal.vae import VaeStep
from neuralinv.bench.rivals import OURS

MEMORY_GOAL = 4.0
VAE_GOAL = 10.0
_EVERY_N = range(1, 1 << 16)


@dataclass(frozen=True)
class Goal:
    """A line of the table.

    Attributes
    ----------
    works, steps, sizes, batched
        Which rows count: sizes are of blocks, ``steps`` None stands for all.
    rival
        Whose time is divided by ours.
    least
        The smallest ratio that meets the goal; None where it is only reported.
    """

    title: str
    works: tuple[str, ...]
    rival: str
    least: float | None
    steps: int | None = None
    sizes: range = _EVERY_N
    batched: bool = False

    def covers(self, row: Row) -> bool:
        """Tell whether a row counts."""
        return (
            row.work in self.works
            and (self.steps is None or row.steps == self.steps)
            and row.n in self.sizes
            and (row.batch is not None) == self.batched
            and self.rival in row.figures
        )


@dataclass(frozen=True)
class Verdict:
    """What became of a goal in one dtype: the ratios of all its rows (smallest decides), and whether it was met.

    ``error`` is our largest error in those rows; ``met`` is None for what is only reported.
    """

    title: str
    against: str
    dtype: str
    least: float | None
    ratios: tuple[float, ...]
    error: float | None
    met: bool | None


_BOTH = (FORWARD, BACKWARD)
GOALS = (
    Goal("factor + 2 solves + logdet, forward + backward, T = 250", (BACKWARD,), "torch-loop", 100, steps=250),
    Goal("the same, T = 1000", (BACKWARD,), "torch-loop", 150, steps=1000),
    Goal("the same, T = 250 (a loop with triangular solves)", (BACKWARD,), "torch-triangular", None, steps=250),
    Goal("batch, forward + backward, for each sequence", (BACKWARD,), "torch-loop", 20, batched=True),
    Goal("batch, forward + backward, for each sequence", (BACKWARD,), "jax", 8, batched=True),
    Goal("forward, and forward + backward, one sequence", _BOTH, "jax", 6),
    Goal("forward, and forward + backward, one sequence, n ≥ 10", _BOTH, "tinygp", 20, sizes=range(10, 1 << 16)),
    Goal("factor; factor + both solves; forward, one sequence", (FACTOR, SOLVE), "scipy", 2),
    Goal("the same, forward", (FACTOR, SOLVE, FORWARD), "socu", None),
    Goal(f"forward, T n = {DENSE_CASE[0] * DENSE_CASE[1]}", (FORWARD,), "dense", None, steps=DENSE_CASE[0]),
)


def judge(rows: Sequence[Row], memory: Memory | None, vae: VaeStep | None) -> Iterator[Verdict]:
    """Yield a verdict for each goal and dtype that was measured."""
    for goal in GOALS:
        for dtype in dict.fromkeys(row.dtype for row in rows):
            covered = [row for row in rows if row.dtype == dtype and goal.covers(row)]
            if not covered:
                continue
            ratios = tuple(row.figures[goal.rival].seconds / row.figures[OURS].seconds for row in covered)
            errors = [error for row in covered if (error := row.figures[OURS].error) is not None]
            met = None if goal.least is None else min(ratios) >= goal.least
            yield Verdict(goal.title, goal.rival, dtype, goal.least, ratios, max(errors) if errors else None, met)
    if vae is not None:
        yield Verdict(
            f"the example's whole training step, T = {vae.window}, n = {vae.latent}", "torch-loop", "float32", VAE_GOAL,
            (vae.ratio,), None, vae.ratio >= VAE_GOAL,
        )  # fmt: skip
    if memory is not None:
        yield Verdict(
            f"peak memory, T = {memory.steps:,}, n = {memory.n}, forward + backward: at most",
            "inputs + gradients", memory.dtype, MEMORY_GOAL, (memory.ratio,), None, memory.ratio <= MEMORY_GOAL,
        )  # fmt: skip
