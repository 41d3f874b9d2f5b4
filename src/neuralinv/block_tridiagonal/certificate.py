"""Solutions with a proved bound of their error.

Let ``w`` be a float64 solution of ``M x = b`` (the witness), ``r = b − M w``, and ``0 < λ ≤ λ_min(M)``. Then
``‖x − w‖ ≤ ‖r‖ / λ``, and the answer ``x̂``, which is ``w`` rounded to the caller's dtype, has

    ‖x − x̂‖ ≤ e := ‖w − x̂‖ + ‖r‖ / λ        ‖x − x̂‖ / ‖x‖ ≤ e / (‖x̂‖ − e),

since ``‖x‖ ≥ ‖x̂‖ − e``. Norms are Euclidean, over all entries and right-hand sides of a sequence.

**λ.** Any real ``F`` proves something: ``F Fᵀ`` is positive semidefinite, so with ``E = F Fᵀ − (M − σ I)``

    λ_min(M) ≥ σ − ‖E‖₂ ≥ σ − ‖E‖_∞.

For ``F`` a computed Cholesky factor of ``M − σ I``, ``E`` is of the size of rounding errors. That is Rump's
verification of positive definiteness (BIT 46, 2006, https://doi.org/10.1007/s10543-006-0056-1), with ``E`` bounded from
``F`` itself instead of from an analysis of the factorisation: it holds for whatever method computed ``F``.

A diagonal with jitter added is rounded: what that leaves out, a diagonal matrix that is known exactly, is applied to
the witness, and its largest entry taken from λ.

**Denormals** of a matrix that the processor was told to read as zero make another matrix of it: nothing is proved. Of a
right-hand side they are errors of known size.

**Rounding.** A sum of k products has |computed − exact| ≤ γ_k Σ|terms| in any order, γ_k = k u / (1 − k u) (Higham,
*Accuracy and Stability of Numerical Algorithms*, 2nd ed., §3.1). Matrices are scaled by powers of two to entries near
1; what underflow then loses is covered by a term of its own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn.functional import pad

from neuralinv.block_tridiagonal import dispatch
from neuralinv.block_tridiagonal._blocks import tridiagonal_product
from neuralinv.block_tridiagonal.dispatch import Method
from neuralinv.dense.denormals import holds_flushed_denormals
from neuralinv.dense.hermitian import from_lower
from neuralinv.dense.result import Status

RTOL = {torch.float32: 1e-5, torch.float64: 1e-10}
"""Default tolerances."""

_U = torch.finfo(torch.float64).eps / 2
_TINY = torch.finfo(torch.float64).tiny
# Shifts tried, as fractions of the estimated smallest eigenvalue: the estimate is from above, and rounding has a share.
_FRACTIONS = (0.7, 0.25, 0.05)


@dataclass(frozen=True)
class CertifiedSolution:
    """A solution with a proof.

    Attributes
    ----------
    solution
        Shaped like the right-hand side; NaN where the status is SINGULAR or NONFINITE.
    error_bound
        ``‖x − x̂‖ / ‖x‖`` is at most this, for the exact solution x of the system as stored; ``(*batch,)``, float64.
    status
        :class:`neuralinv.Status` for each sequence, shape ``(*batch,)``: CERTIFIED (the bound is at most rtol),
        ILL_CONDITIONED (positive definite, the bound holds and exceeds rtol), SINGULAR (positive definiteness could not
        be proved, or denormal entries of the matrix are read as zero), NONFINITE (NaN or infinity in the input).
    rtol
        The tolerance.
    """

    solution: Any
    error_bound: Any
    status: Any
    rtol: float


@torch.no_grad()
def certified_solve(
    D: Tensor, B: Tensor, b: Tensor, method: Method, rtol: float, *, jitter: float | Tensor = 0.0
) -> tuple[Tensor, Tensor, Tensor]:
    """Solve ``(M + jitter I) x = b`` for ``D (*batch, T, n, n)``, ``B (*batch, T − 1, n, n)``, ``b (*batch, T, n, k)``.

    Returns
    -------
    Solution (dtype of ``b``), bound and status of :class:`CertifiedSolution`.
    """
    dtype, n = b.dtype, D.shape[-1]
    legible = ~(flushed(D.tril()) | flushed(B) | _reads_as_zero(jitter, D))
    unread = flushed(b).double() * (math.sqrt(math.prod(b.shape[-3:])) * torch.finfo(dtype).tiny)
    D, B, b, jitter = from_lower(D.double()), B.double(), b.double(), float(jitter)
    finite = _all(torch.isfinite(D)) & _all(torch.isfinite(B)) & _all(torch.isfinite(b)) & math.isfinite(jitter)
    D, B, b = (x.masked_fill(~_wide(finite), 0) for x in (D, B, b))
    jitter = jitter if math.isfinite(jitter) else 0.0
    zero = _all(b == 0) & (unread == 0)
    scale_M, scale_b = _power_of_two(_largest(D).clamp(min=abs(jitter))), _power_of_two(_largest(b))
    D, left_out = _shifted(D * _wide(scale_M), jitter * scale_M)
    B, b, unread = B * _wide(scale_M), b * _wide(scale_b), unread * scale_b
    implementation = dispatch.implementation(method, D)
    identity = torch.eye(n, dtype=D.dtype, device=D.device)

    L, C, info = implementation.factor(D, B, check=False)
    factored = finite & legible & (cast(Tensor, info) == 0)
    # Whatever could not be factored goes on as the identity, and is marked in the end.
    L, C = torch.where(_wide(factored), L, identity), C.masked_fill(~_wide(factored), 0)

    def solve(rhs: Tensor) -> Tensor:
        y = implementation.solve(L, C, rhs, transposed=False)
        return implementation.solve(L, C, y, transposed=True)

    witness = solve(b)
    witness = witness + solve(b - tridiagonal_product(D, B, witness))
    residual = _norm(b - tridiagonal_product(D, B, witness))
    terms = b.abs() + tridiagonal_product(D.abs(), B.abs(), witness.abs())
    rounding = gamma(3 * n + 2) * _norm(terms) + _lost(b, n) + unread
    rounding = rounding + _norm(left_out[..., None] * witness)
    lower = torch.where(factored, _smallest_eigenvalue(D, B, solve, implementation), 0) - left_out.amax((-2, -1))

    back = _wide(scale_M / scale_b)  # powers of two
    solution = (witness * back).to(dtype)
    distance = _norm(solution.double() / back - witness)
    size = _norm(solution.double() / back)
    error = (distance + (residual + rounding) / lower) * _round_up(b)
    bound = error / (size * (2 - _round_up(b)) - error) * _round_up(b)
    bound = torch.where((lower > 0) & (error < size) & (bound >= 0), bound, torch.inf)
    bound = torch.where((lower > 0) & zero, 0.0, bound)  # x = 0, and so is the witness
    status = torch.where(bound <= rtol, int(Status.CERTIFIED), int(Status.ILL_CONDITIONED))
    status = torch.where(lower > 0, status, int(Status.SINGULAR))
    status = torch.where(finite, status, int(Status.NONFINITE)).to(torch.int8)
    usable = (status == Status.CERTIFIED) | (status == Status.ILL_CONDITIONED)
    return solution.masked_fill(~_wide(usable), torch.nan), bound, status


def flushed(x: Tensor) -> Tensor:
    """Tell in which sequences of ``(*batch, steps, n, k)`` denormals are read as zero, shape ``(*batch,)``."""
    batch = x.shape[:-3]
    return holds_flushed_denormals(x.reshape(batch.numel(), *x.shape[-3:])).reshape(batch)


def _reads_as_zero(jitter: float | Tensor, like: Tensor) -> Tensor:
    if not isinstance(jitter, Tensor) or not jitter.is_floating_point():
        jitter = torch.tensor(float(jitter), dtype=torch.float64)
    return holds_flushed_denormals(jitter.detach().reshape(1, 1))[0].to(like.device)


def _shifted(D: Tensor, jitter: Tensor) -> tuple[Tensor, Tensor]:
    """Add ``jitter (*batch,)`` to the diagonals of scaled ``D``. Also return what that left out, ``(*batch, T, n)``."""
    diagonal, jitter = D.diagonal(dim1=-2, dim2=-1), jitter[..., None, None]
    shifted = diagonal + jitter
    added = shifted - diagonal  # Knuth's sum without error, but for underflow
    left_out = (diagonal - (shifted - added)) + (jitter - added)
    D = D.clone()
    D.diagonal(dim1=-2, dim2=-1).copy_(shifted)
    return D, left_out.abs() + 8 * _TINY * (jitter != 0)


def _smallest_eigenvalue(D: Tensor, B: Tensor, solve: Any, implementation: dispatch.Implementation) -> Tensor:
    """Prove a lower bound of the smallest eigenvalue, shape ``(*batch,)``; not positive where none could be proved."""
    generator = torch.Generator().manual_seed(0)
    v = torch.randn(*D.shape[:-1], 1, generator=generator, dtype=D.dtype).to(D.device)
    for _ in range(4):  # inverse iteration: ‖M⁻¹ v‖ / ‖v‖ grows towards 1 / λ_min
        v = v / _wide(_norm(v))
        v = solve(v)
    estimate = torch.nan_to_num(1 / _norm(v), nan=0.0, posinf=0.0)
    lower = torch.zeros_like(estimate)
    for fraction in _FRACTIONS:
        shift = fraction * estimate
        proved = shift - _factorisation_error(D, B, shift, implementation)
        lower = torch.where((lower <= 0) & (proved > 0), proved * (1 - 4 * _U), lower)
        if bool((lower > 0).all()):
            break
    return lower


def _factorisation_error(D: Tensor, B: Tensor, shift: Tensor, implementation: dispatch.Implementation) -> Tensor:
    """Bound ``‖F Fᵀ − (M − σ I)‖_∞`` for a computed factor, shape ``(*batch,)``; NaN where there is none."""
    n = D.shape[-1]
    sigma = _wide(shift) * torch.eye(n, dtype=D.dtype, device=D.device)
    L, C, _ = implementation.factor(D - sigma, B, check=False)

    def after(x: Tensor) -> Tensor:
        return pad(x, (0, 0, 0, 0, 1, 0))

    diagonal = (L @ L.mT + after(C @ C.mT) - D + sigma).abs()
    below = (C @ L[..., :-1, :, :].mT - B).abs()
    L, C, k = L.abs(), C.abs(), gamma(2 * n + 4)
    diagonal = diagonal + k * (L @ L.mT + after(C @ C.mT) + D.abs() + sigma)
    below = below + k * (C @ L[..., :-1, :, :].mT + B.abs())
    rows = diagonal.sum(-1) + pad(below.sum(-1), (0, 0, 1, 0)) + pad(below.sum(-2), (0, 0, 0, 1))
    return rows.amax((-2, -1)) * (1 + 8 * (n + 8) * _U) + 8 * n * n * _TINY


def _largest(x: Tensor) -> Tensor:
    return x.abs().amax((-3, -2, -1)) if x.shape[-1] else x.new_zeros(x.shape[:-3])


def _power_of_two(largest: Tensor) -> Tensor:
    """Return the normal power of two that brings such entries to [½, 1], or next to it; 1 for zeros."""
    _, exponent = torch.frexp(largest)
    return torch.where(largest > 0, torch.ldexp(torch.ones_like(largest), -exponent.clamp(-1022, 1022)), 1.0)


def _lost(b: Tensor, n: int) -> float:
    """What underflow may take from a residual."""
    return 8.0 * n * b.shape[-3] * n * b.shape[-1] * _TINY


def _round_up(b: Tensor) -> float:
    # Norms are sums of T n k squares, of relative error γ of that; the handful of operations around them add a few u.
    return 1 + 2 * (b.shape[-3] * b.shape[-2] * b.shape[-1] + 64) * _U


def gamma(k: int) -> float:
    """Return ``γ_k`` of double precision."""
    return k * _U / (1 - k * _U)


def _norm(x: Tensor) -> Tensor:
    return torch.linalg.vector_norm(x, dim=(-3, -2, -1))


def _all(x: Tensor) -> Tensor:
    return x.flatten(-3).all(-1)


def _wide(x: Tensor) -> Tensor:
    return x[..., None, None, None]
