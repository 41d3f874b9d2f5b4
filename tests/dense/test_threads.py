"""Whose threads the kernels run on: torch's in the main thread, their own elsewhere, and the same numbers from all."""

import multiprocessing
import os
import subprocess
import sys
import threading

import numpy as np
import pytest
import torch

import neuralinv as ni
from neuralinv.dense import native
from neuralinv.dense.threads import borrows_threads

pytestmark = [
    pytest.mark.skipif(not native.AVAILABLE, reason="the extension was not built"),
    pytest.mark.skipif(sys.platform != "linux", reason="threads are borrowed on Linux alone"),
]
PRINT = "import neuralinv as ni; print(ni.show_config('dicts')['kernels']['threads of'])"


def matrices() -> np.ndarray:
    return np.random.default_rng(0).uniform(-1, 1, size=(3000, 8, 8))


def whose(**variables: str) -> str:
    ran = subprocess.run(
        [sys.executable, "-c", PRINT], env=os.environ | variables, capture_output=True, text=True, check=True
    )
    return ran.stdout.strip()


@pytest.mark.skipif("OpenMP" not in torch.__config__.parallel_info(), reason="this torch has no OpenMP")
def test_torchs_threads_unless_told_otherwise() -> None:
    assert whose() == "torch"
    assert whose(NEURALINV_OWN_THREADS="1") == "neuralinv"


def test_what_is_not_loaded_is_not_borrowed(tmp_path) -> None:
    assert native.AVAILABLE
    from neuralinv import _native

    before = borrows_threads()
    assert _native.borrow_threads(str(tmp_path / "libgomp.so")) == before


def test_any_thread_gets_the_same_numbers() -> None:
    A = matrices()
    expected = ni.inv(A)
    found: dict[int, bool] = {}

    def invert(who: int) -> None:
        found[who] = all(np.array_equal(ni.inv(A), expected) for _ in range(20))

    others = [threading.Thread(target=invert, args=(who,)) for who in range(3)]
    for thread in others:
        thread.start()
    invert(3)
    for thread in others:
        thread.join()
    assert found == dict.fromkeys(range(4), True)


def _child(queue) -> None:  # torch's threads are gone here, and nobody may ask for them
    queue.put((borrows_threads(), ni.inv(matrices()).sum()))


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning", "ignore:os.fork:RuntimeWarning")
def test_the_child_of_a_fork_has_threads_of_its_own() -> None:
    expected = ni.inv(matrices()).sum()
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    process = context.Process(target=_child, args=(queue,))
    process.start()
    try:
        borrowed, total = queue.get(timeout=60)
    finally:
        process.join(timeout=10)
        process.kill()
    assert not borrowed
    assert total == expected
