"""Symmetric positive definite block-tridiagonal matrices: factor, solves, log-determinant, blocks of the inverse; the
Gaussian Markov chains whose precisions they are.
"""

from neuralinv.block_tridiagonal.certificate import CertifiedSolution
from neuralinv.block_tridiagonal.chain import GaussianMarkovChain
from neuralinv.block_tridiagonal.operator import BlockBidiagonal, BlockTridiagonal, CholeskyResult, InverseBlocks
from neuralinv.block_tridiagonal.smoother import smoother

__all__ = [
    "BlockBidiagonal",
    "BlockTridiagonal",
    "CertifiedSolution",
    "CholeskyResult",
    "GaussianMarkovChain",
    "InverseBlocks",
    "smoother",
]
