"""Evaluation and figures."""

from pathlib import Path

import numpy as np
import pytest
import torch

import neuralinv as ni
from neuralinv.study import plots
from neuralinv.study.evaluation import accuracy, evaluate
from neuralinv.study.report import write_report
from neuralinv.study.training_log import read_validation_log


def matrices(count: int = 400) -> torch.Tensor:
    return torch.rand(count, 3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 2 - 1


def off_by(factor: float):
    return lambda A: factor * torch.linalg.inv(A)


def test_figures_are_those_of_the_definitions() -> None:
    A = matrices()
    evaluation = evaluate(off_by(1.1), A)
    true = np.linalg.inv(A.numpy())
    assert evaluation.overall.count == 400
    assert evaluation.overall.mse == pytest.approx(np.mean((0.1 * true) ** 2))
    assert evaluation.overall.mae == pytest.approx(np.mean(np.abs(0.1 * true)))
    assert evaluation.overall.r2 == pytest.approx(1 - np.mean((0.1 * true) ** 2) / np.var(true))
    assert evaluation.overall.residual == pytest.approx([0.1 * 3**0.5] * 5)
    assert evaluation.overall.share_below_one == 1
    np.testing.assert_allclose(evaluation.condition, np.linalg.cond(A.numpy()), rtol=1e-8)


def test_bins_hold_every_matrix_once() -> None:
    evaluation = evaluate(off_by(1.0), matrices())
    assert sum(b.accuracy.count for b in evaluation.bins) == 400
    for b in evaluation.bins:
        inside = (evaluation.condition >= b.low) & (evaluation.condition < b.high)
        assert inside.sum() == b.accuracy.count


def test_chunks_make_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = evaluate(off_by(1.2), matrices()).overall
    monkeypatch.setattr("neuralinv.study.evaluation._CHUNK", 7)
    counts: list[int] = []
    parts = evaluate(off_by(1.2), matrices(), progress=counts.append).overall
    assert sum(counts) == 400
    assert parts.mse == pytest.approx(whole.mse)


def test_singular_matrices_are_left_out_and_all_singular_is_an_error() -> None:
    A = matrices(3)
    A[1] = 0
    assert evaluate(off_by(1.0), A).overall.count == 2
    with pytest.raises(ValueError, match="no invertible matrix"):
        evaluate(off_by(1.0), torch.zeros(2, 3, 3))


@pytest.mark.parametrize("scale", [1e-200, 1e-150, 1e150, 1e200])
def test_figures_of_tiny_and_huge_matrices(scale: float) -> None:
    plain, scaled = (evaluate(off_by(1.1), s * matrices(50)).overall for s in (1.0, scale))
    assert scaled.r2 == pytest.approx(plain.r2)
    assert scaled.mae == pytest.approx(plain.mae / scale)
    with np.errstate(over="ignore", under="ignore"):
        assert scaled.mse == pytest.approx(float(np.float64(plain.mse) / scale / scale))


def test_inverses_beyond_double_precision_are_left_out() -> None:
    A = torch.eye(3, dtype=torch.float64).repeat(3, 1, 1)
    A[1] *= 1e-310
    A[2] = torch.diag(torch.tensor([1e300, 1.0, 1e-300], dtype=torch.float64))
    evaluation = evaluate(off_by(1.0), A)
    assert evaluation.invertible.tolist() == [True, False, True]
    assert [(b.low, b.accuracy.count) for b in evaluation.bins] == [(1.0, 1), (1e307, 1)]


def test_complex_figures_are_of_absolute_values() -> None:
    random = np.random.default_rng(0)
    true, error = (random.normal(size=(20, 3, 3, 2)).view(complex)[..., 0] for _ in range(2))
    figures = accuracy(true, true + error, np.zeros(20))
    assert figures.mse == pytest.approx(np.mean(np.abs(error) ** 2))
    assert figures.mae == pytest.approx(np.mean(np.abs(error)))
    assert figures.r2 == pytest.approx(1 - np.mean(np.abs(error) ** 2) / np.mean(np.abs(true - true.mean()) ** 2))
    assert accuracy(true.real, true, np.zeros(20)).mae == pytest.approx(np.mean(np.abs(true.imag)))


def test_a_proposer_that_gives_up_is_not_called_accurate() -> None:
    figures = evaluate(lambda A: torch.full_like(A, torch.nan), matrices(5)).overall
    assert np.isnan(figures.mse)
    assert np.isnan(figures.residual[0])
    assert figures.share_below_one == 0


def test_a_constant_target_has_no_r2() -> None:
    ones = np.ones((2, 1, 1))
    assert np.isnan(accuracy(ones, ones, np.zeros(2)).r2)


@pytest.mark.parametrize("spread", [1.0, 1e8])
def test_every_figure_can_be_drawn_and_saved(tmp_path: Path, spread: float) -> None:
    evaluation = evaluate(off_by(1.01), matrices())
    bound = np.logspace(-12, -3, 400)
    status = np.zeros(400, dtype=np.int8)
    status[-5:] = 1
    values = np.linspace(-spread, spread, 900) ** 3
    figures = {
        "a.png": plots.true_versus_predicted(values, values * 1.01),
        "b.svg": plots.residual_by_condition(evaluation, refined=np.full(400, 1e-9)),
        "c.pdf": plots.bound_versus_error(bound, bound / 2, status, 1e-5),
        "d.png": plots.histogram_of_bounds(bound, 1e-5),
        "e.png": plots.training_curve(np.arange(5), np.logspace(0, -4, 5)),
        "f.png": plots.histogram_of_bounds(np.full(3, np.inf), 1e-5),
        "g.png": plots.true_versus_predicted(np.array([np.nan]), np.array([np.nan])),
    }
    for name, figure in figures.items():
        plots.save_figure(figure, tmp_path / name)
        assert (tmp_path / name).stat().st_size > 2000
    with pytest.raises(ValueError, match="not supported"):
        plots.save_figure(figures["a.png"], tmp_path / "a.xyz")
    assert not (tmp_path / "a.xyz").exists()


def test_without_a_screen_showing_is_a_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MPLBACKEND", "agg")
    with pytest.raises(ValueError, match="no screen to plot on"):
        plots.show_figure(plots.training_curve(np.arange(2), np.ones(2)))


def test_a_folder_without_a_log(tmp_path: Path) -> None:
    assert read_validation_log(tmp_path) is None


def test_a_report_counts_matrices_whose_determinant_underflows(tmp_path: Path) -> None:
    A = np.stack([np.eye(4), 1e-82 * np.eye(4), np.zeros((4, 4))])
    network = ni.learned.load("4x4")
    write_report(tmp_path / "r.html", A, network, ni.certified_inv(A, network, on_singular="nan"), 1.0)
    assert "2 of 3 inverses are proved right" in (tmp_path / "r.html").read_text()
