"""Dense inverses: exact kernels, certificate, refinement, Schur recursion, and what joins them."""

from neuralinv.dense.certified import certified_inv
from neuralinv.dense.config import show_config
from neuralinv.dense.dispatch import Dispatch, explain_dispatch
from neuralinv.dense.inverse import inv, inv_ex
from neuralinv.dense.linear_solve import solve, solve_ex
from neuralinv.dense.log_determinant import slogdet
from neuralinv.dense.result import InverseResult, Source, Status
from neuralinv.dense.schur import SchurProposer
from neuralinv.dense.sequence import SequenceInverter

__all__ = [
    "Dispatch",
    "InverseResult",
    "SchurProposer",
    "SequenceInverter",
    "Source",
    "Status",
    "certified_inv",
    "explain_dispatch",
    "inv",
    "inv_ex",
    "show_config",
    "slogdet",
    "solve",
    "solve_ex",
]
