"""Networks: shapes, symmetries, members, gradients."""

import numpy as np
import pytest
import torch

from neuralinv.learned import ConfigError, InverseNetwork, ModelConfig
from neuralinv.learned.architectures import ARCHITECTURES

ALL = sorted(ARCHITECTURES)


def network(architecture: str = "gated", **settings) -> InverseNetwork:
    torch.manual_seed(0)
    return InverseNetwork(ModelConfig(architecture=architecture, **settings))


def matrices(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


@pytest.mark.parametrize("architecture", ALL)
@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_shapes_dtypes_and_kinds(architecture: str, n: int) -> None:
    net = network(architecture, size=n)
    for shape in [(n, n), (4, n, n), (2, 3, n, n), (0, n, n)]:
        A = matrices(*shape)
        assert net.propose(A).shape == shape
        assert net.propose(A).dtype == torch.float32
        assert net.propose(A.double()).dtype == torch.float64
        X = net.propose(A.numpy())
        assert X.shape == shape
        assert X.dtype == "float32"


@pytest.mark.parametrize("architecture", ALL)
def test_members_answer_as_they_would_alone(architecture: str) -> None:
    ensemble = network(architecture, members=3)
    A = matrices(6, 3, 3)
    together = ensemble.candidates(A).candidates.inverse
    assert together.shape == (3, 6, 3, 3)
    for member in range(3):
        single = network(architecture)
        single.load_state_dict({k: v[member : member + 1] for k, v in ensemble.state_dict().items()})
        torch.testing.assert_close(single.candidates(A).candidates.inverse[0], together[member], rtol=1e-4, atol=1e-5)
    assert (together[0] - together[1]).abs().max() > 1e-3  # or the members were one and the same


def test_the_member_with_the_smallest_residual_answers() -> None:
    ensemble = network("mlp", members=4)
    A = matrices(50, 3, 3)
    scaled, candidates, scale = ensemble.candidates(A)
    residuals = torch.linalg.matrix_norm(torch.eye(3) - scaled @ candidates.inverse)
    X = ensemble.propose(A)
    torch.testing.assert_close(torch.linalg.matrix_norm(torch.eye(3) - A @ X), residuals.amin(0), rtol=1e-4, atol=1e-4)
    assert len(residuals.argmin(0).unique()) > 1
    assert scale.shape == (50, 1, 1)


@pytest.mark.parametrize("scale", [1e-30, 1e-3, 1e3, 1e30])
def test_gated_networks_are_homogeneous(scale: float) -> None:
    net = network()
    A = matrices(10, 3, 3)
    torch.testing.assert_close(net.propose(scale * A) * scale, net.propose(A), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("architecture", ["mlp", "resnet"])
def test_baselines_scale_down_what_exceeds_their_range(architecture: str) -> None:
    net = network(architecture, low=-2.0, high=2.0)
    A = matrices(10, 3, 3)
    largest = A.abs().amax((-2, -1), keepdim=True)
    full = 2 * A / largest  # fills the range exactly
    torch.testing.assert_close(net.propose(100 * full) * 100, net.propose(full), rtol=1e-4, atol=1e-5)


def test_a_gated_network_scales_its_answer_optimally() -> None:
    net = network(newton_schulz_steps=0)
    A = matrices(20, 3, 3)
    X = net.propose(A)
    best = torch.linalg.matrix_norm(torch.eye(3) - A @ X)
    for factor in (0.99, 1.01):
        assert (torch.linalg.matrix_norm(torch.eye(3) - factor * A @ X) >= best - 1e-6).all()


def test_newton_schulz_steps_square_the_residual() -> None:
    plain, stepped = network(size=1, newton_schulz_steps=0), network(size=2, newton_schulz_steps=2)
    A = torch.diag_embed(torch.tensor([[1.0, 1.02], [1.0, 0.97]]))
    with torch.no_grad():  # a constant direction: the identity
        for parameter in stepped.parameters():
            parameter.zero_()
        stepped.architecture.leave.bias.copy_(torch.eye(2).reshape(1, 1, 4))
        stepped.architecture.step_sizes.fill_(1.0)
    residual = torch.linalg.matrix_norm(torch.eye(2) - A @ stepped.propose(A))
    assert (residual < 1e-6).all()
    assert plain.propose(torch.tensor([[4.0]])).item() == pytest.approx(0.25)  # 1×1: the scale alone is the inverse


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (2.0, 3.0), (-3.0, -2.0)])
def test_matrices_outside_of_a_one_sided_range_are_not_answered(low: float, high: float) -> None:
    net = network(low=low, high=high)
    inside = low + (high - low) * torch.rand(20, 3, 3, generator=torch.Generator().manual_seed(0))
    outside = inside.clone()
    outside[:, 0, 0] *= -1
    assert torch.isfinite(net.propose(inside)).all()
    assert torch.isfinite(net.propose(17 * inside)).all()
    assert net.propose(outside).isnan().all()


def test_unsymmetric_ranges_around_zero_answer_everything() -> None:
    assert torch.isfinite(network(low=-1.0, high=3.0).propose(matrices(50, 3, 3))).all()


@pytest.mark.parametrize(
    "bad", [torch.zeros(3, 3), torch.full((3, 3), torch.nan), torch.full((3, 3), torch.inf)], ids=str
)
def test_what_has_no_scale_is_answered_by_nan(bad: torch.Tensor) -> None:
    assert network().propose(bad).isnan().all()


@pytest.mark.parametrize("architecture", ALL)
def test_proposals_are_differentiable(architecture: str) -> None:
    net = network(architecture, hidden=8, depth=1).double()
    A = matrices(2, 3, 3).double().requires_grad_()
    assert torch.autograd.gradcheck(net.propose, A)


def test_other_sizes_and_complex_matrices_are_refused() -> None:
    with pytest.raises(ValueError, match=r"inverts 3×3 matrices and was given 4×4"):
        network().propose(matrices(4, 4))
    with pytest.raises(TypeError, match="inverts real matrices"):
        network().propose(torch.eye(3, dtype=torch.complex64))
    with pytest.raises(ValueError, match="square"):
        network().propose(torch.zeros(3))


def test_gates_represent_the_adjugate_of_a_2_by_2_matrix_without_a_block() -> None:
    net = network(size=2)
    assert len(net.architecture.blocks) == 0
    assert len(network(size=5).architecture.blocks) == 3


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"architecture": "transformer"}, "unknown architecture 'transformer'; known are gated, mlp, resnet"),
        ({"size": 0}, "size = 0: expected a whole number from 1 to 64"),
        ({"hidden": 10**9}, "hidden = 1000000000"),
        ({"depth": -1}, "depth = -1"),
        ({"members": 0}, "members = 0"),
        ({"newton_schulz_steps": 99}, "newton_schulz_steps = 99"),
        ({"low": 1.0, "high": 1.0}, "low < high"),
        ({"low": float("nan")}, "finite"),
        ({"low": "x"}, "low = 'x' should be of type float"),
        ({"size": 2.5}, r"size = 2\.5 should be of type int"),
        ({"size": True}, "size = True should be of type int"),
        ({"members": None}, "members = None should be of type int"),
        ({"architecture": None}, "architecture = None should be of type str"),
        ({"low": -1e-300, "high": 1e-300}, "networks compute in single precision"),
        ({"low": -1e300, "high": 1e300}, "networks compute in single precision"),
    ],
    ids=str,
)
def test_bad_configurations(settings, message) -> None:
    with pytest.raises(ConfigError, match=message):
        InverseNetwork(ModelConfig(**settings))


@pytest.mark.parametrize("architecture", ALL)
def test_no_hidden_layer_at_all(architecture: str) -> None:
    A = matrices(5, 3, 3)
    assert network(architecture, depth=0, hidden=8, members=2).propose(A).shape == A.shape


def test_numbers_of_numpy_are_numbers() -> None:
    config = ModelConfig(size=np.int64(3), low=np.float32(-2.0), hidden=np.int32(4))
    table = config.to_table()
    assert [type(table[name]) for name in ("size", "low", "hidden")] == [int, float, int]
    assert ModelConfig.from_table(table) == config
