"""What the commands share: the console, progress bars and the number formats they print."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from neuralinv.io import FileError


class PlainConsole(Console):
    """Writes text as it is: no colours for numbers, no pictures for what stands between colons in a file's name."""

    def __init__(self, **options: Any) -> None:
        super().__init__(highlight=False, emoji=False, **options)

    def print(self, *objects: Any, **options: Any) -> None:
        """Print.

        Raises
        ------
        FileError
            If the stream cannot be written: a full disk.
        """
        try:
            super().print(*objects, **options)
        except OSError as error:
            # Or what is left in the stream's buffer fails again when Python exits.
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.file.fileno())
            name = "standard error" if self.stderr else "standard output"
            raise FileError(f"{name}: cannot be written: {error.strerror}; send it elsewhere") from error


console = PlainConsole(soft_wrap=True)
error_console = PlainConsole(stderr=True)


def forgive_characters() -> None:
    """Let standard output and standard error show ``?`` for a character that their encoding lacks, and go on."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


@dataclass(frozen=True)
class Counter:
    """What :func:`counting` yields: called with a number of items, it advances the bar."""

    progress: Progress
    task: TaskID

    def __call__(self, count: int) -> None:
        self.progress.advance(self.task, count)

    def announce(self, description: str) -> None:
        """Say in front of the bar what is being done."""
        self.progress.update(self.task, description=description)


@contextmanager
def counting(description: str, total: int) -> Iterator[Counter]:
    """Show a progress bar over ``total`` items on stderr; yields what advances it by a number of them."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=error_console, transient=True) as progress:
        yield Counter(progress, progress.add_task(description, total=total))


@contextmanager
def completing(description: str) -> Iterator[Callable[[float], None]]:
    """Show a progress bar in per cent on stderr; yields what sets it to the share that is done, 0 to 1."""
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, console=error_console, transient=True) as progress:
        task = progress.add_task(description, total=1.0)
        yield lambda share: progress.update(task, completed=share)
