"""The sequential VAE: its bound against dense normal laws, its backends against each other, its data and figure."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.distributions import MultivariateNormal, Normal

from neuralinv.study.lorenz_vae import Outcome, SequentialVAE, Settings, run, simulate, total_steps, train


def observations(steps: int = 60) -> torch.Tensor:
    return torch.as_tensor(simulate(steps).observations)


def test_the_path_follows_the_equations_of_lorenz() -> None:
    path = simulate(4000, interval=1e-3, noise=0.5, seed=3)
    x, y, z = path.states.T
    velocity = np.stack([10 * (y - x), x * (28 - z) - y, x * y - 8 / 3 * z], 1)
    differences = (path.states[2:] - path.states[:-2]) / 2e-3
    np.testing.assert_allclose(differences, velocity[1:-1], rtol=0, atol=1e-2 * np.abs(velocity).max())
    assert (path.observations - path.states).std() == pytest.approx(0.5, rel=0.05)
    np.testing.assert_array_equal(path.observations, simulate(4000, interval=1e-3, noise=0.5, seed=3).observations)
    with pytest.raises(ValueError, match=r"steps=0, interval=0.02, noise=2.0; expected steps ≥ 1"):
        simulate(0)


def test_the_lower_bound_is_that_of_dense_normal_laws() -> None:
    x = observations()[:7]
    torch.manual_seed(0)
    model = SequentialVAE(observations(), latent=2, hidden=8)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    torch.manual_seed(1)
    bound = model.elbo(x)
    assert bound.shape == ()
    torch.manual_seed(1)
    q = model.posterior(x)
    z = q.rsample()

    def precision(raw: torch.Tensor) -> torch.Tensor:
        root = raw.tril(-1) + raw.diagonal().exp().diag()
        return root @ root.T

    A = model.dynamics
    log_prior = MultivariateNormal(torch.zeros(2).double(), precision_matrix=precision(model.initial_root)).log_prob(
        z[0]
    )
    for t in range(6):
        step = MultivariateNormal(A @ z[t], precision_matrix=precision(model.process_root))
        log_prior = log_prior + step.log_prob(z[t + 1])
    deviation = model.log_deviation.exp() * model.scale
    log_likelihood = Normal(model.reconstruct(z), deviation).log_prob(x).sum()
    dense = MultivariateNormal(q.mean.flatten(), precision_matrix=q.precision.to_dense())
    torch.testing.assert_close(bound, (log_likelihood + log_prior + dense.entropy()) / 7)
    # The posterior is the prior times the potentials: log q − log p is quadratic in z with Λ's roots from the encoder.
    seen = (x - model.location) / model.scale
    roots, means = model.encode_root(seen).unflatten(-1, (2, 2)), model.encode_mean(seen)

    def gap(path: torch.Tensor) -> torch.Tensor:
        innovations = path[1:] - path[:-1] @ A.T
        prior = -0.5 * (path[0] @ precision(model.initial_root) @ path[0])
        prior = prior - 0.5 * ((innovations @ precision(model.process_root)) * innovations).sum()
        pulled = (roots.mT @ (path - means)[..., None]).square().sum()
        return q.log_prob(path) - prior + 0.5 * pulled

    torch.testing.assert_close(gap(z), gap(z + torch.randn_like(z)))
    batch = torch.stack([x, x + 1])
    torch.manual_seed(1)
    assert model.elbo(batch).shape == (2,)


def test_backends_train_alike_and_leave_random_state_alone() -> None:
    x = observations(300)
    settings = Settings(steps=12, window=40, path=300, hidden=8, dtype=torch.float64)
    state = torch.random.get_rng_state()
    curves, weights, reports = {}, {}, []
    for method in ("native", "cyclic", "loop"):
        model, history = train(x, settings, method, report=lambda *a: reports.append(a))  # type: ignore[arg-type]
        curves[method], weights[method] = history.elbo, torch.nn.utils.parameters_to_vector(model.parameters())
        assert history.step_seconds > 0
        assert model.posterior(x).precision.method == method
    assert torch.equal(state, torch.random.get_rng_state())
    for method in ("cyclic", "loop"):
        np.testing.assert_allclose(curves[method], curves["native"], rtol=0, atol=1e-8)
        torch.testing.assert_close(weights[method], weights["native"], rtol=0, atol=1e-7)
    assert [step for step, _ in reports] == 3 * list(range(1, 13))
    _, short = train(x, settings, "auto", stop_after=5)
    np.testing.assert_allclose(short.elbo, curves["native"][:5], rtol=0, atol=1e-8)


def test_an_unbounded_bound_is_an_error() -> None:
    x = observations(300)
    x[7] = torch.inf
    with pytest.raises(ValueError, match="broke down at step 1; try a smaller learning rate"):
        train(x, Settings(steps=2, window=300, path=300), "auto")


@pytest.fixture(scope="module")
def outcome() -> Outcome:
    return run(Settings(steps=250, path=2000), compare=4)


def test_reconstructs_a_path_that_it_has_not_seen(outcome: Outcome) -> None:
    assert outcome.error < 0.8 * outcome.unseen.noise  # 0.3 after the full training
    assert outcome.other is not None
    assert len(outcome.other.elbo) == 4
    assert outcome.difference == np.abs(outcome.history.elbo[:4] - outcome.other.elbo).max() < 1e-3
    assert total_steps(outcome.settings, 4) == 254


def test_summary_and_files(outcome: Outcome, tmp_path: Path) -> None:
    text = outcome.summary()
    assert "trained         250 steps of T = 250, n = 3" in text
    assert f"off by {outcome.error:.2f} on a path never seen, observed with noise of 2.00" in text
    assert "ms; loop: " in text
    assert "nats in the first 4 steps" in text
    outcome.save(tmp_path / "new" / "folder")
    assert (tmp_path / "new" / "folder" / "attractor.png").read_bytes().startswith(b"\x89PNG")
    document = json.loads((tmp_path / "new" / "folder" / "run.json").read_text())
    assert document["error"] == outcome.error
    assert document["settings"]["dtype"] == "float32"
    assert {name: len(b["elbo"]) for name, b in document["backends"].items()} == {"auto": 250, "loop": 4}


def test_without_comparison() -> None:
    outcome = run(Settings(steps=2, window=20, path=50, hidden=4), "loop", compare=0)
    assert outcome.other is None
    assert outcome.other_backend == "auto"
    assert outcome.difference == 0
    assert "agreement" not in outcome.summary()
    slower = run(Settings(steps=2, window=20, path=50, hidden=4), "loop", compare=1)
    assert slower.other is not None
    for ratio, text in ((4.0, "4.0 times that"), (0.25, "1/4.0 that"), (1.0, "1.0 times that")):
        other = replace(slower.other, step_seconds=ratio * slower.history.step_seconds)
        assert replace(slower, other=other).summary().splitlines()[2].endswith(f"ms, {text}")


def test_settings_are_checked() -> None:
    with pytest.raises(ValueError, match=r"steps = 0; expected at least 1"):
        Settings(steps=0)
    with pytest.raises(ValueError, match=r"window = 300 exceeds the training path of 200 time steps"):
        Settings(window=300, path=200)
