"""The networks, one file each, and their registry.

An architecture is a module built from a :class:`~neuralinv.learned.config.ModelConfig`: ``scale(A)`` gives the factor
that brings matrices to the scale it works in, ``forward`` maps scaled matrices to one candidate inverse for each
ensemble member, and ``gate_matrices()`` names the weights that want an optimiser of their own.
"""

from __future__ import annotations

from typing import Protocol

from torch import Tensor, nn

from neuralinv.learned.architectures.gated import Gated
from neuralinv.learned.architectures.layers import Candidates
from neuralinv.learned.architectures.mlp import MLP
from neuralinv.learned.architectures.resnet import ResNet
from neuralinv.learned.config import ConfigError, ModelConfig


class Architecture(Protocol):
    """What every architecture offers."""

    def scale(self, A: Tensor) -> Tensor: ...
    def gate_matrices(self) -> list[nn.Parameter]: ...
    def __call__(self, A: Tensor) -> Candidates: ...


ARCHITECTURES: dict[str, type[nn.Module]] = {"gated": Gated, "mlp": MLP, "resnet": ResNet}


def build(config: ModelConfig) -> nn.Module:
    """Build the network that a configuration describes, with fresh weights from torch's global generator.

    Raises
    ------
    ConfigError
        If the architecture is unknown.
    """
    if config.architecture not in ARCHITECTURES:
        raise ConfigError(f"unknown architecture {config.architecture!r}; known are {', '.join(ARCHITECTURES)}")
    return ARCHITECTURES[config.architecture](config)
