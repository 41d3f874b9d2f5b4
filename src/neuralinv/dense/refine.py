"""Newton–Schulz refinement: each step squares the residual."""

from __future__ import annotations

import torch
from torch import Tensor

from neuralinv.dense.certificate import Residual, bound_after_newton_schulz, residual

MAX_STEPS = 8
"""Enough to bring a residual of 0.9 to float64 accuracy; where more are needed, elimination is cheaper."""


def newton_schulz(A: Tensor, W: Tensor, tolerance: float) -> tuple[Tensor, Tensor, Tensor]:
    """Refine approximate inverses by ``W ← W + W (I − A W)`` until their residual bound meets the tolerance.

    Parameters
    ----------
    A, W
        Shape ``(batch, n, n)``, float64 or complex128, normalised. Where ``W`` is not finite nothing is done.
    tolerance
        Refine while the residual bound ρ lies in (tolerance, 1).

    Returns
    -------
    W, rho, steps
        The refined inverses; their proved residual bounds, shape ``(batch,)``; and the steps taken, int64 of shape
        ``(batch,)``. Where the residual starts at 1 or above, or stops falling, the best iterate comes back.

    Notes
    -----
    4 n³ floating-point operations a step and 2 n³ for the first residual; the last step needs no residual of its own
    (see :func:`~neuralinv.dense.certificate.bound_after_newton_schulz`). Schulz 1933; Higham, *Functions of Matrices*,
    §7.3.
    """
    start = residual(A, W)
    rho, steps = start.bound, torch.zeros_like(start.bound, dtype=torch.int64)
    active = ((rho < 1) & (rho > tolerance)).nonzero().squeeze(1)
    if not len(active):
        return W, rho, steps
    W, rho = W.clone(), rho.clone()
    A, w, current = A[active], W[active], _select(start, active)

    for _ in range(MAX_STEPS):
        # Higham's bound for the step tells who is done before anybody pays for a residual.
        predicted = bound_after_newton_schulz(current)
        w = torch.baddbmm(w, w, current.matrix)
        done = predicted <= tolerance
        finished = active[done]
        W[finished], rho[finished] = w[done], predicted[done]
        steps[finished] += 1

        going_on = (~done).nonzero().squeeze(1)
        if not len(going_on):
            break
        A, w, active = A[going_on], w[going_on], active[going_on]
        current = residual(A, w)
        better = current.bound < rho[active]
        improved = active[better]
        # Once rounding makes up half of the bound, further steps cannot lower it.
        worthwhile = better & (current.bound > tolerance) & (current.bound > 2 * current.rounding)
        W[improved], rho[improved] = w[better], current.bound[better]
        steps[improved] += 1
        keep = worthwhile.nonzero().squeeze(1)
        if not len(keep):
            break
        A, w, active, current = A[keep], w[keep], active[keep], _select(current, keep)
    return W, rho, steps


def _select(residuals: Residual, index: Tensor) -> Residual:
    return Residual(*(field[index] for field in residuals))
