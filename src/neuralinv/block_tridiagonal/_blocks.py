"""Blocks on two diagonals: checks of shapes and kinds, right-hand sides, products, dense forms."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Real
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from neuralinv.dense._arrays import Array, as_tensor
from neuralinv.dense.precision import without_autocast

_DTYPES = (torch.float32, torch.float64)


class Blocks(NamedTuple):
    """Blocks with one batch shape."""

    diag: Tensor
    """Shape ``(*batch, T, n, n)``."""
    lower: Tensor
    """Shape ``(*batch, T − 1, n, n)``."""
    is_numpy: bool
    """Whether results go back as NumPy arrays."""

    @property
    def shape(self) -> tuple[int, ...]:
        """``(*batch, T n, T n)``."""
        size = self.diag.shape[-3] * self.diag.shape[-1]
        return (*self.diag.shape[:-3], size, size)

    def restore(self, value: Tensor) -> Any:
        """Bring a result to the kind that the blocks came in."""
        return value.detach().cpu().numpy()[()] if self.is_numpy else value

    def __str__(self) -> str:
        *batch, steps, n, _ = self.diag.shape
        return f"batch={tuple(batch)}, T={steps}, n={n}, {self.diag.dtype}"


class Columns(NamedTuple):
    """Right-hand sides."""

    given: Tensor
    """Shape ``(*batch, T, n)`` if ``single``, else ``(*batch, T, n, k)``; with the batch broadcast."""
    single: bool
    """Whether there is one for each matrix, without a dimension of its own."""
    widened: bool
    """Whether the batch is larger than that of the blocks."""
    blocks: Blocks

    @property
    def value(self) -> Tensor:
        """Shape ``(*batch, T, n, k)``."""
        return self.given.unsqueeze(-1) if self.single else self.given

    def restore(self, result: Tensor) -> Any:
        """Bring a result of that shape to the shape and kind of the original."""
        return self.blocks.restore(result.squeeze(-1) if self.single else result)


def as_blocks(diag: Array, lower: Array) -> Blocks:
    """Check and broadcast; see :class:`neuralinv.BlockTridiagonal` for what is raised."""
    D, B = _as_tensor(diag, "diag"), _as_tensor(lower, "lower")
    if D.dtype not in _DTYPES or B.dtype != D.dtype:
        raise TypeError(f"diag is {D.dtype} and lower {B.dtype}; expected both float32 or both float64")
    if not (B.is_cpu and D.is_cpu) and B.device != D.device:
        raise ValueError(f"diag is on {D.device} and lower on {B.device}; expected the same device")
    shape = D.shape  # each look at a shape costs a tenth of a microsecond
    if len(shape) < 3 or shape[-1] != shape[-2] or 0 in shape[-3:]:
        raise ValueError(f"diag has shape {tuple(shape)}; expected (*batch, T, n, n) with T, n ≥ 1")
    *batch, steps, n, _ = shape
    if B.shape != (*batch, steps - 1, n, n):
        expected = (steps - 1, n, n)
        broadcast = common_batch(shape[:-3], B.shape[:-3])
        if B.ndim < 3 or B.shape[-3:] != expected or broadcast is None:
            raise ValueError(
                f"lower has shape {tuple(B.shape)} and diag {tuple(shape)}; expected lower of (*batch, "
                f"{', '.join(map(str, expected))}), one block fewer than diag"
            )
        D, B = D.expand(*broadcast, steps, n, n), B.expand(*broadcast, *expected)
    return Blocks(D, B, not isinstance(diag, Tensor))


def as_columns(blocks: Blocks, b: Array, name: str) -> Columns:
    """Read ``b`` as one right-hand side for each matrix, or several; see :meth:`neuralinv.BlockTridiagonal.solve`."""
    D = blocks.diag
    value = _as_tensor(b, name)
    if value.dtype != D.dtype:
        raise TypeError(f"{name} is {value.dtype} and the blocks are {D.dtype}; expected the same dtype")
    if value.device != D.device:
        raise ValueError(f"{name} is on {value.device} and the blocks are on {D.device}; expected the same device")
    if value.shape == D.shape[:-1]:
        return Columns(value, True, False, blocks)
    steps, n = D.shape[-3], D.shape[-1]
    single = value.shape[-2:] == (steps, n)
    several = value.ndim >= 3 and value.shape[-3:-1] == (steps, n)
    if single and several:
        single = value.ndim != D.ndim
    if not (single or several):
        raise ValueError(
            f"{name} has shape {tuple(value.shape)}; expected (*batch, {steps}, {n}) or (*batch, {steps}, {n}, k)"
        )
    event = 2 if single else 3
    batch = value.shape[:-event]
    if batch != D.shape[:-3]:
        broadcast = common_batch(D.shape[:-3], batch)
        if broadcast is None:
            raise ValueError(
                f"{name} has batch shape {tuple(batch)} and the blocks {tuple(D.shape[:-3])}; "
                "expected shapes that broadcast"
            )
        batch, value = broadcast, value.expand(*broadcast, *value.shape[-event:])
    return Columns(value, single, batch != D.shape[:-3], blocks)


def as_jitter(jitter: object, D: Tensor) -> float | Tensor:
    """Return a real number as a float; a tensor that holds one may be differentiated, mapped or traced.

    Raises
    ------
    TypeError
        If it is neither.
    ValueError
        If the tensor is on another device than the blocks ``D``.
    """
    if isinstance(jitter, Real):
        return float(jitter)
    if not isinstance(jitter, Tensor) or jitter.ndim or jitter.is_complex():
        raise TypeError(f"jitter={jitter!r}; expected a real number")
    if not jitter.is_cpu and jitter.device != D.device:
        raise ValueError(f"jitter is on {jitter.device} and the blocks are on {D.device}; expected the same device")
    return jitter


@without_autocast
def tridiagonal_product(D: Tensor, B: Tensor, x: Tensor) -> Tensor:
    """Multiply ``x (*batch, T, n, k)`` by the symmetric matrix with symmetric blocks ``D``, and ``B`` below them."""
    below, above = B @ x[..., :-1, :, :], B.mT @ x[..., 1:, :, :]
    return D @ x + pad(below, (0, 0, 0, 0, 1, 0)) + pad(above, (0, 0, 0, 0, 0, 1))


@without_autocast
def bidiagonal_product(L: Tensor, C: Tensor, x: Tensor) -> Tensor:
    """Multiply ``x (*batch, T, n, k)`` by the matrix with diagonal blocks ``L`` and ``C`` below them."""
    return L @ x + pad(C @ x[..., :-1, :, :], (0, 0, 0, 0, 1, 0))


def to_dense(diag: Tensor | None, lower: Tensor) -> Tensor:
    """Lay out blocks as a dense matrix ``(*batch, T n, T n)``; without ``diag``, its diagonal blocks are zero."""
    *batch, pairs, n, _ = lower.shape
    steps = pairs + 1
    grid = lower.new_zeros(*batch, steps, steps, n, n)  # [t, s] is block (t, s)
    index = torch.arange(steps, device=lower.device)
    if diag is not None:
        grid[..., index, index, :, :] = diag
    grid[..., index[1:], index[:-1], :, :] = lower
    return grid.transpose(-3, -2).reshape(*batch, steps * n, steps * n)


def _as_tensor(array: Array, name: str) -> Tensor:
    if type(array) is Tensor and array.dtype in _DTYPES and array.layout is torch.strided:
        return array  # as `as_tensor` would say, later
    return as_tensor(array, name=name)[0]


def common_batch(first: Sequence[int], second: Sequence[int]) -> torch.Size | None:
    """Return the shape that both batch shapes broadcast to, None if there is none."""
    try:
        return torch.broadcast_shapes(first, second)
    except RuntimeError:
        return None
