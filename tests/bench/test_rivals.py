"""Every implementation that is installed gives the right answer; the others say how to get them."""

from __future__ import annotations

import importlib.util
import sys

import numpy as np
import pytest
import torch

from neuralinv.bench import mkl, rivals
from neuralinv.bench.accuracy import measure_accuracy
from neuralinv.bench.problems import OPERATIONS, make_problem

CASES = [
    (name, operation, dtype)
    for name in (rivals.OURS, *rivals.RIVALS)
    for operation in OPERATIONS
    for dtype in (torch.float32, torch.float64)
]


@pytest.mark.parametrize(("name", "operation", "dtype"), CASES, ids=str)
def test_answers_are_right(name: str, operation: str, dtype: torch.dtype) -> None:
    try:
        can = (rivals.ours if name == rivals.OURS else rivals.RIVALS[name]).load()
    except rivals.UnavailableError as error:
        pytest.skip(str(error))
    if operation not in can:
        pytest.skip(f"{name} has no {operation}")
    for n, batch in ((1, 5), (3, 1000), (7, 33)):
        problem = make_problem(OPERATIONS[operation], n, dtype, batch)
        prepared = can[operation](problem, 2)
        for _ in range(2):  # nothing of the first call is left in the second
            accuracy = measure_accuracy(problem, prepared.collect(prepared.call()))
            # Elimination without pivoting loses digits.
            assert accuracy.median < (2e-5 if dtype == torch.float32 else 4e-14)


def test_what_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jax", None)
    monkeypatch.setattr(mkl, "_find_library", lambda: None)
    mkl.load_compact.cache_clear()
    try:
        loaded, missing = rivals.load_rivals(["numpy", "jax", "mkl"])
    finally:
        mkl.load_compact.cache_clear()
    assert list(loaded) == ["numpy"]
    assert missing == {"jax": "not installed: pip install jax", "mkl": "not installed: pip install mkl"}


def test_old_scipy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rivals, "version", lambda package: "1.16.2")
    loaded, missing = rivals.load_rivals(["scipy"])
    assert not loaded
    assert "pip install 'scipy>=1.17'" in missing["scipy"]


def test_an_mkl_that_cannot_be_loaded(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    broken = tmp_path / "libmkl_rt.so.3"
    broken.write_bytes(b"no library")
    monkeypatch.setattr(mkl, "_find_library", lambda: broken)
    mkl.load_compact.cache_clear()
    try:
        with pytest.raises(mkl.MKLMissingError, match=r"libmkl_rt\.so\.3 cannot be used"):
            mkl.load_compact()
    finally:
        mkl.load_compact.cache_clear()


def test_unknown_rival() -> None:
    with pytest.raises(ValueError, match="unknown rival 'matlab'; known are torch"):
        rivals.load_rivals(["matlab"])


def test_results_of_every_kind_become_tensors() -> None:
    (array,) = rivals.to_tensors(np.ones((2, 2), np.float32))
    assert array.dtype == torch.float32
    sign, logarithm = rivals.to_tensors(np.linalg.slogdet(np.eye(3)))
    assert (float(sign), float(logarithm)) == (1.0, 0.0)


@pytest.mark.skipif(importlib.util.find_spec("mkl") is None and mkl._find_library() is None, reason="MKL is missing")
def test_mkl_shares_chunks_among_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mkl, "_CHUNK_BYTES", 1)  # 16 matrices in a chunk
    A = make_problem(OPERATIONS["inv"], 3, torch.float64, 100).A.numpy()
    for threads in (1, 2, 3):
        inverse = mkl.CompactInverse(A, threads)
        np.testing.assert_allclose(inverse.with_packing() @ A, np.eye(3) + 0 * A, atol=1e-10)
