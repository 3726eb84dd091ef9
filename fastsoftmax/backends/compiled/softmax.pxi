"""Functions over rows of logits: softmax, log-softmax, log-sum-exp, cross-entropy; and the penalty."""


cdef struct Rows:
    # A function of rows of logits, and all that it may need
    ptrdiff_t (*function)(const Rows *rows, size_t first, size_t n) noexcept nogil
    const kernel_table *kernels
    const char *logits
    char *out
    size_t n_classes
    ptrdiff_t logits_stride, out_stride  # of rows, in elements
    targets_view targets
    double scale
    double *losses
    RowOptions *options  # of cross_entropy_rows_with_options
    Split split
    ptrdiff_t invalid[MAX_CHUNKS]


cdef void rows_chunk(void *context, size_t chunk) noexcept nogil:
    cdef Rows *rows = <Rows *>context
    cdef size_t first = chunk * rows.split.size
    cdef uint64_t start = phase_begin()
    cdef ptrdiff_t invalid = rows.function(rows, first, length_of(&rows.split, chunk))
    phase_next(PHASE_LOSS, start)
    rows.invalid[chunk] = invalid + <ptrdiff_t>first if invalid >= 0 else -1


cdef bint uses_threads_for_rows(size_t n_rows, size_t n_classes) noexcept nogil:
    return n_rows * n_classes >= MIN_ELEMENTS_FOR_THREADS


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


cdef const char *row_of_logits(const Rows *r, size_t row) noexcept nogil:
    return r.logits + <ptrdiff_t>row * r.logits_stride * <ptrdiff_t>r.kernels.element_size


cdef char *row_of_out(const Rows *r, size_t row) noexcept nogil:
    if r.out == NULL:
        return NULL
    return r.out + <ptrdiff_t>row * r.out_stride * <ptrdiff_t>r.kernels.element_size


cdef size_t rows_of_a_call(const Rows *r, size_t n) noexcept nogil:
    """The kernels that turn rows into rows take contiguous ones; others go one by one."""
    cdef ptrdiff_t contiguous = r.n_classes
    return n if r.logits_stride == contiguous == r.out_stride else 1


cdef ptrdiff_t mapped_rows(
    const Rows *r, size_t first, size_t n,
    ptrdiff_t (*kernel)(
        const void *logits, size_t n_rows, size_t n_classes, void *out) noexcept nogil
) noexcept nogil:
    cdef size_t at_once = rows_of_a_call(r, n), i = 0
    cdef ptrdiff_t invalid = -1, found
    while i < n:
        found = kernel(row_of_logits(r, first + i), at_once, r.n_classes, row_of_out(r, first + i))
        if found >= 0 and invalid < 0:
            invalid = <ptrdiff_t>i + found
        i += at_once
    return invalid


cdef ptrdiff_t softmax_rows(const Rows *r, size_t first, size_t n) noexcept nogil:
    return mapped_rows(r, first, n, r.kernels.softmax)


cdef ptrdiff_t log_softmax_rows(const Rows *r, size_t first, size_t n) noexcept nogil:
    return mapped_rows(r, first, n, r.kernels.log_softmax)


cdef ptrdiff_t logsumexp_rows(const Rows *r, size_t first, size_t n) noexcept nogil:
    cdef size_t at_once = n if r.logits_stride == <ptrdiff_t>r.n_classes else 1, i = 0
    while i < n:
        r.kernels.logsumexp(
            row_of_logits(r, first + i), at_once, r.n_classes,
            r.out + (first + i) * r.kernels.element_size)
        i += at_once
    return -1


cdef ptrdiff_t cross_entropy_rows(const Rows *r, size_t first, size_t n) noexcept nogil:
    cdef RowTargets shifted
    return r.kernels.cross_entropy(
        row_of_logits(r, first), r.logits_stride, n,
        targets_from(&r.targets, first, r.kernels.element_size, &shifted), r.scale,
        r.losses + first, row_of_out(r, first), r.out_stride)


cdef ptrdiff_t cross_entropy_rows_with_options(const Rows *r, size_t first, size_t n) noexcept nogil:
    cdef RowTargets shifted
    cdef size_t chunk = first // r.split.size
    return losses_with_options(
        r.kernels, row_of_logits(r, first), r.logits_stride, n,
        targets_from(&r.targets, first, r.kernels.element_size, &shifted), r.options, first, chunk,
        r.losses + first, row_of_out(r, first), r.out_stride)


cdef void set_rows(
    Rows *r, const kernel_table *kernels, const char *logits, size_t n_classes, char *out
) noexcept nogil:
    """Contiguous rows of logits, and of out."""
    r.kernels, r.logits, r.out, r.n_classes = kernels, logits, out, n_classes
    r.logits_stride = r.out_stride = n_classes


def softmax(logits, out, int n_threads):
    cdef View z = View(logits), p = View(out, True)
    cdef Rows rows
    cdef ptrdiff_t invalid
    cdef FloatState floats = FloatState()
    rows.function = softmax_rows
    set_rows(&rows, z.kernels(), z.start, z.length(1), p.start)
    with nogil:
        floats.set()
        invalid = over_rows(&rows, z.length(0), n_threads)
    return invalid


def log_softmax(logits, out, int n_threads):
    cdef View z = View(logits), log_p = View(out, True)
    cdef Rows rows
    cdef ptrdiff_t invalid
    cdef FloatState floats = FloatState()
    rows.function = log_softmax_rows
    set_rows(&rows, z.kernels(), z.start, z.length(1), log_p.start)
    with nogil:
        floats.set()
        invalid = over_rows(&rows, z.length(0), n_threads)
    return invalid


def logsumexp(logits, out, int n_threads):
    cdef View z = View(logits), lse = View(out, True)
    cdef Rows rows
    cdef FloatState floats = FloatState()
    rows.function = logsumexp_rows
    set_rows(&rows, z.kernels(), z.start, z.length(1), lse.start)
    with nogil:
        floats.set()
        over_rows(&rows, z.length(0), n_threads)


def softmax_cross_entropy(
    logits, targets, double scale, losses, dlogits, int n_threads, weights=None, options=None
):
    cdef View z = View(logits), loss = View(losses, True), dz = View(dlogits, True)
    cdef Targets t = Targets(targets, weights, z.length(1))
    cdef Options o = Options(options, scale, z.length(1))
    cdef Rows rows
    cdef Memory memory
    cdef ptrdiff_t invalid
    cdef FloatState floats = FloatState()
    rows.function = cross_entropy_rows_with_options if o.rows.given else cross_entropy_rows
    rows.options = &o.rows
    set_rows(&rows, z.kernels(), z.start, z.length(1), dz.start)
    rows.targets, rows.scale, rows.losses = t.view, scale, <double *>loss.start
    begin_memory(&memory)
    rows.split = split(z.length(0), 1, n_threads)
    ask_for_option_scratch(&memory, &o.rows, z.length(1), z.buffer.itemsize, rows.split.n_chunks)
    if not take_memory(&memory):
        raise no_memory(<double>memory.n_bytes)
    with nogil:
        floats.set()
        invalid = over_rows(&rows, z.length(0), n_threads)
        free_memory(&memory)
    return invalid


def penalty(W, double l2, double l1, gradient, int n_threads):
    cdef View w = View(W), g = View(gradient, True)
    cdef const kernel_table *kernels = w.kernels()
    cdef size_t n = w.length(0)
    cdef double value
    cdef FloatState floats = FloatState()
    with nogil:
        floats.set()
        value = kernels.penalty(w.start, n, l2, l1, g.start)
    return value
