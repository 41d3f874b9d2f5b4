"""Numbers in text: one fast pass over a table of comma-separated values, and a slow one that finds what is wrong."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuralinv.io.errors import FileError


def read_lines(path: Path) -> list[str]:
    """Read the lines of a text file, without trailing blank ones.

    Raises
    ------
    FileError
        If the file is no UTF-8 text or holds nothing.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise FileError(f"{path}: is no UTF-8 text (byte {error.start}); check that this is the right file") from None
    lines = text.rstrip().splitlines()
    if not lines:
        raise FileError(f"{path}: is empty; it should hold at least one matrix")
    return lines


def parse_table(
    path: Path, rows: Sequence[str], columns: int, line_of: Callable[[int], int], *, allow_nonfinite: bool
) -> NDArray[np.float64]:
    """Parse rows of comma-separated numbers.

    Parameters
    ----------
    path
        For the messages.
    rows, columns
        The lines, and how many numbers each must hold.
    line_of
        From the index of a row to its line in the file, 1-based.
    allow_nonfinite
        Accept ``nan`` and ``inf``.

    Returns
    -------
    Shape ``(len(rows), columns)``.

    Raises
    ------
    FileError
        At the first ragged row, non-number or (unless allowed) non-finite number.
    """
    if {row.count(",") for row in rows} == {columns - 1}:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")  # numpy warns of text behind the numbers
                flat: NDArray[np.float64] = np.fromstring(",".join(rows), dtype=np.float64, sep=",")
        except (DeprecationWarning, ValueError):
            flat = np.empty(0)
        if flat.size == len(rows) * columns and (allow_nonfinite or bool(np.isfinite(flat).all())):
            return flat.reshape(len(rows), columns)
    return np.array(
        [_parse_row(path, row, columns, line_of(i), allow_nonfinite) for i, row in enumerate(rows)]
    ).reshape(len(rows), columns)


def format_rows(matrices: NDArray[Any], between_rows: str, between_matrices: str) -> str:
    """Write ``(count, n, m)`` real numbers so that they read back unchanged; ``count ≥ 1``.

    The text comes from one ``repr`` of nested lists: shortest round-trip digits at the speed of C.
    """
    text = repr(matrices.astype(np.float64).tolist())[3:-3]
    return text.replace("]], [[", between_matrices).replace("], [", between_rows).replace(", ", ",")


def _parse_row(path: Path, row: str, columns: int, line: int, allow_nonfinite: bool) -> list[float]:
    cells = row.split(",")
    if len(cells) != columns:
        raise FileError(
            f"{path}, line {line}: {len(cells)} numbers where {columns} are expected; every row needs as many as the first"
        )
    values = []
    for column, cell in enumerate(cells, 1):
        try:
            if "_" in cell:  # float() would take 1_000
                raise ValueError
            value = float(cell)
        except ValueError:
            shown = cell.strip()[:20] or "an empty cell"
            raise FileError(f"{path}, line {line}, column {column}: {shown!r} is no number; correct it") from None
        if not allow_nonfinite and not np.isfinite(value):
            raise FileError(
                f"{path}, line {line}, column {column}: {cell.strip()} is not finite; remove the matrix or correct it"
            )
        values.append(value)
    return values
