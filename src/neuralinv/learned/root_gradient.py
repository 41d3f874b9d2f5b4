"""Derivatives of inverse p-th roots, of any order.

With ``X = A^{-1/p}``, ``Xᵖ = A⁻¹`` gives ``L(dX) = −A⁻¹ dA A⁻¹`` for

    L(S) = Σ_k Xᵏ S X^{p−1−k},    k = 0 … p − 1,

a Sylvester operator for p = 2. It is self-adjoint, so that a gradient G with respect to X becomes ``−A⁻¹ L⁻¹(G) A⁻¹``
with respect to A. In the eigenbasis of X, L divides by ``Σ_k x_iᵏ x_j^{p−1−k}``, a sum of positive numbers: equal
eigenvalues make no trouble (Higham, *Functions of Matrices*, §3.2 and Thm 3.11).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from neuralinv.dense.scaling import widen


class ImplicitRoot(torch.autograd.Function):
    """Passes a root on, and differentiates it as what it is."""

    @staticmethod
    def forward(ctx: Any, A: Tensor, X: Tensor, p: int) -> Tensor:
        # A view would be an input that is returned.
        output = X.clone()
        ctx.save_for_backward(output)
        ctx.save_for_forward(output)
        ctx.p = p
        return output

    @staticmethod
    def jvp(ctx: Any, *tangents: Tensor) -> Tensor:
        (X,) = ctx.saved_tensors
        wide, dA = widen(X), tangents[0]
        inverse = torch.linalg.matrix_power(wide, ctx.p)
        return _Solution.apply(wide, -inverse @ widen(dA + dA.mH) / 2 @ inverse, ctx.p).to(X.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        (X,) = ctx.saved_tensors
        G, p = grads[0], ctx.p
        there = X.isfinite().flatten(-2).all(-1)[..., None, None]
        identity = torch.eye(X.shape[-1], dtype=X.dtype, device=X.device)
        wide = widen(torch.where(there, X, identity))
        inverse = torch.linalg.matrix_power(wide, p)
        gradient = -inverse @ _Solution.apply(wide, widen(G + G.mH) / 2, p) @ inverse
        # Where nobody used X, NaN in it must not reach the shared parameters behind A.
        used = (G != 0).flatten(-2).any(-1)[..., None, None]
        return torch.where(used, torch.where(there, gradient.to(X.dtype), torch.nan), 0), None, None


class _Solution(torch.autograd.Function):
    """``S = L⁻¹(G)`` for Hermitian positive definite X and Hermitian G, both ``(*batch, n, n)``."""

    @staticmethod
    def forward(ctx: Any, X: Tensor, G: Tensor, p: int) -> Tensor:
        x, Q = torch.linalg.eigh(X)
        rows, columns = x[..., :, None], x[..., None, :]
        divisor = sum(rows**k * columns ** (p - 1 - k) for k in range(p))
        S = Q @ ((Q.mH @ G @ Q) / divisor) @ Q.mH
        ctx.save_for_backward(X, S)
        ctx.p = p
        return S

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None]:
        X, S = ctx.saved_tensors
        p = ctx.p
        H = _Solution.apply(X, (grads[0] + grads[0].mH) / 2, p)
        # L(dS) = dG − Σ_k d(Xᵏ) S X^{p−1−k} + …, so that the gradient for X is that of −⟨H, Σ_k Xᵏ S X^{p−1−k}⟩ with H
        # and S held.
        powers = [torch.linalg.matrix_power(X, k) for k in range(p)]
        total = torch.zeros_like(X)
        for k in range(p):
            for a in range(k):  # an X before S
                total = total - powers[a] @ H @ powers[p - 1 - k] @ S @ powers[k - 1 - a]
            for b in range(p - 1 - k):  # an X after S
                total = total - powers[b] @ S @ powers[k] @ H @ powers[p - 2 - k - b]
        return (total + total.mH) / 2, H, None
