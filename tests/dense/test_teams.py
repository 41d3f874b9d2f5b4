"""Single large matrices, each by several threads."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import pytest
import torch
from torch import Tensor

import neuralinv as ni
from neuralinv.dense import native
from neuralinv.testing import TOLERANCE

pytestmark = pytest.mark.skipif(not native.AVAILABLE, reason="the extension was not built")


def case(n: int, dtype: torch.dtype, structure: str) -> Tensor:
    G = torch.randn(n, n, dtype=torch.float64, generator=torch.Generator().manual_seed(n))
    A = G @ G.mT / n + torch.eye(n) if structure == "pos" else G + n**0.5 * torch.eye(n)
    return A.to(dtype)


@pytest.mark.parametrize("structure", ["gen", "pos"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("n", [384, 511, 512, 768, 1001, 1024])
def test_single_matrices_of_every_size(n: int, dtype: torch.dtype, structure: str) -> None:
    A, b = case(n, dtype, structure), torch.ones(n, 3, dtype=dtype)
    true = torch.linalg.inv(A.double())
    tolerance = TOLERANCE[dtype] * torch.linalg.norm(A.double()) * torch.linalg.norm(true)
    X = ni.inv(A, assume_a=structure)
    assert torch.linalg.norm(X - true) < tolerance * torch.linalg.norm(true)
    if structure == "pos":
        assert torch.equal(X, X.mT)
    x = true @ b.double()
    assert torch.linalg.norm(ni.solve(A, b, assume_a=structure) - x) < tolerance * torch.linalg.norm(x)
    sign, logabsdet = ni.slogdet(A, assume_a=structure)
    true_sign, true_log = torch.linalg.slogdet(A.double())
    assert sign == true_sign
    assert abs(logabsdet - true_log) < tolerance * true_log.abs()


def test_calls_from_several_threads_at_once() -> None:
    A = case(520, torch.float32, "gen")
    expected = ni.inv(A)
    wrong = []

    def work() -> None:
        for _ in range(4):
            # Alone or in a team, columns are eliminated in the same order: only where members meet differs.
            if not torch.allclose(ni.inv(A), expected, rtol=1e-3, atol=1e-5):
                wrong.append(1)

    callers = [threading.Thread(target=work) for _ in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(timeout=120)
    assert not any(caller.is_alive() for caller in callers)
    assert not wrong


@pytest.mark.parametrize("structure", ["gen", "pos"])
def test_a_batch_that_leaves_one_over(structure: str) -> None:
    n = 768 if structure == "pos" else 512
    A = torch.stack([case(n, torch.float64, structure) + k * torch.eye(n) for k in range(3)])
    A[2, :, 7] = A[2, 7, :] = 0
    result = ni.inv_ex(A, assume_a=structure)
    assert result.info.tolist() == [0, 0, 8 if structure == "pos" else ni.inv_ex(A[2]).info.item()]
    assert result.info[2] > 0
    assert torch.isnan(result.inverse[2]).all()
    torch.testing.assert_close(result.inverse[:2] @ A[:2], torch.eye(n).double().expand(2, -1, -1), rtol=0, atol=1e-9)
    with pytest.raises(torch.linalg.LinAlgError, match=r"batch element \(2,\)"):
        ni.inv(A, assume_a=structure)


CODE = """
import torch
import neuralinv as ni

generator = torch.Generator().manual_seed(0)
for dtype, close in ((torch.float32, 2e-4), (torch.float64, 1e-12)):
    G = torch.randn(780, 780, dtype=torch.float64, generator=generator)
    for structure, A in (("gen", G + 28 * torch.eye(780)), ("pos", G @ G.mT / 780 + torch.eye(780))):
        true = torch.linalg.inv(A)
        A, b = A.to(dtype), torch.ones(780, 5, dtype=dtype)
        error = torch.linalg.norm(ni.inv(A, assume_a=structure) - true) / torch.linalg.norm(true)
        x = true @ b.double()
        error = max(error, torch.linalg.norm(ni.solve(A, b, assume_a=structure) - x) / torch.linalg.norm(x))
        log = torch.linalg.slogdet(A.double())[1]
        error = max(error, abs(ni.slogdet(A, assume_a=structure)[1] - log) / abs(log))
        assert error < close, (structure, dtype, error)
print("close", ni.dense.native.instruction_set())
"""


@pytest.mark.parametrize("instruction_set", native.instruction_sets())
@pytest.mark.parametrize("own_threads", ["", "1"])
def test_every_instruction_set_and_either_kind_of_threads(instruction_set: str, own_threads: str) -> None:
    environment = {**os.environ, "NEURALINV_ISA": instruction_set, "NEURALINV_OWN_THREADS": own_threads}
    result = subprocess.run([sys.executable, "-c", CODE], env=environment, capture_output=True, text=True, timeout=300)
    assert result.stdout == f"close {instruction_set}\n", result.stderr[-2000:]
