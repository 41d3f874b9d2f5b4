"""TOML and JSON that somebody else wrote: a table, or an error with the file's name."""

import pytest

from neuralinv.io import FileError
from neuralinv.io.untrusted import read_json, read_toml


@pytest.mark.parametrize("read", [read_toml, read_json])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\xff\xfe", "not UTF-8 text"),
        (b"x" * 2001, "larger than"),
        (b"a = [", "not valid"),
        (b"[" * 1000, "not valid"),
        (b"a = " + b"[" * 1000, "not valid"),
        (b'{"a":' * 200, "not valid"),
        (None, "no such file"),
    ],
)
def test_damage(tmp_path, read, content, message):
    path = tmp_path / "x"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(FileError, match=f"x: {message}"):
        read(path, largest=2000)


def test_nothing_takes_long_or_deep(tmp_path):
    path = tmp_path / "x"
    for text, message in (
        ("a = " + "[" * 1000, "nested too deeply"),
        ("a." * 50_000 + "a = 1", "a line is longer than 1,024 characters"),
        ("a = [\n" + "9" * 1000 + "\n]\n" + "b" * 1025, "a line is longer"),
    ):
        path.write_text(text)
        with pytest.raises(FileError, match=message):
            read_toml(path, largest=1 << 20)
    for text, message in (
        ("[" * 100_000, "nested too deeply"),
        ("9" * 5000, "not valid JSON"),
        ("[1]", "holds a list, not an object"),
        ("null", "holds a NoneType"),
    ):
        path.write_text(text)
        with pytest.raises(FileError, match=message):
            read_json(path, largest=1 << 20)


def test_a_folder_and_what_is_right(tmp_path):
    for read in (read_toml, read_json):
        with pytest.raises(FileError, match="no such file"):
            read(tmp_path, largest=10)
    (tmp_path / "a").write_text("[x]\ny = 1\n")
    (tmp_path / "b").write_text('{"x": {"y": 1}}')
    assert read_toml(tmp_path / "a", largest=100) == read_json(tmp_path / "b", largest=100) == {"x": {"y": 1}}
