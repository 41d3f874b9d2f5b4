"""A parametric inverse on disk: a folder with `config.toml` and one safetensors file. Nothing in it is trusted."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import tomli_w
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from neuralinv.dense.probabilistic import MOST_OVERESTIMATED
from neuralinv.families import Range
from neuralinv.io import FileError, atomic_path
from neuralinv.learned.architectures.coefficients import HIDDEN, KINDS
from neuralinv.learned.architectures.parametric import ParametricInverse, feature_count
from neuralinv.learned.architectures.uniform import prove
from neuralinv.learned.checkpoints import CONFIG_FILE

WEIGHTS_FILE = "parametric.safetensors"
_LARGEST_CONFIG = 1 << 20
_LARGEST_SIZE = 4096
_MOST_WEIGHTS = 1 << 28
_DTYPES = {
    str(dtype).removeprefix("torch."): dtype
    for dtype in (torch.float32, torch.float64, torch.complex64, torch.complex128)
}


def save_parametric(model: ParametricInverse, folder: Path) -> None:
    """Write a parametric inverse into ``folder``; each file appears whole or not at all.

    Raises
    ------
    FileError
        If the folder cannot be written.
    """
    table: dict[str, Any] = {
        "parametric": {
            "size": model.size,
            "rank": model.rank,
            "degree": model.degree,
            "coefficients": model.kind,
            "most_overestimated": model.most_overestimated,
            "matrix_rank": 0 if model.uniform is None else model.uniform.rank,
            "dtype": str(model.dtype).removeprefix("torch."),
            "rtol": model.rtol,
        },
        "ranges": [
            {"name": name, "low": float(r.low), "high": float(r.high), "log": r.log} for name, r in model.ranges.items()
        ],
    }
    if model.report is not None:
        table["measured"] = model.report.to_table()
    weights = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    with atomic_path(folder / WEIGHTS_FILE) as temporary:
        temporary.write_bytes(save(weights))
    with atomic_path(folder / CONFIG_FILE) as temporary:
        temporary.write_text(tomli_w.dumps(table), encoding="utf-8")


def load_parametric(folder: Path | str, *, device: torch.device | str = "cpu") -> ParametricInverse:
    """Read a parametric inverse that :func:`save_parametric` wrote; a proof for all parameters is made anew.

    Raises
    ------
    FileError
        If a file is missing, corrupt, too large, or does not fit the configuration.
    """
    folder = Path(folder)
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
    if model.uniform is not None:
        # A bound that a file claims is no proof: it is proved again.
        model.basis.copy_(model.uniform.inverse_basis)
        model.uniform.residual.fill_(prove(model))
    return model.to(device).eval()


def _read_config(path: Path) -> ParametricInverse:
    if not path.is_file():
        raise FileError(f"{path}: no such file; expected a folder that `neuralinv fit --out` wrote")
    if path.stat().st_size > _LARGEST_CONFIG:
        raise FileError(f"{path}: larger than 1 MiB; this is no configuration")
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
        settings, rows = table["parametric"], table["ranges"]
        size, rank, degree = (settings[key] for key in ("size", "rank", "degree"))
        terms, kind = settings.get("matrix_rank", 0), settings.get("coefficients", "polynomial")
        most = settings.get("most_overestimated", MOST_OVERESTIMATED)
        if not all(type(value) is int and value >= 0 for value in (size, rank, degree, terms)) or not isinstance(
            rows, list
        ):
            raise ValueError("size, rank, degree and matrix_rank are whole numbers, and ranges a list")
        if kind not in KINDS or type(most) is not float or not 1 < most <= 1e3:
            raise ValueError(f"coefficients are {', '.join(KINDS)}, and most_overestimated > 1")
        if not (1 <= size <= _LARGEST_SIZE and 1 <= len(rows) <= 8 and rank >= 1):
            raise ValueError(f"size = {size}, rank = {rank}, {len(rows)} parameters: out of range")
        if (
            degree > _LARGEST_SIZE
            or (3 * rank + terms) * (2 * size * size + HIDDEN + feature_count(len(rows), degree)) > _MOST_WEIGHTS
        ):
            raise ValueError("asks for more than 2^28 weights")
        ranges = {str(row["name"]): Range(float(row["low"]), float(row["high"]), log=bool(row["log"])) for row in rows}
        dtype, rtol = _DTYPES[settings["dtype"]], float(settings["rtol"])
        if not 0 < rtol < 1 or len(ranges) != len(rows):
            raise ValueError("rtol lies between 0 and 1, and names differ")
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, ValueError, KeyError, TypeError) as error:
        raise FileError(f"{path}: not the configuration of a parametric inverse ({error}); fit again") from error
    return ParametricInverse(
        ranges,
        size,
        rank,
        degree,
        dtype=dtype,
        rtol=rtol,
        matrix_rank=terms,
        coefficients=kind,
        most_overestimated=most,
    )
