"""Larger matrices through a proposer for small blocks."""

import pytest
import torch

import neuralinv as ni
from neuralinv import Source, Status
from neuralinv.dense import SchurProposer
from neuralinv.testing import relative_error


def rough(size: int):
    """A leaf proposer with an error of a per cent."""

    def propose(A: torch.Tensor) -> torch.Tensor:
        assert A.shape[-1] == size
        return 1.01 * torch.linalg.inv_ex(A.float()).inverse

    propose.size = size
    return propose


@pytest.mark.parametrize("m", [1, 2, 3, 4])
@pytest.mark.parametrize("n", [1, 2, 3, 5, 7, 12, 31])
def test_any_size_through_blocks_of_any_size(n: int, m: int) -> None:
    generator = torch.Generator().manual_seed(n)
    A = torch.rand(5, n, n, generator=generator) * 2 - 1 + n * torch.eye(n)
    result = ni.certified_inv(A, rough(m))
    assert (result.status == Status.CERTIFIED).all()
    assert (result.source != Source.FALLBACK).all()
    assert (relative_error(A, result.inverse) <= result.error_bound).all()


def test_150_by_150_does_not_lose_accuracy() -> None:
    generator = torch.Generator().manual_seed(0)
    A = torch.rand(2, 150, 150, generator=generator) * 2 - 1 + 150 * torch.eye(150)
    result = ni.certified_inv(A, rough(3))
    assert result.certified.all()
    assert (result.source != Source.FALLBACK).all()
    assert (result.error_bound < 1e-6).all()
    assert (relative_error(A, result.inverse) < 1e-7).all()


def test_singular_leading_blocks_fall_back_to_the_exact_kernel() -> None:
    A = torch.eye(10, dtype=torch.float64).flip(0)  # every leading block up to 5×5 is zero
    good = torch.eye(10, dtype=torch.float64) * 2
    result = ni.certified_inv(torch.stack([A, good]), rough(3))
    assert result.certified.all()
    assert result.source[0] == Source.FALLBACK
    assert result.source[1] != Source.FALLBACK
    torch.testing.assert_close(result.inverse[0], A)


def test_a_leaf_that_fails_is_inverted_exactly() -> None:
    generator = torch.Generator().manual_seed(3)
    A = torch.randn(20, 9, 9, dtype=torch.float64, generator=generator)

    def useless(matrices: torch.Tensor) -> torch.Tensor:
        return torch.zeros_like(matrices)

    useless.size = 3
    proposals = SchurProposer(useless, 3)(A)
    torch.testing.assert_close(proposals, torch.linalg.inv(A), rtol=1e-6, atol=1e-6)


def test_a_leaf_may_write_into_what_it_gets_and_never_sees_a_singular_filler() -> None:
    A = torch.eye(6, dtype=torch.float64).repeat(2, 1, 1) * 3
    A[0, :2, :2] = 1  # its second block is NaN from then on

    def leaf(matrices: torch.Tensor) -> torch.Tensor:
        assert (torch.linalg.matrix_norm(matrices) > 0).all()
        return matrices.copy_(torch.linalg.inv_ex(matrices).inverse)

    leaf.size = 2
    result = ni.certified_inv(A, leaf, on_singular="nan")
    assert result.status.tolist() == [Status.SINGULAR, Status.CERTIFIED]
    assert result.source.tolist() == [Source.FALLBACK, Source.PROPOSED]


def test_what_a_leaf_returns_is_checked() -> None:
    with pytest.raises(TypeError, match=r"returned NoneType for matrices of shape \(1, 2, 2\)"):
        SchurProposer(lambda A: None, 2)(torch.eye(4)[None])


def test_general_matrices_end_certified() -> None:
    A = torch.randn(10, 40, 40, generator=torch.Generator().manual_seed(5))
    result = ni.certified_inv(A, rough(4), rtol=1e-5)
    assert result.certified.all()
    assert (relative_error(A, result.inverse) <= result.error_bound).all()


def test_a_leaf_has_a_row() -> None:
    with pytest.raises(ValueError, match="size=0"):
        SchurProposer(rough(1), 0)
