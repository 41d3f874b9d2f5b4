"""Run all dense kernels on arrays that lie flush with pages which nobody may touch: what goes beyond kills the process.

``python fenced_memory.py`` checks the kernels; with ``beyond`` it steps over the fence.
"""

from __future__ import annotations

import ctypes
import itertools
import mmap
import sys
from typing import Any

import torch
from torch import Tensor

from neuralinv.dense import native, native_probing, native_roots

PAGE, PROT_NONE = mmap.PAGESIZE, 0
READ_WRITE, PRIVATE = mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
SIZES = (*range(1, 21), 24, 31, 32, 33, 48, 65)

libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]


class Fences:
    """Memory between two forbidden pages, flush with the second one or, otherwise, with the first."""

    def __init__(self) -> None:
        self.at_end = True
        self.mapped: list[tuple[int, int]] = []

    def take(self, shape: Any, dtype: torch.dtype) -> Tensor:
        count = torch.Size(shape).numel()
        size = count * dtype.itemsize
        inner = -(-size // PAGE) * PAGE
        start = libc.mmap(None, inner + 2 * PAGE, READ_WRITE, PRIVATE, -1, 0)
        for fence in (start, start + PAGE + inner):
            if libc.mprotect(fence, PAGE, PROT_NONE) != 0:
                raise OSError(ctypes.get_errno(), "mprotect failed")
        self.mapped.append((start, inner + 2 * PAGE))
        memory = (ctypes.c_byte * size).from_address(start + PAGE + (inner - size if self.at_end else 0))
        return torch.frombuffer(memory, dtype=dtype, count=count).view(shape)

    def copy(self, A: Tensor) -> Tensor:
        return self.take(A.shape, A.dtype).copy_(A)

    def give_back(self) -> None:
        while self.mapped:
            libc.munmap(*self.mapped.pop())


fences = Fences()
take, copy = fences.take, fences.copy


def take_results() -> None:
    """Let the kernels write between fences, too."""
    native._new_like = lambda A: take(A.shape, A.dtype)
    native._new = lambda like, shape: take(shape, like.dtype)
    native._new_real = lambda like, shape: take(shape, like.dtype.to_real())
    native._new_info = lambda A: take(A.shape[:-2], torch.int32)


def run_kernels(count: int, n: int, dtype: torch.dtype) -> None:
    A = copy(torch.randn(count, n, n, dtype=dtype) + 2 * n**0.5 * torch.eye(n))
    native.invert_ex(A)
    native.invert_ex(copy(A.mT.contiguous()).mT)
    native.slogdet(A)
    for k in (1, n):
        native.solve_ex(A, copy(torch.randn(count, n, k, dtype=dtype)))
    if native.certifies(A):
        native.certified_invert(A, 1e-6)
    X = copy(torch.linalg.inv(A))
    native_probing.largest_sums(X)
    native_probing.probe(A, X, copy(torch.randn(n, 5, dtype=torch.complex128 if dtype.is_complex else torch.float64)))
    correct(A, X)
    if not dtype.is_complex:
        S = copy(A @ A.mT)
        native.invert_ex(S, positive=True)
        native.slogdet(S, positive=True)
        native.solve_ex(S, copy(torch.randn(count, n, 2, dtype=dtype)), positive=True)
        X = torch.linalg.inv(S)
        X = copy((X + X.mT) / 2)
        correct(S, X)
        native_probing.probe(S, X, copy(torch.randn(n, 5, dtype=torch.float64)), root=True)
        roots(S)
        combine(count, n * n, dtype)


def run_large(n: int, dtype: torch.dtype) -> None:
    """Single matrices, each by all threads."""
    A = copy(torch.randn(1, n, n, dtype=dtype) + n * torch.eye(n, dtype=dtype))
    for positive in (False, True):
        native.invert_ex(A, positive=positive)
        native.slogdet(A, positive=positive)
        for k in (1, 9):
            native.solve_ex(A, copy(torch.randn(1, n, k, dtype=dtype)), positive=positive)


def roots(A: Tensor) -> None:
    native_roots.survey(A, copy(torch.ones(len(A[0]), dtype=A.dtype)))
    X = native_roots.sum_inverses(A, torch.ones(len(A)), (0.1, 1.0), (0.5, 0.5), take(A.shape, A.dtype))
    native_roots.has_positive_pivots(X)
    native_roots.correct(A, X)


def correct(A: Tensor, X: Tensor) -> None:
    found = take(A.shape, A.dtype), take((len(A),), torch.float64), take((len(A),), torch.int8)
    for past in ([], [X], [X] * 4):
        native.correct(A, past, 1e-6, 4, *found)


def combine(count: int, length: int, dtype: torch.dtype) -> None:
    C, B = copy(torch.randn(count, 7, dtype=torch.float64)), copy(torch.randn(7, length, dtype=torch.float64))
    X = native.combine(copy(C.to(dtype)), copy(B.to(dtype)), take((count, length), dtype))
    native.deviation(X, C, B)


def main() -> None:
    if sys.argv[1:] == ["beyond"]:
        A, X = copy(torch.eye(3)), take((2, 3, 3), torch.float32)
        native._INVERT[torch.float32](A.data_ptr(), (2, 3, 3), (9, 3, 1), X.data_ptr(), 0, 1, False)
        return
    take_results()
    for dtype, fences.at_end in itertools.product(native.SUFFIX, (True, False)):
        lanes = 64 // dtype.to_real().itemsize
        for n, count in itertools.product(SIZES, (1, 3, lanes, lanes + 1, 2 * lanes + 3)):
            if n <= native.largest_size("inv", dtype, positive=False):
                run_kernels(count, n, dtype)
                fences.give_back()
        if not dtype.is_complex:
            for n in (385, 513, 769):
                run_large(n, dtype)
                fences.give_back()
    print("in bounds", native.instruction_set())


if __name__ == "__main__":
    main()
