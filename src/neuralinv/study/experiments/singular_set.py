"""Experiment 2: across the singular matrices, a continuous map must fail."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

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
from neuralinv.study.experiments.fitting import Recipe, answers, fit, relative_error, relative_errors
from neuralinv.study.experiments.sets import Side, SpectralSet, compose
from neuralinv.study.experiments.statistics import power_law
from neuralinv.study.lipschitz import certified_constant
from neuralinv.study.plots import MARKERS, PALETTE, panels

_HALF = 0.5
_TRAINED_DOWN_TO = 1e-3
_SMALLEST = 1e-6
_SIDES: tuple[Side, ...] = ("both", "positive")
_CONTINUOUS = ("mlp", "resnet")


@dataclass(frozen=True)
class Settings:
    """Networks as ``(architecture, n, hidden, depth)``; steps; repetitions; paths; points on each side of a path."""

    networks: tuple[tuple[str, int, int, int], ...] = (
        ("mlp", 1, 64, 3),
        ("mlp", 2, 64, 3),
        ("mlp", 3, 64, 3),
        ("resnet", 2, 16, 1),
        ("gated", 2, 32, 1),
        ("gated", 3, 48, 1),
    )
    steps: int = 900
    members: int = 3
    paths: int = 128
    points: int = 31


def measure(settings: Settings, seed: int, progress: Progress) -> Tables:
    """Train on both components and on one; walk along paths ``U diag(1, …, 1, t) V`` with t from 1 to −1."""
    counter = Counter(2 * len(settings.networks), progress)
    path: list[Row] = []
    crossing: list[Row] = []
    for architecture, n, hidden, depth in settings.networks:
        for side in _SIDES:
            model = ModelConfig(architecture, n, hidden, depth, newton_schulz_steps=0, members=settings.members)
            matrices = SpectralSet(n, _TRAINED_DOWN_TO, side=side)
            loss = None if architecture == "gated" else relative_error
            network = fit(model, matrices.source(), Recipe(settings.steps, seed=seed), loss=loss)
            rows = _walk(network, matrices, settings, seed)
            path += [{"architecture": architecture, "n": n, "trained_on": side, **row} for row in rows]
            crossing.append(
                {
                    "architecture": architecture,
                    "n": n,
                    "trained_on": side,
                    **_summarise(rows, _constant(network), side, n),
                }
            )
            counter.done()
    return {"crossing": crossing, "path": path}


def _walk(network: Architecture, matrices: SpectralSet, settings: Settings, seed: int) -> list[Row]:
    """Errors at each t: the worse of t and −t where both components count, as the floor is about the pair."""
    U, V = SpectralSet(matrices.n, 1.0, side="positive").factors(
        settings.paths, generator=torch.Generator().manual_seed(seed + 1)
    )
    rows = []
    for t in torch.logspace(math.log10(_SMALLEST), 0, settings.points).tolist():
        relative, absolute, right_sign = [], [], []
        for sign in (1.0, -1.0) if matrices.side == "both" else (1.0,):
            s = torch.ones(settings.paths, matrices.n, dtype=torch.float64)
            s[:, -1] = sign * t
            A, inverse = compose(s, U, V)
            X = answers(network, A)
            relative.append(relative_errors(X, inverse))
            absolute.append(torch.linalg.matrix_norm(X - inverse))
            # The component of A⁻¹ that blows up is v_n u_nᵀ/t: does the answer have its sign?
            coefficient = torch.einsum("bi,mbij,bj->mb", V[:, -1], X, U[:, :, -1])
            right_sign.append((coefficient * sign > 0).double())
        rows.append(
            {
                "t": t,
                "relative": float(torch.stack(relative).amax(0).median()),
                "absolute": float(torch.stack(absolute).amax(0).median()),
                "right_sign": float(torch.stack(right_sign).mean()),
            }
        )
    return rows


def _constant(network: Architecture) -> Tensor | None:
    assert isinstance(network, nn.Module)
    try:
        return certified_constant(network)
    except TypeError:
        return None


def _width_floor(constant: float, n: int) -> float:
    """Up to which |t| the worse of ±t must be off by half of ``‖A⁻¹‖_F = √(n − 1 + 1/t²)``, given L.

    The error is at least ``1/t − Lt``; with u = t², ``(1 − Lu)² = (1 + (n − 1)u)/4`` has this smaller root.
    """
    half = constant + (n - 1) / 8
    return math.sqrt((half - math.sqrt(half**2 - 0.75 * constant**2)) / constant**2)


def _summarise(rows: list[Row], certified: Tensor | None, side: str, n: int) -> Row:
    near = [row for row in rows if row["t"] <= _TRAINED_DOWN_TO]
    exponent = power_law([row["t"] for row in near], [row["absolute"] for row in near])
    failing = [row["t"] for row in rows if row["relative"] >= _HALF]
    constant = None if certified is None else float(certified.max())
    return {
        "exponent": exponent.value,
        "exponent_low": exponent.low,
        "exponent_high": exponent.high,
        "nearest": rows[0]["relative"],
        "best": min(row["relative"] for row in rows),
        "width": max(failing, default=0.0),
        "certified": constant,
        "width_floor": None if constant is None or side != "both" else _width_floor(constant, n),
        "sign_at_training_edge": min(near, key=lambda row: -row["t"])["right_sign"],
        "sign_nearest": rows[0]["right_sign"],
    }


def judge(tables: Tables) -> Judgement:
    """Supported if every continuous network's error grows like 1/|t| and ends as bad as answering zero."""
    rows = [row for row in tables["crossing"] if row["architecture"] in _CONTINUOUS]
    like_pole = [abs(row["exponent"] + 1) <= 0.1 and row["nearest"] >= 0.9 for row in rows]
    escaped = [row for row in rows if row["nearest"] < _HALF]
    exponents = [row["exponent"] for row in rows]
    because = (
        f"along paths across det = 0 the error of {sum(like_pole)} of {len(rows)} continuous networks grows like 1/|t| "
        f"(exponents {min(exponents):.3f} to {max(exponents):.3f}), up to a relative error of "
        f"{min(row['nearest'] for row in rows):.2f} or more at |t| = {_SMALLEST:g}"
    )
    outcome = decide(contradicted=bool(escaped), supported=all(like_pole))
    both = [row for row in rows if row["trained_on"] == "both"]
    findings = [
        Finding(
            f"Trained on both components, continuous networks are off by half or more for all |t| up to "
            f"{min(row['width'] for row in both):.2g} to {max(row['width'] for row in both):.2g}; their certified "
            f"constants forbid anything better than {min(row['width_floor'] for row in both):.1g} to "
            f"{max(row['width_floor'] for row in both):.1g}.",
            "crossing",
        )
    ]
    gated = [row for row in tables["crossing"] if row["architecture"] == "gated" and row["trained_on"] == "both"]
    if gated:
        signs = [row["sign_at_training_edge"] for row in gated]
        nearest = [row["nearest"] for row in gated]
        findings.append(
            Finding(
                f"Networks whose scale has a pole (gated) are discontinuous, and keep the right sign at "
                f"|t| = {_TRAINED_DOWN_TO:g} for {min(signs):.0%} to {max(signs):.0%} of the paths; nearer by they "
                f"fail, too: relative error {min(nearest):.2g} to {max(nearest):.2g} at {_SMALLEST:g}.",
                "crossing",
            )
        )
    return Judgement(outcome, because, tuple(findings))


def draw(tables: Tables) -> Figure:
    """Draw the relative error along the paths, for networks trained on both components and on one."""
    figure, axes = panels(2, width=5.2)
    names = list(dict.fromkeys((row["architecture"], row["n"]) for row in tables["path"]))
    for side, ax in zip(("both", "positive"), axes, strict=True):
        for k, (architecture, n) in enumerate(names):
            rows = [
                r for r in tables["path"] if (r["architecture"], r["n"], r["trained_on"]) == (architecture, n, side)
            ]
            ax.plot(
                [row["t"] for row in rows],
                [row["relative"] for row in rows],
                MARKERS[k] + "-",
                color=PALETTE[k],
                markevery=5,
                label=f"{architecture}, n = {n}",
            )
        ax.axvline(_TRAINED_DOWN_TO, color="#6E6E6E", linewidth=1, linestyle="--")
        ax.set(xscale="log", yscale="log", xlabel="|t|: distance from the singular matrices along the path")
    axes[0].set(ylabel="relative error, median over paths", title="both signs of det, the worse of ±t")
    axes[1].set_title("one sign of det alone")
    axes[1].annotate("trained from\nhere on →", (_TRAINED_DOWN_TO * 0.8, 0.02), ha="right", fontsize="small")
    axes[0].legend(frameon=False, fontsize="small")
    for ax in axes:
        ax.set_ylim(1e-5, 5)
    return figure


SINGULAR_SET = Experiment(
    name="singular_set",
    title="Cannot: across the singular matrices",
    hypothesis=(
        "GL(n) has two components, and a continuous map stays bounded on a path from one to the other: along "
        "A(t) = U diag(1, …, 1, t) V its error grows like 1/|t| as t → 0, and its relative error tends to 1."
    ),
    settings={
        "small": Settings((("mlp", 1, 16, 2), ("gated", 2, 16, 1)), 25, 2, 16, 13),
        "full": Settings(),
    },
    measure=measure,
    judge=judge,
    draw=draw,
    shown={
        "crossing": TableSpec(
            "Along paths across det = 0",
            (
                Column("architecture", "network"),
                Column("n", "n"),
                Column("trained_on", "trained on"),
                Column("exponent", "exponent of the error in |t|", ".3f"),
                Column("nearest", "relative error at |t| = 1e-6", ".2g"),
                Column("best", "best anywhere", ".2g"),
                Column("width", "off by half up to |t| =", ".2g"),
                Column("width_floor", "floor of that", ".2g"),
                Column("sign_at_training_edge", "right sign at 1e-3", ".0%"),
                Column("sign_nearest", "right sign at 1e-6", ".0%"),
            ),
        )
    },
    alt="Relative error along paths towards a singular matrix, for networks trained on both components and on one",
)
