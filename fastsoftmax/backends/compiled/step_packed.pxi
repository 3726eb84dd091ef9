"""A step of training with many classes, on packed operands: see csrc/kernels/step_packed.h."""


cdef enum:
    # so many samples are scored with some slabs at once: these come once for all of them
    ROWS_OF_A_SLAB = 64


cdef void pack_slabs(const Minibatch *m, char *coef, char *slabs) noexcept nogil:
    """From (n_classes, n_features) in C order."""
    cdef size_t size = m.kernels.element_size, lanes = m.kernels.lanes, first = 0
    cdef void *rows[MOST_LANES]
    while first < m.n_classes:
        point_at_classes(m, coef, first, rows)
        m.kernels.pack_block(
            <const void **>rows, min(lanes, m.n_classes - first), m.n_features,
            slabs + first * m.coef_stride * size)
        first += lanes


cdef void unpack_slabs(const Minibatch *m, const char *slabs, char *coef) noexcept nogil:
    cdef size_t size = m.kernels.element_size, lanes = m.kernels.lanes, first = 0
    cdef void *rows[MOST_LANES]
    while first < m.n_classes:
        point_at_classes(m, coef, first, rows)
        m.kernels.unpack_block(
            slabs + first * m.coef_stride * size, min(lanes, m.n_classes - first), m.n_features,
            rows)
        first += lanes


cdef void point_at_classes(
    const Minibatch *m, char *coef, size_t first, void **rows
) noexcept nogil:
    cdef size_t i
    for i in range(min(m.kernels.lanes, m.n_classes - first)):
        rows[i] = coef + (first + i) * m.n_features * m.kernels.element_size


cdef void pack_samples(Epoch *e, size_t first, size_t n) noexcept nogil:
    """The samples [first, first + n), first a multiple of lanes, in blocks."""
    cdef Minibatch *m = &e.minibatch
    cdef size_t lanes = m.kernels.lanes, end = first + n
    cdef uint64_t begun
    while first < end:
        if e.converted != NULL:
            convert(e, &e.batches[0], m.rows, first, min(lanes, end - first), 0, m.n_features)
        begun = phase_begin()
        m.kernels.pack_block(
            m.rows + first, min(lanes, end - first), m.n_features,
            e.blocks + first // lanes * e.block_stride * m.kernels.element_size)
        phase_next(PHASE_CONVERT, begun)
        first += lanes


cdef size_t classes_of_slabs(const Epoch *e, size_t slab, size_t n_slabs) noexcept nogil:
    cdef size_t lanes = e.minibatch.kernels.lanes
    return min(n_slabs * lanes, e.minibatch.n_classes - slab * lanes)


cdef void slab_scores(
    Epoch *e, size_t slab, size_t n_slabs, size_t first, size_t n
) noexcept nogil:
    """Scores of these samples and some slabs of classes."""
    cdef Minibatch *m = &e.minibatch
    cdef size_t size = m.kernels.element_size, lanes = m.kernels.lanes, k = slab * lanes
    cdef uint64_t begun = phase_begin()
    m.kernels.packed_scores(
        e.blocks + first // lanes * e.block_stride * size, e.block_stride, n, m.coef_stride,
        m.coef + k * m.coef_stride * size, m.coef_stride * lanes,
        m.intercept + k * size if m.intercept != NULL else NULL,
        classes_of_slabs(e, slab, n_slabs), False,
        m.dlogits + (first * e.logits_stride + k) * size, e.logits_stride)
    phase_next(PHASE_SCORES, begun)


cdef void slab_losses(Epoch *e, size_t first, size_t n) noexcept nogil:
    """Losses of these samples, and the gradient of their logits into the slabs."""
    cdef Minibatch *m = &e.minibatch
    cdef size_t size = m.kernels.element_size
    cdef char *rows = m.dlogits + first * e.logits_stride * size
    cdef char *of_model
    cdef target_weights shifted
    cdef size_t model
    cdef uint64_t begun = phase_begin()
    for model in range(e.n_models):
        of_model = rows + model * e.n_outputs * size
        m.kernels.cross_entropy(
            of_model, e.logits_stride, n, e.n_outputs,
            m.labels + first if m.labels != NULL else NULL,
            m.probabilities + first * e.n_outputs * size if m.probabilities != NULL else NULL,
            weights_from(m.weights, first, &shifted), m.scale,
            m.losses + model * e.losses_stride + first, of_model, e.logits_stride)
    m.kernels.pack_dlogits(
        rows, e.logits_stride, first, n, m.n_classes, e.dlogits_slabs,
        m.samples.n_items * m.kernels.lanes)
    phase_next(PHASE_LOSS, begun)


cdef void samples_chunk(void *context, size_t chunk) noexcept nogil:
    """All of the forward pass for some samples: what one thread packs and scores it needs itself."""
    cdef Epoch *e = <Epoch *>context
    cdef const Split *samples = &e.minibatch.samples
    cdef size_t first = chunk * samples.size, n = length_of(samples, chunk)
    pack_samples(e, first, n)
    slab_scores(e, 0, e.slabs.n_items, first, n)
    slab_losses(e, first, n)


cdef void pack_chunk(void *context, size_t chunk) noexcept nogil:
    cdef Epoch *e = <Epoch *>context
    cdef const Split *samples = &e.minibatch.samples
    pack_samples(e, chunk * samples.size, length_of(samples, chunk))


cdef void slab_scores_chunk(void *context, size_t chunk) noexcept nogil:
    cdef Epoch *e = <Epoch *>context
    slab_scores(
        e, chunk * e.slabs.size, length_of(&e.slabs, chunk), 0, e.minibatch.samples.n_items)


cdef void slab_losses_chunk(void *context, size_t chunk) noexcept nogil:
    cdef Epoch *e = <Epoch *>context
    cdef const Split *samples = &e.minibatch.samples
    slab_losses(e, chunk * samples.size, length_of(samples, chunk))


cdef void fetch_next_samples(const Epoch *e, size_t share, size_t n_shares) noexcept nogil:
    """A share of the rows of the next step: memory has all of this one to bring them."""
    cdef size_t next = e.first_sample + e.batches[0].n
    cdef size_t n = min(e.batch_size, e.n_samples - next), i
    cdef size_t row_bytes = e.minibatch.n_features * e.item_size, start, end
    start, end = share * n * row_bytes // n_shares, (share + 1) * n * row_bytes // n_shares
    while start < end:
        i = min(row_bytes - start % row_bytes, end - start)
        platform_fetch(
            e.X + e.order[next + start // row_bytes] * e.row_stride + start % row_bytes, i)
        start += i


cdef void slab_update_chunk(void *context, size_t chunk) noexcept nogil:
    """Gradient, penalty, momentum and step of some features and some slabs of classes.

    The features first: their columns of the samples stay in the cache for all slabs.
    """
    cdef Epoch *e = <Epoch *>context
    cdef Minibatch *m = &e.minibatch
    cdef size_t size = m.kernels.element_size, lanes = m.kernels.lanes
    cdef size_t part = chunk // e.slabs.n_chunks, some = chunk % e.slabs.n_chunks
    cdef size_t slab = some * e.slabs.size, n_slabs = length_of(&e.slabs, some)
    cdef size_t n = m.samples.n_items, weights = slab * lanes * m.coef_stride * size
    cdef size_t strips = slab * m.strips.n_items * (1 if e.l2s == NULL else lanes)
    cdef char *dlogits = e.dlogits_slabs + slab * n * lanes * size
    cdef step_rule rule = rule_of_slab(e, slab)
    cdef uint64_t begun = phase_begin()
    fetch_next_samples(e, chunk, m.strips.n_chunks * e.slabs.n_chunks)
    m.kernels.packed_update(
        e.blocks, e.block_stride, n, part * m.strips.size * lanes,
        length_of(&m.strips, part) * lanes, dlogits, &rule, classes_of_slabs(e, slab, n_slabs),
        m.coef + weights, m.coef_stride * lanes,
        e.velocity + weights if e.velocity != NULL else NULL, e.squares + strips,
        e.magnitudes + strips)
    if part == 0 and m.intercept != NULL:
        while n_slabs > 0:
            update_intercept_of_slab(e, slab)
            slab, n_slabs = slab + 1, n_slabs - 1
    phase_next(PHASE_UPDATE, begun)


cdef void update_intercept_of_slab(Epoch *e, size_t slab) noexcept nogil:
    cdef Minibatch *m = &e.minibatch
    cdef size_t n = m.samples.n_items, row = m.kernels.lanes * m.kernels.element_size
    cdef step_rule rule = rule_of_slab(e, slab)
    m.kernels.packed_update_intercept(
        e.dlogits_slabs + slab * n * row, n, classes_of_slabs(e, slab, 1), &rule,
        m.intercept + slab * row,
        e.intercept_velocity + slab * row if e.intercept_velocity != NULL else NULL)


cdef void split_slabs(Epoch *e, size_t n_threads) noexcept nogil:
    """Into chunks of as many as a kernel takes at once, or of one where threads would have none."""
    cdef size_t n = e.logits_stride // e.minibatch.kernels.lanes
    e.slabs.n_items = n
    e.slabs.size = <size_t>SLABS_AT_ONCE if n >= SLABS_AT_ONCE * n_threads else 1
    e.slabs.n_chunks = (n + e.slabs.size - 1) // e.slabs.size


cdef void forward_packed(Epoch *e, size_t n, pool *helpers) noexcept nogil:
    """Losses and gradient of the logits: by samples, or by slabs where there are few of them."""
    cdef Minibatch *m = &e.minibatch
    cdef size_t n_threads = pool_threads(helpers)
    cdef size_t n_blocks = (n + m.kernels.lanes - 1) // m.kernels.lanes
    cdef size_t rows_of_a_share = padded((n + n_threads - 1) // n_threads, m.kernels.lanes)
    m.samples.size = min(rows_of_a_share, <size_t>ROWS_OF_A_SLAB)
    m.samples.n_chunks = (n + m.samples.size - 1) // m.samples.size
    split_slabs(e, n_threads)
    if n_threads == 1 or n_blocks >= n_threads:
        pool_for(helpers, samples_chunk, e, m.samples.n_chunks)
    else:
        pool_for(helpers, pack_chunk, e, m.samples.n_chunks)
        pool_for(helpers, slab_scores_chunk, e, e.slabs.n_chunks)
        pool_for(helpers, slab_losses_chunk, e, m.samples.n_chunks)


cdef double many_classes_step(Epoch *e, size_t step, pool *helpers) noexcept nogil:
    """One step; returns the loss."""
    cdef Minibatch *m = &e.minibatch
    cdef Batch *batch = &e.batches[0]
    cdef double loss
    gather(e, step, batch)
    e.first_sample = step * e.batch_size
    take(e, batch, pool_threads(helpers))
    forward_packed(e, batch.n, helpers)
    loss = sum_of(m.losses, batch.n) / batch.n
    if isfinite(loss) or e.l2s != NULL:
        e.rule.rate = e.rates[step]
        pool_for(helpers, slab_update_chunk, e, m.strips.n_chunks * e.slabs.n_chunks)
    return loss


cdef void set_rules(Epoch *e) noexcept nogil:
    """Say which parts the rules of several models have."""
    cdef size_t model
    e.rule.l2 = e.rule.l1 = 0
    for model in range(e.n_models):
        e.rule.l2 = max(e.rule.l2, e.l2s[model])
        e.rule.l1 = max(e.rule.l1, e.l1s[model])


cdef void set_number(char *array, size_t i, size_t size, double value) noexcept nogil:
    if size == sizeof(float):
        (<float *>array)[i] = <float>value
    else:
        (<double *>array)[i] = value


cdef void set_rates(Epoch *e, size_t step) noexcept nogil:
    """The rules of this step, class by class."""
    cdef size_t size = e.minibatch.kernels.element_size, k, model
    cdef double rate
    for k in range(e.minibatch.n_classes):
        model = k // e.n_outputs
        rate = e.rates[model * e.n_steps + step]
        set_number(e.rules, k, size, -rate)
        set_number(e.rules, e.logits_stride + k, size, 2 * e.l2s[model])
        set_number(e.rules, 2 * e.logits_stride + k, size, rate * e.l1s[model])
    for k in range(e.minibatch.n_classes, e.logits_stride):
        for model in range(3):
            set_number(e.rules, model * e.logits_stride + k, size, 0)


cdef step_rule rule_of_slab(const Epoch *e, size_t slab) noexcept nogil:
    cdef step_rule rule = e.rule
    cdef size_t size = e.minibatch.kernels.element_size, stride = e.logits_stride * size
    cdef const char *start = e.rules + slab * e.minibatch.kernels.lanes * size
    if e.l2s != NULL:
        rule.negative_rates, rule.twice_l2s, rule.thresholds = start, start + stride, start + 2 * stride
    return rule


cdef double objective_of_model(const Epoch *e, size_t model) noexcept nogil:
    """The loss of the step, and the penalty of the weights before it."""
    cdef const Minibatch *m = &e.minibatch
    cdef size_t lanes = m.kernels.lanes, k, slab, strip
    cdef size_t n = e.batches[0].n, n_strips = m.strips.n_items
    cdef double squares = 0, magnitudes = 0
    cdef double loss = sum_of(m.losses + model * e.losses_stride, n) / n
    for k in range(model * e.n_outputs, (model + 1) * e.n_outputs):
        slab = k // lanes
        for strip in range(slab * n_strips, (slab + 1) * n_strips):
            squares += e.squares[strip * lanes + k % lanes]
            magnitudes += e.magnitudes[strip * lanes + k % lanes]
    if e.rule.l2 != 0:
        loss += e.l2s[model] * squares
    if e.rule.l1 != 0:
        loss += e.l1s[model] * magnitudes
    return loss


cdef size_t run_steps_of_models(Epoch *e, size_t step, int n_threads) noexcept nogil:
    """As `run_steps`, of several models; what becomes of one has no part in the others."""
    cdef double deadline = platform_seconds() + SECONDS_BETWEEN_SIGNALS
    cdef Minibatch *m = &e.minibatch
    cdef pool *helpers = NULL
    cdef size_t model
    if uses_threads(e.batch_size, m.n_features, m.n_classes):
        helpers = pool_begin(n_threads)
    while step < e.n_steps and platform_seconds() <= deadline:
        set_rates(e, step)
        many_classes_step(e, step, helpers)
        for model in range(e.n_models):
            e.objectives[model * e.n_steps + step] = objective_of_model(e, model)
        step += 1
    pool_end(helpers)
    return step
