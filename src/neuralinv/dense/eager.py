"""Functions that look at numbers, and so belong between the graphs of ``torch.compile``."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import torch

_P = ParamSpec("_P")
_T = TypeVar("_T")


def outside_of_graphs(function: Callable[_P, _T]) -> Callable[_P, _T]:
    """Have ``torch.compile`` call a function as it is.

    What such a function does depends on numbers, and kernels are told addresses: a graph would not know that memory is
    still looked at, and give it to somebody else.
    """

    @functools.wraps(function)
    def called(*args: _P.args, **kwargs: _P.kwargs) -> _T:
        if torch.compiler.is_compiling():
            # As a decorator, `disable` would import torch's compiler with this package.
            return torch.compiler.disable(function)(*args, **kwargs)
        return function(*args, **kwargs)

    return called
