"""Read back the log that a training run left behind."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


def read_validation_log(folder: Path) -> tuple[NDArray[Any], NDArray[Any]] | None:
    """Return the steps and the validation residuals of all runs logged under a model folder, in order; None without a
    log.
    """
    points: dict[int, float] = {}
    for log in sorted((folder / "logs" / "csv").glob("version_*/metrics.csv"), key=lambda path: path.stat().st_mtime):
        with log.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                if row.get("validation_mean_residual"):
                    points[int(row["step"])] = float(row["validation_mean_residual"])
    if not points:
        return None
    steps = sorted(points)
    return np.array(steps), np.array([points[step] for step in steps])
