"""What the tests share: every backend, both dtypes, and arrays that lie in memory in every way."""

import os

# Read when numba starts its threads: those of a parallel loop that spin while they wait take minutes
# from a suite on a busy machine.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import pytest

from fastsoftmax.backends import get_backend

BACKENDS = ("naive", "vectorized", "numba", "compiled")


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


@pytest.fixture(params=BACKENDS)
def backend(request):
    """The name of a backend."""
    return request.param


@pytest.fixture
def kernels(backend):
    """A backend itself: the functions of `fastsoftmax.backends.Backend`."""
    return get_backend(backend)


@pytest.fixture(params=[np.float32, np.float64], ids=["float32", "float64"])
def dtype(request):
    """A dtype that is computed in."""
    return request.param


@pytest.fixture(params=LAYOUTS.values(), ids=LAYOUTS.keys())
def layout(request):
    """A function from an array to an equal one that lies differently in memory."""
    return request.param


@pytest.fixture
def rng():
    return np.random.default_rng(20)
