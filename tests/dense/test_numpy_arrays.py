"""NumPy arrays of every layout and class, straight to the kernels."""

from __future__ import annotations

import multiprocessing
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch

import neuralinv as ni
from neuralinv.dense import native

A = np.random.default_rng(0).normal(size=(6, 3, 3)) + 3 * np.eye(3)
unaligned = np.frombuffer(b"x" + A.tobytes(), dtype=np.uint8)[1:].view(A.dtype).reshape(A.shape)
structured = np.zeros(6, dtype=[("a", "f4"), ("b", "f8", (3, 3))])
structured["b"] = A
odd = np.zeros(6, dtype=[("b", "c16", (3, 3)), ("a", "f8")])["b"]  # 152 bytes from one matrix to the next
odd[:] = A
frozen = A.copy()
frozen.flags.writeable = False
LAYOUTS = {
    "contiguous": A,
    "one matrix": A[0],
    "reversed batch": A[::-1],
    "reversed rows": A[:, ::-1],
    "every second": np.repeat(A, 2, axis=0)[::2],
    "transposed": A.swapaxes(1, 2),
    "Fortran": np.asfortranarray(A),
    "broadcast": np.broadcast_to(A[2], (5, 3, 3)),
    "batch dimensions that do not collapse": A.reshape(2, 3, 3, 3).swapaxes(0, 1),
    "read-only": frozen,
    "foreign bytes": A.astype(A.dtype.newbyteorder()),
    "unaligned": unaligned,
    "field of a structure": structured["b"],
    "strides that are no multiple of the item size": odd,
    "float32": A.astype("f4"),
    "complex64": (A + 1j * A[::-1]).astype("c8"),
    "complex128": A + 1j * A[::-1],
    "integers": np.array([[2, 1], [1, 3]]),
    "booleans": np.array([[True, True], [False, True]]),
    "list": A.tolist(),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(layout: str) -> None:
    given = LAYOUTS[layout]
    before = np.array(given)
    tolerance = {"rtol": 1e-3, "atol": 1e-5} if layout in ("float32", "complex64") else {"rtol": 1e-10, "atol": 1e-12}
    expected = np.linalg.inv(given)
    for X in (ni.inv(given), ni.inv_ex(given).inverse):
        np.testing.assert_allclose(X, expected, **tolerance)
        assert type(X) is np.ndarray
        assert X.dtype == expected.dtype
        assert X.flags.writeable
    b = before[..., :1]
    for x in (ni.solve(given, b), ni.solve_ex(given, b).result):
        np.testing.assert_allclose(x, np.linalg.solve(given, b), **tolerance)
        assert x.dtype == np.linalg.solve(given, b).dtype
    for mine, theirs in zip(ni.slogdet(given), np.linalg.slogdet(given), strict=True):
        np.testing.assert_allclose(mine, theirs, **tolerance)
        assert mine.dtype == theirs.dtype
        assert type(mine) is type(theirs)
    np.testing.assert_array_equal(given, before)


def test_addresses_and_strides() -> None:
    view = A[::-2, :, ::-1]
    address, shape, strides = native._native.array_layout(view)
    assert address == view.__array_interface__["data"][0] == native._native.array_address(view)
    assert shape == view.shape
    assert strides == tuple(stride // 8 for stride in view.strides)
    for bad, message in ((unaligned, "not aligned"), (A.astype(">f8"), "byte order"), (odd, "item size")):
        with pytest.raises(ValueError, match=message):
            native._native.array_layout(bad)
    with pytest.raises(AttributeError, match="__array_struct__"):
        native._native.array_layout([1.0])


class Labelled(np.ndarray):
    pass


@pytest.mark.parametrize("dtype", [np.float64, np.float16, np.int64])
@pytest.mark.parametrize("cls", [Labelled, np.matrix])
@pytest.mark.filterwarnings("ignore:the matrix subclass:PendingDeprecationWarning")
def test_classes_are_numpys(cls: type, dtype: type) -> None:
    given = np.array([[2, 1], [1, 3]], dtype=dtype).view(cls)
    single = given.astype(np.float32) if dtype == np.float16 else given  # NumPy takes no half precision
    assert type(ni.inv(given)) is type(np.linalg.inv(single)) is cls
    assert type(ni.solve(given, np.ones(2))) is type(np.linalg.solve(single, np.ones(2))) is np.ndarray
    b = np.ones((2, 1), dtype=dtype).view(cls)
    assert type(ni.solve(np.asarray(given), b)) is cls
    if dtype != np.float16:
        assert type(ni.slogdet(given).sign) is type(np.linalg.slogdet(given).sign)


def test_masked_arrays() -> None:
    given = np.ma.masked_array(A[0], mask=np.zeros((3, 3), dtype=bool))
    X = ni.inv(given)
    assert type(X) is type(np.linalg.inv(given))
    np.testing.assert_allclose(np.asarray(X), np.linalg.inv(A[0]))


def test_mixed_precisions() -> None:
    for left in ("f4", "f8", "c8", "c16", "i4"):
        for right in ("f4", "f8", "c8", "c16", "i4"):
            given, b = np.array([[2, 1], [1, 3]], dtype=left), np.ones((2, 1), dtype=right)
            mine, theirs = ni.solve(given, b), np.linalg.solve(given, b)
            assert mine.dtype == theirs.dtype, (left, right)
            np.testing.assert_allclose(mine, theirs, rtol=1e-5)
    assert ni.solve(np.eye(2, dtype="f2"), np.ones(2, dtype="f2")).dtype == np.float16


def test_info_instead_of_errors() -> None:
    given = np.stack([np.eye(3), np.diag([1.0, 0, 1])])
    X, info = ni.inv_ex(given)
    assert info.tolist() == ni.solve_ex(given, given).info.tolist() == [0, 2]
    np.testing.assert_array_equal(X[0], np.eye(3))
    assert int(ni.inv_ex(given[1]).info) == 2


@pytest.mark.parametrize("shape", [(3,), (2, 3), (), (4, 2, 3)])
@pytest.mark.parametrize("function", [ni.inv, ni.inv_ex, ni.slogdet, ni.certified_inv])
def test_shapes_raise_numpys_error(function: Any, shape: tuple[int, ...]) -> None:
    expected = "must be at least two-dimensional" if len(shape) < 2 else "must be square"
    for same in (function, np.linalg.inv):
        with pytest.raises(np.linalg.LinAlgError, match=expected):
            same(np.zeros(shape))


def one_of_each(seed: int) -> list[Any]:
    matrices = np.random.default_rng(seed).normal(size=(3000, 4, 4))
    return [ni.inv(matrices), ni.solve(matrices, matrices[..., :1]), *ni.slogdet(matrices)]


def test_several_python_threads() -> None:
    expected = [one_of_each(seed) for seed in range(8)]
    with ThreadPoolExecutor(6) as pool:
        for mine, theirs in zip(pool.map(one_of_each, range(8)), expected, strict=True):
            for left, right in zip(mine, theirs, strict=True):
                np.testing.assert_array_equal(left, right)


def _answer(queue: Any) -> None:
    torch.set_num_threads(1)  # torch's own OpenMP does not survive a fork
    queue.put(float(ni.inv(np.stack([np.eye(3) * 2] * 5000))[-1, 0, 0]))


@pytest.mark.skipif(sys.platform != "linux", reason="fork is not safe elsewhere")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning", "ignore:os.fork:RuntimeWarning")
def test_a_fork_after_use() -> None:
    one_of_each(0)
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=_answer, args=(queue,))
    child.start()
    assert queue.get(timeout=60) == 0.5
    child.join(60)
    assert child.exitcode == 0


def test_the_number_of_threads_is_torchs_and_never_above_what_this_process_may_use() -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        assert native.threads() == 1
        torch.set_num_threads(512)
        if hasattr(os, "sched_getaffinity"):
            assert native.threads() == len(os.sched_getaffinity(0))
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("kind", [np.asarray, torch.from_numpy], ids=["numpy", "torch"])
@pytest.mark.parametrize(
    ("batch", "batch_of_b"), [((), (5,)), ((2, 1), (3,)), ((3,), (2, 3)), ((2,), (2,)), ((), (0,)), ((1,), (4,))]
)
def test_info_has_the_batch_of_the_matrices(kind, batch, batch_of_b) -> None:
    A, b = np.zeros((*batch, 3, 3)), np.ones((*batch_of_b, 3, 2))
    A[...] = np.eye(3)
    if batch:
        A[-1] = 0
    result = ni.solve_ex(kind(A), kind(b))
    expected = torch.linalg.solve_ex(torch.from_numpy(A), torch.from_numpy(b)).info
    assert tuple(result.info.shape) == batch
    assert result.info.tolist() == expected.tolist()


@pytest.mark.parametrize("assume_a", ["gen", "pos"])
def test_half_precision_of_foreign_bytes(assume_a: Any) -> None:
    half = (A @ A.swapaxes(1, 2)).astype(np.float16)
    foreign, b = half.astype(half.dtype.newbyteorder()), half[..., :1]
    for function in (ni.inv, ni.inv_ex, ni.slogdet):
        expected, found = function(half, assume_a=assume_a), function(foreign, assume_a=assume_a)
        for mine, theirs in zip(found, expected, strict=True):
            np.testing.assert_array_equal(mine, theirs)
            assert mine.dtype == theirs.dtype
    for solve in (ni.solve, ni.solve_ex):
        expected, found = solve(half, b, assume_a=assume_a), solve(foreign, b, assume_a=assume_a)
        np.testing.assert_array_equal(found[0], expected[0])
