"""Every method against dense float64 linear algebra, and what the operators promise besides numbers."""

from __future__ import annotations

import os
import subprocess
import sys
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import neuralinv as ni
from neuralinv.block_tridiagonal import kernels
from neuralinv.block_tridiagonal.conformance import TOLERANCE, Case, check_method, dense, random_precision
from neuralinv.dense import native as dense_native

METHODS = ["native", "cyclic", "loop"]
REAL = [torch.float32, torch.float64]


def test_the_extension_was_built() -> None:
    assert kernels.AVAILABLE


@pytest.mark.parametrize("dtype", REAL, ids=str)
@pytest.mark.parametrize("method", METHODS)
def test_conformance(method: str, dtype: torch.dtype) -> None:
    check_method(method, dtype)


@pytest.mark.parametrize("dtype", REAL, ids=str)
@pytest.mark.parametrize("n", [*range(1, 34), 47, 64, 65])
def test_every_size_of_a_block(n: int, dtype: torch.dtype) -> None:
    D, B = random_precision(2, steps=3, n=n, dtype=dtype, seed=n)
    exact = dense(Case("", D, B))
    F = ni.BlockTridiagonal(D, B, method="native").cholesky()
    tolerance = 100 * TOLERANCE[dtype]
    torch.testing.assert_close(F.to_dense().double(), torch.linalg.cholesky(exact), rtol=tolerance, atol=tolerance)
    inverse = torch.from_numpy(np.linalg.inv(exact.numpy()))  # not torch's: pytorch/pytorch#141358
    torch.testing.assert_close(F.inverse_blocks().diag[:, 0].double(), inverse[:, :n, :n], rtol=0, atol=tolerance)
    b = torch.ones(2, 3, n, dtype=dtype)
    root = torch.linalg.cholesky(exact)
    for solve, matrix in ((F.solve, root), (F.solve_transpose, root.mT)):
        x = torch.from_numpy(np.linalg.solve(matrix.numpy(), b.double().flatten(1)[..., None].numpy()))[..., 0]
        torch.testing.assert_close(solve(b).double().flatten(1), x, rtol=0, atol=tolerance * float(x.abs().max()))


@settings(max_examples=40, deadline=None)
@given(
    batch=st.lists(st.integers(0, 3), max_size=2),
    steps=st.integers(1, 12),
    n=st.integers(1, 7),
    k=st.integers(0, 4),
    method=st.sampled_from(METHODS),
    seed=st.integers(0, 1000),
)
def test_solves_of_any_shape(batch: list[int], steps: int, n: int, k: int, method: str, seed: int) -> None:
    D, B = random_precision(*batch, steps=steps, n=n, seed=seed)
    b = torch.randn(*batch, steps, n, k, dtype=torch.float64)
    M = ni.BlockTridiagonal(D, B, method=method)
    x = M.solve(b)
    assert x.shape == b.shape
    torch.testing.assert_close(M.matmul(x), b, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("method", METHODS)
def test_batches_broadcast(method: str) -> None:
    D, B = random_precision(3, steps=4, n=2)
    one = ni.BlockTridiagonal(D[0], B[0], method=method)
    b = torch.randn(5, 3, 4, 2, dtype=torch.float64)
    torch.testing.assert_close(one.solve(b), torch.stack([torch.stack([one.solve(v) for v in w]) for w in b]))
    torch.testing.assert_close(one.solve(b[..., None])[..., 0], one.solve(b))
    M = ni.BlockTridiagonal(D, B, method=method)
    torch.testing.assert_close(M.solve(b)[2, 1], ni.BlockTridiagonal(D[1], B[1]).solve(b[2, 1]))
    torch.testing.assert_close(M.solve(b[0, 0])[2], ni.BlockTridiagonal(D[2], B[2]).solve(b[0, 0]))
    assert one.solve(b[..., None][..., :0]).shape == (5, 3, 4, 2, 0)


def test_one_vector_or_several_when_both_fit() -> None:
    D, B = random_precision(steps=3, n=3)
    b = torch.randn(3, 3, 3, dtype=torch.float64)
    M = ni.BlockTridiagonal(D, B)
    torch.testing.assert_close(M.solve(b)[..., 0], M.solve(b[..., 0]))  # as many dimensions as diag: columns
    wide = ni.BlockTridiagonal(D.expand(3, 3, 3, 3), B)
    torch.testing.assert_close(wide.solve(b)[1], M.solve(b[1]))  # one fewer: one vector for each matrix


def test_arithmetic() -> None:
    D, B = random_precision(2, steps=3, n=2)
    M, other = ni.BlockTridiagonal(D, B), ni.BlockTridiagonal(*random_precision(2, steps=3, n=2, seed=5))
    torch.testing.assert_close((M + other).to_dense(), M.to_dense() + other.to_dense())
    torch.testing.assert_close((2.5 * M).to_dense(), (M * torch.tensor(2.5)).to_dense())
    assert M.mT is M
    assert M.shape == (2, 6, 6)
    with pytest.raises(ValueError, match=r"diag has shapes \(2, 3, 2, 2\) and \(2, 1, 2, 2\); expected the same T"):
        M + ni.BlockTridiagonal(D[:, :1], B[:, :0])
    with pytest.raises(ValueError, match=r"and \(4, 3, 2, 2\); .* batch shapes that broadcast"):
        M + ni.BlockTridiagonal(D.repeat(2, 1, 1, 1), B.repeat(2, 1, 1, 1))
    with pytest.raises(ValueError, match="diag is on cpu and meta; expected the same device"):
        M + ni.BlockTridiagonal(D.to("meta"), B.to("meta"))
    with pytest.raises(TypeError, match="NumPy arrays, the other's are tensors; expected one kind"):
        M + ni.BlockTridiagonal(D.numpy(), B.numpy())
    with pytest.raises(TypeError, match="unsupported operand"):
        M + 1  # type: ignore[operator]
    with pytest.raises(TypeError, match="unsupported operand"):
        M * None  # type: ignore[operator]
    assert repr(M) == "BlockTridiagonal(batch=(2,), T=3, n=2, torch.float64, method='auto')"
    assert M.explain_dispatch().startswith("native: torch.float64 blocks of 2×2")


@pytest.mark.parametrize("method", METHODS)
def test_jitter_is_explicit(method: str) -> None:
    D, B = random_precision(steps=4, n=2)
    M = ni.BlockTridiagonal(D, B, method=method)
    shifted = M.to_dense() + 0.5 * torch.eye(8)
    torch.testing.assert_close(M.logdet(jitter=0.5), torch.logdet(shifted))
    torch.testing.assert_close(M.inverse_blocks(jitter=0.5).diag[0], torch.linalg.inv(shifted)[:2, :2])
    singular = ni.BlockTridiagonal(torch.zeros(4, 2, 2), torch.zeros(3, 2, 2), method=method)
    with pytest.raises(torch.linalg.LinAlgError, match="time step 0, pivot 1 of 2"):
        singular.cholesky()
    torch.testing.assert_close(singular.solve(torch.ones(4, 2), jitter=4.0), torch.full((4, 2), 0.25))
    torch.testing.assert_close(M.logdet(jitter=Fraction(1, 2)), M.logdet(jitter=0.5))
    with pytest.raises(TypeError, match="jitter='a'; expected a real number"):
        M.cholesky_ex(jitter="a")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="jitter is on meta and the blocks are on cpu; expected the same device"):
        M.logdet(jitter=torch.tensor(0.5, device="meta"))


@pytest.mark.parametrize("method", ["auto", "cyclic", "loop"])
def test_shapes_without_numbers(method: Any) -> None:
    D, B = random_precision(2, steps=4, n=3)
    results = []
    for device in ("cpu", "meta"):
        M, b = ni.BlockTridiagonal(D.to(device), B.to(device), method=method), D[..., 0].to(device)
        F, info = M.cholesky_ex()
        results.append([M.solve(b), *M.solve_logdet(b), *M.inverse_blocks(), F.solve(b), info, M.matmul(b)])
    for ours, theirs in zip(*results, strict=True):
        assert theirs.is_meta
        assert ours.shape == theirs.shape
        assert ours.dtype == theirs.dtype
    with pytest.raises(TypeError, match="is a meta tensor: it has no entries that could be certified"):
        M.solve(b, certify=True)


@pytest.mark.parametrize("method", ["cyclic", "loop"])
def test_failures_that_nobody_can_look_at_are_nan(method: Any) -> None:
    D, B = random_precision(3, steps=4, n=2)
    expected = ni.BlockTridiagonal(D, B).logdet()

    def logdet(D: torch.Tensor, B: torch.Tensor) -> torch.Tensor:
        return ni.BlockTridiagonal(D, B, method=method).logdet()

    def info(D: torch.Tensor, B: torch.Tensor) -> torch.Tensor:
        return ni.BlockTridiagonal(D, B, method=method).cholesky_ex().info

    compiled = torch.compile(logdet, fullgraph=True, backend="aot_eager")
    for function in (torch.func.vmap(logdet), compiled):
        torch.testing.assert_close(function(D, B), expected)
    D[1, 2] *= -1
    expected[1] = torch.nan
    for function in (torch.func.vmap(logdet), compiled):
        torch.testing.assert_close(function(D, B), expected, equal_nan=True)
    assert torch.func.vmap(info)(D, B).tolist() == [0, 1 if method == "cyclic" else 5, 0]
    with pytest.raises(torch.linalg.LinAlgError, match=r"sequence 1\): at time step 2"):
        logdet(D, B)


@pytest.mark.parametrize("method", METHODS)
def test_products_under_autocast(method: Any) -> None:
    D, B = (x.requires_grad_() for x in random_precision(2, steps=5, n=3, dtype=torch.float32))
    b = torch.ones(2, 5, 3)

    def products() -> list[torch.Tensor]:
        M = ni.BlockTridiagonal(D, B, method=method)
        return [M.matmul(b), M.cholesky().matmul(b), M.to_dense()]

    outside = products()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = products()
        again = [torch.autograd.grad(M.sum(), D, create_graph=True)[0] for M in _solutions(D, B, b)]
    for x, y in zip(inside, outside, strict=True):
        assert x.dtype == torch.float32
        assert torch.equal(x, y)
    for x, y in zip(again, (torch.autograd.grad(M.sum(), D)[0] for M in _solutions(D, B, b)), strict=True):
        torch.testing.assert_close(x, y)


def _solutions(D: torch.Tensor, B: torch.Tensor, b: torch.Tensor) -> list[torch.Tensor]:
    M = ni.BlockTridiagonal(D, B, method="native")
    return [M.solve(b), M.cholesky().solve(b), M.inverse_blocks().diag]


@pytest.mark.parametrize("dtype", REAL, ids=str)
@pytest.mark.parametrize("method", METHODS)
def test_failures_name_sequence_step_and_pivot(method: str, dtype: torch.dtype) -> None:
    D, B = random_precision(2, 3, steps=5, n=3, dtype=dtype)
    bad = D.clone()
    bad[0, 2, 3, 1, 1] = -1
    bad[1, 0, 4, 2, 0] = torch.nan
    bad[1, 1, 0, 0, 0] = torch.inf
    M = ni.BlockTridiagonal(bad, B, method=method)
    factor, info = M.cholesky_ex()
    assert info.dtype == torch.int64
    assert info.tolist() == [[0, 0, 3 * 3 + 2], [4 * 3 + 3, 1, 0]]
    assert bool(factor.diag[info != 0].isnan().all())
    assert bool(factor.lower[info != 0].isnan().all())
    good = ni.BlockTridiagonal(D, B, method=method).cholesky()
    torch.testing.assert_close(factor.diag[info == 0], good.diag[info == 0], rtol=0, atol=0)
    message = r"not positive definite \(sequence \(0, 2\)\): at time step 3, pivot 2 of 3"
    for call in (M.cholesky, M.logdet, M.inverse_blocks, lambda: M.solve(bad[..., 0])):
        with pytest.raises(torch.linalg.LinAlgError, match=message):
            call()
    with pytest.raises(np.linalg.LinAlgError, match=message):
        ni.BlockTridiagonal(bad.numpy(), B.numpy(), method=method).cholesky()


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("method", METHODS)
def test_non_finite_couplings_fail_too(method: str, bad: float) -> None:
    D, B = random_precision(3, steps=5, n=2)
    B[1, 2, 0, 1] = bad
    assert ni.BlockTridiagonal(D, B, method=method).cholesky_ex().info.tolist() == [0, 7, 0]


@pytest.mark.parametrize("n", [2, 10, 17])
def test_pivots_whose_reciprocal_leaves_the_range(n: int) -> None:
    # 1e-40 is denormal, and so is 1/3e38; their roots are ordinary numbers.
    diagonal = torch.tensor([1e-40, 3e38] * n)[:n]
    F = ni.BlockTridiagonal(torch.diag(diagonal).repeat(3, 1, 1), torch.zeros(2, n, n), method="native").cholesky()
    torch.testing.assert_close(F.diag[2], torch.diag(diagonal.double().sqrt().float()), rtol=1e-6, atol=0)


def test_log_determinants_beyond_the_range_of_determinants() -> None:
    diagonal = torch.tensor([1e-30, 1e30, 1e20], dtype=torch.float64).repeat(5000)
    F = ni.BlockBidiagonal(diagonal[:, None, None], torch.zeros(14_999, 1, 1, dtype=torch.float64))
    torch.testing.assert_close(F.logdet(), diagonal.log().sum())
    for value, expected in ((0.0, -torch.inf), (-1.0, torch.nan), (torch.inf, torch.inf)):
        diagonal[7] = value
        F = ni.BlockBidiagonal(diagonal[:, None, None], torch.zeros(14_999, 1, 1, dtype=torch.float64))
        torch.testing.assert_close(F.logdet(), torch.tensor(expected, dtype=torch.float64), equal_nan=True)


def test_numpy_arrays() -> None:
    D, B = (x.numpy() for x in random_precision(2, steps=4, n=3, dtype=torch.float32))
    M = ni.BlockTridiagonal(D, B)
    results = [M.solve(D[..., 0]), M.logdet(), *M.inverse_blocks(), M.to_dense(), M.matmul(D), M.cholesky().diag]
    assert all(type(r) is np.ndarray and r.dtype == np.float32 for r in results)
    np.testing.assert_allclose(np.linalg.solve(M.to_dense(), D.reshape(2, 12, 3)[..., :1])[..., 0],
                               M.solve(D[..., 0]).reshape(2, 12), rtol=1e-3)  # fmt: skip
    assert isinstance(M.cholesky_ex().info, np.ndarray)
    assert (2 * M + M).diag.dtype == np.float32


def test_what_does_not_fit_is_explained() -> None:
    D, B = random_precision(2, steps=4, n=3)
    with pytest.raises(ValueError, match=r"diag has shape \(3, 3\); expected \(\*batch, T, n, n\)"):
        ni.BlockTridiagonal(D[0, 0], B)
    with pytest.raises(ValueError, match=r"expected lower of \(\*batch, 3, 3, 3\), one block fewer than diag"):
        ni.BlockTridiagonal(D, D)
    with pytest.raises(ValueError, match=r"expected lower of"):
        ni.BlockBidiagonal(D, B[:, :, :2])
    with pytest.raises(TypeError, match=r"expected both float32 or both float64"):
        ni.BlockTridiagonal(D, B.float())
    with pytest.raises(TypeError, match=r"expected both float32 or both float64"):
        ni.BlockTridiagonal(D.half(), B.half())
    with pytest.raises(ValueError, match=r"method is 'fast'; expected 'auto', 'native', 'triton', 'cyclic'"):
        ni.BlockTridiagonal(D, B, method="fast")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"method='native' takes .* on the CPU"):
        ni.BlockTridiagonal(D.to("meta"), B.to("meta"), method="native")
    with pytest.raises(ValueError, match=r"method='triton' takes .* on a GPU, in blocks up to 32; .* on cpu, n = 3"):
        ni.BlockTridiagonal(D, B, method="triton")
    with pytest.raises(ValueError, match=r"b is on meta and the blocks are on cpu; expected the same device"):
        ni.BlockTridiagonal(D, B).solve(torch.ones(4, 3, dtype=torch.float64, device="meta"))
    M = ni.BlockTridiagonal(D, B)
    with pytest.raises(
        ValueError, match=r"b has shape \(2, 3, 4\); expected \(\*batch, 4, 3\) or \(\*batch, 4, 3, k\)"
    ):
        M.solve(torch.ones(2, 3, 4, dtype=torch.float64))
    with pytest.raises(ValueError, match=r"b has batch shape \(5,\) and the blocks \(2,\)"):
        M.solve(torch.ones(5, 4, 3, dtype=torch.float64))
    with pytest.raises(TypeError, match=r"b is torch\.float32 and the blocks are torch\.float64"):
        M.solve(torch.ones(2, 4, 3))


def test_the_number_of_threads_changes_nothing() -> None:
    D, B = random_precision(37, steps=40, n=5)
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            M = ni.BlockTridiagonal(D, B, method="native")
            results.append((M.solve(D[..., 0]), M.solve(D), M.logdet(), *M.inverse_blocks()))
    finally:
        torch.set_num_threads(before)
    for one, three in zip(*results, strict=True):
        torch.testing.assert_close(one, three, rtol=0, atol=0)


def test_long_sequences_take_little_memory() -> None:
    probe = """
import resource, torch, neuralinv as ni
T, n = 100_000, 10
D = (3 * torch.eye(n)).repeat(T, 1, 1).requires_grad_()
B = (0.1 * torch.ones(T - 1, n, n)).requires_grad_()
b = torch.ones(T, n, requires_grad=True)
base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
F = ni.BlockTridiagonal(D, B, method="native").cholesky()
loss = F.solve_transpose(F.solve(b)).sum() + F.logdet()
loss.backward()
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - base
allowed = 2 * 4 * (2 * T * n * n + T * n) * 4
assert peak <= allowed, (peak, allowed)
"""
    subprocess.run([sys.executable, "-c", probe], check=True)


@pytest.mark.parametrize("instruction_set", dense_native.instruction_sets())
def test_every_instruction_set_of_this_machine(instruction_set: str) -> None:
    probe = """
import sys, torch
from neuralinv.block_tridiagonal.conformance import check_method
from neuralinv.dense import native
assert native.instruction_set() == sys.argv[1]
check_method("native", torch.float32)
check_method("native", torch.float64)
"""
    environment = {**os.environ, "NEURALINV_ISA": instruction_set}
    subprocess.run([sys.executable, "-c", probe, instruction_set], env=environment, check=True)
