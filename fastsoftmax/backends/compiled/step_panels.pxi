"""The step algorithm panels, by panels of features: see csrc/kernels/step_panels.h."""


cdef struct Panels:
    Epoch *epoch
    # the samples of this step and of the next one, and of each the rows in the first halves of its blocks
    Batch batches[2]
    const void **first_halves[2]
    size_t n_first_halves[2]
    # how many steps have their rows and their scores
    size_t n_gathered, n_scored
    size_t n_panels
    char *scores
    # views of all features: the weights for both directions, and the scores by panels
    weights_view weights
    update_view update
    parts_view parts
    # rows that have to be converted: where they go, and as a thread that has a panel to itself sees them
    char *converted
    const void **panel_rows
    PenaltySums penalty
    # the schedule
    bint owns_panels  # a panel is one thread's, in both directions
    rows_ahead ahead
    # what a loop over the panels is to do: batches, or NULL
    const Batch *to_update
    const Batch *to_score


cdef void *panels_plan(Epoch *e, Buffers buffers) except NULL:
    cdef Minibatch *m = &e.minibatch
    cdef Panels *p = <Panels *>buffers.take_zeros(sizeof(Panels))
    cdef size_t size = m.kernels.element_size, n_strips = m.coef_stride // m.kernels.lanes, i
    cdef size_t n_rows = padded(e.batch_size, m.kernels.lanes), converted_stride = 0
    p.epoch = e
    p.n_panels = min((n_strips + PANEL_VECTORS - 1) // PANEL_VECTORS, <size_t>MAX_PANELS)
    plan_model(e, buffers, m.n_classes, m.coef_stride)
    plan_penalty(buffers, &p.penalty, n_strips)
    p.weights, p.update = weights_of(m), update_of(e, &p.penalty)
    if e.converts_rows:
        # Rows a multiple of some KiB apart would share few places of the cache: so there is a gap.
        converted_stride = m.coef_stride + CACHE_LINE // size * p.n_panels
        p.converted = buffers.take(n_rows, converted_stride, size)
        p.panel_rows = <const void **>buffers.take(
            e.batch_size + ROWS_AHEAD, p.n_panels, sizeof(void *))
        point_at_panels(p)
    for i in range(2):
        plan_targets(e, buffers, &p.batches[i])
        plan_rows(e, buffers, &p.batches[i], p.converted, converted_stride)
        p.first_halves[i] = <const void **>buffers.take(e.batch_size, 1, sizeof(void *))
    p.scores = buffers.take(p.n_panels * n_rows, m.n_classes, size)
    p.parts.n_parts, p.parts.stride = p.n_panels, n_rows * m.n_classes
    m.dlogits = buffers.take(n_rows, m.n_classes, size)
    m.losses = <double *>buffers.take(n_rows, 1, sizeof(double))
    return p


cdef size_t first_strip(const Panels *p, size_t panel) noexcept nogil:
    cdef const Minibatch *m = &p.epoch.minibatch
    return panel * (m.coef_stride // m.kernels.lanes) // p.n_panels


cdef void point_at_panels(Panels *p) noexcept nogil:
    """Point at the rows of every panel in its part of the buffer, which its first feature begins."""
    cdef const Epoch *e = p.epoch
    cdef size_t panel, i, start, stride, size = e.minibatch.kernels.element_size
    cdef size_t lanes = e.minibatch.kernels.lanes, gap = CACHE_LINE // size
    cdef size_t n_rows = padded(e.batch_size, lanes)
    cdef const char *part = p.converted
    for panel in range(p.n_panels):
        start = first_strip(p, panel) * lanes
        stride = first_strip(p, panel + 1) * lanes - start + gap
        for i in range(e.batch_size + ROWS_AHEAD):
            p.panel_rows[panel * (e.batch_size + ROWS_AHEAD) + i] = (
                part + min(i, n_rows - 1) * stride * size - start * size)
        part += n_rows * stride * size


cdef const void **rows_of_panel(const Panels *p, const Batch *batch, size_t panel) noexcept nogil:
    """Return the rows for the kernels.

    Rows converted for one thread's panel lie apart from those of the others: this avoids false sharing.
    """
    if not p.epoch.converts_rows or not p.owns_panels:
        return batch.rows
    return p.panel_rows + panel * (p.epoch.batch_size + ROWS_AHEAD)


cdef void score_panel(
    const Panels *p, const Batch *batch, size_t panel, size_t first, size_t n
) noexcept nogil:
    """Scores of the samples [first, first + n), first a multiple of lanes."""
    cdef const Epoch *e = p.epoch
    cdef const Minibatch *m = &e.minibatch
    cdef size_t start = first_strip(p, panel) * m.kernels.lanes
    cdef size_t end = min(first_strip(p, panel + 1) * m.kernels.lanes, m.n_features)
    cdef const void **rows = rows_of_panel(p, batch, panel)
    cdef uint64_t begun
    if e.converts_rows:
        convert(e, batch, rows, first, n, start, end)
    begun = phase_begin()
    m.kernels.panel_scores(
        rows + first, n, start, end - start, p.ahead, &p.weights,
        p.scores + (panel * p.parts.stride + first * m.n_classes) * m.kernels.element_size)
    phase_next(PHASE_SCORES, begun)


cdef void score_whole_panel(const Panels *p, size_t panel) noexcept nogil:
    """Rows that have to be converted are scored while they are in the first level of the cache."""
    cdef size_t n = p.to_score.n, first = 0
    cdef size_t n_per_call = p.epoch.minibatch.kernels.lanes if p.epoch.converts_rows else n
    while first < n:
        score_panel(p, p.to_score, panel, first, min(n_per_call, n - first))
        first += n_per_call


cdef void update_strips(
    const Panels *p, const void **rows, size_t first, size_t n, const rows_to_fetch *fetch
) noexcept nogil:
    cdef const Epoch *e = p.epoch
    cdef const Minibatch *m = &e.minibatch
    cdef size_t start = first * m.kernels.lanes
    cdef size_t end = min((first + n) * m.kernels.lanes, m.n_features)
    cdef uint64_t begun = phase_begin()
    m.kernels.panel_update(
        rows, p.to_update.n, fetch, start, end - start, m.dlogits, &e.rule, &p.update)
    phase_next(PHASE_UPDATE, begun)


cdef void update_intercept(const Panels *p) noexcept nogil:
    cdef const Epoch *e = p.epoch
    cdef const Minibatch *m = &e.minibatch
    if m.intercept != NULL:
        m.kernels.panel_update_intercept(
            m.dlogits, p.to_update.n, m.n_classes, &e.rule, m.intercept,
            e.model.intercept_velocity)


cdef rows_to_fetch next_rows(
    const Panels *p, size_t start, size_t end, size_t share, size_t n_shares
) noexcept nogil:
    """Return a share of the rows that the next step scores, for the update of this one to fetch.

    Rows that are to be converted are small, and fetched whole; of others, half of every block.
    """
    cdef const Epoch *e = p.epoch
    cdef const Batch *batch = p.to_score
    cdef rows_to_fetch fetch
    cdef size_t n = 0, i, size = e.minibatch.kernels.element_size
    fetch.rows, fetch.first, fetch.n_features = NULL, start, end - start
    if batch != NULL and p.ahead == SECOND_HALVES:
        i = batch - p.batches
        fetch.rows, n = p.first_halves[i], p.n_first_halves[i]
    elif batch != NULL and e.converts_rows:
        fetch.rows, n = batch.sources, batch.n
        # In reals, whatever lies there.
        fetch.first = start * e.dense.item_size // size
        fetch.n_features = (end * e.dense.item_size + size - 1) // size - fetch.first
    fetch.n_rows = (share + 1) * n // n_shares - share * n // n_shares
    if n:
        fetch.rows += share * n // n_shares
    return fetch


cdef void panel_chunk(void *context, size_t panel) noexcept nogil:
    """One panel: its update with this minibatch, then its scores of the next one."""
    cdef const Panels *p = <const Panels *>context
    cdef const Minibatch *m = &p.epoch.minibatch
    cdef size_t first = first_strip(p, panel), end = first_strip(p, panel + 1)
    cdef rows_to_fetch fetch
    if p.to_update != NULL:
        fetch = next_rows(
            p, first * m.kernels.lanes, min(end * m.kernels.lanes, m.n_features), 0, 1)
        update_strips(p, rows_of_panel(p, p.to_update, panel), first, end - first, &fetch)
        if panel == 0:
            update_intercept(p)
    if p.to_score != NULL:
        score_whole_panel(p, panel)


cdef void loss_of_samples(const Panels *p, size_t first, size_t n) noexcept nogil:
    """Losses and gradient of the logits, from the scores of the panels; first a multiple of lanes."""
    cdef const Minibatch *m = &p.epoch.minibatch
    cdef size_t offset = first * m.n_classes * m.kernels.element_size
    cdef parts_view scores = p.parts
    cdef RowTargets shifted
    cdef uint64_t begun = phase_begin()
    scores.start = p.scores + offset
    m.kernels.training_cross_entropy(
        &scores, n, m.intercept,
        targets_from(&m.targets, first, m.kernels.element_size, &shifted), m.scale,
        m.losses + first // m.kernels.lanes, m.dlogits + offset)
    phase_next(PHASE_LOSS, begun)


cdef void loss_chunk(void *context, size_t chunk) noexcept nogil:
    cdef const Panels *p = <const Panels *>context
    cdef const Split *samples = &p.epoch.minibatch.samples
    loss_of_samples(p, chunk * samples.size, length_of(samples, chunk))


cdef void forward_samples_chunk(void *context, size_t chunk) noexcept nogil:
    """Scores and losses of some samples, block by block."""
    cdef const Panels *p = <const Panels *>context
    cdef const Split *samples = &p.epoch.minibatch.samples
    cdef size_t start = chunk * samples.size, end = start + length_of(samples, chunk)
    cdef size_t lanes = p.epoch.minibatch.kernels.lanes, first = start, panel
    while first < end:
        for panel in range(p.n_panels):
            score_panel(p, p.to_update, panel, first, min(lanes, end - first))
        first += lanes
    loss_of_samples(p, start, end - start)


cdef void strips_chunk(void *context, size_t chunk) noexcept nogil:
    """Some strips' update, while a share of the next rows is fetched whole."""
    cdef const Panels *p = <const Panels *>context
    cdef const Split *strips = &p.epoch.minibatch.strips
    cdef rows_to_fetch fetch = next_rows(
        p, 0, p.epoch.minibatch.n_features, chunk, strips.n_chunks)
    update_strips(p, p.to_update.rows, chunk * strips.size, length_of(strips, chunk), &fetch)
    if chunk == 0:
        update_intercept(p)


cdef void choose_schedule(Panels *p, int n_threads) noexcept nogil:
    """Choose how rows are brought to the caches, and by whom; the result does not depend on it."""
    cdef const Epoch *e = p.epoch
    cdef size_t row_bytes = e.minibatch.n_features * e.minibatch.kernels.element_size
    cdef bint stays_in_cache = (
        2 * e.batch_size * row_bytes <= <size_t>n_threads * cache_bytes_per_thread)
    p.owns_panels = stays_in_cache and 1 < n_threads <= <int>p.n_panels
    if e.converts_rows:
        p.ahead = NO_ROWS
    else:
        p.ahead = SECOND_HALVES if stays_in_cache else WHOLE_ROWS


cdef const Batch *gathered(Panels *p, size_t step) noexcept nogil:
    """Return the batch of a step, which is gathered unless it has been already."""
    cdef Batch *batch = &p.batches[step % 2]
    cdef const void **first_halves = p.first_halves[step % 2]
    cdef size_t lanes = p.epoch.minibatch.kernels.lanes, n = 0, first = 0, i
    if p.n_gathered <= step:
        gather(p.epoch, step, batch)
        while first < batch.n:
            for i in range(first, min(first + lanes // 2, batch.n)):
                first_halves[n] = batch.sources[i]
                n += 1
            first += lanes
        p.n_first_halves[step % 2] = n
        p.n_gathered = step + 1
    return batch


cdef void forward(Panels *p, const Batch *batch, size_t step, pool *helpers) noexcept nogil:
    """Losses of a step and the gradient of its logits."""
    cdef Minibatch *m = &p.epoch.minibatch
    if not p.owns_panels:
        p.to_update = batch
        pool_for(helpers, forward_samples_chunk, p, m.samples.n_chunks)
        return
    if p.n_scored <= step:
        p.to_update, p.to_score = NULL, batch
        pool_for(helpers, panel_chunk, p, p.n_panels)
    pool_for(
        helpers if batch.n * m.n_classes >= MIN_LOGITS_FOR_THREADS else NULL, loss_chunk, p,
        m.samples.n_chunks)


cdef bint panels_step(void *plan, size_t step, pool *helpers) noexcept nogil:
    """One step.

    Panel by panel, a thread scores the next minibatch as well, with the weights and the columns of X
    that it has in its cache. Otherwise there is a loop over samples and one over strips of features,
    and rows are read in longer runs.
    """
    cdef Panels *p = <Panels *>plan
    cdef Epoch *e = p.epoch
    cdef Minibatch *m = &e.minibatch
    cdef const Batch *batch = gathered(p, step)
    cdef double loss
    choose_schedule(p, pool_threads(helpers))
    begin_minibatch(e, batch, pool_threads(helpers))
    forward(p, batch, step, helpers)
    loss = sum_in_four(m.losses, (batch.n + m.kernels.lanes - 1) // m.kernels.lanes) / batch.n
    if isfinite(loss):
        e.rule.rate = e.rates[step]
        p.to_update = batch
        p.to_score = gathered(p, step + 1) if step + 1 < e.n_steps else NULL
        if p.owns_panels:
            pool_for(helpers, panel_chunk, p, p.n_panels)
            p.n_scored = step + 2
        else:
            pool_for(helpers, strips_chunk, p, m.strips.n_chunks)
    return end_step(e, step, loss, &p.penalty)


cdef void pack_rows(const Minibatch *m, char *coef, char *packed) noexcept nogil:
    """From (n_classes, n_features) in C order to rows of whole vectors, padded with zeros."""
    m.kernels.pack(
        coef, m.kernels.element_size, m.n_features * m.kernels.element_size, m.n_features,
        m.n_classes, packed, m.coef_stride)


cdef void unpack_rows(const Minibatch *m, char *packed, char *coef) noexcept nogil:
    """From rows of whole vectors to (n_classes, n_features) in C order."""
    m.kernels.unpack(
        packed, m.coef_stride, m.n_features, m.n_classes, coef, m.kernels.element_size,
        m.n_features * m.kernels.element_size)


cdef StepAlgorithm panels = StepAlgorithm(
    name="panels",
    obstacle=few_classes_obstacle,
    applies=always_applies,
    plan=panels_plan,
    pack=pack_rows,
    unpack=unpack_rows,
    step=panels_step,
    finish=nothing_to_finish,
)
