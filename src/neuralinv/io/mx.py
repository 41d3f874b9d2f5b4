"""`.mx` text: one comma-separated row per line, and a line `END` after each matrix."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuralinv.io._text import parse_row, parse_table, read_lines, refuse_nonfinite, write_text
from neuralinv.io.errors import FileError


def read_mx(path: Path, *, allow_nonfinite: bool = True) -> NDArray[Any]:
    """Read the matrices of a `.mx` file.

    Blank lines, blanks around numbers, Windows line ends and a byte order mark do no harm.

    Parameters
    ----------
    path
        The file.
    allow_nonfinite
        Read ``nan`` and ``inf``; otherwise they are an error.

    Returns
    -------
    float64 of shape ``(batch, n, n)``.

    Raises
    ------
    FileError
        Naming file, line and remedy: an empty file, a ragged row, something that is no number, a missing ``END``, a
        matrix that is not square, or matrices of several sizes.

    Notes
    -----
    About 0.5 µs a number; a file with an error is read a second time, line by line, to say where.
    """
    every = read_lines(path)
    lines = [line for line in every if line]
    matrices = _parse_regular(lines)
    if matrices is None:
        matrices = _parse_strictly(path, every)
    if not allow_nonfinite:
        n = matrices.shape[-1]

        def line_of(row: int) -> int:
            filled = [number for number, line in enumerate(every, 1) if line]
            return filled[row + row // n]  # one END after n rows

        refuse_nonfinite(path, matrices.reshape(-1, n), line_of)
    return matrices


def write_mx(
    path: Path,
    matrices: NDArray[Any],
    *,
    digits: int | None = None,
    progress: Callable[[int], object] | None = None,
) -> None:
    """Write real matrices ``(batch, n, n)`` as `.mx` text; see :func:`neuralinv.io.write_matrices`."""
    n = matrices.shape[-1]
    write_text(
        path,
        matrices,
        lambda number: (",".join([number] * n) + "\n") * n + "END\n",
        digits=digits,
        progress=progress,
    )


def _parse_regular(lines: list[str]) -> NDArray[np.float64] | None:
    """Parse a file without errors; None for any other."""
    if "END" not in lines:
        return None
    n = lines.index("END")
    count, rest = divmod(len(lines), n + 1)
    if n == 0 or rest or lines[n :: n + 1].count("END") != count:
        return None
    rows = lines.copy()
    del rows[n :: n + 1]
    table = parse_table(rows)
    if table is None or table.shape != (count * n, n):
        return None
    return table.reshape(count, n, n)


def _parse_strictly(path: Path, lines: list[str]) -> NDArray[np.float64]:
    """Parse line by line and raise at the first error."""
    matrices: list[list[list[float]]] = []
    rows: list[list[float]] = []
    last = 0
    for number, line in enumerate(lines, 1):
        if not line:
            continue
        last = number
        if line != "END":
            row = parse_row(path, number, line)
            if rows and len(row) != len(rows[0]):
                raise FileError.at(
                    path, number, f"ragged: {len(row)} numbers, and {len(rows[0])} in the rows above; make them equal"
                )
            rows.append(row)
            continue
        _check_block(path, number, rows, len(matrices[0]) if matrices else None)
        matrices.append(rows)
        rows = []
    if rows:
        raise FileError.at(path, last, "END is missing after the last matrix; add it, if the file is complete")
    if not matrices:
        raise FileError(f"{path}: empty; expected matrices, one row per line and END after each")
    return np.array(matrices)


def _check_block(path: Path, number: int, rows: list[list[float]], size: int | None) -> None:
    if not rows:
        raise FileError.at(path, number, "END without a matrix before it; remove the line")
    height, width = len(rows), len(rows[0])
    if height != width:
        hint = "is an END missing?" if height % width == 0 else "add or remove rows"
        raise FileError.at(path, number, f"the matrix that ends here is {height}×{width}, not square; {hint}")
    if size is not None and height != size:
        raise FileError.at(
            path,
            number,
            f"the matrix that ends here is {height}×{height}, and those before are {size}×{size}; "
            f"keep one size in a file",
        )
