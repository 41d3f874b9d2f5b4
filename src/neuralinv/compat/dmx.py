"""The command line of DeepMatrixInversion, so that scripts written for it run unchanged.

The four commands keep their names, options and file formats. What differs is what stands behind them: batches are drawn
afresh (one epoch is `nmx_samples` matrices), `dmxinvert` certifies and refines what the network proposes, and a model
folder is an ordinary neuralinv one (`config.toml` and a safetensors file for each ensemble member), which `neuralinv
invert --model` reads as well.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from matplotlib.figure import Figure

from neuralinv.cli._console import console, forgive_characters
from neuralinv.cli._errors import without_traceback
from neuralinv.cli._limits import LARGEST_COUNT, LARGEST_SIZE
from neuralinv.cli._outputs import check_outputs
from neuralinv.cli.generate import checked_inverses, checked_pseudo_inverses
from neuralinv.cli.invert import DEFAULT_RTOL, choose_network, compare_with_target, invert_with_progress
from neuralinv.cli.train import train_with_progress
from neuralinv.cli.verify import read_pair
from neuralinv.dense import Status
from neuralinv.dense.verify import check_inverses, check_pseudo_inverses
from neuralinv.families import get_family
from neuralinv.families.singular import singular_matrices
from neuralinv.io import check_writable, read_matrices, write_matrices
from neuralinv.learned import ModelConfig, TrainingConfig
from neuralinv.study.plots import save_figure, show_figure, training_curve, true_versus_predicted
from neuralinv.study.training_log import read_validation_log

_MIN_ABS_DET = 0.1


class InvertMode(StrEnum):
    """Who inverts."""

    nn = "nn"
    numpy = "numpy"


class Kind(StrEnum):
    """What a pair of files holds."""

    invertible = "invertible"
    singular = "singular"


def _train(
    msize: Annotated[int, typer.Option("--msize", help="n: matrices are n×n.")] = 3,
    nmx_samples: Annotated[int, typer.Option("--nmx_samples", min=1, help="Fresh matrices per epoch.")] = 10_000,
    nunits: Annotated[int, typer.Option("--nunits", help="Width of the network.")] = 64,
    nlayers: Annotated[int, typer.Option("--nlayers", help="Blocks of the network.")] = 2,
    rmin: Annotated[float, typer.Option("--rmin", help="Smallest element.")] = -1.0,
    rmax: Annotated[float, typer.Option("--rmax", help="Largest element.")] = 1.0,
    epochs: Annotated[int, typer.Option("--epochs", min=1, help="Epochs of nmx_samples matrices.")] = 100,
    batch_size: Annotated[int, typer.Option("--batch_size", min=1, help="Matrices per step.")] = 256,
    n_repeats: Annotated[int, typer.Option("--n_repeats", help="Ensemble members.")] = 1,
    mout: Annotated[str, typer.Option("--mout", help="Prefix of the model folder; the date is appended.")] = "model",
    plotout: Annotated[str | None, typer.Option("--plotout", help="Training curve: a file, or 'screen'.")] = None,
    arch: Annotated[str, typer.Option("--arch", help="gated, or resnet for the network of the original.")] = "gated",
) -> None:
    """Train a network; the folder MOUT_YYYYMMDDHHMMSS receives it."""
    folder = Path(f"{mout}_{datetime.now():%Y%m%d%H%M%S}")
    check_outputs({"--plotout": _plot_file(plotout)}, plots=("--plotout",))
    model = ModelConfig(arch, msize, nunits, nlayers, low=rmin, high=rmax, members=n_repeats)
    steps = epochs * math.ceil(nmx_samples / batch_size)
    training = TrainingConfig(
        steps=steps, batch_size=batch_size, min_abs_det=_MIN_ABS_DET, loss=TrainingConfig.default_loss(arch)
    )
    if not train_with_progress(model, training, folder):
        raise typer.Exit(1)
    log = read_validation_log(folder)
    if plotout is not None and log is not None:
        _show_or_save(training_curve(*log), plotout)


def _invert(
    inputmx: Annotated[Path, typer.Option("--inputmx", help="Matrices to invert (.mx).")],
    inverseout: Annotated[Path, typer.Option("--inverseout", help="Where the inverses go (.mx text).")],
    model: Annotated[str | None, typer.Option("--model", help="Model folder.")] = None,
    invtarget: Annotated[Path | None, typer.Option("--invtarget", help="True inverses to compare with.")] = None,
    invert_mode: Annotated[InvertMode, typer.Option("--invert_mode", help="Network or exact.")] = InvertMode.nn,
    plotout: Annotated[
        str | None, typer.Option("--plotout", help="True-versus-predicted plot: a file, or 'screen'.")
    ] = None,
) -> None:
    """Invert a file of matrices."""
    if invert_mode is InvertMode.nn and model is None:
        raise ValueError("--invert_mode nn needs --model; --invert_mode numpy inverts without a network")
    check_outputs(
        {"--inverseout": inverseout, "--plotout": _plot_file(plotout)},
        inputs={"--inputmx": inputmx, "--invtarget": invtarget},
        plots=("--plotout",),
    )
    A = read_matrices(inputmx, allow_nonfinite=False)
    check_writable(inverseout, A)
    true = None if invtarget is None else read_pair(inputmx, invtarget)[1]
    network = choose_network(model if invert_mode is InvertMode.nn else "exact", A, "cpu")
    result, _ = invert_with_progress(A, network, DEFAULT_RTOL, "nan")
    write_matrices(inverseout, result.inverse)
    console.print(str(result), markup=False)
    if true is not None:
        keep = compare_with_target(A, true, result.inverse)
        if plotout is not None and keep is not None:
            _show_or_save(true_versus_predicted(true[keep], result.inverse[keep]), plotout)
    if result.count(Status.SINGULAR) or result.count(Status.NONFINITE):
        raise typer.Exit(1)


def _generate(
    size: Annotated[int, typer.Argument(metavar="SIZE", min=1, max=LARGEST_SIZE, help="n: matrices are n×n.")],
    count: Annotated[int, typer.Argument(metavar="COUNT", min=1, max=LARGEST_COUNT, help="Matrices of each kind.")],
    low: Annotated[float, typer.Argument(metavar="MIN", help="Smallest element.")],
    high: Annotated[float, typer.Argument(metavar="MAX", help="Largest element.")],
    prefix: Annotated[str, typer.Argument(metavar="PREFIX", help="Start of the four file names.")],
) -> None:
    """Write invertible matrices (|det| > 0.1), their inverses, singular matrices and their pseudo-inverses."""
    generator = torch.Generator().manual_seed(torch.seed() % 2**63)
    A = get_family("uniform").sample(
        count,
        size,
        generator=generator,
        dtype=torch.float64,
        device="cpu",
        low=low,
        high=high,
        min_abs_det=_MIN_ABS_DET,
    )
    singular, ranks = singular_matrices(count, size, generator=generator, low=low, high=high)
    shape = f"{size}x{size}"
    for kind, values in {
        "matrices": A,
        "matrices_inverted": checked_inverses(A),
        "singular_matrices": singular,
        "singular_matrices_pseudoinverted": checked_pseudo_inverses(singular, ranks),
    }.items():
        path = Path(f"{prefix}_{kind}_{shape}.mx")
        write_matrices(path, values.numpy())
        console.print(f"{count:,} in {path}", markup=False)


def _verify(
    matrices: Annotated[Path, typer.Argument(metavar="MATRICES")],
    inverses: Annotated[Path, typer.Argument(metavar="INVERSES")],
    kind: Annotated[Kind, typer.Argument(metavar="invertible|singular")],
) -> None:
    """Check that INVERSES holds the inverses (or pseudo-inverses) of MATRICES."""
    A, X = read_pair(matrices, inverses)
    # Files of that project hold four decimals.
    check = (check_inverses if kind is Kind.invertible else check_pseudo_inverses)(A, X, 1e-3)
    if not check.passed.all():
        first = int(np.flatnonzero(~check.passed)[0])
        console.print(
            f"Dataset not valid: {int((~check.passed).sum()):,} wrong, the first at index {first}.", markup=False
        )
        raise typer.Exit(1)
    console.print("Dataset valid.", markup=False)


def _plot_file(where: str | None) -> Path | None:
    return None if where in (None, "screen") else Path(where)


def _show_or_save(figure: Figure, where: str) -> None:
    path = _plot_file(where)
    if path is None:
        show_figure(figure)
    else:
        save_figure(figure, path)


def application(command: Callable[..., None], *, negative_arguments: bool = False) -> typer.Typer:
    """Make a command line of one command."""
    forgive_characters()
    app = typer.Typer(pretty_exceptions_enable=False)
    settings = {
        "help_option_names": ["-h", "--help"],
        # Or -1 would be taken for an option.
        "ignore_unknown_options": negative_arguments,
    }
    app.command(context_settings=settings)(without_traceback(command))
    return app


def train() -> None:
    """Entry point of ``dmxtrain``."""
    application(_train)()


def invert() -> None:
    """Entry point of ``dmxinvert``."""
    application(_invert)()


def dataset_generator() -> None:
    """Entry point of ``dmxdatasetgenerator``."""
    application(_generate, negative_arguments=True)()


def dataset_verify() -> None:
    """Entry point of ``dmxdatasetverify``."""
    application(_verify)()
