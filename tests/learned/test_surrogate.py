"""Networks that stand in for block-tridiagonal factors: exact symmetries, shapes, and that they learn."""

from __future__ import annotations

import pytest
import torch

from neuralinv.block_tridiagonal import BlockTridiagonal
from neuralinv.block_tridiagonal.conformance import random_precision
from neuralinv.learned.architectures.block_tridiagonal import BODIES, diagonal_of_gram
from neuralinv.learned.config import ConfigError
from neuralinv.learned.surrogate import Surrogate, SurrogateConfig, train_surrogate


def small(body: str, seconds: float = 0.1) -> Surrogate:
    return Surrogate(SurrogateConfig(body, 2, width=16, bands=4, seconds=seconds, seed=1))


@pytest.mark.parametrize("body", BODIES)
def test_what_comes_out_is_a_factor_and_causal(body: str) -> None:
    D, B = random_precision(3, steps=9, n=2, dtype=torch.float32)
    network = small(body)
    answer = network(D, B)
    assert answer.L.shape == D.shape
    assert answer.C.shape == B.shape
    assert answer.G.shape == (3, 9, 4, 2, 2)
    assert bool((answer.L.diagonal(dim1=-2, dim2=-1) > 0).all())
    assert not answer.L.triu(1).any()
    assert not answer.G[:, 0, 1:].any()  # there are no columns before the first
    assert not answer.G[:, 1, 2:].any()
    later = D.clone()
    later[:, 6:] *= 3  # factors do not look ahead
    torch.testing.assert_close(network(later, B).L[:, :5], answer.L[:, :5])


@pytest.mark.parametrize("body", BODIES)
def test_scales_are_exact_symmetries(body: str) -> None:
    D, B = random_precision(2, steps=7, n=2, dtype=torch.float32)
    s = torch.rand(2, 7, 2) * 4 + 0.5
    scaled_D = D * s[..., :, None] * s[..., None, :]
    scaled_B = B * s[:, 1:, :, None] * s[:, :-1, None, :]
    network = small(body)
    answer, scaled = network(D, B), network(scaled_D, scaled_B)
    torch.testing.assert_close(scaled.L, answer.L * s[..., None])
    torch.testing.assert_close(scaled.C, answer.C * s[:, 1:, :, None])
    h = torch.randn(2, 7, 2)
    torch.testing.assert_close(scaled.solve(h * s), answer.solve(h) / s, rtol=1e-4, atol=1e-5)


def test_covariances_are_those_of_the_solves() -> None:
    D, B = random_precision(1, steps=6, n=2, dtype=torch.float32)
    answer = small("mlp")(D, B)
    units = torch.eye(12).reshape(12, 6, 2)
    solves = torch.stack([answer.solve(unit[None])[0].flatten() for unit in units])
    blocks = torch.stack([solves[2 * t : 2 * t + 2, 2 * t : 2 * t + 2] for t in range(6)])
    torch.testing.assert_close(answer.covariances()[0], blocks)
    torch.testing.assert_close(diagonal_of_gram(answer.G)[0], blocks)


def test_training_makes_factors_better_and_leaves_global_random_state_alone() -> None:
    D, B = random_precision(64, steps=12, n=2, dtype=torch.float32)
    exact = BlockTridiagonal(D, B).cholesky().diag
    state = torch.get_rng_state()
    network = small("mlp", seconds=4.0)
    seen: list[float] = []
    before = float((network(D, B).L - exact).norm().detach())
    outcome = train_surrogate(network, D, B, progress=seen.append)
    assert torch.equal(torch.get_rng_state(), state)
    assert float((network(D, B).L - exact).norm().detach()) < 0.9 * before
    assert outcome.steps == len(seen) > 10
    assert seen == sorted(seen)


def test_precisions_must_be_positive_definite() -> None:
    D, B = random_precision(2, steps=3, n=2, dtype=torch.float32)
    with pytest.raises(torch.linalg.LinAlgError, match="not positive definite"):
        train_surrogate(small("mlp"), -D, B)


def test_unknown_body() -> None:
    with pytest.raises(ConfigError, match="unknown body 'transformer'; known are mlp, convolution, recurrent"):
        small("transformer")
