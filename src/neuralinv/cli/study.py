"""`neuralinv study`: where networks can invert matrices, and where they cannot."""

from __future__ import annotations

import time
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from neuralinv.cli._calibration import calibrate_and_judge
from neuralinv.cli._console import completing, error_console
from neuralinv.cli._durations import parse_duration
from neuralinv.cli._outputs import check_outputs
from neuralinv.cli.bench import check_threads, wide_console
from neuralinv.io import FileError

if TYPE_CHECKING:
    from neuralinv.study.experiments import Experiment, Result


class SettingName(StrEnum):
    """How much is measured."""

    small = "small"
    full = "full"


def study(
    names: Annotated[list[str] | None, typer.Argument(help="Experiments. [default: all]", show_default=False)] = None,
    setting: Annotated[
        SettingName,
        typer.Option(help="small: a minute or so for all, to see it work; full: what the pages are made of."),
    ] = SettingName.small,
    out: Annotated[Path, typer.Option(help="Folder for NAME.json, NAME.png and NAME.svg.")] = Path("runs/study"),
    seed: Annotated[int, typer.Option(min=0, max=2**31 - 1, help="Fixes weights, matrices and searches.")] = 0,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads. [default: 2, or the cores]")] = None,
    budget: Annotated[
        float | None,
        typer.Option(parser=parse_duration, metavar="TIME", help="Start no further experiment after this time."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Take results of the same setting and seed from --out; measure the others.")
    ] = False,
    pages: Annotated[
        Path | None, typer.Option(help="Write the measured parts of the pages in this folder (docs/study), too.")
    ] = None,
    calibrate: Annotated[
        Path | None,
        typer.Option(metavar="OUT", help="Instead: measure what `neuralinv advise` predicts from, on this machine."),
    ] = None,
) -> None:
    """Run the experiments of the study: why networks cannot invert every matrix, and where they can.

    Each has a hypothesis; its verdict is computed from the numbers that were measured. Exit code 1 tells that the
    budget ended before all were run.
    """
    from neuralinv.measuring.timing import limited_threads
    from neuralinv.study.experiments import EXPERIMENTS
    from neuralinv.study.experiments.records import save_result

    if calibrate is not None:
        if names or resume or pages is not None:
            raise typer.BadParameter("--calibrate measures all families; only --budget goes with it")
        calibrate_and_judge(calibrate, budget)
        return
    chosen = _choose(names or [], EXPERIMENTS)
    count = check_threads(threads)
    check_outputs({f"--out, {name}": out / f"{name}.json" for name in chosen})
    console = wide_console()
    results: dict[str, Result] = {}
    left: list[str] = []
    started = time.monotonic()
    for name, experiment in chosen.items():
        found = _stored(experiment, setting.value, seed, out) if resume else None
        if found is not None:
            error_console.print(f"{name}: measured before, taken from {out}", markup=False)
        elif budget is not None and time.monotonic() - started >= budget:
            left.append(name)
            continue
        else:
            try:
                with limited_threads(count):
                    found = _run(experiment, setting.value, seed)
            except KeyboardInterrupt:
                error_console.print(f"interrupted; what was finished lies in {out}: go on with --resume", markup=False)
                raise typer.Exit(1) from None
            save_result(found, out)
        results[name] = found
        _show(console, experiment, found)
        _save_figures(experiment, found, out)
    _summarise(console, chosen, results, left)
    console.print(f"numbers and figures in {out}", markup=False)
    if pages is not None:
        _write_pages(console, EXPERIMENTS, results, pages)
    if left:
        raise typer.Exit(1)


def _choose(names: list[str], known: dict[str, Experiment[Any]]) -> dict[str, Experiment[Any]]:
    unknown = [name for name in names if name not in known]
    if unknown:
        raise typer.BadParameter(f"unknown experiment {unknown[0]!r}; known are {', '.join(known)}")
    return {name: experiment for name, experiment in known.items() if not names or name in names}


def _stored(experiment: Experiment[Any], setting: str, seed: int, out: Path) -> Result | None:
    from neuralinv.study.experiments.records import load_result, record_path

    if not record_path(out, experiment.name).exists():
        return None
    found = load_result(out, experiment)
    if (found.setting, found.seed) == (setting, seed):
        return found
    error_console.print(
        f"{experiment.name}: {out} holds setting {found.setting}, seed {found.seed}; measuring again", markup=False
    )
    return None


def _run(experiment: Experiment[Any], setting: Any, seed: int) -> Result:
    with completing(experiment.name) as complete:
        return experiment.run(setting, seed=seed, progress=complete)


def _show(console: Console, experiment: Experiment[Any], result: Result) -> None:
    from rich.text import Text

    from neuralinv.measuring.formatting import plain_table
    from neuralinv.study.pages import load_note, shown_rows

    console.print(Text(f"{experiment.title} ({experiment.name})", style="bold"))
    console.print(experiment.hypothesis, markup=False)
    for name, spec in experiment.shown.items():
        table = plain_table(*(column.heading for column in spec.columns))
        for part in table.columns:
            part.no_wrap = False  # headings of several words
        for cells in shown_rows(spec, result.tables[name]):
            table.add_row(*(Text(cell) for cell in cells))  # from a file, perhaps: no markup
        console.print(Text(spec.title, style="italic"))
        console.print(table)
    console.print(f"verdict: {result.judgement.outcome.value}: {result.judgement.because}", markup=False)
    for finding in result.judgement.findings:
        console.print(f"  - {finding.text}", markup=False)
    console.print(load_note(result).replace("**", "").replace("`", "") + "\n", markup=False)


def _save_figures(experiment: Experiment[Any], result: Result, out: Path) -> None:
    from neuralinv.study.plots import save_figure

    for suffix in (".png", ".svg"):
        save_figure(experiment.draw(result.tables), out / f"{experiment.name}{suffix}")


def _summarise(
    console: Console, chosen: dict[str, Experiment[Any]], results: dict[str, Result], left: list[str]
) -> None:
    from neuralinv.measuring.formatting import plain_table

    table = plain_table("experiment", "verdict", "time", "processor time")
    for name in chosen:
        if name in results:
            result = results[name]
            table.add_row(name, result.judgement.outcome.value, *_times(result.seconds, result.cpu_seconds))
        else:
            table.add_row(name, "not run: the budget is spent", "–", "–")
    total = results.values()
    table.add_row("together", "", *_times(sum(r.seconds for r in total), sum(r.cpu_seconds for r in total)))
    console.print(table)
    if left:
        console.print(f"run the rest with `neuralinv study {' '.join(left)}`, or add --resume", markup=False)


def _times(*seconds: float) -> list[str]:
    return [f"{value:.0f} s" if value else "–" for value in seconds]


def _write_pages(
    console: Console, experiments: dict[str, Experiment[Any]], results: dict[str, Result], pages: Path
) -> None:
    from neuralinv.study.experiments.records import load_result, record_path, save_result
    from neuralinv.study.pages import write_index, write_page

    data = pages / "data"
    for name, result in results.items():
        save_result(result, data)
        write_page(experiments[name], result, pages)
    stored = dict(results)
    for name, experiment in experiments.items():
        if name in stored or not record_path(data, name).exists():
            continue
        try:
            stored[name] = load_result(data, experiment)
        except FileError as error:  # of an earlier version: what was measured now is written all the same
            error_console.print(f"left out of the findings: {error}", markup=False)
    write_index(experiments, stored, pages)
    console.print(f"pages in {pages}", markup=False)
