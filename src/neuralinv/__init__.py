"""Matrix inverses for machine learning: exact, learned, and every answer with a proven error bound."""

from neuralinv import learned
from neuralinv.block_tridiagonal import BlockBidiagonal, BlockTridiagonal
from neuralinv.dense import InverseResult, Source, Status, certified_inv, inv, slogdet, solve

__all__ = [
    "BlockBidiagonal",
    "BlockTridiagonal",
    "InverseResult",
    "Source",
    "Status",
    "certified_inv",
    "inv",
    "learned",
    "slogdet",
    "solve",
]
