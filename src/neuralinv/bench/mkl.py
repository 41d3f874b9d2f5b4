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
        self._shares = []
        for share in shares:
            scratch = _Scratch(loaded, self._A, size)  # one for each thread: it stays in the cache
            self._shares.append([_Chunk(loaded, self._A, self.inverse, start, size, scratch) for start in share])
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


class _Scratch:
    """A packed chunk and MKL's workspace, used again for every chunk of a thread."""

    def __init__(self, loaded: CompactLibrary, A: NDArray[Any], size: int) -> None:
        n = A.shape[-1]
        get_size = getattr(loaded.library, f"mkl_{_LETTERS[A.dtype.name]}get_size_compact")
        self.packed = np.empty(get_size(n, n, loaded.format, size) // A.itemsize, A.dtype)
        self.work = np.empty(n * _MOST_LANES, A.dtype)


class _Chunk:
    """Matrices from ``start`` on; every argument is converted beforehand."""

    def __init__(
        self,
        loaded: CompactLibrary,
        A: NDArray[Any],
        X: NDArray[Any],
        start: int,
        size: int,
        scratch: _Scratch,
    ) -> None:
        count, self._n = min(size, len(A) - start), A.shape[-1]
        self._functions = {
            name: getattr(loaded.library, f"mkl_{_LETTERS[A.dtype.name]}{name}_compact")
            for name in ("gepack", "geunpack", "getrfnp", "getrinp")
        }
        self._sources, self._targets = _pointers(A, start, count), _pointers(X, start, count)
        self._scratch, self._info, self._layout = scratch, ctypes.c_int(0), (loaded.format, count)
        self._on_scratch = self._steps(scratch.packed)

    def pack(self) -> None:
        self._packed = np.empty_like(self._scratch.packed)
        self._result = np.empty_like(self._packed)
        self._on_result = self._steps(self._result)
        self._call("gepack", self._steps(self._packed))

    def with_packing(self) -> None:
        for step in ("gepack", "getrfnp", "getrinp", "geunpack"):
            self._call(step, self._on_scratch)

    def without_packing(self) -> None:
        self._result[:] = self._packed
        for step in ("getrfnp", "getrinp"):
            self._call(step, self._on_result)

    def unpack(self) -> None:
        self._call("geunpack", self._on_result)

    def _call(self, step: str, arguments: dict[str, tuple[Any, ...]]) -> None:
        self._functions[step](*arguments[step])

    def _steps(self, buffer: NDArray[Any]) -> dict[str, tuple[Any, ...]]:
        """Return the arguments of each routine on one packed buffer."""
        n, packed, work = self._n, _address(buffer), self._scratch.work
        return {
            "gepack": (_ROW_MAJOR, n, n, _address(self._sources), n, packed, n, *self._layout),
            "geunpack": (_ROW_MAJOR, n, n, _address(self._targets), n, packed, n, *self._layout),
            "getrfnp": (_ROW_MAJOR, n, n, packed, n, ctypes.byref(self._info), *self._layout),
            "getrinp": (
                _ROW_MAJOR, n, packed, n, _address(work), work.size, ctypes.byref(self._info), *self._layout,
            ),
        }  # fmt: skip


def _pointers(A: NDArray[Any], start: int, count: int) -> NDArray[np.uintp]:
    return (A.ctypes.data + (start + np.arange(count)) * A[0].nbytes).astype(np.uintp)


def _address(array: NDArray[Any]) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)
