import numpy as np
import pytest
import torch

import neuralinv as ni
from neuralinv.families import get_family
from neuralinv.learned import inv_pth_root, inv_sqrt
from neuralinv.learned.roots import _bound

DTYPES = [torch.float32, torch.float64, torch.complex64, torch.complex128]


def wide(A: torch.Tensor) -> torch.Tensor:
    return A.to(torch.complex128 if A.is_complex() else torch.float64)


def true_root(A: torch.Tensor, p: int) -> torch.Tensor:
    L, Q = torch.linalg.eigh(wide(A))
    return (Q * L.pow(-1 / p)[..., None, :]) @ Q.mH


def error(A: torch.Tensor, X: torch.Tensor, p: int) -> torch.Tensor:
    Y = true_root(A, p)
    return torch.linalg.matrix_norm(wide(X) - Y) / torch.linalg.matrix_norm(Y)


def wishart(*shape: int, dtype: torch.dtype = torch.float64, **parameters: float) -> torch.Tensor:
    random = torch.Generator().manual_seed(0)
    return get_family("wishart").sample(shape[:-1], shape[-1], generator=random, dtype=dtype, **parameters)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("p", [1, 2, 3, 4])
@pytest.mark.parametrize("n", [1, 2, 12])
def test_roots_are_certified_and_the_bound_holds(dtype, p, n):
    A = 3 * wishart(2, 3, n, dtype=dtype)
    result = inv_pth_root(A, p)
    assert result.root.dtype == dtype
    assert bool((result.status == ni.Status.CERTIFIED).all())
    assert bool((error(A, result.root, p) <= result.error_bound).all())
    assert float(result.error_bound.max()) <= result.rtol
    if n > 2 and p > 1:
        assert bool((result.source == ni.Source.REFINED).all())


def test_numpy_arrays_and_single_matrices():
    A = wishart(6)
    result = inv_sqrt(A.numpy())
    assert isinstance(result.root, np.ndarray)
    np.testing.assert_allclose(result.root @ A.numpy() @ result.root, np.eye(6), atol=1e-10)
    assert inv_sqrt(torch.zeros(0, 3, 3)).root.shape == (0, 3, 3)


@pytest.mark.parametrize("cond", [1e4, 1e6])
def test_matrices_beyond_the_range_fall_back(cond):
    U = torch.linalg.qr(torch.randn(8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64))[0]
    A = (U * torch.logspace(0, -np.log10(cond), 8, dtype=torch.float64)) @ U.mT
    A = (A + A.mT)[None] / 2
    result = inv_sqrt(A, cond=1e2, rtol=1e-5)
    assert result.status.item() == ni.Status.CERTIFIED
    assert result.source.item() == ni.Source.FALLBACK
    assert float(error(A, result.root, 2)) <= float(result.error_bound)
    wider = inv_sqrt(A, cond=10 * cond, rtol=1e-5)
    assert wider.source.item() == ni.Source.REFINED


def test_the_wrong_root_proves_nothing():
    # X with a negative eigenvalue also solves XAX = I: only the positive definite one is the root.
    A = wishart(3, 5)
    L, Q = torch.linalg.eigh(A)
    signs = torch.tensor([1.0, 1, -1, 1, 1])
    X = (Q * (signs * L.rsqrt())[:, None, :]) @ Q.mT
    X = (X + X.mT) / 2
    assert float(torch.linalg.matrix_norm(X @ A @ X - torch.eye(5)).max()) < 1e-12
    assert bool((_bound(A, X, 2)[0] == 1).all())
    assert float(_bound(A, true_root(A, 2), 2)[0].max()) < 1e-10


@pytest.mark.parametrize("p", [2, 3])
def test_bounds_hold_for_spoiled_roots(p):
    A = wishart(50, 6)
    noise = torch.randn(50, 6, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    for size in (1e-6, 1e-3, 3e-2):
        X = true_root(A, p) + size * (noise + noise.mT)
        bound, _ = _bound(A, X, p)
        assert bool((error(A, X, p) <= bound).all())
        assert float(bound.min()) < 1


@pytest.mark.parametrize(
    "A",
    [
        torch.diag(torch.tensor([1.0, -1.0])),
        torch.diag(torch.tensor([1.0, 0.0])),
        torch.zeros(2, 2),
        torch.diag(torch.tensor([1.0, torch.nan])),
        torch.diag(torch.tensor([1.0, torch.inf])),
    ],
)
def test_matrices_without_a_root(A):
    batch = torch.stack([torch.eye(2), A])
    with pytest.raises(torch.linalg.LinAlgError, match=r"matrices at \[1\] are not positive definite"):
        inv_sqrt(batch)
    with pytest.raises(np.linalg.LinAlgError, match="on_singular='nan'"):
        inv_sqrt(batch.numpy())
    result = inv_sqrt(batch, on_singular="nan")
    assert result.status[0] == ni.Status.CERTIFIED
    assert result.status[1] in (ni.Status.SINGULAR, ni.Status.NONFINITE)
    assert bool(result.root[1].isnan().all())
    assert result.error_bound[1] == torch.inf


@pytest.mark.parametrize(
    ("arguments", "keywords", "message"),
    [
        ((torch.eye(2), 0), {}, "p=0"),
        ((torch.eye(2), 17), {}, "p=17"),
        ((torch.eye(2), 2), {"cond": 1.0}, r"cond=1\.0"),
        ((torch.eye(2), 2), {"rtol": 2.0}, r"rtol=2\.0"),
        ((torch.eye(2), 2), {"on_singular": "pinv"}, "on_singular='pinv'"),
        ((torch.tensor([[1.0, 0.1], [0.0, 1.0]]), 2), {}, "not exactly Hermitian"),
        ((torch.ones(2, 3), 2), {}, "square"),
    ],
)
def test_bad_input(arguments, keywords, message):
    with pytest.raises(ValueError, match=message):
        inv_pth_root(*arguments, **keywords)
