# cython: language_level=3, boundscheck=False, wraparound=False
"""A loss of one's own on fastsoftmax's compiled core: no Python between the rows, no copy, no GIL.

The surprise of a language model about a text, in bits a token: the mean cross-entropy over ln 2. Rows are a
view into a larger array, so the call takes their stride.
"""

from libc.math cimport log, NAN
from libc.stdint cimport int64_t

from fastsoftmax.c_api cimport (
    FASTSOFTMAX_API_VERSION, FASTSOFTMAX_FLOAT32, fastsoftmax_api, fastsoftmax_import,
)

import numpy as np

cdef const fastsoftmax_api *api = fastsoftmax_import()

# Of the header that this was compiled with; any later version of the library runs it.
API_VERSION = FASTSOFTMAX_API_VERSION


def bits_per_token(const float[:, :] logits, const int64_t[::1] tokens, int n_threads=1):
    """Mean of -log2 of the probability of each token; NaN if a row has no softmax."""
    cdef Py_ssize_t n = logits.shape[0], n_classes = logits.shape[1], i
    if n == 0 or tokens.shape[0] != n or logits.strides[1] != sizeof(float):
        raise ValueError("expected a token for each row of logits, rows of contiguous numbers")
    for i in range(n):
        if not 0 <= tokens[i] < n_classes:
            raise ValueError(f"token {tokens[i]} is not one of {n_classes}")
    cdef double[::1] losses = np.empty(n)
    cdef double total = 0
    cdef ptrdiff_t invalid
    with nogil:
        invalid = api.cross_entropy(
            FASTSOFTMAX_FLOAT32, &logits[0, 0], logits.strides[0] // <ptrdiff_t>sizeof(float), n,
            n_classes, &tokens[0], NULL, NULL, 0, &losses[0], NULL, 0, n_threads)
        for i in range(n):
            total += losses[i]
    return NAN if invalid >= 0 else total / n / log(2)
