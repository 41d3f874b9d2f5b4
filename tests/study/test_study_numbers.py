"""Fits with intervals, sets with known spectra, and the referee."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch

from neuralinv.study.experiments.sets import SpectralSet
from neuralinv.study.experiments.statistics import geometric_mean, power_law, rank_correlation
from neuralinv.study.oracle import reference_inverse


def test_power_law_is_recovered_with_an_interval_around_it() -> None:
    x = np.array([1.0, 2, 4, 8, 16])
    exact = power_law(x, 3 * x**-1.5)
    assert exact.value == pytest.approx(-1.5)
    noisy = power_law(x, 3 * x**-1.5 * np.array([1.2, 0.9, 1.0, 1.1, 0.8]))
    assert noisy.low < -1.5 < noisy.high
    assert noisy.high - noisy.low > exact.high - exact.low
    assert noisy.count == 5


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        ([1, 2], [1, 2], "at least three points"),
        ([1, 2, 3], [1, 0, 2], "positive, finite"),
        ([1, 2, 3], [1, np.nan, 2], "positive, finite"),
        ([2, 2, 2], [1, 2, 3], "all x are equal"),
    ],
)
def test_power_law_refuses(x: list[float], y: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        power_law(x, y)


def test_rank_correlation_sees_order_alone() -> None:
    x = np.arange(12.0)
    up = rank_correlation(x, np.exp(x))
    assert up.value == pytest.approx(1)
    assert up.low > 0.9
    assert rank_correlation(np.exp(x), x).value == pytest.approx(1)
    mixed = rank_correlation(x, np.where(x % 2 == 0, x, -x))
    assert mixed.low < 0 < mixed.high
    with pytest.raises(ValueError, match="at least four pairs"):
        rank_correlation([1, 2, 3], [1, 2, 3])


def test_geometric_mean() -> None:
    assert geometric_mean([1e-4, 1e-2]) == pytest.approx(1e-3)


@pytest.mark.parametrize("n", [1, 2, 5])
@pytest.mark.parametrize("exact", [False, True])
def test_sets_have_the_spectrum_that_they_claim(n: int, exact: bool) -> None:
    A, inverse = SpectralSet(n, 0.05, exact=exact).draw(200, generator=torch.Generator().manual_seed(0))
    values = np.linalg.svd(A.numpy(), compute_uv=False)
    if n > 1:
        np.testing.assert_allclose(values[:, 0], 1)
    assert values[:, -1].min() >= 0.05 * (1 - 1e-9)
    assert values[:, -1].max() <= (0.05 * (1 + 1e-9) if exact else 1 + 1e-9)
    np.testing.assert_allclose(A.numpy() @ inverse.numpy(), np.broadcast_to(np.eye(n), A.shape), atol=1e-12)
    signs = np.sign(np.linalg.det(A.numpy()))
    assert {-1.0, 1.0} == set(signs)


def test_one_side_has_one_sign() -> None:
    A, _ = SpectralSet(3, 0.1, side="positive").draw(200, generator=torch.Generator().manual_seed(0))
    assert (np.linalg.det(A.numpy()) > 0).all()


def test_sets_refuse_nonsense() -> None:
    with pytest.raises(ValueError, match="delta in"):
        SpectralSet(2, 0.0)


def _rational_inverse(A: np.ndarray) -> np.ndarray:
    n = len(A)
    rows = [[Fraction(float(a)) for a in row] + [Fraction(int(i == k)) for k in range(n)] for i, row in enumerate(A)]
    for k in range(n):
        pivot = next(i for i in range(k, n) if rows[i][k] != 0)
        rows[k], rows[pivot] = rows[pivot], rows[k]
        rows[k] = [a / rows[k][k] for a in rows[k]]
        for i in range(n):
            if i != k:
                rows[i] = [a - rows[i][k] * b for a, b in zip(rows[i], rows[k], strict=True)]
    return np.array([[np.longdouble(x.numerator) / np.longdouble(x.denominator) for x in row[n:]] for row in rows])


def test_the_referee_knows_its_own_error() -> None:
    hilbert = np.array([[1 / (i + j + 1) for j in range(6)] for i in range(6)])
    reference = reference_inverse(hilbert[None])
    true = _rational_inverse(hilbert)
    error = np.sqrt(((reference.inverse[0] - true) ** 2).sum() / (true**2).sum())
    assert error <= reference.uncertainty[0] < 1e-9
    low, high = reference.errors(np.linalg.inv(hilbert)[None])
    measured = np.sqrt(((np.linalg.inv(hilbert) - true) ** 2).sum() / (true**2).sum())
    assert low[0] <= measured <= high[0]


def test_the_referee_says_nothing_of_singular_matrices() -> None:
    A = np.array([[[1.0, 2.0], [2.0, 4.0]], [[1.0, 0.0], [0.0, 2.0]]])
    reference = reference_inverse(A)
    assert np.isinf(reference.uncertainty[0])
    assert reference.uncertainty[1] < 1e-15
    low, high = reference.errors(np.stack([np.eye(2), np.full((2, 2), np.nan)]))
    assert low[0] == 0
    assert np.isinf(high[0])
    assert np.isinf(low[1])


def test_the_referee_takes_complex_matrices_and_refuses_nan() -> None:
    A = np.array([[[1.0 + 1j, 0.5], [0.0, 2.0]]])
    assert reference_inverse(A).uncertainty[0] < 1e-15
    with pytest.raises(ValueError, match="expected finite ones"):
        reference_inverse(np.array([[[np.nan]]]))


def test_distances_from_the_reference_are_finer_than_double_precision() -> None:
    # Products of unit triangular integer matrices have integer inverses.
    random = np.random.default_rng(0)
    L = np.tril(random.integers(-3, 4, (20, 8, 8)), -1) + np.eye(8)
    A = L @ L.swapaxes(1, 2)
    exact = np.round(np.linalg.inv(A))
    assert np.array_equal(A @ exact, np.broadcast_to(np.eye(8), A.shape))
    reference = reference_inverse(A)
    assert (reference.distances(exact) <= reference.uncertainty).all()
    assert reference.distances(exact).max() < 1e-16
    np.testing.assert_allclose(reference.distances(exact * (1 + 1e-12)), 1e-12, rtol=1e-3)
    np.testing.assert_allclose(reference.solution_distances(np.full((20, 8), 1 + 1e-9), A.sum(-1)), 1e-9, rtol=1e-3)


def test_no_distance_is_told_where_the_reference_says_nothing() -> None:
    A = np.stack([np.eye(2), np.ones((2, 2)), np.eye(2)])
    reference = reference_inverse(A)
    X = np.stack([np.eye(2), np.eye(2), np.full((2, 2), np.nan)])
    assert reference.distances(X).tolist() == [0, np.inf, np.inf]
    assert reference.solution_distances(np.ones((3, 2)), np.ones((3, 2))).tolist() == [0, np.inf, 0]
