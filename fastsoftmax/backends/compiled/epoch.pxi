"""An epoch of minibatch SGD in one call."""


cdef struct Batch:
    # the samples of one step: where their rows lie, and copies of their targets
    size_t n
    const void **rows  # as the kernels read them
    const void **sources  # where they lie in X; `rows`, unless they are converted
    const void **first_halves  # of every block of `lanes` rows, one after another
    size_t n_first_halves
    int64_t *labels
    char *probabilities
    double *weights


cdef struct ShortRows:
    # of a minibatch: chunks of so many samples, each with a gradient, dlogits and converted rows of its own
    size_t samples_of_a_chunk, n_chunks
    char *gradients
    char *dlogits
    char *converted
    size_t gradient_stride, dlogits_stride, converted_stride, row_stride  # in elements
    double *losses  # sum of each chunk
    size_t step
    int n_threads
    bint fetches  # rows and labels; else all of them are in the cache


cdef struct Epoch:
    # the data, where they lie
    const char *X
    ptrdiff_t row_stride
    const int64_t *labels
    const char *probabilities
    const target_weights *weights  # of all samples, NULL for none; and those of a step
    target_weights of_batch
    const int64_t *order
    size_t n_samples, batch_size
    # what its elements are, and where the rows of a step go if they have to be converted; else NULL
    number_kind number
    size_t item_size
    const char *mean
    const char *inverse_scale
    char *converted
    const void **rows_of_panels
    # the model, apart from what the minibatch holds of it
    step_rule rule
    char *velocity
    char *intercept_velocity
    const double *rates
    double *objectives
    # the step in work, and the samples of this and the next one
    Minibatch minibatch
    Batch batches[2]
    # of every strip of features, and with many classes of every slab
    size_t n_penalties
    double *squares
    double *magnitudes
    # with few classes and short rows
    ShortRows short_rows
    # with few classes else: the scores by panels, and how many steps have their rows and their scores
    size_t n_panels, panel_stride, n_gathered, n_scored
    char *scores
    bint by_panels  # a panel is one thread's, in both directions
    rows_ahead ahead
    const Batch *to_update  # NULL where a loop over the panels is not to do it
    const Batch *to_score
    # with many classes: the samples in blocks, and slabs of LANES classes
    char *blocks
    size_t block_stride, logits_stride, first_sample
    Split slabs
    char *dlogits_slabs
    # of several models at once: their classes lie one after another
    size_t n_models, n_outputs, losses_stride, n_steps
    const double *l2s
    const double *l1s
    char *rules  # three rows of padded classes: see `struct rule`


cdef void gather(const Epoch *e, size_t step, Batch *batch) noexcept nogil:
    """Point at the rows of a minibatch, and at some that may come next, and copy its targets."""
    cdef const Minibatch *m = &e.minibatch
    cdef size_t first = step * e.batch_size, i
    cdef size_t row_size = e.n_outputs * m.kernels.element_size
    cdef int64_t sample
    cdef uint64_t start = phase_begin()
    batch.n = min(e.batch_size, e.n_samples - first)
    for i in range(batch.n, e.batch_size + ROWS_AHEAD):
        batch.sources[i] = e.X + e.order[min(first + i, e.n_samples - 1)] * e.row_stride
    batch.n_first_halves = 0
    for i in range(batch.n):
        sample = e.order[first + i]
        batch.sources[i] = e.X + sample * e.row_stride
        if batch.weights != NULL:
            batch.weights[i] = e.weights.rows[sample]
        if i % m.kernels.lanes < m.kernels.lanes // 2:
            batch.first_halves[batch.n_first_halves] = batch.sources[i]
            batch.n_first_halves += 1
        if e.labels != NULL:
            batch.labels[i] = e.labels[sample]
        else:
            memcpy(
                batch.probabilities + i * row_size, e.probabilities + sample * row_size, row_size)
    phase_next(PHASE_CONVERT, start)


cdef void convert(
    const Epoch *e, const Batch *batch, const void **rows, size_t first, size_t n, size_t start,
    size_t end
) noexcept nogil:
    """The features [start, end) of the samples [first, first + n) to where `rows` point."""
    cdef const Minibatch *m = &e.minibatch
    cdef uint64_t begun = phase_begin()
    cdef char *out = <char *>rows[first]
    cdef size_t stride = (<char *>rows[1] - <char *>rows[0]) // m.kernels.element_size
    m.kernels.convert(
        batch.sources + first, n, e.number, start, end - start, e.mean, e.inverse_scale, out,
        stride)
    phase_next(PHASE_CONVERT, begun)


cdef void take(Epoch *e, const Batch *batch, int n_threads) noexcept nogil:
    """Make it the minibatch in work."""
    cdef Minibatch *m = &e.minibatch
    split_minibatch(m, batch.n, n_threads)
    m.scale = 1.0 / batch.n
    m.rows = batch.rows
    m.labels = batch.labels if e.labels != NULL else NULL
    m.probabilities = batch.probabilities if e.labels == NULL else NULL
    if e.weights != NULL:
        e.of_batch = e.weights[0]
        e.of_batch.rows = batch.weights
        m.weights = &e.of_batch


cdef double sum_of(const double *values, size_t n) noexcept nogil:
    """By four sums: one would wait for every addition."""
    cdef double a = 0, b = 0, c = 0, d = 0
    cdef size_t i = 0
    while i + 4 <= n:
        a += values[i]
        b += values[i + 1]
        c += values[i + 2]
        d += values[i + 3]
        i += 4
    while i < n:
        a += values[i]
        i += 1
    return (a + c) + (b + d)


cdef size_t run_steps(Epoch *e, size_t step, size_t n_steps, int n_threads) noexcept nogil:
    """Take steps until the last, a loss that is not finite, or the time to look for signals.

    Returns the number of the step after the last one tried.
    """
    cdef double deadline = platform_seconds() + SECONDS_BETWEEN_SIGNALS
    cdef Minibatch *m = &e.minibatch
    cdef pool *helpers = NULL
    cdef double objective
    if uses_threads(e.batch_size, m.n_features, m.n_classes):
        helpers = pool_begin(n_threads)
    choose_schedule(e, pool_threads(helpers))
    while step < n_steps:
        if e.short_rows.losses != NULL:
            objective = short_rows_step(e, step, helpers)
        elif e.scores != NULL:
            objective = few_classes_step(e, step, n_steps, helpers)
        else:
            objective = many_classes_step(e, step, helpers)
        if isfinite(objective):
            if e.rule.l2 != 0:
                objective += e.rule.l2 * sum_of(e.squares, e.n_penalties)
            if e.rule.l1 != 0:
                objective += e.rule.l1 * sum_of(e.magnitudes, e.n_penalties)
        e.objectives[step] = objective
        step += 1
        if platform_seconds() > deadline or not isfinite(objective):
            break
    pool_end(helpers)
    return step


def shuffle_in(order, size_t first, uniforms):
    """See `fastsoftmax.backends.shuffling`."""
    cdef View u = View(uniforms), out = View(order, True)
    cdef const double *numbers = <const double *>u.start
    cdef int64_t *taken = <int64_t *>out.start
    cdef size_t i, j, end = min(first + u.length(0), out.length(0))
    cdef FloatState floats = FloatState()
    with nogil:
        floats.set()
        for i in range(first, end):
            j = <size_t>(numbers[i - first] * <double>(i + 1))
            taken[i] = taken[j]
            taken[j] = <int64_t>i


def sgd_epoch(data, state, rule, order, size_t batch_size, rates, int n_threads):
    if isinstance(data.X, SparseRows):
        return sparse_epoch(data, state, rule, order, batch_size, rates, n_threads)
    return dense_epoch(data, state, rule, order, batch_size, rates, n_threads)


def sgd_epoch_of_models(
    data, state, rule, l2s, l1s, order, size_t batch_size, rates, int n_threads
):
    return dense_epoch(data, state, rule, order, batch_size, rates, n_threads, l2s, l1s)


cdef void set_rule(step_rule *to, rule):
    to.l2, to.l1, to.momentum, to.nesterov, to.subgradient = rule
    to.to_sums, to.intercept_to_sums = 0, 0
    to.negative_rates = to.twice_l2s = to.thresholds = NULL


cdef dense_epoch(
    data, state, rule, order, size_t batch_size, rates, int n_threads, l2s=None, l1s=None
):
    cdef View of_l2 = View(l2s), of_l1 = View(l1s)
    cdef View x = View(data.X), indices = View(order), step_rates = View(rates)
    cdef Targets t = Targets(data.targets)
    cdef Weights of_targets = Weights(data.weights)
    coef, intercept, coef_velocity, intercept_velocity, coef_sum, intercept_sum = state
    cdef View w = View(coef, True), v = View(coef_velocity, True), ws = View(coef_sum, True)
    cdef View b = View(intercept, True), bv = View(intercept_velocity, True)
    cdef View bs = View(intercept_sum, True)
    objectives = np.empty(rates.shape)
    cdef View objective_view = View(objectives, True)
    cdef Epoch e
    cdef Minibatch *m = &e.minibatch
    e.X, e.row_stride = x.start, x.buffer.strides[0]
    e.labels, e.probabilities, e.weights = t.labels, t.probabilities, of_targets.start
    e.order, e.n_samples = <const int64_t *>indices.start, indices.length(0)
    e.batch_size = min(batch_size, e.n_samples)
    set_rule(&e.rule, rule)
    e.rates, e.objectives = <const double *>step_rates.start, <double *>objective_view.start
    m.kernels, m.n_features, m.n_classes = w.kernels(), x.length(1), w.length(0)
    m.coef_stride = padded(m.n_features, m.kernels.lanes)
    e.n_models = of_l2.length(0) if of_l2.held else 1
    e.n_outputs, e.n_steps = m.n_classes // e.n_models, step_rates.length(step_rates.buffer.ndim - 1)
    e.l2s, e.l1s = <const double *>of_l2.start, <const double *>of_l1.start
    m.intercept, e.intercept_velocity, m.weights = b.start, bv.start, NULL

    cdef size_t size = m.kernels.element_size, n_strips = m.coef_stride // m.kernels.lanes
    cdef View mean = View(data.mean), inverse_scale = View(data.inverse_scale)
    e.number, e.item_size = number_of(x, size), x.buffer.itemsize
    e.mean, e.inverse_scale = mean.start, inverse_scale.start
    cdef bint converts = e.number != REAL or mean.held or inverse_scale.held
    cdef bint has_labels = t.labels != NULL
    cdef bint few_classes = m.n_classes <= FEW_CLASSES and not of_l2.held
    cdef bint short_rows = few_classes and has_short_rows(m)
    cdef bint by_panels = few_classes and not short_rows
    cdef bint many_classes = not few_classes
    cdef size_t n_batches = 0 if short_rows else 2 if by_panels else 1
    cdef size_t n_rows = e.batch_size + ROWS_AHEAD, i, j
    cdef size_t block_rows = 0 if short_rows else padded(e.batch_size, m.kernels.lanes)
    cdef size_t n_blocks = block_rows // m.kernels.lanes if many_classes else 0
    e.logits_stride = m.n_classes if few_classes else padded(m.n_classes, m.kernels.lanes)
    e.block_stride = m.coef_stride * m.kernels.lanes + CACHE_LINE // size
    e.n_penalties = n_strips * (1 if few_classes else e.logits_stride // m.kernels.lanes)
    e.n_panels = min((n_strips + PANEL_VECTORS - 1) // PANEL_VECTORS, <size_t>MOST_PANELS)
    e.panel_stride, e.n_gathered, e.n_scored = block_rows * m.n_classes, 0, 0
    # Sums lie in the same piece of memory as what they are of.
    cdef Scratch padded_coef = Scratch(
        e.logits_stride * (2 if ws.held else 1), m.coef_stride, size)
    cdef Scratch intercept_and_sum = Scratch(2 if bs.held else 0, m.n_classes, size)
    cdef char *coef_sums = padded_coef.start + e.logits_stride * m.coef_stride * size
    if ws.held:
        e.rule.to_sums = e.logits_stride * m.coef_stride
    if bs.held:
        e.rule.intercept_to_sums = m.n_classes
        m.intercept = intercept_and_sum.start
        memcpy(m.intercept, b.start, m.n_classes * size)
        memcpy(m.intercept + m.n_classes * size, bs.start, m.n_classes * size)
    cdef Scratch padded_velocity = Scratch(e.logits_stride if v.held else 0, m.coef_stride, size)
    # Rows a multiple of some KiB apart would share few places of the cache: they lie a cache line further.
    cdef size_t converted_stride = m.coef_stride + CACHE_LINE // size * e.n_panels
    cdef Scratch rows = Scratch(n_batches * n_rows, 1, sizeof(void *))
    cdef Scratch sources = Scratch(n_batches * n_rows if converts else 0, 1, sizeof(void *))
    cdef Scratch converted = Scratch(block_rows if converts else 0, converted_stride, size)
    cdef Scratch rows_of_panels = Scratch(
        n_rows if converts and by_panels else 0, e.n_panels, sizeof(void *))
    cdef Scratch first_halves = Scratch(n_batches * e.batch_size, 1, sizeof(void *))
    cdef Scratch labels = Scratch(n_batches * e.batch_size if has_labels else 0, 1, sizeof(int64_t))
    cdef Scratch probabilities = Scratch(
        0 if has_labels else n_batches * e.batch_size, e.n_outputs, size)
    cdef bint of_rows = e.weights != NULL and e.weights.rows != NULL
    cdef Scratch weights = Scratch(
        n_batches * e.batch_size if of_rows else 0, 1, sizeof(double))
    cdef Scratch scores = Scratch(e.n_panels * block_rows if by_panels else 0, m.n_classes, size)
    cdef Scratch dlogits = Scratch(block_rows, e.logits_stride, size)
    cdef Scratch blocks = Scratch(n_blocks, e.block_stride, size)
    cdef Scratch dlogits_slabs = Scratch(
        e.batch_size if many_classes else 0, e.logits_stride, size)
    e.losses_stride = block_rows
    cdef Scratch losses = Scratch(block_rows, e.n_models, sizeof(double))
    cdef Scratch rules = Scratch(3 if of_l2.held else 0, e.logits_stride, size)
    e.rules = rules.start
    if of_l2.held:
        set_rules(&e)
    cdef size_t of_a_strip = m.kernels.lanes if of_l2.held else 1
    cdef Scratch squares = Scratch(e.n_penalties, of_a_strip, sizeof(double))
    cdef Scratch magnitudes = Scratch(e.n_penalties, of_a_strip, sizeof(double))
    cdef ShortRows *of_chunks = &e.short_rows
    memset(of_chunks, 0, sizeof(ShortRows))
    if short_rows:
        split_short_rows(&e, has_labels, converts)
    cdef size_t n_chunks = of_chunks.n_chunks if short_rows else 0
    cdef Scratch chunk_losses = Scratch(n_chunks, 1, sizeof(double))
    cdef Scratch chunk_gradients = Scratch(n_chunks, of_chunks.gradient_stride, size)
    cdef Scratch chunk_dlogits = Scratch(n_chunks, of_chunks.dlogits_stride, size)
    cdef Scratch chunk_rows = Scratch(
        n_chunks if converts else 0, of_chunks.converted_stride, size)
    if short_rows:
        of_chunks.losses = <double *>chunk_losses.start
        of_chunks.gradients, of_chunks.dlogits = chunk_gradients.start, chunk_dlogits.start
        of_chunks.converted = chunk_rows.start if converts else NULL
    m.coef, m.dlogits, m.losses = padded_coef.start, dlogits.start, <double *>losses.start
    e.converted = converted.start if converts else NULL
    e.scores = scores.start if by_panels else NULL
    e.blocks, e.dlogits_slabs = blocks.start, dlogits_slabs.start
    for i in range(n_batches):
        e.batches[i].rows = <const void **>rows.start + i * n_rows
        e.batches[i].sources = e.batches[i].rows
        if converts:
            e.batches[i].sources = <const void **>sources.start + i * n_rows
            for j in range(n_rows):
                e.batches[i].rows[j] = (
                    converted.start + min(j, block_rows - 1) * converted_stride * size)
        e.batches[i].first_halves = <const void **>first_halves.start + i * e.batch_size
        e.batches[i].labels = <int64_t *>labels.start + i * e.batch_size
        e.batches[i].probabilities = (
            probabilities.start + i * e.batch_size * e.n_outputs * size)
        e.batches[i].weights = <double *>weights.start + i * e.batch_size if of_rows else NULL
    e.velocity = padded_velocity.start if v.held else NULL
    e.squares, e.magnitudes = <double *>squares.start, <double *>magnitudes.start
    split_minibatch(m, e.batch_size, 1)
    e.rows_of_panels = <const void **>rows_of_panels.start
    if converts and by_panels:
        point_at_panels(&e)
    pack_weights(&e, w, m.coef)
    pack_weights(&e, v, e.velocity)
    pack_weights(&e, ws, coef_sums)
    cdef size_t step = 0
    cdef FloatState floats = FloatState()
    try:
        while step < e.n_steps:
            with nogil:
                floats.set()
                if of_l2.held:
                    step = run_steps_of_models(&e, step, n_threads)
                else:
                    step = run_steps(&e, step, e.n_steps, n_threads)
            if not of_l2.held and not isfinite(e.objectives[step - 1]):
                break
            PyErr_CheckSignals()
    finally:
        unpack_weights(&e, m.coef, w)
        unpack_weights(&e, e.velocity, v)
        unpack_weights(&e, coef_sums, ws)
        if bs.held:
            memcpy(b.start, m.intercept, m.n_classes * size)
            memcpy(bs.start, m.intercept + m.n_classes * size, m.n_classes * size)
    return objectives if of_l2.held else objectives[:step]


cdef void pack_weights(const Epoch *e, View coef, char *packed) noexcept:
    """Pad the weights, the velocity or the sums, if there are any, or pack them in strips or slabs."""
    cdef const Minibatch *m = &e.minibatch
    if not coef.held:
        return
    if e.short_rows.losses != NULL:
        pack_strips(m, coef.start, packed)
    elif e.scores != NULL:
        m.kernels.pack(
            coef.start, coef.buffer.strides[1], coef.buffer.strides[0], m.n_features, m.n_classes,
            packed, m.coef_stride)
    else:
        pack_slabs(m, coef.start, packed)


cdef void unpack_weights(const Epoch *e, const char *packed, View coef) noexcept:
    cdef const Minibatch *m = &e.minibatch
    if not coef.held:
        return
    if e.short_rows.losses != NULL:
        unpack_strips(m, packed, coef.start)
    elif e.scores != NULL:
        m.kernels.unpack(
            packed, m.coef_stride, m.n_features, m.n_classes, coef.start, coef.buffer.strides[1],
            coef.buffer.strides[0])
    else:
        unpack_slabs(m, packed, coef.start)
