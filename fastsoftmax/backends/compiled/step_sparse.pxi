"""An epoch on sparse rows in one call: see csrc/kernels/step_sparse.h.

Threads share out the slabs of classes: rows share features, so that samples could not be spread without
copies of the gradient, nor features without looking for them. With one slab there is one thread.
"""

# Where a step's factor 1 - 2 * l2 * rate, or the product of some, is not between this and its inverse, all
# weights are brought up to date before it: then nothing is divided by a number that is 0 or next to it.
cdef double LEAST_FACTOR = 1e-3
cdef double LEAST_PRODUCT = 1e-100
# The same where |A| * C of step_sparse.h, of which differences are taken, is more than this many times the sum
# of the thresholds, which only factors beyond 1 can make it: what they add to C would then be lost in it.
cdef double MOST_GROWTH = 2
# and where that sum is next to overflow
cdef double MOST_THRESHOLDS = 1e100
# With momentum all weights are brought up to date after so many steps, so that the maps stay in the cache.
cdef size_t MOST_STEPS_TO_CATCH_UP = 1 << 16


cdef struct SparseEpoch:
    # the data, where they lie
    const char *values
    const char *indices
    const char *indptr
    size_t n_values, index_size, indptr_size
    const int64_t *labels
    const char *probabilities
    const target_weights *weights_of_samples  # NULL for none
    const int64_t *order
    size_t n_rows, n_samples, batch_size
    # the model
    const kernel_table *kernels
    step_rule rule
    sparse_weights weights
    size_t n_slabs
    char *intercept
    char *intercept_velocity
    penalty_prefix *prefixes
    size_t most_steps  # that there are maps for
    double thresholds  # of the steps of the prefixes: their sum
    size_t steps_between_penalties
    double penalty
    const double *rates
    double *objectives
    # the samples of the step in work, copies of their targets, and what is added to the weights
    size_t n
    Split samples
    double factor
    sparse_row *rows
    int64_t *batch_labels
    char *batch_probabilities
    double *batch_weights  # NULL for none
    target_weights of_batch
    # where the weights and the intercept are added after each step; NULL where they are not
    char *sums
    char *intercept_sums
    char *logits
    size_t stride
    double *losses


cdef size_t indptr_at(const SparseEpoch *e, int64_t row) noexcept nogil:
    if e.indptr_size == sizeof(int64_t):
        return <size_t>(<const int64_t *>e.indptr)[row]
    return <size_t>(<const int32_t *>e.indptr)[row]


cdef void point_at_row(const SparseEpoch *e, int64_t sample, sparse_row *row) noexcept nogil:
    """Where the values of a sample lie; nowhere else, whatever has become of the arrays since."""
    cdef size_t start = min(indptr_at(e, sample), e.n_values)
    cdef size_t end = min(indptr_at(e, sample + 1), e.n_values)
    row.values = e.values + start * e.kernels.element_size
    row.indices = e.indices + start * e.index_size
    row.n_values = end - start if end > start else 0


cdef void gather_sparse(SparseEpoch *e, size_t step) noexcept nogil:
    """Point at the rows of a minibatch and the next ones, and copy its targets."""
    cdef size_t first = step * e.batch_size, n = min(e.batch_size, e.n_samples - first), i
    cdef size_t row_size = e.weights.n_classes * e.kernels.element_size
    cdef int64_t sample
    cdef uint64_t begun = phase_begin()
    for i in range(n + SPARSE_ROWS_AHEAD):
        sample = e.order[min(first + i, e.n_samples - 1)]
        point_at_row(e, sample, e.rows + i)
        if i >= n:
            continue
        if e.batch_weights != NULL:
            e.batch_weights[i] = e.weights_of_samples.rows[sample]
        if e.labels != NULL:
            e.batch_labels[i] = e.labels[sample]
        else:
            memcpy(
                e.batch_probabilities + i * row_size, e.probabilities + sample * row_size, row_size)
    phase_next(PHASE_CONVERT, begun)
    e.n = n


cdef void restart(SparseEpoch *e) noexcept nogil:
    """Bring all weights up to date, and count steps of the penalty from here."""
    cdef size_t slab
    if e.weights.steps != NULL and e.weights.now:
        for slab in range(e.n_slabs):
            e.kernels.sparse_catch_up(&e.weights, slab)
        e.weights.now, e.thresholds = 0, 0


cdef void add_to_prefixes(SparseEpoch *e, double factor, double threshold) noexcept nogil:
    cdef penalty_prefix *last = e.prefixes + e.weights.now
    cdef penalty_prefix *next = last + 1
    next.scale = last.scale * factor
    next.inverse_scale = 1 / next.scale if next.scale != 0 else 0
    next.shrinkage = last.shrinkage
    if threshold != 0:
        next.shrinkage += threshold * fabs(next.inverse_scale)
        e.thresholds += threshold
    e.weights.now += 1


cdef double scale_before(SparseEpoch *e, double factor) noexcept nogil:
    """Make sure that a step's factor can be one of the prefixes; return it, or 1 where it is applied."""
    cdef const penalty_prefix *last = e.prefixes + e.weights.now
    cdef double size = fabs(factor), product = fabs(last.scale) * size
    cdef bint usual = LEAST_FACTOR < size and size < 1 / LEAST_FACTOR
    cdef bint keeps_digits = (
        e.thresholds < MOST_THRESHOLDS and product * last.shrinkage <= MOST_GROWTH * e.thresholds)
    if usual and keeps_digits and LEAST_PRODUCT < product and product < 1 / LEAST_PRODUCT:
        return factor
    restart(e)
    if usual:
        return factor
    add_to_prefixes(e, factor, 0)
    restart(e)
    return 1


cdef void sparse_scores_chunk(void *context, size_t slab) noexcept nogil:
    cdef SparseEpoch *e = <SparseEpoch *>context
    cdef uint64_t begun = phase_begin()
    e.kernels.sparse_scores(e.rows, e.n, &e.weights, slab, e.intercept, e.logits, e.stride)
    phase_next(PHASE_SCORES, begun)


cdef void sparse_losses_chunk(void *context, size_t chunk) noexcept nogil:
    cdef SparseEpoch *e = <SparseEpoch *>context
    cdef size_t size = e.kernels.element_size, n_classes = e.weights.n_classes
    cdef size_t first = chunk * e.samples.size
    cdef char *logits = e.logits + first * e.stride * size
    cdef target_weights shifted
    cdef const target_weights *weights = NULL
    if e.weights_of_samples != NULL:
        weights = weights_from(&e.of_batch, first, &shifted)
    cdef uint64_t begun = phase_begin()
    e.kernels.cross_entropy(
        logits, e.stride, length_of(&e.samples, chunk), n_classes,
        e.batch_labels + first if e.labels != NULL else NULL,
        e.batch_probabilities + first * n_classes * size if e.labels == NULL else NULL,
        weights, 1.0 / e.n, e.losses + first, logits, e.stride)
    phase_next(PHASE_LOSS, begun)


cdef void sparse_update_chunk(void *context, size_t slab) noexcept nogil:
    cdef SparseEpoch *e = <SparseEpoch *>context
    cdef uint64_t begun = phase_begin()
    if e.weights.velocity != NULL:
        e.kernels.sparse_update_velocity(
            e.rows, e.n, &e.weights, slab, e.logits, e.stride, -e.rule.rate)
    e.kernels.sparse_update(e.rows, e.n, &e.weights, slab, e.logits, e.stride, e.factor)
    phase_next(PHASE_UPDATE, begun)


cdef void begin_step_with_momentum(SparseEpoch *e) noexcept nogil:
    """Add the map of the step, which comes before its gradient: see `Rule`."""
    cdef double momentum = e.rule.momentum, pull = 2 * e.rule.l2 * e.rule.rate
    cdef momentum_map map
    map.ww, map.wv, map.vw, map.vv = 1 - pull, momentum, -pull, momentum
    e.factor = -e.rule.rate
    if e.rule.nesterov:
        map.ww, map.wv = 1 - pull * (1 + momentum), momentum * momentum
        e.factor *= 1 + momentum
    if e.weights.now == e.most_steps:
        restart(e)
    e.kernels.sparse_add_map(&e.weights, &map)


cdef double sparse_step(SparseEpoch *e, size_t step, pool *helpers) noexcept nogil:
    """One step; returns the loss."""
    cdef double rate = e.rates[step], factor = 1, loss
    gather_sparse(e, step)
    e.samples = split(e.n, ROWS_OF_A_CHUNK, pool_threads(helpers))
    pool_for(helpers, sparse_scores_chunk, e, e.n_slabs)
    pool_for(helpers, sparse_losses_chunk, e, e.samples.n_chunks)
    loss = sum_of(e.losses, e.n) / e.n
    if not isfinite(loss):
        return loss
    e.rule.rate = rate
    if e.weights.velocity != NULL:
        begin_step_with_momentum(e)
    else:
        if e.weights.steps != NULL:
            factor = scale_before(e, 1 - 2 * e.rule.l2 * rate)
        e.factor = -rate / factor
    pool_for(helpers, sparse_update_chunk, e, e.n_slabs)
    if e.weights.steps != NULL and e.weights.velocity == NULL:
        add_to_prefixes(e, factor, rate * e.rule.l1)
    if e.intercept != NULL:
        e.kernels.sparse_update_intercept(
            e.logits, e.stride, e.n, e.weights.n_classes, &e.rule, e.intercept,
            e.intercept_velocity)
    if e.sums != NULL:
        add_to_sums(e)
    return loss


cdef void add_to_sums(SparseEpoch *e) noexcept nogil:
    """Of all weights, brought up to date: a step costs as much as one on dense rows then."""
    cdef size_t n_classes = e.weights.n_classes
    restart(e)
    e.kernels.column_sums(
        e.weights.start, 0, 1, e.weights.n_features * e.stride, True, e.sums)
    if e.intercept_sums != NULL:
        e.kernels.column_sums(e.intercept, 0, 1, n_classes, True, e.intercept_sums)


cdef bint is_penalised(const step_rule *rule) noexcept nogil:
    return rule.l2 != 0 or rule.l1 != 0


cdef size_t run_sparse_steps(
    SparseEpoch *e, size_t step, size_t n_steps, int n_threads
) noexcept nogil:
    """As `run_steps`."""
    cdef double deadline = platform_seconds() + SECONDS_BETWEEN_SIGNALS, objective
    cdef size_t values_of_a_step = e.n_values // e.n_rows * e.batch_size
    cdef pool *helpers = NULL
    if e.n_slabs > 1 and uses_threads(values_of_a_step, 1, e.weights.n_classes):
        helpers = pool_begin(n_threads)
    while step < n_steps:
        if is_penalised(&e.rule) and step % e.steps_between_penalties == 0:
            restart(e)
            e.penalty = e.kernels.penalty(
                e.weights.start, e.weights.n_features * e.stride, e.rule.l2, e.rule.l1, NULL)
        objective = sparse_step(e, step, helpers)
        if isfinite(objective):
            objective += e.penalty
        e.objectives[step] = objective
        step += 1
        if platform_seconds() > deadline or not isfinite(objective):
            break
    pool_end(helpers)
    return step


cdef void describe_matrix(SparseEpoch *e, View values, View columns, View starts, View coef) noexcept:
    """Where the matrix lies, and how its weights will; nothing of a penalty."""
    e.kernels = coef.kernels()
    e.values, e.indices, e.indptr = values.start, columns.start, starts.start
    e.n_values, e.n_rows = values.length(0), starts.length(0) - 1
    e.index_size, e.indptr_size = columns.buffer.itemsize, starts.buffer.itemsize
    e.weights.n_features, e.weights.n_classes = coef.length(1), coef.length(0)
    e.stride = padded(e.weights.n_classes, e.kernels.lanes)
    e.n_slabs = padded(e.stride, SPARSE_SLAB_VECTORS * e.kernels.lanes) // (
        SPARSE_SLAB_VECTORS * e.kernels.lanes)
    e.weights.wide_indices = e.index_size == sizeof(int64_t)
    e.weights.inverse_scale, e.weights.steps = NULL, NULL
    e.weights.velocity, e.weights.maps = NULL, NULL


cdef sparse_epoch(data, state, rule, order, size_t batch_size, rates, int n_threads):
    X = data.X
    cdef View values = View(X.values), columns = View(X.indices), starts = View(X.indptr)
    cdef View samples = View(order), step_rates = View(rates)
    cdef Targets t = Targets(data.targets)
    cdef Weights of_targets = Weights(data.weights)
    cdef View w = View(state.coef, True), b = View(state.intercept, True)
    cdef View v = View(state.coef_velocity, True), bv = View(state.intercept_velocity, True)
    cdef View ws = View(state.coef_sum, True), bs = View(state.intercept_sum, True)
    cdef View inverse_scale = View(data.inverse_scale)
    objectives = np.empty(len(rates))
    cdef View objective_view = View(objectives, True)
    cdef SparseEpoch e
    cdef size_t every = steps_between_penalties(X, batch_size), n_steps = step_rates.length(0)
    describe_matrix(&e, values, columns, starts, w)
    e.labels, e.probabilities, e.weights_of_samples = t.labels, t.probabilities, of_targets.start
    e.order, e.n_samples = <const int64_t *>samples.start, samples.length(0)
    e.batch_size = min(batch_size, e.n_samples)
    set_rule(&e.rule, rule)
    e.rates, e.objectives = <const double *>step_rates.start, <double *>objective_view.start
    e.intercept, e.intercept_velocity = b.start, bv.start
    e.weights.inverse_scale = inverse_scale.start
    e.penalty, e.thresholds, e.steps_between_penalties = 0, 0, every

    cdef size_t size = e.kernels.element_size, slab
    cdef bint has_labels = t.labels != NULL, catches_up = v.held or is_penalised(&e.rule)
    e.most_steps = min(n_steps, MOST_STEPS_TO_CATCH_UP)
    cdef Scratch weights = Scratch(e.weights.n_features, e.stride, size)
    cdef Scratch velocity = Scratch(e.weights.n_features if v.held else 0, e.stride, size)
    cdef Scratch steps = Scratch(
        e.weights.n_features if catches_up else 0, e.n_slabs, sizeof(uint32_t))
    cdef Scratch prefixes = Scratch(min(every, n_steps) + 2, 1, sizeof(penalty_prefix))
    cdef Scratch maps = Scratch(e.most_steps if v.held else 0, 2, sizeof(momentum_map))
    cdef Scratch rows = Scratch(e.batch_size + SPARSE_ROWS_AHEAD, 1, sizeof(sparse_row))
    cdef Scratch labels = Scratch(e.batch_size if has_labels else 0, 1, sizeof(int64_t))
    cdef Scratch probabilities = Scratch(
        0 if has_labels else e.batch_size, e.weights.n_classes, size)
    cdef bint of_rows = of_targets.start != NULL and of_targets.start.rows != NULL
    cdef Scratch of_batch = Scratch(e.batch_size if of_rows else 0, 1, sizeof(double))
    cdef Scratch sums = Scratch(e.weights.n_features if ws.held else 0, e.stride, size)
    cdef Scratch logits = Scratch(e.batch_size, e.stride, size)
    cdef Scratch losses = Scratch(e.batch_size, 1, sizeof(double))
    e.weights.start, e.weights.now = weights.start, 0
    e.weights.steps = <uint32_t *>steps.start if catches_up else NULL
    if catches_up:
        memset(steps.start, 0, e.weights.n_features * e.n_slabs * sizeof(uint32_t))
    e.prefixes = <penalty_prefix *>prefixes.start
    e.weights.prefixes = e.prefixes
    e.prefixes[0].scale, e.prefixes[0].inverse_scale, e.prefixes[0].shrinkage = 1, 1, 0
    e.rows, e.logits, e.losses = <sparse_row *>rows.start, logits.start, <double *>losses.start
    e.batch_labels, e.batch_probabilities = <int64_t *>labels.start, probabilities.start

    e.batch_weights = <double *>of_batch.start if of_rows else NULL
    if e.weights_of_samples != NULL:
        e.of_batch = e.weights_of_samples[0]
        e.of_batch.rows = e.batch_weights
    e.sums, e.intercept_sums = sums.start if ws.held else NULL, bs.start
    cdef sparse_weights packed_sums = e.weights, packed_velocity = e.weights
    packed_sums.start, packed_velocity.start = e.sums, velocity.start
    for slab in range(e.n_slabs):
        e.kernels.sparse_pack(w.start, &e.weights, slab)
        if ws.held:
            e.kernels.sparse_pack(ws.start, &packed_sums, slab)
        if v.held:
            e.kernels.sparse_pack(v.start, &packed_velocity, slab)
    if v.held:
        e.weights.velocity, e.weights.maps = velocity.start, <momentum_map *>maps.start
    cdef size_t step = 0
    cdef FloatState floats = FloatState()
    try:
        while step < n_steps:
            with nogil:
                floats.set()
                step = run_sparse_steps(&e, step, n_steps, n_threads)
            if not isfinite(e.objectives[step - 1]):
                break
            PyErr_CheckSignals()
    finally:
        floats.set()
        restart(&e)
        for slab in range(e.n_slabs):
            e.kernels.sparse_unpack(&e.weights, slab, w.start)
            if ws.held:
                e.kernels.sparse_unpack(&packed_sums, slab, ws.start)
            if v.held:
                e.kernels.sparse_unpack(&packed_velocity, slab, v.start)
    return objectives[:step]
