"""The memory of large results is used again, once nobody looks into it any more."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

import neuralinv as ni
from neuralinv.dense import native
from neuralinv.dense.result_memory import LARGE, new_array, new_tensor

pytestmark = pytest.mark.skipif(not native.AVAILABLE, reason="the extension was not built")

ENTRIES = LARGE // 4 + 1  # of float32
PAGE = 4096  # bytes


@pytest.fixture(autouse=True)
def nothing_kept() -> Iterator[None]:
    # A piece larger than what may be kept takes the place of all others, and goes.
    native._native.ResultMemory(300 << 20)
    assert native._native.spare_memory() == 0
    yield
    native._native.ResultMemory(300 << 20)


def make(kind: str, entries: int = ENTRIES) -> Any:
    if kind == "torch":
        return new_tensor(torch.empty(1).expand(entries))
    return new_array(np.broadcast_to(np.float32(0), (entries,)))


def address(A: Any) -> int:
    return A.data_ptr() if isinstance(A, torch.Tensor) else A.ctypes.data


@pytest.mark.parametrize("kind", ["torch", "numpy"])
def test_memory_comes_back(kind: str) -> None:
    first = make(kind)
    first[...] = 7
    place = address(first)
    second = make(kind)
    assert abs(address(second) - place) >= LARGE
    assert native._native.spare_memory() == 0
    view = first[5:]
    del first
    assert native._native.spare_memory() == 0
    assert bool((view == 7).all())
    del view
    assert LARGE < native._native.spare_memory() <= LARGE + PAGE
    assert address(make(kind)) == place


def test_memory_must_fit() -> None:
    kept = make("torch", 2 * ENTRIES)
    place = address(kept)
    del kept
    a_little_smaller = make("torch", 2 * ENTRIES - ENTRIES // 4)
    assert address(a_little_smaller) == place
    del a_little_smaller
    much_smaller = make("torch")
    assert address(much_smaller) != place
    del much_smaller
    assert address(make("torch", 2 * ENTRIES)) == place  # results of two sizes take turns
    assert 3 * LARGE < native._native.spare_memory() <= 3 * LARGE + 2 * PAGE


def test_the_oldest_makes_room() -> None:
    oldest, other, latest = (make("torch", 25 << 20) for _ in range(3))  # 100 MiB each
    kept = sorted([address(other), address(latest)])
    del oldest, other, latest  # in this order; 256 MiB may be kept
    assert native._native.spare_memory() == 200 << 20
    held = [make("torch", 25 << 20), make("torch", 25 << 20)]
    assert sorted(map(address, held)) == kept


def test_arrays_are_like_any_other() -> None:
    tensor, array = make("torch"), make("numpy")
    assert tensor.is_contiguous()
    assert tensor.shape == (ENTRIES,)
    assert tensor.dtype == torch.float32
    assert not tensor.requires_grad
    assert array.flags.c_contiguous
    assert array.flags.writeable
    assert array.shape == (ENTRIES,)
    assert array.dtype == np.float32
    assert tensor.data_ptr() % 64 == array.ctypes.data % 64 == 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.complex64, torch.complex128])
def test_dtypes(dtype: torch.dtype) -> None:
    made = new_tensor(torch.empty(1, 3, 3, dtype=dtype).expand(LARGE // 32, 3, 3))
    assert (made.dtype, made.shape, made.stride()) == (dtype, (LARGE // 32, 3, 3), (9, 3, 1))
    made.fill_(2)
    assert bool((made == 2).all())
    del made
    assert native._native.spare_memory() > LARGE


def test_half_precision_comes_from_elsewhere() -> None:
    made = new_tensor(torch.empty(1, dtype=torch.bfloat16).expand(2 * ENTRIES))
    assert (made.dtype, made.shape) == (torch.bfloat16, (2 * ENTRIES,))
    del made
    assert native._native.spare_memory() == 0


def test_small_ones_and_other_kinds_come_from_elsewhere() -> None:
    for made in (make("torch", LARGE // 4), new_tensor(torch.empty(ENTRIES, device="meta"))):
        del made
    array = make("numpy", LARGE // 4)
    assert array.flags.owndata
    assert native._native.spare_memory() == 0


def test_no_more_is_kept_than_may_be() -> None:
    pieces = [make("torch", 25 << 20) for _ in range(3)]  # 100 MiB each
    del pieces
    assert native._native.spare_memory() == 200 << 20
    large = make("torch", 45 << 20)  # nothing fits: what is kept goes first
    assert native._native.spare_memory() == 0
    del large
    assert native._native.spare_memory() == 180 << 20


def test_dropped_by_another_thread() -> None:
    held = [make("torch")]
    thread = threading.Thread(target=held.clear)
    thread.start()
    thread.join()
    assert native._native.spare_memory() > LARGE


@pytest.mark.parametrize(("spare", "kept"), [("0", False), ("100", True), ("1", False), ("nonsense", False)])
def test_the_environment_decides(spare: str, kept: bool) -> None:
    code = """
import torch
from neuralinv.dense import native
from neuralinv.dense.result_memory import LARGE, new_tensor
new_tensor(torch.empty(LARGE // 4 + 1))
print(native._native.spare_memory() > 0)
held = new_tensor(torch.empty(LARGE // 4 + 1))  # until the interpreter goes
"""
    environment = {**os.environ, "NEURALINV_SPARE_MEMORY": spare}
    result = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert (result.stdout, result.stderr) == (f"{kept}\n", "")


@pytest.mark.parametrize("bytes", [0, -1])
def test_no_memory_of_no_size(bytes: int) -> None:
    with pytest.raises(ValueError, match="positive number of bytes"):
        native._native.ResultMemory(bytes)


def test_inverses_that_are_held_stay_what_they_are() -> None:
    A = torch.randn(150_000, 8, 8, generator=torch.Generator().manual_seed(1)) + 8 * torch.eye(8)
    held = [ni.inv(A), ni.certified_inv(A).inverse]
    copies = [X.clone() for X in held]
    places = {X.data_ptr() for X in held}
    for _ in range(3):
        assert ni.inv(2 * A).data_ptr() not in places
        assert bool(ni.certified_inv(2 * A).certified.all())
    assert all(torch.equal(X, copy) for X, copy in zip(held, copies, strict=True))
    assert bool((ni.inv(A.numpy()) == held[0].numpy()).all())


def test_gradients_through_large_inverses() -> None:
    A = (torch.randn(140_000, 8, 8, generator=torch.Generator().manual_seed(2)) + 8 * torch.eye(8)).requires_grad_()
    ni.inv(A).sum().backward()
    B = A.detach()[:100].requires_grad_()
    ni.inv(B).sum().backward()
    assert A.grad is not None
    torch.testing.assert_close(A.grad[:100], B.grad)
