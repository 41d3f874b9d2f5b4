"""Measuring what advice predicts from, and how good the predictions are."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from neuralinv.cli._console import completing, console, error_console

if TYPE_CHECKING:
    from neuralinv.study.advise.calibration import Calibration


def calibrate_and_judge(out: Path, budget: float | None) -> None:
    """Measure all families on this machine, write the calibration, and show how well it predicts."""
    from neuralinv.study.advise import calibrate
    from neuralinv.study.advise.calibration import BUDGET

    with completing("measuring") as complete:
        found = calibrate(out, budget=BUDGET if budget is None else budget, progress=lambda _, share: complete(share))
    console.print(f"{len(found.cases)} cases in {out}", markup=False)
    show_honesty(found, misses=False)


def show_honesty(calibration: Calibration, *, misses: bool) -> None:
    """Hold out each family and size in turn, then each family; exit code 1 if predictions miss the bar."""
    from neuralinv.study.advise import judge
    from neuralinv.study.advise.text import honesty_table

    console.print("Each family held out at each size, n ≤ 64:")
    verdict = judge(calibration)
    console.print(honesty_table(verdict))
    console.print("Each family held out altogether, n ≤ 64:")
    console.print(honesty_table(judge(calibration, held_out=lambda case: case.family)))
    if misses:
        for miss in verdict.misses:
            console.print(miss, markup=False)
    if not verdict.passes:
        error_console.print("the bar of nine in ten is missed", markup=False)
        raise typer.Exit(1)
