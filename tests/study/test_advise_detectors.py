"""Each detector finds what was built in, and nothing where it was not."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from neuralinv.study.advise import smoothness
from neuralinv.study.advise.conditioning import spectra
from neuralinv.study.advise.iteration import iteration_errors, make_iteration
from neuralinv.study.advise.paths import path_smoothness
from neuralinv.study.advise.properties import Properties, features, measure_properties
from neuralinv.study.advise.sample import draw_sample
from neuralinv.study.advise.source import open_source
from neuralinv.study.advise.structure import Structure, find_structure

N = 12


def normal(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def structure(A: Tensor) -> Structure:
    return find_structure(A, tolerance=1e-14)


def properties(A: Tensor, theta: Tensor | None = None) -> Properties:
    source = open_source(A, theta)
    return measure_properties(source, draw_sample(source))


def band(width: int, n: int = N) -> Tensor:
    i = torch.arange(n)
    return normal(20, n, n) * ((i[:, None] - i).abs() <= width)


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
def test_symmetry(dtype: torch.dtype) -> None:
    G = normal(20, N, N, dtype=dtype)
    identity = torch.eye(N, dtype=dtype)
    assert spectra(G, tolerance=1e-14).symmetry == "general"
    assert spectra(G + G.mH, tolerance=1e-14).symmetry == "hermitian"
    assert spectra(G @ G.mH + identity, tolerance=1e-14).symmetry == "positive"
    # Symmetric, but not Hermitian.
    if dtype.is_complex:
        assert spectra(G + G.mT, tolerance=1e-14).symmetry == "general"


def test_one_asymmetric_matrix_is_enough() -> None:
    A = normal(20, N, N)
    A = A + A.mT
    A[7, 2, 3] += 1e-6
    assert spectra(A, tolerance=1e-14).symmetry == "general"
    assert spectra(A, tolerance=1e-4).symmetry == "hermitian"


def test_one_indefinite_matrix_is_enough() -> None:
    A = torch.eye(N, dtype=torch.float64).repeat(20, 1, 1)
    A[11, 4, 4] = -0.5
    assert spectra(A, tolerance=1e-14).symmetry == "hermitian"


def test_condition_and_distance() -> None:
    Q = torch.linalg.qr(normal(30, N, N))[0]
    values = torch.linspace(2.0, 0.02, N, dtype=torch.float64)
    found = spectra(Q * values @ Q.mT.roll(1, 0), tolerance=1e-14)
    assert found.condition == pytest.approx(100)
    assert found.distance == pytest.approx(0.02)


def test_singular_matrices_are_counted() -> None:
    A = normal(40, N, N)
    A[3] = 0
    A[5, :, 2] = A[5, :, 4]
    found = properties(A)
    assert found.singular == 2
    assert found.condition is not None
    assert found.condition.largest < 1e6


@pytest.mark.parametrize("width", [0, 1, 2])
def test_bands(width: int) -> None:
    found = structure(band(width))
    assert found.bandwidth == width
    assert found.diagonal == (width == 0)
    assert not structure(normal(20, N, N)).diagonal
    assert structure(normal(20, N, N)).bandwidth is None


def test_a_band_of_half_the_matrix_is_none() -> None:
    assert structure(band(4)).bandwidth is None


@pytest.mark.parametrize("block", [1, 2, 3, 4])
def test_block_tridiagonal(block: int) -> None:
    i = torch.arange(N) // block
    A = normal(20, N, N) * ((i[:, None] - i).abs() <= 1)
    assert structure(A).block == block
    A[4, 0, N - 1] = 1e-3
    assert structure(A).block == 0


def test_toeplitz() -> None:
    row = normal(20, 2 * N - 1)
    i = torch.arange(N)
    A = row[:, i[:, None] - i + N - 1]
    assert structure(A).toeplitz
    A[3, 2, 2] += 1e-6
    assert not structure(A).toeplitz


@pytest.mark.parametrize("rank", [1, 3])
def test_diagonal_plus_low_rank(rank: int) -> None:
    U, V = normal(20, N, rank, seed=1), normal(20, N, rank, seed=2)
    A = U @ V.mT + torch.diag_embed(normal(20, N, seed=3))
    assert structure(A).off_diagonal_rank == rank
    assert structure(A + 1e-3 * normal(20, N, N, seed=4)).off_diagonal_rank == 0


def test_the_inverse_of_a_tridiagonal_matrix_is_not_low_rank() -> None:
    i = torch.arange(N)
    A = (0.5 ** (i[:, None] - i).abs()).double().repeat(20, 1, 1)
    assert structure(A).off_diagonal_rank == 0


def test_sparse() -> None:
    pattern = torch.eye(N, dtype=torch.bool)
    pattern[0] = True
    A = normal(20, N, N) * pattern
    assert structure(A).sparse
    assert structure(A).zeros == pytest.approx(1 - (2 * N - 1) / N**2)
    # Zeros in one matrix alone say nothing of the others.
    A[:10, 1:, 1:] = 1
    assert not structure(A).sparse


def test_names_of_structure() -> None:
    assert structure(band(1)).names == ("banded, bandwidth 1", "block tridiagonal, 1×1 blocks", "sparse, 76% zeros")
    assert structure(normal(20, N, N)).names == ()


@pytest.mark.parametrize("dimension", [1, 2, 4])
def test_intrinsic_dimension(dimension: int) -> None:
    theta = torch.rand(256, dimension, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    points = torch.cat([torch.sin(theta), theta @ normal(dimension, 20)], 1)
    found = properties(
        4 * torch.eye(6, dtype=torch.float64) + torch.nn.functional.pad(points, (0, 16 - dimension)).reshape(-1, 6, 6)
    )
    assert found.likeness is not None
    assert found.likeness.dimension == pytest.approx(dimension, rel=0.25)


def test_intrinsic_dimension_of_copies_and_of_few() -> None:
    copies = properties(torch.eye(3, dtype=torch.float64).repeat(100, 1, 1)).likeness
    few = properties(normal(18, 3, 3)).likeness
    assert copies is not None
    assert few is not None
    assert copies.dimension == 0
    assert math.isnan(few.dimension)


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
def test_coordinates_keep_norms_and_distances(dtype: torch.dtype) -> None:
    A = normal(10, 8, 8, dtype=dtype)
    C = smoothness.coordinates(A)
    assert C.shape == (10, 10)
    expected = torch.linalg.matrix_norm(A[:, None] - A[None])
    assert torch.allclose(torch.cdist(C, C), expected, atol=1e-12)
    assert torch.allclose(torch.linalg.vector_norm(C, dim=1), torch.linalg.matrix_norm(A))


def test_rank_decay_is_the_tail_of_the_singular_values() -> None:
    X = normal(64, 3) @ torch.diag(torch.tensor([1.0, 1e-2, 1e-5], dtype=torch.float64)) @ normal(3, 30, seed=1)
    found = smoothness.rank_decay(X)
    scaled = X / torch.linalg.vector_norm(X, dim=1, keepdim=True)
    values = np.linalg.svd(scaled.numpy(), compute_uv=False)
    for r in (1, 2):
        assert found[r] == pytest.approx(np.sqrt((values[r:] ** 2).sum() / (values**2).sum()), rel=1e-6)
    assert found[4] < 1e-14


def test_polynomials_see_smoothness_along_parameters() -> None:
    theta = torch.rand(200, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    A = torch.eye(3, dtype=torch.float64) + theta[..., None] * normal(3, 3) / 4
    X = smoothness.coordinates(torch.linalg.inv(A))
    ranges = smoothness.parameter_ranges(theta)
    assert ranges is not None
    smooth = smoothness.polynomial_errors(theta, X, ranges)
    assert smooth[1] > 1e-3
    assert smooth[16] < 1e-7
    noise = smoothness.polynomial_errors(theta, normal(200, 9), ranges)
    assert min(noise.values()) > 0.5


def test_parameters_that_spread_widely_are_taken_in_logarithm() -> None:
    theta = torch.stack([torch.logspace(-2, 2, 50), torch.linspace(-1, 1, 50)], 1).double()
    ranges = smoothness.parameter_ranges(theta)
    assert ranges is not None
    assert [range_.log for range_ in ranges.values()] == [True, False]
    assert smoothness.parameter_ranges(torch.cat([theta, torch.ones(50, 1)], 1)) is None


def test_affine_maps_are_seen_and_others_are_not() -> None:
    A = normal(250, 16)
    X = A @ normal(16, 16, seed=1) + 3
    assert smoothness.linear_error(A, X) < 0.01
    assert smoothness.linear_error(A, A.square()) > 0.3
    assert smoothness.constant_error(torch.ones(50, 4, dtype=torch.float64)) == 0


def test_lipschitz_constant_of_the_reciprocal() -> None:
    # f(x) = 1/x on [δ, 1] needs 1/δ² at its left end.
    A = torch.linspace(0.1, 1, 200, dtype=torch.float64)[:, None, None]
    found = properties(A).likeness
    assert found is not None
    assert found.local_lipschitz == pytest.approx(100)
    assert 85 < found.lipschitz <= 100


def test_smoothness_along_the_batch() -> None:
    t = torch.arange(12, dtype=torch.float64)[:, None, None, None]
    base, direction = 4 * torch.eye(6, dtype=torch.float64), normal(1, 3, 6, 6)
    still = path_smoothness(base + 0 * t * direction)
    slow = path_smoothness(base + 1e-3 * t * direction)
    jumps = path_smoothness(base + 4 * normal(12, 3, 6, 6))
    assert still is not None
    assert slow is not None
    assert jumps is not None
    assert still.guess < 1e-14
    assert still.guess < slow.guess < 1e-4 < 0.1 < jumps.guess
    assert slow.step == pytest.approx(1e-3 * float(torch.linalg.matrix_norm(direction).max()) / 4 / 6**0.5, rel=0.1)
    assert path_smoothness(torch.zeros(12, 1, 3, 3, dtype=torch.float64)) is None


def test_features_of_everything_are_finite_numbers() -> None:
    theta = torch.rand(64, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    A = torch.eye(4, dtype=torch.float64) * (1 + theta[:, :1, None]) + theta[:, 1:, None] / 8
    found = features(properties(A, theta))
    assert all(math.isfinite(value) for value in found.values())
    assert {"log_n", "log_rounding", "log_polynomial", "log_guess", "log_rank_1", "dimension"} <= set(found)
    assert found["parameters"] == 2
    assert found["positive"] == 1


@pytest.mark.parametrize("positive", [True, False])
def test_errors_of_the_iteration_are_known_from_the_spectra(positive: bool) -> None:
    G = normal(40, 6, 6)
    A = G @ G.mT + torch.eye(6, dtype=torch.float64) if positive else G + 4 * torch.eye(6, dtype=torch.float64)
    found = spectra(A, tolerance=1e-14)
    iteration = make_iteration(float(found.relative.min()), positive=positive)
    assert iteration is not None
    X, exact = iteration(A), torch.linalg.inv(A)
    reached = torch.linalg.matrix_norm(X - exact) / torch.linalg.matrix_norm(exact)
    torch.testing.assert_close(
        iteration_errors(iteration, torch.from_numpy(found.relative)), reached, rtol=1e-4, atol=0
    )


def test_no_iteration_for_spectra_that_reach_too_close_to_zero() -> None:
    assert make_iteration(1e-4, positive=True) is not None
    assert make_iteration(1e-4, positive=False) is None
    assert make_iteration(1e-6, positive=True) is None
