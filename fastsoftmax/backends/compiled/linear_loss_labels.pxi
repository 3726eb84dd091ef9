"""`linear_cross_entropy` of rows with labels and few classes, by the kernels of the step short_rows.

Rows are cut into chunks, as many as their number and shape alone decide. A chunk goes all the way from
its rows to its gradient, SAMPLES_PER_PASS rows at a time: X is read from memory once, and logits never
leave the first level of the cache. The gradients of the chunks are added in order. Two classes go by the
difference of their logits (csrc/kernels/two_classes.h).
"""


cdef struct LabelledRows:
    Minibatch minibatch  # coef: strips of LANES features
    const char *X
    targets_view targets
    double *losses
    bint has_difference  # of two logits, with `offset` that of the intercepts, instead of the logits
    double offset
    Split rows
    bint is_invalid[MAX_SAMPLE_CHUNKS]  # some row of the chunk has no softmax
    char *gradients  # of every chunk; strides in elements
    char *dlogits
    size_t gradient_stride, dlogits_stride


cdef bint has_plain_labels(const LinearLoss *l) noexcept nogil:
    """Return whether there are rows with labels, and what weights they have are positive ones of rows."""
    cdef const target_weights *weights = l.targets.weights
    cdef size_t i, n_rows = l.n_rows
    if l.targets.labels == NULL or n_rows * l.n_features == 0:
        return False
    if weights == NULL:
        return True
    if weights.classes != NULL or weights.smoothing != 0 or weights.upstream != NULL:
        return False
    for i in range(n_rows if weights.rows != NULL else 0):
        if weights.rows[i] == 0:
            return False
    return True


cdef void labelled_scores(
    const LabelledRows *s, const void **rows, size_t n, const char *coef, char *dlogits
) noexcept nogil:
    """The logits of n rows without the intercept, in blocks; those after the rows are prefetched."""
    cdef const Minibatch *m = &s.minibatch
    cdef size_t size = m.kernels.element_size, lanes = m.kernels.lanes, i = 0
    cdef bint fetches = m.n_features * size <= MAX_SHORT_ROW_BYTES
    if s.has_difference and m.n_features >= lanes:
        m.kernels.row_dots(rows, n, m.n_features, coef, dlogits)
        return
    while i < n:
        m.kernels.short_scores(
            rows + i, min(lanes, n - i), m.n_features, rows + i + SAMPLES_AHEAD if fetches else NULL,
            coef, m.n_classes, dlogits + i * m.n_classes * size)
        i += lanes


cdef bint may_overflow(const char *numbers, size_t n, size_t size) noexcept nogil:
    """Return whether the sum of four such numbers may be infinite, or one is NaN."""
    cdef double limit = 2.0 ** 125 if size == sizeof(float) else 2.0 ** 1021
    cdef bint found = False
    cdef size_t i
    for i in range(n):
        found |= not fabs(number(numbers, i, size)) <= limit
    return found


cdef void labelled_losses(const LabelledRows *s, size_t first, size_t n, char *dlogits) noexcept nogil:
    """Losses, and the gradient of the logits in their place."""
    cdef const Minibatch *m = &s.minibatch
    cdef parts_view scores
    cdef RowTargets shifted
    cdef const targets_view *targets = targets_from(&s.targets, first, m.kernels.element_size, &shifted)
    if s.has_difference:
        m.kernels.two_class_cross_entropy(
            dlogits, n, s.offset, targets.labels,
            targets.weights.rows if targets.weights != NULL else NULL, m.scale, s.losses + first)
        return
    scores.start, scores.n_parts, scores.stride = dlogits, 1, 0
    m.kernels.panel_cross_entropy(
        &scores, n, m.intercept, targets, m.scale, s.losses + first, dlogits)


cdef void labelled_rows_chunk(void *context, size_t chunk) noexcept nogil:
    """Take a chunk of rows from X to losses and gradient."""
    cdef LabelledRows *s = <LabelledRows *>context
    cdef const Minibatch *m = &s.minibatch
    cdef size_t size = m.kernels.element_size, row_size = m.n_features * size, n, i
    cdef size_t first = chunk * s.rows.size, begin = first, end = first + length_of(&s.rows, chunk)
    cdef size_t most = SAMPLES_PER_PASS if row_size <= MAX_PASS_ROW_BYTES else MIN_ROWS_PER_CHUNK
    cdef const void *rows[SAMPLES_PER_PASS + SAMPLES_AHEAD + MAX_LANES]
    cdef char *dlogits = s.dlogits + chunk * s.dlogits_stride * size
    cdef char *of_class = dlogits + SAMPLES_PER_PASS * size  # the logits of class 0
    cdef uint64_t begun
    s.is_invalid[chunk] = False
    while first < end:
        begun = phase_begin()
        n = min(most, end - first)
        for i in range(n + SAMPLES_AHEAD + MAX_LANES):
            rows[i] = s.X + min(first + i, s.rows.n_items - 1) * row_size
        labelled_scores(s, rows, n, m.coef, dlogits)
        if s.has_difference:
            labelled_scores(s, rows, n, m.coef + m.coef_stride * size, of_class)
            if may_overflow(dlogits, n, size) or may_overflow(of_class, n, size):
                s.is_invalid[chunk] = True
        begun = phase_next(PHASE_SCORES, begun)
        labelled_losses(s, first, n, dlogits)
        begun = phase_next(PHASE_LOSS, begun)
        m.kernels.short_gradient(
            rows, n, m.n_features, dlogits, m.n_classes, first > begin,
            s.gradients + chunk * s.gradient_stride * size)
        phase_next(PHASE_UPDATE, begun)
        if isnan(sum_in_four(s.losses + first, n)):
            s.is_invalid[chunk] = True
        first += n


cdef void add_elements(char *sums, const char *terms, size_t n, size_t size) noexcept nogil:
    cdef size_t i
    if size == sizeof(float):
        for i in range(n):
            (<float *>sums)[i] += (<const float *>terms)[i]
    else:
        for i in range(n):
            (<double *>sums)[i] += (<const double *>terms)[i]


cdef void fold_lanes(char *lanes, size_t n, size_t size) noexcept nogil:
    """Add the lanes up into the first one, by halves."""
    while n > 1:
        n //= 2
        add_elements(lanes, lanes + n * size, n, size)


cdef void negate(char *elements, size_t n, size_t size) noexcept nogil:
    cdef size_t i
    for i in range(n):
        if size == sizeof(float):
            (<float *>elements)[i] = -(<float *>elements)[i]
        else:
            (<double *>elements)[i] = -(<double *>elements)[i]


cdef void pack_labelled_weights(const LabelledRows *s, const LinearLoss *l) noexcept nogil:
    """From any strides to strips; of two classes the difference, and then class 0."""
    cdef const Minibatch *m = &s.minibatch
    cdef size_t size = m.kernels.element_size, lanes = m.kernels.lanes, j = 0, strip
    cdef ptrdiff_t stride = l.W_strides[0], class_stride = l.W_strides[1]
    for strip in range(m.coef_stride // lanes):
        j = strip * lanes
        m.kernels.pack(
            l.W + <ptrdiff_t>j * stride + (class_stride if s.has_difference else 0), stride,
            class_stride, min(lanes, m.n_features - j), m.n_classes, m.coef + j * m.n_classes * size,
            lanes)
    cdef char *of_class = m.coef + m.coef_stride * size
    if s.has_difference:  # and then class 0
        m.kernels.pack(l.W, stride, class_stride, m.n_features, 1, of_class, m.coef_stride)
        negate(of_class, m.coef_stride, size)
        add_elements(m.coef, of_class, m.coef_stride, size)
        negate(of_class, m.coef_stride, size)


cdef void unpack_labelled_gradient(
    const LabelledRows *s, char *total, char *dW, const ptrdiff_t *strides, char *dintercept
) noexcept nogil:
    """From strips, which are followed by vectors whose first lanes are of the intercept, to any strides."""
    cdef const Minibatch *m = &s.minibatch
    cdef size_t size = m.kernels.element_size, lanes = m.kernels.lanes, i, j
    cdef char *of_intercept = total + m.coef_stride * m.n_classes * size
    for i in range(m.coef_stride // lanes if dW != NULL else 0):
        j = i * lanes
        m.kernels.unpack(
            total + j * m.n_classes * size, lanes, min(lanes, m.n_features - j), m.n_classes,
            dW + <ptrdiff_t>j * strides[0], strides[0], strides[1])
    for i in range(m.n_classes if dintercept != NULL else 0):
        memcpy(dintercept + i * size, of_intercept + i * lanes * size, size)


cdef ptrdiff_t labelled_linear_loss(LinearLoss *l, bint has_difference) noexcept nogil:
    """Compute what `linear_loss` does.

    With `has_difference` it goes by the difference of two logits, and returns 0 if one may overflow.
    """
    cdef LabelledRows s
    cdef Minibatch *m = &s.minibatch
    m.kernels, m.n_features = l.kernels, l.n_features
    m.n_classes, s.has_difference = 1 if has_difference else l.n_classes, has_difference
    cdef size_t size = m.kernels.element_size, lanes = m.kernels.lanes, n_rows = l.n_rows
    cdef size_t i, j, gap = 4 * CACHE_LINE // size, rows_per_chunk, n_weights
    m.coef_stride, m.intercept, m.scale = padded(m.n_features, lanes), l.intercept, l.scale
    n_weights = m.coef_stride * m.n_classes
    s.X, s.losses, s.targets, s.offset = l.X, l.losses, l.targets, 0
    if has_difference and l.intercept != NULL:
        if may_overflow(l.intercept, 2, size):
            return 0
        s.offset = number(l.intercept, 1, size) - number(l.intercept, 0, size)
    rows_per_chunk = max(
        (n_rows + MAX_SAMPLE_CHUNKS - 1) // MAX_SAMPLE_CHUNKS,
        PRODUCTS_PER_CHUNK // (m.n_features * m.n_classes))
    s.rows.n_items = n_rows
    s.rows.size = max(padded(rows_per_chunk, SAMPLES_PER_PASS), <size_t>SAMPLES_PER_PASS)
    s.rows.n_chunks = (n_rows + s.rows.size - 1) // s.rows.size
    s.gradient_stride = n_weights + lanes * m.n_classes + gap
    s.dlogits_stride = SAMPLES_PER_PASS * max(m.n_classes, <size_t>2) + gap
    begin_memory(&l.memory)
    ask_for(&l.memory, &m.coef, 2 * n_weights if has_difference else n_weights, 1, size)
    ask_for(&l.memory, &s.gradients, s.rows.n_chunks, s.gradient_stride, size)
    ask_for(&l.memory, &s.dlogits, s.rows.n_chunks, s.dlogits_stride, size)
    if not take_memory(&l.memory):
        return FASTSOFTMAX_NO_MEMORY
    cdef float_state caller = float_state_enter()
    cdef ptrdiff_t invalid = labelled_rows_loss(&s, l)
    float_state_leave(&caller)
    return invalid


cdef ptrdiff_t labelled_rows_loss(LabelledRows *s, const LinearLoss *l) noexcept nogil:
    cdef const Minibatch *m = &s.minibatch
    cdef size_t size = m.kernels.element_size, lanes = m.kernels.lanes, n_rows = l.n_rows, i, j
    cdef size_t n_weights = m.coef_stride * m.n_classes, stride = s.gradient_stride
    cdef size_t n_sums = n_weights + lanes * m.n_classes
    cdef char *dW = l.dW
    cdef char *dintercept = l.dintercept
    cdef char *total = s.gradients
    cdef pool *helpers = NULL
    pack_labelled_weights(s, l)
    if uses_threads(n_rows, m.n_features, m.n_classes):
        helpers = pool_begin(l.n_threads)
    pool_for(helpers, labelled_rows_chunk, s, s.rows.n_chunks)
    pool_end(helpers)
    for i in range(s.rows.n_chunks):
        if s.has_difference and s.is_invalid[i]:
            return 0
        for j in range(i * s.rows.size, n_rows if s.is_invalid[i] else 0):
            if isnan(s.losses[j]):
                return <ptrdiff_t>j
    for i in range(1, s.rows.n_chunks):
        add_elements(total, total + i * stride * size, n_sums, size)
    for i in range(m.n_classes):
        fold_lanes(total + (n_weights + i * lanes) * size, lanes, size)
    if s.has_difference:  # the gradient of class 0 is that of class 1, negated
        unpack_labelled_gradient(
            s, total, dW + l.dW_strides[1] if dW != NULL else NULL, l.dW_strides,
            dintercept + size if dintercept != NULL else NULL)
        negate(total, n_sums, size)
    unpack_labelled_gradient(s, total, dW, l.dW_strides, dintercept)
    return -1
