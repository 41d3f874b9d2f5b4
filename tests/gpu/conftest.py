"""These tests need a GPU with kernels; elsewhere they are skipped, and say why."""

from __future__ import annotations

import pytest
import torch

from neuralinv.kernels import availability


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    missing = None
    if not torch.cuda.is_available():
        missing = "no GPU that torch can use"
    elif not availability.serves(torch.device("cuda")):
        missing = availability.describe()
    elif availability.is_interpreted():
        missing = "Triton's interpreter is on"
    if missing:
        for item in items:
            if "tests/gpu/" in item.path.as_posix():
                item.add_marker(pytest.mark.skip(reason=missing))
