"""A second-order response surface through a network: ten coefficients from a 10×10 normal matrix, in 3×3 blocks.

The data are Example 11.3 of Box & Draper, *Response Surfaces, Mixtures, and Ridge Analyses*, 2nd ed., Wiley 2007: the
yield of a chemical process at 19 settings of time, catalyst concentration and temperature. The network knows 3×3
matrices only; larger ones are inverted through Schur complements, and the assembled inverse is certified as a whole.

Run it with ``python examples/response_surface.py [MODEL]``; MODEL is a folder that ``neuralinv train`` wrote, or the
packaged network for 3×3 matrices.
"""

from __future__ import annotations

import sys
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import neuralinv as ni

DATA = Path(__file__).parent / "data" / "box_draper_11_3.csv"
INPUTS = ("time", "catalyst", "temperature")


def main(model: str = "3x3") -> None:
    """Fit the surface, and say how far the coefficients can be from the exact ones."""
    table = np.genfromtxt(DATA, delimiter=",", skip_header=1)
    X, names = design_matrix(code(table[:, :3]))
    y = table[:, 3]

    normal, moment = X.T @ X, X.T @ y
    result = ni.certified_inv(normal, ni.learned.load(model))
    coefficients = result.inverse @ moment
    exact, *_ = np.linalg.lstsq(X, y)

    print(result)
    print(f"\n{'coefficient':24s} {'network':>10s} {'exact':>10s}")
    for name, b, reference in zip(names, coefficients, exact, strict=True):
        print(f"{name:24s} {b:10.4f} {reference:10.4f}")
    print(f"\nlargest difference         {np.abs(coefficients - exact).max():.1e}")
    print(f"proved to be no more than  {coefficient_bound(result, moment):.1e}")


def code(inputs: NDArray[Any]) -> NDArray[Any]:
    """Map each column's range to [−1, 1]."""
    low, high = inputs.min(0), inputs.max(0)
    return (2 * inputs - low - high) / (high - low)


def design_matrix(x: NDArray[Any]) -> tuple[NDArray[Any], list[str]]:
    """Return the columns of a full quadratic model in three inputs, and their names."""
    columns = {"1": np.ones(len(x))}
    columns |= {name: x[:, i] for i, name in enumerate(INPUTS)}
    columns |= {f"{name}²": x[:, i] ** 2 for i, name in enumerate(INPUTS)}
    columns |= {f"{INPUTS[i]} × {INPUTS[j]}": x[:, i] * x[:, j] for i, j in combinations(range(3), 2)}
    return np.column_stack(list(columns.values())), list(columns)


def coefficient_bound(result: ni.InverseResult[NDArray[Any]], moment: NDArray[Any]) -> float:
    """Bound ``‖(A⁻¹ − X) m‖₂`` by ``ε ‖A⁻¹‖_F ‖m‖₂``, with ``‖A⁻¹‖_F ≤ ‖X‖_F / (1 − ε)`` for the proved relative error
    ε.
    """
    error = float(result.error_bound)
    return error / (1 - error) * float(np.linalg.norm(result.inverse) * np.linalg.norm(moment))


if __name__ == "__main__":
    main(*sys.argv[1:])
