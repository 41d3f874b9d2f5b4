"""Parameters of matrices in files: a table with one row for each matrix."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuralinv.io.binary import read_npy_table
from neuralinv.io.errors import FileError


def read_parameters(path: str | os.PathLike[str]) -> NDArray[Any]:
    """Read parameters ``(batch, p)`` from `.npy`, or from `.csv` without a header; one column may be written flat.

    Returns
    -------
    float64, all finite.

    Raises
    ------
    FileError
        If the file is missing, of unknown format, or no table of finite real numbers.
    """
    path = Path(path)
    if not path.is_file():
        raise FileError(f"{path}: no such file; check the name")
    if path.suffix.lower() == ".npy":
        table = read_npy_table(path)
    elif path.suffix.lower() == ".csv":
        table = _read_csv(path)
    else:
        raise FileError(f"{path}: parameters are read from .npy and .csv")
    if not np.isfinite(table).all():
        raise FileError(f"{path}: holds NaN or infinity")
    return table


def _read_csv(path: Path) -> NDArray[np.float64]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of an empty file, which is told below
            table = np.loadtxt(path, delimiter=",", ndmin=2)
    except (ValueError, OSError) as error:
        raise FileError(f"{path}: no table of numbers ({error})") from error
    if not table.size:
        raise FileError(f"{path}: holds no number; expected one row for each matrix")
    return table
