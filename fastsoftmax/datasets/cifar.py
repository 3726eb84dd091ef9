"""CIFAR-10 and CIFAR-100: pickled batches, in their folder, in the archive as downloaded, or one by one.

Krizhevsky: Learning Multiple Layers of Features from Tiny Images (2009).
"""

import tarfile
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .._arrays.validation import shown
from ..backends.protocol import LabelArray
from .dataset import Samples
from .files import UnreadableFile, check_is_file, comma_separated, open_binary, reported
from .unpickling import PickledBytes, as_text, unpickled

IMAGE_SHAPE = (32, 32, 3)
_N_PIXELS = 3 * 32 * 32
_MAX_BYTES = 1 << 29  # the largest file, CIFAR-100's training images, has 156 MB

# By the key of labels in a batch, in order of preference: the number of classes, and the key of the
# classes' names.
_LABELS = {
    "labels": (10, "label_names"),
    "fine_labels": (100, "fine_label_names"),
    "coarse_labels": (20, "coarse_label_names"),
}


class _Edition(NamedTuple):
    """The names of the files of CIFAR-10 or of CIFAR-100."""

    splits: dict[str, tuple[str, ...]]
    names: str  # the file with the names of the classes


_EDITIONS = (
    _Edition(
        {"train": tuple(f"data_batch_{i}" for i in range(1, 6)), "test": ("test_batch",)},
        "batches.meta",
    ),
    _Edition({"train": ("train",), "test": ("test",)}, "meta"),
)
SPLITS = ("train", "test")


def read_cifar(path: Path, target: object = None, split: str | None = None) -> Samples:
    """Return images as rows of height x width x channel, uint8, and their labels.

    The files store the channel first: all of red, then green, then blue. The rows returned are images of
    shape (32, 32, 3), as plotting functions expect.

    Parameters
    ----------
    path : Path
        The folder, the archive, or a single batch.
    target : {"labels", "fine_labels", "coarse_labels"}, optional
        The labels, by their name in the file.
    split : {"train", "test"}, optional
        The part of a folder or archive; "train" by default.
    """
    if target is not None and target not in _LABELS:
        raise ValueError(f"target: expected one of {', '.join(_LABELS)}, got {shown(target)}")
    if split is not None and split not in SPLITS:
        raise ValueError(f"split: expected one of {', '.join(SPLITS)}, got {shown(split)}")
    if path.is_dir():
        contents = _folder(path, split or "train")
    elif is_archive(path):
        contents = _archive(path, split or "train")
    elif split is not None:
        raise ValueError(
            f"split: expected none if the path is one batch, {path}, got {shown(split)}"
        )
    else:
        contents = _single_batch(path)
    return _samples(contents, target)


def has_cifar(folder: Path) -> bool:
    """Return whether a folder contains batches."""
    return _edition_of([file.name for file in folder.iterdir()]) is not None


def is_archive(path: Path) -> bool:
    """Return whether a file has the name of an archive."""
    return path.name.lower().endswith((".tar", ".tar.gz", ".tgz", ".tar.bz2"))


def _edition_of(names: Iterable[str]) -> _Edition | None:
    present = set(names)
    for edition in _EDITIONS:
        batches = set(chain(*edition.splits.values()))
        if present & batches and (present & {edition.names} or present >= batches):
            return edition
    return None


def _single_batch(path: Path) -> Iterator[tuple[Path, bytes]]:
    """Yield the batch, and the names of the classes if they are beside it."""
    yield path, _content(path)
    for edition in _EDITIONS:
        names = path.with_name(edition.names)
        if path.name in chain(*edition.splits.values()) and names.is_file():
            yield names, _content(names)


def _folder(folder: Path, split: str) -> Iterator[tuple[Path, bytes]]:
    edition = _edition_of(file.name for file in folder.iterdir())
    if edition is None:
        raise UnreadableFile(folder, f"expected the files of CIFAR: {_described()}")
    for name in edition.splits[split]:
        yield folder / name, _content(folder / name)
    if (folder / edition.names).is_file():
        yield folder / edition.names, _content(folder / edition.names)


def _archive(path: Path, split: str) -> Iterator[tuple[Path, bytes]]:
    """Yield the required files, read in one pass: to seek back in compressed data is to read it again."""
    check_is_file(path, "an archive of CIFAR's files")
    known = {
        name: edition for edition in _EDITIONS for name in (*edition.splits[split], edition.names)
    }
    found: dict[str, bytes] = {}
    with (
        open_binary(path) as stream,
        reported(path, "an archive of CIFAR's files", Exception),
        tarfile.open(fileobj=stream, mode="r:") as archive,
    ):
        for member in archive:
            name = Path(member.name).name
            file = archive.extractfile(member) if name in known and member.isfile() else None
            if file is not None:
                _check_length(path / name, member.size)
                found[name] = file.read()
        while stream.read(1 << 20):  # to the end of the file, where the checksum is
            pass
    edition = next((known[name] for name in found if name not in ("batches.meta", "meta")), None)
    if edition is None:
        raise UnreadableFile(path, f"expected the files of CIFAR in the archive: {_described()}")
    missing = [name for name in edition.splits[split] if name not in found]
    if missing:
        raise UnreadableFile(
            path, f"expected {', '.join(missing)} in the archive, but it is missing"
        )
    for name in (*edition.splits[split], edition.names):
        if name in found:
            yield path / name, found.pop(name)


def _content(path: Path) -> bytes:
    check_is_file(path, "a batch of CIFAR")
    _check_length(path, path.stat().st_size)
    return path.read_bytes()


def _check_length(path: Path, n_bytes: int) -> None:
    if not 0 <= n_bytes <= _MAX_BYTES:
        raise UnreadableFile(
            path, f"expected a file of CIFAR, at most {_MAX_BYTES} bytes, got {n_bytes}"
        )


def _samples(contents: Iterable[tuple[Path, bytes]], target: object) -> Samples:
    """Return the samples of all batches. Of each batch, only pixels and labels are kept."""
    batches, names = [], {}
    for path, content in contents:
        if path.name in (edition.names for edition in _EDITIONS):
            names = unpickled(path, content, "the names of CIFAR's classes")
        else:
            batches.append(_batch(path, content, target))
    y = np.concatenate([labels for _, labels, _ in batches])
    class_names = _class_names(names, batches[0][2])
    X = np.empty((len(y), _N_PIXELS), np.uint8)
    end = len(X)
    while batches:
        pixels = batches.pop()[0]
        rows = X[end - len(pixels) : end].reshape(-1, *IMAGE_SHAPE)
        rows[...] = pixels.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
        end -= len(pixels)
    return Samples(X, y, class_names, IMAGE_SHAPE)


def _batch(path: Path, content: bytes, target: object) -> tuple[NDArray[np.uint8], LabelArray, str]:
    batch = unpickled(path, content, "a batch of CIFAR")
    key = next((key for key in _LABELS if key in batch), None) if target is None else str(target)
    pixels = batch.get("data")
    if not isinstance(pixels, PickledBytes) or key not in batch:
        raise UnreadableFile(
            path,
            f"expected a batch of CIFAR, with data and {target or ' or '.join(_LABELS)}, "
            f"got {comma_separated(sorted(batch)) or 'nothing'}",
        )
    images = pixels.array
    if images.ndim != 2 or images.shape[1] != _N_PIXELS:
        raise UnreadableFile(path, f"expected data of shape (n, {_N_PIXELS}), got {images.shape}")
    return images, _labels(path, batch[key], len(images), _LABELS[key][0]), key


def _labels(path: Path, labels: Any, n_samples: int, n_classes: int) -> LabelArray:
    if not isinstance(labels, list) or len(labels) != n_samples:
        raise UnreadableFile(path, f"expected a list of {n_samples} labels, one for each image")
    for row, label in enumerate(labels):
        if type(label) is not int or not 0 <= label < n_classes:
            raise UnreadableFile(
                path, f"expected labels from 0 to {n_classes - 1}, got another value in row {row}"
            )
    return np.array(labels, np.int64)


def _class_names(names: Mapping[str, Any], key: str) -> tuple[str, ...] | None:
    n_classes, name = _LABELS[key]
    found = names.get(name)
    if not isinstance(found, list) or len(found) != n_classes:
        return None
    texts = tuple(as_text(entry) for entry in found if isinstance(entry, str | bytes))
    return texts if len(texts) == n_classes else None


def _described() -> str:
    return "data_batch_1 to data_batch_5 and test_batch, or train, test and meta"
