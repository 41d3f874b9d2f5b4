"""Files that appear whole or not at all: written under a temporary name, then renamed."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from neuralinv.io.errors import FileError

_REMEDIES = {
    errno.ENOSPC: "the disk is full; free some space or write elsewhere",
    errno.EDQUOT: "the disk quota is used up; free some space or write elsewhere",
    errno.EFBIG: "the file would be larger than this file system or `ulimit -f` allows; write elsewhere, or lift it",
    errno.EACCES: "permission denied; choose a folder that you may write to",
    errno.EPERM: "not permitted; choose a folder that you may write to",
    errno.EROFS: "the file system is read-only; choose another folder",
    errno.ENAMETOOLONG: "the name is too long; choose a shorter one",
}
_FULL = 1 << 16
"""Fewer free bytes than this, and an unexplained failure is put down to a full disk."""


@contextmanager
def atomic_path(path: str | os.PathLike[str], *, durable: bool = False, probe: bool = False) -> Iterator[Path]:
    """Yield a temporary path in the folder of ``path``; rename it to ``path`` when the block ends without an exception.

    Whatever happens inside (Ctrl-C too), ``path`` is either what it was or complete, and no temporary file stays
    behind. Missing folders are made. A symbolic link is followed, and the permissions of a file that was there are
    kept.

    Parameters
    ----------
    path
        The file to write.
    durable
        Flush the file to the disk before the rename: it then survives a power cut, at the price of waiting for the
        disk.
    probe
        Only find out whether ``path`` could be written; nothing is renamed.

    Yields
    ------
    An empty file in the same folder, with the same suffix, for the block to overwrite.

    Raises
    ------
    FileError
        If the file cannot be written: no permission, a folder in its place, a file in place of a folder, a full disk.
        Errors of the block that are about other files pass unchanged.

    Examples
    --------
    >>> with atomic_path("x.npy") as temporary:  # doctest: +SKIP
    ...     np.save(temporary, x)
    """
    shown = Path(path)
    final, temporary = _create_beside(shown)
    try:
        try:
            yield temporary
            if probe:
                return
            if durable:
                _flush_to_disk(temporary)
            if final.exists():
                shutil.copymode(final, temporary)
            os.replace(temporary, final)
        except OSError as error:
            named = {Path(os.fsdecode(name)) for name in (error.filename, error.filename2) if name is not None}
            if named and not named & {temporary, final}:
                raise
            if error.errno is None:
                error.errno = _why_no_more(temporary, error)
            raise _explain(shown, error) from error
        except FileError:
            raise
        except Exception as error:
            # Libraries with their own writers (torch, safetensors) report a full disk in words of their own.
            if not _disk_is_full(temporary, error):
                raise
            raise FileError(f"{shown}: cannot be written: {_REMEDIES[errno.ENOSPC]}") from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def _create_beside(shown: Path) -> tuple[Path, Path]:
    """Follow links to the file to write, and make an empty temporary one beside it."""
    try:
        final = Path(os.path.realpath(shown))
        # Renaming onto /dev/null or a pipe would replace the device by a file.
        if final.is_dir():
            raise FileError(f"{shown}: is a folder; give the name of a file")
        if final.exists() and not final.is_file():
            raise FileError(f"{shown}: is a device or a pipe; give the name of an ordinary file")
        final.parent.mkdir(parents=True, exist_ok=True)
        temporary = final.with_name(f".{secrets.token_hex(6)}.tmp{final.suffix}")
        # Not tempfile: its files are readable by their owner alone; here the user's umask decides.
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    except OSError as error:
        raise _explain(shown, error) from error
    except ValueError as error:
        if isinstance(error, FileError):
            raise
        raise FileError(f"{str(shown)!r}: is no file name ({error})") from error
    return final, temporary


def _explain(path: Path, error: OSError) -> FileError:
    if error.errno in (errno.ENOTDIR, errno.EEXIST):
        remedy = f"a part of {path.parent} is a file, not a folder; choose another folder"
    else:
        remedy = _REMEDIES.get(error.errno or 0, f"{error.strerror or error}; choose another place")
    return FileError(f"{path}: cannot be written: {remedy}")


def _disk_is_full(temporary: Path, error: Exception) -> bool:
    if "No space left" in str(error) or "StorageFull" in str(error):
        return True
    if isinstance(error, ValueError | TypeError):
        return False
    try:
        return shutil.disk_usage(temporary.parent).free < _FULL
    except OSError:
        return False


def _why_no_more(temporary: Path, error: OSError) -> int | None:
    """Find out why a file could not be written: NumPy says how many bytes it could write, and no more."""
    try:
        with temporary.open("ab", buffering=0) as file:
            file.write(b"\0")
    except OSError as cause:
        return cause.errno
    return errno.ENOSPC if _disk_is_full(temporary, error) else None


def _flush_to_disk(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
