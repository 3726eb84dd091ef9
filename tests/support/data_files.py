"""Files of data sets as their makers write them, and how a refused one is checked."""

import pickle
import struct
import tarfile

import numpy as np
import pytest
import scipy.io
import scipy.sparse

from fastsoftmax import datasets

N = 6  # images in a file


def refused(path, match, error=ValueError, **options):
    """Assert that loading is an error of one line, which begins with the file or an option."""
    with pytest.raises(error, match=match) as caught:
        datasets.load(path, **options)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith((str(path.parent), *(f"{option}: " for option in OPTIONS)))


OPTIONS = (
    *("format", "target", "split", "header", "delimiter", "zero_based", "n_features"),
    *("ignore", "features", "keep_ignored"),
)


def images_of(rng, n=N):
    """Images (n, 32, 32, 3) as they are drawn."""
    return rng.integers(256, size=(n, 32, 32, 3), dtype=np.uint8)


def channels_first(images):
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2)).reshape(len(images), 3072)


def by_python_2(value):
    """The opcodes that Python 2 and NumPy of its time wrote in protocol 2: every text is a str of bytes."""
    if isinstance(value, bytes):
        if len(value) < 256:
            return b"U" + bytes([len(value)]) + value
        return b"T" + struct.pack("<i", len(value)) + value
    if isinstance(value, int):
        return b"J" + struct.pack("<i", value)
    if isinstance(value, list):
        return b"](" + b"".join(map(by_python_2, value)) + b"e"
    if isinstance(value, dict):
        return (
            b"}(" + b"".join(by_python_2(entry) for pair in value.items() for entry in pair) + b"u"
        )
    dtype = b"cnumpy\ndtype\n" + by_python_2(b"u1") + b"K\0K\1\x87R"
    dtype += b"(K\3" + by_python_2(b"|") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0tb"
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\0\x85"
        + by_python_2(b"b")
        + b"\x87R"
    )
    shape = b"".join(map(by_python_2, value.shape)) + b"\x86"
    return array + b"(K\1" + shape + dtype + b"\x89" + by_python_2(value.tobytes()) + b"tb"


WRITERS = {
    "python 2": lambda value: b"\x80\x02" + by_python_2(value) + b".",
    "protocol 2": lambda value: pickle.dumps(value, protocol=2),
    "protocol 4": lambda value: pickle.dumps(value, protocol=4),
    "latin1 again": lambda value: pickle.dumps(
        {key.decode(): entry for key, entry in value.items()}, protocol=2
    ),
}


NAMES = [
    b"airplane",
    b"automobile",
    b"bird",
    b"cat",
    b"deer",
    b"dog",
    b"frog",
    b"horse",
    b"ship",
    b"truck",
]


def batch_of(images, labels, key=b"labels"):
    return {
        b"batch_label": b"training batch 1 of 5",
        key: [int(label) for label in labels],
        b"data": channels_first(images),
        b"filenames": [b"image_%d.png" % i for i in range(len(images))],
    }


def archived(folder, archive, mode="w:gz"):
    with tarfile.open(archive, mode) as tar:
        tar.add(folder, folder.name)
    return archive


class Calls:
    """An object whose pickle calls a function."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


CODES = {"u1": 8, "i1": 9, ">i2": 11, ">i4": 12, ">f4": 13, ">f8": 14}


def as_idx(array, code="u1", sizes=None):
    sizes = array.shape if sizes is None else sizes
    header = bytes([0, 0, CODES[code], len(sizes)]) + struct.pack(f">{len(sizes)}I", *sizes)
    return header + array.astype(code).tobytes()


def write_svhn(file, images, labels, **options):
    y = np.asarray(labels, np.uint8).reshape(-1, 1)
    scipy.io.savemat(file, {"X": images.transpose(1, 2, 3, 0), "y": y}, **options)


LIBSVM = b"""# a comment
+1 1:0.5 3:-2e-1
-1 2:1 # another
3 qid:2 1:1
0
"""


CSV = "height,width,animal\n1.5,2,cat\n2.5,3,dog\n-1e3,4,cat\n"
