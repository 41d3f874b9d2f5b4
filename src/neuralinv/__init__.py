"""Matrix inverses for machine learning: exact, learned, and every answer with a proven error bound."""

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

__all__ = [
    "BlockBidiagonal",
    "BlockTridiagonal",
    "Dispatch",
    "GaussianMarkovChain",
    "InverseResult",
    "SequenceInverter",
    "Source",
    "Status",
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
