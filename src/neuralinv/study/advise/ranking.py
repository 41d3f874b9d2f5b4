"""From properties and predictions to a ranked list of options, each with its reason in one sentence."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from neuralinv.study.advise.methods import METHODS, Method
from neuralinv.study.advise.prediction import Prediction, Predictor
from neuralinv.study.advise.properties import Properties

_SAFETY = 2.0
"""Answers without a proof are trusted where the predicted error is so many times below the tolerance."""
_WORTH = 0.9
"""What is trained is recommended where it takes at most this share of the time of what needs no training."""
NOTHING = "nothing"


@dataclass(frozen=True)
class Option:
    """One option for these matrices.

    Attributes
    ----------
    name, title, call
        See :class:`~neuralinv.study.advise.methods.Method`; ``"nothing"`` is "do not train anything".
    possible
        Whether it can be had for matrices like these.
    reaches
        Whether its answers are predicted to meet the tolerance: with a proof always, as what misses it is recomputed.
    trained, proved
        Whether it has to be trained, and whether its answers carry a bound.
    prediction
        None where it is not possible, or the calibration holds too few cases like it.
    reason
        One sentence.
    """

    name: str
    title: str
    call: str
    possible: bool
    reaches: bool
    trained: bool
    proved: bool
    prediction: Prediction | None
    reason: str


def order_of(predictions: Mapping[str, Prediction | None], *, rtol: float, proof: bool) -> list[str]:
    """Return the options that reach the tolerance (and prove it, with ``proof``), the recommended one first, the others
    by predicted time.

    ``predictions`` are those of the options that are possible.
    """
    able = [name for name in predictions if reaches(name, predictions[name], rtol)]
    able = sorted((n for n in able if METHODS[n].proved or not proof), key=lambda name: _time(predictions[name]))
    untrained = next((name for name in able if not METHODS[name].trained), None)
    limit = math.inf if untrained is None else _WORTH * _time(predictions[untrained])
    worth = [name for name in able if METHODS[name].trained and _time(predictions[name]) <= limit]
    first = worth[:1] or [name for name in (untrained,) if name is not None]
    return first + [name for name in able if name not in first]


def reaches(name: str, prediction: Prediction | None, rtol: float) -> bool:
    """Tell whether the answers of an option that is possible are predicted to meet the tolerance."""
    return METHODS[name].proved or (prediction is not None and _SAFETY * prediction.error <= rtol)


def rank_options(
    properties: Properties, features: Mapping[str, float], predictor: Predictor, *, rtol: float, proof: bool
) -> tuple[Option, ...]:
    """Return all options, the recommended one first.

    Those that reach the tolerance (and prove it, with ``proof``) come first; then the others that are possible; then
    those that are not. "Do not train anything" stands second where what is recommended needs no training.
    """
    options = {name: _judge(method, properties, features, predictor, rtol) for name, method in METHODS.items()}
    possible = {name: option.prediction for name, option in options.items() if option.possible}
    order = order_of(possible, rtol=rtol, proof=proof)
    ranked = [options[name] for name in order]
    if ranked and not ranked[0].trained:
        ranked.insert(1, _nothing(ranked[0], [o for o in ranked if o.trained and o.prediction is not None]))
    rest = [option for name, option in options.items() if name not in order]
    rest.sort(key=lambda o: (not o.possible, o.prediction is None, o.prediction.error if o.prediction else math.inf))
    return tuple(ranked + rest)


def _judge(
    method: Method, properties: Properties, features: Mapping[str, float], predictor: Predictor, rtol: float
) -> Option:
    obstacle = method.obstacle(properties)
    prediction = predictor.predict(method.name, features) if obstacle is None else None
    good = obstacle is None and reaches(method.name, prediction, rtol)
    return Option(
        name=method.name,
        title=method.title,
        call=method.call,
        possible=obstacle is None,
        reaches=good,
        trained=method.trained,
        proved=method.proved,
        prediction=prediction,
        reason=_sentence(obstacle or _argument(method, properties, prediction, rtol, good)),
    )


def _argument(method: Method, properties: Properties, prediction: Prediction | None, rtol: float, good: bool) -> str:
    why = method.why(properties)
    if prediction is None:
        return f"{why}; the calibration holds too few cases like this to say more"
    if not good:
        return f"{why}, but its error is predicted at {prediction.error:.0e}, too close to the tolerance {rtol:.0e}"
    if method.name == "exact":
        return why
    return f"{why}; predicted to take {times_text(prediction.ratio)} the exact kernel's time"


def _nothing(untrained: Option, trained: list[Option]) -> Option:
    if trained:
        best = trained[0]
        against = (
            f"the best trained option, the {best.title}, is predicted to take {times_text(_time(best.prediction))}"
        )
        reason = (
            f"{against} the exact kernel's time, against {times_text(_time(untrained.prediction))} without training"
        )
    else:
        reason = f"no trained option serves these matrices, and the {untrained.title} does"
    return Option(
        NOTHING, "do not train anything", untrained.call, True, True, False, untrained.proved, untrained.prediction,
        _sentence(reason),
    )  # fmt: skip


def times_text(ratio: float) -> str:
    """Write how many times, with two digits."""
    return f"{ratio:.2g}×" if ratio < 100 else f"{float(f'{ratio:.2g}'):,.0f}×"


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + "."


def _time(prediction: Prediction | None) -> float:
    return prediction.ratio if prediction is not None else math.inf
