"""`neuralinv fit`: a parametric inverse from a family, or from a user's own matrices and their parameters."""

from __future__ import annotations

import warnings
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
import typer

from neuralinv.cli._console import console, error_console
from neuralinv.cli._limits import LARGEST_COUNT, LARGEST_SEED, LARGEST_SIZE
from neuralinv.cli._outputs import check_outputs
from neuralinv.cli.generate import parse_settings
from neuralinv.cli.invert import Certificate
from neuralinv.families import FAMILIES, get_family
from neuralinv.io import FileError, atomic_path, read_matrices, read_parameters, write_matrices
from neuralinv.learned import FamilyInverse, fit_parametric, save_parametric
from neuralinv.learned.checkpoints import CONFIG_FILE
from neuralinv.learned.parametric_checkpoint import WEIGHTS_FILE, holds_another, holds_fit, parameter_names

_PARAMETRIC = [name for name, family in FAMILIES.items() if family.parametric]
_LONGEST_NUMBER = 9
_SIZE, _SNAPSHOTS = 64, 512  # of a family, where nothing is said
_SAMPLES = ("matrices.npy", "parameters.npy")
_DTYPES = {str(t).removeprefix("torch."): t for t in (torch.float32, torch.float64, torch.complex64, torch.complex128)}


class Coefficients(StrEnum):
    """Where the coefficients of a parametric inverse come from."""

    polynomial = "polynomial"
    network = "network"
    projection = "projection"


def fit(
    out: Annotated[Path, typer.Option(help="Folder for the fit.")],
    family: Annotated[str | None, typer.Option(help=f"Fit a family: {', '.join(_PARAMETRIC)}.")] = None,
    size: Annotated[
        int | None, typer.Option(min=1, max=LARGEST_SIZE, help=f"With --family: n. [default: {_SIZE}]")
    ] = None,
    setting: Annotated[
        list[str] | None, typer.Option("--set", help="With --family: a setting, as in --set taps=8; may be repeated.")
    ] = None,
    matrices: Annotated[Path | None, typer.Option(help="Fit these matrices: .npy, .npz, .mx, .csv.")] = None,
    parameters: Annotated[Path | None, typer.Option(help="With --matrices: one row for each, .npy or .csv.")] = None,
    rank: Annotated[
        int | None, typer.Option(min=1, max=LARGEST_COUNT, help="Modes. [default: the cheapest that suffices]")
    ] = None,
    rtol: Annotated[float, typer.Option(help="Relative error to certify.")] = 1e-6,
    dtype: Annotated[
        str | None, typer.Option(help=f"Of the matrices to invert: {', '.join(_DTYPES)}. [default: single precision]")
    ] = None,
    snapshots: Annotated[
        int | None,
        typer.Option(min=8, max=LARGEST_COUNT, help=f"With --family: exact inverses. [default: {_SNAPSHOTS}]"),
    ] = None,
    coefficients: Annotated[Coefficients, typer.Option(help="Where coefficients come from.")] = Coefficients.polynomial,
    certificate: Annotated[
        Certificate, typer.Option(help="probabilistic: modes enough that random vectors certify without a correction.")
    ] = Certificate.deterministic,
    cells: Annotated[
        str, typer.Option(help="Cells to partition the box of parameters into; auto: as many as pay.")
    ] = "1",
    samples: Annotated[
        int,
        typer.Option(
            min=0, max=LARGEST_COUNT, help="With --family: also write this many fresh matrices and their parameters."
        ),
    ] = 0,
    seed: Annotated[int, typer.Option(min=0, max=LARGEST_SEED, help="The same seed gives the same fit.")] = 0,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the fit in --out, and the matrices that it was written with.")
    ] = False,
) -> None:
    """Fit inverses as a function of parameters, for `neuralinv invert --parameters`."""
    if (family is None) == (matrices is None) or (matrices is None) != (parameters is None):
        raise typer.BadParameter("fit a --family, or --matrices with their --parameters")
    if matrices is not None and (setting or samples or size is not None or snapshots is not None):
        raise typer.BadParameter("--size, --set, --snapshots and --samples go with --family")
    if dtype is not None and dtype not in _DTYPES:
        raise typer.BadParameter(f"--dtype {dtype}: known are {', '.join(_DTYPES)}")
    wanted = None if dtype is None else _DTYPES[dtype]
    options: dict[str, Any] = {
        "rank": "auto" if rank is None else rank,
        "rtol": rtol,
        "dtype": wanted,
        "coefficients": coefficients.value,
        "certificate": certificate.value,
        "cells": _parse_cells(cells),
        "seed": seed,
    }
    if holds_another(out):  # overwritten or not: a network takes longer to make than a fit
        raise FileError(f"{out}: holds a network already; pass another --out")
    if holds_fit(out) and not overwrite:
        raise FileError(f"{out}: holds a fit already; pass --overwrite or another --out")
    stale = _earlier_samples(out, inputs=(matrices, parameters))
    written = (CONFIG_FILE, WEIGHTS_FILE, *(_SAMPLES if samples else ()))
    check_outputs(
        {f"--out {name}": out / name for name in written}, inputs={"--matrices": matrices, "--parameters": parameters}
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        if matrices is not None and parameters is not None:
            A = torch.from_numpy(read_matrices(matrices, allow_nonfinite=False))
            theta = torch.from_numpy(read_parameters(parameters))
            model = fit_parametric((theta, A), **options)
        else:
            source = get_family(str(family))
            random = torch.Generator().manual_seed(seed)
            function = source.matrix_function(
                size or _SIZE, generator=random, dtype=None, device="cpu", **parse_settings(setting)
            )
            model = fit_parametric(function, ranges=source.ranges, snapshots=snapshots or _SNAPSHOTS, **options)
    save_parametric(model, out)
    for path in stale:
        path.unlink()
    for warning in caught:
        error_console.print(f"warning: {warning.message}", markup=False, soft_wrap=True)
    _describe(model)
    console.print(f"fit in {out}", markup=False)
    if samples:
        theta = source.thetas(samples, generator=random)
        write_matrices(out / _SAMPLES[0], function(theta).to(model.dtype).numpy())
        with atomic_path(out / _SAMPLES[1]) as temporary, temporary.open("wb") as file:
            np.save(file, theta.numpy())
        console.print(f"{samples:,} fresh matrices in {out / _SAMPLES[0]}, θ in {out / _SAMPLES[1]}", markup=False)


def _earlier_samples(out: Path, *, inputs: tuple[Path | None, ...]) -> list[Path]:
    """Return the matrices that an earlier fit of a family to ``out`` wrote, and their parameters.

    A fit of a user's own arrays writes none: what lies beside it under these names is the user's.
    """
    found = [out / name for name in _SAMPLES if (out / name).is_file()]
    given = [path for path in inputs if path is not None and path.exists()]
    if len(found) < len(_SAMPLES) or any(path.samefile(other) for path in found for other in given):
        return []
    try:
        names = parameter_names(out)
    except FileError:
        return []
    return found if any(names == list(FAMILIES[name].ranges) for name in _PARAMETRIC) else []


def _parse_cells(text: str) -> int | Literal["auto"]:
    if text == "auto":
        return "auto"
    if not text.isdecimal() or len(text) > _LONGEST_NUMBER:
        raise typer.BadParameter(f"--cells {text}: expected auto or a whole number")
    return int(text)


def _describe(model: FamilyInverse) -> None:
    report = model.report
    if report is not None:
        modes, cells = f"rank {report.rank}", ""
        if report.cells > 1:
            modes, cells = f"rank {report.mean_rank:.4g} on average, at most {report.rank}", f", {report.cells} cells"
        console.print(
            f"{model.size}×{model.size}, {len(model.ranges)} parameters{cells}: {modes}, degree {report.degree}, "
            f"correction of order {report.order:.3g} on average\n{100 * report.certified_share:.5g} % of "
            f"{report.held_out} unseen matrices certify at {model.rtol:.0e} without fallback; {report.snapshots} exact "
            f"inverses, {report.seconds:.1f} s",
            markup=False,
        )
