"""Replace files atomically: a reader finds the old file or the new one, never a part."""

import errno
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from typing import IO


def write_atomically(file: Path, data: bytes) -> None:
    """Write `data` beside the file and replace it atomically; see `replaced`."""
    with replaced(file) as stream:
        stream.write(data)


@contextmanager
def replaced(file: Path) -> Iterator[IO[bytes]]:
    """Yield a stream beside the file that replaces it atomically, with the permissions of a new file.

    A file that is not a regular one, such as a pipe or a device, is written directly.

    Raises
    ------
    OSError
        If writing fails; it names the file. After this and any other error the file is unchanged, and
        nothing is left beside it.
    """
    try:
        if file.exists() and not (file.is_file() or file.is_dir()):
            with open(file, "wb") as device:
                yield device
        else:
            with _beside(file) as stream:
                yield stream
    except OSError as error:
        if error.errno is None or error.strerror is None:
            raise
        # Name the requested file: a failed write names none, other failures the temporary file.
        raise type(error)(error.errno, error.strerror, str(file)) from None


@contextmanager
def _beside(file: Path) -> Iterator[IO[bytes]]:
    target = Path(os.path.realpath(file))  # a link keeps pointing to the file
    if target.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    # The name contains the process id, so that a later process can remove what a killed one has left.
    beside = target.with_name(f"{_prefix(target)}{os.getpid()}-{secrets.token_hex(8)}.tmp")
    try:
        # tempfile would make a file that only its owner may read; open applies the umask.
        with open(beside, "xb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(beside, target)
    except BaseException:
        with suppress(OSError):
            beside.unlink()
        raise


def remove_leftovers(file: Path) -> None:
    """Remove the temporary files beside `file` whose processes no longer exist."""
    target = Path(os.path.realpath(file))
    pattern = re.compile(rf"{re.escape(_prefix(target))}(\d+)-[0-9a-f]{{16}}\.tmp")
    for beside in target.parent.iterdir():
        match = pattern.fullmatch(beside.name)
        if match and not _is_running(int(match[1])):
            with suppress(OSError):
                beside.unlink()


def _prefix(target: Path) -> str:
    """Return the prefix of temporary files: a digest, since `target` may have the longest possible name."""
    return f".fastsoftmax-{sha256(os.fsencode(target.name)).hexdigest()[:16]}-"


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:  # a process of another user
        return True
    return True
