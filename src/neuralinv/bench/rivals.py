"""The implementations that are compared: one registry. What is not installed is named, with the way to get it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Generic, TypeAlias, TypeVar

import numpy as np
import torch
from torch import Tensor

import neuralinv as ni
from neuralinv.bench.mkl import CompactInverse, MKLMissingError, load_compact
from neuralinv.bench.problems import Problem
from neuralinv.dense import lapack

OURS = "neuralinv"
PLAIN = "ni.inv"
"""Our inverse without a certificate, which stands beside the certified one."""
_SAFE_FOR_TORCH = 128


class UnavailableError(Exception):
    """An implementation that cannot run here; the message says why, and how to get it."""


def to_tensors(value: Any) -> tuple[Tensor, ...]:
    """Return one tensor for an array, and several for a tuple of arrays."""
    parts = value if isinstance(value, tuple) else (value,)
    return tuple(part if isinstance(part, Tensor) else torch.from_numpy(np.array(part)) for part in parts)


@dataclass(frozen=True)
class Prepared:
    """A call without arguments, timed as it stands, and what turns its value into tensors afterwards."""

    call: Callable[[], Any]
    collect: Callable[[Any], tuple[Tensor, ...]] = to_tensors


Prepare: TypeAlias = Callable[[Problem, int], Prepared]
"""From a problem and a number of threads."""

PrepareT = TypeVar("PrepareT", bound=Callable[..., Prepared])


@dataclass(frozen=True)
class Rival(Generic[PrepareT]):
    """An implementation.

    Attributes
    ----------
    name, note
        On the command line; and what a reader of the figures must know.
    load
        Imports it and returns what it can do, by operation; raises :class:`UnavailableError`.
    """

    name: str
    note: str
    load: Callable[[], Mapping[str, PrepareT]]


def _plain(function: Callable[..., Any], convert: Callable[[Tensor], Any] = lambda tensor: tensor) -> Prepare:
    """Call ``function(A)`` or ``function(A, b)`` on converted arrays; the conversion is not timed."""

    def prepare(problem: Problem, threads: int) -> Prepared:
        A = convert(problem.A)
        if problem.b is None:
            return Prepared(lambda: function(A))
        b = convert(problem.b)
        return Prepared(lambda: function(A, b))

    return prepare


def _load_ours() -> Mapping[str, Prepare]:
    return {
        "inv": _plain(ni.inv),
        "solve": _plain(ni.solve),
        "solve-n": _plain(ni.solve),
        "slogdet": _plain(ni.slogdet),
        "inv-pos": _plain(lambda A: ni.inv(A, assume_a="pos")),
        "solve-pos": _plain(lambda A, b: ni.solve(A, b, assume_a="pos")),
        "slogdet-pos": _plain(lambda A: ni.slogdet(A, assume_a="pos")),
        "certified": _certified,
    }


def _certified(problem: Problem, threads: int) -> Prepared:
    # Whatever has no proof stays in the result, where it is counted.
    return Prepared(lambda: ni.certified_inv(problem.A, on_singular="nan"), lambda result: to_tensors(result.inverse))


def _load_torch() -> Mapping[str, Prepare]:
    return {
        "inv": _plain(_unless_large(torch.linalg.inv, lapack.inverse)),
        "solve": _plain(_unless_large(torch.linalg.solve, lapack.solution)),
        "solve-n": _plain(_unless_large(torch.linalg.solve, lapack.solution)),
        "slogdet": _plain(_unless_large(torch.linalg.slogdet, lapack.determinant)),
        "inv-pos": _plain(lambda A: torch.cholesky_inverse(torch.linalg.cholesky(A))),
        "solve-pos": _plain(lambda A, b: torch.cholesky_solve(b, torch.linalg.cholesky(A))),
        "slogdet-pos": _plain(_cholesky_slogdet),
        "certified": _plain(torch.linalg.inv),
    }


def _unless_large(direct: Callable[..., Any], one_by_one: Callable[..., Any]) -> Callable[..., Any]:
    """Call torch directly where a batch is safe: ``dense/lapack.py`` says what happens beyond."""

    def function(*operands: Tensor) -> Any:
        return direct(*operands) if operands[0].shape[-1] <= _SAFE_FOR_TORCH else one_by_one(*operands, positive=False)

    return function


def _cholesky_slogdet(A: Tensor) -> tuple[Tensor, Tensor]:
    logabsdet = 2 * torch.linalg.cholesky(A).diagonal(dim1=-2, dim2=-1).log().sum(-1)
    return torch.ones_like(logabsdet), logabsdet


def _load_numpy() -> Mapping[str, Prepare]:
    functions: dict[str, Callable[..., Any]] = {
        "inv": np.linalg.inv,
        "solve": np.linalg.solve,
        "solve-n": np.linalg.solve,
        "slogdet": np.linalg.slogdet,
        "inv-pos": np.linalg.inv,
        "solve-pos": np.linalg.solve,
        "slogdet-pos": np.linalg.slogdet,
    }
    return {name: _plain(function, Tensor.numpy) for name, function in functions.items()}


def _load_scipy() -> Mapping[str, Prepare]:
    installed = version("scipy")
    if tuple(map(int, installed.split(".")[:2])) < (1, 17):
        raise UnavailableError(f"SciPy {installed} takes no batches: pip install 'scipy>=1.17'")
    import scipy.linalg

    inverse: Callable[..., Any] = scipy.linalg.inv
    solve: Callable[..., Any] = scipy.linalg.solve

    def solve_general(A: Any, b: Any) -> Any:
        return solve(A, b, assume_a="gen", check_finite=False)

    return {
        "inv": _plain(lambda A: inverse(A, assume_a="gen", check_finite=False), Tensor.numpy),
        "solve": _plain(solve_general, Tensor.numpy),
        "solve-n": _plain(solve_general, Tensor.numpy),
        "inv-pos": _plain(lambda A: inverse(A, assume_a="pos", check_finite=False), Tensor.numpy),
        "solve-pos": _plain(lambda A, b: solve(A, b, assume_a="pos", check_finite=False), Tensor.numpy),
    }


def _load_jax() -> Mapping[str, Prepare]:
    try:
        import jax
        import jax.numpy as jnp
    except ImportError as error:
        raise UnavailableError("not installed: pip install jax") from error

    def compiled(function: Callable[..., Any]) -> Prepare:
        def prepare(problem: Problem, threads: int) -> Prepared:
            # float64 for this call alone: the global switch would reach the rest of the process.
            with jax.enable_x64(True), jax.default_device(jax.devices("cpu")[0]):
                given = (problem.A,) if problem.b is None else (problem.A, problem.b)
                arrays = [jnp.asarray(tensor.numpy()) for tensor in given]
                run = jax.jit(function).lower(*arrays).compile()
            return Prepared(lambda: jax.block_until_ready(run(*arrays)))

        return prepare

    return {
        "inv": compiled(jnp.linalg.inv),
        "solve": compiled(jnp.linalg.solve),
        "solve-n": compiled(jnp.linalg.solve),
        "slogdet": compiled(jnp.linalg.slogdet),
        "inv-pos": compiled(jnp.linalg.inv),
        "solve-pos": compiled(jnp.linalg.solve),
        "slogdet-pos": compiled(jnp.linalg.slogdet),
    }


def _load_mkl(*, packing: bool) -> Mapping[str, Prepare]:
    try:
        load_compact()
    except MKLMissingError as error:
        raise UnavailableError(str(error)) from error

    def prepare(problem: Problem, threads: int) -> Prepared:
        inverse = CompactInverse(problem.A.numpy(), threads)
        if packing:
            return Prepared(inverse.with_packing)
        inverse.pack()
        return Prepared(inverse.without_packing, lambda _: to_tensors(inverse.unpack()))

    return {"inv": prepare}


ours = Rival(OURS, "this package; torch tensors", _load_ours)
RIVALS = {
    rival.name: rival
    for rival in (
        Rival("torch", "torch.linalg; by Cholesky factors for positive definite matrices", _load_torch),
        Rival("numpy", "numpy.linalg; has nothing of its own for positive definite matrices", _load_numpy),
        Rival("scipy", "scipy.linalg with check_finite=False; no batched slogdet", _load_scipy),
        Rival("jax", "jax.numpy.linalg, compiled beforehand; takes its own number of threads", _load_jax),
        Rival("mkl", "MKL compact: no pivoting; with packing and unpacking", lambda: _load_mkl(packing=True)),
        Rival("mkl-packed", "the same without packing and unpacking", lambda: _load_mkl(packing=False)),
    )
}


def load_rivals(names: Iterable[str]) -> tuple[dict[str, Mapping[str, Prepare]], dict[str, str]]:
    """Load implementations of :data:`RIVALS` by name: see :func:`load_registered`."""
    return load_registered(RIVALS, names)


def load_registered(
    registry: Mapping[str, Rival[PrepareT]], names: Iterable[str]
) -> tuple[dict[str, Mapping[str, PrepareT]], dict[str, str]]:
    """Load implementations by name.

    Returns
    -------
    What each available one can do, in the given order, and for each other one the reason why it is missing.

    Raises
    ------
    ValueError
        If a name is unknown.
    """
    loaded, missing = {}, {}
    for name in names:
        if name not in registry:
            raise ValueError(f"unknown rival {name!r}; known are {', '.join(registry)}")
        try:
            loaded[name] = registry[name].load()
        except UnavailableError as error:
            missing[name] = str(error)
    return loaded, missing
