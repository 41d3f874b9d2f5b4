"""Triton's dense kernels in the interpreter: LAPACK's outcome for every size, dtype, pivot order, scale and layout."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from neuralinv.dense import certificate
from neuralinv.kernels import dense, elimination
from neuralinv.testing import TOLERANCE, condition_number, relative_error

REAL = [torch.float32, torch.float64]
HALF = [torch.float16, torch.bfloat16]
SOME = [1, 2, 3, 4, 5, 6, 7, 8, 9, 16, 17, 32]


@pytest.fixture(autouse=True)
def _fuller_programs(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The interpreter takes as long for a program of many matrices as for one: give it fewer programs."""
    grids = [grid._replace(MATRICES=max(16 if grid.SIZE <= 8 else 4, grid.MATRICES)) for grid in dense._GRIDS]
    monkeypatch.setattr(dense, "_GRIDS", tuple(grids))
    dense._tiles.cache_clear()
    yield
    dense._tiles.cache_clear()


def uniform(*shape: int, dtype: torch.dtype = torch.float64, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(*shape, generator=generator, dtype=torch.float64) * 2 - 1).to(dtype)


def dominant(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return (uniform(*shape) + 2 * shape[-1] ** 0.5 * torch.eye(shape[-1])).to(dtype)


def assert_accurate(A: Tensor, X: Tensor) -> None:
    error, allowed = relative_error(A, X), TOLERANCE[A.dtype] * condition_number(A)
    assert X.shape == A.shape
    assert X.dtype == A.dtype
    assert bool((error <= allowed).all()), f"error {float(error.max()):.1e}"


@pytest.mark.parametrize("dtype", REAL, ids=str)
@pytest.mark.parametrize("n", range(1, 33))
def test_inverses_of_every_size(n: int, dtype: torch.dtype) -> None:
    A = uniform(3, n, n, dtype=dtype, seed=n)  # fewer than a program holds, whatever the size
    X, info = dense.invert(A)
    assert_accurate(A, X)
    assert info.dtype == torch.int32
    assert info.tolist() == [0] * 3


@pytest.mark.parametrize("dtype", HALF, ids=str)
@pytest.mark.parametrize("n", [2, 6, 7, 11])
def test_half_precision_is_computed_in_single(n: int, dtype: torch.dtype) -> None:
    A, B = dominant(3, n, n, dtype=dtype), uniform(3, n, 2, dtype=dtype)
    for ours, theirs in (
        (dense.invert(A)[:1], dense.invert(A.float())[:1]),
        (dense.solve(A, B)[:1], dense.solve(A.float(), B.float())[:1]),
        (dense.slogdet(A), dense.slogdet(A.float())),
    ):
        for mine, single in zip(ours, theirs, strict=True):
            assert torch.equal(mine, single.to(dtype))


@pytest.mark.parametrize("batch", [1, 31, 33, 64, 128, 259])
@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_ragged_last_programs_of_the_smallest(n: int, batch: int) -> None:
    A = dominant(batch, n, n)
    assert_accurate(A, dense.invert(A)[0])
    assert_accurate(A, dense.certified_invert(A, 1e-10)[0])
    torch.testing.assert_close(dense.slogdet(A), tuple(torch.linalg.slogdet(A)))


@pytest.mark.parametrize("batch", [1, 16, 19])
def test_ragged_last_programs_of_tiles(batch: int) -> None:
    A, B = dominant(batch, 7, 7), uniform(batch, 7, 3)
    assert_accurate(A, dense.invert(A)[0])
    torch.testing.assert_close(dense.solve(A, B)[0], torch.linalg.solve(A, B))
    torch.testing.assert_close(dense.slogdet(A), tuple(torch.linalg.slogdet(A)))


@pytest.mark.parametrize("n", SOME)
def test_both_pivoting_extremes(n: int) -> None:
    ordered = dominant(1, n, n)
    A = torch.cat([ordered, ordered.flip(1), ordered.roll(1, 1)])  # as it comes; swaps at every step
    X, info = dense.invert(A)
    assert_accurate(A, X)
    assert not info.any()
    permutation = torch.eye(n).roll(1, 0).flip(0)[None]
    assert torch.equal(dense.invert(permutation)[0], permutation.mT)
    assert dense.slogdet(permutation)[0].tolist() == torch.linalg.slogdet(permutation).sign.tolist()


@pytest.mark.parametrize("columns", [1, 2, 5, 33])
@pytest.mark.parametrize("n", [1, 3, 8, 12])
def test_solutions_of_any_width(n: int, columns: int) -> None:
    A, B = uniform(3, n, n, seed=n), uniform(3, n, columns, seed=columns)
    X, info = dense.solve(A, B)
    torch.testing.assert_close(X, torch.linalg.solve(A, B))
    assert not info.any()


@pytest.mark.parametrize(("n", "batch", "columns"), [(2, 70, 19), (7, 33, 20), (12, 9, 33)])
def test_solutions_of_several_groups_and_panels(n: int, batch: int, columns: int) -> None:
    A, B = dominant(batch, n, n), uniform(batch, n, columns, seed=1)
    A[-1, 0] = 0  # what fails in the last group is that matrix, in all panels
    X, info = dense.solve(A, B)
    torch.testing.assert_close(X[:-1], torch.linalg.solve(A[:-1], B[:-1]))
    assert bool(X[-1].isnan().all())
    assert info.tolist() == torch.linalg.inv_ex(A).info.tolist()


def test_any_number_of_right_hand_sides_can_be_launched(monkeypatch: pytest.MonkeyPatch) -> None:
    launched: list[tuple[int, ...]] = []

    class Recorded:
        def __getitem__(self, programs: tuple[int, ...]) -> Any:
            return lambda *arguments, **options: launched.append(programs)

    monkeypatch.setattr(elimination, "solve_kernel", Recorded())
    dense.solve(torch.ones(1, 1), torch.ones(1, 600_000))
    (programs,) = launched
    assert math.prod(programs) == 75_000
    assert all(count < 2**16 for count in programs[1:])  # as CUDA has it; the first may have 2³¹


@pytest.mark.parametrize("n", SOME)
def test_solutions_and_determinants(n: int) -> None:
    A = uniform(3, n, n, seed=n)
    b = uniform(3, n, 1, seed=1)
    x, _ = dense.solve(A.float(), b.float())
    residual = torch.linalg.vector_norm(A.float().double() @ x.double() - b.float().double(), dim=(1, 2))
    size = torch.linalg.matrix_norm(A) * torch.linalg.vector_norm(x.double(), dim=(1, 2))
    assert bool((residual <= TOLERANCE[torch.float32] * size).all())
    for dtype in REAL:
        sign, logarithm = dense.slogdet(A.to(dtype))
        expected = torch.linalg.slogdet(A)
        assert sign.tolist() == expected.sign.tolist()
        torch.testing.assert_close(logarithm.double(), expected.logabsdet, rtol=0, atol=3e3 * torch.finfo(dtype).eps)


@pytest.mark.parametrize("n", [1, 2, 4, 5, 7])
def test_singular_matrices_fail_at_lapacks_pivot(n: int) -> None:
    # Powers of two and zeros: no rounding, so that every elimination order finds the same zero.
    A = torch.eye(n).repeat(2 * n + 1, 1, 1)
    for k in range(n):
        A[k + 1, k, k] = 0
        A[n + 1 + k, k] = A[n + 1 + k, 0] * (2 if k else 0)
    expected = torch.linalg.inv_ex(A).info.tolist()
    X, info = dense.invert(A)
    assert info.tolist() == expected
    assert expected[1 : n + 1] == list(range(1, n + 1))
    assert torch.equal(X[info == 0], A[info == 0])
    assert bool(X[info != 0].isnan().all())
    B = torch.ones(2 * n + 1, n, 1)
    solutions, info = dense.solve(A, B)
    assert info.tolist() == expected
    assert bool(solutions[info != 0].isnan().all())
    sign, logarithm = dense.slogdet(A)
    assert torch.equal(sign, (info == 0).float())
    assert torch.equal(logarithm, torch.where(info == 0, 0, -torch.inf))
    assert bool(dense.certified_invert(A, 1e-5)[1][info != 0].isinf().all())


def test_products_are_rounded_before_they_are_subtracted() -> None:
    # Fused, 2 − 6 · fl(1/3) would not be zero.
    A = torch.tensor([[[3.0, 6.0], [1.0, 2.0]]])
    assert dense.invert(A)[1] == 2
    tile = torch.eye(7)[None].repeat(2, 1, 1)
    tile[:, :2, :2] = A
    assert dense.invert(tile)[1].tolist() == [2, 2]


@pytest.mark.parametrize("n", [2, 3, 8, 12])
def test_non_finite_entries_touch_their_matrix_alone(n: int) -> None:
    A = dominant(5, n, n, dtype=torch.float32)
    clean = dense.invert(A)[0]
    for position, bad in enumerate((torch.nan, torch.inf, -torch.inf)):
        A[position, n // 2, n - 1] = bad
    X, info = dense.invert(A)
    theirs = torch.linalg.inv_ex(A)
    assert info.tolist() == theirs.info.tolist()
    assert not X[0].isfinite().all()
    assert torch.equal(X[3:], clean[3:])
    assert dense.certified_invert(A, 1e-5)[1].isinf().tolist() == [True] * 3 + [False] * 2
    assert dense.slogdet(A)[1][:1].isnan().all()


@pytest.mark.parametrize("place", [0, 5])
def test_zero_pivots_hide_behind_nan_as_in_lapack(place: int) -> None:
    for rows in ([[0, torch.nan], [torch.nan, 1]], [[torch.nan, 1], [0, 1]], [[0, 0], [torch.nan, 0]]):
        A = torch.eye(2 + place)[None].clone()
        A[0, place:, place:] = torch.tensor(rows)
        expected = torch.linalg.inv_ex(A).info.tolist()
        assert dense.invert(A)[1].tolist() == expected
        assert dense.solve(A, A)[1].tolist() == expected


@pytest.mark.parametrize("n", [2, 6, 9])
@pytest.mark.parametrize("scale", [1e-37, 1e-30, 1e30, 1e37])
def test_extreme_scales(n: int, scale: float) -> None:
    A = dominant(3, n, n) * scale
    assert_accurate(A.float() / scale, dense.invert(A.float())[0] * scale)
    assert_accurate(A, dense.invert(A)[0])
    b = uniform(3, n, 1)
    torch.testing.assert_close(dense.solve(A, b)[0] * scale, torch.linalg.solve(A / scale, b))


@pytest.mark.parametrize("n", [2, 5, 8])
def test_pivots_whose_reciprocal_leaves_the_range(n: int) -> None:
    A = torch.diag(torch.tensor([1e38, 1e-38] * n)[:n]).repeat(2, 1, 1)
    torch.testing.assert_close(dense.invert(A)[0], torch.diag_embed(1 / A.diagonal(dim1=1, dim2=2)), rtol=1e-6, atol=0)
    A = torch.eye(n)[None] * 1e-40
    B = torch.full((1, n, 1), 1e-30)
    torch.testing.assert_close(dense.solve(A, B)[0], B / A[0, 0, 0], rtol=1e-5, atol=0)


def test_layouts() -> None:
    A = dominant(6, 4, 4)
    apart = torch.zeros(6, 9, 12, dtype=torch.float64)
    apart[:, 1:5, ::3] = A
    for view in (A.mT, apart[:, 1:5, ::3], A[::2], A[2].expand(5, 4, 4), A.reshape(2, 3, 4, 4).transpose(0, 1), A[0]):
        before = view.clone()
        X, info = dense.invert(view)
        assert info.shape == view.shape[:-2]
        torch.testing.assert_close(X, torch.linalg.inv(view))
        torch.testing.assert_close(dense.solve(view, view)[0], torch.eye(4, dtype=torch.float64).expand(view.shape))
        assert torch.equal(view, before)


@pytest.mark.parametrize("n", [3, 7])
def test_pending_negations_are_carried_out(n: int) -> None:
    A, B = dominant(3, n, n), uniform(3, n, 2)
    negated, right = torch._neg_view(A), torch._neg_view(B)  # such as the imaginary part of a conjugate
    assert negated.is_contiguous()
    assert negated.is_neg()
    torch.testing.assert_close(dense.invert(negated)[0], torch.linalg.inv(-A))
    torch.testing.assert_close(dense.certified_invert(negated, 1e-10)[0], torch.linalg.inv(-A))
    torch.testing.assert_close(dense.solve(negated, B)[0], torch.linalg.solve(-A, B))
    torch.testing.assert_close(dense.solve(A, right)[0], torch.linalg.solve(A, -B))
    torch.testing.assert_close(dense.slogdet(negated), tuple(torch.linalg.slogdet(-A)))


def test_nothing_to_do() -> None:
    A = torch.empty(0, 3, 3)
    assert dense.invert(A)[0].shape == (0, 3, 3)
    assert dense.solve(A, torch.empty(0, 3, 2))[0].shape == (0, 3, 2)
    assert dense.solve(torch.eye(3), torch.empty(3, 0))[0].shape == (3, 0)
    assert dense.slogdet(A)[0].shape == (0,)
    assert dense.certified_invert(A, 1e-5)[1].shape == (0,)


@pytest.mark.parametrize("n", [1, 2, 5, 6, 8, 16, 19])
def test_bounds_hold_and_are_those_of_the_reference(n: int) -> None:
    A = uniform(3, n, n, seed=n)
    X, bound = dense.certified_invert(A, 1e-10)
    proved = certificate.residual(A, X)
    assert bool((bound < 1).all())
    # Both are dominated by the same rounding term; the residuals under it may differ.
    torch.testing.assert_close(bound, proved.bound, rtol=0.5, atol=0)
    assert bool((bound >= proved.rounding * (1 - 1e-9)).all())
    single = A.float()
    for rtol in (1e-5, 1e-7, 1e-12):
        X, bound = dense.certified_invert(single, rtol)
        error = relative_error(single, X)  # against float64, which is not exact
        assert bool((error <= bound + 1e-13 * condition_number(single)).all())
        if rtol == 1e-7:  # missed by single precision: corrected, to a rounding error
            assert bool((error <= 1e-7).all())
            assert bool((bound <= 2e-7).all())
