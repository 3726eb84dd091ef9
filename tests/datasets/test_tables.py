"""LIBSVM, NumPy's files, CSV and Parquet: whole files, and files of something else."""

import bz2
import gzip
import os
import pickle
import struct
import zipfile

import numpy as np
import pyarrow
import pytest
from data_files import (
    CSV,
    LIBSVM,
    Calls,
    N,
    refused,
)
from pyarrow import parquet

from fastsoftmax import datasets
from fastsoftmax.datasets import tables

# --- LIBSVM --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["a.svm", "a.libsvm", "a.txt", "a.svm.gz", "a.txt.bz2", "news20", "news20.bz2"]
)
def test_libsvm(name, tmp_path):
    content = LIBSVM if "." in name and "news" not in name else LIBSVM.split(b"\n", 1)[1]
    compress = {"gz": gzip.compress, "bz2": bz2.compress}.get(name.rpartition(".")[2], bytes)
    file = tmp_path / name
    file.write_bytes(compress(content))
    samples = datasets.load(file)
    expected = np.zeros((4, 3), np.float32)
    expected[0, [0, 2]], expected[1, 1], expected[2, 0] = [0.5, -0.2], 1, 1
    np.testing.assert_array_equal(samples.X.toarray(), expected)
    assert (samples.X.format, samples.X.dtype) == ("csr", np.float32)
    assert (samples.y.tolist(), samples.y.dtype) == ([1, -1, 3, 0], np.int64)


def test_libsvm_indices(tmp_path):
    file = tmp_path / "a.svm"
    file.write_bytes(b"1 1:5\n0 2:6\n")
    for options, expected in (
        ({}, [[5, 0], [0, 6]]),
        ({"zero_based": True}, [[0, 5, 0], [0, 0, 6]]),
        ({"zero_based": False, "n_features": 4}, [[5, 0, 0, 0], [0, 6, 0, 0]]),
    ):
        assert datasets.load(file, **options).X.toarray().tolist() == expected
    refused(file, "n_features", n_features=1)
    refused(file, "^n_features: expected an integer", n_features=0)
    refused(file, "^n_features: expected an integer", TypeError, n_features="many")
    refused(file, "^zero_based: expected True, False or 'auto', got 'no'", zero_based="no")
    file.write_bytes(b"1 0:5\n")
    refused(file, "Invalid index 0", zero_based=False)


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"1 1:2\n2 a:3\n", r"got '2 a:3' in line 2"),
        (b"1 1:2\n\n2 1:x\n", r"got '2 1:x' in line 3"),
        (b"1 1:2\n2 3\n", "in line 2"),
        (b"1,2 1:2\n", "in line 1"),
        (b"cat 1:2\n", "got 'cat 1:2' in line 1"),
        (b"\xff\xfe\0\x01" * 50, r"\.\.\. in line 1"),
        (b"1 2:1 1:1\n", "sorted"),
        (b"1 1:1e99\n", "fit float32, got another one in row 0"),
        (b"0\n1 1:1\n1 1:nan\n", "fit float32, got another one in row 2"),
        (b"0.5 1:1\n", "expected whole numbers as labels, got 0.5 in row 0"),
        (b"# nothing\n", "expected at least one sample"),
        (b"1 99999999999999999999:1\n", "LIBSVM lines"),
    ],
)
def test_libsvm_lines_that_are_wrong(content, match, tmp_path):
    file = tmp_path / "a.svm"
    file.write_bytes(content)
    refused(file, match)


# --- NumPy's files -------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["u1", "f2", "f4", "f8", ">f4", "i8", "?"])
@pytest.mark.parametrize("order", "CF")
def test_npy_is_mapped_as_it_lies(dtype, order, tmp_path):
    X = np.asarray(np.arange(12).reshape(4, 3), dtype, order)
    np.save(tmp_path / "X.npy", X)
    np.save(tmp_path / "y.npy", np.array([0, 1, 1, 0], np.uint8))
    samples = datasets.load(tmp_path / "X.npy", target=tmp_path / "y.npy")
    np.testing.assert_array_equal(samples.X, X)
    assert isinstance(samples.X, np.memmap)
    assert (samples.X.dtype, samples.X.strides) == (X.dtype, X.strides)
    assert not samples.X.flags.writeable
    assert (samples.y.tolist(), samples.y.dtype) == ([0, 1, 1, 0], np.int64)


@pytest.mark.parametrize(
    ("shape", "image_shape"),
    [
        ((8, 8), (8, 8)),
        ((8, 8, 1), (8, 8)),
        ((8, 8, 3), (8, 8, 3)),
        ((3, 8, 8), None),
        ((2, 2, 2, 2), None),
    ],
)
def test_npy_of_images(shape, image_shape, tmp_path, rng):
    X = rng.integers(256, size=(N, *shape), dtype=np.uint8)
    np.save(tmp_path / "X.npy", X)
    np.save(tmp_path / "y.npy", np.array(list("abcabc"))[:, np.newaxis])
    samples = datasets.load(tmp_path / "X.npy", target=str(tmp_path / "y.npy"))
    np.testing.assert_array_equal(samples.X, X.reshape(N, -1))
    assert isinstance(samples.X, np.memmap)
    assert samples.image_shape == image_shape
    assert samples.y.tolist() == list("abcabc")


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz(save, tmp_path):
    X, y, soft = np.asfortranarray(np.eye(3, dtype="f4")), [2.0, 0.0, 1.0], np.full((3, 2), 0.5)
    save(tmp_path / "a.npz", X=X, y=y, animal=["cat", "dog", "owl"], soft=soft)
    samples = datasets.load(tmp_path / "a.npz")
    np.testing.assert_array_equal(samples.X, X)
    assert samples.X.dtype == np.float32
    assert (samples.y.tolist(), samples.y.dtype) == ([2, 0, 1], np.int64)
    assert datasets.load(tmp_path / "a.npz", target="animal").y.tolist() == ["cat", "dog", "owl"]
    np.testing.assert_array_equal(datasets.load(tmp_path / "a.npz", target="soft").y, soft)
    refused(
        tmp_path / "a.npz",
        "labels in an array X_, got|labels in an array owl, got X, y",
        target="owl",
    )
    refused(tmp_path / "a.npz", "samples in an array X_test or x_test, got X, y", split="test")
    refused(tmp_path / "a.npz", "^split: expected one of", split="extra")
    np.savez(tmp_path / "b.npz", **{"a\nb\x1b": X})
    refused(tmp_path / "b.npz", r"got a\\nb\\x1b$")


def test_npz_with_splits(tmp_path, digits):
    images, labels = digits
    file = tmp_path / "mnist.npz"
    np.savez(file, x_train=images, y_train=labels, x_test=images[:2], y_test=labels[:2])
    for split, n in ((None, N), ("train", N), ("test", 2)):
        samples = datasets.load(file, split=split)
        np.testing.assert_array_equal(samples.X, images[:n].reshape(n, 784))
        assert samples.y.tolist() == labels[:n].tolist()
        assert samples.image_shape == (28, 28)


def npy_bytes(descr, shape, data, version=(1, 0)):
    header = repr({"descr": descr, "fortran_order": False, "shape": shape}).encode() + b"\n"
    size = struct.pack("<H" if version == (1, 0) else "<I", len(header))
    return b"\x93NUMPY" + bytes(version) + size + header + data


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (npy_bytes("<f8", (10**15, 3), bytes(48)), "bytes after the header"),
        (npy_bytes("<f8", (2**62, 2**62), bytes(48)), "bytes after the header"),
        (npy_bytes("<f8", (0, 2**62, 2**62), b""), "got damaged or other data .*too big"),
        (npy_bytes("<f8", (1, 3), bytes(48)), "expected 24 bytes after the header, .* got more"),
        (npy_bytes("<f8", (3, 3), bytes(48)), "expected 72 bytes after the header, .* got only 48"),
        (npy_bytes("<f8", (-2, -3), bytes(48)), "got shape|bytes after"),
        (npy_bytes("<f8", (0, 3), b""), "at least one sample"),
        (npy_bytes("<f8", (3, 0), b""), "at least one sample and one feature"),
        (npy_bytes("|O", (2, 3), pickle.dumps(None)), "refused: it contains pickled objects"),
        (npy_bytes("|V0", (2, 3), b""), "expected numbers"),
        (npy_bytes([("a", "<f8")], (2, 3), bytes(48)), "expected samples, real numbers"),
        (npy_bytes("<c16", (1, 3), bytes(48)), "expected samples, real numbers"),
        (npy_bytes("<U2", (2, 3), bytes(48)), "expected samples, real numbers"),
        (npy_bytes("<f8", (6,), bytes(48)), r"more dimensions, got shape \(6,\)"),
        (npy_bytes("<f8", (), bytes(8)), r"more dimensions, got shape \(\)"),
        (npy_bytes("nonsense", (2, 3), bytes(48)), "NumPy's .npy format"),
        (npy_bytes("<f8", "(2, 3)", bytes(48)), "NumPy's .npy format"),
        (npy_bytes("<f8", (2, 3), bytes(48), version=(3, 0)), r"1.0 or 2.0, got \(3, 0\)"),
        (npy_bytes("<f8", (2, 3), bytes(48)).replace(b"}", b"("), "NumPy's .npy format"),
        (b"\x93NUMPY\1\0\xff\xff{" + b"(" * 60000, "NumPy's .npy format"),
        (b"NUMPY", "NumPy's .npy format"),
    ],
)
def test_npy_and_npz_that_are_wrong(content, match, tmp_path):
    np.save(tmp_path / "y.npy", [0, 1])
    (tmp_path / "X.npy").write_bytes(content)
    refused(tmp_path / "X.npy", match, target=tmp_path / "y.npy")
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("X.npy", content)
        archive.write(tmp_path / "y.npy", "y.npy")
    refused(tmp_path / "a.npz", match)


def test_npy_whole_in_format_2(tmp_path):
    (tmp_path / "X.npy").write_bytes(npy_bytes("<f8", (2, 3), bytes(48), version=(2, 0)))
    np.save(tmp_path / "y.npy", [0, 1])
    assert datasets.load(tmp_path / "X.npy", target=tmp_path / "y.npy").X.shape == (2, 3)


# A NaN that signals is an invalid operation to np.floor.
SIGNALLING = np.array([0, 0x7F80_0001], np.uint32).view(np.float32)


@pytest.mark.parametrize(
    ("y", "match"),
    [
        ([0.0, 0.5], "whole numbers as labels, got 0.5 in row 1"),
        ([0.0, np.nan], "whole numbers as labels, got nan in row 1"),
        (SIGNALLING, "whole numbers as labels, got nan in row 1"),
        ([0.0, 1e300], "whole numbers as labels, got 1e.300 in row 1"),
        ([0, 1, 2], "expected 2 labels, one for each sample, got 3"),
        ([[0, 1], [1, 0]], r"got shape \(2, 2\) of dtype int64"),
        (np.array([0, 2**63], np.uint64), "that fit int64, got 9223372036854775808"),
        (np.array(["2020", "2021"], "datetime64[Y]"), "expected labels, integers or texts"),
        (1, r"got shape \(\)"),
    ],
)
def test_labels_that_are_none(y, match, tmp_path):
    np.save(tmp_path / "X.npy", np.eye(2))
    np.save(tmp_path / "y.npy", y)
    np.savez(tmp_path / "a.npz", X=np.eye(2), y=y)
    refused(tmp_path / "X.npy", match, target=tmp_path / "y.npy")
    refused(tmp_path / "a.npz", match)


def test_npy_asks_for_its_labels(tmp_path):
    np.save(tmp_path / "X.npy", np.eye(2))
    refused(tmp_path / "X.npy", "^target: expected the .npy file with the labels of .*X.npy")
    refused(tmp_path / "X.npy", "y.npy: no such file", FileNotFoundError, target=tmp_path / "y.npy")
    refused(tmp_path / "X.npy", "^target: expected the path", TypeError, target=3)
    refused(tmp_path / "X.npy", "expected an .npy file, got a folder", target=tmp_path)


def test_npz_never_unpickles(tmp_path):
    marker = tmp_path / "ran"
    X = np.array([[Calls(os.mkdir, str(marker))]] * 2, dtype=object)
    np.savez(tmp_path / "a.npz", X=X, y=[0, 1], allow_pickle=True)
    refused(tmp_path / "a.npz", "a.npz/X.npy: refused: it contains pickled objects")
    assert not marker.exists()


# --- Tables --------------------------------------------------------------------------------------


def test_csv_with_a_header(tmp_path):
    file = tmp_path / "a.csv"
    file.write_text(CSV)
    for target in ("animal", 2, -1, "2", "-1"):  # texts, as a command line has them
        samples = datasets.load(file, target=target)
        assert samples.X.tolist() == [[1.5, 2], [2.5, 3], [-1000, 4]]
        assert (samples.X.dtype, samples.X.flags.c_contiguous) == (np.float64, True)
        assert samples.y.tolist() == ["cat", "dog", "cat"]
        assert samples.feature_names == ("height", "width")
    assert datasets.load(file, target=2, header=True).feature_names == ("height", "width")


@pytest.mark.parametrize(
    ("numbers", "dtype"), [("0,255", "u1"), ("0,256", "i8"), ("-1,3", "i8"), ("0.0,3", "f8")]
)
def test_csv_dtypes(numbers, dtype, tmp_path):
    file = tmp_path / "a.csv"
    file.write_text(f"{numbers},7\n1,2,8\n")
    samples = datasets.load(file, target=-1)
    first = [float(number) for number in numbers.split(",")]
    assert (samples.X.tolist(), samples.X.dtype) == ([first, [1, 2]], dtype)
    assert (samples.y.tolist(), samples.y.dtype, samples.feature_names) == ([7, 8], np.int64, None)


def test_csv_in_every_dress(tmp_path):
    content = '\ufeff label , a\r\n\r\n 1, 2\r\n"0",3'
    for name, text, options in (
        ("a.csv", content, {}),
        ("a.csv.gz", content, {}),
        ("a.csv.bz2", content, {}),
        ("a.tsv", content.replace(",", "\t"), {}),
        ("a.tsv.gz", content.replace(",", "\t"), {}),
        ("b.csv", content.replace(",", ";"), {"delimiter": ";"}),
        ("data", content, {"format": "csv"}),
    ):
        compress = {"gz": gzip.compress, "bz2": bz2.compress}.get(name.rpartition(".")[2], bytes)
        (tmp_path / name).write_bytes(compress(text.encode()))
        samples = datasets.load(tmp_path / name, **options)
        assert (samples.X.tolist(), samples.y.tolist()) == ([[2], [3]], [1, 0])
        assert samples.feature_names == ("a",)


def test_csv_types_change_late(tmp_path):
    # PyArrow reads blocks of 1 MiB; what it thinks of the first does not bind the rest.
    file = tmp_path / "a.csv"
    n = 300_000
    file.write_text("a,y\n" + "17,1\n" * n + "0.5,2\n")
    samples = datasets.load(file)
    assert (samples.X.dtype, samples.X[-1, 0], len(samples.X)) == (np.float64, 0.5, n + 1)


@pytest.mark.parametrize(
    ("first", "options", "has_header"),
    [
        ("1,2,3", {"target": 0}, False),
        ("a,b,c", {"target": 0}, True),
        ("0,1,label", {}, True),
        ("0,1,2", {"target": "2"}, True),
        ("0,1,2", {"target": "-1"}, False),
        ("0,1,dog", {"target": 2, "header": True}, True),
        ("0,1,7", {"target": 2, "header": True}, True),
        ("0,1,7", {"target": 2, "header": False}, False),
    ],
)
def test_csv_headers(first, options, has_header, tmp_path):
    file = tmp_path / "a.csv"
    file.write_text(f"{first}\n4,5,6\n7,8,9\n")
    samples = datasets.load(file, **options)
    assert len(samples.X) == (2 if has_header else 3)
    assert (samples.feature_names is not None) == has_header


@pytest.mark.parametrize(
    ("content", "options", "match"),
    [
        ("", {}, "got an empty file"),
        ("\n\n", {"target": 0}, "expected CSV rows|at least one row"),
        ("a,y\n", {}, "expected at least one row, .* got 0 rows and 2 columns"),
        ("y\n1\n", {}, "one column besides that of the labels, got 1 rows and 1 columns"),
        ("a,b\n1,2\n", {}, "^target: expected the name or the index .* It has 2 columns: a, b"),
        (
            "a,b\n1,2\n",
            {"target": "c"},
            "^target: expected the name of one column .*a.csv, got 'c'",
        ),
        ("a,b,b\n1,2,3\n", {"target": "b"}, "^target: expected the name of one column"),
        ("a,y,label\n1,2,3\n", {}, "^target: expected the name or the index.* got 'y' and 'label'"),
        ("a;y\n1;2\n", {}, "^delimiter: expected the separator .*, perhaps ';', got ','"),
        ("a\ty\n1\t2\n", {"target": "y"}, r"^delimiter: .*, perhaps '\\t', got ','"),
        ("a,y\n1,2\n", {"ignore": ["b"]}, "^ignore: expected the name of one column .* got 'b'"),
        ("a,y\n1,2\n", {"features": ["2"]}, "^features: expected an index of the 2 columns: a, y"),
        (
            "a,y\n1,2\n",
            {"ignore": ["y"], "target": "y"},
            "^ignore: .* not that of the labels, got y",
        ),
        ("a,y\n1,2\n", {"features": ["a", 0]}, "^features: expected each column once"),
        ("a,y\n1,2\n", {"features": ["a"], "ignore": ["y"]}, "^ignore: expected None if features"),
        ("a,y\n1,2\n", {"ignore": ["a"]}, "got 1 rows and 2 columns"),
        ("a,y\nx,2\n", {}, "in column 'a', got string; target= names the labels, ignore= "),
        ("1,2\n3,4\n", {}, "^target: .* 2 columns without names"),
        ("1,2\n3,4\n", {"target": 2}, "^target: expected an index of the 2 columns .* got 2"),
        ("1,2\n3,4\n", {"target": -3}, "^target: expected an index of the 2 columns .* got -3"),
        ("1,2,cat\n", {"target": 2}, "^header: expected True or False"),
        ("a,y\n1,2\n3\n", {}, "CSV rows of equal length"),
        ("a,y\n1,2\n3,4,5\n", {}, "CSV rows of equal length"),
        ("a,y\n1,2\nNaN,4\n", {}, "none or NaN in column 'a', row 1; rows count from 0"),
        ("a,y\n1,2\n,4\n", {}, "none or NaN in column 'a', row 1"),
        ("a,y\n,2\n,4\n", {}, "none or NaN in column 'a', row 0"),
        ("a,y\n1,2\n3,\n", {}, "none or NaN in column 'y', row 1"),
        ("a,y\n1,cat\n3,\n", {}, "expected labels, got '' in column 'y', row 1"),
        ("a,y\n1,2\ninf,4\n", {}, "expected finite numbers, got inf in column 'a', row 1"),
        ("a,y\n1,2\nx,4\n", {}, "expected numbers in column 'a', got string"),
        ("1,2\nx,4\n", {"target": 1}, "expected numbers in column 0, got string"),
        ("a,y\n2020-01-01,2\n", {}, "expected numbers in column 'a', got date32"),
        ("a,y\n1,2020-01-01\n", {}, "expected labels"),
        ("a,y\n1,0.5\n", {}, "whole numbers as labels, got 0.5 in row 0"),
        ("a,y\n1,2\n", {"delimiter": ", "}, "^delimiter: expected one character"),
        ("a,y\n1,2\n", {"delimiter": '"'}, "^delimiter: expected one character"),
        (b"\xff\xfea\0,\0", {}, "CSV text in UTF-8"),
        (b"a,y\n\xff\xfe,1\n", {}, "expected numbers in column 'a', got binary"),
        (b"a,y\n1,\xff\xfe\n", {}, "expected labels, got b"),
        (
            b"\xef\xbb\xbf\n1,\xc4\n",
            {},
            "CSV text in UTF-8",
        ),  # nothing but a mark in the first line
        (b"a,y\n1,2\n", {"target": "\udcc4"}, "^target: expected the name of one column"),
        ("a\x1b[2J,b\n1,2\n", {}, r"2 columns: a\\x1b\[2J, b"),
        ("a," * 20 + "y\n", {"target": "x"}, r"21 columns: a, a, a, a, a, a, a, a, a, a, \.\.\. y"),
    ],
)
def test_csv_that_is_wrong(content, options, match, tmp_path):
    file = tmp_path / "a.csv"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    refused(file, match, **options)


def test_a_header_is_true_or_false(tmp_path):
    (tmp_path / "a.csv").write_text(CSV)
    refused(tmp_path / "a.csv", "^header: expected True, False or None", TypeError, header="yes")


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_columns_that_are_not_features(kind, tmp_path):
    columns = {"id": ["007", "8"], "a": [0.5, 1], "label": [3, 4], "b": [2, 5]}
    file = tmp_path / f"a.{kind}"
    if kind == "csv":
        file.write_text("id, a,label,b\n007,0.5,3,2\n8,1,4,5\n")
    else:
        parquet.write_table(pyarrow.table(columns), file)
    for options, names, X in (
        ({"ignore": ["id"]}, ("a", "b"), [[0.5, 2], [1, 5]]),
        ({"ignore": "id"}, ("a", "b"), [[0.5, 2], [1, 5]]),
        ({"features": ["b", "a"]}, ("b", "a"), [[2, 0.5], [5, 1]]),
        ({"features": ["b", 1]}, ("b", "a"), [[2, 0.5], [5, 1]]),
        ({"ignore": ["0", "-1"]}, ("a",), [[0.5], [1]]),
    ):
        samples = datasets.load(file, **options, keep_ignored=True)
        assert (samples.X.tolist(), samples.feature_names) == (X, names)
        assert samples.y.tolist() == [3, 4]
        assert samples.ignored["id"].to_pylist() == ["007", "8"]
        assert set(samples.ignored.column_names) == {"id", "a", "b"} - set(names)
        assert datasets.load(file, **options).ignored is None
    samples = datasets.load(
        file, features=["label"], target="b"
    )  # a usual name of labels, used otherwise
    assert (samples.X.tolist(), samples.y.tolist()) == ([[3], [4]], [2, 5])


def test_columns_without_names_are_ignored_by_index(tmp_path):
    (tmp_path / "a.csv").write_text("007,1,0\n8,2,1\n")
    options = {"ignore": [0], "target": -1, "keep_ignored": True}
    samples = datasets.load(tmp_path / "a.csv", **options)
    assert (samples.X.tolist(), samples.y.tolist()) == ([[1], [2]], [0, 1])
    assert samples.ignored.to_pydict() == {"column 0": ["007", "8"]}


def test_only_tables_have_columns(tmp_path):
    np.savez(tmp_path / "a.npz", X=np.eye(2), y=[0, 1])
    refused(tmp_path / "a.npz", "^ignore: expected none for the format 'npz'", ignore=["X"])
    refused(tmp_path / "a.npz", "^keep_ignored: expected True", TypeError, keep_ignored=1)


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "i4"])
@pytest.mark.parametrize("kind", ["list", "large_list", "fixed"])
def test_lists_of_numbers_are_features(kind, dtype, tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "_ROWS_PER_BATCH", 3)  # several, across the groups of rows
    X = np.arange(40).astype(dtype).reshape(8, 5)
    values = pyarrow.array(X[:, :4].ravel())
    width = {"list": -1, "large_list": None, "fixed": 4}[kind]
    of = pyarrow.large_list(values.type) if width is None else pyarrow.list_(values.type, width)
    lists = pyarrow.array(X[:, :4].tolist(), of)
    words = pyarrow.array(["x", "y"] * 4).dictionary_encode()
    columns = {"id": range(8), "e": lists, "class": words, "b": X[:, 4]}
    for row_group_size in (2, 8):
        file = tmp_path / "a.parquet"
        parquet.write_table(pyarrow.table(columns), file, row_group_size=row_group_size)
        samples = datasets.load(file, ignore=["id"], keep_ignored=True)
        np.testing.assert_array_equal(samples.X, X)
        assert (samples.X.dtype, samples.X.flags.c_contiguous) == (X.dtype, True)
        assert samples.y.tolist() == ["x", "y"] * 4
        assert samples.feature_names == ("e[0]", "e[1]", "e[2]", "e[3]", "b")
        assert samples.ignored["id"].to_pylist() == [*range(8)]


def test_rows_of_later_batches_are_counted_from_the_first(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "_ROWS_PER_BATCH", 2)
    file = tmp_path / "a.parquet"
    columns = {"a": [[1.0], [2.0], [3.0], [4.0]], "y": [0, 1, 0, 1]}
    wider = {"a": [[1.0], [2.0], [3.0, 3.0], [4.0, 4.0]], "y": [0, 1, 0, 1]}
    parquet.write_table(pyarrow.table(wider), file)
    refused(file, "expected lists of equal length, got another length in column 'a', row 2")
    for row, bad, match in (
        (3, [np.nan], "got nan in column 'a', row 3"),
        (3, [1.0, 2.0], "expected lists of equal length, got another length in column 'a', row 3"),
        (3, None, "none or NaN in column 'a', row 3"),
    ):
        wrong = [*columns["a"]]
        wrong[row] = bad
        parquet.write_table(pyarrow.table({**columns, "a": wrong}), file)
        refused(file, match)


@pytest.mark.parametrize(
    "dtypes", [("u1", "u1"), ("f2", "f2"), ("f4", "u1"), ("f8", "f4"), ("i8", "i2")]
)
def test_parquet_keeps_its_dtype(dtypes, tmp_path):
    first, second = (np.array([1, 2, 3], dtype) for dtype in dtypes)
    kinds = pyarrow.array(["cat", "dog", "cat"]).dictionary_encode()
    file = tmp_path / "a.parquet"
    parquet.write_table(pyarrow.table({"a": first, "class": kinds, "b": second}), file)
    for target in (None, "class", 1, -2, "1"):
        samples = datasets.load(file, target=target)
        assert samples.X.tolist() == [[1, 1], [2, 2], [3, 3]]
        assert samples.X.dtype == np.result_type(*dtypes)
        assert samples.y.tolist() == ["cat", "dog", "cat"]
        assert samples.feature_names == ("a", "b")


def test_parquet_as_pandas_and_polars_write_it(tmp_path):
    import pandas
    import polars

    columns = {"a": [0.5, 1.5], "b": [True, False], "kind": ["x", "y"]}
    pandas.DataFrame(columns).astype({"kind": "category"}).to_parquet(tmp_path / "pandas.pq")
    polars.DataFrame(columns).cast({"kind": polars.Categorical}).write_parquet(
        tmp_path / "polars.pq"
    )
    for name in ("pandas.pq", "polars.pq"):
        samples = datasets.load(tmp_path / name, target="kind")
        assert samples.X.tolist() == [[0.5, 1], [1.5, 0]]
        assert samples.y.tolist() == ["x", "y"]


@pytest.mark.parametrize(
    ("columns", "match"),
    [
        ({"a": [1.0, None], "y": [0, 1]}, "none or NaN in column 'a', row 1"),
        (
            {"a": [1.0, np.nan], "y": [0, 1]},
            "expected finite numbers, got nan in column 'a', row 1",
        ),
        ({"a": [1, 2], "y": [0, None]}, "none or NaN in column 'y', row 1"),
        ({"a": [["1"], ["2"]], "y": [0, 1]}, "expected numbers in column 'a', got list"),
        ({"a": [[], []], "y": [0, 1]}, "expected numbers in column 'a', got list"),
        ({"a": [[1, 2], [3]], "y": [0, 1]}, "lists of equal length, .* in column 'a', row 1"),
        ({"a": [[1, 2], None], "y": [0, 1]}, "none or NaN in column 'a', row 1"),
        ({"a": [[1, 2], [3, None]], "y": [0, 1]}, "none or NaN in column 'a', row 1"),
        ({"a": [[1, 2.5], [np.inf, 1]], "y": [0, 1]}, "got inf in column 'a', row 1"),
        # The first row, whichever column it is in.
        ({"a": [1.0, 2, None], "b": [1.0, np.nan, 2], "y": [0, 1, 2]}, "nan in column 'b', row 1"),
        ({"a": [1.0, None], "y": [None, 1]}, "none or NaN in column 'y', row 0"),
        ({"a": [1, 2], "y": [[0], [1]]}, "expected labels"),
        ({"a": [1, 2], "b": [0, 1]}, "^target: expected the name or the index"),
        ({"a": pyarrow.array([], "f8"), "y": pyarrow.array([], "i8")}, "expected at least one row"),
    ],
)
def test_parquet_that_is_wrong(columns, match, tmp_path):
    file = tmp_path / "a.parquet"
    parquet.write_table(pyarrow.table(columns), file)
    refused(file, match)


def test_parquet_of_texts_that_are_no_utf_8(tmp_path):
    file = tmp_path / "a.parquet"
    offsets = np.array([0, 1, 2], np.int32)
    texts = pyarrow.StringArray.from_buffers(2, *map(pyarrow.py_buffer, (offsets, b"a\xc4")))
    parquet.write_table(pyarrow.table({"a": [1.5, 2.5], "y": texts}), file)
    refused(file, "expected numbers, and texts in UTF-8, got damaged or other data")
    parquet.write_table(pyarrow.table({"a\xe4": [1.5, 2.5], "y": [0, 1]}), file, store_schema=False)
    file.write_bytes(file.read_bytes().replace("a\xe4".encode(), b"a\xc3!"))
    refused(file, "expected a Parquet file, got damaged or other data")
