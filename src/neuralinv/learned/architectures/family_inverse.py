"""What all inverses of parametric families have in common: checks, certificate, fallback, and what a fit reports.

Subclasses propose and certify; whatever they cannot certify is inverted exactly here.
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, Self, TypeVar, cast

import torch
from torch import Tensor, nn

from neuralinv.dense import certified_inv
from neuralinv.dense._arrays import Array, as_numbers, as_tensor, check_square, is_differentiated
from neuralinv.dense.certified import ImplicitInverse, check_raise_or_nan, check_rounding, raise_if_singular
from neuralinv.dense.correction import Corrected
from neuralinv.dense.eager import outside_of_graphs
from neuralinv.dense.probabilistic import Odds
from neuralinv.dense.result import InverseResult, Source
from neuralinv.families import Range

ArrayT = TypeVar("ArrayT", bound=Array)

LARGEST_FALLBACK_SHARE = 0.01
_OUTSIDE = 1e-9  # how far beyond a range, relative to it, still counts as rounding


@dataclass(frozen=True)
class FitReport:
    """What a fit chose, and how it did on parameters that it had not seen.

    Attributes
    ----------
    rank, mean_rank
        Modes: most of any cell, and on average over the box.
    degree
        Total degree of the polynomials, the highest of any cell.
    order
        Of the correction, on average over the matrices held out (order k costs k − 1 products).
    cells
        Into which the box was partitioned; 1 for one set of modes.
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
    mean_rank: float
    degree: int
    order: float
    cells: int
    snapshots: int
    held_out: int
    certified_share: float
    residual: float
    seconds: float

    def to_table(self) -> dict[str, float | int]:
        """Return the values by name."""
        return asdict(self)


class FamilyInverse(nn.Module, ABC):
    """Inverts the matrices of one parametric family, given their parameters.

    Parameters
    ----------
    ranges
        θ by name, in order.
    size, dtype
        n; of the matrices: float32, float64, complex64 or complex128.
    rtol
        The relative error that certifies.
    report
        What the fit found, if there was one.
    """

    def __init__(
        self, ranges: Mapping[str, Range], size: int, *, dtype: torch.dtype, rtol: float, report: FitReport | None
    ) -> None:
        super().__init__()
        self.ranges = dict(ranges)
        self.size, self.dtype, self.rtol, self.report = size, dtype, rtol, report

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Move to another device, but keep dtypes: what was proved about the fit is about numbers of these."""

        def kept(tensor: Tensor) -> Tensor:
            moved = fn(tensor)
            return moved if moved.dtype == tensor.dtype else tensor.to(moved.device)

        return super()._apply(kept, recurse)

    def propose(self, theta: ArrayT, A: Array | None = None) -> ArrayT:
        """Return the candidates ``X₀(θ)``, ``(*batch, p)`` to ``(*batch, n, n)``, of the kind of ``theta``: no
        guarantee, differentiable for tensors.

        Raises
        ------
        ValueError
            If the parameters have another number, the matrices another size or number, or the fit projects and there
            are no matrices ``A``.
        TypeError
            If either is no numeric array.
        """
        parameters, restore = as_numeric(theta, "theta")
        self._check_theta(parameters)
        matrices = None
        if A is not None:
            matrices = as_numeric(A, "A")[0]
            self._check_shapes(matrices, parameters)
            matrices = matrices.reshape(-1, self.size, self.size)
        X = self.candidates(parameters.reshape(-1, len(self.ranges)), matrices)
        return cast(ArrayT, restore(X.reshape(*parameters.shape[:-1], self.size, self.size)))

    def forward(self, theta: Tensor) -> Tensor:
        """Propose; see :meth:`propose`."""
        return self.propose(theta)

    @abstractmethod
    def candidates(self, theta: Tensor, A: Tensor | None) -> Tensor:
        """Return the candidates for parameters ``(batch, p)``; differentiable."""

    @abstractmethod
    def certify(self, A: Tensor, theta: Tensor, odds: Odds | None) -> Corrected:
        """Propose inverses of ``A``, ``(batch, n, n)``, for ``theta``, ``(batch, p)``, float64; certify and correct
        them. Order 1 is as proposed; a bound above rtol says that the inverse is of no use.
        """

    @outside_of_graphs
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
            Shape ``(*batch, p)``: their parameters, NumPy array or torch tensor, whole numbers included.
        on_singular
            ``"raise"`` or ``"nan"``, as for :func:`neuralinv.certified_inv`.
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
        numpy.linalg.LinAlgError, torch.linalg.LinAlgError
            With ``on_singular="raise"``, naming the matrices without an inverse; the type follows the kind of ``A``.
        ValueError
            If shapes do not fit, parameters are complex, or an argument is out of range.
        TypeError
            If ``A`` has another dtype.
        """
        if certificate not in ("deterministic", "probabilistic"):
            raise ValueError(f"certificate={certificate!r}; expected 'deterministic' or 'probabilistic'")
        check_raise_or_nan(on_singular)
        check_rounding()
        odds = None
        if certificate == "probabilistic":
            odds = Odds(failure_probability, generator)
        tensor, restore = as_tensor(A)
        tensor = as_numbers(tensor, "A")
        check_square(tensor, A)
        parameters = as_numbers(as_numeric(theta, "theta")[0], "theta")
        self._check_theta(parameters)
        self._check_shapes(tensor, parameters)
        if tensor.dtype != self.dtype:
            raise TypeError(
                f"matrices are {tensor.dtype}, and the fit was made for {self.dtype}; convert them, or fit again with "
                f"dtype={tensor.dtype}"
            )
        batch, n = tensor.shape[:-2], self.size
        flat = tensor.detach().reshape(batch.numel(), n, n)
        at = parameters.detach().reshape(len(flat), len(self.ranges)).double()
        result = self._invert(flat, at, odds)
        shaped = result.map(lambda field: field.reshape(batch + field.shape[1:]))
        if on_singular == "raise":
            raise_if_singular(shaped, A, "on_singular='nan'")
        if is_differentiated(tensor):
            inverse = cast(ArrayT, ImplicitInverse.apply(tensor, shaped.inverse))
            return replace(shaped, inverse=inverse)
        return shaped.map(restore)

    @torch.no_grad()
    def certified_share(self, A: Tensor, theta: Tensor, odds: Odds | None = None) -> float:
        """Return the share of matrices ``(batch, n, n)`` that certify without fallback."""
        return float((self.propose_and_correct(A, theta, odds).error_bound <= self.rtol).double().mean())

    @torch.no_grad()
    def _invert(self, A: Tensor, theta: Tensor, odds: Odds | None) -> InverseResult[Tensor]:
        result = self.propose_and_correct(A, theta, odds)
        X, bound, source = result.inverse, result.error_bound, result.source
        failed = (~(bound <= self.rtol)).nonzero().squeeze(1)
        if len(failed):
            exact = certified_inv(A[failed], rtol=self.rtol, on_singular="nan")
            X[failed], bound[failed], result.status[failed] = exact.inverse, exact.error_bound, exact.status
            source[failed] = int(Source.FALLBACK)
            if len(failed) > LARGEST_FALLBACK_SHARE * len(A):
                warnings.warn(
                    f"{len(failed):,} of {len(A):,} matrices were inverted exactly: their parameters lie outside the "
                    "fitted ranges, they are not of the fitted family, or the fit is too coarse; fit again",
                    stacklevel=5,  # past no_grad, inv and its wrapper, to the caller
                )
        return result

    def propose_and_correct(self, A: Tensor, theta: Tensor, odds: Odds | None = None) -> InverseResult[Tensor]:
        """Everything but the fallback: where the bound exceeds rtol, the answer is of no use."""
        found = self.certify(A, theta, odds)
        source = found.source
        probability = 0.0 if odds is None else odds.failure_probability
        return InverseResult(found.inverse, found.error_bound, torch.zeros_like(source), source, self.rtol, probability)

    def positions(self, theta: Tensor) -> Tensor:
        """Parameters ``(batch, p)`` on [−1, 1], float64."""
        columns = [range_.position(theta[..., k].double()) for k, range_ in enumerate(self.ranges.values())]
        return 2 * torch.stack(columns, -1) - 1

    def _check_theta(self, theta: Tensor) -> None:
        if theta.is_complex() or theta.ndim < 1 or theta.shape[-1] != len(self.ranges):
            raise ValueError(
                f"parameters are {theta.dtype} of shape {tuple(theta.shape)}; expected real ones of shape "
                f"(*batch, {len(self.ranges)}): {', '.join(self.ranges)}"
            )

    def _check_shapes(self, A: Tensor, theta: Tensor) -> None:
        if A.shape[-2:] != (self.size, self.size) or A.shape[:-2] != theta.shape[:-1]:
            raise ValueError(
                f"matrices of shape {tuple(A.shape)} with parameters of shape {tuple(theta.shape)}; expected "
                f"(*batch, {self.size}, {self.size}) and (*batch, {len(self.ranges)})"
            )


def as_numeric(array: Array, name: str) -> tuple[Tensor, Callable[[Tensor], Any]]:
    """View an array or a tensor as a tensor of floating-point or complex numbers; whole numbers become float64. Also
    return the function that brings results back to its kind.

    Raises
    ------
    TypeError
        If it is no numeric array.
    """
    if isinstance(array, Tensor) and not array.is_floating_point() and not array.is_complex():
        array = array.double()
    return as_tensor(array, name=name)


def only_inside(unit: Tensor) -> Tensor:
    """Return positions on [−1, 1], NaN outside: polynomials run wild there, and there is no proposal."""
    inside = ((unit >= -1 - _OUTSIDE) & (unit <= 1 + _OUTSIDE)).all(-1, keepdim=True)
    return torch.where(inside, unit.clamp(-1, 1), torch.nan)
