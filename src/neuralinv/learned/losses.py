"""Training losses: each maps matrices, candidate inverses and true inverses to one number per matrix.

Which to use:

- ``log_residual``, the mean of ``log ‖I − AX‖_F``: every matrix weighs the same whatever its conditioning, and the loss
keeps pulling when
  residuals are small. The default; Newton–Schulz turns small residuals into accurate inverses.
- ``residual``, the mean of ``‖I − AX‖_F``: dominated by the worst matrices of a batch; use it where no residual may
reach 1, for networks
  that cannot follow the pole (``mlp``, ``resnet``).
- ``two_sided``, the mean of ``(‖I − AX‖_F + ‖I − XA‖_F) / 2``: where right and left residuals matter alike; one product
more.
- ``error``, the mean of ``‖A⁻¹ − X‖_F``: the absolute error of the inverse, dominated by nearly singular matrices: set
``min_abs_det``.
- ``mse``, the mean squared error per element: what ordinary regression does, more dominated by nearly singular matrices
still.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor


class Loss(NamedTuple):
    """A loss, and whether it looks at the true inverse."""

    function: Callable[[Tensor, Tensor, Tensor], Tensor]
    """``(A, X, inverse)``, each ``(members, batch, n, n)``, to ``(members, batch)``."""
    needs_inverse: bool = False


def residual_norm(A: Tensor, X: Tensor) -> Tensor:
    """Return ``‖I − AX‖_F``, shape ``(*batch,)``, for matrices ``(*batch, n, n)``; a measure, not a proof."""
    identity = torch.eye(A.shape[-1], dtype=X.dtype, device=X.device)
    return _norm(identity - A @ X)


def _residual(A: Tensor, X: Tensor, inverse: Tensor) -> Tensor:
    return residual_norm(A, X)


def _log_residual(A: Tensor, X: Tensor, inverse: Tensor) -> Tensor:
    # Below the roundoff of the arithmetic a residual is noise: stop pulling there.
    return torch.log(residual_norm(A, X) + 8 * torch.finfo(X.dtype).eps)


def _two_sided(A: Tensor, X: Tensor, inverse: Tensor) -> Tensor:
    return (residual_norm(A, X) + residual_norm(X, A)) / 2


def _error(A: Tensor, X: Tensor, inverse: Tensor) -> Tensor:
    return _norm(inverse - X)


def _mse(A: Tensor, X: Tensor, inverse: Tensor) -> Tensor:
    return (inverse - X).square().mean((-2, -1))


def _norm(A: Tensor) -> Tensor:
    # A shift under the root keeps the gradient finite at zero.
    return (A.square().sum((-2, -1)) + torch.finfo(A.dtype).tiny).sqrt()


LOSSES = {
    "residual": Loss(_residual),
    "log_residual": Loss(_log_residual),
    "two_sided": Loss(_two_sided),
    "error": Loss(_error, needs_inverse=True),
    "mse": Loss(_mse, needs_inverse=True),
}
