"""Corrections of symmetric and Hermitian matrices: half of the products, and inverses that are so to the last bit."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

import neuralinv as ni
from neuralinv.dense import native
from neuralinv.dense.correction import Corrected, Workspace, correct
from neuralinv.testing import relative_error

pytestmark = pytest.mark.skipif(not native.AVAILABLE, reason="the extension was not built")

REAL = [torch.float32, torch.float64]
ALL = [*REAL, torch.complex64, torch.complex128]
SIZES = [47, 48, 49, 63, 64, 65, 95, 97, 130, 256, 271]  # around the vectors, the tiles and the panels
RTOL = 1e-5


def problem(n: int, dtype: torch.dtype, residual: float, *, definite: bool = True) -> tuple[Tensor, Tensor]:
    """Hermitian matrices, and Hermitian guesses of their inverses."""
    random = torch.Generator().manual_seed(n)
    wide = torch.complex128 if dtype.is_complex else torch.float64
    A = torch.randn(5, n, n, generator=random, dtype=wide)
    A = (A + A.mH) / math.sqrt(8 * n)
    A = (A + 2 * torch.eye(n) * (1 if definite else torch.where(torch.arange(n) % 2 == 0, 1.0, -1.0))).to(dtype)
    E = torch.randn(5, n, n, generator=random, dtype=wide)
    E = E + E.mH
    X = torch.from_numpy(np.linalg.inv(A.to(wide).numpy()))
    E = X @ E @ X
    E = residual * E / torch.linalg.matrix_norm(A.to(wide) @ E)[:, None, None]
    X = (X + E).to(dtype)
    return A, (X + X.mH) / 2


def corrected(A: Tensor, X: Tensor | list[Tensor]) -> Corrected:
    return correct(A, X, RTOL, work=Workspace())


@pytest.mark.parametrize("order", [2, 3, 4])
@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("dtype", ALL)
def test_bounds_hold_and_inverses_are_hermitian(dtype: torch.dtype, n: int, order: int) -> None:
    residual = (0.2 * RTOL * math.sqrt(n)) ** (1 / order)  # ‖XR‖_F is about ‖X‖_F ‖R‖_F / √n
    A, X = problem(n, dtype, residual, definite=n % 2 == 0)
    found = corrected(A, X)
    assert found.order.tolist() == [order] * len(A)
    assert bool((found.error_bound <= RTOL).all())
    assert bool((relative_error(A, found.inverse) <= found.error_bound).all())
    if n >= 48:
        assert torch.equal(found.inverse, found.inverse.mH)


@pytest.mark.parametrize("where", ["A", "X", "the diagonal alone"])
@pytest.mark.parametrize("entry", [(1, 0), (200, 3), (129, 128), (261, 260)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64])
def test_one_entry_decides(dtype: torch.dtype, entry: tuple[int, int], where: str) -> None:
    n = 262
    A, X = problem(n, dtype, 3e-4)
    whole = corrected(A, X)
    changed = {"A": A, "X": X}.get(where)
    if changed is not None:
        changed[2, entry[0], entry[1]] += 1e-6j if dtype.is_complex else 1e-6
    else:
        A[2, entry[0], entry[0]] *= 1.01
        A[2] *= 0.999
    found = corrected(A, X)
    hermitian = (found.inverse == found.inverse.mH).flatten(1).all(1).tolist()
    assert hermitian == [True, True, changed is None, True, True]
    assert bool((relative_error(A, found.inverse) <= found.error_bound).all())
    others = [0, 1, 3, 4]
    assert torch.equal(found.inverse[others], whole.inverse[others])


@pytest.mark.parametrize("part", [1e-6j, 1e-30j])
def test_a_diagonal_that_is_not_real(part: complex) -> None:
    A, X = problem(64, torch.complex64, 3e-4)
    A[1, 7, 7] += part
    X[3, 63, 63] += part
    found = corrected(A, X)
    hermitian = (found.inverse == found.inverse.mH).flatten(1).all(1).tolist()
    assert hermitian == [True, False, True, False, True]
    assert bool((relative_error(A, found.inverse) <= found.error_bound).all())


def test_complex_zeros_of_either_sign_are_conjugates() -> None:
    A, X = problem(64, torch.complex64, 3e-4)
    parts = torch.view_as_real(A)
    parts[:, 5, 9, 1] = parts[:, 9, 5, 1] = 0.0
    parts[:, 11, 3, 1] = parts[:, 3, 11, 1] = -0.0
    X = torch.from_numpy(np.linalg.inv(A.numpy().astype(np.complex128))) * (1 + 1e-5)
    X = ((X + X.mH) / 2).to(torch.complex64)
    found = corrected(A, X)
    assert torch.equal(found.inverse, found.inverse.mH)


@pytest.mark.parametrize("dtype", ALL)
def test_strides_and_sequences(dtype: torch.dtype) -> None:
    A, X = problem(70, dtype, 3e-4)
    expected = corrected(A, X)
    wide = torch.full((5, 70, 80), torch.nan, dtype=dtype)
    wide[..., :70] = A
    for strided in (A.mT.contiguous().mT, wide[..., :70]):
        assert torch.equal(corrected(strided, X).inverse.isnan(), expected.inverse.isnan())
        assert bool((relative_error(A, corrected(strided, X).inverse) <= RTOL).all())
    past = corrected(A, [X, X, X])  # a sequence at rest
    assert torch.equal(past.inverse, expected.inverse)


@pytest.mark.parametrize("dtype", REAL)
@pytest.mark.parametrize("n", [9, 16, 40, 64, 100, 150])
def test_exact_inverses_of_all_kinds(n: int, dtype: torch.dtype) -> None:
    """Positive definite matrices are inverted as such; indefinite ones with a positive diagonal as what they are."""
    definite, _ = problem(n, dtype, 1e-6)
    indefinite = torch.randn(3, n, n, generator=torch.Generator().manual_seed(1), dtype=dtype)
    indefinite = indefinite + indefinite.mT
    indefinite.diagonal(dim1=-2, dim2=-1).abs_()
    general = torch.randn(3, n, n, generator=torch.Generator().manual_seed(2), dtype=dtype)
    A = torch.cat([definite, indefinite, general])
    assert bool((corrected(A, []).error_bound <= RTOL).all())
    result = ni.certified_inv(A, rtol=RTOL)
    assert bool(result.certified.all())
    assert result.source.tolist() == [int(ni.Source.EXACT)] * len(A)
    assert bool((relative_error(A, result.inverse) <= result.error_bound).all())


def test_a_singular_symmetric_matrix_is_reported() -> None:
    A, _ = problem(64, torch.float32, 1e-6)
    A[1] = torch.ones(64, 64)
    result = ni.certified_inv(A, rtol=RTOL, on_singular="nan")
    assert result.certified.tolist() == [True, False, True, True, True]
    assert bool(result.inverse[1].isnan().all())
