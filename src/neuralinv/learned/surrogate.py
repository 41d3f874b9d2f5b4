"""A learned stand-in for factor and solves of a block-tridiagonal precision: what it is, and how it is trained.

The two networks of ``architectures/block_tridiagonal.py`` train one after the other on given precisions: the first on
the exact factor, the second, fed by the first, on the solutions of ``F z`` for random ``z``.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from neuralinv.block_tridiagonal import BlockTridiagonal
from neuralinv.learned.architectures.block_tridiagonal import (
    FactorNetwork,
    InverseFactorNetwork,
    diagonal_of_gram,
    multiply,
    multiply_transposed,
)
from neuralinv.learned.optimizers import build_optimizers
from neuralinv.learned.schedules import rate_factor

_PROBES = 2


@dataclass(frozen=True)
class SurrogateConfig:
    """What is trained, and for how long.

    Attributes
    ----------
    body
        One of :data:`neuralinv.learned.architectures.block_tridiagonal.BODIES`.
    n, width, bands
        Block size; width of the hidden layers; block diagonals of the inverse factor.
    seconds
        Training time of both networks together.
    sequences
        In each step of the training.
    learning_rate, seed
        AdamW's, with a cosine schedule; of weights and draws.
    """

    body: str
    n: int
    width: int = 96
    bands: int = 24
    seconds: float = 60.0
    sequences: int = 8
    learning_rate: float = 2e-3
    seed: int = 0


@dataclass(frozen=True)
class Approximation:
    """What a surrogate says about precisions ``M = F Fᵀ``.

    Attributes
    ----------
    L, C
        Blocks of ``F``, approximately.
    G
        Blocks of ``F⁻¹``, approximately: ``(*batch, T, bands, n, n)``.
    """

    L: Tensor
    C: Tensor
    G: Tensor

    def solve(self, b: Tensor) -> Tensor:
        """Return about ``M⁻¹ b``, ``(*batch, T, n)``."""
        return multiply_transposed(self.G, multiply(self.G, b))

    def color(self, noise: Tensor) -> Tensor:
        """Return about ``F⁻ᵀ noise``: a draw with precision ``M`` for standard normal noise ``(*batch, T, n)``."""
        return multiply_transposed(self.G, noise)

    def logdet(self) -> Tensor:
        """Return about ``log det M``, ``(*batch,)``."""
        return 2 * self.L.diagonal(dim1=-2, dim2=-1).log().sum((-2, -1))

    def covariances(self) -> Tensor:
        """Return about the diagonal blocks of ``M⁻¹``, ``(*batch, T, n, n)``."""
        return diagonal_of_gram(self.G)


class Surrogate(nn.Module):
    """The two networks; float32."""

    def __init__(self, config: SurrogateConfig) -> None:
        super().__init__()
        self.config = config
        with torch.random.fork_rng(devices=[]):  # the caller's random state is not ours to change
            torch.manual_seed(config.seed)
            self.factor = FactorNetwork(config.body, config.n, config.width)
            self.inverse = InverseFactorNetwork(config.body, config.n, config.width, config.bands)

    def forward(self, diag: Tensor, lower: Tensor) -> Approximation:
        """Answer for ``diag (batch, T, n, n)`` and ``lower (batch, T − 1, n, n)``."""
        L, C = self.factor(diag, lower)
        return Approximation(L, C, self.inverse(L, C, _roots(diag)))


@dataclass(frozen=True)
class SurrogateTraining:
    """How a training went: steps and seconds of both networks together, and their last losses."""

    steps: int
    seconds: float
    factor_loss: float
    inverse_loss: float


def train_surrogate(
    surrogate: Surrogate, diag: Tensor, lower: Tensor, *, progress: Callable[[float], object] = lambda fraction: None
) -> SurrogateTraining:
    """Train on precisions ``diag (sequences, T, n, n)``, ``lower (sequences, T − 1, n, n)``, float32.

    Half of the time goes to each network. ``progress`` is called with the fraction that is done.

    Raises
    ------
    torch.linalg.LinAlgError
        If a precision is not positive definite.
    """
    config = surrogate.config
    generator = torch.Generator().manual_seed(config.seed)
    exact = BlockTridiagonal(diag, lower).cholesky()
    s = _roots(diag)
    L_true, C_true = exact.diag / s[..., None], exact.lower / s[..., 1:, :, None]

    def factor_loss(chosen: Tensor) -> Tensor:
        L, C = surrogate.factor(diag[chosen], lower[chosen])
        L, C = L / s[chosen][..., None], C / s[chosen][..., 1:, :, None]
        ratio = (L.diagonal(dim1=-2, dim2=-1) / L_true[chosen].diagonal(dim1=-2, dim2=-1)).log()
        squares = (L - L_true[chosen]).square().mean() + (C - C_true[chosen]).square().mean()
        return squares + ratio.square().mean()

    def inverse_loss(chosen: Tensor) -> Tensor:
        with torch.no_grad():
            L, C = surrogate.factor(diag[chosen], lower[chosen])
        G = surrogate.inverse(L, C, s[chosen])
        z = torch.randn(_PROBES, *s[chosen].shape, generator=generator)
        F_z = (exact.diag[chosen] @ z[..., None])[..., 0]
        F_z[..., 1:, :] += (exact.lower[chosen] @ z[..., :-1, :, None])[..., 0]
        return (multiply(G, F_z) - z).square().mean()

    started, steps, last = time.monotonic(), 0, [0.0, 0.0]
    parts: list[tuple[nn.Module, Callable[[Tensor], Tensor]]] = [
        (surrogate.factor, factor_loss),
        (surrogate.inverse, inverse_loss),
    ]
    for half, (network, loss_of) in enumerate(parts):
        (optimizer,) = build_optimizers(network, config.learning_rate, gates=())
        begun = time.monotonic()
        while (fraction := (time.monotonic() - begun) / (config.seconds / 2)) < 1:
            for group in optimizer.param_groups:
                group["lr"] = rate_factor("cosine", fraction) * group["peak_lr"]
            loss = loss_of(torch.randint(len(diag), (config.sequences,), generator=generator))
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            steps, last[half] = steps + 1, loss.item()
            progress((half + fraction) / 2)
    return SurrogateTraining(steps, time.monotonic() - started, *last)


def _roots(diag: Tensor) -> Tensor:
    return diag.diagonal(dim1=-2, dim2=-1).sqrt()
