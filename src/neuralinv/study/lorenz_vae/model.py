"""A variational auto-encoder for sequences whose posterior over the latent path is a Gaussian Markov chain.

Archer, Park, Buesing, Cunningham & Paninski 2015, arXiv:1511.07367, with a prior that model and recognition share::

    z_0 ~ N(0, Q_0),   z_{t+1} ~ N(A z_t, Q),   x_t ~ N(f(z_t), diag(exp 2s))
    q(z | x) ∝ p(z) ∏_t exp(−½ zᵀ Λ(x_t) z + (Λ(x_t) μ(x_t))ᵀ z)

``f``, ``μ`` and a root of ``Λ`` are small networks.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from neuralinv.block_tridiagonal import GaussianMarkovChain, smoother
from neuralinv.block_tridiagonal.dispatch import Method

_LOG_2PI = math.log(2 * math.pi)


class SequentialVAE(nn.Module):
    """The model and its recognition model.

    Parameters
    ----------
    observations
        The training path, shape ``(steps, d)``: its mean and deviation scale what the networks see.
    latent
        Dimension n of the latent path.
    hidden
        Width of the networks, which have two hidden layers.
    method
        Who factors and solves: as for :class:`neuralinv.BlockTridiagonal`.
    """

    location: Tensor
    scale: Tensor

    def __init__(self, observations: Tensor, latent: int = 3, hidden: int = 64, method: Method = "auto") -> None:
        super().__init__()
        d = observations.shape[-1]
        self.latent, self.method = latent, method
        self.register_buffer("location", observations.mean(0))
        self.register_buffer("scale", observations.std(0))
        self.encode_mean = _network(d, hidden, latent)
        self.encode_root = _network(d, hidden, latent**2)
        self.decode = _network(latent, hidden, d)
        self.dynamics = nn.Parameter(torch.eye(latent))
        self.process_root = nn.Parameter(torch.eye(latent))  # of the precision; its diagonal is a logarithm
        self.initial_root = nn.Parameter(torch.zeros(latent, latent))
        self.log_deviation = nn.Parameter(torch.full((d,), -1.0))
        self.to(observations)

    def posterior(self, x: Tensor) -> GaussianMarkovChain:
        """Return ``q(z | x)`` for observations ``x (*batch, T, d)``."""
        return self._posterior(self._scaled(x), _root(self.process_root), _root(self.initial_root))

    def reconstruct(self, z: Tensor) -> Tensor:
        """Return the expected observations ``(*batch, T, d)`` of a latent path ``(*batch, T, n)``."""
        return self.decode(z) * self.scale + self.location

    def elbo(self, x: Tensor) -> Tensor:
        """Estimate, from one sample, the evidence lower bound of ``x (*batch, T, d)`` in nats per time step.

        ``E_q[log p(x | z) + log p(z)] + H(q)``, shape ``(*batch,)``. One factorisation serves mean, sample and entropy.
        """
        seen = self._scaled(x)
        process, initial = _root(self.process_root), _root(self.initial_root)
        q = self._posterior(seen, process, initial)
        z = q.rsample()
        steps, d = x.shape[-2:]
        misfit = (seen - self.decode(z)) * torch.exp(-self.log_deviation)
        first = z[..., :1, :] @ initial
        innovations = (z[..., 1:, :] - z[..., :-1, :] @ self.dynamics.mT) @ process
        squares = sum(r.square().sum((-2, -1)) for r in (misfit, first, innovations))
        logarithms = (
            self.initial_root.diagonal().sum()
            + (steps - 1) * self.process_root.diagonal().sum()
            - steps * (self.log_deviation.sum() + self.scale.log().sum() + 0.5 * (d + self.latent) * _LOG_2PI)
        )
        return (logarithms - 0.5 * squares + q.entropy()) / steps

    def _scaled(self, x: Tensor) -> Tensor:
        return (x - self.location) / self.scale

    def _posterior(self, seen: Tensor, process: Tensor, initial: Tensor) -> GaussianMarkovChain:
        root = self.encode_root(seen).unflatten(-1, (self.latent, self.latent))
        precision = root @ root.mT
        information = (precision @ self.encode_mean(seen)[..., None])[..., 0]
        return smoother(
            self.dynamics,
            process @ process.mT,
            initial @ initial.mT,
            precision,
            information,
            method=self.method,
            validate_args=False,
        )


def _network(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(inputs, hidden), nn.Tanh(), nn.Linear(hidden, hidden), nn.Tanh(), nn.Linear(hidden, outputs)
    )


def _root(raw: Tensor) -> Tensor:
    """Return a lower triangular matrix with the exponentials of ``raw``'s diagonal on its own."""
    return raw.tril(-1) + torch.diag(raw.diagonal().exp())
