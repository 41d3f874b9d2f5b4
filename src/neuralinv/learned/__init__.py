"""Networks that propose inverses: architectures, training, checkpoints and the packaged models."""

from neuralinv.learned.config import ConfigError, ModelConfig, TrainingConfig
from neuralinv.learned.hub import load, packaged
from neuralinv.learned.network import InverseNetwork

__all__ = ["ConfigError", "InverseNetwork", "ModelConfig", "TrainingConfig", "load", "packaged"]
