"""Experiment 3: larger matrices, at fixed condition number, parameters and samples."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from matplotlib.figure import Figure

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
from neuralinv.study.experiments.fitting import Recipe, answers, fit, parameter_count, relative_errors
from neuralinv.study.experiments.sets import SpectralSet
from neuralinv.study.experiments.statistics import power_law
from neuralinv.study.plots import BLACK, MARKERS, PALETTE, panels

_DEEPEST = 3
_SATURATED = 0.9
"""Share of the error without any learning above which a fit would describe the ceiling, not the network."""


@dataclass(frozen=True)
class Settings:
    """Architectures, sizes, condition number, parameters, steps, repetitions and matrices of the test."""

    architectures: tuple[str, ...] = ("mlp", "gated")
    sizes: tuple[int, ...] = (1, 2, 3, 4, 6, 8, 12, 16)
    condition: float = 10.0
    parameters: int = 24_000
    steps: int = 800
    members: int = 3
    test: int = 2048


def measure(settings: Settings, seed: int, progress: Progress) -> Tables:
    """Train networks of the same number of weights for every size; one row for each repetition."""
    counter = Counter(len(settings.architectures) * len(settings.sizes), progress)
    rows: list[Row] = []
    for architecture in settings.architectures:
        for n in settings.sizes:
            model = with_parameters(architecture, n, settings.parameters, settings.members)
            matrices = SpectralSet(n, 1 / settings.condition)
            network = fit(model, matrices.source(), Recipe(settings.steps, seed=seed))
            A, inverse = matrices.draw(settings.test, generator=torch.Generator().manual_seed(seed + 1))
            # The best multiple of the transpose needs no learning: a network that is no better has learned nothing.
            c = (A.mT * inverse).sum() / A.square().sum()
            baseline = float(relative_errors(c * A.mT, inverse).median())
            for member, errors in enumerate(relative_errors(answers(network, A), inverse)):
                rows.append(
                    {
                        "architecture": architecture,
                        "n": n,
                        "member": member,
                        "hidden": model.hidden,
                        "parameters": parameter_count(model),
                        "samples": settings.steps * Recipe(1).batch,
                        "median": float(errors.median()),
                        "worst": float(errors.max()),
                        "baseline": baseline,
                    }
                )
            counter.done()
    return {"sizes": rows, "fits": _fits(rows)}


def with_parameters(architecture: str, n: int, parameters: int, members: int) -> ModelConfig:
    """Return the widest network of at most so many weights (and at least 4 wide)."""
    depth = min(max(n - 2, 0), _DEEPEST) if architecture == "gated" else 3
    low, high = 4, 4096
    while high - low > 1:
        middle = (low + high) // 2
        model = ModelConfig(architecture, n, middle, depth, newton_schulz_steps=0, members=1)
        low, high = (middle, high) if parameter_count(model) <= parameters else (low, middle)
    return ModelConfig(architecture, n, low, depth, newton_schulz_steps=0, members=members)


def _fits(rows: list[Row]) -> list[Row]:
    fits: list[Row] = []
    for name in dict.fromkeys(row["architecture"] for row in rows):
        mine = [row for row in rows if row["architecture"] == name]
        learned = [row for row in mine if row["n"] > 1 and row["median"] < _SATURATED * row["baseline"]]
        least = min(
            (row["n"] for row in mine if row["n"] > 1 and row["median"] >= _SATURATED * row["baseline"]), default=None
        )
        entry: Row = {"architecture": name, "nothing_learned_from": least, "points": len(learned)}
        if len({row["n"] for row in learned}) >= 3:
            fit_ = power_law([row["n"] for row in learned], [row["median"] for row in learned])
            entry |= {"exponent": fit_.value, "low": fit_.low, "high": fit_.high}
        else:
            entry |= {"exponent": None, "low": None, "high": None}
        fits.append(entry)
    return fits


def judge(tables: Tables) -> Judgement:
    """Supported if the error of every architecture rises with n: rank by rank, and by a factor of ten in all."""
    parts, rising = [], []
    findings = []
    for fit_ in tables["fits"]:
        name = fit_["architecture"]
        medians = _by_size(tables, name)
        sizes = sorted(n for n in medians if n > 1)  # gated inverts 1×1 matrices by construction
        growth = medians[sizes[-1]] / medians[sizes[0]]
        rising.append(growth >= 10)
        exponent = (
            f", like n^{fit_['exponent']:.2f} [{fit_['low']:.2f}, {fit_['high']:.2f}]"
            if fit_["exponent"] is not None
            else ""
        )
        parts.append(
            f"{name} {medians[sizes[0]]:.1e} at n = {sizes[0]} and {medians[sizes[-1]]:.2f} at "
            f"n = {sizes[-1]}{exponent}"
        )
        if fit_["nothing_learned_from"] is not None:
            findings.append(
                Finding(
                    f"From n = {fit_['nothing_learned_from']} on, {name} is hardly better than the best multiple of "
                    "the transpose.",
                    "fits",
                )
            )
    outcome = decide(contradicted=not any(rising), supported=all(rising))
    return Judgement(outcome, f"median errors: {'; '.join(parts)}", tuple(findings))


def _by_size(tables: Tables, architecture: str) -> dict[int, float]:
    mine = [row for row in tables["sizes"] if row["architecture"] == architecture]
    return {
        n: sorted(row["median"] for row in mine if row["n"] == n)[sum(row["n"] == n for row in mine) // 2]
        for n in dict.fromkeys(row["n"] for row in mine)
    }


def draw(tables: Tables) -> Figure:
    """Draw the median relative error against n."""
    figure, (axes,) = panels(1, width=6.0)
    for k, name in enumerate(dict.fromkeys(row["architecture"] for row in tables["sizes"])):
        mine = [row for row in tables["sizes"] if row["architecture"] == name]
        axes.plot([r["n"] for r in mine], [r["median"] for r in mine], MARKERS[k], color=PALETTE[k], alpha=0.5)
        medians = _by_size(tables, name)
        axes.plot(list(medians), list(medians.values()), MARKERS[k] + "-", color=PALETTE[k], label=name)
    baseline = {row["n"]: row["baseline"] for row in tables["sizes"]}
    axes.plot(list(baseline), list(baseline.values()), "--", color=BLACK, label="best multiple of Aᵀ")
    axes.set(xscale="log", yscale="log", xlabel="size n of the matrices", ylabel="relative error, median over matrices")
    axes.set_xticks(list(baseline), [str(n) for n in baseline])
    axes.minorticks_off()
    axes.legend(frameon=False, fontsize="small")
    return figure


SIZE = Experiment(
    name="size",
    title="Cannot: by size",
    hypothesis=(
        "At a fixed condition number, number of weights and number of samples, the error of a network that maps "
        "entries to entries rises with n by at least a factor of ten from n = 2 to the largest, until nothing is "
        "learned."
    ),
    settings={
        "small": Settings(("mlp", "gated"), (1, 2, 4), parameters=2000, steps=30, members=2, test=128),
        "full": Settings(),
    },
    measure=measure,
    judge=judge,
    draw=draw,
    shown={
        "sizes": TableSpec(
            "Relative errors at condition numbers up to 10; the first of the repetitions",
            (
                Column("architecture", "network"),
                Column("n", "n"),
                Column("hidden", "width"),
                Column("parameters", "weights", ","),
                Column("samples", "samples", ","),
                Column("median", "median error", ".2g"),
                Column("worst", "worst error", ".2g"),
                Column("baseline", "best multiple of Aᵀ", ".2g"),
            ),
            where=lambda row: row["member"] == 0,
        ),
        "fits": TableSpec(
            "Power laws error ≈ c nᵇ over the sizes at which something is learned, n > 1",
            (
                Column("architecture", "network"),
                Column("exponent", "b", ".2f"),
                Column("low", "95 % from", ".2f"),
                Column("high", "to", ".2f"),
                Column("points", "points"),
                Column("nothing_learned_from", "nothing learned from n ="),
            ),
        ),
    },
    alt="Median relative error against matrix size for two architectures and the best multiple of the transpose",
)
