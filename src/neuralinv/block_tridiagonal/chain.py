"""Gaussian laws of whole paths whose precision couples neighbouring time steps alone: Gaussian Markov chains.

Rue & Held, *Gaussian Markov Random Fields*, Chapman & Hall/CRC 2005, ch. 2, has the formulas.
"""

from __future__ import annotations

import math
from contextlib import AbstractContextManager, nullcontext
from typing import Any, ClassVar, cast

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints, register_kl
from torch.distributions.utils import _standard_normal, lazy_property

from neuralinv.block_tridiagonal._blocks import common_batch
from neuralinv.block_tridiagonal.operator import BlockBidiagonal, BlockTridiagonal, InverseBlocks
from neuralinv.dense.hermitian import from_lower

_PATH = constraints.independent(constraints.real, 2)


class _kept(lazy_property[Any, Any]):  # noqa: N801 - a decorator
    """A property that is computed once. Torch's enables gradients for it, so that it serves whoever asks next; that
    takes leaving the inference mode, too.
    """

    def __get__(self, instance: Any, obj_type: Any = None) -> Any:
        with _gradients_possible():
            return super().__get__(instance, obj_type)


def _gradients_possible() -> AbstractContextManager[Any]:
    # torch.compile neither traces nor needs this.
    return nullcontext() if torch.compiler.is_compiling() else torch.inference_mode(False)


def _ordinary(x: Tensor) -> Tensor:
    """Copy what was made in inference mode: that may not take part in anything that is differentiated."""
    if torch.compiler.is_compiling() or not x.is_inference():
        return x
    with _gradients_possible():
        return x.clone()


class GaussianMarkovChain(Distribution):
    """The normal law of a path ``z (T, n)`` with block-tridiagonal precision ``M``: density ∝ exp(−½ zᵀM z + hᵀz).

    Parameters
    ----------
    precision
        ``M``, a :class:`neuralinv.BlockTridiagonal` of torch tensors, batch shape ``(*batch,)``.
    mean
        ``μ``, shape ``(*batch, T, n)``. Batch dimensions broadcast: chains that share a precision share its factor.
    information
        ``h = M μ``, shape ``(*batch, T, n)``, where that is what is known. Exactly one of both is given.
    validate_args
        As for every ``torch.distributions.Distribution``.

    Raises
    ------
    ValueError
        If both or none of ``mean`` and ``information`` are given, or shapes do not fit.
    TypeError
        If ``precision`` is no BlockTridiagonal of tensors, ``mean`` or ``information`` no tensor, or dtypes differ.
    torch.linalg.LinAlgError
        From the first method that needs the factor, if the precision is not positive definite.

    Notes
    -----
    ``batch_shape`` is ``(*batch,)`` and ``event_shape`` ``(T, n)``. The Cholesky factor is computed once, when first
    needed, and O(T n³); afterwards each method costs O(T n²), the marginal moments O(T n³) once. Samples and moments
    need it. A mean or a log-determinant that is asked for before comes from one call of
    :meth:`neuralinv.BlockTridiagonal.solve_logdet`, whose gradients cost less than the factor's. Everything is
    differentiable with respect to the precision's blocks, ``mean`` or ``information``.
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {"mean": _PATH, "information": _PATH}
    support = _PATH
    has_rsample = True

    def __init__(
        self,
        precision: BlockTridiagonal,
        mean: Tensor | None = None,
        *,
        information: Tensor | None = None,
        validate_args: bool | None = None,
    ) -> None:
        if not isinstance(precision, BlockTridiagonal) or not isinstance(precision.diag, Tensor):
            raise TypeError(f"precision is {precision!r}; expected a BlockTridiagonal of torch tensors")
        given = information if mean is None else mean
        if given is None or (mean is not None and information is not None):
            raise ValueError("expected exactly one of mean and information")
        name = "information" if mean is None else "mean"
        if not isinstance(given, Tensor):
            raise TypeError(f"{name} is a {type(given).__name__}; expected a torch tensor")
        if given.dtype != precision.diag.dtype:
            raise TypeError(f"{name} is {given.dtype} and the precision {precision.diag.dtype}; expected the same")
        path = precision.diag.shape[-3:-1]
        if given.shape[-2:] != path:
            raise ValueError(f"{name} has shape {tuple(given.shape)}; expected (*batch, {path[0]}, {path[1]})")
        batch = common_batch(precision.shape[:-2], given.shape[:-2])
        if batch is None:
            raise ValueError(
                f"{name} has batch shape {tuple(given.shape[:-2])} and the precision {precision.shape[:-2]}; "
                "expected shapes that broadcast"
            )
        setattr(self, name, _ordinary(given).expand(*batch, *path))
        diag, lower = _ordinary(precision.diag), _ordinary(precision.lower)
        same = diag is precision.diag and lower is precision.lower
        self._precision = precision if same else BlockTridiagonal(diag, lower, method=precision.method)
        # Torch's check of values fails where there are none.
        super().__init__(batch, path, validate_args if batch.numel() else False)

    def expand(self, batch_shape: Any, _instance: Any = None) -> GaussianMarkovChain:
        """Return this law with another batch shape; shares factor and moments computed so far."""
        new = cast(GaussianMarkovChain, self._get_checked_instance(GaussianMarkovChain, _instance))
        shape = (*batch_shape, *self.event_shape)
        new._precision = self._precision
        # The factor and its kin keep the precision's batch shape: they serve the expanded law as they are.
        for name in ("factor", "_log_determinant", "_inverse_blocks"):
            if name in self.__dict__:
                setattr(new, name, self.__dict__[name])
        for name in ("mean", "information"):
            if name in self.__dict__:
                setattr(new, name, self.__dict__[name].expand(shape))
        super(GaussianMarkovChain, new).__init__(torch.Size(batch_shape), self.event_shape, validate_args=False)
        new._validate_args = self._validate_args
        return new

    @property
    def precision(self) -> BlockTridiagonal:
        """``M`` as it was given; its batch shape broadcasts to ``batch_shape``."""
        return self._precision

    @_kept
    def factor(self) -> BlockBidiagonal:
        """The Cholesky factor ``F`` of the precision, ``M = F Fᵀ``."""
        return self._precision.cholesky()

    @_kept
    def mean(self) -> Tensor:
        """``μ = M⁻¹ h``, shape ``(*batch, T, n)``."""
        if "factor" in self.__dict__ or self._precision.shape[:-2] != self.batch_shape:
            return self._transposed_solve(self._whitened)[..., 0]  # chains that share a precision share its factor
        mean, logdet = self._precision.solve_logdet(self.information)
        self._log_determinant = 0.5 * cast(Tensor, logdet)
        return cast(Tensor, mean)

    @_kept
    def information(self) -> Tensor:
        """``h = M μ``, shape ``(*batch, T, n)``."""
        return self._multiply(self.mean[..., None])[..., 0]

    @property
    def mode(self) -> Tensor:
        """The mean."""
        return self.mean

    @property
    def marginal_covariances(self) -> Tensor:
        """``Cov(z_t, z_t)``, shape ``(*batch, T, n, n)``."""
        diagonal = cast(Tensor, self._inverse_blocks.diag)
        return diagonal.expand(*self.batch_shape, *diagonal.shape[-3:])

    @property
    def lag_one_covariances(self) -> Tensor:
        """``Cov(z_{t+1}, z_t)``, shape ``(*batch, T − 1, n, n)``."""
        lower = cast(Tensor, self._inverse_blocks.lower)
        return lower.expand(*self.batch_shape, *lower.shape[-3:])

    @property
    def variance(self) -> Tensor:
        """Diagonals of :attr:`marginal_covariances`, shape ``(*batch, T, n)``."""
        return self.marginal_covariances.diagonal(dim1=-2, dim2=-1)

    def rsample(self, sample_shape: Any = torch.Size()) -> Tensor:  # noqa: B008 - torch's signature
        """Draw paths, shape ``(*sample_shape, *batch, T, n)``, differentiably: ``μ + F⁻ᵀ ε``, ε standard normal."""
        shape = self._extended_shape(sample_shape)
        D: Tensor = self._precision.diag
        noise = self._as_columns(_standard_normal(shape, D.dtype, D.device))
        if "mean" in self.__dict__:
            paths = self.mean[..., None] + self._transposed_solve(noise)
        else:
            paths = self._transposed_solve(self._whitened + noise)  # one solve for both
        return paths[..., 0] if len(shape) == len(self.batch_shape) + 2 else paths.movedim(-1, 0).reshape(shape)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the logarithm of the density at ``value (*sample_shape, *batch, T, n)``."""
        if self._validate_args:
            self._validate_sample(value)
        deviation = value - self.mean
        r = self._as_columns(deviation)
        squares = (r * self._multiply(r)).sum((-3, -2)).movedim(-1, 0).reshape(deviation.shape[:-2])
        return self._log_determinant - 0.5 * (self.event_shape.numel() * math.log(2 * math.pi) + squares)

    def entropy(self) -> Tensor:
        """Return the differential entropy in nats, shape ``(*batch,)``."""
        constant = 0.5 * self.event_shape.numel() * (1 + math.log(2 * math.pi))
        return (constant - self._log_determinant).expand(self.batch_shape)

    def __repr__(self) -> str:
        steps, n = self.event_shape
        return f"GaussianMarkovChain(batch={tuple(self.batch_shape)}, T={steps}, n={n}, {self._precision.diag.dtype})"

    @_kept
    def _log_determinant(self) -> Tensor:
        """``log det F``, half that of the precision; of the precision's batch shape."""
        if not {"factor", "mean"} & self.__dict__.keys():
            _ = self.mean  # which is asked for next, as a rule, and brings this or the factor along
        if "_log_determinant" in self.__dict__:
            return cast(Tensor, self.__dict__["_log_determinant"])
        if "factor" in self.__dict__:
            return cast(Tensor, self.factor.logdet())
        return 0.5 * cast(Tensor, self._precision.logdet())

    @_kept
    def _inverse_blocks(self) -> InverseBlocks:
        return self.factor.inverse_blocks()

    @_kept
    def _whitened(self) -> Tensor:
        """``F⁻¹ h``, shape ``(*batch, T, n, 1)``."""
        return cast(Tensor, self._aligned(self.factor).solve(self.information[..., None]))

    def _transposed_solve(self, columns: Tensor) -> Tensor:
        return cast(Tensor, self._aligned(self.factor).solve_transpose(columns))

    def _multiply(self, columns: Tensor) -> Tensor:
        return cast(Tensor, self._aligned(self._precision).matmul(columns))

    def _aligned(self, operator: Any) -> Any:
        """Give the operator as many batch dimensions as the law has: then columns are never mistaken for a batch."""
        missing = len(self.batch_shape) + 2 - len(operator.shape)
        if not missing:
            return operator
        diag, lower = (x[(None,) * missing] for x in (operator.diag, operator.lower))
        return type(operator)(diag, lower, method=operator.method)

    def _as_columns(self, paths: Tensor) -> Tensor:
        """Make ``(*sample_shape, *batch, T, n)`` columns ``(*batch, T, n, k)``: one solve for all samples."""
        if paths.ndim == len(self.batch_shape) + 2:
            return paths[..., None]
        law = len(self.batch_shape) + 2
        return paths.reshape(paths.shape[:-law].numel(), *paths.shape[-law:]).movedim(0, -1)


@register_kl(GaussianMarkovChain, GaussianMarkovChain)  # type: ignore[untyped-decorator]  # torch's is
def _kl_divergence(p: GaussianMarkovChain, q: GaussianMarkovChain) -> Tensor:
    """``½ (tr(M_q Σ_p) + (μ_p − μ_q)ᵀ M_q (μ_p − μ_q) − T n + log det M_p − log det M_q)``, shape ``(*batch,)``.

    The trace needs the blocks of ``Σ_p`` on three diagonals alone.
    """
    if p.event_shape != q.event_shape:
        raise ValueError(f"the laws have events {tuple(p.event_shape)} and {tuple(q.event_shape)}; expected the same")
    if common_batch(p.batch_shape, q.batch_shape) is None:
        raise ValueError(
            f"the laws have batch shapes {tuple(p.batch_shape)} and {tuple(q.batch_shape)}; expected shapes that "
            "broadcast"
        )
    D, B = from_lower(q.precision.diag), q.precision.lower
    trace = (D * p._inverse_blocks.diag).sum((-3, -2, -1)) + 2 * (B * p._inverse_blocks.lower).sum((-3, -2, -1))
    r = (p.mean - q.mean)[..., None]
    wide = q.expand(r.shape[:-3])
    squares = (r * wide._multiply(r)).sum((-3, -2, -1))
    return 0.5 * (trace + squares - p.event_shape.numel()) + p._log_determinant - q._log_determinant
