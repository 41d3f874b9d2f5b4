"""Kernels under test run in Triton's interpreter, which must be on before the first of them is imported.

It stays on for the whole process, and no other test may see it: ``test_interpreter.py`` starts a process for the tests
that need it, named ``test_triton_*.py``. ``TRITON_INTERPRET=1 pytest tests/kernels`` runs those alone.
"""

from __future__ import annotations

from typing import Any

import pytest

from neuralinv.kernels import availability

collect_ignore_glob = ["test_interpreter.py"] if availability.is_interpreted() else ["test_triton_*.py"]

if availability.is_interpreted():
    from triton.runtime.interpreter import InterpretedFunction, _patch_lang

    _patched: set[str] = set()

    def _call(self: Any, *args: Any, **kwargs: Any) -> Any:
        module = self.fn.__module__
        if module.startswith("triton.") and module not in _patched:
            _patched.add(module)
            _patch_lang(self.fn)
        return self.rewrite()(*args, **kwargs)

    # Triton patches its language at every call of a function inside a kernel, which takes longer than the call. For our
    # modules it was done when the kernel was launched, and for Triton's own it is never undone.
    InterpretedFunction.__call__ = _call


@pytest.fixture(autouse=True)
def _rounding_is_not_news() -> Any:
    """Divisions by a zero pivot are what a GPU does silently; NumPy warns of them."""
    import numpy as np

    with np.errstate(all="ignore"):
        yield
