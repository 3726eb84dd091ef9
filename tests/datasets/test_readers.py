"""Readers of files: whole ones in their true formats, and damaged ones, which are errors fit to print."""

import bz2
import gzip
import io
import os
import pickle
import struct
import sys
import tarfile
import zipfile
import zlib

import numpy as np
import pyarrow
import pytest
import scipy.io
import scipy.sparse
from pyarrow import parquet

import fastsoftmax
from fastsoftmax import datasets
from fastsoftmax.datasets import formats

N = 6  # images in a file


def refused(path, match, error=ValueError, **options):
    """Assert that loading is an error of one line, which begins with the file or an option."""
    with pytest.raises(error, match=match) as caught:
        datasets.load(path, **options)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith((str(path.parent), *(f"{option}: " for option in OPTIONS)))


OPTIONS = ("format", "target", "split", "header", "delimiter", "zero_based", "n_features")


def images_of(rng, n=N):
    """Images (n, 32, 32, 3) as they are drawn."""
    return rng.integers(256, size=(n, 32, 32, 3), dtype=np.uint8)


# --- CIFAR ---------------------------------------------------------------------------------------


def channels_first(images):
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2)).reshape(len(images), 3072)


def by_python_2(value):
    """The opcodes that Python 2 and NumPy of its time wrote in protocol 2: every text is a str of bytes."""
    if isinstance(value, bytes):
        if len(value) < 256:
            return b"U" + bytes([len(value)]) + value
        return b"T" + struct.pack("<i", len(value)) + value
    if isinstance(value, int):
        return b"J" + struct.pack("<i", value)
    if isinstance(value, list):
        return b"](" + b"".join(map(by_python_2, value)) + b"e"
    if isinstance(value, dict):
        return (
            b"}(" + b"".join(by_python_2(entry) for pair in value.items() for entry in pair) + b"u"
        )
    dtype = b"cnumpy\ndtype\n" + by_python_2(b"u1") + b"K\0K\1\x87R"
    dtype += b"(K\3" + by_python_2(b"|") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0tb"
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\0\x85"
        + by_python_2(b"b")
        + b"\x87R"
    )
    shape = b"".join(map(by_python_2, value.shape)) + b"\x86"
    return array + b"(K\1" + shape + dtype + b"\x89" + by_python_2(value.tobytes()) + b"tb"


WRITERS = {
    "python 2": lambda value: b"\x80\x02" + by_python_2(value) + b".",
    "protocol 2": lambda value: pickle.dumps(value, protocol=2),
    "protocol 4": lambda value: pickle.dumps(value, protocol=4),
    "latin1 again": lambda value: pickle.dumps(
        {key.decode(): entry for key, entry in value.items()}, protocol=2
    ),
}
WRITER = pytest.mark.parametrize("dumps", WRITERS.values(), ids=WRITERS.keys())
NAMES = [
    b"airplane",
    b"automobile",
    b"bird",
    b"cat",
    b"deer",
    b"dog",
    b"frog",
    b"horse",
    b"ship",
    b"truck",
]


def batch_of(images, labels, key=b"labels"):
    return {
        b"batch_label": b"training batch 1 of 5",
        key: [int(label) for label in labels],
        b"data": channels_first(images),
        b"filenames": [b"image_%d.png" % i for i in range(len(images))],
    }


@pytest.fixture
def cifar(tmp_path, rng):
    """A folder of CIFAR-10, and its images and labels to train on and to test on."""
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    dumps = WRITERS["python 2"]
    images, labels = images_of(rng, 6 * N), rng.integers(10, size=6 * N)
    names = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]
    for i, name in enumerate(names):
        part = slice(i * N, (i + 1) * N)
        (folder / name).write_bytes(dumps(batch_of(images[part], labels[part])))
    meta = {b"num_cases_per_batch": N, b"label_names": NAMES, b"num_vis": 3072}
    (folder / "batches.meta").write_bytes(dumps(meta))
    (folder / "readme.html").write_text("<meta>")
    rows = images.reshape(len(images), -1)
    return folder, (rows[: 5 * N], labels[: 5 * N]), (rows[5 * N :], labels[5 * N :])


def archived(folder, archive, mode="w:gz"):
    with tarfile.open(archive, mode) as tar:
        tar.add(folder, folder.name)
    return archive


def assert_cifar(samples, expected):
    X, y = expected
    np.testing.assert_array_equal(samples.X, X)
    np.testing.assert_array_equal(samples.y, y)
    assert (samples.X.dtype, samples.y.dtype, samples.image_shape) == (
        np.uint8,
        np.int64,
        (32, 32, 3),
    )
    assert samples.class_names == tuple(name.decode() for name in NAMES)
    assert samples.X.flags.c_contiguous


def test_cifar_10_from_its_folder(cifar):
    folder, train, test = cifar
    assert_cifar(datasets.load(folder), train)
    assert_cifar(datasets.load(str(folder), format="cifar", split="train"), train)
    assert_cifar(datasets.load(folder, split="test"), test)
    assert_cifar(datasets.load(folder / "test_batch"), test)


@pytest.mark.parametrize(("suffix", "mode"), [(".tar.gz", "w:gz"), (".tgz", "w:gz"), (".tar", "w")])
def test_cifar_10_from_its_archive(cifar, tmp_path, suffix, mode):
    folder, train, test = cifar
    archive = archived(folder, tmp_path / f"cifar-10-python{suffix}", mode)
    assert_cifar(datasets.load(archive), train)
    assert_cifar(datasets.load(archive, split="test"), test)


@WRITER
def test_one_batch_however_it_was_pickled(dumps, tmp_path, rng):
    images, labels = images_of(rng), np.arange(N)
    file = tmp_path / "data_batch_1"
    file.write_bytes(dumps(batch_of(images, labels)))
    samples = datasets.load(file)
    np.testing.assert_array_equal(samples.X, images.reshape(N, -1))
    np.testing.assert_array_equal(samples.y, labels)
    assert samples.class_names is None


def test_cifar_100_has_fine_and_coarse_labels(tmp_path, rng):
    dumps = WRITERS["python 2"]
    images, fine = images_of(rng), np.arange(94, 100)
    batch = batch_of(images, fine, b"fine_labels") | {b"coarse_labels": [19, 0, 1, 2, 3, 4]}
    for name in ("train", "test"):
        (tmp_path / name).write_bytes(dumps(batch))
    fine_names, coarse_names = ([b"%d" % i for i in range(n)] for n in (100, 20))
    meta = {b"fine_label_names": fine_names, b"coarse_label_names": coarse_names}
    (tmp_path / "meta").write_bytes(dumps(meta))
    samples = datasets.load(tmp_path)
    np.testing.assert_array_equal(samples.X, images.reshape(N, -1))
    np.testing.assert_array_equal(samples.y, fine)
    assert len(samples.class_names) == 100
    samples = datasets.load(tmp_path / "test", target="coarse_labels")
    assert samples.y.tolist() == [19, 0, 1, 2, 3, 4]
    assert samples.class_names[19] == "19"
    refused(tmp_path, "expected a batch of CIFAR, with data and labels, got", target="labels")
    refused(tmp_path, "^target: expected one of labels, ", target="fine")


def test_a_part_of_cifar_that_is_missing_is_named(cifar, tmp_path):
    folder, _, test = cifar
    (folder / "data_batch_4").unlink()
    refused(folder, "data_batch_4: no such file", FileNotFoundError)
    archive = archived(folder, tmp_path / "cifar.tar.gz")
    refused(archive, "expected data_batch_4 in the archive, but it is missing")
    assert_cifar(datasets.load(folder, split="test"), test)
    assert_cifar(datasets.load(archive, split="test"), test)
    refused(folder, "^split: expected one of train, test, got 'all'", split="all")
    refused(folder / "test_batch", "^split: expected none", split="test")


class Calls:
    """An object whose pickle calls a function."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


def test_a_pickle_that_asks_for_more_than_data_is_refused_and_not_run(tmp_path, rng):
    file, marker = tmp_path / "data_batch_1", tmp_path / "ran"
    command = f"touch {marker}"
    evil = {
        "posix.system": Calls(os.system, command),
        "builtins.eval": Calls(eval, f"open({str(marker)!r}, 'w')"),
        "builtins.getattr": Calls(getattr, os, "system"),
        "numpy.fromfile": Calls(np.fromfile, str(marker)),
    }
    for key in ("posix.system", "builtins.eval"):
        evil[f"nested {key}"] = {**batch_of(images_of(rng), range(N)), b"filenames": [[evil[key]]]}
        # as an argument of what is allowed
        evil[f"within {key}"] = {b"data": Calls(np.dtype, evil[key])}
    for name, value in evil.items():
        for protocol in (2, 4):
            content = io.BytesIO()
            # Python's own pickler writes modules by name where one is told how.
            pickler = pickle.Pickler(content, protocol)
            pickler.dispatch_table = {type(os): lambda module: (__import__, (module.__name__,))}
            pickler.dump(value)
            file.write_bytes(content.getvalue())
            refused(file, r"data_batch_1: refused: its pickle asks for [\w.]+; only arrays")
            assert not marker.exists(), name


@pytest.mark.parametrize(
    "content",
    [
        b"(S'touch ran'\nios\nsystem\n.",  # INST of protocol 0
        b"\x80\x02cos\nsystem\nU\x09touch ran\x85R.",
        b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x09touch ran\x85R.",
        b"\x80\x02\x82\x01.",  # an extension code
        b"\x80\x02U\x01aQ.",  # a persistent id
        b"\x80\x02cnumpy\nndarray\nN}U\x01aK\1s\x86b.",  # sets an attribute of a name
        b"\x80\x02cnumpy\nndarray\n)\x81.",  # makes an object of it
        b"\x80\x02cnumpy\nndarray\n)R.",  # calls it
        b"\x80\x02c_codecs\nencode\nX\x01\0\0\0aX\x03\0\0\0hex\x86R.",
        b"\x80\x02}r\xff\xff\xff\x7f.",  # would take 32 GiB to remember an object
        b"\x80\x02T\xff\xff\xff\x7fabc.",  # promises 2 GiB
        b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\0\0abc.",
        b"\x80\x02]U\x01aK\1a.",
        b"\x80\x02](K\1K\2e.",  # a list
        b"\x80\x02}.",
        b"\x80\x02.",
        b"\x80\x02}K\1K\2s.",  # a key that is no text
        b"\x80\x02" + b"]" * 5000 + b"a" * 4999 + b".",
    ],
)
def test_strange_pickles_are_refused(content, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "data_batch_1"
    file.write_bytes(content)
    refused(file, "data_batch_1: (refused|expected a batch of CIFAR)", format="cifar")
    assert os.listdir(tmp_path) == ["data_batch_1"]


def test_a_name_in_a_pickle_stays_what_it_is(tmp_path, rng):
    images, whole, evil = images_of(rng), tmp_path / "data_batch_1", tmp_path / "data_batch_2"
    whole.write_bytes(WRITERS["python 2"](batch_of(images, range(N))))
    for name in (b"numpy\ndtype", b"numpy.core.multiarray\n_reconstruct"):
        evil.write_bytes(b"\x80\x02c" + name + b"\nN}U\x09_functionNs\x86b.")
        refused(evil, "it changes the object behind a name")
        np.testing.assert_array_equal(datasets.load(whole).X, images.reshape(N, -1))


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({b"data": np.zeros((N, 3072), np.int64)}, "dtype 'i8', not uint8"),
        ({b"data": np.array([None] * N)}, "dtype 'O8', not uint8"),
        ({b"data": np.zeros((N, 3071), np.uint8)}, r"shape \(n, 3072\), got \(6, 3071\)"),
        ({b"data": np.zeros(3072, np.uint8)}, r"shape \(n, 3072\), got \(3072,\)"),
        ({b"data": np.asfortranarray(np.zeros((N, 3072), np.uint8))}, "not C-ordered bytes"),
        ({b"data": [1, 2]}, "with data and labels or"),
        ({b"labels": [0] * (N - 1)}, "a list of 6 labels"),
        ({b"labels": b"012345"}, "a list of 6 labels"),
        ({b"labels": [0, 1, 10, 3, 4, 5]}, "from 0 to 9, not so in row 2"),
        ({b"labels": [0, 1, -1, 3, 4, 5]}, "from 0 to 9, not so in row 2"),
        ({b"labels": [0, 1, 2.0, 3, 4, 5]}, "from 0 to 9, not so in row 2"),
    ],
)
def test_a_batch_of_something_else(change, match, tmp_path, rng):
    file = tmp_path / "data_batch_1"
    file.write_bytes(pickle.dumps({**batch_of(images_of(rng), range(N)), **change}, protocol=2))
    refused(file, match)


def test_a_batch_whose_array_lies_about_its_shape(tmp_path, rng):
    file = tmp_path / "data_batch_1"
    content = WRITERS["python 2"](batch_of(images_of(rng), range(N)))
    for n in (N + 1, N - 1, -N, 2**31 - 1):
        lying = content.replace(
            b"J" + struct.pack("<i", N) + b"J" + struct.pack("<i", 3072),
            b"J" + struct.pack("<i", n) + b"J" + struct.pack("<i", 3072),
        )
        assert lying != content
        file.write_bytes(lying)
        refused(file, r"an array of shape \(-?\d+, 3072\) has 18432 bytes")


def test_a_batch_without_images(tmp_path):
    file = tmp_path / "data_batch_1"
    file.write_bytes(WRITERS["python 2"](batch_of(np.zeros((0, 32, 32, 3), np.uint8), [])))
    refused(file, "expected at least one sample and one feature")


# --- IDX -----------------------------------------------------------------------------------------

CODES = {"u1": 8, "i1": 9, ">i2": 11, ">i4": 12, ">f4": 13, ">f8": 14}


def as_idx(array, code="u1", sizes=None):
    sizes = array.shape if sizes is None else sizes
    header = bytes([0, 0, CODES[code], len(sizes)]) + struct.pack(f">{len(sizes)}I", *sizes)
    return header + array.astype(code).tobytes()


@pytest.fixture
def digits(rng):
    return rng.integers(256, size=(N, 28, 28), dtype=np.uint8), np.array([9, 0, 3, 3, 1, 7])


@pytest.mark.parametrize("suffixes", [("", ""), (".gz", ".gz"), ("", ".gz"), (".gz", "")])
@pytest.mark.parametrize("separator", "-.")
def test_mnist(suffixes, separator, tmp_path, digits):
    images, labels = digits
    for start, pixels in (("train", images), ("t10k", 255 - images)):
        for stem, array, suffix in zip(
            ("images{}idx3-ubyte", "labels{}idx1-ubyte"), (pixels, labels), suffixes, strict=True
        ):
            content = as_idx(array)
            file = tmp_path / f"{start}-{stem.format(separator)}{suffix}"
            file.write_bytes(gzip.compress(content) if suffix else content)
    test_file = tmp_path / f"t10k-images{separator}idx3-ubyte{suffixes[0]}"
    for path, split, pixels in (
        (tmp_path, None, images),
        (tmp_path, "test", 255 - images),
        (test_file, None, 255 - images),
    ):
        samples = datasets.load(path, split=split)
        np.testing.assert_array_equal(samples.X, pixels.reshape(N, 784))
        np.testing.assert_array_equal(samples.y, labels)
        assert (samples.X.dtype, samples.y.dtype) == (np.uint8, np.int64)
        assert samples.image_shape == (28, 28)
    refused(tmp_path, "^split: expected one of train, test, got 'both'", split="both")
    refused(test_file, "^split: expected none", split="test")


@pytest.mark.parametrize("code", CODES)
def test_idx_of_every_type(code, tmp_path):
    X = np.array([[1, 2, 3], [100, 101, 102]])
    (tmp_path / "numbers").write_bytes(as_idx(X, code))
    (tmp_path / "classes").write_bytes(as_idx(np.array([1, 0]), code))
    samples = datasets.load(tmp_path / "numbers", target=tmp_path / "classes")
    np.testing.assert_array_equal(samples.X, X)
    assert samples.X.dtype == np.dtype(code).newbyteorder("=")
    assert samples.X.dtype.isnative
    assert samples.image_shape is None
    assert (samples.y.tolist(), samples.y.dtype) == ([1, 0], np.int64)


@pytest.mark.parametrize(
    "sizes", [(N + 1, 28, 28), (N - 1, 28, 28), (2**32 - 1,) * 3, (2**32 - 1,) * 4, (0, 28, 28)]
)
@pytest.mark.parametrize("compress", [bytes, gzip.compress, bz2.compress])
def test_idx_headers_that_lie_are_refused(sizes, compress, tmp_path, digits):
    images, labels = digits
    file = tmp_path / "images"
    file.write_bytes(compress(as_idx(images, sizes=sizes)))
    (tmp_path / "labels").write_bytes(as_idx(labels))
    refused(file, r"expected \d+ bytes after the header, which says shape .* of uint8, got")


def test_idx_of_no_images_of_a_size_past_what_numpy_counts(tmp_path):
    file = tmp_path / "images"
    file.write_bytes(bytes([0, 0, 8, 3]) + struct.pack(">3I", 0, 2**32 - 5, 2**32 - 1))
    (tmp_path / "labels").write_bytes(as_idx(np.zeros(0)))
    refused(file, "expected an IDX file, got damaged or other data .*too big")


@pytest.mark.parametrize(
    "start", ["", "00", "000008", "00000803", "00000a01", "01000801", "00000805", "00000800"]
)
def test_what_is_no_idx(start, tmp_path, digits):
    file = tmp_path / "images"
    file.write_bytes(bytes.fromhex(start))
    (tmp_path / "labels").write_bytes(as_idx(digits[1]))
    refused(file, "expected (an IDX file|3 sizes)", format="idx")


def test_idx_labels_are_found_or_asked_for(tmp_path, digits):
    images, labels = digits
    file, other = tmp_path / "train-images-idx3-ubyte", tmp_path / "digits"
    for path in (file, other):
        path.write_bytes(as_idx(images))
    refused(file, "train-labels-idx1-ubyte: no such file", FileNotFoundError)
    refused(other, "^target: expected the file with the labels")
    refused(other, "nothing: no such file", FileNotFoundError, target=tmp_path / "nothing")
    wrong = tmp_path / "train-labels-idx1-ubyte"
    wrong.write_bytes(as_idx(labels[:-1]))
    refused(file, "expected 6 labels, one for each sample, got 5")
    refused(wrong, r"expected images, got an array of shape \(5,\)", target=wrong)
    refused(file, r"images-idx3-ubyte: expected labels, integers or texts", target=file)


# --- SVHN ----------------------------------------------------------------------------------------


def write_svhn(file, images, labels, **options):
    y = np.asarray(labels, np.uint8).reshape(-1, 1)
    scipy.io.savemat(file, {"X": images.transpose(1, 2, 3, 0), "y": y}, **options)


@pytest.mark.parametrize("do_compression", [True, False])
def test_svhn(do_compression, tmp_path, rng):
    images = images_of(rng)
    file = tmp_path / "train_32x32.mat"
    write_svhn(file, images, [10, 1, 9, 10, 2, 5], do_compression=do_compression)
    samples = datasets.load(file)
    np.testing.assert_array_equal(samples.X, images.reshape(N, -1))
    assert samples.y.tolist() == [0, 1, 9, 0, 2, 5]
    assert (samples.X.dtype, samples.y.dtype, samples.image_shape) == (
        np.uint8,
        np.int64,
        (32, 32, 3),
    )


def test_svhn_among_arrays_of_every_class(tmp_path, rng):
    images, file = images_of(rng), tmp_path / "a.mat"
    others = {"text": "abc", "a_struct": {"a": 1}, "cells": np.array([1, "b"], object), "z": [1j]}
    others |= {"nothing": np.zeros((0, 3)), "sparse": scipy.sparse.csc_matrix(np.eye(3))}
    X, y = images.transpose(1, 2, 3, 0), np.arange(1.0, N + 1)
    scipy.io.savemat(file, {**others, "X": X, "long_names": [1], "y": y}, do_compression=True)
    samples = datasets.load(file)
    np.testing.assert_array_equal(samples.X, images.reshape(N, -1))
    assert samples.y.tolist() == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("order", "<>")
def test_svhn_as_matlab_writes_it_in_either_byte_order(order, tmp_path, rng):
    # MATLAB stores the whole numbers of a double array as bytes, and short data within their tag.
    images, file = images_of(rng, 3), tmp_path / "a.mat"

    def element(kind, data):
        if len(data) <= 4:
            small = struct.pack(f"{order}I", len(data) << 16 | kind)
            return small + data.ljust(4, b"\0")
        return struct.pack(f"{order}II", kind, len(data)) + data + bytes(-len(data) % 8)

    def array(name, class_, shape, data):
        flags = element(6, struct.pack(f"{order}II", class_, 0))
        sizes = element(5, struct.pack(f"{order}{len(shape)}i", *shape))
        return element(14, flags + sizes + element(1, name) + element(2, data))

    header = b"MATLAB 5.0 MAT-file".ljust(124) + struct.pack(f"{order}H", 0x100)
    header += b"IM" if order == "<" else b"MI"
    X = array(b"X", 9, (32, 32, 3, 3), images.transpose(1, 2, 3, 0).tobytes(order="F"))
    file.write_bytes(header + X + array(b"y", 6, (3, 1), bytes([10, 2, 1])))
    samples = datasets.load(file)
    np.testing.assert_array_equal(samples.X, images.reshape(3, -1))
    assert samples.y.tolist() == [0, 2, 1]
    assert samples.X.dtype == np.uint8
    for shape in ((3, 2), (-3, -1), (2**31 - 1,) * 4, (0,)):
        file.write_bytes(header + X + array(b"y", 6, shape, bytes([10, 2, 1])))
        refused(file, r"got a damaged one: y of shape \(.*\), type 2 and 3 bytes")
    # sizes beside a 0 that are past what NumPy counts
    file.write_bytes(header + X + array(b"y", 6, (0, *(2**31 - 1,) * 7), b""))
    refused(file, "got damaged or other data .*too big")
    # a compressed element, within which there is none, or one of another length
    for inner in (b"", bytes(8), struct.pack(f"{order}II", 14, 9) + bytes(8)):
        content = zlib.compress(inner)
        file.write_bytes(header + struct.pack(f"{order}II", 15, len(content)) + content)
        refused(file, "got a damaged one: compressed data that are not an array")
    level_7_3 = b"MATLAB 7.3 MAT-file".ljust(124) + struct.pack(f"{order}H", 0x200) + header[126:]
    file.write_bytes(level_7_3 + bytes(500))
    refused(file, "got level 7.3 .HDF5.; save it with '-v7'")


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"X": None}, "got no X"),
        ({"y": None}, "got no y"),
        ({"X": np.zeros((32, 32, 3, N))}, "dtype uint8, got .* float64"),
        ({"X": np.zeros((N, 32, 32, 3), np.uint8)}, r"shape \(32, 32, 3, n\)"),
        ({"X": np.zeros((32, 32, 3), np.uint8)}, r"shape \(32, 32, 3, n\)"),
        ({"X": "text"}, "real numbers in X, got another class"),
        ({"X": {"a": 1}}, "real numbers in X, got another class"),
        ({"X": np.array([1j])}, "real numbers in X, got another class"),
        ({"y": np.ones(N - 1)}, "expected 6 labels in y, one for each image of X, got 5"),
        ({"y": "123456"}, "real numbers in y, got another class"),
        ({"y": np.array(["1", 2], dtype=object)}, "real numbers in y, got another class"),
        ({"y": np.arange(N)}, "from 1 to 10, got 0 in row 0"),
        ({"y": np.arange(N) + 6}, "from 1 to 10, got 11 in row 5"),
        ({"y": np.array([1, np.nan, 2, 3, 4, 5])}, "from 1 to 10, got nan in row 1"),
        ({"y": np.array([1, 2.5, 2, 3, 4, 5])}, "from 1 to 10, got 2.5 in row 1"),
    ],
)
def test_mat_files_of_something_else(change, match, tmp_path):
    file = tmp_path / "train_32x32.mat"
    arrays = {"X": np.zeros((32, 32, 3, N), np.uint8), "y": np.ones((N, 1), np.uint8), **change}
    scipy.io.savemat(file, {name: array for name, array in arrays.items() if array is not None})
    refused(file, match)


# --- LIBSVM --------------------------------------------------------------------------------------

LIBSVM = b"""# a comment
+1 1:0.5 3:-2e-1
-1 2:1 # another
3 qid:2 1:1
0
"""


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
        (b"1 1:1e99\n", "fit float32, not so in row 0"),
        (b"0\n1 1:1\n1 1:nan\n", "fit float32, not so in row 2"),
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

CSV = "height,width,animal\n1.5,2,cat\n2.5,3,dog\n-1e3,4,cat\n"


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
        ("a,y,label\n1,2,3\n", {}, "^target: expected the name or the index"),
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
        ({"a": [[1], [2]], "y": [0, 1]}, "expected numbers in column 'a', got list"),
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


# --- All formats ---------------------------------------------------------------------------------


@pytest.fixture
def whole(tmp_path, rng):
    """A whole file of every binary or compressed format, with the options to load it."""
    images, labels = images_of(rng, 2), np.array([1, 2])
    files = {
        "data_batch_1": (WRITERS["python 2"](batch_of(images, labels)), {}),
        "data_batch_2": (pickle.dumps(batch_of(images, labels), protocol=2), {}),
        "images": (as_idx(images), {"target": tmp_path / "labels"}),
        "images.gz": (gzip.compress(as_idx(images)), {"target": tmp_path / "labels"}),
        "a.svm.gz": (gzip.compress(LIBSVM), {}),
        "a.svm.bz2": (bz2.compress(LIBSVM), {}),
        "a.csv.gz": (gzip.compress(CSV.encode()), {"target": "animal"}),
        "labels": (as_idx(labels), {"target": tmp_path / "labels"}),
    }
    np.save(tmp_path / "X.npy", images)
    np.save(tmp_path / "y.npy", labels)
    np.savez(tmp_path / "a.npz", X=images, y=labels)
    np.savez_compressed(tmp_path / "b.npz", X=images, y=labels)
    write_svhn(tmp_path / "a.mat", images, labels)
    write_svhn(tmp_path / "b.mat", images, labels, do_compression=True)
    parquet.write_table(pyarrow.table({"a": [1.5, 2.5], "y": labels}), tmp_path / "a.parquet")
    for name, (content, _) in files.items():
        (tmp_path / name).write_bytes(content)
    files |= {name: (b"", {}) for name in ("a.npz", "b.npz", "a.mat", "b.mat", "a.parquet")}
    files["X.npy"] = b"", {"target": tmp_path / "y.npy"}
    del files["labels"]
    return {tmp_path / name: options for name, (_, options) in files.items()}


def test_truncated_files(whole):
    for file, options in whole.items():
        content = file.read_bytes()
        assert datasets.load(file, **options).X.shape[0] >= 2
        ends = {*range(0, len(content), max(1, len(content) // 40)), *range(1, 30)}
        ends |= {len(content) - n for n in range(1, 30)}
        for end in sorted(end for end in ends if 0 <= end < len(content)):
            file.write_bytes(content[:end])
            refused(file, "expected", **options)
        file.write_bytes(content)


def loaded_or_message(file, options):
    try:
        return datasets.load(file, **options)
    except ValueError as error:
        return str(error)


def test_damaged_files_are_errors_that_name_them_or_data(whole):
    random = np.random.default_rng(4)
    for file, options in whole.items():
        content = file.read_bytes()
        head = np.arange(min(len(content), 120))
        for place in [*head, *random.integers(len(content), size=80), *range(-60, 0)]:
            damaged = bytearray(content)
            damaged[place] = random.integers(256)
            file.unlink()  # what is mapped of the last one stays
            file.write_bytes(damaged)
            outcome = loaded_or_message(file, options)
            if isinstance(outcome, str):
                assert outcome.startswith((f"{file.parent}/", "target: ", "header: "))
            else:
                assert outcome.X.shape[0] == len(outcome.y) > 0


def test_truncated_archives(cifar, tmp_path):
    folder, _, _ = cifar
    for name, mode in (("a.tar.gz", "w:gz"), ("a.tar", "w")):
        archive = archived(folder, tmp_path / name, mode)
        content = archive.read_bytes()
        # An archive ends with blocks of zeros, which may miss without loss.
        last = len(content.rstrip(b"\0")) if mode == "w" else len(content)
        for end in [
            *range(0, last, len(content) // 23),
            *([last - 1, last - 9] if mode != "w" else []),
        ]:
            archive.write_bytes(content[:end])
            refused(archive, "a.tar")


def test_archives_of_something_else(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "readme").write_text("nothing")
    refused(
        archived(tmp_path / "folder", tmp_path / "a.tar.gz"),
        "expected the files of CIFAR in the archive",
    )
    (tmp_path / "b.tar.gz").write_bytes(gzip.compress(b"no archive" * 100))
    refused(tmp_path / "b.tar.gz", "expected an archive of CIFAR's files, got")
    member = tarfile.TarInfo("cifar-10-batches-py/data_batch_1")
    member.size = 2**40
    (tmp_path / "c.tar").write_bytes(member.tobuf() + bytes(10240))
    refused(tmp_path / "c.tar", "at most 536870912 bytes, got 1099511627776")


@pytest.mark.parametrize(
    "name", ["a.csv.gz", "a.svm.gz", "train-images-idx3-ubyte.gz", "a.tar.gz", "a.tgz"]
)
def test_gz_that_is_none(name, tmp_path):
    file = tmp_path / name
    file.write_bytes(b"a,y\n1,2\n")
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(as_idx(np.arange(3)))
    refused(file, "expected gzip data, as the name says")


@pytest.mark.parametrize(
    "name", ["a.mat", "a.svm", "a.npz", "a.csv", "a.parquet", "a.tar.gz", "a.csv.gz"]
)
@pytest.mark.parametrize(
    "content", [b"", b"\0", b"nonsense", b"\x80\x02]" * 100, bytes(range(256)) * 20]
)
def test_contents_that_the_name_does_not_say(name, content, tmp_path):
    file = tmp_path / name
    file.write_bytes(content)
    refused(file, r"expected|refused")


@pytest.mark.parametrize(
    "name", ["data_batch_1", "images", "images.gz", "a.npz", "b.npz", "a.mat", "a.parquet", "X.npy"]
)
def test_the_content_tells_the_format_where_the_name_does_not(name, whole, tmp_path):
    options = whole[tmp_path / name]
    expected = datasets.load(tmp_path / name, **options)
    other = tmp_path / "data.bin"
    other.write_bytes((tmp_path / name).read_bytes())
    samples = datasets.load(other, **options)
    np.testing.assert_array_equal(samples.X, expected.X)


def test_formats_that_nobody_knows(tmp_path):
    listed = "cifar, svhn, idx, libsvm, npy, npz, csv, parquet"
    (tmp_path / "data.bin").write_bytes(b"nonsense")
    (tmp_path / "empty").touch()
    for path in (tmp_path, tmp_path / "data.bin", tmp_path / "empty"):
        refused(path, f"expected .*; format= names one of {listed}")
    refused(tmp_path / "data.bin", f"^format: expected one of {listed}, got 'xls'", format="xls")
    assert ", ".join(formats.FORMATS) == listed
    refused(tmp_path, "expected the files of CIFAR", format="cifar")
    refused(tmp_path, "train-images-idx3-ubyte: no such file", FileNotFoundError, format="idx")
    for name in ("svhn", "libsvm", "npy", "npz", "csv", "parquet"):
        refused(tmp_path, f"expected a file of format '{name}', got a folder", format=name)


def test_paths_of_nothing(tmp_path):
    refused(tmp_path / "a.csv", "a.csv: no such file or folder", FileNotFoundError)
    with pytest.raises(TypeError, match=r"^path: expected the path of a file or folder, got 3"):
        datasets.load(3)
    os.mkfifo(tmp_path / "pipe.csv")
    refused(tmp_path / "pipe.csv", "expected a CSV file, got neither a file nor a folder")
    os.mkfifo(tmp_path / "pipe")
    refused(tmp_path / "pipe", "expected a file of a known format")


def test_options_of_another_format_are_refused(tmp_path):
    (tmp_path / "a.csv").write_text(CSV)
    np.savez(tmp_path / "a.npz", X=np.eye(2), y=[0, 1])
    refused(tmp_path / "a.csv", "^split: .*'csv' .* target and header and delimiter", split="test")
    refused(tmp_path / "a.npz", "^header: expected none for the format 'npz'", header=True)
    refused(tmp_path / "a.npz", "^n_features: expected none for the format 'npz'", n_features=3)
    write_svhn(tmp_path / "a.mat", np.zeros((1, 32, 32, 3), np.uint8), [1])
    refused(tmp_path / "a.mat", "^target: .* options are: none", target="y")


@pytest.mark.parametrize(
    ("name", "module", "package"),
    [
        ("a.csv", "pyarrow.csv", "pyarrow"),
        ("a.parquet", "pyarrow.parquet", "pyarrow"),
        ("a.svm", "sklearn.datasets", "scikit-learn"),
    ],
)
def test_a_library_that_is_missing(name, module, package, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    (tmp_path / name).write_bytes(b"content")
    match = f"is read with {package}, which is not available: .*; pip install {package}$"
    with pytest.raises(ImportError, match=match):
        datasets.load(tmp_path / name)


def test_what_the_system_refuses_stays_its_own_error(tmp_path, monkeypatch):
    # Read errors have a number; they are not the file's damage. (Permissions do not bind root.)
    import sklearn.datasets

    file = tmp_path / "a.svm.gz"
    file.write_bytes(gzip.compress(LIBSVM))

    def fail(*_, **__):
        raise OSError(5, "Input/output error", str(file))

    monkeypatch.setattr(sklearn.datasets, "load_svmlight_file", fail)
    with pytest.raises(OSError, match="Input/output error"):
        datasets.load(file)


def test_the_package_has_the_readers():
    assert fastsoftmax.datasets is datasets
    assert "datasets" in fastsoftmax.__all__


def test_a_model_trains_on_what_was_read(tmp_path, digits):
    images, labels = digits
    np.save(tmp_path / "X.npy", images)
    np.save(tmp_path / "y.npy", labels)
    X, y, *_ = datasets.load(tmp_path / "X.npy", target=tmp_path / "y.npy")
    in_memory, mapped = (
        fastsoftmax.SoftmaxClassifier(max_iter=3, random_state=0).fit(samples, y)
        for samples in (images.reshape(N, -1), X)
    )
    np.testing.assert_array_equal(in_memory.coef_, mapped.coef_)


# --- Without labels ------------------------------------------------------------------------------


def test_files_without_labels_are_read_where_none_are_required(tmp_path, rng):
    images = rng.integers(256, size=(N, 28, 28), dtype=np.uint8)
    table = pyarrow.table({"a": [1.5, 2.5], "b": [3.0, 4.0]})
    np.save(tmp_path / "x.npy", images)
    np.savez(tmp_path / "x.npz", X=images)
    (tmp_path / "x.csv").write_text("a,b\n1.5,3\n2.5,4\n")
    parquet.write_table(table, tmp_path / "x.parquet")
    (tmp_path / "images-idx3").write_bytes(
        bytes([0, 0, 8, 3]) + struct.pack(">3I", N, 28, 28) + images.tobytes()
    )
    for name in ("x-idx3", "digits"):
        (tmp_path / name).write_bytes((tmp_path / "images-idx3").read_bytes())
    for name in ("x.npy", "x.npz", "images-idx3", "x-idx3", "digits"):
        X, y, *_ = datasets.load(tmp_path / name, require_labels=False)
        assert y is None
        assert np.array_equal(X, images.reshape(N, -1))
    for name in ("x.csv", "x.parquet"):
        samples = datasets.load(tmp_path / name, require_labels=False)
        assert samples.y is None
        assert samples.X.tolist() == [[1.5, 3], [2.5, 4]]
        assert samples.feature_names == ("a", "b")
    for path in tmp_path.iterdir():
        with pytest.raises((ValueError, FileNotFoundError), match=r"target: |labels"):
            datasets.load(path)


def test_without_a_header_a_number_is_an_index_even_if_the_first_row_has_it(tmp_path):
    (tmp_path / "x.csv").write_text("1,2,5\n2,3,7\n")
    assert datasets.load(tmp_path / "x.csv", target="2", header=False).y.tolist() == [5, 7]


def test_labels_are_read_where_there_are_some(tmp_path):
    np.savez(tmp_path / "x.npz", X=np.eye(2), y=[3, 4])
    (tmp_path / "x.csv").write_text("a,label\n1,3\n2,4\n")
    (tmp_path / "two.csv").write_text("a,y,label\n1,3,3\n2,4,4\n")
    (tmp_path / "x.svm").write_text("3 1:1\n4 2:1\n")
    for name in ("x.npz", "x.csv", "x.svm"):
        assert datasets.load(tmp_path / name, require_labels=False).y.tolist() == [3, 4]
    refused(
        tmp_path / "x.npz", "expected the labels in an array z", target="z", require_labels=False
    )
    refused(tmp_path / "x.csv", "^target: ", target="z", require_labels=False)
    refused(tmp_path / "two.csv", "^target: ", require_labels=False)
    with pytest.raises(TypeError, match=r"^require_labels: expected True or False, got 1"):
        datasets.load(tmp_path / "x.npz", require_labels=1)
