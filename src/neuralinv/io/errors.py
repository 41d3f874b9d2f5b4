"""What goes wrong with files, said in one line."""

from __future__ import annotations

from pathlib import Path


class FileError(ValueError):
    """A file that cannot be used: one line that names the file, the line in it where there is one, and the remedy."""

    def __init__(self, message: str) -> None:
        # Messages of other libraries, quoted in ours, may run over several lines.
        super().__init__(" ".join(message.split()))

    @classmethod
    def at(cls, path: Path, line: int, problem: str) -> FileError:
        """Return the error for line ``line`` (the first is 1) of ``path``."""
        return cls(f"{path}, line {line}: {problem}")
