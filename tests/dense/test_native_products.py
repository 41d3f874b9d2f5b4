"""Kernels beside the correction: combinations of rows, distances from them, norms; and what all of them refuse."""

import pytest
import torch

from neuralinv.dense import native, native_probing

REAL = [torch.float32, torch.float64]
DTYPES = [*REAL, torch.complex64, torch.complex128]
needs_kernel = pytest.mark.skipif(not native.AVAILABLE, reason="the extension was not built")


@pytest.mark.parametrize("dtype", REAL)
@pytest.mark.parametrize(
    ("count", "terms", "length"),
    [(0, 3, 5), (1, 1, 1), (3, 2, 5), (13, 48, 33), (25, 7, 513), (12, 600, 40), (40, 512, 1100)],
)
def test_combinations_of_rows(dtype, count, terms, length, monkeypatch):
    monkeypatch.setattr(native, "threads", lambda: 3)
    random = torch.Generator().manual_seed(0)
    C = torch.randn(terms, count, generator=random, dtype=dtype).mT
    B = torch.randn(terms, length, generator=random, dtype=dtype)
    X = torch.full((count, length), torch.nan, dtype=dtype)
    assert native.combine(C, B, X) is X
    torch.testing.assert_close(
        X, (C.double() @ B.double()).to(dtype), rtol=0, atol=100 * terms**0.5 * torch.finfo(dtype).eps
    )


@needs_kernel
def test_combinations_start_with_the_last_term():
    C = torch.tensor([[2.0**24, 1.0, 1.0]])
    assert native.combine(C, torch.ones(3, 1), torch.empty(1, 1)).item() == 2.0**24 + 2
    assert native.combine(C.flip(1), torch.ones(3, 1), torch.empty(1, 1)).item() == 2.0**24


@needs_kernel
@pytest.mark.parametrize("dtype", REAL)
@pytest.mark.parametrize(
    ("count", "terms", "length"), [(1, 1, 1), (3, 2, 5), (13, 48, 33), (25, 7, 513), (40, 512, 1100)]
)
def test_distances_from_combinations(dtype, count, terms, length, monkeypatch):
    monkeypatch.setattr(native, "threads", lambda: 3)
    random = torch.Generator().manual_seed(0)
    C, B = (torch.randn(shape, generator=random, dtype=torch.float64) for shape in [(count, terms), (terms, length)])
    A = (C @ B + 1e-3 * torch.randn(count, length, generator=random, dtype=torch.float64)).to(dtype)
    expected = (A.double() - C @ B).square().sum(1)
    found = native.deviation(A, C, B)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=0)
    assert torch.equal(found, native.deviation(A, C, B))
    A[0, -1] = torch.nan
    assert native.deviation(A, C, B).isnan().nonzero().flatten().tolist() == [0]


@needs_kernel
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [1, 7, 16, 33, 80])
def test_largest_sums(dtype, n, monkeypatch):
    monkeypatch.setattr(native, "threads", lambda: 3)
    X = torch.randn(50, n, n, generator=torch.Generator().manual_seed(n), dtype=dtype)
    X[3, 0, n - 1] = torch.nan
    X[5, n - 1, 0] = -torch.inf
    expected = X.abs().sum(2).amax(1), X.abs().sum(1).amax(1)
    for found, exact in zip(native_probing.largest_sums(X), expected, strict=True):
        assert found[3].isnan()
        assert found[5] == torch.inf
        share = (found / exact)[[k for k in range(50) if k not in (3, 5)]]
        assert bool((share > 1 - 1e-5).all())
        assert bool((share < (1.09 if dtype.is_complex else 1 + 1e-5)).all())


@needs_kernel
@pytest.mark.parametrize(
    ("kernel", "arguments", "message"),
    [
        ("combine_f32", (0, 0, 0, 1, 0, 1), "number of terms is out of range"),
        ("deviate_f64", (0, 0, 0, 0, 1, 513, 1), "number of terms is out of range"),
        ("row_sums_f32", (0, 0, 0, 1, 0), "number or size of the matrices is out of range"),
        ("probe_f32", (0, 1, 1025, 0, 0, 0, 0, 0, 8, 0, 0, False), "n is out of range"),
        ("probe_f64", (0, 1, 3, 0, 0, 0, 0, 0, 65, 0, 0, False), "number of vectors is out of range"),
        ("probe_c64", (0, 1, 3, 0, 0, 0, 0, 0, 7, 0, 0, False), "number of vectors is out of range"),
        ("survey_f32", (0, 1, 1025, 0, 0, 0), "number or size of the matrices is out of range"),
        ("sum_inverses_f64", (0, 1, 0, 0, 0, 0, 1, 0), "number or size of the matrices is out of range"),
        ("sum_inverses_f32", (0, 1, 3, 0, 0, 0, 0, 0), "there are no terms"),
        ("correct_roots_f32", (0, -1, 3, 0, 0), "number or size of the matrices is out of range"),
        ("pivot_signs_f64", (0, 1, 1025, 0), "number or size of the matrices is out of range"),
    ],
)
def test_sizes_that_the_kernels_refuse(kernel, arguments, message):
    with pytest.raises(ValueError, match=message):
        getattr(native._native, kernel)(*arguments, 1)
