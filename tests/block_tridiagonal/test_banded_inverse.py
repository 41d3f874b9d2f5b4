"""Bounds from an approximate inverse factor: they hold for any factor whatever, and conjugate gradients meet them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from neuralinv.bench.surrogate.ideal import cut_inverse
from neuralinv.block_tridiagonal.banded_inverse import distance_from_identity, inverse_bound, refine
from neuralinv.block_tridiagonal.conformance import Case, dense, random_precision
from neuralinv.learned.architectures.block_tridiagonal import multiply, multiply_transposed


def dense_band(G: Tensor) -> Tensor:
    """Lay out ``G (T, bands, n, n)`` as a dense matrix."""
    steps, bands, n, _ = G.shape
    out = torch.zeros(steps * n, steps * n, dtype=G.dtype)
    for t in range(steps):
        for k in range(min(bands, t + 1)):
            out[t * n : (t + 1) * n, (t - k) * n : (t - k + 1) * n] = G[t, k]
    return out


def proposal(steps: int, n: int, bands: int, disturbance: float, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    D, B = random_precision(1, steps=steps, n=n, seed=seed)
    G = cut_inverse(D, B, bands).G
    noise = torch.randn(G.shape, generator=torch.Generator().manual_seed(seed), dtype=G.dtype)
    return D, B, G + disturbance * noise * (G != 0)


@given(
    steps=st.integers(1, 9),
    n=st.integers(1, 3),
    bands=st.integers(1, 5),
    disturbance=st.sampled_from([0.0, 1e-6, 0.01, 0.3]),
    seed=st.integers(0, 1000),
)
@settings(max_examples=30, deadline=None)
def test_the_bounds_hold(steps: int, n: int, bands: int, disturbance: float, seed: int) -> None:
    D, B, G = proposal(steps, n, bands, disturbance, seed)
    M, g = dense(Case("", D, B))[0], dense_band(G[0])
    exact = torch.linalg.matrix_norm(g @ M @ g.mT - torch.eye(len(M), dtype=M.dtype), float("inf"))
    rho = distance_from_identity(D, B, G)
    assert float(exact) - 1e-13 <= float(rho[0]) <= float(exact) * (1 + 1e-10) + 1e-11
    bound = float(inverse_bound(G, rho)[0])
    assert bound >= float(torch.linalg.matrix_norm(torch.from_numpy(np.linalg.inv(M.numpy())), 2)) * (1 - 1e-12)
    assert (bound < float("inf")) == (float(rho[0]) < 1)


def test_products_are_those_of_the_dense_matrix() -> None:
    _, _, G = proposal(7, 2, 4, 0.1, 0)
    b = torch.randn(1, 7, 2, dtype=torch.float64)
    g = dense_band(G[0])
    torch.testing.assert_close(multiply(G, b).flatten(), g @ b.flatten())
    torch.testing.assert_close(multiply_transposed(G, b).flatten(), g.mT @ b.flatten())


@pytest.mark.parametrize("rtol", [1e-3, 1e-10])
def test_refined_solutions_are_as_accurate_as_they_say(rtol: float) -> None:
    D, B = random_precision(5, steps=30, n=3, condition=1e3)
    G = cut_inverse(D, B, 6).G
    rho = distance_from_identity(D, B, G)
    M, b = dense(Case("", D, B)), torch.randn(5, 30, 3, dtype=torch.float64)
    truth = torch.from_numpy(np.linalg.solve(M.numpy(), b.flatten(1)[..., None].numpy())).reshape(b.shape)
    norm = torch.linalg.matrix_norm(torch.from_numpy(np.linalg.inv(M.numpy())), 2)
    bound = torch.where(rho < 1, inverse_bound(G, rho), norm)
    found = refine(
        D, B, b, lambda r: multiply_transposed(G, multiply(G, r)), rtol=rtol, largest_inverse=bound * (1 + 1e-9)
    )
    error = (found.solution - truth).flatten(1).norm(dim=1) / truth.flatten(1).norm(dim=1)
    assert bool((found.error_bound <= rtol).all())
    assert bool((error <= found.error_bound + 1e-13).all())
    plain = refine(D, B, b, lambda r: r, rtol=rtol, largest_inverse=norm * (1 + 1e-9))
    assert int(found.iterations.max()) < int(plain.iterations.max())


def test_without_steps_there_may_be_no_proof() -> None:
    D, B = random_precision(1, steps=9, n=2, condition=1e4)
    b = torch.randn(1, 9, 2, dtype=torch.float64)
    norm = torch.linalg.matrix_norm(torch.from_numpy(np.linalg.inv(dense(Case("", D, B)).numpy())), 2)
    assert float(refine(D, B, b, lambda r: r, rtol=1e-8, largest_inverse=norm, most=1).error_bound) > 1e-8
    no_proof = refine(D, B, b, lambda r: r, rtol=1e-8, largest_inverse=torch.full_like(norm, torch.inf), most=3)
    assert float(no_proof.error_bound) == float("inf")


def test_denormals_that_are_read_as_zero_prove_nothing() -> None:
    D, B = torch.ones(2, 2, 1, 1, dtype=torch.float64), torch.zeros(2, 1, 1, 1, dtype=torch.float64)
    b = torch.ones(2, 2, 1, dtype=torch.float64)
    B[1] = 1e-310
    torch.set_flush_denormal(True)
    try:
        G = torch.ones(2, 2, 1, 1, 1, dtype=torch.float64)
        rho = distance_from_identity(D, B, G)
        found = refine(D, B, b, lambda r: r, rtol=1e-10, largest_inverse=torch.ones(2, dtype=torch.float64))
    finally:
        torch.set_flush_denormal(False)
    assert rho.isinf().tolist() == found.error_bound.isinf().tolist() == [False, True]
