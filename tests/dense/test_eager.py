"""What certifies looks at numbers: torch.compile calls it between its graphs, and traces are refused."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx

import neuralinv as ni
from neuralinv.learned import inv_sqrt
from neuralinv.testing import relative_error


def layouts(n: int, dtype: torch.dtype) -> list[Tensor]:
    """Well-conditioned matrices in rows, in columns, and as parts of wider ones."""
    random = torch.Generator().manual_seed(n)
    A = torch.randn(4, n, n, generator=random, dtype=dtype) + 2 * n**0.5 * torch.eye(n, dtype=dtype)
    wide = torch.full((4, n, 2 * n), torch.nan, dtype=dtype)
    wide[..., :n] = A
    return [A, A.mT.contiguous().mT, wide[..., :n]]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("n", [3, 5, 9, 20, 50])
def test_compiled_functions_certify_what_they_return(n: int, dtype: torch.dtype) -> None:
    torch._dynamo.reset()
    compiled = torch.compile(lambda A: ni.certified_inv(A + 0.0 * A), backend="eager")
    for A in layouts(n, dtype):
        for _ in range(3):
            result = compiled(A)
            torch.randn(4, n, n)  # takes memory that nobody looks at any more
            assert bool(result.certified.all())
            assert bool((relative_error(A, result.inverse) <= result.error_bound).all())


@pytest.mark.parametrize(
    "function",
    [
        lambda A: ni.certified_inv(A).inverse,
        lambda A: ni.certified_inv(A, lambda M: torch.linalg.inv(M)).inverse,
        lambda A: inv_sqrt(A @ A.mT, cond=50.0).root,
    ],
    ids=["certified_inv", "proposer", "inv_sqrt"],
)
def test_compiled_functions_are_differentiable(function: Callable[[Tensor], Tensor]) -> None:
    torch._dynamo.reset()
    A = layouts(12, torch.float64)[1]
    grads = []
    for f in (function, torch.compile(function, backend="aot_eager")):
        leaf = A.clone().requires_grad_()
        f(leaf).square().sum().backward()
        grads.append(leaf.grad)
    torch.testing.assert_close(*grads)


@pytest.mark.parametrize(
    "function",
    [
        lambda A: ni.certified_inv(A).inverse,
        lambda A: ni.SequenceInverter()(A).inverse,
        lambda A: inv_sqrt(A @ A.mT).root,
    ],
    ids=["certified_inv", "SequenceInverter", "inv_sqrt"],
)
@pytest.mark.parametrize("n", [4, 12])
def test_traces_are_refused(function: Callable[[Tensor], Tensor], n: int) -> None:
    A = layouts(n, torch.float64)[0]

    def fake() -> Any:
        with FakeTensorMode() as mode:
            return function(mode.from_tensor(A))

    for trace in (lambda: make_fx(function)(A), lambda: torch.jit.trace(function, A), fake):
        with pytest.raises(TypeError, match=r"A is traced .* neuralinv\.inv inside of it"):
            trace()


def test_what_computes_beside_it_is_no_trace() -> None:
    from torch.utils.flop_counter import FlopCounterMode

    A = layouts(12, torch.float64)[0]
    with FlopCounterMode(display=False):
        assert bool(ni.certified_inv(A).certified.all())


@contextmanager
def rounding(mode: int) -> Iterator[None]:
    library = ctypes.CDLL(None)
    before = library.fegetround()
    if library.fesetround(mode):
        pytest.skip("this processor has no such mode")
    try:
        yield
    finally:
        library.fesetround(before)


@pytest.mark.skipif(sys.platform != "linux", reason="the modes have other numbers elsewhere")
@pytest.mark.parametrize("mode", [0x400, 0x800, 0xC00], ids=["down", "up", "to zero"])
def test_nothing_is_proved_in_other_rounding_modes(mode: int) -> None:
    import platform

    if platform.machine() != "x86_64":
        pytest.skip("the modes have other numbers elsewhere")
    A = np.random.default_rng(0).standard_normal((16, 4, 4)).astype(np.float32)
    inverter = ni.SequenceInverter()
    for certify in (ni.certified_inv, inverter, lambda A: inv_sqrt(A @ A.swapaxes(1, 2) + np.eye(4, dtype=A.dtype))):
        with rounding(mode), pytest.raises(RuntimeError, match="does not round to the nearest number"):
            certify(A)
    assert bool(ni.certified_inv(A).certified.all())


@pytest.mark.parametrize("n", [3, 12, 40])
def test_any_real_tolerance(n: int) -> None:
    A = layouts(n, torch.float64)[0]
    for proposer in (None, lambda M: torch.linalg.inv(M)):
        result = ni.certified_inv(A, proposer, rtol=Fraction(1, 1000))  # type: ignore[arg-type]
        assert result.rtol == 1e-3
        assert "rtol 1e-03" in str(result)
