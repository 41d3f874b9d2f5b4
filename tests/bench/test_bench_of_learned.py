"""What `neuralinv bench learned` prints and writes; no time is asserted."""

import math

import pytest

from neuralinv.bench import learned
from neuralinv.bench.learned_plot import plot_ratios
from neuralinv.bench.learned_rows import Row, Settings


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(learned, "_ROOT_SIZES", (8,))
    for name in ("BATCH_ELEMENTS", "_SEQUENCE_ELEMENTS"):
        monkeypatch.setattr(learned, name, 4096)
    monkeypatch.setattr(learned, "_FEWEST_SNAPSHOTS", 64)


def test_every_work_gives_its_rows(small):
    works = ("parametric", "sequence", "iteration", "root")
    settings = Settings(works=works, families=("poisson",), sizes=(6,), seconds=0.001)
    done = []
    rows = list(learned.measure(settings, progress=done.append))
    assert len(rows) == len(done) == learned.row_count(settings)
    assert [row.work for row in rows] == ["parametric", "sequence", *["iteration"] * 4, "root", "root"]
    for row in rows:
        assert row.ours > 0
        assert all(value > 0 for value in row.rivals.values())
        assert not row.fastest.startswith("ni.")
        assert row.goal > 1
    parametric, sequence, *iterations, _, root = rows
    assert {"torch", "numpy", "cholesky", "ni.inv", "ni.certified_inv"} == set(parametric.rivals)
    assert parametric.certified == root.certified == 1
    assert sequence.certified > 0.9
    assert parametric.offline > 0
    # Products are counted, not timed: half of Newton–Schulz's at a condition number of 1e3.
    assert iterations[2].case == "κ = 1e+03"
    assert iterations[2].ratio >= 2


def test_ratio_and_payback():
    row = Row("parametric", "x", 4, 1e-6, {"torch": 3e-6, "numpy": 9e-6, "ni.inv": 1e-7}, 2.0, offline=4.0)
    assert row.fastest == "torch"
    assert row.ratio == pytest.approx(3)
    assert row.payback == pytest.approx(2e6)
    assert math.isinf(Row("x", "x", 4, 1.0, {"torch": 0.5}, 2.0, offline=1.0).payback)


def test_plots_say_who_reached_the_goal():
    rows = [
        Row("sequence", "1 % a step", 64, 1.0, {"torch": 3.0}, 2.5),
        Row("root", "wishart", 256, 1.0, {"eigh": 0.5}, 4.0),
    ]
    (axes,) = plot_ratios(rows).axes
    drawn = {line.get_label(): list(line.get_xdata()) for line in axes.get_lines()}
    assert drawn["goal reached"] == [3.0]
    assert drawn["goal missed"] == [0.5]
    assert drawn["goal"] == [2.5, 4.0]
    assert axes.get_xscale() == "log"
    assert [label.get_text() for label in axes.get_yticklabels()] == [
        "sequence: 1 % a step, n = 64",
        "root: wishart, n = 256",
    ]
    with pytest.raises(ValueError, match="nothing to plot"):
        plot_ratios([])
