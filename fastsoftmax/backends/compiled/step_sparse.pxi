"""The step algorithm sparse, by the values of the rows: see csrc/kernels/step_sparse.h.

Threads share out the slabs of classes: rows share features, so that samples could not be spread without
copies of the gradient, nor features without looking for them. With one slab there is one thread.
"""

# Where a step's factor 1 - 2 * l2 * rate, or the product of some, is not between this and its inverse, all
# weights are brought up to date before it: then nothing is divided by a number that is 0 or next to it.
cdef double MIN_FACTOR = 1e-3
cdef double MIN_PRODUCT = 1e-100
# The same where |A| * C of step_sparse.h, of which differences are taken, is more than this many times the
# sum of the thresholds, which only factors beyond 1 can make it: then what they add to C would be lost.
cdef double MAX_GROWTH = 2
# ... and where that sum is close to overflow.
cdef double MAX_THRESHOLDS = 1e100


cdef struct Sparse:
    Epoch *epoch
    Batch batch
    sparse_row *rows
    sparse_weights weights
    size_t n_slabs, stride  # slabs of classes, and padded classes
    penalty_prefix *prefixes
    size_t max_steps  # that there are maps for
    double thresholds  # of the steps of the prefixes: their sum
    double penalty  # in the objectives of the steps in work
    double factor  # by which the gradient of the step in work is added to the weights
    bint catches_up  # penalty or momentum also move the weights of features without values
    bint has_momentum


cdef const char *sparse_obstacle(const TrainingShape *shape) noexcept nogil:
    if not shape.is_sparse:
        return "takes sparse rows"
    if shape.has_models:
        return "takes one model at a time"
    return NULL


cdef size_t sparse_slabs(const kernel_table *kernels, size_t n_classes) noexcept nogil:
    """Return the number of slabs of classes."""
    cdef size_t width = SPARSE_SLAB_VECTORS * kernels.lanes
    return padded(n_classes, width) // width


cdef SparseMatrix sparse_matrix(View values, View indices, View indptr) noexcept:
    cdef SparseMatrix x
    x.values, x.indices, x.indptr = values.start, indices.start, indptr.start
    x.n_values, x.n_rows = values.length(0), indptr.length(0) - 1
    x.value_size = values.buffer.itemsize
    x.index_size, x.indptr_size = indices.buffer.itemsize, indptr.buffer.itemsize
    return x


cdef sparse_weights plain_weights(const Minibatch *m, char *packed) noexcept nogil:
    """Return weights in slabs without a scale, a penalty or momentum, for indices of 32 bits."""
    cdef sparse_weights weights
    memset(&weights, 0, sizeof(sparse_weights))
    weights.start, weights.n_features, weights.n_classes = packed, m.n_features, m.n_classes
    return weights


cdef void pack_sparse(const Minibatch *m, char *coef, char *packed) noexcept nogil:
    """From (n_classes, n_features) in C order to slabs of classes, a feature after the other."""
    cdef sparse_weights weights = plain_weights(m, packed)
    cdef size_t slab
    for slab in range(sparse_slabs(m.kernels, m.n_classes)):
        m.kernels.sparse_pack(coef, &weights, slab)


cdef void unpack_sparse(const Minibatch *m, char *packed, char *coef) noexcept nogil:
    """From slabs of classes to (n_classes, n_features) in C order."""
    cdef sparse_weights weights = plain_weights(m, packed)
    cdef size_t slab
    for slab in range(sparse_slabs(m.kernels, m.n_classes)):
        m.kernels.sparse_unpack(&weights, slab, coef)


cdef void *sparse_plan(Epoch *e, Buffers buffers) except NULL:
    cdef Minibatch *m = &e.minibatch
    cdef Sparse *s = <Sparse *>buffers.take_zeros(sizeof(Sparse))
    cdef size_t n_steps = min(e.steps_between_penalties, e.n_steps)
    cdef size_t values_of_a_step = e.sparse.n_values // e.sparse.n_rows * e.batch_size
    s.epoch = e
    s.n_slabs = sparse_slabs(m.kernels, m.n_classes)
    s.stride = padded(m.n_classes, m.kernels.lanes)
    s.max_steps = min(e.n_steps, <size_t>MAX_CATCH_UP_STEPS)
    s.has_momentum = e.model.coef_velocity != NULL
    s.catches_up = s.has_momentum or is_penalised(&e.rule)
    e.uses_threads = s.n_slabs > 1 and uses_threads(values_of_a_step, 1, m.n_classes)
    plan_model(e, buffers, m.n_features, s.stride)
    plan_targets(e, buffers, &s.batch)
    s.weights = plain_weights(m, m.coef)
    s.weights.wide_indices = e.sparse.index_size == sizeof(int64_t)
    s.weights.inverse_scale = e.scaling.inverse_scale
    s.prefixes = <penalty_prefix *>buffers.take(n_steps + 2, 1, sizeof(penalty_prefix))
    s.prefixes[0].scale, s.prefixes[0].inverse_scale, s.prefixes[0].shrinkage = 1, 1, 0
    s.weights.prefixes = s.prefixes
    if s.catches_up:
        s.weights.steps = <uint32_t *>buffers.take_zeros(
            m.n_features * s.n_slabs * sizeof(uint32_t))
    if s.has_momentum:
        s.weights.velocity = e.velocity
        s.weights.maps = <momentum_map *>buffers.take(s.max_steps, 2, sizeof(momentum_map))
    s.rows = <sparse_row *>buffers.take(e.batch_size + SPARSE_ROWS_AHEAD, 1, sizeof(sparse_row))
    m.dlogits = buffers.take(e.batch_size, s.stride, m.kernels.element_size)
    m.losses = <double *>buffers.take(e.batch_size, 1, sizeof(double))
    return s


cdef size_t indptr_at(const SparseMatrix *x, int64_t row) noexcept nogil:
    if x.indptr_size == sizeof(int64_t):
        return <size_t>(<const int64_t *>x.indptr)[row]
    return <size_t>(<const int32_t *>x.indptr)[row]


cdef void point_at_row(const SparseMatrix *x, int64_t sample, sparse_row *row) noexcept nogil:
    """Point at the values of a sample, and nowhere else, whatever has become of the arrays since."""
    cdef size_t start = min(indptr_at(x, sample), x.n_values)
    cdef size_t end = min(indptr_at(x, sample + 1), x.n_values)
    row.values = x.values + start * x.value_size
    row.indices = x.indices + start * x.index_size
    row.n_values = end - start if end > start else 0


cdef void gather_sparse(Sparse *s, size_t step) noexcept nogil:
    """Point at the rows of a minibatch and the next ones, and copy its targets."""
    cdef const Epoch *e = s.epoch
    cdef size_t first = step * e.batch_size, n = min(e.batch_size, e.n_samples - first), i
    cdef int64_t sample
    cdef uint64_t begun = phase_begin()
    for i in range(n + SPARSE_ROWS_AHEAD):
        sample = e.order[min(first + i, e.n_samples - 1)]
        point_at_row(&e.sparse, sample, s.rows + i)
        if i < n:
            copy_targets(e, &s.batch, i, sample)
    phase_next(PHASE_CONVERT, begun)
    s.batch.n = n


cdef void restart(Sparse *s) noexcept nogil:
    """Bring all weights up to date, and count steps of the penalty from here."""
    cdef size_t slab
    if s.catches_up and s.weights.now:
        for slab in range(s.n_slabs):
            s.epoch.minibatch.kernels.sparse_catch_up(&s.weights, slab)
        s.weights.now, s.thresholds = 0, 0


cdef void add_to_prefixes(Sparse *s, double factor, double threshold) noexcept nogil:
    cdef penalty_prefix *last = s.prefixes + s.weights.now
    cdef penalty_prefix *next = last + 1
    next.scale = last.scale * factor
    next.inverse_scale = 1 / next.scale if next.scale != 0 else 0
    next.shrinkage = last.shrinkage
    if threshold != 0:
        next.shrinkage += threshold * fabs(next.inverse_scale)
        s.thresholds += threshold
    s.weights.now += 1


cdef double scale_before(Sparse *s, double factor) noexcept nogil:
    """Make sure that a step's factor can be one of the prefixes; return it, or 1 where it is applied."""
    cdef const penalty_prefix *last = s.prefixes + s.weights.now
    cdef double size = fabs(factor), product = fabs(last.scale) * size
    cdef bint usual = MIN_FACTOR < size and size < 1 / MIN_FACTOR
    cdef bint keeps_digits = (
        s.thresholds < MAX_THRESHOLDS and product * last.shrinkage <= MAX_GROWTH * s.thresholds)
    if usual and keeps_digits and MIN_PRODUCT < product and product < 1 / MIN_PRODUCT:
        return factor
    restart(s)
    if usual:
        return factor
    add_to_prefixes(s, factor, 0)
    restart(s)
    return 1


cdef void sparse_scores_chunk(void *context, size_t slab) noexcept nogil:
    cdef const Sparse *s = <const Sparse *>context
    cdef const Minibatch *m = &s.epoch.minibatch
    cdef uint64_t begun = phase_begin()
    m.kernels.sparse_scores(
        s.rows, s.batch.n, &s.weights, slab, m.intercept, m.dlogits, s.stride)
    phase_next(PHASE_SCORES, begun)


cdef void sparse_losses_chunk(void *context, size_t chunk) noexcept nogil:
    cdef const Sparse *s = <const Sparse *>context
    cdef const Minibatch *m = &s.epoch.minibatch
    cdef size_t size = m.kernels.element_size, first = chunk * m.samples.size
    cdef char *logits = m.dlogits + first * s.stride * size
    cdef RowTargets shifted
    cdef uint64_t begun = phase_begin()
    m.kernels.cross_entropy(
        logits, s.stride, length_of(&m.samples, chunk),
        targets_from(&m.targets, first, size, &shifted), m.scale, m.losses + first, logits,
        s.stride)
    phase_next(PHASE_LOSS, begun)


cdef void sparse_update_chunk(void *context, size_t slab) noexcept nogil:
    cdef const Sparse *s = <const Sparse *>context
    cdef const Minibatch *m = &s.epoch.minibatch
    cdef uint64_t begun = phase_begin()
    if s.has_momentum:
        m.kernels.sparse_update_velocity(
            s.rows, s.batch.n, &s.weights, slab, m.dlogits, s.stride, -s.epoch.rule.rate)
    m.kernels.sparse_update(
        s.rows, s.batch.n, &s.weights, slab, m.dlogits, s.stride, s.factor)
    phase_next(PHASE_UPDATE, begun)


cdef bint is_penalised(const sgd_rule *rule) noexcept nogil:
    return rule.l2 != 0 or rule.l1 != 0


cdef void begin_step_with_momentum(Sparse *s) noexcept nogil:
    """Add the map of the step, which comes before its gradient: see `Rule`."""
    cdef const sgd_rule *rule = &s.epoch.rule
    cdef double momentum = rule.momentum, pull = 2 * rule.l2 * rule.rate
    cdef momentum_map map
    map.ww, map.wv, map.vw, map.vv = 1 - pull, momentum, -pull, momentum
    s.factor = -rule.rate
    if rule.nesterov:
        map.ww, map.wv = 1 - pull * (1 + momentum), momentum * momentum
        s.factor *= 1 + momentum
    if s.weights.now == s.max_steps:
        restart(s)
    s.epoch.minibatch.kernels.sparse_add_map(&s.weights, &map)


cdef void update_sparse(Sparse *s, pool *helpers) noexcept nogil:
    """Gradient, penalty, momentum and step."""
    cdef const Epoch *e = s.epoch
    cdef const Minibatch *m = &e.minibatch
    cdef double factor = 1
    if s.has_momentum:
        begin_step_with_momentum(s)
    else:
        if s.catches_up:
            factor = scale_before(s, 1 - 2 * e.rule.l2 * e.rule.rate)
        s.factor = -e.rule.rate / factor
    pool_for(helpers, sparse_update_chunk, s, s.n_slabs)
    if s.catches_up and not s.has_momentum:
        add_to_prefixes(s, factor, e.rule.rate * e.rule.l1)
    if m.intercept != NULL:
        m.kernels.sparse_update_intercept(
            m.dlogits, s.stride, s.batch.n, m.n_classes, &e.rule, m.intercept,
            e.model.intercept_velocity)
    if e.model.coef_sum != NULL:
        # Of all weights, brought up to date: a step costs as much as one on dense rows then.
        restart(s)
        m.kernels.column_sums(
            m.coef, 0, 1, m.n_features * s.stride, True,
            m.coef + e.rule.to_sums * m.kernels.element_size)


cdef bint sparse_step(void *plan, size_t step, pool *helpers) noexcept nogil:
    cdef Sparse *s = <Sparse *>plan
    cdef Epoch *e = s.epoch
    cdef Minibatch *m = &e.minibatch
    cdef double loss
    if is_penalised(&e.rule) and step % e.steps_between_penalties == 0:
        restart(s)
        s.penalty = m.kernels.penalty(
            m.coef, m.n_features * s.stride, e.rule.l2, e.rule.l1, NULL)
    gather_sparse(s, step)
    begin_minibatch(e, &s.batch, pool_threads(helpers))
    pool_for(helpers, sparse_scores_chunk, s, s.n_slabs)
    pool_for(helpers, sparse_losses_chunk, s, m.samples.n_chunks)
    loss = sum_in_four(m.losses, s.batch.n) / s.batch.n
    if isfinite(loss):
        e.rule.rate = e.rates[step]
        update_sparse(s, helpers)
        loss += s.penalty
    e.objectives[step] = loss
    return isfinite(loss)


cdef void sparse_finish(void *plan) noexcept nogil:
    restart(<Sparse *>plan)


cdef StepAlgorithm sparse = StepAlgorithm(
    name="sparse",
    obstacle=sparse_obstacle,
    applies=always_applies,
    plan=sparse_plan,
    pack=pack_sparse,
    unpack=unpack_sparse,
    step=sparse_step,
    finish=sparse_finish,
)
