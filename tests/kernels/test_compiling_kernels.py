"""The kernels compile for an H100 without a GPU at hand: Triton brings the assembler."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from neuralinv.kernels import availability

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not availability.IMPORTABLE, reason=availability.describe()),
]

# In a process of its own: kernels that were imported while the interpreter was on cannot be compiled.
COMPILE = """
import json, re, sys, torch, triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from neuralinv.kernels import dense, elimination, gauss_jordan

NAMES = {torch.float16: "fp16", torch.float32: "fp32", torch.float64: "fp64", torch.int32: "i32"}

class Recorded:
    def __init__(self, kernel):
        self.kernel = kernel
    def __getitem__(self, grid):
        def record(*arguments, num_warps, enable_fp_fusion, **constants):
            names = self.kernel.arg_names
            kinds = {float: "fp32", int: "i32"}
            signature = {
                name: "*" + NAMES[value.dtype] if isinstance(value, torch.Tensor) else kinds[type(value)]
                for name, value in zip(names, arguments)
            } | dict.fromkeys(constants, "constexpr")
            signature = {name: signature[name] for name in names}
            aligned = {(k,): [["tt.divisibility", 16]] for k, name in enumerate(names) if signature[name][0] == "*"}
            source = ASTSource(fn=self.kernel, signature=signature, constexprs=constants, attrs=aligned)
            options = {"num_warps": num_warps, "enable_fp_fusion": enable_fp_fusion}
            global compiled
            compiled = triton.compile(source, target=GPUTarget("cuda", 90, 32), options=options)
        return record

for module, names in ((elimination, ("invert", "solve", "determinant")), (gauss_jordan, ("invert",))):
    for name in names:
        setattr(module, name + "_kernel", Recorded(getattr(module, name + "_kernel")))
A = torch.ones(64, int(sys.argv[2]), int(sys.argv[2]), dtype=getattr(torch, sys.argv[3]))
{
    "invert": lambda: dense.invert(A),
    "certified_invert": lambda: dense.certified_invert(A, 1e-5),
    "solve": lambda: dense.solve(A, A[..., :1]),
    "slogdet": lambda: dense.slogdet(A),
}[sys.argv[1]]()
ptx = compiled.asm["ptx"]
wanted = {"fused": "fma.rn.f32", "local": "ld.local", "wide": "st.global.v4", "barriers": "bar.sync"}
found = {name: ptx.count(text) for name, text in wanted.items()}
found["bytes"] = len(compiled.asm["cubin"])
ttgir = compiled.asm["ttgir"]
layouts = dict(re.findall(r"^(#\\w+) = #ttg.blocked<.*?threadsPerWarp = (\\[.*?\\])", ttgir, re.M))
loaded = re.findall(r"tt.load .*tt.ptr<\\w+>, (#\\w+)>", ttgir)
found["threads"] = [json.loads(layouts[name]) for name in loaded]
print(json.dumps(found))
"""


@pytest.mark.parametrize(
    ("function", "n", "dtype"),
    [
        ("invert", 4, "float32"),
        ("invert", 2, "float64"),
        ("invert", 3, "float32"),
        ("invert", 8, "float32"),
        ("invert", 17, "float64"),
        ("certified_invert", 3, "float32"),
        ("certified_invert", 16, "float32"),
        ("solve", 5, "float64"),
        ("slogdet", 9, "float32"),
    ],
)
def test_kernels_compile_for_hopper(function: str, n: int, dtype: str, tmp_path: Path) -> None:
    # A file, not -c: Triton reads the source of what it compiles.
    script = tmp_path / "compile.py"
    script.write_text(COMPILE)
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    result = subprocess.run(
        [sys.executable, str(script), function, str(n), dtype],
        env={**environment, "TRITON_CACHE_DIR": str(tmp_path / "cache")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr[-4000:]
    found = json.loads(result.stdout)
    assert found["bytes"] > 0
    assert found["local"] == 0  # no array went to memory
    # What the tables of layouts rely on: see test_layouts.py.
    assert found["threads"]
    in_threads = all(len(spread) in (1, 4) for spread in found["threads"])
    for spread in found["threads"]:
        if len(spread) == 1:  # each thread reads its own matrix
            assert spread == [32]
            continue
        down, matrices, _, rows, columns, across = spread if len(spread) == 6 else (spread[0], 1, 1, *spread[1:])
        assert (rows, columns) == (1, 1), spread
        assert down * matrices * across == 32
    if in_threads:
        assert found["barriers"] == 0  # a matrix in each thread: warps do not wait for one another
    if function == "invert" and n % 4 == 0:
        assert found["wide"] > 0  # 16 bytes at a time, although rows go where the pivots say
    if n > 6 and function != "certified_invert":
        assert found["fused"] == 0  # rounding apart is what decides whether a matrix is singular
