"""Matrix Market (`.mtx`): one matrix per file, dense or sparse, read and written by SciPy."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import scipy.io
from numpy.typing import NDArray

from neuralinv.io.binary import refuse_nonfinite_matrix
from neuralinv.io.errors import FileError

_LARGEST_SIZE = 10_000
"""Rows of the largest matrix read: 800 MB as float64."""


def read_matrix_market(path: Path, *, allow_nonfinite: bool = True) -> NDArray[Any]:
    """Read the matrix of a `.mtx` file, as a dense one.

    Returns
    -------
    float64 (complex128) of shape ``(1, n, n)``.

    Raises
    ------
    FileError
        If the file is no Matrix Market file, has no values, is not square, or is larger than 10,000×10,000.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise FileError(f"{path}: cannot be read: {error.strerror}; check its permissions") from error
    try:
        rows, columns, entries, layout, field, _ = scipy.io.mminfo(io.BytesIO(data))
    except Exception as error:
        raise FileError(f"{path}: not a Matrix Market file ({error}); write it with scipy.io.mmwrite") from error
    if rows != columns or rows < 1:
        raise FileError(f"{path}: the matrix is {rows}×{columns}; expected a square one")
    if rows > _LARGEST_SIZE:
        raise FileError(f"{path}: the matrix is {rows}×{rows}; at most {_LARGEST_SIZE:,} rows are read from .mtx")
    if field == "pattern":
        raise FileError(f"{path}: holds the pattern of a matrix, without its numbers; write the numbers too")
    # A sparse entry takes at least "1 1 1" and a line end, half a symmetric dense matrix a digit and a line end.
    least = 5 * entries if layout == "coordinate" else rows * (rows - 1)
    if least > len(data):
        raise FileError(f"{path}: too short for the {entries:,} entries that it announces; copy or save it again")
    try:
        matrix = scipy.io.mmread(io.BytesIO(data))
    except Exception as error:
        raise FileError(f"{path}: {error}; correct that line, or write the file again") from error
    dense = np.asarray(matrix if isinstance(matrix, np.ndarray) else matrix.toarray())
    dense = np.ascontiguousarray(dense, dtype=np.complex128 if dense.dtype.kind == "c" else np.float64)[None]
    if not allow_nonfinite:
        refuse_nonfinite_matrix(path, dense)
    return dense


def write_matrix_market(path: Path, matrices: NDArray[Any]) -> None:
    """Write the one matrix of ``(1, n, n)`` in full precision."""
    # Through memory: SciPy's own file writer does not notice a full disk.
    buffer = io.BytesIO()
    scipy.io.mmwrite(buffer, matrices[0], symmetry="general")
    path.write_bytes(buffer.getvalue())
