"""A file that is there as a whole, or as it was before."""

import errno
import os
import re
import secrets
from contextlib import suppress
from hashlib import sha256
from pathlib import Path


def write_atomically(file: Path, data: bytes) -> None:
    """Write `data` beside the file and let it take its place, with the permissions of a new file.

    What is no regular file, as a pipe or a device, is written to as it is.

    Raises
    ------
    OSError
        If that fails; it names the file. That is as it was then, and nothing is left beside it.
    """
    try:
        if file.exists() and not (file.is_file() or file.is_dir()):
            with open(file, "wb") as device:
                device.write(data)
        else:
            _replace(file, data)
    except OSError as error:
        if error.errno is None or error.strerror is None:
            raise
        # Of the file that was asked for: a failed write names none, and others that beside it.
        raise type(error)(error.errno, error.strerror, str(file)) from None


def _replace(file: Path, data: bytes) -> None:
    target = Path(os.path.realpath(file))  # a link goes on to lead to what is written
    if target.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    # Of this process: who comes after it may tell what it has left behind when it was killed.
    beside = target.with_name(f"{_prefix(target)}{os.getpid()}-{secrets.token_hex(8)}.tmp")
    try:
        # Not by tempfile, whose files are the owner's alone: open leaves what the umask does.
        with open(beside, "xb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(beside, target)
    except BaseException:
        with suppress(OSError):
            beside.unlink()
        raise


def remove_leftovers(file: Path) -> None:
    """Remove what processes that are no more have begun to write beside `file`."""
    target = Path(os.path.realpath(file))
    pattern = re.compile(rf"{re.escape(_prefix(target))}(\d+)-[0-9a-f]{{16}}\.tmp")
    for beside in target.parent.iterdir():
        match = pattern.fullmatch(beside.name)
        if match and not _is_running(int(match[1])):
            with suppress(OSError):
                beside.unlink()


def _prefix(target: Path) -> str:
    """Of the files beside it: a name of its own may be as long as names can be."""
    return f".fastsoftmax-{sha256(os.fsencode(target.name)).hexdigest()[:16]}-"


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:  # another user's
        return True
    return True
