"""Networks that stand in for the recursions of a block-tridiagonal Cholesky factor, and for solves with it.

A network sees a sequence of features and answers for all time steps at once. Three bodies share two heads:

- ``mlp``: dense layers over a window of the last time steps, each step by itself;
- ``convolution``: causal convolutions with dilations 1, 2, 4, 8, which see 30 steps back;
- ``recurrent``: a gated recurrent unit over time.

**Exact symmetries are not learned.** With ``s`` the roots of the diagonal of ``M``, ``M = diag(s) M' diag(s)`` has the
factor ``F = diag(s) F'``: networks see ``M'``, whose diagonal is 1, and answer with ``F'``, whose diagonal lies in
(0, 1] and is given by a logistic function. A solution is linear in the right-hand side: the second network answers with
the blocks of a banded ``G ≈ F⁻¹``, so that ``y = G b`` and ``x = Gᵀ y``, and ``GᵀG`` is positive semidefinite whatever
it learned.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from neuralinv.learned.config import ConfigError

BODIES = ("mlp", "convolution", "recurrent")
_KERNEL = 3
_DILATIONS = (1, 2, 4, 8)


class WindowMLP(nn.Module):
    """Dense layers with SiLU over the features of the last ``window`` steps."""

    def __init__(self, inputs: int, outputs: int, width: int, window: int = 24) -> None:
        super().__init__()
        self.window = window
        layers: list[nn.Module] = []
        for before, after in pairwise((inputs * window, width, width, width)):
            layers += [nn.Linear(before, after), nn.SiLU()]
        self.layers = nn.Sequential(*layers, _last(nn.Linear(width, outputs)))

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(batch, T, inputs)`` to ``(batch, T, outputs)``."""
        windows = pad(x, (0, 0, self.window - 1, 0)).unfold(-2, self.window, 1)  # (batch, T, inputs, window)
        out: Tensor = self.layers(windows.flatten(-2))
        return out


class TemporalConvolution(nn.Module):
    """Causal residual convolutions over time; ``width`` channels."""

    def __init__(self, inputs: int, outputs: int, width: int) -> None:
        super().__init__()
        self.enter = nn.Linear(inputs, width)
        self.convolutions = nn.ModuleList(nn.Conv1d(width, width, _KERNEL, dilation=d) for d in _DILATIONS)
        self.mix = nn.ModuleList(nn.Linear(width, width) for _ in _DILATIONS)
        self.leave = _last(nn.Linear(width, outputs))

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(batch, T, inputs)`` to ``(batch, T, outputs)``."""
        h = self.enter(x)
        for dilation, convolution, mix in zip(_DILATIONS, self.convolutions, self.mix, strict=True):
            past = pad(h.mT, ((_KERNEL - 1) * dilation, 0))
            h = h + mix(nn.functional.silu(convolution(past)).mT)
        out: Tensor = self.leave(nn.functional.silu(h))
        return out


class RecurrentNetwork(nn.Module):
    """A gated recurrent unit of ``width`` states, and a linear map beside it that skips it."""

    def __init__(self, inputs: int, outputs: int, width: int) -> None:
        super().__init__()
        self.recurrence = nn.GRU(inputs, width, batch_first=True)
        self.mix = nn.Linear(width + inputs, width)
        self.leave = _last(nn.Linear(width, outputs))

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(batch, T, inputs)`` to ``(batch, T, outputs)``."""
        h, _ = self.recurrence(x)
        out: Tensor = self.leave(nn.functional.silu(self.mix(torch.cat([h, x], -1))))
        return out


class FactorNetwork(nn.Module):
    """From ``diag (batch, T, n, n)`` and ``lower (batch, T − 1, n, n)`` to about the factor's ``L`` and ``C``."""

    def __init__(self, body: str, n: int, width: int) -> None:
        super().__init__()
        self.n = n
        self.rows, self.columns = torch.tril_indices(n, n, -1).tolist()
        triangle = len(self.rows)
        self.body = _body(body, triangle + 2 * n * n, n + triangle + n * n, width)

    def forward(self, diag: Tensor, lower: Tensor) -> tuple[Tensor, Tensor]:
        """Return ``L``, lower triangular with a positive diagonal, and ``C``, shaped like the input."""
        n, triangle = self.n, len(self.rows)
        s = diag.diagonal(dim1=-2, dim2=-1).sqrt()  # (batch, T, n)
        off = (diag / (s[..., :, None] * s[..., None, :]))[..., self.rows, self.columns]
        below = lower / (s[..., 1:, :, None] * s[..., :-1, None, :])
        flat = below.flatten(-2)
        out = self.body(torch.cat([off, pad(flat, (0, 0, 1, 0)), pad(flat, (0, 0, 0, 1))], -1))
        # Corrections of the blocks of M', and of a diagonal just below 1.
        diagonal = torch.sigmoid(2 + out[..., :n])
        L = torch.diag_embed(diagonal)
        L[..., self.rows, self.columns] = off + out[..., n : n + triangle]
        C = below + out[..., :-1, n + triangle :].unflatten(-1, (n, n))
        return L * s[..., None], C * s[..., 1:, :, None]


class InverseFactorNetwork(nn.Module):
    """From ``L (batch, T, n, n)`` and ``C (batch, T − 1, n, n)`` to the blocks of a banded ``G ≈ F⁻¹``.

    ``bands`` is how many block diagonals ``G`` has. The inverse of a factor has all of them; where the posterior of a
    step depends little on observations far away, their blocks decay.
    """

    def __init__(self, body: str, n: int, width: int, bands: int) -> None:
        super().__init__()
        self.n, self.bands = n, bands
        self.rows, self.columns = torch.tril_indices(n, n, -1).tolist()
        self.body = _body(body, n + len(self.rows) + n * n, bands * n * n, width)

    def forward(self, L: Tensor, C: Tensor, s: Tensor) -> Tensor:
        """Return ``G (batch, T, bands, n, n)``: ``G[:, t, k]`` is block (t, t − k).

        ``s (batch, T, n)`` are the roots of the diagonal of ``M``.
        """
        n = self.n
        L, C = L / s[..., None], C / s[..., 1:, :, None]
        features = [L.diagonal(dim1=-2, dim2=-1), L[..., self.rows, self.columns], pad(C.flatten(-2), (0, 0, 1, 0))]
        out = self.body(torch.cat(features, -1)).unflatten(-1, (self.bands, n, n))
        first = torch.diag_embed(1 / L.diagonal(dim1=-2, dim2=-1)) + out[..., 0, :, :].tril()
        G = torch.cat([first.unsqueeze(-3), out[..., 1:, :, :]], -3)
        # F⁻¹ = F'⁻¹ diag(s)⁻¹: column t − k is divided by s[t − k]; there are no columns before the first.
        t = torch.arange(L.shape[-3], device=L.device)[:, None] - torch.arange(self.bands, device=L.device)
        return G * torch.where((t >= 0)[..., None], 1 / s[..., t.clamp(min=0), :], 0)[..., None, :]


def multiply(G: Tensor, b: Tensor) -> Tensor:
    """Return ``G b`` for ``G (*batch, T, bands, n, n)`` and ``b (*batch, T, n)``."""
    windows = pad(b, (0, 0, G.shape[-3] - 1, 0)).unfold(-2, G.shape[-3], 1).flip(-1)  # (*batch, T, n, bands)
    return torch.einsum("...tkij,...tjk->...ti", G, windows)


def multiply_transposed(G: Tensor, y: Tensor) -> Tensor:
    """Return ``Gᵀ y`` for ``y (*batch, T, n)``: block (t, t − k) of ``G`` sends ``y_t`` to step t − k."""
    steps, bands = G.shape[-4], G.shape[-3]
    sent = torch.einsum("...tkij,...ti->...ktj", G, y)
    return torch.stack([pad(sent[..., k, k:, :], (0, 0, 0, min(k, steps))) for k in range(bands)]).sum(0)


def diagonal_of_gram(G: Tensor) -> Tensor:
    """Return the diagonal blocks ``(*batch, T, n, n)`` of ``GᵀG``: approximate covariances."""
    steps, bands = G.shape[-4], G.shape[-3]
    squares = G.mT @ G
    parts = [pad(squares[..., k:, k, :, :], (0, 0, 0, 0, 0, min(k, steps))) for k in range(bands)]
    return torch.stack(parts).sum(0)


def _body(name: str, inputs: int, outputs: int, width: int) -> nn.Module:
    kinds = {"mlp": WindowMLP, "convolution": TemporalConvolution, "recurrent": RecurrentNetwork}
    if name not in kinds:
        raise ConfigError(f"unknown body {name!r}; known are {', '.join(kinds)}")
    module: nn.Module = kinds[name](inputs, outputs, width)
    return module


def _last(layer: nn.Linear) -> nn.Linear:
    """Start small: the first answers are those of a matrix without neighbours."""
    nn.init.normal_(layer.weight, std=1e-3)
    nn.init.zeros_(layer.bias)
    return layer
