"""A step of training with few classes, by panels of features: see csrc/kernels/step_panels.h."""


cdef size_t first_strip(const Epoch *e, size_t panel) noexcept nogil:
    return panel * e.minibatch.strips.n_items // e.n_panels


cdef void score_panel(
    const Epoch *e, const Batch *batch, size_t panel, size_t first, size_t n
) noexcept nogil:
    """Scores of the samples [first, first + n), first a multiple of lanes."""
    cdef const Minibatch *m = &e.minibatch
    cdef size_t start = first_strip(e, panel) * m.kernels.lanes
    cdef size_t end = min(first_strip(e, panel + 1) * m.kernels.lanes, m.n_features)
    cdef const void **rows = rows_of_panel(e, batch, panel)
    cdef uint64_t begun
    if e.converted != NULL:
        convert(e, batch, rows, first, n, start, end)
    begun = phase_begin()
    m.kernels.panel_scores(
        rows + first, n, start, end - start, e.ahead, m.coef, m.coef_stride, m.n_classes,
        e.scores + (panel * e.panel_stride + first * m.n_classes) * m.kernels.element_size)
    phase_next(PHASE_SCORES, begun)


cdef const void **rows_of_panel(
    const Epoch *e, const Batch *batch, size_t panel
) noexcept nogil:
    """Rows for the kernels. Converted for one thread's panel, they lie apart from those of the others:

    a line next to theirs would go to and fro between the caches, for the sake of its neighbours.
    """
    if e.converted == NULL or not e.by_panels:
        return batch.rows
    return e.rows_of_panels + panel * (e.batch_size + ROWS_AHEAD)


cdef void point_at_panels(Epoch *e) noexcept nogil:
    """The rows of every panel, in its part of the buffer: so that a panel's first feature is its start."""
    cdef size_t panel, i, start, stride, size = e.minibatch.kernels.element_size
    cdef size_t lanes = e.minibatch.kernels.lanes, gap = CACHE_LINE // size
    cdef size_t n_rows = padded(e.batch_size, lanes)
    cdef const char *part = e.converted
    for panel in range(e.n_panels):
        start = first_strip(e, panel) * lanes
        stride = first_strip(e, panel + 1) * lanes - start + gap
        for i in range(e.batch_size + ROWS_AHEAD):
            e.rows_of_panels[panel * (e.batch_size + ROWS_AHEAD) + i] = (
                part + min(i, n_rows - 1) * stride * size - start * size)
        part += n_rows * stride * size


cdef void update_strips(
    Epoch *e, const Batch *batch, const void **rows, size_t first, size_t n,
    const rows_to_fetch *fetch
) noexcept nogil:
    cdef Minibatch *m = &e.minibatch
    cdef size_t start = first * m.kernels.lanes
    cdef size_t end = min((first + n) * m.kernels.lanes, m.n_features)
    cdef uint64_t begun = phase_begin()
    m.kernels.panel_update(
        rows, batch.n, fetch, start, end - start, m.dlogits, m.n_classes, &e.rule, m.coef,
        e.velocity, m.coef_stride, e.squares + first, e.magnitudes + first)
    phase_next(PHASE_UPDATE, begun)


cdef void update_intercept(Epoch *e, const Batch *batch) noexcept nogil:
    cdef Minibatch *m = &e.minibatch
    if m.intercept != NULL:
        m.kernels.panel_update_intercept(
            m.dlogits, batch.n, m.n_classes, &e.rule, m.intercept, e.intercept_velocity)


cdef void score_whole_panel(const Epoch *e, size_t panel) noexcept nogil:
    """Rows that have to be converted are scored while they are in the first level of the cache."""
    cdef size_t n = e.to_score.n, first = 0
    cdef size_t at_once = n if e.converted == NULL else e.minibatch.kernels.lanes
    while first < n:
        score_panel(e, e.to_score, panel, first, min(at_once, n - first))
        first += at_once


cdef rows_to_fetch next_rows(
    const Epoch *e, size_t start, size_t end, size_t share, size_t n_shares
) noexcept nogil:
    """A share of the rows that the next step scores, for the update of this one to fetch.

    Rows that are to be converted are small, and fetched whole; of others, half of every block.
    """
    cdef const Batch *batch = e.to_score
    cdef rows_to_fetch fetch
    cdef size_t n = 0, size = e.minibatch.kernels.element_size
    fetch.rows, fetch.first, fetch.n_features = NULL, start, end - start
    if batch != NULL and e.ahead == SECOND_HALVES:
        fetch.rows, n = batch.first_halves, batch.n_first_halves
    elif batch != NULL and e.converted != NULL:
        fetch.rows, n = batch.sources, batch.n
        # In reals, whatever lies there.
        fetch.first = start * e.item_size // size
        fetch.n_features = (end * e.item_size + size - 1) // size - fetch.first
    fetch.n_rows = (share + 1) * n // n_shares - share * n // n_shares
    if n:
        fetch.rows += share * n // n_shares
    return fetch


cdef void panel_chunk(void *context, size_t panel) noexcept nogil:
    """One panel: its update with this minibatch, then its scores of the next one."""
    cdef Epoch *e = <Epoch *>context
    cdef size_t first = first_strip(e, panel), end = first_strip(e, panel + 1)
    cdef size_t lanes = e.minibatch.kernels.lanes
    cdef rows_to_fetch fetch
    if e.to_update != NULL:
        fetch = next_rows(e, first * lanes, min(end * lanes, e.minibatch.n_features), 0, 1)
        update_strips(
            e, e.to_update, rows_of_panel(e, e.to_update, panel), first, end - first, &fetch)
        if panel == 0:
            update_intercept(e, e.to_update)
    if e.to_score != NULL:
        score_whole_panel(e, panel)


cdef void loss_of_samples(Epoch *e, size_t first, size_t n) noexcept nogil:
    """Losses and gradient of the logits, from the scores of the panels; first a multiple of lanes."""
    cdef Minibatch *m = &e.minibatch
    cdef size_t offset = first * m.n_classes * m.kernels.element_size
    cdef target_weights shifted
    cdef uint64_t begun = phase_begin()
    m.kernels.panel_cross_entropy(
        e.scores + offset, e.n_panels, e.panel_stride, n, m.n_classes, m.intercept,
        m.labels + first if m.labels != NULL else NULL,
        m.probabilities + offset if m.probabilities != NULL else NULL,
        weights_from(m.weights, first, &shifted), m.scale, m.losses + first, m.dlogits + offset)
    phase_next(PHASE_LOSS, begun)


cdef void loss_chunk(void *context, size_t chunk) noexcept nogil:
    cdef Epoch *e = <Epoch *>context
    cdef const Split *samples = &e.minibatch.samples
    loss_of_samples(e, chunk * samples.size, length_of(samples, chunk))


cdef void forward_samples_chunk(void *context, size_t chunk) noexcept nogil:
    """Scores and losses of some samples, block by block."""
    cdef Epoch *e = <Epoch *>context
    cdef const Split *samples = &e.minibatch.samples
    cdef size_t start = chunk * samples.size, end = start + length_of(samples, chunk)
    cdef size_t lanes = e.minibatch.kernels.lanes, first = start, panel
    while first < end:
        for panel in range(e.n_panels):
            score_panel(e, e.to_update, panel, first, min(lanes, end - first))
        first += lanes
    loss_of_samples(e, start, end - start)


cdef void strips_chunk(void *context, size_t chunk) noexcept nogil:
    """Some strips' update, while a share of the next rows is fetched whole."""
    cdef Epoch *e = <Epoch *>context
    cdef const Split *strips = &e.minibatch.strips
    cdef rows_to_fetch fetch = next_rows(
        e, 0, e.minibatch.n_features, chunk, strips.n_chunks)
    update_strips(
        e, e.to_update, e.to_update.rows, chunk * strips.size, length_of(strips, chunk), &fetch)
    if chunk == 0:
        update_intercept(e, e.to_update)


cdef void choose_schedule(Epoch *e, int n_threads) noexcept nogil:
    """How rows are brought to the caches, and by whom; neither enters the bits."""
    cdef size_t row_bytes = e.minibatch.n_features * e.minibatch.kernels.element_size
    cdef bint stays_in_cache = (
        2 * e.batch_size * row_bytes <= <size_t>n_threads * BYTES_IN_CACHE)
    e.by_panels = stays_in_cache and 1 < n_threads <= <int>e.n_panels
    if e.converted != NULL:
        e.ahead = NO_ROWS
    else:
        e.ahead = SECOND_HALVES if stays_in_cache else WHOLE_ROWS


cdef const Batch *gathered(Epoch *e, size_t step) noexcept nogil:
    cdef Batch *batch = &e.batches[step % 2]
    if e.n_gathered <= step:
        gather(e, step, batch)
        e.n_gathered = step + 1
    return batch


cdef void forward(Epoch *e, size_t step, pool *helpers) noexcept nogil:
    """Losses of a step and the gradient of its logits."""
    cdef Minibatch *m = &e.minibatch
    cdef const Batch *batch = gathered(e, step)
    take(e, batch, pool_threads(helpers))
    if not e.by_panels:
        e.to_update = batch
        pool_for(helpers, forward_samples_chunk, e, m.samples.n_chunks)
        return
    if e.n_scored <= step:
        e.to_update, e.to_score = NULL, batch
        pool_for(helpers, panel_chunk, e, e.n_panels)
    pool_for(
        helpers if batch.n * m.n_classes >= LEAST_LOGITS_FOR_THREADS else NULL, loss_chunk, e,
        m.samples.n_chunks)


cdef double few_classes_step(Epoch *e, size_t step, size_t n_steps, pool *helpers) noexcept nogil:
    """One step; returns the loss.

    Panel by panel, a thread scores the next minibatch as well, with the weights and the columns of X
    that it has in its cache. Otherwise there is a loop over samples and one over strips of features,
    and rows are read in longer runs.
    """
    cdef Minibatch *m = &e.minibatch
    cdef double loss
    forward(e, step, helpers)
    loss = sum_of(m.losses, m.samples.n_items) / m.samples.n_items
    if not isfinite(loss):
        return loss
    e.rule.rate = e.rates[step]
    e.to_update = &e.batches[step % 2]
    e.to_score = gathered(e, step + 1) if step + 1 < n_steps else NULL
    if e.by_panels:
        pool_for(helpers, panel_chunk, e, e.n_panels)
        e.n_scored = step + 2
    else:
        pool_for(helpers, strips_chunk, e, m.strips.n_chunks)
    return loss
