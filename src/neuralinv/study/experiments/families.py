"""Experiment 5: low-dimensional families, where networks can: every family of the registry."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass

import numpy as np
import torch
from matplotlib.figure import Figure

from neuralinv.dense import certified_inv, inv
from neuralinv.dense.result import Source
from neuralinv.families import FAMILIES, Family
from neuralinv.learned import fit_parametric
from neuralinv.learned.config import ModelConfig
from neuralinv.study.experiments.experiment import (
    Column,
    Counter,
    Experiment,
    Finding,
    Judgement,
    Progress,
    Row,
    Tables,
    TableSpec,
    decide,
)
from neuralinv.study.experiments.fitting import Recipe, answers, fit, from_pool, relative_errors
from neuralinv.study.experiments.sets import real_form, unit_scale
from neuralinv.study.experiments.statistics import rank_correlation
from neuralinv.study.intrinsic_dimension import as_points, two_nn
from neuralinv.study.plots import BLUE, GREEN, ORANGE, panels

_RTOL = 1e-5


@dataclass(frozen=True)
class Settings:
    """Families, n, matrices to learn from, to judge by, and for the dimension; width, depth, steps, repetitions."""

    families: tuple[str, ...] = tuple(FAMILIES)
    n: int = 8
    training: int = 8192
    test: int = 1024
    points: int = 2000
    hidden: int = 96
    depth: int = 2
    steps: int = 300
    members: int = 2
    snapshots: int = 256


def measure(settings: Settings, seed: int, progress: Progress) -> Tables:
    """Estimate dimension and spectrum of each family, train a network on it, and certify its answers."""
    counter = Counter(len(settings.families), progress)
    rows = []
    for name in settings.families:
        rows.append(_measure(FAMILIES[name], settings, seed))
        counter.done()
    return {"families": rows}


def _measure(family: Family, settings: Settings, seed: int) -> Row:
    generator = torch.Generator().manual_seed(seed)
    drawn = family.sample(settings.training + settings.test, settings.n, generator=generator)
    dimension = two_nn(as_points(unit_scale(drawn[: settings.points])), seed=seed)
    A = unit_scale(real_form(drawn))
    inverse = inv(A)
    condition = np.linalg.cond(A[-settings.test :].numpy())
    train, test = slice(None, settings.training), slice(settings.training, None)
    # A network answers relative to the mean inverse's size: families differ in scale by orders of magnitude.
    size = float(torch.linalg.matrix_norm(inverse[train]).log().mean().exp()) / math.sqrt(A.shape[-1])
    model = ModelConfig("mlp", A.shape[-1], settings.hidden, settings.depth, members=settings.members)
    network = fit(model, from_pool(A[train], inverse[train] / size), Recipe(settings.steps, seed=seed))
    X = answers(network, A[test]) * size
    errors = relative_errors(X, inverse[test])
    best = int(errors.median(1).values.argmin())
    proposal = X[best]
    result = certified_inv(A[test], proposer=proposal, rtol=_RTOL, on_singular="nan")
    fallback = result.source == int(Source.FALLBACK)
    residual = torch.linalg.matrix_norm(torch.eye(A.shape[-1], dtype=A.dtype) - A[test] @ proposal)
    return {
        "family": family.name,
        "parameters": len(family.ranges) or None,
        "n": settings.n,
        "complex": family.complex,
        "dimension": dimension.value,
        "dimension_low": dimension.low,
        "dimension_high": dimension.high,
        "condition_median": float(np.median(condition)),
        "condition_largest": float(condition.max()),
        "spread": float(np.log10(np.quantile(condition, 0.99))),
        "median": float(errors[best].median()),
        "worst": float(errors[best].max()),
        "refinable": float((residual < 1).double().mean()),
        "certified": float((result.certified & ~fallback).double().mean()),
        "parametric": _parametric(family, settings, seed),
    }


def _parametric(family: Family, settings: Settings, seed: int) -> float | None:
    """Share certified without fallback by a parametric inverse, which is told θ."""
    if not family.parametric:
        return None
    generator = torch.Generator().manual_seed(seed)
    function = family.matrix_function(settings.n, generator=generator)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a share that is small is what we are here to tell
        model = fit_parametric(function, ranges=family.ranges, rtol=_RTOL, snapshots=settings.snapshots, seed=seed)
    theta = family.thetas(settings.test, generator=generator)
    return float(model.certified_share(function(theta).to(model.dtype), theta))


def judge(tables: Tables) -> Judgement:
    """Supported if error rises with intrinsic dimension beyond doubt."""
    rows = tables["families"]
    by_dimension = rank_correlation([row["dimension"] for row in rows], [row["median"] for row in rows])
    by_spread = rank_correlation([row["spread"] for row in rows], [row["median"] for row in rows])
    because = (
        f"over {len(rows)} families the rank correlation of the median error with the intrinsic dimension is "
        f"{by_dimension}, with the spread of the condition numbers {by_spread}"
    )
    outcome = decide(contradicted=by_dimension.value <= 0, supported=by_dimension.low > 0)
    ranked = sorted(rows, key=lambda row: row["median"])
    served = [row["family"] for row in rows if row["certified"] >= 0.99]
    told = [row for row in rows if row["parametric"] is not None]
    findings = [
        Finding(
            f"Best served is {ranked[0]['family']} (intrinsic dimension {ranked[0]['dimension']:.1f}, median error "
            f"{ranked[0]['median']:.1e}), worst {ranked[-1]['family']} (dimension {ranked[-1]['dimension']:.1f}, error "
            f"{ranked[-1]['median']:.1e}).",
            "families",
        ),
        Finding(
            f"At least 99 % of the answers certify without fallback for {len(served)} of {len(rows)} families"
            + (f": {', '.join(served)}." if served else "."),
            "families",
        ),
    ]
    if told:
        better = sum(row["parametric"] >= row["certified"] for row in told)
        findings.append(
            Finding(
                f"A parametric inverse that is told θ certifies at least as large a share for {better} of {len(told)} "
                f"parametric families; its median share is {np.median([row['parametric'] for row in told]):.1%}.",
                "families",
            )
        )
    return Judgement(outcome, because, tuple(findings))


def draw(tables: Tables) -> Figure:
    """Draw reached error against intrinsic dimension, and shares certified by family."""
    figure, (left, right) = panels(2, width=5.6, height=4.6)
    rows = sorted(tables["families"], key=lambda row: row["dimension"])
    for parametric, colour, marker in ((True, BLUE, "o"), (False, ORANGE, "s")):
        mine = [row for row in rows if (row["parameters"] is not None) == parametric]
        left.errorbar(
            [row["dimension"] for row in mine],
            [row["median"] for row in mine],
            xerr=np.array(
                [
                    [max(0.0, r["dimension"] - r["dimension_low"]), max(0.0, r["dimension_high"] - r["dimension"])]
                    for r in mine
                ]
            ).T
            if mine
            else None,
            fmt=marker,
            color=colour,
            label="parametric" if parametric else "drawn anew",
        )
    for row in rows:
        left.annotate(row["family"], (row["dimension"], row["median"]), (5, -2), textcoords="offset points", fontsize=7)
    left.set(
        xscale="log",
        yscale="log",
        xlabel="intrinsic dimension (two nearest neighbours)",
        ylabel="relative error, median",
    )
    left.legend(frameon=False, fontsize="small")
    y = np.arange(len(rows))
    right.barh(y - 0.2, [100 * row["certified"] for row in rows], 0.4, color=BLUE, label="network")
    right.barh(
        y + 0.2, [100 * (row["parametric"] or 0) for row in rows], 0.4, color=GREEN, label="parametric inverse, told θ"
    )
    right.set_yticks(y, [row["family"] for row in rows], fontsize="small")
    right.set(xlabel="certified without fallback, %", xlim=(0, 100))
    right.legend(frameon=False, fontsize="small", loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
    return figure


FAMILIES_EXPERIMENT = Experiment(
    name="families",
    title="Can: low-dimensional families",
    hypothesis=(
        "The fewer dimensions a family really has, the smaller the error that a network of given size and training "
        "reaches on it: over the registry, error and intrinsic dimension are positively correlated in rank."
    ),
    settings={
        "small": Settings(("gaussian", "wishart", "ar", "mimo"), 4, 256, 64, 200, 16, 1, 30, 1, 32),
        "full": Settings(),
    },
    measure=measure,
    judge=judge,
    draw=draw,
    shown={
        "families": TableSpec(
            "Every family: dimension, spectrum, error reached, and shares certified at 1e-5 without fallback",
            (
                Column("family", "family"),
                Column("parameters", "parameters"),
                Column("dimension", "intrinsic dimension", ".1f"),
                Column("condition_median", "κ median", ".2g"),
                Column("condition_largest", "κ largest", ".2g"),
                Column("median", "median error", ".2g"),
                Column("worst", "worst error", ".2g"),
                Column("refinable", "residual < 1", ".1%"),
                Column("certified", "certified", ".1%"),
                Column("parametric", "certified, told θ", ".1%"),
            ),
        )
    },
    alt="Error against intrinsic dimension for each family, and the shares of answers that certify",
)
