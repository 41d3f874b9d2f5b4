"""Matrix Market (`.mtx`): one matrix per file, dense or sparse.

Read here and not by SciPy: ``scipy.io.mmread`` (1.17) crashes the interpreter on files that are cut short in the middle
of a number. Format: Boisvert, Pozo & Remington, *The Matrix Market Exchange Formats*, NISTIR 5935 (1996).
"""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import scipy.io
from numpy.typing import NDArray

from neuralinv.io._text import parse_row, parse_table, read_lines
from neuralinv.io.binary import refuse_nonfinite_matrix
from neuralinv.io.errors import FileError

_LARGEST_SIZE = 10_000
"""Rows of the largest matrix read: 800 MB as float64."""
_FIELDS = ("real", "integer", "unsigned-integer", "double", "complex")
_SYMMETRIES = ("general", "symmetric", "skew-symmetric", "hermitian")


class _Layout(NamedTuple):
    sparse: bool
    complex: bool
    symmetry: str
    size: int
    lines: int
    """Lines of numbers that the header announces."""


def read_matrix_market(path: Path, *, allow_nonfinite: bool = True) -> NDArray[Any]:
    """Read the matrix of a `.mtx` file, as a dense one; duplicate sparse entries are summed.

    Returns
    -------
    float64 (complex128) of shape ``(1, n, n)``.

    Raises
    ------
    FileError
        Naming file, line and remedy, if the file is no Matrix Market file, has no values, is not square, is larger than
        10,000×10,000, or holds other entries than it announces.
    """
    every = read_lines(path)
    numbered = [(number, line) for number, line in enumerate(every, 1) if line and not line.startswith("%")]
    layout = _parse_header(path, every[0], numbered)
    body = numbered[1:]
    if len(body) != layout.lines:
        where = body[layout.lines][0] if len(body) > layout.lines else len(every)
        raise FileError.at(
            path,
            where,
            f"{len(body):,} entries, and the header announces {layout.lines:,}; copy or save the file again",
        )
    numbers = _parse_numbers(path, body, 2 * layout.sparse + 1 + layout.complex)
    values = numbers[:, -2] + 1j * numbers[:, -1] if layout.complex else numbers[:, -1]
    if layout.sparse:
        rows, columns = _indices(path, body, numbers, layout.size)
    else:
        rows, columns = _dense_indices(layout.symmetry, layout.size)

    _check_symmetry(path, body, layout, rows, columns, values)
    matrix = np.zeros((layout.size, layout.size), dtype=values.dtype)
    np.add.at(matrix, (rows, columns), values)
    if layout.symmetry != "general":
        off = rows != columns
        mirrored = {"symmetric": values, "skew-symmetric": -values, "hermitian": values.conj()}[layout.symmetry]
        np.add.at(matrix, (columns[off], rows[off]), mirrored[off])
    if not allow_nonfinite:
        refuse_nonfinite_matrix(path, matrix[None])
    return matrix[None]


def write_matrix_market(path: Path, matrices: NDArray[Any]) -> None:
    """Write the one matrix of ``(1, n, n)`` in full precision."""
    # Through memory: SciPy's own file writer does not notice a full disk.
    buffer = io.BytesIO()
    wide = np.complex128 if matrices.dtype.kind == "c" else np.float64
    scipy.io.mmwrite(buffer, matrices[0].astype(wide), symmetry="general")
    path.write_bytes(buffer.getvalue())


def _parse_header(path: Path, banner: str, numbered: list[tuple[int, str]]) -> _Layout:
    words = banner.lower().split()
    if len(words) != 5 or words[:2] != ["%%matrixmarket", "matrix"] or words[2] not in ("array", "coordinate"):
        raise FileError.at(path, 1, "not a Matrix Market header; write the file with scipy.io.mmwrite")
    sparse, field, symmetry = words[2] == "coordinate", words[3], words[4]
    if field == "pattern":
        raise FileError.at(path, 1, "a pattern of entries, without their numbers; write the numbers too")
    if field not in _FIELDS or symmetry not in _SYMMETRIES:
        raise FileError.at(path, 1, f"{field} {symmetry} is unknown; write the file with scipy.io.mmwrite")
    number, line = numbered[0] if numbered else (1, "")
    sizes = line.split()
    if len(sizes) != 2 + sparse or not all(re.fullmatch("[0-9]{1,18}", size) for size in sizes):
        raise FileError.at(path, number, "the size of the matrix is missing; write the file with scipy.io.mmwrite")
    rows, columns, *entries = (int(size) for size in sizes)
    if rows != columns or rows < 1:
        raise FileError.at(path, number, f"the matrix is {rows}×{columns}; expected a square one")
    if rows > _LARGEST_SIZE:
        raise FileError.at(
            path, number, f"the matrix is {rows:,}×{rows:,}; at most {_LARGEST_SIZE:,} rows are read from .mtx"
        )
    lines = entries[0] if sparse else _dense_count(symmetry, rows)
    return _Layout(sparse, field == "complex", symmetry, rows, lines)


def _dense_count(symmetry: str, size: int) -> int:
    if symmetry == "general":
        return size * size
    return size * (size - 1 if symmetry == "skew-symmetric" else size + 1) // 2


def _dense_indices(symmetry: str, size: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Rows and columns of the entries stored in a dense file: column by column, the lower triangle of a symmetric
    matrix.
    """
    if symmetry == "general":
        columns, rows = np.divmod(np.arange(size * size), size)
    else:
        columns, rows = np.triu_indices(size, 1 if symmetry == "skew-symmetric" else 0)
    return rows, columns


def _parse_numbers(path: Path, body: list[tuple[int, str]], width: int) -> NDArray[np.float64]:
    if not body:
        return np.empty((0, width))
    rows = [",".join(line.split()) for _, line in body]
    table = parse_table(rows)
    if table is not None and table.shape == (len(rows), width):
        return table
    parsed = []
    for (number, _), row in zip(body, rows, strict=True):
        parsed.append(parse_row(path, number, row))
        if len(parsed[-1]) != width:
            raise FileError.at(path, number, f"{len(parsed[-1])} numbers; every line of this file needs {width}")
    return np.array(parsed)


def _check_symmetry(
    path: Path,
    body: list[tuple[int, str]],
    layout: _Layout,
    rows: NDArray[np.intp],
    columns: NDArray[np.intp],
    values: NDArray[Any],
) -> None:
    """Refuse entries that contradict the symmetry which the header announces, or that it would count twice."""
    diagonal, below, above = rows == columns, rows > columns, rows < columns
    wrong = {
        "skew-symmetric": diagonal & (values != 0),
        "hermitian": diagonal & (values.imag != 0),
    }.get(layout.symmetry, np.zeros(len(values), dtype=bool))
    if layout.symmetry != "general":
        wrong |= above & np.isin(columns * layout.size + rows, (rows * layout.size + columns)[below])
    if wrong.any():
        first = int(wrong.argmax())
        why = "cannot be on the diagonal" if diagonal[first] else "is stored on the other side of the diagonal, too"
        raise FileError.at(path, body[first][0], f"the entry {why} of a {layout.symmetry} matrix; write it as general")


def _indices(
    path: Path, body: list[tuple[int, str]], numbers: NDArray[np.float64], size: int
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    index = numbers[:, :2]
    wrong = ~((index >= 1) & (index <= size) & (index == np.floor(index))).all(1)
    if wrong.any():
        raise FileError.at(path, body[int(wrong.argmax())][0], f"row and column must be whole numbers from 1 to {size}")
    return index[:, 0].astype(np.intp) - 1, index[:, 1].astype(np.intp) - 1
