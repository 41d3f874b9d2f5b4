"""Matrices that are said to be Hermitian: their lower triangle is read, and derivatives treat both triangles alike."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd.function import Function


class _FromLower(Function):
    """The gradient is ``(G + Gᴴ) / 2`` for the gradient ``G`` of the Hermitian matrix, as that of
    ``torch.linalg.cholesky``. The derivative along ``E`` has to be that of ``(E + Eᴴ) / 2``, then.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(A: Tensor) -> Tensor:
        return mirrored(A)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return (grads[0] + grads[0].mH) / 2

    @staticmethod
    def jvp(ctx: Any, *tangents: Tensor) -> Tensor:
        return (tangents[0] + tangents[0].mH) / 2


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
    return mirrored(A).detach() + (half - half.detach())


def mirrored(A: Tensor) -> Tensor:
    """Return the lower triangles, mirrored."""
    return A.tril() + A.tril(-1).mH
