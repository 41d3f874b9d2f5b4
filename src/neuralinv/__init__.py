"""Matrix inverses for machine learning: exact, learned, and every answer with a proven error bound."""

from neuralinv import learned
from neuralinv.dense import InverseResult, Source, Status, certified_inv, inv, slogdet, solve

__all__ = ["InverseResult", "Source", "Status", "certified_inv", "inv", "learned", "slogdet", "solve"]
