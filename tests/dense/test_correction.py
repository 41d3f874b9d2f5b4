import math
from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from neuralinv.dense import correction, native
from neuralinv.dense.correction import HIGHEST_ORDER, Workspace, correct
from neuralinv.dense.extrapolation import extrapolate
from neuralinv.testing import relative_error

REAL = [torch.float32, torch.float64]
DTYPES = [*REAL, torch.complex64, torch.complex128]
ROUTES = ["kernel", "torch"] if native.AVAILABLE else ["torch"]
needs_kernel = pytest.mark.skipif(not native.AVAILABLE, reason="the extension was not built")


@contextmanager
def routed(route: str) -> Iterator[None]:
    """Send matrices to the kernel, as they go, or all to torch."""
    if route == "kernel":
        yield
    else:
        with mock.patch.object(native, "corrects", return_value=False):
            yield


def problem(n: int, dtype: torch.dtype, residual: float, *, count: int = 8, seed: int = 0) -> tuple[torch.Tensor, ...]:
    """Matrices, and approximate inverses whose residual has about this norm."""
    random = torch.Generator().manual_seed(seed)
    wide = torch.complex128 if dtype.is_complex else torch.float64
    A = torch.randn(count, n, n, generator=random, dtype=wide) + 2 * math.sqrt(n) * torch.eye(n)
    A = A.to(dtype)
    E = torch.randn(count, n, n, generator=random, dtype=wide)
    E = residual * E / torch.linalg.matrix_norm(E)[:, None, None]
    return A, (torch.linalg.inv(A.to(wide)) @ (torch.eye(n) - E)).to(dtype)


def residual_for(order: int, n: int, rtol: float) -> float:
    """A residual that this order brings to rtol, and no lower one, where ‖XR‖_F is about ‖X‖_F ‖R‖_F / √n."""
    return 0.1 * rtol if order == 1 else (0.2 * rtol * math.sqrt(n)) ** (1 / order)


def rtol_of(dtype: torch.dtype) -> float:
    return 1e-5 if dtype in (torch.float32, torch.complex64) else 1e-10


@pytest.mark.parametrize("route", ROUTES)
@given(
    st.integers(1, 12),
    st.sampled_from(DTYPES),
    st.floats(-12, -0.1),
    st.integers(1, HIGHEST_ORDER),
    st.integers(0, 1000),
)
@settings(max_examples=60, deadline=None)
def test_bounds_hold(route, n, dtype, exponent, highest, seed):
    A, X = problem(n, dtype, 10**exponent, seed=seed)
    before = X.clone()
    with routed(route):
        corrected = correct(A, X, rtol_of(dtype), work=Workspace(), highest_order=highest)
    assert torch.equal(X, before)
    assert int(corrected.order.max()) <= highest
    assert corrected.inverse.dtype == dtype
    error = relative_error(A, corrected.inverse)
    assert bool((error <= corrected.error_bound).all())


@pytest.mark.parametrize("order", [1, 2, 3, 4])
@pytest.mark.parametrize("n", [3, 40])
@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64])
@pytest.mark.parametrize("route", ROUTES)
def test_the_residual_decides_the_order(order, n, dtype, route):
    A, X = problem(n, dtype, residual_for(order, n, 1e-5))
    with routed(route):
        corrected = correct(A, X, 1e-5, work=Workspace())
    assert corrected.order.unique().tolist() == [order]
    assert bool((corrected.error_bound <= 1e-5).all())
    # The bound is not much larger than what exact arithmetic would prove.
    wide = torch.complex128 if dtype.is_complex else torch.float64
    R = torch.eye(n) - A.to(wide) @ X.to(wide)
    rho = torch.linalg.matrix_norm(R)
    if order > 1:
        eta = torch.linalg.matrix_norm(X.to(wide) @ R) / torch.linalg.matrix_norm(X.to(wide))
        proved = eta * rho ** (order - 1) * (1 + rho) / (1 - rho)
        assert bool((corrected.error_bound < 1.01 * proved + (4e-6 if dtype.is_complex else 1e-6)).all())


@pytest.mark.parametrize("residual", [0.2, 0.5, 0.7])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("route", ROUTES)
def test_what_no_order_helps_stays_as_it_was(residual, dtype, route):
    A, X = problem(40, dtype, residual)
    with routed(route):
        corrected = correct(A, X, rtol_of(dtype), work=Workspace())
    assert corrected.order.unique().tolist() == [1]
    assert torch.equal(corrected.inverse, X)
    torch.testing.assert_close(corrected.error_bound, torch.full((8,), residual).double(), rtol=1e-3, atol=0)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("route", ROUTES)
def test_a_promise_that_is_not_kept(dtype, route):
    """Where X multiplies R by its norm, the first product tells that no order suffices."""
    X = torch.diag_embed(torch.full((8, 40), 1e-2, dtype=dtype))
    X[:, 0, 0] = 1
    A = torch.diag_embed(1 / X.diagonal(dim1=-2, dim2=-1))
    # R has nothing but what X is largest in, so that η is about ρ; ρ⁴ is ten times rtol.
    rtol = rtol_of(dtype)
    X[:, 0, 0] = 1 - (10 * rtol) ** 0.25
    with routed(route):
        corrected = correct(A, X, rtol, work=Workspace())
        able = correct(A, X, 16 * rtol, work=Workspace())
    assert corrected.order.unique().tolist() == [1]
    assert torch.equal(corrected.inverse, X)
    assert bool((corrected.error_bound > rtol).all())
    assert able.order.unique().tolist() == [4]
    assert bool((relative_error(A, able.inverse) <= able.error_bound).all())
    assert bool((able.error_bound <= 16 * rtol).all())


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
@pytest.mark.parametrize("route", ROUTES)
def test_one_hopeless_matrix_does_not_raise_the_order_of_the_others(dtype, route):
    A, X = problem(5, dtype, 1e-6)
    X[3] *= -5
    X[4] = torch.nan
    with routed(route):
        corrected = correct(A, X, 1e-10, work=Workspace())
    assert corrected.order[[0, 1, 2, 5, 6, 7]].unique().tolist() == [2]
    assert corrected.error_bound.isinf().tolist() == [False] * 3 + [True] * 2 + [False] * 3


@pytest.mark.parametrize("value", [complex(math.nan, 0), complex(0, math.nan), complex(0, math.inf), complex(1e30, 0)])
@pytest.mark.parametrize("of", ["A", "X"])
@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128])
@pytest.mark.parametrize("route", ROUTES)
def test_one_bad_part_of_an_entry_proves_nothing(value, of, dtype, route):
    A, X = problem(17, dtype, 1e-7)
    (A if of == "A" else X)[2, 16, 15] = value
    with routed(route):
        corrected = correct(A, X, 1e-6, work=Workspace())
    assert corrected.error_bound.isinf().tolist() == [False] * 2 + [True] + [False] * 5
    assert corrected.order[2] == 1


@pytest.mark.parametrize("exponent", [-20, 20])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("route", ROUTES)
def test_extreme_scales_prove_nothing(exponent, dtype, route):
    A, X = problem(4, dtype, 1e-6)
    scale = 10.0 ** (exponent if rtol_of(dtype) > 1e-6 else 6 * exponent)
    with routed(route):
        assert bool(correct(scale * A, X / scale, 1e-5, work=Workspace()).error_bound.isinf().all())


@pytest.mark.parametrize("scale", [1e-9, 1e9])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("route", ROUTES)
def test_other_scales_change_little(scale, dtype, route):
    A, X = problem(20, dtype, 1e-4)
    with routed(route):
        expected = correct(A, X, 1e-5, work=Workspace())
        found = correct(scale * A, X / scale, 1e-5, work=Workspace())
    assert torch.equal(found.order, expected.order)
    torch.testing.assert_close(found.error_bound, expected.error_bound, rtol=0.05, atol=1e-8)
    assert bool((relative_error(scale * A, found.inverse) <= found.error_bound).all())


def test_low_precision_products_enter_the_bound():
    A, X = problem(16, torch.float32, 3e-3)
    bounds = []
    before = torch.get_float32_matmul_precision()
    try:
        # The kernel's products are those of the dtype, whatever torch is set to.
        torch.set_float32_matmul_precision("medium")
        by_kernel = correct(A, X, 1e-3, work=Workspace(), highest_order=2).error_bound
        for precision in ("highest", "high", "medium"):
            torch.set_float32_matmul_precision(precision)
            with routed("torch"):
                bounds.append(float(correct(A, X, 1e-3, work=Workspace(), highest_order=2).error_bound.max()))
    finally:
        torch.set_float32_matmul_precision(before)
    assert bounds == sorted(bounds)
    assert bounds[0] < bounds[1] < bounds[2]
    if native.AVAILABLE:
        assert float(by_kernel.max()) < 1.01 * bounds[0]


def test_memory_is_used_again():
    A, X = problem(6, torch.float32, 1e-3)
    work = Workspace()
    with routed("torch"):
        first = correct(A, X, 1e-5, work=work).error_bound.clone()
        held = {key: value.data_ptr() for key, value in work._memory.items()}
        assert torch.equal(correct(A[:5], X[:5], 1e-5, work=work).error_bound, first[:5])
    assert held == {key: value.data_ptr() for key, value in work._memory.items()}


@pytest.mark.parametrize("route", ROUTES)
def test_matrices_after_the_first_chunk_get_the_order_that_they_need(monkeypatch, route):
    monkeypatch.setattr(correction, "CHUNK_ELEMENTS", 3 * 5**2)
    monkeypatch.setattr(correction, "NATIVE_CHUNK_ELEMENTS", 3 * 5**2)
    monkeypatch.setattr(native, "threads", lambda: 1)
    A, X = problem(5, torch.float32, 1e-3)
    coarse = problem(5, torch.float32, residual_for(4, 5, 1e-5))[1]
    X[4], X[7] = coarse[4], coarse[7]
    X[5] = 0
    with routed(route):
        corrected = correct(A, X, 1e-5, work=Workspace())
        by_function = correct(A, lambda part: X[part].clone(), 1e-5, work=Workspace())
    others = [0, 1, 2, 3, 4, 6, 7]
    assert corrected.order[others].tolist() == [2, 2, 2, 2, 4, 2, 4]
    assert (corrected.error_bound <= 1e-5).tolist() == [True] * 5 + [False] + [True] * 2
    assert bool((relative_error(A, corrected.inverse) <= corrected.error_bound).all())
    assert torch.equal(by_function.inverse, corrected.inverse)


@pytest.mark.parametrize("terms", [1, 2, 3, 4])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("route", ROUTES)
def test_several_guesses_are_continued_by_a_polynomial(terms, dtype, route):
    t = torch.arange(3, 3 - terms, -1).double()[:, None, None, None]
    A, guess = problem(9, dtype, 1e-3)
    B, C, D = torch.randn(3, *A.shape, generator=torch.Generator().manual_seed(1), dtype=guess.dtype) / 50
    # Equal to the guess at t = 4, where a polynomial of degree terms − 1 is extrapolated to.
    s = t - 4
    past = list((guess + B * s * (terms > 1) + C * s**2 * (terms > 2) + D * s**3 * (terms > 3)).to(dtype))
    with routed(route):
        corrected = correct(A, past, rtol_of(dtype), work=Workspace())
        expected = correct(A, guess, rtol_of(dtype), work=Workspace())
    assert torch.equal(corrected.order, expected.order)
    assert bool((relative_error(A, corrected.inverse) <= corrected.error_bound).all())
    torch.testing.assert_close(corrected.error_bound, expected.error_bound, rtol=1e-2, atol=0)
    torch.testing.assert_close(extrapolate(past, torch.empty_like(guess)), guess, rtol=1e-4, atol=1e-5)


def edges(vector: int) -> list[int]:
    return [size for full in (vector, 4 * vector) for size in (full - 1, full, full + 1)]


@needs_kernel
@pytest.mark.parametrize("n", sorted({1, 2, *edges(2), *edges(4), *edges(8), 48, 64, 65, 100, 129}))
@pytest.mark.parametrize("dtype", DTYPES)
def test_kernel_and_torch_agree(n, dtype):
    double = rtol_of(dtype) < 1e-6
    rtol = 1e-8 if double else 1e-5
    pairs = [problem(n, dtype, residual_for(order, n, rtol), count=2, seed=order) for order in (1, 2, 3, 4)]
    A, X = (torch.cat(parts) for parts in zip(*pairs, strict=True))
    mine = correct(A, X, rtol, work=Workspace())
    assert mine.order.tolist() == [1, 1, 2, 2, 3, 3, 4, 4]
    assert bool((mine.error_bound <= rtol).all())
    error = relative_error(A, mine.inverse)
    assert bool((error <= mine.error_bound).all())
    for part, order in enumerate((1, 2, 3, 4)):
        rows = slice(2 * part, 2 * part + 2)
        with routed("torch"):
            theirs = correct(A[rows], X[rows], rtol, work=Workspace(), highest_order=order)
        assert theirs.order.tolist() == [order] * 2
        torch.testing.assert_close(mine.inverse[rows], theirs.inverse, rtol=0, atol=4 * torch.finfo(dtype).eps)
        # The kernel adds up sums of 64 products: beyond, its rounding errors are bounded more closely. Of complex
        # products it counts two roundings more.
        apart = 1e-1 if dtype.is_complex else 2e-2
        if n <= 64:
            torch.testing.assert_close(mine.error_bound[rows], theirs.error_bound, rtol=apart, atol=0)
        else:
            assert bool((mine.error_bound[rows] <= theirs.error_bound * (1 + apart)).all())
            assert bool((mine.error_bound[rows] >= theirs.error_bound * 64 / n / 2).all())


@needs_kernel
@pytest.mark.parametrize("n", [700, 1024, 1025])
@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64])
def test_the_largest_matrices(n, dtype, monkeypatch):
    A, X = problem(n, dtype, 1e-3, count=1)
    monkeypatch.setattr(native, "threads", lambda: 5)
    assert not native.corrects(A)  # torch shares one matrix among threads
    monkeypatch.setattr(native, "threads", lambda: 4)
    assert native.corrects(A) == (n <= 1024)
    corrected = correct(A, X, 1e-5, work=Workspace())
    assert corrected.order.tolist() == [2]
    assert float(corrected.error_bound) <= 1e-5
    assert float(relative_error(A, corrected.inverse)) <= float(corrected.error_bound)


@pytest.mark.parametrize(
    ("n", "dtype"),
    [(400, torch.float32), (272, torch.float64), (264, torch.complex64), (185, torch.complex128)],
)
def test_several_guesses_of_large_matrices_in_the_highest_order(n, dtype):
    """The right factor of a product is then worked through in several parts, and the left one read for each of them."""
    rtol = 1e-5 if rtol_of(dtype) > 1e-6 else 1e-8
    A, X = problem(n, dtype, residual_for(4, n, rtol), count=1)
    corrected = correct(A, [X, X], rtol, work=Workspace())
    assert corrected.order.tolist() == [4]
    assert torch.equal(corrected.inverse, correct(A, X, rtol, work=Workspace()).inverse)
    assert float(corrected.error_bound) <= rtol
    assert float(relative_error(A, corrected.inverse)) <= float(corrected.error_bound)


def exactly_known(n: int, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Matrices of whole numbers, and their inverses, which are whole numbers, too, with condition numbers like n³."""
    random = torch.Generator().manual_seed(n)
    signs = torch.randint(0, 2, (2, count, n - 1), generator=random).double() * 2 - 1
    L, U = (torch.eye(n, dtype=torch.float64) + torch.diag_embed(sign, -1) for sign in signs)
    inverses = [
        torch.linalg.solve_triangular(M, torch.eye(n, dtype=M.dtype).expand(count, n, n), upper=False) for M in (L, U)
    ]
    order = torch.randperm(n, generator=random)
    return (L @ U.mT)[:, order], (inverses[1].mT @ inverses[0])[..., order]


@needs_kernel
@pytest.mark.parametrize("n", [31, 32, 33, 40, 63, 64, 65, 100, 200])
def test_rounding_of_residuals_hides_no_good_guess(n):
    A, exact = exactly_known(n, 5)
    assert torch.equal(A @ exact, torch.eye(n, dtype=A.dtype).expand_as(A))
    guess = exact * (1 + 1e-9 * torch.randn(exact.shape, generator=torch.Generator().manual_seed(0), dtype=A.dtype))
    rtol = 3e-15
    # What a residual in doubles proves at best is more than that.
    assert float((64 * 1.1e-16 * torch.linalg.matrix_norm(A) * torch.linalg.matrix_norm(exact)).min()) > rtol
    for past in (guess, []):
        found = correct(A.mT.contiguous().mT, past, rtol, work=Workspace())
        assert bool((found.error_bound <= rtol).all())
        error = torch.linalg.matrix_norm(found.inverse - exact) / torch.linalg.matrix_norm(exact)
        assert bool((error <= found.error_bound).all())


@needs_kernel
def test_what_twice_the_precision_does_not_help():
    A, exact = exactly_known(40, 4)
    guess = exact.clone()
    guess[0] *= 1.7  # too far away
    guess[1] = torch.nan
    A[2] = 0
    assert correct(A, guess, 3e-15, work=Workspace()).error_bound.le(3e-15).tolist() == [False, False, False, True]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [7, 40])
def test_any_strides(dtype, n):
    A, X = problem(n, dtype, 1e-4)
    expected = correct(A, X, 1e-6, work=Workspace())
    padded = torch.full((16, n + 1, n + 3), torch.nan, dtype=dtype)
    padded[::2, :n, 1:-2] = A
    layouts = [padded[::2, :n, 1:-2], A.mT.contiguous().mT]
    guesses = [X, X.mT.contiguous().mT]
    if dtype.is_complex:
        layouts += [A.conj().resolve_conj().conj(), A.mH.contiguous().mH]
        guesses += [X.conj().resolve_conj().conj(), X.mH.contiguous().mH]
        assert all(view.is_conj() for view in (*layouts[2:], *guesses[2:]))
    else:
        layouts += [torch.complex(X, -A).conj().imag]
        guesses += [torch.complex(A, -X).conj().imag]
        assert layouts[-1].is_neg()
    for view in layouts:
        assert torch.equal(view, A)
        for guess in guesses:
            found = correct(view, guess, 1e-6, work=Workspace())
            assert torch.equal(found.inverse, expected.inverse)
            assert torch.equal(found.error_bound, expected.error_bound)
    repeated = correct(A[:1].expand(8, n, n), X[:1].expand(8, n, n), 1e-6, work=Workspace())
    assert torch.equal(repeated.inverse, expected.inverse[:1].expand(8, n, n))


@needs_kernel
@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64])
def test_threads_change_nothing(dtype, monkeypatch):
    A, X = problem(24, dtype, 1e-3, count=101)
    results = []
    for threads in (1, 3):
        monkeypatch.setattr(native, "threads", lambda threads=threads: threads)
        results.append(correct(A, [X, X, X], 1e-5, work=Workspace()))
    for one, three in zip(*results, strict=True):
        assert torch.equal(one, three)


@needs_kernel
@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64])
def test_bounds_hold_where_denormals_are_flushed(dtype):
    A = problem(6, dtype, 0)[0]
    A[:, 0, 1] = 1e-40
    X = torch.linalg.inv(A.to(torch.complex128 if dtype.is_complex else torch.float64)).to(dtype)
    if not torch.set_flush_denormal(True):
        pytest.skip("this processor does not flush denormals")
    try:
        corrected = correct(A, X, 1e-5, work=Workspace())
    finally:
        torch.set_flush_denormal(False)
    assert bool((corrected.error_bound <= 1e-5).all())
    assert bool((relative_error(A, corrected.inverse) <= corrected.error_bound).all())


@needs_kernel
@pytest.mark.parametrize(
    ("n", "highest", "message"),
    [(0, 4, "n is out of range"), (1025, 4, "n is out"), (3, 0, "order is out of range"), (3, 5, "order")],
)
def test_what_the_kernel_refuses(n, highest, message):
    for kernel in (native._native.correct_f32, native._native.correct_c128):
        with pytest.raises(ValueError, match=message):
            kernel(0, 0, n, 0, 0, 0, 0, 0, 0, 0, 1e-5, highest, 0, 0, 0, 1)


@needs_kernel
@pytest.mark.parametrize("dtype", [*DTYPES, torch.float16])
def test_what_goes_to_the_kernel(dtype, monkeypatch):
    monkeypatch.setattr(native, "threads", lambda: 8)

    def goes(*shape: int) -> bool:
        return native.corrects(torch.empty(*shape, dtype=dtype))

    supported = dtype in DTYPES
    assert [goes(1, n, n) for n in (1, 128)] == [supported] * 2
    # Few matrices for many threads: torch shares each of them.
    assert [goes(count, 129, 129) for count in (1, 2)] == [False, supported]
    assert [goes(9, n, n) for n in (0, 1024, 1025)] == [False, supported, False]
    assert not native.corrects(torch.empty(1, 3, 3, dtype=dtype, device="meta"))
