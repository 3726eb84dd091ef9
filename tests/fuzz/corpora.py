"""The corpora: a file for each target, with an input a line, in base64.

Most inputs have three bytes. A zip adds a hundred to each, and a tar a thousand; what deflate makes of them
depends on the version of zlib, and git can neither compress nor merge it. Lines are the smallest of these,
in the working tree (123 KB) and in git (24 KB), which merges them. The name of an input is the one that
libFuzzer gives it, a hash of its content: the file needs no names, its lines are in their order.
"""

from base64 import b64decode, b64encode
from collections.abc import Iterable
from hashlib import sha1
from pathlib import Path

CORPUS = Path(__file__).with_name("corpus")


def name_of(data: bytes) -> str:
    """Return the name of an input."""
    return sha1(data).hexdigest()


def read(target: str) -> list[bytes]:
    """Return the inputs in the corpus of a target; some targets have none."""
    path = _file_of(target)
    lines = path.read_text(encoding="ascii").splitlines() if path.exists() else []
    return [b64decode(line, validate=True) for line in lines]


def write(target: str, inputs: Iterable[bytes]) -> None:
    """Make these the corpus of a target."""
    lines = [b64encode(data) + b"\n" for data in sorted({*inputs}, key=name_of)]
    _file_of(target).write_bytes(b"".join(lines))


def unpack(inputs: Iterable[bytes], folder: Path) -> list[Path]:
    """Write every input to a file of its name, as libFuzzer reads them, and return the files."""
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for data in inputs:
        files.append(folder / name_of(data))
        files[-1].write_bytes(data)
    return files


def _file_of(target: str) -> Path:
    return CORPUS / f"{target}.txt"
