"""What proposes inverses: networks, and iterations made for a spectrum; training, checkpoints and the packaged
models.
"""

from neuralinv.learned.architectures.family_inverse import FamilyInverse
from neuralinv.learned.architectures.parametric import ParametricInverse
from neuralinv.learned.architectures.partitioned import PartitionedInverse
from neuralinv.learned.architectures.schulz import SchulzIteration, schulz
from neuralinv.learned.config import ConfigError, ModelConfig, TrainingConfig
from neuralinv.learned.hub import load, packaged
from neuralinv.learned.network import InverseNetwork
from neuralinv.learned.parametric_checkpoint import load_parametric, save_parametric
from neuralinv.learned.parametric_fit import fit_parametric
from neuralinv.learned.roots import RootResult, inv_pth_root, inv_sqrt
from neuralinv.learned.spectral_training import train_schulz

__all__ = [
    "ConfigError",
    "FamilyInverse",
    "InverseNetwork",
    "ModelConfig",
    "ParametricInverse",
    "PartitionedInverse",
    "RootResult",
    "SchulzIteration",
    "TrainingConfig",
    "fit_parametric",
    "inv_pth_root",
    "inv_sqrt",
    "load",
    "load_parametric",
    "packaged",
    "save_parametric",
    "schulz",
    "train_schulz",
]
