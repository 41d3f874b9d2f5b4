"""Block-tridiagonal matrices on a GPU: values, gradients, streams, graph capture, compilation."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import neuralinv as ni
from neuralinv.block_tridiagonal.conformance import TOLERANCE, random_precision
from neuralinv.kernels import availability

pytestmark = pytest.mark.skipif(
    not torch.cuda.is_available() or not availability.serves(torch.device("cuda")),
    reason=f"needs a GPU and Triton: {availability.describe()}",
)
REAL = [torch.float32, torch.float64]


def results(D: Tensor, B: Tensor, b: Tensor, method: Any) -> tuple[Any, ...]:
    """Everything that an operator computes, for D made symmetric."""
    F = ni.BlockTridiagonal((D + D.mT) / 2, B, method=method).cholesky()
    return F.diag, F.lower, F.solve(b), F.solve_transpose(b), F.logdet(), *F.inverse_blocks()


def inputs(*batch: int, steps: int, n: int, k: int = 1, dtype: torch.dtype = torch.float64) -> tuple[Tensor, ...]:
    """Draw a problem on the CPU."""
    D, B = random_precision(*batch, steps=steps, n=n, dtype=dtype, seed=n)
    b = torch.randn(*batch, steps, n, k, generator=torch.Generator().manual_seed(n), dtype=torch.float64)
    return D, B, b.to(dtype)


def on_gpu(arguments: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(x.cuda().requires_grad_() for x in arguments)


@pytest.mark.parametrize("dtype", REAL, ids=str)
@pytest.mark.parametrize(
    ("n", "steps", "batch"),
    [(1, 1, 1), (1, 7, 70), (2, 5, 3), (3, 250, 1), (3, 20, 20_001), (5, 9, 4), (8, 6, 1100), (12, 5, 2), (20, 4, 3)],
)
def test_values_and_gradients(n: int, steps: int, batch: int, dtype: torch.dtype) -> None:
    arguments = inputs(batch, steps=steps, n=n, k=2, dtype=dtype)
    device = on_gpu(arguments)
    host = tuple(x.double().requires_grad_() for x in arguments)
    ours, exact = results(*device, "triton"), results(*host, "auto")
    tolerance = 100 * TOLERANCE[dtype]
    for value, oracle in zip(ours, exact, strict=True):
        if oracle.numel():
            error = (value.double().cpu() - oracle).abs().max() / oracle.abs().max()
            assert float(error) <= tolerance
    weights = [torch.linspace(1, 2, x.numel(), dtype=torch.float64).reshape(x.shape) for x in exact]
    found = torch.autograd.grad(ours, device, [w.to(dtype).cuda() for w in weights])
    for gradient, oracle in zip(found, torch.autograd.grad(exact, host, weights), strict=True):
        if oracle.numel():
            error = (gradient.double().cpu() - oracle).abs().max() / oracle.abs().max()
            assert float(error) <= 50 * tolerance


def test_finite_differences() -> None:
    assert torch.autograd.gradcheck(lambda *a: results(*a, "triton"), on_gpu(inputs(2, steps=3, n=2)))
    assert torch.autograd.gradgradcheck(lambda *a: results(*a, "triton"), on_gpu(inputs(steps=2, n=2)), fast_mode=True)


def test_auto_takes_the_kernels() -> None:
    D, B, _ = on_gpu(inputs(steps=4, n=3))
    assert ni.BlockTridiagonal(D, B).explain_dispatch().startswith("triton")


def test_failures() -> None:
    D, B, _ = inputs(2, 3, steps=5, n=3)
    D[0, 2, 3, 1, 1] = -1
    D[1, 0, 4, 2, 0] = torch.nan
    D[1, 1, 0, 0, 0] = torch.inf
    factor, info = ni.BlockTridiagonal(D.cuda(), B.cuda(), method="triton").cholesky_ex()
    assert info.tolist() == [[0, 0, 3 * 3 + 2], [4 * 3 + 3, 1, 0]]
    assert bool(factor.diag[info != 0].isnan().all())
    assert bool(factor.lower[info != 0].isnan().all())
    with pytest.raises(torch.linalg.LinAlgError, match=r"\(sequence \(0, 2\)\): at time step 3, pivot 2 of 3"):
        ni.BlockTridiagonal(D.cuda(), B.cuda(), method="triton").cholesky()


def test_subnormal_pivots_fail() -> None:
    # Whose roots the GPU takes for those of zero: without a word there would be NaN.
    D, B, _ = inputs(2, steps=3, n=2, dtype=torch.float32)
    D[1, 2, 1, 1], D[1, 2, 1, 0], B[1, 1] = 1e-40, 0, 0
    factor, info = ni.BlockTridiagonal(D.cuda(), B.cuda(), method="triton").cholesky_ex()
    assert info.tolist() == [0, 2 * 2 + 2]
    assert bool(factor.diag[0].isfinite().all())


def forward_and_backward(D: Tensor, B: Tensor, b: Tensor) -> tuple[Tensor, ...]:
    """Work without a wait: ``cholesky_ex`` looks at nothing."""
    F = ni.BlockTridiagonal(D, B, method="triton").cholesky_ex().factor
    value = F.solve_transpose(F.solve(b)).sum() + F.logdet().sum() + F.inverse_blocks().diag.sum()
    return (value.detach(), *torch.autograd.grad(value, (D, B, b)))


def test_nothing_waits_for_the_gpu() -> None:
    arguments = on_gpu(inputs(3, steps=6, n=4))
    forward_and_backward(*arguments)
    torch.cuda.set_sync_debug_mode("error")
    try:
        forward_and_backward(*arguments)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_another_stream() -> None:
    arguments = on_gpu(inputs(3, steps=50, n=4))
    expected = forward_and_backward(*arguments)
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        torch.cuda._sleep(50_000_000)  # what the kernels read appears late
        late = tuple((x.detach() * 1).requires_grad_() for x in arguments)
        ours = forward_and_backward(*late)
    torch.cuda.current_stream().wait_stream(stream)
    for mine, theirs in zip(ours, expected, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=0)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
def test_another_device() -> None:
    arguments = inputs(3, steps=5, n=4)
    first = forward_and_backward(*(x.to("cuda:0").requires_grad_() for x in arguments))
    second = forward_and_backward(*(x.to("cuda:1").requires_grad_() for x in arguments))
    for mine, theirs in zip(second, first, strict=True):
        assert mine.device == torch.device("cuda:1")
        torch.testing.assert_close(mine.cpu(), theirs.cpu(), rtol=0, atol=0)


def test_graph_capture() -> None:
    D, B, b = on_gpu(inputs(3, steps=20, n=5))
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            forward_and_backward(D, B, b)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = forward_and_backward(D, B, b)
    with torch.no_grad():
        D.mul_(2)
        b.add_(1)
    graph.replay()
    for mine, theirs in zip(captured, forward_and_backward(D, B, b), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=0)


def test_torch_compile() -> None:
    arguments = on_gpu(inputs(2, steps=5, n=3))

    def total(D: Tensor, B: Tensor, b: Tensor) -> Tensor:
        M = ni.BlockTridiagonal(D, B)
        return M.solve(b).square().sum() + M.logdet().sum()

    compiled = torch.compile(total, fullgraph=True)
    torch.testing.assert_close(compiled(*arguments), total(*arguments))
    ours = torch.autograd.grad(compiled(*arguments), arguments)
    for mine, theirs in zip(ours, torch.autograd.grad(total(*arguments), arguments), strict=True):
        torch.testing.assert_close(mine, theirs)
