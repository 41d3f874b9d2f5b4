"""The helpers of Archer et al.'s code beside a loop that inverts at each time step, as theirs does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from neuralinv.block_tridiagonal.conformance import Case, dense, random_precision
from neuralinv.compat import vilds

SIZES = [(1, 1), (1, 3), (2, 2), (5, 3), (4, 4), (30, 2)]


def loop_chol(A: Tensor, B: Tensor) -> list[Tensor]:
    diagonal, below = [torch.linalg.cholesky(A[0])], []
    for t in range(len(B)):
        below.append(B[t].T @ torch.linalg.inv(diagonal[t]).T)
        diagonal.append(torch.linalg.cholesky(A[t + 1] - below[t] @ below[t].T))
    return [torch.stack(diagonal), torch.stack(below) if below else B]


def loop_inv(A: Tensor, B: Tensor, b: Tensor, lower: bool = True, transpose: bool = False) -> Tensor:
    if transpose:
        A, B = A.mT, B.mT
    steps = len(A)
    x: dict[int, Tensor] = {}
    for t in range(steps) if lower else reversed(range(steps)):
        rest = b[t]
        if lower and t > 0:
            rest = rest - B[t - 1] @ x[t - 1]
        if not lower and t + 1 < steps:
            rest = rest - B[t] @ x[t + 1]
        x[t] = torch.linalg.inv(A[t]) @ rest
    return torch.stack([x[t] for t in range(steps)])


def loop_mtimes(A: Tensor, B: Tensor, x: Tensor, lower: bool = True, transpose: bool = False) -> Tensor:
    if transpose:
        A, B = A.mT, B.mT
    rows = []
    for t in range(len(A)):
        row = A[t] @ x[t]
        if lower and t > 0:
            row = row + B[t - 1] @ x[t - 1]
        if not lower and t + 1 < len(A):
            row = row + B[t] @ x[t + 1]
        rows.append(row)
    return torch.stack(rows)


def loop_blocks(A: Tensor, Qinv: Tensor, Q0inv: Tensor, Lambda: Tensor, mu: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """From the density itself: every term of −2 log p is put where it belongs."""
    steps, n = mu.shape
    M = torch.zeros(steps, steps, n, n, dtype=mu.dtype)
    M[0, 0] = M[0, 0] + Q0inv
    for t in range(steps - 1):  # (z_{t+1} − A z_t)ᵀ Q⁻¹ (z_{t+1} − A z_t)
        M[t + 1, t + 1] = M[t + 1, t + 1] + Qinv
        M[t, t] = M[t, t] + A.T @ Qinv @ A
        M[t, t + 1] = M[t, t + 1] - A.T @ Qinv
    index = torch.arange(steps)
    linear = torch.stack([Lambda[t] @ mu[t] for t in range(steps)])
    return M[index, index] + Lambda, M[index[:-1], index[1:]], linear


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def compare(ours: Callable[..., Any], theirs: Callable[..., Any], *arguments: Tensor) -> None:
    """Values, and gradients with respect to every argument, of a random function of the results."""
    leaves = [x.clone().requires_grad_() for x in arguments]
    gradients = []
    results = []
    for function in (ours, theirs):
        outputs = function(*leaves)
        outputs = [outputs] if isinstance(outputs, Tensor) else list(outputs)
        results.append(outputs)
        total = sum((torch.sin(y) * normal(*y.shape, seed=i)).sum() for i, y in enumerate(outputs))
        gradients.append(torch.autograd.grad(total, leaves, materialize_grads=True))
    for mine, other in zip(results[0] + list(gradients[0]), results[1] + list(gradients[1]), strict=True):
        assert mine.dtype == other.dtype
        torch.testing.assert_close(mine, other, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("steps", "n"), SIZES)
def test_factor(steps: int, n: int) -> None:
    D, B = random_precision(steps=steps, n=n)
    compare(vilds.blk_tridag_chol, loop_chol, D, B.mT)
    result = vilds.blk_tridag_chol(D, B.mT)
    assert type(result) is list
    torch.testing.assert_close(result, vilds.blk_tridag_chol(D, B, upper=False))
    torch.testing.assert_close(result, vilds.blk_tridiag_chol(D, B.mT))
    with pytest.raises(torch.linalg.LinAlgError, match=f"at time step 0, pivot 1 of {n}"):
        vilds.blk_tridag_chol(-D, B)


@pytest.mark.parametrize("transpose", [False, True])
@pytest.mark.parametrize("lower", [False, True])
@pytest.mark.parametrize("kind", ["lower triangles", "upper triangles", "full"])
@pytest.mark.parametrize(("steps", "n"), SIZES)
def test_solves_and_products(steps: int, n: int, kind: str, lower: bool, transpose: bool) -> None:
    A = normal(steps, n, n) / n + 2 * torch.eye(n, dtype=torch.float64)
    A = {"lower triangles": A.tril(), "upper triangles": A.triu(), "full": A}[kind]
    B, b = normal(steps - 1, n, n, seed=1) / n, normal(steps, n, seed=2)
    for ours, theirs in ((vilds.blk_chol_inv, loop_inv), (vilds.blk_chol_mtimes, loop_mtimes)):
        compare(lambda *a, f=ours: f(*a, lower, transpose), lambda *a, f=theirs: f(*a, lower, transpose), A, B, b)
    x = vilds.blk_chol_inv(A, B, b, lower=lower, transpose=transpose)
    torch.testing.assert_close(vilds.blk_chol_mtimes(A, B, x, lower=lower, transpose=transpose), b)


@pytest.mark.parametrize(("steps", "n"), [(1, 2), (2, 3), (6, 3)])
def test_the_recognition_model(steps: int, n: int) -> None:
    """From encoders to posterior mean, sample and entropy, as their model does it."""

    def model(h: Any, factors: Callable[..., Any]) -> Callable[..., Any]:
        def run(mu: Tensor, cov: Tensor, QinvChol: Tensor, Q0invChol: Tensor, A: Tensor) -> tuple[Tensor, ...]:
            AA, BB, LambdaMu = factors(mu, cov, QinvChol, Q0invChol, A)
            chol = h[0](AA, BB)
            ib = h[1](chol[0], chol[1], LambdaMu, lower=True, transpose=False)
            mean = h[1](chol[0], chol[1], ib, lower=False, transpose=True)
            noise = h[1](chol[0], chol[1], normal(steps, n, seed=9), lower=False, transpose=True)
            log_determinant = -2 * torch.log(torch.diagonal(chol[0], dim1=-2, dim2=-1)).sum()
            return mean, mean + noise, log_determinant, AA, BB, LambdaMu

        return run

    def theirs(mu: Tensor, cov: Tensor, QinvChol: Tensor, Q0invChol: Tensor, A: Tensor) -> Any:
        roots = cov.view(-1, n, n)
        return loop_blocks(A, QinvChol @ QinvChol.T, Q0invChol @ Q0invChol.T, roots @ roots.mT, mu)

    arguments = (
        normal(steps, n), normal(steps, n * n, seed=1), normal(n, n, seed=2), normal(n, n, seed=3),
        0.9 * normal(n, n, seed=4),
    )  # fmt: skip
    compare(
        model(
            (vilds.blk_tridag_chol, vilds.blk_chol_inv),
            lambda mu, cov, Q, Q0, A: vilds.calculate_cholesky_factors(mu, cov, n, Q, Q0, A, steps),
        ),
        model((loop_chol, loop_inv), theirs),
        *arguments,
    )


@pytest.mark.parametrize(("steps", "n"), SIZES)
def test_blocks_of_the_precision(steps: int, n: int) -> None:
    Q, Q0, R = (normal(*s, n, n, seed=i) for i, s in enumerate(((), (), (steps,))))
    arguments = (normal(n, n, seed=5), Q @ Q.T, Q0 @ Q0.T, R @ R.mT, normal(steps, n, seed=6))
    compare(vilds.precision_blocks, loop_blocks, *arguments)


@pytest.mark.parametrize(("steps", "n"), SIZES)
def test_blocks_of_the_inverse(steps: int, n: int) -> None:
    D, B = random_precision(steps=steps, n=n)
    diagonal, below, S = vilds.compute_sym_blk_tridiag(D, B.mT)
    inverse = torch.linalg.inv(dense(Case("", D, B))).unflatten(-1, (steps, n)).unflatten(0, (steps, n))
    index = torch.arange(steps)
    torch.testing.assert_close(diagonal, inverse[index, :, index, :])
    torch.testing.assert_close(below, inverse[index[1:], :, index[:-1], :])
    torch.testing.assert_close(below, S.mT @ diagonal[:-1])
    b = normal(steps, n)
    expected = torch.linalg.solve(dense(Case("", D, B)), b.flatten()).reshape(steps, n)
    torch.testing.assert_close(vilds.compute_sym_blk_tridiag_inv_b(S, diagonal, b), expected)


@pytest.mark.parametrize("lower", [False, True])
def test_second_derivatives(lower: bool) -> None:
    A, B, b = normal(3, 2, 2).tril() + 3 * torch.eye(2), normal(2, 2, 2, seed=1), normal(3, 2, seed=2)
    arguments = tuple(x.requires_grad_() for x in (A, B, b))
    assert torch.autograd.gradgradcheck(lambda *a: vilds.blk_chol_inv(*a, lower, not lower), arguments)


def test_batches_and_several_right_hand_sides() -> None:
    D, B = random_precision(2, 3, steps=3, n=3)
    L, C = vilds.blk_tridag_chol(D, B.mT)
    b = normal(2, 3, 3, 3)
    for lower in (True, False):
        x = vilds.blk_chol_inv(L, C, b, lower, not lower)
        torch.testing.assert_close(x[1, 2], loop_inv(L[1, 2], C[1, 2], b[1, 2], lower, not lower))
        torch.testing.assert_close(vilds.blk_chol_mtimes(L, C, x, lower, not lower), b)
        columns = vilds.blk_chol_inv(L[0, 0], C[0, 0], b[0], lower, not lower)  # (T, n, k)
        for k in range(3):
            expected = loop_inv(L[0, 0], C[0, 0], b[0][..., k], lower, not lower)
            torch.testing.assert_close(columns[..., k], expected)
        shared = vilds.blk_chol_inv(L[0, 0], C[0, 0], b, lower, not lower)  # one matrix, a batch of vectors
        torch.testing.assert_close(shared[1, 1], loop_inv(L[0, 0], C[0, 0], b[1, 1], lower, not lower))
    for kind in (L[0, 0], L[0, 0] + 0.1 * normal(3, 3, 3)):
        compare(
            vilds.blk_chol_inv,
            lambda A, C, b: torch.stack([torch.stack([loop_inv(A, C, v) for v in w]) for w in b]),
            kind, C[0, 0], b,
        )  # fmt: skip
    mapped = torch.func.vmap(vilds.blk_chol_inv)(L[0], C[0], b[0])
    torch.testing.assert_close(mapped, vilds.blk_chol_inv(L[0], C[0], b[0]))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_numpy_arrays(dtype: type) -> None:
    D, B = (x.numpy().astype(dtype) for x in random_precision(4, steps=5, n=3))
    D, B = D[0], B[0]
    b = normal(5, 3).numpy().astype(dtype)
    L, C = vilds.blk_tridag_chol(D, B.transpose(0, 2, 1))
    x = vilds.blk_chol_inv(L, C, vilds.blk_chol_inv(L, C, b), lower=False, transpose=True)
    back = vilds.blk_chol_mtimes(L, C, vilds.blk_chol_mtimes(L, C, x, lower=False, transpose=True))
    np.testing.assert_allclose(back, b, rtol=1e-3 if dtype == np.float32 else 1e-10)
    full = vilds.blk_chol_inv(D, B, b)
    blocks = vilds.precision_blocks(D[0], D[1], D[2], D, b)
    factors = vilds.calculate_cholesky_factors(b, D, 3, D[0], D[1], D[2], 5)
    inverse = vilds.compute_sym_blk_tridiag(D, B)
    later = vilds.compute_sym_blk_tridiag_inv_b(inverse[2], inverse[0], b)
    for result in (L, C, x, back, full, *blocks, *factors, *inverse, later):
        assert type(result) is np.ndarray
        assert result.dtype == dtype
    with pytest.raises(np.linalg.LinAlgError, match="at time step 0"):
        vilds.blk_tridag_chol(-D, B)
    D[2] = 1
    with pytest.raises(np.linalg.LinAlgError, match=r"Singular matrix \(batch element \(.,\)\)"):
        vilds.blk_chol_inv(D, B, b)


def test_what_does_not_fit_is_explained() -> None:
    D, B = random_precision(steps=4, n=3)
    b = normal(4, 3)
    with pytest.raises(ValueError, match=r"lower has shape \(4, 3, 3\) and diag \(4, 3, 3\); expected lower of"):
        vilds.blk_tridag_chol(D, D)
    with pytest.raises(ValueError, match=r"lower has shape \(3,\)"):
        vilds.blk_tridag_chol(D, B[:, 0, 0])
    with pytest.raises(ValueError, match=r"b has shape \(3, 3\); expected \(\*batch, 4, 3\)"):
        vilds.blk_chol_inv(D, B, b[:3])
    with pytest.raises(ValueError, match=r"x has shape \(3, 3\); expected \(\*batch, 4, 3\)"):
        vilds.blk_chol_mtimes(D, B, b[:3])
    with pytest.raises(ValueError, match=r"Lambda has shape \(4, 3, 3\) and mu \(3, 3\)"):
        vilds.precision_blocks(D[0], D[0], D[0], D, b[:3])
    with pytest.raises(TypeError, match=r"A is torch\.float32, .* mu torch\.float64; expected the same dtype"):
        vilds.precision_blocks(D[0].float(), D[0], D[0], D, b)
    with pytest.raises(ValueError, match=r"for batch_size=5, dim_z=3"):
        vilds.calculate_cholesky_factors(b, D, 3, D[0], D[0], D[0], 5)
    with pytest.raises(torch.linalg.LinAlgError, match=r"Singular matrix \(batch element \(.,\)\)"):
        vilds.blk_chol_inv(torch.ones_like(D), B, b)


def test_under_autocast() -> None:
    D, B = (x.float() for x in random_precision(steps=4, n=3))
    A, b = normal(3, 3).float(), normal(4, 3, seed=1).float()

    def results() -> list[Tensor]:
        L, C = (x.requires_grad_() for x in vilds.blk_tridag_chol(D, B, upper=False))
        x = vilds.blk_chol_inv(L, C, b)
        inverse = vilds.compute_sym_blk_tridiag(D, B.mT)
        return [
            x, vilds.blk_chol_mtimes(L, C, b), vilds.blk_chol_mtimes(L, C, b, lower=False, transpose=True),
            *torch.autograd.grad(x.sum(), (L, C)), *vilds.precision_blocks(A, D[0], D[1], D, b),
            *vilds.calculate_cholesky_factors(b, D, 3, A, A, A, 4), *inverse,
            vilds.compute_sym_blk_tridiag_inv_b(inverse[2], inverse[0], b),
        ]  # fmt: skip

    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = results()
    for ours, theirs in zip(inside, results(), strict=True):
        assert ours.dtype == torch.float32
        assert torch.equal(ours, theirs)
