"""Training the coefficients of a polynomial iteration for the spectrum of a family.

Every iterate is a polynomial in A, so that the residual of a matrix is a function of its eigenvalues alone:
``‖I − AX‖_F² = Σ (1 − m_i)²``. Training runs on lists of numbers and takes seconds for any n. It pays where the
spectrum is not spread over the whole interval that minimax steps guard.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import torch
from torch import Tensor

from neuralinv.dense._arrays import Array, as_numbers, as_tensor
from neuralinv.dense.errors import TorchShapeError
from neuralinv.dense.result import name_indices
from neuralinv.dense.scaling import widen
from neuralinv.learned.architectures.schulz import SchulzIteration, relative_scale
from neuralinv.learned.minimax import PRODUCTS, best_step, cheapest_plan, step_products

_ITERATIONS = 40
_SPECTRA = 48  # trained on: those with the smallest and the largest eigenvalues, and a random rest
_GAIN = 4  # products that training may save over minimax steps
_POWER = 8  # of the mean that stands for the largest residual
_HELD_OUT = 4


def train_schulz(
    matrices: Array,
    *,
    positive: bool = True,
    tolerance: float = 1e-3,
    share: float = 0.999,
    most_products: int = 40,
) -> SchulzIteration:
    """Return the iteration with the fewest matrix products that serves matrices like these.

    Schedules are tried from cheap to dear. Each starts from minimax steps and is trained by L-BFGS on the eigenvalues
    of three quarters of the matrices; the first that brings the given share of the others to the tolerance is returned.

    Parameters
    ----------
    matrices
        Shape ``(batch, n, n)`` with at least 8 of them, NumPy array or torch tensor, of any floating or complex dtype.
    positive
        Whether they are Hermitian positive definite.
    tolerance
        The residual ``‖I − AX‖_F`` to reach.
    share
        Of the held-out matrices.
    most_products
        Give up beyond.

    Returns
    -------
    SchulzIteration
        On the CPU, coefficients in float64.

    Raises
    ------
    ValueError
        If there are too few matrices, they are zero, singular, not finite, or not positive definite as claimed, or no
        schedule within ``most_products`` suffices.
    TypeError
        If they are no numeric array.

    Notes
    -----
    An eigendecomposition (or singular values) of each matrix in float64; the training itself takes seconds, and does
    not depend on n beyond the length of the spectra.
    """
    tensor = as_numbers(as_tensor(matrices, name="matrices")[0], "matrices")
    if tensor.ndim != 3 or tensor.shape[-1] != tensor.shape[-2] or len(tensor) < 8 or not tensor.shape[-1]:
        raise TorchShapeError(f"matrices have shape {tuple(tensor.shape)}; expected (batch, n, n), at least 8")
    values = _relative_spectra(tensor, positive)
    test, train = values[::_HELD_OUT], values[torch.arange(len(values)) % _HELD_OUT != 0]
    low, high = float(values.min()), float(values.max())
    if low <= 0 or not math.isfinite(high):
        raise ValueError("the matrices are singular, not finite, or (positive=True) not positive definite")

    guarded = cheapest_plan(low, high, tolerance, first_step_free=positive, most_products=100).products
    train = _select(train)
    for cost in range(max(guarded - _GAIN, 0), most_products + 1):
        for degrees in _schedules(cost, positive):
            iteration = _train(_start(low, high, degrees, positive), train)
            residual = (1 - iteration.on_spectrum(test)).square().sum(-1).sqrt()
            if float((residual <= tolerance).double().mean()) >= share:
                return iteration
    raise ValueError(
        f"no iteration of at most {most_products} products reaches {tolerance:.0e} for relative spectra in "
        f"[{low:.1e}, {high:.1e}]"
    )


def _select(spectra: Tensor) -> Tensor:
    """Keep the spectra that reach furthest down and up, and an even choice of the others."""
    if len(spectra) <= _SPECTRA:
        return spectra
    order = spectra.amin(-1).argsort()
    even = torch.linspace(0, len(spectra) - 1, _SPECTRA - 1).round().long()
    return spectra[torch.cat([order[even], spectra.amax(-1).argmax()[None]])]


def _relative_spectra(matrices: Tensor, positive: bool) -> Tensor:
    wide = widen(matrices.detach())
    scale = relative_scale(wide)
    # Eigenvalues of anything else are errors of LAPACK.
    unusable = ~((scale.abs() > 0) & scale.isfinite() & wide.isfinite()).flatten(1).all(1)
    if bool(unusable.any()):
        raise ValueError(f"matrices at {name_indices(unusable)} are zero, not finite, or too large for float64")
    scaled = wide / scale
    return torch.linalg.eigvalsh(scaled) if positive else torch.linalg.svdvals(scaled).square()


def _schedules(cost: int, positive: bool) -> Iterator[tuple[int, ...]]:
    """Degrees of the steps: all sequences of exactly this many products in which degrees do not fall."""
    for length in range(1, cost + 2):
        for degrees in itertools.combinations_with_replacement(PRODUCTS, length):
            if sum(step_products(d, first=positive and k == 0) for k, d in enumerate(degrees)) == cost:
                yield degrees


def _start(low: float, high: float, degrees: tuple[int, ...], positive: bool) -> SchulzIteration:
    steps = []
    for degree in degrees:
        step = best_step(low, high, degree)
        # An interval of width zero has no best polynomial: never let it shrink that far.
        low, high = 1 - max(step.error, 1e-7), 1 + max(step.error, 1e-7)
        steps.append(step.coefficients)
    return SchulzIteration(steps, positive=positive)


def _train(iteration: SchulzIteration, spectra: Tensor) -> SchulzIteration:
    parameters = list(iteration.coefficients)
    before = [parameter.detach().clone() for parameter in parameters]
    optimizer = torch.optim.LBFGS(parameters, max_iter=_ITERATIONS, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        squares = (1 - iteration.on_spectrum(spectra)).square().sum(-1)
        # log of a power mean of ‖I − AX‖_F: close to the largest, yet smooth.
        value = (squares.clamp(min=1e-30).log() * (_POWER / 2)).logsumexp(0) / _POWER
        value.backward()
        return value

    iteration.requires_grad_(True)
    with torch.enable_grad():
        start = float(loss().detach())
        optimizer.step(loss)
        end = float(loss().detach())
    iteration.requires_grad_(False)
    if not end <= start:  # a line search that left the region where the iteration converges
        for parameter, value in zip(parameters, before, strict=True):
            parameter.data.copy_(value)
    return iteration
