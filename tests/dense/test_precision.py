"""What torch is set up to do to products must not reach what is proved, or promised."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

import neuralinv as ni
from neuralinv.block_tridiagonal.conformance import random_precision
from neuralinv.dense.precision import product_roundoff, without_autocast

SINGLE_BACKEND = """
import torch
import neuralinv as ni
from neuralinv.dense.precision import product_roundoff

{setting} = "{precision}"
A = torch.randn(1030, 1030, generator=torch.Generator().manual_seed(0)) + 60 * torch.eye(1030)  # beyond the kernel
result = ni.certified_inv(A)
true = torch.linalg.inv(A.double())
error = torch.linalg.norm(true - result.inverse) / torch.linalg.norm(true)
print(product_roundoff(torch.float32), bool(result.certified), bool(error <= result.error_bound))
"""


@pytest.mark.parametrize(("name", "bits"), [("highest", 24), ("high", 11), ("medium", 8)])
def test_named_precisions(name: str, bits: int) -> None:
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision(name)
        assert product_roundoff(torch.float32) == product_roundoff(torch.complex64) == 2.0**-bits
        assert product_roundoff(torch.float64) == 2.0**-53
    finally:
        torch.set_float32_matmul_precision(before)


@pytest.mark.parametrize(
    ("setting", "precision", "bits"),
    [
        ("torch.backends.cuda.matmul.fp32_precision", "tf32", 11),
        ("torch.backends.mkldnn.matmul.fp32_precision", "bf16", 8),
        ("torch.backends.fp32_precision", "tf32", 11),
    ],
)
def test_precisions_of_single_backends(setting: str, precision: str, bits: int) -> None:
    # In a process of its own: torch does not go back to the other way of saying it.
    code = SINGLE_BACKEND.format(setting=setting, precision=precision)
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout == f"{2.0**-bits} True True\n", result.stderr[-2000:]


def test_autocast_is_kept_away() -> None:
    A = torch.randn(8, 8, generator=torch.Generator().manual_seed(0))

    def product() -> torch.Tensor:
        return A @ A

    outside = product()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert product().dtype == torch.bfloat16
        assert torch.equal(without_autocast(product)(), outside)
        assert product().dtype == torch.bfloat16


@pytest.mark.parametrize("method", ["native", "cyclic", "loop"])
def test_block_tridiagonal_matrices_under_autocast(method: str) -> None:
    D, B = random_precision(2, steps=5, n=3, dtype=torch.float32)
    b = torch.ones(2, 5, 3)

    def all_of_it() -> list[torch.Tensor]:
        M = ni.BlockTridiagonal(D, B, method=method)
        blocks = M.inverse_blocks()
        return [M.solve(b), M.logdet(), M.cholesky().diag, blocks.diag, blocks.lower]

    outside = all_of_it()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = all_of_it()
    for x, y in zip(inside, outside, strict=True):
        assert x.dtype == torch.float32
        assert torch.equal(x, y)
