"""What ``gpu.py`` calls, beside ours, and how it judges the results."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # JAX would take the memory of all others

import torch
from torch import Tensor

from neuralinv.testing import TOLERANCE, condition_number, relative_error

_JUDGED = 500
"""Matrices at either end of a batch: what is wrong with offsets is wrong at the far one."""


@dataclass(frozen=True)
class Call:
    """An implementation: ``prepare`` turns a tensor into what ``run`` takes, ``collect`` its result into a tensor."""

    run: Callable[..., Any]
    prepare: Callable[[Tensor], Any] = lambda tensor: tensor
    collect: Callable[[Any], Tensor] = lambda result: result
    own_stream: bool = False  # device events of torch do not see it
    captured: bool = False  # waits for nothing: a CUDA graph takes it


@dataclass(frozen=True)
class Case:
    """One row: something to compute, by several implementations.

    ``inputs`` draws arguments; ``error`` tells how far a result is from the truth, and what is allowed.
    """

    work: str
    n: int
    dtype: str
    batch: int
    inputs: Callable[[], tuple[Tensor, ...]]
    calls: Mapping[str, Call]
    error: Callable[[tuple[Tensor, ...], Tensor], tuple[float, float]]
    moved: int  # bytes that must be read and written
    goal: str = ""


class Kind(Protocol):
    """What tells rows apart."""

    @property
    def work(self) -> str: ...
    @property
    def n(self) -> int: ...
    @property
    def dtype(self) -> str: ...
    @property
    def batch(self) -> int: ...


def name_of(row: Kind) -> str:
    """Write what a row of the table begins with."""
    return f"{row.work:18s} {row.n:4d} {row.dtype:8s} {row.batch:10,d}"


def rival_inverses() -> dict[str, Call]:
    """Return inverses by others, of those that are installed."""
    calls = {"torch": Call(lambda A: torch.linalg.inv_ex(A).inverse)}
    try:
        import cupy

        calls["cupy"] = Call(cupy.linalg.inv, cupy.from_dlpack, torch.from_dlpack)
    except ImportError:
        pass
    try:
        import jax

        if jax.default_backend() == "gpu":
            run = jax.jit(jax.numpy.linalg.inv)

            def prepare(A: Tensor) -> Any:
                jax.config.update("jax_enable_x64", True)  # this process measures, and has no other user
                return jax.dlpack.from_dlpack(A)

            calls["jax"] = Call(lambda A: run(A).block_until_ready(), prepare, torch.from_dlpack, own_stream=True)
    except (ImportError, RuntimeError):
        pass
    return calls


def inverse_error(inputs: tuple[Tensor, ...], X: Tensor) -> tuple[float, float]:
    """Return the largest error of some inverses, in units of what is allowed for its condition number."""
    A, X = _ends(inputs[0]).cpu(), _ends(X).cpu()
    return float((relative_error(A, X) / condition_number(A)).max()), TOLERANCE[A.dtype]


def solution_error(inputs: tuple[Tensor, ...], X: Tensor) -> tuple[float, float]:
    """Return the largest residual relative to ‖A‖ ‖x‖."""
    A, B, wide = (_ends(tensor).double() for tensor in (*inputs, X))
    size = torch.linalg.matrix_norm(A) * torch.linalg.matrix_norm(wide)
    return float((torch.linalg.matrix_norm(A @ wide - B) / size).max()), TOLERANCE[X.dtype]


def determinant_error(inputs: tuple[Tensor, ...], logarithm: Tensor) -> tuple[float, float]:
    """Return the largest error of some logarithms, in units of the condition number."""
    A = _ends(inputs[0]).cpu()
    off = (_ends(logarithm).cpu().double() - torch.linalg.slogdet(A.double()).logabsdet).abs()
    return float((off / condition_number(A)).max()), 10 * TOLERANCE[A.dtype]


def _ends(batch: Tensor) -> Tensor:
    return batch if len(batch) <= 2 * _JUDGED else torch.cat((batch[:_JUDGED], batch[-_JUDGED:]))
