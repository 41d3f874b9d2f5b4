"""Peak memory of a forward and backward pass, measured in a process of its own.

``python -m neuralinv.bench.block_tridiagonal.memory 100000 10 float32`` prints a line of JSON.
"""

from __future__ import annotations

import ctypes
import json
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from neuralinv.block_tridiagonal import BlockTridiagonal


@dataclass(frozen=True)
class Memory:
    """Bytes: the inputs and their gradients, and by how much the process grew at most, inputs included."""

    steps: int
    n: int
    dtype: str
    inputs_and_gradients: int
    peak: int

    @property
    def ratio(self) -> float:
        """Peak growth over the size of inputs and gradients."""
        return self.peak / self.inputs_and_gradients


def measure_memory(steps: int, n: int, dtype: str) -> Memory:
    """Measure in a fresh process, with the interpreter and the import path of this one.

    Raises
    ------
    ValueError
        If the system does not tell a process's peak memory, or the process failed.
    """
    command = [sys.executable, "-m", __name__, str(steps), str(n), dtype]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    if finished.returncode:
        reason = (finished.stderr.strip().splitlines() or ["no message"])[-1]
        raise ValueError(f"peak memory could not be measured: {reason}")
    return Memory(**json.loads(finished.stdout))


def _measure_here(steps: int, n: int, dtype: torch.dtype) -> Memory:
    _pass(8, n, dtype)  # libraries load, and thread pools start, before the baseline
    before = _reset_peak()
    size = _pass(steps, n, dtype)
    return Memory(steps, n, str(dtype).removeprefix("torch."), size, _status("VmHWM") - before)


def _pass(steps: int, n: int, dtype: torch.dtype) -> int:
    """Run one forward and backward pass; return the bytes of inputs and gradients."""
    # Drawn in place: whatever it took to make the inputs would count as ours.
    diag = torch.randn(steps, n, n, dtype=dtype).mul_(0.1 / n)
    diag.diagonal(dim1=-2, dim2=-1).add_(2)
    lower = torch.randn(steps - 1, n, n, dtype=dtype).mul_(0.3 / n)
    inputs = [x.requires_grad_() for x in (diag, lower, torch.randn(steps, n, dtype=dtype))]
    factor = BlockTridiagonal(inputs[0], inputs[1]).cholesky()
    x = factor.solve_transpose(factor.solve(inputs[2]))
    gradients = torch.autograd.grad(x.sum() + 2 * factor.logdet(), inputs)
    return sum(tensor.nbytes for tensor in (*inputs, *gradients))


def _reset_peak() -> int:
    """Forget how large the process has been (imports need more than stays), and return how large it is now."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)  # what imports freed would hold what is to be measured, and it would not be seen to grow
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError as error:
        raise ValueError("this system does not tell a process's memory (/proc/self/clear_refs)") from error
    return _status("VmRSS")


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))


if __name__ == "__main__":
    print(json.dumps(asdict(_measure_here(int(sys.argv[1]), int(sys.argv[2]), getattr(torch, sys.argv[3])))))
