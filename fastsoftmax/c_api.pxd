"""The C API for Cython: see fastsoftmax.h, which lies in the folder `fastsoftmax.get_include()`."""

from libc.stdint cimport int64_t, uint8_t


cdef extern from "fastsoftmax.h" nogil:
    enum: FASTSOFTMAX_API_VERSION
    enum: FASTSOFTMAX_NO_MEMORY

    ctypedef enum fastsoftmax_type "enum fastsoftmax_type":
        FASTSOFTMAX_FLOAT32
        FASTSOFTMAX_FLOAT64

    struct fastsoftmax_weights:
        const double *rows
        const void *classes
        double smoothing

    struct fastsoftmax_options:
        size_t size
        const double *row_weights
        const void *class_weights
        double smoothing
        const double *upstream
        double temperature
        double softcap
        double z_loss
        const uint8_t *mask
        size_t mask_stride
        double *lse
        const double *lse_upstream
        int64_t *argmax
        uint8_t *top_k_correct
        double *label_log_prob
        double *entropy
        size_t top_k

    struct fastsoftmax_linear:
        size_t size
        fastsoftmax_type type
        int n_threads
        size_t n_rows
        size_t n_features
        size_t n_classes
        const void *X
        const void *W
        ptrdiff_t W_feature_stride
        ptrdiff_t W_class_stride
        const void *intercept
        const int64_t *labels
        const void *probabilities
        double scale
        double *losses
        void *dW
        ptrdiff_t dW_feature_stride
        ptrdiff_t dW_class_stride
        void *dintercept
        void *dX

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
        ptrdiff_t (*softmax_cross_entropy)(
            fastsoftmax_type type, const void *logits, ptrdiff_t logits_stride, size_t n_rows,
            size_t n_classes, const int64_t *labels, const void *probabilities,
            const fastsoftmax_options *options, double scale, double *losses, void *dlogits,
            ptrdiff_t dlogits_stride, int n_threads) noexcept nogil
        ptrdiff_t (*linear_cross_entropy)(
            const fastsoftmax_linear *linear, const fastsoftmax_options *options) noexcept nogil

cdef extern from "fastsoftmax.h":
    const fastsoftmax_api *fastsoftmax_import() except NULL
