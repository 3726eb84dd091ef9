"""The compiled backend: minibatches and epochs over the C kernels, without the GIL.

One code for float32 and float64: arrays come in through the buffer protocol as untyped pointers, and the
table of kernels of their type does the arithmetic. (Fused types and memoryviews would compile all of
this twice and cost some microseconds a call.)
"""

import os

import numpy as np

from cpython.buffer cimport (
    Py_buffer, PyBUF_STRIDES, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer,
)
from cpython.exc cimport PyErr_CheckSignals
from libc.math cimport NAN, isnan
from libc.stdint cimport int64_t
from libc.string cimport memcpy


cdef extern from "platform.h" nogil:
    void *platform_allocate(size_t n_bytes)
    void platform_free(void *memory)
    double platform_seconds()


cdef extern from "kernels.h" nogil:
    struct step_rule "rule":
        double rate, l2, l1, momentum
        int nesterov

    struct kernel_table "kernels":
        size_t lanes, element_size
        ptrdiff_t (*softmax)(const void *logits, size_t n_rows, size_t n_classes, void *out) noexcept nogil
        ptrdiff_t (*log_softmax)(const void *logits, size_t n_rows, size_t n_classes, void *out) noexcept nogil
        void (*logsumexp)(const void *logits, size_t n_rows, size_t n_classes, void *out) noexcept nogil
        ptrdiff_t (*cross_entropy)(
            const void *logits, size_t stride, size_t n_rows, size_t n_classes,
            const int64_t *labels, const void *probabilities, double scale, double *losses,
            void *dlogits, size_t dlogits_stride) noexcept nogil
        void (*pack)(
            const void *W, ptrdiff_t feature_stride, ptrdiff_t class_stride, size_t n_features,
            size_t n_classes, void *coef, size_t coef_stride) noexcept nogil
        void (*unpack)(
            const void *coef, size_t coef_stride, size_t n_features, size_t n_classes, void *W,
            ptrdiff_t feature_stride, ptrdiff_t class_stride) noexcept nogil
        void (*scores)(
            const void **rows, size_t n_rows, size_t n_features, const void *coef,
            size_t coef_stride, size_t n_classes, const void *intercept, void *logits,
            size_t logits_stride) noexcept nogil
        void (*outer_sum)(
            const void **rows, size_t n_rows, size_t first, size_t n_features, const void *g,
            size_t g_row_stride, size_t g_column_stride, size_t n_columns, int add_to_out,
            void *out, size_t out_stride) noexcept nogil
        void (*update)(
            const void **rows, size_t n_rows, size_t first, size_t n_features,
            const void *dlogits, size_t dlogits_stride, size_t n_classes, const step_rule *rule,
            void *coef, void *velocity, size_t coef_stride, double *squares, double *magnitudes) noexcept nogil
        void (*column_sums)(
            const void *g, size_t stride, size_t n_rows, size_t n_columns, int add_to_out,
            void *out) noexcept nogil
        void (*update_intercept)(
            const void *dlogits, size_t stride, size_t n_rows, size_t n_classes,
            const step_rule *rule, void *intercept, void *velocity) noexcept nogil
        double (*penalty)(const void *weights, size_t n, double l2, double l1, void *gradient) noexcept nogil

    struct instruction_set_row "instruction_set":
        const char *name
        int (*is_supported)() noexcept nogil
        const kernel_table *float32
        const kernel_table *float64

    const instruction_set_row *rows_of_sets "instruction_sets"


# Rows of X that `linear_cross_entropy` takes at once: their logits stay in the cache.
cdef enum:
    ROWS_AT_ONCE = 256

# An epoch is left so often to look for a pending signal, at the end of a step.
cdef double SECONDS_BETWEEN_SIGNALS = 0.03


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

    cdef size_t length(self, int axis) noexcept:
        return <size_t>self.buffer.shape[axis]

    cdef const kernel_table *kernels(self) noexcept:
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

    def __cinit__(self, size_t n_items, size_t item_size):
        if item_size and n_items > (<size_t>-1) // 2 // item_size:
            raise MemoryError
        self.start = <char *>platform_allocate(n_items * item_size)
        if self.start == NULL:
            raise MemoryError

    def __dealloc__(self):
        platform_free(self.start)


cdef size_t padded(size_t n, size_t lanes) noexcept nogil:
    return (n + lanes - 1) // lanes * lanes


def softmax(logits, out, n_threads):
    cdef View z = View(logits), p = View(out, True)
    cdef const kernel_table *kernels = z.kernels()
    cdef size_t n_rows = z.length(0), n_classes = z.length(1)
    cdef ptrdiff_t invalid
    with nogil:
        invalid = kernels.softmax(z.start, n_rows, n_classes, p.start)
    return invalid


def log_softmax(logits, out, n_threads):
    cdef View z = View(logits), log_p = View(out, True)
    cdef const kernel_table *kernels = z.kernels()
    cdef size_t n_rows = z.length(0), n_classes = z.length(1)
    cdef ptrdiff_t invalid
    with nogil:
        invalid = kernels.log_softmax(z.start, n_rows, n_classes, log_p.start)
    return invalid


def logsumexp(logits, out, n_threads):
    cdef View z = View(logits), lse = View(out, True)
    cdef const kernel_table *kernels = z.kernels()
    cdef size_t n_rows = z.length(0), n_classes = z.length(1)
    with nogil:
        kernels.logsumexp(z.start, n_rows, n_classes, lse.start)


def softmax_cross_entropy(logits, targets, double scale, losses, dlogits, n_threads):
    cdef View z = View(logits), loss = View(losses, True), dz = View(dlogits, True)
    cdef Targets t = Targets(targets)
    cdef const kernel_table *kernels = z.kernels()
    cdef size_t n_rows = z.length(0), n_classes = z.length(1)
    cdef ptrdiff_t invalid
    with nogil:
        invalid = kernels.cross_entropy(
            z.start, n_classes, n_rows, n_classes, t.labels, t.probabilities, scale,
            <double *>loss.start, dz.start, n_classes)
    return invalid


def penalty(W, double l2, double l1, gradient, n_threads):
    cdef View w = View(W), g = View(gradient, True)
    cdef const kernel_table *kernels = w.kernels()
    cdef size_t n = w.length(0)
    cdef double value
    with nogil:
        value = kernels.penalty(w.start, n, l2, l1, g.start)
    return value


def linear_cross_entropy(
    X, W, intercept, targets, double scale, losses, dW, dintercept, dX, n_threads
):
    cdef View x = View(X), w = View(W), b = View(intercept), loss = View(losses, True)
    cdef View dw = View(dW, True), db = View(dintercept, True), dx = View(dX, True)
    cdef Targets t = Targets(targets)
    cdef const kernel_table *kernels = x.kernels()
    cdef size_t size = kernels.element_size, lanes = kernels.lanes
    cdef size_t n_rows = x.length(0), n_features = x.length(1), n_classes = w.length(1)
    cdef size_t stride = padded(n_features, lanes)
    cdef Scratch coef = Scratch(n_classes * stride, size)
    cdef Scratch dcoef = Scratch(n_classes * stride if dw.held else 0, size)
    cdef Scratch dlogits = Scratch(ROWS_AT_ONCE * n_classes, size)
    cdef Scratch row_starts = Scratch(max(ROWS_AT_ONCE, n_classes), sizeof(void *))
    cdef const void **rows = <const void **>row_starts.start
    cdef size_t block, first, n, i, strip
    cdef ptrdiff_t invalid = -1
    cdef bint later
    with nogil:
        kernels.pack(
            w.start, w.buffer.strides[0], w.buffer.strides[1], n_features, n_classes, coef.start,
            stride)
        for block in range((n_rows + ROWS_AT_ONCE - 1) // ROWS_AT_ONCE):
            first = block * ROWS_AT_ONCE
            n = min(<size_t>ROWS_AT_ONCE, n_rows - first)
            later = block > 0
            for i in range(n):
                rows[i] = x.start + (first + i) * n_features * size
            kernels.scores(
                rows, n, n_features, coef.start, stride, n_classes, b.start, dlogits.start,
                n_classes)
            invalid = kernels.cross_entropy(
                dlogits.start, n_classes, n, n_classes,
                t.labels + first if t.labels != NULL else NULL,
                t.probabilities + first * n_classes * size if t.probabilities != NULL else NULL,
                scale, <double *>loss.start + first, dlogits.start, n_classes)
            if invalid >= 0:
                invalid += <ptrdiff_t>first
                break
            if db.held:
                kernels.column_sums(dlogits.start, n_classes, n, n_classes, later, db.start)
            if dw.held:
                for strip in range(stride // lanes):
                    kernels.outer_sum(
                        rows, n, strip * lanes, n_features, dlogits.start, n_classes, 1, n_classes, later,
                        dcoef.start, stride)
            if dx.held:
                # dX = dlogits @ W.T: the same sum, over classes instead of samples
                for i in range(n_classes):
                    rows[i] = coef.start + i * stride * size
                for strip in range(stride // lanes):
                    kernels.outer_sum(
                        rows, n_classes, strip * lanes, n_features, dlogits.start, 1, n_classes, n, False,
                        dx.start + first * n_features * size, n_features)
        if invalid < 0 and dw.held:
            kernels.unpack(
                dcoef.start, stride, n_features, n_classes, dw.start, dw.buffer.strides[0],
                dw.buffer.strides[1])
    return invalid


cdef struct Epoch:
    const kernel_table *kernels
    # the data, where they lie
    const char *X
    ptrdiff_t row_stride
    size_t n_features, n_classes
    const int64_t *labels
    const char *probabilities
    const int64_t *order
    size_t n_samples, batch_size
    # the model
    step_rule rule
    char *coef
    char *velocity
    size_t coef_stride
    char *intercept
    char *intercept_velocity
    const double *rates
    double *objectives
    # of one minibatch: where its rows start, its targets, logits that become their gradient, losses
    const void **rows
    int64_t *batch_labels
    char *batch_probabilities
    char *dlogits
    double *losses
    # of every strip of features
    double *squares
    double *magnitudes


cdef size_t gather(Epoch *e, size_t step) noexcept nogil:
    """Point at the rows of a minibatch and copy its targets; returns how many there are."""
    cdef size_t first = step * e.batch_size, i
    cdef size_t n = min(e.batch_size, e.n_samples - first)
    cdef size_t row_size = e.n_classes * e.kernels.element_size
    cdef int64_t sample
    for i in range(n):
        sample = e.order[first + i]
        e.rows[i] = e.X + sample * e.row_stride
        if e.labels != NULL:
            e.batch_labels[i] = e.labels[sample]
        else:
            memcpy(
                e.batch_probabilities + i * row_size, e.probabilities + sample * row_size, row_size)
    return n


cdef bint forward(Epoch *e, size_t n) noexcept nogil:
    """Losses and gradient of the logits; false where a row has no softmax."""
    e.kernels.scores(
        e.rows, n, e.n_features, e.coef, e.coef_stride, e.n_classes, e.intercept, e.dlogits,
        e.n_classes)
    return e.kernels.cross_entropy(
        e.dlogits, e.n_classes, n, e.n_classes, e.batch_labels, e.batch_probabilities, 1.0 / n,
        e.losses, e.dlogits, e.n_classes) < 0


cdef double backward(Epoch *e, size_t n) noexcept nogil:
    """Update the model; returns the penalty before the update."""
    cdef size_t lanes = e.kernels.lanes, strip
    cdef double squares = 0, magnitudes = 0
    for strip in range(e.coef_stride // lanes):
        e.kernels.update(
            e.rows, n, strip * lanes, e.n_features, e.dlogits, e.n_classes, e.n_classes, &e.rule, e.coef,
            e.velocity, e.coef_stride, e.squares + strip, e.magnitudes + strip)
        squares += e.squares[strip]
        magnitudes += e.magnitudes[strip]
    if e.intercept != NULL:
        e.kernels.update_intercept(
            e.dlogits, e.n_classes, n, e.n_classes, &e.rule, e.intercept, e.intercept_velocity)
    return e.rule.l2 * squares + e.rule.l1 * magnitudes


cdef size_t run_steps(Epoch *e, size_t step, size_t n_steps) noexcept nogil:
    """Take steps until the last, an objective that is not finite, or the time to look for signals.

    Returns the number of the step after the last whole one.
    """
    cdef double deadline = platform_seconds() + SECONDS_BETWEEN_SIGNALS
    cdef double sum_of_losses
    cdef size_t n, i
    while step < n_steps:
        n = gather(e, step)
        if not forward(e, n):
            e.objectives[step] = NAN
            return step + 1
        sum_of_losses = 0
        for i in range(n):
            sum_of_losses += e.losses[i]
        e.rule.rate = e.rates[step]
        e.objectives[step] = sum_of_losses / n + backward(e, n)
        step += 1
        if platform_seconds() > deadline:
            break
    return step


def sgd_epoch(data, state, rule, order, size_t batch_size, rates, n_threads):
    cdef View x = View(data.X), indices = View(order), step_rates = View(rates)
    cdef Targets t = Targets(data.targets)
    coef, intercept, coef_velocity, intercept_velocity = state
    cdef View w = View(coef, True), v = View(coef_velocity, True)
    cdef View b = View(intercept, True), bv = View(intercept_velocity, True)
    objectives = np.empty(len(rates))
    cdef View objective_view = View(objectives, True)
    cdef Epoch e
    e.kernels = x.kernels()
    e.X = x.start
    e.row_stride = x.buffer.strides[0]
    e.n_features = x.length(1)
    e.n_classes = w.length(0)
    e.labels = t.labels
    e.probabilities = t.probabilities
    e.order = <const int64_t *>indices.start
    e.n_samples = indices.length(0)
    e.batch_size = min(batch_size, e.n_samples)
    e.rule.l2, e.rule.l1, e.rule.momentum, e.rule.nesterov = rule
    e.intercept = b.start
    e.intercept_velocity = bv.start
    e.rates = <const double *>step_rates.start
    e.objectives = <double *>objective_view.start
    cdef size_t size = e.kernels.element_size
    e.coef_stride = padded(e.n_features, e.kernels.lanes)
    cdef size_t n_strips = e.coef_stride // e.kernels.lanes
    cdef Scratch padded_coef = Scratch(e.n_classes * e.coef_stride, size)
    cdef Scratch padded_velocity = Scratch(e.n_classes * e.coef_stride if v.held else 0, size)
    cdef Scratch rows = Scratch(e.batch_size, sizeof(void *))
    cdef Scratch labels = Scratch(e.batch_size, sizeof(int64_t))
    cdef Scratch probabilities = Scratch(0 if t.labels != NULL else e.batch_size * e.n_classes, size)
    cdef Scratch dlogits = Scratch(e.batch_size * e.n_classes, size)
    cdef Scratch losses = Scratch(e.batch_size, sizeof(double))
    cdef Scratch squares = Scratch(n_strips, sizeof(double))
    cdef Scratch magnitudes = Scratch(n_strips, sizeof(double))
    e.coef = padded_coef.start
    e.velocity = padded_velocity.start if v.held else NULL
    e.rows = <const void **>rows.start
    e.batch_labels = <int64_t *>labels.start if t.labels != NULL else NULL
    e.batch_probabilities = probabilities.start if t.labels == NULL else NULL
    e.dlogits = dlogits.start
    e.losses = <double *>losses.start
    e.squares = <double *>squares.start
    e.magnitudes = <double *>magnitudes.start

    pad(&e, w, e.coef)
    if v.held:
        pad(&e, v, e.velocity)
    cdef size_t step = 0, n_steps = step_rates.length(0)
    try:
        while step < n_steps:
            with nogil:
                step = run_steps(&e, step, n_steps)
            if isnan(e.objectives[step - 1]) or e.objectives[step - 1] - e.objectives[step - 1] != 0:
                break
            PyErr_CheckSignals()
    finally:
        unpad(&e, e.coef, w)
        if v.held:
            unpad(&e, e.velocity, v)
    return objectives[:step]


cdef void pad(Epoch *e, View coef, char *padded_coef) noexcept:
    e.kernels.pack(
        coef.start, coef.buffer.strides[1], coef.buffer.strides[0], e.n_features, e.n_classes,
        padded_coef, e.coef_stride)


cdef void unpad(Epoch *e, const char *padded_coef, View coef) noexcept:
    e.kernels.unpack(
        padded_coef, e.coef_stride, e.n_features, e.n_classes, coef.start, coef.buffer.strides[1],
        coef.buffer.strides[0])
