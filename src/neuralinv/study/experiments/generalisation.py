"""Experiment 6: static sets against fresh matrices, inside the trained range and outside."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from matplotlib.figure import Figure
from torch import Tensor

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
    fit,
    relative_errors,
)
from neuralinv.study.experiments.sets import SpectralSet
from neuralinv.study.plots import MARKERS, PALETTE, panels

_BLOCK = 1000
"""Static sets are made of blocks of so many matrices, each a function of its number: none needs to be kept."""
_JUDGED = 4096
_OVERFITTED = 1.5
_WHOLE = "κ ≤ 10"
_GAP = "κ ≤ 2 or ≥ 5"


@dataclass(frozen=True)
class Settings:
    """Set sizes (multiples of 1000), matrices in a step and steps of the training; scales and condition numbers inside
    and outside; steps of the gated networks.
    """

    sizes: tuple[int, ...] = (1_000, 10_000, 100_000, 1_000_000, 10_000_000)
    batch: int = 10_000
    steps: int = 1000
    hidden: int = 48
    n: int = 2
    condition: float = 10.0
    gated_steps: int = 500
    scales: tuple[float, ...] = (0.1, 0.3, 1.0, 3.0, 10.0)
    conditions: tuple[float, ...] = (1.5, 3.0, 10.0, 30.0, 100.0, 1000.0)
    learning_rate: float = 1e-2


def measure(settings: Settings, seed: int, progress: Progress) -> Tables:
    """Train on static sets of each size with the same number of draws, and others on a set with a gap; take the network
    of the largest set, and gated ones, inside and outside of what they were trained on.
    """
    counter = Counter(3 * (len(settings.sizes) + 1) + 2, progress)
    sets = []
    for size in settings.sizes:
        network = _dense(static_set(settings, size, seed), settings, seed)
        sets.append(_seen_and_fresh(network, size, settings, seed))
        counter.done(3)
    # The largest set is seen once or little more: its network stands for the whole range.
    trained = {("mlp", _WHOLE): network, ("mlp", _GAP): _dense(_with_gap(settings), settings, seed)}
    counter.done(3)
    for name, draw_ in ((_WHOLE, _bounded(settings)), (_GAP, _with_gap(settings))):
        model = ModelConfig("gated", settings.n, 64, 1, newton_schulz_steps=0)
        trained["gated", name] = fit(model, draw_, Recipe(settings.gated_steps, seed=seed))
        counter.done()
    reach = [
        {"architecture": architecture, "trained_on": name, **row}
        for (architecture, name), one in trained.items()
        for row in _reach(one, settings, seed)
    ]
    return {"sets": sets, "reach": reach}


def block(settings: Settings, index: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return block ``index`` of the static set: always the same 1000 matrices, with their inverses."""
    generator = torch.Generator().manual_seed((seed << 32) | (index + 1))
    return SpectralSet(settings.n, 1 / settings.condition).draw(_BLOCK, generator=generator)


def static_set(settings: Settings, size: int, seed: int) -> Draw:
    """Draw steps of whole blocks from a set of ``size`` matrices, in a shuffled order anew for each pass."""
    blocks = size // _BLOCK
    kept = {k: block(settings, k, seed) for k in range(blocks)} if size <= 1_000_000 else {}
    waiting: list[int] = []

    def draw(count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        parts = []
        for _ in range(count // _BLOCK):
            if not waiting:
                waiting.extend(torch.randperm(blocks, generator=generator).tolist())
            k = waiting.pop()
            parts.append(kept[k] if k in kept else block(settings, k, seed))
        A, inverse = (torch.cat(part) for part in zip(*parts, strict=True))
        return A, inverse

    return draw


def _dense(draw_: Draw, settings: Settings, seed: int) -> Architecture:
    model = ModelConfig("mlp", settings.n, settings.hidden, 3, newton_schulz_steps=0)
    return fit(model, draw_, Recipe(settings.steps, settings.batch, settings.learning_rate, seed))


def _seen_and_fresh(network: Architecture, size: int, settings: Settings, seed: int) -> Row:
    seen = [block(settings, k, seed) for k in range(min(size, _JUDGED) // _BLOCK)]
    A, inverse = (torch.cat(part) for part in zip(*seen, strict=True))
    fresh = SpectralSet(settings.n, 1 / settings.condition).draw(
        _JUDGED, generator=torch.Generator().manual_seed((seed << 32) | 0xFFFF_FFFF)
    )
    on_seen, on_fresh = (_median(network, *pair) for pair in ((A, inverse), fresh))
    return {
        "size": size,
        "draws": settings.steps * settings.batch,
        "passes": settings.steps * settings.batch / size,
        "kept": size <= 1_000_000,
        "seen": on_seen,
        "fresh": on_fresh,
        "ratio": on_fresh / on_seen,
    }


def _bounded(settings: Settings) -> Draw:
    return SpectralSet(settings.n, 1 / settings.condition).source()


def _with_gap(settings: Settings) -> Draw:
    """Condition numbers up to 2 or exactly 5 to 10: those between are left for interpolation."""
    low = SpectralSet(settings.n, 0.5)
    high = [SpectralSet(settings.n, 1 / c, exact=True) for c in (5.0, 7.0, 10.0)]

    def draw(count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        quarter = count // 4
        parts = [matrices.draw(quarter, generator=generator) for matrices in high]
        parts.append(low.draw(count - 3 * quarter, generator=generator))
        A, inverse = (torch.cat(part) for part in zip(*parts, strict=True))
        return A, inverse

    return draw


def _reach(network: Architecture, settings: Settings, seed: int) -> list[Row]:
    generator = torch.Generator().manual_seed(seed + 5)
    rows = []
    A, inverse = SpectralSet(settings.n, 1 / settings.condition).draw(_JUDGED, generator=generator)
    for s in settings.scales:
        rows.append({"varied": "scale", "value": s, "median": _median(network, s * A, inverse / s)})
    for c in settings.conditions:
        A, inverse = SpectralSet(settings.n, 1 / c, exact=True).draw(_JUDGED, generator=generator)
        rows.append({"varied": "condition", "value": c, "median": _median(network, A, inverse)})
    return rows


def _median(network: Architecture, A: Tensor, inverse: Tensor) -> float:
    return float(relative_errors(answers(network, A), inverse).median())


def judge(tables: Tables) -> Judgement:
    """Supported if small sets are over-fitted and large ones are not, and errors grow outside the trained range."""
    sets = sorted(tables["sets"], key=lambda row: row["size"])
    small, large = sets[0], sets[-1]
    enough = next((row["size"] for row in sets if row["ratio"] < _OVERFITTED), None)
    value = {(r["architecture"], r["trained_on"], r["varied"], r["value"]): r["median"] for r in tables["reach"]}
    names = list(dict.fromkeys((r["architecture"], r["trained_on"]) for r in tables["reach"]))
    scales = sorted({r["value"] for r in tables["reach"] if r["varied"] == "scale"})
    conditions = sorted({r["value"] for r in tables["reach"] if r["varied"] == "condition"})
    bounded = [(a, t) for a, t in names if t == _WHOLE]
    by_scale = [
        max(value[a, t, "scale", s] for s in (scales[0], scales[-1])) / value[a, t, "scale", 1.0] for a, t in bounded
    ]
    by_condition = [value[a, t, "condition", conditions[-1]] / value[a, t, "condition", 10.0] for a, t in bounded]
    overfits = small["ratio"] >= _OVERFITTED and large["ratio"] < _OVERFITTED
    outside = min(by_scale) > 2 and min(by_condition) > 2
    because = (
        f"fresh matrices are {small['ratio']:.2f} times as hard as seen ones after training on {small['size']:,}, "
        f"{large['ratio']:.2f} times after {large['size']:,}; outside the trained range the error is at least "
        f"{min(by_scale):.1f} times as large in scale and {min(by_condition):.1f} times in condition"
    )
    outcome = decide(contradicted=not (overfits or outside), supported=overfits and outside)
    near = f"for the error on fresh ones to come within {_OVERFITTED:g} times that on seen ones."
    findings = [
        Finding(f"{enough:,} matrices are enough {near}" if enough else f"No set was large enough {near}", "sets")
    ]
    inside = bounded[0][1]
    for a, t in names:
        if (a, t) in bounded or 3.0 not in conditions:
            continue
        with_gap, without = value[a, t, "condition", 3.0], value[a, inside, "condition", 3.0]
        findings.append(
            Finding(
                f"Interpolating over a gap in condition number: {a} is off by {with_gap:.1e} at κ = 3 without training "
                f"there, and by {without:.1e} with.",
                "reach",
            )
        )
    return Judgement(outcome, because, tuple(findings))


def draw(tables: Tables) -> Figure:
    """Draw seen against fresh errors by set size, and errors inside and outside."""
    figure, (left, middle, right) = panels(3)
    sets = tables["sets"]
    for k, (key, label) in enumerate((("seen", "on matrices of the set"), ("fresh", "on fresh matrices"))):
        left.plot([r["size"] for r in sets], [r[key] for r in sets], MARKERS[k] + "-", color=PALETTE[k], label=label)
    left.set(xlabel="distinct matrices in the training set", ylabel="relative error, median")
    for varied, axes in (("scale", middle), ("condition", right)):
        for k, (a, t) in enumerate(dict.fromkeys((r["architecture"], r["trained_on"]) for r in tables["reach"])):
            line = [r for r in tables["reach"] if (r["architecture"], r["trained_on"], r["varied"]) == (a, t, varied)]
            axes.plot(
                [r["value"] for r in line],
                [r["median"] for r in line],
                MARKERS[k] + "-",
                color=PALETTE[k],
                label=f"{a}, {t}",
            )
    middle.set(xlabel="scale of the matrices (trained at 1)", ylabel="relative error, median")
    right.set(xlabel="condition number (trained up to 10)", ylabel="relative error, median")
    left.set(xscale="log", ylim=(0, None))  # less than a decade: the logarithm would have no labels
    for axes in (middle, right):
        axes.set(xscale="log", yscale="log")
    for axes in (left, middle, right):
        axes.legend(frameon=False, fontsize="small")
    return figure


GENERALISATION = Experiment(
    name="generalisation",
    title="Generalisation: static sets, inside and outside",
    hypothesis=(
        "Networks over-fit small static sets and not large ones; inside the trained range they interpolate; outside "
        "it, in scale as in condition, errors at least double."
    ),
    settings={
        "small": Settings((1000, 4000), 1000, 20, 16, 2, 10.0, 20, (0.1, 1.0, 10.0), (3.0, 10.0, 100.0)),
        "full": Settings(),
    },
    measure=measure,
    judge=judge,
    draw=draw,
    shown={
        "sets": TableSpec(
            "Static sets: every network is trained on the same number of draws",
            (
                Column("size", "distinct matrices", ","),
                Column("draws", "draws", ","),
                Column("passes", "passes", ".4g"),
                Column("kept", "kept in memory"),
                Column("seen", "error on seen", ".2g"),
                Column("fresh", "error on fresh", ".2g"),
                Column("ratio", "ratio", ".2f"),
            ),
        ),
        "reach": TableSpec(
            "Inside and outside the trained range (median relative errors)",
            (
                Column("architecture", "network"),
                Column("trained_on", "trained on"),
                Column("varied", "varied"),
                Column("value", "to", "g"),
                Column("median", "median error", ".2g"),
            ),
        ),
    },
    alt="Errors on seen and fresh matrices by set size, and errors against scale and condition number",
)
