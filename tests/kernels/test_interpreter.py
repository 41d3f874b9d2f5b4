"""The kernels in Triton's interpreter, in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from neuralinv.kernels import availability


@pytest.mark.skipif(not availability.IMPORTABLE, reason=availability.describe())
@pytest.mark.parametrize("path", sorted(Path(__file__).parent.glob("test_triton_*.py")), ids=lambda path: path.stem)
def test_under_the_interpreter(path: Path) -> None:
    # One process per file, since a session keeps the interpreter on to its end.
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--durations=8", str(path)],
        env={**os.environ, "TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout[-8000:] + result.stderr[-2000:]
    assert " passed" in result.stdout


@pytest.mark.parametrize("name", ["triton", "tomli_w"])  # tomli_w is for those who write
def test_importing_the_package_does_not_need(name: str) -> None:
    code = f"import sys; sys.modules[{name!r}] = None; import neuralinv"
    subprocess.run([sys.executable, "-c", code], check=True)
