"""How many threads the compiled kernels have, and whose they are."""

from __future__ import annotations

import os
from pathlib import Path

import torch

try:
    from neuralinv import _native
except ImportError:  # a source tree that was never built
    _native = None  # type: ignore[assignment]


def _borrow_threads() -> None:
    """Work on the threads of torch's OpenMP: they stay awake for milliseconds after an operation of torch's, and
    threads of our own would wait for the cores meanwhile.
    """
    if _native is None or os.environ.get("NEURALINV_OWN_THREADS"):
        return
    package = Path(torch.__file__).parent
    for folder in (package / "lib", package.parent / "torch.libs"):
        for runtime in sorted(folder.glob("lib*omp*.so*")):
            if _native.borrow_threads(str(runtime)):
                return


_borrow_threads()


def borrows_threads() -> bool:
    """Tell whether the kernels run on torch's threads, in the main thread, or on their own."""
    return _native is not None and _native.borrows_threads()


def threads() -> int:
    """Return how many threads a large batch is shared among: torch's number, but no more than this process may use."""
    wanted = torch.get_num_threads()
    return wanted if _native is None else min(wanted, _native.usable_processors())
