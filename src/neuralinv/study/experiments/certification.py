"""Experiment 8: what a certificate catches, what refinement turns right, and whether a wrong answer slips through."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from neuralinv.dense import certified_inv, inv
from neuralinv.dense.result import InverseResult, Source, Status
from neuralinv.families import FAMILIES
from neuralinv.learned import fit_parametric, schulz
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
from neuralinv.study.experiments.fitting import Recipe, answers, fit, from_pool
from neuralinv.study.experiments.sets import SpectralSet, compose, real_form, unit_scale
from neuralinv.study.oracle import Reference, reference_inverse
from neuralinv.study.plots import BLUE, GREEN, GREY, ORANGE, RED, panels

_RTOL = {torch.float32: 1e-5, torch.float64: 1e-10}


@dataclass(frozen=True)
class Settings:
    """Matrices in each case, training steps of the networks, and families."""

    count: int = 2000
    steps: int = 300
    families: tuple[str, ...] = tuple(FAMILIES)


@dataclass(frozen=True)
class Case:
    """Proposals for matrices ``(count, n, n)`` of one dtype, and the experiment that the case belongs to."""

    experiment: str
    what: str
    matrices: Tensor
    proposals: Tensor


def measure(settings: Settings, seed: int, progress: Progress) -> Tables:
    """Certify the answers of every case, and let the referee judge each of them."""
    counter = Counter(25 + len(settings.families), progress)
    rows = []
    for case in _cases(settings, seed):
        rows.append(judge_case(case))
        counter.done()
    return {"cases": rows}


def judge_case(case: Case) -> Row:
    """Certify the proposals of one case; count what became of them, and the wrong answers that slipped through."""
    A, rtol = case.matrices, _RTOL[case.matrices.dtype]
    result = certified_inv(A, proposer=case.proposals, rtol=rtol, on_singular="nan")
    finite = torch.isfinite(A).flatten(1).all(1).numpy()
    reference = reference_inverse(A.numpy()[finite])
    _, raw_high = reference.errors(case.proposals.numpy()[finite])
    raw_wrong = np.ones(len(A), bool)
    raw_wrong[finite] = ~(raw_high <= rtol)
    certified = _numpy(result.certified)
    refined = certified & (_numpy(result.source) == Source.REFINED)
    slipped, tightest = wrong_answers(result, reference, finite)
    return {
        "experiment": case.experiment,
        "case": case.what,
        "dtype": str(A.dtype).removeprefix("torch."),
        "n": A.shape[-1],
        "count": len(A),
        "raw_wrong": float(raw_wrong.mean()),
        "as_proposed": float((certified & (_numpy(result.source) == Source.PROPOSED)).mean()),
        "refined": float(refined.mean()),
        "fallback": float((certified & (_numpy(result.source) == Source.FALLBACK)).mean()),
        "ill_conditioned": result.count(Status.ILL_CONDITIONED) / len(A),
        "no_inverse": (result.count(Status.SINGULAR) + result.count(Status.NONFINITE)) / len(A),
        "turned_right": int((raw_wrong & refined).sum()),
        "judged": int(np.isfinite(reference.uncertainty).sum()),
        "slipped": slipped,
        "error_over_bound": tightest,
    }


def wrong_answers(result: InverseResult[Tensor], reference: Reference, finite: NDArray[np.bool_]) -> tuple[int, float]:
    """Count the answers whose error is surely above what was proved of them, and return the largest quotient of both.

    An answer is wrong if its error exceeds its ``error_bound``, or rtol although it is certified, by more than the
    referee's own uncertainty, or if something is proved of a matrix that is not finite.

    Parameters
    ----------
    result
        Of :func:`neuralinv.certified_inv` for ``(count, n, n)``.
    reference
        For the finite ones among the matrices.
    finite
        Mask ``(count,)`` of those.
    """
    bound, certified = _numpy(result.error_bound), _numpy(result.certified)
    low, _ = reference.errors(_numpy(result.inverse)[finite])
    claimed = np.isfinite(bound[finite])
    above = claimed & (low > bound[finite])
    above |= certified[finite] & (low > result.rtol)
    from_nothing = int((np.isfinite(bound[~finite]) | certified[~finite]).sum())
    quotients = low[claimed] / np.maximum(bound[finite][claimed], np.finfo(float).tiny)
    return int(above.sum()) + from_nothing, float(quotients.max()) if quotients.size else 0.0


def _cases(settings: Settings, seed: int) -> Iterator[Case]:
    count, recipe = settings.count, Recipe(settings.steps, seed=seed)
    random = torch.Generator().manual_seed(seed + 1)

    def network(architecture: str, n: int, delta: float) -> Callable[[Tensor], Tensor]:
        depth = 2 if architecture == "mlp" else 1
        model = ModelConfig(architecture, n, 64, depth, newton_schulz_steps=0)
        matrices = SpectralSet(n, delta)
        trained = fit(model, matrices.source(), recipe)
        return lambda A: answers(trained, A)[0].to(A.dtype)

    def case(experiment: str, what: str, propose: Callable[[Tensor], Tensor], A: Tensor) -> Case:
        return Case(experiment, what, A, propose(A))

    for architecture in ("mlp", "gated"):
        small = network(architecture, 2, 0.1)
        for delta in (0.1, 1e-4, 1e-7):
            A, _ = SpectralSet(2, delta, exact=True).draw(count, generator=random)
            dtype = torch.float64 if delta < 1e-5 else torch.float32
            yield case("near_singular", f"{architecture}, σ_min = {delta:g}", small, A.to(dtype))
        yield case("singular_set", f"{architecture}, across det = 0", small, _crossing(count, random))
        A = SpectralSet(6, 0.1).draw(count, generator=random)[0].float()
        yield case("size", f"{architecture}, 6×6", network(architecture, 6, 0.1), A)
    for architecture in ("mlp", "gated"):
        inside = network(architecture, 3, 0.1)
        A = SpectralSet(3, 0.1).draw(count, generator=random)[0].float()
        yield case("compact_sets", f"{architecture}, κ ≤ 10", inside, A)
        far = SpectralSet(3, 1e-3, exact=True).draw(count, generator=random)[0].float()
        yield case("generalisation", f"{architecture} of κ ≤ 10, κ = 1000", inside, far)
        yield case("generalisation", f"{architecture} of κ ≤ 10, 10·A", inside, 10 * A)
    for name in settings.families:
        drawn = unit_scale(real_form(FAMILIES[name].sample(2 * count, 6, generator=random)))
        train, test = drawn[:count], drawn[count:].float()
        trained = fit(ModelConfig("mlp", drawn.shape[-1], 64, 2), from_pool(train, inv(train)), recipe)
        yield case("families", f"mlp on {name}", lambda A, t=trained: answers(t, A)[0].float(), test)  # type: ignore[misc]
    A = FAMILIES["wishart"].sample(count // 4, 16, generator=random).float()
    yield case("break_even", "learned iteration, wishart", schulz(1e-2).propose, A)
    function = FAMILIES["rbf"].matrix_function(16, generator=random)
    theta = FAMILIES["rbf"].thetas(count // 4, generator=random)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # whatever the fit misses, the certificate has to find
        model = fit_parametric(function, ranges=FAMILIES["rbf"].ranges, rtol=1e-5, snapshots=64, seed=seed)
    yield case("break_even", "parametric inverse, rbf", lambda A: model.propose(theta), function(theta).float())
    yield from _adversaries(count, random)


def _crossing(count: int, random: torch.Generator) -> Tensor:
    """Matrices at distances from 1e-12 to 1 on both sides of the singular ones, and singular ones themselves."""
    U, V = SpectralSet(2, 1.0).factors(count, generator=random)
    s = torch.ones(count, 2, dtype=torch.float64)
    s[:, 1] = torch.logspace(-12, 0, count, dtype=torch.float64) * (1 - 2 * (torch.arange(count) % 2))
    A, _ = compose(s, U, V)
    singular = torch.randint(-9, 10, (count // 10, 2, 1), generator=random).double()
    A[: count // 10] = singular @ torch.randint(-9, 10, (count // 10, 1, 2), generator=random).double()
    return A


def _adversaries(count: int, random: torch.Generator) -> Iterator[Case]:
    """Proposals made to deceive: almost right, right for another matrix, huge, empty, broken."""
    A, inverse = SpectralSet(4, 1e-2).draw(count, generator=random)
    rows = torch.arange(count)
    flipped = inverse.clone()
    flipped[rows, rows % 4, rows % 3] *= -1
    broken = inverse.clone()
    broken[rows % 2 == 0, 0, 0] = torch.nan
    broken[rows % 2 == 1, 0, 0] = torch.inf
    for what, proposals in (
        ("inverse · (1 + 1e-4)", inverse * (1 + 1e-4)),
        ("inverse of another", inverse.roll(1, 0)),
        ("transpose of the inverse", inverse.mT),
        ("one entry with the wrong sign", flipped),
        ("NaN or infinity in one entry", broken),
        ("1e30 · inverse", 1e30 * inverse),
        ("zeros", torch.zeros_like(inverse)),
    ):
        yield Case("adversary", what, A.float(), proposals.float())


def judge(tables: Tables) -> Judgement:
    """Supported if the referee finds no wrong answer among those that were proved; one is enough to contradict."""
    rows = tables["cases"]
    total, slipped = sum(row["count"] for row in rows), sum(row["slipped"] for row in rows)
    judged = sum(row["judged"] for row in rows)
    raw = sum(row["raw_wrong"] * row["count"] for row in rows)
    turned = sum(row["turned_right"] for row in rows)
    because = (
        f"{slipped} wrong answers slipped through, of {total:,} in {len(rows)} cases ({judged:,} of them judged by the "
        f"referee); {raw:,.0f} proposals were wrong as they came, of which refinement turned {turned:,} right"
    )
    outcome = decide(contradicted=slipped > 0, supported=judged >= total / 2)
    names = dict.fromkeys(row["experiment"] for row in rows)
    rescued = {
        name: sum(row["refined"] * row["count"] for row in rows if row["experiment"] == name)
        / sum(row["count"] for row in rows if row["experiment"] == name)
        for name in names
    }
    most, least = max(rescued, key=lambda n: rescued[n]), min(rescued, key=lambda n: rescued[n])
    findings = (
        Finding(
            f"Wrong answers that slipped through: {slipped}. The largest error is "
            f"{max(row['error_over_bound'] for row in rows):.4f} of its proved bound.",
            "cases",
        ),
        Finding(
            f"Refinement makes proposals right for {rescued[most]:.0%} of the matrices of {most} and "
            f"{rescued[least]:.0%} of those of {least}; the exact kernel serves the rest.",
            "cases",
        ),
    )
    return Judgement(outcome, because, findings)


def draw(tables: Tables) -> Figure:
    """Draw what became of the proposals, case by case."""
    rows = tables["cases"]
    figure, (axes,) = panels(1, width=9.0, height=0.26 * len(rows) + 1.4)
    left = np.zeros(len(rows))
    parts = (
        ("as_proposed", "certified as proposed", BLUE),
        ("refined", "certified after refinement", GREEN),
        ("fallback", "certified by the exact kernel", GREY),
        ("ill_conditioned", "bound above the tolerance", ORANGE),
        ("no_inverse", "no inverse", RED),
    )
    y = np.arange(len(rows))[::-1]
    for key, label, colour in parts:
        width = np.array([100 * row[key] for row in rows])
        axes.barh(y, width, left=left, color=colour, label=label, height=0.8)
        left += width
    axes.set_yticks(y, [f"{row['experiment']}: {row['case']}" for row in rows], fontsize=7)
    axes.set(xlabel="share of the matrices, %", xlim=(0, 100))
    axes.legend(frameon=False, fontsize="small", loc="lower center", bbox_to_anchor=(0.4, 1.0), ncols=3)
    return figure


def _numpy(array: Any) -> NDArray[Any]:
    return array.detach().cpu().numpy() if isinstance(array, Tensor) else np.asarray(array)


CERTIFICATION = Experiment(
    name="certification",
    title="Certification rescues",
    hypothesis=(
        "Whatever a network proposes, no wrong answer is certified: every proved bound holds against an independent "
        "reference in extended precision."
    ),
    settings={"small": Settings(60, 20, ("rbf",)), "full": Settings()},
    measure=measure,
    judge=judge,
    draw=draw,
    shown={
        "cases": TableSpec(
            "What became of the proposals (tolerance 1e-5 in float32, 1e-10 in float64)",
            (
                Column("experiment", "from"),
                Column("case", "proposals"),
                Column("count", "matrices", ","),
                Column("raw_wrong", "wrong as proposed", ".1%"),
                Column("as_proposed", "certified as proposed", ".1%"),
                Column("refined", "after refinement", ".1%"),
                Column("fallback", "by the exact kernel", ".1%"),
                Column("ill_conditioned", "bound above tolerance", ".1%"),
                Column("no_inverse", "no inverse", ".1%"),
                Column("error_over_bound", "error / bound", ".2g"),
                Column("slipped", "slipped through"),
            ),
        )
    },
    alt="Shares certified as proposed, after refinement and by the exact kernel, for every case",
)
