"""A direct network for one kind of matrices, trained briefly on those that are there."""

from __future__ import annotations

import math
import time
from typing import NamedTuple

import torch
from torch import Tensor

from neuralinv.dense.scaling import widen
from neuralinv.learned import InverseNetwork, ModelConfig
from neuralinv.learned.losses import LOSSES
from neuralinv.learned.optimizers import build_optimizers
from neuralinv.learned.schedules import rate_factor
from neuralinv.study.advise.sample import common_scale

STEPS = 100
LARGEST = 64
_BATCH = 64
_RATE = 2e-3
_CLIP = 1.0
_CONFIG = {"architecture": "resnet", "hidden": 64, "depth": 2}
_SMALL = {"architecture": "gated"}
LARGEST_GATED = 4


class Trained(NamedTuple):
    """A network and the seconds of its training."""

    network: InverseNetwork
    seconds: float


def train_network(
    matrices: Tensor,
    *,
    steps: int = STEPS,
    budget: float = math.inf,
    seed: int = 0,
) -> Trained:
    """Train a network that proposes inverses of matrices like these.

    The gated network up to 4×4, a residual one beyond (deeper gates train too slowly to tell anything in seconds);
    batches of 64 from the given matrices, its architecture's own loss, a linear decay of the learning rate.

    Parameters
    ----------
    matrices
        ``(count, n, n)``, real, n at most 64.
    steps, budget
        Optimiser steps, and seconds after which the training ends in any case.
    seed
        Fixes weights and batches; torch's global generator stays as it is.
    """
    n = matrices.shape[-1]
    config = ModelConfig(size=n, **(_SMALL if n <= LARGEST_GATED else _CONFIG))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = InverseNetwork(config)
    loss = LOSSES["direction" if config.architecture == "gated" else "log_residual"].function
    optimizers = build_optimizers(network, _RATE, gates=network.architecture.gate_matrices())  # type: ignore[operator]
    random = torch.Generator().manual_seed(seed)
    pool = common_scale(widen(matrices))[0].float()  # a network divides by the scale itself, within float32's range
    started = time.perf_counter()
    for step in range(steps):
        if time.perf_counter() - started > budget:
            break
        factor = rate_factor("linear", step / steps)
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = factor * group["peak_lr"]
            optimizer.zero_grad()
        batch = pool[torch.randint(len(pool), (_BATCH,), generator=random)]
        with torch.enable_grad():
            scaled, candidates, scale = network.candidates(batch[None])
            value = loss(scaled, candidates, scale).mean()
        if not bool(torch.isfinite(value)):
            continue  # a nearly singular batch; the next one may do
        value.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), _CLIP)
        for optimizer in optimizers:
            optimizer.step()
    return Trained(network.requires_grad_(False), time.perf_counter() - started)
