"""How much longer one call takes than another on a machine that others use, too: the median of paired ratios."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch

_ROUNDS = 7
_BLOCK = 2e-3
"""Seconds of one block of calls: many ticks of the clock."""
_PATIENCE = 1.0


class PairedTimes(NamedTuple):
    """Seconds of one call of either, the fastest block's, and the median ratio of neighbouring blocks."""

    seconds: float
    reference: float
    ratio: float


def time_beside(call: Callable[[], Any], reference: Callable[[], Any]) -> PairedTimes:
    """Time two calls on one thread in turn, back and forth, in blocks of about 2 ms each.

    What is compared is processor time: while others have the processor, the clock stands still. What else they do (to
    the caches, to the frequency) is done to neighbouring blocks alike, so that their ratio hardly changes. Calls that
    last long are timed in fewer rounds, at least two.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        counts = [_calls_per_block(each) for each in (call, reference)]
        started = time.process_time()
        rounds: list[tuple[float, float]] = []
        while len(rounds) < _ROUNDS and (len(rounds) < 2 or time.process_time() - started < _PATIENCE):
            if len(rounds) % 2:
                second = _block(reference, counts[1])
                rounds.append((_block(call, counts[0]), second))
            else:
                rounds.append((_block(call, counts[0]), _block(reference, counts[1])))
    finally:
        torch.set_num_threads(threads)
    table = np.array(rounds)
    seconds, fastest = table.min(0).tolist()
    return PairedTimes(seconds, fastest, float(np.median(table[:, 0] / table[:, 1])))


def _calls_per_block(call: Callable[[], Any]) -> int:
    call()  # the first one pays for memory and caches
    return max(1, int(_BLOCK / max(_block(call, 1), 1e-9)))


def _block(call: Callable[[], Any], count: int) -> float:
    started = time.process_time()
    for _ in range(count):
        call()
    return (time.process_time() - started) / count
