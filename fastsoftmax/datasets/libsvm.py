"""LIBSVM text: a label and `index:value` pairs on each line, plain or compressed."""

import re
from pathlib import Path

import numpy as np

from .._arrays.validation import as_integer, shown
from .._optional import import_optional
from .dataset import Samples
from .files import UnreadableFile, check_is_file, open_binary, reported
from .shapes import as_file_labels

_NUMBER = rb"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_LINE = re.compile(
    rb"(?:%b(?:\s+qid:\d+)?(?P<pairs>(?:\s+\d+:%b)*))?\s*(?:#.*)?" % (_NUMBER, _NUMBER), re.DOTALL
)
_MAX_SHOWN_BYTES = 60  # of a line, in a message


def read_libsvm(
    path: Path, zero_based: bool | str | None = None, n_features: int | None = None
) -> Samples:
    """Return CSR samples of float32 and labels of int64.

    Parameters
    ----------
    path : Path
        The file, plain, gzip or bzip2.
    zero_based : {"auto", True, False}, optional
        Whether the first feature has the index 0; by default, "auto", if that index occurs.
    n_features : int, optional
        By default the largest index. Give the same number for files that belong together.
    """
    if zero_based is None:
        zero_based = "auto"
    if zero_based not in ("auto", True, False):
        raise ValueError(f"zero_based: expected True, False or 'auto', got {shown(zero_based)}")
    if n_features is not None:
        n_features = as_integer("n_features", n_features, 1)
    what = "LIBSVM lines, 'label index:value index:value ...'"
    check_is_file(path, what)
    datasets = import_optional("sklearn.datasets", "LIBSVM text is read with")
    try:
        with open_binary(path) as stream, reported(path, what, Exception):
            X, y = datasets.load_svmlight_file(
                stream, dtype=np.float32, zero_based=zero_based, n_features=n_features
            )
    except UnreadableFile as error:
        line = _first_bad_line(path) if isinstance(error.__cause__, ValueError) else None
        if line is None:
            raise
        raise UnreadableFile(path, f"expected {what}, got {line}") from error
    finite = np.isfinite(X.data)
    if not finite.all():
        row = int(np.searchsorted(X.indptr, int(np.argmin(finite)), side="right")) - 1
        raise UnreadableFile(
            path, f"expected finite numbers that fit float32, got another one in row {row}"
        )
    return Samples(X, as_file_labels(path, y))


def is_libsvm(line: bytes) -> bool:
    """Return whether a line has a label and pairs."""
    match = _LINE.fullmatch(line)
    return bool(match and match["pairs"])


def _first_bad_line(path: Path) -> str | None:
    with open_binary(path) as stream:
        for number, line in enumerate(stream, 1):
            if not _LINE.fullmatch(line.strip()):
                shown = line.strip()[:_MAX_SHOWN_BYTES].decode("latin1")
                return f"{shown!r}{' ...' if len(line.strip()) > _MAX_SHOWN_BYTES else ''} in line {number}"
    return None
