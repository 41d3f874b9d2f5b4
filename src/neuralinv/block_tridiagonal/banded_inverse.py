"""Solutions refined and proved with an approximate inverse factor, whoever proposed it.

Let ``G`` be lower block-banded, ``G ≈ F⁻¹`` for ``M = F Fᵀ``, and ``E = G M Gᵀ − I``. If ``‖E‖₂ ≤ ρ < 1`` then
``G M Gᵀ`` is positive definite, so ``G`` is invertible and ``M`` positive definite, ``M⁻¹ = Gᵀ (I + E)⁻¹ G``, and for
the residual ``r = b − M x̂`` of any ``x̂``

    ‖x − x̂‖ ≤ ‖M⁻¹‖₂ ‖r‖,   ‖M⁻¹‖₂ ≤ ‖G‖₂² / (1 − ρ),   ρ = ‖E‖_∞ ≥ ‖E‖₂,   ‖G‖₂² ≤ ‖G‖₁ ‖G‖_∞.

No exact factorisation is needed. The eigenvalues of the preconditioned matrix ``Gᵀ G M`` lie in [1 − ρ, 1 + ρ];
conjugate gradients (Hestenes & Stiefel 1952) converge whether that is proved or not, if only ``Gᵀ G`` is definite.

Rounding: everything here is float64; ``γ_k Σ|terms|`` bounds it (Higham, *Accuracy and Stability of Numerical
Algorithms*, 2nd ed., §3.1).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from neuralinv.block_tridiagonal.certificate import flushed, gamma
from neuralinv.block_tridiagonal.operator import BlockTridiagonal

_U = torch.finfo(torch.float64).eps / 2


@dataclass(frozen=True)
class RefinedSolution:
    """What conjugate gradients came to, for each sequence.

    Attributes
    ----------
    solution
        ``(*batch, T, n)``, float64.
    error_bound
        Proved bound of ``‖x − solution‖ / ‖x‖``, ``(*batch,)``; infinite where there is no proof.
    iterations
        Steps of conjugate gradients until the bound was met, ``(*batch,)``; where it was not, all of them.
    """

    solution: Tensor
    error_bound: Tensor
    iterations: Tensor


def distance_from_identity(diag: Tensor, lower: Tensor, G: Tensor) -> Tensor:
    """Bound ``‖G M Gᵀ − I‖_∞``, rounding included, for ``G (*batch, T, bands, n, n)``; ``(*batch,)``, all float64."""
    computed = _congruence(diag, lower, G)
    n, bands = diag.shape[-1], G.shape[-3]
    computed[0] = computed[0] - torch.eye(n, dtype=diag.dtype, device=diag.device)
    size = _congruence(diag.abs(), lower.abs(), G.abs())
    rounding = gamma((bands + 5) * n + 4)
    rows, steps = diag.new_zeros(diag.shape[:-1]), diag.shape[-3]
    for m, (block, terms) in enumerate(zip(computed, size, strict=True)):
        bound = block.abs() + rounding * (terms if m else terms + 1)
        rows = rows + bound.sum(-1)
        if m:  # the block above the diagonal belongs to the row of step t − m
            rows = rows + pad(bound[..., m:, :, :].sum(-2), (0, 0, 0, min(m, steps)))
    rho = rows.amax((-2, -1)) * (1 + 8 * (2 * bands * n + 4) * _U)
    return rho.masked_fill(flushed(diag) | flushed(lower), torch.inf)  # of what the processor does not see


def refine(
    diag: Tensor,
    lower: Tensor,
    b: Tensor,
    precondition: Callable[[Tensor], Tensor],
    *,
    rtol: float,
    largest_inverse: Tensor,
    most: int = 200,
) -> RefinedSolution:
    """Solve ``M x = b`` by preconditioned conjugate gradients in float64 until the error is proved below ``rtol``.

    Parameters
    ----------
    diag, lower, b
        ``(*batch, T, n, n)``, ``(*batch, T − 1, n, n)`` and ``(*batch, T, n)``, float64.
    precondition
        Applies a symmetric positive semidefinite matrix to ``(*batch, T, n)``: its product with ``b`` is the first
        guess.
    rtol
        Relative error that is asked for.
    largest_inverse
        A proved bound of ``‖M⁻¹‖₂``, ``(*batch,)``: the error is at most that times the norm of the residual.
    most
        Steps after which to give up.
    """
    largest_inverse = largest_inverse.masked_fill(flushed(diag) | flushed(lower) | flushed(b[..., None]), torch.inf)
    M, magnitude = BlockTridiagonal(diag, lower), BlockTridiagonal(diag.abs(), lower.abs())
    x = precondition(b)
    r = b - M.matmul(x)
    z = precondition(r)
    p, rz = z, _dot(r, z)
    bound, iterations = _bound(M, magnitude, b, x, largest_inverse), torch.zeros(b.shape[:-2], dtype=torch.int64)
    for _ in range(most):
        todo = ~(bound <= rtol)
        if not bool(todo.any()):
            break
        Mp = M.matmul(p)
        step = torch.where(todo, rz / _dot(p, Mp), 0).nan_to_num(0.0, 0.0, 0.0)
        x = x + step[..., None, None] * p
        r = r - step[..., None, None] * Mp
        z = precondition(r)
        rz_next = _dot(r, z)
        p = z + (rz_next / rz).nan_to_num(0.0, 0.0, 0.0)[..., None, None] * p
        rz = rz_next
        iterations = iterations + todo
        # The recursive residual says when it is worth to compute the proof, which costs two products more.
        hopeful = largest_inverse * torch.linalg.vector_norm(r, dim=(-2, -1)) <= 2 * rtol * _size(x)
        if bool((todo & hopeful).any()):
            bound = torch.where(todo, _bound(M, magnitude, b, x, largest_inverse), bound)
    return RefinedSolution(x, bound, iterations)


def inverse_bound(G: Tensor, rho: Tensor) -> Tensor:
    """Bound ``‖M⁻¹‖₂ ≤ ‖G‖₂² / (1 − ρ)`` for ``ρ`` of :func:`distance_from_identity`; infinite where ``ρ ≥ 1``."""
    bands, n, steps = G.shape[-3], G.shape[-1], G.shape[-4]
    size = G.abs()
    rows = size.sum((-1, -3)).amax((-2, -1))
    columns = torch.stack([pad(size[..., k:, k, :, :].sum(-2), (0, 0, 0, min(k, steps))) for k in range(bands)])
    squared = rows * columns.sum(0).amax((-2, -1)) * (1 + 4 * (bands * n + 4) * _U)
    return torch.where(rho < 1, squared / (1 - rho) * (1 + 8 * _U), torch.inf)


def _bound(M: BlockTridiagonal, magnitude: BlockTridiagonal, b: Tensor, x: Tensor, largest_inverse: Tensor) -> Tensor:
    n = b.shape[-1]
    residual = (b - M.matmul(x)).abs() + gamma(3 * n + 2) * (b.abs() + magnitude.matmul(x.abs()))
    round_up = 1 + 2 * (b.shape[-1] * b.shape[-2] + 64) * _U
    error = largest_inverse * torch.linalg.vector_norm(residual, dim=(-2, -1)) * round_up
    size = torch.linalg.vector_norm(x, dim=(-2, -1)) * (2 - round_up)
    return torch.where(error < size, error / (size - error) * round_up, torch.inf)


def _size(x: Tensor) -> Tensor:
    return torch.linalg.vector_norm(x, dim=(-2, -1))


def _congruence(diag: Tensor, lower: Tensor, G: Tensor) -> list[Tensor]:
    """Return the block diagonals ``m = 0 … bands`` of ``G M Gᵀ``: entry t of the m-th is block (t, t − m)."""
    bands = G.shape[-3]
    zero = torch.zeros_like(diag)

    def column(k: int) -> Tensor:
        return G[..., k, :, :] if 0 <= k < bands else zero

    after = pad(lower, (0, 0, 0, 0, 0, 1))  # after[j] = M[j + 1, j]
    # H = G M: H[k][t] is block (t, t − k), k = −1 … bands.
    H = {}
    for k in range(-1, bands):
        total = column(k) @ _shifted(diag, k) + column(k - 1) @ _shifted(after, k)
        H[k] = total + column(k + 1) @ _shifted(after, k + 1).mT
    H[bands] = column(bands - 1) @ _shifted(after, bands)
    result = []
    for m in range(bands + 1):
        total = zero
        for k in range(max(m, -1), bands + 1):
            if k - m < bands:  # block (t − m, t − k) of G
                total = total + H[k] @ _shifted(column(k - m), m).mT
        result.append(total)
    return result


def _shifted(blocks: Tensor, k: int) -> Tensor:
    """Return a tensor whose entry t is entry t − k of ``blocks``, zero beyond its ends."""
    steps = blocks.shape[-3]
    if abs(k) >= steps:
        return torch.zeros_like(blocks)
    return pad(blocks, (0, 0, 0, 0, k, -k))


def _dot(x: Tensor, y: Tensor) -> Tensor:
    return (x * y).sum((-2, -1))
