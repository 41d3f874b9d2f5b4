"""`neuralinv bench block-tridiagonal`: the goals of the block-tridiagonal operators, measured on this machine."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import torch
import typer

from neuralinv.cli._console import counting, error_console
from neuralinv.cli._errors import without_traceback
from neuralinv.cli.bench import (
    app,
    check_files,
    check_seconds,
    check_threads,
    parse_names,
    wide_console,
    write_figures,
    write_plot,
)

_DTYPES = {"float32": torch.float32, "float64": torch.float64}
_ALL_SIZES, _QUICK_SIZES = "250x3,250x10,250x20,1000x10", "50x3,100x10"
_LONGEST, _QUICK_LONGEST = 1_000_000, 100
_LARGEST_N, _QUICK_LARGEST_N = 64, 3
_MEMORY, _QUICK_MEMORY = (100_000, 10), (10_000, 10)
_VAE_STEPS, _QUICK_VAE_STEPS = 50, 5
_RIVALS = "torch-loop,torch-triangular,jax,tinygp,scipy,socu,dense,torch-kf"
_SIZE = re.compile(r"(\d+)[x×](\d+)")


def block_tridiagonal(
    sizes: Annotated[str | None, typer.Option(help=f"Pairs T×n. [default: {_ALL_SIZES}]")] = None,
    batch: Annotated[int, typer.Option(min=0, help="Sequences in a batch; 0 for no batches.")] = 64,
    dtypes: Annotated[str, typer.Option(help="float32, float64.")] = "float32,float64",
    rivals: Annotated[str, typer.Option(help=f"Some of {_RIVALS}; those not installed are named.")] = _RIVALS,
    longest: Annotated[
        int | None, typer.Option(min=10, help=f"Time against T up to here. [default: {_LONGEST:,}]")
    ] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads for all. [default: 2, or the cores]")] = None,
    seconds: Annotated[float, typer.Option(help="Shortest time to measure each.")] = 0.2,
    quick: Annotated[
        bool, typer.Option("--quick", help=f"A first look: {_QUICK_SIZES}, T up to {_QUICK_LONGEST:,}, no dense one.")
    ] = False,
    out: Annotated[Path | None, typer.Option("--json", help="Write the figures as JSON.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw time against T and n (.png, .svg, .pdf).")] = None,
) -> None:
    """Print times and errors of factor, solves and log-determinant, forward and backward, ours and others', and which
    goals are met.

    Exit code 1 if our error exceeds what the conformance suite allows anywhere. Run nothing else on the machine
    meanwhile.
    """
    from neuralinv.bench.block_tridiagonal import conditioning, kalman, memory, scaling, speed, vae
    from neuralinv.bench.block_tridiagonal.plots import plot_scaling
    from neuralinv.bench.block_tridiagonal.report import Results, as_json, tables
    from neuralinv.bench.block_tridiagonal.rivals import DENSE, RIVALS, load_rivals
    from neuralinv.bench.rivals import UnavailableError
    from neuralinv.measuring.machine import describe_machine

    names = parse_names(rivals, [*RIVALS, kalman.NAME], "--rivals", may_be_empty=True)
    settings = speed.Settings(
        sizes=parse_pairs((_QUICK_SIZES if quick else _ALL_SIZES) if sizes is None else sizes),
        batch=batch,
        dtypes=tuple(_DTYPES[name] for name in parse_names(dtypes, list(_DTYPES), "--dtypes")),
        rivals=tuple(name for name in names if not (quick and name == DENSE)),
        threads=check_threads(threads),
        seconds=check_seconds(seconds),
        longest=longest or (_QUICK_LONGEST if quick else _LONGEST),
    )
    check_files(out, plot)

    console = wide_console()
    results = Results(describe_machine(settings.threads), settings)
    console.print(f"{results.machine.processor}, threads: {settings.threads}", markup=False, soft_wrap=True)
    able, results.missing = load_rivals([name for name in settings.rivals if name != kalman.NAME])
    largest = _QUICK_LARGEST_N if quick else _LARGEST_N
    total = speed.case_count(settings) + len(settings.dtypes) * len(conditioning.CONDITIONS)
    with counting("measuring", total + scaling.point_count(settings.longest, largest) + 3) as advance:
        outcome = speed.measure(settings, able, progress=advance, announce=advance.announce)
        results.rows = outcome.rows
        results.missing |= outcome.missing
        advance.announce("condition numbers")
        results.conditioning = conditioning.measure_conditioning(able, settings.dtypes, progress=advance)
        results.scaling = scaling.measure_scaling(
            able, settings.dtypes[0], longest=settings.longest, largest=largest, threads=settings.threads,
            seconds=min(settings.seconds, 0.1), progress=advance, announce=advance.announce,
        )  # fmt: skip
        advance.announce("smoother")
        if kalman.NAME in settings.rivals:
            try:
                module = kalman.load()
            except UnavailableError as error:
                results.missing[kalman.NAME] = str(error)
            else:
                results.smoother = [
                    kalman.measure_smoother(
                        module, steps, n, count, settings.dtypes[0], threads=settings.threads, seconds=settings.seconds
                    )
                    for steps, n in settings.sizes
                    for count in (1, settings.batch)
                    if count
                ]
        advance(1)
        steps, window = (_QUICK_VAE_STEPS, 50) if quick else (_VAE_STEPS, 250)
        advance.announce("training step of the Lorenz example")
        results.vae = vae.measure_vae(steps, window=window, threads=settings.threads)
        advance(1)
        advance.announce("peak memory")
        name = speed.dtype_name(settings.dtypes[0])
        try:
            results.memory = memory.measure_memory(*(_QUICK_MEMORY if quick else _MEMORY), name)
        except ValueError as error:
            results.missing["memory"] = str(error)
        advance(1)

    for rival, reason in results.missing.items():
        console.print(f"{rival}: {reason}", markup=False, soft_wrap=True)
    for table in tables(results):
        console.print(table)
    write_figures(console, out, lambda: as_json(results))
    write_plot(console, plot, lambda: plot_scaling(results.scaling))
    wrong = [row for row in results.rows if row.inaccurate]
    for row in wrong:
        error_console.print(
            f"inaccurate: {row.work}, {row.dtype}, T = {row.steps}, n = {row.n}: our error exceeds what the "
            "conformance suite allows",
            markup=False,
            soft_wrap=True,
        )
    if wrong:
        raise typer.Exit(1)


def parse_pairs(text: str) -> tuple[tuple[int, int], ...]:
    """Return pairs (T, n), each once.

    Raises
    ------
    typer.BadParameter
        If the text is no list of pairs with T from 2 to 100,000 and n from 1 to 128.
    """
    matches = [_SIZE.fullmatch(part.strip()) for part in text.split(",")]
    pairs = [(int(match[1]), int(match[2])) for match in matches if match]
    if len(pairs) < len(matches) or not all(2 <= steps <= 100_000 and 1 <= n <= 128 for steps, n in pairs):
        raise typer.BadParameter(f"--sizes {text}: write pairs of T from 2 to 100000 and n from 1 to 128, as in 250x3")
    return tuple(dict.fromkeys(pairs))


app.command()(without_traceback(block_tridiagonal))
