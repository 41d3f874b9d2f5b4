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
    import triton.language as tl
    from triton.runtime.interpreter import InterpretedFunction, InterpreterBuilder, TensorHandle, _patch_lang

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

    def _as_condition(compare: Any) -> Any:
        return lambda *args: TensorHandle(compare(*args).data, tl.int1)

    # Up to 3.9 Triton takes a comparison for a number of its left side's type, spreads a single one as such over an
    # array, and from 3.9 on refuses a mask of numbers.
    for _name in dir(InterpreterBuilder):
        if _name.startswith(("create_icmp", "create_fcmp")):
            setattr(InterpreterBuilder, _name, _as_condition(getattr(InterpreterBuilder, _name)))


@pytest.fixture(autouse=True)
def _rounding_is_not_news() -> Any:
    """Divisions by a zero pivot are what a GPU does silently; NumPy warns of them."""
    import numpy as np

    with np.errstate(all="ignore"):
        yield
