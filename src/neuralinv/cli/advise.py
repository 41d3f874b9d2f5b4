"""`neuralinv advise`: what to do about the inverses of a file of matrices, before anything is trained."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from neuralinv.cli._console import console, counting, error_console
from neuralinv.cli._durations import parse_duration
from neuralinv.io import atomic_path


def advise(
    matrices: Annotated[
        Path | None, typer.Argument(metavar="[FILE]", help="Matrices: .mx, .npy (of any size), .npz, .mtx or .csv.")
    ] = None,
    parameters: Annotated[Path | None, typer.Option(help="One row for each matrix, .npy or .csv.")] = None,
    rtol: Annotated[
        float | None, typer.Option(help="Relative error to reach. [default: 1e-5 in single precision, 1e-10 in double]")
    ] = None,
    proof: Annotated[bool, typer.Option("--proof", help="Every answer must carry a proved bound.")] = False,
    attempt: Annotated[
        bool, typer.Option("--try", help="Try the recommended option and the best trained one: predicted and reached.")
    ] = False,
    budget: Annotated[
        float | None,
        typer.Option(parser=parse_duration, metavar="TIME", help="With --try (30s) or --calibrate (12m)."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Which matrices are looked at.")] = 0,
    json: Annotated[Path | None, typer.Option(help="Write everything as JSON.")] = None,
    html: Annotated[Path | None, typer.Option(help="Write a page with plots.")] = None,
    calibration: Annotated[
        Path | None, typer.Option(help="Predict from this calibration, not the packaged one.")
    ] = None,
    calibrate: Annotated[
        Path | None, typer.Option(metavar="OUT", help="Measure all families on this machine and write a calibration.")
    ] = None,
    honesty: Annotated[
        bool, typer.Option("--honesty", help="Hold out each family and size in turn: how good are predictions?")
    ] = False,
) -> None:
    """Say whether a network, a fit or an exact kernel serves these matrices best, before anything is trained."""
    if (matrices is None) == (calibrate is None and not honesty):
        raise typer.BadParameter("give a FILE of matrices, or --calibrate OUT, or --honesty")
    if matrices is None and ((parameters, rtol, json, html) != (None,) * 4 or proof or attempt):
        raise typer.BadParameter("--parameters, --rtol, --proof, --try, --json and --html go with a FILE")
    if budget is not None and not attempt and calibrate is None:
        raise typer.BadParameter("--budget goes with --try or --calibrate")
    if matrices is None:
        _about_predictions(calibrate, calibration, honesty=honesty, budget=budget)
        return

    from neuralinv.study.advise import advise as ask
    from neuralinv.study.advise import read_calibration
    from neuralinv.study.advise.text import render

    for path in (json, html):
        if path is not None:
            with atomic_path(path, probe=True):
                pass
    advice = ask(
        matrices,
        parameters,
        rtol=rtol,
        proof=proof,
        budget=(30.0 if budget is None else budget) if attempt else None,
        seed=seed,
        calibration=None if calibration is None else read_calibration(calibration),
    )
    console.print(render(advice))
    if json is not None:
        with atomic_path(json) as temporary:
            temporary.write_text(advice.to_json(), encoding="utf-8")
        console.print(f"figures in {json}", markup=False)
    if html is not None:
        advice.to_html(html)
        console.print(f"report in {html}", markup=False)


def _about_predictions(out: Path | None, calibration: Path | None, *, honesty: bool, budget: float | None) -> None:
    from neuralinv.study.advise import calibrate, judge, read_calibration
    from neuralinv.study.advise.calibration import BUDGET
    from neuralinv.study.advise.text import honesty_table

    if out is not None:
        with counting("measuring", 1000) as advance:
            done = 0

            def progress(what: str, share: float) -> None:
                nonlocal done
                now = int(1000 * share)
                advance(now - done)
                done = now

            found = calibrate(out, budget=BUDGET if budget is None else budget, progress=progress)
        console.print(f"{len(found.cases)} cases in {out}", markup=False)
    else:
        found = read_calibration(calibration)
    console.print("Each family held out at each size, n ≤ 64:")
    verdict = judge(found)
    console.print(honesty_table(verdict))
    console.print("Each family held out altogether, n ≤ 64:")
    console.print(honesty_table(judge(found, held_out=lambda case: case.family)))
    if honesty:
        for miss in verdict.misses:
            console.print(miss, markup=False)
    if not verdict.passes:
        error_console.print("the bar of nine in ten is missed", markup=False)
        raise typer.Exit(1)
