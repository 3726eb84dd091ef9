"""The SHA-256 of a file, stored in the file itself: that of its bytes with zeros in place of the digest.

It covers every byte: names, dtypes, shapes and values of the tensors, the metadata, and the structure of
the format. So no byte can change unnoticed. It is not a signature: anybody can compute the digest of a
changed file.
"""

from hashlib import sha256

ZEROS = b"0" * 64


def sealed(data: bytes, at: int) -> bytes:
    """Return `data` with its digest at the offset `at`, where it has 64 zeros."""
    assert data[at : at + 64] == ZEROS
    return b"".join((data[:at], _digest(data, at), data[at + 64 :]))


def check_seal(data: bytes, at: int) -> None:
    """Check that the digest at the offset `at` is that of `data`.

    Raises
    ------
    ValueError
        If it is another one.
    """
    if data[at : at + 64] != _digest(data, at):
        raise ValueError("its SHA-256 is not the one that it was saved with: truncated or changed")


def _digest(data: bytes, at: int) -> bytes:
    view = memoryview(data)
    digest = sha256(view[:at])
    digest.update(ZEROS)
    digest.update(view[at + 64 :])
    return digest.hexdigest().encode()
