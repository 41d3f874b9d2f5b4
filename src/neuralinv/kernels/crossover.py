"""Up to which size the GPU's kernels answer, and up to which the blocked scheme above them: a table, stored as data.

``crossover.json`` beside this file. Its ``machine`` is empty while nobody has measured: the kernels then answer
wherever they can, and torch above.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import torch

PATH = Path(__file__).with_name("crossover.json")


class Reach(NamedTuple):
    """For one operation and dtype."""

    kernel: int
    """Up to this n by the kernels."""
    blocked: int
    """From there up to this n by blocks of that size; torch's routine above."""


_DTYPES = {
    str(dtype).removeprefix("torch."): dtype for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64)
}


def read(path: Path) -> tuple[dict[str, str], dict[tuple[str, torch.dtype], Reach]]:
    """Return the machine that was measured, empty if none was, and the reach by operation and dtype.

    Raises
    ------
    ValueError
        If the file is no such table.
    """
    content = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(content, dict) or content.get("version") != 1 or not isinstance(content.get("entries"), list):
        raise ValueError(f'{path}: expected an object with "version": 1 and a list of "entries"')
    reach = {}
    for position, entry in enumerate(content["entries"]):
        sizes = [entry.get(field) for field in ("largest_kernel_n", "largest_blocked_n")]
        if not all(type(size) is int and size >= 0 for size in sizes) or sizes[0] > 32:
            raise ValueError(f"{path}: entry {position}: expected sizes of at least 0, and at most 32 for the kernels")
        if entry.get("dtype") not in _DTYPES:
            raise ValueError(f"{path}: entry {position}: expected a dtype of {', '.join(_DTYPES)}")
        reach[entry.get("operation"), _DTYPES[entry["dtype"]]] = Reach(*sizes)
    return content.get("machine", {}), reach


MACHINE, REACH = read(PATH)
"""What is in use."""
