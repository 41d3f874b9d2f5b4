"""What learning is worth: certified inverses that know something about their matrices, beside exact routines.

Our time includes the proof; the others have none.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import cycle
from typing import Any

import torch
from torch import Tensor

import neuralinv as ni
from neuralinv.bench import learned_parametric
from neuralinv.bench.learned_rows import (
    BATCH_ELEMENTS,
    OURS,
    RTOL,
    Row,
    Settings,
    batch_of,
    bind,
    exact_routines,
    median_times,
)
from neuralinv.families import get_family
from neuralinv.learned.minimax import cheapest_plan
from neuralinv.measuring.timing import limited_threads

_SEQUENCE_ELEMENTS = 1 << 18  # of the matrices of a step
_FEWEST_SNAPSHOTS = 512
_PERIOD = 63  # steps of a closed path, each of 1 % of the norm of the matrices
_RADIUS = 0.1


def measure(settings: Settings, *, progress: Callable[[int], object] | None = None) -> Iterator[Row]:
    """Yield the rows, one after another; ``progress`` is called with 1 for each work and size."""
    makers = {"parametric": _parametric, "sequence": _sequence, "iteration": _iteration, "root": _root}
    makers |= {
        "probable": learned_parametric.probable,
        "neumatc": learned_parametric.wireless,
        "coefficients": learned_parametric.coefficients,
    }
    with limited_threads(settings.threads):
        for work in settings.works:
            for row in makers[work](settings):
                if progress is not None:
                    progress(1)
                yield row


def row_count(settings: Settings) -> int:
    """Return how many rows :func:`measure` yields."""
    counts = {
        "parametric": len(settings.families) * len(settings.sizes),
        "probable": 2 * len(settings.families) * len(settings.sizes),
        "neumatc": 4 * len(settings.sizes),
        "coefficients": len(settings.families) * len(settings.sizes),
        "sequence": len(settings.sizes),
        "iteration": len(_CONDITIONS),
        "root": len(_ROOT_SIZES) * len(_ROOT_CERTIFICATES),
    }
    return sum(counts[work] for work in settings.works)


_CONDITIONS = (1e1, 1e2, 1e3, 1e4)
_ROOT_SIZES = (256, 512, 1024)
_ROOT_ELEMENTS = 1 << 20
_ROOT_CERTIFICATES = {"deterministic": "wishart", "probabilistic": "probable"}


def _parametric(settings: Settings) -> Iterator[Row]:
    for n in settings.sizes:
        for name in settings.families:
            family = get_family(name)
            random = torch.Generator().manual_seed(n)
            function = family.matrix_function(n, generator=random)
            model = ni.learned.fit_parametric(
                function, ranges=family.ranges, rtol=RTOL, snapshots=_FEWEST_SNAPSHOTS, cells=settings.cells
            )
            theta = family.thetas(batch_of(BATCH_ELEMENTS, n), generator=random)
            A = function(theta).to(model.dtype)
            calls = {OURS: bind(model.inv, A, theta), **exact_routines(A, positive=family.symmetry == "positive")}
            times = median_times(calls, settings, len(A))
            report = model.report
            yield Row(
                "parametric",
                name,
                n,
                times.pop(OURS),
                times,
                3.0 if n <= 64 else 2.0,
                model.certified_share(A, theta),
                math.nan if report is None else report.seconds,
            )


def _sequence(settings: Settings) -> Iterator[Row]:
    for n in settings.sizes:
        random = torch.Generator().manual_seed(n)
        count = batch_of(_SEQUENCE_ELEMENTS, n)
        base = get_family("wishart").sample(count, n, generator=random) + 0.3 * torch.eye(n)
        B, C = (_symmetric_of_norm(base, random) for _ in range(2))
        angles = 2 * math.pi * torch.arange(_PERIOD) / _PERIOD
        steps = [(base + _RADIUS * (torch.cos(t) * B + torch.sin(t) * C)).float() for t in angles]
        inverter, path = ni.SequenceInverter(), cycle(steps)
        certified = [float((inverter(next(path)).source != int(ni.Source.FALLBACK)).double().mean()) for _ in steps]
        # Everybody gets a new matrix with each call: one that comes again would wait in the cache.
        exact = [exact_routines(A, positive=True) for A in steps]
        calls = {OURS: _advance(inverter, path)}
        calls |= {name: _in_turn(cycle([at[name] for at in exact])) for name in exact[0]}
        times = median_times(calls, settings, count)
        share = sum(certified) / len(certified)
        yield Row("sequence", "1 % a step", n, times.pop(OURS), times, 2.5 if n <= 64 else 1.7, share)


def _symmetric_of_norm(A: Tensor, random: torch.Generator) -> Tensor:
    S = torch.randn(A.shape, generator=random, dtype=A.dtype)
    S = S + S.mT
    return S * (torch.linalg.matrix_norm(A) / torch.linalg.matrix_norm(S))[:, None, None]


def _iteration(settings: Settings) -> Iterator[Row]:
    for cond in _CONDITIONS:
        residual, products = (cond - 1) / (cond + 1), -2  # the best multiple of the identity; its first step is free
        while residual > RTOL:
            residual, products = residual**2, products + 2
        plan = cheapest_plan(1 / cond, 1.0, RTOL)
        rivals = {"N.–S.": float(products)}
        yield Row("iteration", f"κ = {cond:.0e}", 0, float(plan.products), rivals, 2.0, unit="products")


def _root(settings: Settings) -> Iterator[Row]:
    for n in _ROOT_SIZES:
        random = torch.Generator().manual_seed(n)
        count = batch_of(_ROOT_ELEMENTS, n)  # a matrix has one thread
        A = get_family("wishart").sample(count, n, generator=random, dtype=torch.float32)
        for certificate, case in _ROOT_CERTIFICATES.items():
            ours = bind(ni.learned.inv_sqrt, A, cond=200.0, rtol=RTOL, certificate=certificate)
            result = ours()
            times = median_times({OURS: ours, "eigh": bind(_by_eigenvalues, A)}, settings, count)
            certified = float((result.source == int(ni.Source.REFINED)).double().mean())
            yield Row("root", case, n, times.pop(OURS), times, 4.0, certified)


def _by_eigenvalues(A: Tensor) -> Tensor:
    L, Q = torch.linalg.eigh(A)
    return (Q * L.rsqrt()[:, None, :]) @ Q.mH


def _in_turn(calls: Iterator[Callable[[], Any]]) -> Callable[[], Any]:
    return lambda: next(calls)()


def _advance(inverter: ni.SequenceInverter, path: Iterator[Tensor]) -> Callable[[], Any]:
    return lambda: inverter(next(path))
