"""A trained ensemble of networks as users meet it: `propose` maps matrices to candidate inverses."""

from __future__ import annotations

from typing import NamedTuple, TypeVar, cast

import torch
from torch import Tensor, nn

from neuralinv.dense._arrays import Array, as_tensor, check_square
from neuralinv.learned.architectures import Architecture, Candidates, build
from neuralinv.learned.config import ModelConfig
from neuralinv.learned.losses import residual_norm

ArrayT = TypeVar("ArrayT", bound=Array)


class Scaled(NamedTuple):
    """Matrices as a network sees them, in its dtype, and its answers; ``inverse / scale`` approximates the inverses of
    the originals.
    """

    matrices: Tensor
    candidates: Candidates
    scale: Tensor
    """Shape ``([members,] batch, 1, 1)``; ``matrices`` are the originals divided by it."""


class InverseNetwork(nn.Module):
    """An ensemble of networks that propose inverses of n×n matrices.

    Give it to :func:`neuralinv.certified_inv` as ``proposer``; on its own it answers without any guarantee.

    Parameters
    ----------
    config
        What to build; weights are fresh, from torch's global generator.

    Raises
    ------
    ConfigError
        If there is no such architecture; a ``ValueError``.

    Attributes
    ----------
    size
        n.
    config
        The configuration it was built from.
    """

    identity: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.size = config.size
        self.architecture = build(config)
        # Follows the weights wherever they go: it tells their dtype.
        self.register_buffer("identity", torch.eye(config.size), persistent=False)

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
        that no scaling brings into the range that it was trained on, where that range has one sign.

        Raises
        ------
        ValueError
            If the matrices are of another size.
        TypeError
            If they are complex, or a tensor of integers.
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
        scaled, (candidates, _), scale = self.candidates(A.reshape(-1, self.size, self.size))
        best = candidates[0] if len(candidates) == 1 else _best_member(scaled, candidates)
        return (best / scale).to(A.dtype).reshape(A.shape)

    def candidates(self, A: Tensor) -> Scaled:
        """Scale matrices ``([members,] batch, n, n)`` and return every member's candidates for them."""
        architecture = cast(Architecture, self.architecture)
        scale = architecture.scale(A)
        scaled = self._inside_range((A / scale).to(self.identity.dtype))
        return Scaled(scaled, architecture(scaled), scale)

    def _inside_range(self, A: Tensor) -> Tensor:
        """Put NaN where no scaling brings a matrix into the range that the network was trained on."""
        low, high = self.config.low, self.config.high
        if low < 0 < high:
            return A
        # All elements have one sign, and the ratio of smallest to largest is bounded.
        positive = A if low >= 0 else -A
        inner, outer = sorted((abs(low), abs(high)))
        smallest, largest = positive.amin((-2, -1), keepdim=True), positive.amax((-2, -1), keepdim=True)
        return torch.where(smallest >= (inner / outer) * (1 - 1e-6) * largest, A, torch.nan)


def _best_member(A: Tensor, candidates: Tensor) -> Tensor:
    """Take for each matrix the candidate with the smallest residual: ``(members, batch, n, n)`` to ``(batch, n,
    n)``.
    """
    with torch.no_grad():
        residuals = residual_norm(A, candidates).nan_to_num(nan=torch.inf)
        best = residuals.argmin(0)[None, :, None, None].expand(1, *candidates.shape[1:])
    return candidates.gather(0, best)[0]
