"""The machine: what it is, and its ceilings, measured in the same run as everything else."""

from __future__ import annotations

import math
import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from neuralinv.dense import native
from neuralinv.measuring.timing import time_interleaved

_PACKAGES = ("neuralinv", "torch", "numpy", "scipy", "jax", "mkl", "threadpoolctl")
_COPIES = tuple(1 << k for k in range(18, 29, 2))  # bytes read and written: 256 KiB to 256 MiB
_PRODUCT = 1024


@dataclass(frozen=True)
class Machine:
    """Where figures come from; cores are those that this process may use."""

    processor: str
    architecture: str
    cores: int
    threads: int
    instruction_set: str
    system: str
    versions: Mapping[str, str]


@dataclass(frozen=True)
class Ceilings:
    """The fastest that anything could be here.

    Attributes
    ----------
    copy
        Bytes per second, read and written together, of a copy that moves so many bytes.
    flops
        Floating-point operations per second of a large matrix product, by dtype.
    """

    copy: Mapping[int, float]
    flops: Mapping[str, float]

    def copy_rate(self, moved: float) -> float:
        """Return the rate of the measured copy whose size is nearest, by ratio, to ``moved`` bytes."""
        return self.copy[min(self.copy, key=lambda size: abs(math.log(size / moved)))]


def usable_cores() -> int:
    """Return the number of cores that this process may run on."""
    # Containers and taskset narrow what os.cpu_count() reports.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def describe_machine(threads: int) -> Machine:
    """Describe processor, cores, instruction set in use and versions."""
    return Machine(
        processor=_processor(),
        architecture=platform.machine(),
        cores=usable_cores(),
        threads=threads,
        instruction_set=native.instruction_set(),
        system=f"{platform.system()}, Python {platform.python_version()}",
        versions={name: found for name in _PACKAGES if (found := _version(name))},
    )


def measure_ceilings(threads: int, seconds: float, *, copies: tuple[int, ...] = _COPIES) -> Ceilings:
    """Measure copies of several sizes, and products of 1024×1024 matrices in float32 and float64."""
    rates = {}
    for moved in copies:
        source = torch.rand(moved // 8)  # float32, and half of what is moved is written
        target = torch.empty_like(source)
        timing = time_interleaved({"copy": partial(target.copy_, source)}, seconds, threads=threads, rounds=1)
        rates[moved] = moved / timing["copy"].median
    products = {}
    for dtype in (torch.float32, torch.float64):
        a = torch.rand(_PRODUCT, _PRODUCT, dtype=dtype)
        out = torch.empty_like(a)
        timing = time_interleaved({"product": partial(torch.mm, a, a, out=out)}, seconds, threads=threads)
        products[str(dtype).removeprefix("torch.")] = 2 * _PRODUCT**3 / timing["product"].median
    return Ceilings(rates, products)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    named = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
