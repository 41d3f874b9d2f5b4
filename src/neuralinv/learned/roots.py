"""Inverse p-th roots of Hermitian positive definite matrices, with a proved bound of the error.

``X → A^{-1/p}`` by the coupled iteration ``X ← X h(M)``, ``M ← h(M)ᵖ M`` from ``X₀ = αI``, ``M₀ = αᵖA`` (Guo & Higham
2006, doi:10.1137/050643374, for Newton's h; Anil et al. 2020, arXiv:2002.09018, for its use in Shampoo), here with the
best polynomials for an interval of eigenvalues (:mod:`neuralinv.learned.minimax`): matrix products alone.

Inverse square roots are a few shifted inverses instead (:mod:`neuralinv.learned.square_roots`), which take fewer
operations. The proof of either is in :mod:`neuralinv.learned.root_certificate`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Generic, Literal, TypeVar, cast

import torch
from torch import Tensor

from neuralinv.dense._arrays import Array, as_numbers, as_tensor, check_square, is_differentiated
from neuralinv.dense.certified import DEFAULT_RTOL, check_raise_or_nan, check_rtol
from neuralinv.dense.errors import TorchDtypeError, linalg_error
from neuralinv.dense.probabilistic import Odds
from neuralinv.dense.result import Source, Status, name_indices
from neuralinv.dense.scaling import widen
from neuralinv.learned.architectures.schulz import evaluate_polynomial
from neuralinv.learned.minimax import cheapest_plan
from neuralinv.learned.root_certificate import bound_error, correct_square_root, probable_error_bound
from neuralinv.learned.root_gradient import ImplicitRoot
from neuralinv.learned.shifted_inverses import Survey, survey
from neuralinv.learned.square_roots import Attempt, square_root_attempts

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
    certificate: Literal["deterministic", "probabilistic"] = "deterministic",
    failure_probability: float = 1e-10,
    generator: torch.Generator | None = None,
) -> RootResult[ArrayT]:
    """Return certified inverse square roots: :func:`inv_pth_root` with p = 2, certified through ``XAX − I``."""
    return inv_pth_root(
        A,
        2,
        cond=cond,
        rtol=rtol,
        on_singular=on_singular,
        certificate=certificate,
        failure_probability=failure_probability,
        generator=generator,
    )


def inv_pth_root(
    A: ArrayT,
    p: int,
    *,
    cond: float = 1e3,
    rtol: float | None = None,
    on_singular: Literal["raise", "nan"] = "raise",
    certificate: Literal["deterministic", "probabilistic"] = "deterministic",
    failure_probability: float = 1e-10,
    generator: torch.Generator | None = None,
) -> RootResult[ArrayT]:
    """Return ``A^{-1/p}`` of every matrix of a batch and prove how wrong each can be.

    Parameters
    ----------
    A
        Shape ``(*batch, n, n)``, Hermitian positive definite, NumPy array or torch tensor, float32, float64 or complex.
    p
        From 1 to 16. The rounding term of the proof grows like ``‖X‖_Fᵖ``: large p certifies little at rtol 1e-10.
    cond
        ``min(‖A‖_F, ‖A‖_∞) / λ_min`` that the iteration is made for. For p = 2, what this does not certify is tried
        once more, in float64 and for 16 times ``cond``; the fallback answers the rest.
    rtol
        The relative error that certifies; by default 1e-5 for float32, 1e-10 for float64.
    on_singular
        What becomes of matrices without a root: ``"raise"`` an error that names them, or ``"nan"`` in their place.
    certificate, failure_probability, generator
        ``"probabilistic"`` looks at the residual through a few random vectors, in O(n²) operations: its bound is wrong
        with at most this probability, for each matrix of its own. What it cannot certify takes the deterministic way.
        Without a generator (of the device of ``A``) the seed is fresh.

    Raises
    ------
    numpy.linalg.LinAlgError, torch.linalg.LinAlgError
        With ``on_singular="raise"``.
    ValueError
        If a matrix is not Hermitian, or an argument is out of range.
    TypeError
        If ``A`` has half precision.

    Notes
    -----
    For p = 2 three or four inverses, a product and an elimination in the precision of A, and a product and a half in
    float64 for the proof. Differentiable, any number of times, for Hermitian changes of A; a derivative takes an
    eigendecomposition in float64 (:mod:`neuralinv.learned.root_gradient`).
    """
    tensor, restore = as_tensor(A)
    tensor = as_numbers(tensor, "A")
    check_square(tensor, A)
    if tensor.dtype in (torch.float16, torch.bfloat16):
        raise TorchDtypeError(f"A has dtype {tensor.dtype}; expected float32, float64, complex64 or complex128")
    if not isinstance(p, int) or not 1 <= p <= _HIGHEST_ROOT:
        raise ValueError(f"p={p!r}; expected a whole number from 1 to {_HIGHEST_ROOT}")
    if not 1 < cond < float("inf"):
        raise ValueError(f"cond={cond!r}; expected a finite condition number above 1")
    check_raise_or_nan(on_singular)
    if rtol is None:
        rtol = DEFAULT_RTOL[tensor.dtype]
    check_rtol(rtol)
    if certificate not in ("deterministic", "probabilistic"):
        raise ValueError(f"certificate={certificate!r}; expected 'deterministic' or 'probabilistic'")
    odds = Odds(failure_probability, generator) if certificate == "probabilistic" else None

    n = tensor.shape[-1]
    flat = tensor.detach().reshape(tensor.shape[:-2].numel(), n, n).resolve_neg().resolve_conj().contiguous()
    looked = survey(flat)
    finite = torch.isfinite(looked.frobenius)
    if not bool(finite.all()):  # or the squares overflow
        finite = torch.isfinite(flat).flatten(1).all(1)
    if bool((finite & ~looked.hermitian).any()):
        raise ValueError(
            f"matrices at {name_indices(finite & ~looked.hermitian)} of the flattened batch are not exactly Hermitian; "
            "pass (A + A.mT) / 2"
        )
    if not bool(finite.all()):
        identity = torch.eye(n, dtype=flat.dtype, device=flat.device)
        flat = torch.where(finite[:, None, None], flat, identity)
        looked = survey(flat)
    result = _roots(flat, looked, p, cond, rtol, odds)
    nothing = (result.status == Status.SINGULAR) | ~finite
    result.root[nothing] = torch.nan
    result.error_bound[nothing] = torch.inf
    result.status[~finite] = int(Status.NONFINITE)
    if on_singular == "raise" and bool(nothing.any()):
        raise linalg_error(A)(
            f"matrices at {name_indices(nothing.reshape(tensor.shape[:-2]))} are not positive definite to working "
            "precision, or not finite. Pass on_singular='nan' to get the others."
        )

    batch = tensor.shape[:-2]
    root, bound = result.root.reshape(tensor.shape), result.error_bound.reshape(batch)
    status, source = result.status.reshape(batch), result.source.reshape(batch)
    if is_differentiated(tensor):
        differentiable = ImplicitRoot.apply(tensor, root, p)
        return cast(RootResult[ArrayT], RootResult(differentiable, bound, status, source, rtol))
    return cast(RootResult[ArrayT], RootResult(restore(root), restore(bound), restore(status), restore(source), rtol))


@torch.no_grad()
def _roots(A: Tensor, looked: Survey, p: int, cond: float, rtol: float, odds: Odds | None) -> RootResult[Tensor]:
    # A bound must leave room for rounding the answer to its dtype.
    tolerance = max(rtol - 1.001 * torch.finfo(A.dtype).eps / 2, rtol / 2)
    attempts: list[Attempt] = [partial(_iterated, p=p, cond=cond, tolerance=tolerance, odds=odds)]
    if p == 2:
        attempts = square_root_attempts(A.dtype, cond, tolerance, odds)
    attempts.append(partial(_by_eigenvalues, p=p))
    answer, bound = _rounded(*attempts[0](A, looked), dtype=A.dtype)
    source = torch.full((len(A),), int(Source.REFINED), dtype=torch.int8, device=A.device)
    for attempt in attempts[1:]:
        left = (~(bound <= rtol)).nonzero().squeeze(1)
        if not len(left):
            break
        X, better = _rounded(*attempt(A[left], looked[left]), dtype=A.dtype)
        improved = ~(better >= bound[left])
        kept = left[improved]
        answer[kept], bound[kept] = X[improved], better[improved]
        if attempt is attempts[-1]:
            source[kept] = int(Source.FALLBACK)
    proved = torch.isfinite(bound)
    status = torch.where(bound <= rtol, Status.CERTIFIED, torch.where(proved, Status.ILL_CONDITIONED, Status.SINGULAR))
    return RootResult(answer, bound, status.to(torch.int8), source, rtol)


def _rounded(X: Tensor, relative: Tensor, *, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Round X, which may be wider; the bound counts it, and is infinite where nothing is proved."""
    bound = relative
    if X.dtype != dtype:
        answer = X.to(dtype)
        size = torch.linalg.vector_norm(X, dim=(-2, -1))
        distance = torch.linalg.vector_norm(X - answer, dim=(-2, -1)) / torch.where(size > 0, size, 1)
        bound = (relative + (1 + relative) * distance) * (1 + 4 * X.shape[-1] ** 2 * _U + 64 * _U)
        X = answer
    return X, torch.where((relative < 1) & torch.isfinite(bound), bound, torch.inf)


def _iterated(
    A: Tensor, looked: Survey, *, p: int, cond: float, tolerance: float, odds: Odds | None
) -> tuple[Tensor, Tensor]:
    """Approximate roots by products in the precision of A, and bound the errors."""
    wide, W = widen(A), widen(_iterate(A, looked.norm, p, cond))
    if odds is None:
        return _corrected(wide, W, p, tolerance)
    bound = probable_error_bound(wide, W, p, odds)
    left = (~(bound <= tolerance)).nonzero().squeeze(1)
    if len(left):
        W[left], bound[left] = _corrected(wide[left], W[left], p, tolerance)
    return W, bound


def _corrected(A: Tensor, W: Tensor, p: int, tolerance: float) -> tuple[Tensor, Tensor]:
    """Bound the error of W, and correct it where that helps."""
    relative, R = bound_error(A, W, p)
    for _ in range(_MOST_CORRECTIONS):
        active = ((relative > tolerance) & (relative < 1)).nonzero().squeeze(1)
        if not len(active):
            break
        # Newton's step from the residual of A itself: X (I + R/p), Hermitian by averaging.
        better = _hermitian_part(W[active] + W[active] @ R[active] / p)
        bound, residual = bound_error(A[active], better, p)
        improved = bound < relative[active]
        kept = active[improved]
        W[kept], relative[kept], R[kept] = better[improved], bound[improved], residual[improved]
    return W, relative


def _by_eigenvalues(A: Tensor, looked: Survey, *, p: int) -> tuple[Tensor, Tensor]:
    del looked
    A = widen(A)
    L, Q = torch.linalg.eigh(A)
    X = _hermitian_part((Q * L.clamp(min=0).pow(-1 / p)[:, None, :].to(Q.dtype)) @ Q.mH).contiguous()
    if p == 2:
        return correct_square_root(A, X)
    return X, bound_error(A, X, p)[0]


def _iterate(A: Tensor, norm: Tensor, p: int, cond: float) -> Tensor:
    """Return Hermitian approximations in the dtype of ``A``, from X₀ = s^{-1/p} I with s ≥ ‖A‖₂."""
    plan = cheapest_plan(1 / cond, 1.0, _TOLERANCE, root=p, most_products=100)
    s = torch.where(norm > 0, norm, 1).to(A.dtype.to_real())[:, None, None]
    M = A / s
    identity = torch.eye(A.shape[-1], dtype=A.dtype, device=A.device)
    X: Tensor | None = None
    for k, step in enumerate(plan.steps):
        H = evaluate_polynomial(identity - M, step.coefficients)
        X = H if X is None else X @ H
        if k + 1 < len(plan.steps):
            M = torch.linalg.matrix_power(H, p) @ M
    return _hermitian_part(cast(Tensor, X) * s.pow(-1 / p))


def _hermitian_part(X: Tensor) -> Tensor:
    return (X + X.mH) / 2
