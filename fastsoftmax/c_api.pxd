"""The C API for Cython: see fastsoftmax.h, which lies in the folder `fastsoftmax.get_include()`."""

from libc.stdint cimport int64_t


cdef extern from "fastsoftmax.h" nogil:
    enum: FASTSOFTMAX_API_VERSION

    ctypedef enum fastsoftmax_type "enum fastsoftmax_type":
        FASTSOFTMAX_FLOAT32
        FASTSOFTMAX_FLOAT64

    struct fastsoftmax_weights:
        const double *rows
        const void *classes
        double smoothing

    struct fastsoftmax_api:
        int version
        ptrdiff_t (*softmax)(
            fastsoftmax_type type, const void *logits, ptrdiff_t logits_stride, size_t n_rows,
            size_t n_classes, void *out, ptrdiff_t out_stride, int n_threads) noexcept nogil
        ptrdiff_t (*log_softmax)(
            fastsoftmax_type type, const void *logits, ptrdiff_t logits_stride, size_t n_rows,
            size_t n_classes, void *out, ptrdiff_t out_stride, int n_threads) noexcept nogil
        void (*logsumexp)(
            fastsoftmax_type type, const void *logits, ptrdiff_t logits_stride, size_t n_rows,
            size_t n_classes, void *out, int n_threads) noexcept nogil
        ptrdiff_t (*cross_entropy)(
            fastsoftmax_type type, const void *logits, ptrdiff_t logits_stride, size_t n_rows,
            size_t n_classes, const int64_t *labels, const void *probabilities,
            const fastsoftmax_weights *weights, double scale, double *losses, void *dlogits,
            ptrdiff_t dlogits_stride, int n_threads) noexcept nogil

cdef extern from "fastsoftmax.h":
    const fastsoftmax_api *fastsoftmax_import() except NULL
