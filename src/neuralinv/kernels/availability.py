"""Whether Triton kernels can run and where, told without importing Triton: that takes a second, and few need it."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

OLDEST = (3, 6)
"""The oldest release of Triton that the kernels were compiled with: they hold matrices in tuples of vectors."""


def _release() -> tuple[int, int] | None:
    if importlib.util.find_spec("triton") is None:
        return None
    try:
        major, minor = importlib.metadata.version("triton").split(".")[:2]
        return int(major), int(minor)
    except (importlib.metadata.PackageNotFoundError, ValueError):
        return None


RELEASE = _release()
"""Major and minor version of the Triton that is installed, or None."""

IMPORTABLE = RELEASE is not None and RELEASE >= OLDEST
"""Whether there is a Triton that the kernels work with."""


def is_interpreted() -> bool:
    """Tell whether Triton's interpreter is on (``TRITON_INTERPRET=1``): kernels then run on the CPU, for tests.

    It must be on before the first kernel is imported, and stays on for the process.
    """
    return os.environ.get("TRITON_INTERPRET", "").lower() in ("1", "true", "on", "yes", "y")


def serves(device: torch.device) -> bool:
    """Tell whether kernels run on tensors of this device: NVIDIA GPUs, where Triton is installed."""
    return IMPORTABLE and device.type == "cuda" and torch.version.hip is None


def on_device_of(A: Tensor) -> AbstractContextManager[Any]:
    """Make the device of a tensor the current one, on which kernels are launched, if it is not."""
    # Entering a device costs as much as some kernels take.
    elsewhere = A.is_cuda and A.device.index != torch.cuda.current_device()
    return torch.cuda.device(A.device) if elsewhere else nullcontext()


def describe() -> str:
    """Say in a few words what there is."""
    if RELEASE is None:
        return "Triton is not installed: pip install 'neuralinv[gpu]'"
    if not IMPORTABLE:
        return f"Triton {RELEASE[0]}.{RELEASE[1]} is too old; the kernels need {OLDEST[0]}.{OLDEST[1]}"
    if not torch.cuda.is_available():
        return "no GPU that torch can use"
    if torch.version.hip is not None:
        return "the kernels are for NVIDIA GPUs"
    return "Triton kernels"
