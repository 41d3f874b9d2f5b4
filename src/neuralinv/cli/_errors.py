"""A user's mistake becomes one line on stderr and exit code 2, never a traceback."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import typer

from neuralinv.cli._console import error_console

P = ParamSpec("P")
T = TypeVar("T")


def without_traceback(command: Callable[P, T]) -> Callable[P, T]:
    """Wrap a command so that errors which a user can mend are told in one line.

    Those are `ValueError` (`FileError` and `ConfigError` among them), `TrainingError`, `OSError`, memory that is not
    there, and kinds of numbers that cannot be inverted; anything else is a bug, and its traceback is wanted.
    """

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        from neuralinv.dense.errors import TorchDtypeError
        from neuralinv.learned.training import TrainingError

        try:
            return command(*args, **kwargs)
        except (ValueError, TrainingError, TorchDtypeError, OSError) as error:
            message = str(error)
        except (MemoryError, RuntimeError) as error:
            if not _lacks_memory(error):
                raise
            message = "not enough memory; ask for fewer or smaller matrices, or a smaller network, at once"
        except KeyboardInterrupt:
            error_console.print("interrupted; nothing was written by this command", markup=False)
            raise typer.Exit(1) from None
        error_console.print(f"error: {message}", markup=False, soft_wrap=True)
        raise typer.Exit(2)

    return run


def _lacks_memory(error: Exception) -> bool:
    """Tell torch's ways of saying that memory cannot be had from other errors; they share a type."""
    if isinstance(error, MemoryError):
        return True
    return any(words in str(error) for words in ("allocate memory", "out of memory", "Storage size calculation"))
