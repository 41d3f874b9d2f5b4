"""TOML and JSON from anywhere: whatever is in a file, what comes back is a table, or an error that names the file."""

from __future__ import annotations

import json
import tomllib
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from neuralinv.io.errors import FileError

_LONGEST_LINE = 1024
"""Of TOML: the time that tomllib takes for one dotted key grows with the square of its length."""


def read_toml(path: Path, *, largest: int) -> dict[str, Any]:
    """Read a TOML file of at most ``largest`` bytes.

    Raises
    ------
    FileError
        If it is missing, larger, no TOML, or cannot be read.
    """
    text = _read_text(path, largest)
    if max(map(len, text.split("\n"))) > _LONGEST_LINE:
        raise FileError(f"{path}: a line is longer than {_LONGEST_LINE:,} characters; this is no configuration")
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # what is no TOML, and whole numbers of thousands of digits
        raise FileError(f"{path}: not valid TOML ({_reason(error)}); restore the file or make it again") from error


def read_json(path: Path | Traversable, *, largest: int) -> dict[str, Any]:
    """Read a JSON file of at most ``largest`` bytes, which holds an object.

    Raises
    ------
    FileError
        As :func:`read_toml`; also if it holds something else than an object.
    """
    text = _read_text(path, largest)
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise FileError(f"{path}: not valid JSON ({_reason(error)}); restore the file or make it again") from error
    if not isinstance(document, dict):
        raise FileError(f"{path}: holds a {type(document).__name__}, not an object; restore the file or make it again")
    return document


def _read_text(path: Path | Traversable, largest: int) -> str:
    if not path.is_file():
        raise FileError(f"{path}: no such file; check the name")
    try:
        with path.open("rb") as file:
            data = file.read(largest + 1)
    except OSError as error:
        raise FileError(f"{path}: cannot be read: {error.strerror or error}; check its permissions") from error
    if len(data) > largest:
        raise FileError(f"{path}: larger than {largest >> 10:,} KiB; nothing that belongs here is")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise FileError(f"{path}: not UTF-8 text ({error}); restore the file or make it again") from error


def _reason(error: Exception) -> str:
    return "nested too deeply" if isinstance(error, RecursionError) else str(error)[:200]
