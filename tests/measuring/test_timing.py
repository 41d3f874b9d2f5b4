"""What is timed and in which order; no time itself is asserted."""

from __future__ import annotations

import time

import pytest
import torch

from neuralinv.measuring.timing import limited_threads, time_interleaved


def test_every_call_is_timed_in_turns_back_and_forth() -> None:
    order: list[str] = []

    def record(name: str) -> None:
        order.append(name)
        time.sleep(0.002)

    timings = time_interleaved({name: lambda name=name: record(name) for name in "abc"}, 0.003, rounds=3)
    visits = [name for name, before in zip(order, ["", *order], strict=False) if name != before]
    # Back and forth: the last of a round is the first of the next.
    assert visits[:5] == list("abcba")
    assert list(timings) == list("abc")
    for timing in timings.values():
        assert timing.lower <= timing.median <= timing.upper
        assert timing.blocks >= 2


def test_long_calls_get_fewer_rounds() -> None:
    calls = {"long": 0, "short": 0}

    def count(name: str, seconds: float) -> None:
        calls[name] += 1
        time.sleep(seconds)

    actions = {"long": lambda: count("long", 0.05), "short": lambda: count("short", 0.001)}
    timings = time_interleaved(actions, 0.03, rounds=5)
    assert timings["long"].blocks == 2
    assert calls["short"] > calls["long"]


@pytest.mark.parametrize(("seconds", "rounds"), [(0.0, 2), (-1.0, 2), (float("nan"), 2), (0.1, 0)])
def test_nothing_to_time_with(seconds: float, rounds: int) -> None:
    with pytest.raises(ValueError, match="expected a positive time and at least one round"):
        time_interleaved({"a": int}, seconds, rounds=rounds)


def test_threads_are_given_back() -> None:
    before = torch.get_num_threads()

    def fail_with_three_threads() -> None:
        with limited_threads(3):
            assert torch.get_num_threads() == 3
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        fail_with_three_threads()
    assert torch.get_num_threads() == before
