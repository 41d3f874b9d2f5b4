"""Where networks go: a device by name, checked before anything is moved there."""

from __future__ import annotations

import torch

from neuralinv.learned.config import ConfigError


def usable_device(device: torch.device | str) -> torch.device:
    """Return the device, if tensors with entries can lie there.

    Raises
    ------
    ConfigError
        If there is no such device, this build of torch cannot use it, or it holds no numbers (``meta``).
    """
    try:
        found = torch.empty(0, device=device).device
    except (RuntimeError, AssertionError, ImportError) as error:  # a build without CUDA asserts
        reason = str(error).splitlines()[0][:200]
        raise ConfigError(f"device {str(device)!r} cannot be used ({reason}); device='cpu' always can") from error
    if found.type == "meta":
        raise ConfigError("device 'meta' cannot be used: it holds no numbers; device='cpu' always can")
    return found
