"""Training the network that gives the coefficients of a parametric inverse, on the residual itself.

The residual on a random sketch is a quadratic function of the coefficients, so that its few numbers for each snapshot
are formed once: training costs the same for matrices of any size.
"""

from __future__ import annotations

import torch
from torch import Tensor

from neuralinv.learned.architectures.coefficients import CoefficientNetwork

_ITERATIONS = 400
_POWER = 4  # of the mean that stands for the largest residual
_SPREAD = 2.0  # of the first layer's weights: with it, the hidden units bend inside the range


def train_coefficients(
    unit: Tensor, targets: Tensor, equations: tuple[Tensor, Tensor], size: float, *, seed: int
) -> CoefficientNetwork:
    """Return a network from positions to coefficients.

    It starts from random hidden layers and the readout that fits the targets best, and is trained by L-BFGS on a power
    mean of ``‖(I − A Σ c_r B_r) Θ‖_F``.

    Parameters
    ----------
    unit, targets
        Positions of the snapshots on [−1, 1], ``(batch, p)``; coefficients of their inverses, ``(batch, r)``.
    equations, size
        From :func:`~neuralinv.learned.architectures.coefficients.normal_equations`; ``‖Θ‖_F²``.
    seed
        Of the hidden layers.
    """
    squares, products = equations
    network = CoefficientNetwork(unit.shape[1], targets.shape[1])
    _start(network, unit, targets, seed)
    scale = targets.square().mean(0).sqrt().clamp(min=1e-300)
    # The optimiser sees coefficients of one size.
    network.outer.weight.div_(scale[:, None])
    network.outer.bias.div_(scale)
    squares, products = squares * scale[:, None] * scale, products * scale
    before = [parameter.clone() for parameter in network.parameters()]
    optimizer = torch.optim.LBFGS(
        network.parameters(),
        max_iter=_ITERATIONS,
        history_size=50,
        tolerance_grad=0,
        tolerance_change=0,
        line_search_fn="strong_wolfe",
    )

    def loss() -> Tensor:
        optimizer.zero_grad()
        c = network(unit)
        residual = (torch.bmm(squares, c[..., None]).squeeze(-1) * c - 2 * products * c).sum(1) + size
        value = (residual.clamp(min=1e-24).log() * (_POWER / 2)).logsumexp(0) / _POWER
        value.backward()
        return value

    network.requires_grad_(True)
    with torch.enable_grad():
        start = float(loss().detach())
        optimizer.step(loss)
        end = float(loss().detach())
    network.requires_grad_(False)
    if not end <= start:
        for parameter, value in zip(network.parameters(), before, strict=True):
            parameter.copy_(value)
    network.outer.weight.mul_(scale[:, None])
    network.outer.bias.mul_(scale)
    return network


def _start(network: CoefficientNetwork, unit: Tensor, targets: Tensor, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for parameter in network.inner.parameters():
        fan = parameter.shape[1] if parameter.ndim > 1 else 1
        parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype) * (_SPREAD / fan**0.5))
    hidden = torch.cat([network.inner(unit), torch.ones(len(unit), 1, dtype=unit.dtype)], 1)
    solution = torch.linalg.lstsq(hidden, targets, driver="gelsd").solution
    network.outer.weight.copy_(solution[:-1].mT)
    network.outer.bias.copy_(solution[-1])
