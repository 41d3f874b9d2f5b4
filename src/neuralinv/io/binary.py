"""NumPy's `.npy` and `.npz`: checked from their headers before any memory is allocated, and never unpickled."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from neuralinv.io.errors import FileError

_KEYS = ("matrices", "arr_0")
FLOATS = ("float16", "float32", "float64", "complex64", "complex128")
"""What is stored as it is; integers are stored, too, and read as float64."""
_LARGEST_RATIO = 100
_HARMLESS = 1 << 30
_WHOLE = 2.0**53


def read_npy(path: Path, *, allow_nonfinite: bool = True) -> NDArray[Any]:
    """Read matrices from a `.npy` file.

    Returns
    -------
    Shape ``(batch, n, n)``, a single matrix as a batch of one; float16, float32, float64, complex64 and complex128 as
    stored, integers as float64.

    Raises
    ------
    FileError
        If the file is no array of numbers, not square, cut short, or cannot be read; also if it holds an integer that
        float64 would round.
    """
    with _explained(path), path.open("rb") as file:
        array = _read_array(str(path), file, path.stat().st_size)
        return _checked(path, array, allow_nonfinite)


def read_npy_table(path: Path) -> NDArray[np.float64]:
    """Read a table of real numbers ``(rows, columns)`` from a `.npy` file, one column perhaps flat, as float64.

    Raises
    ------
    FileError
        As :func:`read_npy`; also if the array has other dimensions, or holds complex numbers.
    """
    with _explained(path), path.open("rb") as file:
        array = _read_array(str(path), file, path.stat().st_size, _check_table)
        if array.dtype.kind == "c":
            raise FileError(f"{path}: holds {array.dtype}; expected real numbers")
        return _as_floats(path, array).astype(np.float64).reshape(len(array), -1)


def map_npy(path: Path) -> NDArray[Any]:
    """Map a `.npy` file of matrices into memory, read-only: what is not looked at is not read.

    Returns
    -------
    Shape ``(batch, n, n)``, a single matrix as a batch of one, in the dtype stored, byte order and integers included.

    Raises
    ------
    FileError
        As :func:`read_npy`.
    """
    with _explained(path):
        with path.open("rb") as file:
            shape, fortran, dtype = _read_header(str(path), file, path.stat().st_size, _check_shape)
            start = file.tell()
        array: NDArray[Any] = np.memmap(
            path, dtype=dtype, mode="r", offset=start, shape=shape, order="F" if fortran else "C"
        )
    return array if array.ndim == 3 else array[None]


def read_npz(path: Path, *, allow_nonfinite: bool = True) -> NDArray[Any]:
    """Read matrices from a `.npz` archive: its only array, or the one named ``matrices`` or ``arr_0``.

    Returns and raises as :func:`read_npy`; an archive whose contents are out of all proportion to the file (a "zip
    bomb") is refused.
    """
    with _explained(path), zipfile.ZipFile(path) as archive:
        member = _choose(path, archive)
        if member.file_size > max(_HARMLESS, _LARGEST_RATIO * member.compress_size):
            raise FileError(
                f"{path}: {member.filename} would unpack to {member.file_size:,} bytes from "
                f"{member.compress_size:,}; save it as .npy if it is meant"
            )
        # zipfile never hands out more than file_size bytes, whatever the compressed data say.
        with archive.open(member) as file:
            array = _read_array(f"{path}: {member.filename}", file, member.file_size)
            file.read(1)  # reaching the end checks the checksum
        return _checked(path, array, allow_nonfinite)


def write_npy(path: Path, matrices: NDArray[Any]) -> None:
    """Write an array as it is."""
    np.save(path, matrices, allow_pickle=False)


def write_npz(path: Path, matrices: NDArray[Any]) -> None:
    """Write an array under the name ``matrices``; not compressed, as random digits do not compress."""
    np.savez(path, matrices=matrices)


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except FileError:
        raise
    except OSError as error:
        raise FileError(f"{path}: cannot be read: {error.strerror or error}; check its permissions") from error
    except Exception as error:
        # A hostile file makes zipfile and NumPy raise nearly anything: BadZipFile, zlib.error, EOFError, SyntaxError…
        raise FileError(f"{path}: damaged, or not a NumPy file ({error}); copy or save it again") from error


def _choose(path: Path, archive: zipfile.ZipFile) -> zipfile.ZipInfo:
    members = {member.filename.removesuffix(".npy"): member for member in archive.infolist()}
    if len(members) < len(archive.infolist()):
        raise FileError(f"{path}: holds two arrays of one name; save the one that is meant alone")
    if len(members) == 1:
        return next(iter(members.values()))
    for key in _KEYS:
        if key in members:
            return members[key]
    found = ", ".join(sorted(members)[:5]) or "nothing"
    raise FileError(f"{path}: holds {found}; name the array of matrices 'matrices', or save it alone")


def _read_array(
    name: str, file: IO[bytes], size: int, check: Callable[[str, tuple[int, ...]], None] | None = None
) -> NDArray[Any]:
    shape, fortran, dtype = _read_header(name, file, size, check or _check_shape)
    # The header has been checked and consumed: the rest is plain numbers.
    body = math.prod(shape) * dtype.itemsize
    data = file.read(body)
    if len(data) != body:
        raise FileError(f"{name}: cut short; copy or save it again")
    array = np.frombuffer(bytearray(data), dtype=dtype)
    return array.reshape(shape, order="F" if fortran else "C")


def _read_header(
    name: str, file: IO[bytes], size: int, check: Callable[[str, tuple[int, ...]], None]
) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Read and check a header: shape, column-major or not, and dtype; ``size`` bytes are in the file."""
    version = npy.read_magic(file)
    if version not in ((1, 0), (2, 0)):
        raise FileError(f"{name}: .npy version {version} is not supported; save it again with numpy.save")
    read_header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, fortran, dtype = read_header(file)
    if dtype.kind not in "iu" and dtype.newbyteorder("=").name not in FLOATS:
        raise FileError(f"{name}: holds {dtype}, not numbers of half, single or double precision; save it as float64")
    check(name, shape)
    body = math.prod(shape) * dtype.itemsize
    if file.tell() + body != size:
        raise FileError(
            f"{name}: {size - file.tell():,} bytes of data where the header promises {body:,}; copy or save it again"
        )
    return shape, fortran, dtype


def _check_shape(name: str, shape: tuple[int, ...]) -> None:
    if len(shape) not in (2, 3) or shape[-1] != shape[-2] or any(length < 0 for length in shape):
        raise FileError(f"{name}: shape {shape}; expected (batch, n, n) or (n, n) with square matrices: reshape it")
    if math.prod(shape) == 0:
        raise FileError(f"{name}: shape {shape} holds no matrix; expected at least one")


def _check_table(name: str, shape: tuple[int, ...]) -> None:
    if len(shape) not in (1, 2) or any(length < 1 for length in shape):
        raise FileError(f"{name}: shape {shape}; expected (rows, columns), at least one row: reshape it")


def _as_floats(path: Path, array: NDArray[Any]) -> NDArray[Any]:
    """Return native floats: integers become float64, if it holds them."""
    native = np.float64 if array.dtype.kind in "iu" else array.dtype.newbyteorder("=")
    floats = np.ascontiguousarray(array, dtype=native)
    # Beyond 2⁵³ not every integer is a double; a double beyond the range of the integers has no way back.
    if array.dtype.kind in "iu" and array.dtype.itemsize == 8:
        exact = np.abs(floats) < _WHOLE
        exact[~exact] = [int(x) == int(y) for x, y in zip(array[~exact], floats[~exact], strict=True)]
        if not exact.all():
            value = int(array[~exact][0])
            raise FileError(f"{path}: holds the whole number {value}, which float64 rounds; save it as float64")
    return floats


def _checked(path: Path, array: NDArray[Any], allow_nonfinite: bool) -> NDArray[Any]:
    array = _as_floats(path, array)
    array = array.reshape(-1, *array.shape[-2:])
    if not allow_nonfinite:
        refuse_nonfinite_matrix(path, array)
    return array


def refuse_nonfinite_matrix(path: Path, matrices: NDArray[Any]) -> None:
    """Raise :class:`FileError` naming the first matrix of ``(batch, n, n)`` that holds NaN or infinity."""
    bad = ~np.isfinite(matrices).all((1, 2))
    if bad.any():
        raise FileError(
            f"{path}: matrix {int(bad.argmax())} (counted from 0) holds NaN or infinity; "
            f"only finite numbers are accepted here"
        )
