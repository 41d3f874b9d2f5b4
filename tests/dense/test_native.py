"""The compiled kernels: LAPACK's outcome for every size, layout, scale and instruction set."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch import Tensor

import neuralinv as ni
from neuralinv.dense import native, operators, routes
from neuralinv.testing import TOLERANCE, check_inverse, condition_number, relative_error

REAL = [torch.float32, torch.float64]
LANES = {torch.float32: 16, torch.float64: 8}  # of the widest instruction set


def uniform(*shape: int, dtype: torch.dtype = torch.float64, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(*shape, generator=generator, dtype=torch.float64) * 2 - 1).to(dtype)


def invert(A: Tensor) -> Tensor:
    assert routes.route(A) is routes.Route.DIRECT
    X, info = native.invert_ex(A)
    assert not info.any()
    return X


def assert_accurate(A: Tensor, X: Tensor) -> None:
    error, allowed = relative_error(A, X), TOLERANCE[A.dtype] * condition_number(A)
    assert X.shape == A.shape
    assert X.dtype == A.dtype
    assert bool((error <= allowed).all()), f"error {float(error.max()):.1e}"


def test_the_extension_was_built() -> None:
    assert native.AVAILABLE


@pytest.mark.parametrize("dtype", REAL, ids=str)
@pytest.mark.parametrize("n", range(1, 33))
def test_every_size_and_ragged_tiles(n: int, dtype: torch.dtype) -> None:
    for batch in (*range(1, 2 * LANES[dtype] + 2), 100):
        A = uniform(batch, n, n, dtype=dtype, seed=batch)
        assert_accurate(A, invert(A))


@pytest.mark.parametrize("dtype", REAL, ids=str)
@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 8, 9, 16, 17, 32])
def test_errors_are_those_of_lapack(n: int, dtype: torch.dtype) -> None:
    A = uniform(20_000 if n <= 8 else 2_000, n, n, dtype=dtype)
    # float64 has no wider oracle at hand: there the residual, relative to ‖A‖ ‖X‖, stands for the error.
    if dtype == torch.float32:
        ours, theirs = relative_error(A, invert(A)), relative_error(A, torch.linalg.inv(A))
    else:
        ours, theirs = (
            torch.linalg.matrix_norm(torch.eye(n) - A @ X) / (torch.linalg.matrix_norm(A) * torch.linalg.matrix_norm(X))
            for X in (invert(A), torch.linalg.inv(A))
        )
    assert ours.median() <= 1.3 * theirs.median()
    assert ours.max() <= 10 * theirs.max()  # one matrix out of thousands: it depends on luck


@pytest.mark.parametrize("dtype", REAL, ids=str)
@pytest.mark.parametrize("n", [2, 3, 7, 20])
def test_layouts(n: int, dtype: torch.dtype) -> None:
    A = uniform(24, n, n, dtype=dtype) + 2 * torch.eye(n, dtype=dtype)
    apart = torch.zeros(24, 2 * n + 1, 3 * n, dtype=dtype)
    apart[:, 1 : n + 1, ::3] = A
    views = {
        "transposed": A.mT.contiguous().mT,
        "strided": apart[:, 1 : n + 1, ::3],
        "every second": A.repeat_interleave(2, 0)[::2],
        "batch last": A.permute(1, 2, 0).contiguous().permute(2, 0, 1),
        "broadcast": A[3].expand(24, n, n),
        "no batch": A[0],
        "batch dimensions that collapse": A.reshape(2, 3, 4, n, n),
        "batch dimensions that do not": A.reshape(4, 6, n, n).transpose(0, 1),
        "sliced batch dimensions": A.reshape(4, 6, n, n)[:, 1:4],
        "dimensions of one": A.reshape(24, 1, n, n)[:, None],
    }
    for name, view in views.items():
        before = view.clone()
        if n <= 8 or view.stride(-1) == 1:  # beyond, pivots are sought along what lies in memory without gaps
            torch.testing.assert_close(invert(view), invert(before.contiguous()), rtol=0, atol=0, msg=name)
        assert_accurate(view, invert(view))
        assert torch.equal(view, before)


@pytest.mark.parametrize("dtype", REAL, ids=str)
@pytest.mark.parametrize("n", [2, 3, 5, 8, 9, 13, 32])
def test_permutations_are_exact(n: int, dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(n)
    A = torch.stack([torch.eye(n, dtype=dtype)[torch.randperm(n, generator=generator)] for _ in range(50)])
    assert torch.equal(invert(A), A.mT)


@pytest.mark.parametrize("dtype", REAL, ids=str)
@pytest.mark.parametrize("n", [1, 2, 3, 4, 8, 9, 16, 31, 32])
def test_singular_matrices_fail_at_lapacks_pivot(n: int, dtype: torch.dtype) -> None:
    # Powers of two and zeros: no rounding, so that every elimination order finds the same zero.
    A = torch.eye(n, dtype=dtype).repeat(2 * n + 3, 1, 1)
    for k in range(n):
        A[k + 1, k, k] = 0
        A[n + 1 + k, k] = A[n + 1 + k, 0] * (2 if k else 0)
    _, expected = torch.linalg.inv_ex(A)
    X, info = native.invert_ex(A)
    assert info.dtype == torch.int32
    assert info.tolist() == expected.tolist()
    assert info[1 : n + 1].tolist() == list(range(1, n + 1))
    assert torch.equal(X[info == 0], A[info == 0])
    assert bool(X[info != 0].isnan().all()) or n == 1
    _, failed = native.invert(A)
    assert failed == 1
    with pytest.raises(torch.linalg.LinAlgError, match=r"\(1,\)\): pivot 1 .* exactly zero"):
        ni.inv(A)
    with pytest.raises(np.linalg.LinAlgError, match=rf"\(1, 0\)\): pivot {n} "):
        ni.inv(np.stack([A[:1].numpy(), A[n : n + 1].numpy()]))


@pytest.mark.parametrize("n", [1, 2, 3, 6, 9, 24])
@pytest.mark.parametrize("scale", [1e-30, 1e30, 1e-37, 1e37])
def test_extreme_scales(n: int, scale: float) -> None:
    A = (uniform(40, n, n, seed=n) + 3 * torch.eye(n)) * scale
    X = invert(A.float())
    assert_accurate(A.float() / scale, X * scale)
    assert_accurate(A, invert(A))


@pytest.mark.parametrize("n", [2, 5, 8])
def test_pivots_whose_reciprocal_leaves_the_range(n: int) -> None:
    # Beyond n = 8, infinity meets zeros, and leaves NaN beside it, as in LAPACK.
    # 1e39 overflows, 1/1e38 is denormal: dividing keeps what multiplying by the reciprocal would lose.
    A = torch.diag(torch.tensor([1e38, 1e-38] * n)[:n]).repeat(9, 1, 1)
    torch.testing.assert_close(invert(A), torch.diag_embed(1 / A.diagonal(dim1=1, dim2=2)), rtol=1e-6, atol=0)
    A = torch.eye(n)
    A[n - 1, n - 1] = 1e-40
    X, info = native.invert_ex(A)
    assert info == 0
    assert X[n - 1, n - 1] == torch.inf
    assert torch.equal(X[:-1], torch.eye(n)[:-1])


@pytest.mark.parametrize("dtype", REAL, ids=str)
@pytest.mark.parametrize("n", [1, 2, 3, 8, 9, 32])
@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_non_finite_entries_touch_their_matrix_alone(n: int, dtype: torch.dtype, bad: float) -> None:
    A = uniform(50, n, n, dtype=dtype) + 2 * torch.eye(n, dtype=dtype)
    clean = invert(A)
    A[17, n // 2, n - 1] = bad
    X, info = native.invert_ex(A)
    theirs, expected = torch.linalg.inv_ex(A)
    assert info.tolist() == expected.tolist()
    assert torch.isfinite(X[17]).all() == torch.isfinite(theirs[17]).all()
    others = torch.arange(50) != 17
    torch.testing.assert_close(X[others], clean[others])


def test_zero_pivots_hide_behind_nan_as_in_lapack() -> None:
    for rows in ([[0, torch.nan], [torch.nan, 1]], [[torch.nan, 1], [0, 1]], [[0, 0], [torch.nan, 0]]):
        A = torch.tensor([rows])
        assert native.invert_ex(A)[1].tolist() == torch.linalg.inv_ex(A)[1].tolist()


@pytest.mark.parametrize("dtype", REAL, ids=str)
def test_nothing_to_invert(dtype: torch.dtype) -> None:
    for shape in ((0, 0), (4, 0, 0), (0, 3, 3), (2, 0, 5, 5)):
        A = torch.empty(shape, dtype=dtype)
        assert ni.inv(A).shape == shape
        assert ni.inv(A.numpy()).shape == shape


def test_derivatives() -> None:
    A = (uniform(30, 3, 3) + 2 * torch.eye(3)).requires_grad_()
    assert routes.route(A) is routes.Route.DIFFERENTIATED
    small = (uniform(2, 3, 3) + 2 * torch.eye(3)).requires_grad_()
    for function in (lambda A: operators.DifferentiableInverse.apply(A, False), operators.inv_op):
        assert torch.autograd.gradcheck(function, small)
        assert torch.autograd.gradgradcheck(function, small)
    (ours,) = torch.autograd.grad(ni.inv(A).sum(), A)
    (theirs,) = torch.autograd.grad(torch.linalg.inv(A).sum(), A)
    torch.testing.assert_close(ours, theirs)
    with torch.no_grad():
        assert routes.route(A) is routes.Route.DIRECT
        assert not ni.inv(A).requires_grad


def test_the_operator_is_what_torch_expects() -> None:
    A = uniform(5, 3, 3) + 2 * torch.eye(3)
    torch.library.opcheck(operators.inv_op, (A,))
    torch.library.opcheck(operators.inv_op, (A.requires_grad_(),))


def test_mapped_tensors_reach_the_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    direct = native.invert

    def recorded(A: Tensor, *, positive: bool = False) -> tuple[Tensor, int]:
        seen.append(A.shape)
        return direct(A, positive=positive)

    monkeypatch.setattr(native, "invert", recorded)
    torch.func.vmap(torch.func.vmap(ni.inv), in_dims=1)(uniform(4, 5, 3, 3) + 2 * torch.eye(3))
    assert seen == [(5, 4, 3, 3)]


def test_function_transforms() -> None:
    A = uniform(40, 3, 3) + 2 * torch.eye(3)
    expected = torch.linalg.inv(A)
    torch.testing.assert_close(torch.func.vmap(ni.inv)(A), expected)
    torch.testing.assert_close(torch.func.vmap(ni.inv, in_dims=1)(A.transpose(0, 1)), expected)
    torch.testing.assert_close(torch.func.vmap(operators.inv_op, in_dims=2)(A.permute(1, 2, 0)), expected)
    torch.testing.assert_close(torch.func.jacrev(ni.inv)(A[0]), torch.func.jacrev(torch.linalg.inv)(A[0]))
    torch.testing.assert_close(torch.func.jacfwd(ni.inv)(A[0]), torch.func.jacfwd(torch.linalg.inv)(A[0]))


@pytest.mark.parametrize("grad", [False, True])
def test_compiles_without_graph_breaks(grad: bool) -> None:
    def function(A: Tensor) -> Tensor:
        return (ni.inv(A) * 2).sum(-1)

    A = (uniform(40, 3, 3) + 2 * torch.eye(3)).requires_grad_(grad)
    compiled = torch.compile(function, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(A), function(A))
    if grad:
        (ours,) = torch.autograd.grad(compiled(A).sum(), A)
        (theirs,) = torch.autograd.grad(function(A).sum(), A)
        torch.testing.assert_close(ours, theirs)
    with pytest.raises(torch.linalg.LinAlgError, match="Singular matrix"):
        compiled(torch.zeros(40, 3, 3, dtype=torch.float64))


def test_tensors_that_are_not_plain_memory() -> None:
    z = torch.view_as_complex(uniform(20, 3, 3, 2)).conj()
    negated = z.imag  # the memory holds −A
    assert negated.is_neg()
    torch.testing.assert_close(ni.inv(negated), torch.linalg.inv(negated.clone()))
    parameter = torch.nn.Parameter(uniform(20, 4, 4))
    torch.testing.assert_close(ni.inv(parameter), torch.linalg.inv(parameter))
    with torch.device("meta"):  # where new tensors go says nothing about where ours are
        X = ni.inv(parameter.detach())
    assert X.device.type == "cpu"


INSTRUCTION_SETS = native.instruction_sets()
PROBE = """
import torch, sys
from neuralinv.dense import native, operators, routes
from neuralinv.dense.correction import Workspace, correct
from neuralinv.testing import check_inverse
import neuralinv as ni
assert native.instruction_set() == sys.argv[1], native.instruction_set()
check_inverse(ni.inv, torch.float32)
check_inverse(ni.inv, torch.float64)
for n in range(1, 33):
    for dtype in (torch.float32, torch.float64):
        A = torch.rand(37, n, n, dtype=dtype, generator=torch.Generator().manual_seed(n)) + torch.eye(n, dtype=dtype)
        X, info = native.invert_ex(A)
        torch.testing.assert_close(X.double(), torch.linalg.inv(A.double()), rtol=1e-2, atol=1e-2)
for n in (1, 2, 3, 5, 9, 16, 17, 31, 33, 50):
    for dtype, wide in ((torch.float32, torch.float64), (torch.float64, torch.float64),
                        (torch.complex64, torch.complex128), (torch.complex128, torch.complex128)):
        single = torch.finfo(dtype).bits == 32
        rtol = 1e-5 if single else 1e-8
        # ‖XR‖_F is about ‖X‖_F ‖R‖_F / √n: residuals that orders 1 to 4 bring to rtol.
        steps = (0.1 * rtol, *((0.2 * rtol * n**0.5) ** (1 / order) for order in (2, 3, 4)))
        random = torch.Generator().manual_seed(n)
        A = (torch.rand(4, n, n, dtype=wide, generator=random) + n * torch.eye(n)).to(dtype)
        E = torch.rand(4, n, n, dtype=wide, generator=random)
        E = E / torch.linalg.matrix_norm(E, keepdim=True) * torch.tensor(steps)[:, None, None]
        exact = torch.linalg.inv(A.to(wide))
        assert native.corrects(A)
        X, bound, order = correct(A, (exact @ (torch.eye(n) - E)).to(dtype), rtol, work=Workspace())
        assert order.tolist() == [1, 2, 3, 4], (n, dtype, order)
        error = torch.linalg.matrix_norm(exact - X) / torch.linalg.matrix_norm(exact)
        assert bool((error <= bound).all() and (bound <= rtol).all()), (n, dtype, error, bound)
"""


def run_with(instruction_set: str, *code: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "NEURALINV_ISA": instruction_set}
    return subprocess.run([sys.executable, "-c", *code], env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("instruction_set", INSTRUCTION_SETS)
def test_every_instruction_set_of_this_machine(instruction_set: str) -> None:
    result = run_with(instruction_set, PROBE, instruction_set)
    assert result.returncode == 0, result.stderr


def test_an_instruction_set_that_is_not_there() -> None:
    result = run_with("mmx", "import torch, neuralinv as ni; ni.inv(torch.eye(3))")
    assert result.returncode == 1
    assert "NEURALINV_ISA=mmx is not available; this machine has" in result.stderr
    assert INSTRUCTION_SETS[-1] in result.stderr


@pytest.mark.parametrize("dtype", REAL, ids=str)
def test_conformance(dtype: torch.dtype) -> None:
    check_inverse(ni.inv, dtype)


def test_several_python_threads() -> None:
    inputs = [uniform(5_000, n, n, seed=n) for n in (2, 3, 5, 9)] * 3
    with ThreadPoolExecutor(4) as pool:
        for A, X in zip(inputs, pool.map(ni.inv, inputs), strict=True):
            torch.testing.assert_close(X, invert(A), rtol=0, atol=0)


def test_the_number_of_threads_changes_nothing() -> None:
    A = uniform(20_000, 4, 4)
    A[[7_001, 15_003]] = 0
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one, first = native.invert(A)
        torch.set_num_threads(3)
        three, also_first = native.invert(A)
    finally:
        torch.set_num_threads(before)
    assert first == also_first == 7_001
    torch.testing.assert_close(one, three, rtol=0, atol=0, equal_nan=True)


def test_numpy_arrays() -> None:
    A = uniform(20, 6, 6).numpy()
    for array in (A, A.astype(np.float32), A.swapaxes(1, 2), A[::2], np.asfortranarray(A[0])):
        X = ni.inv(array)
        assert isinstance(X, np.ndarray)
        assert X.dtype == array.dtype
        np.testing.assert_allclose(X, np.linalg.inv(array), rtol=1e-3)
