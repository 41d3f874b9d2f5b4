"""Advice for the terminal."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from neuralinv.study.advise.conditioning import Quantiles
from neuralinv.study.advise.honesty import Honesty, summary
from neuralinv.study.advise.prediction import Prediction
from neuralinv.study.advise.properties import Properties
from neuralinv.study.advise.ranking import NOTHING, Option, times_text
from neuralinv.study.advise.record import Record
from neuralinv.study.advise.trial import Trial

WIDTH = 120


def as_text(advice: Record) -> str:
    """Return the advice as plain text of at most 120 columns."""
    console = Console(file=io.StringIO(), width=WIDTH, highlight=False)
    with console.capture() as capture:
        console.print(render(advice))
    return "\n".join(line.rstrip() for line in capture.get().splitlines())


def render(advice: Record) -> Group:
    """Return the advice for a rich console: verdict, properties, options, warnings, trials."""
    best = advice.recommended
    parts: list[Text | Table] = [Text.assemble(("Recommended: ", "bold"), (best.call, "bold"), f"  ({best.title})")]
    if not advice.train:
        parts.append(Text("Do not train anything.", style="bold"))
    parts.append(Text(best.reason))
    parts.append(Text())
    parts.extend(Text.assemble((f"{name:25s}", "dim"), value) for name, value in property_lines(advice.properties))
    parts.append(_options_table(advice))
    parts.append(
        Text(
            f"error: relative, nine of ten matrices; of options with a proof (✓), of what the proof starts from. Time: "
            f"over the exact kernel's. Predicted from measurements on {advice.machine}.",
            style="dim",
        )
    )
    parts.extend(Text.assemble((f"{option.title}: ", "bold"), option.reason) for option in advice.options)
    parts.extend(Text.assemble(("note: ", "yellow"), warning) for warning in advice.warnings)
    if advice.trials:
        parts.append(_trials_table(advice.trials))
        parts.extend(Text(f"{trial.title} was not tried: {trial.note}.") for trial in advice.trials if trial.note)
    return Group(*parts)


def property_lines(properties: Properties) -> Iterator[tuple[str, str]]:
    """Yield what was measured, name and text, for people."""
    n = properties.size
    yield "matrices", f"{properties.total:,} of {n}×{n}, {properties.dtype}; {properties.sampled} looked at"
    symmetry = {"general": "none", "hermitian": "Hermitian, indefinite", "positive": "Hermitian positive definite"}
    yield "symmetry", symmetry[properties.symmetry]
    yield "structure", "; ".join(properties.structure.names) or "none found"
    if properties.condition is not None and properties.distance is not None:
        yield "condition number", _quantiles(properties.condition)
        yield "to the next singular", _quantiles(properties.distance)
    yield "scale", f"norms within a factor {properties.scale_spread:.3g}"
    likeness = properties.likeness
    if likeness is not None:
        dimension = "unknown" if math.isnan(likeness.dimension) else f"about {likeness.dimension:.1f}"
        yield "intrinsic dimension", dimension
        decay = ", ".join(f"{r}: {left:.0e}" for r, left in likeness.rank_decay.items())
        yield "left out by modes", decay
        inside = 0 < likeness.local_lipschitz < math.inf
        constants = (
            f"at least {likeness.lipschitz:.2g} between neighbours; {likeness.local_lipschitz:.2g} at the worst one"
        )
        yield "Lipschitz constant", constants if inside else "out of the range of double precision"
    if properties.polynomial:
        errors = ", ".join(f"{degree}: {error:.0e}" for degree, error in properties.polynomial.items())
        yield "polynomials, by degree", errors
    if properties.path is not None:
        path = properties.path
        yield "along the batch", f"steps of {path.step:.1e}; the next inverse is predicted within {path.guess:.1e}"


def honesty_table(honesty: Honesty) -> Table:
    """Return shares of held-out cases."""
    table = _table("held out", "share", "of")
    for name, share in summary(honesty).items():
        table.add_row(name, f"{share.value:.1%}", str(share.total))
    return table


def _options_table(advice: Record) -> Table:
    table = _table("option", "error", "time", "nine of ten", "training", "pays after", "")
    for option in advice.options:
        table.add_row(option.title + (" ✓" if option.proved else ""), *_figures(option), _mark(option, advice))
    return table


def _figures(option: Option) -> tuple[str, ...]:
    prediction = option.prediction
    if prediction is None or option.name == NOTHING:
        return ("–",) * 5
    low, high = prediction.ratio_interval
    return (
        f"{prediction.error:.0e}",
        times_text(prediction.ratio),
        "–" if low == high else f"{low:.2g}–{high:.2g}",
        f"{prediction.training:.1g} s" if option.trained else "none",
        break_even_text(prediction) if option.trained else "–",
    )


def break_even_text(prediction: Prediction) -> str:
    """Write the number of inverses after which training is paid back."""
    return "never" if math.isinf(prediction.break_even) else f"{prediction.break_even:,.0f}"


def _mark(option: Option, advice: Record) -> str:
    if option == advice.recommended:
        return "recommended"
    if not option.possible:
        return "not possible"
    return "" if option.reaches else f"not safe at {advice.rtol:.0e}"


def _trials_table(trials: tuple[Trial, ...]) -> Table:
    table = _table("tried", "error predicted", "reached", "within 10×", "time predicted", "reached", "training")
    for trial in trials:
        if trial.reached is None:
            continue
        expected = trial.predicted
        table.add_row(
            trial.title,
            "–" if expected is None else f"{expected.error:.1e}",
            f"{trial.reached.error:.1e}",
            {True: "yes", False: "no", None: "–"}[trial.within],
            "–" if expected is None else times_text(expected.ratio),
            times_text(trial.reached.ratio),
            f"{trial.reached.training:.1f} s" if trial.reached.training else "none",
        )
    return table


def _table(first: str, *others: str) -> Table:
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column(first)
    for heading in others:
        table.add_column(heading, justify="right", no_wrap=True)
    return table


def _quantiles(quantiles: Quantiles) -> str:
    if quantiles.smallest == quantiles.largest:
        return f"{quantiles.median:.1e}"
    return (
        f"{quantiles.median:.1e} (median); the middle 80 % in {quantiles.low:.1e} … {quantiles.high:.1e}; "
        f"{quantiles.smallest:.1e} … {quantiles.largest:.1e} in all"
    )
