"""`neuralinv generate`: files of matrices with their inverses, and of singular ones with their pseudo-inverses."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from torch import Tensor

from neuralinv.cli._console import console, counting
from neuralinv.cli._limits import LARGEST_COUNT, LARGEST_SEED, LARGEST_SIZE
from neuralinv.dense import inv_ex
from neuralinv.dense.verify import Verification, check_inverses, check_pseudo_inverses
from neuralinv.families import FAMILIES, get_family
from neuralinv.families.singular import pseudo_inverses, singular_matrices
from neuralinv.io import FORMATS, write_matrices

_CHUNK = 100_000


def generate(
    out: Annotated[Path, typer.Option(help="Folder for the four files.")],
    family: Annotated[str, typer.Option(help=f"Where the matrices come from: {', '.join(FAMILIES)}.")] = "uniform",
    size: Annotated[int, typer.Option(min=1, max=LARGEST_SIZE, help="n: matrices are n×n.")] = 3,
    count: Annotated[int, typer.Option(min=1, max=LARGEST_COUNT, help="Matrices of each kind.")] = 10_000,
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
    seed: Annotated[int, typer.Option(min=0, max=LARGEST_SEED, help="The same seed gives the same files.")] = 0,
) -> None:
    """Write matrices, their inverses, singular matrices of random rank and their pseudo-inverses.

    Nothing is written if `neuralinv verify` would refuse any of the inverses.
    """
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
            parts = (A, checked_inverses(A), singular, checked_pseudo_inverses(singular, ranks))
            for pieces, part in zip(kinds.values(), parts, strict=True):
                pieces.append(part)
            advance(k)
    with counting("writing", len(kinds) * count) as advance:
        for kind, pieces in kinds.items():
            write_matrices(out / f"{kind}{suffix}", torch.cat(pieces).numpy(), progress=advance)
    for kind in kinds:
        console.print(f"{count:>12,} {size}×{size}  {out / (kind + suffix)}", markup=False)


def checked_inverses(A: Tensor) -> Tensor:
    """Invert matrices ``(count, n, n)`` in double precision, for files that others are compared with.

    Raises
    ------
    ValueError
        If a matrix is not finite, or what was computed is not its inverse: it is singular, or so nearly that double
        precision cannot tell.
    """
    X, _ = inv_ex(A)
    _refuse("matrices", A, X, check_inverses)
    return X


def checked_pseudo_inverses(matrices: Tensor, ranks: Tensor) -> Tensor:
    """Return the pseudo-inverses of singular matrices ``(count, n, n)`` of known rank.

    Raises
    ------
    ValueError
        If a matrix is not finite, or what was computed is not its pseudo-inverse.
    """
    finite = torch.isfinite(matrices)
    X = pseudo_inverses(torch.where(finite.flatten(1).all(1)[:, None, None], matrices, 0), ranks)
    _refuse("singular matrices", matrices, X, check_pseudo_inverses)
    return X


def _refuse(kind: str, A: Tensor, X: Tensor, check: Callable[..., Verification]) -> None:
    wrong = np.flatnonzero(~check(A.numpy(), X.numpy()).passed)
    if len(wrong):
        why = "have no inverse that double precision can tell" if bool(torch.isfinite(A).all()) else "are not finite"
        raise ValueError(
            f"{len(wrong):,} of {len(A):,} {kind} {why}, the first at index {wrong[0]}; nothing was written: choose "
            "other parameters of the family, or elements of another size"
        )


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
