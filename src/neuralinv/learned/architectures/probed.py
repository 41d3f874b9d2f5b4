"""A certificate of parametric inverses that takes O(k n²) operations, and fails with a probability that the caller
chooses.

``X̂ = Σ_r c_r B_r`` meets k random vectors through ``X̂ω = Σ_r c_r (B_r ω)``: the images ``B_r ω`` are formed once for a
batch, so that neither X̂ in double precision nor a product of matrices is needed, and A is read once, for ``A (X̂ω)`` in
float64 (complex128). With ``ρ ≥ ‖I − AX̂‖₂`` from the largest ``‖ω − A X̂ω‖₂`` (:mod:`neuralinv.dense.probabilistic`),

    ‖A⁻¹ − X‖_F / ‖A⁻¹‖_F ≤ ρ + (1 + ρ) ‖X − X̂‖_F / ‖X̂‖_F,

where X is what is returned, X̂ combined in working precision (:mod:`neuralinv.learned.architectures.combination`). The
vectors are drawn after A, θ and the model exist, so that X̂ cannot depend on them.

Rounding adds at most ``(γ_n + γ_{n+r+2}) ‖A‖_F Σ_r |c_r| ‖B_r‖_F ‖ω‖₂`` to each norm. In float32 it would be larger
than the residual of any inverse worth certifying: hence float64.
"""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch import Tensor

from neuralinv.dense.correction import CHUNK_ELEMENTS, SAFE_NORM, Workspace, gamma
from neuralinv.dense.probabilistic import Odds, draw_probes, overestimate
from neuralinv.learned.architectures.combination import Combination, as_matrices

MOST_OVERESTIMATED = 20.0
"""By a factor: fewer vectors for a residual that has to be smaller; 8 of them for a probability of 1e-10."""

_U64 = torch.finfo(torch.float64).eps / 2
_LARGEST_ROUNDING = 0.1
_TINY = torch.finfo(torch.float32).tiny


class Modes(Protocol):
    """What random vectors need of a parametric inverse."""

    size: int
    basis: Tensor
    most_overestimated: float

    @property
    def combination(self) -> Combination: ...

    def coefficients(self, unit: Tensor, A: Tensor | None = None, features: Tensor | None = None, /) -> Tensor: ...


@torch.no_grad()
def certify_with_probes(
    model: Modes,
    A: Tensor,
    unit: Tensor,
    odds: Odds,
    work: Workspace,
    features: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Propose inverses of ``A``, ``(batch, n, n)``, at positions ``unit``, ``(batch, p)``, NaN where there is no
    proposal; return them, and bounds of their relative errors, float64 ``(batch,)``, infinity where nothing is proved.

    Notes
    -----
    ``2 n² (r + 4k)`` operations for each matrix, those with the k vectors in float64, and ``2 k r n²`` once.
    """
    combination, n = model.combination, model.size
    c = model.coefficients(unit, A, features)
    X = torch.empty_like(A, memory_format=torch.contiguous_format)
    flat = torch.view_as_real(X).flatten(1) if X.is_complex() else X.flatten(1)
    combination.combine(model.basis, c.to(model.basis.dtype), flat)

    wanted = odds.failure_probability
    wide = torch.complex128 if A.is_complex() else torch.float64
    probes = draw_probes(A.new_empty(0, n, n, dtype=wide), wanted, odds.generator, most=model.most_overestimated)
    k = probes.shape[1]
    images = as_matrices(combination.terms, n, is_complex=A.is_complex()) @ probes
    rows = torch.view_as_real(images).flatten(1) if images.is_complex() else images.flatten(1)
    P = c @ rows
    P = (torch.view_as_complex(P.view(-1, n, k, 2)) if images.is_complex() else P.view(-1, n, k)).contiguous()

    norm_A = _norms(A)
    D = torch.empty_like(P)
    step = max(1, CHUNK_ELEMENTS // n**2)
    for start in range(0, len(A), step):
        part = slice(start, start + step)
        precise = A[part] if A.dtype == wide else work.take("A", A[part], wide).copy_(A[part])
        torch.bmm(precise, P[part], out=D[part])
    found = torch.linalg.vector_norm(D.sub_(probes), dim=-2)  # (batch, k)

    terms_X = c.abs() @ combination.sizes
    relative = gamma(n, _U64, A.dtype) + gamma(n + c.shape[1] + 2, _U64, A.dtype)
    # Entries that underflow, or that the processor reads as zero, are too small to matter beside n · tiny.
    slack = 1.01 * relative * norm_A * terms_X + n * _TINY * terms_X + 4 * _U64
    sizes = torch.linalg.vector_norm(probes, dim=0)
    largest = (found + slack[:, None] * sizes).amax(-1)
    factor = overestimate(wanted, k, is_complex=A.is_complex())
    rho = factor * largest * (1 + 8 * (n + 64) * _U64)

    least = combination.least_norm(c)
    bound = (rho + (1 + rho) * combination.rounding(c) / least) * (1 + 64 * _U64)
    # Norms so extreme that something could under- or overflow prove nothing.
    limit = SAFE_NORM[A.dtype.to_real()]
    safe = (rho < 1) & (least > 1 / limit) & (terms_X < limit) & torch.isfinite(bound)
    return X, torch.where(safe, bound, math.inf)


def _norms(A: Tensor) -> Tensor:
    """Bound ``‖A‖_F`` from above, within a few per cent, by inner products: torch's norm takes ten times longer."""
    rows = (torch.view_as_real(A) if A.is_complex() else A).reshape(len(A), 1, -1)
    u = torch.finfo(rows.dtype).eps / 2
    rounding = gamma(rows.shape[-1] + 2, u, torch.float64)
    if rounding > _LARGEST_ROUNDING:
        return torch.linalg.vector_norm(A, dim=(-2, -1), dtype=torch.promote_types(A.dtype, torch.float64)) * (1 + 1e-9)
    squares = torch.bmm(rows, rows.mT).flatten().double()
    # What underflows, squared or not, is below the smallest normal number.
    return ((squares + rows.shape[-1] * torch.finfo(rows.dtype).tiny) / (1 - rounding)).sqrt() * (1 + 1e-9)
