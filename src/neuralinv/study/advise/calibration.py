"""Measurements that predictions are fitted to: every option that applies, on the registry's families and sizes."""

from __future__ import annotations

import json
import math
import platform
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from neuralinv.dense import native
from neuralinv.dense.certified import DEFAULT_RTOL
from neuralinv.families import FAMILIES, Family, MatrixFunction
from neuralinv.io import atomic_path
from neuralinv.study.advise.measurement import Measured, Problem, measure
from neuralinv.study.advise.methods import METHODS
from neuralinv.study.advise.prediction import Calibration, Case
from neuralinv.study.advise.properties import features, measure_properties
from neuralinv.study.advise.sample import COUNT, draw_sample
from neuralinv.study.advise.source import Source, open_source

SIZES = (2, 3, 4, 8, 16, 32, 64)
BUDGET = 480.0
_LARGE = 128
"""Beyond the bar's sizes, for parametric families: where learning may pay."""
_TEST_ELEMENTS = 1 << 17
_POOL_ELEMENTS = 1 << 20
_LARGEST_POOL = 4096
_STEPS = 24
_SEQUENCES = 16
_TURN = 2 * math.pi / 63
"""Between consecutive matrices of a path, which is a circle."""
_RADII = (0.1, 0.01)


@dataclass(frozen=True)
class Setting:
    """One family, size, dtype, and whether the matrices are consecutive points of paths."""

    family: str
    size: int
    dtype: torch.dtype
    ordered: bool


def settings(families: tuple[str, ...] | None = None, sizes: tuple[int, ...] = SIZES) -> Iterator[Setting]:
    """Yield what is calibrated, small sizes first: what a short budget leaves out are the large ones."""
    names = tuple(FAMILIES) if families is None else families
    for size in sizes if families is not None else (*sizes, _LARGE):
        for index, name in enumerate(names):
            family = FAMILIES[name]
            if size > max(SIZES) and not family.parametric:
                continue
            single, double = (torch.complex64, torch.complex128) if family.complex else (torch.float32, torch.float64)
            yield Setting(name, size, single, False)
            if size <= max(SIZES):
                yield Setting(name, size, double, False)
            yield Setting(name, size, double if (index + size.bit_length()) % 2 else single, True)


def calibrate(
    out: Path,
    *,
    budget: float = BUDGET,
    families: tuple[str, ...] | None = None,
    sizes: tuple[int, ...] = SIZES,
    progress: Callable[[str, float], object] | None = None,
) -> Calibration:
    """Measure, and write the calibration to ``out``, whole or not at all.

    Parameters
    ----------
    out
        A JSON file.
    budget
        Seconds after which no further case is begun.
    families, sizes
        By default all, and 128×128 matrices of parametric families.
    progress
        Called with a line about the case that begins and the share of all cases that are done.

    Raises
    ------
    ValueError
        If the budget ends before 8 cases are done.
    FileError
        If the file cannot be written.
    """
    with atomic_path(out, probe=True):
        pass  # find out now, not after ten minutes
    threads = torch.get_num_threads()
    started = time.monotonic()
    todo = list(settings(families, sizes))
    cases: list[Case] = []
    torch.set_num_threads(1)  # processor time of one thread is what is compared
    try:
        for k, setting in enumerate(todo):
            if time.monotonic() - started > budget:
                break
            if progress is not None:
                progress(f"{setting.family} {setting.size}×{setting.size}", k / len(todo))
            cases.append(measure_case(setting))
    finally:
        torch.set_num_threads(threads)
    if len(cases) < 8:
        raise ValueError(
            f"{len(cases)} cases were done in {budget:.0f} s; a calibration takes more: give a larger budget"
        )
    if progress is not None:
        progress("done", len(cases) / len(todo))
    calibration = Calibration(_machine(), tuple(cases)).with_settings()
    with atomic_path(out) as temporary:
        temporary.write_text(json.dumps(_rounded(calibration.to_json())) + "\n", encoding="utf-8")
    return calibration


def measure_case(setting: Setting, *, seed: int = 0) -> Case:
    """Sample a family as a user's matrices would be, and measure every option that applies on fresh ones."""
    random = torch.Generator().manual_seed(seed + setting.size)
    source, given = _ordered(setting, random) if setting.ordered else _independent(setting, random)
    properties = measure_properties(source, draw_sample(source, seed=seed))
    found: dict[str, Measured] = {}
    problem = Problem(properties, *given)
    for name, method in METHODS.items():
        if method.obstacle(properties) is not None or (setting.ordered and method.trained):
            continue
        if name == "network" and setting.dtype == torch.float64:
            continue  # the same network: it works in single precision
        try:
            found[name] = measure(name, problem)
        except ValueError:
            continue  # a fit that cannot be made, a path that is none: the option is out for this case
    return Case(
        setting.family,
        setting.size,
        str(setting.dtype).removeprefix("torch."),
        setting.ordered,
        problem.rtol,
        features(properties),
        {name: measured for name, measured in found.items() if math.isfinite(measured.error)},
    )


_Rest = tuple[float, Tensor, Tensor | None, MatrixFunction | None, Tensor, Tensor | None, Tensor | None]


def _independent(setting: Setting, random: torch.Generator) -> tuple[Source, _Rest]:
    """Matrices drawn one by one: a pool that stands for the user's, and others to be judged by."""
    family, n = FAMILIES[setting.family], setting.size
    tests = max(8, _TEST_ELEMENTS // n**2)
    pool = max(COUNT, min(_LARGEST_POOL, _POOL_ELEMENTS // n**2))
    rtol = DEFAULT_RTOL[setting.dtype]
    if family.parametric:
        function = family.matrix_function(n, generator=random, dtype=setting.dtype)
        theta, fresh = (family.thetas(count, generator=random) for count in (pool, tests))
        matrices, test = function(theta), function(fresh)
        source = open_source(function, theta)
        return source, (rtol, matrices, theta, function, test, fresh, None)
    # One operator for all, where chance fixes it once; drawn together, since some families record a run.
    matrices, test = family.sample(pool + tests, n, generator=random, dtype=setting.dtype).split([pool, tests])
    return open_source(matrices), (rtol, matrices, None, None, test, None, None)


def _ordered(setting: Setting, random: torch.Generator) -> tuple[Source, _Rest]:
    """Matrices along circles: of the parameters, or around matrices drawn one by one."""
    family, n = FAMILIES[setting.family], setting.size
    radius = _RADII[n.bit_length() % 2]
    width = max(_SEQUENCES, min(512, _TEST_ELEMENTS // 8 // n**2))
    angle = torch.arange(_STEPS, dtype=torch.float64) * _TURN
    if family.parametric:
        path = _parameter_circles(family, setting, random, angle, width, radius)
    else:
        base = family.sample(width, n, generator=random, dtype=setting.dtype)
        B, C = (_like(base, random) for _ in range(2))
        path = base + radius * torch.einsum("t,bij->tbij", angle.cos().to(base.dtype), B)
        path = path + radius * torch.einsum("t,bij->tbij", angle.sin().to(base.dtype), C)
    half = _STEPS // 2
    source = open_source(path[:half])
    return source, (DEFAULT_RTOL[setting.dtype], path[:half].flatten(0, 1), None, None, path[half], None, path[half:])


def _parameter_circles(
    family: Family, setting: Setting, random: torch.Generator, angle: Tensor, width: int, radius: float
) -> Tensor:
    function = family.matrix_function(setting.size, generator=random, dtype=setting.dtype)
    ranges = list(family.ranges.values())
    centre = radius + (1 - 2 * radius) * torch.rand(width, len(ranges), generator=random, dtype=torch.float64)
    phase = torch.arange(len(ranges), dtype=torch.float64) * (math.pi / 2)
    unit = centre + radius * torch.cos(angle[:, None, None] + phase)
    theta = torch.stack([range_.at(unit[..., k]) for k, range_ in enumerate(ranges)], -1)
    flat: Tensor = function(theta.flatten(0, 1))
    return flat.unflatten(0, (len(angle), width))


def _like(A: Tensor, random: torch.Generator) -> Tensor:
    """Perturbations of the norm of each matrix, Hermitian where the matrices are."""
    G = torch.randn(A.shape, generator=random, dtype=A.dtype)
    if bool((A.mH == A).all()):
        G = G + G.mH
    return G * (torch.linalg.matrix_norm(A) / torch.linalg.matrix_norm(G))[:, None, None]


def _machine() -> str:
    return f"{platform.machine()} ({native.instruction_set()}), 1 thread"


def _rounded(value: object) -> object:
    """Five digits are more than any measurement has, and keep the file small."""
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(item) for item in value]
    return float(f"{value:.5g}") if isinstance(value, float | np.floating) else value
