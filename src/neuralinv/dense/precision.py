"""What torch is set up to do to products of matrices: what they are rounded to, and autocast kept away from them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, ParamSpec, TypeVar, cast

import torch

P = ParamSpec("P")
R = TypeVar("R")

_U64 = torch.finfo(torch.float64).eps / 2
# By the names of torch.get_float32_matmul_precision(), and by those that single backends have for the same.
_ROUNDOFF = {"highest": 2.0**-24, "high": 2.0**-11, "medium": 2.0**-8}
_BACKEND_ROUNDOFF = {"none": 2.0**-24, "ieee": 2.0**-24, "tf32": 2.0**-11, "bf16": 2.0**-8}
_AUTOCAST_DEVICES = ("cpu", "cuda")


def product_roundoff(dtype: torch.dtype) -> float:
    """Return the unit roundoff of products of matrices of this dtype as torch is set up to form them."""
    if dtype not in (torch.float32, torch.complex64):
        return _U64
    try:
        return _ROUNDOFF[torch.get_float32_matmul_precision()]
    except RuntimeError:  # somebody has set single backends, which no one name describes: the coarsest counts
        backends: tuple[Any, ...] = (torch.backends.cuda.matmul, cast(Any, torch.backends.mkldnn).matmul)
        return max(_BACKEND_ROUNDOFF.get(backend.fp32_precision, 2.0**-8) for backend in backends)


def without_autocast(function: Callable[P, R]) -> Callable[P, R]:
    """Let a function compute in the precision of its arguments, whatever ``torch.autocast`` it is called under."""

    @functools.wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        with ExitStack() as stack:
            for device in _AUTOCAST_DEVICES:
                if torch.is_autocast_enabled(device):
                    stack.enter_context(torch.autocast(device, enabled=False))
            return function(*args, **kwargs)

    return wrapper
