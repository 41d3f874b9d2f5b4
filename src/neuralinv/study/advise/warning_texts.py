"""What the reader of an advice should know besides the ranking, a sentence each."""

from __future__ import annotations

import math
from collections.abc import Iterator

from neuralinv.study.advise.certificate_reach import Missed
from neuralinv.study.advise.properties import FEWEST, Properties
from neuralinv.study.advise.ranking import Option

_LARGEST_DIMENSION = 10.0


def warnings_for(properties: Properties, options: tuple[Option, ...], missed: Missed, rtol: float) -> tuple[str, ...]:
    """Return the warnings, the gravest first; ``missed`` is what no certificate reaches at ``rtol``."""
    return (
        *_about_matrices(properties, missed, rtol),
        *_about_structure(properties),
        *_about_predictions(properties, options),
    )


def _about_matrices(properties: Properties, missed: Missed, rtol: float) -> Iterator[str]:
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
        if missed.total:
            yield (
                f"At condition numbers up to {properties.condition.largest:.0e} the certificate cannot prove "
                f"{rtol:.0e} for {missed.total} of the {looked_at} matrices looked at: expect the status "
                f"ILL_CONDITIONED and bounds near {missed.bound:.0e}."
            )


def _about_structure(properties: Properties) -> Iterator[str]:
    structure = properties.structure
    if structure.diagonal:
        yield _about_diagonals(properties)
    if properties.condition is None:
        return  # what follows is about inverses
    if structure.off_diagonal_rank and not structure.diagonal:
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


def _about_diagonals(properties: Properties) -> str:
    without = properties.structure.zero_diagonals
    if not without:
        return "The matrices are diagonal: divide, nothing needs to be inverted."
    if without == properties.sampled - properties.nonfinite:
        return "The matrices are diagonal, with a zero on the diagonal of each: none has an inverse."
    return (
        "The matrices are diagonal: divide where no entry of the diagonal is zero, nothing needs to be inverted; "
        f"{without} of the {properties.sampled} looked at have such a zero, and no inverse."
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
