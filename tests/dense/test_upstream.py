"""NumPy's own tests and PyTorch's own samples, with our functions in the place of theirs."""

from __future__ import annotations

import functools
import inspect
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import neuralinv as ni

numpy_tests = pytest.importorskip("numpy.linalg.tests.test_linalg", reason="NumPy was installed without its tests")
pytest.importorskip("expecttest", reason="PyTorch's samples need it")
invocations = pytest.importorskip("torch.testing._internal.common_methods_invocations")

OURS = {
    "linalg.inv": ni.inv,
    "linalg.inv_ex": ni.inv_ex,
    "linalg.solve": ni.solve,
    "linalg.solve_ex": ni.solve_ex,
    "linalg.slogdet": ni.slogdet,
}
DTYPES = [torch.float32, torch.float64, torch.complex64, torch.complex128]
OPS = {op.name: op for op in invocations.op_db if op.name in OURS}


def numpy_cases() -> list[Any]:
    """Every test of NumPy's classes for inv, solve and slogdet, with its parameters."""
    cases = []
    for cls in (numpy_tests.TestInv, numpy_tests.TestSolve, numpy_tests.TestDet):
        for name, function in inspect.getmembers(cls, inspect.isfunction):
            if not name.startswith("test_"):
                continue
            dtypes = [mark.args[1] for mark in getattr(function, "pytestmark", ()) if mark.name == "parametrize"]
            for arguments in [(dtype,) for dtype in dtypes[0]] if dtypes else [()]:
                suffix = "".join(f"-{dtype.__name__}" for dtype in arguments)
                cases.append(pytest.param(cls, name, arguments, id=f"{cls.__name__}-{name}{suffix}"))
    return cases


@pytest.mark.parametrize(("cls", "name", "arguments"), numpy_cases())
def test_numpys_own_tests(cls: type, name: str, arguments: tuple[Any, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    called = []
    for ours in (ni.inv, ni.solve, ni.slogdet):

        @functools.wraps(ours)
        def recorded(*given: Any, function: Any = ours) -> Any:
            called.append(function)
            return function(*given)

        monkeypatch.setattr(np.linalg, ours.__name__, recorded)
    getattr(cls(), name)(*arguments)
    assert called


def test_all_of_torchs_operators_were_found() -> None:
    assert set(OPS) == set(OURS)


@pytest.fixture(params=sorted(OURS))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def samples(name: str, dtype: torch.dtype, *, requires_grad: bool = False) -> list[Any]:
    torch.manual_seed(0)
    found = list(OPS[name].sample_inputs("cpu", dtype, requires_grad=requires_grad))
    assert len(found) > 5
    return found


def outputs(result: Any) -> list[Tensor]:
    """The differentiable ones: not LAPACK's info."""
    results = [result] if isinstance(result, Tensor) else list(result)
    return [value for value in results if value.dtype != torch.int32]


def call(function: Any, sample: Any) -> tuple[Any, list[Tensor]]:
    """A function of the sample's tensors alone, and those."""
    tensors = [sample.input, *sample.args]
    return (lambda *given: tuple(outputs(function(*given, **sample.kwargs)))), tensors


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_values_and_gradients(name: str, dtype: torch.dtype) -> None:
    for sample in samples(name, dtype, requires_grad=True):
        (ours, tensors), (theirs, _) = call(OURS[name], sample), call(OPS[name].op, sample)
        mine, expected = ours(*tensors), theirs(*tensors)
        torch.testing.assert_close(mine, expected)
        assert [value.dtype for value in mine] == [value.dtype for value in expected]
        weights = [torch.randn_like(value) for value in expected]
        torch.testing.assert_close(
            torch.autograd.grad(mine, tensors, weights), torch.autograd.grad(expected, tensors, weights)
        )


def test_info_is_torchs(name: str) -> None:
    if not name.endswith("_ex"):
        return
    for sample in samples(name, torch.float64):
        sample.input[..., -1:, :] = 0
        (_, mine), (_, expected) = (function(sample.input, *sample.args) for function in (OURS[name], OPS[name].op))
        assert torch.equal(mine, expected)
        assert mine.dtype == expected.dtype


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128], ids=str)
def test_derivatives_by_differences(name: str, dtype: torch.dtype) -> None:
    for sample in samples(name, dtype, requires_grad=True):
        function, tensors = call(OURS[name], sample)
        if sum(tensor.numel() for tensor in tensors) > 60:  # quadratic in the number of entries
            continue
        assert torch.autograd.gradcheck(function, tensors, check_forward_ad=True, check_batched_grad=True)
        assert torch.autograd.gradgradcheck(function, tensors)


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128], ids=str)
def test_forward_mode(name: str, dtype: torch.dtype) -> None:
    for sample in samples(name, dtype):
        (ours, tensors), (theirs, _) = call(OURS[name], sample), call(OPS[name].op, sample)
        tangents = [torch.randn_like(tensor) for tensor in tensors]
        mine = torch.func.jvp(ours, tuple(tensors), tuple(tangents))
        torch.testing.assert_close(mine, torch.func.jvp(theirs, tuple(tensors), tuple(tangents)))


@pytest.mark.parametrize("in_dim", [0, -1])
def test_mapped(name: str, in_dim: int) -> None:
    for sample in samples(name, torch.float64):
        function, tensors = call(OURS[name], sample)
        stacked = [torch.stack([tensor, 2 * tensor, -tensor], in_dim) for tensor in tensors]
        mapped = torch.func.vmap(function, in_dims=in_dim)(*stacked)
        one_by_one = [function(*given) for given in zip(*(s.unbind(in_dim) for s in stacked), strict=True)]
        torch.testing.assert_close(mapped, tuple(map(torch.stack, zip(*one_by_one, strict=True))))


@pytest.mark.parametrize("dtype", [torch.float32, torch.complex128], ids=str)
def test_conjugated_and_negated_views(name: str, dtype: torch.dtype) -> None:
    for sample in samples(name, dtype):
        z = torch.complex(torch.zeros_like(sample.input.real), sample.input.real).conj()
        view = sample.input.conj() if dtype.is_complex else z.imag
        assert view.is_conj() or view.is_neg()
        mine = OURS[name](view, *sample.args)
        torch.testing.assert_close(outputs(mine), outputs(OPS[name].op(view.clone(), *sample.args)))


@pytest.mark.parametrize("A", [torch.zeros(3), torch.zeros(2, 3), torch.zeros(2, 3, 2)], ids=lambda A: str(A.shape))
def test_shapes_that_torch_refuses(name: str, A: Tensor) -> None:
    arguments = (A, torch.zeros(3)) if "solve" in name else (A,)
    for function in (OPS[name].op, OURS[name]):
        with pytest.raises(RuntimeError, match=r"must (be batches of square matrices|have at least 2 dimensions)"):
            function(*arguments)


def test_dtypes_that_torch_refuses(name: str) -> None:
    A = torch.eye(2, dtype=torch.int64)
    for function in (OPS[name].op, OURS[name]):
        with pytest.raises(RuntimeError, match=r"floating point or complex|floating-point or complex"):
            function(*(A, A) if "solve" in name else (A,))


@pytest.mark.parametrize(
    "b", [torch.zeros(3, 2, 1), torch.zeros(3, 1), torch.zeros(2, 2).double()], ids=lambda b: str(b.shape)
)
def test_right_hand_sides_that_torch_refuses(b: Tensor) -> None:
    A = torch.eye(2).repeat(2, 1, 1)
    for function in (torch.linalg.solve, ni.solve, ni.solve_ex):
        with pytest.raises(RuntimeError, match=r"[Ii]ncompatible shapes|broadcastable|must match|same dtype"):
            function(A, b)


def test_singular_matrices(name: str) -> None:
    if name.endswith("_ex") or name == "linalg.slogdet":
        return
    A = torch.eye(3, dtype=torch.float64).repeat(4, 1, 1)
    A[2, 1, 1] = 0
    for function in (OPS[name].op, OURS[name]):
        with pytest.raises(torch.linalg.LinAlgError, match=r"[Bb]atch element (\()?2"):
            function(*(A, A) if "solve" in name else (A,))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_determinants_of_what_is_not_finite(bad: float) -> None:
    A = np.random.default_rng(0).normal(size=(5, 3, 3))
    A[[1, 3], [0, 2], [1, 2]] = bad
    with np.errstate(invalid="ignore"):
        expected = np.linalg.slogdet(A)
        mine = ni.slogdet(A)
    np.testing.assert_allclose(mine, expected, rtol=1e-12)
    torch.testing.assert_close(
        tuple(ni.slogdet(torch.from_numpy(A))), tuple(torch.linalg.slogdet(torch.from_numpy(A))), equal_nan=True
    )
