"""Parametric inverses that random vectors certify as they are proposed: O(k n²) operations beside the combination.

The vectors meet the inverses as they are returned (:mod:`neuralinv.dense.probabilistic`), so that modes, coefficients
and the rounding of both need no bounds of their own. They are drawn after A, θ and the model exist, so that the
inverses cannot depend on them.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from neuralinv.dense import native
from neuralinv.dense.probabilistic import Odds, draw_probes, probable_error_bound
from neuralinv.dense.result_memory import new_tensor
from neuralinv.learned.architectures.combination import as_rows


class Modes(Protocol):
    """What random vectors need of a parametric inverse."""

    basis: Tensor
    most_overestimated: float

    def coefficients(self, unit: Tensor, A: Tensor | None = None, features: Tensor | None = None, /) -> Tensor: ...


@torch.no_grad()
def certify_with_probes(
    model: Modes, A: Tensor, unit: Tensor, odds: Odds, features: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Propose inverses of ``A``, ``(batch, n, n)``, at positions ``unit``, ``(batch, p)``, NaN where there is no
    proposal; return them, and bounds of their relative errors, float64 ``(batch,)``, infinity where nothing is proved.
    ``features`` are the polynomials there, if they are known already.

    Notes
    -----
    ``2 n² (r + 3k)`` operations for each matrix, r the number of modes, two thirds of those with the k vectors in
    double precision.
    """
    X = new_tensor(A)
    rows = as_rows(X)
    native.combine(model.coefficients(unit, A, features).to(rows.dtype), model.basis, rows)
    probes = draw_probes(A, odds, most=model.most_overestimated)
    return X, probable_error_bound(A, X, probes, odds.failure_probability)
