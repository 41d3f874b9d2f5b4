"""A network on disk: a folder with `config.toml` and one safetensors file for each ensemble member.

Folders come from anywhere, so nothing in them is trusted: there is no pickle, sizes are checked against the
configuration before anything is allocated, and the configuration itself is bounded.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from neuralinv.io import FileError, atomic_path
from neuralinv.io.untrusted import read_toml
from neuralinv.learned.config import ConfigError, ModelConfig, TrainingConfig
from neuralinv.learned.devices import usable_device
from neuralinv.learned.network import InverseNetwork

CONFIG_FILE = "config.toml"
STATE_FILE = "resume.ckpt"
_LARGEST_CONFIG = 1 << 16
_FLOATS = {"F16", "BF16", "F32", "F64"}


def save_network(
    network: InverseNetwork,
    folder: Path,
    *,
    training: TrainingConfig | None = None,
    measured: Mapping[str, float | int | str] | None = None,
) -> None:
    """Write a network's configuration and weights into ``folder``; each file appears whole or not at all.

    Parameters
    ----------
    network
        What to save.
    folder
        Created if need be.
    training, measured
        How it was trained and how it did, recorded in ``config.toml`` for people to read.

    Raises
    ------
    FileError
        If the folder cannot be written.
    """
    import tomli_w  # by who writes alone: whoever inverts or reads can do without it

    weights = {name: value.detach().cpu() for name, value in network.state_dict().items()}
    for member in range(network.config.members):
        with atomic_path(_member_file(folder, member)) as temporary:
            temporary.write_bytes(save({name: value[member].contiguous() for name, value in weights.items()}))
    table: dict[str, Any] = {"model": network.config.to_table()}
    if training is not None:
        table["training"] = training.to_table()
    if measured is not None:
        table["measured"] = dict(measured)
    with atomic_path(folder / CONFIG_FILE) as temporary:
        temporary.write_text(tomli_w.dumps(table), encoding="utf-8")
    # An earlier network in this folder may have had more members.
    extra = network.config.members
    while _member_file(folder, extra).exists():
        _member_file(folder, extra).unlink()
        extra += 1


def load_network(folder: Path, *, device: torch.device | str = "cpu") -> InverseNetwork:
    """Read a network from ``folder``, float32, ready to propose.

    Raises
    ------
    FileError
        If a file is missing, corrupt, too large, or does not fit the configuration.
    ConfigError
        If the device cannot be used.
    """
    device = usable_device(device)
    config = _read_model_config(folder / CONFIG_FILE)
    try:
        with torch.device("meta"):  # shapes without memory
            shapes = InverseNetwork(config).state_dict()
    except ConfigError as error:
        raise FileError(f"{folder / CONFIG_FILE}: [model] {error}") from error
    expected = {name: value.shape[1:] for name, value in shapes.items()}
    members = [_load_member(_member_file(folder, member), expected) for member in range(config.members)]
    with torch.random.fork_rng(devices=[]):  # fresh weights draw from the global generator, which is not ours
        network = InverseNetwork(config)
    network.load_state_dict({name: torch.stack([member[name] for member in members]) for name in expected})
    return network.to(device).eval().requires_grad_(False)


def holds_network(folder: Path) -> bool:
    """Tell whether ``folder`` holds weights of a network or the state of a run, whatever its configuration says."""
    return (folder / STATE_FILE).exists() or _member_file(folder, 0).exists()


def _read_model_config(path: Path) -> ModelConfig:
    if not path.is_file():
        raise FileError(f"{path}: no such file; expected a folder that `neuralinv train --out` wrote")
    table = read_toml(path, largest=_LARGEST_CONFIG).get("model")
    if not isinstance(table, dict):
        raise FileError(f"{path}: no [model] table; restore the file or train again")
    try:
        return ModelConfig.from_table(table)
    except ConfigError as error:
        raise FileError(f"{path}: [model] {error}") from error


def _member_file(folder: Path, member: int) -> Path:
    return folder / f"member-{member}.safetensors"


def _load_member(path: Path, expected: Mapping[str, torch.Size]) -> dict[str, Tensor]:
    if not path.is_file():
        raise FileError(f"{path}: missing; the configuration beside it asks for this ensemble member")
    try:
        with safe_open(path, framework="pt") as file:
            found = set(file.keys())
            if found != set(expected):
                odd = sorted(found ^ set(expected))[0]
                raise FileError(f"{path}: tensor {odd!r} does not belong to this configuration; train again")
            for name, shape in expected.items():
                view = file.get_slice(name)
                if tuple(view.get_shape()) != tuple(shape) or view.get_dtype() not in _FLOATS:
                    raise FileError(
                        f"{path}: tensor {name!r} is {view.get_dtype()} of shape {tuple(view.get_shape())}; "
                        f"the configuration asks for floats of shape {tuple(shape)}"
                    )
            weights = {name: file.get_tensor(name).float() for name in expected}
    except (SafetensorError, OSError, ValueError) as error:
        if isinstance(error, FileError):
            raise
        raise FileError(f"{path}: not a whole safetensors file ({error}); copy it again or train again") from error
    for name, value in weights.items():
        if not bool(torch.isfinite(value).all()):
            raise FileError(f"{path}: tensor {name!r} holds NaN or infinity; train again")
    return weights
