"""Polynomial iterations for inverses: Newton–Schulz with the best coefficients for a known spectrum.

``X ← X h(M)``, M = AX, from ``X₀ = αI`` for Hermitian positive definite matrices or ``X₀ = αAᴴ`` for general ones:
products of matrices alone, for any n. Coefficients come in closed form from two bounds of the spectrum
(:mod:`neuralinv.learned.minimax`), or are trained for a family's spectrum (:mod:`neuralinv.learned.spectral_training`).
Schulz 1933; Higham, *Functions of Matrices*, §7.3; Pan & Schreiber 1991, doi:10.1137/0912058 (scaled steps).
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from typing import Literal, cast

import torch
from torch import Tensor, nn

from neuralinv.learned.minimax import PRODUCTS, Plan, cheapest_plan, early_steps, step_products

_STRICTER = (1, 4, 16, 64)
_SMALLEST_RATIO = 6e-17
"""Of bounds of the spectrum: below it, float64 tells no first step from none."""


def evaluate_polynomial(R: Tensor, coefficients: Tensor | Sequence[float]) -> Tensor:
    """Return ``c₀ I + c₁ R + … + c₄ R⁴`` with the fewest matrix products; ``R`` has shape ``(batch, n, n)``."""
    c = list(coefficients)
    if len(c) == 2:
        return _plus_identity(c[1] * R, c[0])
    S = R @ R
    if len(c) == 3:
        return _plus_identity(c[1] * R + c[2] * S, c[0])
    inner = _plus_identity(c[3] * R + c[4] * S, c[2])
    return _plus_identity(S @ inner + c[1] * R, c[0])


def _plus_identity(A: Tensor, scale: Tensor | float) -> Tensor:
    return A + scale * torch.eye(A.shape[-1], dtype=A.dtype, device=A.device)


class SchulzIteration(nn.Module):
    """A fixed number of polynomial steps, a proposer for :func:`neuralinv.certified_inv`.

    Matrices are divided by ``s = √(‖A‖₁ ‖A‖_∞) ≥ ‖A‖₂`` first, so that coefficients belong to relative spectra:
    eigenvalues of A/s in (0, 1] (``positive``), or squared singular values.

    Parameters
    ----------
    steps
        Coefficients of h in powers of ``I − M`` for each step; degrees 1, 2 or 4.
    alpha
        Scale of X₀.
    positive
        Whether the matrices are Hermitian positive definite. Nothing wrong is returned silently where they are not: the
        certificate decides.
    early
        How many of the first steps run in bfloat16, for real matrices; the others in the precision of the matrices.

    Attributes
    ----------
    products
        Matrix products of one call.

    Raises
    ------
    ValueError
        If there are no steps, one has another degree, or ``early`` exceeds their number.
    """

    alpha: Tensor

    def __init__(
        self, steps: Sequence[Sequence[float]], *, alpha: float = 1.0, positive: bool = True, early: int = 0
    ) -> None:
        super().__init__()
        degrees = [len(step) - 1 for step in steps]
        if not steps or any(degree not in PRODUCTS for degree in degrees):
            raise ValueError(f"steps of degrees {degrees}: expected at least one step, each of degree 1, 2 or 4")
        if not 0 <= early <= len(steps):
            raise ValueError(f"early={early}: expected a number of steps, of which there are {len(steps)}")
        self.positive = positive
        self.early = early
        self.register_buffer("alpha", torch.tensor(alpha, dtype=torch.float64))
        self.coefficients = nn.ParameterList(
            nn.Parameter(torch.tensor(step, dtype=torch.float64), requires_grad=False) for step in steps
        )
        self.products = sum(step_products(degree, first=positive and k == 0) for k, degree in enumerate(degrees))

    @classmethod
    def from_plan(cls, plan: Plan, *, positive: bool = True, early: int = 0) -> SchulzIteration:
        """Build from minimax steps."""
        return cls([step.coefficients for step in plan.steps], positive=positive, early=early)

    def propose(self, A: Tensor) -> Tensor:
        """Return candidates for ``A`` of shape ``(*batch, n, n)``, any real or complex floating dtype."""
        return self(A)

    def forward(self, A: Tensor) -> Tensor:
        """Propose; see :meth:`propose`. Works in the dtype of ``A``."""
        scale = relative_scale(A)
        A = A / scale
        X: Tensor | None = None
        for k, coefficients in enumerate(self.coefficients):
            low = k < self.early and not A.is_complex()
            work = A.bfloat16() if low else A
            X = self._step(work, None if X is None else X.to(work.dtype), coefficients)
        return cast(Tensor, X).to(A.dtype) / scale

    def _step(self, A: Tensor, X: Tensor | None, coefficients: Tensor) -> Tensor:
        alpha, h = self.alpha.to(A.dtype), coefficients.to(A.dtype)
        if X is None and self.positive:
            return alpha * evaluate_polynomial(_plus_identity(-alpha * A, 1.0), h)
        if X is None:
            X = alpha * A.mH
        return X @ evaluate_polynomial(_plus_identity(-(A @ X), 1.0), h)

    def on_spectrum(self, values: Tensor) -> Tensor:
        """Return the eigenvalues of the final AX for eigenvalues (squared singular values) of A/s, any shape."""
        m = self.alpha * values
        for step in self.coefficients:
            powers = (1 - m)[..., None] ** torch.arange(len(step), device=m.device)
            m = m * (powers @ step)
        return m


def relative_scale(A: Tensor) -> Tensor:
    """Return ``√(‖A‖₁ ‖A‖_∞)``, at least the largest singular value, of shape ``(*batch, 1, 1)``."""
    magnitude = A.abs()
    size = magnitude.sum(-1).amax(-1).sqrt() * magnitude.sum(-2).amax(-1).sqrt()
    return size[..., None, None].to(A.dtype)


def schulz(
    low: float,
    high: float = 1.0,
    *,
    positive: bool = True,
    tolerance: float = 1e-3,
    precision: Literal["same", "bfloat16"] = "same",
) -> SchulzIteration:
    """Return the cheapest minimax iteration for a given interval of eigenvalues, in closed form.

    Parameters
    ----------
    low, high
        Bounds of the eigenvalues (``positive``) or singular values, divided by ``s = √(‖A‖₁ ‖A‖_∞)``, which is between
        one and √n times the largest: ``high = 1`` always holds, and ``low`` may be as small as 1/(√n κ₂). Matrices
        outside come out less accurate.
    positive
        Whether the matrices are Hermitian positive definite: then it starts from αI, otherwise from αAᴴ, and the
        condition number counts twice.
    tolerance
        The residual ``‖I − AX‖₂`` to reach. One step of :func:`~neuralinv.certified_inv` squares it.
    precision
        ``"bfloat16"``: as many early steps as can run in it, that is while the residual that a step leaves stays well
        above the rounding errors (:func:`~neuralinv.learned.minimax.early_steps`), where that leaves fewer products in
        full precision. None can beyond condition numbers of a few hundred.

    Raises
    ------
    ValueError
        If an argument is out of range.

    Examples
    --------
    >>> iteration = schulz(1e-3)
    >>> iteration.products
    10
    """
    if precision not in ("same", "bfloat16"):
        raise ValueError(f"precision={precision!r}; expected 'same' or 'bfloat16'")
    # Here, for errors about what was passed: of singular values the squares are the bounds.
    if not 0 < low < high < math.sqrt(sys.float_info.max):
        raise ValueError(f"low = {low}, high = {high}: expected spectral bounds with 0 < low < high, and high about 1")
    power = 1 if positive else 2
    if (low / high) ** power < _SMALLEST_RATIO:
        least = f"{high * _SMALLEST_RATIO ** (1 / power):.1e}"
        counted = "" if positive else " where singular values count twice (positive=False)"
        raise ValueError(f"low = {low} is too small beside high = {high}: expected at least {least}{counted}")
    bounds = (low**power, high**power)
    plan, early = cheapest_plan(*bounds, tolerance, first_step_free=positive), 0
    if precision == "bfloat16":
        roundoff = torch.finfo(torch.bfloat16).eps / 2
        # Rounding takes away from what a plan reaches: stricter ones, with a product more, have room for it.
        offers = [
            early_steps(
                cheapest_plan(*bounds, tolerance / stricter, first_step_free=positive),
                *bounds, tolerance, roundoff, largest=1 / low,
            )
            for stricter in _STRICTER
        ]  # fmt: skip
        best = min(offers, key=lambda offer: (_late_products(*offer), offer[0].products))
        if _late_products(*best) < plan.products:
            plan, early = best
    return SchulzIteration.from_plan(plan, positive=positive, early=early)


def _late_products(plan: Plan, early: int) -> int:
    """Count the products in full precision."""
    if early == 0:
        return plan.products
    return sum(step_products(step.degree) for step in plan.steps[early:])
