"""A step of training with few classes, by panels of features: see csrc/panels.h."""


cdef size_t first_strip(const Epoch *e, size_t panel) noexcept nogil:
    return panel * e.minibatch.strips.n_items // e.n_panels


cdef void score_panel(
    const Epoch *e, const Batch *batch, size_t panel, size_t first, size_t n
) noexcept nogil:
    """Scores of the samples [first, first + n), first a multiple of lanes."""
    cdef const Minibatch *m = &e.minibatch
    cdef size_t start = first_strip(e, panel) * m.kernels.lanes
    cdef size_t end = min(first_strip(e, panel + 1) * m.kernels.lanes, m.n_features)
    m.kernels.panel_scores(
        batch.rows + first, n, start, end - start, e.ahead, m.coef, m.coef_stride, m.n_classes,
        e.scores + (panel * e.panel_stride + first * m.n_classes) * m.kernels.element_size)


cdef void update_strips(
    Epoch *e, const Batch *batch, size_t first, size_t n, const rows_to_fetch *fetch
) noexcept nogil:
    cdef Minibatch *m = &e.minibatch
    cdef size_t start = first * m.kernels.lanes
    cdef size_t end = min((first + n) * m.kernels.lanes, m.n_features)
    m.kernels.panel_update(
        batch.rows, batch.n, fetch, start, end - start, m.dlogits, m.n_classes, &e.rule, m.coef,
        e.velocity, m.coef_stride, e.squares + first, e.magnitudes + first)


cdef void update_intercept(Epoch *e, const Batch *batch) noexcept nogil:
    cdef Minibatch *m = &e.minibatch
    if m.intercept != NULL:
        m.kernels.panel_update_intercept(
            m.dlogits, batch.n, m.n_classes, &e.rule, m.intercept, e.intercept_velocity)


cdef void panel_chunk(void *context, size_t panel) noexcept nogil:
    """One panel: its update with this minibatch, then its scores of the next one."""
    cdef Epoch *e = <Epoch *>context
    cdef size_t first = first_strip(e, panel), end = first_strip(e, panel + 1)
    cdef size_t lanes = e.minibatch.kernels.lanes
    cdef rows_to_fetch fetch
    fetch.n_rows = 0
    if e.to_update != NULL:
        if e.to_score != NULL and e.ahead == SECOND_HALVES:
            fetch.rows, fetch.n_rows = e.to_score.first_halves, e.to_score.n_first_halves
            fetch.first = first * lanes
            fetch.n_features = min(end * lanes, e.minibatch.n_features) - fetch.first
        update_strips(e, e.to_update, first, end - first, &fetch)
        if panel == 0:
            update_intercept(e, e.to_update)
    if e.to_score != NULL:
        score_panel(e, e.to_score, panel, 0, e.to_score.n)


cdef void score_chunk(void *context, size_t chunk) noexcept nogil:
    """All panels' scores of some samples, block by block."""
    cdef Epoch *e = <Epoch *>context
    cdef const Split *samples = &e.minibatch.samples
    cdef size_t first = chunk * samples.size, end = first + length_of(samples, chunk), panel
    cdef size_t lanes = e.minibatch.kernels.lanes
    while first < end:
        for panel in range(e.n_panels):
            score_panel(e, e.to_score, panel, first, min(lanes, end - first))
        first += lanes


cdef void strips_chunk(void *context, size_t chunk) noexcept nogil:
    """Some strips' update, while a share of the next rows is fetched whole."""
    cdef Epoch *e = <Epoch *>context
    cdef const Split *strips = &e.minibatch.strips
    cdef size_t first
    cdef rows_to_fetch fetch
    fetch.n_rows = 0
    if e.to_score != NULL and e.ahead == SECOND_HALVES:
        first = chunk * e.to_score.n_first_halves // strips.n_chunks
        fetch.rows = e.to_score.first_halves + first
        fetch.n_rows = (chunk + 1) * e.to_score.n_first_halves // strips.n_chunks - first
        fetch.first, fetch.n_features = 0, e.minibatch.n_features
    update_strips(e, e.to_update, chunk * strips.size, length_of(strips, chunk), &fetch)
    if chunk == 0:
        update_intercept(e, e.to_update)


cdef void loss_chunk(void *context, size_t chunk) noexcept nogil:
    """Losses and gradient of the logits of some samples, from the scores of the panels."""
    cdef Epoch *e = <Epoch *>context
    cdef Minibatch *m = &e.minibatch
    cdef size_t first = chunk * m.samples.size, size = m.kernels.element_size
    cdef size_t offset = first * m.n_classes * size
    m.kernels.panel_cross_entropy(
        e.scores + offset, e.n_panels, e.panel_stride, length_of(&m.samples, chunk),
        m.n_classes, m.intercept, m.labels + first if m.labels != NULL else NULL,
        m.probabilities + offset if m.probabilities != NULL else NULL, m.scale,
        m.losses + first, m.dlogits + offset)


cdef void choose_schedule(Epoch *e, int n_threads) noexcept nogil:
    """How rows are brought to the caches, which does not enter the bits."""
    cdef size_t row_bytes = e.minibatch.n_features * e.minibatch.kernels.element_size
    e.stays_in_cache = 2 * e.batch_size * row_bytes <= <size_t>n_threads * BYTES_IN_CACHE
    if row_bytes <= BYTES_OF_A_SHORT_ROW:
        e.ahead = SHORT_ROWS
    else:
        e.ahead = SECOND_HALVES if e.stays_in_cache else WHOLE_ROWS


cdef void over_panels(Epoch *e, pool *helpers) noexcept nogil:
    """Update with one minibatch and score another, each where it is given.

    Panel by panel, where that keeps every thread's part of both minibatches in its cache; else the
    update by strips and the scores by samples, which reads rows from memory in longer runs. The bits
    are the same.
    """
    cdef Minibatch *m = &e.minibatch
    cdef int n_threads = pool_threads(helpers)
    if 1 < n_threads <= <int>e.n_panels and e.stays_in_cache:
        pool_for(helpers, panel_chunk, e, e.n_panels)
        return
    if e.to_update != NULL:
        pool_for(helpers, strips_chunk, e, m.strips.n_chunks)
    if e.to_score != NULL:
        split_minibatch(m, e.to_score.n, n_threads)
        pool_for(helpers, score_chunk, e, m.samples.n_chunks)


cdef double few_classes_step(Epoch *e, size_t step, size_t n_steps, pool *helpers) noexcept nogil:
    """One step by panels; leaves the scores of the next one. Returns the loss."""
    cdef Minibatch *m = &e.minibatch
    cdef Batch *batch = &e.batches[step % 2]
    cdef double loss
    if e.n_scored <= step:
        gather(e, step, batch)
        e.to_update, e.to_score = NULL, batch
        over_panels(e, helpers)
        e.n_scored = step + 1
    take(e, batch, pool_threads(helpers))
    pool_for(
        helpers if batch.n * m.n_classes >= LEAST_LOGITS_FOR_THREADS else NULL, loss_chunk, e,
        m.samples.n_chunks)
    loss = sum_of(m.losses, batch.n) / batch.n
    if not isfinite(loss):
        return loss
    e.rule.rate = e.rates[step]
    e.to_update, e.to_score = batch, NULL
    if step + 1 < n_steps:
        e.to_score = &e.batches[(step + 1) % 2]
        gather(e, step + 1, &e.batches[(step + 1) % 2])
    over_panels(e, helpers)
    e.n_scored = step + 2
    return loss
