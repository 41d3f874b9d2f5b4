"""Larger matrices from inverses of small blocks: recursive Schur complements.

With ``A = [[A₁₁, A₁₂], [A₂₁, A₂₂]]``, ``P = A₁₁⁻¹``, ``S = A₂₂ − A₂₁ P A₁₂`` and ``Q = S⁻¹`` (Banachiewicz 1937;
Higham, *Accuracy and Stability*, §14.2):

    A⁻¹ = [[P + P A₁₂ Q A₂₁ P,  −P A₁₂ Q],
           [−Q A₂₁ P,            Q      ]].
"""

from __future__ import annotations

import torch
from torch import Tensor

from neuralinv.dense.pipeline import Proposer, invert_and_certify, propose
from neuralinv.dense.refine import newton_schulz
from neuralinv.dense.result import Status
from neuralinv.dense.scaling import normalise, scale_by_power_of_two, widen

_LEAF_RTOL = 1e-10
_BLOCK_TOLERANCE = 1e-9


class SchurProposer:
    """Extends a proposer for m×m matrices to n×n ones, for any n.

    The matrix is padded with an identity block to a multiple of m and split in balanced halves down to m×m leaves,
    batched over the matrices. A leaf goes through propose → refine → certify → fall back, so that a leading block on
    which the network fails is inverted exactly; each assembled inverse is refined in float64 before the next level uses
    it, so that errors do not grow with n. Where a leading block is singular, the proposal is NaN, and
    :func:`~neuralinv.certified_inv` falls back to the exact kernel for that matrix.

    Parameters
    ----------
    leaf
        Proposer for ``(batch, m, m)``.
    size
        m.
    """

    def __init__(self, leaf: Proposer, size: int) -> None:
        if size < 1:
            raise ValueError(f"size={size}; a leaf block has at least one row")
        self.leaf = leaf
        self.leaf_size = size

    def __call__(self, A: Tensor) -> Tensor:
        """Propose inverses for ``A`` of shape ``(batch, n, n)``; returns float64 (complex128) of that shape.

        About 4 n³ floating-point operations for the recursion, and 4 n³ for each refinement step at the outermost
        level.
        """
        n, m = A.shape[-1], self.leaf_size
        wide = widen(A)
        if n == 0:
            return wide
        scaled, exponent = normalise(wide)
        padding = -n % m
        if padding:
            padded = scaled.new_zeros(len(A), n + padding, n + padding)
            padded[:, :n, :n] = scaled
            padded[:, n:, n:] = torch.eye(padding, dtype=scaled.dtype, device=scaled.device)
            scaled = padded
        inverse = self._invert(scaled)[:, :n, :n]
        return scale_by_power_of_two(inverse, -exponent)

    def _invert(self, A: Tensor) -> Tensor:
        n, m = A.shape[-1], self.leaf_size
        if n == m:
            return self._invert_leaf(A)
        k = (n // m) // 2 * m
        A11, A12, A21, A22 = A[:, :k, :k], A[:, :k, k:], A[:, k:, :k], A[:, k:, k:]
        P = self._invert(A11)
        PA12, A21P = P @ A12, A21 @ P
        Q = self._invert(A22 - A21 @ PA12)
        inverse = torch.empty_like(A)
        X12 = torch.matmul(PA12, -Q)
        inverse[:, :k, :k] = P - X12 @ A21P
        inverse[:, :k, k:] = X12
        inverse[:, k:, :k] = torch.matmul(-Q, A21P)
        inverse[:, k:, k:] = Q
        refined, _, _ = newton_schulz(A, inverse, _BLOCK_TOLERANCE)
        return refined

    def _invert_leaf(self, A: Tensor) -> Tensor:
        # Schur complements are of any scale, and NaN where the leading block was singular: ask about the identity
        # there.
        finite = torch.isfinite(A).flatten(1).all(1)
        identity = torch.eye(A.shape[-1], dtype=A.dtype, device=A.device)
        scaled, exponent = normalise(torch.where(finite[:, None, None], A, identity))
        inverse, _, status, _ = invert_and_certify(
            scaled, torch.zeros_like(exponent), propose(self.leaf, scaled), dtype=A.dtype, rtol=_LEAF_RTOL
        )
        inverse[(status == Status.SINGULAR) | ~finite] = torch.nan
        return scale_by_power_of_two(inverse, -exponent)
