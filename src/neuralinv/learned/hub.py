"""Find a network by name: packaged with neuralinv, in a folder, or on the Hugging Face hub."""

from __future__ import annotations

import re
from pathlib import Path

import torch

from neuralinv.io import FileError
from neuralinv.learned.checkpoints import CONFIG_FILE, load_network
from neuralinv.learned.network import InverseNetwork

_WEIGHTS = Path(__file__).parent / "weights"
_REPO_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")


def packaged() -> list[str]:
    """Return the names of the networks that come with neuralinv."""
    return sorted(folder.name for folder in _WEIGHTS.iterdir() if (folder / CONFIG_FILE).is_file())


def load(name: str | Path, *, device: torch.device | str = "cpu") -> InverseNetwork:
    """Load a network.

    Parameters
    ----------
    name
        The name of a packaged network (``"2x2"``, ``"3x3"``, ``"4x4"``), a folder that ``neuralinv train`` wrote, or a
        Hugging Face repository id ``"owner/name"`` with the same files in it; looked for in this order.
    device
        Where the weights go.

    Returns
    -------
    InverseNetwork
        With :meth:`~neuralinv.learned.network.InverseNetwork.propose`; give it to :func:`neuralinv.certified_inv`.

    Raises
    ------
    FileError
        If there is no such network, or its files are corrupt.
    ConfigError
        If the device cannot be used.
    """
    if str(name) in packaged():
        return load_network(_WEIGHTS / str(name), device=device)
    folder = Path(name)
    if folder.exists():
        return load_network(folder, device=device)
    if _REPO_ID.fullmatch(str(name)):
        return load_network(_download(str(name)), device=device)
    raise FileError(
        f"{name}: no such network; give a folder that `neuralinv train` wrote, a Hugging Face repository id "
        f"owner/name, or one of the packaged {', '.join(packaged())}"
    )


def _download(repo_id: str) -> Path:
    # Imported here: most users never touch the hub, and the import is slow.
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(repo_id, allow_patterns=[CONFIG_FILE, "member-*.safetensors"]))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        raise FileError(
            f"{repo_id}: no folder of this name here, and the Hugging Face hub did not deliver it ({reason})"
        ) from error
