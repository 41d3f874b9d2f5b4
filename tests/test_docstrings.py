"""The examples in docstrings give what they say."""

import doctest
import importlib
import pkgutil

import pytest

import neuralinv


def _with_examples() -> list[str]:
    found = []
    for module in pkgutil.walk_packages(neuralinv.__path__, "neuralinv."):
        spec = importlib.util.find_spec(module.name)
        if spec is not None and spec.origin is not None and spec.origin.endswith(".py"):
            with open(spec.origin, encoding="utf-8") as source:
                examples = [line for line in source if line.lstrip().startswith(">>> ") and "+SKIP" not in line]
            if examples:
                found.append(module.name)
    return found


@pytest.mark.parametrize("name", _with_examples())
def test_examples(name: str) -> None:
    if name == "neuralinv.jax":
        pytest.importorskip("jax")
    results = doctest.testmod(importlib.import_module(name), optionflags=doctest.NORMALIZE_WHITESPACE)
    assert results.attempted > 0
    assert results.failed == 0
