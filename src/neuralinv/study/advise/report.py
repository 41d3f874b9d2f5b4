"""The advice as one self-contained HTML page."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import jinja2

from neuralinv.io import atomic_path
from neuralinv.study.advise import figures
from neuralinv.study.advise.ranking import NOTHING, times_text
from neuralinv.study.advise.record import Record
from neuralinv.study.advise.text import break_even_text, property_lines
from neuralinv.study.plots import as_data_uri


@dataclass(frozen=True)
class _Picture:
    title: str
    caption: str
    image: str


def write_advice(path: Path, advice: Record) -> None:
    """Write the page, whole or not at all.

    Raises
    ------
    FileError
        If the file cannot be written.
    """
    with atomic_path(path, probe=True):
        pass
    page = _TEMPLATES.get_template("advice.html.j2").render(
        advice=advice,
        best=advice.recommended,
        properties=list(property_lines(advice.properties)),
        pictures=list(_pictures(advice)),
        nothing=NOTHING,
        times_text=times_text,
        break_even_text=break_even_text,
    )
    with atomic_path(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


def _pictures(advice: Record) -> list[_Picture]:
    found = [
        _Picture(
            "How long each option takes",
            "Predicted time of a call, proof and fallback included, over the exact kernel's; bars hold nine of ten.",
            as_data_uri(figures.predicted_times(advice)),
        ),
        _Picture(
            "How close each option comes",
            "Predicted relative error of nine matrices out of ten. What options with a proof start from is corrected, "
            "or recomputed, until the tolerance holds.",
            as_data_uri(figures.predicted_errors(advice)),
        ),
    ]
    properties = advice.properties
    if properties.likeness is not None and properties.likeness.rank_decay:
        found.append(
            _Picture(
                "How much the inverses have in common",
                "What the best r modes of the sample leave out: the faster it falls, the fewer numbers describe an "
                "inverse.",
                as_data_uri(figures.rank_decay(properties.likeness.rank_decay)),
            )
        )
    if properties.polynomial:
        found.append(
            _Picture(
                "How smooth the inverses are in the parameters",
                "Error of polynomials on a fifth of the sample that they were not fitted to.",
                as_data_uri(figures.polynomial_errors(properties.polynomial)),
            )
        )
    return found


_TEMPLATES = jinja2.Environment(
    loader=jinja2.PackageLoader("neuralinv.study"), autoescape=True, trim_blocks=True, lstrip_blocks=True
)
