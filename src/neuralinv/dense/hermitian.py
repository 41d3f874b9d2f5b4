"""Matrices that are said to be Hermitian: their lower triangle is read, and derivatives treat both triangles alike."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd.function import Function


def hermitian_part(A: Tensor) -> Tensor:
    """Return ``(A + Aᴴ) / 2`` for ``A (*batch, n, n)``."""
    return (A + A.mH) / 2


class _FromLower(Function):
    """The gradient is ``(G + Gᴴ) / 2`` for the gradient ``G`` of the Hermitian matrix, as that of
    ``torch.linalg.cholesky``. The derivative along ``E`` has to be that of ``(E + Eᴴ) / 2``, then.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(A: Tensor) -> Tensor:
        return _mirrored(A)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return hermitian_part(grads[0])

    @staticmethod
    def jvp(ctx: Any, *tangents: Tensor) -> Tensor:
        return hermitian_part(tangents[0])


def from_lower(A: Tensor) -> Tensor:
    """Return the Hermitian matrices ``(*batch, n, n)`` that the lower triangles of ``A`` stand for, whatever is above
    them; to derivatives, the Hermitian part of ``A``.
    """
    if torch.compiler.is_compiling() or torch._C._get_tracing_state() is not None:
        return _traced(A)
    return cast(Tensor, _FromLower.apply(A))


def _traced(A: Tensor) -> Tensor:
    """Do what :class:`_FromLower` does in operations of torch's: torch.compile may forget derivatives that are given.

    Only where an entry above the diagonal is not finite, the one below takes its share in derivatives.
    """
    own = torch.where(torch.isfinite(A), A, A.mH)
    half = own / 2 + own.mH / 2
    return _mirrored(A).detach() + (half - half.detach())


def _mirrored(A: Tensor) -> Tensor:
    return A.tril() + A.tril(-1).mH
