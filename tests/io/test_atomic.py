import errno
import os
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import neuralinv.io.atomic as atomic
from neuralinv.io import FileError, atomic_path, write_matrices


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def write_and_fail(path: Path, error: BaseException) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text("half")
        raise error


def test_writes_the_file_and_leaves_nothing_else(tmp_path):
    path = tmp_path / "new" / "deeper" / "x.npy"
    with atomic_path(path, durable=True) as temporary:
        assert temporary.parent == path.parent
        assert temporary.suffix == ".npy"
        assert not path.exists()
        np.save(temporary, np.ones(3))
    np.testing.assert_array_equal(np.load(path), np.ones(3))
    assert names(path.parent) == ["x.npy"]


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt("no"), RuntimeError("no")])
def test_a_failing_writer_leaves_the_old_file(tmp_path, error):
    path = tmp_path / "x.txt"
    path.write_text("old")
    with pytest.raises(type(error), match=str(error)):
        write_and_fail(path, error)
    assert path.read_text() == "old"
    assert names(tmp_path) == ["x.txt"]


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        RuntimeError("SafetensorError: IoError(StorageFull)"),
    ],
)
def test_a_full_disk_is_told_in_one_line(tmp_path, error):
    path = tmp_path / "x.txt"
    path.write_text("old")
    with pytest.raises(FileError, match=r"x\.txt: cannot be written: the disk is full; free some space"):
        write_and_fail(path, error)
    assert path.read_text() == "old"
    assert names(tmp_path) == ["x.txt"]


def test_an_unexplained_failure_on_a_full_disk(tmp_path, monkeypatch):
    usage = type("Usage", (), {"free": 0})
    monkeypatch.setattr(atomic.shutil, "disk_usage", lambda folder: usage)
    with pytest.raises(FileError, match="the disk is full"), atomic_path(tmp_path / "x.pt"):
        raise RuntimeError("unexpected pos 64 vs 0")


def test_a_library_that_writes_elsewhere_first_and_then_moves(tmp_path):
    with (
        pytest.raises(FileError, match=r"x\.pt: cannot be written: the disk is full"),
        atomic_path(tmp_path / "x.pt") as p,
    ):
        raise OSError(errno.ENOSPC, "No space left on device", "/tmp/elsewhere", None, str(p))


def test_numpys_error_without_a_number(tmp_path, monkeypatch):
    monkeypatch.setattr(atomic, "_disk_is_full", lambda temporary, error: True)
    with pytest.raises(FileError, match="the disk is full"), atomic_path(tmp_path / "x.npy"):
        raise OSError("90000 requested and 8176 written")


def test_numpys_error_at_a_limit_on_the_size_of_files(tmp_path):
    code = (
        "import resource, numpy as np; from neuralinv.io import write_matrices;"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192));"
        f"write_matrices({str(tmp_path / 'x.npy')!r}, np.ones((500, 3, 3)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "x.npy: cannot be written: the file would be larger than this file system or `ulimit -f`" in done.stderr
    assert names(tmp_path) == []


def test_a_full_disk_in_the_middle_of_a_text_file(tmp_path, monkeypatch):
    path = tmp_path / "x.mx"
    write_matrices(path, np.ones((1, 2, 2)))
    before = path.read_bytes()

    def full(done):
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(FileError, match=r"x\.mx: cannot be written: the disk is full"):
        write_matrices(path, np.zeros((3, 2, 2)), progress=full)
    assert path.read_bytes() == before
    assert names(tmp_path) == ["x.mx"]


def test_errors_about_other_files_pass(tmp_path):
    with pytest.raises(FileNotFoundError, match="elsewhere"), atomic_path(tmp_path / "x.txt"):
        (tmp_path / "elsewhere").read_text()
    assert names(tmp_path) == []


def test_a_file_error_of_the_block_passes(tmp_path):
    with pytest.raises(FileError, match=r"^mine$"), atomic_path(tmp_path / "x.txt"):
        raise FileError("mine")


def test_refuses_a_folder_a_device_and_a_path_below_a_file(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(FileError, match="is a folder; give the name of a file"), atomic_path(tmp_path):
        pass
    with pytest.raises(FileError, match="is a device or a pipe"), atomic_path("/dev/null"):
        pass
    with (
        pytest.raises(FileError, match="is a file, not a folder; choose another"),
        atomic_path(tmp_path / "file/x.npy"),
    ):
        pass
    with pytest.raises(FileError, match="is a file, not a folder"), atomic_path(tmp_path / "file/deeper/x.npy"):
        pass
    with pytest.raises(FileError, match="is no file name"), atomic_path("a\0b.npy"):
        pass
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


def test_permission_denied(tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(atomic.os, "open", refuse)
    with pytest.raises(FileError, match="permission denied; choose a folder"), atomic_path(tmp_path / "x.txt"):
        pass


def test_probe_writes_nothing(tmp_path):
    path = tmp_path / "x.txt"
    path.write_text("old")
    with atomic_path(path, probe=True) as temporary:
        temporary.write_text("new")
    assert path.read_text() == "old"
    assert names(tmp_path) == ["x.txt"]


def test_keeps_permissions_and_follows_links(tmp_path):
    path, link = tmp_path / "x.txt", tmp_path / "link.txt"
    path.write_text("old")
    path.chmod(0o640)
    link.symlink_to(path)
    with atomic_path(link) as temporary:
        temporary.write_text("new")
    assert link.is_symlink()
    assert path.read_text() == "new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    # A new file is as readable as any other that this user makes.
    other = tmp_path / "other.txt"
    other.write_text("")
    with atomic_path(tmp_path / "fresh.txt"):
        pass
    assert (tmp_path / "fresh.txt").stat().st_mode == other.stat().st_mode


def test_who_is_reading_the_old_file_goes_on_reading_it(tmp_path):
    path = tmp_path / "x.txt"
    path.write_text("old")
    with path.open() as reader:
        with atomic_path(path) as temporary:
            temporary.write_text("new")
        assert reader.read() == "old"
    assert path.read_text() == "new"
