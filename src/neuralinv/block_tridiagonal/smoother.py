"""Linear-Gaussian state-space models: the posterior over the whole path, as a Gaussian Markov chain.

In information form there is nothing to filter: the precision of the posterior is the prior's plus the potentials', and
one factorisation of it does the work of the filter of Kalman (1960) and the smoother of Rauch, Tung & Striebel (1965).
Paninski et al., J. Comput. Neurosci. 29, 2010, https://doi.org/10.1007/s10827-009-0179-x, section 2.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

from neuralinv.block_tridiagonal.chain import GaussianMarkovChain
from neuralinv.block_tridiagonal.dispatch import Method
from neuralinv.block_tridiagonal.operator import BlockTridiagonal
from neuralinv.dense.precision import without_autocast


@without_autocast
def smoother(
    dynamics: Tensor,
    process_precision: Tensor,
    initial_precision: Tensor,
    observation_precision: Tensor,
    observation_information: Tensor,
    *,
    initial_mean: Tensor | None = None,
    method: Method = "auto",
    validate_args: bool | None = None,
) -> GaussianMarkovChain:
    """Return the law of the path ``z (T, n)`` of a linear-Gaussian state-space model, given its observations.

    The model is ``z_0 ~ N(m_0, Q_0)``, ``z_{t+1} ~ N(A_t z_t, Q_t)``; observations enter as potentials
    ``exp(−½ zᵀ Λ_t z + (Λ_t μ_t)ᵀ z)``. An observation ``y = C z + N(0, R)`` has ``Λ = Cᵀ R⁻¹ C`` and
    ``Λ μ = Cᵀ R⁻¹ y``; a missing one ``Λ = 0`` and ``Λ μ = 0``.

    Parameters
    ----------
    dynamics
        ``A``, shape ``(n, n)``, or ``(*batch, T − 1, n, n)`` where it varies; ``A_t`` leads from step t to t + 1.
    process_precision
        ``Q⁻¹``, symmetric positive definite, shaped like ``dynamics``.
    initial_precision
        ``Q_0⁻¹``, symmetric positive definite, shape ``(*batch, n, n)``.
    observation_precision
        ``Λ``, symmetric positive semidefinite, shape ``(n, n)``, or ``(*batch, T, n, n)`` where it varies.
    observation_information
        ``Λ μ``, shape ``(*batch, T, n)``; T is taken from here.
    initial_mean
        ``m_0``, shape ``(*batch, n)``; zero unless given.
    method
        As for :class:`neuralinv.BlockTridiagonal`.
    validate_args
        As for :class:`neuralinv.GaussianMarkovChain`.

    Raises
    ------
    ValueError
        If a shape does not fit. A constant matrix for each of several batches has shape ``(*batch, 1, n, n)``.
    TypeError
        If an argument is no torch tensor, or dtypes differ or are neither float32 nor float64.

    Notes
    -----
    Batch dimensions broadcast. Building the blocks costs O(T n³) at most; the factor is computed when first needed.
    """
    _check_kinds(
        observation_information,
        dynamics=dynamics,
        process_precision=process_precision,
        initial_precision=initial_precision,
        observation_precision=observation_precision,
        **({} if initial_mean is None else {"initial_mean": initial_mean}),
    )
    if observation_information.ndim < 2:
        raise ValueError(
            f"observation_information has shape {tuple(observation_information.shape)}; expected (*batch, T, n)"
        )
    steps, n = observation_information.shape[-2:]
    if initial_precision.shape[-2:] != (n, n):
        raise ValueError(
            f"initial_precision has shape {tuple(initial_precision.shape)}; expected (*batch, {n}, {n}) as "
            "observation_information has it"
        )
    if initial_mean is not None and initial_mean.shape[-1:] != (n,):
        raise ValueError(f"initial_mean has shape {tuple(initial_mean.shape)}; expected (*batch, {n})")
    dynamics = _by_step(dynamics, "dynamics", steps - 1, n)
    process_precision = _by_step(process_precision, "process_precision", steps - 1, n)
    observation_precision = _by_step(observation_precision, "observation_precision", steps, n)
    information = observation_information
    if initial_mean is not None:
        first = initial_precision @ initial_mean[..., None]
        information = information + pad(first.mT, (0, 0, 0, steps - 1))
    try:
        diag, lower = prior_blocks(dynamics, process_precision, initial_precision, steps)
        diag = diag + observation_precision
        torch.broadcast_shapes(diag.shape[:-3], lower.shape[:-3], information.shape[:-2])
    except RuntimeError as error:
        raise ValueError(f"the batch shapes of the arguments do not broadcast: {error}") from None
    return GaussianMarkovChain(
        BlockTridiagonal(diag, lower, method=method), information=information, validate_args=validate_args
    )


@without_autocast
def prior_blocks(
    dynamics: Tensor, process_precision: Tensor, initial_precision: Tensor, steps: int
) -> tuple[Tensor, Tensor]:
    """Return diagonal and sub-diagonal blocks of the precision of a path that nobody has observed.

    ``M_tt = Q_{t−1}⁻¹ + A_tᵀ Q_t⁻¹ A_t``, with ``Q_0⁻¹`` first and no second term last; ``M_{t+1,t} = −Q_t⁻¹ A_t``.

    Parameters
    ----------
    dynamics, process_precision
        Shape ``(*batch, T − 1, n, n)`` or ``(*batch, 1, n, n)``.
    initial_precision
        Shape ``(*batch, n, n)``.
    steps
        T.
    """
    first = initial_precision[..., None, :, :]
    upper = dynamics.mT @ process_precision
    batch = torch.broadcast_shapes(first.shape[:-3], upper.shape[:-3])
    shape = (*batch, steps - 1, *first.shape[-2:])
    arrivals = torch.cat([first.expand(*batch, 1, *first.shape[-2:]), process_precision.expand(shape)], -3)
    departures = pad((upper @ dynamics).expand(shape), (0, 0, 0, 0, 0, 1))
    return arrivals + departures, -upper.mT.expand(shape)


def _check_kinds(information: Tensor, **others: Tensor) -> None:
    for name, tensor in {"observation_information": information, **others}.items():
        if not isinstance(tensor, Tensor):
            raise TypeError(f"{name} is a {type(tensor).__name__}; expected a torch tensor")
        if tensor.dtype != information.dtype:
            raise TypeError(
                f"{name} is {tensor.dtype} and observation_information {information.dtype}; expected the same"
            )


def _by_step(matrix: Tensor, name: str, count: int, n: int) -> Tensor:
    """Give a constant matrix a time dimension of 1, and check the others'."""
    fits = matrix.ndim == 2 or (matrix.ndim > 2 and matrix.shape[-3] in (1, count))
    if not fits or matrix.shape[-2:] != (n, n):
        raise ValueError(f"{name} has shape {tuple(matrix.shape)}; expected ({n}, {n}) or (*batch, {count}, {n}, {n})")
    return matrix[None] if matrix.ndim == 2 else matrix
