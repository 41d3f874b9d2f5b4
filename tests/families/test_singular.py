from fractions import Fraction

import pytest
import torch

from neuralinv.families.singular import pseudo_inverses, singular_matrices

RANGES = [(-1.0, 1.0), (0.0, 1.0), (2.0, 3.0)]


def exact_rank(matrix) -> int:
    """Rank of the stored numbers themselves, by elimination in rational arithmetic."""
    rows = [[Fraction(x) for x in row] for row in matrix.tolist()]
    rank = 0
    for column in range(len(rows)):
        pivot = next((i for i in range(rank, len(rows)) if rows[i][column]), None)
        if pivot is None:
            continue
        rows[rank], rows[pivot] = rows[pivot], rows[rank]
        for i in range(rank + 1, len(rows)):
            factor = rows[i][column] / rows[rank][column]
            rows[i] = [a - factor * b for a, b in zip(rows[i], rows[rank], strict=True)]
        rank += 1
    return rank


@pytest.mark.parametrize("size", [2, 3, 5])
@pytest.mark.parametrize(("low", "high"), RANGES)
def test_stored_numbers_have_the_rank_exactly(size, low, high):
    A, ranks = singular_matrices(60, size, generator=torch.Generator().manual_seed(0), low=low, high=high)
    assert A.shape == (60, size, size)
    assert A.dtype == torch.float64
    assert low <= A.min() <= A.max() <= high
    assert [exact_rank(matrix) for matrix in A] == ranks.tolist()
    assert set(ranks.tolist()) == set(range(1, size))


def test_rows_are_shuffled_and_draws_repeat():
    first, ranks = singular_matrices(500, 3, generator=torch.Generator().manual_seed(0))
    again, _ = singular_matrices(500, 3, generator=torch.Generator().manual_seed(0))
    assert torch.equal(first, again)
    two = first[ranks == 2]
    shares = [float(torch.isclose(two[:, i], two[:, j]).all(1).double().mean()) for i, j in ((0, 1), (0, 2), (1, 2))]
    assert min(shares) > 0.2  # a third each


def test_one_by_one_is_zero():
    A, ranks = singular_matrices(4, 1, generator=torch.Generator().manual_seed(0))
    assert torch.equal(A, torch.zeros(4, 1, 1, dtype=torch.float64))
    assert torch.equal(ranks, torch.zeros(4, dtype=torch.int64))
    assert torch.equal(pseudo_inverses(A, ranks), A)


@pytest.mark.parametrize("size", [2, 3, 6])
@pytest.mark.parametrize(("low", "high"), RANGES)
def test_pseudo_inverses_agree_with_torch(size, low, high):
    A, ranks = singular_matrices(100, size, generator=torch.Generator().manual_seed(0), low=low, high=high)
    torch.testing.assert_close(pseudo_inverses(A, ranks), torch.linalg.pinv(A, rtol=1e-12), rtol=1e-7, atol=1e-7)
