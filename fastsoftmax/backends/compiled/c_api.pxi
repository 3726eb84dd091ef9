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


cdef struct ApiOptions:
    # What a caller asks for, as the kernels take it
    target_weights weights
    bint has_weights
    RowOptions on_logits


cdef void read_options(
    const fastsoftmax_options *given, double scale, ApiOptions *options
) noexcept nogil:
    """Read as many of the fields as the caller's header has; the others are 0."""
    cdef fastsoftmax_options known
    cdef logit_options *view = &options.on_logits.view
    cdef row_metrics *metrics = &view.metrics
    options.has_weights = given != NULL
    options.on_logits.given = False
    if given == NULL:
        return
    memset(&known, 0, sizeof(known))
    memcpy(&known, given, min(given.size, sizeof(known)))
    options.weights.rows, options.weights.classes = known.row_weights, known.class_weights
    options.weights.smoothing, options.weights.upstream = known.smoothing, known.upstream
    view.scale, view.temperature = scale, known.temperature if known.temperature != 0 else 1
    view.softcap, view.z_loss = known.softcap, known.z_loss
    view.mask, view.mask_stride = known.mask, known.mask_stride
    view.lse, view.lse_upstream = known.lse, known.lse_upstream
    metrics.argmax, metrics.top_k_correct = known.argmax, known.top_k_correct
    metrics.label_log_prob, metrics.entropy = known.label_log_prob, known.entropy
    metrics.top_k = known.top_k
    options.on_logits.given = (
        view.temperature != 1 or view.softcap != 0 or view.z_loss != 0 or view.mask != NULL
        or view.lse != NULL or view.lse_upstream != NULL or metrics.argmax != NULL
        or metrics.top_k_correct != NULL or metrics.label_log_prob != NULL or metrics.entropy != NULL)


cdef targets_view api_targets(
    const int64_t *labels, const void *probabilities, const ApiOptions *options, size_t n_classes
) noexcept nogil:
    cdef targets_view targets
    targets.labels, targets.probabilities, targets.n_classes = labels, probabilities, n_classes
    targets.weights = &options.weights if options.has_weights else NULL
    return targets


cdef ptrdiff_t api_softmax_cross_entropy(
    fastsoftmax_type type, const void *logits, ptrdiff_t logits_stride, size_t n_rows,
    size_t n_classes, const int64_t *labels, const void *probabilities,
    const fastsoftmax_options *options, double scale, double *losses, void *dlogits,
    ptrdiff_t dlogits_stride, int n_threads
) noexcept nogil:
    cdef Rows rows
    cdef ApiOptions known
    cdef Memory memory
    cdef ptrdiff_t invalid
    read_options(options, scale, &known)
    rows.function = (
        cross_entropy_rows_with_options if known.on_logits.given else cross_entropy_rows)
    rows.options = &known.on_logits
    set_rows(&rows, kernels_of(type), <const char *>logits, n_classes, <char *>dlogits)
    rows.logits_stride, rows.out_stride = logits_stride, dlogits_stride
    rows.targets = api_targets(labels, probabilities, &known, n_classes)
    rows.scale, rows.losses = scale, losses
    begin_memory(&memory)
    rows.split = split(n_rows, 1, n_threads)
    ask_for_option_scratch(
        &memory, &known.on_logits, n_classes, rows.kernels.element_size, rows.split.n_chunks)
    if not take_memory(&memory):
        return FASTSOFTMAX_NO_MEMORY
    invalid = api_over_rows(&rows, n_rows, n_threads)
    free_memory(&memory)
    return invalid


cdef ptrdiff_t api_cross_entropy(
    fastsoftmax_type type, const void *logits, ptrdiff_t logits_stride, size_t n_rows,
    size_t n_classes, const int64_t *labels, const void *probabilities,
    const fastsoftmax_weights *weights, double scale, double *losses, void *dlogits,
    ptrdiff_t dlogits_stride, int n_threads
) noexcept nogil:
    """The function of version 1."""
    cdef fastsoftmax_options options
    if weights != NULL:
        memset(&options, 0, sizeof(options))
        options.size, options.row_weights = sizeof(options), weights.rows
        options.class_weights, options.smoothing = weights.classes, weights.smoothing
    return api_softmax_cross_entropy(
        type, logits, logits_stride, n_rows, n_classes, labels, probabilities,
        &options if weights != NULL else NULL, scale, losses, dlogits, dlogits_stride, n_threads)


cdef void set_to_zero(
    char *matrix, size_t n_features, size_t n_classes, const ptrdiff_t *strides, size_t size
) noexcept nogil:
    cdef size_t j, k
    for j in range(n_features):
        for k in range(n_classes):
            memset(matrix + <ptrdiff_t>j * strides[0] + <ptrdiff_t>k * strides[1], 0, size)


cdef ptrdiff_t api_linear_cross_entropy(
    const fastsoftmax_linear *given, const fastsoftmax_options *options
) noexcept nogil:
    cdef fastsoftmax_linear known
    cdef ApiOptions known_options
    cdef LinearLoss l
    cdef ptrdiff_t invalid, size
    memset(&known, 0, sizeof(known))
    memcpy(&known, given, min(given.size, sizeof(known)))
    read_options(options, known.scale, &known_options)
    l.kernels, l.n_rows = kernels_of(known.type), known.n_rows
    l.n_features, l.n_classes = known.n_features, known.n_classes
    size = l.kernels.element_size
    l.X, l.W, l.intercept = <const char *>known.X, <const char *>known.W, <char *>known.intercept
    l.W_strides[0], l.W_strides[1] = known.W_feature_stride * size, known.W_class_stride * size
    l.targets = api_targets(known.labels, known.probabilities, &known_options, known.n_classes)
    l.scale, l.losses = known.scale, known.losses
    l.options = known_options.on_logits
    l.dW, l.dintercept, l.dX = <char *>known.dW, <char *>known.dintercept, <char *>known.dX
    l.dW_strides[0], l.dW_strides[1] = known.dW_feature_stride * size, known.dW_class_stride * size
    l.n_threads, l.is_interruptible = known.n_threads, False
    if l.n_rows == 0:
        if l.dW != NULL:
            set_to_zero(l.dW, l.n_features, l.n_classes, l.dW_strides, size)
        if l.dintercept != NULL:
            memset(l.dintercept, 0, l.n_classes * size)
        return -1
    invalid = linear_loss(&l)
    free_memory(&l.memory)
    return invalid


cdef fastsoftmax_api api
api.version = FASTSOFTMAX_API_VERSION
api.softmax, api.log_softmax, api.logsumexp = api_softmax, api_log_softmax, api_logsumexp
api.cross_entropy = api_cross_entropy
api.softmax_cross_entropy = api_softmax_cross_entropy
api.linear_cross_entropy = api_linear_cross_entropy
C_API = PyCapsule_New(&api, b"fastsoftmax.C_API", NULL)

# double (const double *, size_t), for code that is compiled outside of this module; not part of the C API
PAIRWISE_SUM = PyCapsule_New(<void *>pairwise_sum, b"fastsoftmax.pairwise_sum", NULL)
