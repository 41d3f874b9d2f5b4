"""Symmetric positive definite block-tridiagonal matrices: factor, solves, log-determinant, blocks of the inverse."""

from neuralinv.block_tridiagonal.certificate import CertifiedSolution
from neuralinv.block_tridiagonal.operator import BlockBidiagonal, BlockTridiagonal, CholeskyResult, InverseBlocks

__all__ = ["BlockBidiagonal", "BlockTridiagonal", "CertifiedSolution", "CholeskyResult", "InverseBlocks"]
