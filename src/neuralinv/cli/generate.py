"""`neuralinv generate`: files of matrices with their inverses, and of singular ones with their pseudo-inverses."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import torch
import typer
from torch import Tensor

from neuralinv.cli._console import console, counting
from neuralinv.dense import inv
from neuralinv.families import FAMILIES, get_family
from neuralinv.families.singular import pseudo_inverses, singular_matrices
from neuralinv.io import FORMATS, write_matrices

_CHUNK = 100_000


def generate(
    out: Annotated[Path, typer.Option(help="Folder for the four files.")],
    family: Annotated[str, typer.Option(help=f"Where the matrices come from: {', '.join(FAMILIES)}.")] = "uniform",
    size: Annotated[int, typer.Option(min=1, help="n: matrices are n×n.")] = 3,
    count: Annotated[int, typer.Option(min=1, help="Matrices of each kind.")] = 10_000,
    low: Annotated[float, typer.Option(help="Smallest element (uniform, singular).")] = -1.0,
    high: Annotated[float, typer.Option(help="Largest element (uniform, singular).")] = 1.0,
    min_abs_det: Annotated[float, typer.Option(min=0.0, help="Redraw matrices with a smaller |det| (uniform).")] = 0.0,
    cond: Annotated[float | None, typer.Option(help="Condition number (conditioned). [default: 100]")] = None,
    setting: Annotated[
        list[str] | None,
        typer.Option("--set", help="A parameter of the family, as in --set nugget=0.1; may be repeated."),
    ] = None,
    distance: Annotated[
        float | None, typer.Option(help="Relative distance of every matrix from the nearest singular one.")
    ] = None,
    format_: Annotated[str, typer.Option("--format", help="mx, npy, npz, csv, or mtx for a single matrix.")] = "npy",
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same files.")] = 0,
) -> None:
    """Write matrices, their inverses, singular matrices of random rank and their pseudo-inverses."""
    suffix = "." + format_.lower().lstrip(".")
    if suffix not in FORMATS:
        raise typer.BadParameter(f"--format {format_}: known are {', '.join(f.lstrip('.') for f in FORMATS)}")
    if suffix == ".mtx" and count > 1:
        raise typer.BadParameter("--format mtx holds one matrix; pass --count 1 or another format")
    source = get_family(family)
    parameters = _parameters(family, low, high, min_abs_det, cond) | parse_settings(setting)
    generator = torch.Generator().manual_seed(seed)

    kinds: dict[str, list[Tensor]] = {"matrices": [], "inverses": [], "singular": [], "pseudoinverses": []}
    with counting("generating", count) as advance:
        for start in range(0, count, _CHUNK):
            k = min(_CHUNK, count - start)
            A = source.sample(k, size, generator=generator, device="cpu", dtype=None, distance=distance, **parameters)
            singular, ranks = singular_matrices(k, size, generator=generator, low=low, high=high)
            parts = (A, inv(A), singular, pseudo_inverses(singular, ranks))
            for pieces, part in zip(kinds.values(), parts, strict=True):
                pieces.append(part)
            advance(k)
    with counting("writing", len(kinds) * count) as advance:
        for kind, pieces in kinds.items():
            write_matrices(out / f"{kind}{suffix}", torch.cat(pieces).numpy(), progress=advance)
    for kind in kinds:
        console.print(f"{count:>12,} {size}×{size}  {out / (kind + suffix)}", markup=False)


def _parameters(family: str, low: float, high: float, min_abs_det: float, cond: float | None) -> dict[str, float]:
    """Return the parameters that the family takes from the options."""
    if family == "uniform":
        return {"low": low, "high": high, "min_abs_det": min_abs_det}
    if min_abs_det:
        raise typer.BadParameter(f"--min-abs-det goes with --family uniform, not with {family}")
    return {} if cond is None else {"cond": cond}


def parse_settings(settings: list[str] | None) -> dict[str, float]:
    """Return the parameters of a family that ``name=value`` options give.

    Raises
    ------
    typer.BadParameter
        If one is no such pair.
    """
    parameters = {}
    for text in settings or []:
        name, _, value = text.partition("=")
        try:
            parameters[name.strip()] = float(value)
        except ValueError:
            raise typer.BadParameter(f"--set {text}: write name=value, as in --set nugget=0.1") from None
    return parameters
