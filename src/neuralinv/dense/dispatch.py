"""Which routine runs and why, said aloud; and the candidates that a measurement compares."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from neuralinv.dense import gpu, lapack, native, scipy_lapack
from neuralinv.dense.assumptions import Assumption, is_positive
from neuralinv.dense.crossover import TABLE
from neuralinv.kernels import availability, crossover

_COMPUTED_IN = {torch.float16: torch.float32, torch.bfloat16: torch.float32}


@dataclass(frozen=True)
class Dispatch:
    """Where a batch goes.

    Attributes
    ----------
    route
        ``"native"``: the compiled kernels; ``"triton"``: those for the GPU; ``"blocked"``: the latter on blocks;
        ``"torch"``: LAPACK through torch, or what torch has on a GPU.
    reason
        Why, in a sentence.
    instruction_set
        Of the compiled kernels; ``"none"`` where they are not used.
    threads
        How many the batch may be shared among, or, where it has but few large matrices, each of these.
    """

    route: str
    reason: str
    instruction_set: str
    threads: int

    def __str__(self) -> str:
        """Say it in a line."""
        where = f" ({self.instruction_set})" if self.route == "native" else ""
        return (
            f"{self.route}{where}, up to {self.threads} {'thread' if self.threads == 1 else 'threads'}: {self.reason}"
        )


def explain_dispatch(
    n: int,
    dtype: Any,
    batch: int = 1,
    operation: native.Operation = "inv",
    assume_a: Assumption = "gen",
    device: torch.device | str = "cpu",
) -> Dispatch:
    """Tell which routine would answer for plain arrays on a device, and why.

    Parameters
    ----------
    n
        Rows of each matrix.
    dtype
        torch's, NumPy's or a name such as ``"float32"``.
    batch
        Number of matrices.
    operation
        ``"inv"``, ``"solve"`` or ``"slogdet"``.
    assume_a
        ``"gen"`` or ``"pos"``, as for :func:`neuralinv.inv`.
    device
        torch's, such as ``"cuda"``.

    Raises
    ------
    ValueError
        If an argument is out of range.
    TypeError
        If ``dtype`` is no floating-point or complex type that neuralinv takes.

    Examples
    --------
    >>> import neuralinv as ni
    >>> ni.explain_dispatch(2000, "float32").route
    'torch'
    """
    if operation not in native.OPERATIONS:
        raise ValueError(f"operation={operation!r}; expected one of {', '.join(native.OPERATIONS)}")
    if n < 0 or batch < 0:
        raise ValueError(f"n={n} and batch={batch}; expected numbers of at least 0")
    positive = is_positive(assume_a)
    given = _torch_dtype(dtype)
    wide = _COMPUTED_IN.get(given, given)
    limits = TABLE.limits[operation, wide, positive]
    reach = native.largest_size(operation, wide, positive=positive)
    measured = limits.for_batch(batch)
    name = str(wide).removeprefix("torch.")
    kind = "positive definite matrices" if positive else "general matrices"
    prefix = "" if wide is given else f"computed in {name}; "
    if n == 0 or batch == 0:
        return _lapack(prefix + "there is nothing to compute")
    if torch.device(device).type != "cpu":
        return _on_gpu(n, wide, operation, positive, torch.device(device), prefix)
    if n > reach:
        why = (
            f"the kernels for {operation} of {name} {kind} reach to n = {reach}"
            if reach
            else (
                f"there is no kernel for {operation} of {name} {kind}"
                if native.AVAILABLE
                else "the compiled extension was not built"
            )
        )
        return _lapack(prefix + why)
    if n > limits.always and n > measured:
        return _lapack(prefix + f"measured faster than the kernels above n = {measured} for batches of {batch}")
    alone = batch == 1 and not native.shares_single_matrices(n, operation, wide, positive=positive)
    return Dispatch(
        "native",
        prefix + f"the kernels win up to n = {max(measured, limits.always)} for batches of {batch}",
        native.instruction_set(),
        1 if alone else native.threads(),
    )


def candidates(
    operation: native.Operation, n: int, dtype: torch.dtype, batch: int, assume_a: Assumption = "gen"
) -> dict[str, Callable[..., Any]]:
    """Return the routines that could answer, by route, for a measurement to compare.

    Each takes tensors: ``A`` of shape ``(batch, n, n)``, and for ``"solve"`` right-hand sides ``(batch, n, k)``.
    ``"native"`` is missing where there is no kernel; ``"scipy"`` answers for inverses of general matrices.
    """
    positive = is_positive(assume_a)
    by_lapack: dict[str, Callable[..., Any]] = {
        "inv": lambda A: lapack.inverse(A, positive),
        "solve": lambda A, B: lapack.solution(A, B, positive),
        "slogdet": lambda A: lapack.determinant(A, positive),
    }
    by_kernel: dict[str, Callable[..., Any]] = {
        "inv": lambda A: native.invert(A, positive=positive)[0],
        "solve": lambda A, B: native.solve(A, B, positive=positive)[0],
        "slogdet": lambda A: native.slogdet(A, positive=positive)[:2],
    }
    found = {"torch": by_lapack[operation]}
    if batch and n and operation == "inv" and not positive:
        found["scipy"] = scipy_lapack.inverse
    if batch and 0 < n <= native.largest_size(operation, dtype, positive=positive):
        found["native"] = by_kernel[operation]
    return found


def _on_gpu(
    n: int, dtype: torch.dtype, operation: native.Operation, positive: bool, device: torch.device, prefix: str
) -> Dispatch:
    if not availability.serves(device):
        return _lapack(f"{prefix}there are no kernels for {device.type}: {availability.describe()}")
    kernel, blocked = gpu.NOTHING if positive else gpu.reach_of(operation, dtype)
    if n <= kernel:
        measured = "" if crossover.MACHINE else ", by design: nobody has measured yet"
        return Dispatch("triton", f"{prefix}the kernels answer up to n = {kernel}{measured}", "none", 1)
    if n <= blocked:
        return Dispatch("blocked", f"{prefix}measured faster than torch's routine up to n = {blocked}", "none", 1)
    return _lapack(f"{prefix}the kernels for {operation} reach to n = {kernel} here")


def _lapack(reason: str) -> Dispatch:
    return Dispatch("torch", reason, "none", torch.get_num_threads())


def _torch_dtype(dtype: Any) -> torch.dtype:
    if not isinstance(dtype, torch.dtype):
        named = getattr(torch, str(dtype), None)  # "bfloat16" is no name of NumPy's
        dtype = named if isinstance(named, torch.dtype) else getattr(torch, np.dtype(dtype).name, None)
    if dtype not in native.SUFFIX and dtype not in _COMPUTED_IN:
        raise TypeError(f"dtype={dtype}; expected float16, bfloat16, float32, float64, complex64 or complex128")
    return dtype
