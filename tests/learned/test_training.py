"""Training: it learns, resumes exactly, keeps the best, and stops politely."""

import copy
import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import neuralinv as ni
from neuralinv.io import FileError
from neuralinv.learned import ConfigError, InverseNetwork, ModelConfig, TrainingConfig
from neuralinv.learned import training as training_module
from neuralinv.learned.checkpoints import load_network
from neuralinv.learned.interrupts import InterruptRequest
from neuralinv.learned.training import (
    STATE_FILE,
    TrainingError,
    TrainingProgress,
    holds_run,
    saved_configuration,
    train,
)
from neuralinv.study.training_log import read_validation_log

SMALL = ModelConfig(size=2, hidden=16)
SHORT = TrainingConfig(steps=40, batch_size=64, loss="direction", validations=4, device="cpu")


def weights(network: InverseNetwork) -> torch.Tensor:
    return torch.cat([value.flatten() for value in network.state_dict().values()])


def press_control_c(progress: object) -> None:
    """A report that behaves like Ctrl-C the first time that it is called."""
    os.kill(os.getpid(), signal.SIGINT)


def test_a_short_training_learns_to_invert(tmp_path: Path) -> None:
    model = ModelConfig(size=2)
    outcome = train(model, TrainingConfig(steps=600, loss="direction", device="cpu"), tmp_path)
    assert outcome.steps == 600
    assert not outcome.interrupted
    assert outcome.validation < 1e-3
    A = torch.rand(500, 2, 2, generator=torch.Generator().manual_seed(9)) * 2 - 1
    result = ni.certified_inv(A, load_network(tmp_path))
    assert result.certified.all()
    assert result.count(ni.Source.FALLBACK) == 0


@pytest.mark.parametrize("loss", ["residual", "log_residual", "two_sided", "error", "mse"])
def test_every_loss_and_baseline_trains(tmp_path: Path, loss: str) -> None:
    model = ModelConfig("mlp", size=2, hidden=16, depth=1)
    short = replace(SHORT, loss=loss, min_abs_det=0.1, steps=300, learning_rate=5e-3)
    outcome = train(model, short, tmp_path)
    untrained = train(model, replace(short, steps=1, learning_rate=1e-9), tmp_path / "untrained")
    assert outcome.validation < 0.95 * untrained.validation


@pytest.mark.parametrize(
    "model",
    [SMALL, ModelConfig(size=3, hidden=8, members=2), ModelConfig("resnet", 2, 4, 1)],
    ids=["gated", "two", "resnet"],
)
def test_a_resumed_run_ends_like_the_uninterrupted_one(tmp_path: Path, model: ModelConfig) -> None:
    training = replace(SHORT, steps=400)
    whole = train(model, training, tmp_path / "whole")
    stopped = train(model, training, tmp_path / "parts", report=press_control_c)
    assert stopped.interrupted
    assert 0 < stopped.steps < 400
    assert saved_configuration(tmp_path / "parts") == (model, training)
    resumed = train(model, training, tmp_path / "parts", resume=True)
    assert not resumed.interrupted
    assert resumed.steps == whole.steps == 400
    assert resumed.validation == whole.validation
    assert torch.equal(weights(resumed.network), weights(whole.network))
    steps, residuals = read_validation_log(tmp_path / "parts")
    assert len(steps) == training.validations
    assert steps[-1] == 400
    assert residuals.min() == pytest.approx(whole.validation, rel=1e-5)


def test_batches_depend_on_seed_and_step_alone(tmp_path: Path) -> None:
    state = torch.random.get_rng_state()
    first = train(SMALL, SHORT, tmp_path / "1")
    torch.rand(17)
    second = train(SMALL, SHORT, tmp_path / "2")
    other = train(SMALL, replace(SHORT, seed=1), tmp_path / "3")
    assert torch.equal(weights(first.network), weights(second.network))
    assert not torch.equal(weights(first.network), weights(other.network))
    torch.random.set_rng_state(state)
    expected = torch.rand(1)
    torch.random.set_rng_state(state)
    train(SMALL, SHORT, tmp_path / "4")
    assert torch.equal(torch.rand(1), expected)  # the caller's random state is untouched


def test_the_best_on_validation_is_kept(tmp_path: Path) -> None:
    # At this rate the weights jump about: the last ones are not the best.
    wild = replace(SHORT, steps=300, learning_rate=30.0, schedule="constant", validations=30)
    outcome = train(SMALL, wild, tmp_path)
    _, residuals = read_validation_log(tmp_path)
    assert residuals[-1] > 1.1 * residuals.min()
    assert outcome.validation == pytest.approx(residuals.min(), rel=1e-5)
    state = torch.load(tmp_path / STATE_FILE, weights_only=True)
    kept = weights(outcome.network)
    assert torch.equal(torch.cat([value.flatten() for value in state["best"].values()]), kept)
    assert not torch.equal(torch.cat([value.flatten() for value in state["network"].values()]), kept)


def test_a_budget_ends_the_training(tmp_path: Path) -> None:
    outcome = train(SMALL, TrainingConfig(budget=0.5, loss="direction", device="cpu", validations=3), tmp_path)
    assert 0.5 <= outcome.elapsed < 5
    assert outcome.steps > 3
    assert load_network(tmp_path).size == 2


def test_what_a_run_leaves_behind(tmp_path: Path) -> None:
    assert not holds_run(tmp_path)
    train(ModelConfig(size=2, hidden=8, members=2), SHORT, tmp_path)
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"config.toml", "member-0.safetensors", "member-1.safetensors", STATE_FILE, "logs"}
    assert holds_run(tmp_path)
    assert list((tmp_path / "logs" / "tensorboard").rglob("events.out.tfevents.*"))
    text = (tmp_path / "config.toml").read_text()
    for line in ('architecture = "gated"', "size = 2", "members = 2", "steps = 40", "validation_mean_residual = "):
        assert line in text


def test_members_are_trained_independently(tmp_path: Path) -> None:
    pair = train(replace(SMALL, members=2), SHORT, tmp_path / "pair")
    first, second = (
        weights(pair.network).new_tensor([v[m].sum() for v in pair.network.state_dict().values()]) for m in (0, 1)
    )
    assert not torch.equal(first, second)


def test_precision_and_device_are_lightnings(tmp_path: Path) -> None:
    for precision in ("64-true", "bf16-mixed"):
        outcome = train(SMALL, replace(SHORT, precision=precision), tmp_path / precision)
        assert outcome.network.identity.dtype == torch.float32
        assert outcome.validation < 2
    with pytest.raises(ConfigError, match="device 'abacus'"):
        train(SMALL, replace(SHORT, device="abacus"), tmp_path)


def test_divergence_is_reported(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"no longer finite.*learning rate below 1e"):
        train(ModelConfig("mlp", 2, 8, 2), replace(SHORT, learning_rate=1e38, loss="mse"), tmp_path)


@pytest.mark.parametrize("model", [SMALL, ModelConfig("mlp", 2, 8, 1, members=2)], ids=["gated", "mlp"])
def test_answers_that_are_not_finite_are_a_divergence(tmp_path: Path, model: ModelConfig) -> None:
    # The weights stay finite; the products of them do not.
    with pytest.raises(TrainingError, match=r"answers are no longer finite after step .*learning rate below 1e\+30"):
        train(model, replace(SHORT, steps=10, learning_rate=1e30), tmp_path)
    assert not holds_run(tmp_path)
    assert not list(tmp_path.glob("*.safetensors"))


def test_a_divergence_leaves_the_best_so_far(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = train(SMALL, SHORT, tmp_path)
    saved = weights(whole.network)

    def diverge(progress: TrainingProgress) -> None:
        if progress.validation < torch.inf:
            monkeypatch.setattr(training_module, "residual_norm", lambda A, X: torch.full(A.shape[:-2], torch.nan))

    with pytest.raises(TrainingError, match="answers are no longer finite"):
        train(SMALL, replace(SHORT, steps=400, validations=40), tmp_path, report=diverge)
    assert not torch.equal(weights(load_network(tmp_path)), saved)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"steps": None}, "either steps or a wall-clock budget"),
        ({"budget": 3.0}, "either steps or a wall-clock budget"),
        ({"steps": 0}, "steps = 0"),
        ({"steps": None, "budget": -1.0}, "budget = -1.0"),
        ({"batch_size": 0}, "batch_size = 0"),
        ({"learning_rate": 0.0}, "learning_rate = 0.0"),
        ({"gradient_clip": float("inf")}, "gradient_clip = inf"),
        ({"min_abs_det": -1.0}, "min_abs_det = -1.0"),
        ({"seed": -1}, "seed = -1"),
        ({"precision": "8-true"}, "precision = '8-true'"),
        ({"steps": 2.5}, r"steps = 2\.5 should be of type int"),
        ({"loss": 5}, "loss = 5 should be of type str"),
        ({"learning_rate": None}, "learning_rate = None should be of type float"),
        ({"min_abs_det": 10**400}, "min_abs_det = a whole number of 1,329 bits"),
        ({"loss": "hinge"}, "unknown loss 'hinge'; known are direction"),
        ({"schedule": "square"}, "unknown schedule 'square'; known are constant"),
    ],
    ids=str,
)
def test_bad_settings(tmp_path: Path, settings, message) -> None:
    with pytest.raises(ConfigError, match=message):
        train(SMALL, replace(SHORT, **settings), tmp_path)


def test_nothing_to_resume(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="nothing to resume"):
        train(SMALL, SHORT, tmp_path, resume=True)


@pytest.mark.parametrize("content", [b"", b"garbage", b"PK\x03\x04 truncated"])
def test_corrupt_states_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / STATE_FILE).write_bytes(content)
    with pytest.raises(FileError, match="not a training state"):
        saved_configuration(tmp_path)


def test_a_state_that_is_no_tensors_is_not_unpickled(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "executed"),))

    torch.save({"model": Evil()}, tmp_path / STATE_FILE)
    with pytest.raises(FileError, match="not a training state"):
        saved_configuration(tmp_path)
    assert not (tmp_path / "executed").exists()


def test_a_state_of_another_network_is_refused(tmp_path: Path) -> None:
    train(SMALL, SHORT, tmp_path)
    with pytest.raises(FileError, match="does not fit this configuration"):
        train(replace(SMALL, hidden=8), SHORT, tmp_path, resume=True)


def test_a_state_that_no_run_can_have_is_refused(tmp_path: Path) -> None:
    train(SMALL, SHORT, tmp_path)
    path = tmp_path / STATE_FILE
    state = torch.load(path, weights_only=True)
    name = next(iter(state["network"]))
    first = state["optimizer-0"]["state"][0]
    groups = state["optimizer-0"]["param_groups"]

    def put(*keys: object, value: object) -> dict:
        """Return the state with another value at the end of a path of keys."""
        changed = copy.deepcopy(state)
        part = changed
        for key in keys[:-1]:
            part = part[key]
        part[keys[-1]] = value
        return changed

    damaged = [
        ("step -1", put("counters", "step", value=-1)),
        ("step 41", put("counters", "step", value=41)),
        ("step inf", put("counters", "step", value=float("inf"))),
        ("step True", put("counters", "step", value=True)),
        ("elapsed nan", put("counters", "elapsed", value=float("nan"))),
        ("elapsed -1", put("counters", "elapsed", value=-1.0)),
        ("validations 5", put("counters", "validations", value=5)),
        ("counters: no table", put("counters", value=torch.ones(3))),
        ("best_score: not residuals", put("best_score", value=torch.tensor([-1.0]))),
        ("best_score: not residuals", put("best_score", value=torch.tensor([1.5]))),
        ("best_score: not a number for each member", put("best_score", value=torch.zeros(7))),
        ("best_score: not a number for each member", put("best_score", value=1.0)),
        ("best: .* is no tensor", put("best", name, value=torch.zeros(1, 2))),
        ("best: .* holds NaN", put("best", name, value=torch.full_like(state["best"][name], torch.nan))),
        ("best: other weights", put("best", value={})),
        ("network: .* holds NaN", put("network", name, value=torch.full_like(state["network"][name], torch.inf))),
        ("optimizer: no state", put("optimizer-0", "state", value="x")),
        ("optimizer: a state of no parameter", put("optimizer-0", "state", value={999: first})),
        ("optimizer: exp_avg is no tensor", put("optimizer-0", "state", 0, "exp_avg", value=torch.zeros(1))),
        ("optimizer: step 0", put("optimizer-0", "state", 0, "step", value=torch.tensor(0.0))),
        ("optimizer: other settings", put("optimizer-0", "param_groups", 0, "peak_lr", value="a")),
        ("optimizer: other settings", put("optimizer-0", "param_groups", 0, "betas", value=(2.0, 2.0))),
        ("optimizer: lr inf", put("optimizer-0", "param_groups", 0, "lr", value=float("inf"))),
        ("optimizer: other groups", put("optimizer-0", "param_groups", value=groups * 2)),
    ]
    for message, changed in damaged:
        torch.save(changed, path)
        with pytest.raises(FileError, match=f"does not fit this configuration .*{message}"):
            train(SMALL, SHORT, tmp_path, resume=True)
    for changed in (put("model", value=[1, 2]), put("training", value=None), put("model", "low", value=-(10**400))):
        torch.save(changed, path)
        with pytest.raises(FileError, match="not a training state"):
            saved_configuration(tmp_path)
    torch.save(state, path)
    assert train(SMALL, SHORT, tmp_path, resume=True).steps == SHORT.steps


def test_an_unwritable_folder_is_found_out_before_training(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FileError, match="file"):
        train(SMALL, SHORT, tmp_path / "file" / "runs")


def test_an_interrupt_request_restores_the_handlers_and_yields_to_a_second_signal() -> None:
    before = signal.getsignal(signal.SIGINT)
    with InterruptRequest() as request:
        assert not request.requested
        os.kill(os.getpid(), signal.SIGINT)
        assert request.requested
        with pytest.raises(KeyboardInterrupt, match=r"^$"):  # Python's own, which says nothing
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before
