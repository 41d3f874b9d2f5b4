"""A sequential variational auto-encoder on the system of Lorenz: what block-tridiagonal factors do for a training step.

`model.py` is the model, and the file to read first; `neuralinv demo vae` and `examples/lorenz_vae.py` run it.
"""

from neuralinv.study.lorenz_vae.data import Trajectory, simulate
from neuralinv.study.lorenz_vae.experiment import Outcome, run, total_steps
from neuralinv.study.lorenz_vae.model import SequentialVAE
from neuralinv.study.lorenz_vae.training import History, Settings, train

__all__ = ["History", "Outcome", "SequentialVAE", "Settings", "Trajectory", "run", "simulate", "total_steps", "train"]
