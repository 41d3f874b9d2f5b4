"""Up to which size the compiled kernels win: a table of measurements, stored as data.

``crossover.json`` beside this file is the packaged one. A user's own, measured by ``neuralinv bench tune``, replaces
it: the file that the environment variable ``NEURALINV_CROSSOVER`` names, or
``$XDG_CACHE_HOME/neuralinv/crossover.json``.
"""

from __future__ import annotations

import json
import os
import warnings
from pathlib import Path
from typing import Any, NamedTuple

from neuralinv.dense import native

VERSION = 1
_PACKAGED = Path(__file__).with_name("crossover.json")
_DTYPES = {str(dtype).removeprefix("torch."): dtype for dtype in native.SUFFIX}


class Limits(NamedTuple):
    """For one operation, dtype and kind of matrix: where the kernels win."""

    always: int
    """Up to this n for any batch."""
    ever: int
    """Above this n for no batch."""
    classes: tuple[tuple[int, int], ...]
    """Smallest batch of each class and largest n for it; largest batches first."""

    def for_batch(self, batch: int) -> int:
        """Return the largest n for which the kernels win."""
        for smallest, largest_n in self.classes:
            if batch >= smallest:
                return largest_n
        return self.always


class Table(NamedTuple):
    """A whole table, and where it was read."""

    path: Path
    machine: dict[str, Any]
    limits: dict[tuple[native.Operation, Any, bool], Limits]
    """By operation, dtype (torch's and NumPy's) and whether the matrices are positive definite."""


def user_path() -> Path:
    """Return where a user's own table is looked for, and where ``neuralinv bench tune`` puts it."""
    named = os.environ.get("NEURALINV_CROSSOVER")
    if named:
        return Path(named)
    cache = Path(os.environ.get("XDG_CACHE_HOME", ""))
    # The XDG base directory specification ignores relative paths.
    return (cache if cache.is_absolute() else Path.home() / ".cache") / "neuralinv" / "crossover.json"


def load() -> Table:
    """Read the user's table, or the packaged one where there is none or it cannot be used: that is warned of."""
    path = user_path()
    try:
        return read(path)
    except FileNotFoundError as error:
        if os.environ.get("NEURALINV_CROSSOVER"):
            _warn(path, error)
    except (OSError, ValueError) as error:
        _warn(path, error)
    return read(_PACKAGED)


def read(path: Path) -> Table:
    """Read and check a table.

    Raises
    ------
    OSError
        If the file cannot be read.
    ValueError
        If it is no such table; the message names the entry.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(content, dict) or content.get("version") != VERSION:
        raise ValueError(f'expected an object with "version": {VERSION}')
    entries = content.get("entries")
    if not isinstance(entries, list):
        raise ValueError('expected a list of "entries"')
    classes: dict[tuple[str, str, bool], dict[int, int]] = {}
    for position, entry in enumerate(entries):
        key, batch, largest_n = _check(position, entry)
        classes.setdefault(key, {})[batch] = largest_n
    limits: dict[tuple[native.Operation, Any, bool], Limits] = {}
    for operation in native.OPERATIONS:
        for name, torch_dtype in _DTYPES.items():
            for positive in (False, True):
                reach = native.largest_size(operation, torch_dtype, positive=positive)
                measured = classes.get((operation, name, positive), {})
                found = _limits(reach, measured)
                limits[operation, torch_dtype, positive] = found
                limits[operation, native.NUMPY_DTYPE[torch_dtype], positive] = found
    machine = content.get("machine", {})
    return Table(path, machine if isinstance(machine, dict) else {}, limits)


def _check(position: int, entry: Any) -> tuple[tuple[str, str, bool], int, int]:
    if not isinstance(entry, dict):
        raise ValueError(f"entry {position} is no object")
    allowed = {"operation": native.OPERATIONS, "dtype": tuple(_DTYPES), "assume_a": ("gen", "pos")}
    values = {"assume_a": "gen", **entry}
    for field, choices in allowed.items():
        if values.get(field) not in choices:
            raise ValueError(f"entry {position}: {field}={values.get(field)!r}; expected one of {', '.join(choices)}")
    for field, least in (("batch", 1), ("largest_native_n", 0)):
        value = values.get(field)
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ValueError(f"entry {position}: {field}={value!r}; expected an integer of at least {least}")
    return (
        (values["operation"], values["dtype"], values["assume_a"] == "pos"),
        values["batch"],
        values["largest_native_n"],
    )


def _limits(reach: int, measured: dict[int, int]) -> Limits:
    """Join what was measured and what the kernels can do at all; unmeasured, they answer wherever they can."""
    if not measured:
        return Limits(reach, reach, ())
    classes = [(batch, min(n, reach)) for batch, n in sorted(measured.items(), reverse=True)]
    # The class of the smallest batch also speaks for the batches below it.
    classes[-1] = (0, classes[-1][1])
    sizes = [n for _, n in classes]
    return Limits(min(sizes), max(sizes), tuple(classes))


def _warn(path: Path, error: Exception) -> None:
    warnings.warn(
        f"neuralinv cannot use the crossover table {path} ({error}); the packaged one is in use. "
        "Remove the file or measure it anew with `neuralinv bench tune`",
        stacklevel=2,
    )


TABLE = load()
"""What is in use: read once, when neuralinv is imported."""
