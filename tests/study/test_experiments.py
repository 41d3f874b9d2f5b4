"""Every experiment in its small setting: facts that hold whatever is measured, and verdicts that follow the numbers."""

from __future__ import annotations

import copy
import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch

import neuralinv as ni
from neuralinv.io import FileError
from neuralinv.study.experiments import EXPERIMENTS, Outcome, Result
from neuralinv.study.experiments.break_even import winners
from neuralinv.study.experiments.certification import wrong_answers
from neuralinv.study.experiments.experiment import Tables
from neuralinv.study.experiments.generalisation import Settings as StaticSettings
from neuralinv.study.experiments.generalisation import block, static_set
from neuralinv.study.experiments.records import load_result, record_path, save_result
from neuralinv.study.experiments.sets import real_form
from neuralinv.study.oracle import reference_inverse
from neuralinv.study.pages import shown_rows

_MEASURED: dict[str, Result] = {}


def measured(name: str) -> Result:
    """The small setting of an experiment, run once."""
    if name not in _MEASURED:
        _MEASURED[name] = EXPERIMENTS[name].run("small", seed=1)
    return _MEASURED[name]


def altered(name: str, table: str, **changes: float) -> Tables:
    """Its tables with the same value in a column of every row."""
    tables = copy.deepcopy(measured(name).tables)
    for row in tables[table]:
        row.update(changes)
    return tables


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_results_can_be_kept_shown_and_drawn(name: str, tmp_path: Path) -> None:
    experiment, result = EXPERIMENTS[name], measured(name)
    assert result.judgement.outcome in Outcome
    assert result.judgement.because
    assert set(experiment.shown) <= set(result.tables)
    assert {finding.table for finding in result.judgement.findings} <= set(experiment.shown)
    for table, spec in experiment.shown.items():
        for column in spec.columns:
            assert all(column.key in row for row in result.tables[table]), (table, column.key)
        assert list(shown_rows(spec, result.tables[table]))
    save_result(result, tmp_path)
    again = load_result(tmp_path, experiment)
    assert again.judgement.outcome == result.judgement.outcome
    assert (again.setting, again.seed) == ("small", 1)
    figure = experiment.draw(again.tables)
    figure.savefig(tmp_path / "figure.png")
    assert all(axes.get_xlabel() for axes in figure.axes)


def test_the_seed_fixes_the_numbers_and_progress_ends_at_one() -> None:
    seen: list[float] = []
    again = EXPERIMENTS["singular_set"].run("small", seed=1, progress=seen.append)
    assert seen == sorted(seen)
    assert seen[-1] == 1.0
    assert again.tables == measured("singular_set").tables
    assert EXPERIMENTS["singular_set"].run("small", seed=2).tables != again.tables


def test_constants_and_floors_are_in_order() -> None:
    tables = measured("near_singular").tables
    for row in tables["networks"]:
        assert row["observed"] <= row["certified"]
        assert row["floor"] <= row["worst"]
    assert max(row["observed"] for row in tables["networks"]) > 1
    for row in tables["constant"]:
        assert 0.999 < row["attained"] <= 1
        assert row["random"] <= 1 + 1e-9


def test_near_singular_verdict_follows_the_numbers() -> None:
    judge = EXPERIMENTS["near_singular"].judge
    assert judge(altered("near_singular", "networks", worst_relative=0.01)).outcome is Outcome.NOT_SUPPORTED
    assert judge(altered("near_singular", "networks", floor=1e9)).outcome is Outcome.NOT_SUPPORTED
    tables = copy.deepcopy(measured("near_singular").tables)
    for row in tables["networks"]:
        row["worst_relative"], row["worst"] = 1.0, 1.001 / row["delta"]
        row["floor"] = 0.0
    assert judge(tables).outcome is Outcome.SUPPORTED


def test_no_continuous_network_crosses_the_singular_set() -> None:
    result = measured("singular_set")
    for row in result.tables["crossing"]:
        if row["architecture"] == "mlp":
            assert row["exponent"] == pytest.approx(-1, abs=0.05)
            assert row["nearest"] > 0.9
            if row["width_floor"] is not None:
                assert row["width"] >= row["width_floor"] * 10 ** (-6 / 12)  # the grid of t is that coarse
    judge = EXPERIMENTS["singular_set"].judge
    assert result.judgement.outcome is Outcome.SUPPORTED
    assert judge(altered("singular_set", "crossing", nearest=0.1)).outcome is Outcome.NOT_SUPPORTED
    assert judge(altered("singular_set", "crossing", exponent=-0.5)).outcome is Outcome.INCONCLUSIVE


def test_networks_of_every_size_have_as_many_weights() -> None:
    rows = measured("size").tables["sizes"]
    assert all(row["parameters"] <= 2000 for row in rows)
    assert min(row["parameters"] for row in rows if row["architecture"] == "mlp") > 1500
    judge = EXPERIMENTS["size"].judge
    assert judge(altered("size", "sizes", median=0.5)).outcome is Outcome.NOT_SUPPORTED
    tables = copy.deepcopy(measured("size").tables)
    for row in tables["sizes"]:
        row["median"] = 0.001 * row["n"] ** 4
    assert judge(tables).outcome is Outcome.SUPPORTED


def test_compact_sets_verdict_follows_the_numbers() -> None:
    judge = EXPERIMENTS["compact_sets"].judge
    tables = copy.deepcopy(measured("compact_sets").tables)
    iteration = [row for row in tables["runs"] if row["architecture"] == "iteration"]
    assert iteration
    assert all(row["worst"] < 0.02 for row in iteration)
    for row in tables["best"]:
        row["median"] = 1e-3 * row["condition"]
    for row in tables["rates"]:
        row["trend_high"] = -0.5
    assert judge(tables).outcome is Outcome.SUPPORTED
    for row in tables["rates"]:
        row["trend_high"] = 0.5
    assert judge(tables).outcome is Outcome.INCONCLUSIVE
    for row in tables["best"]:
        row["median"] = 0.9
    assert judge(tables).outcome is Outcome.NOT_SUPPORTED


def test_real_form_keeps_inverses() -> None:
    A = torch.randn(5, 3, 3, dtype=torch.complex128, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(real_form(torch.linalg.inv(A)), torch.linalg.inv(real_form(A)))
    assert real_form(A.real) is not A
    assert real_form(A.real).shape == (5, 3, 3)


def test_families_verdict_follows_the_numbers() -> None:
    judge = EXPERIMENTS["families"].judge
    rows = measured("families").tables["families"]
    assert {row["family"]: row["parameters"] for row in rows}["ar"] == 2
    tables = {"families": [{**rows[0], "dimension": float(k), "spread": 1.0, "median": 0.01 * k} for k in range(1, 13)]}
    assert judge(tables).outcome is Outcome.SUPPORTED
    for row in tables["families"]:
        row["median"] = 1 / row["dimension"]
    assert judge(tables).outcome is Outcome.NOT_SUPPORTED


def test_static_sets_are_the_same_each_time_and_used_evenly() -> None:
    settings = StaticSettings(n=2)
    torch.testing.assert_close(block(settings, 3, 0), block(settings, 3, 0))
    assert not torch.equal(block(settings, 3, 0)[0], block(settings, 4, 0)[0])
    draw = static_set(settings, 3000, 0)
    A, inverse = draw(3000, torch.Generator().manual_seed(0))
    assert len({tuple(a.flatten().tolist()) for a in A}) == 3000  # one pass sees each once
    torch.testing.assert_close(A @ inverse, torch.eye(2, dtype=A.dtype).expand_as(A))


def test_generalisation_verdict_follows_the_numbers() -> None:
    judge = EXPERIMENTS["generalisation"].judge
    tables = copy.deepcopy(measured("generalisation").tables)
    for row in tables["sets"]:
        row["ratio"] = 5.0 if row["size"] == 1000 else 1.0
    for row in tables["reach"]:
        row["median"] = 0.01 if (row["varied"], row["value"]) in (("scale", 1.0), ("condition", 10.0)) else 0.9
    assert judge(tables).outcome is Outcome.SUPPORTED
    for row in tables["sets"]:
        row["ratio"] = 1.0
    assert judge(tables).outcome is Outcome.INCONCLUSIVE
    for row in tables["reach"]:
        row["median"] = 0.5
    assert judge(tables).outcome is Outcome.NOT_SUPPORTED


def test_winners_are_the_fastest_that_are_right() -> None:
    tables = copy.deepcopy(measured("break_even").tables)
    exact = [row for row in tables["methods"] if row["method"] == "exact kernel, proved"]
    assert all(row["proved"] == 1 for row in exact)
    judge = EXPERIMENTS["break_even"].judge
    for row in tables["methods"]:
        if row["method"] == "network":
            row.update(quantile_99=1e-6, ratio=0.01)
    assert {cell["rough"] for cell in winners(tables["methods"])} == {"network"}
    assert judge(tables).outcome is Outcome.NOT_SUPPORTED
    for row in tables["methods"]:
        if row["method"] == "network":
            row["quantile_99"] = 0.5  # fast and wrong
        if row["method"] == "iteration":
            row.update(ratio=0.001, proved=1.0)
    assert judge(tables).outcome is Outcome.SUPPORTED
    assert {cell["rough"] for cell in winners(tables["methods"])} != {"network"}


def test_no_wrong_answer_slips_through() -> None:
    result = measured("certification")
    assert sum(row["slipped"] for row in result.tables["cases"]) == 0
    assert sum(row["judged"] for row in result.tables["cases"]) > 1000
    assert max(row["error_over_bound"] for row in result.tables["cases"]) <= 1
    assert result.judgement.outcome is Outcome.SUPPORTED
    tables = copy.deepcopy(result.tables)
    tables["cases"][0]["slipped"] = 1
    assert EXPERIMENTS["certification"].judge(tables).outcome is Outcome.NOT_SUPPORTED


def test_the_referee_catches_lies() -> None:
    A = torch.eye(3, dtype=torch.float64).repeat(4, 1, 1) * 2
    A[3, 0, 0] = torch.nan
    finite = torch.isfinite(A).flatten(1).all(1).numpy()
    honest = ni.certified_inv(A, on_singular="nan")
    reference = reference_inverse(A.numpy()[finite])
    assert wrong_answers(honest, reference, finite)[0] == 0
    lie = honest.inverse.clone()
    lie[1] *= 1 + 1e-8  # above rtol = 1e-10, with the bound of the true one
    assert wrong_answers(dataclasses.replace(honest, inverse=lie), reference, finite)[0] == 1
    bound = honest.error_bound.clone()
    bound[3] = 1e-12  # something proved of NaN
    assert wrong_answers(dataclasses.replace(honest, error_bound=bound), reference, finite)[0] == 1


SMALL = {"version": 1, "experiment": "size", "setting": "small", "seed": 0}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not valid JSON"),
        ("[]", "holds a list"),
        ("[" * 100_000, "nested too deeply"),
        (json.dumps({"version": 1, "experiment": "size", "setting": "small", "seed": float("inf")}), "seed inf"),
        (json.dumps({"version": 9, "experiment": "size"}), "version 9"),
        (json.dumps({"version": 1, "experiment": "families"}), "version 1 of families"),
        (json.dumps({"version": 1, "experiment": "size", "setting": "huge", "seed": 0}), "setting 'huge'"),
        (
            json.dumps({**SMALL, "tables": {"sizes": [{"n": [1]}]}}),
            "n holds list",
        ),
        (json.dumps({**SMALL, "tables": {"sizes": [{"n": 10**400}]}}), "n holds a number that is not finite"),
        (json.dumps({**SMALL, "tables": {"sizes": [{"n": float("inf")}]}}), "n holds a number that is not finite"),
    ],
)
def test_files_that_are_no_results_are_refused(text: str, message: str, tmp_path: Path) -> None:
    record_path(tmp_path, "size").write_text(text)
    with pytest.raises(FileError, match=message):
        load_result(tmp_path, EXPERIMENTS["size"])


def test_missing_results_say_how_to_get_them(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="run `neuralinv study size` first"):
        load_result(tmp_path, EXPERIMENTS["size"])


def test_numbers_that_are_not_finite_become_null(tmp_path: Path) -> None:
    result = dataclasses.replace(
        measured("size"), tables={**measured("size").tables, "more": [{"x": np.inf, "y": 1.0}]}
    )
    document = json.loads(save_result(result, tmp_path).read_text())
    assert document["tables"]["more"] == [{"x": None, "y": 1.0}]
