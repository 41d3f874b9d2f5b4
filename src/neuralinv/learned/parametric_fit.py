"""Fitting a parametric inverse: snapshots, basis, polynomials, and the cheapest rank that reaches the tolerance."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from neuralinv.dense import certified_inv, native
from neuralinv.dense.correction import HIGHEST_ORDER, order_for
from neuralinv.dense.probabilistic import Odds
from neuralinv.families import Range
from neuralinv.learned.architectures.coefficients import KINDS, Kind, draw_sketch, normal_equations
from neuralinv.learned.architectures.parametric import (
    LARGEST_FALLBACK_SHARE,
    FitReport,
    ParametricInverse,
    feature_count,
)
from neuralinv.learned.coefficient_training import train_coefficients
from neuralinv.learned.probed_fit import RANKS, fit_probed
from neuralinv.learned.uniform_fit import as_rows, certified_at_once, fit_uniform, principal_modes

_MOST_PARAMETERS = 8
_MOST_FEATURES = 1000
_HELD_OUT = 128
_HELD_OUT_SHARE = 0.2
_OVERSAMPLING = 2  # snapshots for each polynomial
_ROUNDS = 3
_RANKS = (2, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192)
_TAIL = 1e-3  # of rtol: what the polynomials that are left out may add to a residual
_MARGIN = 1.5  # between the largest residual held out and one that is yet to come
_DOUBLE = 2.0  # cost of a float64 product in float32 ones
_PASS = 20.0  # cost of one pass over a matrix, in products of the matrix with a vector
# Over a matrix: of the correction by torch and by the kernel, and of what is proved for all parameters.
_PASSES, _PASSES_NATIVE, _PASSES_PROVED = 8, 4, 7
_MOST_PARAMETERS_PROVED = 3


def fit_parametric(
    source: Callable[[Tensor], Tensor] | tuple[Tensor, Tensor],
    *,
    ranges: Mapping[str, Range] | None = None,
    rank: int | Literal["auto"] = "auto",
    rtol: float = 1e-6,
    dtype: torch.dtype | None = None,
    snapshots: int = 512,
    coefficients: Kind = "polynomial",
    certificate: Literal["deterministic", "probabilistic"] = "deterministic",
    seed: int = 0,
) -> ParametricInverse:
    """Fit ``θ → A(θ)⁻¹`` from exact inverses.

    Snapshots start as a low-discrepancy set; where the matrices are a function, rounds of fresh parameters are added
    where the residual of the last fit is worst. Of all ranks, the one is taken whose predicted cost (combination,
    float64 residual, and the products of the correction that its largest held-out residual asks for) is least.

    Parameters
    ----------
    source
        ``matrix_fn``, from parameters ``(batch, p)`` to matrices ``(batch, n, n)``, such as
        :meth:`neuralinv.families.Family.matrix_function` gives; or ``(thetas, matrices)``, of which a fifth is held
        out.
    ranges
        θ by name, in order, 1 to 8 of them; needed for a function. For arrays, by default the ranges that they span.
    rank
        Number of modes, or ``"auto"``.
    rtol
        The relative error to certify.
    dtype
        Of the matrices to invert; by default single precision of the source's kind.
    snapshots
        How many exact inverses to compute, for a function.
    coefficients
        ``"polynomial"``; ``"network"``, a small one trained on the residual, with twice the modes that polynomials
        take; or ``"projection"``, of each matrix by a sketch (:mod:`~neuralinv.learned.architectures.coefficients`).
    certificate
        ``"probabilistic"`` looks for modes enough that ``inv(…, certificate="probabilistic")`` needs no correction, and
        warns where no number of them suffices.
    seed
        Of the choice of parameters, of sketches and of networks.

    Raises
    ------
    ValueError
        If there are too few snapshots, a matrix is singular somewhere in the range, or shapes do not fit.

    Examples
    --------
    >>> import torch
    >>> from neuralinv.families import get_family
    >>> family = get_family("ridge")
    >>> A = family.matrix_function(8, generator=torch.Generator().manual_seed(0))
    >>> model = fit_parametric(A, ranges=family.ranges)
    >>> theta = torch.tensor([[0.1, 0.5]])
    >>> model.inv(A(theta).float(), theta).certified
    tensor([True])
    """
    started = time.perf_counter()
    if rank != "auto" and (not isinstance(rank, int) or rank < 1):
        raise ValueError(f"rank={rank!r}; expected 'auto' or a whole number of at least 1")
    if not 0 < rtol < 1:
        raise ValueError(f"rtol={rtol!r}; expected a number between 0 and 1, such as 1e-6")
    if coefficients not in KINDS:
        raise ValueError(f"coefficients={coefficients!r}; expected one of {', '.join(KINDS)}")
    if certificate not in ("deterministic", "probabilistic"):
        raise ValueError(f"certificate={certificate!r}; expected 'deterministic' or 'probabilistic'")
    goal = _Goal(rank, rtol, dtype, coefficients, certificate == "probabilistic", seed)
    with torch.no_grad():
        if callable(source):
            if ranges is None:
                raise ValueError(
                    "a matrix function comes with ranges={name: Range(low, high), …}, one for each parameter"
                )
            _check_count(len(ranges))
            if snapshots < 8:
                raise ValueError(f"snapshots={snapshots}; a fit to a function takes at least 8")
            draw = torch.quasirandom.SobolEngine(len(ranges), scramble=True, seed=seed)
            fresh = _sampler(source, ranges, draw)
            train, test = fresh(snapshots // 2), fresh(_HELD_OUT)
            extra = max(1, snapshots - snapshots // 2) // _ROUNDS
        else:
            ranges, train, test = _split(*source, ranges, seed)
            fresh, extra = None, 0
        model = _choose(train, test, ranges, goal, last=fresh is None)
        if fresh is not None:
            for k in range(_ROUNDS):
                candidates = fresh(3 * extra)
                worst = _residuals(model, candidates).topk(extra).indices
                train = tuple(torch.cat([old, new[worst]]) for old, new in zip(train, candidates, strict=True))
                model = _choose(train, test, ranges, goal, last=k == _ROUNDS - 1)
    theta, A, _ = test
    if goal.probabilistic and (model.report is None or model.report.order > 1):
        warnings.warn(_without_probes(test, model), stacklevel=2)
    answered = model.certified_share(A.to(model.dtype), theta, Odds() if goal.probabilistic else None)
    if answered < 1 - LARGEST_FALLBACK_SHARE:
        warnings.warn(
            f"only {100 * answered:.3g} % of the held-out matrices certify without fallback; give more snapshots, "
            "narrower ranges or a larger rtol",
            stacklevel=2,
        )
    model.report = FitReport(
        model.rank,
        model.degree,
        model.report.order if model.report else HIGHEST_ORDER,
        len(train[0]),
        len(theta),
        answered,
        float(_residuals(model, test).max()),
        time.perf_counter() - started,
    )
    return model


_Snapshots = tuple[Tensor, ...]
"""θ, A and A⁻¹, the latter two in double precision."""


def _check_count(parameters: int) -> None:
    if not 1 <= parameters <= _MOST_PARAMETERS:
        raise ValueError(f"{parameters} parameters; a parametric inverse takes 1 to {_MOST_PARAMETERS}")


def _sampler(
    function: Callable[[Tensor], Tensor], ranges: Mapping[str, Range], draw: torch.quasirandom.SobolEngine
) -> Callable[[int], _Snapshots]:
    def fresh(count: int) -> _Snapshots:
        # Chebyshev spacing: as many points near the ends as polynomials need there.
        unit = (1 - torch.cos(math.pi * draw.draw(count, dtype=torch.float64))) / 2
        theta = torch.stack([range_.at(unit[:, k]) for k, range_ in enumerate(ranges.values())], -1)
        return _with_inverses(theta, function(theta))

    return fresh


def _with_inverses(theta: Tensor, A: Tensor) -> _Snapshots:
    if A.ndim != 3 or A.shape[-1] != A.shape[-2] or len(A) != len(theta):
        raise ValueError(
            f"parameters of shape {tuple(theta.shape)} came with matrices of shape {tuple(A.shape)}; expected "
            "(batch, n, n)"
        )
    wide = A.to(torch.complex128 if A.is_complex() else torch.float64)
    result = certified_inv(wide, rtol=1e-8, on_singular="nan")
    bad = (~result.certified).nonzero().squeeze(1)
    if len(bad):
        where = ", ".join(f"{value:.6g}" for value in theta[bad[0]].tolist())
        raise ValueError(
            f"the matrix at θ = ({where}) is singular or nearly so ({len(bad)} of {len(theta)} are): narrow the ranges"
        )
    return theta, wide, result.inverse


def _split(
    theta: Tensor, A: Tensor, ranges: Mapping[str, Range] | None, seed: int
) -> tuple[Mapping[str, Range], _Snapshots, _Snapshots]:
    if theta.ndim != 2 or theta.is_complex():
        raise ValueError(f"parameters are {theta.dtype} of shape {tuple(theta.shape)}; expected real (batch, p)")
    _check_count(theta.shape[1])
    if ranges is None:
        low, high = theta.amin(0).tolist(), theta.amax(0).tolist()
        ranges = {f"theta_{k}": Range(a, b) for k, (a, b) in enumerate(zip(low, high, strict=True))}
    everything = _with_inverses(theta.double(), A)
    order = torch.randperm(len(theta), generator=torch.Generator().manual_seed(seed))
    held = max(1, int(_HELD_OUT_SHARE * len(theta)))
    return ranges, tuple(t[order[held:]] for t in everything), tuple(t[order[:held]] for t in everything)


@dataclass(frozen=True)
class _Goal:
    """What was asked for."""

    rank: int | Literal["auto"]
    rtol: float
    dtype: torch.dtype | None
    kind: Kind
    probabilistic: bool
    seed: int


def _choose(
    train: _Snapshots, test: _Snapshots, ranges: Mapping[str, Range], goal: _Goal, *, last: bool
) -> ParametricInverse:
    theta, A, X = train
    n, p = A.shape[-1], len(ranges)
    degree = 0
    while feature_count(p, degree + 1) <= min(len(theta) / _OVERSAMPLING, _MOST_FEATURES):
        degree += 1
    if degree < 1:
        needed = math.ceil(_OVERSAMPLING * feature_count(p, 1))
        raise ValueError(
            f"{len(theta)} snapshots are too few for {p} parameters; give at least {needed} besides the held-out"
        )
    dtype = (torch.complex64 if A.is_complex() else torch.float32) if goal.dtype is None else goal.dtype
    if dtype.is_complex != A.is_complex():
        raise ValueError(f"the matrices are {A.dtype} and the inverse was asked for in {dtype}")

    rtol, rows = goal.rtol, as_rows(X)
    modes = principal_modes(rows)
    # More snapshots are chosen by polynomials, whatever comes in the end.
    kind = goal.kind if last else "polynomial"
    probe = ParametricInverse(ranges, n, 1, degree, dtype=dtype, rtol=rtol)
    features = probe.features(probe.positions(theta))
    targets = rows @ modes.mT
    weight = torch.linalg.lstsq(features, targets).solution
    # Polynomials whose coefficients are noise cost time with every call.
    allowed = _TAIL * rtol / float(torch.linalg.matrix_norm(A).max())
    degree = _needed_degree(torch.linalg.vector_norm(weight, dim=1), p, degree, allowed)
    probe = ParametricInverse(ranges, n, 1, degree, dtype=dtype, rtol=rtol)
    count = feature_count(p, degree)
    features, weight = features[:, :count], weight[:count]

    def build(r: int, kind: Kind = "polynomial") -> ParametricInverse:
        model = ParametricInverse(ranges, n, r, degree, dtype=dtype, rtol=rtol, coefficients=kind)
        model.basis.copy_(modes[:r])
        if kind == "polynomial":
            model.weight.copy_(weight[:, :r])
            return model
        sketch = draw_sketch(n, r, dtype=A.dtype, seed=goal.seed)
        if model.sketch is not None:
            model.sketch.copy_(torch.view_as_real(sketch) if sketch.is_complex() else sketch)
        elif model.network is not None:
            equations = normal_equations(A, probe.as_matrices(modes[:r]) @ sketch, sketch)
            size = float(sketch.abs().square().sum())
            trained = train_coefficients(probe.positions(theta), targets[:, :r], equations, size, seed=goal.seed)
            model.network.load_state_dict(trained.state_dict())
        return model

    every = RANKS if goal.probabilistic else _RANKS
    ranks = sorted({min(r, len(modes)) for r in (every if goal.rank == "auto" else [goal.rank])})
    best, chosen, chosen_order = math.inf, build(ranks[0]), HIGHEST_ORDER
    tried: Kind = "projection" if kind == "projection" else "polynomial"
    for r in ranks:
        model = build(r, tried)
        residual = float(_residuals(model, test).max())
        order = order_for(_MARGIN * residual, rtol, n, dtype)
        # In products of two n×n matrices: combination, float64 residual, correction. Where none suffices, the best fit.
        cost = r / n + _DOUBLE + order - 1 if order is not None else 1e6 * (1 + residual)
        if cost < best:
            best, chosen, chosen_order = cost, model, HIGHEST_ORDER if order is None else order
    if kind == "network":
        # A network is less exact than polynomials: what that costs in orders is paid for in modes.
        wanted = 2 * chosen.rank if goal.rank == "auto" else chosen.rank
        chosen = build(min(wanted, len(modes)), kind)
        order = order_for(_MARGIN * float(_residuals(chosen, test).max()), rtol, n, dtype)
        chosen_order = HIGHEST_ORDER if order is None else order
    elif last and goal.probabilistic:
        found = fit_probed(lambda r: build(r, tried), test, ranks, rtol=rtol, seed=goal.seed)
        if found is not None and found[1] / n < best + _PASS * _PASSES / n:
            chosen, chosen_order = found[0], 1
    elif last and goal.rank == "auto" and kind == "polynomial" and p <= _MOST_PARAMETERS_PROVED:
        uniform = fit_uniform(
            (as_rows(A), test[1]), modes, weight, test, features, ranges, degree, dtype=dtype, rtol=rtol
        )
        if uniform is not None and uniform.uniform is not None:
            # Where deviations need products after all, the float64 residual of fewer modes was measured to be cheaper.
            cost = (uniform.rank + _DOUBLE * uniform.uniform.rank + _PASS * _PASSES_PROVED) / n
            missing = 1 - certified_at_once(uniform, test[1].to(dtype), test[0])
            passes = _PASSES_NATIVE if native.corrects(test[1].to(dtype)) else _PASSES
            if missing <= LARGEST_FALLBACK_SHARE and cost < best + _PASS * passes / n:
                chosen, chosen_order = uniform, 1
    chosen.report = FitReport(chosen.rank, degree, chosen_order, len(theta), len(test[0]), 0.0, 0.0, 0.0)
    return chosen


def _needed_degree(sizes: Tensor, parameters: int, degree: int, allowed: float) -> int:
    """Return the lowest total degree beyond which the norms of terms, ``(features,)``, add up to what is allowed."""
    beyond = sizes.flip(0).cumsum(0).flip(0)
    while degree > 1 and float(beyond[feature_count(parameters, degree - 1)]) <= allowed:
        degree -= 1
    return degree


def _without_probes(test: _Snapshots, model: ParametricInverse) -> str:
    """Say why no fit was found that needs no correction."""
    _, A, X = test
    off = torch.linalg.matrix_norm(X @ (A.to(model.dtype).to(A.dtype) - A) @ X)
    rounding = float((off / torch.linalg.matrix_norm(X)).max())
    message = "no number of modes lets random vectors certify without a correction, and the deterministic way is taken"
    if rounding * 3 > model.rtol:
        name = str(model.dtype).removeprefix("torch.")
        return f"{message}: rounding the matrices to {name} alone leaves errors of {rounding:.1e}"
    return f"{message}; give more snapshots, narrower ranges or a larger rtol"


def _residuals(model: ParametricInverse, snapshots: _Snapshots) -> Tensor:
    """``‖I − A X₀(θ)‖_F`` in double precision, shape ``(batch,)``."""
    theta, A, _ = snapshots
    X = model.propose(theta, A).to(A.dtype)
    return torch.linalg.matrix_norm(torch.eye(A.shape[-1], dtype=A.dtype) - A @ X).nan_to_num(nan=torch.inf)
