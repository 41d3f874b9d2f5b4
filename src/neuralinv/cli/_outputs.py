"""What is found out about the files of a command before it works, not after it."""

from __future__ import annotations

import itertools
import os
from collections.abc import Mapping
from pathlib import Path

import typer

from neuralinv.io import atomic_path


def check_outputs(
    outputs: Mapping[str, Path | None], *, inputs: Mapping[str, Path | None] | None = None, plots: tuple[str, ...] = ()
) -> None:
    """Check that results will neither be lost nor replace what was read.

    Parameters
    ----------
    outputs, inputs
        Paths by the option that gave them; None where there is none.
    plots
        The outputs that matplotlib draws, in the format of their suffix.

    Raises
    ------
    typer.BadParameter
        If an output is an input or another output, or nothing here draws such a format.
    FileError
        If a file cannot be written.
    """
    written = {option: path for option, path in outputs.items() if path is not None}
    given = {option: path for option, path in (inputs or {}).items() if path is not None}
    others = itertools.combinations(written.items(), 2)
    for (option, path), (other, taken) in itertools.chain(others, itertools.product(written.items(), given.items())):
        if _same_file(path, taken):
            raise typer.BadParameter(f"{option} {path} is the file of {other}, too: give it another name")
    for option, path in written.items():
        if option in plots:
            from neuralinv.study.plots import check_format  # matplotlib, for those alone who plot

            check_format(path)
    for path in written.values():
        with atomic_path(path, probe=True):
            pass


def _same_file(one: Path, other: Path) -> bool:
    try:
        return os.path.samefile(one, other)
    except OSError:  # one of them is not there yet
        return os.path.realpath(one) == os.path.realpath(other)
