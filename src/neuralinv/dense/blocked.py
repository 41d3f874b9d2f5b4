"""Inverses of matrices larger than the GPU's kernels take, from blocks that they do.

Schur's complements down to blocks of the kernel's size (:mod:`neuralinv.dense.schur`), on batched products in float64,
refined and certified; what that cannot certify is left to torch. Where this is faster than torch's routine is for the
table of :mod:`neuralinv.kernels.crossover` to say.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from neuralinv.dense import gpu, lapack
from neuralinv.dense.certified import certified_inv
from neuralinv.dense.result import Status
from neuralinv.dense.schur import SchurProposer

_ROUNDINGS = 32
"""Certified relative error, in units of roundoff: what elimination with partial pivoting does at its best."""


def _by_kernel(A: Tensor) -> Tensor:
    return gpu.invert_ex(A)[0]


def inverse(A: Tensor, block: int = 32, leaf: Callable[[Tensor], Tensor] = _by_kernel) -> Tensor:
    """Invert ``(*batch, n, n)``, real, by blocks of ``block`` rows that ``leaf`` inverts.

    Raises
    ------
    torch.linalg.LinAlgError
        If a matrix is singular.

    Notes
    -----
    About 10 n³ floating-point operations in float64, most of them in batched products. Waits for the device, to find
    what must be computed otherwise.
    """
    rtol = max(_ROUNDINGS * torch.finfo(A.dtype).eps, 1e-12)
    result = certified_inv(A.detach(), SchurProposer(leaf, block), rtol=rtol, on_singular="nan")
    X, unproved = result.inverse, result.status >= int(Status.SINGULAR)
    if bool(unproved.any()):
        if A.ndim == 2:
            return lapack.inverse(A, positive=False)
        X[unproved] = lapack.inverse(A[unproved], positive=False)
    return X
