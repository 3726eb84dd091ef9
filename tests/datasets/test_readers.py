"""Readers of all formats: valid files, and damaged ones, whose errors are printable."""

import bz2
import gzip
import os
import pickle
import struct
import sys
import tarfile

import numpy as np
import pyarrow
import pytest
from covering import few
from data_files import (
    CSV,
    LIBSVM,
    WRITERS,
    N,
    archived,
    as_idx,
    batch_of,
    images_of,
    refused,
    write_svhn,
)
from pyarrow import parquet

import fastsoftmax
from fastsoftmax import datasets
from fastsoftmax.datasets import formats

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


@pytest.mark.thinned
def test_truncated_files(whole):
    for file, options in whole.items():
        content = file.read_bytes()
        assert datasets.load(file, **options).X.shape[0] >= 2
        ends = {*range(0, len(content), max(1, len(content) // 40)), *range(1, 30)}
        ends |= {len(content) - n for n in range(1, 30)}
        for end in few(sorted(end for end in ends if 0 <= end < len(content)), 25):
            file.write_bytes(content[:end])
            refused(file, "expected", **options)
        file.write_bytes(content)


def loaded_or_message(file, options):
    try:
        return datasets.load(file, **options)
    except ValueError as error:
        return str(error)


@pytest.mark.thinned
def test_damaged_files_are_errors_that_name_them_or_data(whole):
    random = np.random.default_rng(4)
    for file, options in whole.items():
        content = file.read_bytes()
        head = np.arange(min(len(content), 120))
        for place in few([*head, *random.integers(len(content), size=80), *range(-60, 0)], 60):
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
