"""JAX arrays in, JAX arrays out."""

import numpy as np
import pytest

import neuralinv as ni

jax = pytest.importorskip("jax")


def matrices() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(6, 3, 3)).astype(np.float32) + 3 * np.eye(3, dtype=np.float32)


def test_every_function_answers_in_kind() -> None:
    A = matrices()
    array = jax.numpy.asarray(A)
    X = ni.inv(array)
    assert isinstance(X, jax.Array)
    assert X.dtype == np.float32
    np.testing.assert_allclose(X, np.linalg.inv(A), rtol=1e-4, atol=1e-6)
    inverse, info = ni.inv_ex(array)
    np.testing.assert_array_equal(inverse, X)
    assert isinstance(info, jax.Array)
    assert info.tolist() == [0] * 6
    for b in (A[0, 0], A[:, :, :1], A[0]):
        x = ni.solve(array, jax.numpy.asarray(b))
        assert isinstance(x, jax.Array)
        np.testing.assert_allclose(x, np.linalg.solve(A, b), rtol=1e-3, atol=1e-5)
        np.testing.assert_array_equal(ni.solve_ex(array, jax.numpy.asarray(b)).result, x)
        for mixed in (ni.solve(array, b), ni.solve(A, jax.numpy.asarray(b))):
            assert isinstance(mixed, jax.Array)
            np.testing.assert_array_equal(mixed, x)
    for mine, expected in zip(ni.slogdet(array), np.linalg.slogdet(A), strict=True):
        assert isinstance(mine, jax.Array)
        np.testing.assert_allclose(mine, expected, rtol=1e-4)
    result = ni.certified_inv(array)
    assert isinstance(result.inverse, jax.Array)
    assert bool(result.certified.all())


def test_other_dtypes() -> None:
    assert ni.inv(jax.numpy.eye(3, dtype=int)).dtype == jax.numpy.linalg.inv(jax.numpy.eye(3, dtype=int)).dtype
    assert ni.inv(jax.numpy.eye(3, dtype="bfloat16")).dtype == "bfloat16"
    assert ni.inv(jax.numpy.eye(3, dtype="complex64")).dtype == "complex64"


def test_errors() -> None:
    with pytest.raises(np.linalg.LinAlgError, match="Singular matrix: pivot 1"):
        ni.inv(jax.numpy.zeros((2, 2)))
    with pytest.raises(ValueError, match=r"must be square"):
        ni.inv(jax.numpy.zeros((2, 3)))
    for transform in (jax.jit, jax.vmap, jax.jacobian):
        with pytest.raises(TypeError, match="traced by jax"):
            transform(ni.inv)(jax.numpy.asarray(matrices()))
