"""What the commands share: the console, progress bars and the number formats they print."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

console = Console(highlight=False, soft_wrap=True)
error_console = Console(stderr=True, highlight=False)


@contextmanager
def counting(description: str, total: int) -> Iterator[Callable[[int], None]]:
    """Show a progress bar over ``total`` items on stderr; yields the function that advances it by a number of them."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=error_console, transient=True) as progress:
        task = progress.add_task(description, total=total)
        yield lambda count: progress.advance(task, count)
