"""`mlp`: plain dense layers, the simplest baseline."""

from __future__ import annotations

from itertools import pairwise
from typing import cast

from torch import Tensor, nn

from neuralinv.learned.architectures.layers import RELU_GAIN, Candidates, StackedLinear, flatten_matrices
from neuralinv.learned.architectures.scaling import ScaledByRange
from neuralinv.learned.config import ModelConfig


class MLP(ScaledByRange):
    """Dense layers with ReLU: n² → hidden → … → hidden → n², by default 128 wide and 4 deep."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        hidden = config.hidden if config.hidden is not None else 128
        depth = config.depth if config.depth is not None else 4
        widths = [config.size**2, *[hidden] * depth]
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise(widths):
            layers += [StackedLinear(self.members, inputs, outputs, gain=RELU_GAIN), nn.ReLU()]
        self.layers = nn.Sequential(*layers, StackedLinear(self.members, widths[-1], config.size**2))

    def forward(self, A: Tensor) -> Candidates:
        """Map scaled matrices ``([members,] batch, n, n)`` to candidate inverses."""
        n = A.shape[-1]
        X = cast(Tensor, self.layers(flatten_matrices(A, self.members))).unflatten(-1, (n, n))
        return Candidates(X, X)
