"""`show_config`: what this installation runs on."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
from typing import Any, Literal, overload

import numpy as np
import torch

from neuralinv.dense import native
from neuralinv.dense.crossover import TABLE
from neuralinv.dense.threads import borrows_threads
from neuralinv.kernels import availability


@overload
def show_config(mode: Literal["stdout"] = "stdout") -> None: ...
@overload
def show_config(mode: Literal["dicts"]) -> dict[str, Any]: ...
def show_config(mode: Literal["stdout", "dicts"] = "stdout") -> dict[str, Any] | None:
    """Print version, instruction set, threads, libraries and optional backends, for bug reports.

    Parameters
    ----------
    mode
        ``"stdout"`` prints; ``"dicts"`` returns the same as a dictionary, as ``numpy.show_config`` does.

    Raises
    ------
    ValueError
        If ``mode`` is neither of the two.
    """
    if mode not in ("stdout", "dicts"):
        raise ValueError(f"mode={mode!r}; expected 'stdout' or 'dicts'")
    config = {
        "version": importlib.metadata.version("neuralinv"),
        "kernels": {
            "built": native.AVAILABLE,
            "instruction set": native.instruction_set(),
            "available": native.instruction_sets(),
            "threads": native.threads(),
            "threads of": "torch" if borrows_threads() else "neuralinv",
            "crossover table": str(TABLE.path),
            "measured on": TABLE.machine,
            "gpu": availability.describe(),
        },
        "libraries": {
            "torch": f"{torch.__version__}, LAPACK of {_lapack_of_torch()}",
            "numpy": f"{np.__version__}, LAPACK of {_lapack_of(np)}",
            "scipy": _scipy(),
        },
        "optional": {name: _version(name) for name in ("jax", "triton")},
    }
    if mode == "dicts":
        return config
    print(json.dumps(config, indent=2))
    return None


def _lapack_of_torch() -> str:
    settings = torch.__config__.show()
    found = [part.partition("=")[2] for part in settings.replace("\n", ",").split(",") if "LAPACK_INFO=" in part]
    return found[0] if found else "unknown"


def _lapack_of(module: Any) -> str:
    found = module.show_config(mode="dicts").get("Build Dependencies", {}).get("lapack", {})
    return " ".join(str(found[key]) for key in ("name", "version") if key in found) or "unknown"


def _scipy() -> str:
    import scipy  # at a bug report only: it takes a moment

    return f"{scipy.__version__}, LAPACK of {_lapack_of(scipy)}"


def _version(package: str) -> str | None:
    if importlib.util.find_spec(package) is None:
        return None
    return importlib.metadata.version(package)
