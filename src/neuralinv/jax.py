"""`neuralinv.jax.inv`: the exact inverse as a JAX function, inside of `jit`, `vmap` and `grad`.

JAX reaches the kernels by `jax.pure_callback`, not by `jax.ffi`: a handler of XLA's foreign functions is compiled
against headers that JAX ships, and JAX would become a dependency of the build. The callback costs two copies of
the batch and Python's lock for a moment; it serves CPUs, and copies from and to other devices.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

try:
    import jax
    import jax.numpy as jnp
except ImportError as error:
    raise ImportError("neuralinv.jax needs JAX, which is not installed: pip install jax") from error

from neuralinv.dense import inv_ex
from neuralinv.dense.errors import not_square

_DTYPES = tuple(jnp.dtype(name) for name in ("float16", "bfloat16", "float32", "float64", "complex64", "complex128"))


def inv(A: Any) -> Any:
    """Invert every matrix of a batch, traced or not.

    Parameters
    ----------
    A
        JAX array or tracer ``(*batch, n, n)``, real or complex. Half precision is computed in float32 and cast back;
        integers become JAX's default float.

    Returns
    -------
    The inverses, of the same shape and dtype. Compiled code cannot raise: a singular matrix has NaN in every entry
    (``jax.numpy.linalg.inv`` leaves infinities and NaN there), the others are not touched by it. Differentiable as
    often as one likes, forwards and backwards, by ``d(A⁻¹) = −A⁻¹ dA A⁻¹`` (Golub & Van Loan, *Matrix Computations*,
    4th ed., §2.1.4).

    Raises
    ------
    ValueError
        While tracing, if ``A`` is not a batch of square matrices.
    TypeError
        While tracing, if ``A`` has fewer bits than half precision, or holds no numbers.

    Notes
    -----
    2 n³ floating-point operations per matrix by the kernels of :func:`neuralinv.inv`, and two copies; ``vmap`` adds a
    batch dimension to one call. A derivative costs two matrix products more, 4 n³.

    Examples
    --------
    >>> import jax, jax.numpy as jnp, neuralinv.jax
    >>> jax.jit(neuralinv.jax.inv)(jnp.array([[2.0, 1.0], [1.0, 1.0]]))
    Array([[ 1., -1.],
           [-1.,  2.]], dtype=float32)
    """
    A = jnp.asarray(A)
    if A.ndim < 2 or A.shape[-1] != A.shape[-2]:
        raise not_square(np.empty(0), tuple(A.shape), "A")
    if jnp.issubdtype(A.dtype, jax.dtypes.extended) or (
        jnp.issubdtype(A.dtype, jnp.inexact) and A.dtype not in _DTYPES
    ):
        raise TypeError(
            f"A has dtype {A.dtype}; expected {', '.join(map(str, _DTYPES))}, or whole numbers: convert it, as in "
            "A.astype('float32')"
        )
    if not jnp.issubdtype(A.dtype, jnp.inexact):
        A = A.astype(float)
    # NumPy has no bfloat16, and no kernel computes in half precision.
    wide = A.astype(jnp.float32) if A.dtype.itemsize == 2 else A
    return _inverse(wide).astype(A.dtype)


@jax.custom_jvp
def _inverse(A: Any) -> Any:
    return jax.pure_callback(_by_kernels, jax.ShapeDtypeStruct(A.shape, A.dtype), A, vmap_method="broadcast_all")


@_inverse.defjvp
def _derivative(primals: tuple[Any], tangents: tuple[Any]) -> tuple[Any, Any]:
    (A,), (dA,) = primals, tangents
    X = _inverse(A)  # by the same rule: the second derivative needs it
    # Accelerators would round the factors of a product to fewer digits.
    return X, -jnp.matmul(jnp.matmul(X, dA, precision="highest"), X, precision="highest")


def _by_kernels(A: Any) -> NDArray[Any]:
    X, info = inv_ex(np.asarray(A))
    X[np.asarray(info) != 0] = np.nan
    return np.asarray(X)
