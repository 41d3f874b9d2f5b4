"""The options, one record each: what it is, whom it serves, and which numbers its predictions are made from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from neuralinv.study.advise.direct_network import LARGEST as LARGEST_NETWORK
from neuralinv.study.advise.properties import FEWEST, Properties

SNAPSHOTS = 256


@dataclass(frozen=True)
class Method:
    """One way to get inverses.

    Attributes
    ----------
    name, title, call
        For code, for people, and how to ask for it.
    trained
        Whether something has to be fitted or trained first.
    proved
        Whether every answer carries a bound, and whatever misses the tolerance is recomputed exactly.
    error, time
        Names of the features that its error and its time are predicted from.
    obstacle
        Why it is out of the question for matrices with these properties; None if it is not.
    why
        What speaks for it, in one sentence.
    """

    name: str
    title: str
    call: str
    trained: bool
    proved: bool
    error: tuple[str, ...]
    time: tuple[str, ...]
    obstacle: Callable[[Properties], str | None]
    why: Callable[[Properties], str]


def _regular(properties: Properties) -> str | None:
    if properties.condition is None:
        return "no matrix of the sample has an inverse"
    if properties.singular:
        return f"{properties.singular} of the matrices looked at are singular"
    return None


def _positive(properties: Properties) -> str | None:
    if properties.symmetry != "positive":
        return "the matrices are not Hermitian positive definite"
    return _regular(properties)


def _block_tridiagonal(properties: Properties) -> str | None:
    if not properties.structure.block:
        return "the matrices are not block tridiagonal"
    if properties.dtype.startswith(("complex", "float16", "bfloat16")):
        return f"the operator takes float32 and float64, not {properties.dtype}"
    return _positive(properties)


def _enough(properties: Properties) -> str | None:
    if properties.likeness is None:
        found = properties.sampled - properties.nonfinite - properties.singular
        return f"{found} invertible matrices say too little of others like them; give at least {FEWEST}"
    return None


def _parametric(properties: Properties) -> str | None:
    if properties.ranges is None or not properties.polynomial:
        return "no parameters were given that move the matrices; pass parameters=…"
    return _enough(properties) or _regular(properties)


def _iteration(properties: Properties) -> str | None:
    if (few := _enough(properties)) is not None or properties.relative is None:
        return few or _regular(properties)
    if properties.iteration is None:
        return "the spectra reach too close to zero for an iteration"
    return _regular(properties)


def _sequence(properties: Properties) -> str | None:
    if properties.path is None:
        return "there are no twelve consecutive invertible matrices to look at"
    if not properties.path.residual < 1:
        return "one matrix says too little of the next one along the batch: no correction would converge"
    return _regular(properties)


def _network(properties: Properties) -> str | None:
    if properties.dtype.startswith("complex"):
        return "networks take real matrices"
    if properties.size > LARGEST_NETWORK:
        return f"networks are trained for n ≤ {LARGEST_NETWORK}"
    return _enough(properties)


def _condition_text(properties: Properties) -> str:
    condition = properties.condition
    return "" if condition is None else f"condition numbers around {condition.median:.1g}"


def _smooth(properties: Properties) -> str:
    best = min((properties.polynomial or {0: float("nan")}).values())
    return f"polynomials of {len(properties.ranges or ())} parameters meet the sample's inverses within {best:.0e}"


def _steady(properties: Properties) -> str:
    guess = properties.path.guess if properties.path is not None else float("nan")
    return f"along the batch, the last inverses predict the next within {guess:.0e}"


def _spectrum(properties: Properties) -> str:
    low = properties.relative.smallest if properties.relative is not None else float("nan")
    return f"relative spectra from {low:.0e} up take a fixed number of products, whatever the matrix"


def _constant(properties: Properties) -> str:
    error = properties.likeness.constant if properties.likeness is not None else float("nan")
    return f"the mean inverse alone is off by {error:.0e}, and networks add little to that in a short training"


METHODS = {
    method.name: method
    for method in (
        Method(
            "exact", "exact kernel", "ni.inv(A)", False, False,
            ("log_rounding", "log_n", "double"), ("log_n", "double", "complex"),
            _regular,
            lambda properties: f"elimination serves every invertible matrix: {_condition_text(properties)}",
        ),
        Method(
            "positive", "exact kernel, positive definite", 'ni.inv(A, assume_a="pos")', False, False,
            ("log_rounding", "log_n", "double"), ("log_n", "double", "complex"),
            _positive,
            lambda properties: "all matrices of the sample are positive definite, so that half of the work suffices",
        ),
        Method(
            "certified", "exact kernel with proof", "ni.certified_inv(A)", False, True,
            ("log_rounding", "log_n", "double"), ("log_n", "log_rounding", "double", "complex"),
            lambda properties: None,
            lambda properties: f"every answer carries a bound: {_condition_text(properties) or 'or says why not'}",
        ),
        Method(
            "block_tridiagonal", "block-tridiagonal operator", "ni.BlockTridiagonal(diag, lower).solve(b)",
            False, False,
            ("log_rounding", "log_n", "double"), ("log_n", "log_block", "double"),
            _block_tridiagonal,
            lambda properties: f"{properties.structure.block}×{properties.structure.block} blocks on three diagonals: "
            "the work grows with n, not with n³",
        ),
        Method(
            "parametric", "parametric inverse", "ni.learned.fit_parametric((theta, A)).inv(A, theta)", True, True,
            ("log_polynomial", "log_polynomial_half", "parameters", "log_n", "log_rounding"),
            ("log_n", "log_polynomial", "double", "complex", "log_rounding"),
            _parametric, _smooth,
        ),
        Method(
            "iteration", "learned iteration", "ni.certified_inv(A, ni.learned.schulz(low))", True, True,
            ("log_iteration", "log_rounding", "log_n"),
            ("log_n", "log_products", "positive", "double", "complex", "log_rounding"),
            _iteration, _spectrum,
        ),
        Method(
            "sequence", "warm-started sequence", "ni.SequenceInverter()", False, True,
            ("log_guess", "log_n"), ("log_n", "log_residual", "double", "complex", "log_rounding"),
            _sequence, _steady,
        ),
        Method(
            "network", "direct network", "ni.certified_inv(A, network)", True, True,
            ("log_constant", "log_rank_1", "log_rank_4", "gated", "log_n"),
            ("log_n", "double", "log_condition", "log_rounding"),
            _network, _constant,
        ),
    )
}  # fmt: skip
"""By name."""
