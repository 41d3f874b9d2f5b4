"""Everything that is measured on a sample, and the numbers of it that predictions are made from."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from neuralinv.dense import certified_inv
from neuralinv.dense.scaling import normalise, scale_by_power_of_two
from neuralinv.families import Range
from neuralinv.study.advise import smoothness
from neuralinv.study.advise.conditioning import SINGULAR, Quantiles, Spectra, Symmetry, ldexp, scale_spread, spectra
from neuralinv.study.advise.direct_network import LARGEST_GATED
from neuralinv.study.advise.iteration import iteration_errors, make_iteration
from neuralinv.study.advise.paths import PathSmoothness, path_smoothness
from neuralinv.study.advise.sample import Sample, common_scale
from neuralinv.study.advise.source import Source
from neuralinv.study.advise.structure import Structure, find_structure
from neuralinv.study.intrinsic_dimension import levina_bickel

FEWEST = 16
"""Fewer invertible matrices than this say nothing of others like them: nothing is trained on them."""
_MOST_PARAMETERS = 8
_FLOOR = 1e-18


@dataclass(frozen=True)
class Likeness:
    """What the inverses of a sample have in common; all errors are relative, 90 % quantiles.

    Attributes
    ----------
    dimension
        Intrinsic dimension of the matrices, see :mod:`neuralinv.study.intrinsic_dimension`; 0 for copies of one matrix,
        NaN for too few.
    constant, neighbour, linear
        Error of answering with the mean inverse, with the nearest other matrix's, and with an affine map of the matrix.
    rank_decay
        Share that the best r modes leave out, by r.
    lipschitz
        What a map needs between neighbours of the sample.
    local_lipschitz
        The largest ``‖A⁻¹‖₂²``: the constant of inversion itself around the matrices, since ``A⁻¹ − B⁻¹ =
        A⁻¹ (B − A) B⁻¹`` (Higham, *Accuracy and Stability of Numerical Algorithms*, 2nd ed., §13.1).

    The constants are in the units of the matrices: 0 or infinite where they are out of the range of double precision.
    """

    dimension: float
    constant: float
    neighbour: float
    linear: float
    rank_decay: Mapping[int, float]
    lipschitz: float
    local_lipschitz: float


@dataclass(frozen=True)
class Properties:
    """What a sample of matrices is like.

    Attributes
    ----------
    total, sampled, nonfinite, singular
        Matrices in the source; looked at; of those, left out because of NaN or infinity; and singular in double
        precision.
    size, dtype
        n, and the dtype's name.
    symmetry, structure
        See :mod:`neuralinv.study.advise.conditioning` and :mod:`neuralinv.study.advise.structure`.
    condition, distance, relative
        Quantiles of ``σ₁/σ_n``, of ``σ_n``, and of σ_n over the scale that iterations divide by; over invertible
        matrices; None if there are none.
    scale_spread
        Largest over smallest ``‖A‖_F``.
    iteration
        Relative error, 90 % quantile, of the minimax iteration for these spectra, and its products of matrices; None
        where the spectra reach too close to zero.
    likeness
        None where there are fewer than 16 invertible matrices.
    ranges, polynomial
        Of the parameters, if there are any; and the error of polynomials of them, by total degree.
    path
        Smoothness along the first axis of the batch; None if there are fewer than 12 steps.
    """

    total: int
    sampled: int
    nonfinite: int
    singular: int
    size: int
    dtype: str
    symmetry: Symmetry
    structure: Structure
    condition: Quantiles | None
    distance: Quantiles | None
    relative: Quantiles | None
    scale_spread: float
    iteration: tuple[float, int] | None
    likeness: Likeness | None
    ranges: Mapping[str, Range] | None
    polynomial: Mapping[int, float] | None
    path: PathSmoothness | None

    @property
    def epsilon(self) -> float:
        """Distance of 1 from the next number of the dtype that inverses are computed in."""
        return torch.finfo(working_dtype(getattr(torch, self.dtype))).eps


def working_dtype(dtype: torch.dtype) -> torch.dtype:
    """Return the dtype that matrices are inverted in: half precision is computed in single."""
    return torch.float32 if dtype in (torch.float16, torch.bfloat16) else dtype


def measure_properties(source: Source, sample: Sample) -> Properties:
    """Measure a sample.

    About 20 n³ operations for each matrix, 4 n² for each pair, and a few least-squares problems of the size of the
    sample.
    """
    # Everything but distances and Lipschitz constants is a ratio: powers of two keep the squares within the range.
    unit, exponent = normalise(sample.matrices)
    n = source.size
    tolerance = 16 * math.sqrt(n) * torch.finfo(source.dtype).eps
    found = spectra(unit, tolerance=tolerance)
    found = replace(found, distance=ldexp(found.distance, exponent.numpy()[found.rows]))
    X = scale_by_power_of_two(certified_inv(unit, on_singular="nan").inverse, -exponent)
    invertible = torch.isfinite(X).flatten(1).all(1)
    invertible[torch.from_numpy(found.rows[~(found.condition < SINGULAR)])] = False
    regular = found.condition < SINGULAR
    summaries = (
        [Quantiles.of(values[regular]) for values in (found.condition, found.distance, found.relative[:, -1])]
        if regular.any()
        else [None] * 3
    )
    likeness, ranges, polynomial = None, None, None
    if int(invertible.sum()) >= FEWEST:
        (A, scale_in), (X, scale_out) = common_scale(sample.matrices[invertible]), common_scale(X[invertible])
        A, X = smoothness.coordinates(A), smoothness.coordinates(X)
        likeness = _likeness(A, X, found.distance[regular].min(), scale_out - scale_in)
        theta = None if sample.parameters is None else sample.parameters[invertible]
        if theta is not None and theta.shape[1] <= _MOST_PARAMETERS:
            ranges = smoothness.parameter_ranges(theta)
            polynomial = None if ranges is None else smoothness.polynomial_errors(theta, X, ranges) or None
    return Properties(
        total=source.total,
        sampled=sample.drawn,
        nonfinite=sample.nonfinite,
        singular=int((~invertible).sum()),
        size=n,
        dtype=str(source.dtype).removeprefix("torch."),
        symmetry=found.symmetry,
        structure=find_structure(unit, tolerance=tolerance),
        condition=summaries[0],
        distance=summaries[1],
        relative=summaries[2],
        scale_spread=scale_spread(unit, exponent),
        iteration=_iteration(found, regular),
        likeness=likeness,
        ranges=ranges,
        polynomial=polynomial,
        path=None if sample.path is None else path_smoothness(common_scale(sample.path)[0]),
    )


def _iteration(found: Spectra, regular: NDArray[np.bool_]) -> tuple[float, int] | None:
    values = found.relative[regular]
    made = make_iteration(float(values.min()), positive=found.symmetry == "positive") if len(values) else None
    if made is None:
        return None
    errors = iteration_errors(made, torch.from_numpy(values)).numpy()
    return float(np.quantile(errors, 0.9, method="inverted_cdf")), made.products


def _likeness(A: Tensor, X: Tensor, nearest_singular: float, exponent: int) -> Likeness:
    """Of coordinates; a quotient of X over A is multiplied by ``2**exponent`` in the units of the matrices."""
    apart = smoothness.distances(A)
    with np.errstate(over="ignore", under="ignore", divide="ignore"):
        local = np.float64(nearest_singular) ** -2
    return Likeness(
        dimension=_dimension(A, apart),
        constant=smoothness.constant_error(X),
        neighbour=smoothness.neighbour_error(X, apart),
        linear=smoothness.linear_error(A, X),
        rank_decay=smoothness.rank_decay(X),
        lipschitz=float(ldexp(smoothness.needed_lipschitz(X, apart), exponent)),
        local_lipschitz=float(local),
    )


def _dimension(A: Tensor, apart: NDArray[np.float64]) -> float:
    if not np.tril(apart, -1).any():
        return 0.0
    try:
        return levina_bickel(A.numpy()).value
    except ValueError:  # too few distinct ones
        return math.nan


def features(properties: Properties) -> dict[str, float]:
    """Return the numbers that predictions are made from, by name; logarithms are to base 10. What was not measured is
    left out.
    """
    dtype: torch.dtype = getattr(torch, properties.dtype)
    values = {
        "log_n": math.log10(properties.size),
        "gated": float(properties.size <= LARGEST_GATED),
        "double": float(properties.epsilon < 1e-10),
        "complex": float(dtype.is_complex),
        "positive": float(properties.symmetry == "positive"),
    }
    if properties.condition is not None and properties.relative is not None:
        values["log_condition"] = _log(properties.condition.median)
        values["log_condition_high"] = _log(properties.condition.high)
        values["log_rounding"] = _log(properties.epsilon * properties.condition.high)
        values["log_relative"] = _log(properties.relative.low)
    if properties.iteration is not None:
        values["log_iteration"] = _log(properties.iteration[0])
        values["log_products"] = math.log10(properties.iteration[1])
    if (block := properties.structure.block) > 0:
        values["log_block"] = math.log10(block)
    if properties.likeness is not None:
        likeness = properties.likeness
        for name in ("constant", "neighbour", "linear", "lipschitz", "dimension"):
            value = getattr(likeness, name)
            if math.isfinite(value):
                values[name if name == "dimension" else f"log_{name}"] = value if name == "dimension" else _log(value)
        values |= {f"log_rank_{r}": _log(left) for r, left in likeness.rank_decay.items()}
    if properties.polynomial and properties.ranges is not None:
        degrees = sorted(properties.polynomial)
        best = min(properties.polynomial.values())
        values["parameters"] = float(len(properties.ranges))
        values["log_polynomial"] = _log(best)
        values["log_polynomial_half"] = _log(properties.polynomial[degrees[len(degrees) // 2]])
    if properties.path is not None:
        values["log_guess"] = _log(properties.path.guess)
        values["log_residual"] = _log(properties.path.residual)
    return values


def _log(value: float) -> float:
    return math.log10(min(max(value, _FLOOR), 1 / _FLOOR))
