"""What the reader of an advice should know besides the ranking, a sentence each."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch

from neuralinv.study.advise.properties import FEWEST, Properties
from neuralinv.study.advise.ranking import Option

_LARGEST_DIMENSION = 10.0


def warnings_for(properties: Properties, options: tuple[Option, ...], rtol: float) -> tuple[str, ...]:
    """Return the warnings, the gravest first."""
    return (*_about_matrices(properties, rtol), *_about_structure(properties), *_about_predictions(properties, options))


def _about_matrices(properties: Properties, rtol: float) -> Iterator[str]:
    looked_at = properties.sampled
    if properties.nonfinite:
        yield (
            f"{properties.nonfinite} of the {looked_at} matrices looked at hold NaN or infinity and were left out; "
            "certified_inv marks such matrices NONFINITE."
        )
    if properties.singular:
        yield (
            f"{properties.singular} of the {looked_at} matrices looked at are singular in double precision: ni.inv "
            'raises an error for them; pass on_singular="nan" or "pinv" to ni.certified_inv.'
        )
    if properties.likeness is None:
        found = looked_at - properties.nonfinite - properties.singular
        yield (
            f"{found} invertible {'matrix says' if found == 1 else 'matrices say'} nothing of what others have in "
            f"common: trained options were not judged; give at least {FEWEST}."
        )
    if properties.condition is not None:
        if properties.condition.high > 1 / properties.epsilon:
            yield (
                f"Condition numbers reach {properties.condition.high:.0e}: inverses in {properties.dtype} have no "
                "correct digit; certified_inv works in double precision."
            )
        reachable = properties.size * torch.finfo(torch.float64).eps * properties.condition.high
        if reachable > rtol:
            yield (
                f"At condition numbers of {properties.condition.high:.0e} the certificate cannot prove {rtol:.0e}: "
                f"expect the status ILL_CONDITIONED and bounds near {reachable:.0e}."
            )


def _about_structure(properties: Properties) -> Iterator[str]:
    structure = properties.structure
    if structure.diagonal:
        yield "The matrices are diagonal: divide, nothing needs to be inverted."
    elif structure.off_diagonal_rank:
        yield (
            f"The matrices are a diagonal plus a matrix of rank {structure.off_diagonal_rank}: the Woodbury identity "
            "inverts them through one small matrix, which none of the options here does."
        )
    if structure.toeplitz and properties.size >= 16:
        yield "The matrices are Toeplitz: scipy.linalg.solve_toeplitz solves with one in O(n²)."
    if structure.sparse and not structure.diagonal and not structure.block:
        yield (
            f"{structure.zeros:.0%} of the entries are zero everywhere: for large n, factor instead of inverting "
            "(scipy.sparse.linalg.splu); inverses of sparse matrices are full."
        )


def _about_predictions(properties: Properties, options: tuple[Option, ...]) -> Iterator[str]:
    prediction = options[0].prediction
    if prediction is not None and prediction.extrapolated:
        names = ", ".join(prediction.extrapolated)
        yield f"The calibration holds nothing like these matrices ({names}): predictions are extrapolated."
    if options[0].name == "block_tridiagonal":
        yield (
            "The block-tridiagonal operator was compared at solving with one right-hand side; it gives solutions, "
            "log-determinants and blocks of the inverse, not the full inverse."
        )
    likeness = properties.likeness
    if likeness is not None and likeness.dimension > _LARGEST_DIMENSION:
        yield (
            f"The intrinsic dimension {likeness.dimension:.0f} is estimated from {properties.sampled} matrices, which "
            "cannot tell dimensions beyond about ten apart: it may be higher."
        )
    if likeness is not None and math.isnan(likeness.dimension):
        yield "There are too few different matrices to estimate an intrinsic dimension."
