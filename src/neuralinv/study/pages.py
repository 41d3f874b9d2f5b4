"""The pages of the study: what is written by people stays, what is measured is written by this module.

Each page holds two marked lines. Between them stand verdict, figures, findings and tables, made from a file of results;
nobody types a number in.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from neuralinv.io import FileError, atomic_path
from neuralinv.study.experiments.experiment import Experiment, Result, Row, TableSpec
from neuralinv.study.plots import save_figure

_BEGIN = "<!-- measured: begin, written by `neuralinv study --pages` -->"
_END = "<!-- measured: end -->"
_BLOCK = re.compile(re.escape(_BEGIN) + ".*?" + re.escape(_END), re.DOTALL)
IMAGES = Path("..") / "images" / "study"
"""Where the figures lie, seen from the pages."""


def write_page(experiment: Experiment[Any], result: Result, folder: Path) -> Path:
    """Write the measured part of an experiment's page, and its figure.

    Parameters
    ----------
    experiment, result
        What was run, and what came of it.
    folder
        ``docs/study``; the figure goes to ``docs/images/study``.

    Raises
    ------
    FileError
        If there is no such page, it has no marked lines, or it cannot be written.
    """
    image = IMAGES / f"{experiment.name}.png"
    save_figure(experiment.draw(result.tables), folder / image)
    return _replace(folder / f"{experiment.name}.md", "\n".join(_page(experiment, result, image)))


def write_index(experiments: Mapping[str, Experiment[Any]], results: Mapping[str, Result], folder: Path) -> Path:
    """Write the measured part of the page of findings, from the results that there are.

    Raises
    ------
    FileError
        If there is no such page, it has no marked lines, or it cannot be written.
    """
    return _replace(folder / "index.md", "\n".join(_index(experiments, results)))


def shown_rows(spec: TableSpec, rows: Iterable[Row]) -> Iterator[list[str]]:
    """Yield the cells of the rows that a table shows, as text."""
    for row in rows:
        if spec.where(row):
            yield [column.text(row) for column in spec.columns]


def load_note(result: Result) -> str:
    """Say how long the experiment took, and how far its times can be relied on."""
    versions = [f"{name} {version}" for name, version in result.versions.items() if name in ("torch", "numpy")]
    spent = [f"{result.cpu_seconds:.0f} s of processor time"] if result.cpu_seconds else []
    text = "; ".join([f"Setting `{result.setting}`, seed {result.seed}", *spent, ", ".join(versions)])
    if _has_loaded_times(result):
        text += ". **The machine was busy with other work: times are ratios of interleaved runs, and indicative only**"
    return text + "."


def _page(experiment: Experiment[Any], result: Result, image: Path) -> Iterator[str]:
    judgement = result.judgement
    yield f"**Verdict: {judgement.outcome.value}.** {_sentence(judgement.because)}"
    yield ""
    yield f"![{experiment.alt}]({image.as_posix()})"
    yield ""
    for finding in judgement.findings:
        yield f"- {finding.text} ([table](#{_anchor(finding.table)}))"
    if judgement.findings:
        yield ""
    yield f"{load_note(result)} All numbers are in [data/{experiment.name}.json](data/{experiment.name}.json)."
    for name, spec in experiment.shown.items():
        yield f'\n### <a id="{_anchor(name)}"></a>{spec.title}\n'
        yield from _markdown([column.heading for column in spec.columns], shown_rows(spec, result.tables[name]))


def _index(experiments: Mapping[str, Experiment[Any]], results: Mapping[str, Result]) -> Iterator[str]:
    rows = []
    for name, experiment in experiments.items():
        link = f"[{experiment.title}]({name}.md)"
        if name in results:
            judgement = results[name].judgement
            caveat = " *Times from a busy machine: indicative only.*" if _has_loaded_times(results[name]) else ""
            rows.append([link, f"**{judgement.outcome.value}**", _sentence(judgement.because) + caveat])
        else:
            rows.append([link, "not measured", "–"])
    yield from _markdown(["experiment", "hypothesis", "the figures that decided"], rows)
    yield "\n## Findings\n"
    for name, experiment in experiments.items():
        if name in results and results[name].judgement.findings:
            yield f"**{experiment.title}**\n"
            for finding in results[name].judgement.findings:
                yield f"- {finding.text} ([table]({name}.md#{_anchor(finding.table)}))"
            yield ""


def _has_loaded_times(result: Result) -> bool:
    return result.loaded and result.experiment == "break_even"  # the others measure no times


def _markdown(headings: list[str], rows: Iterable[list[str]]) -> Iterator[str]:
    yield "| " + " | ".join(_cell(heading) for heading in headings) + " |"
    yield "|" + "---|" * len(headings)
    for row in rows:
        yield "| " + " | ".join(_cell(text) for text in row) + " |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + "."


def _anchor(table: str) -> str:
    return f"table-{table}"


def _replace(path: Path, measured: str) -> Path:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise FileError(f"{path}: cannot be read ({error}); --pages takes the folder of the study's pages") from error
    block = f"{_BEGIN}\n\n{measured.rstrip()}\n\n{_END}"
    changed, count = _BLOCK.subn(lambda _: block, text)
    if count != 1:
        raise FileError(f"{path}: expected the lines '{_BEGIN}' and '{_END}' once each, and found {count} such parts")
    with atomic_path(path) as temporary:
        temporary.write_text(changed, encoding="utf-8")
    return path
