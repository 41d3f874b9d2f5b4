"""Fitting a parametric inverse: snapshots, basis, polynomials, and the cheapest rank that reaches the tolerance."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping
from typing import Literal

import torch
from torch import Tensor

from neuralinv.dense._arrays import Array
from neuralinv.dense.certified import check_rtol
from neuralinv.families import Range
from neuralinv.families.settings import is_whole
from neuralinv.learned.architectures.coefficients import KINDS, Kind
from neuralinv.learned.architectures.family_inverse import (
    LARGEST_FALLBACK_SHARE,
    FamilyInverse,
    FitReport,
    as_numeric,
)
from neuralinv.learned.architectures.partitioned import PartitionedInverse, Split
from neuralinv.learned.parametric_choice import Chosen, Goal, choose, fewest_snapshots, residuals
from neuralinv.learned.partition_fit import MOST_CELLS, Cell, examine, partition
from neuralinv.learned.snapshots import FunctionSource, Snapshots, Source, given

_MOST_PARAMETERS = 8
_HELD_OUT = 128
_ROUNDS = 3
_DTYPES = (torch.float32, torch.float64, torch.complex64, torch.complex128)


def fit_parametric(
    source: Callable[[Tensor], Array] | tuple[Array, Array],
    *,
    ranges: Mapping[str, Range] | None = None,
    rank: int | Literal["auto"] = "auto",
    rtol: float = 1e-6,
    dtype: torch.dtype | None = None,
    snapshots: int = 512,
    coefficients: Kind = "polynomial",
    certificate: Literal["deterministic", "probabilistic"] = "deterministic",
    cells: int | Literal["auto"] = 1,
    seed: int = 0,
) -> FamilyInverse:
    """Fit ``θ → A(θ)⁻¹`` from exact inverses.

    Snapshots start as a low-discrepancy set; where the matrices are a function, rounds of fresh parameters are added
    where the residual of the last fit is worst. Of all ranks, the one is taken whose predicted cost (combination,
    float64 residual, and the products of the correction that held-out residuals ask for on average) is least.

    Parameters
    ----------
    source
        ``matrix_fn``, from parameters ``(batch, p)``, a float64 tensor, to matrices ``(batch, n, n)``, such as
        :meth:`neuralinv.families.Family.matrix_function` gives; or ``(thetas, matrices)``, of which a fifth is held
        out. Matrices are tensors or NumPy arrays, real or complex.
    ranges
        θ by name, in order, 1 to 8 of them; needed for a function. For arrays, by default the ranges that they span.
    rank
        Number of modes, or ``"auto"``.
    rtol
        The relative error to certify.
    dtype
        Of the matrices to invert: float32, float64, complex64 or complex128; by default single precision of the
        source's kind, whatever its own precision.
    snapshots
        How many exact inverses to fit to, for a function of p parameters: at least 4 (p + 1).
    coefficients
        ``"polynomial"``; ``"network"``, a small one trained on the residual, with twice the modes that polynomials
        take; or ``"projection"``, of each matrix by a sketch (:mod:`~neuralinv.learned.architectures.coefficients`).
    certificate
        ``"probabilistic"`` looks for modes enough that ``inv(…, certificate="probabilistic")`` needs no correction, and
        warns where no number of them suffices.
    cells
        Into how many cells to partition the box of parameters, 1 to 64, each with modes and polynomials of its own
        (:mod:`~neuralinv.learned.architectures.partitioned`); ``"auto"``: as many as are predicted to pay, 1 included.
        A cell of a function gets half as many snapshots as the box; given arrays are cut only as far as enough of them
        lie in each cell.
    seed
        Of the choice of parameters, of sketches and of networks.

    Returns
    -------
    FamilyInverse
        On the CPU: a :class:`~neuralinv.learned.ParametricInverse` or, of several cells, a
        :class:`~neuralinv.learned.PartitionedInverse`; its ``report`` says how it did on what it had not seen.

    Warns
    -----
    UserWarning
        If more than 1 % of the held-out matrices do not certify without fallback, or no number of modes lets random
        vectors certify.

    Raises
    ------
    ValueError
        If there are too few snapshots, a matrix among them is singular, shapes do not fit, or an argument is out of
        range.
    TypeError
        If the source is neither a function nor two arrays, or gives no numeric arrays; or ``ranges`` is no mapping.

    Notes
    -----
    For a function about ``2 · snapshots + 128`` exact inverses in float64, since the worst of several candidates are
    kept, and those of two more cells for each cut that is tried; then Gram matrices of the snapshots, of
    ``2 · snapshots² n²`` operations, and a residual of each held-out matrix for each rank tried. 512 snapshots of
    64×64 take seconds. Reduced bases for parametric inverses: Zahm & Nouy 2016, doi:10.1137/15M1019210; cells: Eftang,
    Patera & Rønquist 2010, doi:10.1137/090780122.

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
    if rank != "auto" and not is_whole(rank, 1):
        raise ValueError(f"rank={rank!r}; expected 'auto' or a whole number of at least 1")
    check_rtol(rtol)
    if dtype not in (None, *_DTYPES):
        raise ValueError(f"dtype={dtype}; expected float32, float64, complex64 or complex128")
    if coefficients not in KINDS:
        raise ValueError(f"coefficients={coefficients!r}; expected one of {', '.join(KINDS)}")
    if certificate not in ("deterministic", "probabilistic"):
        raise ValueError(f"certificate={certificate!r}; expected 'deterministic' or 'probabilistic'")
    if cells != "auto" and not is_whole(cells, 1, MOST_CELLS):
        raise ValueError(f"cells={cells!r}; expected 'auto' or a whole number from 1 to {MOST_CELLS}")
    if ranges is not None and not isinstance(ranges, Mapping):
        raise TypeError(
            f"ranges is a {type(ranges).__name__}; expected a dict of names to ranges, {{name: Range(low, high), …}}"
        )
    goal = Goal(rank, rtol, dtype, coefficients, certificate == "probabilistic", seed)
    with torch.no_grad():
        source_: Source
        if callable(source):
            if ranges is None:
                raise ValueError(
                    "a matrix function comes with ranges={name: Range(low, high), …}, one for each parameter"
                )
            _check_ranges(ranges, len(ranges))
            least = 2 * fewest_snapshots(len(ranges))  # the first fit is to half of them
            if not is_whole(snapshots, least):
                raise ValueError(
                    f"snapshots={snapshots!r}; a fit to a function of {len(ranges)} parameters takes a whole number of "
                    f"at least {least}"
                )
            source_ = FunctionSource(source, seed)
            chosen, train, test = _fit_function(source_, ranges, goal, snapshots)
        else:
            theta, matrices = _two_arrays(source)
            ranges = _given_ranges(theta, ranges)
            source_ = given(theta, matrices, seed)
            train, test = source_.train, source_.held_out
            chosen = choose(train, test, ranges, goal)
            snapshots = len(train)
        first = Cell(ranges, 1.0, chosen, examine(chosen.model, test, goal), len(train))
        found: list[Cell] = [first]
        splits: list[Split] = []
        if cells != 1:
            found, splits = partition(first, source_, goal, snapshots, None if cells == "auto" else cells)
    model: FamilyInverse = first.chosen.model
    if splits:
        model = PartitionedInverse(ranges, splits, [cell.chosen.model for cell in found])
    if goal.probabilistic and max(cell.held.order for cell in found) > 1:
        warnings.warn(_without_probes(test, model), stacklevel=2)
    model.report = report = FitReport(
        max(cell.chosen.model.rank for cell in found),
        sum(cell.share * cell.chosen.model.rank for cell in found),
        max(cell.chosen.model.degree for cell in found),
        sum(cell.share * cell.held.order for cell in found),
        len(found),
        sum(cell.snapshots for cell in found),
        sum(cell.held.count for cell in found),
        sum(cell.share * cell.held.share for cell in found),
        max(cell.held.residual for cell in found),
        time.perf_counter() - started,
    )
    if report.certified_share < 1 - LARGEST_FALLBACK_SHARE:
        warnings.warn(
            f"only {100 * report.certified_share:.3g} % of the held-out matrices certify without fallback; give more "
            "snapshots, narrower ranges or a larger rtol",
            stacklevel=2,
        )
    return model


def _check_ranges(ranges: Mapping[str, Range], parameters: int) -> None:
    _check_count(parameters)
    if len(ranges) != parameters or not all(isinstance(range_, Range) for range_ in ranges.values()):
        raise ValueError(
            f"ranges={ranges!r}; expected {{name: Range(low, high), …}} for each of {parameters} parameters"
        )


def _check_count(parameters: int) -> None:
    if not 1 <= parameters <= _MOST_PARAMETERS:
        raise ValueError(f"{parameters} parameters; a parametric inverse takes 1 to {_MOST_PARAMETERS}")


def _two_arrays(source: object) -> tuple[Tensor, Array]:
    if not isinstance(source, tuple | list) or len(source) != 2:
        raise TypeError(
            f"the source is {type(source).__name__}; expected a function from parameters to matrices, or (thetas, "
            "matrices)"
        )
    return as_numeric(source[0], "the array of parameters")[0], source[1]


def _given_ranges(theta: Tensor, ranges: Mapping[str, Range] | None) -> Mapping[str, Range]:
    if theta.ndim != 2 or theta.is_complex() or not len(theta):
        raise ValueError(
            f"parameters are {theta.dtype} of shape {tuple(theta.shape)}; expected real (batch, p), one or more"
        )
    if ranges is not None:
        _check_ranges(ranges, theta.shape[1])
        return ranges
    _check_count(theta.shape[1])
    low, high = theta.amin(0).tolist(), theta.amax(0).tolist()
    return {f"theta_{k}": _spanned(k, a, b) for k, (a, b) in enumerate(zip(low, high, strict=True))}


def _spanned(column: int, low: float, high: float) -> Range:
    try:
        return Range(low, high)
    except ValueError as error:
        raise ValueError(
            f"theta_{column}, column {column} of the parameters: {error}; leave out a column that is constant, or pass "
            "ranges"
        ) from error


def _fit_function(
    source: FunctionSource, ranges: Mapping[str, Range], goal: Goal, snapshots: int
) -> tuple[Chosen, Snapshots, Snapshots]:
    """Fit, and add snapshots where the residual of the last fit is worst."""
    fresh = source.sampler(ranges)
    train, test = fresh(snapshots // 2), fresh(_HELD_OUT)
    extra = max(1, (snapshots - snapshots // 2) // _ROUNDS)
    chosen = choose(train, test, ranges, goal, last=False)
    for k in range(_ROUNDS):
        candidates = fresh(3 * extra)
        worst = residuals(chosen.model, candidates).topk(extra).indices
        train = train.joined(candidates.take(worst))
        chosen = choose(train, test, ranges, goal, last=k == _ROUNDS - 1)
    return chosen, train, test


def _without_probes(test: Snapshots, model: FamilyInverse) -> str:
    """Say why no fit was found that needs no correction."""
    A, X = test.A, test.X
    off = torch.linalg.matrix_norm(X @ (A.to(model.dtype).to(A.dtype) - A) @ X)
    rounding = float((off / torch.linalg.matrix_norm(X)).max())
    message = "no number of modes lets random vectors certify without a correction, and the deterministic way is taken"
    if rounding * 3 > model.rtol:
        name = str(model.dtype).removeprefix("torch.")
        return f"{message}: rounding the matrices to {name} alone leaves errors of {rounding:.1e}"
    return f"{message}; give more snapshots, narrower ranges or a larger rtol"
