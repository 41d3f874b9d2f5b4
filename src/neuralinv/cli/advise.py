"""`neuralinv advise`: what to do about the inverses of a file of matrices, before anything is trained."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from neuralinv.cli._calibration import show_honesty
from neuralinv.cli._console import console
from neuralinv.cli._durations import parse_duration
from neuralinv.cli._functions import find_function
from neuralinv.cli._limits import LARGEST_SEED
from neuralinv.cli._outputs import check_outputs
from neuralinv.io import atomic_path


def advise(
    matrices: Annotated[
        str | None,
        typer.Argument(
            metavar="[FILE]",
            help="Matrices: .mx, .npy (of any size), .npz, .mtx or .csv; or module:function of --parameters.",
        ),
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
        typer.Option(parser=parse_duration, metavar="TIME", help="With --try. [default: 30s]"),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=LARGEST_SEED, help="Which matrices are looked at.")] = 0,
    json: Annotated[Path | None, typer.Option(help="Write everything as JSON.")] = None,
    html: Annotated[Path | None, typer.Option(help="Write a page with plots.")] = None,
    calibration: Annotated[
        Path | None, typer.Option(help="Predict from this calibration, not the packaged one.")
    ] = None,
    honesty: Annotated[
        bool, typer.Option("--honesty", help="Hold out each family and size in turn: how good are predictions?")
    ] = False,
) -> None:
    """Say whether a network, a fit or an exact kernel serves these matrices best, before anything is trained."""
    if (matrices is None) == (not honesty):
        raise typer.BadParameter("give a FILE of matrices, or --honesty")
    if matrices is None and ((parameters, rtol, json, html) != (None,) * 4 or proof or attempt):
        raise typer.BadParameter("--parameters, --rtol, --proof, --try, --json and --html go with a FILE")
    if budget is not None and not attempt:
        raise typer.BadParameter("--budget goes with --try")
    if matrices is None:
        from neuralinv.study.advise import read_calibration

        show_honesty(read_calibration(calibration), misses=True)
        return

    from neuralinv.study.advise import advise as ask
    from neuralinv.study.advise import read_calibration
    from neuralinv.study.advise.text import render

    function = find_function(matrices)
    check_outputs(
        {"--json": json, "--html": html},
        inputs={
            "FILE": None if function else Path(matrices),
            "--parameters": parameters,
            "--calibration": calibration,
        },
    )
    advice = ask(
        function or matrices,
        parameters,
        rtol=rtol,
        proof=proof,
        budget=(30.0 if budget is None else budget) if attempt else None,
        seed=seed,
        calibration=None if calibration is None else read_calibration(calibration),
    )
    # Files first: what was measured outlives a terminal that is gone.
    if json is not None:
        with atomic_path(json) as temporary:
            temporary.write_text(advice.to_json(), encoding="utf-8")
    if html is not None:
        advice.to_html(html)
    console.print(render(advice))
    for what, path in (("figures", json), ("report", html)):
        if path is not None:
            console.print(f"{what} in {path}", markup=False)
