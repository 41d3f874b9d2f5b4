"""Inverse p-th roots of Hermitian positive definite matrices, with a proved bound of the error.

``X → A^{-1/p}`` by the coupled iteration ``X ← X h(M)``, ``M ← h(M)ᵖ M`` from ``X₀ = αI``, ``M₀ = αᵖA`` (Guo & Higham
2006, doi:10.1137/050643374, for Newton's h; Anil et al. 2020, arXiv:2002.09018, for its use in Shampoo), here with the
best polynomials for an interval of eigenvalues (:mod:`neuralinv.learned.minimax`): matrix products alone.

Inverse square roots are a few shifted inverses instead (:mod:`neuralinv.learned.square_roots`), which take fewer
operations. The proof of either is in :mod:`neuralinv.learned.root_certificate`.

Matrices whose norms are far from 1 are scaled by powers of two, of which the root is a power of two as well, so that no
square of a norm, and no product of powers of X, leaves the range of numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Generic, Literal, TypeVar, cast

import torch
from torch import Tensor

from neuralinv.dense._arrays import Array, as_numbers, as_tensor, check_square, is_differentiated
from neuralinv.dense.certified import DEFAULT_RTOL, check_raise_or_nan, check_rtol
from neuralinv.dense.denormals import holds_flushed_denormals
from neuralinv.dense.eager import outside_of_graphs
from neuralinv.dense.errors import TorchDtypeError, linalg_error
from neuralinv.dense.probabilistic import Odds
from neuralinv.dense.result import Source, Status, name_indices
from neuralinv.dense.scaling import normalise, scale_by_power_of_two, widen
from neuralinv.families.settings import is_whole
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
_FAR = 2.0**32  # norms above it, and below its reciprocal, are scaled


@dataclass(frozen=True)
class RootResult(Generic[ArrayT]):
    """Inverse roots with a proof; every field has the batch shape of the input.

    Attributes
    ----------
    root
        Shape ``(*batch, n, n)``, dtype and kind of the input; NaN where there is none.
    error_bound
        Shape ``(*batch,)``, float64: a bound of ``‖A^{-1/p} − X‖_F / ‖A^{-1/p}‖_F``, proved or, with random vectors,
        wrong with at most ``failure_probability``; infinity where nothing is proved.
    status, source
        Shape ``(*batch,)``, int8: a :class:`~neuralinv.Status` (``SINGULAR``: not positive definite to working
        precision) and a :class:`~neuralinv.Source` (``REFINED``: the iteration; ``FALLBACK``: an eigendecomposition).
    rtol
        The relative tolerance asked for.
    failure_probability
        With which each bound may be wrong: 0 for the deterministic certificate.
    """

    root: ArrayT
    error_bound: ArrayT
    status: ArrayT
    source: ArrayT
    rtol: float
    failure_probability: float = 0.0


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
    """Return ``A^{-1/2}`` of every matrix of a batch and prove how wrong each can be: :func:`inv_pth_root` with p = 2,
    certified through ``XAX − I``.

    Parameters
    ----------
    A
        Shape ``(*batch, n, n)``, Hermitian positive definite, NumPy array or torch tensor, float32, float64 or complex.
    cond, rtol, on_singular, certificate, failure_probability, generator
        As for :func:`inv_pth_root`.

    Returns
    -------
    RootResult
        ``root``, ``error_bound``, ``status`` and ``source``, of the same kind as ``A``.

    Raises
    ------
    numpy.linalg.LinAlgError, torch.linalg.LinAlgError, ValueError, TypeError
        As :func:`inv_pth_root` does.

    Notes
    -----
    Three or four inverses, a product and an elimination in the precision of A, and a product and a half in float64 for
    the proof.
    """
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


@outside_of_graphs
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

    Returns
    -------
    RootResult
        ``root``, ``error_bound``, ``status`` and ``source``, of the same kind as ``A``. ``root`` is differentiable for
        tensors.

    Raises
    ------
    numpy.linalg.LinAlgError, torch.linalg.LinAlgError
        With ``on_singular="raise"``, naming the matrices without a root; the type follows the kind of ``A``.
    ValueError
        If ``A`` is not a batch of square Hermitian matrices, or an argument is out of range.
    TypeError
        If ``A`` has half precision, holds no numbers, or is transformed by ``torch.func``.

    Notes
    -----
    For p = 2 three or four inverses, a product and an elimination in the precision of A, and a product and a half in
    float64 for the proof. For other p and ``cond=1e3`` 10 to 13 products in the precision of A, then one to seven in
    float64 and an elimination for each proof, and one more for each correction. Differentiable, any number of times,
    for Hermitian changes of A; a derivative takes an eigendecomposition in float64
    (:mod:`neuralinv.learned.root_gradient`).
    """
    tensor, restore = as_tensor(A)
    tensor = as_numbers(tensor, "A")
    check_square(tensor, A)
    if tensor.dtype in (torch.float16, torch.bfloat16):
        raise TorchDtypeError(f"A has dtype {tensor.dtype}; expected float32, float64, complex64 or complex128")
    if not is_whole(p, 1, _HIGHEST_ROOT):
        raise ValueError(f"p={p!r}; expected a whole number from 1 to {_HIGHEST_ROOT}")
    p = int(p)
    if not 1 < cond < float("inf"):
        raise ValueError(f"cond={cond!r}; expected a finite condition number above 1")
    check_raise_or_nan(on_singular)
    rtol = check_rtol(DEFAULT_RTOL[tensor.dtype] if rtol is None else rtol)
    if certificate not in ("deterministic", "probabilistic"):
        raise ValueError(f"certificate={certificate!r}; expected 'deterministic' or 'probabilistic'")
    odds = Odds(failure_probability, generator) if certificate == "probabilistic" else None

    n, batch = tensor.shape[-1], tensor.shape[:-2]
    flat = tensor.detach().reshape(batch.numel(), n, n).resolve_neg().resolve_conj().contiguous()
    looked = survey(flat)
    finite = torch.isfinite(looked.frobenius)
    if not bool(finite.all()):  # or the squares overflow
        finite = torch.isfinite(flat).flatten(1).all(1)
    skewed = finite & ~looked.hermitian
    if bool(skewed.any()):
        raise ValueError(f"{_subject(skewed.reshape(batch))} not exactly Hermitian; pass (A + A.mH) / 2")
    legible = finite & ~holds_flushed_denormals(flat)
    all_legible = bool(legible.all())
    if not all_legible:
        identity = torch.eye(n, dtype=flat.dtype, device=flat.device)
        flat = torch.where(legible[:, None, None], flat, identity)
        looked = survey(flat)
    result = _roots(*_near_one(flat, looked, p), p=p, cond=cond, rtol=rtol, odds=odds)
    if not all_legible:
        result.status[~legible] = torch.where(finite, Status.SINGULAR, Status.NONFINITE).to(torch.int8)[~legible]
    nothing = result.status >= Status.SINGULAR
    result.root[nothing] = torch.nan
    result.error_bound[nothing] = torch.inf
    if on_singular == "raise" and bool(nothing.any()):
        flushed = "" if torch.equal(finite, legible) else ", or with denormal entries, which this thread reads as zero"
        raise linalg_error(A)(
            f"{_subject(nothing.reshape(batch))} not positive definite to working precision, or not finite{flushed}. "
            "Pass on_singular='nan' to get the others."
        )

    root, bound = result.root.reshape(tensor.shape), result.error_bound.reshape(batch)
    status, source = result.status.reshape(batch), result.source.reshape(batch)
    probability = 0.0 if odds is None else odds.failure_probability
    if is_differentiated(tensor):
        root, restore = cast(Tensor, ImplicitRoot.apply(tensor, root, p)), lambda value: value
    found = RootResult(restore(root), restore(bound), restore(status), restore(source), rtol, probability)
    return cast(RootResult[ArrayT], found)


def _subject(where: Tensor) -> str:
    return f"matrices at {name_indices(where)} are" if where.ndim else "the matrix is"


def _near_one(A: Tensor, looked: Survey, p: int) -> tuple[Tensor, Survey, Tensor | None]:
    """Scale matrices whose norms are far from 1: ``A · 2^{−pq}`` has the root ``A^{-1/p} · 2^q``.

    Returns
    -------
    The matrices, a look at them, and q, int64 ``(batch,)``; None where nothing is scaled. What becomes zero on the way
    is at most the smallest normal number: the certificates count that.
    """
    far = ~((looked.frobenius < _FAR) & (looked.frobenius > 1 / _FAR))
    if not bool(far.any()) or not A.shape[-1]:
        return A, looked, None
    wide = widen(A)
    q = torch.where(far, normalise(wide)[1].add(p // 2).div(p, rounding_mode="floor"), 0)
    scaled = scale_by_power_of_two(wide, -p * q).to(A.dtype)
    return scaled, survey(scaled), q


@torch.no_grad()
def _roots(
    A: Tensor, looked: Survey, exponent: Tensor | None, *, p: int, cond: float, rtol: float, odds: Odds | None
) -> RootResult[Tensor]:
    """Return ``A^{-1/p} · 2^{−q}``, with the exponents q of :func:`_near_one`."""
    if not A.shape[-1]:  # nothing to be wrong
        status, source = (torch.zeros(len(A), dtype=torch.int8, device=A.device) for _ in range(2))
        return RootResult(A, status.double(), status, source, rtol)
    # A bound must leave room for rounding the answer to its dtype.
    tolerance = max(rtol - 1.001 * torch.finfo(A.dtype).eps / 2, rtol / 2)
    attempts: list[Attempt] = [partial(_iterated, p=p, cond=cond, tolerance=tolerance, odds=odds)]
    if p == 2:
        attempts = square_root_attempts(A.dtype, cond, tolerance, odds)
    attempts.append(partial(_by_eigenvalues, p=p))
    answer, bound, proved = _rounded(*attempts[0](A, looked), exponent, dtype=A.dtype)
    source = torch.full((len(A),), int(Source.REFINED), dtype=torch.int8, device=A.device)
    for attempt in attempts[1:]:
        left = (~(bound <= rtol)).nonzero().squeeze(1)
        if not len(left):
            break
        scale = None if exponent is None else exponent[left]
        X, better, known = _rounded(*attempt(A[left], looked[left]), scale, dtype=A.dtype)
        improved = ~(better >= bound[left]) | (known & ~proved[left])
        kept = left[improved]
        answer[kept], bound[kept], proved[kept] = X[improved], better[improved], known[improved]
        if attempt is attempts[-1]:
            source[kept] = int(Source.FALLBACK)
    status = torch.where(bound <= rtol, Status.CERTIFIED, torch.where(proved, Status.ILL_CONDITIONED, Status.SINGULAR))
    return RootResult(answer, bound, status.to(torch.int8), source, rtol)


def _rounded(
    X: Tensor, relative: Tensor, exponent: Tensor | None, *, dtype: torch.dtype
) -> tuple[Tensor, Tensor, Tensor]:
    """Round ``X · 2^{−q}``, where X may be wider. The bound counts that: infinite where nothing is proved, or the root
    overflows. Also tells where something is proved.
    """
    bound, proved = relative, relative < 1
    if X.dtype != dtype or exponent is not None:
        wide = widen(X)
        answer = (wide if exponent is None else scale_by_power_of_two(wide, -exponent)).to(dtype)
        back = widen(answer) if exponent is None else scale_by_power_of_two(widen(answer), exponent)
        size = torch.linalg.vector_norm(wide, dim=(-2, -1))
        distance = torch.linalg.vector_norm(wide - back, dim=(-2, -1)) / torch.where(size > 0, size, 1)
        bound = (relative + (1 + relative) * distance) * (1 + 4 * X.shape[-1] ** 2 * _U + 64 * _U)
        X = answer
    return X, torch.where(proved & torch.isfinite(bound), bound, torch.inf), proved


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
