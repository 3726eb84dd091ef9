"""What step algorithms are given and what they share; the driver in epoch.pxi picks one and calls it."""


# What a thread may count on of its core's cache
cdef size_t cache_bytes_per_thread = (
    (platform_cache_bytes() or <size_t>DEFAULT_CACHE_BYTES) // 100 * CACHE_PERCENT)


cdef struct TrainingShape:
    # what decides which step algorithm runs
    size_t n_features, n_classes, element_size
    bint is_sparse
    bint has_models  # several models side by side: `n_classes` counts the classes of all of them


cdef struct DenseRows:
    # the caller's X
    const char *start
    ptrdiff_t stride
    input_dtype dtype
    size_t item_size


cdef struct SparseMatrix:
    # the caller's X in CSR
    const char *values
    const char *indices
    const char *indptr
    size_t n_rows, n_values, value_size, index_size, indptr_size


cdef struct ModelArrays:
    # the caller's arrays, in C order; NULL if absent
    char *coef  # (n_classes, n_features); velocity and sum have the same shape
    char *coef_velocity
    char *coef_sum
    char *intercept  # (n_classes)
    char *intercept_velocity
    char *intercept_sum


cdef struct ModelPenalties:
    # models side by side, their classes one after another: what each has of its own, (n_models)
    size_t n_models
    const double *l2s
    const double *l1s


cdef struct Epoch:
    # X in one of two forms, and what its features are shifted and scaled by; NULL for nothing
    DenseRows dense
    SparseMatrix sparse
    scaling_view scaling
    # dense rows are converted, by their dtype, mean or scale; else the kernels read them where they lie
    bint converts_rows
    size_t steps_between_penalties  # with sparse rows: they have one penalty in their objectives
    # targets of all samples, with the number of classes of one model
    targets_view targets
    size_t n_targets
    # the steps, of which step i has the rate and the objective [i]; with models (n_models, n_steps)
    const int64_t *order
    size_t n_samples, batch_size, n_steps
    const double *rates
    double *objectives
    sgd_rule rule
    # the caller's arrays; packed coef and intercept are in `minibatch`, the packed velocity is here
    ModelArrays model
    ModelPenalties models
    char *velocity
    # the step in work
    Minibatch minibatch
    target_weights batch_weights
    bint uses_threads


cdef struct StepAlgorithm:
    # A way to take the steps of an epoch
    const char *name
    # why it cannot train this, as "takes at most ..."; NULL where it can
    const char *(*obstacle)(const TrainingShape *shape) noexcept nogil
    # whether it is preferred to those after it in `step_algorithms`
    bint (*applies)(const TrainingShape *shape) noexcept nogil
    # take the buffers, and return the algorithm's own struct, which the driver hands back to it
    void *(*plan)(Epoch *e, Buffers buffers) except NULL
    # weights, velocity or sums between the caller's (n_classes, n_features) and where `plan` has made room
    void (*pack)(const Minibatch *m, char *coef, char *packed) noexcept nogil
    void (*unpack)(const Minibatch *m, char *packed, char *coef) noexcept nogil
    # one step and its objective; returns whether there can be another one
    bint (*step)(void *plan, size_t step, pool *helpers) noexcept nogil
    # bring all weights up to date, before they are unpacked
    void (*finish)(void *plan) noexcept nogil


cdef bytes few_classes_alone = b"takes at most %d classes" % FEW_CLASSES
cdef const char *FEW_CLASSES_ALONE = few_classes_alone


cdef bint always_applies(const TrainingShape *shape) noexcept nogil:
    return True


cdef void nothing_to_finish(void *plan) noexcept nogil:
    pass


cdef const char *few_classes_obstacle(const TrainingShape *shape) noexcept nogil:
    """The kernels of short_rows and panels keep FEW_CLASSES in registers and on the stack."""
    if shape.is_sparse:
        return "takes dense rows"
    if shape.has_models:
        return "takes one model at a time"
    if shape.n_classes > FEW_CLASSES:
        return FEW_CLASSES_ALONE
    return NULL


cdef int plan_model(Epoch *e, Buffers buffers, size_t n_rows, size_t n_columns) except -1:
    """Make room for the packed weights, velocity and sums, of that shape each.

    Sums lie in the same piece of memory as what they are the sums of, at a distance that the rule says.
    """
    cdef Minibatch *m = &e.minibatch
    cdef ModelArrays *model = &e.model
    cdef size_t size = m.kernels.element_size
    m.coef = buffers.take(n_rows * (1 if model.coef_sum == NULL else 2), n_columns, size)
    e.velocity = NULL
    if model.coef_velocity != NULL:
        e.velocity = buffers.take(n_rows, n_columns, size)
    if model.coef_sum != NULL:
        e.rule.to_sums = n_rows * n_columns
    m.intercept = model.intercept
    if model.intercept_sum != NULL:
        m.intercept = buffers.take(2, m.n_classes, size)
        e.rule.intercept_to_sums = m.n_classes
    return 0


cdef struct Batch:
    # the samples of one step: where their rows lie, and copies of their targets
    size_t n
    const void **rows  # as the kernels read them
    const void **sources  # where they lie in X; `rows`, unless they are converted
    int64_t *labels
    char *probabilities
    double *weights  # NULL for none


cdef int plan_targets(Epoch *e, Buffers buffers, Batch *batch) except -1:
    cdef size_t n = e.batch_size
    batch.rows = batch.sources = NULL
    batch.labels, batch.probabilities, batch.weights = NULL, NULL, NULL
    if e.targets.labels != NULL:
        batch.labels = <int64_t *>buffers.take(n, 1, sizeof(int64_t))
    else:
        batch.probabilities = buffers.take(
            n, e.targets.n_classes, e.minibatch.kernels.element_size)
    if e.targets.weights != NULL and e.targets.weights.rows != NULL:
        batch.weights = <double *>buffers.take(n, 1, sizeof(double))
    return 0


cdef int plan_rows(
    Epoch *e, Buffers buffers, Batch *batch, char *converted, size_t converted_stride
) except -1:
    """Make room for pointers to rows, and point at where they will be converted to, unless that is NULL."""
    cdef size_t n = e.batch_size + ROWS_AHEAD, i
    cdef size_t last = padded(e.batch_size, e.minibatch.kernels.lanes) - 1
    batch.rows = <const void **>buffers.take(n, 1, sizeof(void *))
    batch.sources = batch.rows
    if converted != NULL:
        batch.sources = <const void **>buffers.take(n, 1, sizeof(void *))
        for i in range(n):
            batch.rows[i] = (
                converted + min(i, last) * converted_stride * e.minibatch.kernels.element_size)
    return 0


cdef inline const char *row_of(const Epoch *e, int64_t sample) noexcept nogil:
    return e.dense.start + sample * e.dense.stride


cdef inline void copy_targets(
    const Epoch *e, const Batch *batch, size_t i, int64_t sample
) noexcept nogil:
    """Copy what is known of a sample beside its row, as the i-th of the batch."""
    cdef const targets_view *targets = &e.targets
    cdef size_t row_size = targets.n_classes * e.minibatch.kernels.element_size
    if batch.weights != NULL:
        batch.weights[i] = targets.weights.rows[sample]
    if targets.labels != NULL:
        batch.labels[i] = targets.labels[sample]
    else:
        memcpy(
            batch.probabilities + i * row_size,
            <const char *>targets.probabilities + sample * row_size, row_size)


cdef void gather(const Epoch *e, size_t step, Batch *batch) noexcept nogil:
    """Point at the rows of a minibatch, and at some that may come next, and copy its targets."""
    cdef size_t first = step * e.batch_size, i
    cdef int64_t sample
    cdef uint64_t begun = phase_begin()
    batch.n = min(e.batch_size, e.n_samples - first)
    for i in range(batch.n, e.batch_size + ROWS_AHEAD):
        batch.sources[i] = row_of(e, e.order[min(first + i, e.n_samples - 1)])
    for i in range(batch.n):
        sample = e.order[first + i]
        batch.sources[i] = row_of(e, sample)
        copy_targets(e, batch, i, sample)
    phase_next(PHASE_CONVERT, begun)


cdef void convert(
    const Epoch *e, const Batch *batch, const void **rows, size_t first, size_t n, size_t start,
    size_t end
) noexcept nogil:
    """Convert the features [start, end) of the samples [first, first + n) to where `rows` point."""
    cdef const Minibatch *m = &e.minibatch
    cdef uint64_t begun = phase_begin()
    cdef char *out = <char *>rows[first]
    cdef size_t stride = (<char *>rows[1] - <char *>rows[0]) // m.kernels.element_size
    m.kernels.convert(
        batch.sources + first, n, e.dense.dtype, start, end - start, &e.scaling, out, stride)
    phase_next(PHASE_CONVERT, begun)


cdef void begin_minibatch(Epoch *e, const Batch *batch, int n_threads) noexcept nogil:
    """Make a batch the minibatch in work."""
    cdef Minibatch *m = &e.minibatch
    split_minibatch(m, batch.n, n_threads)
    m.scale = 1.0 / batch.n
    m.rows = batch.rows
    m.targets = e.targets
    m.targets.labels, m.targets.probabilities = batch.labels, batch.probabilities
    if e.targets.weights != NULL:
        e.batch_weights = e.targets.weights[0]
        e.batch_weights.rows = batch.weights
        m.targets.weights = &e.batch_weights


cdef struct PenaltySums:
    # of the weights before the step, as the update leaves them: some numbers to add up
    size_t n
    double *squares
    double *magnitudes


cdef int plan_penalty(Buffers buffers, PenaltySums *sums, size_t n) except -1:
    sums.n = n
    sums.squares = <double *>buffers.take(n, 1, sizeof(double))
    sums.magnitudes = <double *>buffers.take(n, 1, sizeof(double))
    return 0


cdef update_view update_of(const Epoch *e, const PenaltySums *sums) noexcept nogil:
    """View the packed weights, class by class, for the update; `plan_model` has made room for them."""
    cdef const Minibatch *m = &e.minibatch
    cdef update_view update
    update.weights, update.velocity = m.coef, e.velocity
    update.stride, update.n_classes = m.coef_stride, m.n_classes
    update.squares, update.magnitudes = sums.squares, sums.magnitudes
    return update


cdef double sum_in_four(const double *values, size_t n) noexcept nogil:
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


cdef bint end_step(
    const Epoch *e, size_t step, double loss, const PenaltySums *sums
) noexcept nogil:
    """Note the objective of a step of one model; return whether there can be another one."""
    if isfinite(loss):
        if e.rule.l2 != 0:
            loss += e.rule.l2 * sum_in_four(sums.squares, sums.n)
        if e.rule.l1 != 0:
            loss += e.rule.l1 * sum_in_four(sums.magnitudes, sums.n)
    e.objectives[step] = loss
    return isfinite(loss)
