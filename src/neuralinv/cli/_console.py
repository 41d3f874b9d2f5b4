"""What the commands share: the console, progress bars and the number formats they print."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

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

console = Console(highlight=False, soft_wrap=True)
error_console = Console(stderr=True, highlight=False)


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
