"""The first attempt in working precision: what it proves holds, and what it cannot prove goes on to the four stages."""

import numpy as np
import pytest
import torch

import neuralinv as ni
from neuralinv import Source, Status
from neuralinv.dense import certified, first_attempt, native
from neuralinv.testing import relative_error

DTYPES = [torch.float32, torch.float64, torch.complex64, torch.complex128]


def matrices(n: int, dtype: torch.dtype, *, count: int = 5, cond: float = 1e2, seed: int = 0) -> torch.Tensor:
    """Matrices with singular values from 1 down to 1/cond."""
    generator = torch.Generator().manual_seed(seed)
    wide = torch.complex128 if dtype.is_complex else torch.float64
    U, V = (torch.linalg.qr(torch.randn(count, n, n, dtype=wide, generator=generator)).Q for _ in range(2))
    values = torch.logspace(0, -float(np.log10(cond)), n, dtype=torch.float64)
    return (U * values @ V).to(dtype)


@pytest.fixture
def only_the_first_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("the four stages were asked")

    monkeypatch.setattr(certified, "_by_chunks", refuse)


@pytest.mark.usefixtures("only_the_first_attempt")
@pytest.mark.parametrize("n", [65, 66, 95, 96, 97, 128, 150, 257])
@pytest.mark.parametrize("dtype", DTYPES)
def test_exact_inverses_need_no_more(n: int, dtype: torch.dtype) -> None:
    A = matrices(n, dtype)
    result = ni.certified_inv(A)
    assert result.certified.all()
    assert (result.source == Source.EXACT).all()
    assert (relative_error(A, result.inverse) <= result.error_bound).all()


@pytest.mark.usefixtures("only_the_first_attempt")
@pytest.mark.parametrize("n", [9, 10, 31, 64, 130])
@pytest.mark.parametrize("level", [1e-12, 1e-5, 1e-4, 1e-3])
@pytest.mark.parametrize("dtype", DTYPES)
def test_guesses_are_corrected_once_or_twice(n: int, level: float, dtype: torch.dtype) -> None:
    A = matrices(n, dtype, cond=10)
    X = torch.linalg.inv(A.to(torch.complex128 if dtype.is_complex else torch.float64))
    noise = torch.randn(X.shape, dtype=X.dtype, generator=torch.Generator().manual_seed(1))
    guess = (X + level * torch.linalg.matrix_norm(X)[:, None, None] * noise / n).to(dtype)
    result = ni.certified_inv(A, guess)
    assert result.certified.all()
    expected = Source.PROPOSED if level < 1e-11 else Source.REFINED
    assert (result.source == expected).all() or dtype in (torch.float32, torch.complex64)
    assert (relative_error(A, result.inverse) <= result.error_bound).all()


@pytest.mark.parametrize("n", [20, 80])
@pytest.mark.parametrize("dtype", DTYPES)
def test_what_is_left_takes_the_four_stages(n: int, dtype: torch.dtype) -> None:
    A = matrices(n, dtype, count=6)
    guess = torch.linalg.inv(A)
    guess[1], guess[4, 0, 0] = 0, torch.nan
    A[2, :, 3] = 0
    A[3, 1, 1] = torch.inf
    result = ni.certified_inv(A, guess, on_singular="nan")
    kinds = [Status.CERTIFIED, Status.CERTIFIED, Status.SINGULAR, Status.NONFINITE, Status.CERTIFIED, Status.CERTIFIED]
    assert result.status.tolist() == kinds
    assert result.source[[1, 4]].tolist() == [Source.FALLBACK] * 2
    good = result.certified
    assert (relative_error(A[good], result.inverse[good]) <= result.error_bound[good]).all()
    assert result.inverse[2:4].isnan().all()


@pytest.mark.parametrize("n", [70, 128])
def test_ill_conditioned_float32_matrices_end_certified(n: int) -> None:
    A = matrices(n, torch.float32, cond=1e8)
    result = ni.certified_inv(A)
    assert result.certified.all()
    assert (relative_error(A, result.inverse) <= result.error_bound).all()


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_scales_that_norms_cannot_take(scale: float) -> None:
    A = matrices(80, torch.float32, cond=10) * scale
    result = ni.certified_inv(A)
    assert result.certified.all()
    assert (relative_error(A, result.inverse) <= result.error_bound).all()


def test_denormals_that_are_read_as_zero_prove_nothing() -> None:
    A = matrices(80, torch.float32, cond=10)
    A[0, 0, 0] = torch.finfo(torch.float32).smallest_normal / 2
    torch.set_flush_denormal(True)
    try:
        found, left, _ = first_attempt.attempt(A, None, 1e-5, None)
    finally:
        torch.set_flush_denormal(False)
    assert left.tolist() == [0]
    assert (found.error_bound[1:] <= 1e-5).all()


@pytest.mark.parametrize("proposer", [None, lambda A: torch.linalg.inv_ex(A).inverse])
def test_progress_counts_every_matrix_once(proposer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(first_attempt, "NATIVE_CHUNK_ELEMENTS", 3 * 80 * 80)
    monkeypatch.setattr(native, "threads", lambda: 1)
    A = matrices(80, torch.float64, count=7)
    A[3] = 0
    done: list[int] = []
    result = ni.certified_inv(A, proposer, on_singular="nan", progress=done.append)
    assert sum(done) == 7
    assert len(done) > 2
    assert result.status.tolist() == [0, 0, 0, Status.SINGULAR, 0, 0, 0]


def test_a_proposer_sees_finite_matrices_alone() -> None:
    A = matrices(20, torch.float64)
    A[1, 2, 3] = torch.nan

    def propose(given: torch.Tensor) -> torch.Tensor:
        assert torch.isfinite(given).all()
        return torch.linalg.inv(given)

    result = ni.certified_inv(A, propose, on_singular="nan")
    assert result.status.tolist() == [0, Status.NONFINITE, 0, 0, 0]


def test_transposed_matrices_are_read_where_they_are() -> None:
    A = matrices(80, torch.float32)
    torch.testing.assert_close(ni.certified_inv(A.mT).inverse, ni.certified_inv(A.mT.contiguous()).inverse)
