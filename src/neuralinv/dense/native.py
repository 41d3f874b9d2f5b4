"""The compiled kernels for batches of small real matrices on the CPU; nothing else imports the extension.

Eager tensors go straight to the extension: one 3×3 inverse should not cost more in Python than in LAPACK.
``torch.compile`` meets the custom operator ``neuralinv::inv`` instead, which costs some 40 µs for each eager call.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

try:
    from neuralinv import _native
except ImportError:  # a source tree that was never built: LAPACK answers, slower
    _native = None  # type: ignore[assignment]

AVAILABLE = _native is not None
"""Whether the extension was built."""

_KERNELS: dict[torch.dtype, Callable[..., int]] = (
    {torch.float32: _native.invert_f32, torch.float64: _native.invert_f64} if AVAILABLE else {}
)
_LARGEST = 256 if AVAILABLE else 0
# A node of the autograd graph costs more when it is made in Python than LAPACK's work on so few entries.
_WORTH_A_NODE = 256
# A Parameter is a tensor to the kernels; of other subclasses nobody knows what they mean by their data.
_TYPES = (Tensor, torch.nn.Parameter)


def instruction_set() -> str:
    """Name the instruction set in use, which the environment variable ``NEURALINV_ISA`` can force."""
    return _native.instruction_set() if AVAILABLE else "none"


def instruction_sets() -> list[str]:
    """Name those that this machine has, best first."""
    return _native.available_instruction_sets() if AVAILABLE else []


class Route(Enum):
    """How a tensor reaches an exact inverse."""

    DIRECT = 0  # plain memory
    DIFFERENTIATED = 1  # plain memory, whose gradient somebody will ask for
    COMPILED = 2  # seen by torch.compile: through the custom operator
    LAPACK = 3  # no kernel, or no gain
    TORCH = 4  # mapped, traced, dual, subclassed: torch must see an operation that it knows


def route(A: Tensor) -> Route:
    """Choose for ``A`` of shape ``(*batch, n, n)``."""
    small = A.dtype in _KERNELS and A.shape[-1] <= _LARGEST and A.is_cpu and A.numel() > 0
    if torch.compiler.is_compiling():
        return Route.COMPILED if small else Route.TORCH
    if (
        type(A) not in _TYPES
        or torch._C._functorch.peek_interpreter_stack() is not None
        or torch._C._len_torch_dispatch_stack() > 0
        or forward_ad._current_level >= 0
        or torch._C._get_tracing_state() is not None
        or A._is_zerotensor()  # there is no memory
    ):
        return Route.TORCH
    if not small or A.is_neg():  # the memory holds −A
        return Route.LAPACK
    if not (A.requires_grad and torch.is_grad_enabled()):
        return Route.DIRECT
    return Route.DIFFERENTIATED if A.numel() >= _WORTH_A_NODE else Route.LAPACK


def invert(A: Tensor) -> tuple[Tensor, int]:
    """Invert ``A`` of shape ``(*batch, n, n)``, whose route is direct.

    Returns
    -------
    The inverses, contiguous, and the index in the flattened batch of the first singular matrix, or -1. The inverse of
    a singular matrix is NaN.
    """
    X = A.new_empty(A.shape)
    return X, _run(A, X, 0)


def invert_ex(A: Tensor) -> tuple[Tensor, Tensor]:
    """Like :func:`invert`, with LAPACK's ``info`` for each matrix: int32, shape ``(*batch,)``."""
    X, info = A.new_empty(A.shape), A.new_empty(A.shape[:-2], dtype=torch.int32)
    _run(A, X, info.data_ptr())
    return X, info


def _run(A: Tensor, X: Tensor, info: int) -> int:
    kernel, threads = _KERNELS[A.dtype], torch.get_num_threads()
    try:
        return kernel(A.data_ptr(), A.shape, A.stride(), X.data_ptr(), info, threads, False)
    except ValueError:  # batch dimensions that no single stride describes
        A = A.contiguous()
        return kernel(A.data_ptr(), A.shape, A.stride(), X.data_ptr(), info, threads, False)


def raise_if_singular(A: Tensor, failed: int, error: type[Exception]) -> None:
    """Raise ``error`` naming the matrix at ``failed`` in the flattened batch, unless that is negative."""
    if failed < 0:
        return
    index: list[int] = []
    remainder = failed
    for size in reversed(A.shape[:-2]):
        remainder, position = divmod(remainder, size)
        index.insert(0, position)
    _, info = invert_ex(A[tuple(index)])
    raise singular(tuple(index), int(info), error)


def singular(index: tuple[int, ...], pivot: int, error: type[Exception]) -> Exception:
    """Describe a singular matrix of a batch."""
    where = f" (batch element {index})" if index else ""
    return error(f"Singular matrix{where}: pivot {pivot} of the LU factorisation is exactly zero")


class DifferentiableInverse(torch.autograd.Function):
    """Inverses of eager tensors; raises ``torch.linalg.LinAlgError``."""

    @staticmethod
    def forward(ctx: Any, A: Tensor) -> Tensor:
        X = _invert_or_raise(A)
        ctx.save_for_backward(X)  # an output: second derivatives see that it depends on A
        return X

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return _gradient(ctx, grads[0])


@torch.library.custom_op("neuralinv::inv", mutates_args=(), device_types="cpu")
def inv_op(A: Tensor) -> Tensor:
    """Invert ``(*batch, n, n)``; raises ``torch.linalg.LinAlgError``. An operator that torch sees through."""
    return _invert_or_raise(A)


@inv_op.register_fake
def _(A: Tensor) -> Tensor:
    return A.new_empty(A.shape)


@inv_op.register_vmap
def _(info: Any, in_dims: tuple[int | None], A: Tensor) -> tuple[Tensor, int]:
    (dim,) = in_dims
    return inv_op(A.movedim(dim or 0, 0)), 0


def _save_inverse(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
    ctx.save_for_backward(output)


def _invert_or_raise(A: Tensor) -> Tensor:
    X, failed = invert(A.resolve_neg())
    raise_if_singular(A, failed, torch.linalg.LinAlgError)
    return X


def _gradient(ctx: Any, G: Tensor) -> Tensor:
    (X,) = ctx.saved_tensors
    # dX = −X dA X; with G = ∂f/∂X: ∂f/∂A = −Xᵀ G Xᵀ.
    return -(X.mT @ G @ X.mT)


inv_op.register_autograd(_gradient, setup_context=_save_inverse)
