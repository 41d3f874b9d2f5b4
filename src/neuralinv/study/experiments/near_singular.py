"""Experiment 1: near singular matrices, the inverse asks for a larger Lipschitz constant than a network has."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

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
from neuralinv.study.experiments.fitting import Draw, Recipe, absolute_error, answers, double_function, fit
from neuralinv.study.experiments.sets import SpectralSet, compose
from neuralinv.study.experiments.statistics import power_law
from neuralinv.study.lipschitz import certified_constant, inverse_constant, observed_constant, uniform_error_floor
from neuralinv.study.plots import BLACK, MARKERS, PALETTE, panels

_FAILED = 0.5
"""A worst error of half the largest inverse: hardly better than answering zero."""
_LEARNED = 0.1
_PAIRS = 20_000
_SAME = 0.1
"""Answers that are no farther apart, in units of the largest inverse 1/δ, are about one answer: inverses of opposite
sign are 2/δ apart.
"""


@dataclass(frozen=True)
class Settings:
    """Networks as ``(architecture, n, hidden, depth)``, distances δ, steps, repetitions, matrices of the test."""

    networks: tuple[tuple[str, int, int, int], ...] = (
        ("mlp", 1, 64, 3),
        ("mlp", 2, 64, 3),
        ("mlp", 4, 64, 3),
        ("resnet", 2, 16, 1),
    )
    deltas: tuple[float, ...] = (1.0, 0.3, 0.1, 0.03, 0.01, 1e-3, 1e-4)
    steps: int = 700
    members: int = 3
    test: int = 4096


def measure(settings: Settings, seed: int, progress: Progress) -> Tables:
    """Train every network for every δ; return the tables ``constant`` and ``networks``."""
    counter = Counter(len(settings.networks) * len(settings.deltas), progress)
    networks = []
    for architecture, n, hidden, depth in settings.networks:
        for delta in settings.deltas:
            model = ModelConfig(architecture, n, hidden, depth, newton_schulz_steps=0, members=settings.members)
            networks.append(_measure_network(model, delta, settings, seed))
            counter.done()
    sizes = dict.fromkeys(n for _, n, _, _ in settings.networks)
    constant = [_measure_constant(n, delta, seed) for n in sizes for delta in settings.deltas]
    return {"networks": networks, "constant": constant}


def scaled_targets(matrices: SpectralSet, scale: float) -> Draw:
    """Draw from a set, with inverses multiplied by ``scale``: the size of the answer is then no obstacle."""

    def draw(count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        A, inverse = matrices.draw(count, generator=generator)
        return A, scale * inverse

    return draw


def _measure_network(model: ModelConfig, delta: float, settings: Settings, seed: int) -> Row:
    matrices = SpectralSet(model.size, delta)
    # The network learns δ A⁻¹, of norm at most √n: constants and errors below are those of its answer over δ.
    recipe = Recipe(settings.steps, seed=seed)
    network = fit(model, scaled_targets(matrices, delta), recipe, loss=absolute_error)
    generator = torch.Generator().manual_seed(seed + 1)
    A, inverse = _test_set(matrices, settings.test, generator)
    found = answers(network, A)
    errors = torch.linalg.matrix_norm(found / delta - inverse)
    starts = matrices.draw(model.members * 32, generator=generator)[0].unflatten(0, (model.members, 32))
    observed = observed_constant(double_function(network), starts, radius=model.size**0.5) / delta
    assert isinstance(network, nn.Module)
    certified = certified_constant(network) / delta
    return {
        "architecture": model.architecture,
        "n": model.size,
        "delta": delta,
        "needed": inverse_constant(delta),
        "observed": float(observed.max()),
        "certified": float(certified.max()),
        # The best network's error, and the floor of the one with the largest constant: the floor holds for each.
        "worst": float(errors.amax(1).min()),
        "worst_relative": float(errors.amax(1).min()) * delta,
        # How far apart the answers to the test's matrices are: 0 where training ended at one answer for all.
        "spread": float(torch.linalg.matrix_norm(found - found[:, :1]).amax()),
        "median_relative": float((errors / torch.linalg.matrix_norm(inverse)).median()),
        "floor": uniform_error_floor(float(certified.max()), delta),
        "floor_relative": uniform_error_floor(float(certified.max()), delta) * delta,
    }


def _test_set(matrices: SpectralSet, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Matrices of the set, and pairs on its boundary with ``σ_n = ±δ``, which the floor is about."""
    A, inverse = matrices.draw(count // 2, generator=generator)
    U, V = matrices.factors(count // 4, generator=generator)
    s = torch.ones(count // 4, matrices.n, dtype=torch.float64)
    pairs = []
    for sign in (1.0, -1.0):
        s[:, -1] = sign * matrices.delta
        pairs.append(compose(s, U, V))
    return (torch.cat([first, *rest]) for first, *rest in zip((A, inverse), *pairs, strict=True))  # type: ignore[return-value]


def _measure_constant(n: int, delta: float, seed: int) -> Row:
    """The inverse's own quotients, as shares of 1/δ²: of the pair that attains it in the limit, and of random pairs."""
    generator = torch.Generator().manual_seed(seed)
    step = 1e-4 * delta
    attained = (1 / delta - 1 / (delta + step)) / step * delta**2
    matrices = SpectralSet(n, delta)
    (A, X), (B, Y) = (matrices.draw(_PAIRS, generator=generator) for _ in range(2))
    distance = torch.linalg.matrix_norm(A - B)
    quotient = torch.linalg.matrix_norm(X - Y) / distance.clamp(min=1e-12) * delta**2
    return {"n": n, "delta": delta, "attained": attained, "random": float(quotient[distance > 1e-12].max())}


def judge(tables: Tables) -> Judgement:
    """Supported if every network fails at the smallest δ, its error grows like a power of 1/δ, and no floor is
    broken.
    """
    rows = tables["networks"]
    names = dict.fromkeys((row["architecture"], row["n"]) for row in rows)
    broken = [row for row in rows if row["floor"] > row["worst"]]
    last, grows, fits = [], [], []
    for name in names:
        chosen = [row for row in rows if (row["architecture"], row["n"]) == name]
        last.append(min(chosen, key=lambda row: row["delta"])["worst_relative"])
        exponent = power_law([1 / row["delta"] for row in chosen], [row["worst"] for row in chosen])
        grows.append(exponent.low > 0)
        fits.append(f"{name[0]}, n = {name[1]}: {exponent}")
    smallest = min(row["delta"] for row in rows)
    because = (
        f"at δ = {smallest:g} the worst error is {min(last):.2f} to {max(last):.2f} of the largest inverse; "
        f"its exponent in 1/δ is {'; '.join(fits)}; the floor lies above the measured error in {len(broken)} of "
        f"{len(rows)} cases"
    )
    outcome = decide(contradicted=bool(broken) or min(last) < _LEARNED, supported=min(last) >= _FAILED and all(grows))
    effective = [row for row in rows if row["floor_relative"] > 0]
    findings = []
    if effective:
        first = max(row["delta"] for row in effective)
        share = max(row["floor_relative"] for row in effective)
        findings.append(
            Finding(
                f"The floor that follows from the certified constants alone forbids success from δ = {first:g} "
                f"downwards for some networks; it reaches {share:.2f} of the largest inverse.",
                "networks",
            )
        )
    usable = [row["delta"] for row in rows if row["worst_relative"] < _LEARNED]
    findings.append(
        Finding(
            f"A worst error below {_LEARNED:g} of the largest inverse was reached only for δ ≥ {min(usable):g}."
            if usable
            else f"No network reached a worst error below {_LEARNED:g} of the largest inverse.",
            "networks",
        )
    )
    findings += [
        Finding(
            f"{a}, n = {n} gives up from δ = {delta:g} down: no answer is farther than {_SAME:g}/δ from the first, "
            "while inverses are up to 2/δ apart.",
            "networks",
        )
        for a, n in names
        if (delta := _given_up([row for row in rows if (row["architecture"], row["n"]) == (a, n)])) is not None
    ]
    return Judgement(outcome, because, tuple(findings))


def _given_up(rows: list[Row]) -> float | None:
    """The largest δ from which on downwards all answers are about the same."""
    same = [row["delta"] for row in rows if row["spread"] <= _SAME]
    varied = [row["delta"] for row in rows if row["spread"] > _SAME]
    below = [delta for delta in same if delta < min(varied, default=math.inf)]
    return max(below, default=None)


def draw(tables: Tables) -> Figure:
    """Draw worst errors and floors, and constants, against δ."""
    figure, (left, right) = panels(2, width=5.2)
    names = dict.fromkeys((row["architecture"], row["n"]) for row in tables["networks"])
    for k, (architecture, n) in enumerate(names):
        rows = [row for row in tables["networks"] if (row["architecture"], row["n"]) == (architecture, n)]
        x, colour = [row["delta"] for row in rows], PALETTE[k]
        label = f"{architecture}, n = {n}"
        left.plot(x, [row["worst_relative"] for row in rows], MARKERS[k] + "-", color=colour, label=label)
        left.plot(x, [row["floor_relative"] or math.nan for row in rows], MARKERS[k] + ":", color=colour, mfc="none")
        right.plot(x, [row["observed"] or math.nan for row in rows], MARKERS[k] + "-", color=colour, label=label)
        right.plot(x, [row["certified"] for row in rows], MARKERS[k] + ":", color=colour, mfc="none")
    deltas = sorted({row["delta"] for row in tables["networks"]})
    right.plot(deltas, [inverse_constant(d) for d in deltas], color=BLACK, linewidth=2, label="needed, 1/δ²")
    for axes, quantity in ((left, "worst error, share of the largest inverse 1/δ"), (right, "Lipschitz constant")):
        axes.set(xscale="log", xlabel="distance δ from the singular matrices (σ₁ = 1)", ylabel=quantity)
        axes.invert_xaxis()
    right.set_yscale("log")
    left.set(ylim=(0, None), title="solid: measured; dotted: floor")
    right.set_title("solid: found by ascent; dotted: certified")
    right.legend(frameon=False, fontsize="small")
    return figure


NEAR_SINGULAR = Experiment(
    name="near_singular",
    title="Cannot: near singular matrices",
    hypothesis=(
        "On {A : σ₁ = 1, σ_min ≥ δ} the inverse has the Lipschitz constant 1/δ². Networks of a given size and training "
        "do not follow it: their worst error grows like a power of 1/δ, and reaches half of the largest inverse, never "
        "below the floor that their own constant sets."
    ),
    settings={
        "small": Settings((("mlp", 1, 16, 2), ("resnet", 2, 4, 1)), (1.0, 1e-2, 1e-4), 25, 2, 128),
        "full": Settings(),
    },
    measure=measure,
    judge=judge,
    draw=draw,
    shown={
        "networks": TableSpec(
            "Worst error ‖f(A) − A⁻¹‖_F and Lipschitz constants; errors and floors as shares of the largest inverse",
            (
                Column("architecture", "network"),
                Column("n", "n"),
                Column("delta", "δ", "g"),
                Column("needed", "needed 1/δ²", ".2g"),
                Column("observed", "found ≥", ".2g"),
                Column("certified", "certified ≤", ".2g"),
                Column("spread", "answers apart · δ", ".2g"),
                Column("median_relative", "median error, relative", ".2g"),
                Column("worst_relative", "worst error · δ", ".2f"),
                Column("floor_relative", "floor · δ", ".2f"),
            ),
        ),
        "constant": TableSpec(
            "The inverse's own quotients ‖A⁻¹ − B⁻¹‖_F / ‖A − B‖_F, as shares of 1/δ²",
            (
                Column("n", "n"),
                Column("delta", "δ", "g"),
                Column("attained", "the pair of the proof", ".4f"),
                Column("random", "largest of random pairs", ".2g"),
            ),
        ),
    },
    alt="Worst error and its floor against the distance from singularity, and the Lipschitz constants behind them",
)
