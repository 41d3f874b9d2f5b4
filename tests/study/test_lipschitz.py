"""Lipschitz constants from above and from below, and the floors that follow from them."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from neuralinv.learned.architectures import build
from neuralinv.learned.config import ModelConfig
from neuralinv.study.experiments.sets import SpectralSet
from neuralinv.study.lipschitz import (
    certified_constant,
    inverse_constant,
    observed_constant,
    two_point_floor,
    uniform_error_floor,
)


def _network(architecture: str, seed: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = build(ModelConfig(architecture, 2, 6, 2, members=2, newton_schulz_steps=0)).double()
        for parameter in network.parameters():  # residual blocks start as the identity, biases at zero
            parameter.data.add_(0.3 * torch.randn_like(parameter))
    return network


@pytest.mark.parametrize("architecture", ["mlp", "resnet"])
@pytest.mark.parametrize("seed", [0, 1])
def test_certified_constant_is_above_all_that_is_found(architecture: str, seed: int) -> None:
    network = _network(architecture, seed)
    starts = torch.randn(2, 16, 2, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    found = observed_constant(lambda A: network(A).inverse, starts, steps=10)
    certified = certified_constant(network)
    assert (found > 0).all()
    assert (found <= certified).all()
    # Each member has a constant of its own.
    assert certified[0] != certified[1]


def test_certified_constant_of_known_layers() -> None:
    network = copy.deepcopy(_network("mlp", 0))
    with torch.no_grad():
        for k, parameter in enumerate(p for p in network.parameters() if p.shape[1] > 1):
            parameter.zero_()
            parameter[:, 0, 0] = k + 2.0  # spectral norms 2, 3, 4
    torch.testing.assert_close(certified_constant(network), torch.full((2,), 24.0, dtype=torch.float64))


def test_multiplicative_network_has_no_constant() -> None:
    with pytest.raises(TypeError, match="Gated is not a composition of Lipschitz layers"):
        certified_constant(_network("gated", 0))


def test_observed_constant_of_a_linear_map_is_its_norm() -> None:
    M = torch.tensor([[3.0, 1.0], [0.0, 0.5]], dtype=torch.float64)
    starts = torch.randn(1, 4, 2, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = observed_constant(lambda A: M @ A, starts, steps=3)
    assert float(found) == pytest.approx(float(torch.linalg.matrix_norm(M, 2)), rel=1e-6)


def test_search_leaves_a_region_behind_in_which_the_map_is_constant() -> None:
    # Constant for entries above 0.2 on average, as a network whose last units are off on its training set.
    starts = torch.ones(2, 4, 2, 2, dtype=torch.float64)
    slope = torch.tensor([1.0, 5.0], dtype=torch.float64)[:, None, None, None]
    found = observed_constant(lambda A: slope * (A.mean((-2, -1), keepdim=True) - 0.2).clamp(max=0) + 0 * A, starts)
    # The mean's gradient has the norm 1/2, and fills four entries of the answer.
    torch.testing.assert_close(found, torch.tensor([1.0, 5.0], dtype=torch.float64), rtol=1e-6, atol=0)


def test_observed_constant_of_a_constant_map_is_zero() -> None:
    starts = torch.randn(1, 4, 2, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert float(observed_constant(lambda A: 0 * A, starts, steps=3)) == 0


@given(n=st.integers(1, 4), delta=st.floats(1e-4, 1.0), seed=st.integers(0, 1000))
@settings(deadline=None, max_examples=25)
def test_constant_of_the_inverse_bounds_every_pair(n: int, delta: float, seed: int) -> None:
    (A, X), (B, Y) = (
        SpectralSet(n, delta).draw(20, generator=torch.Generator().manual_seed(seed + k)) for k in range(2)
    )
    limit = inverse_constant(delta) * torch.linalg.matrix_norm(A - B)
    assert (torch.linalg.matrix_norm(X - Y) <= limit * (1 + 1e-9) + 1e-9 / delta).all()


@given(delta=st.floats(1e-3, 0.9), share=st.floats(0.01, 1.0))
@settings(deadline=None, max_examples=50)
def test_floor_for_scalars_is_attained(delta: float, share: float) -> None:
    # The map of docs/study/near_singular.md: odd, L-Lipschitz, and exactly as bad as the floor.
    L = share / delta**2
    floor = uniform_error_floor(L, delta)
    x = np.geomspace(delta, 1, 2001)
    f = np.minimum(L * delta, 1 / x + floor)
    assert np.abs(f - 1 / x).max() == pytest.approx(floor, rel=1e-6, abs=1e-9 / delta)
    slopes = np.abs(np.diff(f) / np.diff(x))
    assert slopes.max() <= L * (1 + 1e-3)
    assert f[0] <= L * delta * (1 + 1e-12)  # and so the line through the origin joins both sides


@given(delta=st.floats(1e-3, 0.9), exponent=st.floats(-1, 1.2))
@settings(deadline=None, max_examples=50)
def test_floor_on_one_side_is_the_best_pair(delta: float, exponent: float) -> None:
    L = delta ** (-2 * exponent)
    t = np.linspace(1e-9, 1 - delta, 20_001)
    best = max(two_point_floor(L, d_in, d_out) for d_in, d_out in zip(t, 1 / delta - 1 / (delta + t), strict=True))
    floor = uniform_error_floor(L, delta, side="one")
    assert best <= floor * (1 + 1e-9) + 1e-12
    assert floor == pytest.approx(best, rel=1e-2, abs=1e-3 / delta)


def test_floor_is_the_largest_inverse_for_a_map_that_is_constant() -> None:
    assert uniform_error_floor(0.0, 0.01) == pytest.approx(100)
    assert uniform_error_floor(1e4, 0.01) == 0
    assert math.isclose(uniform_error_floor(100.0, 0.01, side="one"), 0.5 * (10 - 1) ** 2)


@pytest.mark.parametrize(("lipschitz", "delta"), [(-1.0, 0.1), (1.0, 0.0), (1.0, 2.0), (math.nan, 0.1)])
def test_floor_refuses_nonsense(lipschitz: float, delta: float) -> None:
    with pytest.raises(ValueError, match="expected L ≥ 0 and delta in"):
        uniform_error_floor(lipschitz, delta)
