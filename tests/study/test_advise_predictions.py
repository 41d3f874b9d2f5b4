"""Predictions follow the measurements they are fitted to, and say when they do not know."""

import json
import math
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import torch

import neuralinv as ni
from neuralinv.io import FileError
from neuralinv.study.advise import Calibration, calibrate, judge, read_calibration
from neuralinv.study.advise.calibration import Setting, measure_case
from neuralinv.study.advise.measurement import Measured
from neuralinv.study.advise.paired_times import time_beside
from neuralinv.study.advise.prediction import Case, Prediction, Predictor
from neuralinv.study.advise.ranking import order_of


def case(n: float, rounding: float, error: float, ratio: float = 2.0, *, family: str = "a", double: float = 0) -> Case:
    features = {"log_n": math.log10(n), "log_rounding": rounding, "double": double, "complex": 0.0, "positive": 0.0}
    measured = {
        "exact": Measured(error, 1.0, 0.0, 1e-9 * n**3),
        "certified": Measured(error, ratio, 0.0, 1e-9 * n**3),
    }
    return Case(family, int(n), "float32", False, 1e-5, features, measured)


def linear_calibration() -> Calibration:
    """Errors that are exactly 3 · 10^rounding."""
    random = np.random.default_rng(0)
    roundings = random.uniform(-8, -3, 60)
    sizes = random.integers(2, 64, 60)
    return Calibration("test", tuple(case(n, r, 3 * 10**r) for n, r in zip(sizes, roundings, strict=True)))


def test_a_law_is_found_and_extrapolated_with_a_warning() -> None:
    predictor = Predictor(linear_calibration())
    features = case(10, -5.5, 0.0).features
    found = predictor.predict("exact", features)
    assert found is not None
    assert found.error == pytest.approx(3 * 10**-5.5, rel=0.2)
    assert found.error_interval[0] < found.error < found.error_interval[1]
    assert found.ratio == 1
    assert found.extrapolated == ()
    assert found.exact == pytest.approx(1e-6, rel=0.5)
    far = predictor.predict("exact", {**features, "log_rounding": 0.5})
    assert far is not None
    assert far.extrapolated == ("log_rounding",)
    assert far.error_interval[1] / far.error_interval[0] > found.error_interval[1] / found.error_interval[0]


def test_what_was_not_measured_is_not_predicted() -> None:
    predictor = Predictor(linear_calibration())
    features = dict(case(10, -5.5, 0.0).features)
    assert predictor.predict("parametric", features) is None
    del features["log_rounding"]
    assert predictor.predict("exact", features) is None
    few = Calibration("test", linear_calibration().cases[:5])
    assert Predictor(few).predict("exact", case(10, -5.5, 0.0).features) is None


def prediction(error: float, ratio: float, training: float = 0.0) -> Prediction:
    return Prediction(error, (error, error), ratio, (ratio, ratio), training, 1e-6, ())


def test_order_of_options() -> None:
    found = {"exact": prediction(1e-7, 1.0), "positive": prediction(1e-7, 0.8), "certified": prediction(1e-7, 3.0)}
    assert order_of(found, rtol=1e-5, proof=False) == ["positive", "exact", "certified"]
    assert order_of(found, rtol=1e-5, proof=True) == ["certified"]
    # A factor of two below the tolerance, or no trust.
    assert order_of({**found, "positive": prediction(8e-6, 0.8)}, rtol=1e-5, proof=False)[0] == "exact"
    # Trained options must be worth it.
    trained = {**found, "parametric": prediction(1e-3, 2.8, 1.0)}
    assert order_of(trained, rtol=1e-5, proof=True) == ["certified", "parametric"]
    trained["parametric"] = prediction(1e-3, 2.0, 1.0)
    assert order_of(trained, rtol=1e-5, proof=True) == ["parametric", "certified"]
    assert order_of(trained, rtol=1e-5, proof=False)[0] == "positive"


def test_break_even() -> None:
    assert prediction(1e-3, 0.5, 1.0).break_even == pytest.approx(2e6)
    assert prediction(1e-3, 1.5, 1.0).break_even == math.inf
    assert prediction(1e-3, 0.5).break_even == 0


def test_honesty_counts_held_out_cases() -> None:
    honest = judge(linear_calibration())
    assert honest.passes
    assert honest.error.total == 120
    assert (honest.recommended.total, honest.proved.total) == (60, 60)
    # Errors that have nothing to do with the features cannot be predicted, and the bar says so.
    random = np.random.default_rng(1)
    cases = [case(c.size, c.features["log_rounding"], 10 ** random.uniform(-16, 0)) for c in linear_calibration().cases]
    dishonest = judge(Calibration("test", tuple(cases)))
    assert not dishonest.passes
    assert dishonest.error.value < 0.7
    assert any("predicted" in miss for miss in dishonest.misses)


def test_held_out_cases_are_not_seen() -> None:
    # One family is a law of its own: predicted from its own other sizes it fits, from the other family it cannot.
    cases = [
        replace(case(n, -6, 1e-7 if family == "a" else 1e-2), family=family, features={
            **case(n, -6, 0.0).features, "log_rounding": -6.0 if family == "a" else -3.0})
        for family in "ab" for n in range(2, 40)
    ]  # fmt: skip
    calibration = Calibration("test", tuple(cases))
    assert judge(calibration).error.value == 1
    assert judge(calibration, held_out=lambda c: c.family).error.value < 0.6


def test_the_packaged_calibration_gives_the_same_advice_twice() -> None:
    A = np.random.default_rng(0).normal(size=(300, 6, 6))
    first, second = (ni.advise(A, seed=5).to_json() for _ in range(2))
    assert first == second
    assert ni.advise(A, seed=6).to_json() != first


def test_the_packaged_calibration_covers_all_families() -> None:
    from neuralinv.families import FAMILIES

    cases = read_calibration().cases
    assert {c.family for c in cases} == set(FAMILIES)
    assert {2, 64} <= {c.size for c in cases}
    assert all(c.measured["exact"].ratio == 1 for c in cases if "exact" in c.measured)


def test_a_damaged_calibration_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    for text in (
        "{}",
        '{"version": 7, "machine": "", "cases": []}',
        '{"version": 1, "machine": "", "cases": [1]}',
    ):
        path.write_text(text)
        with pytest.raises(FileError, match="no calibration"):
            read_calibration(path)
    packaged = files("neuralinv.study.advise").joinpath("calibration.json").read_text()
    for whole, damaged in (
        ('"features": {', '"features": null, "x": {'),
        ('"log_n": 0.30103', '"log_n": "0.3"'),
        ('"log_n": 0.30103', '"log_n": 1e999'),
        ('"log_n": 0.30103', f'"log_n": 1{"0" * 400}'),
        ('"error": [1.0', '"error": [-1.0'),
        ('"size": 2,', '"size": 1e999,'),
    ):
        assert whole in packaged
        path.write_text(packaged.replace(whole, damaged))
        with pytest.raises(FileError, match="no calibration"):
            read_calibration(path)
    for text in ("no", "[" * 100_000, "[1]", "9" * 5000):
        path.write_text(text)
        with pytest.raises(FileError, match=r"c\.json: (not valid JSON|holds a list)"):
            read_calibration(path)


def test_calibration_is_written_whole_and_read_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("neuralinv.study.advise.calibration._TEST_ELEMENTS", 1 << 10)
    monkeypatch.setattr("neuralinv.study.advise.measurement.STEPS", 3)
    path = tmp_path / "c.json"
    written = calibrate(path, families=("ar", "gaussian", "wishart"), sizes=(2,))
    read = read_calibration(path)
    assert len(read.cases) == len(written.cases) == 9
    assert {"exact", "positive", "certified", "parametric", "iteration", "network"} <= set(read.cases[0].measured)
    assert read.cases[0].measured["exact"].error == pytest.approx(written.cases[0].measured["exact"].error, rel=1e-4)
    json.loads(path.read_text())


def test_a_calibration_without_time_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="a calibration takes more"):
        calibrate(tmp_path / "c.json", families=("ar",), sizes=(2,), budget=1e-9)
    assert list(tmp_path.iterdir()) == []


def test_errors_reached_are_true_errors() -> None:
    found = measure_case(Setting("state_space", 8, torch.float64, True)).measured
    assert 1e-17 < found["exact"].error < 1e-14
    assert 1e-17 < found["block_tridiagonal"].error < 1e-14
    assert 1e-9 < found["sequence"].error < 1e-1


def test_paired_times_count_calls() -> None:
    A = torch.rand(200, 200)
    times = time_beside(lambda: [A @ A for _ in range(8)], lambda: A @ A)
    assert times.seconds > times.reference > 0
    assert times.ratio > 2


@pytest.mark.slow
def test_the_bar_of_honesty() -> None:
    honest = judge(read_calibration())
    assert honest.error.value >= 0.9
    assert honest.recommended.value >= 0.9
    assert honest.proved.value >= 0.9
