"""Batches that no cache holds: results that go past the caches are the same, bit by bit, as those of a few matrices."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from neuralinv.dense import native

pytestmark = pytest.mark.skipif(not native.AVAILABLE, reason="the extension was not built")

CODE = """
import torch
import neuralinv as ni

FEW = 48  # whole tiles with every instruction set
for dtype in (torch.float32, torch.float64):
    for n in (2, 8, 12, 13, 27, 40, 64, 90):
        count = (17 << 20) // (n * n * dtype.itemsize) + 5  # streaming begins at 16 MiB; the last tile is not full
        G = torch.randn(FEW, n, n, dtype=dtype, generator=torch.Generator().manual_seed(n))
        few = G @ G.mT + n * torch.eye(n, dtype=dtype)
        b = G[..., :2]
        A, B = (M.repeat(count // FEW + 1, 1, 1)[:count] for M in (few, b))

        def same(of_many, of_few):
            repeated = of_few.repeat(count // FEW + 1, *[1] * (of_few.ndim - 1))[:count]
            assert torch.equal(of_many, repeated), (dtype, n)

        for structure in ("gen", "pos"):
            same(ni.inv(A, assume_a=structure), ni.inv(few, assume_a=structure))
            same(ni.solve(A, B, assume_a=structure), ni.solve(few, b, assume_a=structure))
            for many, single in zip(ni.slogdet(A, assume_a=structure), ni.slogdet(few, assume_a=structure)):
                same(many, single)
print("the same", ni.dense.native.instruction_set())
"""


@pytest.mark.parametrize("instruction_set", native.instruction_sets())
def test_large_batches(instruction_set: str) -> None:
    environment = {**os.environ, "NEURALINV_ISA": instruction_set}
    result = subprocess.run([sys.executable, "-c", CODE], env=environment, capture_output=True, text=True)
    assert result.stdout == f"the same {instruction_set}\n", result.stderr[-2000:]
