"""The step algorithm packed, on packed operands: see csrc/kernels/step_packed.h.

Several models may lie side by side, their classes one after another: lanes are classes, so that each has
the rate and the penalty of its model, and the softmax alone is taken model by model.
"""


cdef struct Packed:
    Epoch *epoch
    Batch batch
    size_t first_sample  # of the batch, in the order
    # samples in blocks, logits by rows, and their gradient in slabs of LANES classes; strides in elements
    char *blocks
    char *dlogits_slabs
    size_t block_stride, logits_stride
    Split slabs
    # views of all slabs
    weights_view weights
    update_view update
    PenaltySums penalty  # a number for every strip of features of a slab; with models for each of its lanes
    # models side by side; else there is one, with the rule of the epoch
    bint has_models
    size_t n_models, losses_stride  # the losses of one model come after those of another
    char *rules  # three rows of padded classes: -rate, 2 * l2 and rate * l1


cdef const char *packed_obstacle(const TrainingShape *shape) noexcept nogil:
    if shape.is_sparse:
        return "takes dense rows"
    return NULL


cdef void *packed_plan(Epoch *e, Buffers buffers) except NULL:
    cdef Minibatch *m = &e.minibatch
    cdef Packed *p = <Packed *>buffers.take_zeros(sizeof(Packed))
    cdef size_t size = m.kernels.element_size, lanes = m.kernels.lanes
    cdef size_t n_rows = padded(e.batch_size, lanes), n_strips = m.coef_stride // lanes
    cdef size_t converted_stride = m.coef_stride + CACHE_LINE // size
    p.epoch = e
    p.has_models = e.models.n_models > 0
    p.n_models = max(e.models.n_models, <size_t>1)
    p.logits_stride = padded(m.n_classes, lanes)
    p.block_stride = m.coef_stride * lanes + CACHE_LINE // size
    p.losses_stride = n_rows
    plan_model(e, buffers, p.logits_stride, m.coef_stride)
    plan_penalty(
        buffers, &p.penalty, n_strips * (p.logits_stride // lanes) * (lanes if p.has_models else 1))
    p.weights, p.update = weights_of(m), update_of(e, &p.penalty)
    p.weights.stride = p.update.stride = m.coef_stride * lanes
    p.weights.n_features = m.coef_stride
    plan_targets(e, buffers, &p.batch)
    plan_rows(
        e, buffers, &p.batch,
        buffers.take(n_rows, converted_stride, size) if e.converts_rows else NULL,
        converted_stride)
    p.blocks = buffers.take(n_rows // lanes, p.block_stride, size)
    m.dlogits = buffers.take(n_rows, p.logits_stride, size)
    p.dlogits_slabs = buffers.take(e.batch_size, p.logits_stride, size)
    m.losses = <double *>buffers.take(n_rows, p.n_models, sizeof(double))
    if p.has_models:
        p.rules = buffers.take(3, p.logits_stride, size)
        set_parts_of_rules(p)
    return p


cdef void pack_slabs(const Minibatch *m, char *coef, char *slabs) noexcept nogil:
    """From (n_classes, n_features) in C order to slabs of LANES classes."""
    cdef size_t size = m.kernels.element_size, lanes = m.kernels.lanes, first = 0
    cdef void *rows[MAX_LANES]
    while first < m.n_classes:
        point_at_classes(m, coef, first, rows)
        m.kernels.pack_block(
            <const void **>rows, min(lanes, m.n_classes - first), m.n_features,
            slabs + first * m.coef_stride * size)
        first += lanes


cdef void unpack_slabs(const Minibatch *m, char *slabs, char *coef) noexcept nogil:
    """From slabs of LANES classes to (n_classes, n_features) in C order."""
    cdef size_t size = m.kernels.element_size, lanes = m.kernels.lanes, first = 0
    cdef void *rows[MAX_LANES]
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


cdef void pack_samples(const Packed *p, size_t first, size_t n) noexcept nogil:
    """Pack the samples [first, first + n), first a multiple of lanes, into blocks."""
    cdef const Epoch *e = p.epoch
    cdef const Minibatch *m = &e.minibatch
    cdef size_t lanes = m.kernels.lanes, end = first + n
    cdef uint64_t begun
    while first < end:
        if e.converts_rows:
            convert(e, &p.batch, p.batch.rows, first, min(lanes, end - first), 0, m.n_features)
        begun = phase_begin()
        m.kernels.pack_block(
            p.batch.rows + first, min(lanes, end - first), m.n_features,
            p.blocks + first // lanes * p.block_stride * m.kernels.element_size)
        phase_next(PHASE_CONVERT, begun)
        first += lanes


cdef size_t n_classes_of_slabs(const Packed *p, size_t slab, size_t n_slabs) noexcept nogil:
    cdef const Minibatch *m = &p.epoch.minibatch
    return min(n_slabs * m.kernels.lanes, m.n_classes - slab * m.kernels.lanes)


cdef blocks_view samples_from(const Packed *p, size_t first, size_t n) noexcept nogil:
    """View the blocks of the samples [first, first + n), first a multiple of lanes."""
    cdef const kernel_table *kernels = p.epoch.minibatch.kernels
    cdef blocks_view samples
    samples.start = p.blocks + first // kernels.lanes * p.block_stride * kernels.element_size
    samples.stride, samples.n_samples = p.block_stride, n
    return samples


cdef void slab_scores(
    const Packed *p, size_t slab, size_t n_slabs, size_t first, size_t n
) noexcept nogil:
    """Scores of these samples and some slabs of classes."""
    cdef const Minibatch *m = &p.epoch.minibatch
    cdef size_t size = m.kernels.element_size, lanes = m.kernels.lanes, k = slab * lanes
    cdef blocks_view samples = samples_from(p, first, n)
    cdef weights_view weights = p.weights
    cdef uint64_t begun = phase_begin()
    weights.coef = m.coef + k * m.coef_stride * size
    weights.intercept = m.intercept + k * size if m.intercept != NULL else NULL
    weights.n_classes = n_classes_of_slabs(p, slab, n_slabs)
    m.kernels.packed_scores(
        &samples, &weights, False, m.dlogits + (first * p.logits_stride + k) * size,
        p.logits_stride)
    phase_next(PHASE_SCORES, begun)


cdef void slab_losses(const Packed *p, size_t first, size_t n) noexcept nogil:
    """Losses of these samples, and the gradient of their logits into the slabs."""
    cdef const Minibatch *m = &p.epoch.minibatch
    cdef size_t size = m.kernels.element_size, model
    cdef char *rows = m.dlogits + first * p.logits_stride * size
    cdef char *model_rows
    cdef RowTargets shifted
    cdef const targets_view *targets = targets_from(&m.targets, first, size, &shifted)
    cdef uint64_t begun = phase_begin()
    for model in range(p.n_models):
        model_rows = rows + model * targets.n_classes * size
        m.kernels.cross_entropy(
            model_rows, p.logits_stride, n, targets, m.scale,
            m.losses + model * p.losses_stride + first, model_rows, p.logits_stride)
    m.kernels.pack_rows(
        rows, p.logits_stride, first, n, m.n_classes, p.dlogits_slabs,
        m.samples.n_items * m.kernels.lanes)
    phase_next(PHASE_LOSS, begun)


cdef void samples_chunk(void *context, size_t chunk) noexcept nogil:
    """All of the forward pass for some samples: what one thread packs and scores it needs itself."""
    cdef const Packed *p = <const Packed *>context
    cdef const Split *samples = &p.epoch.minibatch.samples
    cdef size_t first = chunk * samples.size, n = length_of(samples, chunk)
    pack_samples(p, first, n)
    slab_scores(p, 0, p.slabs.n_items, first, n)
    slab_losses(p, first, n)


cdef void pack_chunk(void *context, size_t chunk) noexcept nogil:
    cdef const Packed *p = <const Packed *>context
    cdef const Split *samples = &p.epoch.minibatch.samples
    pack_samples(p, chunk * samples.size, length_of(samples, chunk))


cdef void slab_scores_chunk(void *context, size_t chunk) noexcept nogil:
    cdef const Packed *p = <const Packed *>context
    slab_scores(
        p, chunk * p.slabs.size, length_of(&p.slabs, chunk), 0, p.epoch.minibatch.samples.n_items)


cdef void slab_losses_chunk(void *context, size_t chunk) noexcept nogil:
    cdef const Packed *p = <const Packed *>context
    cdef const Split *samples = &p.epoch.minibatch.samples
    slab_losses(p, chunk * samples.size, length_of(samples, chunk))


cdef void fetch_next_samples(const Packed *p, size_t share, size_t n_shares) noexcept nogil:
    """Fetch a share of the rows of the next step: memory has all of this one to bring them."""
    cdef const Epoch *e = p.epoch
    cdef size_t next = p.first_sample + p.batch.n
    cdef size_t n = min(e.batch_size, e.n_samples - next), i
    cdef size_t row_bytes = e.minibatch.n_features * e.dense.item_size, start, end
    start, end = share * n * row_bytes // n_shares, (share + 1) * n * row_bytes // n_shares
    while start < end:
        i = min(row_bytes - start % row_bytes, end - start)
        platform_fetch(row_of(e, e.order[next + start // row_bytes]) + start % row_bytes, i)
        start += i


cdef void slab_update_chunk(void *context, size_t chunk) noexcept nogil:
    """Gradient, penalty, momentum and step of some features and some slabs of classes.

    The features first: their columns of the samples stay in the cache for all slabs.
    """
    cdef const Packed *p = <const Packed *>context
    cdef const Epoch *e = p.epoch
    cdef const Minibatch *m = &e.minibatch
    cdef size_t size = m.kernels.element_size, lanes = m.kernels.lanes
    cdef size_t part = chunk // p.slabs.n_chunks, slab_chunk = chunk % p.slabs.n_chunks
    cdef size_t slab = slab_chunk * p.slabs.size, n_slabs = length_of(&p.slabs, slab_chunk)
    cdef size_t n = m.samples.n_items, offset = slab * lanes * m.coef_stride * size
    cdef size_t strips = slab * m.strips.n_items * (lanes if p.has_models else 1)
    cdef char *dlogits = p.dlogits_slabs + slab * n * lanes * size
    cdef blocks_view samples = samples_from(p, 0, n)
    cdef sgd_rule rule = rule_of_slab(p, slab)
    cdef update_view update = p.update
    cdef uint64_t begun = phase_begin()
    update.weights = m.coef + offset
    update.velocity = e.velocity + offset if e.velocity != NULL else NULL
    update.n_classes = n_classes_of_slabs(p, slab, n_slabs)
    update.squares += strips
    update.magnitudes += strips
    fetch_next_samples(p, chunk, m.strips.n_chunks * p.slabs.n_chunks)
    m.kernels.packed_update(
        &samples, part * m.strips.size * lanes, length_of(&m.strips, part) * lanes, dlogits, &rule,
        &update)
    if part == 0 and m.intercept != NULL:
        while n_slabs > 0:
            update_intercept_of_slab(p, slab)
            slab, n_slabs = slab + 1, n_slabs - 1
    phase_next(PHASE_UPDATE, begun)


cdef void update_intercept_of_slab(const Packed *p, size_t slab) noexcept nogil:
    cdef const Minibatch *m = &p.epoch.minibatch
    cdef size_t n = m.samples.n_items, row = m.kernels.lanes * m.kernels.element_size
    cdef char *velocity = p.epoch.model.intercept_velocity
    cdef sgd_rule rule = rule_of_slab(p, slab)
    m.kernels.packed_update_intercept(
        p.dlogits_slabs + slab * n * row, n, n_classes_of_slabs(p, slab, 1), &rule,
        m.intercept + slab * row, velocity + slab * row if velocity != NULL else NULL)


cdef void split_slabs(Packed *p, size_t n_threads) noexcept nogil:
    """Into chunks of as many as a kernel takes together, or of one where threads would have none."""
    cdef size_t n = p.logits_stride // p.epoch.minibatch.kernels.lanes
    p.slabs.n_items = n
    p.slabs.size = <size_t>SLABS_PER_TILE if n >= SLABS_PER_TILE * n_threads else 1
    p.slabs.n_chunks = (n + p.slabs.size - 1) // p.slabs.size


cdef void forward_packed(Packed *p, pool *helpers) noexcept nogil:
    """Losses and gradient of the logits: by samples, or by slabs where there are few of them."""
    cdef Minibatch *m = &p.epoch.minibatch
    cdef size_t n_threads = pool_threads(helpers), n = p.batch.n
    cdef size_t n_blocks = (n + m.kernels.lanes - 1) // m.kernels.lanes
    cdef size_t rows_of_a_share = padded((n + n_threads - 1) // n_threads, m.kernels.lanes)
    m.samples.size = min(rows_of_a_share, <size_t>SAMPLES_PER_SLAB)
    m.samples.n_chunks = (n + m.samples.size - 1) // m.samples.size
    split_slabs(p, n_threads)
    if n_threads == 1 or n_blocks >= n_threads:
        pool_for(helpers, samples_chunk, p, m.samples.n_chunks)
    else:
        pool_for(helpers, pack_chunk, p, m.samples.n_chunks)
        pool_for(helpers, slab_scores_chunk, p, p.slabs.n_chunks)
        pool_for(helpers, slab_losses_chunk, p, m.samples.n_chunks)


cdef bint packed_step(void *plan, size_t step, pool *helpers) noexcept nogil:
    """One step; a model that diverges has no part in the others, and stays in its lanes."""
    cdef Packed *p = <Packed *>plan
    cdef Epoch *e = p.epoch
    cdef Minibatch *m = &e.minibatch
    cdef double loss
    gather(e, step, &p.batch)
    p.first_sample = step * e.batch_size
    begin_minibatch(e, &p.batch, pool_threads(helpers))
    forward_packed(p, helpers)
    loss = sum_in_four(m.losses, p.batch.n) / p.batch.n
    if p.has_models:
        set_rules(p, step)
    if p.has_models or isfinite(loss):
        e.rule.rate = e.rates[step]
        pool_for(helpers, slab_update_chunk, p, m.strips.n_chunks * p.slabs.n_chunks)
    if p.has_models:
        end_step_of_models(p, step)
        return True
    return end_step(e, step, loss, &p.penalty)


cdef void set_parts_of_rules(Packed *p) noexcept nogil:
    """Say which penalties any of the models has."""
    cdef Epoch *e = p.epoch
    cdef size_t model
    e.rule.l2 = e.rule.l1 = 0
    for model in range(p.n_models):
        e.rule.l2 = max(e.rule.l2, e.models.l2s[model])
        e.rule.l1 = max(e.rule.l1, e.models.l1s[model])


cdef void set_element(char *array, size_t i, size_t size, double value) noexcept nogil:
    if size == sizeof(float):
        (<float *>array)[i] = <float>value
    else:
        (<double *>array)[i] = value


cdef void set_rules(Packed *p, size_t step) noexcept nogil:
    """Set the rules of this step, class by class."""
    cdef const Epoch *e = p.epoch
    cdef size_t size = e.minibatch.kernels.element_size, k, model, row
    cdef double rate
    for k in range(e.minibatch.n_classes):
        model = k // e.targets.n_classes
        rate = e.rates[model * e.n_steps + step]
        set_element(p.rules, k, size, -rate)
        set_element(p.rules, p.logits_stride + k, size, 2 * e.models.l2s[model])
        set_element(p.rules, 2 * p.logits_stride + k, size, rate * e.models.l1s[model])
    for k in range(e.minibatch.n_classes, p.logits_stride):
        for row in range(3):
            set_element(p.rules, row * p.logits_stride + k, size, 0)


cdef sgd_rule rule_of_slab(const Packed *p, size_t slab) noexcept nogil:
    cdef sgd_rule rule = p.epoch.rule
    cdef size_t size = p.epoch.minibatch.kernels.element_size, stride = p.logits_stride * size
    cdef const char *start = p.rules + slab * p.epoch.minibatch.kernels.lanes * size
    if p.has_models:
        rule.negative_rates, rule.twice_l2s, rule.thresholds = start, start + stride, start + 2 * stride
    return rule


cdef void end_step_of_models(const Packed *p, size_t step) noexcept nogil:
    cdef const Epoch *e = p.epoch
    cdef size_t model
    for model in range(p.n_models):
        e.objectives[model * e.n_steps + step] = objective_of_model(p, model)


cdef double objective_of_model(const Packed *p, size_t model) noexcept nogil:
    """The loss of the step, and the penalty of the weights before it."""
    cdef const Epoch *e = p.epoch
    cdef const Minibatch *m = &e.minibatch
    cdef size_t lanes = m.kernels.lanes, n_outputs = e.targets.n_classes, k, slab, strip
    cdef size_t n = p.batch.n, n_strips = m.strips.n_items
    cdef double squares = 0, magnitudes = 0
    cdef double loss = sum_in_four(m.losses + model * p.losses_stride, n) / n
    for k in range(model * n_outputs, (model + 1) * n_outputs):
        slab = k // lanes
        for strip in range(slab * n_strips, (slab + 1) * n_strips):
            squares += p.penalty.squares[strip * lanes + k % lanes]
            magnitudes += p.penalty.magnitudes[strip * lanes + k % lanes]
    if e.rule.l2 != 0:
        loss += e.models.l2s[model] * squares
    if e.rule.l1 != 0:
        loss += e.models.l1s[model] * magnitudes
    return loss


cdef StepAlgorithm packed = StepAlgorithm(
    name="packed",
    obstacle=packed_obstacle,
    applies=always_applies,
    plan=packed_plan,
    pack=pack_slabs,
    unpack=unpack_slabs,
    step=packed_step,
    finish=nothing_to_finish,
)
