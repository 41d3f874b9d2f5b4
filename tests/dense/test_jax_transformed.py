"""`neuralinv.jax.inv` under JAX's transformations, against NumPy."""

from __future__ import annotations

import importlib
import sys

import numpy as np
import pytest

jax = pytest.importorskip("jax")
jnp = jax.numpy
nij = importlib.import_module("neuralinv.jax")
inv_ex = nij.inv_ex


def matrices(*shape: int, dtype: str = "float32") -> np.ndarray:
    generator = np.random.default_rng(1)
    A = generator.uniform(-1, 1, size=shape)
    if dtype.startswith("complex"):
        A = A + 1j * generator.uniform(-1, 1, size=shape)
    return (A + (3 + shape[-1] / 4) * np.eye(shape[-1])).astype(dtype)


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [("float32", 1e-5), ("float64", 1e-13), ("complex64", 1e-5), ("complex128", 1e-13)]
)
@pytest.mark.parametrize("shape", [(3, 3), (5, 4, 4), (2, 3, 2, 2), (0, 3, 3), (2, 0, 0), (2, 70, 70)], ids=str)
def test_under_jit(dtype: str, tolerance: float, shape: tuple[int, ...]) -> None:
    A = matrices(*shape, dtype=dtype)
    with jax.enable_x64(True):
        X = jax.jit(nij.inv)(jnp.asarray(A))
    assert X.dtype == dtype
    np.testing.assert_allclose(X, np.linalg.inv(A.astype("complex128")), rtol=0, atol=tolerance)


def test_without_jit_and_other_dtypes() -> None:
    A = matrices(4, 3, 3)
    np.testing.assert_allclose(nij.inv(A), np.linalg.inv(A), atol=1e-6)
    for dtype in ("float16", "bfloat16"):
        X = jax.jit(nij.inv)(jnp.asarray(A, dtype=dtype))
        assert X.dtype == dtype
        np.testing.assert_allclose(X.astype("float32"), np.linalg.inv(A), atol=1e-2)
    np.testing.assert_array_equal(jax.jit(nij.inv)(jnp.array([[2, 0], [0, 4]])), [[0.5, 0], [0, 0.25]])


def test_vmap_is_one_call(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr(nij, "inv_ex", lambda A: seen.append(A.shape) or inv_ex(A))
    A = matrices(5, 6, 3, 3)
    X = jax.jit(jax.vmap(jax.vmap(nij.inv), in_axes=1, out_axes=1))(A)
    np.testing.assert_allclose(X, np.linalg.inv(A), atol=1e-6)
    assert len(seen) == 1
    assert sorted(seen[0]) == [3, 3, 5, 6]


@pytest.mark.parametrize("dtype", ["float64", "complex128"])
def test_derivatives(dtype: str) -> None:
    A, dA, W = (matrices(2, 3, 3, dtype=dtype) * factor for factor in (1, 0.7, 0.3))
    W = W[:, ::-1]
    X = np.linalg.inv(A)
    with jax.enable_x64(True):
        value, tangent = jax.jit(lambda A, dA: jax.jvp(nij.inv, (A,), (dA,)))(A, dA)
        np.testing.assert_allclose(value, X, atol=1e-13)
        np.testing.assert_allclose(tangent, -X @ dA @ X, atol=1e-13)
        _, pull = jax.vjp(nij.inv, jnp.asarray(A))
        # JAX pulls back without conjugation.
        Xt = X.swapaxes(-1, -2)
        np.testing.assert_allclose(pull(jnp.asarray(W))[0], -Xt @ W @ Xt, atol=1e-13)


def test_second_derivatives() -> None:
    A = matrices(3, 3, dtype="float64")
    with jax.enable_x64(True):
        mine, theirs = (jax.jit(jax.hessian(lambda A, f=f: jnp.sin(f(A)).sum()))(A) for f in (nij.inv, jnp.linalg.inv))
    np.testing.assert_allclose(mine, theirs, atol=1e-13)
    assert np.abs(mine).max() > 1e-3


@pytest.mark.parametrize("n", [1, 2, 70])  # 1/0 is infinite at first; by LAPACK at 70
def test_a_singular_matrix_is_nan_and_the_others_are_not(n: int) -> None:
    A = matrices(3, n, n)
    A[1] = min(n - 1, 1)
    X = np.asarray(jax.jit(nij.inv)(A))
    assert np.isnan(X[1]).all()
    np.testing.assert_allclose(X[[0, 2]], np.linalg.inv(A[[0, 2]]), atol=1e-6)
    assert np.isnan(jax.jit(nij.inv)(np.zeros((n, n)))).all()
    assert not np.isfinite(jnp.linalg.inv(A)[1]).all()  # as JAX has it


def test_mistakes() -> None:
    with pytest.raises(ValueError, match="must be square"):
        jax.jit(nij.inv)(jnp.zeros((2, 3)))


@pytest.mark.parametrize("dtype", ["float8_e4m3fn", "float8_e5m2"])
def test_less_than_half_precision_is_refused_while_tracing(dtype: str) -> None:
    A = jnp.eye(3, dtype=dtype)
    for call in (nij.inv, jax.jit(nij.inv), jax.vmap(nij.inv), lambda A: jax.eval_shape(nij.inv, A)):
        batch = A[None] if call is not nij.inv else A
        with pytest.raises(TypeError, match=f"A has dtype {dtype}; expected float16, .*: convert it"):
            call(batch)
    with pytest.raises(TypeError, match=r"A has dtype key<fry>; expected"):
        nij.inv(jax.random.split(jax.random.key(0), (2, 2)))


def test_without_jax(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jax", None)
    monkeypatch.delitem(sys.modules, "neuralinv.jax")
    with pytest.raises(ImportError, match="needs JAX, which is not installed: pip install jax"):
        importlib.import_module("neuralinv.jax")
