"""What `certified_inv` returns: inverse, bound, status and source, matrix by matrix."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from torch import Tensor

from neuralinv.dense._arrays import Array

ArrayT = TypeVar("ArrayT", bound=Array)


class Status(IntEnum):
    """What is proved about one matrix and its inverse."""

    CERTIFIED = 0
    """The relative error is at most `error_bound`, and that is at most rtol."""
    ILL_CONDITIONED = 1
    """Proved nonsingular, but the bound, which holds, is above rtol: infinite where the inverse overflows its dtype."""
    SINGULAR = 2
    """Singular to working precision: no residual below 1 could be reached."""
    NONFINITE = 3
    """The input holds NaN or infinity."""


class Source(IntEnum):
    """Which stage produced an inverse."""

    EXACT = 0
    """The exact kernel; there was no proposer."""
    PROPOSED = 1
    """The proposer's answer, certified as it came."""
    REFINED = 2
    """The proposer's answer after Newton–Schulz steps."""
    FALLBACK = 3
    """The exact kernel, after the proposer's answer could not be certified."""


_ADVICE = {
    Status.ILL_CONDITIONED: "their bounds hold but exceed rtol; pass a larger rtol, or the matrices in float64",
    Status.SINGULAR: "on_singular='nan' or 'pinv' returns the others and marks these",
    Status.NONFINITE: "the input holds NaN or infinity there",
}


@dataclass(frozen=True, repr=False)
class InverseResult(Generic[ArrayT]):
    """Inverses with a proof: every field has the batch shape of the input.

    Attributes
    ----------
    inverse
        Shape ``(*batch, n, n)``, dtype and kind of the input. NaN, or the pseudo-inverse, where there is no inverse.
    error_bound
        Shape ``(*batch,)``, float64: a proved bound of ``‖A⁻¹ − X‖_F / ‖A⁻¹‖_F``; infinity where nothing is proved.
    status, source
        Shape ``(*batch,)``, int8: a :class:`Status` and a :class:`Source` for each matrix.
    rtol
        The relative tolerance asked for.
    failure_probability
        With which each bound may be wrong: 0 for the deterministic certificate.
    """

    inverse: ArrayT
    error_bound: ArrayT
    status: ArrayT
    source: ArrayT
    rtol: float
    failure_probability: float = 0.0

    def count(self, member: Status | Source) -> int:
        """Return how many matrices have this status or source."""
        field: Any = self.status if isinstance(member, Status) else self.source
        return int((field == int(member)).sum())

    @property
    def certified(self) -> ArrayT:
        """Boolean mask of shape ``(*batch,)``: the bound is proved and at most rtol."""
        status: Any = self.status
        return status == int(Status.CERTIFIED)

    def map(self, function: Callable[[Any], Any]) -> InverseResult[Any]:
        """Apply ``function`` to each of the four arrays."""
        return InverseResult(
            function(self.inverse),
            function(self.error_bound),
            function(self.status),
            function(self.source),
            self.rtol,
            self.failure_probability,
        )

    def __repr__(self) -> str:
        shape = tuple(self.inverse.shape)
        return f"InverseResult(shape={shape}, certified={self.count(Status.CERTIFIED)}/{int(np.prod(shape[:-2]))})"

    def __str__(self) -> str:
        """Say in a few lines what was certified, by which stage, and what was not."""
        status, bound = _to_numpy(self.status), _to_numpy(self.error_bound)
        total, n = status.size, self.inverse.shape[-1]
        lines = [
            f"{total:,} {'inverse' if total == 1 else 'inverses'} of {n}×{n} matrices, rtol {self.rtol:.0e}",
            "  status  " + _counted(self, Status),
            "  source  " + _counted(self, Source),
        ]
        finite = bound[np.isfinite(bound)]
        if finite.size:
            lines.append(
                f"  proved relative error  median {np.median(finite):.1e}, largest {finite.max():.1e}"
                f"  (‖A⁻¹ − X‖_F / ‖A⁻¹‖_F)"
            )
        if self.failure_probability:
            lines.append(f"  each bound wrong with a probability of at most {self.failure_probability:.0e}")
        for member, advice in _ADVICE.items():
            if self.count(member):
                lines.append(f"  {member.name} at {name_indices(status == member)}: {advice}")
        return "\n".join(lines)


def name_indices(mask: np.ndarray[Any, Any] | Tensor, limit: int = 5) -> str:
    """Write the first ``limit`` true positions of ``mask`` as text, and how many more there are."""
    positions = np.argwhere(_to_numpy(mask))
    if positions.shape[1] == 0:  # one unbatched matrix
        return "the matrix"
    shown = ", ".join(str(p[0]) if len(p) == 1 else str(tuple(int(i) for i in p)) for p in positions[:limit].tolist())
    more = len(positions) - limit
    return f"[{shown}]" if more <= 0 else f"[{shown}, … {more:,} more]"


def _counted(result: InverseResult[Any], kind: type[Status] | type[Source]) -> str:
    return ", ".join(f"{m.name} {result.count(m):,}" for m in kind if result.count(m)) or "none"


def _to_numpy(array: Array) -> np.ndarray[Any, Any]:
    if isinstance(array, torch.Tensor):
        return array.detach().cpu().numpy()
    return np.asarray(array)
