"""How far the certificate reaches on a sample: it is asked, as no law of size and condition number foretells it.

Up to which condition number it proves ``rtol`` depends on the kernel that takes a size and dtype, on the spectrum and
on the scaling of rows and columns: between 1e3 and 1e13 at 1e-10, beyond 1e14 for 2×2 matrices.
"""

from __future__ import annotations

from typing import NamedTuple

import torch

from neuralinv.dense import certified_inv
from neuralinv.dense.result import Status
from neuralinv.study.advise.properties import Properties
from neuralinv.study.advise.sample import Sample


class Missed(NamedTuple):
    """How many matrices of a sample are ``ILL_CONDITIONED`` at a tolerance, and the median of their bounds."""

    total: int
    bound: float


def beyond_certificate(sample: Sample, properties: Properties, rtol: float) -> Missed:
    """Ask :func:`~neuralinv.certified_inv`, on the CPU and in the dtype of the matrices, what it cannot prove.

    Costs certified inverses of the sample, unless condition numbers leave no doubt.
    """
    dtype: torch.dtype = getattr(torch, properties.dtype)
    n, condition = properties.size, properties.condition
    # The rounding of a residual is 4 γ_{n+2} ‖A‖_F ‖A⁻¹‖_F at most, where ‖A‖_F ‖A⁻¹‖_F ≤ n κ₂.
    rounding = 2 * n * (n + 2) * torch.finfo(torch.float64).eps
    if condition is None or rounding * condition.largest + torch.finfo(dtype).eps <= rtol:
        return Missed(0, 0.0)
    result = certified_inv(sample.matrices.to(dtype), rtol=rtol, on_singular="nan")
    bounds = result.error_bound[result.status == int(Status.ILL_CONDITIONED)]
    return Missed(len(bounds), float(bounds.median()) if len(bounds) else 0.0)
