"""`.csv`: what spreadsheets exchange.

One rule, so that no file can be read in two ways. A file that begins with the header ``a11,a12,…,ann`` (``a1_1,…`` from
n = 10 on) holds one matrix per line, its n² numbers row by row; every written file does. Without a header, a file of n
lines with n numbers each is one n×n matrix, and any other file holds one matrix per line.
"""

from __future__ import annotations

from collections.abc import Callable
from math import isqrt
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuralinv.io._text import parse_row, parse_table, read_lines, refuse_nonfinite, write_text
from neuralinv.io.errors import FileError


def read_csv(path: Path, *, allow_nonfinite: bool = True) -> NDArray[Any]:
    """Read the matrices of a `.csv` file, by the rule of this module.

    Returns
    -------
    float64 of shape ``(batch, n, n)``.

    Raises
    ------
    FileError
        Naming file, line and remedy: an empty file, a ragged row, something that is no number, a header that is not
        understood, or lines whose length is no square number.
    """
    lines = [(number, line) for number, line in enumerate(read_lines(path), 1) if line]
    if not lines:
        raise FileError(f"{path}: empty; expected one matrix per line, or the rows of one matrix")
    has_header = _is_header(path, *lines[0])
    rows = lines[1:] if has_header else lines
    if not rows:
        raise FileError(f"{path}: a header and no matrix; add the matrices, one per line")

    table = parse_table([line for _, line in rows])
    if table is None or len(table) != len(rows):
        table = _parse_strictly(path, rows)
    height, width = table.shape
    if has_header and width != lines[0][1].count(",") + 1:
        raise FileError.at(path, rows[0][0], f"{width} numbers under a header of other length; make them equal")
    if not allow_nonfinite:
        refuse_nonfinite(path, table, lambda row: rows[row][0])
    if height == width and not has_header:
        return table[None]
    n = isqrt(width)
    if n * n != width:
        raise FileError.at(
            path,
            rows[0][0],
            f"{height} rows of {width} numbers are neither one square matrix nor one matrix per line "
            f"(1, 4, 9, 16, … numbers)",
        )
    return table.reshape(height, n, n)


def write_csv(
    path: Path,
    matrices: NDArray[Any],
    *,
    digits: int | None = None,
    progress: Callable[[int], object] | None = None,
) -> None:
    """Write real matrices ``(batch, n, n)``, one per line under a header; see :func:`neuralinv.io.write_matrices`."""
    n = matrices.shape[-1]
    write_text(
        path,
        matrices,
        lambda number: ",".join([number] * (n * n)) + "\n",
        header=",".join(_header(n)) + "\n",
        digits=digits,
        progress=progress,
    )


def _header(n: int) -> list[str]:
    joint = "" if n < 10 else "_"
    return [f"a{i}{joint}{j}" for i in range(1, n + 1) for j in range(1, n + 1)]


def _is_header(path: Path, number: int, line: str) -> bool:
    # Only a letter begins a header: a first line that is merely misspelt is an error of its own.
    names = [field.strip().strip('"').lower() for field in line.split(",")]
    n = isqrt(len(names))
    if names == _header(n):
        return True
    if names[0][:1].isalpha() and names[0] not in ("nan", "inf", "infinity"):
        wanted = ",".join(_header(n)[:2] if n > 1 else ["a11"])
        raise FileError.at(path, number, f"header not understood; expected {wanted}, … for n² columns, or no header")
    return False


def _parse_strictly(path: Path, rows: list[tuple[int, str]]) -> NDArray[np.float64]:
    table: list[list[float]] = []
    for number, line in rows:
        row = parse_row(path, number, line)
        if table and len(row) != len(table[0]):
            raise FileError.at(
                path, number, f"ragged: {len(row)} numbers, and {len(table[0])} in the rows above; make them equal"
            )
        table.append(row)
    return np.array(table)
