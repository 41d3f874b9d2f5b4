"""Inverses of a parametric family: ``θ → X₀(θ) = Σ_r c_r(θ) B_r``, corrected and certified.

The basis comes from a proper orthogonal decomposition (POD) of exact inverses; the coefficients are polynomials of θ
(Chebyshev products of bounded total degree), or come in one of the other ways of
:mod:`neuralinv.learned.architectures.coefficients`.
"""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, TypeVar, cast

import torch
from torch import Tensor, nn

from neuralinv.dense import certified_inv, native
from neuralinv.dense._arrays import Array, as_tensor, check_square
from neuralinv.dense.certified import ImplicitInverse
from neuralinv.dense.correction import Corrected, Workspace, correct
from neuralinv.dense.probabilistic import MOST_OVERESTIMATED, Odds
from neuralinv.dense.result import InverseResult, Source
from neuralinv.families import Range
from neuralinv.learned.architectures.coefficients import CoefficientNetwork, Kind, project, sketch_columns
from neuralinv.learned.architectures.combination import Combination, as_matrices
from neuralinv.learned.architectures.probed import certify_with_probes
from neuralinv.learned.architectures.uniform import UniformCertificate, certify_uniformly

ArrayT = TypeVar("ArrayT", bound=Array)

LARGEST_FALLBACK_SHARE = 0.01
_OUTSIDE = 1e-9  # how far beyond a range, relative to it, still counts as rounding


@dataclass(frozen=True)
class FitReport:
    """What a fit chose, and how it did on parameters that it had not seen.

    Attributes
    ----------
    rank, degree, order
        Modes; total degree of the polynomials; order of the correction that the rank was chosen for (order k costs k −
        1 products).
    snapshots, held_out
        Exact inverses that were computed, and matrices that were kept for the test.
    certified_share
        Of the held-out matrices, without fallback.
    residual
        Largest ``‖I − A X₀‖_F`` of the held-out matrices.
    seconds
        Of the fit.
    """

    rank: int
    degree: int
    order: int
    snapshots: int
    held_out: int
    certified_share: float
    residual: float
    seconds: float

    def to_table(self) -> dict[str, float | int]:
        """Return the values by name."""
        return asdict(self)


class ParametricInverse(nn.Module):
    """Inverts the matrices of one parametric family, given their parameters.

    Made by :func:`neuralinv.learned.fit_parametric`; weights never change afterwards.

    Parameters
    ----------
    ranges
        θ by name, in order.
    size, rank, degree
        n; modes; total degree of the polynomials.
    dtype
        Of the matrices: float32, float64, complex64 or complex128.
    rtol
        The relative error that certifies.
    matrix_rank
        Terms of the model of the matrices that a proof for all parameters needs
        (:mod:`~neuralinv.learned.architectures.uniform`); 0 for none.
    coefficients
        ``"polynomial"``, ``"network"`` or ``"projection"``.
    most_overestimated
        By which factor a probabilistic certificate may overestimate: a smaller one takes more random vectors
        (:mod:`~neuralinv.learned.architectures.probed`).
    """

    basis: Tensor
    weight: Tensor
    exponents: Tensor
    sketch: Tensor | None

    def __init__(
        self,
        ranges: Mapping[str, Range],
        size: int,
        rank: int,
        degree: int,
        *,
        dtype: torch.dtype = torch.float32,
        rtol: float = 1e-6,
        matrix_rank: int = 0,
        coefficients: Kind = "polynomial",
        most_overestimated: float = MOST_OVERESTIMATED,
        report: FitReport | None = None,
    ) -> None:
        super().__init__()
        self.ranges = dict(ranges)
        self.size, self.rank, self.degree, self.dtype, self.rtol = size, rank, degree, dtype, rtol
        self.report, self.kind, self.most_overestimated = report, coefficients, most_overestimated
        exponents = total_degree_exponents(len(ranges), degree)
        width = size * size * (2 if dtype.is_complex else 1)
        self.register_buffer("basis", torch.zeros(rank, width, dtype=dtype.to_real()))
        self.register_buffer("weight", torch.zeros(len(exponents), rank, dtype=torch.float64))
        self.register_buffer("exponents", exponents, persistent=False)
        self.uniform = UniformCertificate(len(exponents), matrix_rank, rank, size, width) if matrix_rank else None
        self.network = CoefficientNetwork(len(ranges), rank) if coefficients == "network" else None
        # Real numbers: files know no complex128.
        shape = (size, sketch_columns(size, rank), *((2,) if dtype.is_complex else ()))
        self.register_buffer(
            "sketch", torch.zeros(shape, dtype=torch.float64) if coefficients == "projection" else None
        )
        self._combination: tuple[tuple[int, int], Combination] | None = None
        self._work = Workspace()

    @property
    def combination(self) -> Combination:
        """The modes as a proof for all parameters sees them, before they are rounded to working precision."""
        terms = self.basis if self.uniform is None else self.uniform.inverse_basis
        version = (id(terms), terms._version)  # weights are written once more when a file is read
        if self._combination is None or self._combination[0] != version:
            self._combination = (version, Combination(terms, self.size, self.dtype))
        return self._combination[1]

    def features(self, unit: Tensor) -> Tensor:
        """Return the polynomials at positions ``(batch, p)`` on [−1, 1]: ``(batch, features)``."""
        return chebyshev_features(unit, self.exponents)

    def coefficients(self, unit: Tensor, A: Tensor | None = None) -> Tensor:
        """Map positions ``(batch, p)`` on [−1, 1] to coefficients ``(batch, rank)``, float64; differentiable.

        A projection looks at the matrices ``(batch, n, n)`` instead.
        """
        if self.network is not None:
            out: Tensor = self.network(unit)
            return out
        if self.sketch is None:
            return self.features(unit) @ self.weight
        if A is None:
            raise ValueError("coefficients by projection depend on the matrices: pass A as well, or call inv")
        inside = torch.isfinite(unit).all(-1, keepdim=True)
        sketch = torch.view_as_complex(self.sketch) if self.dtype.is_complex else self.sketch
        return torch.where(inside, project(A, self.combination.images(sketch), sketch), torch.nan)

    def propose(self, theta: Tensor, A: Tensor | None = None) -> Tensor:
        """Return the candidates ``X₀(θ)``, ``(*batch, p)`` to ``(*batch, n, n)``: no guarantee, differentiable.

        Raises
        ------
        ValueError
            If the parameters have another number, or the fit projects and there are no matrices ``A``.
        """
        theta = self._check_theta(theta)
        matrices = None if A is None else A.reshape(-1, self.size, self.size)
        c = self.coefficients(self.positions(theta.reshape(-1, theta.shape[-1])), matrices)
        flat = c.to(self.basis.dtype) @ self.basis
        return self.as_matrices(flat).reshape(*theta.shape[:-1], self.size, self.size)

    def forward(self, theta: Tensor) -> Tensor:
        """Propose; see :meth:`propose`."""
        return self.propose(theta)

    def inv(
        self,
        A: ArrayT,
        theta: Array,
        *,
        on_singular: Literal["raise", "nan"] = "raise",
        certificate: Literal["deterministic", "probabilistic"] = "deterministic",
        failure_probability: float = 1e-10,
        generator: torch.Generator | None = None,
    ) -> InverseResult[ArrayT]:
        """Invert matrices of the family and prove how wrong each answer can be.

        Parameters
        ----------
        A
            Shape ``(*batch, n, n)`` in the dtype of the fit, NumPy array or torch tensor: the bound is about these
            matrices.
        theta
            Shape ``(*batch, p)``: their parameters.
        on_singular
            As for :func:`neuralinv.certified_inv`.
        certificate, failure_probability, generator
            ``"probabilistic"`` first looks at the residuals through a few random vectors, in O(n²) operations: a bound
            is wrong with at most this probability, for each matrix of its own. Made for fits with
            ``certificate="probabilistic"``; what it cannot certify takes the deterministic way. Without a generator (of
            the device of ``A``) the seed is fresh with each call.

        Returns
        -------
        As :func:`neuralinv.certified_inv`. Matrices whose parameters lie outside the fitted ranges, or whose correction
        does not reach ``rtol``, are inverted exactly (``FALLBACK``); a share above 1 % warns.

        Raises
        ------
        ValueError
            If shapes do not fit, or an argument is out of range.
        TypeError
            If ``A`` has another dtype.
        """
        if certificate not in ("deterministic", "probabilistic"):
            raise ValueError(f"certificate={certificate!r}; expected 'deterministic' or 'probabilistic'")
        odds = None
        if certificate == "probabilistic":
            odds = Odds(failure_probability, generator)
        tensor, restore = as_tensor(A)
        check_square(tensor, A)
        parameters = self._check_theta(as_tensor(theta)[0])
        self._check_matrices(tensor, parameters)
        batch, n = tensor.shape[:-2], self.size
        flat = tensor.detach().reshape(batch.numel(), n, n)
        at = parameters.detach().reshape(len(flat), len(self.ranges)).double()
        result = self._invert(flat, at, on_singular, odds)
        shaped = result.map(lambda field: field.reshape(batch + field.shape[1:]))
        if tensor.requires_grad:
            inverse = cast(ArrayT, ImplicitInverse.apply(tensor, shaped.inverse))
            return replace(shaped, inverse=inverse)
        return shaped.map(restore)

    @torch.no_grad()
    def certified_share(self, A: Tensor, theta: Tensor, odds: Odds | None = None) -> float:
        """Return the share of matrices ``(batch, n, n)`` that certify without fallback."""
        return float((self.propose_and_correct(A, theta, odds).error_bound <= self.rtol).double().mean())

    @torch.no_grad()
    def _invert(
        self, A: Tensor, theta: Tensor, on_singular: Literal["raise", "nan"], odds: Odds | None
    ) -> InverseResult[Tensor]:
        result = self.propose_and_correct(A, theta, odds)
        X, bound, source = result.inverse, result.error_bound, result.source
        failed = (~(bound <= self.rtol)).nonzero().squeeze(1)
        if len(failed):
            exact = certified_inv(A[failed], rtol=self.rtol, on_singular=on_singular)
            X[failed], bound[failed], result.status[failed] = exact.inverse, exact.error_bound, exact.status
            source[failed] = int(Source.FALLBACK)
            if len(failed) > LARGEST_FALLBACK_SHARE * len(A):
                warnings.warn(
                    f"{len(failed):,} of {len(A):,} matrices were inverted exactly: their parameters lie outside the "
                    "fitted ranges, they are not of the fitted family, or the fit is too coarse; fit again",
                    stacklevel=3,
                )
        return result

    def propose_and_correct(self, A: Tensor, theta: Tensor, odds: Odds | None = None) -> InverseResult[Tensor]:
        """Everything but the fallback: where the bound exceeds rtol, the answer is of no use."""
        unit = self._inside(theta)
        if odds is not None:
            X, bound = certify_with_probes(self, A, unit, odds)
            order = torch.ones(len(A), dtype=torch.int8, device=A.device)
        elif self.uniform is not None:
            X, bound, order = certify_uniformly(self, A, unit, self._work)
        else:
            X, bound, order = self._correct(A, unit)
        if odds is not None or self.uniform is not None:
            left = (~(bound <= self.rtol) & torch.isfinite(unit).all(-1)).nonzero().squeeze(1)
            if len(left):
                for whole, piece in zip((X, bound, order), self._correct(A[left], unit[left]), strict=True):
                    whole[left] = piece
        source = torch.where(order == 1, int(Source.PROPOSED), int(Source.REFINED)).to(torch.int8)
        probability = 0.0 if odds is None else odds.failure_probability
        return InverseResult(X, bound, torch.zeros_like(source), source, self.rtol, probability)

    def certify_by_probes(self, A: Tensor, theta: Tensor, odds: Odds) -> tuple[Tensor, Tensor]:
        """Return candidates and what random vectors say of them: see
        :func:`~neuralinv.learned.architectures.probed.certify_with_probes`.
        """
        return certify_with_probes(self, A, self._inside(theta), odds)

    def _inside(self, theta: Tensor) -> Tensor:
        """Positions on [−1, 1], NaN outside: polynomials run wild there, and there is no proposal."""
        unit = self.positions(theta)
        inside = ((unit >= -1 - _OUTSIDE) & (unit <= 1 + _OUTSIDE)).all(-1, keepdim=True)
        return torch.where(inside, unit.clamp(-1, 1), torch.nan)

    def _correct(self, A: Tensor, unit: Tensor) -> Corrected:
        """Certify through float64 residuals."""
        coefficients = self.coefficients(unit, A).to(self.basis.dtype)

        def combined(part: slice | Tensor) -> Tensor:
            here = coefficients[part]
            memory = self._work.take("guess", self.basis[:1].expand(len(here), -1), here.dtype)
            return self.as_matrices(native.combine(here, self.basis, memory))

        return correct(A, combined, self.rtol, work=self._work)

    def as_matrices(self, flat: Tensor) -> Tensor:
        """View rows of real numbers as matrices ``(batch, n, n)``."""
        return as_matrices(flat, self.size, is_complex=self.dtype.is_complex)

    def positions(self, theta: Tensor) -> Tensor:
        """Parameters ``(batch, p)`` on [−1, 1], float64."""
        columns = [range_.position(theta[..., k].double()) for k, range_ in enumerate(self.ranges.values())]
        return 2 * torch.stack(columns, -1) - 1

    def _check_theta(self, theta: Tensor) -> Tensor:
        if theta.is_complex() or theta.ndim < 1 or theta.shape[-1] != len(self.ranges):
            raise ValueError(
                f"parameters are {theta.dtype} of shape {tuple(theta.shape)}; expected real ones of shape "
                f"(*batch, {len(self.ranges)}): {', '.join(self.ranges)}"
            )
        return theta

    def _check_matrices(self, A: Tensor, theta: Tensor) -> None:
        if A.shape[-1] != self.size or A.shape[:-2] != theta.shape[:-1]:
            raise ValueError(
                f"matrices of shape {tuple(A.shape)} with parameters of shape {tuple(theta.shape)}; expected "
                f"(*batch, {self.size}, {self.size}) and (*batch, {len(self.ranges)})"
            )
        if A.dtype != self.dtype:
            raise TypeError(
                f"matrices are {A.dtype}, and the fit was made for {self.dtype}; convert them, or fit again"
            )


def total_degree_exponents(parameters: int, degree: int) -> Tensor:
    """Return all exponents ``(features, p)`` with sum at most ``degree``, constant first."""
    rows: list[tuple[int, ...]] = []
    for total in range(degree + 1):
        for places in itertools.combinations_with_replacement(range(parameters), total):
            rows.append(tuple(places.count(k) for k in range(parameters)))
    return torch.tensor(rows, dtype=torch.int64).reshape(len(rows), parameters)


def feature_count(parameters: int, degree: int) -> int:
    """Return the number of polynomials of at most this total degree."""
    return math.comb(parameters + degree, degree)


def chebyshev_features(unit: Tensor, exponents: Tensor) -> Tensor:
    """Return products of Chebyshev polynomials: ``(batch, p)`` on [−1, 1] to ``(batch, features)``."""
    degree = int(exponents.max()) if exponents.numel() else 0
    position = unit.mT.contiguous()  # (p, batch): whole rows are selected, in order
    twice = 2 * position
    powers: list[Any] = [torch.ones_like(position), position]
    for _ in range(2, degree + 1):
        powers.append(twice * powers[-1] - powers[-2])
    table = torch.stack(powers[: degree + 1])  # (degree + 1, p, batch)
    features = table[:, 0].index_select(0, exponents[:, 0])
    for k in range(1, exponents.shape[1]):
        features = features * table[:, k].index_select(0, exponents[:, k])
    return features.mT
