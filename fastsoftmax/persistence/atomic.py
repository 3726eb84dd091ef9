"""A file that is there as a whole, or as it was before."""

import os
import secrets
from contextlib import suppress
from pathlib import Path


def write_at_once(file: Path, data: bytes) -> None:
    """Write `data` beside the file and let it take its place, with the permissions of a new file.

    Raises
    ------
    OSError
        If that fails. `file` is as it was then, and nothing is left beside it.
    """
    target = Path(os.path.realpath(file))  # a link goes on to lead to what is written
    if target.is_dir():
        raise IsADirectoryError(f"{file}: is a directory")
    beside = target.with_name(f".fastsoftmax-{secrets.token_hex(16)}.tmp")
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
