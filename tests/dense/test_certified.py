"""`certified_inv`: no CERTIFIED answer is worse than its bound, and every matrix ends with the right status."""

from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import neuralinv as ni
from neuralinv import Source, Status
from neuralinv.dense import first_attempt, native
from neuralinv.testing import check_inverse, inverse_cases, relative_error

SIX = [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.complex64, torch.complex128]


def noisy(level: float):
    """A proposer that answers with a relative error of about `level`."""

    def propose(A: torch.Tensor) -> torch.Tensor:
        X = torch.linalg.inv_ex(A.double()).inverse
        noise = torch.randn(X.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        return X + level * torch.linalg.matrix_norm(X)[:, None, None] * noise / A.shape[-1]

    return propose


def exact_relative_error(A: np.ndarray, X: np.ndarray) -> float:
    """‖A⁻¹ − X‖_F / ‖A⁻¹‖_F in rational arithmetic (the last root and quotient aside); A is invertible."""
    n = len(A)
    rows = [[Fraction(float(v)) for v in row] + [Fraction(int(i == j)) for j in range(n)] for i, row in enumerate(A)]
    for k in range(n):
        pivot = next(i for i in range(k, n) if rows[i][k] != 0)
        rows[k], rows[pivot] = rows[pivot], rows[k]
        rows[k] = [v / rows[k][k] for v in rows[k]]
        for i in range(n):
            if i != k:
                rows[i] = [a - rows[i][k] * b for a, b in zip(rows[i], rows[k], strict=True)]
    inverse = [row[n:] for row in rows]
    error = sum((inverse[i][j] - Fraction(float(X[i, j]))) ** 2 for i in range(n) for j in range(n))
    return float(error / sum(v**2 for row in inverse for v in row)) ** 0.5


def is_singular(A: np.ndarray) -> bool:
    try:
        exact_relative_error(A, np.zeros_like(A))
    except StopIteration:
        return True
    return False


@pytest.mark.parametrize("dtype", SIX, ids=str)
def test_conforms(dtype: torch.dtype) -> None:
    check_inverse(lambda A: ni.certified_inv(A).inverse, dtype)


@pytest.mark.parametrize("dtype", [dtype for dtype in SIX if not dtype.is_complex], ids=str)
@pytest.mark.parametrize("level", [1e-7, 1e-2, 3.0])
def test_any_proposer_ends_certified_within_its_bound(dtype: torch.dtype, level: float) -> None:
    for case in inverse_cases(dtype):
        result = ni.certified_inv(case.A, noisy(level))
        assert result.certified.all(), case.name
        assert (relative_error(case.A, result.inverse) <= result.error_bound + 1e-15).all(), case.name


@pytest.mark.parametrize("level", [None, 1e-3, 0.3, 10.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_bounds_hold_up_to_the_worst_condition_numbers(dtype: torch.dtype, level: float | None) -> None:
    proposer = None if level is None else noisy(level)
    generator = torch.Generator().manual_seed(0)
    A = torch.randn(240, 3, 3, dtype=torch.float64, generator=generator)
    U, _, V = torch.linalg.svd(A)
    smallest = torch.logspace(0, -18, 240, dtype=torch.float64)
    S = torch.stack([torch.ones(240), smallest.sqrt(), smallest], -1)
    A = (U @ torch.diag_embed(S) @ V).to(dtype)
    result = ni.certified_inv(A, proposer, on_singular="nan")
    proved = (result.status == Status.CERTIFIED) | (result.status == Status.ILL_CONDITIONED)
    assert proved[:180].all()
    # Rounding to float32 leaves no matrix within 1e-10 of a singular one, so that float64 arithmetic proves them all.
    assert proved.all() == (dtype == torch.float32)
    for i in proved.nonzero().squeeze(1).tolist():
        error = exact_relative_error(A[i].numpy(), result.inverse[i].numpy())
        assert error <= result.error_bound[i]
    assert (result.error_bound[result.status == Status.CERTIFIED] <= result.rtol).all()
    assert result.inverse[~proved].isnan().all()
    assert (result.error_bound[~proved] == torch.inf).all()


@pytest.mark.parametrize("n", [2, 3, 5, 8, 12, 20, 40])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_exact_inverses_of_ill_conditioned_matrices_certify_to_the_last_digits(dtype: torch.dtype, n: int) -> None:
    generator = torch.Generator().manual_seed(n)
    U, _, V = np.linalg.svd(torch.randn(40, n, n, dtype=torch.float64, generator=generator).numpy())
    A = torch.from_numpy(U * np.logspace(0, -6, 40)[:, None, None] ** np.linspace(0, 1, n) @ V).to(dtype)
    result = ni.certified_inv(A, rtol=2 * torch.finfo(dtype).eps)
    assert result.certified.all()
    assert (result.source == ni.Source.EXACT).all()
    for i in range(0, 40, 13) if n <= 8 else ():  # rational numbers grow long
        assert exact_relative_error(A[i].numpy(), result.inverse[i].numpy()) <= result.error_bound[i]


@pytest.mark.parametrize("n", [2, 3, 4, 5, 6, 7, 8, 9, 12, 16])
def test_float32_inverses_that_need_more_than_a_first_look_return_to_their_places(n: int) -> None:
    generator = torch.Generator().manual_seed(n)
    A = torch.rand(1000, n, n, generator=generator) * 2 - 1
    A[::3, -1] = A[::3, 0] + 1e-4 * A[::3, -1]
    A[17], A[500, 0, 0], A[900] = 1.0, torch.inf, A[900] * 1e-25
    result = ni.certified_inv(A, on_singular="nan")
    assert result.status.nonzero().squeeze(1).tolist() == [17, 500]
    good = result.certified
    wide = A[good].double()
    X = torch.linalg.inv(wide)  # inexact, too: 1e-15 of the condition number
    norm = torch.linalg.matrix_norm(X)
    error = torch.linalg.matrix_norm(result.inverse[good] - X) / norm
    assert (error <= result.error_bound[good] + 1e-15 * torch.linalg.matrix_norm(wide) * norm).all()
    assert (result.error_bound[good] <= 1e-5).all()
    # Those that had to be corrected are exact but for rounding.
    hard = good.clone()
    hard[1::3] = hard[2::3] = False
    assert float(result.error_bound[hard].median()) < 1e-6


@pytest.mark.parametrize("scale", [1e-300, 1e-150, 1.0, 1e150, 1e300])
def test_bounds_hold_at_every_scale(scale: float) -> None:
    A = scale * np.random.default_rng(0).normal(size=(50, 2, 2))
    result = ni.certified_inv(A, rtol=1e-9)
    assert result.certified.all()
    for matrix, inverse, bound in zip(A, result.inverse, result.error_bound, strict=True):
        assert exact_relative_error(matrix, inverse) <= bound


# Small integers make singular and nearly singular matrices likely; the powers of two spread the scales.
entries = st.integers(-3, 3).flatmap(lambda k: st.integers(-40, 40).map(lambda e: float(k) * 2.0**e)) | st.floats(
    -1, 1, width=32
)


@settings(max_examples=300, deadline=None)
@given(hnp.arrays(np.float64, st.integers(1, 4).map(lambda n: (n, n)), elements=entries), st.floats(1e-12, 10))
def test_whatever_the_matrix_and_the_proposal_no_proof_is_wrong(A: np.ndarray, level: float) -> None:
    result = ni.certified_inv(A, noisy(level), on_singular="nan", rtol=1e-6)
    if is_singular(A):
        assert result.status == Status.SINGULAR
    elif result.status != Status.SINGULAR:
        assert exact_relative_error(A, result.inverse) <= result.error_bound


@settings(max_examples=200, deadline=None)
@given(
    hnp.arrays(np.float64, st.integers(1, 4).map(lambda n: (n, n)), elements=entries), st.sampled_from([1e-12, 1e-15])
)
def test_no_proof_of_the_kernels_is_wrong(A: np.ndarray, rtol: float) -> None:
    for matrix in (A, A.astype(np.float32)):
        result = ni.certified_inv(matrix, on_singular="nan", rtol=rtol)
        if is_singular(matrix):
            assert result.status == Status.SINGULAR
        elif np.isfinite(result.error_bound):  # not so for inverses that overflow
            assert exact_relative_error(matrix, result.inverse) <= result.error_bound


def test_a_proposer_that_lies_is_caught() -> None:
    A = torch.eye(3).expand(4, 3, 3)
    answers = torch.stack(
        [torch.zeros(3, 3), 5 * torch.eye(3), torch.full((3, 3), torch.nan), torch.full((3, 3), torch.inf)]
    )
    result = ni.certified_inv(A, lambda _: answers)
    assert (result.source == Source.FALLBACK).all()
    torch.testing.assert_close(result.inverse, A.contiguous())


def test_sources_tell_who_answered() -> None:
    A = torch.eye(2, dtype=torch.float64).repeat(3, 1, 1)
    answers = torch.stack([torch.eye(2), 1.2 * torch.eye(2), 3.0 * torch.eye(2)])
    result = ni.certified_inv(A, lambda _: answers)
    assert result.source.tolist() == [Source.PROPOSED, Source.REFINED, Source.FALLBACK]
    assert ni.certified_inv(A).source.tolist() == [Source.EXACT] * 3


def test_a_proposal_that_proves_nothing_is_nobodys_answer() -> None:
    result = ni.certified_inv(torch.ones(3, 2, 2), lambda A: torch.eye(2).expand_as(A), on_singular="nan")
    assert result.status.tolist() == [Status.SINGULAR] * 3
    assert result.source.tolist() == [Source.FALLBACK] * 3


def test_statuses_and_what_each_option_does_about_them() -> None:
    nan, inf = np.nan, np.inf
    A = np.array([[[1, 0], [0, 2]], [[1, 2], [2, 4]], [[nan, 0], [0, 1]], [[1, inf], [0, 1]], [[0, 0], [0, 0]]], float)
    expected = [Status.CERTIFIED, Status.SINGULAR, Status.NONFINITE, Status.NONFINITE, Status.SINGULAR]
    message = r"4 matrices have no certified inverse: SINGULAR at \[1, 4\]; NONFINITE at \[2, 3\]"
    with pytest.raises(np.linalg.LinAlgError, match=message):
        ni.certified_inv(A)
    with pytest.raises(torch.linalg.LinAlgError, match="1 matrix has"):
        ni.certified_inv(torch.from_numpy(A[1]))

    result = ni.certified_inv(A, on_singular="nan")
    assert result.status.tolist() == expected
    assert np.isnan(result.inverse[1:]).all()

    result = ni.certified_inv(A, on_singular="pinv")
    assert result.status.tolist() == expected
    np.testing.assert_allclose(result.inverse[1], np.linalg.pinv(A[1]), atol=1e-15)
    np.testing.assert_array_equal(result.inverse[4], np.zeros((2, 2)))
    assert np.isnan(result.inverse[2]).all()
    assert np.isinf(result.error_bound[1:]).all()


def test_an_inverse_that_overflows_is_not_certified() -> None:
    result = ni.certified_inv(np.full((1, 1), 1e-40, np.float32))
    assert result.status == Status.ILL_CONDITIONED
    assert np.isinf(result.error_bound)


def test_badly_scaled_rows_are_certified_by_the_tight_bound() -> None:
    result = ni.certified_inv(np.diag([1e-30, 1e30]).astype(np.float32))
    assert result.certified


def test_results_do_not_depend_on_the_batch_around_a_matrix() -> None:
    A = torch.rand(20_000, 3, 3, generator=torch.Generator().manual_seed(1)) * 2 - 1
    whole = ni.certified_inv(A, noisy(0.01))  # several chunks
    assert whole.certified.all()
    singles = ni.certified_inv(A[-3:])
    assert (whole.inverse[-3:] - singles.inverse).abs().max() <= 1e-6 * singles.inverse.abs().max()


def test_half_precision_is_certified_at_its_own_tolerance() -> None:
    for dtype in (torch.float16, torch.bfloat16):
        result = ni.certified_inv((torch.eye(3) * 3 + 0.1).to(dtype))
        assert result.inverse.dtype == dtype
        assert result.certified


def test_gradients_are_those_of_the_inverse() -> None:
    A = (
        torch.rand(2, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) + torch.eye(3)
    ).requires_grad_()

    def invert(A: torch.Tensor) -> torch.Tensor:
        return ni.certified_inv(A, noisy(0.01)).inverse

    assert torch.autograd.gradcheck(invert, A)
    assert torch.autograd.gradgradcheck(invert, A)


def test_the_input_is_left_alone() -> None:
    A = torch.eye(3).repeat(4, 1, 1)
    ni.certified_inv(A, lambda matrices: matrices.mul_(2).reciprocal_())
    torch.testing.assert_close(A, torch.eye(3).repeat(4, 1, 1))


def test_progress_counts_every_matrix() -> None:
    counts: list[int] = []
    ni.certified_inv(torch.eye(64).expand(1000, 64, 64), progress=counts.append)
    assert sum(counts) == 1000
    assert len(counts) > 1


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"rtol": 0.0}, ValueError, "rtol=0"),
        ({"rtol": 1.0}, ValueError, "between 0 and 1"),
        ({"on_singular": "ignore"}, ValueError, "expected 'raise', 'nan' or 'pinv'"),
        ({"proposer": lambda A: A[:1]}, TypeError, r"returned shape \(1, 2, 2\)"),
        ({"proposer": lambda A: "no"}, TypeError, "returned str"),
        ({"proposer": lambda A: A.to(torch.complex64)}, TypeError, "complex candidates"),
        ({"proposer": lambda A: A.to_sparse()}, TypeError, "expected a dense tensor"),
        ({"proposer": "3x3"}, TypeError, r"learned\.load gives a network"),
        ({"rtol": "tight"}, ValueError, "rtol='tight'"),
    ],
)
def test_bad_arguments(arguments, error, message) -> None:
    with pytest.raises(error, match=message):
        ni.certified_inv(torch.eye(2).expand(3, 2, 2), **arguments)


def test_flushed_denormals_are_not_proved_to_be_zero() -> None:
    d = 2.0**-1021
    hidden = torch.tensor([[1, 0, 1.5 * 2**-127], [0, 1, 1.5 * 2**-127], [1, 1, 1.5 * 2**-126]])  # singular, float32
    graded = torch.tensor([[2.0, 0, 0], [0, d, 1.5 * 2**-1022], [0, 0, d]], dtype=torch.float64)
    p, a = 2.0**-1000, 1.5 * 2.0**-1022
    rows = [[2.0, 0, 0, 0], [0, p, 0, a], [0, 0, p, a], [0, p, p, 2 * a]]
    singular = torch.tensor(rows, dtype=torch.float64)
    ordinary = torch.eye(3)
    torch.set_flush_denormal(True)
    try:
        results = [ni.certified_inv(A, on_singular="nan") for A in (hidden, singular, graded, ordinary)]
    finally:
        torch.set_flush_denormal(False)
    assert [int(r.status) for r in results[:2]] == [Status.SINGULAR] * 2
    assert results[2].status == Status.SINGULAR or exact_relative_error(graded.numpy(), results[2].inverse.numpy()) <= (
        results[2].error_bound
    )
    assert results[3].certified
    assert ni.certified_inv(torch.full((1, 1), 5e-39)).status == Status.CERTIFIED  # a denormal in ordinary mode


@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128], ids=str)
def test_lazily_conjugated_tensors(dtype: torch.dtype) -> None:
    A = torch.randn(4, 3, 3, dtype=dtype, generator=torch.Generator().manual_seed(0))
    for view in (A.mH, A.conj()):
        assert (relative_error(view.resolve_conj(), ni.certified_inv(view).inverse) < 1e-5).all()


def test_row_and_column_scaling_are_no_obstacle() -> None:
    generator = torch.Generator().manual_seed(0)
    A = torch.rand(200, 4, 4, dtype=torch.float64, generator=generator) * 2 - 1 + 2 * torch.eye(4)
    D = torch.exp2(torch.randint(-40, 41, (200, 4), generator=generator)).double()
    for scaled in (D[:, :, None] * A, A * D[:, None, :]):
        result = ni.certified_inv(scaled)
        assert result.certified.all()
        for i in range(0, 200, 10):
            assert exact_relative_error(scaled[i].numpy(), result.inverse[i].numpy()) <= result.error_bound[i]


def test_pseudo_inverses_are_those_of_the_numbers_as_stored() -> None:
    A = torch.zeros(128, 128, dtype=torch.bfloat16)
    A.diagonal()[:127] = 1
    torch.testing.assert_close(ni.certified_inv(A, on_singular="pinv").inverse, A)
    for scale in (1e-300, 1.0, 1e300):
        diagonal = np.diag([1.0, 1e-7, 0.0])
        X = ni.certified_inv(scale * diagonal, on_singular="pinv").inverse
        np.testing.assert_allclose(X * scale, np.diag([1.0, 1e7, 0.0]), rtol=1e-12)


@pytest.mark.parametrize("batched", [True, False])
def test_pseudo_inverses_have_a_derivative_of_their_own(batched: bool) -> None:
    A = torch.tensor([[1.0, 2.0], [2.0, 4.0]], dtype=torch.float64)
    A = torch.stack([A, torch.eye(2).double()]) if batched else A
    weight = torch.randn(A.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    gradients = []
    for function in (lambda A: ni.certified_inv(A, on_singular="pinv").inverse, torch.linalg.pinv):
        x = A.clone().requires_grad_()
        (function(x) * weight).sum().backward()
        gradients.append(x.grad)
    torch.testing.assert_close(*gradients)


def test_unused_members_do_not_poison_what_is_behind_the_batch() -> None:
    S = torch.randn(3, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    S[1] = 0
    weight = torch.ones((), dtype=torch.float64, requires_grad=True)
    result = ni.certified_inv(S * weight, on_singular="nan")
    result.inverse[result.certified].sum().backward()
    torch.testing.assert_close(weight.grad, -torch.linalg.inv(S[[0, 2]]).sum())


def test_the_matrix_may_change_before_the_backward_pass() -> None:
    A = torch.eye(2).requires_grad_()
    result = ni.certified_inv(A).inverse.sum()
    with torch.no_grad():
        A += 1
    result.backward()
    torch.testing.assert_close(A.grad, -torch.ones(2, 2))


def test_empty_matrices_need_no_proposer() -> None:
    result = ni.certified_inv(np.zeros((2, 0, 0)), ni.learned.load("3x3"))
    assert result.status.tolist() == [Status.CERTIFIED] * 2


def test_summary_reads_well() -> None:
    A = np.stack([np.eye(2), np.zeros((2, 2))])
    text = str(ni.certified_inv(A, on_singular="nan"))
    assert "2 inverses of 2×2 matrices, rtol 1e-10" in text
    assert "CERTIFIED 1, SINGULAR 1" in text
    assert "SINGULAR at [1]: on_singular='nan' or 'pinv'" in text
    assert repr(ni.certified_inv(np.eye(2))) == "InverseResult(shape=(2, 2), certified=1/1)"


def test_two_rows_that_nearly_depend_on_each_other() -> None:
    """Condition numbers up to 1e12, and no digit is lost where products are fused with differences."""
    A = np.random.default_rng(0).uniform(-1, 1, (40, 2, 2))
    A[:, 1] = A[:, 0] * 1.5 + A[:, 1] * np.logspace(0, -12, 40)[:, None]
    A *= np.ldexp(1.0, np.arange(40) % 8 * 20 - 70)[:, None, None]
    result = ni.certified_inv(A, on_singular="nan")
    for a, x, bound in zip(A, result.inverse, result.error_bound, strict=True):
        assert exact_relative_error(a, x) <= bound
    if native.instruction_set() in ("avx2", "avx512"):
        assert bool((result.error_bound < 1e-15).all())


@pytest.mark.parametrize("n", [64, 100, 150])
def test_ordinary_matrices_in_double_precision_are_certified(n: int) -> None:
    """Condition numbers of random matrices grow like n: residuals in doubles alone would leave a tenth of them out."""
    A = torch.rand(40, n, n, generator=torch.Generator().manual_seed(n), dtype=torch.float64) * 2 - 1
    result = ni.certified_inv(A)
    assert bool(result.certified.all())
    assert set(result.source.tolist()) == {int(ni.Source.EXACT)}


def test_the_smallest_bound_is_kept() -> None:
    """Of matrices that no way certifies, the last one proves no more than the first."""
    n = 100
    random = torch.Generator().manual_seed(0)
    Q, _ = torch.linalg.qr(torch.randn(2, 6, n, n, generator=random, dtype=torch.float64))
    values = torch.stack([torch.logspace(0, -end, n, dtype=torch.float64) for end in (6, 7, 8, 9, 10, 11)])
    A = Q[0] @ torch.diag_embed(values) @ Q[1]
    outcome, left, _ = first_attempt.attempt(A, None, 1e-16, None)
    assert left.tolist() == list(range(6))
    result = ni.certified_inv(A, rtol=1e-16)
    assert result.status.tolist() == [int(ni.Status.ILL_CONDITIONED)] * 6
    assert bool((result.error_bound <= outcome.error_bound).all())
    assert bool((relative_error(A, result.inverse) <= result.error_bound).all())
