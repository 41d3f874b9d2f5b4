import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from neuralinv.io import FileError, read_matrices, write_matrices

SETTINGS = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
GOOD = "1,2\n3,4\nEND\n5,6\n7,8\nEND\n"
MATRICES = np.array([[[1.0, 2], [3, 4]], [[5, 6], [7, 8]]])


@pytest.mark.parametrize(
    "text",
    [
        GOOD,
        GOOD.replace("\n", "\r\n"),
        "\ufeff" + GOOD,
        GOOD + "\n\n  \n",
        GOOD.replace(",", " , ").replace("END", "  END "),
        "\n" + GOOD.replace("END\n", "END\n\n"),
        GOOD.removesuffix("\n"),
    ],
)
def test_mx_reads_what_people_write(tmp_path, text):
    path = tmp_path / "a.mx"
    path.write_bytes(text.encode())
    A = read_matrices(path)
    assert A.dtype == np.float64
    np.testing.assert_array_equal(A, MATRICES)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"a\.mx: empty; expected matrices"),
        ("\n \n", r"a\.mx: empty"),
        ("1,2\n3\nEND\n", r"a\.mx, line 2: ragged: 1 numbers, and 2 in the rows above"),
        (GOOD + "1,2\n3,4,5\nEND\n", r"line 8: ragged: 3 numbers, and 2"),
        ("1,2\n3,x\nEND\n", r"line 2: field 2, 'x', is not a number; correct it"),
        ("1,1_0\n3,4\nEND\n", r"line 1: field 2, '1_0', is not a number"),
        ("1,\u0661\n3,4\nEND\n", r"line 1: field 2, '\u0661', is not a number"),
        ("1,\n3,4\nEND\n", r"line 1: field 2 is empty"),
        ("1;2\n3;4\nEND\n", r"line 1: fields are separated by ';'"),
        ("1,2\n3,4\n", r"line 2: END is missing after the last matrix"),
        (GOOD + "1,2\n3,4\n\n", r"line 8: END is missing after the last matrix"),
        ("1,2\n3,4\n5,6\n7,8\nEND\n", r"line 5: the matrix that ends here is 4×2, not square; is an END missing\?"),
        ("1,2,3\n4,5,6\nEND\n", r"line 3: the matrix that ends here is 2×3, not square; add or remove rows"),
        (GOOD + "1\nEND\n", r"line 8: the matrix that ends here is 1×1, and those before are 2×2; keep one size"),
        ("END\n", r"line 1: END without a matrix"),
        (GOOD + "END\n", r"line 7: END without a matrix"),
        ("1" * 100 + "x\nEND\n", r"line 1: field 1, '1{40}…', is not a number"),
    ],
)
def test_mx_errors_name_file_line_and_remedy(tmp_path, text, message):
    path = tmp_path / "a.mx"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(FileError, match=message) as caught:
        read_matrices(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", [".mx", ".csv"])
def test_other_encodings_name_the_line(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    path.write_bytes(b"1,2\n3,\xff4\nEND\n")
    with pytest.raises(FileError, match="line 2: not UTF-8 text; save the file as plain text"):
        read_matrices(path)


def test_mx_nonfinite(tmp_path):
    path = tmp_path / "a.mx"
    path.write_text("1,2\n\n3,4\nEND\n\n5,6\n7,-inf\nEND\nnan,0\n0,0\nEND\n")
    A = read_matrices(path)
    assert A[1, 1, 1] == -np.inf
    assert np.isnan(A[2, 0, 0])
    with pytest.raises(FileError, match=r"line 7: field 2 is -inf; only finite numbers"):
        read_matrices(path, allow_nonfinite=False)


def test_csv_nonfinite(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("a11\n1\n\nnan\n")
    assert np.isnan(read_matrices(path)[1, 0, 0])
    with pytest.raises(FileError, match=r"line 4: field 1 is nan"):
        read_matrices(path, allow_nonfinite=False)


@pytest.mark.parametrize(
    ("text", "shape"),
    [
        ("1,2\n3,4\n", (1, 2, 2)),
        ("7\n", (1, 1, 1)),
        ("7\n8\n", (2, 1, 1)),
        ("1,2,3,4\n5,6,7,8\n", (2, 2, 2)),
        ("1,2,3,4\n" * 4, (1, 4, 4)),
        ("a11,a12,a21,a22\n" + "1,2,3,4\n" * 4, (4, 2, 2)),
        ('"A11","A12","A21","A22"\r\n1,2,3,4\r\n', (1, 2, 2)),
        ("a11\n7\n", (1, 1, 1)),
        ("nan,0\n0,1\n", (1, 2, 2)),
    ],
)
def test_csv_rule(tmp_path, text, shape):
    path = tmp_path / "a.csv"
    path.write_bytes(text.encode())
    assert read_matrices(path).shape == shape


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"a\.csv: empty"),
        ("a11\n", r"a header and no matrix"),
        ("x,y\n1,2\n", r"line 1: header not understood; expected a11"),
        ("a11,a12,a21,a22\n1\n", r"line 2: 1 numbers under a header of other length"),
        ("1,2\n3\n", r"line 2: ragged: 1 numbers, and 2"),
        ("1,2\n\n3,y\n", r"line 3: field 2, 'y', is not a number"),
        ("1,2,3\n4,5,6\n", r"2 rows of 3 numbers are neither one square matrix nor one matrix per line"),
        ("1;2\n3;4\n", r"line 1: fields are separated by ';'"),
    ],
)
def test_csv_errors(tmp_path, text, message):
    path = tmp_path / "a.csv"
    path.write_text(text)
    with pytest.raises(FileError, match=message):
        read_matrices(path)


@pytest.mark.parametrize("suffix", [".mx", ".csv"])
@SETTINGS
@given(data=st.data())
def test_text_round_trip_is_exact(tmp_path, suffix, data):
    n = data.draw(st.integers(1, 4))
    count = data.draw(st.integers(1, 5))
    A = data.draw(hnp.arrays(np.float64, (count, n, n), elements=st.floats(width=64)))
    path = tmp_path / f"a{suffix}"
    write_matrices(path, A)
    B = read_matrices(path)
    np.testing.assert_array_equal(B, A)
    np.testing.assert_array_equal(np.signbit(B[~np.isnan(A)]), np.signbit(A[~np.isnan(A)]))


def test_csv_header_of_large_matrices_is_unambiguous(tmp_path):
    path = tmp_path / "a.csv"
    A = np.random.default_rng(0).normal(size=(2, 11, 11))
    write_matrices(path, A)
    assert path.read_text().startswith("a1_1,a1_2,")
    np.testing.assert_array_equal(read_matrices(path), A)


def test_many_chunks_digits_and_progress(tmp_path):
    A = np.random.default_rng(0).uniform(-1, 1, (25_000, 2, 2))
    done = []
    write_matrices(tmp_path / "a.mx", A, digits=4, progress=done.append)
    assert done == [10_000, 10_000, 5_000]
    B = read_matrices(tmp_path / "a.mx")
    assert 4e-5 < np.abs(B - A).max() <= 5.0001e-5
    assert (tmp_path / "a.mx").read_text().count("END\n") == 25_000


def test_mx_layout(tmp_path):
    write_matrices(tmp_path / "a.mx", np.array([[0.1, -2.0], [1e300, 3.0]]))
    assert (tmp_path / "a.mx").read_text() == "0.1,-2.0\n1e+300,3.0\nEND\n"


ALPHABET = st.sampled_from([*"0123456789.,-+eE \n\r\t;_#\"'\0naifé", "END\n", "1,2\n", "3,4\n", "\ufeff", "a11"])


@pytest.mark.parametrize("suffix", [".mx", ".csv"])
@SETTINGS
@given(text=st.lists(ALPHABET, max_size=40).map("".join))
def test_any_text_gives_matrices_or_a_file_error(tmp_path, suffix, text):
    path = tmp_path / f"a{suffix}"
    path.write_bytes(text.encode())
    try:
        A = read_matrices(path)
    except FileError:
        return
    assert A.dtype == np.float64
    assert A.ndim == 3
    assert A.shape[1] == A.shape[2] > 0
