"""The optimisers of a training: AdamW, and Muon for the matrices inside multiplicative gates."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

_MUON_RATE = 10.0
"""Muon's learning rate in units of AdamW's."""


class Muon(torch.optim.Optimizer):
    """Momentum whose update is orthogonalised: all singular values of a step are brought near 1.

    It takes gates out of the plateau on which they ignore higher-order terms: with AdamW alone, networks for 4×4
    matrices stay at linear approximations. Parameters have shape ``(members, rows, columns)``; ``torch.optim.Muon``
    takes two dimensions only.

    Reference: K. Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks"; the quintic iteration
    and its coefficients are theirs.
    """

    def __init__(self, params: Iterable[nn.Parameter], lr: float, momentum: float = 0.95) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Take one step; ``closure`` is not supported."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                if "momentum" not in state:
                    state["momentum"] = torch.zeros_like(parameter)
                momentum = state["momentum"].lerp_(parameter.grad, 1 - group["momentum"])
                update = _orthogonalise(parameter.grad.lerp(momentum, group["momentum"]))  # Nesterov
                rows, columns = parameter.shape[-2:]
                parameter.add_(update, alpha=-group["lr"] * max(1.0, columns / rows) ** 0.5)


def build_optimizers(
    network: nn.Module, learning_rate: float, *, gates: Iterable[nn.Parameter]
) -> list[torch.optim.Optimizer]:
    """Give Muon the ``gates``, AdamW all other parameters of ``network``; each group remembers its ``peak_lr``."""
    gates = list(gates)
    chosen = {id(parameter) for parameter in gates}
    others = [parameter for parameter in network.parameters() if id(parameter) not in chosen]
    adamw = torch.optim.AdamW(others, lr=learning_rate, weight_decay=0.0, betas=(0.9, 0.99), fused=True)
    optimizers: list[torch.optim.Optimizer] = [adamw]
    if gates:
        optimizers.append(Muon(gates, lr=_MUON_RATE * learning_rate))
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["peak_lr"] = group["lr"]
    return optimizers


def _orthogonalise(G: Tensor) -> Tensor:
    """Bring the singular values of ``(members, rows, columns)`` into about [0.7, 1.2] by five quintic Newton–Schulz
    steps.
    """
    tall = G.shape[-2] > G.shape[-1]
    X = G.mT if tall else G
    X = X / (torch.linalg.matrix_norm(X, keepdim=True) + torch.finfo(X.dtype).tiny)
    for _ in range(5):
        S = torch.bmm(X, X.mT)
        X = 3.4445 * X + torch.bmm(torch.baddbmm(S, S, S, beta=-4.7750, alpha=2.0315), X)
    return X.mT if tall else X
