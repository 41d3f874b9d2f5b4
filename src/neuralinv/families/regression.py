"""Normal equations of ridge regression over the penalties, on the wine data (``families/data``)."""

from __future__ import annotations

import itertools
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from neuralinv.families.gram import gram
from neuralinv.families.registry import Family, MatrixFunction, Range
from neuralinv.families.settings import positive

_MEASUREMENTS = 13
_HIGHEST_DEGREE = 3


@cache
def wine() -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the measurements of the wine data, each column with mean 0 and variance 1, and the cultivars.

    Shapes ``(178, 13)``, float64, and ``(178,)``, int64 in {0, 1, 2}. Aeberhard & Forina 1991, doi:10.24432/C5PC7J.
    """
    with (files("neuralinv.families") / "data" / "wine.csv").open(encoding="utf-8") as file:
        table = np.loadtxt(file, delimiter=",", skiprows=1)
    X, y = table[:, :_MEASUREMENTS], table[:, _MEASUREMENTS].astype(np.int64)
    return _standardised(X), y


@cache
def _features() -> NDArray[Any]:
    """The 13 measurements, then their products of degree 2 and 3, each of variance 1: ``(178, 559)``."""
    X, _ = wine()
    degrees = range(1, _HIGHEST_DEGREE + 1)
    products = (itertools.combinations_with_replacement(range(_MEASUREMENTS), degree) for degree in degrees)
    columns = [X[:, list(factors)].prod(1) for factors in itertools.chain.from_iterable(products)]
    return _standardised(np.stack(columns, 1))


def _standardised(X: NDArray[Any]) -> NDArray[Any]:
    return (X - X.mean(0)) / X.std(0)


def _build_ridge(
    size: int, *, generator: torch.Generator, dtype: torch.dtype, device: torch.device | str
) -> MatrixFunction:
    features = _features()
    if size > features.shape[1]:
        raise ValueError(
            f"size = {size}: ridge has {features.shape[1]} features, products of three measurements at most"
        )
    X = torch.from_numpy(features[:, :size]).to(device)
    # Which wines are in the sample is up to chance: a bootstrap.
    rows = torch.randint(len(X), (len(X),), generator=generator, device=device)
    X = X[rows]
    normal = gram(X, len(X))
    linear = torch.diag((torch.arange(size, device=device) < _MEASUREMENTS).double())
    products = torch.eye(size, dtype=torch.float64, device=device) - linear

    def matrices(theta: Tensor) -> Tensor:
        penalty, products_penalty = theta[..., None, None].unbind(-3)
        return (normal + penalty * linear + products_penalty * products).to(dtype)

    return matrices


RIDGE = Family(
    "ridge",
    "XᵀX/m + Λ on bootstrapped wine data: 13 measurements under one penalty, their products (n > 13) under another",
    spectrum="eigenvalues in [smallest penalty, tr(XᵀX)/m + largest penalty], the trace about n; rank(XᵀX) ≤ 178",
    reference="Hoerl & Kennard 1970, doi:10.1080/00401706.1970.10488634; data: Aeberhard & Forina, doi:10.24432/C5PC7J",
    symmetry="positive",
    build=_build_ridge,
    ranges={"penalty": Range(1e-2, 1.0, log=True), "products_penalty": Range(1e-2, 1.0, log=True)},
    domains={"penalty": positive, "products_penalty": positive},
)
