"""Nearest-neighbour estimates of the number of parameters behind a sample."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from neuralinv.families import get_family
from neuralinv.study.intrinsic_dimension import Dimension, as_points, levina_bickel, neighbour_distances, two_nn


@pytest.mark.parametrize("d", [1, 2, 3, 5])
@pytest.mark.parametrize("estimate", [two_nn, levina_bickel])
def test_curved_images_of_a_cube_have_its_dimension(d: int, estimate: Callable[..., Dimension]) -> None:
    random = np.random.default_rng(d)
    inside = random.uniform(size=(1500, d)) @ random.standard_normal((d, 12))
    found = estimate(np.concatenate([inside, np.sin(inside)], 1))
    assert found.value == pytest.approx(d, rel=0.15)
    assert found.low < found.value < found.high
    assert found.points == 1500


def test_a_family_of_two_parameters_has_two_dimensions() -> None:
    A = get_family("ar").sample(1500, 6, generator=torch.Generator().manual_seed(0))
    assert two_nn(as_points(A)).value == pytest.approx(2, abs=0.3)


@pytest.mark.parametrize("estimate", [two_nn, levina_bickel])
def test_duplicates_count_once(estimate: Callable[..., Dimension]) -> None:
    points = np.random.default_rng(0).standard_normal((300, 3))
    assert estimate(np.concatenate([points, points])).value == pytest.approx(estimate(points).value)


def test_complex_matrices_have_twice_the_coordinates() -> None:
    A = torch.complex(torch.arange(8.0).reshape(2, 2, 2), torch.ones(2, 2, 2))
    points = as_points(A)
    assert points.shape == (2, 8)
    assert points[0].tolist() == [0, 1, 1, 1, 2, 1, 3, 1]


def test_distances_are_those_of_brute_force() -> None:
    points = np.random.default_rng(1).standard_normal((40, 3))
    brute = np.sort(np.linalg.norm(points[:, None] - points[None], axis=-1), 1)[:, 1:3]
    found = neighbour_distances(points, 2)
    order = np.lexsort(points.T[::-1])
    np.testing.assert_allclose(found, brute[order])


def test_refusals() -> None:
    points = np.random.default_rng(0).standard_normal((30, 2))
    with pytest.raises(ValueError, match="5 distinct points: an estimate of the dimension takes at least 20"):
        two_nn(points[:5])
    with pytest.raises(ValueError, match="1 distinct points"):
        two_nn(np.zeros((100, 3)))
    with pytest.raises(ValueError, match="all finite"):
        two_nn(np.where(points > 1, np.nan, points))
    with pytest.raises(ValueError, match="of at least 3"):
        levina_bickel(points, neighbours=(2, 10))
