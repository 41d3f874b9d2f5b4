"""Dense inverses: exact kernels, certificate, refinement, Schur recursion, and what joins them."""

from neuralinv.dense.certified import certified_inv
from neuralinv.dense.exact import inv, slogdet, solve
from neuralinv.dense.result import InverseResult, Source, Status
from neuralinv.dense.schur import SchurProposer

__all__ = ["InverseResult", "SchurProposer", "Source", "Status", "certified_inv", "inv", "slogdet", "solve"]
