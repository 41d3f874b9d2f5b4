"""The figures as tables of at most 120 columns, and as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import groupby
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from neuralinv.bench.crossover import Entry
from neuralinv.bench.dense import Figure, Outcome, Row, Settings
from neuralinv.bench.problems import OPERATIONS
from neuralinv.bench.rivals import OURS, PLAIN
from neuralinv.io.plain_json import finite
from neuralinv.measuring.formatting import plain_table, ratio_text, time_text
from neuralinv.measuring.machine import Ceilings, Machine

WIDTH = 120


def machine_lines(machine: Machine, ceilings: Ceilings) -> Iterator[str]:
    """Say in a few lines where the figures come from."""
    threads = f"threads: {machine.threads}, cores: {machine.cores}"
    yield f"{machine.processor} ({machine.architecture}, {machine.instruction_set}), {threads}"
    yield f"{machine.system}; " + ", ".join(f"{name} {number}" for name, number in machine.versions.items())
    copies = (f"{_bytes(size)} {rate / 1e9:.1f}" for size, rate in ceilings.copy.items())
    yield f"copy, GB/s read and written together: {', '.join(copies)}"
    products = (f"{name} {rate / 1e9:.0f}" for name, rate in ceilings.flops.items())
    yield f"matrix product, GFLOP/s: {', '.join(products)}"


def tables(rows: Sequence[Row]) -> Iterator[Group]:
    """Yield, with their titles, the tables of times and of errors for each operation and dtype."""
    batches = [row for row in rows if row.operation in OPERATIONS]
    for (operation, dtype), group in groupby(batches, key=lambda row: (row.operation, row.dtype)):
        members = list(group)
        what = f"{OPERATIONS[operation].title}, {dtype}"
        yield Group(Text(f"{what}: time for each matrix; × = times ours", style="bold"), _speed_table(members))
        yield Group(
            Text(f"{what}: relative error, median and largest; our share of copy bandwidth and of peak", style="bold"),
            _accuracy_table(members),
        )
        if any(row.certificate for row in members):
            heading = f"{what}: share certified, largest error; time over that of {PLAIN}, and its goal"
            yield Group(Text(heading, style="bold"), _certificate_table(members))
    singles = [row for row in rows if row.operation not in OPERATIONS]
    if singles:
        yield Group(Text("one 3×3 inverse a call", style="bold"), _single_table(singles))


def crossover_table(entries: Sequence[Entry]) -> Table:
    """Return a table of the largest n for the native kernel: a line for each operation and dtype."""
    batches = list(dict.fromkeys(entry.batch for entry in entries))
    table = plain_table("native up to n", "dtype", *(f"batch {batch}" for batch in batches))
    for (operation, dtype), group in groupby(entries, key=lambda entry: (entry.operation, entry.dtype)):
        found = {entry.batch: str(entry.largest_native_n) for entry in group}
        table.add_row(operation, dtype, *(found.get(batch, "–") for batch in batches))
    return table


def as_json(machine: Machine, ceilings: Ceilings, settings: Settings, outcome: Outcome) -> dict[str, Any]:
    """Return everything as plain data; what is not finite becomes null, which JSON has."""
    given = asdict(settings) | {"dtypes": [str(dtype).removeprefix("torch.") for dtype in settings.dtypes]}
    document = {
        "version": 1,
        "machine": asdict(machine),
        "ceilings": {"copy": {str(size): rate for size, rate in ceilings.copy.items()}, "flops": dict(ceilings.flops)},
        "settings": given,
        "missing": outcome.missing,
        "rows": [asdict(row) for row in outcome.rows],
    }
    return finite(document)


def _speed_table(rows: Sequence[Row]) -> Table:
    rivals = _names(rows)[1:]
    table = plain_table("n", "batch", OURS, "±", *rivals)
    for row in rows:
        ours = row.figures[OURS]
        table.add_row(
            str(row.n), str(row.batch), time_text(ours.nanoseconds), _spread(ours),
            *(_beside(row.figures.get(name), ours) for name in rivals),
        )  # fmt: skip
    return table


def _accuracy_table(rows: Sequence[Row]) -> Table:
    names = _names(rows)
    marked = any(row.inaccurate for row in rows)
    table = plain_table("n", *names, "copy", "peak", *([""] if marked else []))
    for row in rows:
        errors = (_errors(row.figures.get(name)) for name in names)
        mark = [_mark(row)] if marked else []
        table.add_row(str(row.n), *errors, _share(row.copy_share), _share(row.peak_share), *mark)
    return table


def _certificate_table(rows: Sequence[Row]) -> Table:
    table = plain_table("n", "certified", "largest error", f"time over {PLAIN}", "goal", "")
    for row in rows:
        if row.certificate is not None:
            table.add_row(
                str(row.n), f"{row.certificate.share:.2%}", f"{row.figures[OURS].accuracy.largest:.0e}",
                f"{row.certificate.cost:.2f}×", f"≤ {row.certificate.goal:g}",
                "met" if row.certificate.met else "missed",
            )  # fmt: skip
    return table


def _single_table(rows: Sequence[Row]) -> Table:
    table = plain_table("array", "dtype", OURS, "±", "its library", "errors", "its library", "")
    for row in rows:
        (_, ours), (library, theirs) = row.figures.items()
        table.add_row(
            library, row.dtype, time_text(ours.nanoseconds), _spread(ours), _beside(theirs, ours), _errors(ours),
            _errors(theirs), _mark(row),
        )  # fmt: skip
    return table


def _mark(row: Row) -> str:
    return "INACCURATE" if row.inaccurate else ""


def _spread(figure: Figure) -> str:
    """Half the distance of the quartiles, as a share of the median."""
    return f"{(figure.upper - figure.lower) / 2 / figure.nanoseconds:.0%}"


def _beside(theirs: Figure | None, ours: Figure) -> str:
    return f"{time_text(theirs.nanoseconds)} {ratio_text(theirs.nanoseconds / ours.nanoseconds)}" if theirs else "–"


def _errors(figure: Figure | None) -> str:
    return f"{figure.accuracy.median:.0e} {figure.accuracy.largest:.0e}" if figure else "–"


def _names(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row.figures))


def _share(share: float | None) -> str:
    return "–" if share is None else f"{share:.0%}"


def _bytes(size: int) -> str:
    return f"{size >> 20} MiB" if size >= 1 << 20 else f"{size >> 10} KiB"
