"""`gated`: multiplicative gates, a least-squares scale, and unrolled Newton–Schulz steps (the default)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from neuralinv.learned.architectures.layers import Candidates, StackedLinear, flatten_matrices
from neuralinv.learned.architectures.scaling import by_norm
from neuralinv.learned.config import ModelConfig


class GatedBlock(nn.Module):
    """``h + W_o((W_u h) ⊙ (W_v x))`` with the input ``x``: each block raises the degree of the polynomials in ``x`` by
    one.
    """

    def __init__(self, members: int, inputs: int, width: int) -> None:
        super().__init__()
        self.u = StackedLinear(members, width, width)
        self.v = StackedLinear(members, inputs, width)
        self.out = StackedLinear(members, width, width)

    def forward(self, h: Tensor, x: Tensor) -> Tensor:
        """Map features ``(members, batch, width)`` and inputs ``(members, batch, inputs)`` to features."""
        out: Tensor = h + self.out(self.u(h) * self.v(x))
        return out


class Gated(nn.Module):
    """Linear → gated blocks → linear to n² → least-squares scale → k Newton–Schulz steps with learned scalars.

    The inverse is ``adj(A) / det(A)``. Its pole at ``det(A) = 0`` is out of reach for any map with a Lipschitz constant
    (Ji, Wu & Xi 2025, arXiv:2506.00642), but the adjugate is a polynomial of degree n − 1, and n − 2 multiplicative
    gates represent it exactly. So the network learns a direction ``N ∥ adj(A)``, and the scale is computed: ``X = cN``
    with ``c = tr(AN) / ‖AN‖²_F`` minimises ``‖I − AX‖_F`` and supplies pole and sign. There is no normalisation layer,
    which would leave the polynomials.

    ``hidden`` is the width, ``depth`` the number of blocks (n − 2): more blocks than that leave a polynomial factor
    undetermined, which is free to vanish somewhere.
    """

    identity: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        n, members = config.size, config.members
        hidden = config.hidden if config.hidden is not None else default_hidden(n)
        depth = config.depth if config.depth is not None else max(n - 2, 0)
        self.members = members
        self.enter = StackedLinear(members, n * n, hidden)
        self.blocks = nn.ModuleList(GatedBlock(members, n * n, hidden) for _ in range(depth))
        self.leave = StackedLinear(members, hidden, n * n)
        self.register_buffer("identity", torch.eye(n), persistent=False)
        self.step_sizes = nn.Parameter(torch.ones(members, config.newton_schulz_steps, 1, 1))

    def gate_matrices(self) -> list[nn.Parameter]:
        """Return the weights inside the blocks, for the optimiser that trains them best."""
        return [parameter for name, parameter in self.blocks.named_parameters() if name.endswith("weight")]

    def scale(self, A: Tensor) -> Tensor:
        """Scale to ``‖A‖_F = √n``; shape ``(*batch, 1, 1)``."""
        return by_norm(A)

    def forward(self, A: Tensor) -> Candidates:
        """Map scaled matrices ``([members,] batch, n, n)`` to candidate inverses and their directions."""
        n = A.shape[-1]
        x = flatten_matrices(A, self.members)
        h = self.enter(x)
        for block in self.blocks:
            h = block(h, x)
        # Members and matrices as one batch: torch's batched products take three dimensions.
        A, N = x.reshape(-1, n, n), self.leave(h).reshape(-1, n, n)
        if torch.is_autocast_enabled(x.device.type):
            with torch.autocast(x.device.type, enabled=False):  # residuals never in reduced precision
                X = self._scale_and_refine(A, N := N.to(A.dtype))
        else:
            X = self._scale_and_refine(A, N)
        return Candidates(X.reshape(*x.shape[:2], n, n), N.reshape(*x.shape[:2], n, n))

    def _scale_and_refine(self, A: Tensor, N: Tensor) -> Tensor:
        AN = torch.bmm(A, N)
        trace = (AN * self.identity).sum((-2, -1), keepdim=True)
        X = N * (trace / AN.square().sum((-2, -1), keepdim=True))
        # One scalar per member and step; a single member's broadcast.
        step_sizes = (
            self.step_sizes if self.members == 1 else self.step_sizes.repeat_interleave(len(A) // self.members, 0)
        )
        for c in step_sizes.unbind(1):
            X = torch.baddbmm(X, X, c * torch.baddbmm(self.identity, A, X, alpha=-1))
        return X


def default_hidden(size: int) -> int:
    """Return the width that measured best for n×n matrices."""
    return {1: 32, 2: 32, 3: 64}.get(size, 128)
