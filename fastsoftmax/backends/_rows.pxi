"""Functions over rows of logits: softmax, log-softmax, log-sum-exp, cross-entropy; and the penalty."""


cdef struct Rows:
    # A function of rows of logits, and all that it may need
    ptrdiff_t (*function)(const Rows *rows, size_t first, size_t n) noexcept nogil
    const kernel_table *kernels
    const char *logits
    char *out
    size_t n_classes
    const int64_t *labels
    const char *probabilities
    const target_weights *weights
    double scale
    double *losses
    Split split
    ptrdiff_t invalid[MOST_CHUNKS]


cdef void rows_chunk(void *context, size_t chunk) noexcept nogil:
    cdef Rows *rows = <Rows *>context
    cdef size_t first = chunk * rows.split.size
    cdef uint64_t start = phase_begin()
    cdef ptrdiff_t invalid = rows.function(rows, first, length_of(&rows.split, chunk))
    phase_next(PHASE_LOSS, start)
    rows.invalid[chunk] = invalid + <ptrdiff_t>first if invalid >= 0 else -1


cdef bint uses_threads_for_rows(size_t n_rows, size_t n_classes) noexcept nogil:
    return n_rows * n_classes >= LEAST_ELEMENTS_FOR_THREADS


cdef ptrdiff_t over_rows(Rows *rows, size_t n_rows, int n_threads) noexcept nogil:
    """Call the function on all rows; returns the first invalid one, or -1."""
    cdef pool *helpers = NULL
    cdef size_t chunk
    cdef ptrdiff_t invalid = -1
    cdef uint64_t start
    if uses_threads_for_rows(n_rows, rows.n_classes):
        helpers = pool_begin(n_threads)
    if helpers == NULL:
        start = phase_begin()
        invalid = rows.function(rows, 0, n_rows)
        phase_next(PHASE_LOSS, start)
        return invalid
    rows.split = split(n_rows, 1, n_threads)
    pool_for(helpers, rows_chunk, rows, rows.split.n_chunks)
    pool_end(helpers)
    for chunk in range(rows.split.n_chunks):
        if rows.invalid[chunk] >= 0:
            invalid = rows.invalid[chunk]
            break
    return invalid


cdef ptrdiff_t softmax_rows(const Rows *r, size_t first, size_t n) noexcept nogil:
    cdef size_t offset = first * r.n_classes * r.kernels.element_size
    return r.kernels.softmax(r.logits + offset, n, r.n_classes, r.out + offset)


cdef ptrdiff_t log_softmax_rows(const Rows *r, size_t first, size_t n) noexcept nogil:
    cdef size_t offset = first * r.n_classes * r.kernels.element_size
    return r.kernels.log_softmax(r.logits + offset, n, r.n_classes, r.out + offset)


cdef ptrdiff_t logsumexp_rows(const Rows *r, size_t first, size_t n) noexcept nogil:
    cdef size_t size = r.kernels.element_size
    r.kernels.logsumexp(
        r.logits + first * r.n_classes * size, n, r.n_classes, r.out + first * size)
    return -1


cdef ptrdiff_t cross_entropy_rows(const Rows *r, size_t first, size_t n) noexcept nogil:
    cdef size_t offset = first * r.n_classes * r.kernels.element_size
    cdef target_weights shifted
    return r.kernels.cross_entropy(
        r.logits + offset, r.n_classes, n, r.n_classes,
        r.labels + first if r.labels != NULL else NULL,
        r.probabilities + offset if r.probabilities != NULL else NULL,
        weights_from(r.weights, first, &shifted), r.scale, r.losses + first,
        r.out + offset if r.out != NULL else NULL, r.n_classes)


def softmax(logits, out, int n_threads):
    cdef View z = View(logits), p = View(out, True)
    cdef Rows rows
    cdef ptrdiff_t invalid
    rows.function, rows.kernels, rows.n_classes = softmax_rows, z.kernels(), z.length(1)
    rows.logits, rows.out = z.start, p.start
    with nogil:
        invalid = over_rows(&rows, z.length(0), n_threads)
    return invalid


def log_softmax(logits, out, int n_threads):
    cdef View z = View(logits), log_p = View(out, True)
    cdef Rows rows
    cdef ptrdiff_t invalid
    rows.function, rows.kernels, rows.n_classes = log_softmax_rows, z.kernels(), z.length(1)
    rows.logits, rows.out = z.start, log_p.start
    with nogil:
        invalid = over_rows(&rows, z.length(0), n_threads)
    return invalid


def logsumexp(logits, out, int n_threads):
    cdef View z = View(logits), lse = View(out, True)
    cdef Rows rows
    rows.function, rows.kernels, rows.n_classes = logsumexp_rows, z.kernels(), z.length(1)
    rows.logits, rows.out = z.start, lse.start
    with nogil:
        over_rows(&rows, z.length(0), n_threads)


def softmax_cross_entropy(
    logits, targets, double scale, losses, dlogits, int n_threads, weights=None
):
    cdef View z = View(logits), loss = View(losses, True), dz = View(dlogits, True)
    cdef Targets t = Targets(targets)
    cdef Weights of_targets = Weights(weights)
    cdef Rows rows
    cdef ptrdiff_t invalid
    rows.function, rows.kernels, rows.n_classes = cross_entropy_rows, z.kernels(), z.length(1)
    rows.logits, rows.out = z.start, dz.start
    rows.labels, rows.probabilities = t.labels, t.probabilities
    rows.weights = of_targets.start
    rows.scale, rows.losses = scale, <double *>loss.start
    with nogil:
        invalid = over_rows(&rows, z.length(0), n_threads)
    return invalid


def penalty(W, double l2, double l1, gradient, int n_threads):
    cdef View w = View(W), g = View(gradient, True)
    cdef const kernel_table *kernels = w.kernels()
    cdef size_t n = w.length(0)
    cdef double value
    with nogil:
        value = kernels.penalty(w.start, n, l2, l1, g.start)
    return value
