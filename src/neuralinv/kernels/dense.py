"""Calls of the dense kernels: contiguous memory in, new memory out, nothing read back.

Tensors lie on a GPU, or on the CPU while Triton's interpreter is on. They are real; float16 and bfloat16 are widened to
float32 here and results rounded back, since layouts are made for entries of 4 and 8 bytes. Nothing waits for the
device, so that calls can be captured in CUDA graphs; kernels run on the current stream of the device of the tensors.
Shapes are checked by the callers in :mod:`neuralinv.dense`.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import torch
from torch import Tensor

from neuralinv.kernels import elimination, gauss_jordan
from neuralinv.kernels.availability import on_device_of

LARGEST = 32
"""Rows of the largest matrix that the kernels take."""

_IN_LANES, _IN_LANES_WIDE = 6, 5
"""Up to this size an inverse is computed in one thread, and one that holds float64; its registers decide."""

_WARP = 32
_PROGRAMS_IN_LANES = {1: 128, 2: 128, 3: 128}
"""Matrices of a program, a thread for each, where they are not one warp's.

A multiprocessor holds 32 programs at most, and a thread has few bytes of such a matrix under way: with one warp to a
program they would not keep the memory busy. From 4×4 on a thread has several reads under way, and warps that share a
program would exchange entries through shared memory, at barriers.
"""

_READ_DIRECTLY = 3
"""Of this size each thread reads its own matrix. A tile of 3×3 matrices is padded from 9 to 16 columns, and to split it
takes as many instructions as to invert them. A warp's read of entries that are 9 apart touches 9 lines of the cache,
where its next reads find them.
"""


class Grid(NamedTuple):
    """How tiles lie in a warp: so many matrices, each over DOWN × ACROSS threads."""

    SIZE: int
    MATRICES: int
    DOWN: int
    ACROSS: int


_GRIDS = (
    Grid(1, 32, 1, 1),
    Grid(2, 32, 1, 1),
    Grid(4, 32, 1, 1),
    Grid(8, 4, 4, 2),
    Grid(16, 2, 4, 4),
    Grid(32, 1, 8, 4),
)


def invert(A: Tensor) -> tuple[Tensor, Tensor]:
    """Invert ``(*batch, n, n)``, 1 ≤ n ≤ 32; returns inverses, NaN where there is none, and LAPACK's info, int32."""
    dtype, A = A.dtype, _plain(A)
    X, info = torch.empty_like(A), A.new_empty(A.shape[:-2], dtype=torch.int32)
    _invert(A, X, info, None, 0.0)
    return X.to(dtype), info


def certified_invert(A: Tensor, rtol: float) -> tuple[Tensor, Tensor]:
    """Invert ``(*batch, n, n)`` of float32 or float64 and bound the errors while the inverses are in registers.

    Returns
    -------
    The inverses, those of float32 corrected where they would miss ``rtol``, and float64 bounds ``(*batch,)`` of
    ``‖A⁻¹ − X‖_F / ‖A⁻¹‖_F``, infinite where nothing is proved.
    """
    A = _plain(A)
    X, bound = torch.empty_like(A), A.new_empty(A.shape[:-2], dtype=torch.float64)
    _invert(A, X, None, bound, rtol)
    return X, bound


def solve(A: Tensor, B: Tensor) -> tuple[Tensor, Tensor]:
    """Solve ``A X = B`` for ``(*batch, n, n)`` and ``(*batch, n, k)``; returns the solutions and LAPACK's info."""
    dtype, A, B = B.dtype, _plain(A), _plain(B)
    X, info = torch.empty_like(B), A.new_empty(A.shape[:-2], dtype=torch.int32)
    n, columns = B.shape[-2:]
    matrices, options = _tiles(n, A.element_size())
    panel = max(options["ACROSS"], min(8 * options["ACROSS"], _power_of_two(columns)))  # 8 in a thread: in registers
    batch, panels = info.numel(), -(-columns // panel)
    programs = -(-batch // matrices) * panels
    _launch(elimination.solve_kernel, programs, A, B, X, info, batch, columns, panels, PANEL=panel, **options)
    return X.to(dtype), info


def slogdet(A: Tensor) -> tuple[Tensor, Tensor]:
    """Return sign and log|det| of ``(*batch, n, n)``, both ``(*batch,)``; 0 and -inf for singular matrices."""
    dtype, A = A.dtype, _plain(A)
    sign, logarithm = A.new_empty(A.shape[:-2]), A.new_empty(A.shape[:-2])
    matrices, options = _tiles(A.shape[-1], A.element_size())
    programs = -(-sign.numel() // matrices)
    _launch(elimination.determinant_kernel, programs, A, sign, logarithm, sign.numel(), **options)
    return sign.to(dtype), logarithm.to(dtype)


def _invert(A: Tensor, X: Tensor, info: Tensor | None, bound: Tensor | None, rtol: float) -> None:
    n, batch = A.shape[-1], A.shape[:-2].numel()
    # What is not asked for is not written: any address will do.
    arguments = (A, X, A if info is None else info, A if bound is None else bound, rtol, batch)
    certify = bound is not None
    if n <= (_IN_LANES_WIDE if certify or A.dtype == torch.float64 else _IN_LANES):
        block, options = _lanes(n, A.element_size())
        programs, warps = -(-batch // block), block // _WARP
        _launch(gauss_jordan.invert_kernel, programs, *arguments, num_warps=warps, CERTIFY=certify, **options)
        return
    matrices, options = _tiles(n, A.element_size(), wide=certify)
    _launch(elimination.invert_kernel, -(-batch // matrices), *arguments, CERTIFY=certify, **options)


@functools.cache
def _lanes(n: int, itemsize: int) -> tuple[int, dict[str, Any]]:
    """Return the matrices of a program with one in each thread, and the constants of the kernel."""
    block, entries = _PROGRAMS_IN_LANES.get(n, _WARP), n * n
    levels, vector = (entries - 1).bit_length(), _vector_for(entries, itemsize)
    return block, {"n": n, "LEVELS": levels, "BLOCK": block, "VECTOR": vector, "DIRECT": n == _READ_DIRECTLY}


@functools.cache
def _tiles(n: int, itemsize: int, *, wide: bool = False) -> tuple[int, dict[str, Any]]:
    """Return the matrices of a program with tiles, and the constants of the kernel; ``wide``: for products on the
    tensor cores, which are 16 wide.
    """
    grid = next(grid for grid in _GRIDS if (max(n, 16) if wide else n) <= grid.SIZE)
    vector = min(_vector_for(n, itemsize), grid.SIZE // grid.ACROSS)
    return grid.MATRICES, {**grid._asdict(), "n": n, "VECTOR": vector}


def _plain(A: Tensor) -> Tensor:
    """Return what the memory says by itself: contiguous, no negation pending, float32 or float64."""
    A = A.resolve_neg().contiguous()
    return A.float() if A.element_size() < 4 else A


def _launch(kernel: Any, programs: int, A: Tensor, *arguments: Any, num_warps: int = 1, **options: Any) -> None:
    if arguments[0].numel() == 0:
        return
    with on_device_of(A):
        kernel[(programs,)](A, *arguments, **options, num_warps=num_warps, enable_fp_fusion=False)


def _vector_for(contiguous: int, itemsize: int) -> int:
    """Return how many entries of runs of ``contiguous`` ones a thread may read at once: 16 bytes at most."""
    vector = 1
    while contiguous % (2 * vector) == 0 and vector * itemsize <= 8:
        vector *= 2
    return vector


def _power_of_two(k: int) -> int:
    return 1 << (k - 1).bit_length()
