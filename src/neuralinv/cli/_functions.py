"""Functions that are named on the command line, as in `module:function`."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

_REFERENCE = re.compile(r"(?P<module>[^\W\d]\w*(\.[^\W\d]\w*)*):(?P<name>[^\W\d]\w*)")


def find_function(reference: str) -> Callable[..., Any] | None:
    """Import what `module:function` names, from the current folder or from what is installed; None for other text.

    Raises
    ------
    ValueError
        If there is no such module or function, or importing it raises.
    """
    found = _REFERENCE.fullmatch(reference)
    if found is None or Path(reference).exists():
        return None
    module, name = found["module"], found["name"]
    sys.path.insert(0, str(Path.cwd()))
    try:
        function = getattr(importlib.import_module(module), name, None)
    except (Exception, SystemExit) as error:  # a user's module may raise anything, and call sys.exit
        raise ValueError(
            f"{reference}: importing {module} raised {type(error).__name__}: {error}; a module lies in this folder "
            "or is installed"
        ) from error
    finally:
        sys.path.remove(str(Path.cwd()))
    if not callable(function):
        raise ValueError(f"{reference}: {module} holds no function {name}")
    return function
