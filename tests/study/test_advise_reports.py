"""Advice as text, JSON and HTML, and what is tried."""

import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch

import neuralinv as ni
from neuralinv.families import get_family
from neuralinv.io import FileError
from neuralinv.study.advise import Advice


@pytest.fixture(scope="module")
def advice() -> Advice:
    family = get_family("state_space")
    random = torch.Generator().manual_seed(0)
    return ni.advise(family.matrix_function(8, generator=random), family.thetas(300, generator=random), budget=20.0)


def test_print_says_everything(advice: Advice) -> None:
    text = str(advice)
    assert text.startswith("Recommended: ni.inv(A")
    assert "Do not train anything" in text
    for words in ("Hermitian positive definite", "block tridiagonal, 2×2 blocks", "parametric inverse ✓", "within 10×"):
        assert words in text
    assert all(line == line.rstrip() for line in text.splitlines())


def test_every_option_is_listed_once_with_a_sentence(advice: Advice) -> None:
    names = [option.name for option in advice.options]
    assert sorted(names) == sorted([
        "exact", "positive", "certified", "block_tridiagonal", "parametric", "iteration", "sequence", "network",
        "nothing",
    ])  # fmt: skip
    assert advice.recommended == advice.options[0]
    assert advice.options[1].name == "nothing"
    for option in advice.options:
        assert re.fullmatch(r"[A-Z0-9≥].*[^.]\.", option.reason)
        assert option.possible == (option.prediction is not None)


def test_json_is_json(advice: Advice) -> None:
    document = json.loads(advice.to_json(), parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert document["recommended"] == advice.recommended.name
    assert document["train"] is False
    assert document["properties"]["structure"]["block"] == 2
    assert [option["name"] for option in document["options"]] == [option.name for option in advice.options]
    parametric = next(option for option in document["options"] if option["name"] == "parametric")
    assert parametric["break_even"] is None  # it never pays, and JSON has no infinity
    assert parametric["prediction"]["training"] > 0


def test_html_is_self_contained(advice: Advice, tmp_path: Path) -> None:
    advice.to_html(tmp_path / "advice.html")
    page = (tmp_path / "advice.html").read_text(encoding="utf-8")
    assert re.findall(r"https?://|<script|<link|@import|url\(", page) == []
    sources = re.findall(r'src="([^"]*)"', page)
    assert len(sources) == 4
    assert all(source.startswith("data:image/svg+xml;base64,") for source in sources)
    for option in advice.options:
        assert option.title in page
    assert "Do not train anything" in page
    assert [p.name for p in tmp_path.iterdir()] == ["advice.html"]


def test_html_of_one_matrix_has_fewer_plots(tmp_path: Path) -> None:
    ni.advise(np.eye(3) + 1).to_html(tmp_path / "one.html")
    assert len(re.findall("<img", (tmp_path / "one.html").read_text(encoding="utf-8"))) == 2


def test_html_that_cannot_be_written(advice: Advice, tmp_path: Path) -> None:
    with pytest.raises(FileError, match="is a folder"):
        advice.to_html(tmp_path)


def test_the_trial_reports_the_recommended_and_a_trained_option(advice: Advice) -> None:
    recommended, trained = advice.trials
    assert recommended.name == advice.recommended.name
    assert recommended.reached is not None
    assert recommended.reached.error < 1e-14
    assert recommended.within is True
    assert trained.reached is not None
    assert trained.predicted is not None
    assert trained.name in ("parametric", "iteration", "network")


def test_a_trial_beyond_its_budget_is_not_begun() -> None:
    family = get_family("rbf")
    random = torch.Generator().manual_seed(0)
    found = ni.advise(family.matrix_function(8, generator=random), family.thetas(64, generator=random), budget=1e-6)
    assert found.trials[1].reached is None
    assert "beyond the budget" in found.trials[1].note
    assert found.trials[1].within is None
    assert "was not tried: its training" in str(found)


def test_a_proof_leaves_options_that_prove() -> None:
    A = np.random.default_rng(0).normal(size=(200, 5, 5))
    found = ni.advise(A, proof=True)
    assert found.recommended.proved
    assert ni.advise(A).recommended.name == "exact"


def test_float32_beyond_its_digits_needs_the_certified_kernel() -> None:
    A = get_family("conditioned").sample(200, 8, generator=torch.Generator().manual_seed(0), cond=1e5)
    single = ni.advise(A.float())
    assert single.recommended.name == "certified"
    assert ni.advise(A).recommended.name == "exact"


def test_warnings_of_structure() -> None:
    i = np.arange(16)
    cases = {
        "are diagonal: divide": np.eye(16) * np.linspace(1, 2, 40)[:, None, None],
        "Woodbury identity": np.eye(16) + np.random.default_rng(0).normal(size=(40, 16, 1)),
        "solve_toeplitz": 0.5 ** np.abs(i[:, None] - i) + np.linspace(0, 1, 40)[:, None, None] * np.eye(16),
    }
    for words, A in cases.items():
        assert any(words in warning for warning in ni.advise(A).warnings), words


def test_extrapolation_is_told() -> None:
    A = np.eye(256) + np.random.default_rng(0).normal(size=(4, 256, 256)) / 64
    assert any("(log_n): predictions are extrapolated" in w for w in ni.advise(A).warnings)
    assert not any("extrapolated" in w for w in ni.advise(A[:, :16, :16]).warnings)


def test_what_no_certificate_can_prove_is_told() -> None:
    A = get_family("conditioned").sample(64, 8, generator=torch.Generator().manual_seed(0), cond=1e12)
    assert any("the certificate cannot prove 1e-10" in w for w in ni.advise(A).warnings)
    assert any("no correct digit" in w for w in ni.advise(A.float()).warnings)
    well = get_family("conditioned").sample(64, 8, generator=torch.Generator().manual_seed(0), cond=10)
    assert not any("certificate" in w or "digit" in w for w in ni.advise(well).warnings)


@pytest.mark.parametrize(
    ("n", "dtype", "cond", "proved"),
    [
        (16, torch.float64, 1e6, True),
        (3, torch.float64, 1e10, True),
        (64, torch.float64, 1e10, True),
        (300, torch.float64, 1e8, True),
        (16, torch.float32, 1e7, True),
        (3, torch.complex128, 1e3, True),
        (16, torch.float64, 1e13, False),
        (16, torch.complex128, 1e5, False),
        (33, torch.complex128, 1e4, False),
    ],
)
def test_the_certificate_proves_what_no_warning_denies(n: int, dtype: torch.dtype, cond: float, proved: bool) -> None:
    A = get_family("conditioned").sample(
        20 if n < 100 else 2, n, generator=torch.Generator().manual_seed(0), cond=cond, dtype=dtype
    )
    assert bool(ni.certified_inv(A).certified.all()) is proved
    told = [w for w in ni.advise(A, proof=True).warnings if "the certificate cannot prove" in w]
    assert bool(told) is not proved
    # Scaled rows are no obstacle, whatever the condition number says.
    scaled = torch.eye(4, dtype=torch.complex128) * torch.logspace(0, 12, 4, dtype=torch.float64)
    assert not any("cannot prove" in w for w in ni.advise(scaled + scaled.roll(1, 1) / 8).warnings)


def test_bounds_and_numbers_of_what_cannot_be_proved_are_told() -> None:
    well, ill = (
        get_family("conditioned").sample(40, 8, generator=torch.Generator().manual_seed(0), cond=cond)
        for cond in (10.0, 1e13)
    )
    A = torch.cat([well, ill[:10]])
    bound = float(ni.certified_inv(A).error_bound[40:].median())
    (told,) = (w for w in ni.advise(A).warnings if "cannot prove" in w)
    assert "for 10 of the 50 matrices looked at" in told
    assert told.endswith(f"bounds near {bound:.0e}.")


@pytest.mark.parametrize("zeros", [0, 1, 3, 100])
def test_nobody_is_told_to_divide_by_zero(zeros: int) -> None:
    A = np.eye(4) * np.linspace(1, 2, 100)[:, None, None]
    A[:zeros, 2, 2] = 0
    (told,) = (w for w in ni.advise(A).warnings if "are diagonal" in w)
    assert ("divide" in told) == (zeros < 100)
    assert ("where no entry of the diagonal is zero" in told) == (0 < zeros < 100)
    assert f"{zeros} of the 100 looked at" in told or zeros in (0, 100)
    assert ("none has an inverse" in told) == (zeros == 100)


def test_no_way_to_inverses_is_told_where_there_is_none() -> None:
    for A in (np.zeros((100, 4, 4)), np.zeros((40, 20, 20)), np.ones((40, 16, 16))):
        told = " ".join(ni.advise(A).warnings)
        assert "are singular" in told
        assert not any(words in told for words in ("divide", "solve_toeplitz", "Woodbury", "splu"))


def test_nothing_in_an_advice_is_missing_a_number(advice: Advice) -> None:
    for option in advice.options:
        if option.prediction is not None:
            assert math.isfinite(option.prediction.error)
            low, high = option.prediction.ratio_interval
            assert low <= option.prediction.ratio <= high
