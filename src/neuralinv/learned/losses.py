"""Training losses: each maps matrices, a network's candidates and true inverses to one number per matrix.

Which to use:

- ``direction``: the mean of ``½ log (‖AN − tI‖²_F + ‖NA − tI‖²_F) / 2‖N‖²_F`` with ``t = tr(AN) / n``, plus a little of
``residual``. It
  asks that the network's output N be parallel to the inverse, whatever its length: free of labels, of the determinant
  and of scale, so that nearly singular matrices pull no harder than others, and it keeps pulling when residuals are
  small. Both sides are needed: one alone also vanishes for N of rank one. The default for ``gated``, which computes the
  scale; for the other architectures the scale is not learned with it.
- ``residual``: the mean of ``‖I − AX‖_F``, dominated by the worst matrices of a batch; the default for ``mlp`` and
``resnet``,
  which cannot follow the pole of the inverse.
- ``log_residual``: the mean of ``log ‖I − AX‖_F``; every matrix weighs the same, with the scale included.
- ``two_sided``: the mean of ``(‖I − AX‖_F + ‖I − XA‖_F) / 2``, where right and left residuals matter alike.
- ``error``: the mean of ``‖A⁻¹ − X‖_F``, the absolute error, dominated by nearly singular matrices: set
``min_abs_det``.
- ``mse``: the mean squared error per element, what ordinary regression does; dominated by them more still.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from neuralinv.learned.architectures import Candidates


class Loss(NamedTuple):
    """A loss, and whether it looks at the true inverse."""

    function: Callable[[Tensor, Candidates, Tensor], Tensor]
    """Matrices, candidates and inverses, each ``(members, batch, n, n)``, to ``(members, batch)``."""
    needs_inverse: bool = False


def residual_norm(A: Tensor, X: Tensor) -> Tensor:
    """Return ``‖I − AX‖_F``, shape ``(*batch,)``, for matrices ``(*batch, n, n)``; a measure, not a proof."""
    identity = torch.eye(A.shape[-1], dtype=X.dtype, device=X.device)
    return smooth_norm(identity - A @ X)


def _direction(A: Tensor, candidates: Candidates, inverse: Tensor) -> Tensor:
    X, N = candidates
    AN, NA = A @ N, N @ A
    n = A.shape[-1]
    t = AN.diagonal(dim1=-2, dim2=-1).sum(-1)[..., None, None] / n
    tI = t * torch.eye(n, dtype=N.dtype, device=N.device)
    off = ((AN - tI).square().sum((-2, -1)) + (NA - tI).square().sum((-2, -1))) / 2
    # Below the roundoff of the arithmetic the mismatch is noise: stop pulling there.
    relative = off / N.square().sum((-2, -1)) + torch.finfo(N.dtype).eps ** 2
    return relative.log() / 2 + _RESIDUAL_WEIGHT * residual_norm(A, X)


def _log_residual(A: Tensor, candidates: Candidates, inverse: Tensor) -> Tensor:
    return torch.log(residual_norm(A, candidates.inverse) + torch.finfo(A.dtype).eps)


def _residual(A: Tensor, candidates: Candidates, inverse: Tensor) -> Tensor:
    return residual_norm(A, candidates.inverse)


def _two_sided(A: Tensor, candidates: Candidates, inverse: Tensor) -> Tensor:
    X = candidates.inverse
    return (residual_norm(A, X) + residual_norm(X, A)) / 2


def _error(A: Tensor, candidates: Candidates, inverse: Tensor) -> Tensor:
    return smooth_norm(inverse - candidates.inverse)


def _mse(A: Tensor, candidates: Candidates, inverse: Tensor) -> Tensor:
    return (inverse - candidates.inverse).square().mean((-2, -1))


def smooth_norm(A: Tensor) -> Tensor:
    """Return ``‖A‖_F`` of ``(*batch, m, n)``: ``(*batch,)``; a shift under the root keeps the gradient finite at
    zero.
    """
    return (A.square().sum((-2, -1)) + torch.finfo(A.dtype).tiny).sqrt()


_RESIDUAL_WEIGHT = 0.03

LOSSES = {
    "direction": Loss(_direction),
    "residual": Loss(_residual),
    "log_residual": Loss(_log_residual),
    "two_sided": Loss(_two_sided),
    "error": Loss(_error, needs_inverse=True),
    "mse": Loss(_mse, needs_inverse=True),
}
