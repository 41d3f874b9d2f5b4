"""No kernel touches a byte beside the arrays: ``fenced_memory.py`` lays them between pages that nobody may touch.

A sanitizer would say as much, but cannot compile the unrolled kernels in reasonable time; and this is the code that
runs.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from neuralinv.dense import native

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="maps memory through Linux's libc")


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(Path(__file__).with_name("fenced_memory.py")), *arguments]
    return subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True)


@pytest.mark.parametrize("instruction_set", native.instruction_sets())
def test_kernels_stay_in_their_arrays(instruction_set: str) -> None:
    result = run(NEURALINV_ISA=instruction_set)
    assert result.stdout == f"in bounds {instruction_set}\n", result.stderr[-2000:] or f"status {result.returncode}"


def test_the_fence_holds() -> None:
    assert run("beyond").returncode < 0  # killed by a signal
