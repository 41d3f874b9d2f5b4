"""How a tensor reaches an exact answer.

Eager tensors go straight to the extension: one 3×3 inverse should not cost more in Python than in LAPACK.
``torch.compile`` and ``torch.func.vmap`` meet custom operators instead, which cost some 40 µs for each eager call.
"""

from __future__ import annotations

from enum import Enum

import torch
from torch import Tensor
from torch._C._functorch import TransformType, get_interpreter_stack, peek_interpreter_stack
from torch.autograd import forward_ad

from neuralinv.dense import gpu
from neuralinv.dense.crossover import TABLE, Limits
from neuralinv.dense.native import Operation

# A Parameter is a tensor to the kernels; of other subclasses nobody knows what they mean by their data.
_TYPES = (Tensor, torch.nn.Parameter)


class Route(Enum):
    """How a tensor reaches an exact answer."""

    DIRECT = 0  # plain memory, on the CPU or on a GPU with kernels
    DIFFERENTIATED = 1  # the same, whose gradient somebody will ask for
    COMPILED = 2  # seen by torch.compile or mapped by vmap: through the custom operator
    LAPACK = 3  # no kernel, or no gain
    TORCH = 4  # traced, dual, differentiated by torch.func, subclassed: torch must see operations that it knows


# What torch has to look at for a tensor on the CPU that is one and nothing else: not conjugated, negated, sparse,
# without memory, wrapped by a transformation or a subclass's own business.
_ORDINARY = torch._C._dispatch_keys(torch.empty(0)).raw_repr()


def straight_shape(A: Tensor, operation: Operation, *, positive: bool) -> torch.Size | None:
    """Return quickly the shape of most tensors that go :attr:`Route.DIRECT` on the CPU; None says nothing.

    One 3×3 inverse takes a fifth of a microsecond, and a look at a tensor a third of that.
    """
    if torch.compiler.is_compiling() or torch._C._get_tracing_state() is not None:
        return None
    limits = TABLE.limits.get((operation, A.dtype, positive))
    if limits is None or torch._C._dispatch_keys(A).raw_repr() != _ORDINARY:  # nested tensors have no shape
        return None
    shape = A.shape
    straight = (
        len(shape) >= 2
        and 0 < shape[-1] == shape[-2]
        and shape[-1] <= limits.always
        and A.numel() > 0
        and not A.requires_grad
        and peek_interpreter_stack() is None
        and torch._C._len_torch_dispatch_stack() == 0
        and forward_ad._current_level < 0
    )
    return shape if straight else None


def route(A: Tensor, B: Tensor | None = None, *, operation: Operation = "inv", positive: bool = False) -> Route:
    """Choose for ``A`` of shape ``(*batch, n, n)`` and right-hand sides ``B`` of ``(*batch, n, k)``, same dtype."""
    if gpu.holds(A):
        kernels = gpu.reach(A, operation, positive=positive).kernel
        limits: Limits | None = Limits(kernels, kernels, ())
    else:
        limits = TABLE.limits.get((operation, A.dtype, positive))
    n = A.shape[-1]
    small = limits is not None and 0 < n <= limits.ever and A.numel() > 0 and (B is None or _lies_beside(A, B))
    if torch.compiler.is_compiling():
        return Route.COMPILED if small and not is_differentiated_inside() else Route.TORCH
    if peek_interpreter_stack() is not None:
        return Route.COMPILED if small and not is_differentiated_inside() and _is_plain(A, B) else Route.TORCH
    if torch._C._len_torch_dispatch_stack() > 0 or forward_ad._current_level >= 0 or not _is_plain(A, B):
        return Route.TORCH
    if not small or limits is None:
        return Route.LAPACK
    if n > limits.always and n > limits.for_batch(A.numel() // (n * n)):
        return Route.LAPACK
    if (A.requires_grad or (B is not None and B.requires_grad)) and torch.is_grad_enabled():
        return Route.DIFFERENTIATED
    return Route.DIRECT


def _lies_beside(A: Tensor, B: Tensor) -> bool:
    return A.device == B.device and B.numel() > 0


def _is_plain(A: Tensor, B: Tensor | None) -> bool:
    return (
        type(A) in _TYPES
        and (B is None or (type(B) in _TYPES and not B._is_zerotensor()))
        and not A._is_zerotensor()  # there is no memory
        and torch._C._get_tracing_state() is None
    )


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]  # torch.compile asks as it traces
def is_differentiated_inside() -> bool:
    """Tell whether ``torch.func`` differentiates here, or forward derivatives are asked for: torch must see operations
    that it knows. The operators have rules for vmap alone.
    """
    levels = get_interpreter_stack() or ()
    return forward_ad._current_level >= 0 or any(level.key() != TransformType.Vmap for level in levels)
