import warnings
from unittest import mock

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

import neuralinv as ni
from neuralinv.cli import app
from neuralinv.dense import native
from neuralinv.families import Range, get_family
from neuralinv.io import FileError
from neuralinv.learned import PartitionedInverse, fit_parametric, load_parametric, save_parametric
from neuralinv.learned.architectures import parametric
from neuralinv.learned.architectures.partitioned import Split, split_ranges
from neuralinv.learned.architectures.probed import certify_with_probes
from neuralinv.testing import relative_error

N = 10
RBF = get_family("rbf")


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def function():
    return RBF.matrix_function(N, generator=generator())


@pytest.fixture(scope="module")
def model(function):
    made = fit_parametric(function, ranges=RBF.ranges, rtol=1e-5, snapshots=128, cells=5)
    assert isinstance(made, PartitionedInverse)
    return made


def thetas(count: int, seed: int = 1) -> torch.Tensor:
    return RBF.thetas(count, generator=generator(seed))


def on_the_cuts(model: PartitionedInverse) -> torch.Tensor:
    """Points on each cut, and the corners of all cells."""
    points = []
    for box in split_ranges(model.ranges, model.splits):
        points += [
            [a, b]
            for a in (box["length_scale"].low, box["length_scale"].high)
            for b in (box["nugget"].low, (box["nugget"].low * box["nugget"].high) ** 0.5, box["nugget"].high)
        ]
    return torch.tensor(points, dtype=torch.float64)


def test_unseen_matrices_certify_and_the_bounds_hold(model, function):
    theta = torch.cat([thetas(300), on_the_cuts(model)])
    A = function(theta).float()
    result = model.inv(A, theta)
    assert bool(result.certified.all())
    assert result.count(ni.Source.FALLBACK) == 0
    exact = torch.linalg.inv(A.double())
    error = torch.linalg.matrix_norm(result.inverse.double() - exact) / torch.linalg.matrix_norm(exact)
    assert bool((error <= result.error_bound).all())
    assert model.report.cells == len(model.cells) == 5
    assert model.report.certified_share == 1
    assert model.report.rank == max(cell.rank for cell in model.cells)
    assert model.report.mean_rank <= model.report.rank
    assert model.report.held_out == 5 * 32


def test_each_matrix_gets_what_its_cell_alone_would_give_it(model, function):
    theta = thetas(120)
    A = function(theta).float()
    whole = model.inv(A, theta)
    for number, cell in enumerate(model.cells):
        mine = model.cell_of(theta) == number
        assert int(mine.sum()) > 3
        alone = cell.inv(A[mine], theta[mine])
        assert torch.equal(alone.source, whole.source[mine])
        torch.testing.assert_close(alone.inverse, whole.inverse[mine], rtol=1e-5, atol=1e-5)


def test_every_point_lies_in_exactly_one_cell(model):
    theta = torch.cat([thetas(2000), on_the_cuts(model)])
    boxes = split_ranges(model.ranges, model.splits)

    def inside(box: dict[str, Range]) -> torch.Tensor:
        masks = [
            (theta[:, k] >= part.low) & ((theta[:, k] < part.high) | (part.high == model.ranges[name].high))
            for k, (name, part) in enumerate(box.items())
        ]
        return torch.stack(masks).all(0)

    member = torch.stack([inside(box) for box in boxes])
    assert bool((member.sum(0) == 1).all())
    assert torch.equal(member.int().argmax(0), model.cell_of(theta))
    shares = [
        np.prod([np.log(part.high / part.low) / np.log(100 if name == "nugget" else 5) for name, part in box.items()])
        for box in boxes
    ]
    assert sum(shares) == pytest.approx(1)


def test_outside_the_box_the_answer_is_exact(model, function):
    theta = thetas(10)
    theta[3], theta[7] = torch.tensor([2.0, 0.5]), torch.tensor([torch.nan, 0.5])
    A = function(theta.nan_to_num(nan=0.5)).float()
    with pytest.warns(UserWarning, match="2 of 10 matrices were inverted exactly") as caught:
        result = model.inv(A, theta)
    assert caught[0].filename == __file__
    assert (result.source == int(ni.Source.FALLBACK)).nonzero().flatten().tolist() == [3, 7]
    assert bool(result.certified.all())
    assert bool((relative_error(A, result.inverse) <= result.error_bound).all())


def test_matrices_of_another_family_are_never_answered_wrongly(model):
    A = get_family("conditioned").sample(20, N, generator=generator(), dtype=torch.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = model.inv(A.numpy().reshape(4, 5, N, N), thetas(20).numpy().reshape(4, 5, 2))
    assert isinstance(result.inverse, np.ndarray)
    assert result.inverse.shape == (4, 5, N, N)
    X, bound = torch.from_numpy(result.inverse).view(-1, N, N), torch.from_numpy(result.error_bound).flatten()
    assert bool((relative_error(A, X) <= bound).all())
    assert result.count(ni.Source.FALLBACK) == 20


def test_batches_of_any_shape_and_stride(model, function):
    theta = thetas(12)
    A = function(theta).float()
    flat = model.inv(A, theta).inverse
    shaped = model.inv(A.mT.reshape(3, 4, N, N), theta.reshape(3, 4, 2)).inverse  # symmetric matrices
    torch.testing.assert_close(shaped.reshape(12, N, N), flat, rtol=1e-5, atol=1e-5)
    assert model.inv(A[:0], theta[:0]).inverse.shape == (0, N, N)
    assert model.inv(A[0], theta[0]).inverse.shape == (N, N)


def test_candidates_are_differentiable(model, function):
    theta = thetas(12).requires_grad_()
    X = model.propose(theta.reshape(3, 4, 2))
    assert X.shape == (3, 4, N, N)
    exact = torch.linalg.inv(function(theta))
    torch.testing.assert_close(X.view(-1, N, N).double(), exact, rtol=2e-2, atol=2e-2)
    (gradient,) = torch.autograd.grad(X.square().sum(), theta)
    (expected,) = torch.autograd.grad(exact.square().sum(), theta)
    torch.testing.assert_close(gradient, expected, rtol=5e-2, atol=1e-2 * float(expected.abs().max()))


def test_gradients_reach_the_matrices(model, function):
    theta = thetas(6)
    A = function(theta).float().requires_grad_()
    (gradient,) = torch.autograd.grad(model.inv(A, theta).inverse.sum(), A)
    B = A.detach().double().requires_grad_()
    (expected,) = torch.autograd.grad(torch.linalg.inv(B).sum(), B)
    torch.testing.assert_close(gradient.double(), expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max()))


def test_complex_matrices_and_random_vectors():
    family = get_family("mimo")
    function = family.matrix_function(6, generator=generator(), taps=2)
    ranges = {"frequency": Range(0.0, 0.5), "snr_db": Range(0.0, 5.0)}
    made = fit_parametric(function, ranges=ranges, rtol=1e-5, snapshots=256, cells=3, certificate="probabilistic")
    assert made.report.cells == 3
    theta = torch.rand(80, 2, generator=generator(1), dtype=torch.float64) * torch.tensor([0.5, 5.0])
    A = function(theta).to(torch.complex64)
    for certificate in ("deterministic", "probabilistic"):
        result = made.inv(A, theta, certificate=certificate, generator=generator(2))
        assert bool(result.certified.all())
        assert result.count(ni.Source.FALLBACK) == 0
        assert bool((relative_error(A, result.inverse) <= result.error_bound).all())
        assert result.failure_probability == (1e-10 if certificate == "probabilistic" else 0)
    assert result.count(ni.Source.PROPOSED) == 80
    again = made.inv(A, theta, certificate="probabilistic", generator=generator(2))
    assert torch.equal(again.error_bound, result.error_bound)


def test_random_vectors_are_not_asked_where_the_fit_found_them_useless():
    def function(theta: torch.Tensor) -> torch.Tensor:
        # Condition 1 to 300: the rounding of float32 matrices is too much for random vectors in the upper half.
        spread = torch.cat([torch.ones(len(theta), 5, dtype=torch.float64), 10 ** (-2.5 * theta.double())], 1)
        Q = torch.linalg.qr(torch.randn(6, 6, generator=generator(), dtype=torch.float64))[0]
        return (Q * spread[:, None]) @ Q.mT

    with pytest.warns(UserWarning, match="no number of modes lets random vectors certify"):
        made = fit_parametric(
            function, ranges={"t": Range(0.0, 1.0)}, rtol=1e-5, snapshots=128, cells=2, certificate="probabilistic"
        )
    easy, hard = made.cells
    assert easy.probed
    assert not hard.probed
    theta = torch.linspace(0, 1, 50, dtype=torch.float64)[:, None]
    A = function(theta).float()
    with mock.patch.object(parametric, "certify_with_probes", wraps=certify_with_probes) as asked:
        result = made.inv(A, theta, certificate="probabilistic")
    assert [call.args[0] for call in asked.call_args_list] == [easy]
    assert bool(result.certified.all())
    assert bool((relative_error(A, result.inverse) <= result.error_bound).all())


def test_cells_that_are_proved_for_all_parameters(tmp_path, monkeypatch):
    monkeypatch.setattr(native, "corrects", lambda A: False)  # beside the kernel, proofs are dearer at this size
    random = torch.randn(2, 24, 24, generator=generator(3), dtype=torch.float64) / 24

    def affine(theta: torch.Tensor) -> torch.Tensor:
        return torch.eye(24, dtype=torch.float64) + torch.einsum("bp,pij->bij", theta.double(), random + random.mT)

    made = fit_parametric(affine, ranges={"a": Range(-0.5, 0.5), "b": Range(-0.5, 0.5)}, rtol=1e-5, cells=2)
    proved = [cell for cell in made.cells if cell.uniform is not None]
    assert proved
    theta = torch.rand(50, 2, generator=generator(1), dtype=torch.float64) - 0.5
    A = affine(theta).float()
    result = made.inv(A, theta)
    assert bool(result.certified.all())
    assert result.count(ni.Source.FALLBACK) == 0
    assert bool((relative_error(A, result.inverse) <= result.error_bound).all())
    save_parametric(made, tmp_path)
    name = f"cells.{list(made.cells).index(proved[0])}.uniform.residual"
    weights = load_file(tmp_path / "parametric.safetensors")
    save_file(weights | {name: torch.tensor(0.0, dtype=torch.float64)}, tmp_path / "parametric.safetensors")
    again = load_parametric(tmp_path)  # a file's claim is proved anew
    assert torch.equal(again.inv(A, theta).error_bound, result.error_bound)


def test_given_arrays_are_cut_as_far_as_they_reach(function):
    theta = thetas(400)
    A = function(theta)
    made = fit_parametric((theta, A), rtol=1e-5, ranges=RBF.ranges, cells=64)
    assert 2 <= made.report.cells < 64
    assert made.report.snapshots == 320
    assert made.report.held_out == 80
    inner = thetas(100, seed=2)
    result = made.inv(function(inner).float(), inner)
    assert bool(result.certified.all())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # few snapshots are not enough
        few = fit_parametric((theta[:50], A[:50]), rtol=1e-2, ranges=RBF.ranges, cells=2)
    assert few.report.cells == 1


def test_the_number_of_cells_is_chosen_by_cost(monkeypatch):
    # 1/(1 + 25 t²): smaller cells allow a lower degree, but one that a single mode follows anyway is not cut.
    def scaled(theta: torch.Tensor) -> torch.Tensor:
        return torch.eye(4, dtype=torch.float64) * (1 + 25 * theta.double().square())[:, :, None]

    made = fit_parametric(scaled, ranges={"t": Range(-1.0, 1.0)}, rtol=1e-5, snapshots=64, cells="auto")
    assert made.report.cells == 1

    # Where a cell costs nothing, more of them cost less.
    from neuralinv.learned import parametric_cost

    monkeypatch.setattr(parametric_cost, "cell", lambda *_, **__: 0.0)
    monkeypatch.setattr(parametric_cost, "sorting", lambda *_, **__: 0.0)
    function = RBF.matrix_function(N, generator=generator())
    made = fit_parametric(function, ranges=RBF.ranges, rtol=1e-5, snapshots=128, cells="auto")
    assert 2 <= made.report.cells <= 16
    with pytest.warns(UserWarning, match="certify without fallback"):
        one = fit_parametric(function, ranges=RBF.ranges, rtol=1e-5, snapshots=128)
    assert made.report.mean_rank < one.report.rank


@pytest.mark.parametrize("cells", [0, 65, 2.5, "many"])
def test_bad_numbers_of_cells(function, cells):
    with pytest.raises(ValueError, match=r"cells=.*; expected 'auto' or a whole number from 1 to 64"):
        fit_parametric(function, ranges=RBF.ranges, cells=cells)


@pytest.mark.parametrize(
    ("split", "message"),
    [
        (Split(1, "length_scale", 0.5), "no such cell or parameter"),
        (Split(-1, "length_scale", 0.5), "no such cell or parameter"),
        (Split(0, "width", 0.5), "no such cell or parameter"),
        (Split(0, "nugget", 1.0), r"nugget = 1\.0: outside of 0\.01 to 1\.0"),
        (Split(0, "nugget", float("nan")), "nugget = nan: outside"),
    ],
)
def test_splits_that_cut_nothing(split, message):
    with pytest.raises(ValueError, match=message):
        split_ranges(RBF.ranges, [split])


def test_inverses_have_to_fit_the_cells(model):
    with pytest.raises(ValueError, match="4 inverses for 5 cells, or of other ranges"):
        PartitionedInverse(model.ranges, model.splits, list(model.cells)[:4])


def test_saved_and_loaded(model, function, tmp_path):
    save_parametric(model, tmp_path / "run")
    again = load_parametric(tmp_path / "run")
    assert again.splits == model.splits
    assert again.report == model.report
    theta = torch.cat([thetas(50), on_the_cuts(model)])
    assert torch.equal(model.propose(theta), again.propose(theta))
    A = function(theta).float()
    assert torch.equal(model.inv(A, theta).error_bound, again.inv(A, theta).error_bound)


def test_damaged_folders(model, tmp_path):
    save_parametric(model, tmp_path)
    config, weights = tmp_path / "config.toml", tmp_path / "parametric.safetensors"
    text, data = config.read_text(), weights.read_bytes()
    rank = model.cells[0].rank
    at = model.splits[0].at
    for old, new, message in (
        ("cell = 0", "cell = 7", "no such cell or parameter"),
        ("cell = 0", 'cell = "0"', "a split names a cell"),
        (f"at = {at}", "at = 1e9", "outside of"),
        (f"at = {at}", "at = nan", "outside of"),
        (f"rank = {rank}", "rank = 1000000000", "more than 2\\^28"),
        (f"rank = {rank}", f"rank = {rank + 1}", "has shape"),
        (f"rank = {rank}", "rank = 0", "rank is at least 1"),
        ("[[cells]]", "[[others]]", "cells are one more than splits"),
        ("splits = [", "others = [", "cells are one more than splits"),
    ):
        assert old in text
        config.write_text(text.replace(old, new, 1) if not old.startswith("[[") else text.replace(old, new))
        with pytest.raises(FileError, match=message):
            load_parametric(tmp_path)
    config.write_text(text)
    weights.write_bytes(data[:-100])
    with pytest.raises(FileError, match="not a whole safetensors file"):
        load_parametric(tmp_path)
    weights.write_bytes(data)
    tensors = load_file(weights)
    del tensors["cells.0.basis"]
    save_file(tensors, weights)
    with pytest.raises(FileError, match="holds other tensors"):
        load_parametric(tmp_path)


def test_the_command_line(tmp_path):
    out = tmp_path / "run"
    arguments = ["fit", "--family", "ridge", "--size", "6", "--snapshots", "64", "--rtol", "1e-5", "--cells", "3"]
    result = CliRunner().invoke(app, [*arguments, "--samples", "5", "--out", str(out)])
    assert result.exit_code == 0, result.output
    assert "6×6, 2 parameters, 3 cells: rank" in result.output
    assert "on average" in result.output
    answer = CliRunner().invoke(
        app,
        [
            "invert",
            str(out / "matrices.npy"),
            "--model",
            str(out),
            "--parameters",
            str(out / "parameters.npy"),
            "--out",
            str(tmp_path / "inverses.npy"),
        ],
    )
    assert answer.exit_code == 0, answer.output
    A, X = np.load(out / "matrices.npy"), np.load(tmp_path / "inverses.npy")
    np.testing.assert_allclose(A @ X, np.broadcast_to(np.eye(6), A.shape), atol=1e-4)
    wrong = CliRunner().invoke(app, ["fit", "--family", "ridge", "--cells", "some", "--out", str(out)])
    assert wrong.exit_code == 2
    assert "expected auto or a whole number" in " ".join(wrong.output.replace("│", " ").split())
