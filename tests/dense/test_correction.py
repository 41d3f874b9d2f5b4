import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from neuralinv.dense import correction
from neuralinv.dense.correction import HIGHEST_ORDER, Workspace, correct
from neuralinv.testing import relative_error

DTYPES = [torch.float32, torch.float64, torch.complex64, torch.complex128]


def problem(n: int, dtype: torch.dtype, residual: float, *, count: int = 8, seed: int = 0) -> tuple[torch.Tensor, ...]:
    """Matrices, and approximate inverses whose residual has about this norm."""
    random = torch.Generator().manual_seed(seed)
    wide = torch.complex128 if dtype.is_complex else torch.float64
    A = torch.randn(count, n, n, generator=random, dtype=wide) + 2 * math.sqrt(n) * torch.eye(n)
    A = A.to(dtype)
    E = torch.randn(count, n, n, generator=random, dtype=wide)
    E = residual * E / torch.linalg.matrix_norm(E)[:, None, None]
    return A, (torch.linalg.inv(A.to(wide)) @ (torch.eye(n) - E)).to(dtype)


@given(
    st.integers(1, 12),
    st.sampled_from(DTYPES),
    st.floats(-12, -0.1),
    st.integers(1, HIGHEST_ORDER),
    st.integers(0, 1000),
)
@settings(max_examples=60, deadline=None)
def test_bounds_hold(n, dtype, exponent, highest, seed):
    A, X = problem(n, dtype, 10**exponent, seed=seed)
    before = X.clone()
    rtol = 1e-5 if dtype in (torch.float32, torch.complex64) else 1e-10
    corrected = correct(A, X, rtol, work=Workspace(), highest_order=highest)
    assert torch.equal(X, before)
    assert int(corrected.order.max()) <= highest
    assert corrected.inverse.dtype == dtype
    error = relative_error(A, corrected.inverse)
    assert bool((error <= corrected.error_bound).all())


@pytest.mark.parametrize(("residual", "order"), [(1e-6, 1), (1e-3, 2), (1e-2, 3), (4e-2, 4), (0.5, 1)])
@pytest.mark.parametrize("n", [3, 40])
def test_the_residual_decides_the_order(residual, order, n):
    A, X = problem(n, torch.float32, residual)
    corrected = correct(A, X, 1e-5, work=Workspace())
    assert corrected.order.unique().tolist() == [order]
    assert bool((corrected.error_bound <= 1e-5).all()) == (residual < 0.05)
    # The bound is not much larger than what exact arithmetic would prove.
    if order > 1:
        assert float(corrected.error_bound.max()) < 1.1 * residual**order + 2e-6


def test_one_hopeless_matrix_does_not_raise_the_order_of_the_others():
    A, X = problem(5, torch.float64, 1e-6)
    X[3] *= -5
    X[4] = torch.nan
    corrected = correct(A, X, 1e-10, work=Workspace())
    assert corrected.order.unique().tolist() == [2]
    assert corrected.error_bound.isinf().tolist() == [False] * 3 + [True] * 2 + [False] * 3


@pytest.mark.parametrize("scale", [1e-20, 1e20])
def test_extreme_scales_prove_nothing(scale):
    A, X = problem(4, torch.float32, 1e-6)
    assert bool(correct(scale * A, X / scale, 1e-5, work=Workspace()).error_bound.isinf().all())


def test_low_precision_products_enter_the_bound():
    A, X = problem(16, torch.float32, 3e-3)
    bounds = []
    before = torch.get_float32_matmul_precision()
    try:
        for precision in ("highest", "high", "medium"):
            torch.set_float32_matmul_precision(precision)
            bounds.append(float(correct(A, X, 1e-3, work=Workspace(), highest_order=2).error_bound.max()))
    finally:
        torch.set_float32_matmul_precision(before)
    assert bounds == sorted(bounds)
    assert bounds[0] < bounds[1] < bounds[2]


def test_memory_is_used_again():
    A, X = problem(6, torch.float32, 1e-3)
    work = Workspace()
    first = correct(A, X, 1e-5, work=work).error_bound.clone()
    held = {key: value.data_ptr() for key, value in work._memory.items()}
    assert torch.equal(correct(A[:5], X[:5], 1e-5, work=work).error_bound, first[:5])
    assert held == {key: value.data_ptr() for key, value in work._memory.items()}


def test_matrices_after_the_first_chunk_get_the_order_that_they_need(monkeypatch):
    monkeypatch.setattr(correction, "CHUNK_ELEMENTS", 3 * 5**2)
    A, X = problem(5, torch.float32, 1e-3)
    coarse = problem(5, torch.float32, 3e-2)[1]
    X[4], X[7] = coarse[4], coarse[7]
    X[5] = 0
    corrected = correct(A, X, 1e-5, work=Workspace())
    assert corrected.order.tolist() == [2, 2, 2, 2, 4, 2, 2, 4]
    assert (corrected.error_bound <= 1e-5).tolist() == [True] * 5 + [False] + [True] * 2
    assert bool((relative_error(A, corrected.inverse) <= corrected.error_bound).all())
    by_function = correct(A, lambda part: X[part].clone(), 1e-5, work=Workspace())
    assert torch.equal(by_function.inverse, corrected.inverse)
