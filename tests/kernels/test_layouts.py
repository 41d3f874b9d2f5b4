"""The tables of layouts leave no thread of a warp without columns of its own.

Triton spreads threads over the dimensions of a tile itself, in the order in which ``elimination.py`` and ``lanes.py``
name them. Threads that are left over when columns, rows and matrices are given out get other rows, and in Triton 3.6
sums along rows then mix two matrices. The interpreter has no threads, so this is checked where kernels are launched.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

pytest.importorskip("triton", reason="Triton is not installed: pip install triton")
from neuralinv.kernels import dense

REAL = [torch.float32, torch.float64]
HALF = [torch.float16, torch.bfloat16]
WARP, BYTES = 32, 16
FUNCTIONS: dict[str, Callable[[Tensor], Any]] = {
    "invert": dense.invert,
    "certified_invert": lambda A: dense.certified_invert(A, 1e-5),
    "solve": lambda A: dense.solve(A, A),
    "slogdet": dense.slogdet,
}


def held_by_a_thread(contiguous: int, width: int, itemsize: int) -> int:
    """What Triton gives a thread of runs of ``contiguous`` entries, ``width`` of which lie side by side in a tile."""
    return min(BYTES // itemsize, contiguous & -contiguous, width)


@pytest.fixture
def launches(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Tensor, dict[str, Any]]]:
    """Note the matrices and the constants of each launch, in place of launching."""
    seen: list[tuple[Tensor, dict[str, Any]]] = []

    def record(kernel: Any, programs: int, A: Tensor, *arguments: Any, **options: Any) -> None:
        seen.append((A, options))

    monkeypatch.setattr(dense, "_launch", record)
    return seen


@pytest.mark.parametrize("dtype", REAL + HALF, ids=str)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_no_thread_is_left_for_other_rows(
    name: str, dtype: torch.dtype, launches: list[tuple[Tensor, dict[str, Any]]]
) -> None:
    for n in range(1, dense.LARGEST + 1):
        FUNCTIONS[name](torch.ones(1, n, n, dtype=dtype))
    assert len(launches) == dense.LARGEST
    for A, options in launches:
        n = options["n"]
        if "SIZE" in options:
            width = options["ACROSS"] * options["VECTOR"]
            across = width // held_by_a_thread(n, width, A.element_size())
            down = options["DOWN"] * options["MATRICES"]
            # Right-hand sides lie at any address: one at a time.
            assert name != "solve" or down * options["ACROSS"] >= WARP, n
        else:
            width = 2 ** options["LEVELS"]
            across = width // held_by_a_thread(n * n, width, A.element_size())
            down = WARP // min(WARP, width // options["VECTOR"])
        assert down * across >= WARP, n
