"""The crossover table, what is said about it, and the configuration."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import neuralinv as ni
from neuralinv.dense import crossover, gpu, native
from neuralinv.dense.dispatch import candidates
from neuralinv.kernels import availability
from neuralinv.kernels import crossover as gpu_crossover


def write(path: Path, *entries: dict[str, Any], version: int = 1) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"version": version, "machine": {"cpu": "test"}, "entries": entries}))
    return path


def entry(batch: int, largest: int, **others: Any) -> dict[str, Any]:
    return {"operation": "inv", "dtype": "float32", "batch": batch, "largest_native_n": largest, **others}


def test_classes_of_batches(tmp_path: Path) -> None:
    table = crossover.read(write(tmp_path / "t.json", entry(1, 4), entry(100, 20), entry(10, 9)))
    limits = table.limits["inv", torch.float32, False]
    assert [limits.for_batch(b) for b in (1, 9, 10, 99, 100, 10**6)] == [4, 4, 9, 9, 20, 20]
    assert (limits.always, limits.ever) == (4, 20)
    assert table.limits["inv", np.dtype("float32"), False] == limits
    assert table.limits["inv", torch.float64, False].always == native.largest_size("inv", torch.float64, positive=False)
    assert table.machine == {"cpu": "test"}


def test_the_table_cannot_promise_more_than_the_kernels_reach(tmp_path: Path) -> None:
    table = crossover.read(write(tmp_path / "t.json", entry(1, 10_000), entry(1, 10_000, dtype="complex128")))
    for dtype in (torch.float32, torch.complex128):
        assert table.limits["inv", dtype, False].ever == native.largest_size("inv", dtype, positive=False)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (entry(0, 4), "entry 0: batch=0; expected an integer of at least 1"),
        (entry(1, -1), "largest_native_n=-1"),
        (entry(1, True), "largest_native_n=True"),
        (entry(1, 4, operation="det"), "operation='det'; expected one of inv, solve, slogdet"),
        (entry(1, 4, dtype="float16"), "dtype='float16'"),
        (entry(1, 4, assume_a="sym"), "assume_a='sym'"),
    ],
)
def test_entries_are_checked(tmp_path: Path, bad: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        crossover.read(write(tmp_path / "t.json", bad))


def test_files_are_checked(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match='"version": 1'):
        crossover.read(write(tmp_path / "t.json", version=2))
    (tmp_path / "t.json").write_text("[")
    with pytest.raises(ValueError, match="Expecting value"):
        crossover.read(tmp_path / "t.json")
    (tmp_path / "t.json").write_text("[" * 100_000)
    with pytest.raises(ValueError, match="nested too deeply"):
        crossover.read(tmp_path / "t.json")


def run(code: str, **environment: str) -> str:
    result = subprocess.run(
        [sys.executable, "-W", "always", "-c", "import neuralinv as ni, torch, numpy as np; " + code],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout + result.stderr


def test_a_users_own_table(tmp_path: Path) -> None:
    own = write(tmp_path / "cache" / "neuralinv" / "crossover.json", entry(1, 2), entry(50, 5))
    code = """
from neuralinv.dense.routes import Route, route
routes = [route(torch.ones(b, n, n)) is Route.DIRECT for b, n in ((1, 2), (1, 3), (50, 3), (50, 6))]
assert routes == [True, False, True, False], routes
A = np.stack([np.eye(3, dtype="f4") * k for k in range(1, 9)])
assert np.allclose(ni.inv(A), np.linalg.inv(A))
print(ni.explain_dispatch(3, "float32", 8), ni.explain_dispatch(3, "float32", 60), ni.show_config(mode="dicts"))
"""
    output = run(code, XDG_CACHE_HOME=str(tmp_path / "cache"), NEURALINV_CROSSOVER="")
    assert "measured faster than the kernels above n = 2 for batches of 8" in output
    assert "the kernels win up to n = 5 for batches of 60" in output
    assert str(own) in output
    other = write(tmp_path / "other.json", entry(1, 1))
    assert str(other) in run("ni.show_config()", NEURALINV_CROSSOVER=str(other))


def test_a_bad_table_is_named_and_not_used(tmp_path: Path) -> None:
    bad = write(tmp_path / "bad.json", entry(0, 1))
    for path in (bad, tmp_path / "absent.json"):
        output = run("ni.inv(torch.eye(3)); ni.show_config()", NEURALINV_CROSSOVER=str(path))
        assert output.count(f"cannot use the crossover table {path}") == 1
        assert "neuralinv bench tune" in output
        assert str(Path(crossover.__file__).with_name("crossover.json")) in output


def test_explanations() -> None:
    small = ni.explain_dispatch(3, np.float32, 1000)
    assert small.route == "native"
    assert small.instruction_set == native.instruction_set()
    assert str(small).startswith(f"native ({native.instruction_set()}), ")
    large = ni.explain_dispatch(5000, "float64")
    assert large.route == "torch"
    assert large.instruction_set == "none"
    assert "reach to n = " in large.reason
    assert ni.explain_dispatch(3, "bfloat16", 5).reason.startswith("computed in float32; ")
    assert ni.explain_dispatch(0, torch.float64, 5).reason == "there is nothing to compute"
    for dtype in (torch.complex64, "complex128"):
        for operation in native.OPERATIONS:
            for assume_a in ("gen", "pos"):
                assert ni.explain_dispatch(3, dtype, 4, operation, assume_a).route in ("native", "torch")


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((3, "int64"), TypeError, "dtype="),
        ((-1, "float32"), ValueError, "n=-1"),
        ((3, "float32", 1, "det"), ValueError, "expected one of inv, solve, slogdet"),
        ((3, "float32", 1, "inv", "sym"), ValueError, "assume_a='sym'"),
    ],
)
def test_questions_without_an_answer(arguments: tuple[Any, ...], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        ni.explain_dispatch(*arguments)


@pytest.mark.parametrize("assume_a", ["gen", "pos"])
@pytest.mark.parametrize("operation", native.OPERATIONS)
def test_candidates_agree(operation: native.Operation, assume_a: Any) -> None:
    G = torch.randn(20, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    A = G @ G.mT + torch.eye(4)
    arguments = (A, G) if operation == "solve" else (A,)
    found = candidates(operation, 4, torch.float64, 20, assume_a)
    assert "torch" in found
    expected = found["torch"](*arguments)
    for candidate in found.values():
        torch.testing.assert_close(candidate(*arguments), expected)
    assert "native" not in candidates(operation, 5000, torch.float64, 20, assume_a)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.complex64, torch.complex128], ids=str)
def test_inverses_by_scipys_lapack(dtype: torch.dtype) -> None:
    A = torch.randn(4, 20, 20, dtype=dtype, generator=torch.Generator().manual_seed(0)) + 8 * torch.eye(20)
    inverse = candidates("inv", 20, dtype, 4)["scipy"]
    for view in (A, A.mT, A.mH):
        torch.testing.assert_close(inverse(view), torch.linalg.inv(view), rtol=1e-3, atol=1e-5)
    with pytest.raises(torch.linalg.LinAlgError, match=r"Singular matrix \(batch element \(1,\)\)"):
        inverse(torch.stack([A[0], torch.zeros_like(A[0])]))


def test_configuration(capsys: pytest.CaptureFixture[str]) -> None:
    config = ni.show_config(mode="dicts")
    assert ni.show_config() is None
    assert json.loads(capsys.readouterr().out) == config
    assert config["kernels"]["instruction set"] == native.instruction_set()
    assert config["kernels"]["threads"] == native.threads()
    assert config["kernels"]["gpu"] == availability.describe()
    assert config["libraries"]["torch"].startswith(torch.__version__)
    assert set(config["optional"]) == {"jax", "triton"}
    with pytest.raises(ValueError, match="expected 'stdout' or 'dicts'"):
        ni.show_config(mode="json")


def test_explanations_for_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    def explain(n: int, dtype: Any = "float32", **others: Any) -> ni.Dispatch:
        return ni.explain_dispatch(n, dtype, 1000, device="cuda", **others)

    monkeypatch.setattr(availability, "serves", lambda device: device.type == "cuda")
    assert explain(32).route == "triton"
    assert explain(3, "bfloat16").reason.startswith("computed in float32; ")
    assert (explain(33).route, explain(33).reason) == ("torch", "the kernels for inv reach to n = 32 here")
    assert explain(3, "complex64").route == explain(3, assume_a="pos").route == "torch"
    monkeypatch.setitem(gpu.REACH, ("inv", torch.float32), gpu.Reach(16, 64))
    assert [explain(n).route for n in (16, 17, 64, 65)] == ["triton", "blocked", "blocked", "torch"]
    monkeypatch.setattr(availability, "serves", lambda device: False)
    assert explain(3).reason.startswith("there are no kernels for cuda: ")


def test_the_table_for_gpus_is_checked(tmp_path: Path) -> None:
    machine, reach = gpu_crossover.read(gpu_crossover.PATH)
    assert reach == gpu_crossover.REACH
    assert machine == gpu_crossover.MACHINE
    file = tmp_path / "t.json"
    file.write_text(json.dumps({"version": 2, "entries": []}))
    with pytest.raises(ValueError, match=r't\.json: expected an object with "version": 1'):
        gpu_crossover.read(file)
    entry = {"operation": "inv", "dtype": "float32", "largest_kernel_n": 33, "largest_blocked_n": 0}
    file.write_text(json.dumps({"version": 1, "entries": [entry]}))
    with pytest.raises(ValueError, match="entry 0: expected sizes of at least 0, and at most 32"):
        gpu_crossover.read(file)
