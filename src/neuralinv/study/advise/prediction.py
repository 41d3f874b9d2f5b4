"""Predictions of error and time for each option: Gaussian-process regression on the calibration's measurements."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from neuralinv.io import FileError
from neuralinv.io.untrusted import read_json
from neuralinv.study.advise.measurement import Measured
from neuralinv.study.advise.methods import METHODS, Method

VERSION = 1
_LARGEST = 16 << 20
_FEWEST = 8
_TRUSTED = 0.1
"""How far beyond the calibration's values, relative to their spread, a feature may lie before we say so."""
_NINETY = 1.645
_FLOOR = 1e-18
_LENGTHS = (1.0, 2.0, 4.0)
_SCALES = (0.1, 0.3, 1.0)
_NOISES = (0.03, 0.1, 0.3, 0.6)
_SLOPE = 1.0

Setting: TypeAlias = tuple[float, float, float]
"""Length and height of the smooth part, and noise."""


@dataclass(frozen=True)
class Case:
    """One family and size of the calibration: what a sample of it is like, and what each option reached.

    Attributes
    ----------
    family, size, dtype, ordered
        Where the matrices came from; ``ordered`` ones were consecutive points of a path.
    rtol
        The tolerance that options with a proof had to meet.
    features
        See :func:`neuralinv.study.advise.properties.features`.
    measured
        By option; those that do not apply are missing.
    """

    family: str
    size: int
    dtype: str
    ordered: bool
    rtol: float
    features: Mapping[str, float]
    measured: Mapping[str, Measured]

    @property
    def group(self) -> tuple[str, int]:
        """What is held out together."""
        return self.family, self.size


@dataclass(frozen=True)
class Calibration:
    """Measurements, the machine that they were taken on, and the settings of the models by option and target.

    Settings that are missing are found when they are needed, which takes a while for many cases.
    """

    machine: str
    cases: tuple[Case, ...]
    settings: Mapping[str, Mapping[str, Setting]] = field(default_factory=dict)

    def with_settings(self) -> Calibration:
        """Return the same measurements with the settings of all models found."""
        predictor = Predictor(self)
        found = {name: predictor.settings(name) for name in METHODS}
        return replace(self, settings={name: chosen for name, chosen in found.items() if chosen})

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            "version": VERSION,
            "machine": self.machine,
            "settings": self.settings,
            "cases": [asdict(case) for case in self.cases],
        }


def read_calibration(path: Path | None = None) -> Calibration:
    """Read a calibration, by default the packaged one.

    Raises
    ------
    FileError
        If the file is none.
    """
    source = files("neuralinv.study.advise") / "calibration.json" if path is None else path
    document = read_json(source, largest=_LARGEST)
    try:
        if document["version"] != VERSION:
            raise ValueError(f"version {document['version']}")
        cases = tuple(_read_case(case) for case in document["cases"])
        settings = {
            name: {target: _read_setting(*chosen) for target, chosen in targets.items()}
            for name, targets in document["settings"].items()
        }
        return Calibration(str(document["machine"]), cases, settings)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise FileError(
            f"{source}: no calibration ({error}); write one with neuralinv study --calibrate FILE"
        ) from error


def _read_case(case: Mapping[str, Any]) -> Case:
    return Case(
        str(case["family"]),
        int(case["size"]),
        str(case["dtype"]),
        bool(case["ordered"]),
        _finite(case["rtol"]),
        {name: _finite(value) for name, value in case["features"].items()},
        {
            method: Measured(**{name: _finite(value) for name, value in reached.items()})
            for method, reached in case["measured"].items()
        },
    )


def _read_setting(length: Any, height: Any, noise: Any) -> Setting:
    if not min(_finite(length), _finite(height), _finite(noise)) > 0:
        raise ValueError("settings are positive")
    return _finite(length), _finite(height), _finite(noise)


def _finite(value: Any) -> float:
    if not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{value!r} stands for a number")
    return float(value)


@dataclass(frozen=True)
class Prediction:
    """What an option will reach; each with the interval that holds it nine times out of ten.

    Attributes
    ----------
    error, ratio
        As in :class:`~neuralinv.study.advise.measurement.Measured`.
    training, exact
        Seconds, on the machine that was calibrated.
    extrapolated
        Names of the features that lie outside of the calibration.
    """

    error: float
    error_interval: tuple[float, float]
    ratio: float
    ratio_interval: tuple[float, float]
    training: float
    exact: float
    extrapolated: tuple[str, ...]

    @property
    def break_even(self) -> float:
        """Number of inverses after which training is paid back; infinity where the option is not faster."""
        saved = self.exact * (1 - self.ratio)
        return 0.0 if self.training == 0 else self.training / saved if saved > 0 else math.inf


class Predictor:
    """Models of every option, fitted to a calibration when they are first asked."""

    def __init__(self, calibration: Calibration) -> None:
        self._calibration = calibration
        self._models = cache(self._fit)

    def predict(self, method: str, features: Mapping[str, float]) -> Prediction | None:
        """Predict for matrices with these features; None where the calibration holds too few cases like them."""
        models = self._models(method)
        if models is None or any(name not in features for model in models for name in model.names):
            return None
        error, ratio, training, exact = (model.predict(features) for model in models)
        if method == "exact":
            ratio = (0.0, 0.0)  # by definition
        return Prediction(
            error=10 ** error[0],
            error_interval=_interval(error),
            ratio=10 ** ratio[0],
            ratio_interval=_interval(ratio),
            training=10 ** training[0] if METHODS[method].trained else 0.0,
            exact=10 ** exact[0],
            extrapolated=tuple(dict.fromkeys(name for model in models[:2] for name in model.outside(features))),
        )

    def settings(self, method: str) -> dict[str, Setting]:
        """Return the settings of an option's models by target; nothing where there are too few cases."""
        models = self._models(method)
        return {} if models is None else {name: model.setting for name, model in zip(_TARGETS, models, strict=True)}

    def _fit(self, method: str) -> tuple[_Regression, ...] | None:
        record: Method = METHODS[method]
        needed = {*record.error, *record.time}
        cases = [case for case in self._calibration.cases if method in case.measured and needed <= set(case.features)]
        cases = [case for case in cases if math.isfinite(case.measured[method].error)]
        if len(cases) < _FEWEST:
            return None
        targets = {name: [getattr(case.measured[method], name) for case in cases] for name in _TARGETS}
        columns = {"error": record.error, "ratio": record.time, "training": record.time, "exact": _EXACT}
        settings = self._calibration.settings.get(method, {})
        return tuple(
            _Regression(
                columns[name],
                [case.features for case in cases],
                np.log10(np.maximum(values, _FLOOR)),
                settings.get(name),
            )
            for name, values in targets.items()
        )


_TARGETS = ("error", "ratio", "training", "exact")
_EXACT = ("log_n", "double", "complex")


def _interval(prediction: tuple[float, float]) -> tuple[float, float]:
    mean, deviation = prediction
    return 10 ** (mean - _NINETY * deviation), 10 ** (mean + _NINETY * deviation)


class _Regression:
    """A straight line plus a smooth deviation from it, in logarithms: a Gaussian process with a linear and a squared
    exponential kernel and noise (Rasmussen & Williams 2006, *Gaussian Processes for Machine Learning*, ch. 2).

    Length, height and noise are those of a small grid with the largest leave-one-out predictive density, in closed form
    (§5.4.2). Features have mean 0 and variance 1.
    """

    def __init__(
        self,
        names: tuple[str, ...],
        rows: list[Mapping[str, float]],
        y: NDArray[np.float64],
        setting: Setting | None,
    ) -> None:
        self.names = names
        table = np.array([[row[name] for name in names] for row in rows])
        self._low, self._high = table.min(0), table.max(0)
        self._mean = table.mean(0)
        spread = table.std(0)
        self._scale = np.where(spread > 1e-9, spread, 1.0)
        self._x = (table - self._mean) / self._scale
        self._offset, self._unit = float(y.mean()), float(max(y.std(), 1e-6))
        y = (y - self._offset) / self._unit
        self.setting = self._choose(y) if setting is None else setting
        length, height, noise = self.setting
        kernel = self._kernel(self._x, self._x, length, height)
        self._inverse = np.linalg.inv(kernel + noise**2 * np.eye(len(y)))
        self._weight = self._inverse @ y

    def _choose(self, y: NDArray[np.float64]) -> Setting:
        best, chosen = -np.inf, (_LENGTHS[0], _SCALES[0], _NOISES[0])
        for length, height in itertools.product(_LENGTHS, _SCALES):
            values, vectors = np.linalg.eigh(self._kernel(self._x, self._x, length, height))
            projected = vectors.T @ y
            for noise in _NOISES:
                scaled = 1 / (values.clip(min=0) + noise**2)
                weight, precision = vectors @ (scaled * projected), (vectors**2) @ scaled
                density = float((np.log(precision) - weight**2 / precision).sum())
                if density > best:
                    best, chosen = density, (length, height, noise)
        return chosen

    def predict(self, features: Mapping[str, float]) -> tuple[float, float]:
        """Return mean and standard deviation of the logarithm."""
        x = ((np.array([features[name] for name in self.names]) - self._mean) / self._scale)[None]
        length, height, noise = self.setting
        k = self._kernel(x, self._x, length, height)[0]
        prior = float(self._kernel(x, x, length, height)[0, 0]) + noise**2
        variance = max(prior - float(k @ self._inverse @ k), noise**2)
        return self._offset + self._unit * float(k @ self._weight), self._unit * math.sqrt(variance)

    def outside(self, features: Mapping[str, float]) -> list[str]:
        """Return the features that the measurements do not cover."""
        margin = _TRUSTED * (self._high - self._low) + 1e-9
        values = np.array([features[name] for name in self.names])
        beyond = (values < self._low - margin) | (values > self._high + margin)
        return [name for name, out in zip(self.names, beyond, strict=True) if out]

    @staticmethod
    def _kernel(x: NDArray[np.float64], z: NDArray[np.float64], length: float, height: float) -> NDArray[np.float64]:
        squares = ((x[:, None] - z[None]) ** 2).sum(-1) / x.shape[1]
        kernel = _SLOPE * (1 + x @ z.T) + height * np.exp(-squares / (2 * length**2))
        return np.asarray(kernel)
