"""No kernel reads or writes a byte beside the arrays: they lie between pages that nobody may touch, flush with one of them.

A sanitizer would say as much, but cannot compile the unrolled kernels in reasonable time; and this is the code that runs.
"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from neuralinv.dense import native

PROGRAM = r"""
import ctypes, itertools, mmap, sys

import torch
from neuralinv.dense import native

libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
PAGE, PROT_NONE = mmap.PAGESIZE, 0
at_end, mapped = True, []

def fenced(shape, dtype):
    count = torch.Size(shape).numel()
    size = count * dtype.itemsize
    inner = -(-size // PAGE) * PAGE
    start = libc.mmap(None, inner + 2 * PAGE, mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1, 0)
    for fence in (start, start + PAGE + inner):
        assert libc.mprotect(fence, PAGE, PROT_NONE) == 0
    mapped.append((start, inner + 2 * PAGE))
    memory = (ctypes.c_byte * size).from_address(start + PAGE + (inner - size if at_end else 0))
    return torch.frombuffer(memory, dtype=dtype, count=count).view(shape)

def put(A):
    B = fenced(A.shape, A.dtype)
    B.copy_(A)
    return B

native._new_like = lambda A: fenced(A.shape, A.dtype)
native._new = lambda like, shape: fenced(shape, like.dtype)
native._new_real = lambda like, shape: fenced(shape, like.dtype.to_real())
native._new_info = lambda A: fenced(A.shape[:-2], torch.int32)

if sys.argv[1:] == ["beyond"]:  # the fence holds
    native._INVERT[torch.float32](put(torch.eye(3)).data_ptr(), (2, 3, 3), (9, 3, 1), fenced((2, 3, 3), torch.float32).data_ptr(), 0, 1, False)
    sys.exit()

wide = native.threads()
for dtype, at_end in itertools.product(native.SUFFIX, (True, False)):
    lanes = 64 // dtype.to_real().itemsize
    for n in (*range(1, 21), 24, 31, 32, 33, 48, 65):
        if n > native.largest_size("inv", dtype, positive=False):
            continue
        for count in (1, 3, lanes, lanes + 1, 2 * lanes + 3):
            A = put(torch.randn(count, n, n, dtype=dtype) + 2 * n**0.5 * torch.eye(n))
            native.invert_ex(A)
            native.invert_ex(put(A.mT.contiguous()).mT)
            native.slogdet(A)
            for k in (1, n):
                native.solve_ex(A, put(torch.randn(count, n, k, dtype=dtype)))
            if not dtype.is_complex:
                S = put(A @ A.mT)
                native.invert_ex(S, positive=True)
                native.slogdet(S, positive=True)
                native.solve_ex(S, put(torch.randn(count, n, 2, dtype=dtype)), positive=True)
            if native.certifies(A):
                native.certified_invert(A, 1e-6)
            X = put(torch.linalg.inv(A))
            found = fenced(A.shape, dtype), fenced((count,), torch.float64), fenced((count,), torch.int8)
            for past in ([], [X], [X, X, X, X]):
                native.correct(A, past, 1e-6, 4, *found)
                assert bool((found[1] <= 1e-6).all())
            native.largest_sums(X)
            omega = put(torch.randn(n, 5, dtype=torch.complex128 if dtype.is_complex else torch.float64))
            native.probe(A, X, omega)
            if not dtype.is_complex:
                native.combine(put(torch.randn(count, 7, dtype=dtype)), put(torch.randn(7, n * n, dtype=dtype)), fenced((count, n * n), dtype))
                C, B = put(torch.randn(count, 7, dtype=torch.float64)), put(torch.randn(7, n * n, dtype=torch.float64))
                native.deviation(A.view(count, -1), C, B)
            while mapped:
                libc.munmap(*mapped.pop())
print("in bounds", native.instruction_set())
"""


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", PROGRAM, *arguments]
    return subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True)


@pytest.mark.skipif(sys.platform != "linux", reason="maps memory through Linux's libc")
@pytest.mark.parametrize("instruction_set", native.instruction_sets())
def test_kernels_stay_in_their_arrays(instruction_set: str) -> None:
    result = run(NEURALINV_ISA=instruction_set)
    assert result.stdout == f"in bounds {instruction_set}\n", f"exit status {result.returncode}: {result.stderr[-2000:]}"


@pytest.mark.skipif(sys.platform != "linux", reason="maps memory through Linux's libc")
def test_the_fence_holds() -> None:
    assert run("beyond").returncode < 0  # killed by a signal
