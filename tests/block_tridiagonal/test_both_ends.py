"""The twisted factorisation, which two threads do from both ends: the same as from one end."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from neuralinv.block_tridiagonal import kernels
from neuralinv.block_tridiagonal.conformance import TOLERANCE, random_precision

pytestmark = pytest.mark.skipif(not kernels.AVAILABLE, reason="the extension was not built")

SHAPES = [(250, 20, 1), (301, 16, 1), (1200, 7, 1), (100, 33, 2), (64, 40, 0), (3, 96, 3), (4, 120, 1)]
DTYPES = [torch.float32, torch.float64]


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def system(*batch: int, steps: int, n: int, k: int, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor | None]:
    D, B = random_precision(*batch, steps=steps, n=n, dtype=dtype, seed=n)
    b = torch.randn(*batch, steps, n, k, generator=torch.Generator().manual_seed(n), dtype=torch.float64).to(dtype)
    return D, B, b if k else None


def solved(D: Tensor, B: Tensor, b: Tensor | None, *, threads: int) -> tuple[list[Tensor], bool]:
    """Return x, log det M and the gradients of D, B and b; and whether factors come from both ends."""
    torch.set_num_threads(threads)
    x, logs, factors = kernels.solve_system(D, B, b, True, True)
    assert logs is not None
    assert factors is not None
    x_bar = None if b is None else torch.linspace(-1, 1, b.numel(), dtype=b.dtype).reshape(b.shape)
    gradients = kernels.solve_system_backward(D, B, factors, x, x_bar, torch.ones_like(logs), True)
    # As block_tridiagonal_system.cpp keeps it: the first entry of the last of 2 T blocks of a sequence.
    steps, n = D.shape[-3], D.shape[-1]
    flag = factors[(2 * steps - 1) * n * n]
    return [value for value in (x, logs, *gradients) if value is not None], bool(flag == 1)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("steps", "n", "k"), SHAPES)
def test_equals_one_end(steps: int, n: int, k: int, dtype: torch.dtype) -> None:
    given = system(steps=steps, n=n, k=k, dtype=dtype)
    both, twisted = solved(*given, threads=2)
    one, straight = solved(*given, threads=1)
    assert twisted
    assert not straight
    for ours, theirs in zip(both, one, strict=True):
        assert float((ours - theirs).abs().max()) <= TOLERANCE[dtype] * float(theirs.abs().max())


@pytest.mark.parametrize("logdet", [True, False])
def test_without_gradients(logdet: bool) -> None:
    D, B, b = system(steps=250, n=20, k=1, dtype=torch.float64)
    found = []
    for threads in (2, 1):
        torch.set_num_threads(threads)
        x, logs, factors = kernels.solve_system(D, B, b, logdet, False)
        assert factors is None
        found.append([value for value in (x, logs) if value is not None])
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-11, atol=1e-11)


def test_few_sequences() -> None:
    given = system(2, steps=120, n=24, k=1, dtype=torch.float64)
    both, twisted = solved(*given, threads=4)
    one, _ = solved(*given, threads=1)
    assert twisted
    for ours, theirs in zip(both, one, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("step", [0, 3, 124, 125, 126, 200, 249])
def test_failure_names_the_pivot_of_one_end(step: int) -> None:
    D, B, b = system(steps=250, n=20, k=1, dtype=torch.float64)
    D[step, 5, 5] = -1e3
    messages = []
    for threads in (2, 1):
        torch.set_num_threads(threads)
        with pytest.raises(torch.linalg.LinAlgError, match=f"step {step}") as failure:
            kernels.solve_system(D, B, b, True, True)
        messages.append(str(failure.value))
    assert messages[0] == messages[1]


@pytest.mark.parametrize("at", [2, 125, 240])
def test_extreme_pivots_go_from_one_end(at: int) -> None:
    D, B, b = system(steps=250, n=20, k=1, dtype=torch.float32)
    assert b is not None
    # One step apart from its neighbours, with pivots whose reciprocals overflow.
    B[at - 1 : at + 1] = 0
    D[at] = 1e-39 * torch.eye(20)
    b[at] *= 1e-39
    both, twisted = solved(D, B, b, threads=2)
    one, _ = solved(D, B, b, threads=1)
    assert not twisted
    for ours, theirs in zip(both, one, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0, equal_nan=True)
