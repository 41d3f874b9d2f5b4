"""`benchmarks/gpu.py` where there is no GPU, and its measuring with the CPU in the place of one."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "gpu.py"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_so() -> None:
    result = subprocess.run([sys.executable, str(SCRIPT)], capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1
    assert "needs a GPU" in result.stderr


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("gpu_benchmark", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)  # dataclasses look their module up
    monkeypatch.setenv("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    monkeypatch.setattr(sys, "path", list(sys.path))
    spec.loader.exec_module(module)
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int, dtype: torch.dtype) -> torch.Tensor:
        return torch.rand(min(shape[0], 20), *shape[1:], dtype=dtype, generator=generator) * 2 - 1

    monkeypatch.setattr(module, "uniform", draw)
    monkeypatch.setattr(module, "_time", lambda call, sets, inner, start: call.run(*sets[0]) is not None and 1e-3)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: SimpleNamespace(L2_cache_size=1000))
    return module


def cases(bench: ModuleType) -> Iterator[Any]:
    for make in (bench.inverses, bench.solutions, bench.determinants):
        yield from (case for case in make(True) if case.n <= 8)


def test_every_row_is_checked_against_the_truth(bench: ModuleType) -> None:
    rows = [bench.measure(case, 1e12) for case in cases(bench)]
    assert {row.work for row in rows} >= {"inv", "solve, 1 column", "solve, 3 columns", "slogdet"}
    for row in rows:
        assert row.failures == {}
        assert not row.wrong, bench.show(row)
        assert {"neuralinv", "torch"} <= set(row.seconds)
        assert "µs" in bench.show(row)
        json.dumps(bench.asdict(row))


def test_wrong_results_and_broken_rivals_are_said(bench: ModuleType) -> None:
    def broken(A: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("out of order\nsecond line")

    calls = {"neuralinv": bench.Call(lambda A: A + 1), "torch": bench.Call(broken)}
    row = bench.measure(bench._inverse_case("inv", 3, torch.float64, 5, calls), 1e12)
    assert row.wrong
    assert row.failures == {}  # those that are installed take the place of what was given
    case = bench._inverse_case("inv", 3, torch.float64, 5, calls)
    row = bench.measure(bench.Case(**{**vars(case), "calls": calls}), 1e12)
    assert row.failures == {"torch": "RuntimeError: out of order"}
    assert "torch failed: RuntimeError: out of order" in bench.show(row)
    assert bench.show(row).endswith("WRONG")
