"""Lipschitz constants of networks, from above and from below, and the errors that follow from them.

Distances are Frobenius norms of matrices, which are Euclidean norms of the flattened ones that networks see.

**The inverse.** ``A⁻¹ − B⁻¹ = A⁻¹ (B − A) B⁻¹`` gives ``‖A⁻¹ − B⁻¹‖_F ≤ ‖A⁻¹‖₂ ‖B⁻¹‖₂ ‖A − B‖_F``: on
``{A: σ_min(A) ≥ δ}`` the inverse has the Lipschitz constant ``1/δ²``. It is attained: with ``A = diag(1, …, 1, δ)`` and
``B = A + t e_n e_nᵀ`` the quotient is ``1/(δ(δ + t))``, which tends to ``1/δ²``.

**Two points.** Let f have the Lipschitz constant L, ``d_in = ‖A − B‖_F`` and ``d_out = ‖A⁻¹ − B⁻¹‖_F``. Then
``d_out ≤ ‖A⁻¹ − f(A)‖ + ‖f(A) − f(B)‖ + ‖f(B) − B⁻¹‖ ≤ 2e + L d_in`` for the larger error e of the two, so that
``e ≥ (d_out − L d_in)/2``.

**A floor on each side.** Across the singular matrices, ``A = diag(1, …, 1, δ)`` and ``B = diag(1, …, 1, −δ)`` have
``d_in = 2δ`` and ``d_out = 2/δ``, hence ``e ≥ 1/δ − Lδ``. On one side, ``B = diag(1, …, 1, δ + t)`` gives
``e ≥ (t/(δ(δ + t)) − Lt)/2``, which is largest at ``δ + t = 1/√L`` (within ``[δ, 1]`` for ``1 ≤ L ≤ 1/δ²``):
``e ≥ (1/√δ − √(Lδ))²/2``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from neuralinv.learned.architectures.layers import StackedLinear
from neuralinv.learned.architectures.mlp import MLP
from neuralinv.learned.architectures.resnet import ResidualBlock, ResNet

_ROUNDING = 1e-9
"""Relative allowance for the rounding of singular values in float64, far above it."""
_SMALLEST_STEP = 1e-6
"""Shorter secants would measure rounding errors."""
_SCATTERED = 4096
"""Random points among which a search leaves constant regions behind."""
_FLAT = 1e-30
"""A quotient below this has no logarithm worth climbing."""


def inverse_constant(delta: float) -> float:
    """Return the Lipschitz constant ``1/δ²`` of the inverse where ``σ_min ≥ δ``."""
    return 1.0 / delta**2


def two_point_floor(lipschitz: float, d_in: float, d_out: float) -> float:
    """Return ``max(0, (d_out − L d_in)/2)``: no L-Lipschitz map is closer than that at both of two points."""
    return max(0.0, (d_out - lipschitz * d_in) / 2)


def uniform_error_floor(lipschitz: float, delta: float, *, side: Literal["both", "one"] = "both") -> float:
    """Return a lower bound of ``max ‖f(A) − A⁻¹‖`` over ``{A: δ ≤ σ_min, ‖A‖₂ ≤ 1}`` for every L-Lipschitz f.

    Parameters
    ----------
    lipschitz
        L, not negative.
    delta
        In (0, 1].
    side
        ``"both"`` signs of the determinant, or ``"one"`` of them alone.

    Raises
    ------
    ValueError
        If an argument is out of range.
    """
    if not lipschitz >= 0 or not 0 < delta <= 1:
        raise ValueError(f"lipschitz = {lipschitz}, delta = {delta}: expected L ≥ 0 and delta in (0, 1]")
    if side == "both":
        return two_point_floor(lipschitz, 2 * delta, 2 / delta)
    top = 1.0 if lipschitz <= 1 else max(delta, 1 / math.sqrt(lipschitz))
    return two_point_floor(lipschitz, top - delta, 1 / delta - 1 / top)


def certified_constant(network: nn.Module) -> Tensor:
    """Return an upper bound of each member's Lipschitz constant, ``(members,)``, float64.

    For dense layers it is the product of the spectral norms, since ReLU has the constant 1. A dense layer of a residual
    block appends to features with constant L others with at most ``‖W‖₂ L``, which together have
    ``L √(1 + ‖W‖₂²)``; the block returns its input plus a linear map of the features, a linear map ``P + W`` of them,
    with the projection P on the first ones. The bound holds everywhere, in exact arithmetic; it is not sharp.

    Raises
    ------
    TypeError
        If the network multiplies features (``gated``): it has no Lipschitz constant on unbounded sets.
    """
    if isinstance(network, MLP):
        layers = [layer for layer in network.layers if isinstance(layer, StackedLinear)]
        return torch.stack([_norms(layer.weight) for layer in layers]).prod(0)
    if isinstance(network, ResNet):
        inner = [_block_constant(block) for block in network.blocks]
        return torch.stack([_norms(network.enter.weight), *inner, _norms(network.leave.weight)]).prod(0)
    raise TypeError(
        f"{type(network).__name__} is not a composition of Lipschitz layers: products of features have no constant on "
        "unbounded sets"
    )


def _block_constant(block: nn.Module) -> Tensor:
    assert isinstance(block, ResidualBlock)
    weights = [layer.weight for layer in block.layers if isinstance(layer, StackedLinear)]
    grown = torch.stack([(1 + _norms(weight).square()).sqrt() for weight in weights]).prod(0)
    back = block.back.weight.detach().double()
    projection = torch.eye(back.shape[1], back.shape[2], dtype=torch.float64)
    return grown * _norms(back + projection)


def _norms(weight: Tensor) -> Tensor:
    """Spectral norms of ``(members, inputs, outputs)``, rounded up."""
    wide = weight.detach().double().cpu()
    return torch.stack([torch.linalg.matrix_norm(W, 2) for W in wide]) * (1 + _ROUNDING)


def observed_constant(
    function: Callable[[Tensor], Tensor], starts: Tensor, *, steps: int = 60, radius: float = math.inf, seed: int = 0
) -> Tensor:
    """Return the largest quotient ``‖f(x) − f(y)‖ / ‖x − y‖`` that gradient ascent on pairs finds: a lower bound.

    Each start x is first given the direction in which f changes most there (power iteration on ``JᵀJ``); then both
    points climb. ReLU networks are piecewise linear, so that the norm of a Jacobian has no gradient, but secants have.

    Where all units of a layer are off, f is constant, and there is nothing to climb: a network that has given up
    answers the same for every start. So half of the starts give way to those points, among the starts and many random
    ones in the ball, at which f changes most. A result of 0 says that f was found constant around all of them.

    Parameters
    ----------
    function
        Maps ``(members, batch, n, n)`` to that shape; each member and point on its own; differentiable, float64.
    starts
        Shape ``(members, batch, n, n)``, float64.
    steps
        Of the ascent.
    radius
        Points stay in the Frobenius ball of this radius; random ones come from the ball that holds the starts.
    seed
        Of the random points.

    Returns
    -------
    Shape ``(members,)``: every value is attained by a pair in the ball.
    """
    x = _into_ball(starts.detach(), radius)
    half = (x.shape[1] + 1) // 2
    x = torch.cat([x[:, :half], _steepest_points(function, x, seed=seed)[:, :half]], 1)
    v = _steepest_directions(function, x)
    length = torch.logspace(-4, -0.5, x.shape[1], dtype=x.dtype)[None, :, None, None]
    y = _into_ball(x + length * v, radius)
    best = torch.zeros(x.shape[0], dtype=x.dtype)
    for _ in range(steps + 1):
        x, y = (point.detach().requires_grad_(True) for point in (x, y))
        distance = _lengths(x - y)
        quotient = _lengths(function(x) - function(y)) / distance.clamp(min=_SMALLEST_STEP)
        valid = torch.where((distance >= _SMALLEST_STEP) & (quotient > _FLAT), quotient, 0.0).detach()
        best = torch.maximum(best, valid.nan_to_num(nan=0.0).amax(1))
        gradients = torch.autograd.grad(quotient.clamp(min=_FLAT).log().sum(), (x, y))
        stride = 0.1 * distance.detach().clamp(min=10 * _SMALLEST_STEP)[..., None, None]
        x, y = (
            _into_ball(point.detach() + stride * _unit(gradient.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)), radius)
            for point, gradient in zip((x, y), gradients, strict=True)
        )
    return best


def _steepest_points(function: Callable[[Tensor], Tensor], x: Tensor, *, seed: int) -> Tensor:
    """Return as many points as in ``x``, of those and many random ones in the ball that holds them: where f changes
    most, measured by ``‖Jᵀr‖`` for a random r.
    """
    random = torch.Generator().manual_seed(seed)
    members, batch, n, _ = x.shape
    directions = _unit(torch.randn(members, _SCATTERED, n, n, generator=random, dtype=x.dtype))
    # Evenly spread in distance from 0, so that the middle of the ball is not left out.
    away = torch.rand(members, _SCATTERED, 1, 1, generator=random, dtype=x.dtype)
    points = torch.cat([x, directions * away * _lengths(x).amax(1)[:, None, None, None]], 1)
    pull: Callable[[Tensor], tuple[Tensor, ...]] = torch.func.vjp(function, points)[1]
    probe = torch.randn(points.shape, generator=random, dtype=x.dtype)
    slope = _lengths(pull(probe)[0]).nan_to_num(nan=0.0)
    chosen = slope.topk(batch, dim=1).indices
    return points.gather(1, chosen[..., None, None].expand(-1, -1, n, n)).detach()


def _steepest_directions(function: Callable[[Tensor], Tensor], x: Tensor, rounds: int = 8) -> Tensor:
    start = _unit(torch.ones_like(x) + x)
    v = start
    pull: Callable[[Tensor], tuple[Tensor, ...]]
    for _ in range(rounds):
        forward: Tensor = torch.func.jvp(function, (x,), (v,))[1]
        pull = torch.func.vjp(function, x)[1]
        pulled = pull(forward)[0]
        # Where all units are off, the map is constant, and no direction is better than another.
        v = torch.where(_lengths(pulled)[..., None, None] > _FLAT, _unit(pulled), start)
    return v.detach()


def _lengths(A: Tensor) -> Tensor:
    return (A.square().sum((-2, -1)) + 1e-300).sqrt()


def _unit(A: Tensor) -> Tensor:
    return A / _lengths(A)[..., None, None]


def _into_ball(A: Tensor, radius: float) -> Tensor:
    return A * (radius / _lengths(A)).clamp(max=1.0)[..., None, None]
