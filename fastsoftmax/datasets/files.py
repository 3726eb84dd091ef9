"""Open files, and report errors in a sentence that begins with the file's name."""

import bz2
import errno
import gzip
import os
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

# The first bytes of compressed files, and their suffixes.
_SIGNATURES = {"gzip": b"\x1f\x8b", "bzip2": b"BZh"}
_SUFFIXES = {".gz": "gzip", ".tgz": "gzip", ".bz2": "bzip2"}

# Values of errno with which parsers report damaged data: None, and that of an invalid seek. Others are
# errors of the system.
_ERRNOS_OF_DAMAGE = (None, errno.EINVAL)

# The maximum number of names in a message.
_MAX_LISTED = 10

# Bytes that are decompressed per block.
_CHUNK_BYTES = 1 << 20


class UnreadableFile(ValueError):  # noqa: N818  # to the caller it is a ValueError
    """An error that begins with the name of the file."""

    def __init__(self, path: Path | str, problem: str) -> None:
        super().__init__(f"{path}: {printable(problem)}")


def printable(text: str) -> str:
    """Return text from a file on one line, without terminal control characters."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def comma_separated(names: Sequence[str]) -> str:
    """Return the first names, and the last one if there are more, for a message."""
    more = [f"... {names[-1]}"] if len(names) > _MAX_LISTED else []
    return printable(", ".join([*names[:_MAX_LISTED], *more]))


def as_path(name: str, path: object) -> Path:
    """Return the path of an existing file or folder.

    Raises
    ------
    TypeError
        If it is not a path.
    FileNotFoundError
        If it does not exist.
    """
    if not isinstance(path, str | os.PathLike):
        raise TypeError(f"{name}: expected the path of a file or folder, got {path!r}")
    file = path if isinstance(path, Path) else Path(path)
    if not file.exists():
        raise FileNotFoundError(f"{file}: no such file or folder")
    return file


def check_is_file(path: Path, what: str) -> None:
    """Raise unless it is a regular, non-empty file: a pipe or a device may never end."""
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file")
    if not path.is_file():
        kind = "a folder" if path.is_dir() else "neither a file nor a folder"
        raise UnreadableFile(path, f"expected {what}, got {kind}")
    if path.stat().st_size == 0:
        raise UnreadableFile(path, f"expected {what}, got an empty file")


def compression_of(path: Path) -> str | None:
    """Return "gzip" or "bzip2" according to the content, whatever the name, else None.

    Raises
    ------
    ValueError
        If the suffix names a compression that the content does not have.
    """
    with path.open("rb") as file:
        start = file.read(3)
    found = next((kind for kind, magic in _SIGNATURES.items() if start.startswith(magic)), None)
    expected = _SUFFIXES.get(path.suffix.lower())
    if expected not in (None, found):
        raise UnreadableFile(path, f"expected {expected} data, as the name says, got {start!r} ...")
    return found


@contextmanager
def open_binary(path: Path) -> Iterator[IO[bytes]]:
    """Yield a stream of the bytes of a file, decompressed if they are gzip or bzip2."""
    compression = compression_of(path)
    if compression is None:
        with path.open("rb") as file:
            yield file
        return
    with (
        reported(path, f"whole {compression} data", EOFError, OSError, zlib.error),
        gzip.open(path) if compression == "gzip" else bz2.open(path) as stream,
    ):
        yield cast(IO[bytes], stream)


@contextmanager
def reported(path: Path | str, what: str, *errors: type[Exception]) -> Iterator[None]:
    """Convert the errors of a parser to a ValueError that names the file.

    Use `Exception` for parsers that raise arbitrary errors on damaged bytes.
    """
    try:
        yield
    except UnreadableFile:
        raise
    except errors as error:
        if isinstance(error, OSError) and error.errno not in _ERRNOS_OF_DAMAGE:
            raise
        lines = str(error).splitlines() or [""]
        reason = ": ".join(filter(None, [type(error).__name__, lines[0]]))
        raise UnreadableFile(
            path, f"expected {what}, got damaged or other data ({reason})"
        ) from error


def read_up_to(stream: IO[bytes], n_bytes: int) -> bytearray:
    """Return the rest of a stream, or the first `n_bytes` + 1 bytes of it.

    Memory grows with the actual content, whatever size a header states.
    """
    content = bytearray()
    while chunk := stream.read(min(_CHUNK_BYTES, n_bytes + 1 - len(content))):
        content += chunk
    return content
