"""What to say when a matrix of a batch is not positive definite, and when anything can be said."""

from __future__ import annotations

import torch
from torch import Tensor


def can_branch(x: Tensor) -> bool:
    """Tell whether Python may look at values like ``x``: not inside torch.func's transforms, nor while torch.compile
    traces, nor on the meta device, which has none.
    """
    return not torch.compiler.is_compiling() and torch._C._functorch.peek_interpreter_stack() is None and not x.is_meta


def as_nan(failed: Tensor, *blocks: Tensor) -> tuple[Tensor, ...]:
    """Make NaN of the blocks ``(*batch, steps, n, n)`` of sequences that ``failed (*batch,)``, and of derivatives
    through them. Those of a masked fill would be zero.
    """
    mark = blocks[0].new_ones(failed.shape).masked_fill(failed, torch.nan)[..., None, None, None]
    return tuple(x * mark for x in blocks)


def raise_if_failed(info: Tensor, n: int) -> None:
    """Raise ``torch.linalg.LinAlgError`` naming sequence, time step and pivot of the first failure in ``info``.

    ``info`` has shape ``(*batch,)``: 0, or the order k ≥ 1 of the first leading minor that is not positive.
    """
    if not bool(info.any()):
        return
    index = tuple(int(i) for i in info.nonzero()[0])
    step, pivot = divmod(int(info[index]) - 1, n)
    where = f" (sequence {index if len(index) > 1 else index[0]})" if index else ""
    raise torch.linalg.LinAlgError(
        f"The matrix is not positive definite{where}: at time step {step}, pivot {pivot + 1} of {n} is not a positive "
        "finite number. cholesky_ex() tells for every sequence; jitter= adds a multiple of the identity"
    )
