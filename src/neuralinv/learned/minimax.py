"""Coefficients of matrix iterations: the best polynomial for every step, and the cheapest sequence of steps.

All iterations here are ``X ← X h(M)`` with ``M = A Xᵖ``, which tends to the identity: p = 1 for inverses, p for inverse
p-th roots. Everything commutes, so that an eigenvalue m of M becomes ``m h(m)ᵖ``. Knowing that all m lie in [low,
high], the best h of degree k minimises

    ε = max |1 − m^{1/p} h(m)|,    and then all m lie in [(1 − ε)ᵖ, (1 + ε)ᵖ].

For p = 1 that is Chebyshev's polynomial, in closed form; otherwise Remez's exchange finds it. Composing the best steps
is the best composition, since a smaller interval never needs a worse step (for p = 2: Amsel et al. 2025,
arXiv:2505.16932). Polynomials are written in powers of ``r = 1 − m``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.polynomial import Chebyshev, Polynomial

PRODUCTS = {1: 0, 2: 1, 4: 2}
"""Matrix products that evaluate ``h(I − R)`` from R, by the degree of h: powers 1; R²; and ``R²(c₄R² + c₃R + c₂I)``
more. Degree 3 costs what degree 4 does."""

_GRID = 2000
_MOST_PRODUCTS = 100


@dataclass(frozen=True)
class Step:
    """One step ``X ← X h(M)``.

    Attributes
    ----------
    coefficients
        Of h in powers of ``r = 1 − m``, from the constant on.
    error
        ε = max |1 − m^{1/p} h(m)| over the interval that the step was made for.
    """

    coefficients: tuple[float, ...]
    error: float

    @property
    def degree(self) -> int:
        """Degree of h."""
        return len(self.coefficients) - 1


@dataclass(frozen=True)
class Plan:
    """A sequence of steps from X₀ = I.

    Attributes
    ----------
    steps
        In order.
    products
        Matrix products that all of them cost.
    """

    steps: tuple[Step, ...]
    products: int

    @property
    def error(self) -> float:
        """ε of the last step."""
        return self.steps[-1].error


@lru_cache(maxsize=512)
def best_step(low: float, high: float, degree: int, root: int = 1) -> Step:
    """Return the minimax step of a given degree for eigenvalues in [low, high].

    Raises
    ------
    ValueError
        Unless 0 < low < high, and degree and root are at least 1.
    """
    if not 0 < low < high < math.inf:
        raise ValueError(f"low = {low}, high = {high}: expected spectral bounds with 0 < low < high")
    if degree < 1 or root < 1:
        raise ValueError(f"degree = {degree}, root = {root}: expected whole numbers of at least 1")
    return _chebyshev(low, high, degree) if root == 1 else _remez(low, high, degree, root)


def _chebyshev(low: float, high: float, degree: int) -> Step:
    # 1 − m h(m) = T(t) / T(t₀), where t maps [low, high] to [1, −1] and t₀ belongs to m = 0, r = 1.
    t = Polynomial([low + high - 2, 2]) / (high - low)
    centre = (low + high) / (high - low)
    T = Chebyshev.basis(degree + 1)
    scale = math.cosh((degree + 1) * math.acosh(centre))
    residual = T.convert(kind=Polynomial)(t) / scale
    h, _ = divmod(1 - residual, Polynomial([1, -1]))
    return Step(tuple(h.coef.tolist()), 1 / scale)


def _remez(low: float, high: float, degree: int, root: int) -> Step:
    # Even spacing in logarithm where the weight varies, Chebyshev points for the upper end; both ends are in it.
    angles = np.linspace(0, np.pi, _GRID)
    grid = np.unique(np.concatenate([np.geomspace(low, high, _GRID), low + (high - low) * (1 - np.cos(angles)) / 2]))
    grid[[0, -1]] = low, high
    weight = grid ** (1 / root)
    powers = (1 - grid)[:, None] ** np.arange(degree + 1)
    signs = (-1.0) ** np.arange(degree + 2)
    reference = np.linspace(0, len(grid) - 1, degree + 2).astype(int)
    coefficients, error = np.zeros(degree + 1), np.inf
    for _ in range(50):
        system = np.column_stack([weight[reference, None] * powers[reference], signs])
        *found, level = np.linalg.solve(system, np.ones(degree + 2))
        deviation = 1 - weight * (powers @ np.array(found))
        largest = float(np.abs(deviation).max())
        if largest < error:
            coefficients, error = np.array(found), largest
        if largest <= abs(level) * (1 + 1e-6) + 1e-15:
            break
        exchanged = _extrema(deviation)
        if len(exchanged) < degree + 2:
            break
        # As many as are needed, the smallest dropped from the ends, so that signs keep alternating.
        while len(exchanged) > degree + 2:
            end = 0 if abs(deviation[exchanged[0]]) < abs(deviation[exchanged[-1]]) else -1
            exchanged = np.delete(exchanged, end)
        reference = exchanged
    return Step(tuple(coefficients.tolist()), error)


def _extrema(deviation: np.ndarray[tuple[int], np.dtype[np.float64]]) -> np.ndarray[tuple[int], np.dtype[np.intp]]:
    """Index of the largest deviation in every run of one sign."""
    changes = np.flatnonzero(np.diff(np.sign(deviation)) != 0) + 1
    runs = np.split(np.arange(len(deviation)), changes)
    return np.array([run[np.abs(deviation[run]).argmax()] for run in runs], dtype=np.intp)


@lru_cache(maxsize=64)
def cheapest_plan(
    low: float, high: float, tolerance: float, *, root: int = 1, first_step_free: bool = True, most_products: int = 60
) -> Plan:
    """Return the sequence of steps with the fewest matrix products that takes [low, high] to ε ≤ tolerance.

    Parameters
    ----------
    low, high
        Bounds of the eigenvalues of M₀ = A X₀ᵖ.
    tolerance
        In (0, 1).
    root
        p.
    first_step_free
        X₀ is a multiple of the identity: the first step then needs neither ``A X₀`` nor ``X₀ h``.
    most_products
        Give up beyond.

    Raises
    ------
    ValueError
        If the bounds or the tolerance are out of range, their ratio is too small for float64, or so many products do
        not suffice.
    """
    if not 0 < tolerance < 1 or not 1 <= most_products <= _MOST_PRODUCTS:
        raise ValueError(
            f"tolerance = {tolerance}, most_products = {most_products}: expected a tolerance between 0 and 1 and at "
            f"most {_MOST_PRODUCTS} products"
        )
    # A smaller ε is never worse to go on from, so for each cost only the best sequence counts.
    best: dict[int, tuple[Step, ...]] = {}

    def offer(cost: int, steps: tuple[Step, ...]) -> None:
        if cost not in best or steps[-1].error < best[cost][-1].error:
            best[cost] = steps

    for degree in PRODUCTS:
        offer(step_products(degree, root, first=first_step_free), (best_step(low, high, degree, root),))
    if any(steps[-1].error >= 1 for steps in best.values()):  # rounded: no first step brings anything nearer to 1
        raise ValueError(f"low = {low} is too small beside high = {high}: float64 tells no first step from none")
    for cost in range(most_products + 1):
        if cost not in best:
            continue
        steps = best[cost]
        error = steps[-1].error
        if error <= tolerance:
            return Plan(steps, cost)
        if 1 - error == 1 + error:  # as near to 1 as float64 tells
            continue
        for degree in PRODUCTS:
            following = best_step((1 - error) ** root, (1 + error) ** root, degree, root)
            if following.error < error:
                offer(cost + step_products(degree, root), (*steps, following))
    raise ValueError(
        f"eigenvalues in [{low:.1e}, {high:.1e}] need more than {most_products} matrix products to reach "
        f"{tolerance:.0e}"
    )


def early_steps(
    plan: Plan, low: float, high: float, tolerance: float, roundoff: float, *, largest: float
) -> tuple[Plan, int]:
    """Find how many steps of an iteration for inverses (p = 1) may run in a lower precision.

    A step that works with rounded A and X leaves a residual that is off by about ``u ‖A‖ ‖X‖``. With ‖A‖ ≤ 1 that is at
    most ``u g``, where g bounds ‖X‖: the product of the largest h so far, or ``largest``, if that is less. A step is
    early if the residual ε that it leaves in exact arithmetic is well above that: ``ε ≥ 4 δ``, ``δ = ug``. The step
    after it is made for eigenvalues in [1 − ε − δ, 1 + ε + δ].

    Parameters
    ----------
    plan
        From :func:`cheapest_plan`, for the same bounds and tolerance.
    low, high
        Bounds of the eigenvalues of M₀.
    tolerance
        To be reached all the same.
    roundoff
        u of the lower precision.
    largest
        ``‖A⁻¹‖₂`` at most.

    Returns
    -------
    The plan with wider steps, and the number of early ones; the last step never is.
    """
    degrees = [step.degree for step in plan.steps]
    for early in range(len(degrees) - 1, 0, -1):
        steps: list[Step] = []
        below, above, growth, safe = low, high, 1.0, True
        for k, degree in enumerate(degrees):
            step = best_step(below, above, degree)
            steps.append(step)
            grid = np.linspace(1 - above, 1 - below, _GRID)
            growth *= float(np.polynomial.polynomial.polyval(grid, step.coefficients).max())
            error = step.error
            if k < early:
                off = roundoff * min(growth, 2 * largest)
                safe = safe and error >= 4 * off and error + off < 1
                if not safe:
                    break
                error += off
            below, above = 1 - error, 1 + error
        if safe and steps[-1].error <= tolerance:
            return Plan(tuple(steps), plan.products), early
    return plan, 0


def step_products(degree: int, root: int = 1, *, first: bool = False) -> int:
    """Count the matrix products of one step: ``M ← hᵖ M`` by repeated squaring (AX for p = 1), h, and ``X h``.

    In the first step M is A itself up to scale, and X₀ h is h.
    """
    squarings = root.bit_length() - 1 + root.bit_count() - 1
    return PRODUCTS[degree] + (0 if first else 2 + squarings)
