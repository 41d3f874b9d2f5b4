"""Numbers as comma-separated text: what the `.mx` and `.csv` formats share."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuralinv.io.errors import FileError

_CHUNK = 10_000
"""Matrices formatted at once."""


def read_lines(path: Path) -> list[str]:
    """Read the lines of a UTF-8 file, without their ends and surrounding blanks; line ``i`` is element ``i − 1``.

    Raises
    ------
    FileError
        If the file cannot be read, or is not UTF-8.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise FileError(f"{path}: cannot be read: {error.strerror}; check its name and permissions") from error
    try:
        text = data.decode("utf-8-sig")  # spreadsheets begin files with a byte order mark
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise FileError.at(path, line, "not UTF-8 text; save the file as plain text (UTF-8)") from error
    return [line.strip() for line in text.split("\n")]


def parse_table(rows: Sequence[str]) -> NDArray[np.float64] | None:
    """Parse comma-separated rows, all of one length; None if anything is wrong with any of them.

    Returns shape ``(rows, columns)``. About 0.5 µs a number; :func:`parse_row` finds out what is wrong.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            return np.loadtxt(rows, dtype=np.float64, delimiter=",", comments=None, ndmin=2)
    except (ValueError, UserWarning):
        return None


def parse_row(path: Path, line: int, row: str) -> list[float]:
    """Parse one row strictly.

    Raises
    ------
    FileError
        Naming the first field that is not a number.
    """
    numbers = []
    for position, field in enumerate(row.split(","), 1):
        text = field.strip()
        try:
            # float() also takes 1_000 and the digits of other scripts.
            if "_" in text or not text.isascii():
                raise ValueError
            numbers.append(float(text))
        except ValueError:
            raise FileError.at(path, line, _not_a_number(row, text, position)) from None
    return numbers


def _not_a_number(row: str, text: str, position: int) -> str:
    if ";" in row:
        return "fields are separated by ';'; write commas between numbers and a point before decimals"
    if not text:
        return f"field {position} is empty; write a number there, or remove the comma"
    shown = text if len(text) <= 40 else text[:40] + "…"
    return f"field {position}, {shown!r}, is not a number; correct it"


def refuse_nonfinite(path: Path, values: NDArray[np.float64], line_of: Callable[[int], int]) -> None:
    """Raise :class:`FileError` at the first NaN or infinity of ``values``, shape ``(rows, columns)``.

    ``line_of`` maps the index of a row to its line in the file.
    """
    bad = ~np.isfinite(values).all(1)
    if bad.any():
        row = int(bad.argmax())
        column = int((~np.isfinite(values[row])).argmax())
        problem = f"field {column + 1} is {values[row, column]}; only finite numbers are accepted here"
        raise FileError.at(path, line_of(row), problem)


def write_text(
    path: Path,
    matrices: NDArray[Any],
    template: Callable[[str], str],
    *,
    header: str = "",
    digits: int | None = None,
    progress: Callable[[int], object] | None = None,
) -> None:
    """Write matrices as text into ``path`` (not atomically: the caller sees to that).

    Parameters
    ----------
    matrices
        Shape ``(batch, n, n)``, real.
    template
        Maps the format of one number, such as ``"%r"``, to that of a whole matrix.
    header
        What the file begins with.
    digits
        Decimals after the point; None writes the shortest text that reads back as the same float64.
    progress
        Called with the number of matrices written, a chunk at a time.

    Notes
    -----
    About 1 µs a number at full precision, 0.25 µs at four decimals.
    """
    whole = template("%r" if digits is None else f"%.{digits}f")
    batch = matrices.shape[0]
    with path.open("w", encoding="ascii", newline="\n") as file:
        file.write(header)
        for start in range(0, batch, _CHUNK):
            part = matrices[start : start + _CHUNK].astype(np.float64)
            # One formatting call for thousands of matrices: no Python code runs for each number.
            file.write(whole * len(part) % tuple(part.ravel().tolist()))
            if progress is not None:
                progress(len(part))
