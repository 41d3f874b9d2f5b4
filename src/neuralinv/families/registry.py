"""The registry of families: named distributions of matrices, drawn on any device."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass(frozen=True)
class Family:
    """A named distribution of n×n matrices.

    Attributes
    ----------
    name, description
        For people.
    draw
        ``(count, size, generator=, dtype=, device=, **parameters)`` to ``(count, size, size)``.
    parameters
        The parameters that ``draw`` takes, and their defaults.
    """

    name: str
    description: str
    draw: Callable[..., Tensor]
    parameters: Mapping[str, float] = field(default_factory=dict)

    def sample(
        self,
        count: int,
        size: int,
        *,
        generator: torch.Generator,
        dtype: torch.dtype = torch.float64,
        device: torch.device | str = "cpu",
        **parameters: float,
    ) -> Tensor:
        """Draw ``(count, size, size)`` matrices.

        Parameters
        ----------
        count, size
            How many, and n.
        generator
            Of the device; the draws depend on nothing else.
        dtype, device
            Of the matrices.
        parameters
            Override the family's defaults.

        Raises
        ------
        ValueError
            If a parameter is unknown or out of range, or count or size is negative.
        """
        if count < 0 or size < 1:
            raise ValueError(f"count = {count}, size = {size}: expected a count of at least 0 and a size of at least 1")
        unknown = set(parameters) - set(self.parameters)
        if unknown:
            known = ", ".join(self.parameters) or "none"
            raise ValueError(f"family {self.name!r} has no parameter {sorted(unknown)[0]!r}; known are {known}")
        settings = {**self.parameters, **parameters}
        return self.draw(count, size, generator=generator, dtype=dtype, device=device, **settings)
