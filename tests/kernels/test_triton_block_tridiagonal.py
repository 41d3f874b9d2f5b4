"""The Triton kernels for block-tridiagonal matrices in Triton's interpreter, and what the compiler makes of them."""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import neuralinv as ni
from neuralinv.block_tridiagonal import backends, dispatch, gpu_crossover
from neuralinv.block_tridiagonal.conformance import Case, check_case, random_precision

triton = pytest.importorskip("triton", reason="Triton is not installed: pip install triton")

_MODULES = ("block_tridiagonal_lanes", "block_tridiagonal_recursions", "block_tridiagonal")
REAL = [torch.float32, torch.float64]


@pytest.fixture(scope="module")
def interpreted() -> Iterator[ModuleType]:
    """Load second copies of the modules with kernels under the interpreter: nothing else of the process sees it."""
    from triton.runtime import interpreter

    package = importlib.import_module("neuralinv.kernels")
    original = interpreter._patch_lang_tensor

    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        # Triton patches its language again for every call of a function inside a kernel, which takes longer than most.
        return self.rewrite()(*args, **kwargs)

    def patched(tensor: Any, scope: Any) -> None:
        original(tensor, scope)
        # Triton 3.6 makes an index of an array of one entry; NumPy 2.4 wants that said.
        scope.set_attr(tensor, "__index__", lambda self: int(self.handle.data.item()))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(triton.knobs.runtime, "interpret", True)
        patch.setattr(interpreter, "_patch_lang_tensor", patched)
        patch.setattr(interpreter.InterpretedFunction, "__call__", call)
        for name in _MODULES:
            patch.delitem(sys.modules, f"neuralinv.kernels.{name}", raising=False)
            patch.delattr(package, name, raising=False)
        for name in _MODULES:
            copy = importlib.import_module(f"neuralinv.kernels.{name}")
        patch.setattr(copy, "AVAILABLE", True, raising=False)
        yield copy
        for name in _MODULES:
            del sys.modules[f"neuralinv.kernels.{name}"]
            delattr(package, name)


@pytest.fixture
def kernels(interpreted: ModuleType, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Let ``method="native"`` compute with the interpreted kernels, all the way through autograd and operators."""
    monkeypatch.setattr(backends, "kernels", interpreted)
    return interpreted


def results(D: Tensor, B: Tensor, b: Tensor, method: Any = "native") -> tuple[Any, ...]:
    """Everything that an operator computes, for D made symmetric."""
    F = ni.BlockTridiagonal((D + D.mT) / 2, B, method=method).cholesky()
    return F.diag, F.lower, F.solve(b), F.solve_transpose(b), F.logdet(), *F.inverse_blocks()


def total(D: Tensor, B: Tensor, b: Tensor, method: str = "native") -> Tensor:
    flat = torch.cat([r.flatten() for r in results(D, B, b, method)])
    return flat @ torch.linspace(1, 2, flat.numel()).to(flat)


def gradients(arguments: tuple[Tensor, ...], method: str) -> tuple[Tensor, ...]:
    return torch.autograd.grad(total(*arguments, method), arguments)


def inputs(*batch: int, steps: int, n: int, k: int = 1, dtype: torch.dtype = torch.float64) -> tuple[Tensor, ...]:
    D, B = random_precision(*batch, steps=steps, n=n, dtype=dtype, seed=n)
    b = torch.randn(*batch, steps, n, k, generator=torch.Generator().manual_seed(n), dtype=torch.float64).to(dtype)
    return D.requires_grad_(), B.requires_grad_(), b.requires_grad_()


def agree(arguments: tuple[Tensor, ...]) -> None:
    """Compare gradients with those of the loop in float64: they need every kernel's values and reverse pass."""
    wide = tuple(x.detach().double().requires_grad_() for x in arguments)
    tolerance = 1e-4 if arguments[0].dtype == torch.float32 else 1e-12
    for ours, theirs in zip(gradients(arguments, "native"), gradients(wide, "loop"), strict=True):
        if theirs.numel():
            torch.testing.assert_close(ours.double(), theirs, rtol=0, atol=tolerance * float(theirs.abs().max()))


@pytest.mark.parametrize(
    ("n", "steps", "dtype"),
    [
        (1, 1, torch.float64),
        (1, 5, torch.float32),
        (3, 5, torch.float64),
        (8, 2, torch.float32),
        pytest.param(16, 2, torch.float32, marks=pytest.mark.slow),
        (20, 2, torch.float64),
    ],
    ids=str,
)
@pytest.mark.usefixtures("kernels")
def test_values(n: int, steps: int, dtype: torch.dtype) -> None:
    check_case(Case(f"T={steps}, n={n}", *random_precision(steps=steps, n=n, dtype=dtype, seed=n)), "native")


@pytest.mark.parametrize(
    ("n", "steps", "dtype"),
    [
        (2, 3, torch.float32),
        (3, 1, torch.float64),
        (5, 2, torch.float64),
        pytest.param(8, 2, torch.float32, marks=pytest.mark.slow),
        pytest.param(16, 2, torch.float32, marks=pytest.mark.slow),
        pytest.param(20, 2, torch.float64, marks=pytest.mark.slow),
        pytest.param(32, 2, torch.float32, marks=pytest.mark.slow),
    ],
    ids=str,
)
@pytest.mark.usefixtures("kernels")
def test_gradients(n: int, steps: int, dtype: torch.dtype) -> None:
    agree(inputs(steps=steps, n=n, dtype=dtype))


@pytest.mark.parametrize(("n", "batch"), [(1, 37), (3, 11)])
def test_several_sequences_share_a_warp_and_the_last_warp_is_ragged(
    n: int, batch: int, kernels: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernels, "_WARPS_TO_FILL", 1)
    assert kernels._share(batch, n, 1)[0] == 32  # all lanes
    agree(inputs(batch, steps=2, n=n, k=2))


def test_small_batches_keep_a_warp_for_each_sequence(interpreted: ModuleType) -> None:
    assert interpreted._share(1, 3, 1) == (4, 1)
    assert interpreted._share(1055, 3, 1) == (4, 1055)
    assert interpreted._share(1056, 3, 1) == (8, 528)
    assert interpreted._share(1_000_001, 3, 1) == (32, 125_001)
    assert interpreted._share(1_000_001, 20, 1) == (32, 1_000_001)


@pytest.mark.usefixtures("kernels")
def test_derivatives_by_finite_differences() -> None:
    assert torch.autograd.gradcheck(total, inputs(steps=2, n=2), fast_mode=True)


@pytest.mark.usefixtures("kernels")
def test_second_derivatives() -> None:
    assert torch.autograd.gradgradcheck(total, inputs(steps=2, n=2), fast_mode=True)


@pytest.mark.usefixtures("kernels")
def test_empty_batches_and_no_right_hand_sides() -> None:
    D, B = random_precision(0, steps=3, n=2)
    assert ni.BlockTridiagonal(D, B, method="native").solve(D[..., 0]).shape == (0, 3, 2)
    D, B = random_precision(2, steps=3, n=2)
    assert ni.BlockTridiagonal(D, B, method="native").solve(D[..., :0]).shape == (2, 3, 2, 0)


@pytest.mark.usefixtures("kernels")
def test_rubbish_above_the_diagonal_is_not_read() -> None:
    D, B = random_precision(2, steps=2, n=3)
    above = torch.full((3, 3), torch.nan).triu(1).nan_to_num(0.0).to(D) + torch.full_like(D, torch.nan).triu(1)
    check_case(Case("lower triangle alone", torch.where(above.isnan(), above, D), B), "native")


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # NumPy's, of the numbers that a failure is made of
@pytest.mark.parametrize("warps", [1, 528])
@pytest.mark.parametrize("dtype", REAL, ids=str)
def test_failures_name_sequence_step_and_pivot(
    dtype: torch.dtype, warps: int, kernels: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernels, "_WARPS_TO_FILL", warps)
    D, B = random_precision(2, 3, steps=4, n=3, dtype=dtype)
    bad, coupling = D.clone(), B.clone()
    bad[0, 2, 2, 1, 1] = -1
    bad[1, 0, 3, 2, 0] = torch.nan
    bad[1, 1, 0, 0, 0] = torch.inf
    coupling[0, 1, 1, 0, 1] = torch.inf
    M = ni.BlockTridiagonal(bad, coupling, method="native")
    factor, info = M.cholesky_ex()
    assert info.dtype == torch.int64
    assert info.tolist() == [[0, 2 * 3 + 1, 2 * 3 + 2], [3 * 3 + 3, 1, 0]]
    assert bool(factor.diag[info != 0].isnan().all())
    assert bool(factor.lower[info != 0].isnan().all())
    good = ni.BlockTridiagonal(D, B, method="native").cholesky()
    torch.testing.assert_close(factor.diag[info == 0], good.diag[info == 0], rtol=0, atol=0)
    with pytest.raises(torch.linalg.LinAlgError, match=r"\(sequence \(0, 1\)\): at time step 2, pivot 1 of 3"):
        M.cholesky()


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.usefixtures("kernels")
def test_pivots_without_a_root_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    from triton.runtime.interpreter import InterpreterBuilder, TensorHandle

    def approximate(self: Any, pivot: Any) -> Any:
        # On a GPU the root of float32 takes subnormal numbers for zero.
        data = pivot.data
        flushed = np.where(np.abs(data) < np.finfo(data.dtype).tiny, data.dtype.type(0), data)
        return TensorHandle(1 / np.sqrt(flushed), pivot.dtype.scalar)

    monkeypatch.setattr(InterpreterBuilder, "create_rsqrt", approximate)
    D, B = random_precision(2, steps=3, n=2, dtype=torch.float32)
    D[1, 2, 1, 1], D[1, 2, 1, 0], B[1, 1] = 1e-40, 0, 0  # the last pivot: nothing after it would tell
    factor, info = ni.BlockTridiagonal(D, B, method="native").cholesky_ex()
    assert info.tolist() == [0, 2 * 2 + 2]
    assert bool(factor.diag[1].isnan().all())
    assert bool(factor.diag[0].isfinite().all())


@pytest.mark.parametrize("scale", [1e-37, 1e-18, 1e18, 1e37])
@pytest.mark.usefixtures("kernels")
def test_extreme_scales(scale: float) -> None:
    D, B = random_precision(steps=2, n=3, dtype=torch.float32)
    factor = ni.BlockTridiagonal(D * scale, B * scale, method="native").cholesky()
    expected = ni.BlockTridiagonal(D, B, method="loop").cholesky()
    for ours, theirs in ((factor.diag, expected.diag), (factor.lower, expected.lower)):
        torch.testing.assert_close(ours / scale**0.5, theirs)


@pytest.mark.usefixtures("kernels")
def test_operators_for_torch_compile() -> None:
    D, B, b = inputs(2, steps=2, n=2)

    def work(D: Tensor, B: Tensor, b: Tensor) -> Tensor:
        M = ni.BlockTridiagonal((D + D.mT) / 2, B, method="native")
        return M.solve(b).sum() + M.logdet().sum()

    compiled = torch.compile(work, fullgraph=True, backend="aot_eager")
    expected = work(D, B, b)
    torch.testing.assert_close(compiled(D, B, b), expected)
    ours = torch.autograd.grad(compiled(D, B, b), (D, B, b))
    for mine, theirs in zip(ours, torch.autograd.grad(expected, (D, B, b)), strict=True):
        torch.testing.assert_close(mine, theirs)


def test_dispatch_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends.availability, "serves", lambda device: device.type == "meta")

    def chosen(*shape: int, dtype: torch.dtype = torch.float32) -> str:
        return dispatch.choose("auto", torch.empty(*shape, dtype=dtype, device="meta"))

    assert chosen(250, 20, 20) == "triton"
    assert chosen(1024, 100_000, 3, 3) == "triton"  # sequences enough to occupy the GPU
    assert chosen(100_000, 3, 3) == "cyclic"  # time alone has to occupy it
    assert chosen(250, 33, 33) == "cyclic"
    D = torch.empty(4, 32, 32, device="meta")
    assert dispatch.choose("triton", D) == "triton"
    assert dispatch.explain("auto", D[:, :3, :3]).startswith("triton: torch.float32 blocks of 3×3 on a GPU")
    with pytest.raises(
        ValueError, match=r"method='triton' takes .* blocks up to 32; these are torch.float32 on meta, n = 33"
    ):
        dispatch.choose("triton", torch.empty(4, 33, 33, device="meta"))
    assert gpu_crossover.TABLE.measured_on is None  # whoever measures it says where


def test_torch_compile_traces_the_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends.availability, "serves", lambda device: device.type == "meta")
    D, B = (x.to("meta") for x in random_precision(2, steps=3, n=2))
    compiled = torch.compile(lambda D, B: ni.BlockTridiagonal(D, B).logdet(), fullgraph=True, backend="eager")
    assert compiled(D, B).shape == (2,)


def test_the_limit_is_the_same_for_both_sides(interpreted: ModuleType) -> None:
    assert interpreted.LARGEST == backends.LARGEST_ON_GPU


_COMPILE = """
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from neuralinv.kernels import block_tridiagonal_recursions as recursions

n, rows, dtype = {n}, {rows}, "{dtype}"
constants = dict(N=n, ROWS=rows, LANES={lanes}, CHUNK=8, TRANSPOSED=True)
names = [name for name in vars(recursions) if name.endswith("_kernel")]
assert len(names) == 8, names
for name in names:
    kernel = getattr(recursions, name)
    types = dict.fromkeys(recursions.SIZES, "i32") | dict.fromkeys(constants, "constexpr") | dict(info="*i64")
    signature = dict((a, types.get(a, "*" + dtype)) for a in kernel.arg_names)
    chosen = dict((a, constants[a]) for a in kernel.arg_names if a in constants)
    source = ASTSource(fn=kernel, signature=signature, constexprs=chosen)
    compiled = triton.compile(source, target=GPUTarget("cuda", 90, 32), options=dict(num_warps=1))
    assert compiled.asm["cubin"], name
"""


@pytest.mark.slow
@pytest.mark.parametrize(("n", "lanes", "dtype"), [(3, 4, "fp32"), (3, 32, "fp64"), (6, 8, "fp32")])
def test_the_kernels_compile_for_a_gpu(n: int, lanes: int, dtype: str, tmp_path: Path) -> None:
    """ptxas comes with Triton: no GPU is needed. Another process, since this one may interpret."""
    script = tmp_path / "compile.py"
    script.write_text(_COMPILE.format(n=n, rows=1 << (n - 1).bit_length(), lanes=lanes, dtype=dtype))
    environment = {"TRITON_CACHE_DIR": str(tmp_path), "PATH": "/usr/bin:/bin", "PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
