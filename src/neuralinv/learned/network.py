"""A trained ensemble of networks as users meet it: `propose` maps matrices to candidate inverses."""

from __future__ import annotations

from typing import TypeVar, cast

import torch
from torch import Tensor, nn

from neuralinv.dense._arrays import Array, as_tensor, check_square
from neuralinv.learned.architectures import Architecture, build
from neuralinv.learned.config import ModelConfig
from neuralinv.learned.losses import residual_norm

ArrayT = TypeVar("ArrayT", bound=Array)


class InverseNetwork(nn.Module):
    """An ensemble of networks that propose inverses of n×n matrices.

    Give it to :func:`neuralinv.certified_inv` as ``proposer``; on its own it answers without any guarantee.

    Parameters
    ----------
    config
        What to build; weights are fresh, from torch's global generator.

    Attributes
    ----------
    size
        n.
    config
        The configuration it was built from.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.size = config.size
        self.architecture = build(config)

    def propose(self, A: ArrayT) -> ArrayT:
        """Return the raw network's candidate inverses, without refinement or certificate.

        Parameters
        ----------
        A
            Shape ``(*batch, n, n)`` with the network's n, real; NumPy array or torch tensor, of any scale.

        Returns
        -------
        Candidates: shape, dtype and kind of ``A``; differentiable for tensors. For each matrix the member with the
        smallest residual ``‖I − AX‖_F`` answers. NaN where the network cannot: zero or non-finite matrices, and those
        outside of the range that it was trained on, where that range does not follow from scaling (``low`` ≠
        ``−high``).

        Raises
        ------
        ValueError
            If the matrices are of another size.
        TypeError
            If they are complex.
        """
        tensor, restore = as_tensor(A)
        check_square(tensor)
        return cast(ArrayT, restore(self(tensor)))

    def forward(self, A: Tensor) -> Tensor:
        """Propose for a tensor ``(*batch, n, n)``; see :meth:`propose`."""
        if A.shape[-1] != self.size:
            n, m = A.shape[-1], self.size
            raise ValueError(
                f"this network inverts {m}×{m} matrices and was given {n}×{n} ones; "
                "certified_inv applies it to blocks of larger matrices"
            )
        if A.is_complex():
            raise TypeError("this network inverts real matrices; certified_inv without a proposer inverts complex ones")
        candidates, scale = self.candidates(A.reshape(-1, self.size, self.size))
        best = candidates[0] if len(candidates) == 1 else candidates.gather(0, self._best(A, candidates, scale))[0]
        return (best.to(A.dtype) / scale).reshape(A.shape)

    def candidates(self, A: Tensor) -> tuple[Tensor, Tensor]:
        """Return every member's candidate for the scaled matrices ``A / scale``, and the scale.

        ``A`` has shape ``([members,] batch, n, n)``; the candidates, in the network's dtype, ``(members, batch, n,
        n)``; the scale ``([members,] batch, 1, 1)``. ``candidates / scale`` approximates the inverses of ``A``.
        """
        architecture = cast(Architecture, self.architecture)
        scale = architecture.scale(A)
        return architecture(self._scaled(A, scale)), scale

    def _scaled(self, A: Tensor, scale: Tensor) -> Tensor:
        scaled = (A / scale).to(next(self.parameters()).dtype)
        low, high = self.config.low, self.config.high
        if low == -high:
            return scaled
        # A range that is not symmetric is no cone of all matrices: what lies outside stays unanswered.
        bound = max(abs(low), abs(high))
        relative = A / A.abs().amax((-2, -1), keepdim=True)
        inside = ((relative >= low / bound) & (relative <= high / bound)).all(-1, keepdim=True).all(-2, keepdim=True)
        return torch.where(inside, scaled, torch.nan)

    def _best(self, A: Tensor, candidates: Tensor, scale: Tensor) -> Tensor:
        """Index of the member with the smallest residual, expanded for ``gather``: ``(1, batch, n, n)``."""
        scaled = (A.reshape(-1, self.size, self.size) / scale).to(candidates.dtype)
        with torch.no_grad():
            residuals = residual_norm(scaled, candidates).nan_to_num(nan=torch.inf)
        return residuals.argmin(0)[None, :, None, None].expand(1, *candidates.shape[1:])
