import copy
import warnings

import numpy as np
import pytest
import torch
from torch.autograd import forward_ad

import neuralinv as ni
from neuralinv.dense import native
from neuralinv.families import Range, get_family
from neuralinv.io import FileError
from neuralinv.learned import InverseNetwork, ModelConfig, fit_parametric, load_parametric, save_parametric
from neuralinv.learned.architectures.parametric import chebyshev_features, feature_count, total_degree_exponents
from neuralinv.learned.checkpoints import save_network
from neuralinv.testing import relative_error

N = 8
FITTED = ["ridge", "poisson", "mimo", "laplacian", "matern"]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def fits():
    """One fit for each family, with the function that it was made for."""
    fitted = {}
    for name in FITTED:
        family = get_family(name)
        function = family.matrix_function(N, generator=generator())
        fitted[name] = (fit_parametric(function, ranges=family.ranges, rtol=1e-5, snapshots=384), function)
    return fitted


@pytest.mark.parametrize("name", FITTED)
def test_unseen_matrices_certify_without_fallback(fits, name):
    model, function = fits[name]
    theta = get_family(name).thetas(200, generator=generator(5))
    A = function(theta).to(model.dtype)
    result = model.inv(A, theta)
    assert model.dtype == (torch.complex64 if name == "mimo" else torch.float32)
    assert result.inverse.dtype == model.dtype
    assert bool(result.certified.all())
    assert result.count(ni.Source.FALLBACK) == 0
    assert bool((relative_error(A, result.inverse) <= result.error_bound).all())
    # Of Hermitian matrices, so are the modes, and what is made of them.
    modes = model.as_matrices(model.basis)
    candidates = model.propose(theta)
    assert torch.equal(A, A.mH)
    assert torch.equal(modes, modes.mH)
    assert torch.equal(candidates, candidates.mH)
    assert model.report.certified_share == 1
    assert model.report.held_out == 128
    assert model.report.rank == model.rank == len(model.basis)
    assert model.report.snapshots >= 380


def test_candidates_serve_as_proposer_and_have_gradients(fits):
    model, function = fits["ridge"]
    theta = get_family("ridge").thetas(4, generator=generator(5)).requires_grad_()
    X = model.propose(theta.reshape(2, 2, 2))
    result = ni.certified_inv(function(theta.detach()).reshape(2, 2, N, N).float(), proposer=X)
    assert bool(result.certified.all())
    assert result.count(ni.Source.FALLBACK) == 0
    (gradient,) = torch.autograd.grad(X.sum(), theta)
    exact = torch.linalg.inv(function(theta)).sum()
    (expected,) = torch.autograd.grad(exact, theta)
    torch.testing.assert_close(gradient, expected, rtol=2e-2, atol=2e-2 * float(expected.abs().max()))


def test_gradients_reach_the_matrices(fits):
    model, function = fits["ridge"]
    theta = get_family("ridge").thetas(3, generator=generator(5))
    A = function(theta).float().requires_grad_()
    (gradient,) = torch.autograd.grad(model.inv(A, theta).inverse.sum(), A)
    B = A.detach().double().requires_grad_()
    (expected,) = torch.autograd.grad(torch.linalg.inv(B).sum(), B)
    torch.testing.assert_close(gradient.double(), expected, rtol=1e-3, atol=1e-3)


def test_outside_the_range_the_answer_is_exact_and_the_share_is_told(fits):
    model, function = fits["poisson"]
    theta = torch.zeros(10, 2, dtype=torch.float64)
    theta[3, 0] = 1.5
    A = function(theta).float()
    with pytest.warns(UserWarning, match="1 of 10 matrices were inverted exactly"):
        result = model.inv(A, theta)
    assert (result.source == int(ni.Source.FALLBACK)).tolist() == [False] * 3 + [True] + [False] * 6
    assert bool(result.certified.all())
    assert bool((relative_error(A, result.inverse) <= result.error_bound).all())


def test_another_family_s_matrices_are_never_answered_wrongly(fits):
    model, _ = fits["poisson"]
    A = get_family("conditioned").sample(20, N, generator=generator(), dtype=torch.float32)
    with pytest.warns(UserWarning, match="20 of 20"):
        result = model.inv(A.numpy(), np.zeros((20, 2)))
    assert isinstance(result.inverse, np.ndarray)
    assert (result.source == int(ni.Source.FALLBACK)).all()
    assert bool((relative_error(A, torch.from_numpy(result.inverse)) <= torch.from_numpy(result.error_bound)).all())
    A[0] = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(torch.linalg.LinAlgError, match="no certified inverse"):
            model.inv(A, torch.zeros(20, 2))
        assert bool(model.inv(A, torch.zeros(20, 2), on_singular="nan").inverse[0].isnan().all())


def test_arrays_in_place_of_a_function():
    family = get_family("poisson")
    function = family.matrix_function(6, generator=generator())
    theta = family.thetas(300, generator=generator(1))
    model = fit_parametric((theta, function(theta)), rtol=1e-4, dtype=torch.float64)
    assert list(model.ranges) == ["theta_0", "theta_1"]
    assert model.report.held_out == 60
    assert model.report.snapshots == 240
    inner = family.thetas(50, generator=generator(2))
    inside = ((inner > theta.amin(0)) & (inner < theta.amax(0))).all(1)
    result = model.inv(function(inner[inside]), inner[inside])
    assert result.count(ni.Source.FALLBACK) == 0
    assert bool(result.certified.all())


def test_numpy_arrays_and_functions_that_return_them():
    family = get_family("poisson")
    function = family.matrix_function(6, generator=generator())
    theta = family.thetas(100, generator=generator(1))
    fits = [
        fit_parametric(source, rtol=1e-4, ranges=family.ranges, snapshots=64)
        for source in ((theta, function(theta)), (theta.numpy(), function(theta).numpy()))
    ]
    fits += [
        fit_parametric(source, rtol=1e-4, ranges=family.ranges, snapshots=64)
        for source in (function, lambda theta: function(theta).numpy())
    ]
    for by_tensors, by_arrays in (fits[:2], fits[2:]):
        assert torch.equal(by_tensors.propose(theta), by_arrays.propose(theta))
        candidates = by_arrays.propose(theta.numpy())
        assert isinstance(candidates, np.ndarray)
        assert np.array_equal(candidates, by_tensors.propose(theta).numpy())


def test_parameters_may_be_whole_numbers():
    theta = torch.arange(20, 60)[:, None]
    A = torch.diag_embed(torch.cat([theta, theta + 1], 1).double())
    model = fit_parametric((theta, A), rtol=1e-4, dtype=torch.float64)
    assert torch.equal(model.propose(theta), model.propose(theta.double()))
    assert torch.equal(model.propose(theta), torch.from_numpy(model.propose(theta.numpy())))
    results = [model.inv(A, t) for t in (theta, theta.double(), theta.numpy())]
    assert all(torch.equal(result.inverse, results[0].inverse) for result in results)
    assert bool(results[0].certified.all())


def test_counts_may_be_numpy_numbers():
    family = get_family("poisson")
    function = family.matrix_function(6, generator=generator())
    count = np.int64(64)
    model = fit_parametric(
        function, ranges=family.ranges, rank=np.int64(12), cells=np.int64(1), snapshots=count, rtol=1e-2
    )
    assert model.rank == 12


def test_a_family_and_its_fit_share_double_precision():
    # What docs/parametric.md says of the families: their functions and ranges are ready.
    family = get_family("ridge")
    function = family.matrix_function(6, generator=generator())
    model = fit_parametric(function, ranges=family.ranges, dtype=torch.float64, snapshots=256, rtol=1e-5)
    theta = family.thetas(20, generator=generator(1))
    assert bool(model.inv(function(theta), theta).certified.all())
    single = fit_parametric(function, ranges=family.ranges, snapshots=64, rtol=1e-5)
    with pytest.raises(
        TypeError, match=r"made for torch\.float32; convert them, or fit again with dtype=torch\.float64"
    ):
        single.inv(function(theta), theta)


def test_what_is_singular_between_the_snapshots_warns_and_is_never_answered_wrongly():
    def function(theta: torch.Tensor) -> torch.Tensor:
        return torch.diag_embed(torch.cat([theta.double(), torch.ones(len(theta), 1, dtype=torch.float64)], 1))

    with pytest.warns(UserWarning, match=r"only .* % of the held-out matrices certify"):
        model = fit_parametric(function, ranges={"t": Range(-1.0, 1.0)}, dtype=torch.float64, snapshots=64)
    theta = torch.tensor([[0.5], [0.0]])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = model.inv(function(theta), theta, on_singular="nan")
    assert result.status.tolist() == [ni.Status.CERTIFIED, ni.Status.SINGULAR]
    torch.testing.assert_close(result.inverse[0], torch.diag(torch.tensor([2.0, 1.0])).double())


def test_three_parameters_and_a_given_rank():
    random = torch.randn(3, 6, 6, generator=generator(), dtype=torch.float64) / 6

    def function(theta: torch.Tensor) -> torch.Tensor:
        return torch.eye(6, dtype=torch.float64) + torch.einsum("...p,pij->...ij", theta.double(), random)

    ranges = {name: Range(-0.5, 0.5) for name in "abc"}
    model = fit_parametric(function, ranges=ranges, rank=20, rtol=1e-4, snapshots=256)
    assert model.rank == 20
    assert model.report.certified_share == 1
    theta = torch.rand(50, 3, generator=generator(1), dtype=torch.float64) - 0.5
    assert bool(model.inv(function(theta).float(), theta).certified.all())


def test_features_are_products_of_chebyshev_polynomials():
    exponents = total_degree_exponents(2, 3)
    assert len(exponents) == feature_count(2, 3) == 10
    angle = torch.rand(7, 2, generator=generator(), dtype=torch.float64) * torch.pi
    expected = torch.cos(angle[:, None] * exponents).prod(-1)
    torch.testing.assert_close(chebyshev_features(torch.cos(angle), exponents), expected)


TWO = {"a": Range(1.0, 2.0), "b": Range(1.0, 2.0)}


def singular_inside(theta: torch.Tensor) -> torch.Tensor:
    return torch.diag_embed(torch.stack([theta[:, 0], torch.ones(len(theta))], -1)) * (theta[:, :1, None].abs() > 0.3)


@pytest.mark.parametrize(
    ("source", "keywords", "message"),
    [
        (singular_inside, {"ranges": {"a": Range(-1.0, 1.0)}}, r"the matrix at θ = \(.*\) is singular or nearly so"),
        (torch.diag_embed, {}, "comes with ranges"),
        (torch.diag_embed, {"ranges": {}}, "0 parameters; a parametric inverse takes 1 to 8"),
        (torch.diag_embed, {"ranges": {"a": Range(1.0, 2.0)}, "snapshots": 7}, "snapshots=7; .* at least 8"),
        (torch.diag_embed, {"ranges": TWO, "snapshots": 11}, "of 2 parameters takes a whole number of at least 12"),
        (torch.diag_embed, {"ranges": TWO, "snapshots": 64.5}, r"snapshots=64\.5"),
        (torch.diag_embed, {"ranges": {"a": (1.0, 2.0)}}, "expected {name: Range"),
        (torch.diag_embed, {"ranges": {"a": Range(1.0, 2.0)}, "rank": 0}, "rank=0"),
        (torch.diag_embed, {"ranges": {"a": Range(1.0, 2.0)}, "rank": True}, "rank=True"),
        (torch.diag_embed, {"ranges": {"a": Range(1.0, 2.0)}, "rtol": 0.0}, r"rtol=0\.0"),
        (torch.diag_embed, {"ranges": {"a": Range(1.0, 2.0)}, "rtol": "a"}, "rtol='a'"),
        (
            torch.diag_embed,
            {"ranges": {"a": Range(1.0, 2.0)}, "dtype": torch.float16},
            r"dtype=torch\.float16; expected",
        ),
        (torch.diag_embed, {"ranges": {"a": Range(1.0, 2.0)}, "dtype": torch.int32}, r"dtype=torch\.int32; expected"),
        (
            torch.diag_embed,
            {"ranges": {"a": Range(1.0, 2.0)}, "dtype": torch.complex64},
            "asked for in torch.complex64",
        ),
        (lambda t: t, {"ranges": {"a": Range(1.0, 2.0)}}, "came with matrices of shape"),
        (
            (torch.arange(4.0)[:, None], torch.eye(2).expand(4, 2, 2)),
            {},
            "3 snapshots are too few",
        ),
        ((torch.arange(9.0), torch.eye(2).expand(9, 2, 2)), {}, r"expected real \(batch, p\)"),
        (
            (torch.stack([torch.rand(9), torch.ones(9)], 1), torch.eye(2).expand(9, 2, 2)),
            {},
            r"theta_1, column 1 of the parameters: low = 1\.0, high = 1\.0: .* leave out a column that is constant",
        ),
        ((torch.zeros(0, 1), torch.zeros(0, 2, 2)), {}, r"of shape \(0, 1\); expected real \(batch, p\), one or more"),
        ((torch.rand(9, 1), torch.zeros(9, 0, 0)), {}, "came with matrices of shape"),
        ((torch.rand(9, 1), torch.eye(2).expand(9, 2, 2)), {"ranges": TWO}, "for each of 1 parameters"),
        ((torch.rand(9, 1), torch.eye(2).expand(8, 2, 2)), {}, "came with matrices of shape"),
    ],
)
def test_what_cannot_be_fitted(source, keywords, message):
    with pytest.raises(ValueError, match=message):
        fit_parametric(source, **keywords)


@pytest.mark.parametrize("source", [torch.diag_embed, (torch.rand(9, 1), torch.eye(2).expand(9, 2, 2))])
@pytest.mark.parametrize("ranges", [[Range(1.0, 2.0)], (Range(1.0, 2.0),), Range(1.0, 2.0)])
def test_ranges_have_names(source, ranges):
    name = type(ranges).__name__
    with pytest.raises(TypeError, match=rf"ranges is a {name}; expected a dict of names to ranges"):
        fit_parametric(source, ranges=ranges)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (3, "the source is int; expected a function from parameters to matrices"),
        (torch.rand(9, 1), "the source is Tensor"),
        (lambda theta: None, "the array of matrices has dtype object"),
        ((torch.rand(9, 1), None), "the array of matrices has dtype object"),
    ],
)
def test_what_is_no_source(source, message):
    with pytest.raises(TypeError, match=message):
        fit_parametric(source, ranges={"a": Range(1.0, 2.0)})


def test_a_fit_that_is_too_coarse_warns():
    family = get_family("rbf")
    function = family.matrix_function(12, generator=generator())
    with pytest.warns(UserWarning, match=r"of the held-out matrices certify without fallback; give more snapshots"):
        fit_parametric(function, ranges=family.ranges, rank=2, snapshots=32)


def test_bad_input(fits):
    model, function = fits["poisson"]
    theta = torch.zeros(3, 2)
    A = function(theta).float()
    with pytest.raises(ValueError, match=r"matrices of shape \(3, 7, 7\) with parameters of shape \(3, 2\)"):
        model.inv(A[:, 1:, 1:], theta)
    with pytest.raises(ValueError, match=r"shape \(2, 2\); expected"):
        model.inv(A, theta[:2])
    with pytest.raises(ValueError, match=r"parameters are torch.float32 of shape \(3, 1\); .*: first, second"):
        model.inv(A, theta[:, :1])
    with pytest.raises(ValueError, match=r"are torch\.complex64 of shape"):
        model.propose(theta.to(torch.complex64))
    with pytest.raises(ValueError, match=r"matrices of shape \(3, 5, 5\) with parameters of shape \(3, 2\)"):
        model.propose(theta, torch.eye(5).expand(3, 5, 5))
    with pytest.raises(TypeError, match=r"matrices are torch.complex64, and the fit was made for torch.float32"):
        model.inv(A.to(torch.complex64), theta)


@pytest.mark.parametrize("name", ["ridge", "mimo"])
def test_saved_and_loaded(fits, name, tmp_path):
    model, function = fits[name]
    save_parametric(model, str(tmp_path / "run"))
    again = load_parametric(tmp_path / "run")
    theta = get_family(name).thetas(5, generator=generator(5))
    assert torch.equal(model.propose(theta), again.propose(theta))
    assert again.ranges == model.ranges
    assert bool(again.inv(function(theta).to(again.dtype), theta).certified.all())


def test_reports_are_loaded_again(fits, tmp_path):
    model, _ = fits["ridge"]
    save_parametric(model, tmp_path)
    assert load_parametric(tmp_path).report == model.report
    config = tmp_path / "config.toml"
    text = config.read_text()
    _, table, measured = text.partition("[measured]\n")
    assert table
    measured = measured.partition("\n[")[0]
    assert f"seconds = {model.report.seconds}" in measured
    for old, new in (
        ("held_out = 128", "held_out = -1"),
        ("held_out = 128", "held_out = 128.0"),
        ("held_out = 128", "held_out = true"),
        ("held_out = 128", "held_out = 1" + "0" * 400),
        ("held_out = 128\n", ""),
        ("held_out = 128", "held_out = 128\nunknown = 1"),
        ("certified_share = 1.0", "certified_share = 2.0"),
        ("certified_share = 1.0", "certified_share = nan"),
        ("certified_share = 1.0", 'certified_share = "all"'),
        (table, "[[measured]]\n"),
    ):
        assert old in text
        config.write_text(text.replace(old, new))
        with pytest.raises(FileError, match=r"not the configuration of a parametric inverse .*measured"):
            load_parametric(tmp_path)
    config.write_text(text.replace(measured, "").replace(table, ""))
    assert load_parametric(tmp_path).report is None


def test_a_fit_replaces_fits_and_nothing_else(fits, tmp_path):
    model, _ = fits["ridge"]
    for _ in range(2):
        save_parametric(model, tmp_path / "fit")
    (tmp_path / "fit" / "config.toml").write_text("damaged")
    save_parametric(model, tmp_path / "fit")
    assert load_parametric(tmp_path / "fit").ranges == model.ranges
    save_network(InverseNetwork(ModelConfig(size=2, hidden=8)), tmp_path / "network")
    for name, content in (("state/resume.ckpt", ""), ("other/config.toml", "a = 1"), ("unknown/config.toml", "[[")):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text(content)
    # What an earlier version of save_parametric left of a network.
    save_network(InverseNetwork(ModelConfig(size=2, hidden=8)), tmp_path / "mixed")
    for name in ("config.toml", "parametric.safetensors"):
        (tmp_path / "mixed" / name).write_bytes((tmp_path / "fit" / name).read_bytes())
    for name in ("network", "state", "other", "unknown", "mixed"):
        before = {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()}
        with pytest.raises(FileExistsError, match=f"{name}: holds a network already, or another checkpoint"):
            save_parametric(model, tmp_path / name)
        assert {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} == before


def test_damaged_folders(fits, tmp_path):
    model, _ = fits["ridge"]
    with pytest.raises(FileError, match="no such file"):
        load_parametric(tmp_path)
    save_parametric(model, tmp_path)
    config, weights = tmp_path / "config.toml", tmp_path / "parametric.safetensors"
    text, data = config.read_text(), weights.read_bytes()
    for old, new, message in (
        ("size = 8", "size = 9", "has shape"),
        ("size = 8", "size = 100000", "out of range"),
        (f"rank = {model.rank}", "rank = 1000000000", "more than 2\\^28"),
        ("low = 0.01", "low = -1.0", "above 0"),
        ('dtype = "float32"', 'dtype = "int8"', "int8"),
        ("[parametric]", "[other]", "not the configuration"),
        ("rtol = ", "rtol == ", "not valid TOML"),
    ):
        config.write_text(text.replace(old, new))
        with pytest.raises(FileError, match=message):
            load_parametric(tmp_path)
    config.write_text(text)
    weights.write_bytes(data[:-100])
    with pytest.raises(FileError, match="not a whole safetensors file"):
        load_parametric(tmp_path)
    weights.unlink()
    with pytest.raises(FileError, match="missing"):
        load_parametric(tmp_path)


@pytest.mark.parametrize("name", ["ridge", "mimo"])
def test_casts_leave_the_fit_as_it_is(fits, name):
    model, function = copy.deepcopy(fits[name][0]), fits[name][1]
    family = get_family(name)
    theta = family.thetas(50, generator=generator(3))
    A = function(theta).to(model.dtype)
    before = model.inv(A, theta)
    for cast in (model.double, model.float, model.half, lambda: model.to(torch.bfloat16)):
        cast()
        after = model.inv(A, theta)
        assert torch.equal(after.inverse, before.inverse)
        assert torch.equal(after.source, before.source)


def test_kernels_refuse_what_they_would_misread():
    C, B, X = torch.zeros(2, 3), torch.zeros(3, 16), torch.zeros(2, 16)
    for arguments in ((C.double(), B, X), (C, B.double(), X), (C, B, X.double())):
        with pytest.raises(TypeError, match="expected one dtype"):
            native.combine(*arguments)
    with pytest.raises(TypeError, match="expected float64"):
        native.deviation(X, C, B.double())


def test_errors_name_the_matrices_of_the_batch(fits):
    model, function = fits["ridge"]
    theta = get_family("ridge").thetas(20, generator=generator(4))
    A = function(theta).to(model.dtype)
    A[7], A[13] = torch.nan, 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(torch.linalg.LinAlgError, match=r"SINGULAR at \[13\]; NONFINITE at \[7\]"):
            model.inv(A, theta)
        with pytest.raises(torch.linalg.LinAlgError, match=r"SINGULAR at \[\(2, 3\)\]; NONFINITE at \[\(1, 2\)\]"):
            model.inv(A.reshape(4, 5, N, N), theta.reshape(4, 5, -1))
    with pytest.raises(ValueError, match="on_singular='pinv'; expected 'raise' or 'nan'"):
        model.inv(A, theta, on_singular="pinv")
    with pytest.raises(ValueError, match=r"parameters are torch\.complex64 of shape .*; expected real ones"):
        model.inv(A, theta.to(torch.complex64))


def test_forward_derivatives_reach_the_matrices(fits):
    model, function = fits["ridge"]
    theta = get_family("ridge").thetas(3, generator=generator(5))
    A = function(theta).to(model.dtype)
    with forward_ad.dual_level():
        X = model.inv(forward_ad.make_dual(A, torch.ones_like(A)), theta).inverse
        torch.testing.assert_close(forward_ad.unpack_dual(X).tangent, -(X @ torch.ones_like(A) @ X))
