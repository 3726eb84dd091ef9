"""Targets for the readers of files: whatever the bytes are, samples come out, or a documented error.

The first bytes of an input choose options, the rest is the file.
"""

import bz2
import gzip
import io
import struct
import warnings
import zipfile
import zlib
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pyarrow

from fastsoftmax import datasets
from fastsoftmax.datasets import csv_blocks, tables
from fastsoftmax.datasets.formats import load_batches

from .decoding import Choices, file_of, folder

_OPTIONS = (
    *("format", "target", "split", "header", "delimiter", "zero_based", "n_features"),
    *("ignore", "features"),
)
N_CHOICES = 6
# Stands for the pixels of an image, so that inputs are short.
PIXELS = b"<3072>"
# A sample that a file holds takes bytes of it, but for what is compressed: deflate makes 1032 bytes of
# one, bzip2 some more, and Parquet runs of any length.
_MAX_BYTES = 1 << 28


def _parts(data: bytes) -> tuple[Choices, bytes]:
    return Choices(data[:N_CHOICES]), data[N_CHOICES:]


def loaded(path: Path, **options: Any) -> datasets.Samples | None:
    """Samples that are well formed, or None where the file is refused as it should be."""
    try:
        samples = datasets.load(path, **options)
    except (ValueError, FileNotFoundError) as error:
        check_message(error)
        return None
    check_samples(samples, options.get("require_labels", True))
    return samples


def check_message(error: Exception) -> None:
    message = str(error)
    assert message.isprintable(), f"not fit to print: {message!r}"
    known = (str(folder()), *(f"{option}: " for option in _OPTIONS))
    assert message.startswith(known), f"names neither the file nor an option: {message}"


def check_samples(samples: datasets.Samples, require_labels: bool) -> None:
    X, y, class_names, image_shape, feature_names, ignored = samples
    n_samples, n_features = X.shape
    assert n_samples > 0
    assert n_features > 0
    if isinstance(X, np.ndarray):
        assert X.dtype.kind in "fiub"
        assert X.dtype.itemsize <= 8
        assert X.nbytes <= _MAX_BYTES
        X.tobytes()  # every byte is there
    else:
        assert X.format == "csr"
        assert X.dtype == np.float32
        assert np.isfinite(X.data).all()
        X.check_format(full_check=True)
    if y is None:
        assert not require_labels
    elif y.ndim == 2:
        assert y.dtype.kind == "f"
    else:
        assert y.shape == (n_samples,)
        assert y.dtype in (np.int64, np.bool_) or y.dtype.kind == "U"
    if y is not None:
        assert len(y) == n_samples
    if class_names is not None:
        assert all(isinstance(name, str) for name in class_names)
    if image_shape is not None:
        assert int(np.prod(image_shape)) == n_features
    if ignored is not None:
        assert ignored.num_rows == n_samples
    if feature_names is not None:
        assert len(feature_names) == n_features
        assert all(isinstance(name, str) for name in feature_names)


def _compressed(content: bytes, kind: int) -> tuple[bytes, str]:
    """What a compressor makes of content, and the suffix; of most inputs nothing."""
    if kind == 1:
        return gzip.compress(content, 1), ".gz"
    return (bz2.compress(content, 1), ".bz2") if kind == 2 else (content, "")


def cifar(data: bytes) -> None:
    choices, content = _parts(data)
    target = choices.one_of((None, "labels", "fine_labels", "coarse_labels"))
    content = content.replace(PIXELS, bytes(3072))
    samples = loaded(file_of("data_batch_1", content), format="cifar", target=target)
    if samples is not None:
        assert samples.X.shape[1:] == (3072,)
        assert samples.X.dtype == np.uint8
        assert samples.y.min() >= 0
        assert samples.y.max() < 100


def cifar_archive(data: bytes) -> None:
    choices, content = _parts(data)
    split, kind = choices.one_of((None, "test")), choices.below(5)
    content = content.replace(PIXELS, bytes(3072))
    packed, suffix = _compressed(content, kind)
    loaded(file_of(f"cifar.tar{suffix}", packed), split=split)


def svhn(data: bytes) -> None:
    """The bytes as they are or, of every other input, as arrays that are compressed here."""
    choices, content = _parts(data)
    is_packed = choices.below(2)
    content = content.replace(PIXELS, bytes(range(256)) * 12)
    if is_packed:
        header, elements = content[:128], content[128:]
        parts = [zlib.compress(part, 1) for part in elements.split(b"<next>")]
        tag = ">II" if header.endswith(b"MI") else "<II"
        content = header + b"".join(struct.pack(tag, 15, len(part)) + part for part in parts)
    samples = loaded(file_of("train_32x32.mat", content))
    if samples is not None:
        assert samples.y.min() >= 0
        assert samples.y.max() <= 9


def idx(data: bytes) -> None:
    choices, content = _parts(data)
    images, labels = _two(content)
    names = (None, "idx") if choices.below(4) else (None,)
    packed, suffix = _compressed(images, choices.below(5))
    path = file_of(f"train-images-idx3-ubyte{suffix}", packed)
    file_of("train-labels-idx1-ubyte", labels)
    loaded(path, format=names[-1], require_labels=bool(choices.below(4)))


def _two(content: bytes) -> tuple[bytes, bytes]:
    first, _, second = content.partition(b"<next>")
    return first, second


def libsvm(data: bytes) -> None:
    choices, content = _parts(data)
    zero_based = choices.one_of((None, True, False, "auto"))
    n_features = choices.one_of((None, None, 1, 40))
    packed, suffix = _compressed(content, choices.below(6))
    path = file_of(f"news20{suffix}", packed)
    format_name = choices.one_of(("libsvm", "libsvm", None))
    options = {"zero_based": zero_based, "n_features": n_features} if format_name else {}
    loaded(path, format=format_name, **options)


def npy(data: bytes) -> None:
    choices, content = _parts(data)
    with_labels = choices.below(2)
    samples, labels = _two(content)
    path = file_of("X.npy", samples)
    target = file_of("y.npy", labels) if with_labels else None
    loaded(path, target=target, require_labels=bool(choices.below(2)))


def npz(data: bytes) -> None:
    """An archive as it is, or one of the members in the input, with true checksums."""
    choices, content = _parts(data)
    mode, split = choices.below(3), choices.one_of((None, "train", "test"))
    target, required = choices.one_of((None, None, None, "labels")), bool(choices.below(2))
    if mode:
        stream = io.BytesIO()
        method = zipfile.ZIP_DEFLATED if mode == 2 else zipfile.ZIP_STORED
        with warnings.catch_warnings(), zipfile.ZipFile(stream, "w", method) as archive:
            warnings.simplefilter("ignore")  # of a name that comes twice
            for part in content.split(b"<next>"):
                name, _, member = part.partition(b"=")
                archive.writestr(zipfile.ZipInfo(name.decode("latin1")), member, method)
        content = stream.getvalue()
    loaded(file_of("a.npz", content), split=split, target=target, require_labels=required)


def csv(data: bytes) -> None:
    choices, content = _parts(data)
    options = {
        "header": choices.one_of((None, True, False)),
        "delimiter": choices.one_of((None, None, ";", "\t", "é")),
        "target": choices.one_of((None, "label", 0, -1, "-1", 3)),
        "require_labels": bool(choices.below(2)),
    }
    packed, suffix = _compressed(content, choices.below(16))
    options |= choices.one_of(_COLUMNS)
    path = file_of(f"a.csv{suffix}", packed)
    with patch.object(csv_blocks, "_BLOCK_BYTES", 64 + len(content) % 191):
        check_batches(path, loaded(path, **options), **options)


def parquet(data: bytes) -> None:
    choices, content = _parts(data)
    target, required = choices.one_of((None, "label", 0, -1)), bool(choices.below(2))
    path = file_of("a.parquet", content)
    options = {"target": target, "require_labels": required, **choices.one_of(_COLUMNS)}
    with patch.object(tables, "_ROWS_PER_BATCH", 3):
        check_batches(path, loaded(path, **options), **options)


_ROW_LONGER_THAN_A_BLOCK = ("straddling object straddles two", "Empty CSV file or block")
_COLUMNS: tuple[dict[str, Any], ...] = (
    {},
    {"ignore": ["a", -1], "keep_ignored": True},
    {"features": ["a", "0"], "keep_ignored": True},
)


def check_batches(path: Path, samples: datasets.Samples | None, **options: Any) -> None:
    """Assert that all numbers are finite, and that batches have the samples of the table, or an error."""
    assert samples is None or np.isfinite(samples.X).all()
    refusal = ""
    try:
        batches = list(load_batches(path, **options))
    except (ValueError, FileNotFoundError) as error:
        check_message(error)
        refusal = str(error)
    if refusal:
        is_of_block = any(reason in refusal for reason in _ROW_LONGER_THAN_A_BLOCK)
        assert samples is None or is_of_block, refusal
        return
    assert samples is not None
    assert np.array_equal(np.concatenate([batch.X for batch in batches]), samples.X)
    labels = [batch.y for batch in batches if batch.y is not None]
    assert (samples.y is None) == (not labels)
    assert not labels or np.concatenate(labels).tolist() == samples.y.tolist()
    assert all(batch.feature_names == samples.feature_names for batch in batches)
    if samples.ignored is not None:
        ignored = pyarrow.concat_tables([batch.ignored for batch in batches])
        # NaN differs from itself, but not in its text.
        assert str(ignored.to_pydict()) == str(samples.ignored.to_pydict())


def any_format(data: bytes) -> None:
    """A file without a suffix, whose content has to say what it is, or with one that it is not."""
    choices, content = _parts(data)
    suffix = choices.one_of(("", "", "", ".gz", ".csv", ".mat", ".npy", ".npz", ".parquet", ".tar"))
    content = content.replace(PIXELS, bytes(3072))
    loaded(file_of(f"data{suffix}", content), require_labels=bool(choices.below(2)))


TARGETS = {
    "cifar": cifar,
    "cifar_archive": cifar_archive,
    "svhn": svhn,
    "idx": idx,
    "libsvm": libsvm,
    "npy": npy,
    "npz": npz,
    "csv": csv,
    "parquet": parquet,
    "any_format": any_format,
}
