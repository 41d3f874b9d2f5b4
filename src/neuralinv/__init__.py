"""Matrix inverses for machine learning: exact, learned, and every answer with a proven error bound."""

from neuralinv import learned
from neuralinv.dense import InverseResult, Source, Status, certified_inv, inv, inv_ex, slogdet, solve, solve_ex

__all__ = [
    "InverseResult",
    "Source",
    "Status",
    "certified_inv",
    "inv",
    "inv_ex",
    "learned",
    "slogdet",
    "solve",
    "solve_ex",
]
