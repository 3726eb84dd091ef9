"""The functions of the C API: see fastsoftmax.h."""


cdef const kernel_table *kernels_of(fastsoftmax_type type) noexcept nogil:
    return chosen.float32 if type == FASTSOFTMAX_FLOAT32 else chosen.float64


cdef ptrdiff_t api_over_rows(Rows *rows, size_t n_rows, int n_threads) noexcept nogil:
    cdef float_state caller = float_state_enter()
    cdef ptrdiff_t invalid = over_rows(rows, n_rows, n_threads) if n_rows else -1
    float_state_leave(&caller)
    return invalid


cdef ptrdiff_t api_map(
    ptrdiff_t (*function)(const Rows *rows, size_t first, size_t n) noexcept nogil,
    fastsoftmax_type type, const void *logits, ptrdiff_t logits_stride, size_t n_rows,
    size_t n_classes, void *out, ptrdiff_t out_stride, int n_threads
) noexcept nogil:
    cdef Rows rows
    rows.function = function
    set_rows(&rows, kernels_of(type), <const char *>logits, n_classes, <char *>out)
    rows.logits_stride, rows.out_stride = logits_stride, out_stride
    return api_over_rows(&rows, n_rows, n_threads)


cdef ptrdiff_t api_softmax(
    fastsoftmax_type type, const void *logits, ptrdiff_t logits_stride, size_t n_rows,
    size_t n_classes, void *out, ptrdiff_t out_stride, int n_threads
) noexcept nogil:
    return api_map(
        softmax_rows, type, logits, logits_stride, n_rows, n_classes, out, out_stride, n_threads)


cdef ptrdiff_t api_log_softmax(
    fastsoftmax_type type, const void *logits, ptrdiff_t logits_stride, size_t n_rows,
    size_t n_classes, void *out, ptrdiff_t out_stride, int n_threads
) noexcept nogil:
    return api_map(
        log_softmax_rows, type, logits, logits_stride, n_rows, n_classes, out, out_stride,
        n_threads)


cdef void api_logsumexp(
    fastsoftmax_type type, const void *logits, ptrdiff_t logits_stride, size_t n_rows,
    size_t n_classes, void *out, int n_threads
) noexcept nogil:
    api_map(logsumexp_rows, type, logits, logits_stride, n_rows, n_classes, out, 0, n_threads)


cdef ptrdiff_t api_cross_entropy(
    fastsoftmax_type type, const void *logits, ptrdiff_t logits_stride, size_t n_rows,
    size_t n_classes, const int64_t *labels, const void *probabilities,
    const fastsoftmax_weights *weights, double scale, double *losses, void *dlogits,
    ptrdiff_t dlogits_stride, int n_threads
) noexcept nogil:
    cdef Rows rows
    cdef target_weights of_targets
    rows.function = cross_entropy_rows
    set_rows(&rows, kernels_of(type), <const char *>logits, n_classes, <char *>dlogits)
    rows.logits_stride, rows.out_stride = logits_stride, dlogits_stride
    rows.targets.labels, rows.targets.probabilities = labels, probabilities
    rows.targets.weights, rows.targets.n_classes = NULL, n_classes
    rows.scale, rows.losses = scale, losses
    if weights != NULL:
        of_targets.rows, of_targets.classes = weights.rows, weights.classes
        of_targets.smoothing, of_targets.upstream = weights.smoothing, NULL
        rows.targets.weights = &of_targets
    return api_over_rows(&rows, n_rows, n_threads)


cdef fastsoftmax_api api
api.version = FASTSOFTMAX_API_VERSION
api.softmax, api.log_softmax, api.logsumexp = api_softmax, api_log_softmax, api_logsumexp
api.cross_entropy = api_cross_entropy
C_API = PyCapsule_New(&api, b"fastsoftmax.C_API", NULL)

# double (const double *, size_t), for code that is compiled outside of this module; not part of the C API
PAIRWISE_SUM = PyCapsule_New(<void *>pairwise_sum, b"fastsoftmax.pairwise_sum", NULL)
