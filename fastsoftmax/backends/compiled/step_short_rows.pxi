"""The step algorithm short_rows, by chunks of samples: see csrc/kernels/step_short_rows.h."""


cdef struct ShortRows:
    # chunks of a minibatch, each with its gradient, dlogits and converted rows; strides in elements
    Epoch *epoch
    size_t samples_per_chunk, n_chunks
    char *gradients
    char *dlogits
    char *converted
    size_t gradient_stride, dlogits_stride, converted_stride, row_stride
    double *losses  # sum of each chunk
    uint8_t *labels  # those of all samples, in an eighth of the memory; or NULL
    PenaltySums penalty
    update_view update
    size_t n  # samples of the step in work, and where they begin in the order
    size_t first_sample
    int n_threads
    bint fetches  # rows and labels; else all of them are in the cache


cdef bint short_rows_applies(const TrainingShape *shape) noexcept nogil:
    return shape.n_features * shape.element_size <= MAX_SHORT_ROW_BYTES


cdef plan_labels(const Epoch *e, Buffers buffers, ShortRows *s):
    """Copy the labels to where their random order finds more of them in the caches."""
    cdef const int64_t *labels = e.targets.labels
    cdef size_t i
    if labels == NULL or not s.fetches or 2 * e.n_samples < e.n_targets:
        return
    s.labels = <uint8_t *>buffers.take(e.n_targets, 1, sizeof(uint8_t))
    for i in range(e.n_targets):
        s.labels[i] = <uint8_t>min(<uint64_t>labels[i], <uint64_t>UINT8_MAX)  # that is no class


cdef void *short_rows_plan(Epoch *e, Buffers buffers) except NULL:
    cdef const Minibatch *m = &e.minibatch
    cdef ShortRows *s = <ShortRows *>buffers.take_zeros(sizeof(ShortRows))
    cdef size_t size = m.kernels.element_size, n_strips = m.coef_stride // m.kernels.lanes
    cdef size_t cost = e.batch_size * (m.n_features * m.n_classes + PRODUCTS_OF_A_SAMPLE)
    cdef size_t n_chunks = 1
    # Chunks write so far apart that no line next to theirs is fetched along: no false sharing.
    cdef size_t gap = 4 * CACHE_LINE // size
    s.epoch = e
    while n_chunks < MAX_SAMPLE_CHUNKS and cost // (2 * n_chunks) >= PRODUCTS_OF_A_CHUNK:
        n_chunks *= 2  # of equal size, for as many threads
    s.samples_per_chunk = padded((e.batch_size + n_chunks - 1) // n_chunks, m.kernels.lanes)
    s.n_chunks = (e.batch_size + s.samples_per_chunk - 1) // s.samples_per_chunk
    # Where all rows stay in caches a sample costs its products: then threads need as many as elsewhere.
    cdef size_t bytes_of_X = e.n_samples * m.n_features * e.dense.item_size
    e.uses_threads = s.n_chunks > 1 and (
        e.uses_threads or bytes_of_X > CACHES_OF_ROWS * cache_bytes_per_thread)
    s.fetches = bytes_of_X > cache_bytes_per_thread
    s.gradient_stride = (m.coef_stride + m.kernels.lanes) * m.n_classes + gap
    s.dlogits_stride = (1 if e.targets.labels != NULL else 2) * SAMPLES_PER_PASS * m.n_classes + gap
    s.row_stride = m.coef_stride + CACHE_LINE // size
    s.converted_stride = SAMPLES_PER_PASS * s.row_stride + gap
    plan_model(e, buffers, m.n_classes, m.coef_stride)
    plan_penalty(buffers, &s.penalty, n_strips)
    s.update = update_of(e, &s.penalty)
    s.losses = <double *>buffers.take(s.n_chunks, 1, sizeof(double))
    plan_labels(e, buffers, s)
    s.gradients = buffers.take(s.n_chunks, s.gradient_stride, size)
    s.dlogits = buffers.take(s.n_chunks, s.dlogits_stride, size)
    if e.converts_rows:
        s.converted = buffers.take(s.n_chunks, s.converted_stride, size)
    return s


cdef size_t first_after(const ShortRows *s, size_t chunk) noexcept nogil:
    """The sample, counted from the first of the step, that the thread of this chunk comes to after it."""
    cdef size_t n_threads = <size_t>s.n_threads, thread
    for thread in range(n_threads):
        if chunk + 1 == (thread + 1) * s.n_chunks // n_threads:
            return s.epoch.batch_size + thread * s.n_chunks // n_threads * s.samples_per_chunk
    return (chunk + 1) * s.samples_per_chunk


cdef void convert_samples(
    const ShortRows *s, size_t chunk, const void **rows, size_t n
) noexcept nogil:
    """Convert rows of the chunk, and point at the results."""
    cdef const Epoch *e = s.epoch
    cdef const Minibatch *m = &e.minibatch
    cdef size_t size = m.kernels.element_size, i
    cdef char *out = s.converted + chunk * s.converted_stride * size
    m.kernels.convert(
        rows, n, e.dense.dtype, 0, m.n_features, &e.scaling, out, s.row_stride)
    for i in range(n):
        rows[i] = out + i * s.row_stride * size


cdef double forward_and_gradient(
    const ShortRows *s, size_t chunk, size_t first, size_t n, size_t after, bint add
) noexcept nogil:
    """Set the chunk's gradient, or add to it, by n samples from `first` on; return the sum of their losses.

    `after` is the sample that this thread takes next.
    """
    cdef const Epoch *e = s.epoch
    cdef const Minibatch *m = &e.minibatch
    cdef size_t size = m.kernels.element_size, row_size = m.n_classes * size, lanes = m.kernels.lanes
    cdef size_t last = e.n_samples - 1, i, count
    cdef const void *rows[SAMPLES_PER_PASS + SAMPLES_AHEAD + MAX_LANES]
    cdef int64_t labels[SAMPLES_PER_PASS]
    cdef double sample_weights[SAMPLES_PER_PASS]
    cdef double losses[SAMPLES_PER_PASS]
    cdef char *dlogits = s.dlogits + chunk * s.dlogits_stride * size
    cdef parts_view scores
    cdef targets_view targets = e.targets
    cdef target_weights weights
    cdef Batch batch
    cdef bint has_labels = e.targets.labels != NULL, fetches = s.fetches and not e.converts_rows
    cdef const int64_t *order = e.order + first
    cdef const char *start = e.dense.start
    cdef ptrdiff_t stride = e.dense.stride
    cdef int64_t sample
    cdef uint64_t begun = phase_begin()
    scores.start, scores.n_parts, scores.stride = dlogits, 1, 0
    batch.labels = labels if has_labels else NULL
    batch.probabilities = dlogits + SAMPLES_PER_PASS * row_size if not has_labels else NULL
    batch.weights = NULL
    targets.labels, targets.probabilities = batch.labels, batch.probabilities
    if e.targets.weights != NULL:
        weights = e.targets.weights[0]
        targets.weights = &weights
        if weights.rows != NULL:
            weights.rows = batch.weights = sample_weights
    for i in range(n):
        sample = order[i]
        rows[i] = start + sample * stride
        if s.labels == NULL:
            copy_targets(e, &batch, i, sample)
            continue
        labels[i] = s.labels[sample]
        if batch.weights != NULL:
            sample_weights[i] = e.targets.weights.rows[sample]
    # The kernels fetch rows from as far on as this, or find a row that is in the cache already.
    for i in range(<size_t>SAMPLES_AHEAD + MAX_LANES):
        rows[n + i] = start + e.order[min(after + i, last)] * stride if s.fetches else rows[0]
    if s.labels != NULL:
        for i in range(<size_t>SAMPLES_PER_PASS):
            platform_fetch(s.labels + e.order[min(after + i, last)], sizeof(uint8_t))
    elif s.fetches and has_labels:
        for i in range(<size_t>SAMPLES_PER_PASS):
            platform_fetch(e.targets.labels + e.order[min(after + i, last)], sizeof(int64_t))
    if e.converts_rows:
        convert_samples(s, chunk, rows, n)
    begun = phase_next(PHASE_CONVERT, begun)
    i = 0
    while i < n:
        count = min(lanes, n - i)
        m.kernels.short_scores(
            rows + i, count, m.n_features, rows + i + SAMPLES_AHEAD if fetches else NULL,
            m.coef, m.n_classes, dlogits + i * row_size)
        i += lanes
    begun = phase_next(PHASE_SCORES, begun)
    m.kernels.training_cross_entropy(
        &scores, n, m.intercept, &targets, m.scale, losses, dlogits)
    begun = phase_next(PHASE_LOSS, begun)
    m.kernels.short_gradient(
        rows, n, m.n_features, dlogits, m.n_classes, add,
        s.gradients + chunk * s.gradient_stride * size)
    phase_next(PHASE_UPDATE, begun)
    return sum_in_four(losses, (n + lanes - 1) // lanes)


cdef void short_rows_chunk(void *context, size_t chunk) noexcept nogil:
    """Take a chunk of samples from their rows to their gradient."""
    cdef ShortRows *s = <ShortRows *>context
    cdef size_t first = chunk * s.samples_per_chunk, left = min(s.samples_per_chunk, s.n - first)
    cdef size_t n, after
    cdef double total = 0
    cdef bint add = False
    while left:
        n = min(left, <size_t>SAMPLES_PER_PASS)
        left -= n
        after = first + n if left else first_after(s, chunk)
        total += forward_and_gradient(
            s, chunk, s.first_sample + first, n, s.first_sample + after, add)
        first += n
        add = True
    s.losses[chunk] = total


cdef bint short_rows_step(void *plan, size_t step, pool *helpers) noexcept nogil:
    cdef ShortRows *s = <ShortRows *>plan
    cdef Epoch *e = s.epoch
    cdef Minibatch *m = &e.minibatch
    cdef parts_view gradients
    cdef size_t n_chunks
    cdef double loss
    cdef uint64_t begun
    s.first_sample, s.n_threads = step * e.batch_size, pool_threads(helpers)
    s.n = min(e.batch_size, e.n_samples - s.first_sample)
    n_chunks = (s.n + s.samples_per_chunk - 1) // s.samples_per_chunk
    m.scale = 1.0 / s.n
    pool_for(helpers, short_rows_chunk, s, n_chunks)
    loss = sum_in_four(s.losses, n_chunks) / s.n
    if isfinite(loss):
        e.rule.rate = e.rates[step]
        begun = phase_begin()
        gradients.start, gradients.n_parts, gradients.stride = (
            s.gradients, n_chunks, s.gradient_stride)
        m.kernels.short_update(
            &gradients, m.n_features, &e.rule, &s.update, m.intercept, e.model.intercept_velocity)
        phase_next(PHASE_UPDATE, begun)
    return end_step(e, step, loss, &s.penalty)


cdef void pack_strips(const Minibatch *m, char *coef, char *strips) noexcept nogil:
    """From (n_classes, n_features) in C order to strips of LANES features."""
    cdef size_t size = m.kernels.element_size, lanes = m.kernels.lanes, first = 0
    while first < m.n_features:
        m.kernels.pack(
            coef + first * size, size, m.n_features * size, min(lanes, m.n_features - first),
            m.n_classes, strips + first * m.n_classes * size, lanes)
        first += lanes


cdef void unpack_strips(const Minibatch *m, char *strips, char *coef) noexcept nogil:
    """From strips of LANES features to (n_classes, n_features) in C order."""
    cdef size_t size = m.kernels.element_size, lanes = m.kernels.lanes, first = 0
    while first < m.n_features:
        m.kernels.unpack(
            strips + first * m.n_classes * size, lanes, min(lanes, m.n_features - first),
            m.n_classes, coef + first * size, size, m.n_features * size)
        first += lanes


cdef StepAlgorithm short_rows = StepAlgorithm(
    name="short_rows",
    obstacle=few_classes_obstacle,
    applies=short_rows_applies,
    plan=short_rows_plan,
    pack=pack_strips,
    unpack=unpack_strips,
    step=short_rows_step,
    finish=nothing_to_finish,
)
