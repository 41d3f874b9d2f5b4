"""Reconstruct the attractor of Lorenz from noisy observations with a sequential variational auto-encoder.

Its posterior over the latent path is Gaussian with a block-tridiagonal precision (Archer et al. 2015,
arXiv:1511.07367): one factorisation in each training step gives mean, sample and entropy. The model is in
``neuralinv/study/lorenz_vae/model.py``. The training is repeated for 100 steps with the factorisation as a Python loop
over time; with ``--backend loop`` it loops from beginning to end.

Run it with ``python examples/lorenz_vae.py [--backend loop] [--steps 1500] [--out runs/vae]``.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from rich.progress import Progress

from neuralinv.study.lorenz_vae import Settings, run, total_steps


def main(arguments: Sequence[str] = ()) -> None:
    """Train, reconstruct a path that the training has not seen, and draw both."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backend", choices=("auto", "native", "cyclic", "loop"), default="auto")
    parser.add_argument("--steps", type=int, default=1500, help="optimiser steps")
    parser.add_argument("--compare", type=int, default=100, help="steps with the other backend")
    parser.add_argument("--out", type=Path, default=Path("runs/vae"))
    options = parser.parse_args(arguments)

    settings = Settings(steps=options.steps)
    with Progress() as bar:
        task = bar.add_task("training", total=total_steps(settings, options.compare))
        outcome = run(
            settings, options.backend, compare=options.compare, report=lambda step, _: bar.update(task, completed=step)
        )
    print(outcome.summary())
    outcome.save(options.out)

    # The posterior knows how sure it is: draw paths, and see how often their band holds the true one.
    x = torch.as_tensor(outcome.unseen.observations, dtype=settings.dtype)
    with torch.no_grad():
        paths = outcome.model.reconstruct(outcome.model.posterior(x).sample((200,))).double().numpy()
    low, high = np.quantile(paths, (0.05, 0.95), axis=0)
    held = np.mean((low <= outcome.unseen.states) & (outcome.unseen.states <= high))
    print(f"certainty       {held:.0%} of the true path lies in the central 90% of posterior samples")
    print(f"figure          {options.out / 'attractor.png'}")


if __name__ == "__main__":
    main(sys.argv[1:])
