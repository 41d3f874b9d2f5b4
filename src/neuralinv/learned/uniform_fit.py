"""Fitting a parametric inverse that is proved for all parameters at once, where the matrices have a model, too."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from neuralinv.dense.result import Source
from neuralinv.families import Range
from neuralinv.learned.architectures.combination import as_rows
from neuralinv.learned.architectures.parametric import ParametricInverse
from neuralinv.learned.architectures.uniform import prove
from neuralinv.learned.snapshots import Snapshots

_RANKS = (2, 4, 8, 16, 24, 32, 48, 64, 80, 96, 128, 160, 192, 224, 256, 320, 384)
_MATRIX_RANKS = (1, 2, 3, 4, 6, 8, 10, 12, 16, 20, 24, 32, 40, 48)
_HELD_OUT_SHARE = 1 / 40  # of rtol: the residual of matrices held out; a proof for all costs a factor of four and more
_LARGEST_SHARE = 1 / 3  # of rtol: what the proof may use up
_DEVIATION_SHARE = 1e-3  # of rtol: what the model of the matrices may be off
_TRIES = 2


def principal_modes(X: Tensor) -> Tensor:
    """Return orthonormal modes ``(modes, width)`` of rows ``(snapshots, width)``, the largest first.

    Through Gram matrices, since snapshots are fewer than entries; twice, since one Gram matrix resolves half the
    digits.
    """
    modes = _gram_modes(X, 1e-7)
    rest = X - (X @ modes.mT) @ modes
    scale = rest.abs().amax()
    if len(modes) < len(X) and bool(scale > torch.finfo(X.dtype).tiny):
        finer = _gram_modes(rest / scale, 1e-6)
        modes = torch.cat([modes, finer])
    width = min(len(modes), X.shape[1])
    Q, R = torch.linalg.qr(modes[:width].mT)
    return (Q * R.diagonal().sign()).mT


def _gram_modes(X: Tensor, smallest: float) -> Tensor:
    values, vectors = torch.linalg.eigh(X @ X.mT)
    keep = max(1, int((values > smallest**2 * values[-1]).sum()))
    modes = vectors.flip(1)[:, :keep].mT @ X
    return modes / torch.linalg.vector_norm(modes, dim=1, keepdim=True)


def fit_uniform(
    train: Snapshots,
    modes: Tensor,
    weight: Tensor,
    test: Snapshots,
    features: Tensor,
    ranges: Mapping[str, Range],
    degree: int,
    *,
    dtype: torch.dtype,
    rtol: float,
) -> ParametricInverse | None:
    """Return the smallest parametric inverse that can be proved for all parameters, or None.

    Parameters
    ----------
    train, test
        To fit to, and held out.
    modes, weight
        Of the inverses: ``(rank, width)``, and their coefficients for each polynomial.
    features
        Polynomials at the snapshots.
    """
    rows, theta, matrices, inverses = as_rows(train.A), test.theta, test.A, test.X
    n = matrices.shape[-1]
    hermitian = bool(torch.equal(matrices, matrices.mH))
    probe = ParametricInverse(ranges, n, 1, degree, dtype=dtype, rtol=rtol)
    seen = probe.features(probe.positions(theta))
    identity = torch.eye(n, dtype=matrices.dtype)

    def as_terms(basis: Tensor) -> Tensor:
        if not hermitian:
            return basis
        B = probe.as_matrices(basis.contiguous())
        B = (B + B.mH) / 2
        return as_rows(B)

    matrix_modes = principal_modes(rows)
    matrix_weight = torch.linalg.lstsq(features, rows @ matrix_modes.mT).solution
    sizes = torch.linalg.matrix_norm(inverses, 2)
    for q in (q for q in _MATRIX_RANKS if q <= len(matrix_modes)):
        deviation = matrices - probe.as_matrices((seen @ matrix_weight[:, :q]) @ matrix_modes[:q])
        if float((torch.linalg.matrix_norm(deviation) * sizes).max()) <= _DEVIATION_SHARE * rtol:
            break
    else:
        return None

    tries = 0
    for r in (r for r in _RANKS if r <= len(modes)):
        X = probe.as_matrices((seen @ weight[:, :r]) @ modes[:r])
        if not float(torch.linalg.matrix_norm(identity - matrices @ X).max()) <= _HELD_OUT_SHARE * rtol:
            continue
        model = ParametricInverse(ranges, n, r, degree, dtype=dtype, rtol=rtol, matrix_rank=q)
        uniform = model.uniform
        if uniform is None:
            return None
        uniform.inverse_basis.copy_(as_terms(modes[:r]))
        uniform.basis.copy_(as_terms(matrix_modes[:q]))
        uniform.weight.copy_(matrix_weight[:, :q])
        model.basis.copy_(uniform.inverse_basis)
        model.weight.copy_(weight[:, :r])
        uniform.residual.fill_(prove(model))
        if float(uniform.residual) <= _LARGEST_SHARE * rtol:
            return model
        tries += 1
        if tries == _TRIES:
            return None
    return None


def covered(test: Snapshots, rounded: Tensor, rtol: float) -> float:
    """Return for what share of matrices held out a proof for all parameters can be enough, once they are rounded."""
    X = test.X.abs()
    size = (X.sum(-1).amax(-1) * X.sum(-2).amax(-1)).sqrt()
    return float((torch.linalg.matrix_norm(rounded - test.A) * size <= rtol).double().mean())


def certified_at_once(model: ParametricInverse, A: Tensor, theta: Tensor) -> float:
    """Return the share of matrices ``(batch, n, n)`` that certify without any product."""
    result = model.propose_and_correct(A, theta)
    return float(((result.error_bound <= model.rtol) & (result.source == int(Source.PROPOSED))).double().mean())
