"""`neuralinv demo`: train, invert, certify, report: the whole path in one command; and the demonstrations below it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer

from neuralinv.cli._console import console
from neuralinv.cli._durations import parse_duration
from neuralinv.cli._errors import without_traceback
from neuralinv.cli.demo_vae import vae
from neuralinv.cli.invert import DEFAULT_RTOL, invert_with_progress, write_table
from neuralinv.cli.train import on_command_line, train_with_progress
from neuralinv.dense import Source, Status
from neuralinv.families import get_family
from neuralinv.io import FileError, read_matrices, write_matrices
from neuralinv.learned import ModelConfig, TrainingConfig, load

app = typer.Typer(invoke_without_command=True)
_COUNT = 10_000
_FILES = ("matrices.npy", "inverses.npy", "certificates.csv", "report.html")


@app.callback()
@without_traceback
def demo(
    context: typer.Context,
    out: Annotated[
        Path, typer.Option(help="Folder for the network, the matrices, the inverses and the report.")
    ] = Path("runs/demo"),
    budget: Annotated[float, typer.Option(parser=parse_duration, metavar="TIME", help="Training time.")] = "90s",  # type: ignore[assignment]  # Typer parses the default too
    seed: Annotated[int, typer.Option(min=0, max=2**31 - 1, help="Fixes the training and the matrices.")] = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what an earlier demo left in --out.")] = False,
) -> None:
    """Train a 3×3 network, invert 10,000 matrices that it has never seen, certify them and write a report.

    The commands are other demonstrations, with options of their own.
    """
    if context.invoked_subcommand is not None:
        given = [name for name in context.params if on_command_line(context, name)]
        if given:
            name = context.invoked_subcommand
            raise typer.BadParameter(f"--{given[0]} is not for {name}; see neuralinv demo {name} --help")
        return
    from neuralinv.learned.training import holds_run

    network_folder = out / "network"
    matrices, inverses, table, report = (out / name for name in _FILES)
    found = [path for path in (matrices, inverses, table, report) if path.exists()]
    found += [network_folder] if holds_run(network_folder) else []
    if found and not overwrite:
        raise FileError(f"{found[0]}: exists already; pass --overwrite or another --out")
    # Or the report would draw the course of an earlier training, too.
    shutil.rmtree(network_folder / "logs", ignore_errors=True)
    model = ModelConfig(size=3)
    training = TrainingConfig(budget=budget, seed=seed, loss=TrainingConfig.default_loss(model.architecture))
    if not train_with_progress(model, training, network_folder):
        raise typer.Exit(1)

    # Nothing is filtered out: some of these are nearly singular.
    generator = torch.Generator().manual_seed(seed + 1_000_003)
    sample = get_family("uniform").sample(
        _COUNT, 3, generator=generator, dtype=torch.float64, device="cpu", low=-1.0, high=1.0, min_abs_det=0.0
    )
    write_matrices(matrices, sample.numpy())

    A, network = read_matrices(matrices), load(network_folder)
    result, seconds = invert_with_progress(A, network, DEFAULT_RTOL, "nan")
    write_matrices(inverses, np.asarray(result.inverse))
    write_table(table, result)

    from neuralinv.study.report import write_report

    write_report(report, A, network, result, seconds, network_folder)

    proposed, refined, fallback = (result.count(s) for s in (Source.PROPOSED, Source.REFINED, Source.FALLBACK))
    uncertified = len(A) - result.count(Status.CERTIFIED)
    console.print(
        f"certified  {result.count(Status.CERTIFIED):,} of {len(A):,} inverses to a relative error of {result.rtol:.0e}"
        + (f"; {uncertified:,} could not be, and say so" if uncertified else "")
        + f"\nproposed   {proposed:,} by the network, certified as they came"
        f"\nrefined    {refined:,} from the network's proposal by Newton–Schulz steps"
        f"\nfell back  {fallback:,} to exact elimination"
        f"\nreport     {report}",
        markup=False,
    )


app.command()(without_traceback(vae))
