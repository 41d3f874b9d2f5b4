"""A hook of MkDocs: formulas between lines of ``$$`` become MathML when the site is built, ``σ_min`` gets its index.

Browsers draw MathML themselves: nothing is loaded from a network, and no script runs. In the repository, where no site
is built, viewers of Markdown typeset the same lines.
"""

from __future__ import annotations

import re
from typing import Any

from latex2mathml.converter import convert

_CODE = re.compile(r"(```.*?```|`[^`\n]*`|\]\([^)]*\))", re.DOTALL)
_INDEX = re.compile(r"(?<=[σ‖ρd])_(min|max|in|out|n|F|[0-9])\b")
_FORMULA = re.compile(r"^\$\$\n(.*?)\n\$\$$", re.DOTALL | re.MULTILINE)


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Typeset the formulas of a page, and the indices of symbols in its text: ``σ_min``, ``‖A‖_F``."""
    parts = _FORMULA.split(markdown)  # text and formulas in turn
    parts[1::2] = [_typeset(formula) for formula in parts[1::2]]
    parts[::2] = [_lower_indices(text) for text in parts[::2]]
    return "".join(parts)


def _lower_indices(text: str) -> str:
    pieces = _CODE.split(text)  # text and code in turn
    pieces[::2] = [_INDEX.sub(r"<sub>\1</sub>", piece) for piece in pieces[::2]]
    return "".join(pieces)


def _typeset(formula: str) -> str:
    # One line without blanks at its ends: Markdown leaves it alone as a block of HTML.
    return f'<div class="formula">{convert(" ".join(formula.split()), display="block")}</div>'
