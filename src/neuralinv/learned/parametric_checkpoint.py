"""A parametric inverse on disk: a folder with `config.toml` and one safetensors file. Nothing in it is trusted.

Of a partition, `config.toml` holds the cuts in order and a table for each cell; tensors are named by cell.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from neuralinv.dense.probabilistic import MOST_OVERESTIMATED
from neuralinv.families import Range
from neuralinv.io import FileError, atomic_path
from neuralinv.io.untrusted import read_toml
from neuralinv.learned.architectures.coefficients import HIDDEN, KINDS
from neuralinv.learned.architectures.family_inverse import FamilyInverse, FitReport
from neuralinv.learned.architectures.parametric import ParametricInverse, feature_count
from neuralinv.learned.architectures.partitioned import PartitionedInverse, Split, split_ranges
from neuralinv.learned.architectures.uniform import prove
from neuralinv.learned.checkpoints import CONFIG_FILE, holds_network
from neuralinv.learned.devices import usable_device

WEIGHTS_FILE = "parametric.safetensors"
_LARGEST_CONFIG = 1 << 19
_LARGEST_SIZE = 4096
_MOST_WEIGHTS = 1 << 28
_MOST_CELLS = 1024
_MOST_FEATURES = 1 << 20
"""Polynomials of all cells: a fit has at most a thousand for each, and more take long to list."""
_DTYPES = {
    str(dtype).removeprefix("torch."): dtype
    for dtype in (torch.float32, torch.float64, torch.complex64, torch.complex128)
}


def holds_fit(folder: Path) -> bool:
    """Tell whether ``folder`` holds a parametric inverse and nothing else that one would replace."""
    return not holds_another(folder) and ((folder / CONFIG_FILE).exists() or (folder / WEIGHTS_FILE).exists())


def holds_another(folder: Path) -> bool:
    """Tell whether ``folder`` holds a checkpoint that is no parametric inverse: a network, or something unknown."""
    config = folder / CONFIG_FILE
    if holds_network(folder):
        return True
    if not config.exists():
        return False
    try:
        return "parametric" not in read_toml(config, largest=_LARGEST_CONFIG)
    except FileError:  # damaged: the weights beside it tell whose it was
        return not (folder / WEIGHTS_FILE).exists()


def parameter_names(folder: Path) -> list[str]:
    """Return the parameters of the fit in ``folder``, from its configuration alone.

    Raises
    ------
    FileError
        If there is none, or it is damaged.
    """
    return list(_read_config(folder / CONFIG_FILE).ranges)


def save_parametric(model: FamilyInverse, folder: Path | str) -> None:
    """Write a parametric inverse into ``folder``; each file appears whole or not at all. One that is there already is
    replaced.

    Raises
    ------
    FileError
        If the folder cannot be written.
    FileExistsError
        If it holds a network, or another checkpoint that is no parametric inverse.
    """
    import tomli_w  # by who writes alone: whoever inverts or reads can do without it

    folder = Path(folder)
    if holds_another(folder):
        raise FileExistsError(
            f"{folder}: holds a network already, or another checkpoint that is no parametric inverse; pass another "
            "folder"
        )
    table: dict[str, Any] = {
        "parametric": {
            "size": model.size,
            "dtype": str(model.dtype).removeprefix("torch."),
            "rtol": model.rtol,
        },
        "ranges": [
            {"name": name, "low": float(r.low), "high": float(r.high), "log": r.log} for name, r in model.ranges.items()
        ],
    }
    if isinstance(model, PartitionedInverse):
        table["splits"] = [split._asdict() for split in model.splits]
        table["cells"] = [_settings(cell) for cell in model.cells]
    elif isinstance(model, ParametricInverse):
        table["parametric"] |= _settings(model)
    if model.report is not None:
        table["measured"] = model.report.to_table()
    weights = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    with atomic_path(folder / WEIGHTS_FILE) as temporary:
        temporary.write_bytes(save(weights))
    with atomic_path(folder / CONFIG_FILE) as temporary:
        temporary.write_text(tomli_w.dumps(table), encoding="utf-8")


def _settings(model: ParametricInverse) -> dict[str, Any]:
    return {
        "rank": model.rank,
        "degree": model.degree,
        "coefficients": model.kind,
        "probed": model.probed,
        "most_overestimated": model.most_overestimated,
        "matrix_rank": 0 if model.uniform is None else model.uniform.rank,
    }


def load_parametric(folder: Path | str, *, device: torch.device | str = "cpu") -> FamilyInverse:
    """Read a parametric inverse that :func:`save_parametric` wrote; a proof for all parameters is made anew.

    Raises
    ------
    FileError
        If a file is missing, corrupt, too large, or does not fit the configuration.
    ConfigError
        If the device cannot be used.
    """
    folder, device = Path(folder), usable_device(device)
    model = _read_config(folder / CONFIG_FILE)
    path = folder / WEIGHTS_FILE
    if not path.is_file():
        raise FileError(f"{path}: missing; the configuration beside it asks for it")
    expected = model.state_dict()
    try:
        with safe_open(path, framework="pt") as file:
            if set(file.keys()) != set(expected):
                raise FileError(f"{path}: holds other tensors than {', '.join(expected)}; fit again")
            for name, value in expected.items():
                shape = tuple(file.get_slice(name).get_shape())
                if shape != tuple(value.shape):
                    raise FileError(f"{path}: tensor {name!r} has shape {shape}, not {tuple(value.shape)}; fit again")
            weights = {name: file.get_tensor(name) for name in expected}
    except (SafetensorError, OSError) as error:
        raise FileError(f"{path}: not a whole safetensors file ({error}); copy it again or fit again") from error
    for name, value in weights.items():
        if value.dtype != expected[name].dtype or not bool(torch.isfinite(value).all()):
            raise FileError(f"{path}: tensor {name!r} is {value.dtype}, or holds NaN or infinity; fit again")
    model.load_state_dict(weights)
    for cell in model.cells if isinstance(model, PartitionedInverse) else [model]:
        _restore(cell)
    return model.to(device).eval()


def _restore(model: ParametricInverse) -> None:
    if model.uniform is not None:
        # A bound that a file claims is no proof: it is proved again.
        model.basis.copy_(model.uniform.inverse_basis)
        model.uniform.residual.fill_(prove(model))


def _read_config(path: Path) -> ParametricInverse | PartitionedInverse:
    if not path.is_file():
        raise FileError(f"{path}: no such file; expected a folder that `neuralinv fit --out` wrote")
    table = read_toml(path, largest=_LARGEST_CONFIG)
    try:
        return _build(table)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise FileError(f"{path}: not the configuration of a parametric inverse ({error}); fit again") from error


def _build(table: Mapping[str, Any]) -> ParametricInverse | PartitionedInverse:
    settings, rows = table["parametric"], table["ranges"]
    size, dtype, rtol = settings["size"], _DTYPES[settings["dtype"]], float(settings["rtol"])
    if type(size) is not int or not isinstance(rows, list):
        raise ValueError("size is a whole number, and ranges a list")
    if not (1 <= size <= _LARGEST_SIZE and 1 <= len(rows) <= 8):
        raise ValueError(f"size = {size}, {len(rows)} parameters: out of range")
    ranges = {str(row["name"]): Range(float(row["low"]), float(row["high"]), log=bool(row["log"])) for row in rows}
    if not 0 < rtol < 1 or len(ranges) != len(rows):
        raise ValueError("rtol lies between 0 and 1, and names differ")
    cuts, cells = table.get("splits", []), table.get("cells", [settings])
    if not isinstance(cuts, list) or not isinstance(cells, list) or not len(cells) == len(cuts) + 1 <= _MOST_CELLS:
        raise ValueError(f"cells are one more than splits, and at most {_MOST_CELLS}")
    splits = [_read_split(cut) for cut in cuts]
    boxes = split_ranges(ranges, splits)
    # Before anything is allocated: what all cells ask for together.
    if sum(_weights(cell, size, len(rows)) for cell in cells) > _MOST_WEIGHTS:
        raise ValueError("asks for more than 2^28 weights")
    if sum(feature_count(len(rows), cell["degree"]) for cell in cells) > _MOST_FEATURES:
        raise ValueError("asks for more than 2^20 polynomials")
    report = _read_report(table.get("measured"))
    models = [
        ParametricInverse(
            box,
            size,
            cell["rank"],
            cell["degree"],
            dtype=dtype,
            rtol=rtol,
            matrix_rank=cell.get("matrix_rank", 0),
            coefficients=cell.get("coefficients", "polynomial"),
            probed=cell.get("probed", False),
            most_overestimated=cell.get("most_overestimated", MOST_OVERESTIMATED),
        )
        for cell, box in zip(cells, boxes, strict=True)
    ]
    model = PartitionedInverse(ranges, splits, models) if splits else models[0]
    model.report = report
    return model


def _read_report(measured: Any) -> FitReport | None:
    """Check what a fit found. Residuals and orders of a hopeless one may be NaN or infinite."""
    if measured is None:
        return None
    expected: dict[str, type[Any]] = {
        field.name: {"int": int, "float": float}[str(field.type)] for field in fields(FitReport)
    }
    if not isinstance(measured, dict) or set(measured) != set(expected):
        raise ValueError(f"measured holds {', '.join(expected)}")
    for name, kind in expected.items():
        value = measured[name]
        if type(value) is not kind or value < 0 or (kind is int and value >= 1 << 63):
            raise ValueError(f"measured.{name} is no {kind.__name__} of at least 0")
        if name in ("certified_share", "mean_rank", "seconds") and not math.isfinite(value):
            raise ValueError(f"measured.{name} = {value}")
    if measured["certified_share"] > 1 + 1e-9:  # a sum over cells, rounded
        raise ValueError(f"measured.certified_share = {measured['certified_share']}")
    return FitReport(**measured)


def _read_split(cut: Mapping[str, Any]) -> Split:
    if type(cut["cell"]) is not int or type(cut["parameter"]) is not str or type(cut["at"]) is not float:
        raise ValueError("a split names a cell, a parameter and a value")
    return Split(cut["cell"], cut["parameter"], cut["at"])


def _weights(cell: Mapping[str, Any], size: int, parameters: int) -> int:
    """Check the settings of a cell, and return a bound of the number of its weights."""
    rank, degree, terms = cell["rank"], cell["degree"], cell.get("matrix_rank", 0)
    kind, probed = cell.get("coefficients", "polynomial"), cell.get("probed", False)
    most = cell.get("most_overestimated", MOST_OVERESTIMATED)
    if not all(type(value) is int and value >= 0 for value in (rank, degree, terms)) or rank < 1:
        raise ValueError("rank, degree and matrix_rank are whole numbers, and rank is at least 1")
    if kind not in KINDS or type(probed) is not bool or type(most) is not float or not 1 < most <= 1e3:
        raise ValueError(f"coefficients are {', '.join(KINDS)}, probed is true or false, most_overestimated > 1")
    if degree > _LARGEST_SIZE:
        raise ValueError(f"degree = {degree}: out of range")
    return int((3 * rank + terms) * (2 * size * size + HIDDEN + feature_count(parameters, degree)))
