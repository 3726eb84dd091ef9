"""A training step on short rows with few classes, by chunks of samples: csrc/kernels/step_short_rows.h."""


# A chunk is worth a thread, and there are only so many, as each has a gradient; it takes so many samples
# at a time, which stay in the first level of the cache.
cdef enum:
    PRODUCTS_OF_A_CHUNK = 40000
    MOST_CHUNKS_OF_SAMPLES = 16
    SAMPLES_AT_ONCE = 64

# Rows are fetched from memory so many before they are used, a block at a time.
cdef enum:
    SAMPLES_AHEAD = 32


cdef bint has_short_rows(const Minibatch *m) noexcept nogil:
    return (
        m.n_classes <= FEW_CLASSES
        and m.n_features * m.kernels.element_size <= BYTES_OF_A_SHORT_ROW)


cdef void split_short_rows(Epoch *e, bint has_labels, bint converts) noexcept nogil:
    cdef const Minibatch *m = &e.minibatch
    cdef ShortRows *s = &e.short_rows
    cdef size_t size = max(
        (e.batch_size + MOST_CHUNKS_OF_SAMPLES - 1) // MOST_CHUNKS_OF_SAMPLES,
        PRODUCTS_OF_A_CHUNK // (m.n_features * m.n_classes))
    # What one thread writes is kept from what another does: a line next to it would be fetched along.
    cdef size_t gap = 4 * CACHE_LINE // m.kernels.element_size
    s.samples_of_a_chunk = max(padded(size, SAMPLES_AT_ONCE), <size_t>SAMPLES_AT_ONCE)
    s.fetches = e.n_samples * m.n_features * e.item_size > BYTES_IN_CACHE
    s.n_chunks = (e.batch_size + s.samples_of_a_chunk - 1) // s.samples_of_a_chunk
    s.gradient_stride = (m.coef_stride + m.kernels.lanes) * m.n_classes + gap
    s.dlogits_stride = (1 if has_labels else 2) * SAMPLES_AT_ONCE * m.n_classes + gap
    s.row_stride = m.coef_stride + CACHE_LINE // m.kernels.element_size
    s.converted_stride = SAMPLES_AT_ONCE * s.row_stride + gap


cdef size_t first_after(const ShortRows *s, size_t chunk, size_t batch_size) noexcept nogil:
    """The sample, counted from the first of the step, that the thread of this chunk comes to after it."""
    cdef size_t n_threads = <size_t>s.n_threads, thread
    for thread in range(n_threads):
        if chunk + 1 == (thread + 1) * s.n_chunks // n_threads:
            return batch_size + thread * s.n_chunks // n_threads * s.samples_of_a_chunk
    return (chunk + 1) * s.samples_of_a_chunk


cdef void convert_samples(
    const Epoch *e, size_t chunk, const void **rows, size_t n
) noexcept nogil:
    """Rows of the chunk as the kernels read them, where they will point."""
    cdef const Minibatch *m = &e.minibatch
    cdef const ShortRows *s = &e.short_rows
    cdef size_t size = m.kernels.element_size, i
    cdef char *out = s.converted + chunk * s.converted_stride * size
    m.kernels.convert(
        rows, n, e.number, 0, m.n_features, e.mean, e.inverse_scale, out, s.row_stride)
    for i in range(n):
        rows[i] = out + i * s.row_stride * size


cdef double some_samples(
    const Epoch *e, size_t chunk, size_t first, size_t n, size_t after, bint add
) noexcept nogil:
    """The sum of the losses of n samples from `first` on; their gradient is added to the chunk's.

    `after` is the one that will be next.
    """
    cdef const Minibatch *m = &e.minibatch
    cdef const ShortRows *s = &e.short_rows
    cdef size_t size = m.kernels.element_size, row_size = m.n_classes * size, lanes = m.kernels.lanes
    cdef size_t last = e.n_samples - 1, i, count, offset
    cdef const void *rows[SAMPLES_AT_ONCE + SAMPLES_AHEAD + MOST_LANES]
    cdef int64_t labels[SAMPLES_AT_ONCE]
    cdef double of_rows[SAMPLES_AT_ONCE]
    cdef target_weights weights
    cdef bint is_weighted = e.weights != NULL
    cdef double losses[SAMPLES_AT_ONCE]
    cdef char *dlogits = s.dlogits + chunk * s.dlogits_stride * size
    cdef char *probabilities = NULL
    cdef bint fetches = s.fetches and s.converted == NULL
    cdef const int64_t *order = e.order + first
    cdef uint64_t begun = phase_begin()
    if e.probabilities != NULL:
        probabilities = dlogits + SAMPLES_AT_ONCE * row_size
    for i in range(n):
        rows[i] = e.X + order[i] * e.row_stride
        if e.labels != NULL:
            labels[i] = e.labels[order[i]]
        else:
            memcpy(
                probabilities + i * row_size, e.probabilities + order[i] * row_size, row_size)
    if is_weighted:
        weights = e.weights[0]
        if weights.rows != NULL:
            weights.rows = of_rows
            for i in range(n):
                of_rows[i] = e.weights.rows[order[i]]
    # The kernels fetch rows from as far on as this, or find a row that is in the cache already.
    for i in range(SAMPLES_AHEAD + MOST_LANES):
        rows[n + i] = e.X + e.order[min(after + i, last)] * e.row_stride if s.fetches else rows[0]
    if s.fetches and e.labels != NULL:
        for i in range(SAMPLES_AT_ONCE):
            platform_fetch(e.labels + e.order[min(after + i, last)], sizeof(int64_t))
    if s.converted != NULL:
        convert_samples(e, chunk, rows, n)
    begun = phase_next(PHASE_CONVERT, begun)
    i = 0
    while i < n:
        count = min(lanes, n - i)
        m.kernels.short_scores(
            rows + i, count, m.n_features, rows + i + SAMPLES_AHEAD if fetches else NULL,
            m.coef, m.n_classes, dlogits + i * row_size)
        i += lanes
    begun = phase_next(PHASE_SCORES, begun)
    m.kernels.panel_cross_entropy(
        dlogits, 1, 0, n, m.n_classes, m.intercept, labels if e.labels != NULL else NULL,
        probabilities, &weights if is_weighted else NULL, m.scale, losses, dlogits)
    begun = phase_next(PHASE_LOSS, begun)
    m.kernels.short_gradient(
        rows, n, m.n_features, dlogits, m.n_classes, add,
        s.gradients + chunk * s.gradient_stride * size)
    phase_next(PHASE_UPDATE, begun)
    return sum_of(losses, n)


cdef void short_rows_chunk(void *context, size_t chunk) noexcept nogil:
    """A chunk of samples, from their rows to their gradient."""
    cdef Epoch *e = <Epoch *>context
    cdef ShortRows *s = &e.short_rows
    cdef size_t start = s.step * e.batch_size, first = chunk * s.samples_of_a_chunk
    cdef size_t left = min(
        s.samples_of_a_chunk, min(e.batch_size, e.n_samples - start) - first), n, after
    cdef double total = 0
    cdef bint add = False
    while left:
        n = min(left, <size_t>SAMPLES_AT_ONCE)
        left -= n
        after = first + n if left else first_after(s, chunk, e.batch_size)
        total += some_samples(e, chunk, start + first, n, start + after, add)
        first += n
        add = True
    s.losses[chunk] = total


cdef double short_rows_step(Epoch *e, size_t step, pool *helpers) noexcept nogil:
    """One step; returns the loss."""
    cdef Minibatch *m = &e.minibatch
    cdef ShortRows *s = &e.short_rows
    cdef size_t n = min(e.batch_size, e.n_samples - step * e.batch_size)
    cdef size_t n_chunks = (n + s.samples_of_a_chunk - 1) // s.samples_of_a_chunk
    cdef double loss
    cdef uint64_t begun
    m.scale = 1.0 / n
    s.step, s.n_threads = step, pool_threads(helpers)
    pool_for(helpers, short_rows_chunk, e, n_chunks)
    loss = sum_of(s.losses, n_chunks) / n
    if not isfinite(loss):
        return loss
    e.rule.rate = e.rates[step]
    begun = phase_begin()
    m.kernels.short_update(
        s.gradients, n_chunks, s.gradient_stride, m.n_features, m.n_classes, &e.rule, m.coef,
        e.velocity, m.intercept, e.intercept_velocity, e.squares, e.magnitudes)
    phase_next(PHASE_UPDATE, begun)
    return loss


cdef void pack_strips(const Minibatch *m, const char *coef, char *strips) noexcept nogil:
    """From (n_classes, n_features) in C order to strips of LANES features."""
    cdef size_t size = m.kernels.element_size, lanes = m.kernels.lanes, first = 0
    while first < m.n_features:
        m.kernels.pack(
            coef + first * size, size, m.n_features * size, min(lanes, m.n_features - first),
            m.n_classes, strips + first * m.n_classes * size, lanes)
        first += lanes


cdef void unpack_strips(const Minibatch *m, const char *strips, char *coef) noexcept nogil:
    cdef size_t size = m.kernels.element_size, lanes = m.kernels.lanes, first = 0
    while first < m.n_features:
        m.kernels.unpack(
            strips + first * m.n_classes * size, lanes, min(lanes, m.n_features - first),
            m.n_classes, coef + first * size, size, m.n_features * size)
        first += lanes
