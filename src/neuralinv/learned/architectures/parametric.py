"""Inverses of a parametric family: ``θ → X₀(θ) = Σ_r c_r(θ) B_r``, corrected and certified.

The basis comes from a proper orthogonal decomposition (POD) of exact inverses; the coefficients are polynomials of θ
(Chebyshev products of bounded total degree), or come in one of the other ways of
:mod:`neuralinv.learned.architectures.coefficients`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from neuralinv.dense import native
from neuralinv.dense.correction import Corrected, Workspace, correct
from neuralinv.dense.probabilistic import MOST_OVERESTIMATED, Odds
from neuralinv.families import Range
from neuralinv.learned.architectures.coefficients import CoefficientNetwork, Kind, project, sketch_columns
from neuralinv.learned.architectures.combination import Combination, as_matrices, small_product
from neuralinv.learned.architectures.family_inverse import FamilyInverse, FitReport, only_inside
from neuralinv.learned.architectures.probed import certify_with_probes
from neuralinv.learned.architectures.uniform import UniformCertificate, certify_uniformly


class ParametricInverse(FamilyInverse):
    """One set of modes for the whole box of parameters.

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
    probed
        Whether the modes were chosen so that random vectors certify most matrices as they are proposed
        (:mod:`~neuralinv.learned.architectures.probed`).
    most_overestimated
        By which factor they may overestimate: a smaller one takes more of them.
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
        probed: bool = False,
        most_overestimated: float = MOST_OVERESTIMATED,
        report: FitReport | None = None,
    ) -> None:
        super().__init__(ranges, size, dtype=dtype, rtol=rtol, report=report)
        self.rank, self.degree, self.kind = rank, degree, coefficients
        self.probed, self.most_overestimated = probed, most_overestimated
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
        self.work = Workspace()

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

    def coefficients(self, unit: Tensor, A: Tensor | None = None, features: Tensor | None = None) -> Tensor:
        """Map positions ``(batch, p)`` on [−1, 1] to coefficients ``(batch, rank)``, float64; differentiable.

        A projection looks at the matrices ``(batch, n, n)`` instead. Polynomials at the positions, where they are known
        already, are ``features``.
        """
        if self.network is not None:
            out: Tensor = self.network(unit)
            return out
        if self.sketch is None:
            return small_product(self.features(unit) if features is None else features, self.weight)
        if A is None:
            raise ValueError("coefficients by projection depend on the matrices: pass A as well, or call inv")
        inside = torch.isfinite(unit).all(-1, keepdim=True)
        sketch = torch.view_as_complex(self.sketch) if self.dtype.is_complex else self.sketch
        return torch.where(inside, project(A, self.combination.images(sketch), sketch), torch.nan)

    def candidates(self, theta: Tensor, A: Tensor | None) -> Tensor:
        """Return the candidates for parameters ``(batch, p)``; differentiable."""
        c = self.coefficients(self.positions(theta), A)
        return self.as_matrices(c.to(self.basis.dtype) @ self.basis)

    def certify(self, A: Tensor, theta: Tensor, odds: Odds | None) -> Corrected:
        """Propose, certify and correct; see :meth:`FamilyInverse.certify`."""
        return self.certify_at(A, only_inside(self.positions(theta)), odds)

    def certify_at(self, A: Tensor, unit: Tensor, odds: Odds | None, features: Tensor | None = None) -> Corrected:
        """The same at positions ``(batch, p)`` on [−1, 1], NaN where there is no proposal, with the polynomials there
        if they are known already.
        """
        if odds is None and self.uniform is None:
            return self._correct(A, unit, features)
        if odds is not None:
            X, bound = certify_with_probes(self, A, unit, odds, features)
            order = torch.ones(len(A), dtype=torch.int8, device=A.device)
        else:
            X, bound, order = certify_uniformly(self, A, unit, self.work, features)
        left = (~(bound <= self.rtol) & torch.isfinite(unit).all(-1)).nonzero().squeeze(1)
        if len(left):
            for whole, piece in zip((X, bound, order), self._correct(A[left], unit[left], None), strict=True):
                whole[left] = piece
        return Corrected(X, bound, order)

    def certify_by_probes(self, A: Tensor, theta: Tensor, odds: Odds) -> tuple[Tensor, Tensor]:
        """Return candidates and what random vectors say of them: see
        :func:`~neuralinv.learned.architectures.probed.certify_with_probes`.
        """
        return certify_with_probes(self, A, only_inside(self.positions(theta)), odds)

    def _correct(self, A: Tensor, unit: Tensor, features: Tensor | None) -> Corrected:
        """Certify through float64 residuals."""
        coefficients = self.coefficients(unit, A, features)
        return correct(A, lambda part: self.combine(coefficients[part]), self.rtol, work=self.work)

    def combine(self, coefficients: Tensor) -> Tensor:
        """Return ``Σ_r c_r B_r``, ``(batch, r)`` to ``(batch, n, n)``, in memory that the next call uses again."""
        memory = self.work.take("guess", self.basis[:1].expand(len(coefficients), -1), self.basis.dtype)
        return self.as_matrices(native.combine(coefficients.to(self.basis.dtype), self.basis, memory))

    def as_matrices(self, flat: Tensor) -> Tensor:
        """View rows of real numbers as matrices ``(batch, n, n)``."""
        return as_matrices(flat, self.size, is_complex=self.dtype.is_complex)


def total_degree_exponents(parameters: int, degree: int) -> Tensor:
    """Return all exponents ``(features, p)`` with sum at most ``degree``, constant first."""
    rows = [row for total in range(degree + 1) for row in _exponents(parameters, total)]
    return torch.tensor(rows, dtype=torch.int64)


def _exponents(parameters: int, total: int) -> Iterator[tuple[int, ...]]:
    if parameters == 1:
        yield (total,)
        return
    for first in range(total, -1, -1):
        for rest in _exponents(parameters - 1, total - first):
            yield (first, *rest)


def feature_count(parameters: int, degree: int) -> int:
    """Return the number of polynomials of at most this total degree."""
    return math.comb(parameters + degree, degree)


def chebyshev_features(unit: Tensor, exponents: Tensor) -> Tensor:
    """Return products of Chebyshev polynomials: ``(batch, p)`` on [−1, 1] to ``(batch, features)``.

    On the CPU NumPy multiplies them unless there is a gradient: so little work is not worth torch's threads.
    """
    plain = unit.device.type == "cpu" and not unit.requires_grad
    degree = int(exponents.max()) if exponents.numel() else 0
    position: Any = unit.mT.contiguous()  # (p, batch): whole rows are selected, in order
    places: Any = exponents.mT
    if plain:
        position, places = position.numpy(), places.numpy()
    twice = 2 * position
    powers = [twice * 0 + 1, position]
    for _ in range(2, degree + 1):
        powers.append(twice * powers[-1] - powers[-2])
    table = (np if plain else torch).stack(powers[: degree + 1])  # (degree + 1, p, batch)
    features = table[places[0], 0]
    for k in range(1, len(places)):
        features = features * table[places[k], k]
    return torch.from_numpy(features).mT if plain else features.mT
