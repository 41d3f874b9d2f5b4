"""Results as JSON files, and back: the numbers alone; verdicts are computed again from them."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from neuralinv.io import FileError, atomic_path
from neuralinv.io.plain_json import finite
from neuralinv.io.untrusted import read_json
from neuralinv.study.experiments.experiment import SETTINGS, Experiment, Result, Row

_VERSION = 1
_LARGEST = 16 << 20
_DIGITS = 6  # figures that carry meaning; a file with all of them is twice as long


def record_path(folder: Path, name: str) -> Path:
    """Return where the results of an experiment lie."""
    return folder / f"{name}.json"


def save_result(result: Result, folder: Path) -> Path:
    """Write a result as JSON, whole or not at all; numbers that are not finite become null.

    Raises
    ------
    FileError
        If the folder cannot be written.
    """
    document = {
        "version": _VERSION,
        "experiment": result.experiment,
        "setting": result.setting,
        "seed": result.seed,
        "settings": result.settings,
        "seconds": round(result.seconds, 1),
        "cpu_seconds": round(result.cpu_seconds, 1),
        "loaded": result.loaded,
        "versions": dict(result.versions),
        # For readers of the file alone; whoever loads it computes both again.
        "outcome": result.judgement.outcome.value,
        "because": result.judgement.because,
        "findings": [finding.text for finding in result.judgement.findings],
    }
    # One line for each row: small files, and differences that can be read.
    tables = ",\n".join(
        f"  {json.dumps(name)}: [\n" + ",\n".join("   " + _line(row) for row in rows) + "\n  ]"
        for name, rows in result.tables.items()
    )
    text = json.dumps(finite(document), indent=1, ensure_ascii=False).removesuffix("\n}")
    path = record_path(folder, result.experiment)
    with atomic_path(path) as temporary:
        temporary.write_text(f'{text},\n "tables": {{\n{tables}\n }}\n}}\n', encoding="utf-8")
    return path


def load_result(folder: Path, experiment: Experiment[Any]) -> Result:
    """Read what :func:`save_result` wrote, and judge its tables anew.

    Raises
    ------
    FileError
        If there is no such file, or it holds something else.
    """
    path = record_path(folder, experiment.name)
    if not path.exists():
        raise FileError(f"{path}: no such file; run `neuralinv study {experiment.name}` first")
    document = read_json(path, largest=_LARGEST)
    try:
        if document["version"] != _VERSION or document["experiment"] != experiment.name:
            raise ValueError(f"version {document['version']} of {document['experiment']}")
        if document["setting"] not in SETTINGS or type(document["seed"]) is not int:
            raise ValueError(f"setting {document['setting']!r}, seed {document['seed']!r}")
        tables = {str(name): [_row(row) for row in rows] for name, rows in document["tables"].items()}
        return Result(
            experiment.name,
            document["setting"],
            document["seed"],
            dict(document["settings"]),
            tables,
            experiment.judge(tables),
            float(document["seconds"]),
            float(document.get("cpu_seconds") or 0.0),
            bool(document["loaded"]),
            {str(k): str(v) for k, v in document["versions"].items()},
        )
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, ArithmeticError) as error:
        raise FileError(
            f"{path}: not a result of `neuralinv study {experiment.name}` ({type(error).__name__}: {error}); "
            "run it again without --resume"
        ) from error


def _row(row: Mapping[str, Any]) -> Row:
    for key, value in row.items():
        if not isinstance(value, str | int | float | None):
            raise ValueError(f"{key} holds {type(value).__name__}")
        if isinstance(value, int | float) and not abs(value) <= sys.float_info.max:
            raise ValueError(f"{key} holds a number that is not finite")
    return dict(row)


def _line(row: Row) -> str:
    return json.dumps(finite({key: _rounded(value) for key, value in row.items()}), ensure_ascii=False)


def _rounded(value: Any) -> Any:
    return float(f"{value:.{_DIGITS}g}") if isinstance(value, float) and math.isfinite(value) else value
