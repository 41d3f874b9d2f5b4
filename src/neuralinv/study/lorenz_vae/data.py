"""The system of Lorenz (J. Atmos. Sci. 20, 1963), integrated by SciPy and observed with noise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_SIGMA, _RHO, _BETA = 10.0, 28.0, 8.0 / 3.0
_BURN_IN = 10.0  # time units until a path is on the attractor


@dataclass(frozen=True)
class Trajectory:
    """A path and what is seen of it."""

    states: NDArray[np.float64]
    """Shape ``(steps, 3)``."""
    observations: NDArray[np.float64]
    """The states with independent normal noise, shape ``(steps, 3)``."""
    noise: float
    """The standard deviation of the noise."""


def simulate(steps: int, *, interval: float = 0.02, noise: float = 2.0, seed: int = 0) -> Trajectory:
    """Integrate from a random point and observe every ``interval`` time units; coordinates have deviations of 8 to 9.

    Raises
    ------
    ValueError
        If a number is out of range.
    """
    from scipy.integrate import solve_ivp

    if steps < 1 or interval <= 0 or noise < 0:
        raise ValueError(
            f"steps={steps}, interval={interval}, noise={noise}; expected steps ≥ 1, interval > 0, noise ≥ 0"
        )
    rng = np.random.default_rng(seed)
    times = _BURN_IN + interval * np.arange(steps)
    start = rng.normal(loc=(0.0, 0.0, 25.0), scale=8.0)
    solution: Any = solve_ivp(_velocity, (0.0, times[-1]), start, t_eval=times, method="DOP853", rtol=1e-8, atol=1e-8)
    if not solution.success:
        raise ValueError(f"the integration failed: {solution.message}")
    states = solution.y.T
    return Trajectory(states, states + noise * rng.normal(size=states.shape), noise)


def _velocity(_: float, state: NDArray[np.float64]) -> tuple[float, float, float]:
    x, y, z = state
    return _SIGMA * (y - x), x * (_RHO - z) - y, x * y - _BETA * z
