"""`neuralinv bench`: speed and accuracy of the exact functions on this machine."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import torch
import typer
from rich.console import Console

from neuralinv.cli._console import PlainConsole, counting, error_console
from neuralinv.cli._errors import without_traceback
from neuralinv.cli._outputs import check_outputs
from neuralinv.io import atomic_path

if TYPE_CHECKING:
    from matplotlib.figure import Figure

app = typer.Typer(
    help="Measure the exact functions on this machine: beside other libraries, or to find out which route is fastest.",
    no_args_is_help=True,
)
_DTYPES = {"float32": torch.float32, "float64": torch.float64}
_LARGEST_SIZE = 4096
_CEILING_SECONDS = 0.2


def dense(
    sizes: Annotated[str, typer.Option(help="Matrix sizes.")] = "2,3,4,6,8,10,12,16,24,32,48,64,128",
    batch: Annotated[int, typer.Option(min=1, help="Matrices in a call; fewer where they exceed 256 MiB.")] = 10_000,
    dtypes: Annotated[str, typer.Option(help="float32, float64.")] = "float32,float64",
    operations: Annotated[
        str,
        typer.Option(
            help="Some of inv, solve (1 right-hand side), solve-n, slogdet, certified (n ≤ 16); of positive definite "
            "matrices inv-pos, solve-pos, slogdet-pos."
        ),
    ] = "inv,solve,solve-n,slogdet,inv-pos,solve-pos,slogdet-pos,certified",
    rivals: Annotated[
        str, typer.Option(help="Some of torch, numpy, scipy, jax, mkl, mkl-packed; those not installed are named.")
    ] = "torch,numpy,scipy,jax,mkl,mkl-packed",
    threads: Annotated[int | None, typer.Option(min=1, help="Threads for all. [default: 2, or the cores]")] = None,
    seconds: Annotated[float, typer.Option(help="Shortest time to measure each.")] = 0.2,
    single: Annotated[bool, typer.Option("--single", help="Measure one 3×3 inverse a call, too.")] = False,
    out: Annotated[Path | None, typer.Option("--json", help="Write the figures as JSON.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw time against size (.png, .svg, .pdf).")] = None,
) -> None:
    """Print times, errors and shares of the machine's ceilings, ours and other libraries'.

    Exit code 1 if our median error exceeds ten times LAPACK's anywhere. Run nothing else on the machine meanwhile.
    """
    from neuralinv.bench import dense as benchmark
    from neuralinv.bench.plots import plot_times
    from neuralinv.bench.problems import OPERATIONS
    from neuralinv.bench.report import as_json, machine_lines, tables
    from neuralinv.bench.rivals import RIVALS
    from neuralinv.measuring.machine import describe_machine, measure_ceilings

    settings = benchmark.Settings(
        sizes=parse_sizes(sizes),
        batch=batch,
        dtypes=tuple(_DTYPES[name] for name in parse_names(dtypes, list(_DTYPES), "--dtypes")),
        operations=parse_names(operations, list(OPERATIONS), "--operations"),
        rivals=parse_names(rivals, list(RIVALS), "--rivals", may_be_empty=True),
        threads=check_threads(threads),
        seconds=check_seconds(seconds),
    )
    check_files(out, plot)

    console = wide_console()
    machine = describe_machine(settings.threads)
    ceilings = measure_ceilings(settings.threads, min(seconds, _CEILING_SECONDS))
    for line in machine_lines(machine, ceilings):
        console.print(line, markup=False, soft_wrap=True)
    with counting("measuring", benchmark.row_count(settings)) as advance:
        outcome = benchmark.measure(settings, ceilings, progress=advance)
    if single:
        outcome.rows.extend(benchmark.measure_single(settings.dtypes, settings.threads, seconds))
    for name, reason in outcome.missing.items():
        console.print(f"{name}: {reason}", markup=False, soft_wrap=True)
    for table in tables(outcome.rows):
        console.print(table)
    write_figures(console, out, lambda: as_json(machine, ceilings, settings, outcome))
    write_plot(console, plot, lambda: plot_times(outcome.rows))
    wrong = [row for row in outcome.rows if row.inaccurate]
    for row in wrong:
        error_console.print(
            f"inaccurate: {row.operation}, {row.dtype}, n = {row.n}: our median error exceeds ten times LAPACK's",
            markup=False,
            soft_wrap=True,
        )
    if wrong:
        raise typer.Exit(1)


def tune(
    dtypes: Annotated[str, typer.Option(help="float32, float64.")] = "float32,float64",
    operations: Annotated[str, typer.Option(help="Some of inv, solve, slogdet.")] = "inv,solve,slogdet",
    threads: Annotated[int | None, typer.Option(min=1, help="Threads for all. [default: 2, or the cores]")] = None,
    seconds: Annotated[float, typer.Option(help="Shortest time to measure each route.")] = 0.05,
    full: Annotated[bool, typer.Option("--full", help="Matrices up to 1024×1024, not 256×256.")] = False,
    out: Annotated[
        Path | None, typer.Option(help="The table. [default: $XDG_CACHE_HOME/neuralinv/crossover.json]")
    ] = None,
) -> None:
    """Measure from which size on a library routine is faster than the native kernel, and write the table that
    dispatch reads. Run nothing else on the machine meanwhile.
    """
    from neuralinv.bench import crossover
    from neuralinv.bench.report import crossover_table
    from neuralinv.dense.crossover import user_path
    from neuralinv.dense.dispatch import candidates
    from neuralinv.measuring.machine import describe_machine
    from neuralinv.measuring.timing import limited_threads

    wanted = parse_names(operations, list(crossover.TUNED_OPERATIONS), "--operations")
    precisions = tuple(_DTYPES[name] for name in parse_names(dtypes, list(_DTYPES), "--dtypes"))
    count, time, path = check_threads(threads), check_seconds(seconds), out or user_path()
    check_outputs({"--out": path})
    with (
        limited_threads(count),
        counting("measuring", len(wanted) * len(precisions) * len(crossover.BATCHES)) as advance,
    ):
        entries = crossover.measure_crossover(
            candidates,
            measure=crossover.clock(count, time),
            operations=wanted,
            dtypes=precisions,
            sizes=crossover.FULL_SIZES if full else crossover.SIZES,
            progress=advance,
        )
    console = wide_console()
    console.print(crossover_table(entries))
    document = crossover.table(entries, describe_machine(count))
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(document, indent=2) + "\n")
    console.print(f"table in {path}", markup=False, soft_wrap=True)


def learned(
    works: Annotated[
        str,
        typer.Option(
            help="Some of parametric, probable (certified by random vectors), neumatc (a channel over frequency), "
            "sequence, iteration, root, coefficients (residuals of other ways to them)."
        ),
    ] = "parametric,probable,neumatc,sequence,iteration,root",
    families: Annotated[str, typer.Option(help="Parametric families.")] = "rbf,matern,poisson,ridge,mimo",
    sizes: Annotated[str, typer.Option(help="Matrix sizes.")] = "64,128,256",
    threads: Annotated[int | None, typer.Option(min=1, help="Threads for all. [default: 2, or the cores]")] = None,
    seconds: Annotated[float, typer.Option(help="Shortest time to measure each.")] = 0.2,
    cells: Annotated[int, typer.Option(min=1, max=64, help="Cells of the parametric inverses.")] = 1,
    out: Annotated[Path | None, typer.Option("--json", help="Write the figures as JSON.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw ratios and goals: .png, .svg or .pdf.")] = None,
) -> None:
    """Compare parametric inverses, warm starts, polynomial iterations and inverse roots with exact routines, and with
    the goals that they were built for. Our times include the proof. Run nothing else on the machine meanwhile.
    """
    from neuralinv.bench import learned as benchmark
    from neuralinv.bench.learned_plot import plot_ratios
    from neuralinv.bench.learned_report import coefficients_table, learned_json, learned_table
    from neuralinv.bench.learned_rows import RESIDUAL, WORKS, Settings
    from neuralinv.families import FAMILIES
    from neuralinv.measuring.machine import describe_machine

    settings = Settings(
        works=parse_names(works, list(WORKS), "--works"),
        families=parse_names(families, [name for name, f in FAMILIES.items() if f.parametric], "--families"),
        sizes=parse_sizes(sizes),
        threads=check_threads(threads),
        seconds=check_seconds(seconds),
        cells=cells,
    )
    check_files(out, plot)
    with counting("measuring", benchmark.row_count(settings)) as advance:
        rows = list(benchmark.measure(settings, progress=advance))
    console = wide_console()
    if any(row.unit != RESIDUAL for row in rows):
        console.print(learned_table(rows))
    if any(row.unit == RESIDUAL for row in rows):
        console.print(coefficients_table(rows))
    write_figures(console, out, lambda: learned_json(rows, describe_machine(settings.threads)))
    write_plot(console, plot, lambda: plot_ratios(rows))


def parse_sizes(text: str) -> tuple[int, ...]:
    """Return matrix sizes in ascending order, each once.

    Raises
    ------
    typer.BadParameter
        If the text is no list of sizes from 1 to 4096.
    """
    try:
        sizes = sorted({int(part) for part in text.split(",")})
    except ValueError:
        sizes = []
    if not sizes or sizes[0] < 1 or sizes[-1] > _LARGEST_SIZE:
        raise typer.BadParameter(f"--sizes {text}: write sizes from 1 to {_LARGEST_SIZE}, as in 2,3,4,8")
    return tuple(sizes)


def parse_names(text: str, known: list[str], option: str, *, may_be_empty: bool = False) -> tuple[str, ...]:
    """Return the names of a list, each once.

    Raises
    ------
    typer.BadParameter
        If one is unknown, or there are none.
    """
    names = tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    unknown = [name for name in names if name not in known]
    if unknown or not (names or may_be_empty):
        problem = f"unknown {unknown[0]!r}" if unknown else "nothing to measure"
        raise typer.BadParameter(f"{option} {text}: {problem}; known are {', '.join(known)}")
    return names


def check_threads(threads: int | None) -> int:
    """Return the number of threads to use: two by default, and never more than there are cores.

    Raises
    ------
    typer.BadParameter
        If there are fewer cores.
    """
    from neuralinv.measuring.machine import usable_cores

    cores = usable_cores()
    if threads is not None and threads > cores:
        raise typer.BadParameter(f"--threads {threads}: more than the cores that this process may use ({cores})")
    return min(2, cores) if threads is None else threads


def check_seconds(seconds: float) -> float:
    """Return ``seconds``.

    Raises
    ------
    typer.BadParameter
        Unless it is positive and at most an hour.
    """
    if not 0 < seconds <= 3600:
        raise typer.BadParameter(f"--seconds {seconds}: expected a positive time")
    return seconds


def wide_console() -> Console:
    """Return a console for tables: as wide as the terminal, and of the full width in a pipe."""
    from neuralinv.bench.report import WIDTH

    return PlainConsole(width=None if sys.stdout.isatty() else WIDTH)


def check_files(out: Path | None, plot: Path | None) -> None:
    """Check the format of a plot, and that both files can be written.

    Raises
    ------
    typer.BadParameter
        If nothing here draws such a format, or both are one file.
    """
    from neuralinv.bench.plots import FORMATS

    if plot is not None and plot.suffix.lower() not in FORMATS:
        raise typer.BadParameter(f"--plot {plot}: unknown format; write {', '.join(FORMATS)}")
    check_outputs({"--json": out, "--plot": plot})


def write_figures(console: Console, out: Path | None, document: Callable[[], object], *, indent: int = 2) -> None:
    """Write the document as JSON, if there is a file for it, and say so."""
    if out is not None:
        with atomic_path(out) as temporary:
            temporary.write_text(json.dumps(document(), indent=indent) + "\n")
        console.print(f"figures in {out}", markup=False, soft_wrap=True)


def write_plot(console: Console, plot: Path | None, draw: Callable[[], Figure]) -> None:
    """Write the drawing, if there is a file for it, and say so."""
    from neuralinv.study.plots import save_figure

    if plot is not None:
        save_figure(draw(), plot)
        console.print(f"plot in {plot}", markup=False, soft_wrap=True)


for command in (dense, tune, learned):
    app.command()(without_traceback(command))
