"""Dense kernels on a GPU: sizes and batches that matter for speed, graphs, streams, devices, gradients, compilation."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import neuralinv as ni
from neuralinv.dense import routes
from neuralinv.testing import TOLERANCE, check_inverse, condition_number, relative_error

pytest.importorskip("triton", reason="Triton is not installed: pip install triton")
from neuralinv.kernels import dense

REAL = [torch.float32, torch.float64]


def uniform(*shape: int, dtype: torch.dtype = torch.float32, seed: int = 0, device: str = "cuda") -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(*shape, generator=generator, dtype=torch.float64) * 2 - 1).to(dtype).to(device)


def many(*shape: int, seed: int) -> Tensor:
    """Draw where the numbers will be: on the CPU it would take too long."""
    return torch.rand(*shape, device="cuda", generator=torch.Generator("cuda").manual_seed(seed)) * 2 - 1


def dominant(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return uniform(*shape, dtype=dtype) + 2 * shape[-1] ** 0.5 * torch.eye(shape[-1], dtype=dtype, device="cuda")


def assert_accurate(A: Tensor, X: Tensor) -> None:
    A, X = A.cpu(), X.cpu()
    error, allowed = relative_error(A, X), TOLERANCE[A.dtype] * condition_number(A)
    assert X.dtype == A.dtype
    assert bool((error <= allowed).all()), f"error {float((error / allowed).max()):.1e} of what is allowed"


@pytest.mark.parametrize("dtype", REAL, ids=str)
@pytest.mark.parametrize("n", range(1, 33))
def test_every_size(n: int, dtype: torch.dtype) -> None:
    for batch in (1, 33, 1000):
        A, B = uniform(batch, n, n, dtype=dtype, seed=batch), uniform(batch, n, 3, dtype=dtype, seed=1)
        assert routes.route(A) is routes.Route.DIRECT
        X, info = ni.inv_ex(A)
        assert X.device == A.device
        assert not info.any()
        assert_accurate(A, X)
        solution = ni.solve(A, B).double()
        residual = torch.linalg.matrix_norm(A.double() @ solution - B.double())
        size = torch.linalg.matrix_norm(A.double()) * torch.linalg.matrix_norm(solution)
        assert bool((residual <= TOLERANCE[dtype] * size).all())
        sign, logarithm = ni.slogdet(A)
        expected = torch.linalg.slogdet(A.cpu().double())
        assert sign.tolist() == expected.sign.tolist()
        allowed = 10 * TOLERANCE[dtype] * condition_number(A.cpu())
        assert bool(((logarithm.cpu().double() - expected.logabsdet).abs() <= allowed).all())


@pytest.mark.parametrize("n", [2, 3, 4, 6, 8, 16, 32])
def test_a_million_matrices(n: int) -> None:
    batch = 1_000_003
    A = many(batch, n, n, seed=n)  # 32×32: close to 2³⁰ entries
    X, info = ni.inv_ex(A)
    assert not info.any()
    for part in (slice(0, 300), slice(batch // 2, batch // 2 + 300), slice(-300, None)):
        assert_accurate(A[part], X[part])


def test_offsets_beyond_32_bits() -> None:
    batch = 2**31 // (32 * 32) + 1000
    if torch.cuda.mem_get_info()[0] < 5 * batch * 32 * 32 * 4 // 2:
        pytest.skip("not enough memory on this GPU")
    A = many(batch, 32, 32, seed=0)
    X, _ = ni.inv_ex(A)
    assert_accurate(A[-300:], X[-300:])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("n", [3, 8, 16, 20])
def test_half_precision(n: int, dtype: torch.dtype) -> None:
    A, B = dominant(100, n, n).to(dtype), uniform(100, n, 2).to(dtype)
    assert_accurate(A, ni.inv(A))
    assert torch.equal(dense.invert(A)[0], dense.invert(A.float())[0].to(dtype))
    assert torch.equal(dense.solve(A, B)[0], dense.solve(A.float(), B.float())[0].to(dtype))
    assert torch.equal(dense.slogdet(A)[1], dense.slogdet(A.float())[1].to(dtype))


def test_any_number_of_right_hand_sides() -> None:
    A, B = dominant(40, 3, 3), many(40, 3, 600_000, seed=0)  # more panels than a second dimension of programs takes
    torch.testing.assert_close(ni.solve(A, B), torch.linalg.inv(A) @ B, rtol=1e-3, atol=1e-4)


def test_pending_negations_are_carried_out() -> None:
    A = dominant(50, 4, 4)
    torch.testing.assert_close(dense.invert(torch._neg_view(A))[0], torch.linalg.inv(-A), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", REAL, ids=str)
def test_conformance(dtype: torch.dtype) -> None:
    check_inverse(lambda A: ni.inv(A.cuda()).cpu(), dtype)


@pytest.mark.parametrize("n", [1, 2, 3, 6, 8, 9, 32])
def test_singular_matrices_fail_at_lapacks_pivot(n: int) -> None:
    A = torch.eye(n).repeat(2 * n + 1, 1, 1)
    for k in range(n):
        A[k + 1, k, k] = 0
        A[n + 1 + k, k] = A[n + 1 + k, 0] * (2 if k else 0)
    expected = torch.linalg.inv_ex(A).info.tolist()
    A = A.cuda()
    X, info = ni.inv_ex(A)
    assert info.tolist() == expected
    assert bool(X[info != 0].isnan().all())
    assert ni.solve_ex(A, A).info.tolist() == expected
    assert ni.slogdet(A).sign.tolist() == [float(k == 0) for k in expected]
    with pytest.raises(torch.linalg.LinAlgError, match=r"\(1,\)\): pivot 1 .* exactly zero"):
        ni.inv(A)


def test_rounding_decides_as_on_the_cpu() -> None:
    # Fused multiply-adds would turn exact zeros into small numbers.
    tile = torch.eye(8, device="cuda")
    tile[:2, :2] = torch.tensor([[3.0, 6.0], [1.0, 2.0]])
    assert ni.inv_ex(tile[:2, :2].contiguous()).info == 2
    assert ni.inv_ex(tile).info == 2


@pytest.mark.parametrize("n", [3, 8, 16, 32])
@pytest.mark.parametrize(("dtype", "rtol"), [(torch.float32, 1e-5), (torch.float32, 1e-7), (torch.float64, 1e-10)])
def test_bounds_hold(n: int, dtype: torch.dtype, rtol: float) -> None:
    A = uniform(2000, n, n, dtype=dtype, seed=n)
    X, bound = dense.certified_invert(A, rtol)
    error = relative_error(A.cpu(), X.cpu())
    slack = 1e-13 * condition_number(A.cpu())  # the reference is float64, and not exact
    assert bool((error <= bound.cpu() + slack).all())
    assert float((bound <= max(rtol, 2e-7)).double().mean()) > 0.9
    result = ni.certified_inv(A, rtol=max(rtol, 1e-6) if dtype == torch.float32 else rtol, on_singular="nan")
    assert bool(result.certified.any())
    assert result.status.device == A.device


def test_nothing_waits_for_the_device_and_graphs_replay() -> None:
    A, B = dominant(500, 6, 6), uniform(500, 6, 2)
    expected = torch.linalg.inv(A)
    for _ in range(2):  # compiles
        ni.inv_ex(A), ni.solve_ex(A, B), ni.slogdet(A), dense.certified_invert(A, 1e-5)
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        ni.inv_ex(A), ni.solve_ex(A, B), ni.slogdet(A), dense.certified_invert(A, 1e-5)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        X = ni.inv_ex(A).inverse
        x = ni.solve_ex(A, B).result
    X.zero_()
    A.mul_(2)
    graph.replay()
    torch.testing.assert_close(X, expected / 2, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(x, expected @ B / 2, rtol=1e-4, atol=1e-5)


def test_side_streams() -> None:
    A = dominant(100_000, 4, 4)
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        torch.cuda._sleep(50_000_000)  # what the kernel reads appears late: on another stream it would come too early
        B = A * 3
        X = ni.inv_ex(B).inverse
    torch.cuda.current_stream().wait_stream(stream)
    torch.testing.assert_close(X, torch.linalg.inv(A * 3), rtol=1e-4, atol=1e-5)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="there is one GPU")
def test_another_device() -> None:
    A = dominant(100, 8, 8).to("cuda:1")
    assert torch.cuda.current_device() == 0
    X = ni.inv(A)
    assert X.device == A.device
    assert torch.cuda.current_device() == 0
    assert_accurate(A, X)


def test_gradients_maps_and_compiled_functions() -> None:
    A = dominant(5, 4, 4, dtype=torch.float64).requires_grad_()
    b = uniform(5, 4, 2, dtype=torch.float64)
    for function in (ni.inv, lambda A: ni.solve(A, b), lambda A: ni.slogdet(A).logabsdet):
        assert torch.autograd.gradcheck(function, A)
    torch.testing.assert_close(torch.func.vmap(ni.inv)(A), torch.linalg.inv(A))
    compiled = torch.compile(lambda A: ni.inv(A).sin().sum(), fullgraph=True)
    (mine,) = torch.autograd.grad(compiled(A), A)
    (expected,) = torch.autograd.grad(torch.linalg.inv(A).sin().sum(), A)
    torch.testing.assert_close(mine, expected)


def test_layouts() -> None:
    A = dominant(60, 5, 5)
    apart = torch.zeros(60, 11, 15, device="cuda")
    apart[:, 1:6, ::3] = A
    views = (A.mT, apart[:, 1:6, ::3], A[::2], A[3].expand(7, 5, 5), A.reshape(3, 20, 5, 5).transpose(0, 1), A[0])
    for view in (*views, A[1:]):  # the last one not on a boundary of 16 bytes
        torch.testing.assert_close(ni.inv(view), torch.linalg.inv(view), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("n", [33, 64, 100])
def test_blocks_of_kernels(n: int) -> None:
    from neuralinv.dense import blocked

    A = uniform(20, n, n)
    assert_accurate(A, blocked.inverse(A))
