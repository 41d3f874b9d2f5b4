"""How honest predictions are: every case is predicted by models that have not seen its family at its size.

The three settings of each model (length, height, noise) come with the calibration and are not chosen anew.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from neuralinv.study.advise.methods import METHODS
from neuralinv.study.advise.prediction import Calibration, Case, Predictor
from neuralinv.study.advise.ranking import order_of

WITHIN = 10.0
CLOSE = 1.5
BAR = 0.9


@dataclass
class Share:
    """So many of so many."""

    good: int = 0
    total: int = 0

    def add(self, good: bool) -> None:
        """Count one more."""
        self.good += good
        self.total += 1

    @property
    def value(self) -> float:
        """The share; NaN of nothing."""
        return self.good / self.total if self.total else math.nan


@dataclass
class Honesty:
    """What held-out cases say.

    Attributes
    ----------
    error
        Predictions of the error within a factor 10 of the reached one, of all options together.
    errors
        The same by option.
    recommended, proved
        Recommendations that reach the tolerance and take at most 1.5 times the time of the best option that does:
        without and with the wish for a proof.
    misses
        What went wrong, for people.
    """

    error: Share = field(default_factory=Share)
    errors: dict[str, Share] = field(default_factory=lambda: defaultdict(Share))
    recommended: Share = field(default_factory=Share)
    proved: Share = field(default_factory=Share)
    misses: list[str] = field(default_factory=list)

    @property
    def passes(self) -> bool:
        """Whether the bar is met: nine of ten, for errors and for recommendations."""
        return min(self.error.value, self.recommended.value, self.proved.value) >= BAR


def judge(
    calibration: Calibration,
    *,
    held_out: Callable[[Case], object] = lambda case: case.group,
    largest: int = 64,
) -> Honesty:
    """Predict every case from the others.

    Parameters
    ----------
    calibration
        The measurements.
    held_out
        What is left out together: by default family and size; ``lambda case: case.family`` asks for families that the
        models have never seen.
    largest
        Cases of larger matrices are not judged.
    """
    if not calibration.settings:
        calibration = calibration.with_settings()
    honesty = Honesty()
    groups: dict[object, list[Case]] = defaultdict(list)
    for case in calibration.cases:
        groups[held_out(case)].append(case)
    for key, cases in groups.items():
        seen = [case for case in calibration.cases if held_out(case) != key]
        predictor = Predictor(replace(calibration, cases=tuple(seen)))
        for case in cases:
            if case.size <= largest:
                _judge_errors(case, predictor, honesty)
                for proof, share in ((False, honesty.recommended), (True, honesty.proved)):
                    _judge_recommendation(case, predictor, honesty, share, proof=proof)
    return honesty


def _judge_errors(case: Case, predictor: Predictor, honesty: Honesty) -> None:
    for name, measured in case.measured.items():
        prediction = predictor.predict(name, case.features)
        if prediction is None:
            continue
        reached = max(measured.error, 1e-18)
        good = 1 / WITHIN <= prediction.error / reached <= WITHIN
        honesty.error.add(good)
        honesty.errors[name].add(good)
        if not good:
            honesty.misses.append(f"{_name(case)}, {name}: predicted {prediction.error:.0e}, reached {reached:.0e}")


def _judge_recommendation(case: Case, predictor: Predictor, honesty: Honesty, share: Share, *, proof: bool) -> None:
    predictions = {name: predictor.predict(name, case.features) for name in case.measured}
    order = order_of(predictions, rtol=case.rtol, proof=proof)
    able = {
        name: measured.ratio
        for name, measured in case.measured.items()
        if METHODS[name].proved or (not proof and measured.error <= case.rtol)
    }
    if not able or not order:
        return
    best = min(able, key=lambda name: able[name])
    good = order[0] in able and able[order[0]] <= CLOSE * able[best]
    share.add(good)
    if not good:
        took = f"{able[order[0]]:.3g}" if order[0] in able else "missed the tolerance"
        honesty.misses.append(f"{_name(case)}: recommended {order[0]} ({took}), best was {best} ({able[best]:.3g})")


def _name(case: Case) -> str:
    return f"{case.family} {case.size}×{case.size} {case.dtype}{' path' if case.ordered else ''}"


def summary(honesty: Honesty) -> Mapping[str, Share]:
    """Return the shares by what they say."""
    return {
        f"error within a factor {WITHIN:g}": honesty.error,
        f"recommended within {CLOSE:g} of the best": honesty.recommended,
        "the same among options with a proof": honesty.proved,
        **{f"error, {METHODS[name].title}": share for name, share in honesty.errors.items()},
    }
