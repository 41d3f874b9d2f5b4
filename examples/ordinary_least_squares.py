"""Ordinary least squares through a network: a straight plane fitted by inverting its 3×3 normal matrix.

Run it with ``python examples/ordinary_least_squares.py [MODEL]``; MODEL is a folder that ``neuralinv train`` wrote, or
the packaged network for 3×3 matrices.
"""

from __future__ import annotations

import sys

import numpy as np

import neuralinv as ni


def main(model: str = "3x3") -> None:
    """Fit y = b0 + b1 x1 + b2 x2 to noisy data, and compare the coefficients with LAPACK's."""
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, size=(200, 2))
    y = 1.5 - 2.0 * x[:, 0] + 0.5 * x[:, 1] + 0.1 * rng.normal(size=200)

    X = np.column_stack([np.ones(len(x)), x])
    normal = X.T @ X
    result = ni.certified_inv(normal, ni.learned.load(model))
    coefficients = result.inverse @ X.T @ y
    exact, *_ = np.linalg.lstsq(X, y)

    print(result)
    print("coefficient   network      exact")
    for name, b, reference in zip(("b0", "b1", "b2"), coefficients, exact, strict=True):
        print(f"{name:11s} {b:9.6f}  {reference:9.6f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
