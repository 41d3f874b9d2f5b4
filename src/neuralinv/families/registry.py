"""The registry of families: named distributions of matrices, drawn on any device.

Two kinds of family share one record. Some draw each matrix anew (``gaussian``). Others are *parametric*: chance fixes
an operator once (the points of a kernel, the taps of a channel), and a few parameters θ move it, ``θ → A(θ)``. Those
can be sampled like the others, and :meth:`Family.matrix_function` gives the map itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor

from neuralinv.families.distance import at_distance
from neuralinv.families.settings import as_float, finite, is_whole

MatrixFunction: TypeAlias = Callable[[Tensor], Tensor]
"""Maps parameters ``(*batch, p)``, real, to matrices ``(*batch, n, n)``; differentiable."""


@dataclass(frozen=True)
class Range:
    """Where one parameter lies.

    Attributes
    ----------
    low, high
        Its bounds.
    log
        Whether it is spread evenly in logarithm.

    Raises
    ------
    ValueError
        Unless both bounds are finite and ``low < high``, and above 0 for a range in logarithm.
    """

    low: float
    high: float
    log: bool = False

    def __post_init__(self) -> None:
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise ValueError(f"low = {self.low}, high = {self.high}: expected finite numbers with low < high")
        if self.log and self.low <= 0:
            raise ValueError(f"low = {self.low}: a range in logarithm lies above 0")

    def at(self, unit: Tensor) -> Tensor:
        """Map positions in [0, 1] to values, any shape."""
        if self.log:
            return torch.exp(math.log(self.low) + math.log(self.high / self.low) * unit).clamp(self.low, self.high)
        return (self.low + (self.high - self.low) * unit).clamp(self.low, self.high)

    def position(self, value: Tensor) -> Tensor:
        """Map values to positions: the inverse of :meth:`at`, below 0 or above 1 outside the range."""
        if self.log:
            return (value.clamp(min=1e-300).log() - math.log(self.low)) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)


@dataclass(frozen=True)
class Family:
    """A named distribution of n×n matrices.

    Attributes
    ----------
    name, description
        For people.
    draw
        ``(count, size, generator=, dtype=, device=, **parameters)`` to ``(count, size, size)``; None where the family
        is parametric.
    parameters
        The settings that ``draw`` or ``build`` takes, and their defaults.
    spectrum, reference
        What is known of eigenvalues or singular values; and where the family is described.
    symmetry
        ``"general"``, ``"hermitian"`` or ``"positive"`` (Hermitian positive definite).
    complex
        Whether the matrices are complex; real ones can usually be drawn in a complex dtype all the same.
    build
        ``(size, generator=, dtype=, device=, **parameters)`` to a :data:`MatrixFunction`, where the family is
        parametric.
    ranges
        θ by name, in order; empty where the family is not parametric.
    domains
        What a parameter with a range has to be if it is held at a value, beside finite: a check of
        :mod:`neuralinv.families.settings`. Ranges are where parameters are drawn from; domains are where the matrices
        are what the family says.
    """

    name: str
    description: str
    draw: Callable[..., Tensor] | None = None
    parameters: Mapping[str, float] = field(default_factory=dict)
    spectrum: str = ""
    reference: str = ""
    symmetry: Literal["general", "hermitian", "positive"] = "general"
    complex: bool = False
    build: Callable[..., MatrixFunction] | None = None
    ranges: Mapping[str, Range] = field(default_factory=dict)
    domains: Mapping[str, Callable[[str, float], float]] = field(default_factory=dict)

    @property
    def parametric(self) -> bool:
        """Whether the family is a map ``θ → A(θ)``."""
        return self.build is not None

    @property
    def default_dtype(self) -> torch.dtype:
        """Double precision, of the family's own kind."""
        return torch.complex128 if self.complex else torch.float64

    def sample(
        self,
        count: int | tuple[int, ...],
        size: int,
        *,
        generator: torch.Generator,
        dtype: torch.dtype | None = None,
        device: torch.device | str = "cpu",
        distance: float | None = None,
        **parameters: float,
    ) -> Tensor:
        """Draw ``(*count, size, size)`` matrices.

        Parameters
        ----------
        count, size
            How many, or the shape of the batch; and n.
        generator
            Of the device; the draws depend on nothing else.
        dtype, device
            Of the matrices; double precision by default.
        distance
            Move every matrix to this relative distance ``σ_n / σ₁`` from the nearest singular one (see
            :func:`~neuralinv.families.distance.at_distance`).
        parameters
            Override the family's defaults; a parameter with a range is held at the value given, not drawn. That may
            lie outside its range, but not where the matrices are no longer of the family (:attr:`domains`). All
            matrices of a parametric family belong to one operator, at parameters drawn from the ranges.

        Raises
        ------
        ValueError
            If a parameter is unknown, no number or not what the family needs, count or size is negative or no whole
            number, the dtype holds no fractions, or a complex family is asked for real matrices; or if the matrices
            are not finite at these parameters, in this dtype.
        """
        shape = tuple(count) if isinstance(count, tuple | list) else (count,)
        if not all(is_whole(k, 0) for k in shape) or not is_whole(size, 1):
            raise ValueError(
                f"count = {count}, size = {size}: expected a whole count of at least 0 and a whole size of at least 1"
            )
        dtype = self._check_dtype(dtype)
        parameters = self._numbers(parameters, {**self.parameters, **self.ranges})
        total = math.prod(shape)
        if self.draw is not None:
            settings = {**self.parameters, **parameters}
            A = self.draw(total, size, generator=generator, dtype=dtype, device=device, **settings)
        else:
            settings = {name: value for name, value in parameters.items() if name not in self.ranges}
            held = {name: value for name, value in parameters.items() if name in self.ranges}
            function = self.matrix_function(size, generator=generator, dtype=dtype, device=device, **settings)
            A = function(self.thetas(total, generator=generator, device=device, **held))
        self._check_finite(A, parameters)
        if distance is not None:
            A = at_distance(A, distance)
            self._check_finite(A, parameters)
        return A.reshape(*shape, size, size)

    def matrix_function(
        self,
        size: int,
        *,
        generator: torch.Generator,
        dtype: torch.dtype | None = None,
        device: torch.device | str = "cpu",
        **parameters: float,
    ) -> MatrixFunction:
        """Fix an operator by chance and return ``θ → A(θ)``: parameters ``(*batch, p)`` to ``(*batch, n, n)``.

        The coordinates of θ are those of :attr:`ranges`, in that order. The map is differentiable, takes θ of any real
        dtype on the device, and works in double precision. It gives what its formula says for any θ, outside of
        :attr:`domains`, too, and where that is not finite: nobody pays for a check at each call.

        Raises
        ------
        ValueError
            If the family is not parametric, or a setting is unknown or out of range.
        """
        if self.build is None:
            raise ValueError(self._not_parametric())
        if not is_whole(size, 1):
            raise ValueError(f"size = {size}: expected a whole number of at least 1")
        dtype = self._check_dtype(dtype)
        parameters = self._numbers(parameters, self.parameters)
        wide = torch.complex128 if dtype.is_complex else torch.float64
        function = self.build(size, generator=generator, dtype=wide, device=device, **{**self.parameters, **parameters})
        width = len(self.ranges)

        def matrices(theta: Tensor) -> Tensor:
            if theta.ndim < 1 or theta.shape[-1] != width:
                raise ValueError(
                    f"family {self.name!r} has {width} parameters ({', '.join(self.ranges)}) and was given parameters "
                    f"of shape {tuple(theta.shape)}; expected (*batch, {width})"
                )
            return function(theta.double()).to(dtype)

        return matrices

    def thetas(
        self, count: int, *, generator: torch.Generator, device: torch.device | str = "cpu", **parameters: float
    ) -> Tensor:
        """Draw parameters ``(count, p)``, float64, evenly over their ranges; those given are held at their values.

        Raises
        ------
        ValueError
            If the family is not parametric, a parameter is unknown or not what the family needs (:attr:`domains`), or
            the count is negative or no whole number.
        """
        if not self.parametric:
            raise ValueError(self._not_parametric())
        if not is_whole(count, 0):
            raise ValueError(f"count = {count}: expected a whole number of at least 0")
        parameters = self._numbers(parameters, self.ranges)
        for name, value in parameters.items():
            self.domains.get(name, finite)(name, finite(name, value))
        unit = torch.rand(count, len(self.ranges), generator=generator, dtype=torch.float64, device=device)
        columns = [
            range_.at(unit[:, k]) if name not in parameters else torch.full_like(unit[:, k], parameters[name])
            for k, (name, range_) in enumerate(self.ranges.items())
        ]
        return torch.stack(columns, -1)

    def _check_dtype(self, dtype: torch.dtype | None) -> torch.dtype:
        if dtype is None:
            return self.default_dtype
        if not (dtype.is_floating_point or dtype.is_complex):
            raise ValueError(f"dtype = {dtype}: a family is drawn in a floating-point or complex dtype")
        if self.complex and not dtype.is_complex:
            raise ValueError(f"family {self.name!r} is complex and cannot be drawn as {dtype}; pass a complex dtype")
        return dtype

    def _not_parametric(self) -> str:
        return f"family {self.name!r} draws each matrix anew; it has no parameters to move"

    def _check_finite(self, A: Tensor, parameters: Mapping[str, float]) -> None:
        # One pass and no copy, which isfinite would make. NaN is its own smallest and largest.
        parts = torch.view_as_real(A) if A.is_complex() else A
        parts = parts if parts.dtype.itemsize > 1 else parts.float()
        if parts.numel() and not all(bool(torch.isfinite(extreme)) for extreme in torch.aminmax(parts)):
            held = ", ".join(f"{name} = {value}" for name, value in parameters.items()) or "its defaults"
            raise ValueError(
                f"family {self.name!r} with {held}: the matrices are not finite in {A.dtype}; pass less extreme values"
            )

    def _numbers(self, parameters: Mapping[str, object], known: Mapping[str, Any]) -> dict[str, float]:
        """Check that each is known here, and a number; return them as floats."""
        unknown = [name for name in parameters if name not in known]
        if unknown:
            names = ", ".join(known) or "none"
            raise ValueError(f"family {self.name!r} has no parameter {sorted(unknown)[0]!r}; known are {names}")
        return {name: as_float(name, value) for name, value in parameters.items()}
