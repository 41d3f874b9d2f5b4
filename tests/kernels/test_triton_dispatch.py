"""The public functions on Triton's kernels: the CPU stands in for a GPU, in the interpreter."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import neuralinv as ni
from neuralinv.dense import gpu, routes
from neuralinv.kernels import availability, dense
from neuralinv.testing import check_inverse


@pytest.fixture(autouse=True)
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Take the CPU for a GPU, and note which kernels are called."""
    monkeypatch.setattr(gpu, "holds", lambda A: True)
    monkeypatch.setattr(routes, "_ORDINARY", None)  # no tensor is one on the CPU
    monkeypatch.setattr(availability, "serves", lambda device: True)
    seen: list[str] = []

    def noted(name: str) -> Callable[..., Any]:
        function = getattr(dense, name)

        def call(*arguments: Any) -> Any:
            seen.append(name)
            return function(*arguments)

        return call

    for name in ("invert", "certified_invert", "solve", "slogdet"):
        monkeypatch.setattr(dense, name, noted(name))
    return seen


def regular(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    G = torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    return (G @ G.mT + torch.eye(shape[-1])).to(dtype)


b = torch.randn(3, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
PAIRS: dict[str, tuple[str, Callable[[Tensor], Any], Callable[[Tensor], Any]]] = {
    "inv": ("invert", ni.inv, torch.linalg.inv),
    "inv_ex": ("invert", lambda A: ni.inv_ex(A).inverse, torch.linalg.inv),
    "solve": ("solve", lambda A: ni.solve(A, b), lambda A: torch.linalg.solve(A, b)),
    "solve_ex": ("solve", lambda A: ni.solve_ex(A, b).result, lambda A: torch.linalg.solve(A, b)),
    "slogdet": ("slogdet", lambda A: ni.slogdet(A).logabsdet, lambda A: torch.linalg.slogdet(A).logabsdet),
}


@pytest.mark.parametrize("name", PAIRS)
def test_values_gradients_maps_and_compiled_functions(name: str, calls: list[str]) -> None:
    kernel, ours, theirs = PAIRS[name]
    A = regular(4, 3, 3)
    torch.testing.assert_close(ours(A), theirs(A))
    assert calls == [kernel]
    A.requires_grad_()
    (mine,), (expected,) = (torch.autograd.grad(f(A).sin().sum(), A, create_graph=True) for f in (ours, theirs))
    torch.testing.assert_close(mine, expected)
    second, reference = (torch.autograd.grad(gradient.square().sum(), A)[0] for gradient in (mine, expected))
    torch.testing.assert_close(second, reference)
    calls.clear()
    torch.testing.assert_close(torch.func.vmap(ours)(A), theirs(A))
    assert calls == [kernel]
    torch._dynamo.reset()
    compiled = torch.compile(lambda A: ours(A).sin(), fullgraph=True, backend="aot_eager")
    calls.clear()
    torch.testing.assert_close(compiled(A.detach()), theirs(A).sin())
    assert calls == [kernel]
    (mine,) = torch.autograd.grad(compiled(A).sum(), A)
    torch.testing.assert_close(mine, torch.autograd.grad(theirs(A).sin().sum(), A)[0])


def test_half_precision() -> None:
    A = regular(4, 3, 3, dtype=torch.float16)
    torch.testing.assert_close(ni.inv(A), torch.linalg.inv(A.double()).half())


def test_errors_name_matrix_and_pivot() -> None:
    A = torch.eye(3).repeat(2, 3, 1, 1)
    A[1, 0, 1, 1] = 0
    with pytest.raises(torch.linalg.LinAlgError, match=r"batch element \(1, 0\)\): pivot 2 of .* exactly zero"):
        ni.inv(A)
    with pytest.raises(torch.linalg.LinAlgError, match=r"batch element \(1, 0\)\): pivot 2 of .* exactly zero"):
        ni.solve(A, torch.ones(3))
    assert ni.inv_ex(A).info.tolist() == [[0, 0, 0], [2, 0, 0]]
    assert ni.slogdet(A).sign.tolist() == [[1, 1, 1], [0, 1, 1]]


def test_certified_inverses(calls: list[str]) -> None:
    A = regular(6, 4, 4, dtype=torch.float32)
    A[1] = torch.nan
    A[2] = 1.0  # singular
    A[3] *= 1e-30
    result = ni.certified_inv(A, on_singular="nan")
    assert calls[0] == "certified_invert"
    assert result.status.tolist() == [0, 3, 2, 0, 0, 0]
    good = result.certified
    error = torch.linalg.matrix_norm(torch.linalg.inv(A[good].double()) - result.inverse[good])
    assert bool(
        (error / torch.linalg.matrix_norm(result.inverse[good].double()) <= result.error_bound[good] * 1.01).all()
    )
    with pytest.raises(torch.linalg.LinAlgError, match=r"SINGULAR at \[2\]; NONFINITE at \[1\]"):
        ni.certified_inv(A)


def test_what_has_no_kernel_goes_to_torch(calls: list[str]) -> None:
    for A, assume_a in (
        (regular(2, 33, 33), "gen"),
        (regular(2, 3, 3).to(torch.complex64), "gen"),
        (regular(2, 3, 3), "pos"),
    ):
        assert routes.route(A, positive=assume_a == "pos") is routes.Route.LAPACK
        torch.testing.assert_close(ni.inv(A, assume_a=assume_a), torch.linalg.inv(A), rtol=1e-4, atol=1e-4)
    assert calls == []


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_blocks_where_the_table_says_so(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch, calls: list[str]) -> None:
    monkeypatch.setitem(gpu.REACH, ("inv", dtype), gpu.Reach(2, 8))
    A = regular(3, 6, 6, dtype=dtype)
    A[1, 0, 0] = 0  # a singular leading block is no obstacle
    torch.testing.assert_close(ni.inv(A), torch.linalg.inv(A), rtol=2e-4, atol=2e-4)
    assert "invert" in calls
    with pytest.raises(torch.linalg.LinAlgError, match="singular"):
        ni.inv(torch.ones(2, 6, 6, dtype=dtype))


def test_conformance() -> None:
    check_inverse(ni.inv, torch.float32)
