"""`neuralinv verify`: check a file of inverses, or pseudo-inverses, against its matrices."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

from neuralinv.cli._console import console
from neuralinv.dense.verify import Verification, check_inverses, check_pseudo_inverses
from neuralinv.io import FileError, read_matrices

_SHOWN = 10


def verify(
    matrices: Annotated[Path, typer.Argument(metavar="MATRICES", help="Matrices: .mx, .npy, .npz, .mtx or .csv.")],
    inverses: Annotated[Path, typer.Argument(metavar="INVERSES", help="Their inverses, in the same order.")],
    singular: Annotated[
        bool, typer.Option("--singular", help="INVERSES are pseudo-inverses: check the four Moore–Penrose conditions.")
    ] = False,
    tolerance: Annotated[
        float, typer.Option(min=0.0, help="Largest residual relative to ‖A‖‖X‖; text of 4 decimals needs about 1e-3.")
    ] = 1e-6,
) -> None:
    """Check that AX = I, or the Moore–Penrose conditions, and name the first offenders; exit code 1 if there are
    any.
    """
    A, X = read_pair(matrices, inverses)
    check: Verification = (check_pseudo_inverses if singular else check_inverses)(A, X, tolerance)
    wrong = np.flatnonzero(~check.passed)
    what = "pseudo-inverses" if singular else "inverses"
    if not len(wrong):
        worst = f"{check.residual.max():.1e}"
        console.print(f"all {len(A):,} {what} hold; largest relative residual {worst}", markup=False)
        return
    console.print(f"{len(wrong):,} of {len(A):,} {what} fail at tolerance {tolerance:.0e}:", markup=False)
    for index in wrong[:_SHOWN]:
        console.print(f"  matrix {index}: relative residual {check.residual[index]:.1e}", markup=False)
    if len(wrong) > _SHOWN:
        console.print(f"  … and {len(wrong) - _SHOWN:,} more", markup=False)
    raise typer.Exit(1)


def read_pair(matrices: Path, inverses: Path) -> tuple[NDArray[Any], NDArray[Any]]:
    """Read matrices and as many inverses of the same size; NaN among the inverses is for the check to find."""
    A, X = read_matrices(matrices, allow_nonfinite=False), read_matrices(inverses, allow_nonfinite=True)
    if A.shape != X.shape:
        raise FileError(f"{inverses}: shape {X.shape} differs from that of {matrices}, {A.shape}; expected the same")
    return A, X
