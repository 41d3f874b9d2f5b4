"""Experiment 4: compact sets, where networks can: rates, architectures and costs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from matplotlib.figure import Figure

from neuralinv.learned import schulz
from neuralinv.learned.architectures import Architecture
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
from neuralinv.study.experiments.fitting import (
    Draw,
    Recipe,
    answers,
    double_function,
    fit,
    from_pool,
    parameter_count,
    relative_errors,
)
from neuralinv.study.experiments.sets import SpectralSet
from neuralinv.study.experiments.statistics import geometric_mean, power_law, rank_correlation
from neuralinv.study.lipschitz import observed_constant
from neuralinv.study.plots import MARKERS, PALETTE, panels

_AXES = ("width", "depth", "steps", "samples")
_RADII = (0.1, 1.0, 10.0, 100.0)
_ITERATION = "iteration"
_REACHED = 0.1
_ALIKE = 10.0
"""A repetition does about as well as the best if its error is at most so many times as large."""


@dataclass(frozen=True)
class Settings:
    """What is varied, one at a time, around a base; ``samples`` are distinct matrices, None draws afresh."""

    architectures: tuple[str, ...] = ("mlp", "resnet", "gated")
    conditions: tuple[float, ...] = (2.0, 10.0, 100.0, 1000.0)
    n: int = 3
    base_width: int = 96
    base_steps: int = 300
    widths: tuple[int, ...] = (24, 48)
    depths: tuple[int, ...] = (1, 2)
    steps: tuple[int, ...] = (30, 100, 1000, 3000)
    samples: tuple[int, ...] = (100, 1000)
    tolerances: tuple[float, ...] = (1e-1, 1e-2, 1e-4)
    members: int = 4
    test: int = 2048
    learning_rate: float = 1e-2


def measure(settings: Settings, seed: int, progress: Progress) -> Tables:
    """Train along each axis for every condition number; then leave the compact set with the base networks."""
    cases = [(a, c, *case) for a in settings.architectures for c in settings.conditions for case in _cases(settings, a)]
    counter = Counter(len(cases) + len(settings.conditions), progress)
    rows: list[Row] = []
    unbounded: list[Row] = []
    for architecture, condition, axis, width, depth, steps, samples in cases:
        matrices = SpectralSet(settings.n, 1 / condition)
        model = ModelConfig(architecture, settings.n, width, depth, newton_schulz_steps=0, members=settings.members)
        recipe = Recipe(steps, learning_rate=settings.learning_rate, seed=seed)
        network = fit(model, _source(matrices, samples, seed), recipe)
        A, inverse = matrices.draw(settings.test, generator=torch.Generator().manual_seed(seed + 1))
        errors = relative_errors(answers(network, A), inverse)
        rows += [
            {
                "architecture": architecture,
                "condition": condition,
                "axis": axis,
                "width": width,
                "depth": depth,
                "steps": steps,
                "samples": samples or steps * Recipe(1).batch,
                "member": member,
                "median": float(e.median()),
                "worst": float(e.max()),
                "multiplications": parameter_count(model),
            }
            for member, e in enumerate(errors)
        ]
        if axis == "base":
            unbounded += [
                {"architecture": architecture, "condition": condition, **row}
                for row in _leave(network, matrices, settings, seed)
            ]
        counter.done()
    for condition in settings.conditions:
        rows += _iterations(condition, settings, seed)
        counter.done()
    return {"best": _best(rows), "runs": rows, "rates": _rates(rows), "unbounded": unbounded}


def _cases(settings: Settings, architecture: str) -> Iterator[tuple[str, int, int, int, int | None]]:
    width, steps = settings.base_width, settings.base_steps
    # Widths at which a step of training costs about the same: residual blocks hold four dense layers each, twice as
    # wide, and gates multiply matrices.
    width //= {"mlp": 1, "resnet": 3, "gated": 2}[architecture]
    base = 3 if architecture == "mlp" else 1
    yield "base", width, base, steps, None
    if architecture == "resnet":  # four times the layers: measured along one axis only
        yield from (("steps", width, base, k, None) for k in settings.steps)
        return
    yield from (("width", w * width // settings.base_width, base, steps, None) for w in settings.widths)
    yield from (("depth", width, depth, steps, None) for depth in settings.depths if depth != base)
    yield from (("steps", width, base, k, None) for k in settings.steps)
    yield from (("samples", width, base, steps, count) for count in settings.samples)


def _source(matrices: SpectralSet, samples: int | None, seed: int) -> Draw:
    if samples is None:
        return matrices.source()
    return from_pool(*matrices.draw(samples, generator=torch.Generator().manual_seed(seed + 2)))


def _iterations(condition: float, settings: Settings, seed: int) -> Iterator[Row]:
    """Unrolled Newton–Schulz steps, their coefficients minimax for the bound of the set: no training, for any n."""
    matrices = SpectralSet(settings.n, 1 / condition)
    A, inverse = matrices.draw(settings.test, generator=torch.Generator().manual_seed(seed + 1))
    for tolerance in settings.tolerances:
        # They work on A/s with s = √(‖A‖₁ ‖A‖_∞) ≤ √n ‖A‖₂, where ‖A‖₂ = 1.
        iteration = schulz(matrices.delta / settings.n**0.5, positive=False, tolerance=tolerance)
        with torch.no_grad():
            errors = relative_errors(iteration(A), inverse)
        yield {
            "architecture": _ITERATION,
            "condition": condition,
            "axis": "products",
            "width": None,
            "depth": iteration.products,
            "steps": None,
            "samples": None,
            "member": 0,
            "median": float(errors.median()),
            "worst": float(errors.max()),
            "multiplications": iteration.products * settings.n**3,
        }


def _leave(network: Architecture, matrices: SpectralSet, settings: Settings, seed: int) -> Iterator[Row]:
    """Errors and constants of the bare network on s·A: outside the unit sphere that it was trained on."""
    generator = torch.Generator().manual_seed(seed + 3)
    A, inverse = matrices.draw(settings.test // 4, generator=generator)
    starts = A[: 8 * settings.members].unflatten(0, (settings.members, 8))
    function = double_function(network)
    for s in _RADII:
        errors = relative_errors(answers(network, s * A), inverse / s)
        constant = observed_constant(function, s * starts, steps=10, radius=s * settings.n**0.5)
        yield {"scale": s, "median": float(errors.median()), "constant": float(constant.median())}


def _best(rows: list[Row]) -> list[Row]:
    """The best run of each architecture at each bound, and how many of its repetitions do about as well."""
    best = []
    for architecture, condition in dict.fromkeys((row["architecture"], row["condition"]) for row in rows):
        mine = [row for row in rows if (row["architecture"], row["condition"]) == (architecture, condition)]
        first = min(mine, key=lambda row: row["median"])
        same = ("axis", "width", "depth", "steps", "samples")
        alike = [row["median"] for row in mine if all(row[key] == first[key] for key in same)]
        best.append({**first, "repetitions": len(alike), "alike": sum(m <= _ALIKE * first["median"] for m in alike)})
    return best


def _rates(rows: list[Row]) -> list[Row]:
    """Exponents and rank correlations of the median error in width, depth, steps and samples."""
    rates = []
    for architecture, condition in dict.fromkeys((row["architecture"], row["condition"]) for row in rows):
        mine = [row for row in rows if (row["architecture"], row["condition"]) == (architecture, condition)]
        for axis in _AXES:
            key = axis
            line = [row for row in mine if row["axis"] in (axis, "base")]
            if architecture == _ITERATION or len({row[key] for row in line}) < 3:
                continue
            quantities, medians = [row[key] for row in line], [row["median"] for row in line]
            fit_, trend = power_law(quantities, medians), rank_correlation(quantities, medians)
            rates.append(
                {
                    "architecture": architecture,
                    "condition": condition,
                    "axis": axis,
                    "exponent": fit_.value,
                    "low": fit_.low,
                    "high": fit_.high,
                    "trend": trend.value,
                    "trend_low": trend.low,
                    "trend_high": trend.high,
                    "best": min(row["median"] for row in line),
                }
            )
    return rates


def judge(tables: Tables) -> Judgement:
    """Supported if on the best conditioned set every architecture gets below 10 %, errors fall with more steps, and
    rise with the condition number.

    Errors fall if their rank correlation with the steps is negative beyond doubt: some networks find a solution
    suddenly, others never, and no power law describes that.
    """
    rows = tables["best"]
    conditions = sorted({row["condition"] for row in rows})
    best = {(row["architecture"], row["condition"]): row["median"] for row in rows}
    networks = list(dict.fromkeys(a for a, _ in best if a != _ITERATION))
    easy, hard = conditions[0], conditions[-1]
    reached = [best[a, easy] < _REACHED for a in networks]
    harder = [best[a, hard] > best[a, easy] for a in networks]
    steps = [row for row in tables["rates"] if row["axis"] == "steps" and row["condition"] == easy]
    helped = [row["trend_high"] < 0 for row in steps]
    because = (
        f"median errors at κ ≤ {easy:g} and κ ≤ {hard:g}: "
        + ", ".join(f"{a} {best[a, easy]:.1e} and {best[a, hard]:.1e}" for a in networks)
        + f"; at κ ≤ {easy:g} errors fall with the steps of training, beyond doubt, for {sum(helped)} of {len(helped)} "
        f"(rank correlations {min(row['trend'] for row in steps):.2f} to {max(row['trend'] for row in steps):.2f})"
    )
    outcome = decide(
        contradicted=not (any(reached) and any(harder)), supported=all(reached) and all(harder) and all(helped)
    )
    products = max(row["depth"] for row in rows if (row["architecture"], row["condition"]) == (_ITERATION, hard))
    winner = min(networks, key=lambda a: best[a, hard])
    findings = [
        Finding(
            f"At κ ≤ {hard:g} the best network is {winner}, with a median error of {best[winner, hard]:.1e}; "
            f"unrolled Newton–Schulz steps reach {best[_ITERATION, hard]:.1e} in {products} "
            "products of matrices, for any n.",
            "best",
        )
    ]
    findings += [
        Finding(
            f"{row['architecture']} is a matter of luck at κ ≤ {row['condition']:g}: {row['alike']} of "
            f"{row['repetitions']} repetitions come within a factor {_ALIKE:g} of its best error, {row['median']:.1e}.",
            "best",
        )
        for row in rows
        if row["condition"] == easy and row["architecture"] in networks and row["alike"] < row["repetitions"]
    ]
    outside = {(r["architecture"], r["condition"], r["scale"]): r for r in tables["unbounded"]}
    for a in networks:
        inside, far = outside[a, easy, 1.0], outside[a, easy, _RADII[-1]]
        findings.append(
            Finding(
                f"On matrices {_RADII[-1]:g} times as large, the bare {a} is off by {far['median']:.1e} "
                f"(inside: {inside['median']:.1e}), and its observed Lipschitz constant changes from "
                f"{inside['constant']:.2g} to {far['constant']:.2g}.",
                "unbounded",
            )
        )
    return Judgement(outcome, because, tuple(findings))


def _averaged(tables: Tables, architecture: str, condition: float, axis: str) -> dict[float, float]:
    """Median errors along an axis, averaged geometrically over the repetitions."""
    line: dict[float, list[float]] = {}
    for row in tables["runs"]:
        mine = (row["architecture"], row["condition"]) == (architecture, condition) and row["axis"] in (axis, "base")
        if mine and row[axis] is not None:
            line.setdefault(row[axis], []).append(row["median"])
    return {x: geometric_mean(values) for x, values in sorted(line.items())}


def draw(tables: Tables) -> Figure:
    """Draw the error against each axis at two condition numbers, against cost, and outside the set."""
    figure, axes = panels(3, rows=2, width=4.6)
    conditions = sorted({row["condition"] for row in tables["runs"]})
    shown = (conditions[0], conditions[-1])
    drawn = [row["median"] for row in tables["runs"] if row["condition"] in shown and row["architecture"] != _ITERATION]
    names = list(dict.fromkeys(row["architecture"] for row in tables["runs"]))
    for axis, ax in zip(_AXES, axes, strict=False):
        for k, name in enumerate(names):
            for style, condition in zip(("-", ":"), shown, strict=False):
                line = _averaged(tables, name, condition, axis)
                if len(line) > 1:
                    label = f"{name}, κ ≤ {condition:g}"
                    ax.plot(list(line), list(line.values()), MARKERS[k] + style, color=PALETTE[k], label=label)
        label = {"steps": "training steps", "samples": "distinct matrices in training"}.get(axis, axis)
        # The same limits for all: what helps most can be seen, and a decade is always labelled.
        limits = (min(0.05, *drawn) / 2, 2 * max(drawn))
        ax.set(xscale="log", yscale="log", ylim=limits, xlabel=label, ylabel="relative error, median")
        ticks = sorted({x for name in names for x in _averaged(tables, name, shown[0], axis)})
        ax.set_xticks(ticks, [f"{x:,}" for x in ticks], fontsize="small")
        ax.minorticks_off()
    cost, outside = axes[4], axes[5]
    for k, name in enumerate(names):
        best = sorted((row["condition"], row["median"]) for row in tables["best"] if row["architecture"] == name)
        cost.plot(*zip(*best, strict=True), MARKERS[k] + "-", color=PALETTE[k], label=name)
        away = [
            (r["scale"], r["median"])
            for r in tables["unbounded"]
            if (r["architecture"], r["condition"]) == (name, conditions[0])
        ]
        if away:
            outside.plot(*zip(*away, strict=True), MARKERS[k] + "-", color=PALETTE[k], label=name)
    cost.set(xscale="log", yscale="log", xlabel="largest condition number", ylabel="best relative error, median")
    outside.set(
        xscale="log",
        yscale="log",
        xlabel=f"scale s of the matrices (trained at 1, κ ≤ {conditions[0]:g})",
        ylabel="relative error, median",
    )
    cost.legend(frameon=False, fontsize="small")
    axes[0].legend(frameon=False, fontsize="x-small")
    return figure


COMPACT_SETS = Experiment(
    name="compact_sets",
    title="Can: compact sets",
    hypothesis=(
        "On sets of bounded condition number every architecture reaches a median error below 10 % where the bound is "
        "small, errors fall with training, and rise with the bound."
    ),
    settings={
        "small": Settings(("mlp", "gated"), (2.0, 100.0), 2, 32, 20, (16,), (), (5, 10), (100,), (1e-2,), 2, 128),
        "full": Settings(),
    },
    measure=measure,
    judge=judge,
    draw=draw,
    shown={
        "best": TableSpec(
            "The best of each network, 3×3 matrices; repetitions that come within a factor 10 of it",
            (
                Column("architecture", "network"),
                Column("condition", "κ ≤", "g"),
                Column("median", "median error", ".2g"),
                Column("worst", "worst error", ".2g"),
                Column("alike", "repetitions"),
                Column("repetitions", "of"),
                Column("width", "width"),
                Column("depth", "depth or products"),
                Column("steps", "steps", ","),
                Column("multiplications", "multiplications", ","),
            ),
        ),
        "runs": TableSpec(
            "Relative errors of the base networks and of the iteration, 3×3 matrices; the first of the repetitions",
            (
                Column("architecture", "network"),
                Column("condition", "κ ≤", "g"),
                Column("axis", "varied"),
                Column("width", "width"),
                Column("depth", "depth or products"),
                Column("steps", "steps"),
                Column("samples", "distinct matrices", ","),
                Column("median", "median error", ".2g"),
                Column("worst", "worst error", ".2g"),
                Column("multiplications", "multiplications", ","),
            ),
            where=lambda row: row["member"] == 0 and row["axis"] in ("base", "products"),
        ),
        "rates": TableSpec(
            "Rates: error ≈ c · (quantity)ᵇ",
            (
                Column("architecture", "network"),
                Column("condition", "κ ≤", "g"),
                Column("axis", "in"),
                Column("exponent", "b", ".2f"),
                Column("low", "95 % from", ".2f"),
                Column("high", "to", ".2f"),
                Column("trend", "rank correlation", ".2f"),
                Column("trend_low", "95 % from", ".2f"),
                Column("trend_high", "to", ".2f"),
                Column("best", "best error", ".2g"),
            ),
        ),
        "unbounded": TableSpec(
            "Outside the set: the bare base networks on s·A",
            (
                Column("architecture", "network"),
                Column("condition", "κ ≤", "g"),
                Column("scale", "s", "g"),
                Column("median", "median error", ".2g"),
                Column("constant", "Lipschitz constant, found ≥", ".2g"),
            ),
        ),
    },
    alt="Error against width, depth, steps and samples, against the condition number, and outside the trained set",
)
