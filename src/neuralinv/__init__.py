"""Matrix inverses for machine learning: exact, learned, and every answer with a proven error bound."""

from typing import TYPE_CHECKING, Any

from neuralinv import learned
from neuralinv.block_tridiagonal import BlockBidiagonal, BlockTridiagonal, GaussianMarkovChain, smoother
from neuralinv.dense import (
    Dispatch,
    InverseResult,
    SequenceInverter,
    Source,
    Status,
    certified_inv,
    explain_dispatch,
    inv,
    inv_ex,
    show_config,
    slogdet,
    solve,
    solve_ex,
)

if TYPE_CHECKING:
    from neuralinv.study.advise import advise

__all__ = [
    "BlockBidiagonal",
    "BlockTridiagonal",
    "Dispatch",
    "GaussianMarkovChain",
    "InverseResult",
    "SequenceInverter",
    "Source",
    "Status",
    "advise",
    "certified_inv",
    "explain_dispatch",
    "inv",
    "inv_ex",
    "learned",
    "show_config",
    "slogdet",
    "smoother",
    "solve",
    "solve_ex",
]


def __getattr__(name: str) -> Any:
    # Advice brings templates and tables along, which nobody else should wait for.
    if name == "advise":
        from neuralinv.study.advise import advise

        return advise
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
