"""The seam to the compiled kernels: plain memory in, plain memory out. Nothing else in this package imports the
extension, but :mod:`neuralinv.dense.native_probing` and :mod:`neuralinv.dense.native_roots`,
:mod:`neuralinv.dense.result_memory` and :mod:`neuralinv.dense.threads`.

Tensors on a GPU are handed on to :mod:`neuralinv.dense.gpu`. What else comes in is a tensor or a NumPy array of
a dtype in :data:`SUFFIX` and in the machine's byte order, with any strides and at least one entry, on the CPU, and of a
size that :func:`largest_size` allows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeAlias, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from neuralinv.dense import gpu
from neuralinv.dense.errors import TorchDtypeError
from neuralinv.dense.extrapolation import MOST_TERMS
from neuralinv.dense.result_memory import NUMPY_DTYPE, new_array, new_tensor
from neuralinv.dense.threads import threads

try:
    from neuralinv import _native
except ImportError:  # a source tree that was never built: LAPACK answers, slower
    _native = None  # type: ignore[assignment]

AVAILABLE = _native is not None
"""Whether the extension was built."""

Operation: TypeAlias = Literal["inv", "solve", "slogdet"]
OPERATIONS: tuple[Operation, ...] = ("inv", "solve", "slogdet")

ArrayT = TypeVar("ArrayT", Tensor, NDArray[Any])
_Memory: TypeAlias = tuple[int, Sequence[int], Sequence[int]]  # address, shape, strides in elements


SUFFIX = {torch.float32: "f32", torch.float64: "f64", torch.complex64: "c64", torch.complex128: "c128"}

_COMPLEX = frozenset((torch.complex64, torch.complex128, np.dtype(np.complex64), np.dtype(np.complex128)))


def largest_size(operation: Operation, dtype: torch.dtype, *, positive: bool) -> int:
    """Return the largest n that a kernel takes, 0 where there is none."""
    if dtype not in SUFFIX or not AVAILABLE:
        return 0
    return _native.largest_size(operation, SUFFIX[dtype], positive)


def shares_single_matrices(n: int, operation: Operation, dtype: torch.dtype, *, positive: bool) -> bool:
    """Tell whether several threads work on a matrix of this size, where there are fewer matrices than threads."""
    return AVAILABLE and 0 < _native.smallest_for_teams(operation, SUFFIX[dtype], positive) <= n


def load(name: str) -> dict[Any, Callable[..., Any]]:
    """Return the kernels of this name by dtype, torch's and NumPy's; none where the extension was not built."""
    kernels: dict[Any, Callable[..., Any]] = {}
    for dtype, suffix in SUFFIX.items() if AVAILABLE else ():
        kernels[dtype] = kernels[NUMPY_DTYPE[dtype]] = getattr(_native, f"{name}_{suffix}")
    return kernels


_INVERT, _SOLVE, _SLOGDET, _CORRECT = (load(name) for name in ("invert", "solve", "slogdet", "correct"))


def load_real(name: str) -> dict[torch.dtype, Callable[..., Any]]:
    """Return the kernels of this name for real matrices, by dtype; none where the extension was not built."""
    real = (torch.float32, torch.float64) if AVAILABLE else ()
    return {dtype: getattr(_native, f"{name}_{SUFFIX[dtype]}") for dtype in real}


_CERTIFIED_INVERT, _COMBINE, _DEVIATE = (load_real(name) for name in ("certified_invert", "combine", "deviate"))

# Below so many bytes nothing is shared among threads, and nobody needs to be asked how many there may be.
_WORTH_THREADS = 8192


def instruction_set() -> str:
    """Name the instruction set in use, which the environment variable ``NEURALINV_ISA`` can force."""
    return _native.instruction_set() if AVAILABLE else "none"


def instruction_sets() -> list[str]:
    """Name those that this machine has, best first."""
    return _native.available_instruction_sets() if AVAILABLE else []


def invert(A: ArrayT, *, positive: bool = False) -> tuple[ArrayT, int]:
    """Invert ``A`` of shape ``(*batch, n, n)``.

    Returns
    -------
    The inverses, contiguous, and the index in the flattened batch of the first failure, or -1. The inverse of a
    matrix that failed is NaN.
    """
    if isinstance(A, Tensor) and gpu.holds(A):
        return gpu.invert(A)
    X = _new_like(A)
    return X, _invert(A, X, 0, positive)


def invert_ordinary(A: Tensor, shape: torch.Size, positive: bool) -> tuple[Tensor, int]:
    """Do what :func:`invert` does, with fewer looks, for a tensor of which
    :func:`~neuralinv.dense.routes.straight_shape` knows the shape.
    """
    X = new_tensor(A)
    try:
        return X, _INVERT[A.dtype](A.data_ptr(), shape, A.stride(), X.data_ptr(), 0, threads_for(A), positive)
    except _UNFIT:
        return invert(A, positive=positive)


def invert_ex(A: ArrayT, *, positive: bool = False) -> tuple[ArrayT, ArrayT]:
    """Like :func:`invert`, with LAPACK's ``info`` for each matrix: int32, shape ``(*batch,)``."""
    if isinstance(A, Tensor) and gpu.holds(A):
        return gpu.invert_ex(A)
    X, info = _new_like(A), _new_info(A)
    _invert(A, X, _looks(info)[1](info), positive)
    return X, info


def certifies(A: Tensor) -> bool:
    """Tell whether :func:`certified_invert` takes ``A`` of shape ``(*batch, n, n)``."""
    if A.dtype not in (torch.float32, torch.float64) or type(A) not in (Tensor, torch.nn.Parameter):
        return False
    if gpu.holds(A):
        return gpu.certifies(A)
    return AVAILABLE and A.numel() > 0 and A.shape[-1] <= _native.LARGEST_CERTIFIED


def certified_invert(A: Tensor, rtol: float) -> tuple[Tensor, Tensor, Tensor, Tensor, bool]:
    """Invert ``A`` of shape ``(*batch, n, n)`` and bound the errors while the matrices are in the cache.

    Returns
    -------
    The inverses, those of float32 corrected where they would miss ``rtol``; float64 bounds of
    ``‖A⁻¹ − X‖_F / ‖A⁻¹‖_F``, shape ``(*batch,)``, infinite where nothing is proved; zeros for status and source, int8,
    of the same shape; and whether all bounds are at most ``rtol``. The derivation stands in
    ``cpp/include/neuralinv/error_bounds.hpp``.
    """
    A = plain(A)
    if gpu.holds(A):
        X, bounds = gpu.certified_invert(A, rtol)
        status, source = (torch.zeros_like(bounds, dtype=torch.int8) for _ in range(2))
        return X, bounds, status, source, float(bounds.max()) <= rtol
    *batch, _, n = A.shape
    # Told numbers or another tensor, torch makes one in half the time that it takes with a shape.
    X, bounds = new_tensor(A), torch.empty(*batch or ((),), dtype=torch.float64)
    status, source = torch.empty_like(bounds, dtype=torch.int8), torch.empty_like(bounds, dtype=torch.int8)
    kernel, addresses = _CERTIFIED_INVERT[A.dtype], (X.data_ptr(), status.data_ptr(), source.data_ptr())
    met = kernel(A.data_ptr(), A.numel() // (n * n), n, *addresses, rtol, bounds.data_ptr(), threads_for(A))
    return X, bounds, status, source, met


def corrects(A: Tensor) -> bool:
    """Tell whether :func:`correct` takes ``A`` of shape ``(*batch, n, n)``, and is the best to take it."""
    n = A.shape[-1]
    if A.dtype not in _CORRECT or type(A) not in (Tensor, torch.nn.Parameter) or A.device.type != "cpu":
        return False
    if not 0 < n <= _native.LARGEST_CORRECTED:
        return False
    # A matrix has one thread here; torch shares each among all of them, and with two takes 1.2 to 10 times as long.
    return n <= 128 or A.numel() // (n * n) * 4 >= threads()


def correct(
    A: Tensor, past: Sequence[Tensor], rtol: float, highest_order: int, X: Tensor, bounds: Tensor, orders: Tensor
) -> None:
    """Correct and certify approximate inverses, each matrix with the lowest order that brings it to ``rtol``.

    The mathematics stands in :mod:`neuralinv.dense.correction`; where no order suffices, the guess itself is returned.
    Without a ``past``, matrices that :func:`largest_size` allows are inverted first, each while it is in the cache.

    Parameters
    ----------
    A
        Shape ``(batch, n, n)``, real or complex, any strides.
    past
        Up to four tensors like ``A``: the last inverses of a sequence, latest first, to be continued by a polynomial.
    X, bounds, orders
        Contiguous results: like ``A``, float64 ``(batch,)``, int8 ``(batch,)``.
    """
    A = A.resolve_neg().resolve_conj()
    held = [guess.resolve_neg().resolve_conj().contiguous() for guess in past]  # until the kernel has read them
    addresses = [guess.data_ptr() for guess in held] + [0] * (MOST_TERMS - len(held))
    _CORRECT[A.dtype](
        A.data_ptr(),
        *A.shape[:2],
        *A.stride(),
        *addresses,
        rtol,
        highest_order,
        X.data_ptr(),
        bounds.data_ptr(),
        orders.data_ptr(),
        threads_for(A),
    )


def combines(C: Tensor, terms: int) -> bool:
    """Tell whether a kernel combines so many terms with coefficients like ``C``."""
    return C.dtype in _COMBINE and C.device.type == "cpu" and 0 < terms <= _native.MOST_TERMS


def combine(C: Tensor, B: Tensor, X: Tensor) -> Tensor:
    """Write ``C B`` into ``X``, ``(batch, terms)`` by ``(terms, length)``, contiguous, of one real dtype; return it.

    Where :func:`combines` says so, a kernel adds the terms from the last to the first.
    """
    if not C.dtype == B.dtype == X.dtype:  # the kernel is told addresses
        raise TorchDtypeError(
            f"coefficients are {C.dtype}, terms {B.dtype} and the result {X.dtype}; expected one dtype"
        )
    if not combines(C, len(B)):
        return torch.mm(C, B, out=X)
    C, B = C.contiguous(), B.contiguous()  # until the kernel has read them
    _COMBINE[C.dtype](C.data_ptr(), B.data_ptr(), X.data_ptr(), *C.shape, B.shape[1], threads_for(X))
    return X


def deviation(A: Tensor, C: Tensor, B: Tensor) -> Tensor:
    """Return ``Σⱼ (A − C B)²ᵦⱼ``, ``(batch,)``, in double precision: with A read once, and nothing kept.

    Parameters
    ----------
    A
        Shape ``(batch, length)``, contiguous, of a dtype and length that :func:`combines` takes.
    C, B
        Shapes ``(batch, terms)`` and ``(terms, length)``, float64.
    """
    if not C.dtype == B.dtype == torch.float64:
        raise TorchDtypeError(f"coefficients are {C.dtype} and terms {B.dtype}; expected float64")
    C, B = C.contiguous(), B.contiguous()
    squares = C.new_empty(len(A))
    addresses = [A.data_ptr(), C.data_ptr(), B.data_ptr(), squares.data_ptr()]
    _DEVIATE[A.dtype](*addresses, *C.shape, B.shape[1], threads_for(A))
    return squares


def solve(A: ArrayT, B: ArrayT, *, positive: bool = False) -> tuple[ArrayT, int]:
    """Solve ``A X = B`` for ``A`` of shape ``(*batch, n, n)`` and ``B`` of ``(*batch, n, k)``, of one dtype.

    Returns
    -------
    The solutions, contiguous, and the index in the flattened batch of the first failure, or -1. The solution for a
    matrix that failed is NaN.
    """
    if isinstance(A, Tensor) and isinstance(B, Tensor) and gpu.holds(A):
        return gpu.solve(A, B)
    X = _new_like(B)
    return X, _solve(A, B, X, 0, positive)


def solve_ex(A: ArrayT, B: ArrayT, *, positive: bool = False) -> tuple[ArrayT, ArrayT]:
    """Like :func:`solve`, with LAPACK's ``info`` for each matrix: int32, shape ``(*batch,)``."""
    if isinstance(A, Tensor) and isinstance(B, Tensor) and gpu.holds(A):
        return gpu.solve_ex(A, B)
    X, info = _new_like(B), _new_info(A)
    _solve(A, B, X, _looks(info)[1](info), positive)
    return X, info


def slogdet(A: ArrayT, *, positive: bool = False) -> tuple[ArrayT, ArrayT, int]:
    """Return sign and log|det| of ``A`` of shape ``(*batch, n, n)``, both ``(*batch,)``.

    The third is the index in the flattened batch of the first matrix whose logarithm is NaN or infinite above (or which
    is not positive definite), or -1.
    """
    if isinstance(A, Tensor) and gpu.holds(A):
        sign, logabsdet = gpu.slogdet(A)
        return sign, logabsdet, -1  # to know more would take waiting for the device
    batch = A.shape[:-2]
    sign = _new(A, batch)
    logabsdet = _new_real(A, batch) if A.dtype in _COMPLEX else _new(A, batch)
    memory, address = _looks(A)
    kernel, outputs, most = _SLOGDET[A.dtype], (address(sign), address(logabsdet)), threads_for(A)
    try:
        return sign, logabsdet, kernel(*memory(A), *outputs, most, positive)
    except _UNFIT:
        A = plain(A)  # until the kernel has read it
        return sign, logabsdet, kernel(*memory(A), *outputs, most, positive)


def slogdet_of_one(A: NDArray[Any], *, positive: bool = False) -> tuple[NDArray[Any], int]:
    """Do what :func:`slogdet` does, in less time, for one real array ``(n, n)``: sign and logarithm in one array."""
    both = np.empty(2, A.dtype)
    sign, kernel = _native.array_address(both), _SLOGDET[A.dtype]
    arguments = (sign, sign + both.itemsize, threads_for(A), positive)
    try:
        failed = kernel(*_native.array_layout(A), *arguments)
    except _UNFIT:
        A = plain(A)  # until the kernel has read it
        failed = kernel(*_native.array_layout(A), *arguments)
    return both, failed


def _invert(A: ArrayT, X: ArrayT, info: int, positive: bool) -> int:
    memory, address = _looks(A)
    kernel, target, most = _INVERT[A.dtype], address(X), threads_for(A)
    try:
        return kernel(*memory(A), target, info, most, positive)
    except _UNFIT:
        A = plain(A)  # until the kernel has read it
        return kernel(*memory(A), target, info, most, positive)


def _solve(A: ArrayT, B: ArrayT, X: ArrayT, info: int, positive: bool) -> int:
    memory, address = _looks(A)
    kernel, target, most = _SOLVE[A.dtype], address(X), threads_for(A)
    try:
        matrices, (sides, shape, strides) = memory(A), memory(B)
        return kernel(*matrices, sides, strides, shape[-1], target, info, most, positive)
    except _UNFIT:
        A, B = plain(A), plain(B)  # until the kernel has read them
        matrices, (sides, shape, strides) = memory(A), memory(B)
        return kernel(*matrices, sides, strides, shape[-1], target, info, most, positive)


# Batch dimensions that no single stride describes, odd addresses, pending conjugation: a copy has none of these.
_UNFIT = ValueError


def plain(A: Any) -> Any:
    """Return an array or tensor whose memory is what it means, row by row: itself, or a copy."""
    if not isinstance(A, Tensor):
        return np.array(A, order="C")
    return A if A.is_contiguous() and not (A.is_neg() or A.is_conj()) else A.resolve_neg().resolve_conj().contiguous()


def _looks(A: Any) -> tuple[Callable[[Any], _Memory], Callable[[Any], int]]:
    """Return what tells the memory of such arrays, and the address of a new one."""
    return (_memory, Tensor.data_ptr) if isinstance(A, Tensor) else (_native.array_layout, _native.array_address)


def _memory(A: Tensor) -> _Memory:
    if A.is_neg() or A.is_conj():
        raise ValueError("the memory holds the opposite or the conjugate")
    return A.data_ptr(), A.shape, A.stride()


def _new_like(A: Any) -> Any:
    return new_tensor(A) if isinstance(A, Tensor) else new_array(A)


def _new(like: Any, shape: Sequence[int]) -> Any:
    return like.new_empty(shape) if isinstance(like, Tensor) else np.empty(shape, like.dtype)


def _new_real(like: Any, shape: Sequence[int]) -> Any:
    if isinstance(like, Tensor):
        return like.new_empty(shape, dtype=like.dtype.to_real())
    return np.empty(shape, like.real.dtype)


def _new_info(A: Any) -> Any:
    shape = A.shape[:-2]
    return A.new_empty(shape, dtype=torch.int32) if isinstance(A, Tensor) else np.empty(shape, np.int32)


def threads_for(A: Any) -> int:
    """Return how many threads may share work on the entries of ``A``."""
    return 1 if A.nbytes < _WORTH_THREADS else threads()
