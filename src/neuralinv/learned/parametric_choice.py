"""The cheapest parametric inverse for the snapshots of one box: modes, polynomials, rank and kind of certificate."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from neuralinv.dense import native
from neuralinv.dense.correction import order_for
from neuralinv.dense.hermitian import hermitian_part
from neuralinv.families import Range
from neuralinv.learned import parametric_cost
from neuralinv.learned.architectures.coefficients import Kind, draw_sketch, normal_equations
from neuralinv.learned.architectures.combination import as_matrices, as_rows
from neuralinv.learned.architectures.parametric import ParametricInverse, feature_count
from neuralinv.learned.coefficient_training import train_coefficients
from neuralinv.learned.probed_fit import RANKS, fit_probed, probes_of
from neuralinv.learned.snapshots import Snapshots
from neuralinv.learned.uniform_fit import certified_at_once, covered, fit_uniform, principal_modes

_MOST_FEATURES = 1000
_OVERSAMPLING = 2  # snapshots for each polynomial
_RANKS = (2, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192)
_TAIL = 1e-3  # of rtol: what the polynomials that are left out may add to a residual
_GROWTH = 1.1  # of the largest residual, for polynomials that are left out
_MARGIN = 1.5  # between a residual held out and one that is yet to come
_MOST_PARAMETERS_PROVED = 3


@dataclass(frozen=True)
class Goal:
    """What was asked for."""

    rank: int | Literal["auto"]
    rtol: float
    dtype: torch.dtype | None
    kind: Kind
    probabilistic: bool
    seed: int

    def working_dtype(self, A: Tensor) -> torch.dtype:
        """Return the dtype of the matrices to invert.

        Raises
        ------
        ValueError
            If it is real where the snapshots are complex, or the other way round.
        """
        dtype = (torch.complex64 if A.is_complex() else torch.float32) if self.dtype is None else self.dtype
        if dtype.is_complex != A.is_complex():
            raise ValueError(f"the matrices are {A.dtype} and the inverse was asked for in {dtype}")
        return dtype


@dataclass(frozen=True)
class Chosen:
    """An inverse, and what it is predicted to cost: for each of its matrices, and for each matrix of a batch however
    many are its own; and how fast the inverses vary along each parameter.
    """

    model: ParametricInverse
    cost: float
    overhead: float
    variation: tuple[float, ...]


def fewest_snapshots(parameters: int, degree: int = 1) -> int:
    """Return how many snapshots polynomials of this degree take."""
    return math.ceil(_OVERSAMPLING * feature_count(parameters, degree))


def choose(train: Snapshots, test: Snapshots, ranges: Mapping[str, Range], goal: Goal, *, last: bool = True) -> Chosen:
    """Return the cheapest inverse; before the ``last`` time one whose residuals show where snapshots are missing.

    Raises
    ------
    ValueError
        If there are too few snapshots, or the dtype asked for does not fit.
    """
    A, n, p = train.A, train.A.shape[-1], len(ranges)
    degree = 0
    while fewest_snapshots(p, degree + 1) <= min(len(train), _OVERSAMPLING * _MOST_FEATURES):
        degree += 1
    if degree < 1:
        raise ValueError(
            f"{len(train)} snapshots are too few for {p} parameters; give at least {fewest_snapshots(p)} besides the "
            "held-out"
        )
    dtype, rtol, rows = goal.working_dtype(A), goal.rtol, as_rows(train.X)
    modes = principal_modes(rows)
    hermitian = torch.equal(train.X, train.X.mH)
    if hermitian:  # to the last bit, as their combinations are then: see snapshots.py
        modes = as_rows(hermitian_part(as_matrices(modes.contiguous(), n, is_complex=A.is_complex())))
    # More snapshots are chosen by polynomials, whatever comes in the end.
    kind = goal.kind if last else "polynomial"
    probe = ParametricInverse(ranges, n, 1, degree, dtype=dtype, rtol=rtol)
    features = probe.features(probe.positions(train.theta))
    targets = rows @ modes.mT
    weight = torch.linalg.lstsq(features, targets).solution
    # Polynomials whose coefficients are noise cost time with every call.
    allowed = _TAIL * rtol / float(torch.linalg.matrix_norm(A).max())
    degree = _needed_degree(torch.linalg.vector_norm(weight, dim=1), p, degree, allowed)
    probe = ParametricInverse(ranges, n, 1, degree, dtype=dtype, rtol=rtol)
    count = feature_count(p, degree)
    features, weight = features[:, :count], weight[:count]

    def build(r: int, kind: Kind = "polynomial", *, degree: int = degree, probed: bool = False) -> ParametricInverse:
        model = ParametricInverse(ranges, n, r, degree, dtype=dtype, rtol=rtol, coefficients=kind, probed=probed)
        model.basis.copy_(modes[:r])
        if kind == "polynomial":
            model.weight.copy_(weight[: len(model.weight), :r])
            return model
        sketch = draw_sketch(n, r, dtype=A.dtype, seed=goal.seed)
        if model.sketch is not None:
            model.sketch.copy_(torch.view_as_real(sketch) if sketch.is_complex() else sketch)
        elif model.network is not None:
            equations = normal_equations(A, probe.as_matrices(modes[:r]) @ sketch, sketch)
            total = float(sketch.abs().square().sum())
            trained = train_coefficients(probe.positions(train.theta), targets[:, :r], equations, total, seed=goal.seed)
            model.network.load_state_dict(trained.state_dict())
        return model

    narrow = test.A.to(dtype)
    # The residuals that are met are those of matrices in working precision.
    seen = Snapshots(test.theta, narrow.to(A.dtype), test.X)
    by_kernel = native.corrects(narrow)
    size = parametric_cost.work_size(n, dtype)

    def cost_of(model: ParametricInverse) -> float:
        found, off = (norms.tolist() for norms in misfits(model, seen))
        orders = [order_for(_MARGIN * r, _MARGIN * d, rtol, n, dtype) for r, d in zip(found, off, strict=True)]
        # Where no order suffices, the best fit is wanted.
        hopeless = sum(min(r, 1.0) for r, order in zip(found, orders, strict=True) if order is None)
        cost = parametric_cost.corrected(model.rank, size, orders, native=by_kernel, hermitian=hermitian)
        return cost + 100 * hopeless / len(found)

    every = RANKS if goal.probabilistic else _RANKS
    ranks = sorted({min(r, len(modes)) for r in (every if goal.rank == "auto" else [goal.rank])})
    tried: Kind = "projection" if kind == "projection" else "polynomial"
    chosen, cost = build(ranks[0], tried), math.inf
    for r in ranks:
        if parametric_cost.least(r, size) >= cost:
            break
        model = build(r, tried)
        if (found := cost_of(model)) < cost:
            chosen, cost = model, found
    if last and kind == "polynomial":
        # High degrees beside which the modes that are missing hardly leave less.
        most = _GROWTH * float(residuals(chosen, seen).max())
        for fewer in range(chosen.degree - 1, 0, -1):
            model = build(chosen.rank, degree=fewer)
            if float(residuals(model, seen).max()) > most:
                break
            chosen, cost = model, cost_of(model)
    overhead = parametric_cost.cell(chosen.rank, size)
    if kind == "network":
        # A network is less exact than polynomials: what that costs in orders is paid for in modes.
        wanted = 2 * chosen.rank if goal.rank == "auto" else chosen.rank
        chosen = build(min(wanted, len(modes)), kind, probed=goal.probabilistic)
        cost = cost_of(chosen)
    elif last and goal.probabilistic:
        probed = fit_probed(
            lambda r: build(r, tried, probed=True), (test.theta, narrow), ranks, rtol=rtol, seed=goal.seed
        )
        if probed is not None and probed[1] / size < cost:
            chosen, cost = probed[0], probed[1] / size
            overhead = parametric_cost.cell(chosen.rank, size, vectors=probes_of(chosen))
    elif last and goal.rank == "auto" and kind == "polynomial" and p <= _MOST_PARAMETERS_PROVED:
        uniform = None
        if parametric_cost.proved(2, 1, size, 1 - covered(test, seen.A, rtol), native=by_kernel) < cost:
            uniform = fit_uniform(train, modes, weight, test, features, ranges, degree, dtype=dtype, rtol=rtol)
        if uniform is not None and uniform.uniform is not None:
            missing = 1 - certified_at_once(uniform, narrow, test.theta)
            found = parametric_cost.proved(uniform.rank, uniform.uniform.rank, size, missing, native=by_kernel)
            if found < cost:
                chosen, cost = uniform, found
                overhead = parametric_cost.cell(chosen.rank, size, matrix_rank=uniform.uniform.rank)
    return Chosen(chosen, cost, overhead, _variation(weight, probe.exponents))


def residuals(model: ParametricInverse, snapshots: Snapshots) -> Tensor:
    """Return ``‖I − A X₀(θ)‖_F`` in double precision, shape ``(batch,)``; infinity for NaN."""
    return misfits(model, snapshots)[0]


def misfits(model: ParametricInverse, snapshots: Snapshots) -> tuple[Tensor, Tensor]:
    """Return what :func:`residuals` does, and ``‖A⁻¹ − X₀(θ)‖_F / ‖X₀(θ)‖_F``, likewise."""
    A = snapshots.A
    X = model.propose(snapshots.theta, A).to(A.dtype)
    residual = torch.linalg.matrix_norm(torch.eye(A.shape[-1], dtype=A.dtype) - A @ X)
    deviation = torch.linalg.matrix_norm(snapshots.X - X) / torch.linalg.matrix_norm(X)
    return residual.nan_to_num(nan=torch.inf), deviation.nan_to_num(nan=torch.inf)


def _needed_degree(sizes: Tensor, parameters: int, degree: int, allowed: float) -> int:
    """Return the lowest total degree beyond which the norms of terms, ``(features,)``, add up to what is allowed."""
    beyond = sizes.flip(0).cumsum(0).flip(0)
    while degree > 1 and float(beyond[feature_count(parameters, degree - 1)]) <= allowed:
        degree -= 1
    return degree


def _variation(weight: Tensor, exponents: Tensor) -> tuple[float, ...]:
    sizes = torch.linalg.vector_norm(weight, dim=1)
    return tuple((exponents.double().square().mT @ sizes).tolist())
