"""`resnet`: the dense residual network published with DeepMatrixInversion, kept as the baseline to beat."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from neuralinv.learned.architectures.layers import RELU_GAIN, Candidates, StackedLinear, flatten_matrices
from neuralinv.learned.architectures.scaling import ScaledByRange
from neuralinv.learned.config import ModelConfig

_LAYERS_PER_BLOCK = 4


class ResidualBlock(nn.Module):
    """Four dense ReLU layers, each fed with all features so far, then a map back that starts at zero."""

    def __init__(self, members: int, width: int) -> None:
        super().__init__()
        growth = 2 * width
        self.layers = nn.ModuleList(
            StackedLinear(members, width + i * growth, growth, gain=RELU_GAIN) for i in range(_LAYERS_PER_BLOCK)
        )
        self.back = StackedLinear(members, width + _LAYERS_PER_BLOCK * growth, width, gain=0.0)

    def forward(self, x: Tensor) -> Tensor:
        """Map features ``(members, batch, width)`` to features of that shape."""
        features = x
        for layer in self.layers:
            features = torch.cat([features, torch.relu(layer(features))], dim=-1)
        out: Tensor = x + self.back(features)
        return out


class ResNet(ScaledByRange):
    """n² → 128 with ReLU → 7 residual blocks of four concatenated dense layers of 256 → n².

    ``hidden`` (128) is the width between blocks, twice that the width within; ``depth`` (7) the number of blocks.
    Inputs and outputs are scaled by the element range.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        hidden = config.hidden if config.hidden is not None else 128
        depth = config.depth if config.depth is not None else 7
        self.enter = StackedLinear(self.members, config.size**2, hidden, gain=RELU_GAIN)
        self.blocks = nn.Sequential(*(ResidualBlock(self.members, hidden) for _ in range(depth)))
        self.leave = StackedLinear(self.members, hidden, config.size**2)

    def forward(self, A: Tensor) -> Candidates:
        """Map scaled matrices ``([members,] batch, n, n)`` to candidate inverses."""
        n = A.shape[-1]
        x = torch.relu(self.enter(flatten_matrices(A, self.members)))
        X: Tensor = self.leave(self.blocks(x)).unflatten(-1, (n, n))
        return Candidates(X, X)
