import io
import itertools
import zipfile
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import scipy.sparse
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from neuralinv.io import FORMATS, FileError, check_writable, open_matrices, read_matrices, write_matrices

A = np.random.default_rng(0).normal(size=(3, 2, 2))
SETTINGS = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def npy_bytes(array, **kwargs):
    buffer = io.BytesIO()
    np.save(buffer, array, **kwargs)
    return buffer.getvalue()


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "complex64", "complex128"])
def test_round_trip_keeps_the_dtype(tmp_path, suffix, dtype):
    path = tmp_path / f"a{suffix}"
    write_matrices(path, A.astype(dtype))
    B = read_matrices(path)
    assert B.dtype == dtype
    assert B.flags.writeable
    np.testing.assert_array_equal(B, A.astype(dtype))


@pytest.mark.parametrize("array", [A.astype(">f8"), np.asfortranarray(A), A[::-1], A.astype("<f4")])
def test_any_layout_is_read(tmp_path, array):
    np.save(tmp_path / "a.npy", array)
    B = read_matrices(tmp_path / "a.npy")
    assert B.dtype.isnative
    np.testing.assert_array_equal(B, array)


def test_integers_and_single_matrices(tmp_path):
    np.save(tmp_path / "a.npy", np.array([[1, 2], [3, 4]]))
    B = read_matrices(tmp_path / "a.npy")
    assert B.dtype == np.float64
    np.testing.assert_array_equal(B, [[[1, 2], [3, 4]]])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"a\.npy: damaged, or not a NumPy file"),
        (b"\x93NUMPY\x01\x00\x05\x00{'a':", r"damaged, or not a NumPy file"),
        (b"\x93NUMPY\x03\x00" + b"\0" * 20, r"version \(3, 0\) is not supported"),
        (npy_bytes(A)[:-1], r"95 bytes of data where the header promises 96"),
        (npy_bytes(A) + b"x", r"97 bytes of data where the header promises 96"),
        (npy_bytes(A > 0), r"holds bool, not numbers"),
        (npy_bytes(A.astype(np.longdouble)), r"not numbers of half, single or double precision; save it as float64"),
        (npy_bytes(A.astype("U8")), r"holds <U8, not numbers"),
        (npy_bytes(A.astype(object), allow_pickle=True), r"holds object, not numbers"),
        (npy_bytes(A[:, :1]), r"shape \(3, 1, 2\); expected \(batch, n, n\)"),
        (npy_bytes(A[0, 0]), r"shape \(2,\); expected"),
        (npy_bytes(A[None]), r"shape \(1, 3, 2, 2\); expected"),
        (npy_bytes(A[:0]), r"shape \(0, 2, 2\) holds no matrix"),
        (npy_bytes(A).replace(b"(3, 2, 2)", b"(-3, 2,2)"), r"shape \(-3, 2, 2\); expected"),
    ],
)
def test_npy_errors(tmp_path, content, message):
    path = tmp_path / "a.npy"
    path.write_bytes(content)
    with pytest.raises(FileError, match=message):
        read_matrices(path)


def test_a_huge_header_allocates_nothing(tmp_path):
    header = npy_bytes(A).replace(b"(3, 2, 2), }            ", b"(3000000000000, 2, 2), }")
    assert b"3000000000000" in header
    (tmp_path / "a.npy").write_bytes(header)
    with pytest.raises(FileError, match="where the header promises 96,000,000,000,000"):
        read_matrices(tmp_path / "a.npy")


@pytest.mark.parametrize("name", ["a.npy", "a.npz"])
@pytest.mark.parametrize("value", [2**53 + 1, -(2**53) - 1, 2**63 - 1, 2**64 - 1])
def test_integers_that_doubles_cannot_hold_are_refused(tmp_path, name, value):
    array = np.eye(2, dtype=np.uint64 if value > 2**63 else np.int64)
    array[0, 1] = value
    write_matrices(tmp_path / name, array)
    with pytest.raises(FileError, match=f"whole number {value}, which float64 rounds; save it as float64"):
        read_matrices(tmp_path / name)
    for held in (2**53, 2**60, 2**62 + 2**61):
        array[0, 1] = held
        write_matrices(tmp_path / name, array)
        assert read_matrices(tmp_path / name)[0, 0, 1] == held


def test_what_can_be_written_is_told_of_lists_as_well(tmp_path):
    check_writable(tmp_path / "a.mx", [[1.0, 2.0], [3.0, 4.0]])
    with pytest.raises(ValueError, match=r"shape \(1, 2\); expected"):
        check_writable(tmp_path / "a.mx", [[1.0, 2.0]])


def test_npz_chooses_the_array(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, only=A)
    np.testing.assert_array_equal(read_matrices(path), A)
    np.savez_compressed(path, matrices=A, other=np.ones(3))
    np.testing.assert_array_equal(read_matrices(path), A)
    np.savez(path, A, other=np.ones(3))
    np.testing.assert_array_equal(read_matrices(path), A)
    np.savez(path, x=A, y=A)
    with pytest.raises(FileError, match=r"a\.npz: holds x, y; name the array of matrices 'matrices'"):
        read_matrices(path)
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("matrices", "matrices.npy"):
            archive.writestr(name, npy_bytes(A))
    with pytest.raises(FileError, match=r"a\.npz: holds two arrays of one name"):
        read_matrices(path)
    with zipfile.ZipFile(path, "w"):
        pass
    with pytest.raises(FileError, match="holds nothing"):
        read_matrices(path)


def test_npz_damage_and_bombs(tmp_path, monkeypatch):
    path = tmp_path / "a.npz"
    path.write_bytes(b"PK\x03\x04 nothing")
    with pytest.raises(FileError, match="damaged, or not a NumPy file"):
        read_matrices(path)

    np.savez(path, A)
    content = bytearray(path.read_bytes())
    content[content.index(A.tobytes()) + 3] ^= 1
    path.write_bytes(content)
    with pytest.raises(FileError, match="CRC"):
        read_matrices(path)

    np.savez_compressed(path, np.zeros((20_000, 3, 3)))
    assert read_matrices(path).shape == (20_000, 3, 3)
    monkeypatch.setattr("neuralinv.io.binary._HARMLESS", 1000)
    with pytest.raises(FileError, match=r"arr_0\.npy would unpack to 1,440,128 bytes from"):
        read_matrices(path)


@SETTINGS
@given(data=st.data())
@pytest.mark.parametrize("suffix", [".npy", ".npz", ".mtx"])
def test_damaged_files_give_matrices_or_a_file_error(tmp_path, suffix, data):
    path = tmp_path / f"a{suffix}"
    write_matrices(path, A[:1])
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))] if data.draw(st.booleans()) else content)
    try:
        B = read_matrices(path)
    except FileError:
        return
    assert B.ndim == 3
    assert B.shape[1] == B.shape[2] > 0


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".mtx"])
def test_nonfinite_names_the_matrix(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    B = A[:1].copy()
    B[0, 1, 1] = np.inf
    write_matrices(path, B)
    np.testing.assert_array_equal(read_matrices(path), B)
    with pytest.raises(FileError, match=r"matrix 0 .counted from 0. holds NaN or infinity"):
        read_matrices(path, allow_nonfinite=False)


@pytest.mark.parametrize("matrix", [A[0], A[0] + 1j, A[0] + A[0].T, np.array([[1e-300]])])
def test_matrix_market_round_trip(tmp_path, matrix):
    write_matrices(tmp_path / "a.mtx", matrix)
    np.testing.assert_array_equal(read_matrices(tmp_path / "a.mtx"), matrix[None])


def test_matrix_market_reads_sparse_and_symmetric(tmp_path):
    S = np.array([[2.0, 1, 0], [1, 3, 0], [0, 0, 4]])
    scipy.io.mmwrite(tmp_path / "a.mtx", scipy.sparse.coo_array(S), symmetry="symmetric")
    np.testing.assert_array_equal(read_matrices(tmp_path / "a.mtx"), S[None])


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize(
    ("symmetry", "dtype"),
    [
        *itertools.product(["general", "symmetric", "skew-symmetric"], [np.float64, np.complex128, np.int64]),
        ("hermitian", np.complex128),
    ],
)
def test_matrix_market_agrees_with_scipy(tmp_path, sparse, symmetry, dtype):
    B = (10 * np.random.default_rng(1).normal(size=(5, 5))).astype(dtype)
    if dtype is np.complex128:
        B = B + 1j * B[::-1]
    S = {"general": B, "symmetric": B + B.T, "skew-symmetric": B - B.T, "hermitian": B + B.conj().T}[symmetry]
    scipy.io.mmwrite(tmp_path / "a.mtx", scipy.sparse.coo_array(S) if sparse else S, symmetry=symmetry)
    np.testing.assert_array_equal(read_matrices(tmp_path / "a.mtx"), S[None])


def test_matrix_market_sums_duplicates(tmp_path):
    (tmp_path / "a.mtx").write_text(HEAD + "coordinate integer general\n% note\n\n2 2 3\n1 2 5\n1 2 6\n2 1 1\n")
    np.testing.assert_array_equal(read_matrices(tmp_path / "a.mtx"), [[[0, 11], [1, 0]]])


HEAD = "%%MatrixMarket matrix "


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"a\.mtx, line 1: not a Matrix Market header"),
        ("1,2\n", r"not a Matrix Market header"),
        (HEAD + "array real general\n2 3\n" + "1\n" * 6, r"the matrix is 2×3; expected a square one"),
        (HEAD + "coordinate real general\n2000000 2000000 0\n", r"at most 10,000 rows are read"),
        (HEAD + "coordinate pattern general\n1 1 1\n1 1\n", r"line 1: a pattern of entries"),
        (
            HEAD + "coordinate real general\n2 2 900000000000\n1 1 1\n",
            r"line 4: 1 entries, and the header announces 900,000,000,000",
        ),
        (HEAD + "array real general\n9000 9000\n1\n", r"1 entries, and the header announces 81,000,000"),
        (HEAD + "array real general\n2 2\n1\n2\nx\n4\n", r"a\.mtx, line 5: field 1, 'x', is not a number"),
        (
            HEAD + "coordinate real general\n2 2 1\n3 1 5.0\n",
            r"line 3: row and column must be whole numbers from 1 to 2",
        ),
        (HEAD + "coordinate real general\n2 2 1\n1 0 5.0\n", r"line 3: row and column must be whole"),
        (HEAD + "coordinate real general\n2 2 1\n1.5 1 5.0\n", r"line 3: row and column must be whole"),
        (HEAD + "coordinate real general\n2 2 1\n1 1\n", r"line 3: 2 numbers; every line of this file needs 3"),
        (HEAD + "array real general\n2 2\n1\n2\n3\n4\n5\n", r"line 7: 5 entries, and the header announces 4"),
        (HEAD + "array real odd\n2 2\n", r"line 1: real odd is unknown"),
        (HEAD + "array real general\n2 -2\n", r"line 2: the size of the matrix is missing"),
        (HEAD + "array real general\n0 0\n", r"the matrix is 0×0; expected a square one"),
        # scipy.io.mmread crashes the interpreter on these two.
        (HEAD + "array real general\n%\n2 2\n1.25\n6.4\n-1.3\n1.0490%11", r"line 7: field 1, '1.0490%11', is not"),
        (HEAD + "array real general\n%\n2 2\n1.257302210931933E-", r"1 entries, and the header announces 4"),
    ],
)
def test_matrix_market_errors(tmp_path, text, message):
    (tmp_path / "a.mtx").write_text(text)
    with pytest.raises(FileError, match=message):
        read_matrices(tmp_path / "a.mtx")


def test_missing_files_folders_and_unknown_formats(tmp_path):
    with pytest.raises(FileError, match=r"none\.npy: no such file; check the name"):
        read_matrices(tmp_path / "none.npy")
    (tmp_path / "folder.npy").mkdir()
    with pytest.raises(FileError, match="not an ordinary file"):
        read_matrices(tmp_path / "folder.npy")
    with pytest.raises(FileError, match=r"unknown format '\.txt'; known are \.mx, \.npy, \.npz, \.mtx, \.csv"):
        read_matrices(tmp_path / "a.txt")
    with pytest.raises(FileError, match=r"unknown format '\(no suffix\)'"):
        write_matrices(tmp_path / "a", A)
    assert set(FORMATS) == {".mx", ".npy", ".npz", ".mtx", ".csv"}


@pytest.mark.parametrize(
    ("banner", "entries", "line", "message"),
    [
        ("real symmetric", ["2 1 1.0", "1 2 1.0"], 4, "is stored on the other side of the diagonal, too"),
        ("real skew-symmetric", ["2 1 1.0", "1 1 1.0"], 4, "cannot be on the diagonal of a skew-symmetric matrix"),
        ("complex hermitian", ["1 1 2.0 1.0", "2 1 1.0 1.0"], 3, "cannot be on the diagonal of a hermitian matrix"),
    ],
)
def test_entries_that_contradict_the_symmetry(tmp_path, banner, entries, line, message):
    path = tmp_path / "a.mtx"
    path.write_text("\n".join([f"%%MatrixMarket matrix coordinate {banner}", f"2 2 {len(entries)}", *entries]))
    with pytest.raises(FileError, match=f"line {line}: the entry {message}"):
        read_matrices(path)
    path.write_text("%%MatrixMarket matrix coordinate real symmetric\n2 2 2\n1 2 3.0\n2 2 1.0\n")  # above alone
    np.testing.assert_array_equal(read_matrices(path), [[[0, 3], [3, 1]]])


def test_what_cannot_be_written(tmp_path):
    with pytest.raises(FileError, match=r"\.mtx holds one matrix, and there are 3"):
        write_matrices(tmp_path / "a.mtx", A)
    with pytest.raises(FileError, match=r"\.mx holds real numbers only; write complex ones to \.npy"):
        write_matrices(tmp_path / "a.mx", A + 1j)
    with pytest.raises(ValueError, match=r"shape \(3, 2\); expected"):
        write_matrices(tmp_path / "a.npy", A[:, 0])
    with pytest.raises(ValueError, match=r"shape \(0, 2, 2\); expected"):
        write_matrices(tmp_path / "a.mx", A[:0])
    with pytest.raises(ValueError, match="dtype bool; expected one of float16"):
        write_matrices(tmp_path / "a.npy", A > 0)
    for name in ("a.npy", "a.mx"):
        with pytest.raises(ValueError, match=r"dtype (float128|longdouble|float96); expected one of float16"):
            write_matrices(tmp_path / name, A.astype(np.longdouble))
    for digits in (True, 2.5, "x", -1, 101):
        with pytest.raises(ValueError, match=r"digits=.* for a\.mx; expected a whole number from 0 to 100"):
            write_matrices(tmp_path / "a.mx", A, digits=digits)
    with pytest.raises(ValueError, match=r"digits=4 for a\.npy"):
        write_matrices(tmp_path / "a.npy", A, digits=4)
    (tmp_path / "file").write_text("")
    with pytest.raises(FileError, match=r"b\.npy: cannot be written: a part of .* is a file"):
        write_matrices(tmp_path / "file" / "b.npy", A)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_open_matrices_maps_npy_and_reads_the_rest(tmp_path: Path) -> None:
    A = np.random.default_rng(0).normal(size=(5, 3, 3))
    for name, array in {"a.npy": A, "f.npy": np.asfortranarray(A), "one.npy": A[0]}.items():
        np.save(tmp_path / name, array)
        mapped = open_matrices(tmp_path / name)
        assert isinstance(mapped, np.memmap)
        assert not mapped.flags.writeable
        assert np.array_equal(mapped, array.reshape(-1, 3, 3))
    np.savez(tmp_path / "a.npz", matrices=A)
    assert np.array_equal(open_matrices(tmp_path / "a.npz"), A)


def test_open_matrices_refuses_what_read_matrices_refuses(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((5, 3, 4)))
    with pytest.raises(FileError, match="square"):
        open_matrices(tmp_path / "a.npy")
    with pytest.raises(FileError, match="no such file"):
        open_matrices(tmp_path / "none.npy")
    np.save(tmp_path / "b.npy", np.zeros((5, 3, 3)))
    with (tmp_path / "b.npy").open("ab") as file:
        file.write(b"more")
    with pytest.raises(FileError, match="where the header promises"):
        open_matrices(tmp_path / "b.npy")
