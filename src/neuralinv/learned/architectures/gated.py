"""`gated`: multiplicative gates, a least-squares scale, and unrolled Newton–Schulz steps (the default)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from neuralinv.learned.architectures.layers import StackedLinear, flatten_matrices
from neuralinv.learned.architectures.scaling import by_norm
from neuralinv.learned.config import ModelConfig


class GatedBlock(nn.Module):
    """``x + W_o((W_u x) ⊙ (W_v x))``: each block doubles the degree of the polynomials it can represent."""

    def __init__(self, members: int, width: int) -> None:
        super().__init__()
        self.up = StackedLinear(members, width, 2 * width)
        self.out = StackedLinear(members, width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Map features ``(members, batch, width)`` to features of that shape."""
        u, v = self.up(x).chunk(2, dim=-1)
        out: Tensor = x + self.out(u * v)
        return out


class Gated(nn.Module):
    """Linear → gated blocks → linear to n² → least-squares scale → k Newton–Schulz steps with learned scalars.

    The inverse is ``adj(A) / det(A)``. No network whose outputs are Lipschitz functions of its inputs can follow the
    pole at ``det(A) = 0``, but the adjugate is a polynomial of degree n − 1, which multiplicative gates represent. So
    the network learns a direction ``N ∥ adj(A)``, and the scale is computed: ``X = cN`` with ``c = ⟨AN, I⟩ / ‖AN‖²_F``
    minimises ``‖I − AX‖_F`` and supplies the pole.

    ``hidden`` is the width, ``depth`` the number of blocks: ⌈log₂(n − 1)⌉ of them reach degree n − 1.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        n, members = config.size, config.members
        hidden = config.hidden if config.hidden is not None else 128
        depth = config.depth if config.depth is not None else max(1, (n - 2).bit_length())
        self.members = members
        self.enter = StackedLinear(members, n * n, hidden)
        self.blocks = nn.Sequential(*(GatedBlock(members, hidden) for _ in range(depth)))
        self.leave = StackedLinear(members, hidden, n * n)
        self.step_sizes = nn.Parameter(torch.ones(members, config.newton_schulz_steps, 1, 1, 1))

    def scale(self, A: Tensor) -> Tensor:
        """Scale to ``‖A‖_F = √n``; shape ``(*batch, 1, 1)``."""
        return by_norm(A)

    def forward(self, A: Tensor) -> Tensor:
        """Map scaled matrices ``([members,] batch, n, n)`` to candidate inverses ``(members, batch, n, n)``."""
        n = A.shape[-1]
        x = self.enter(flatten_matrices(A, self.members))
        N = self.leave(self.blocks(x)).unflatten(-1, (n, n))
        AN = A @ N
        trace = AN.diagonal(dim1=-2, dim2=-1).sum(-1)
        X = N * (trace / AN.square().sum((-2, -1)))[..., None, None]
        for step_size in self.step_sizes.unbind(1):
            # X + c X (I − A X) = (1 + c) X − c X A X.
            X = (1 + step_size) * X - step_size * (X @ (A @ X))
        return X
