"""Rows of :mod:`neuralinv.bench.learned` about parametric inverses: random vectors, coefficients, wireless channels."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

import neuralinv as ni
from neuralinv.bench.learned_rows import (
    BATCH_ELEMENTS,
    OURS,
    RESIDUAL,
    RTOL,
    Row,
    Settings,
    batch_of,
    bind,
    exact_routines,
    median_times,
)
from neuralinv.families import Family, get_family
from neuralinv.learned import FamilyInverse
from neuralinv.learned.architectures.coefficients import KINDS

_SNAPSHOTS = 512
_RANK = 32
_SHORT = {torch.float32: "f32", torch.float64: "f64", torch.complex64: "c64", torch.complex128: "c128"}
_SNR = 15.0  # decibels


def probable(settings: Settings) -> Iterator[Row]:
    """Certified by random vectors; in float64 as well, where no rounding of A hides θ."""
    for n in settings.sizes:
        for name in settings.families:
            family = get_family(name)
            for dtype in _precisions(family):
                random = torch.Generator().manual_seed(n)
                function = family.matrix_function(n, generator=random)
                model = _fit(function, ranges=family.ranges, certificate="probabilistic", dtype=dtype)
                theta = family.thetas(batch_of(BATCH_ELEMENTS, n), generator=random)
                A = function(theta).to(dtype)
                ours = bind(model.inv, A, theta, certificate="probabilistic")
                times = median_times(
                    {OURS: ours, **exact_routines(A, positive=family.symmetry == "positive")}, settings, len(A)
                )
                source = ours().source
                # Without the correction that the deterministic way takes.
                share = float((source == int(ni.Source.PROPOSED)).double().mean())
                case = f"{name} {_SHORT[dtype]}"
                yield Row("probable", case, n, times.pop(OURS), times, 10.0, share, _seconds(model))


def coefficients(settings: Settings) -> Iterator[Row]:
    """The largest residual held out that polynomials and the other ways to coefficients reach with as many modes."""
    for n in settings.sizes:
        for name in settings.families:
            family = get_family(name)
            function = family.matrix_function(n, generator=torch.Generator().manual_seed(n))
            reached: dict[str, float] = {
                kind: _residual(_fit(function, ranges=family.ranges, rank=_RANK, coefficients=kind)) for kind in KINDS
            }
            ours = reached.pop("polynomial")
            yield Row("coefficients", name, n, ours, reached, 1.0, unit=RESIDUAL)


def wireless(settings: Settings) -> Iterator[Row]:
    """What NeuMatC (arXiv:2511.22934) computes: inverses for a channel over frequency, complex64; with our proof.

    Against NumPy, their rival, and against all routines; first with certain bounds, then ("p") with random vectors.
    """
    family = get_family("mimo")
    for n in settings.sizes:
        random = torch.Generator().manual_seed(n)
        over_both = family.matrix_function(n, generator=random)
        frequency = family.ranges["frequency"]

        def function(theta: Tensor, over_both: Callable[[Tensor], Tensor] = over_both) -> Tensor:
            return over_both(torch.cat([theta, torch.full_like(theta, _SNR)], -1))

        unit = torch.rand(batch_of(BATCH_ELEMENTS // 4, n), 1, generator=random, dtype=torch.float64)
        theta = frequency.at(unit)
        for certificate, mark in (("deterministic", ""), ("probabilistic", "p ")):
            model = _fit(function, ranges={"frequency": frequency}, certificate=certificate)
            A = function(theta).to(model.dtype)
            inverse = bind(model.inv, A, theta, certificate=certificate)
            times = median_times({OURS: inverse, **exact_routines(A, positive=True)}, settings, len(A))
            ours, share = times.pop(OURS), float((inverse().source != int(ni.Source.FALLBACK)).double().mean())
            only = {name: value for name, value in times.items() if name == "numpy" or name.startswith("ni.")}
            yield Row("neumatc", f"{mark}vs NumPy", n, ours, only, 10.0, share, _seconds(model))
            yield Row("neumatc", f"{mark}vs all", n, ours, times, 1.0, share, _seconds(model))


def _precisions(family: Family) -> tuple[torch.dtype, ...]:
    return (torch.complex64, torch.complex128) if family.complex else (torch.float32, torch.float64)


def _fit(function: Callable[[Tensor], Tensor], **keywords: Any) -> FamilyInverse:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the row says what was reached
        return ni.learned.fit_parametric(function, rtol=RTOL, snapshots=_SNAPSHOTS, **keywords)


def _residual(model: FamilyInverse) -> float:
    return math.nan if model.report is None else model.report.residual


def _seconds(model: FamilyInverse) -> float:
    return math.nan if model.report is None else model.report.seconds
