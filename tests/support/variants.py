"""Every backend, and arrays that lie in memory in every way."""

import os

import numpy as np

# The tests do not ask which there are: one that is missing must fail, not be left out. `make platforms`
# alone sets the variable, for an install that has been made without one on purpose.
BACKENDS = tuple(
    os.environ.get("FASTSOFTMAX_TEST_BACKENDS", "naive vectorized numba compiled").split()
)


def _unaligned(array):
    buffer = bytearray(array.nbytes + 1)
    copy = np.ndarray(array.shape, array.dtype, buffer, offset=1)
    copy[...] = array
    return copy


def _read_only(array):
    copy = array.copy()
    copy.setflags(write=False)
    return copy


# Each returns an array equal to the one that it gets, and laid out in its own way.
LAYOUTS = {
    "contiguous": np.copy,
    "fortran": np.asfortranarray,
    "strided rows": lambda array: np.repeat(array, 3, axis=0)[::3],
    "strided columns": lambda array: np.repeat(array, 2, axis=-1)[..., ::2],
    "negative strides": lambda array: np.flip(np.flip(array).copy()),
    "big-endian": lambda array: array.astype(array.dtype.newbyteorder(">")),
    "unaligned": _unaligned,
    "read-only": _read_only,
}
