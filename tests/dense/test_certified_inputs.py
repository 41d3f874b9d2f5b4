"""What `certified_inv` takes, and what it refuses: an answer about another matrix than the one meant would be wrong."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.autograd import forward_ad

import neuralinv as ni
from neuralinv import Status


@pytest.mark.parametrize("n", [2, 12, 70])
def test_tensors_without_memory(n: int) -> None:
    zero = torch._efficientzerotensor((n, n))
    assert ni.certified_inv(zero, on_singular="nan").status == Status.SINGULAR
    for transform in (torch.func.vmap, torch.func.grad, lambda f: lambda A: torch.func.jvp(f, (A,), (A,))):
        with pytest.raises(TypeError, match=r"A is transformed by torch\.func .* neuralinv\.inv inside of it"):
            transform(lambda A: ni.certified_inv(A).inverse.sum())(torch.eye(n).expand(2, n, n))
    with pytest.raises(TypeError, match="A is a meta tensor"):
        ni.certified_inv(torch.empty(n, n, device="meta"))


def test_numbers_of_numpy_as_tolerances() -> None:
    assert ni.certified_inv(torch.eye(2), rtol=np.float32(1e-3)).certified


def test_integers_that_are_no_floats() -> None:
    """Rounded to float64, this matrix of determinant −1 is singular."""
    A = np.array([[2**53 + 1, 2**53], [2**53, 2**53 - 1]])
    with pytest.raises(ValueError, match="A holds the integer 9007199254740993, which float64 rounds"):
        ni.certified_inv(A)
    with pytest.raises(ValueError, match="A holds the integer 18446744073709551615"):
        ni.certified_inv(np.array([[2**64 - 1]], np.uint64))
    result = ni.certified_inv(np.array([[2**60, 0], [0, -3]]))
    assert result.certified
    np.testing.assert_allclose(result.inverse, [[2.0**-60, 0], [0, -1 / 3]], rtol=1e-15)


def test_masked_entries() -> None:
    A = np.ma.array(np.eye(2), mask=[[False, True], [False, False]])
    with pytest.raises(TypeError, match="A has masked entries"):
        ni.certified_inv(A)
    assert ni.certified_inv(np.ma.array(np.eye(2))).certified


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors:UserWarning")
def test_nested_tensors() -> None:
    for function in (ni.certified_inv, ni.inv, ni.inv_ex, ni.slogdet):
        with pytest.raises(TypeError, match="A is a nested tensor"):
            function(torch.nested.nested_tensor([torch.eye(2), torch.eye(3)]))


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors:UserWarning")
@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor:UserWarning")
@pytest.mark.parametrize(
    ("kind", "convert"),
    [
        ("a meta tensor", lambda X: X.to("meta")),
        ("a quantized tensor", lambda X: torch.quantize_per_tensor(X.float(), 0.1, 0, torch.qint8)),
        ("a tensor of layout torch.sparse_coo", torch.Tensor.to_sparse),
        ("a nested tensor", lambda X: torch.nested.nested_tensor(list(X))),
        (r"shape \(2, 2\)", lambda X: X[0]),
    ],
)
def test_proposers_that_return_no_candidates(kind: str, convert: object) -> None:
    with pytest.raises(TypeError, match=f"the proposer returned {kind} for matrices of shape"):
        ni.certified_inv(np.eye(2)[None], convert)
    with pytest.raises(TypeError, match="the proposer returned NoneType for matrices of shape"):
        ni.certified_inv(np.eye(2)[None], lambda X: None)


def test_candidates_are_called_the_proposer() -> None:
    with pytest.raises(TypeError, match=r"proposer has dtype torch\.int64"):
        ni.certified_inv(torch.eye(2), torch.eye(2, dtype=torch.int64))
    with pytest.raises(TypeError, match="proposer is a meta tensor"):
        ni.certified_inv(torch.eye(2), torch.eye(2, device="meta"))


def inverse_in_long_doubles(a: np.ndarray) -> np.ndarray:
    n = len(a)
    rows = np.concatenate([a.astype(np.longdouble), np.eye(n, dtype=np.longdouble)], 1)
    for k in range(n):
        pivot = k + int(np.abs(rows[k:, k]).argmax())
        rows[[k, pivot]] = rows[[pivot, k]]
        rows[k] /= rows[k, k]
        for i in range(n):
            if i != k:
                rows[i] -= rows[i, k] * rows[k]
    return rows[:, n:]


@pytest.mark.parametrize("count", [1, 3, 37, 1000])
@pytest.mark.parametrize("n", [2, 3, 4, 5])
def test_the_smallest_floats_are_right_to_the_last_digit(n: int, count: int) -> None:
    """However ill-conditioned, and wherever they stand in a batch."""
    generator = torch.Generator().manual_seed(n)
    A = torch.rand(count, n, n, generator=generator) * 2 - 1
    A[:, -1] = A[:, 0] + A[:, -1] * torch.logspace(0, -5, count)[:, None]
    result = ni.certified_inv(A)
    assert bool((result.error_bound < (1e-7 if n < 4 else 3e-6)).all())
    exact = np.stack([inverse_in_long_doubles(a) for a in A.numpy()])
    size, error = (np.sqrt((M**2).sum((1, 2))) for M in (exact, result.inverse.numpy() - exact))
    assert (error / size <= result.error_bound.numpy() + 1e-12).all()  # the oracle's own error
    for b in (0, count // 2, count - 1):
        alone = ni.certified_inv(A[b])
        assert torch.equal(alone.inverse, result.inverse[b])
        assert torch.equal(alone.error_bound, result.error_bound[b])


def test_batches_of_any_shape() -> None:
    A = torch.rand(2, 1, 5, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64) - 0.5
    A[1, 0, 2] = 0
    for matrices in (A, A.transpose(0, 2), A.mT, A[:, :, ::2], A[1, 0, 2], A[0, 0, 0], A[:0]):
        result = ni.certified_inv(matrices, on_singular="nan")
        singular = (matrices == 0).flatten(-2).all(-1)
        assert result.inverse.shape == matrices.shape
        for field in (result.error_bound, result.status, result.source):
            assert field.shape == matrices.shape[:-2]
        assert torch.equal(result.status == int(Status.SINGULAR), singular)
        torch.testing.assert_close(result.inverse[~singular], torch.linalg.inv(matrices[~singular]))
        assert bool(result.inverse[singular].isnan().all())


def test_forward_derivatives_are_those_of_the_inverse() -> None:
    A, V = (torch.randn(4, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(k)) for k in range(2))
    A = A + 3 * torch.eye(3)
    for primal in (A, A.clone().requires_grad_()):
        with forward_ad.dual_level():
            X = ni.certified_inv(forward_ad.make_dual(primal, V)).inverse
            tangent = forward_ad.unpack_dual(X).tangent
            assert tangent is not None
            torch.testing.assert_close(tangent, -(X @ V @ X))
    with forward_ad.dual_level():
        assert forward_ad.unpack_dual(ni.certified_inv(A).inverse).tangent is None
    assert torch.autograd.gradcheck(lambda A: ni.certified_inv(A).inverse, A.requires_grad_(), check_forward_ad=True)
