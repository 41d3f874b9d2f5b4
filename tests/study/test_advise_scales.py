"""Advice does not depend on the unit of the matrices, up to the ends of the range of floating-point numbers."""

import json
import math
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import neuralinv as ni
from neuralinv.cli import app
from neuralinv.study.advise import Advice
from neuralinv.study.advise.direct_network import train_network

T = np.linspace(0, 1, 200)
K = np.arange(8)
P = np.stack([np.eye(8) * 2 + np.outer(np.sin(K + x), np.cos(K - x)) for x in T])


def curve(theta: torch.Tensor) -> torch.Tensor:
    k = torch.arange(8, dtype=torch.float64)
    return 2 * torch.eye(8, dtype=torch.float64) + torch.sin(k + theta)[:, :, None] * torch.cos(k - theta)[:, None]


def asked(k: int, kind: str, dtype: str = "float64") -> Advice:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        if kind == "function":
            return ni.advise(lambda theta: curve(theta) * 2.0**k, T)
        A = (P * 2.0**k).astype(dtype)
        return ni.advise(A, T) if kind == "parameters" else ni.advise(A)


def check_same(found: Any, expected: Any, name: str = "") -> None:
    if isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for key, value in expected.items():
            check_same(found[key], value, f"{name}.{key}")
    elif isinstance(expected, list | tuple):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            check_same(one, other, name)
    elif isinstance(expected, float):
        assert found == pytest.approx(expected, rel=1e-6, abs=1e-13, nan_ok=True), name
    else:
        assert found == expected, name


def check_scaled(found: Advice, expected: Advice, k: int) -> None:
    one, other = (asdict(advice.properties) for advice in (found, expected))
    units, constants = (advice.properties.likeness for advice in (found, expected))
    assert units is not None
    assert constants is not None
    for name in ("lipschitz", "local_lipschitz"):
        with np.errstate(over="ignore", under="ignore"):
            assert getattr(units, name) == pytest.approx(float(np.ldexp(getattr(constants, name), -2 * k)), rel=1e-6)
        del one["likeness"][name], other["likeness"][name]
    other["distance"] = {name: math.ldexp(value, k) for name, value in other["distance"].items()}
    for name, value in other.pop("distance").items():
        assert one["distance"][name] == pytest.approx(value, rel=1e-6, abs=0)
    del one["distance"]
    check_same(one, other)
    check_same([asdict(option) for option in found.options], [asdict(option) for option in expected.options])
    assert found.warnings == expected.warnings


@pytest.mark.parametrize("kind", ["array", "parameters", "function"])
@pytest.mark.parametrize("k", [-1000, -500, 500, 1000])
def test_advice_in_other_units(kind: str, k: int) -> None:
    expected = asked(0, kind)
    assert (expected.properties.polynomial is None) == (kind == "array")
    check_scaled(asked(k, kind), expected, k)


@pytest.mark.parametrize("k", [-100, 120])
def test_advice_in_other_units_in_single_precision(k: int) -> None:
    check_scaled(asked(k, "parameters", "float32"), asked(0, "parameters", "float32"), k)


@pytest.mark.parametrize("k", [-500, 500])
def test_advice_in_other_units_for_complex_matrices(k: int) -> None:
    A = P + 0.25j * P[::-1]
    check_scaled(ni.advise(A * 2.0**k), ni.advise(A), k)


@pytest.mark.parametrize("scale", [1e200, 1e-200, 1e300, 1e-300])
def test_files_of_any_scale(tmp_path: Path, scale: float) -> None:
    def of(A: np.ndarray) -> tuple[str, dict[str, Any]]:
        np.save(tmp_path / "stack.npy", A)
        found = CliRunner().invoke(app, ["advise", str(tmp_path / "stack.npy"), "--json", str(tmp_path / "a.json")])
        assert found.exit_code == 0, found.output
        return found.output, json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (text, found), (_, expected) = of(P * scale), of(P)
    assert "nan" not in text
    for name in ("condition", "scale_spread", "symmetry", "iteration", "path", "singular"):
        check_same(found["properties"][name], expected["properties"][name], name)
    assert found["properties"]["likeness"]["dimension"] == pytest.approx(
        expected["properties"]["likeness"]["dimension"], rel=1e-6
    )
    assert found["recommended"] == expected["recommended"]
    assert ("out of the range of double precision" in text) == (abs(math.log10(scale)) > 154)


def test_matrices_of_any_scale_beside_each_other() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for scales in (
            np.linspace(-1000, 1000, 200),
            np.random.default_rng(0).permutation(np.linspace(-600, 600, 200)),
        ):
            found = ni.advise(P * 2.0 ** scales[:, None, None], T).properties
            assert found.singular == 0
            assert found.condition is not None
            check_same(asdict(found.condition), asdict(ni.advise(P).properties)["condition"])
            assert found.polynomial is not None
            assert min(found.polynomial.values()) > 0.1


def test_the_spread_of_norms_is_exact() -> None:
    A = np.eye(3) * 2.0 ** np.array([-400.0, 0.0, 600.0])[:, None, None]
    assert ni.advise(A).properties.scale_spread == 2.0**1000
    assert ni.advise(A * 2.0**400).properties.scale_spread == 2.0**1000
    assert ni.advise(np.concatenate([A, np.zeros((2, 3, 3))])).properties.scale_spread == 2.0**1000


def test_inverses_out_of_range_count_as_singular() -> None:
    assert ni.advise(np.eye(3) * np.full((40, 1, 1), 1e-310)).properties.singular == 40


@pytest.mark.parametrize("scale", [2.0**660, 2.0**-660])
def test_networks_learn_in_any_units(scale: float) -> None:
    A = torch.from_numpy(P[:, :3, :3].copy())
    one, other = (train_network(matrices, steps=5).network(A) for matrices in (A, A * scale))
    assert torch.equal(one, other)
    assert not torch.allclose(one, train_network(A, steps=0).network(A), rtol=1e-3)
