"""CIFAR, IDX and SVHN: whole files as their makers write them, and files of something else."""

import bz2
import gzip
import io
import os
import pickle
import struct
import zlib

import numpy as np
import pytest
import scipy.io
import scipy.sparse
from data_files import (
    CODES,
    NAMES,
    WRITERS,
    Calls,
    N,
    archived,
    as_idx,
    batch_of,
    images_of,
    refused,
    write_svhn,
)

from fastsoftmax import datasets

WRITER = pytest.mark.parametrize("dumps", WRITERS.values(), ids=WRITERS.keys())


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
        ({b"labels": [0, 1, 10, 3, 4, 5]}, "from 0 to 9, got another value in row 2"),
        ({b"labels": [0, 1, -1, 3, 4, 5]}, "from 0 to 9, got another value in row 2"),
        ({b"labels": [0, 1, 2.0, 3, 4, 5]}, "from 0 to 9, got another value in row 2"),
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
