"""The work in JAX, compiled beforehand: a scan of the same recursion, and tinygp's quasiseparable solver."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from neuralinv.bench.block_tridiagonal.problems import BACKWARD, FACTOR, FORWARD, SOLVE, Problem
from neuralinv.bench.rivals import Prepared, UnavailableError

Work = Callable[..., tuple[Any, Any]]
"""From ``diag (T, n, n)``, ``lower (T − 1, n, n)`` and ``b (T, n)`` to solution and log-determinant."""
Prepare = Callable[[Problem], Prepared]


def load_scan() -> Mapping[str, Prepare]:
    """Return what ``jax.lax.scan`` of the recursion can do; a batch is mapped with ``jax.vmap``.

    Raises
    ------
    UnavailableError
        If JAX is not installed.
    """
    try:
        import jax
        import jax.numpy as jnp
        from jax.scipy.linalg import solve_triangular
    except ImportError as error:
        raise UnavailableError("not installed: pip install jax") from error

    def work(diag: Any, lower: Any, b: Any) -> tuple[Any, Any]:
        # A zero block before the first step makes all steps alike.
        before = jnp.concatenate([jnp.zeros_like(diag[:1]), lower])

        def forward(carry: Any, blocks: Any) -> tuple[Any, Any]:
            L, y = carry
            D_t, B_t, b_t = blocks
            C = solve_triangular(L, B_t.T, lower=True).T
            L = jnp.linalg.cholesky(D_t - C @ C.T)
            y = solve_triangular(L, b_t - C @ y, lower=True)
            return (L, y), (L, C, y)

        start = (jnp.eye(diag.shape[-1], dtype=diag.dtype), jnp.zeros_like(b[0]))
        _, (L, C, y) = jax.lax.scan(forward, start, (diag, before, b))
        after = jnp.concatenate([C[1:], jnp.zeros_like(C[:1])])

        def backward(x: Any, blocks: Any) -> tuple[Any, Any]:
            L_t, C_t, y_t = blocks
            x = solve_triangular(L_t.T, y_t - C_t.T @ x, lower=False)
            return x, x

        _, x = jax.lax.scan(backward, jnp.zeros_like(b[0]), (L, after, y), reverse=True)
        return x, 2 * jnp.log(jnp.diagonal(L, axis1=-2, axis2=-1)).sum()

    return _works(work, jax.vmap)


def load_tinygp() -> Mapping[str, Prepare]:
    """Return what tinygp's quasiseparable matrices can do.

    Raises
    ------
    UnavailableError
        If tinygp is not installed.
    """
    try:
        import jax.numpy as jnp
        from tinygp.solvers.quasisep.core import DiagQSM, StrictLowerTriQSM, SymmQSM
    except ImportError as error:
        raise UnavailableError("not installed: pip install tinygp") from error

    def work(diag: Any, lower: Any, b: Any) -> tuple[Any, Any]:
        # Scalar row i = (t, r) of a block-tridiagonal matrix is quasiseparable of order n. The state before it holds:
        # in slots k < r, the entries x_(t,k) seen so far; in slots k ≥ r, the sums that row (t, k) has collected from
        # the left. So y_i reads slot r; then slot r takes x_i, and slots k > r add diag[t][k, r] x_i. After the last
        # row of a block the state is x_t, and lower[t] turns it into the sums of the next block.
        steps, n = b.shape
        identity = jnp.eye(n, dtype=diag.dtype)
        q = identity + jnp.tril(diag, -1).mT  # (T, n, n): q[t, r] is what x_(t,r) adds to the slots
        a = jnp.broadcast_to(identity - identity[:, :, None] * identity[:, None, :], (steps, n, n, n))
        onward = jnp.concatenate([lower, jnp.zeros_like(diag[:1])])
        q = q.at[:, -1].set(jnp.einsum("tij,tj->ti", onward, q[:, -1]))
        a = a.at[:, -1].set(onward @ a[:, -1])
        p = jnp.broadcast_to(identity, (steps, n, n))
        matrix = SymmQSM(
            diag=DiagQSM(d=jnp.diagonal(diag, axis1=-2, axis2=-1).reshape(-1)),
            lower=StrictLowerTriQSM(p=p.reshape(-1, n), q=q.reshape(-1, n), a=a.reshape(-1, n, n)),
        )
        factor = matrix.cholesky()
        x = factor.transpose().solve(factor.solve(b.reshape(-1, 1)))
        return x.reshape(steps, n), 2 * jnp.log(factor.diag.d).sum()

    return _works(work, None)


def _works(work: Work, batched: Callable[[Work], Work] | None) -> Mapping[str, Prepare]:
    """Compile what a work for one sequence can do, and for a batch where ``batched`` maps it; once for each shape."""
    import jax
    import jax.numpy as jnp

    def gradients(mapped: Work, weights: Any, *inputs: Any) -> Any:
        def loss(*inputs: Any) -> Any:
            x, logdet = mapped(*inputs)
            return (weights * x).sum() + logdet.sum()

        return jax.grad(loss, argnums=(0, 1, 2))(*inputs)

    # What the answer does not need, the compiler leaves out.
    functions: dict[str, Callable[..., Any]] = {
        FACTOR: lambda mapped, _, *inputs: mapped(*inputs)[1],
        SOLVE: lambda mapped, _, *inputs: (mapped(*inputs)[0],),
        FORWARD: lambda mapped, _, *inputs: mapped(*inputs),
        BACKWARD: gradients,
    }
    one = {name: jax.jit(partial(function, work)) for name, function in functions.items()}
    many = {name: jax.jit(partial(function, batched(work))) for name, function in functions.items()} if batched else {}

    compiled: dict[tuple[object, ...], Any] = {}

    def preparing(name: str) -> Prepare:
        def prepare(problem: Problem) -> Prepared:
            if problem.batch is not None and not many:
                raise UnavailableError("takes one sequence")
            function = (one if problem.batch is None else many)[name]
            tensors = (problem.weights, problem.diag, problem.lower, problem.b)
            # float64 for this call alone: the global switch would reach the rest of the process.
            with jax.enable_x64(True), jax.default_device(jax.devices("cpu")[0]):
                arrays = [jnp.asarray(x.numpy()) for x in tensors]
                key = (name, problem.diag.shape, problem.dtype)
                if key not in compiled:
                    compiled[key] = function.lower(*arrays).compile()
                run = compiled[key]
            return Prepared(lambda: jax.block_until_ready(run(*arrays)))

        return prepare

    return {name: preparing(name) for name in functions}
