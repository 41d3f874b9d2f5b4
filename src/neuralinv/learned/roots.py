"""Inverse p-th roots of Hermitian positive definite matrices, with a proved bound of the error.

``X → A^{-1/p}`` by the coupled iteration ``X ← X h(M)``, ``M ← h(M)ᵖ M`` from ``X₀ = αI``, ``M₀ = αᵖA`` (Guo & Higham
2006, doi:10.1137/050643374, for Newton's h; Anil et al. 2020, arXiv:2002.09018, for its use in Shampoo), here with the
best polynomials for an interval of eigenvalues (:mod:`neuralinv.learned.minimax`): matrix products alone.

The proof. Let X be Hermitian positive definite and ``ρ ≥ ‖I − AXᵖ‖_F`` with ρ < 1 (any cyclic order of the factors,
such as XAX, will do). The eigenvalues of AXᵖ are those of ``X^{p/2} A X^{p/2}``, hence real, and lie in [1 − ρ, 1 + ρ],
so that ``(1 − ρ) A⁻¹ ≤ Xᵖ ≤ (1 + ρ) A⁻¹`` in the order of Hermitian matrices. Roots preserve that order (Löwner 1934,
Heinz 1951; Bhatia, *Matrix Analysis*, §V.1), and with ``Y = A^{-1/p}``

    (1 − ρ)^{1/p} Y ≤ X ≤ (1 + ρ)^{1/p} Y,    hence    ‖X − Y‖_F ≤ c ‖Y‖_F,   c = 1 − (1 − ρ)^{1/p}:

X − Y = Y^{1/2} K Y^{1/2} with ‖K‖₂ ≤ c, and ‖Y^{1/2} K Y^{1/2}‖_F ≤ ‖KY‖_F. That X is positive definite is proved, too:
a Cholesky factorisation in floating point succeeds only if λ_min(X) > −γ_{n+1} tr X / (1 − γ_{n+1}) (Higham, *Accuracy
and Stability*, Thm 10.3), while |λ_min(X)| ≥ ((1 − ρ) / ‖A‖_F)^{1/p}.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar, cast

import torch
from torch import Tensor

from neuralinv.dense._arrays import Array, as_tensor, check_square
from neuralinv.dense.certified import DEFAULT_RTOL
from neuralinv.dense.errors import linalg_error
from neuralinv.dense.result import Source, Status, name_indices
from neuralinv.dense.scaling import widen
from neuralinv.learned.architectures.schulz import evaluate_polynomial
from neuralinv.learned.minimax import Plan, cheapest_plan

ArrayT = TypeVar("ArrayT", bound=Array)

_U = torch.finfo(torch.float64).eps / 2
_TOLERANCE = 1e-3  # of the iteration in the caller's precision; correction steps square it
_MOST_CORRECTIONS = 3
_HIGHEST_ROOT = 16


@dataclass(frozen=True)
class RootResult(Generic[ArrayT]):
    """Inverse roots with a proof; every field has the batch shape of the input.

    Attributes
    ----------
    root
        Shape ``(*batch, n, n)``, dtype and kind of the input; NaN where there is none.
    error_bound
        Shape ``(*batch,)``, float64: a proved bound of ``‖A^{-1/p} − X‖_F / ‖A^{-1/p}‖_F``; infinity where nothing is
        proved.
    status, source
        Shape ``(*batch,)``, int8: a :class:`~neuralinv.Status` (``SINGULAR``: not positive definite to working
        precision) and a :class:`~neuralinv.Source` (``REFINED``: the iteration; ``FALLBACK``: an eigendecomposition).
    rtol
        The relative tolerance asked for.
    """

    root: ArrayT
    error_bound: ArrayT
    status: ArrayT
    source: ArrayT
    rtol: float


def inv_sqrt(
    A: ArrayT,
    *,
    cond: float = 1e3,
    rtol: float | None = None,
    on_singular: Literal["raise", "nan"] = "raise",
) -> RootResult[ArrayT]:
    """Return certified inverse square roots: :func:`inv_pth_root` with p = 2, certified through ``XAX − I``."""
    return inv_pth_root(A, 2, cond=cond, rtol=rtol, on_singular=on_singular)


@torch.no_grad()
def inv_pth_root(
    A: ArrayT,
    p: int,
    *,
    cond: float = 1e3,
    rtol: float | None = None,
    on_singular: Literal["raise", "nan"] = "raise",
) -> RootResult[ArrayT]:
    """Return ``A^{-1/p}`` of every matrix of a batch and prove how wrong each can be.

    Parameters
    ----------
    A
        Shape ``(*batch, n, n)``, Hermitian positive definite, NumPy array or torch tensor, float32, float64 or complex.
    p
        From 1 to 16. The rounding term of the proof grows like ``‖X‖_Fᵖ``: large p certifies little at rtol 1e-10.
    cond
        ``min(‖A‖_F, ‖A‖_∞) / λ_min`` that the iteration is made for. Matrices beyond it are answered by the fallback.
    rtol
        The relative error that certifies; by default 1e-5 for float32, 1e-10 for float64.
    on_singular
        What becomes of matrices without a root: ``"raise"`` an error that names them, or ``"nan"`` in their place.

    Raises
    ------
    numpy.linalg.LinAlgError, torch.linalg.LinAlgError
        With ``on_singular="raise"``.
    ValueError
        If a matrix is not Hermitian, or an argument is out of range.

    Notes
    -----
    For p = 2 and a condition number of 1e3, 11 matrix products in the precision of A and 5 in float64. There is no
    derivative: the result carries no graph.
    """
    tensor, restore = as_tensor(A)
    check_square(tensor, A)
    if not isinstance(p, int) or not 1 <= p <= _HIGHEST_ROOT:
        raise ValueError(f"p={p!r}; expected a whole number from 1 to {_HIGHEST_ROOT}")
    if not 1 < cond < float("inf"):
        raise ValueError(f"cond={cond!r}; expected a finite condition number above 1")
    if on_singular not in ("raise", "nan"):
        raise ValueError(f"on_singular={on_singular!r}; expected 'raise' or 'nan'")
    if rtol is None:
        rtol = DEFAULT_RTOL[tensor.dtype]
    if not isinstance(rtol, float | int) or not 0 < rtol < 1:
        raise ValueError(f"rtol={rtol!r}; expected a number between 0 and 1, such as 1e-5")

    n = tensor.shape[-1]
    flat = tensor.detach().reshape(tensor.shape[:-2].numel(), n, n)
    finite = torch.isfinite(flat).flatten(1).all(1)
    hermitian = (flat == flat.mH).flatten(1).all(1)
    if bool((finite & ~hermitian).any()):
        raise ValueError(
            f"matrices at {name_indices(finite & ~hermitian)} of the flattened batch are not exactly Hermitian; "
            "pass (A + A.mT) / 2"
        )
    identity = torch.eye(n, dtype=flat.dtype, device=flat.device)
    result = _roots(torch.where(finite[:, None, None], flat, identity), p, cond, rtol)
    nothing = (result.status == Status.SINGULAR) | ~finite
    result.root[nothing] = torch.nan
    result.error_bound[nothing] = torch.inf
    result.status[~finite] = int(Status.NONFINITE)
    if on_singular == "raise" and bool(nothing.any()):
        raise linalg_error(A)(
            f"matrices at {name_indices(nothing.reshape(tensor.shape[:-2]))} are not positive definite to working "
            "precision, or not finite. Pass on_singular='nan' to get the others."
        )

    def shaped(field: Tensor) -> ArrayT:
        return cast(ArrayT, restore(field.reshape(tensor.shape[:-2] + field.shape[1:])))

    return RootResult(
        shaped(result.root), shaped(result.error_bound), shaped(result.status), shaped(result.source), rtol
    )


def _roots(A: Tensor, p: int, cond: float, rtol: float) -> RootResult[Tensor]:
    wide = widen(A)
    work = A if A.dtype in (torch.float32, torch.complex64) else wide
    # The bound must leave room for rounding the answer to its dtype.
    room = torch.finfo(A.dtype).eps / 2
    tolerance = max(rtol - 1.001 * room, rtol / 2)
    plan = cheapest_plan(1 / cond, 1.0, _TOLERANCE, root=p, most_products=100)
    W = _hermitian_part(widen(_iterate(work, p, plan)))
    relative, P = _bound(wide, W, p)
    for _ in range(_MOST_CORRECTIONS):
        active = ((relative > tolerance) & (relative < 1)).nonzero().squeeze(1)
        if not len(active):
            break
        # Newton's step from the residual of A itself: X (I + (I − M)/p), Hermitian by averaging.
        correction = W[active] @ (torch.eye(A.shape[-1], dtype=W.dtype, device=W.device) - P[active]) / p
        better = _hermitian_part(W[active] + correction)
        bound, product = _bound(wide[active], better, p)
        improved = bound < relative[active]
        kept = active[improved]
        W[kept], relative[kept], P[kept] = better[improved], bound[improved], product[improved]
    source = torch.full((len(A),), int(Source.REFINED), dtype=torch.int8, device=A.device)
    failed = (~(relative <= tolerance)).nonzero().squeeze(1)
    if len(failed):
        L, Q = torch.linalg.eigh(wide[failed])
        exact = _hermitian_part((Q * L.clamp(min=0).pow(-1 / p)[:, None, :].to(Q.dtype)) @ Q.mH)
        bound, _ = _bound(wide[failed], exact, p)
        improved = ~(bound >= relative[failed])
        kept = failed[improved]
        W[kept], relative[kept], source[kept] = exact[improved], bound[improved], int(Source.FALLBACK)
    answer = W.to(A.dtype)
    size = torch.linalg.matrix_norm(W)
    distance = torch.linalg.matrix_norm(W - widen(answer)) / torch.where(size > 0, size, 1)
    bound = (relative + (1 + relative) * distance) * (1 + 4 * A.shape[-1] ** 2 * _U + 64 * _U)
    proved = relative < 1
    bound = torch.where(proved & torch.isfinite(bound), bound, torch.inf)
    status = torch.where(bound <= rtol, Status.CERTIFIED, torch.where(proved, Status.ILL_CONDITIONED, Status.SINGULAR))
    return RootResult(answer, bound, status.to(torch.int8), source, rtol)


def _iterate(A: Tensor, p: int, plan: Plan) -> Tensor:
    """Run the steps in the dtype of ``A``, from ``X₀ = s^{-1/p} I`` with s ≥ ‖A‖₂."""
    rows = A.abs().sum(-1).amax(-1) if A.shape[-1] else torch.linalg.matrix_norm(A)
    largest = torch.minimum(torch.linalg.matrix_norm(A), rows)
    s = torch.where(largest > 0, largest, 1)[:, None, None]
    M = A / s
    identity = torch.eye(A.shape[-1], dtype=A.dtype, device=A.device)
    X: Tensor | None = None
    for k, step in enumerate(plan.steps):
        H = evaluate_polynomial(identity - M, step.coefficients)
        X = H if X is None else X @ H
        if k + 1 < len(plan.steps):
            M = torch.linalg.matrix_power(H, p) @ M
    return cast(Tensor, X) * s.pow(-1 / p)


def _bound(A: Tensor, X: Tensor, p: int) -> tuple[Tensor, Tensor]:
    """Bound ``‖A^{-1/p} − X‖_F / ‖A^{-1/p}‖_F`` (1 or NaN: nothing is proved), and return the computed product ``A Xᵖ``
    in a cyclic order.
    """
    n = A.shape[-1]
    Z = torch.linalg.matrix_power(X, p // 2)
    P = Z @ A @ Z if p % 2 == 0 else Z @ (A @ Z) @ X if p > 1 else A @ X
    identity = torch.eye(n, dtype=A.dtype, device=A.device)
    # p products one inside the other: each costs γ_n (4n for complex ones), relative to the product of absolute values.
    k = (p + 1) * (n + 2) * (4 if A.is_complex() else 1)
    gamma = k * _U / (1 - k * _U)
    norm_A, norm_X = torch.linalg.matrix_norm(A), torch.linalg.matrix_norm(X)
    rounding = gamma * (norm_A * norm_X.pow(p) + n**0.5)
    rho = (torch.linalg.matrix_norm(identity - P) + rounding) * (1 + 4 * (n * n + 64) * _U)
    trace: Any = X.diagonal(dim1=-2, dim2=-1).real.sum(-1)
    _, info = torch.linalg.cholesky_ex(X)
    smallest = ((1 - rho).clamp(min=0) / norm_A).pow(1 / p)
    positive = (info == 0) & (2 * 4 * (n + 2) * _U * trace < smallest * (1 - 1e-10))
    c = -torch.expm1(torch.log1p(-rho.clamp(max=1)) / p) * (1 + 16 * _U)
    proved = (rho < 1) & positive if n else rho < 1
    return torch.where(proved, c, torch.ones_like(c)), P


def _hermitian_part(X: Tensor) -> Tensor:
    return (X + X.mH) / 2
