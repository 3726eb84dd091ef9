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
from cpython.pycapsule cimport PyCapsule_New
from libc.math cimport fabs, isfinite, isnan, log, sqrt
from libc.stdint cimport UINT8_MAX, int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset, strchr

from fastsoftmax._arrays.csr import SparseRows, steps_between_penalties
from fastsoftmax._arrays.threads import resolve_n_threads

from fastsoftmax.c_api cimport (
    FASTSOFTMAX_API_VERSION, FASTSOFTMAX_FLOAT32, FASTSOFTMAX_NO_MEMORY, fastsoftmax_api,
    fastsoftmax_linear, fastsoftmax_options, fastsoftmax_type, fastsoftmax_weights,
)
from fastsoftmax.backends.compiled.kernels cimport (
    CACHES_OF_ROWS, CACHE_LINE, CACHE_PERCENT, CHUNKS_PER_THREAD, CLASSES_PER_PASS,
    DEFAULT_CACHE_BYTES, FEATURES_PER_SUM, FEW_CLASSES, GRADIENT_FEATURES, INPUT_FLOAT16,
    INPUT_FLOAT32, INPUT_REAL, INPUT_UINT8, LOSS_ROWS_PER_BLOCK, MAX_CATCH_UP_STEPS, MAX_CHUNKS,
    MAX_LOSSES_ON_STACK, MAX_MOMENTS, MAX_MOMENT_CHUNKS, MAX_PACKED_LOSS_ROWS, MAX_PANELS,
    MAX_PASS_ROW_BYTES, MAX_PREDICTED_BYTES, MAX_ROWS_PER_SUM, MAX_SAMPLE_CHUNKS,
    MAX_SHORT_ROW_BYTES, MAX_SUMMED_ROWS, MAX_TRANSPOSED_CLASSES, MIN_ELEMENTS_FOR_THREADS,
    MIN_ELEMENTS_TO_RELEASE, MIN_LOGITS_FOR_THREADS, MIN_PRODUCTS_FOR_THREADS, MIN_ROWS_PER_CHUNK,
    MIN_ROWS_PER_MOMENT_CHUNK, MIN_SUMMED_ROWS, NO_ROWS, N_PHASES, PACKED_DLOGITS,
    PACKED_LOGITS_BYTES, PANEL_VECTORS, PHASE_CONVERT, PHASE_LOSS, PHASE_SCORES, PHASE_UPDATE,
    PIECE_GAP, PREDICTED_ROWS_PER_BLOCK, PRODUCTS_OF_A_CHUNK, PRODUCTS_OF_A_SAMPLE,
    PRODUCTS_PER_CHUNK, ROWS_AHEAD, SAMPLES_AHEAD, SAMPLES_PER_PASS, SAMPLES_PER_SLAB,
    SECOND_HALVES, SLABS_PER_TILE, SPARSE_ROWS_AHEAD, SPARSE_SLAB_VECTORS, SUMMED_BYTES, WHOLE_ROWS,
    blocks_view, float_state, float_state_enter, float_state_leave, input_dtype,
    instruction_set_row, kernel_table, logit_options, matrix_view, momentum_map, parts_view,
    penalty_prefix, phase_begin, phase_next, phase_totals, phases_of_thread, phases_start,
    phases_stop, platform_allocate, platform_cache_bytes, platform_fetch, platform_free,
    platform_guard, platform_nanoseconds, platform_seconds, pool, pool_begin, pool_end, pool_for,
    pool_thread_index, pool_threads, row_metrics, rows_ahead, rows_of_sets, rows_to_fetch,
    scaling_view, sgd_rule, sparse_row, sparse_weights, target_weights, targets_view, update_view,
    weights_view,
)


# No vector has more lanes.
cdef enum:
    MAX_LANES = 16

# No step algorithm has more buffers.
cdef enum:
    MAX_BUFFERS = 32

# An epoch is left so often to look for a pending signal, at the end of a step.
cdef double SECONDS_BETWEEN_SIGNALS = 0.03


cdef object ndarray = np.ndarray, float32 = np.dtype(np.float32), float64 = np.dtype(np.float64)

ctypedef fused real:
    float
    double

ctypedef fused other_real:
    float
    double

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


cdef class FloatState:
    """The floating-point state that results must not depend on: see csrc/runtime/float_state.h.

    Every function here that computes calls `set` first in each block without the GIL, since a signal's
    handler may have run between two of them. The caller's state comes back with the end of a `with` block,
    or with that of the object.
    """

    cdef float_state caller
    cdef bint is_set

    cdef void set(self) noexcept nogil:
        cdef float_state now = float_state_enter()
        if not self.is_set:
            self.caller, self.is_set = now, True

    cdef void restore(self) noexcept nogil:
        if self.is_set:
            float_state_leave(&self.caller)
            self.is_set = False

    def __enter__(self):
        self.set()

    def __exit__(self, kind, error, traceback):
        self.restore()

    def __dealloc__(self):
        self.restore()


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
    """Labels or rows of probabilities, and the arrays of a `TargetWeights`, or None."""

    cdef View targets, rows, classes, upstream
    cdef target_weights weights
    cdef targets_view view

    def __cinit__(self, targets, weights, size_t n_classes):
        self.targets = View(targets)
        self.view.labels, self.view.probabilities, self.view.weights = NULL, NULL, NULL
        self.view.n_classes = n_classes
        if self.targets.buffer.ndim == 1:
            self.view.labels = <const int64_t *>self.targets.start
        else:
            self.view.probabilities = self.targets.start
        if weights is not None:
            self.rows, self.classes = View(weights.rows), View(weights.classes)
            self.weights.rows = <const double *>self.rows.start
            self.weights.classes = self.classes.start
            self.upstream = View(weights.upstream)
            self.weights.upstream = <const double *>self.upstream.start
            self.weights.smoothing = weights.smoothing
            self.view.weights = &self.weights


cdef struct RowTargets:
    # the targets of some of the rows, and the weights that they point at
    targets_view view
    target_weights weights


cdef const targets_view *targets_from(
    const targets_view *targets, size_t first, size_t element_size, RowTargets *shifted
) noexcept nogil:
    """Return the targets of the rows from `first` on."""
    shifted.view = targets[0]
    if targets.labels != NULL:
        shifted.view.labels += first
    else:
        shifted.view.probabilities = (
            <const char *>targets.probabilities + first * targets.n_classes * element_size)
    if targets.weights != NULL:
        shifted.weights = targets.weights[0]
        if targets.weights.rows != NULL:
            shifted.weights.rows += first
        if targets.weights.upstream != NULL:
            shifted.weights.upstream += first
        shifted.view.weights = &shifted.weights
    return &shifted.view


cdef no_memory(double size):
    """A MemoryError that says how many bytes were asked for."""
    unit = "bytes"
    for larger in ("kB", "MB", "GB", "TB"):
        if size < 1000:
            break
        size, unit = size / 1000, larger
    return MemoryError(f"cannot allocate {size:.3g} {unit} for the compiled kernels to work in")


cdef char *allocate_or_null(size_t n_rows, size_t n_columns, size_t item_size) noexcept nogil:
    """Return memory that is aligned to a cache line, or NULL."""
    cdef size_t most = (<size_t>-1) // 2 // item_size
    if n_rows == 0 or n_columns <= most // n_rows:
        return <char *>platform_allocate(n_rows * n_columns * item_size)
    return NULL


cdef char *allocate(size_t n_rows, size_t n_columns, size_t item_size) except NULL:
    """Return memory that is aligned to a cache line."""
    cdef char *start = allocate_or_null(n_rows, n_columns, item_size)
    if start == NULL:
        raise no_memory(<double>n_rows * n_columns * item_size)
    return start


cdef class Scratch:
    """Memory that is freed with the object, aligned to a cache line."""

    cdef char *start

    def __cinit__(self, size_t n_rows, size_t n_columns, size_t item_size):
        self.start = allocate(n_rows, n_columns, item_size)

    def __dealloc__(self):
        platform_free(self.start)


cdef class Buffers:
    """Pieces of memory as of `Scratch`, all freed with the object."""

    cdef char *pieces[MAX_BUFFERS]
    cdef size_t n_pieces

    cdef char *take(self, size_t n_rows, size_t n_columns, size_t item_size) except NULL:
        if self.n_pieces == MAX_BUFFERS:
            raise AssertionError("no room for another buffer")
        self.pieces[self.n_pieces] = allocate(n_rows, n_columns, item_size)
        self.n_pieces += 1
        return self.pieces[self.n_pieces - 1]

    cdef char *take_zeros(self, size_t n_bytes) except NULL:
        return <char *>memset(self.take(n_bytes, 1, 1), 0, n_bytes)

    def __dealloc__(self):
        cdef size_t i
        for i in range(self.n_pieces):
            platform_free(self.pieces[i])


cdef struct Memory:
    # Memory as of `Scratch`, for code that holds no Python object: begin_memory, ask_for each piece,
    # take_memory; free_memory at last. It is one block: huge pages are worth more than to many small ones.
    char *block
    char **pieces[MAX_BUFFERS]  # where the address of each goes
    size_t offsets[MAX_BUFFERS]
    size_t n_pieces, n_bytes


cdef void begin_memory(Memory *memory) noexcept nogil:
    memory.block = NULL
    memory.n_pieces = memory.n_bytes = 0


cdef void ask_for(
    Memory *memory, char **piece, size_t n_rows, size_t n_columns, size_t item_size
) noexcept nogil:
    """Ask for memory whose address, aligned to a cache line, take_memory writes to `piece`."""
    cdef size_t most = (<size_t>-1) // 4 // item_size, n_bytes = most * item_size
    if n_rows == 0 or n_columns <= most // n_rows:
        n_bytes = n_rows * n_columns * item_size
    memory.pieces[memory.n_pieces], memory.offsets[memory.n_pieces] = piece, memory.n_bytes
    memory.n_pieces += 1
    n_bytes = memory.n_bytes + padded(n_bytes, CACHE_LINE) + PIECE_GAP
    memory.n_bytes = min(n_bytes, (<size_t>-1) // 4 // CACHE_LINE * CACHE_LINE)


cdef bint take_memory(Memory *memory) noexcept nogil:
    """Return whether there is room for all pieces."""
    cdef size_t i
    memory.block = allocate_or_null(memory.n_bytes, 1, 1)
    if memory.block == NULL:
        return False
    for i in range(memory.n_pieces):
        memory.pieces[i][0] = memory.block + memory.offsets[i]
        platform_guard(memory.block + (
            memory.offsets[i + 1] if i + 1 < memory.n_pieces else memory.n_bytes) - PIECE_GAP)
    return True


cdef void free_memory(Memory *memory) noexcept nogil:
    platform_free(memory.block)
    memory.block = NULL


cdef size_t padded(size_t n, size_t lanes) noexcept nogil:
    return (n + lanes - 1) // lanes * lanes


cdef struct Split:
    # `n_items` in chunks of `size`, the last one smaller; at least one, which may be empty
    size_t n_items, size, n_chunks


cdef Split split(size_t n_items, size_t multiple, int n_threads) noexcept nogil:
    """Some chunks a thread, so that a slow one can be made up for; each a multiple of `multiple`."""
    cdef Split s
    cdef size_t wanted = min(<size_t>n_threads * CHUNKS_PER_THREAD, <size_t>MAX_CHUNKS)
    s.n_items = n_items
    s.size = max(padded((n_items + wanted - 1) // wanted, multiple), multiple)
    s.n_chunks = max((n_items + s.size - 1) // s.size, <size_t>1)
    return s


cdef Split in_chunks(size_t n_items, size_t size) noexcept nogil:
    cdef Split s
    s.n_items, s.size, s.n_chunks = n_items, size, (n_items + size - 1) // size
    return s


cdef size_t length_of(const Split *s, size_t chunk) noexcept nogil:
    return min(s.size, s.n_items - chunk * s.size)


cdef struct RowOptions:
    # the options of some rows; whether there are any
    logit_options view
    size_t scratch_size  # of a chunk, in bytes
    bint given


cdef class Options:
    """A `LogitOptions`, or None; the memory that the kernel uses is taken where the rows are split."""

    cdef View mask, lse, lse_upstream, argmax, top_k_correct, label_log_prob, entropy
    cdef RowOptions rows

    def __cinit__(self, options, double scale, size_t n_classes):
        cdef logit_options *view = &self.rows.view
        self.rows.given = options is not None
        if not self.rows.given:
            return
        self.mask, self.lse = View(options.mask), View(options.lse, True)
        self.lse_upstream = View(options.lse_upstream)
        view.scale, view.temperature, view.softcap = scale, options.temperature, options.softcap
        view.z_loss, view.mask, view.mask_stride = options.z_loss, <const uint8_t *>self.mask.start, 0
        view.lse, view.lse_upstream = <double *>self.lse.start, <const double *>self.lse_upstream.start
        if self.mask.held and self.mask.buffer.ndim == 2:
            view.mask_stride = n_classes
        memset(&view.metrics, 0, sizeof(view.metrics))
        if options.metrics is not None:
            self.set_metrics(options.metrics, options.top_k)

    cdef set_metrics(self, metrics, size_t top_k):
        cdef row_metrics *view = &self.rows.view.metrics
        self.argmax, self.top_k_correct = View(metrics.argmax, True), View(metrics.top_k_correct, True)
        self.label_log_prob, self.entropy = View(metrics.label_log_prob, True), View(metrics.entropy, True)
        view.argmax = <int64_t *>self.argmax.start
        view.top_k_correct = <uint8_t *>self.top_k_correct.start
        view.label_log_prob = <double *>self.label_log_prob.start
        view.entropy, view.top_k = <double *>self.entropy.start, top_k


cdef void ask_for_option_scratch(
    Memory *memory, RowOptions *options, size_t n_classes, size_t item_size, size_t n_chunks
) noexcept nogil:
    """Ask for what rows are computed in, in up to `n_chunks` chunks at a time, if options are given."""
    cdef logit_options *view = &options.view
    if not options.given:
        return
    view.scratch_width = max(n_classes, <size_t>(MAX_LANES * MAX_TRANSPOSED_CLASSES))
    options.scratch_size = padded(
        (4 if view.mask != NULL else 2) * view.scratch_width * item_size, CACHE_LINE)
    ask_for(memory, <char **>&view.scratch, n_chunks, options.scratch_size, 1)


cdef RowOptions options_from(const RowOptions *options, size_t first) noexcept nogil:
    """Return the options of the rows from `first` on."""
    cdef RowOptions shifted = options[0]
    cdef row_metrics *metrics = &shifted.view.metrics
    if not shifted.given:
        return shifted
    if shifted.view.mask != NULL:
        shifted.view.mask += first * shifted.view.mask_stride
    if shifted.view.lse != NULL:
        shifted.view.lse += first
    if shifted.view.lse_upstream != NULL:
        shifted.view.lse_upstream += first
    if metrics.argmax != NULL:
        metrics.argmax += first
    if metrics.top_k_correct != NULL:
        metrics.top_k_correct += first
    if metrics.label_log_prob != NULL:
        metrics.label_log_prob += first
    if metrics.entropy != NULL:
        metrics.entropy += first
    return shifted


cdef ptrdiff_t losses_with_options(
    const kernel_table *kernels, const void *logits, size_t stride, size_t n,
    const targets_view *targets, const RowOptions *options, size_t first, size_t chunk,
    double *losses, void *dlogits, size_t dlogits_stride
) noexcept nogil:
    """Losses and gradients of n rows, whose options begin with row `first`, in the scratch of a chunk."""
    cdef RowOptions shifted = options_from(options, first)
    shifted.view.scratch = <char *>shifted.view.scratch + chunk * shifted.scratch_size
    return kernels.cross_entropy_with_options(
        logits, stride, n, targets, &shifted.view, losses, dlogits, dlogits_stride)


include "timers.pxi"
include "softmax.pxi"
include "fast_path.pxi"
include "c_api.pxi"
include "linear_loss.pxi"
include "column_moments.pxi"
include "conversion.pxi"
include "inverse_factor.pxi"
include "solver_vectors.pxi"
include "newton_direction.pxi"
include "coordinate_descent.pxi"
include "step_algorithm.pxi"
include "step_short_rows.pxi"
include "step_panels.pxi"
include "step_packed.pxi"
include "step_sparse.pxi"
include "epoch.pxi"
include "linear_loss_packed.pxi"
include "linear_loss_labels.pxi"
include "linear_scores.pxi"
include "transposed_product.pxi"
