"""One proof for a whole range of parameters: afterwards a parametric inverse is certified without any n³ operation.

Beside ``X̂(t) = Σ_r c_r(t) B_r``, t ∈ [−1, 1]^p, let ``Ã(t) = Σ_q a_q(t) A_q`` model the matrices themselves (the affine
decomposition of reduced-basis methods: Barrault et al. 2004, doi:10.1016/j.crma.2004.08.006). With Chebyshev
polynomials for coefficients, ``R̄(t) = I − Ã(t) X̂(t)`` is a polynomial, so that finitely many of its values bound all
of them: for a polynomial of degree D in one variable, and N > D Chebyshev points,

    max |P| over [−1, 1]  ≤  max |P| over the points / cos(D π / (2N))

(Ehlich & Zeller 1964, doi:10.1007/BF01111276; it follows from M. Riesz's lemma on trigonometric polynomials), in
several variables one after another, and for ‖R̄‖_F, since it is the largest of linear functionals of R̄. Degrees whose
coefficients are tiny are split off first, and bounded by the sum of their norms. That is done once (:func:`prove`).

A matrix A that comes with parameters t is ``Ã(t) + E``, so that ``I − AX̂ = R̄(t) − EX̂`` and

    ‖I − AX̂‖_F ≤ ρ̄ + ‖E‖_F ‖X̂‖₂,    ρ̄ ≥ max_t ‖R̄(t)‖_F,

in O(n²) operations for each term of Ã. Whatever A is, the bound is about A. What is left of E in a float32 matrix is
its rounding, which condition numbers above a few hundred magnify beyond 1e-5. Then two products in working precision,
of matrices as small as E, do what a float64 product does elsewhere: with ``X₁ = X̂ − X̂EX̂``, ``I − AX₁ = R̄ − (R̄ − EX̂)
EX̂``, hence ``ρ₁ ≤ ρ̄ + (ρ̄ + ‖EX̂‖_F) ‖EX̂‖_F``.
"""

from __future__ import annotations

import math
from functools import cached_property
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from neuralinv.dense import native, native_probing
from neuralinv.dense.certificate import residual
from neuralinv.dense.correction import (
    CHUNK_ELEMENTS,
    SAFE_NORM,
    Corrected,
    Workspace,
    gamma,
    matrices_at_once,
)
from neuralinv.dense.precision import product_roundoff
from neuralinv.dense.result_memory import new_tensor
from neuralinv.learned.architectures.combination import Combination, as_rows, small_product

_U64 = torch.finfo(torch.float64).eps / 2
_MOST_POINTS = 40_000
_CHUNK_ELEMENTS = 1 << 18  # matrix elements worked on at once: both models are read from memory for each chunk
_TAIL = 1e-2  # of the residual found on the grid: what may be split off


class UniformCertificate(nn.Module):
    """The model of the matrices, and the residual bound that holds for all parameters.

    Parameters
    ----------
    features, rank
        Of the polynomials; of the model of the matrices.
    inverse_rank
        Of the model of the inverses, whose terms are held here as the proof sees them: what is combined is rounded.
    size, width
        n, and real numbers in a matrix.
    """

    basis: Tensor
    weight: Tensor
    inverse_basis: Tensor
    residual: Tensor

    def __init__(self, features: int, rank: int, inverse_rank: int, size: int, width: int) -> None:
        super().__init__()
        self.size = size
        self.register_buffer("basis", torch.zeros(rank, width, dtype=torch.float64))
        self.register_buffer("weight", torch.zeros(features, rank, dtype=torch.float64))
        self.register_buffer("inverse_basis", torch.zeros(inverse_rank, width, dtype=torch.float64))
        self.register_buffer("residual", torch.tensor(math.inf, dtype=torch.float64))

    @property
    def rank(self) -> int:
        """Terms of Ã."""
        return len(self.basis)

    @cached_property
    def sizes(self) -> Tensor:
        """Bounds of the norms of the terms of Ã from above."""
        return _norms(self.basis)

    @cached_property
    def hermitian(self) -> bool:
        """Whether all terms of X̂ are exactly Hermitian, so that X̂ is."""
        real = self.inverse_basis.shape[1] == self.size**2
        B = self.inverse_basis.view(-1, self.size, self.size, *(() if real else (2,)))
        B = B if real else torch.view_as_complex(B)
        return bool((B.mH == B).all())


class PolynomialModes(Protocol):
    """What a proof needs of a parametric inverse whose coefficients are polynomials."""

    size: int
    dtype: torch.dtype
    rtol: float
    basis: Tensor
    weight: Tensor
    exponents: Tensor
    uniform: UniformCertificate | None

    @property
    def combination(self) -> Combination: ...

    def features(self, unit: Tensor, /) -> Tensor: ...

    def as_matrices(self, flat: Tensor, /) -> Tensor: ...


@torch.no_grad()
def prove(model: PolynomialModes) -> float:
    """Return a bound of ``‖I − Ã(t) X̂(t)‖_F`` for all t in the box, computed coefficients included; infinity where it
    would take too many points.

    Notes
    -----
    For each of at most 40,000 points, 2 n³ operations in float64 and n² for each term of both models.
    """
    uniform = model.uniform
    if uniform is None:
        return math.inf
    exponents = model.exponents.cpu().numpy()
    # Norms of the coefficient matrices of each polynomial: ‖Σ_r W_fr B_r‖_F.
    size_X = _row_norms(model.weight, uniform.inverse_basis)
    size_A = _row_norms(uniform.weight, uniform.basis)
    sup_X, sup_A = float(size_X.sum()), float(size_A.sum())
    slack = _evaluation_slack(model.weight, uniform.inverse_basis, model)
    slack_A = _evaluation_slack(uniform.weight, uniform.basis, model)
    # Coefficients as computed differ from the polynomials: by so much in the residual.
    wrong = slack_A * (sup_X + slack) + sup_A * slack

    target = _TAIL * model.rtol
    degrees, tail = [], 0.0
    for k in range(exponents.shape[1]):
        degree, rest = _effective_degree(exponents[:, k], size_X, size_A, target)
        degrees.append(degree)
        tail += rest
    oversampling = 2.0 if len(degrees) == 1 else 1.5
    counts = [max(2, math.ceil(oversampling * degree) + 1) for degree in degrees]
    if math.prod(counts) > _MOST_POINTS:
        return math.inf
    factor = math.prod(
        1 / math.cos(math.pi * degree / (2 * count)) for degree, count in zip(degrees, counts, strict=True)
    )
    largest = _largest_residual(model, uniform, counts)
    return ((largest + wrong + tail) * factor + tail + wrong) * (1 + 1e-12)


def _row_norms(weight: Tensor, basis: Tensor) -> NDArray[np.float64]:
    gram = basis @ basis.mT
    squares = ((weight @ gram) * weight).sum(1).clamp(min=0)
    # Rounding of the quadratic form, and of the Gram matrix.
    rounding = (len(basis) + basis.shape[1] + 8) * 4 * _U64 * (weight.abs() @ gram.diagonal().sqrt()).square()
    return np.asarray((squares + rounding).sqrt().cpu().numpy() * (1 + 1e-12))


def _evaluation_slack(weight: Tensor, basis: Tensor, model: PolynomialModes) -> float:
    """Bound ``‖Σ_r (ĉ_r − c_r) B_r‖_F``: Chebyshev's recurrence to degree d is wrong by at most 3 (d + 1)² u on [−1, 1]
    (errors grow like Chebyshev polynomials of the second kind), the points of a grid, wrong by 5u, add 5 d² u, since
    |T_d'| ≤ d²; products of p are off by p times that, and then come sums.
    """
    features, parameters = model.exponents.shape
    degree = int(model.exponents.max()) if model.exponents.numel() else 0
    each = 8 * parameters * (degree + 1) ** 2 * _U64 + gamma(features + 2, _U64, torch.float64)
    return float((weight.abs().sum(0) * torch.linalg.vector_norm(basis, dim=1)).sum()) * each * (1 + 1e-12)


def _effective_degree(
    exponents: NDArray[np.int64], size_X: NDArray[np.float64], size_A: NDArray[np.float64], target: float
) -> tuple[int, float]:
    """Return the lowest degree in one variable beyond which products of terms add up to at most ``target``, and what
    they add up to.
    """
    by_degree_X, by_degree_A = (np.bincount(exponents, weights=size) for size in (size_X, size_A))
    together = np.convolve(by_degree_X, by_degree_A)  # Tⱼ Tₖ has degree j + k
    beyond = np.append(np.cumsum(together[::-1])[::-1], 0.0) * (1 + 1e-12)  # of degree d and more
    degree = int(np.flatnonzero(beyond <= target)[0]) - 1
    return max(degree, 0), float(beyond[max(degree, 0) + 1])


def _largest_residual(model: PolynomialModes, uniform: UniformCertificate, counts: list[int]) -> float:
    """Return the largest proved ``‖I − Ã X̂‖_F`` of a grid of Chebyshev points."""
    nodes = [torch.cos(math.pi * (torch.arange(count, dtype=torch.float64) + 0.5) / count) for count in counts]
    grid = torch.cartesian_prod(*nodes).reshape(-1, len(counts)).to(model.weight.device)
    largest = 0.0
    step = max(1, 4 * CHUNK_ELEMENTS // model.size**2)
    basis = uniform.inverse_basis
    for unit in grid.split(step):
        features = model.features(unit)
        X = model.as_matrices((features @ model.weight) @ basis)
        A = model.as_matrices((features @ uniform.weight) @ uniform.basis)
        # X and A as combined here are sums that were rounded.
        off_X = gamma(len(basis) + 2, _U64, torch.float64) * ((features @ model.weight).abs() @ _norms(basis))
        off_A = gamma(uniform.rank + 2, _U64, torch.float64) * (
            (features @ uniform.weight).abs() @ _norms(uniform.basis)
        )
        norm_A, norm_X = torch.linalg.matrix_norm(A), torch.linalg.matrix_norm(X)
        bound = residual(A, X).bound + norm_A * off_X + off_A * (norm_X + off_X)
        largest = max(largest, float(bound.nan_to_num(nan=math.inf).max()) * (1 + 1e-9))
    return largest


def _norms(basis: Tensor) -> Tensor:
    return torch.linalg.vector_norm(basis, dim=1) * (1 + 1e-9)


@torch.no_grad()
def certify_uniformly(
    model: PolynomialModes, A: Tensor, unit: Tensor, work: Workspace, features: Tensor | None = None
) -> Corrected:
    """Propose and certify ``A`` of shape ``(batch, n, n)`` for positions ``unit`` ``(batch, p)``, NaN where there is no
    proposal. Order 1: as proposed; order 2: with the correction for what is not of the family.

    Notes
    -----
    ``2 n² (r + 2q)`` operations, r and q the ranks of both models, q in float64; 4 n³ more for a correction.
    """
    uniform = model.uniform
    if uniform is None:
        raise ValueError("this parametric inverse has no uniform certificate")
    features = model.features(unit) if features is None else features
    c, a = (small_product(features, weight) for weight in (model.weight, uniform.weight))
    bounds = _Bounds(model, uniform, c, a)
    narrow = c.to(model.basis.dtype)
    X = new_tensor(A)
    norm_E, size_X = (torch.empty(len(A), dtype=torch.float64, device=A.device) for _ in range(2))
    # Kernels take the batch at once and leave nothing behind but numbers; torch takes what its temporaries can stay in
    # the cache for.
    compiled = native.combines(narrow, max(model.basis.shape[0], uniform.rank)) and A.numel() > 0
    step = matrices_at_once(A, _CHUNK_ELEMENTS)
    for part in [slice(None)] if compiled else map(slice, range(0, len(A), step), range(step, len(A) + step, step)):
        model.combination.combine(model.basis, narrow[part], as_rows(X[part]))
        norm_E[part] = _deviation_norm(uniform, A[part], a[part], work, compiled=compiled)
        size_X[part] = _spectral_bound(X[part], uniform.hermitian, work)
    error, norm_E, size_X = bounds.without_correction(norm_E, size_X)
    order = torch.ones(len(A), dtype=torch.int8, device=A.device)
    able = (~(error <= model.rtol) & (norm_E * size_X < _LARGEST_SHARE)).nonzero().squeeze(1)
    for piece in able.split(step) if len(able) else ():
        x = X[piece]
        E = _deviation(uniform, A[piece], a[piece], work)
        small = work.take("small", A[piece], A.dtype).copy_(E)
        Y = torch.bmm(small, x, out=work.take("product", x, x.dtype))
        norm_Y = torch.linalg.vector_norm(Y, dim=(-2, -1)).double()
        X[piece] = torch.sub(x, torch.bmm(x, Y, out=work.take("square", x, x.dtype)), out=x)
        error[piece] = bounds.with_correction(piece, norm_E[piece], norm_Y)
        order[piece] = 2
    return Corrected(X, error, order)


_LARGEST_SHARE = 0.1  # of ‖E‖_F ‖X‖₂: beyond it a correction does not reach what anybody asks for


def _deviation_norm(uniform: UniformCertificate, A: Tensor, a: Tensor, work: Workspace, *, compiled: bool) -> Tensor:
    """Return ``‖A − Ã‖_F`` in double precision."""
    if compiled:
        return native.deviation(as_rows(A.resolve_conj().contiguous()), a, uniform.basis).sqrt()
    rows = as_rows(_deviation(uniform, A, a, work))[:, None]
    # An inner product: torch's norm takes ten times longer.
    return torch.bmm(rows, rows.mT).view(-1).sqrt()


def _deviation(uniform: UniformCertificate, A: Tensor, a: Tensor, work: Workspace) -> Tensor:
    """Return ``A − Ã`` in double precision."""
    wide = torch.complex128 if A.is_complex() else torch.float64
    E = work.take("A", A, wide).copy_(A)
    as_rows(E).addmm_(a, uniform.basis, alpha=-1)
    return E


def _spectral_bound(X: Tensor, hermitian: bool, work: Workspace) -> Tensor:
    """Bound ``‖X‖₂`` by ``√(‖X‖₁ ‖X‖_∞)``, or ``‖X‖_∞`` if it is Hermitian, apart from rounding."""
    if X.device.type == "cpu" and native.AVAILABLE:
        rows, columns = native_probing.largest_sums(X)
        return rows if hermitian else (rows * columns).sqrt()
    magnitude = torch.abs(X, out=work.take("magnitude", X, X.dtype.to_real()))
    rows = magnitude.sum(-1).amax(-1)
    return rows if hermitian else (rows * magnitude.sum(-2).amax(-1)).sqrt()


class _Bounds:
    """Error bounds of a batch from a few numbers for each matrix."""

    def __init__(self, model: PolynomialModes, uniform: UniformCertificate, c: Tensor, a: Tensor) -> None:
        dtype, n = model.dtype, model.size
        u = product_roundoff(dtype)
        combination = model.combination
        self._rounding_X = combination.rounding(c)  # ≥ ‖X − X̂‖_F
        self._norm_X, self._most_X = combination.least_norm(c), combination.most_norm(c)
        self._terms_A = a.abs() @ uniform.sizes
        self._residual = float(uniform.residual)
        self._n, self._dtype, self._rank, self._u = n, dtype, uniform.rank, u
        self._hermitian = uniform.hermitian

    def without_correction(self, norm_E: Tensor, size_X: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return error bounds of X, and bounds of ``‖E‖_F`` and ``‖X̂‖₂``."""
        n = self._n
        # E = fl(A − Σ a_q A_q): its rounding is relative to |A| + Σ |a_q| |A_q|, and |A| is at most |E| and that sum.
        rounding = gamma(self._rank + 3, _U64, torch.float64)
        norm_E = norm_E * (1 + 4 * (n * n + 64) * _U64)
        self._rounding_E = 1.1 * rounding * (norm_E + 2 * self._terms_A)
        self._norm_E = norm_E + self._rounding_E
        row = 1 + 2 * (n + 8) * torch.finfo(self._dtype).eps
        # ‖X̂‖₂ ≤ ‖X‖₂ + ‖X − X̂‖_F; where X̂ is Hermitian, ‖X̂‖₂ ≤ ‖X̂‖_∞ ≤ ‖X‖_∞ + √n ‖X − X̂‖_F.
        self._size_X = size_X * row + (math.sqrt(n) if self._hermitian else 1.0) * self._rounding_X
        # Norms so extreme that something could under- or overflow prove nothing.
        limit = SAFE_NORM[self._dtype.to_real()]
        extreme = (self._terms_A > limit) | (self._terms_A < 1 / limit)
        extreme |= (self._norm_X > limit) | (self._norm_X < 1 / limit)
        self._norm_E = torch.where(extreme, torch.inf, self._norm_E)
        rho = self._residual + self._norm_E * self._size_X
        relative = self._rounding_X / self._norm_X
        return _finish(rho, rho + (1 + rho) * relative), self._norm_E, self._size_X

    def with_correction(self, index: Tensor, norm_E: Tensor, norm_Y: Tensor) -> Tensor:
        """Return error bounds of ``fl(X − fl(X Y))``, ``Y = fl(fl(E) X)``.

        ``Y`` differs from ``E X̂`` by the rounding of the product and of E, γ ‖E‖_F ‖X‖_F, by what E was off already,
        by ``‖E‖_F ‖X − X̂‖_F``, and by what underflows; times ``X`` that is relative to ``‖X‖_F``, and so are the
        rounding of the second product, γ ‖Y‖_F, and of the sum. What ``X`` itself is off by counts twice: in ``X̂`` and
        in ``X̂ E X̂``.
        """
        n = self._n
        norm_X, rounding_X = self._norm_X[index], self._rounding_X[index]
        most_X = self._most_X[index] + rounding_X
        product = gamma(n + 4, self._u, self._dtype)
        norm_Y = norm_Y * (1 + 4 * (n * n + 64) * torch.finfo(self._dtype).eps)
        wrong_Y = product * norm_E * most_X + norm_E * rounding_X + self._rounding_E[index] * most_X
        wrong_Y = wrong_Y + n * torch.finfo(self._dtype).tiny * (1 + most_X)
        y = norm_Y + wrong_Y
        rho = self._residual + (self._residual + y) * y
        least = norm_X * (1 - y).clamp(min=0)  # ‖X̂ − X̂EX̂‖_F ≥ (1 − ‖EX̂‖_F) ‖X̂‖_F
        off = rounding_X * (1 + y) + most_X * (wrong_Y + product * y) + 2 * self._u * most_X * (1 + y)
        return _finish(rho, rho + (1 + rho) * off / least)


def _finish(rho: Tensor, bound: Tensor) -> Tensor:
    bound = bound * (1 + 64 * _U64)
    return torch.where((rho < 1) & torch.isfinite(bound), bound, torch.inf)
