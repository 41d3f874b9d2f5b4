"""The figures as tables of at most 120 columns, and as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import groupby
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from neuralinv.bench.block_tridiagonal.conditioning import ConditionRow
from neuralinv.bench.block_tridiagonal.goals import Verdict, judge
from neuralinv.bench.block_tridiagonal.kalman import NAME as KALMAN
from neuralinv.bench.block_tridiagonal.kalman import SmootherRow
from neuralinv.bench.block_tridiagonal.memory import Memory
from neuralinv.bench.block_tridiagonal.problems import WORKS
from neuralinv.bench.block_tridiagonal.scaling import Sample
from neuralinv.bench.block_tridiagonal.speed import Figure, Row, Settings
from neuralinv.bench.block_tridiagonal.vae import VaeStep
from neuralinv.bench.rivals import OURS
from neuralinv.io.plain_json import finite
from neuralinv.measuring.formatting import dtype_name, plain_table, ratio_text, time_text
from neuralinv.measuring.machine import Machine


@dataclass
class Results:
    """Everything that one run measured."""

    machine: Machine
    settings: Settings
    rows: list[Row] = field(default_factory=list)
    conditioning: list[ConditionRow] = field(default_factory=list)
    scaling: list[Sample] = field(default_factory=list)
    smoother: list[SmootherRow] = field(default_factory=list)
    memory: Memory | None = None
    vae: VaeStep | None = None
    missing: dict[str, str] = field(default_factory=dict)


def tables(results: Results) -> Iterator[Group]:
    """Yield, with their titles, the tables of times and errors, of conditioning, and of the goals."""
    for (work, batched, dtype), group in groupby(
        sorted(results.rows, key=_section), key=lambda row: (row.work, row.batch is not None, row.dtype)
    ):
        rows = list(group)
        which = f"batch of {rows[0].batch}, for each sequence" if batched else "one sequence"
        title = f"{WORKS[work]}, {which}, {dtype}"
        yield Group(Text(f"{title}: time; × = times ours", style="bold"), _speed_table(rows))
        if any(figure.error is not None for row in rows for figure in row.figures.values()) and work != "factor":
            yield Group(Text(f"{title}: largest relative error", style="bold"), _error_table(rows))
    if results.smoother:
        yield Group(Text("smoother: means and covariances, for each sequence", style="bold"), _smoother_table(results))
    for dtype, rows_of_dtype in groupby(results.conditioning, key=lambda row: row.dtype):
        yield from _conditioning_tables(dtype, list(rows_of_dtype))
    if results.memory is not None:
        memory = results.memory
        yield Group(
            Text(
                f"peak memory, T = {memory.steps:,}, n = {memory.n}, {memory.dtype}, forward + backward: "
                f"{memory.peak / 2**20:.0f} MiB, {memory.ratio:.1f} times the inputs and gradients "
                f"({memory.inputs_and_gradients / 2**20:.0f} MiB)"
            )
        )
    if results.vae is not None:
        vae = results.vae
        yield Group(
            Text(
                f"training step of the Lorenz example, T = {vae.window}, n = {vae.latent}: "
                f"{time_text(1e9 * vae.ours)}, with the loop {time_text(1e9 * vae.loop)}; "
                f"lower bounds differ by {vae.difference:.0e} nats at most"
            )
        )
    yield Group(Text("goals, as ratios in this run", style="bold"), _goal_table(verdicts(results)))


def verdicts(results: Results) -> list[Verdict]:
    """Return what became of the goals."""
    return list(judge(results.rows, results.memory, results.vae))


def as_json(results: Results) -> dict[str, Any]:
    """Return everything as plain data; what is not finite becomes null, which JSON has."""
    document = asdict(results)
    document["settings"]["dtypes"] = [dtype_name(dtype) for dtype in results.settings.dtypes]
    document["goals"] = [asdict(verdict) for verdict in verdicts(results)]
    return finite({"version": 1, **document})


def _section(row: Row) -> tuple[bool, int, str]:
    return row.batch is not None, list(WORKS).index(row.work), row.dtype


def _speed_table(rows: Sequence[Row]) -> Table:
    names = _names(rows)[1:]
    table = plain_table("T", "n", OURS, "±", *names)
    for row in rows:
        ours = row.figures[OURS]
        table.add_row(
            str(row.steps), str(row.n), time_text(1e9 * ours.seconds),
            f"{(ours.upper - ours.lower) / 2 / ours.seconds:.0%}",
            *(_beside(row.figures.get(name), ours) for name in names),
        )  # fmt: skip
    return table


def _error_table(rows: Sequence[Row]) -> Table:
    names = _names(rows)
    marked = any(row.inaccurate for row in rows)
    table = plain_table("T", "n", *names, *([""] if marked else []))
    for row in rows:
        errors = (_error(figure.error if (figure := row.figures.get(name)) else None) for name in names)
        table.add_row(
            str(row.steps), str(row.n), *errors, *(["INACCURATE" if row.inaccurate else ""] if marked else [])
        )
    return table


def _smoother_table(results: Results) -> Table:
    table = plain_table("T", "n", "batch", "dtype", OURS, KALMAN, "our error", "its error")
    for row in results.smoother:
        table.add_row(
            str(row.steps), str(row.n), str(row.batch), row.dtype, time_text(1e9 * row.ours),
            f"{time_text(1e9 * row.theirs)} {ratio_text(row.theirs / row.ours)}", _error(row.our_error),
            _error(row.their_error),
        )  # fmt: skip
    return table


def _conditioning_tables(dtype: str, rows: Sequence[ConditionRow]) -> Iterator[Group]:
    what = f"largest relative error by condition number κ, T = 50, n = 10, {dtype}"
    names = list(rows[0].forward)
    table = plain_table("κ", *names, "proved", "true", "status")
    for row in rows:
        errors = (_error(row.forward[name]) for name in names)
        proof = (_error(row.certified), _error(row.certified_error), row.status.lower())
        table.add_row(f"{row.condition:.0e}", *errors, *proof)
    yield Group(Text(f"{what}: solution and log-determinant; solve(b, certify=True)", style="bold"), table)
    names = list(rows[0].backward)
    table = plain_table("κ", *names)
    for row in rows:
        table.add_row(f"{row.condition:.0e}", *(_error(row.backward[name]) for name in names))
    yield Group(Text(f"{what}: gradients", style="bold"), table)


def _goal_table(found: Sequence[Verdict]) -> Table:
    table = plain_table("work", "against", "dtype", "goal", "measured", "our error", "")
    table.columns[0].justify = table.columns[1].justify = "left"
    table.columns[0].no_wrap = False
    for verdict in found:
        low, high = min(verdict.ratios), max(verdict.ratios)
        measured = (
            ratio_text(low).strip() if low == high else f"{ratio_text(low).strip()} to {ratio_text(high).strip()}"
        )
        goal = "reported" if verdict.least is None else f"{verdict.least:g}×"
        met = {True: "met", False: "MISSED", None: ""}[verdict.met]
        table.add_row(verdict.title, verdict.against, verdict.dtype, goal, measured, _error(verdict.error), met)
    return table


def _beside(theirs: Figure | None, ours: Figure) -> str:
    return f"{time_text(1e9 * theirs.seconds)} {ratio_text(theirs.seconds / ours.seconds)}" if theirs else "–"


def _error(error: float | None) -> str:
    return "–" if error is None else f"{error:.0e}"


def _names(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row.figures))
