"""Matrices in files: readers that trust nothing, writers that leave nothing half-written."""

from __future__ import annotations

import os
from collections.abc import Callable
from numbers import Integral
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from neuralinv.io.atomic import atomic_path
from neuralinv.io.binary import FLOATS, map_npy, read_npy, read_npz, write_npy, write_npz
from neuralinv.io.csv_format import read_csv, write_csv
from neuralinv.io.errors import FileError
from neuralinv.io.matrix_market import read_matrix_market, write_matrix_market
from neuralinv.io.mx import read_mx, write_mx
from neuralinv.io.parameters import read_parameters

__all__ = [
    "FORMATS",
    "FileError",
    "atomic_path",
    "check_writable",
    "open_matrices",
    "read_matrices",
    "read_parameters",
    "write_matrices",
]


class _Reader(Protocol):
    def __call__(self, path: Path, *, allow_nonfinite: bool = True) -> NDArray[Any]: ...


_READERS: dict[str, _Reader] = {
    ".mx": read_mx,
    ".npy": read_npy,
    ".npz": read_npz,
    ".mtx": read_matrix_market,
    ".csv": read_csv,
}
_TEXT_WRITERS = {".mx": write_mx, ".csv": write_csv}
_BINARY_WRITERS = {".npy": write_npy, ".npz": write_npz}

FORMATS = tuple(_READERS)
"""The suffixes that can be read and written."""


def read_matrices(path: str | os.PathLike[str], *, allow_nonfinite: bool = True) -> NDArray[Any]:
    """Read a file of square matrices; its suffix says the format.

    Parameters
    ----------
    path
        A file with one of the suffixes :data:`FORMATS`.
    allow_nonfinite
        Read NaN and infinity as they are; otherwise they are an error that says where.

    Returns
    -------
    Shape ``(batch, n, n)`` with at least one matrix. float64 from text; from `.npy` and `.npz` the dtype stored there
    (integers become float64).

    Raises
    ------
    FileError
        If the file is missing, of unknown format, or not what its format asks for: one line naming the file, the line
        in it, and the remedy.
    """
    path, suffix = _ordinary_file(path)
    return _READERS[suffix](path, allow_nonfinite=allow_nonfinite)


def open_matrices(path: str | os.PathLike[str]) -> NDArray[Any]:
    """Open a file of square matrices of which only some will be looked at.

    Returns
    -------
    Shape ``(batch, n, n)``: a `.npy` file is mapped into memory, read-only, in the dtype and byte order stored there;
    other formats are read as by :func:`read_matrices`.

    Raises
    ------
    FileError
        As :func:`read_matrices`; NaN and infinity are not looked for.
    """
    path, suffix = _ordinary_file(path)
    return map_npy(path) if suffix == ".npy" else _READERS[suffix](path)


def write_matrices(
    path: str | os.PathLike[str],
    matrices: NDArray[Any],
    *,
    digits: int | None = None,
    progress: Callable[[int], object] | None = None,
) -> None:
    """Write square matrices to a file, all of it or nothing; its suffix says the format.

    Parameters
    ----------
    path
        A file with one of the suffixes :data:`FORMATS`; missing folders are made.
    matrices
        Shape ``(batch, n, n)`` or ``(n, n)``, at least one matrix. `.npy` and `.npz` keep the dtype; text is float64,
        and real (`.mtx` may be complex); `.mtx` holds one matrix.
    digits
        Decimals after the point in `.mx` and `.csv`; None writes the shortest text that reads back the same.
    progress
        Called with the number of matrices written, a part at a time.

    Raises
    ------
    FileError
        If the format cannot hold these matrices, or the file cannot be written.
    ValueError
        If ``matrices`` is not a non-empty batch of square matrices of numbers, or ``digits`` does not apply.
    """
    path, matrices = Path(path), np.asarray(matrices)
    check_writable(path, matrices)
    suffix = _known_suffix(path)
    whole = not isinstance(digits, bool) and isinstance(digits, Integral)
    if digits is not None and not (whole and suffix in _TEXT_WRITERS and 0 <= digits <= 100):
        raise ValueError(f"digits={digits!r} for {path.name}; expected a whole number from 0 to 100, for .mx or .csv")
    matrices = matrices.reshape(-1, *matrices.shape[-2:])
    with atomic_path(path) as temporary:
        if suffix in _TEXT_WRITERS:
            _TEXT_WRITERS[suffix](temporary, matrices, digits=digits, progress=progress)
            return
        if suffix == ".mtx":
            write_matrix_market(temporary, matrices)
        else:
            _BINARY_WRITERS[suffix](temporary, matrices)
        if progress is not None:
            progress(len(matrices))


def check_writable(path: str | os.PathLike[str], matrices: NDArray[Any]) -> None:
    """Raise what :func:`write_matrices` raises for matrices of this shape and dtype."""
    path, matrices = Path(path), np.asarray(matrices)
    suffix = _known_suffix(path)
    if matrices.ndim not in (2, 3) or matrices.shape[-1] != matrices.shape[-2] or not matrices.size:
        raise ValueError(f"matrices have shape {matrices.shape}; expected (batch, n, n), at least one square matrix")
    if matrices.dtype.kind not in "iu" and matrices.dtype.newbyteorder("=").name not in FLOATS:
        raise ValueError(f"matrices have dtype {matrices.dtype}; expected one of {', '.join(FLOATS)}, or integers")
    if suffix in _TEXT_WRITERS and matrices.dtype.kind == "c":
        raise FileError(f"{path}: {suffix} holds real numbers only; write complex ones to .npy, .npz or .mtx")
    if suffix == ".mtx" and matrices.ndim == 3 and len(matrices) > 1:
        raise FileError(
            f"{path}: .mtx holds one matrix, and there are {len(matrices):,}; write .npy, .npz, .mx or .csv"
        )


def _ordinary_file(path: str | os.PathLike[str]) -> tuple[Path, str]:
    path = Path(path)
    suffix = _known_suffix(path)
    if not path.exists():
        raise FileError(f"{path}: no such file; check the name")
    if not path.is_file():
        raise FileError(f"{path}: not an ordinary file; give the name of a {suffix} file")
    return path, suffix


def _known_suffix(path: Path) -> str:
    suffix = path.suffix.lower()
    if suffix not in FORMATS:
        raise FileError(f"{path}: unknown format {suffix or '(no suffix)'!r}; known are {', '.join(FORMATS)}")
    return suffix
