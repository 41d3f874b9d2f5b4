"""Experiment 7: is it worth it? Accuracy and time of everything that inverts, beside the exact kernel."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from torch import Tensor

from neuralinv.dense import certified_inv, inv, lapack
from neuralinv.dense.result import Source
from neuralinv.families import FAMILIES
from neuralinv.learned import fit_parametric, schulz
from neuralinv.learned.architectures.schulz import SchulzIteration, relative_scale
from neuralinv.learned.config import ModelConfig
from neuralinv.measuring.timing import time_interleaved
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
from neuralinv.study.experiments.fitting import Recipe, fit, from_pool, relative_errors
from neuralinv.study.intrinsic_dimension import as_points, two_nn
from neuralinv.study.plots import BLUE, GREEN, GREY, MARKERS, ORANGE, PALETTE, PURPLE, RED, SKY, panels

_RTOL = 1e-5
_ROUGH = 1e-2
_EXACT = "exact kernel"
_EXACT_PROVED = "exact kernel, proved"
_LIBRARY = "torch"
_NETWORK = "network"
_PARAMETRIC = "parametric inverse"
_ITERATION = "iteration"
_COLOURS = {
    _EXACT: BLUE,
    _EXACT_PROVED: SKY,
    _LIBRARY: GREY,
    _NETWORK: RED,
    f"{_NETWORK}, proved": ORANGE,
    _PARAMETRIC: GREEN,
    _ITERATION: PURPLE,
}
_SCORED = 256
_SHARE = 0.999
_MOST_PRODUCTS = 24  # beyond, an iteration cannot win


@dataclass(frozen=True)
class Settings:
    """Families with the parameters that are held; sizes; matrix entries in a batch; training steps; seconds of each
    timing.
    """

    families: tuple[tuple[str, str, float], ...] = (
        ("rbf", "", 0.0),
        ("ridge", "", 0.0),
        ("wishart", "aspect", 2.0),
        ("conditioned", "cond", 10.0),
        ("conditioned", "cond", 1000.0),
    )
    sizes: tuple[int, ...] = (2, 4, 8, 16, 32, 64)
    elements: int = 1 << 17
    steps: int = 100
    training: int = 1024
    snapshots: int = 256
    seconds: float = 0.04


def measure(settings: Settings, seed: int, progress: Progress) -> Tables:
    """Measure every method in every cell of the map, interleaved; and name the winners."""
    counter = Counter(len(settings.families) * len(settings.sizes), progress)
    rows: list[Row] = []
    for name, parameter, value in settings.families:
        for n in settings.sizes:
            rows += _cell(name, {parameter: value} if parameter else {}, n, settings, seed)
            counter.done()
    return {"methods": rows, "winners": winners(rows)}


def _cell(name: str, held: dict[str, Any], n: int, settings: Settings, seed: int) -> list[Row]:
    family, random = FAMILIES[name], torch.Generator().manual_seed(seed)
    count = max(4, settings.elements // n**2)
    thetas: Tensor | None = None
    if family.parametric:
        function = family.matrix_function(n, generator=random)
        thetas = family.thetas(settings.training + count, generator=random)
        pool = function(thetas)
    else:
        pool = family.sample(settings.training + count, n, generator=random, **held)
    scored = pool[-count:]
    A, exact = scored.float(), inv(scored)
    positive = family.symmetry == "positive"
    calls: dict[str, Callable[[], Any]] = {
        _EXACT: lambda: inv(A, assume_a="pos") if positive else inv(A),
        _EXACT_PROVED: lambda: certified_inv(A, rtol=_RTOL),
        _LIBRARY: lambda: lapack.inverse(A, positive=False),
    }
    training = {}
    training[_NETWORK], network = _timed(lambda: _train(pool[: settings.training], n, settings, seed))
    calls[_NETWORK] = lambda: network(A)
    calls[f"{_NETWORK}, proved"] = lambda: certified_inv(A, proposer=network, rtol=_RTOL)
    training[f"{_NETWORK}, proved"] = training[_NETWORK]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # fits that are too coarse show in the figures
        training[_ITERATION], iteration = _timed(lambda: _iteration(pool[: settings.training], positive=positive))
        if iteration is not None:
            calls[_ITERATION] = lambda: certified_inv(A, proposer=iteration.propose, rtol=_RTOL)
        if thetas is not None:
            theta = thetas[-count:]
            training[_PARAMETRIC], model = _timed(
                lambda: fit_parametric(
                    function, ranges=family.ranges, rtol=_RTOL, snapshots=settings.snapshots, seed=seed
                )
            )
            calls[_PARAMETRIC] = lambda: model.inv(A, theta)
        figures = {method: _accuracy(call(), exact) for method, call in calls.items()}
        times = time_interleaved(calls, settings.seconds, threads=torch.get_num_threads(), rounds=3)
    dimension = two_nn(as_points(pool[:1500]), seed=seed).value
    condition = float(np.median(np.linalg.cond(scored[:_SCORED].numpy())))
    base = times[_EXACT].median
    return [
        {
            "family": name,
            "n": n,
            "condition": condition,
            "dimension": dimension,
            "method": method,
            "seconds": times[method].median / count,
            "ratio": times[method].median / base,
            "training": training.get(method, 0.0),
            "payback": _payback(training.get(method, 0.0), base - times[method].median, count),
            **figures[method],
        }
        for method in calls
    ]


def _iteration(pool: Tensor, *, positive: bool) -> SchulzIteration | None:
    """The minimax iteration for the spectrum of the training matrices; None where it would take too many products."""
    scaled = pool / relative_scale(pool)
    values = torch.linalg.eigvalsh(scaled) if positive else torch.linalg.svdvals(scaled)
    iteration = schulz(float(values.min()), positive=positive, tolerance=_ROUGH)
    return iteration if iteration.products <= _MOST_PRODUCTS else None


def _payback(training: float, saved: float, count: int) -> float | None:
    """Number of inverses after which training has paid for itself; None where it never does."""
    return training / saved * count if saved > 0 and training > 0 else None


def _timed(make: Callable[[], Any]) -> tuple[float, Any]:
    started = time.perf_counter()
    made = make()
    return time.perf_counter() - started, made


def _train(pool: Tensor, n: int, settings: Settings, seed: int) -> Callable[[Tensor], Tensor]:
    inverse = inv(pool)
    scale_in = math.sqrt(n) / float(torch.linalg.matrix_norm(pool).mean())
    scale_out = math.sqrt(n) / float(torch.linalg.matrix_norm(inverse).log().mean().exp())
    hidden = 64 if n <= 8 else 128
    draw = from_pool(scale_in * pool, scale_out * inverse)
    architecture: Any = fit(ModelConfig("mlp", n, hidden, 2), draw, Recipe(settings.steps, seed=seed))

    def propose(A: Tensor) -> Tensor:
        with torch.no_grad():
            X: Tensor = architecture(scale_in * A).inverse[0] / scale_out
        return X

    return propose


def _accuracy(answer: Any, exact: Tensor) -> Row:
    X = answer if isinstance(answer, Tensor) else answer.inverse
    errors = relative_errors(X.double(), exact)
    proved = None if isinstance(answer, Tensor) else float(answer.certified.double().mean())
    without = None
    if proved is not None:
        without = float((answer.certified & (answer.source != int(Source.FALLBACK))).double().mean())
    return {
        "median": float(errors.median()),
        "quantile_99": float(errors.quantile(0.99)),
        "proved": proved,
        "without_fallback": without,
    }


def winners(rows: list[Row]) -> list[Row]:
    """Name the fastest method in each cell that is right to 1e-2 for 99 % of the matrices, and that proves 1e-5."""
    found = []
    for cell in dict.fromkeys((row["family"], row["condition"], row["n"]) for row in rows):
        mine = [row for row in rows if (row["family"], row["condition"], row["n"]) == cell]
        rough = [row for row in mine if row["quantile_99"] <= _ROUGH]
        proved = [row for row in mine if row["proved"] is not None and row["proved"] >= _SHARE]
        first, second = (min(group, key=lambda row: row["ratio"]) if group else None for group in (rough, proved))
        others = [row["ratio"] for row in proved if row["method"] != _EXACT_PROVED]
        base = next(row["ratio"] for row in mine if row["method"] == _EXACT_PROVED)
        found.append(
            {
                "family": cell[0],
                "condition": cell[1],
                "n": cell[2],
                "dimension": mine[0]["dimension"],
                "rough": first["method"] if first else None,
                "rough_ratio": first["ratio"] if first else None,
                "proved": second["method"] if second else None,
                "proved_speedup": base / min(others) if others else None,
                "network_error": next(row["quantile_99"] for row in mine if row["method"] == _NETWORK),
                "network_ratio": next(row["ratio"] for row in mine if row["method"] == _NETWORK),
            }
        )
    return found


def judge(tables: Tables) -> Judgement:
    """Supported if a direct network wins no cell, and something learned wins some."""
    cells = winners(tables["methods"])
    by_network = [c for c in cells if _NETWORK in (c["rough"] or "") or _NETWORK in (c["proved"] or "")]
    learned = [c for c in cells if c["proved"] in (_PARAMETRIC, _ITERATION)]
    slower = [c["network_ratio"] for c in cells]
    because = (
        f"of {len(cells)} cells a direct network wins {len(by_network)} (its time is {min(slower):.1f} to "
        f"{max(slower):.0f} times that of the exact kernel, without proof); parametric inverses and iterations for a "
        f"known spectrum are the fastest with a proof in {len(learned)}"
    )
    outcome = decide(contradicted=bool(by_network), supported=bool(learned))
    findings = []
    if learned:
        names = sorted(
            {f"{c['family']} from n = {min(d['n'] for d in learned if d['family'] == c['family'])}" for c in learned}
        )
        gains = [c["proved_speedup"] for c in learned]
        findings.append(
            Finding(
                f"Learning pays with a proof for {', '.join(names)}: {min(gains):.2f} to {max(gains):.2f} times the "
                "speed of the exact kernel with a proof.",
                "winners",
            )
        )
    else:
        closest = max((c for c in cells if c["proved_speedup"] is not None), key=lambda c: c["proved_speedup"])
        findings.append(
            Finding(
                f"Nothing that is learned beats the exact kernel with a proof; the closest comes to "
                f"{closest['proved_speedup']:.2f} times its speed, for {closest['family']} at n = {closest['n']}.",
                "winners",
            )
        )
    rough = sum(c["rough"] == _EXACT for c in cells)
    findings.append(
        Finding(
            f"Where 1 % will do, the exact kernel is still the fastest in {rough} of {len(cells)} cells.", "winners"
        )
    )
    return Judgement(outcome, because, tuple(findings))


def draw(tables: Tables) -> Figure:
    """Draw accuracy against time, and the maps of winners."""
    figure, (scatter, rough, proved) = panels(3, width=5.4, height=4.4)
    for k, method in enumerate(dict.fromkeys(row["method"] for row in tables["methods"])):
        rows = [row for row in tables["methods"] if row["method"] == method and row["n"] > 2]
        scatter.plot(
            [row["ratio"] for row in rows],
            [max(row["quantile_99"], 1e-8) for row in rows],
            MARKERS[k % len(MARKERS)],
            color=_COLOURS.get(method, PALETTE[0]),
            alpha=0.7,
            label=method,
        )
    scatter.set(
        xscale="log", yscale="log", xlabel="time as a multiple of the exact kernel's", ylabel="relative error, 99 %"
    )
    scatter.legend(frameon=False, fontsize="x-small")
    cells = winners(tables["methods"])
    names = sorted(dict.fromkeys((c["family"], c["condition"]) for c in cells), key=lambda key: _dimension(cells, key))
    lines = list(dict.fromkeys(family if family != "conditioned" else f"{family} {c:.0f}" for family, c in names))
    sizes = sorted({c["n"] for c in cells})
    methods = list(_COLOURS)
    for axes, key, title in (
        (rough, "rough", "fastest, right to 1e-2"),
        (proved, "proved", "fastest that proves 1e-5"),
    ):
        grid = np.full((len(lines), len(sizes)), -1)
        for c in cells:
            line = c["family"] if c["family"] != "conditioned" else f"{c['family']} {c['condition']:.0f}"
            if c[key] is not None:
                grid[lines.index(line), sizes.index(c["n"])] = methods.index(c[key])
        axes.imshow(
            np.ma.masked_less(grid, 0),
            cmap=ListedColormap(list(_COLOURS.values())),
            vmin=-0.5,
            vmax=len(methods) - 0.5,
            aspect="auto",
        )
        for i, _ in enumerate(lines):
            for j, _ in enumerate(sizes):
                if grid[i, j] >= 0:
                    axes.text(j, i, _short(methods[grid[i, j]]), ha="center", va="center", fontsize=8, color="white")
        axes.set_xticks(range(len(sizes)), [str(n) for n in sizes])
        axes.set_yticks(range(len(lines)), lines, fontsize="small")
        axes.set(xlabel="size n of the matrices", title=title)
        axes.grid(False)
    return figure


def _dimension(cells: list[Row], key: tuple[str, float]) -> float:
    return max(c["dimension"] for c in cells if c["family"] == key[0])


def _short(method: str) -> str:
    return {
        _EXACT: "exact", _EXACT_PROVED: "exact", _LIBRARY: "torch", _NETWORK: "net", f"{_NETWORK}, proved": "net",
        _PARAMETRIC: "param.", _ITERATION: "iter.",
    }[method]  # fmt: skip


BREAK_EVEN = Experiment(
    name="break_even",
    title="Is it worth it?",
    hypothesis=(
        "A network that maps entries to entries is nowhere both accurate to 1 % and the fastest; what is learned pays "
        "only where it knows parameters or a spectrum, and then with a proof."
    ),
    settings={
        "small": Settings((("rbf", "", 0.0), ("conditioned", "cond", 10.0)), (2, 8), 1 << 9, 20, 128, 32, 0.003),
        "full": Settings(),
    },
    measure=measure,
    judge=judge,
    draw=draw,
    shown={
        "winners": TableSpec(
            "The fastest in each cell: right to 1e-2 for 99 % of the matrices; proving 1e-5 for all",
            (
                Column("family", "family"),
                Column("condition", "κ median", ".2g"),
                Column("dimension", "dimension", ".1f"),
                Column("n", "n"),
                Column("rough", "right to 1e-2"),
                Column("proved", "proving 1e-5"),
                Column("proved_speedup", "best other's speed with proof, × exact with proof", ".2f"),
                Column("network_error", "network's error, 99 %", ".2g"),
                Column("network_ratio", "network's time, × exact", ".1f"),
            ),
        ),
    },
    alt="Error against time for every method, and maps of the fastest method by family and size",
)
