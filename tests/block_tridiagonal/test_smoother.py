"""The smoother against the filter of Kalman and the smoother of Rauch, Tung & Striebel, in covariance form."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor
from torch.distributions import MultivariateNormal

import neuralinv as ni

METHODS = ["native", "cyclic", "loop"]


@dataclass
class Model:
    """A state-space model that varies over time, seen through ``y_t = C_t z_t + noise of covariance R_t``."""

    A: Tensor  # (T − 1, n, n)
    Q: Tensor  # (T − 1, n, n)
    Q0: Tensor  # (n, n)
    m0: Tensor  # (n,)
    C: Tensor  # (T, m, n)
    R: Tensor  # (T, m, m)
    y: Tensor  # (T, m)
    seen: Tensor  # (T,) of booleans

    def potentials(self) -> tuple[Tensor, Tensor]:
        gain = torch.linalg.solve(self.R, self.C).mT * self.seen[:, None, None]  # Cᵀ R⁻¹
        return gain @ self.C, (gain @ self.y[..., None])[..., 0]


def covariance(generator: torch.Generator, *shape: int) -> Tensor:
    root = torch.randn(*shape, shape[-1], generator=generator, dtype=torch.float64)
    return root @ root.mT / shape[-1] + 0.3 * torch.eye(shape[-1], dtype=torch.float64)


def model(steps: int, n: int, m: int = 2, seed: int = 0) -> Model:
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    seen = torch.rand(steps, generator=generator) > 0.3
    return Model(
        0.7 * normal(steps - 1, n, n), covariance(generator, steps - 1, n), covariance(generator, n), normal(n),
        normal(steps, m, n), covariance(generator, steps, m), normal(steps, m), seen,
    )  # fmt: skip


def kalman_rts(s: Model) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return smoothed means, covariances, covariances of z_{t+1} with z_t, and the log-likelihood.

    Särkkä, Bayesian Filtering and Smoothing, Cambridge 2013, theorems 4.2 and 8.2; the lag-one covariance is
    P_{t+1|T} G_tᵀ.
    """
    steps = len(s.C)
    mean, P = s.m0, s.Q0
    filtered, predicted = [], []
    log_likelihood = torch.zeros((), dtype=torch.float64)
    for t in range(steps):
        if t > 0:
            A = s.A[t - 1]
            mean, P = A @ mean, A @ P @ A.mT + s.Q[t - 1]
        predicted.append((mean, P))
        if s.seen[t]:
            C = s.C[t]
            S = C @ P @ C.mT + s.R[t]
            K = P @ C.mT @ torch.linalg.inv(S)
            log_likelihood = log_likelihood + MultivariateNormal(C @ mean, S).log_prob(s.y[t])
            mean, P = mean + K @ (s.y[t] - C @ mean), P - K @ S @ K.mT
        filtered.append((mean, P))
    means, covariances, cross = [mean], [P], []
    for t in reversed(range(steps - 1)):
        m_f, P_f = filtered[t]
        m_p, P_p = predicted[t + 1]
        G = P_f @ s.A[t].mT @ torch.linalg.inv(P_p)
        cross.insert(0, P @ G.mT)
        mean, P = m_f + G @ (mean - m_p), P_f + G @ (P - P_p) @ G.mT
        means.insert(0, mean)
        covariances.insert(0, P)
    n = len(s.m0)
    return torch.stack(means), torch.stack(covariances), torch.stack(cross) if cross else torch.zeros(0, n, n), log_likelihood  # fmt: skip  # noqa: E501


def posterior(s: Model, method: str = "auto") -> ni.GaussianMarkovChain:
    return ni.smoother(
        s.A, torch.linalg.inv(s.Q), torch.linalg.inv(s.Q0), *s.potentials(), initial_mean=s.m0, method=method
    )


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("steps", "n"), [(1, 2), (2, 1), (7, 3), (12, 4), (200, 3)])
def test_kalman_and_rauch_tung_striebel(steps: int, n: int, method: str) -> None:
    s = model(steps, n)
    if steps > 2:
        assert 0 < int(s.seen.sum()) < steps  # some are missing
    q = posterior(s, method)
    means, covariances, cross, _ = kalman_rts(s)
    torch.testing.assert_close(q.mean, means)
    torch.testing.assert_close(q.marginal_covariances, covariances)
    torch.testing.assert_close(q.lag_one_covariances, cross.to(torch.float64))


def test_the_likelihood_follows_from_prior_and_posterior() -> None:
    # p(y) = p(y | z) p(z) / p(z | y), at any z.
    s = model(9, 3)
    q = posterior(s)
    silent = torch.zeros(9, 3, 3, dtype=torch.float64), torch.zeros(9, 3, dtype=torch.float64)
    prior = ni.smoother(s.A, torch.linalg.inv(s.Q), torch.linalg.inv(s.Q0), *silent, initial_mean=s.m0)
    z = q.mean
    emission = MultivariateNormal((s.C @ z[..., None])[..., 0], s.R).log_prob(s.y)[s.seen].sum()
    torch.testing.assert_close(prior.log_prob(z) + emission - q.log_prob(z), kalman_rts(s)[3])


def test_without_observations_the_prior_comes_back() -> None:
    s = model(6, 2)
    s.seen[:] = False
    q = posterior(s)
    mean = [s.m0]
    for A in s.A:
        mean.append(A @ mean[-1])
    torch.testing.assert_close(q.mean, torch.stack(mean))
    torch.testing.assert_close(q.marginal_covariances[0], s.Q0)


def test_constant_matrices() -> None:
    s = model(6, 3)
    A, Q, R = s.A[0], s.Q[0], s.R[0]
    Lambda, information = torch.linalg.inv(R)[0, 0] * torch.eye(3, dtype=torch.float64), torch.randn(4, 6, 3, dtype=torch.float64)  # fmt: skip  # noqa: E501
    Qi, Q0i = torch.linalg.inv(Q), torch.linalg.inv(s.Q0)
    q = ni.smoother(A, Qi, Q0i, Lambda, information)
    assert q.batch_shape == (4,)
    assert q.precision.shape == (18, 18)  # one factor for all sequences
    full = ni.smoother(A.expand(4, 5, 3, 3), Qi.expand(4, 5, 3, 3), Q0i.expand(4, 3, 3), Lambda.expand(4, 6, 3, 3),
                       information, initial_mean=torch.zeros(4, 3, dtype=torch.float64))  # fmt: skip
    torch.testing.assert_close(q.mean, full.mean)
    torch.testing.assert_close(q.marginal_covariances, full.marginal_covariances)


@pytest.mark.parametrize("varying", range(5))
def test_any_argument_may_be_a_batch(varying: int) -> None:
    s = model(5, 2)
    arguments = [s.A, torch.linalg.inv(s.Q), torch.linalg.inv(s.Q0), *s.potentials()]
    twice = list(arguments)
    twice[varying] = torch.stack([arguments[varying], 1.5 * arguments[varying]])
    q = ni.smoother(*twice, initial_mean=s.m0)
    assert q.batch_shape == (2,)
    arguments[varying] = 1.5 * arguments[varying]
    alone = ni.smoother(*arguments, initial_mean=s.m0)
    torch.testing.assert_close(q.mean[1], alone.mean)
    torch.testing.assert_close(q.lag_one_covariances[1], alone.lag_one_covariances)


@pytest.mark.parametrize("method", METHODS)
def test_gradients(method: str) -> None:
    s = model(4, 2)
    Lambda, information = s.potentials()

    def everything(A: Tensor, root: Tensor, root0: Tensor, Lambda: Tensor, information: Tensor, m0: Tensor):
        q = ni.smoother(
            A, root @ root.mT, root0 @ root0.mT, Lambda + Lambda.mT, information, initial_mean=m0, method=method
        )
        torch.manual_seed(0)
        return q.rsample(), q.mean, q.entropy(), q.variance, q.lag_one_covariances

    arguments = (s.A[0], s.Q[0], s.Q0, Lambda, information, s.m0)
    assert torch.autograd.gradcheck(everything, tuple(x.clone().requires_grad_() for x in arguments))


def test_what_does_not_fit_is_explained() -> None:
    s = model(5, 2)
    A, Qi, Q0i, (Lambda, h) = s.A, torch.linalg.inv(s.Q), torch.linalg.inv(s.Q0), s.potentials()
    with pytest.raises(ValueError, match=r"observation_information has shape \(2,\); expected \(\*batch, T, n\)"):
        ni.smoother(A, Qi, Q0i, Lambda, h[0])
    with pytest.raises(ValueError, match=r"dynamics has shape \(3, 2, 2\); expected \(2, 2\) or \(\*batch, 4, 2, 2\)"):
        ni.smoother(A[:3], Qi, Q0i, Lambda, h)
    with pytest.raises(ValueError, match=r"process_precision has shape \(2, 1\)"):
        ni.smoother(A, Qi[0, :, :1], Q0i, Lambda, h)
    with pytest.raises(ValueError, match=r"initial_precision has shape \(2, 1\); expected \(\*batch, 2, 2\)"):
        ni.smoother(A, Qi, Q0i[:, :1], Lambda, h)
    with pytest.raises(ValueError, match=r"observation_precision has shape \(4, 2, 2\)"):
        ni.smoother(A, Qi, Q0i, Lambda[:4], h)
    with pytest.raises(ValueError, match=r"initial_mean has shape \(3,\); expected \(\*batch, 2\)"):
        ni.smoother(A, Qi, Q0i, Lambda, h, initial_mean=torch.zeros(3, dtype=torch.float64))
    with pytest.raises(TypeError, match=r"dynamics is torch\.float32 and observation_information torch\.float64"):
        ni.smoother(A.float(), Qi, Q0i, Lambda, h)
    with pytest.raises(TypeError, match="initial_precision is a ndarray; expected a torch tensor"):
        ni.smoother(A, Qi, Q0i.numpy(), Lambda, h)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="observation_information is a ndarray; expected a torch tensor"):
        ni.smoother(A, Qi, Q0i, Lambda, h.numpy())  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="batch shapes of the arguments do not broadcast"):
        ni.smoother(A.expand(3, 4, 2, 2), Qi, Q0i.expand(2, 2, 2), Lambda, h)
    with pytest.raises(torch.linalg.LinAlgError, match="not positive definite"):
        ni.smoother(A, Qi, Q0i, -9 * torch.eye(2, dtype=torch.float64), h).entropy()


def test_under_autocast() -> None:
    s = model(5, 2)
    arguments = [x.float() for x in (s.A, torch.linalg.inv(s.Q), torch.linalg.inv(s.Q0), *s.potentials(), s.m0)]

    def results() -> list[Tensor]:
        q = ni.smoother(*arguments[:-1], initial_mean=arguments[-1])
        return [q.precision.diag, q.precision.lower, q.information, q.mean]

    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = results()
    for ours, theirs in zip(inside, results(), strict=True):
        assert ours.dtype == torch.float32
        assert torch.equal(ours, theirs)
