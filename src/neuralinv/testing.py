"""Conformance checks for matrix inverses, public so that another implementation can run them too.

One table of cases and one table of tolerances feed every suite: the oracle is dense float64 (complex128) LAPACK.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from neuralinv.dense import lapack

TOLERANCE = {
    torch.float16: 1e-2,
    torch.bfloat16: 6e-2,
    torch.float32: 2e-6,
    torch.float64: 4e-15,
    torch.complex64: 4e-6,
    torch.complex128: 8e-15,
}
"""Allowed relative error of an inverse in the Frobenius norm, per unit of condition number."""


@dataclass(frozen=True)
class InverseCase:
    """A named batch of invertible matrices ``(*batch, n, n)``."""

    name: str
    A: Tensor


def inverse_cases(dtype: torch.dtype = torch.float64, *, seed: int = 0) -> Iterator[InverseCase]:
    """Yield batches of invertible matrices: all sizes, batch shapes, scales, memory layouts and pivoting extremes.

    Parameters
    ----------
    dtype
        Of the matrices. Extreme scales appear only where it can represent the inverse.
    seed
        Of the random entries.
    """
    generator = torch.Generator().manual_seed(seed)

    def uniform(*shape: int) -> Tensor:
        if dtype.is_complex:
            parts = torch.rand(*shape, 2, generator=generator, dtype=torch.float64) * 2 - 1
            return torch.view_as_complex(parts)
        return torch.rand(*shape, generator=generator, dtype=torch.float64) * 2 - 1

    for n in (1, 2, 3, 4, 5, 8, 17, 33):
        yield InverseCase(f"uniform {n}×{n}", (uniform(5, n, n) + 2 * torch.eye(n)).to(dtype))
    dominant = uniform(2, 3, 1, 4, 4) + 4 * torch.eye(4)
    yield InverseCase("several batch dimensions", dominant.to(dtype))
    yield InverseCase("no batch dimension", dominant[0, 0, 0].to(dtype))
    yield InverseCase("empty batch", uniform(0, 3, 3).to(dtype))
    yield InverseCase("0×0", uniform(2, 0, 0).to(dtype))
    yield InverseCase("transposed memory", dominant.to(dtype).mT)
    yield InverseCase("strided memory", dominant.to(dtype).repeat_interleave(2, -1)[..., ::2])
    yield InverseCase("broadcast batch", dominant[0, 0].to(dtype).expand(7, 4, 4))
    yield InverseCase("zero leading entry", torch.tensor([[0, 1, 2], [1, 0, 3], [4, -3, 8]], dtype=dtype))
    yield InverseCase("permutation", torch.eye(6, dtype=dtype).flip(0).roll(2, 0))
    yield InverseCase("triangular", torch.triu(uniform(6, 6) + 3 * torch.eye(6)).to(dtype))
    if torch.finfo(dtype).max > 1e37:
        for scale in (1e-30, 1e30):
            yield InverseCase(f"scale {scale:.0e}", (scale * dominant).to(dtype))


def check_inverse(inverse: Callable[[Tensor], Tensor], dtype: torch.dtype = torch.float64) -> None:
    """Check a function from matrices to inverses on every case of :func:`inverse_cases`.

    Raises
    ------
    AssertionError
        If a result has another shape or dtype than its input, or is less accurate than the table allows; the message
        names the case.
    """
    for case in inverse_cases(dtype):
        X = inverse(case.A)
        if X.shape != case.A.shape or X.dtype != dtype:
            raise AssertionError(
                f"{case.name}: got {X.dtype} {tuple(X.shape)} for {case.A.dtype} {tuple(case.A.shape)}"
            )
        error, allowed = relative_error(case.A, X), TOLERANCE[dtype] * condition_number(case.A)
        if bool((error > allowed).any()) or bool(error.isnan().any()):
            raise AssertionError(
                f"{case.name}: relative error {float(error.max()):.1e}, allowed {float(allowed.max()):.1e}"
            )


def relative_error(A: Tensor, X: Tensor) -> Tensor:
    """Return ``‖A⁻¹ − X‖_F / ‖A⁻¹‖_F`` against a float64 inverse; shape ``(*batch,)``, 0 for 0×0 matrices."""
    true = _wide_inverse(A)
    size = torch.linalg.matrix_norm(true)
    distance = torch.linalg.matrix_norm(true - X.to(true.dtype))
    return torch.where(size > 0, distance / size, 0)


def condition_number(A: Tensor) -> Tensor:
    """Return ``‖A‖_F ‖A⁻¹‖_F`` from float64, at least 1; shape ``(*batch,)``."""
    product: Any = torch.linalg.matrix_norm(A.to(_wide(A))) * torch.linalg.matrix_norm(_wide_inverse(A))
    return product.clamp(min=1.0)


def _wide(A: Tensor) -> torch.dtype:
    return torch.complex128 if A.is_complex() else torch.float64


def _wide_inverse(A: Tensor) -> Tensor:
    return lapack.inverse(A.to(_wide(A)), positive=False)
