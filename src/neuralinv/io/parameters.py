"""Parameters of matrices in files: a table with one row for each matrix."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

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
    try:
        if path.suffix.lower() == ".npy":
            table = np.load(path, allow_pickle=False)
        elif path.suffix.lower() == ".csv":
            table = np.loadtxt(path, delimiter=",", ndmin=2)
        else:
            raise FileError(f"{path}: parameters are read from .npy and .csv")
    except (ValueError, OSError, EOFError) as error:
        if isinstance(error, FileError):
            raise
        raise FileError(f"{path}: no table of numbers ({error})") from error
    if not isinstance(table, np.ndarray) or table.dtype.kind not in "iuf" or table.ndim not in (1, 2) or not table.size:
        raise FileError(f"{path}: expected real numbers of shape (batch, p), one row for each matrix")
    table = table.reshape(len(table), -1).astype(np.float64)
    if not np.isfinite(table).all():
        raise FileError(f"{path}: holds NaN or infinity")
    return table
