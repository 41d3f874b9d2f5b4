"""Pages whose measured part is written from files of results."""

from __future__ import annotations

from pathlib import Path

import pytest

from neuralinv.io import FileError
from neuralinv.study.experiments import EXPERIMENTS, Result
from neuralinv.study.pages import write_index, write_page

_PAGE = """# Title

<!-- measured: begin, written by `neuralinv study --pages` -->
old
<!-- measured: end -->

The end.
"""


@pytest.fixture(scope="module")
def result() -> Result:
    return EXPERIMENTS["singular_set"].run("small")


def test_only_the_measured_part_changes(result: Result, tmp_path: Path) -> None:
    path = tmp_path / "docs" / "study" / "singular_set.md"
    path.parent.mkdir(parents=True)
    path.write_text(_PAGE)
    write_page(EXPERIMENTS["singular_set"], result, path.parent)
    text = path.read_text()
    assert text.startswith("# Title\n")
    assert text.endswith("The end.\n")
    assert "old" not in text
    assert f"**Verdict: {result.judgement.outcome.value}.**" in text
    assert "](../images/study/singular_set.png)" in text
    assert (tmp_path / "docs" / "images" / "study" / "singular_set.png").stat().st_size > 1000
    assert '<a id="table-crossing"></a>' in text
    for finding in result.judgement.findings:
        assert f"{finding.text} ([table](#table-{finding.table}))" in text
    write_page(EXPERIMENTS["singular_set"], result, path.parent)
    assert path.read_text() == text


def test_the_index_links_every_number_to_its_table(result: Result, tmp_path: Path) -> None:
    (tmp_path / "index.md").write_text(_PAGE)
    write_index(EXPERIMENTS, {"singular_set": result}, tmp_path)
    text = (tmp_path / "index.md").read_text()
    for finding in result.judgement.findings:
        assert f"{finding.text} ([table](singular_set.md#table-{finding.table}))" in text
    assert text.count("not measured") == len(EXPERIMENTS) - 1


def test_pages_without_the_marked_lines_are_left_alone(result: Result, tmp_path: Path) -> None:
    with pytest.raises(FileError, match="cannot be read"):
        write_index(EXPERIMENTS, {}, tmp_path)
    (tmp_path / "index.md").write_text("mine")
    with pytest.raises(FileError, match="found 0 such parts"):
        write_index(EXPERIMENTS, {}, tmp_path)
    assert (tmp_path / "index.md").read_text() == "mine"


def test_every_experiment_has_its_page() -> None:
    docs = Path(__file__).parents[2] / "docs" / "study"
    nav = (docs.parents[1] / "mkdocs.yml").read_text()
    for name, experiment in EXPERIMENTS.items():
        text = (docs / f"{name}.md").read_text()
        assert text.count("<!-- measured: begin") == 1
        assert " ".join(experiment.hypothesis.split()) in " ".join(text.split())
        assert f"study/{name}.md" in nav
