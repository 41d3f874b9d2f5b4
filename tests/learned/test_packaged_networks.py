"""What the packaged networks must do, and what a user gets to see of it."""

from pathlib import Path

import pytest
import torch

import neuralinv as ni
from neuralinv import Source, Status
from neuralinv.families import get_family
from neuralinv.learned import ModelConfig, TrainingConfig, hub
from neuralinv.learned.training import train
from neuralinv.study.evaluation import evaluate
from neuralinv.testing import relative_error

NAMES = ["2x2", "3x3", "4x4"]


def uniform(count: int, n: int, min_abs_det: float = 0.0, seed: int = 123) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return get_family("uniform").sample(
        count, n, generator=generator, dtype=torch.float32, device="cpu", min_abs_det=min_abs_det
    )


def assert_meets_the_goals(network: ni.learned.InverseNetwork) -> None:
    figures = evaluate(network, uniform(20_000, network.size, 0.1)).overall
    assert figures.mse < 5e-5
    assert figures.residual[0] < 2e-5
    assert figures.residual[-1] < 1


@pytest.mark.parametrize("name", NAMES)
def test_raw_accuracy(name: str) -> None:
    network = ni.learned.load(name)
    assert network.size == int(name[0])
    assert_meets_the_goals(network)


@pytest.mark.parametrize("name", NAMES)
def test_size_on_disk_and_the_command_that_made_it(name: str) -> None:
    folder = Path(hub.__file__).parent / "weights" / name
    assert sum(path.stat().st_size for path in folder.iterdir()) < 2 << 20
    assert f"neuralinv train --size {name[0]} " in (folder.parent / "README.md").read_text()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_every_matrix_ends_with_the_right_status_and_an_honest_bound(name: str, dtype: torch.dtype) -> None:
    network = ni.learned.load(name)
    A = uniform(10_000, network.size).to(dtype)  # nothing filtered out: some have condition 1e5
    A[17] = A[17] * torch.tensor(0.0)
    A[23, 0] = A[23, 1]
    result = ni.certified_inv(A, network, rtol=1e-5, on_singular="nan")
    assert result.status[[17, 23]].tolist() == [Status.SINGULAR] * 2
    assert result.count(Status.CERTIFIED) == 9_998
    certified = result.certified
    # The oracle itself has a relative error of about u·κ, far below the float32 bounds and inside the float64 slack.
    slack = 1e-15 * torch.linalg.cond(A[certified].double())
    assert (relative_error(A[certified], result.inverse[certified]) <= result.error_bound[certified] + slack).all()
    assert result.count(Source.FALLBACK) <= 2 + 10_000 * 0.001


def test_a_150_by_150_matrix_through_3_by_3_blocks() -> None:
    A = uniform(2, 150) + 150 * torch.eye(150)
    result = ni.certified_inv(A, ni.learned.load("3x3"))
    assert result.inverse.dtype == torch.float32
    assert result.certified.all()
    assert result.count(Source.FALLBACK) == 0
    assert (relative_error(A, result.inverse) <= result.error_bound).all()


@pytest.mark.slow
def test_the_default_training_meets_the_goals(tmp_path: Path) -> None:
    outcome = train(ModelConfig(size=3), TrainingConfig(steps=6_000, loss="direction", device="cpu"), tmp_path)
    assert_meets_the_goals(outcome.network)


@pytest.mark.slow
def test_4_by_4_training_leaves_the_plateau_of_linear_approximations(tmp_path: Path) -> None:
    training = TrainingConfig(steps=8_000, batch_size=512, loss="direction", device="cpu")
    outcome = train(ModelConfig(size=4), training, tmp_path)
    assert_meets_the_goals(outcome.network)
