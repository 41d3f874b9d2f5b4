"""Linear combinations ``X = Σ_r c_r B_r`` in working precision, and how far they can be from the exact ones.

The terms are float64; what is combined are the terms and coefficients rounded to working precision with unit roundoff
u. A sum of m products in any order, with or without fused multiply-adds, is wrong by at most ``γ_m Σ |c_r| |B_r|``,
entry by entry (Higham, *Accuracy and Stability of Numerical Algorithms*, §3.1), and the two roundings before it add 2
to m. Of that matrix the norm is ``√(|c|ᵀ H |c|)``, ``H_rs = ⟨|B_r|, |B_s|⟩``.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from neuralinv.dense import native
from neuralinv.dense.correction import gamma
from neuralinv.dense.precision import product_roundoff

_U64 = torch.finfo(torch.float64).eps / 2
_LEADING = 8


class Combination:
    """The terms ``(r, width)``, float64, as rows of real numbers, and numbers that bound what becomes of them.

    The leading terms come after all others: the rounding is then that of few large terms and many small ones. The
    kernel adds the last term first anyway; for torch that is another pass over X.

    Parameters
    ----------
    terms
        Nearly orthonormal rows.
    size, dtype
        n and dtype of the matrices; they are combined as real numbers in working precision.
    """

    def __init__(self, terms: Tensor, size: int, dtype: torch.dtype) -> None:
        self._size, self._is_complex, self._dtype = size, dtype.is_complex, dtype.to_real()
        self._images: tuple[tuple[int, int], Tensor] | None = None
        self.terms = terms = terms.double()
        self._leading = _LEADING if len(terms) > _LEADING else 0
        magnitude = terms.abs()
        self._overlap = magnitude @ magnitude.mT
        # ‖Σ c_r B_r‖_F² lies within 1 ± η of ‖c‖², η ≥ ‖G − I‖₂, G the Gram matrix of the terms.
        rounding = gamma(terms.shape[1] + 2, _U64, torch.float64) * float(terms.square().sum())
        gram = terms @ terms.mT
        self.skewness = (float(torch.linalg.matrix_norm(gram - torch.eye(len(terms)).to(gram))) + rounding) * (
            1 + 1e-12
        )

    def least_norm(self, c: Tensor) -> Tensor:
        """Bound ``‖Σ c_r B_r‖_F`` from below, for coefficients ``(batch, r)``."""
        return torch.linalg.vector_norm(c, dim=1) * (math.sqrt(max(0.0, 1 - self.skewness)) * (1 - 1e-12))

    def most_norm(self, c: Tensor) -> Tensor:
        """Bound it from above."""
        return torch.linalg.vector_norm(c, dim=1) * (math.sqrt(1 + self.skewness) * (1 + 1e-12))

    def rounding(self, c: Tensor) -> Tensor:
        """Bound the distance of what :meth:`combine` returns from ``Σ c_r B_r``, in the Frobenius norm."""
        u = product_roundoff(self._dtype)
        every = self._spread(c, slice(None))
        if self._leading:
            few, many = gamma(self._leading + 5, u, torch.float64), gamma(c.shape[1] + 5, u, torch.float64)
            off = few * every + many * self._spread(c, slice(self._leading, None))
        else:
            off = gamma(c.shape[1] + 3, u, torch.float64) * every
        # What underflows.
        lost = 4 * (c.shape[1] + 2) * self._size * torch.finfo(self._dtype).tiny * (1 + c.abs().amax(1))
        return (off + lost) * (1 + 1e-9)

    def _spread(self, c: Tensor, part: slice) -> Tensor:
        magnitude = c[:, part].abs()
        return (small_product(magnitude, self._overlap[part, part]) * magnitude).sum(1).sqrt()

    def combine(self, basis: Tensor, c: Tensor, out: Tensor) -> Tensor:
        """Write ``Σ_r c_r B_r`` into ``out``, ``(batch, width)``.

        ``basis`` holds the terms, and ``c``, ``(batch, r)``, the coefficients, both rounded to working precision.
        """
        if not self._leading or native.combines(c, len(basis)):
            return native.combine(c, basis, out)
        torch.mm(c[:, self._leading :], basis[self._leading :], out=out)
        return out.addmm_(c[:, : self._leading], basis[: self._leading])

    def images(self, vectors: Tensor) -> Tensor:
        """Return ``B_r v`` for vectors ``(n, k)``: ``(r, n, k)``, double precision. The last ones are remembered."""
        version = (vectors.data_ptr(), vectors._version)
        if self._images is None or self._images[0] != version:
            terms = as_matrices(self.terms, self._size, is_complex=self._is_complex)
            self._images = (version, terms @ vectors)
        return self._images[1]


def small_product(C: Tensor, B: Tensor) -> Tensor:
    """Return ``C B`` for a few columns: by the kernel where there is no gradient, which is quicker with so few."""
    if C.requires_grad or not native.combines(C, len(B)):
        return C @ B
    return native.combine(C, B, C.new_empty(len(C), B.shape[1]))


def as_matrices(flat: Tensor, size: int, *, is_complex: bool) -> Tensor:
    """View rows of real numbers as matrices ``(batch, n, n)``."""
    if not is_complex:
        return flat.view(-1, size, size)
    return torch.view_as_complex(flat.view(-1, size, size, 2))


def as_rows(A: Tensor) -> Tensor:
    """View matrices ``(batch, n, n)`` as rows of real numbers ``(batch, width)``."""
    return (torch.view_as_real(A) if A.is_complex() else A).flatten(1)
