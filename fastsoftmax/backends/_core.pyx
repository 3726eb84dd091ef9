"""The compiled backend: minibatches and epochs over the C kernels, without the GIL.

One code for float32 and float64: arrays come in through the buffer protocol as untyped pointers, and the
table of kernels of their type does the arithmetic. (Fused types and memoryviews would compile all of
this twice and cost some microseconds a call.)
"""

import os

import numpy as np

from cpython.buffer cimport (
    Py_buffer, PyBUF_FORMAT, PyBUF_STRIDES, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer,
)
from cpython.exc cimport PyErr_CheckSignals
from libc.math cimport isfinite, isnan
from libc.stdint cimport int64_t, uint64_t
from libc.string cimport memcpy, memset, strchr

from fastsoftmax.threads import resolve_n_threads

from fastsoftmax.backends.kernels cimport (
    MOST_COLUMNS, MOST_PANELS, PANEL_VECTORS, ROWS_AHEAD, SECOND_HALVES, SHORT_ROWS, WHOLE_ROWS,
    instruction_set_row, kernel_table, platform_allocate, platform_free, platform_seconds, pool,
    pool_begin, pool_end, pool_for, pool_threads, rows_ahead, rows_of_sets, rows_to_fetch, step_rule,
)


# Rows of X that `linear_cross_entropy` takes at once: their logits stay in the cache.
cdef enum:
    ROWS_AT_ONCE = 256

# How work is cut: chunks a thread, chunks at the most, and rows that a chunk of scores is a multiple of.
cdef enum:
    CHUNKS_PER_THREAD = 8
    MOST_CHUNKS = 64
    ROWS_OF_A_CHUNK = 16

# Below these, one thread alone is done before a second one has begun.
cdef enum:
    LEAST_ELEMENTS_FOR_THREADS = 20000
    LEAST_PRODUCTS_FOR_THREADS = 150000
    LEAST_LOGITS_FOR_THREADS = 4000

# What a thread may count on of the second level of its core's cache, and what is a short row.
cdef enum:
    BYTES_IN_CACHE = 820000
    BYTES_OF_A_SHORT_ROW = 1024

# The losses of so many rows are kept on the stack.
cdef enum:
    FEW_LOSSES = 256

# An epoch is left so often to look for a pending signal, at the end of a step.
cdef double SECONDS_BETWEEN_SIGNALS = 0.03


cdef object ndarray = np.ndarray, float32 = np.dtype(np.float32), float64 = np.dtype(np.float64)

cdef const instruction_set_row *chosen = NULL


def instruction_sets():
    """The names of the instruction sets that this CPU can run, best first."""
    names = []
    cdef const instruction_set_row *row = rows_of_sets
    while row.name != NULL:
        if row.is_supported():
            names.append(row.name.decode())
        row += 1
    return tuple(names)


def instruction_set():
    """The name of the instruction set in use."""
    return chosen.name.decode()


cdef _choose(name):
    """Take the set of that name, or for an empty name the best."""
    global chosen
    cdef const instruction_set_row *row = rows_of_sets
    while row.name != NULL:
        if row.is_supported() and name in ("", row.name.decode()):
            chosen = row
            return
        row += 1
    raise ValueError(
        "the environment variable FASTSOFTMAX_ISA must name an instruction set that this CPU can run, "
        f"one of {', '.join(instruction_sets())}; got {name!r}"
    )


_choose(os.environ.get("FASTSOFTMAX_ISA", ""))


cdef class View:
    """The memory of an array; of None, a NULL pointer."""

    cdef Py_buffer buffer
    cdef char *start
    cdef bint held

    def __cinit__(self, array, bint writable=False):
        self.start = NULL
        self.held = False
        if array is not None:
            flags = PyBUF_STRIDES | PyBUF_WRITABLE if writable else PyBUF_STRIDES
            PyObject_GetBuffer(array, &self.buffer, flags)
            self.held = True
            self.start = <char *>self.buffer.buf

    def __dealloc__(self):
        if self.held:
            PyBuffer_Release(&self.buffer)

    cdef size_t length(self, int axis) noexcept nogil:
        return <size_t>self.buffer.shape[axis]

    cdef const kernel_table *kernels(self) noexcept nogil:
        return chosen.float32 if self.buffer.itemsize == 4 else chosen.float64


cdef class Targets:
    """Labels or rows of probabilities, whichever there are; the other is NULL."""

    cdef View view
    cdef const int64_t *labels
    cdef const char *probabilities

    def __cinit__(self, targets):
        self.view = View(targets)
        self.labels = NULL
        self.probabilities = NULL
        if self.view.buffer.ndim == 1:
            self.labels = <const int64_t *>self.view.start
        else:
            self.probabilities = self.view.start


cdef class Scratch:
    """Memory that is freed with the object, aligned to a cache line."""

    cdef char *start

    def __cinit__(self, size_t n_rows, size_t n_columns, size_t item_size):
        cdef size_t most = (<size_t>-1) // 2 // item_size
        if n_rows and n_columns > most // n_rows:
            raise MemoryError
        self.start = <char *>platform_allocate(n_rows * n_columns * item_size)
        if self.start == NULL:
            raise MemoryError

    def __dealloc__(self):
        platform_free(self.start)


cdef size_t padded(size_t n, size_t lanes) noexcept nogil:
    return (n + lanes - 1) // lanes * lanes


cdef struct Split:
    # `n_items` in chunks of `size`, the last one smaller; at least one, which may be empty
    size_t n_items, size, n_chunks


cdef Split split(size_t n_items, size_t multiple, int n_threads) noexcept nogil:
    """Some chunks a thread, so that a slow one can be made up for; each a multiple of `multiple`."""
    cdef Split s
    cdef size_t wanted = min(<size_t>n_threads * CHUNKS_PER_THREAD, <size_t>MOST_CHUNKS)
    s.n_items = n_items
    s.size = max(padded((n_items + wanted - 1) // wanted, multiple), multiple)
    s.n_chunks = max((n_items + s.size - 1) // s.size, <size_t>1)
    return s


cdef size_t length_of(const Split *s, size_t chunk) noexcept nogil:
    return min(s.size, s.n_items - chunk * s.size)


cdef struct Rows:
    # A function of rows of logits, and all that it may need
    ptrdiff_t (*function)(const Rows *rows, size_t first, size_t n) noexcept nogil
    const kernel_table *kernels
    const char *logits
    char *out
    size_t n_classes
    const int64_t *labels
    const char *probabilities
    double scale
    double *losses
    Split split
    ptrdiff_t invalid[MOST_CHUNKS]


cdef void rows_chunk(void *context, size_t chunk) noexcept nogil:
    cdef Rows *rows = <Rows *>context
    cdef size_t first = chunk * rows.split.size
    cdef ptrdiff_t invalid = rows.function(rows, first, length_of(&rows.split, chunk))
    rows.invalid[chunk] = invalid + <ptrdiff_t>first if invalid >= 0 else -1


cdef bint uses_threads_for_rows(size_t n_rows, size_t n_classes) noexcept nogil:
    return n_rows * n_classes >= LEAST_ELEMENTS_FOR_THREADS


cdef ptrdiff_t over_rows(Rows *rows, size_t n_rows, int n_threads) noexcept nogil:
    """Call the function on all rows; returns the first invalid one, or -1."""
    cdef pool *helpers = NULL
    cdef size_t chunk
    cdef ptrdiff_t invalid = -1
    if uses_threads_for_rows(n_rows, rows.n_classes):
        helpers = pool_begin(n_threads)
    if helpers == NULL:
        return rows.function(rows, 0, n_rows)
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
    return r.kernels.cross_entropy(
        r.logits + offset, r.n_classes, n, r.n_classes,
        r.labels + first if r.labels != NULL else NULL,
        r.probabilities + offset if r.probabilities != NULL else NULL, r.scale,
        r.losses + first, r.out + offset if r.out != NULL else NULL, r.n_classes)


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


def softmax_cross_entropy(logits, targets, double scale, losses, dlogits, int n_threads):
    cdef View z = View(logits), loss = View(losses, True), dz = View(dlogits, True)
    cdef Targets t = Targets(targets)
    cdef Rows rows
    cdef ptrdiff_t invalid
    rows.function, rows.kernels, rows.n_classes = cross_entropy_rows, z.kernels(), z.length(1)
    rows.logits, rows.out = z.start, dz.start
    rows.labels, rows.probabilities = t.labels, t.probabilities
    rows.scale, rows.losses = scale, <double *>loss.start
    with nogil:
        invalid = over_rows(&rows, z.length(0), n_threads)
    return invalid


cdef struct Arrays:
    # Of the usual case. A buffer is held where its obj is not NULL.
    Py_buffer logits, labels, out


cdef void release(Arrays *arrays) noexcept:
    PyBuffer_Release(&arrays.logits)
    PyBuffer_Release(&arrays.labels)
    PyBuffer_Release(&arrays.out)


cdef bint is_plain(const Py_buffer *array, int n_axes, const char *codes) noexcept:
    """Whether it is C-contiguous, aligned, and of one of the native types that `codes` has."""
    cdef Py_ssize_t step = array.itemsize
    cdef const char *format = array.format
    cdef int axis
    if array.ndim != n_axes or <size_t>array.buf % <size_t>array.itemsize != 0:
        return False
    # A byte order would stand before the type.
    if format == NULL or format[0] == 0 or format[1] != 0 or strchr(codes, format[0]) == NULL:
        return False
    for axis in range(n_axes - 1, -1, -1):
        if array.strides[axis] != step and array.shape[axis] != 1:
            return False
        step *= array.shape[axis]
    return step > 0  # not empty


cdef bint overlap(const Py_buffer *a, const Py_buffer *b) noexcept:
    cdef char *start = <char *>a.buf, *other = <char *>b.buf
    return start < other + b.len and other < start + a.len


cdef bint are_usual(const Arrays *arrays) noexcept:
    """Whether logits and labels are plain, and of shapes that belong together."""
    return (
        is_plain(&arrays.logits, 2, b"fd") and is_plain(&arrays.labels, 1, b"lq")
        and arrays.labels.itemsize == sizeof(int64_t)
        and arrays.labels.shape[0] == arrays.logits.shape[0])


cdef bint is_usual_out(const Arrays *arrays) noexcept:
    """Whether `out` can be written by rows: apart from the inputs, or the logits themselves."""
    cdef const Py_buffer *out = &arrays.out
    cdef const Py_buffer *logits = &arrays.logits
    return (
        not out.readonly and is_plain(out, 2, logits.format)
        and out.shape[0] == logits.shape[0] and out.shape[1] == logits.shape[1]
        and not overlap(out, &arrays.labels)
        and (out.buf == logits.buf or not overlap(out, logits)))


cdef bint all_below(const int64_t *labels, size_t n, uint64_t n_classes) noexcept nogil:
    """Whether 0 <= label < n_classes for all: else the label or the distance to the last is negative."""
    cdef uint64_t signs = 0
    cdef size_t i
    for i in range(n):
        signs |= <uint64_t>labels[i] | (n_classes - 1 - <uint64_t>labels[i])
    return signs >> 63 == 0


cdef double pairwise_sum(const double *values, size_t n) noexcept nogil:
    """The sum in the order of NumPy's add.reduce, which the mean of losses elsewhere is taken with."""
    cdef double total = 0
    cdef double[8] sums
    cdef size_t i, k, half
    if n < 8:
        for i in range(n):
            total += values[i]
        return total
    if n > 128:
        half = n // 2 - n // 2 % 8
        return pairwise_sum(values, half) + pairwise_sum(values + half, n - half)
    for k in range(8):
        sums[k] = values[k]
    i = 8
    while i + 8 <= n:
        for k in range(8):
            sums[k] += values[i + k]
        i += 8
    total = (((sums[0] + sums[1]) + (sums[2] + sums[3]))
             + ((sums[4] + sums[5]) + (sums[6] + sums[7])))
    while i < n:
        total += values[i]
        i += 1
    return total


cdef object mean_of_usual(Arrays *arrays, dlogits, n_threads):
    """`mean_cross_entropy` of arrays that have been looked at; None where a label is out of range."""
    cdef size_t n = arrays.logits.shape[0], n_classes = arrays.logits.shape[1]
    cdef double[FEW_LOSSES] few
    cdef Scratch many
    cdef Rows rows
    cdef ptrdiff_t invalid
    cdef double mean
    cdef int threads = 1
    rows.labels = <const int64_t *>arrays.labels.buf
    if not all_below(rows.labels, n, n_classes):
        return None
    if uses_threads_for_rows(n, n_classes):
        threads = resolve_n_threads(n_threads)
    rows.losses = few
    if n > FEW_LOSSES:
        many = Scratch(n, 1, sizeof(double))
        rows.losses = <double *>many.start
    rows.function, rows.n_classes, rows.scale = cross_entropy_rows, n_classes, 1.0 / n
    rows.kernels = chosen.float32 if arrays.logits.itemsize == 4 else chosen.float64
    rows.logits, rows.out = <const char *>arrays.logits.buf, <char *>arrays.out.buf
    rows.probabilities = NULL
    with nogil:
        invalid = over_rows(&rows, n, threads)
        mean = pairwise_sum(rows.losses, n) / n
    return mean, dlogits, invalid


def mean_cross_entropy(logits, labels, out, n_threads):
    cdef Arrays arrays
    if type(logits) is not ndarray or type(labels) is not ndarray:
        return None
    if out is not None and type(out) is not ndarray:
        return None
    if n_threads is not None and (type(n_threads) is not int or n_threads < 1):
        return None
    memset(&arrays, 0, sizeof(arrays))
    try:
        PyObject_GetBuffer(logits, &arrays.logits, PyBUF_STRIDES | PyBUF_FORMAT)
        PyObject_GetBuffer(labels, &arrays.labels, PyBUF_STRIDES | PyBUF_FORMAT)
        if not are_usual(&arrays):
            return None
        dlogits = out
        if out is None:
            dlogits = ndarray(
                (arrays.logits.shape[0], arrays.logits.shape[1]),
                float32 if arrays.logits.itemsize == 4 else float64)
        PyObject_GetBuffer(dlogits, &arrays.out, PyBUF_STRIDES | PyBUF_FORMAT)
        if not is_usual_out(&arrays):
            return None
        return mean_of_usual(&arrays, dlogits, n_threads)
    except (BufferError, ValueError):  # a dtype that has no buffer, datetime64 for example
        return None
    finally:
        release(&arrays)


def penalty(W, double l2, double l1, gradient, int n_threads):
    cdef View w = View(W), g = View(gradient, True)
    cdef const kernel_table *kernels = w.kernels()
    cdef size_t n = w.length(0)
    cdef double value
    with nogil:
        value = kernels.penalty(w.start, n, l2, l1, g.start)
    return value


cdef struct Minibatch:
    # Some rows of X with their targets, and what becomes of them
    const kernel_table *kernels
    size_t n_features, n_classes
    const void **rows
    const int64_t *labels
    const char *probabilities
    char *coef
    size_t coef_stride
    char *intercept
    double scale
    double *losses
    char *dlogits  # first the logits
    Split samples  # of the forward pass
    Split strips  # of the backward pass, one vector of features wide


cdef void split_minibatch(Minibatch *m, size_t n, int n_threads) noexcept nogil:
    m.samples = split(n, ROWS_OF_A_CHUNK, n_threads)
    m.strips = split(m.coef_stride // m.kernels.lanes, 1, n_threads)


cdef void forward_chunk(void *context, size_t chunk) noexcept nogil:
    """Losses and gradient of the logits of some rows; the loss of a row without a softmax is NaN."""
    cdef Minibatch *m = <Minibatch *>context
    cdef size_t first = chunk * m.samples.size, n = length_of(&m.samples, chunk)
    cdef size_t offset = first * m.n_classes * m.kernels.element_size
    m.kernels.scores(
        m.rows + first, n, m.n_features, m.coef, m.coef_stride, m.n_classes, m.intercept,
        m.dlogits + offset, m.n_classes)
    m.kernels.cross_entropy(
        m.dlogits + offset, m.n_classes, n, m.n_classes,
        m.labels + first if m.labels != NULL else NULL,
        m.probabilities + offset if m.probabilities != NULL else NULL, m.scale,
        m.losses + first, m.dlogits + offset, m.n_classes)


cdef bint uses_threads(size_t n_rows, size_t n_features, size_t n_classes) noexcept nogil:
    return <double>n_rows * n_features * n_classes >= LEAST_PRODUCTS_FOR_THREADS


cdef struct Gradients:
    # What `linear_cross_entropy` is asked for; NULL for what it is not
    Minibatch *minibatch
    char *dcoef
    char *dintercept
    char *dX
    bint add  # to dcoef and dintercept, from the second minibatch on
    const void **coef_rows


cdef void gradient_chunk(void *context, size_t chunk) noexcept nogil:
    cdef Gradients *g = <Gradients *>context
    cdef Minibatch *m = g.minibatch
    cdef size_t first = chunk * m.strips.size, strip
    cdef size_t n = m.samples.n_items
    if chunk == 0 and g.dintercept != NULL:
        m.kernels.column_sums(m.dlogits, m.n_classes, n, m.n_classes, g.add, g.dintercept)
    if g.dcoef != NULL:
        for strip in range(first, first + length_of(&m.strips, chunk)):
            m.kernels.outer_sum(
                m.rows, n, strip * m.kernels.lanes, m.n_features, m.dlogits, m.n_classes, 1,
                m.n_classes, g.add, g.dcoef, m.coef_stride)


cdef void gradient_of_x_chunk(void *context, size_t chunk) noexcept nogil:
    """dX = dlogits @ W.T: the same sum, over classes instead of samples."""
    cdef Gradients *g = <Gradients *>context
    cdef Minibatch *m = g.minibatch
    cdef size_t size = m.kernels.element_size, strip
    cdef size_t first = chunk * m.samples.size, n = length_of(&m.samples, chunk)
    for strip in range(m.strips.n_items):
        m.kernels.outer_sum(
            g.coef_rows, m.n_classes, strip * m.kernels.lanes, m.n_features,
            m.dlogits + first * m.n_classes * size, 1, m.n_classes, n, False,
            g.dX + first * m.n_features * size, m.n_features)


def linear_cross_entropy(
    X, W, intercept, targets, double scale, losses, dW, dintercept, dX, int n_threads
):
    cdef View x = View(X), w = View(W), b = View(intercept), loss = View(losses, True)
    cdef View dw = View(dW, True), db = View(dintercept, True), dx = View(dX, True)
    cdef Targets t = Targets(targets)
    cdef Minibatch m
    m.kernels, m.n_features, m.n_classes = x.kernels(), x.length(1), w.length(1)
    m.coef_stride = padded(m.n_features, m.kernels.lanes)
    m.intercept, m.scale = b.start, scale
    cdef size_t size = m.kernels.element_size, n_rows = x.length(0)
    cdef Scratch coef = Scratch(m.n_classes, m.coef_stride, size)
    cdef Scratch dcoef = Scratch(m.n_classes if dw.held else 0, m.coef_stride, size)
    cdef Scratch dlogits = Scratch(ROWS_AT_ONCE, m.n_classes, size)
    cdef Scratch rows = Scratch(ROWS_AT_ONCE + ROWS_AHEAD, 1, sizeof(void *))
    cdef Scratch coef_rows = Scratch(m.n_classes, 1, sizeof(void *))
    m.coef, m.dlogits, m.rows = coef.start, dlogits.start, <const void **>rows.start
    cdef Gradients gradients
    gradients.minibatch = &m
    gradients.dcoef = dcoef.start if dw.held else NULL
    gradients.dintercept, gradients.dX = db.start, dx.start
    gradients.coef_rows = <const void **>coef_rows.start
    cdef bint has_gradients = dw.held or db.held
    cdef pool *helpers = NULL
    cdef size_t block, first, n, i
    cdef ptrdiff_t invalid = -1
    with nogil:
        m.kernels.pack(
            w.start, w.buffer.strides[0], w.buffer.strides[1], m.n_features, m.n_classes, m.coef,
            m.coef_stride)
        for i in range(m.n_classes):
            gradients.coef_rows[i] = m.coef + i * m.coef_stride * size
        if uses_threads(min(n_rows, <size_t>ROWS_AT_ONCE), m.n_features, m.n_classes):
            helpers = pool_begin(n_threads)
        for block in range((n_rows + ROWS_AT_ONCE - 1) // ROWS_AT_ONCE):
            first = block * ROWS_AT_ONCE
            n = min(<size_t>ROWS_AT_ONCE, n_rows - first)
            split_minibatch(&m, n, n_threads)
            for i in range(n + ROWS_AHEAD):
                m.rows[i] = x.start + min(first + i, n_rows - 1) * m.n_features * size
            m.labels = t.labels + first if t.labels != NULL else NULL
            m.probabilities = NULL
            if t.probabilities != NULL:
                m.probabilities = t.probabilities + first * m.n_classes * size
            m.losses = <double *>loss.start + first
            pool_for(helpers, forward_chunk, &m, m.samples.n_chunks)
            for i in range(n):
                if isnan(m.losses[i]):
                    invalid = <ptrdiff_t>(first + i)
                    break
            if invalid >= 0:
                break
            gradients.add = block > 0
            if has_gradients:
                pool_for(helpers, gradient_chunk, &gradients, m.strips.n_chunks)
            if gradients.dX != NULL:
                pool_for(helpers, gradient_of_x_chunk, &gradients, m.samples.n_chunks)
                gradients.dX += n * m.n_features * size
        pool_end(helpers)
        if invalid < 0 and dw.held:
            m.kernels.unpack(
                gradients.dcoef, m.coef_stride, m.n_features, m.n_classes, dw.start,
                dw.buffer.strides[0], dw.buffer.strides[1])
    return invalid


cdef struct Batch:
    # the samples of one step: where their rows lie, and copies of their targets
    size_t n
    const void **rows
    const void **first_halves  # of every block of `lanes` rows, one after another
    size_t n_first_halves
    int64_t *labels
    char *probabilities


cdef struct Epoch:
    # the data, where they lie
    const char *X
    ptrdiff_t row_stride
    const int64_t *labels
    const char *probabilities
    const int64_t *order
    size_t n_samples, batch_size
    # the model, apart from what the minibatch holds of it
    step_rule rule
    char *velocity
    char *intercept_velocity
    const double *rates
    double *objectives
    # the step in work, and the samples of this and the next one
    Minibatch minibatch
    Batch batches[2]
    # of every strip of features
    double *squares
    double *magnitudes
    # with few classes: the scores by panels, and how many steps have them
    size_t n_panels, panel_stride, n_scored
    char *scores
    bint stays_in_cache  # a thread's part of this minibatch and of the next one
    rows_ahead ahead
    const Batch *to_update  # NULL where a loop over the panels is not to do it
    const Batch *to_score


cdef void gather(const Epoch *e, size_t step, Batch *batch) noexcept nogil:
    """Point at the rows of a minibatch, and at some that may come next, and copy its targets."""
    cdef const Minibatch *m = &e.minibatch
    cdef size_t first = step * e.batch_size, i
    cdef size_t row_size = m.n_classes * m.kernels.element_size
    cdef int64_t sample
    batch.n = min(e.batch_size, e.n_samples - first)
    for i in range(batch.n, e.batch_size + ROWS_AHEAD):
        batch.rows[i] = e.X + e.order[min(first + i, e.n_samples - 1)] * e.row_stride
    batch.n_first_halves = 0
    for i in range(batch.n):
        sample = e.order[first + i]
        batch.rows[i] = e.X + sample * e.row_stride
        if i % m.kernels.lanes < m.kernels.lanes // 2:
            batch.first_halves[batch.n_first_halves] = batch.rows[i]
            batch.n_first_halves += 1
        if e.labels != NULL:
            batch.labels[i] = e.labels[sample]
        else:
            memcpy(
                batch.probabilities + i * row_size, e.probabilities + sample * row_size, row_size)


cdef void take(Epoch *e, const Batch *batch, int n_threads) noexcept nogil:
    """Make it the minibatch in work."""
    cdef Minibatch *m = &e.minibatch
    split_minibatch(m, batch.n, n_threads)
    m.scale = 1.0 / batch.n
    m.rows = batch.rows
    m.labels = batch.labels if e.labels != NULL else NULL
    m.probabilities = batch.probabilities if e.labels == NULL else NULL


cdef void update_chunk(void *context, size_t chunk) noexcept nogil:
    """Gradient, penalty, momentum and step of some strips of features; of the intercept with the first."""
    cdef Epoch *e = <Epoch *>context
    cdef Minibatch *m = &e.minibatch
    cdef size_t first = chunk * m.strips.size, strip
    cdef size_t n = m.samples.n_items
    for strip in range(first, first + length_of(&m.strips, chunk)):
        m.kernels.update(
            m.rows, n, strip * m.kernels.lanes, m.n_features, m.dlogits, m.n_classes,
            m.n_classes, &e.rule, m.coef, e.velocity, m.coef_stride, e.squares + strip,
            e.magnitudes + strip)
    if chunk == 0 and m.intercept != NULL:
        m.kernels.update_intercept(
            m.dlogits, m.n_classes, n, m.n_classes, &e.rule, m.intercept, e.intercept_velocity)


cdef size_t first_strip(const Epoch *e, size_t panel) noexcept nogil:
    return panel * e.minibatch.strips.n_items // e.n_panels


cdef void score_panel(
    const Epoch *e, const Batch *batch, size_t panel, size_t first, size_t n
) noexcept nogil:
    """Scores of the samples [first, first + n), first a multiple of lanes."""
    cdef const Minibatch *m = &e.minibatch
    cdef size_t start = first_strip(e, panel) * m.kernels.lanes
    cdef size_t end = min(first_strip(e, panel + 1) * m.kernels.lanes, m.n_features)
    m.kernels.panel_scores(
        batch.rows + first, n, start, end - start, e.ahead, m.coef, m.coef_stride, m.n_classes,
        e.scores + (panel * e.panel_stride + first * m.n_classes) * m.kernels.element_size)


cdef void update_strips(
    Epoch *e, const Batch *batch, size_t first, size_t n, const rows_to_fetch *fetch
) noexcept nogil:
    cdef Minibatch *m = &e.minibatch
    cdef size_t start = first * m.kernels.lanes
    cdef size_t end = min((first + n) * m.kernels.lanes, m.n_features)
    m.kernels.panel_update(
        batch.rows, batch.n, fetch, start, end - start, m.dlogits, m.n_classes, &e.rule, m.coef,
        e.velocity, m.coef_stride, e.squares + first, e.magnitudes + first)


cdef void update_intercept(Epoch *e, const Batch *batch) noexcept nogil:
    cdef Minibatch *m = &e.minibatch
    if m.intercept != NULL:
        m.kernels.panel_update_intercept(
            m.dlogits, batch.n, m.n_classes, &e.rule, m.intercept, e.intercept_velocity)


cdef void panel_chunk(void *context, size_t panel) noexcept nogil:
    """One panel: its update with this minibatch, then its scores of the next one."""
    cdef Epoch *e = <Epoch *>context
    cdef size_t first = first_strip(e, panel), end = first_strip(e, panel + 1)
    cdef size_t lanes = e.minibatch.kernels.lanes
    cdef rows_to_fetch fetch
    fetch.n_rows = 0
    if e.to_update != NULL:
        if e.to_score != NULL and e.ahead == SECOND_HALVES:
            fetch.rows, fetch.n_rows = e.to_score.first_halves, e.to_score.n_first_halves
            fetch.first = first * lanes
            fetch.n_features = min(end * lanes, e.minibatch.n_features) - fetch.first
        update_strips(e, e.to_update, first, end - first, &fetch)
        if panel == 0:
            update_intercept(e, e.to_update)
    if e.to_score != NULL:
        score_panel(e, e.to_score, panel, 0, e.to_score.n)


cdef void score_chunk(void *context, size_t chunk) noexcept nogil:
    """All panels' scores of some samples, block by block."""
    cdef Epoch *e = <Epoch *>context
    cdef const Split *samples = &e.minibatch.samples
    cdef size_t first = chunk * samples.size, end = first + length_of(samples, chunk), panel
    cdef size_t lanes = e.minibatch.kernels.lanes
    while first < end:
        for panel in range(e.n_panels):
            score_panel(e, e.to_score, panel, first, min(lanes, end - first))
        first += lanes


cdef void strips_chunk(void *context, size_t chunk) noexcept nogil:
    """Some strips' update, while a share of the next rows is fetched whole."""
    cdef Epoch *e = <Epoch *>context
    cdef const Split *strips = &e.minibatch.strips
    cdef size_t first
    cdef rows_to_fetch fetch
    fetch.n_rows = 0
    if e.to_score != NULL and e.ahead == SECOND_HALVES:
        first = chunk * e.to_score.n_first_halves // strips.n_chunks
        fetch.rows = e.to_score.first_halves + first
        fetch.n_rows = (chunk + 1) * e.to_score.n_first_halves // strips.n_chunks - first
        fetch.first, fetch.n_features = 0, e.minibatch.n_features
    update_strips(e, e.to_update, chunk * strips.size, length_of(strips, chunk), &fetch)
    if chunk == 0:
        update_intercept(e, e.to_update)


cdef void loss_chunk(void *context, size_t chunk) noexcept nogil:
    """Losses and gradient of the logits of some samples, from the scores of the panels."""
    cdef Epoch *e = <Epoch *>context
    cdef Minibatch *m = &e.minibatch
    cdef size_t first = chunk * m.samples.size, size = m.kernels.element_size
    cdef size_t offset = first * m.n_classes * size
    m.kernels.panel_cross_entropy(
        e.scores + offset, e.n_panels, e.panel_stride, length_of(&m.samples, chunk),
        m.n_classes, m.intercept, m.labels + first if m.labels != NULL else NULL,
        m.probabilities + offset if m.probabilities != NULL else NULL, m.scale,
        m.losses + first, m.dlogits + offset)


cdef void choose_schedule(Epoch *e, int n_threads) noexcept nogil:
    """How rows are brought to the caches, which does not enter the bits."""
    cdef size_t row_bytes = e.minibatch.n_features * e.minibatch.kernels.element_size
    e.stays_in_cache = 2 * e.batch_size * row_bytes <= <size_t>n_threads * BYTES_IN_CACHE
    if row_bytes <= BYTES_OF_A_SHORT_ROW:
        e.ahead = SHORT_ROWS
    else:
        e.ahead = SECOND_HALVES if e.stays_in_cache else WHOLE_ROWS


cdef void over_panels(Epoch *e, pool *helpers) noexcept nogil:
    """Update with one minibatch and score another, each where it is given.

    Panel by panel, where that keeps every thread's part of both minibatches in its cache; else the
    update by strips and the scores by samples, which reads rows from memory in longer runs. The bits
    are the same.
    """
    cdef Minibatch *m = &e.minibatch
    cdef int n_threads = pool_threads(helpers)
    if 1 < n_threads <= <int>e.n_panels and e.stays_in_cache:
        pool_for(helpers, panel_chunk, e, e.n_panels)
        return
    if e.to_update != NULL:
        pool_for(helpers, strips_chunk, e, m.strips.n_chunks)
    if e.to_score != NULL:
        split_minibatch(m, e.to_score.n, n_threads)
        pool_for(helpers, score_chunk, e, m.samples.n_chunks)


cdef double few_classes_step(Epoch *e, size_t step, size_t n_steps, pool *helpers) noexcept nogil:
    """One step by panels; leaves the scores of the next one. Returns the loss."""
    cdef Minibatch *m = &e.minibatch
    cdef Batch *batch = &e.batches[step % 2]
    cdef double loss
    if e.n_scored <= step:
        gather(e, step, batch)
        e.to_update, e.to_score = NULL, batch
        over_panels(e, helpers)
        e.n_scored = step + 1
    take(e, batch, pool_threads(helpers))
    pool_for(
        helpers if batch.n * m.n_classes >= LEAST_LOGITS_FOR_THREADS else NULL, loss_chunk, e,
        m.samples.n_chunks)
    loss = sum_of(m.losses, batch.n) / batch.n
    if not isfinite(loss):
        return loss
    e.rule.rate = e.rates[step]
    e.to_update, e.to_score = batch, NULL
    if step + 1 < n_steps:
        e.to_score = &e.batches[(step + 1) % 2]
        gather(e, step + 1, &e.batches[(step + 1) % 2])
    over_panels(e, helpers)
    e.n_scored = step + 2
    return loss


cdef double many_classes_step(Epoch *e, size_t step, pool *helpers) noexcept nogil:
    """One step with the logits in rows. Returns the loss."""
    cdef Minibatch *m = &e.minibatch
    cdef Batch *batch = &e.batches[0]
    cdef double loss
    gather(e, step, batch)
    take(e, batch, pool_threads(helpers))
    pool_for(helpers, forward_chunk, m, m.samples.n_chunks)
    loss = sum_of(m.losses, batch.n) / batch.n
    if isfinite(loss):
        e.rule.rate = e.rates[step]
        pool_for(helpers, update_chunk, e, m.strips.n_chunks)
    return loss


cdef double sum_of(const double *values, size_t n) noexcept nogil:
    cdef double total = 0
    cdef size_t i
    for i in range(n):
        total += values[i]
    return total


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
        if e.scores != NULL:
            objective = few_classes_step(e, step, n_steps, helpers)
        else:
            objective = many_classes_step(e, step, helpers)
        if isfinite(objective):
            if e.rule.l2 != 0:
                objective += e.rule.l2 * sum_of(e.squares, m.strips.n_items)
            if e.rule.l1 != 0:
                objective += e.rule.l1 * sum_of(e.magnitudes, m.strips.n_items)
        e.objectives[step] = objective
        step += 1
        if platform_seconds() > deadline or not isfinite(objective):
            break
    pool_end(helpers)
    return step


def sgd_epoch(data, state, rule, order, size_t batch_size, rates, int n_threads):
    cdef View x = View(data.X), indices = View(order), step_rates = View(rates)
    cdef Targets t = Targets(data.targets)
    coef, intercept, coef_velocity, intercept_velocity = state
    cdef View w = View(coef, True), v = View(coef_velocity, True)
    cdef View b = View(intercept, True), bv = View(intercept_velocity, True)
    objectives = np.empty(len(rates))
    cdef View objective_view = View(objectives, True)
    cdef Epoch e
    cdef Minibatch *m = &e.minibatch
    e.X, e.row_stride = x.start, x.buffer.strides[0]
    e.labels, e.probabilities = t.labels, t.probabilities
    e.order, e.n_samples = <const int64_t *>indices.start, indices.length(0)
    e.batch_size = min(batch_size, e.n_samples)
    e.rule.l2, e.rule.l1, e.rule.momentum, e.rule.nesterov = rule
    e.rates, e.objectives = <const double *>step_rates.start, <double *>objective_view.start
    m.kernels, m.n_features, m.n_classes = x.kernels(), x.length(1), w.length(0)
    m.coef_stride = padded(m.n_features, m.kernels.lanes)
    m.intercept, e.intercept_velocity = b.start, bv.start

    cdef size_t size = m.kernels.element_size, n_strips = m.coef_stride // m.kernels.lanes
    cdef bint has_labels = t.labels != NULL, by_panels = m.n_classes <= MOST_COLUMNS
    cdef size_t n_batches = 2 if by_panels else 1, n_rows = e.batch_size + ROWS_AHEAD
    cdef size_t block_rows = padded(e.batch_size, m.kernels.lanes), i
    e.n_panels = min((n_strips + PANEL_VECTORS - 1) // PANEL_VECTORS, <size_t>MOST_PANELS)
    e.panel_stride, e.n_scored = block_rows * m.n_classes, 0
    cdef Scratch padded_coef = Scratch(m.n_classes, m.coef_stride, size)
    cdef Scratch padded_velocity = Scratch(m.n_classes if v.held else 0, m.coef_stride, size)
    cdef Scratch rows = Scratch(n_batches * n_rows, 1, sizeof(void *))
    cdef Scratch first_halves = Scratch(n_batches * e.batch_size, 1, sizeof(void *))
    cdef Scratch labels = Scratch(n_batches * e.batch_size if has_labels else 0, 1, sizeof(int64_t))
    cdef Scratch probabilities = Scratch(
        0 if has_labels else n_batches * e.batch_size, m.n_classes, size)
    cdef Scratch scores = Scratch(e.n_panels * block_rows if by_panels else 0, m.n_classes, size)
    cdef Scratch dlogits = Scratch(block_rows, m.n_classes, size)
    cdef Scratch losses = Scratch(e.batch_size, 1, sizeof(double))
    cdef Scratch squares = Scratch(n_strips, 1, sizeof(double))
    cdef Scratch magnitudes = Scratch(n_strips, 1, sizeof(double))
    m.coef, m.dlogits, m.losses = padded_coef.start, dlogits.start, <double *>losses.start
    e.scores = scores.start if by_panels else NULL
    for i in range(n_batches):
        e.batches[i].rows = <const void **>rows.start + i * n_rows
        e.batches[i].first_halves = <const void **>first_halves.start + i * e.batch_size
        e.batches[i].labels = <int64_t *>labels.start + i * e.batch_size
        e.batches[i].probabilities = (
            probabilities.start + i * e.batch_size * m.n_classes * size)
    e.velocity = padded_velocity.start if v.held else NULL
    e.squares, e.magnitudes = <double *>squares.start, <double *>magnitudes.start
    split_minibatch(m, e.batch_size, 1)

    pad(m, w, m.coef)
    if v.held:
        pad(m, v, e.velocity)
    cdef size_t step = 0, n_steps = step_rates.length(0)
    try:
        while step < n_steps:
            with nogil:
                step = run_steps(&e, step, n_steps, n_threads)
            if not isfinite(e.objectives[step - 1]):
                break
            PyErr_CheckSignals()
    finally:
        unpad(m, m.coef, w)
        if v.held:
            unpad(m, e.velocity, v)
    return objectives[:step]


cdef void pad(const Minibatch *m, View coef, char *padded_coef) noexcept:
    m.kernels.pack(
        coef.start, coef.buffer.strides[1], coef.buffer.strides[0], m.n_features, m.n_classes,
        padded_coef, m.coef_stride)


cdef void unpad(const Minibatch *m, const char *padded_coef, View coef) noexcept:
    m.kernels.unpack(
        padded_coef, m.coef_stride, m.n_features, m.n_classes, coef.start, coef.buffer.strides[1],
        coef.buffer.strides[0])
