"""Intel MKL's compact routines, from PyPI's ``mkl`` package: LU factors and inverses of small matrices in SIMD lanes.

They do not pivot: fast, and wrong where a leading block is nearly singular. Each thread works through chunks that
stay in its cache, on MKL's sequential layer; a second OpenMP runtime beside torch's is asking for trouble.
"""

from __future__ import annotations

import ctypes
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_LP64, _SEQUENTIAL, _ROW_MAJOR = 0, 1, 101
_FORMATS = {181: "SSE", 182: "AVX", 183: "AVX-512"}
_MOST_LANES = 16
_CHUNK_BYTES = 256 << 10
_LETTERS = {"float32": "s", "float64": "d"}


class MKLMissingError(Exception):
    """MKL cannot be loaded; the message says what to do."""


@dataclass(frozen=True)
class CompactLibrary:
    """The loaded library and the layout that it prefers on this processor."""

    library: ctypes.CDLL
    format: int

    @property
    def description(self) -> str:
        """Name the layout."""
        return f"MKL compact, {_FORMATS.get(self.format, self.format)} layout"


@cache
def load_compact() -> CompactLibrary:
    """Load ``libmkl_rt``: LP64 integers, one thread.

    Raises
    ------
    MKLMissingError
        If it is not installed, or does not have the routines.
    """
    path = _find_library()
    if path is None:
        raise MKLMissingError("not installed: pip install mkl")
    try:
        library = ctypes.CDLL(str(path))
        library.MKL_Set_Interface_Layer(_LP64)
        library.MKL_Set_Threading_Layer(_SEQUENTIAL)
        return CompactLibrary(library, library.mkl_get_format_compact())
    except (OSError, AttributeError) as error:
        raise MKLMissingError(f"{path.name} cannot be used: {error}") from error


def _find_library() -> Path | None:
    try:
        listed = [Path(str(file.locate())) for file in files("mkl") or [] if "mkl_rt" in file.name]
    except PackageNotFoundError:
        listed = []
    beside = (Path(sys.prefix) / "lib").glob("libmkl_rt.*")
    return next((path for path in [*listed, *sorted(beside)] if path.exists()), None)


class CompactInverse:
    """Inverses of one batch, prepared so that a call does nothing but MKL's work.

    Parameters
    ----------
    A
        Shape ``(batch, n, n)``, float32 or float64.
    threads
        Python threads that share the chunks.
    """

    def __init__(self, A: NDArray[Any], threads: int) -> None:
        loaded = load_compact()
        self._A = np.ascontiguousarray(A)
        self.inverse = np.empty_like(self._A)
        matrix_bytes = self._A[0].nbytes
        size = max(1, _CHUNK_BYTES // matrix_bytes // _MOST_LANES) * _MOST_LANES
        size = min(size, -(-len(A) // threads))
        starts = range(0, len(A), size)
        shares = [list(starts[k::threads]) for k in range(min(threads, len(starts)))]
        self._shares = [[_Chunk(loaded, self._A, self.inverse, start, size) for start in share] for share in shares]
        self._pool = ThreadPoolExecutor(len(shares)) if len(shares) > 1 else None

    def with_packing(self) -> NDArray[Any]:
        """Pack, factorise, invert and unpack."""
        self._each("with_packing")
        return self.inverse

    def pack(self) -> None:
        """Pack once, for :meth:`without_packing`."""
        self._each("pack")

    def without_packing(self) -> None:
        """Copy what was packed, factorise and invert; the routines work in place."""
        self._each("without_packing")

    def unpack(self) -> NDArray[Any]:
        """Return what :meth:`without_packing` left."""
        self._each("unpack")
        return self.inverse

    def _each(self, step: str) -> None:
        def run(share: list[_Chunk]) -> None:
            for chunk in share:
                getattr(chunk, step)()

        if self._pool is None:
            run(self._shares[0])
        else:
            list(self._pool.map(run, self._shares))


class _Chunk:
    """Matrices from ``start`` on, with buffers of their own and every argument converted beforehand."""

    def __init__(self, loaded: CompactLibrary, A: NDArray[Any], X: NDArray[Any], start: int, size: int) -> None:
        count, n = min(size, len(A) - start), A.shape[-1]
        letter = _LETTERS[A.dtype.name]
        functions = {
            name: getattr(loaded.library, f"mkl_{letter}{name}_compact")
            for name in ("get_size", "gepack", "geunpack", "getrfnp", "getrinp")
        }
        entries = functions["get_size"](n, n, loaded.format, count) // A.itemsize
        self._packed, self._buffer = np.empty(entries, A.dtype), np.empty(entries, A.dtype)
        self._work = np.empty(n * _MOST_LANES, A.dtype)
        self._sources, self._targets = _pointers(A, start, count), _pointers(X, start, count)
        self._info = ctypes.c_int(0)
        work, info, layout = _address(self._work), ctypes.byref(self._info), (loaded.format, count)
        self._functions = functions

        def pack_into(buffer: NDArray[Any]) -> tuple[Any, ...]:
            return (_ROW_MAJOR, n, n, _address(self._sources), n, _address(buffer), n, *layout)

        buffer = _address(self._buffer)
        self._pack_packed, self._pack_buffer = pack_into(self._packed), pack_into(self._buffer)
        self._factorise = (_ROW_MAJOR, n, n, buffer, n, info, *layout)
        self._invert = (_ROW_MAJOR, n, buffer, n, work, self._work.size, info, *layout)
        self._unpack = (_ROW_MAJOR, n, n, _address(self._targets), n, buffer, n, *layout)

    def pack(self) -> None:
        self._functions["gepack"](*self._pack_packed)

    def with_packing(self) -> None:
        self._functions["gepack"](*self._pack_buffer)
        self._compute()
        self.unpack()

    def without_packing(self) -> None:
        self._buffer[:] = self._packed
        self._compute()

    def unpack(self) -> None:
        self._functions["geunpack"](*self._unpack)

    def _compute(self) -> None:
        self._functions["getrfnp"](*self._factorise)
        self._functions["getrinp"](*self._invert)


def _pointers(A: NDArray[Any], start: int, count: int) -> NDArray[np.uintp]:
    return (A.ctypes.data + (start + np.arange(count)) * A[0].nbytes).astype(np.uintp)


def _address(array: NDArray[Any]) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)
