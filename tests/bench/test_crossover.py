"""The threshold between native kernel and library, on synthetic times."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from neuralinv.bench import crossover
from neuralinv.bench.crossover import Sample, largest_native_n, measure_crossover, table
from neuralinv.dense.crossover import user_path
from neuralinv.measuring.machine import describe_machine


def samples(*pairs: tuple[int, float, float]) -> list[Sample]:
    return [Sample(n, {"native": native, "torch": library, "scipy": 2 * library}) for n, native, library in pairs]


def test_the_clear_case() -> None:
    assert largest_native_n(samples((2, 1, 4), (4, 1, 3), (8, 1, 2), (16, 3, 1), (32, 9, 1))) == 8


def test_order_does_not_matter() -> None:
    assert largest_native_n(samples((32, 9, 1), (2, 1, 4), (16, 3, 1), (8, 1, 2))) == 8


def test_one_disturbed_measurement_does_not_decide() -> None:
    assert largest_native_n(samples((2, 1, 4), (4, 1.5, 1), (8, 1, 2), (16, 3, 1))) == 8
    assert largest_native_n(samples((2, 1, 4), (4, 5, 1), (8, 6, 1), (16, 0.9, 1))) == 2


def test_never_and_always() -> None:
    assert largest_native_n(samples((1, 2, 1), (2, 3, 1))) == 0
    assert largest_native_n(samples((1, 1, 2), (2, 1, 3))) == 2
    assert largest_native_n([]) == 0


def test_the_fastest_library_routine_counts() -> None:
    assert largest_native_n([Sample(2, {"native": 2.0, "torch": 4.0, "scipy": 1.0})]) == 0


def test_without_a_library_native_is_the_choice_and_later_sizes_count() -> None:
    assert largest_native_n([Sample(1, {"native": 1.0}), *samples((2, 1, 4), (4, 4, 1))]) == 2


class Fake:
    """Routes that do nothing, and a clock that knows their times."""

    def __init__(self, largest: int) -> None:
        self.largest = largest
        self.asked: list[tuple[str, int, torch.dtype, int]] = []
        self.called: list[int] = []

    def candidates(self, operation: str, n: int, dtype: torch.dtype, batch: int) -> dict[str, Callable[..., Any]]:
        self.asked.append((operation, n, dtype, batch))
        native = {"native": self._route} if n <= self.largest else {}
        return {**native, "torch": self._route}

    def _route(self, *tensors: torch.Tensor) -> None:
        self.called.append(len(tensors))
        assert all(tensor.shape[0] == self.asked[-1][3] for tensor in tensors)

    def clock(self, calls: Mapping[str, Callable[[], Any]]) -> dict[str, float]:
        for call in calls.values():
            call()
        n, batch = self.asked[-1][1], self.asked[-1][3]
        return {name: {"native": n**2.0, "torch": 100.0 if batch == 1 else 10.0}[name] for name in calls}


def test_every_case_is_measured_and_thresholds_depend_on_the_batch() -> None:
    fake, advanced = Fake(1000), []
    entries = measure_crossover(
        fake.candidates, measure=fake.clock, batches=(1, 16), sizes=(1, 2, 4, 8, 16, 32, 64, 128, 256),
        progress=advanced.append,
    )  # fmt: skip
    assert len(entries) == 3 * 2 * 2 == sum(advanced)
    assert {(e.operation, e.dtype) for e in entries} == {
        (o, d) for o in ("inv", "solve", "slogdet") for d in ("float32", "float64")
    }
    assert {e.batch: e.largest_native_n for e in entries} == {1: 8, 16: 2}
    assert set(fake.called) == {1, 2}  # solve gets a right-hand side
    # 100 → n = 16, 32 and 64 are hopeless; 10 → n = 8, 16 and 32.
    assert max(n for _, n, _, batch in fake.asked if batch == 1) == 64
    assert max(n for _, n, _, batch in fake.asked if batch == 16) == 32


def test_sizes_that_the_kernel_does_not_have() -> None:
    fake = Fake(4)
    (entry,) = measure_crossover(
        fake.candidates, measure=fake.clock, operations=["inv"], dtypes=[torch.float32], batches=[1], sizes=(2, 4, 8)
    )
    assert entry.largest_native_n == 4
    assert [sample.n for sample in entry.samples] == [2, 4]


def test_large_batches_are_cut_to_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crossover, "_MOST_BYTES", 64 * 4 * 3)
    fake = Fake(100)
    measure_crossover(
        fake.candidates, measure=fake.clock, operations=["inv"], dtypes=[torch.float32], batches=[4096], sizes=(8,)
    )
    assert fake.asked == [("inv", 8, torch.float32, 3)]


def test_the_table_has_what_the_dispatch_reads() -> None:
    fake = Fake(4)
    entries = measure_crossover(
        fake.candidates, measure=fake.clock, operations=["inv"], dtypes=[torch.float32], batches=[16], sizes=(2, 4)
    )
    document = table(entries, describe_machine(1))
    assert document["version"] == 1
    assert document["machine"]["threads"] == 1
    assert document["entries"] == [{"operation": "inv", "dtype": "float32", "batch": 16, "largest_native_n": 2}]
    assert document["measurements"][0]["samples"][0] == {"n": 2, "seconds": {"native": 4.0, "torch": 10.0}}


def test_the_users_place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("NEURALINV_CROSSOVER", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert user_path() == tmp_path / "neuralinv" / "crossover.json"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert user_path() == Path.home() / ".cache" / "neuralinv" / "crossover.json"
    monkeypatch.setenv("NEURALINV_CROSSOVER", str(tmp_path / "mine.json"))
    assert user_path() == tmp_path / "mine.json"


def test_the_real_clock_times_what_it_gets() -> None:
    seconds = crossover.clock(1, 0.002)({"native": lambda: None, "torch": lambda: sum(range(20_000))})
    assert seconds.keys() == {"native", "torch"}
    assert all(value > 0 for value in seconds.values())
