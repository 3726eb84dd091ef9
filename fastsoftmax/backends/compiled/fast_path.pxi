"""The usual calls of the loss core in one step: see `FastPaths` in protocol.py."""


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


cdef bint releases_gil(size_t n_rows, size_t n_classes) noexcept:
    """Whether a call is long enough for other threads of Python to run meanwhile."""
    return n_rows * n_classes >= MIN_ELEMENTS_TO_RELEASE


cdef ptrdiff_t mean_of_rows(Rows *rows, size_t n, int n_threads) noexcept nogil:
    """Put the mean into losses[0]: the compiler may compute what is only returned in the caller's state."""
    cdef float_state caller = float_state_enter()
    rows.scale = 1.0 / n
    cdef ptrdiff_t invalid = over_rows(rows, n, n_threads)
    rows.losses[0] = pairwise_sum(rows.losses, n) / n
    float_state_leave(&caller)
    return invalid


cdef object mean_of_usual(Arrays *arrays, dlogits, n_threads):
    """`mean_cross_entropy` of arrays that have been looked at; None where a label is out of range."""
    cdef size_t n = arrays.logits.shape[0], n_classes = arrays.logits.shape[1]
    cdef double[MAX_LOSSES_ON_STACK] few
    cdef Scratch many
    cdef Rows rows
    cdef ptrdiff_t invalid
    cdef int threads = 1
    rows.targets.labels = <const int64_t *>arrays.labels.buf
    if not all_below(rows.targets.labels, n, n_classes):
        return None
    if uses_threads_for_rows(n, n_classes):
        threads = resolve_n_threads(n_threads)
    rows.losses = few
    if n > MAX_LOSSES_ON_STACK:
        many = Scratch(n, 1, sizeof(double))
        rows.losses = <double *>many.start
    rows.function = cross_entropy_rows
    set_rows(
        &rows, chosen.float32 if arrays.logits.itemsize == 4 else chosen.float64,
        <const char *>arrays.logits.buf, n_classes, <char *>arrays.out.buf)
    rows.targets.probabilities, rows.targets.weights, rows.targets.n_classes = NULL, NULL, n_classes
    if releases_gil(n, n_classes):
        with nogil:
            invalid = mean_of_rows(&rows, n, threads)
    else:
        invalid = mean_of_rows(&rows, n, threads)
    return rows.losses[0], dlogits, invalid


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


cdef ptrdiff_t in_default_state(Rows *rows, size_t n, int n_threads) noexcept nogil:
    cdef float_state caller = float_state_enter()
    cdef ptrdiff_t invalid = over_rows(rows, n, n_threads)
    float_state_leave(&caller)
    return invalid


def map_rows(function, logits, axis, out, n_threads):
    cdef Py_buffer z, result
    cdef Rows rows
    cdef bint is_sum = function == "logsumexp"
    cdef size_t n_classes, n
    cdef int threads = 1, n_axes, last
    cdef ptrdiff_t invalid
    if type(logits) is not ndarray or (out is not None and type(out) is not ndarray):
        return None
    if n_threads is not None and (type(n_threads) is not int or n_threads < 1):
        return None
    if type(axis) is not int or not -2 < axis < 2:  # what fits into a C int
        return None
    last = axis
    memset(&z, 0, sizeof(z))
    memset(&result, 0, sizeof(result))
    try:
        PyObject_GetBuffer(logits, &z, PyBUF_STRIDES | PyBUF_FORMAT)
        n_axes = z.ndim
        if n_axes not in (1, 2) or not is_plain(&z, n_axes, b"fd"):
            return None
        if last != -1 and last != n_axes - 1:
            return None
        n_classes = z.shape[n_axes - 1]
        n = z.shape[0] if n_axes == 2 else 1
        if out is None:
            if is_sum and n_axes == 1:  # a number
                return None
            dtype = float32 if z.itemsize == 4 else float64
            if is_sum or n_axes == 1:
                out = ndarray(z.shape[0], dtype)
            else:
                out = ndarray((z.shape[0], z.shape[1]), dtype)
        PyObject_GetBuffer(out, &result, PyBUF_STRIDES | PyBUF_FORMAT)
        if result.readonly or not is_plain(&result, n_axes - is_sum, z.format):
            return None
        if n_axes - is_sum > 0 and result.shape[0] != z.shape[0]:
            return None
        if not is_sum and result.shape[n_axes - 1] != z.shape[n_axes - 1]:
            return None
        if overlap(&result, &z) and (is_sum or result.buf != z.buf):
            return None
        if uses_threads_for_rows(n, n_classes):
            threads = resolve_n_threads(n_threads)
        rows.function = logsumexp_rows
        if not is_sum:
            rows.function = softmax_rows if function == "softmax" else log_softmax_rows
        set_rows(
            &rows, chosen.float32 if z.itemsize == 4 else chosen.float64, <const char *>z.buf,
            n_classes, <char *>result.buf)
        if releases_gil(n, n_classes):
            with nogil:
                invalid = in_default_state(&rows, n, threads)
        else:
            invalid = in_default_state(&rows, n, threads)
        if invalid >= 0:
            return invalid
        return out
    except (BufferError, ValueError):
        return None
    finally:
        PyBuffer_Release(&z)
        PyBuffer_Release(&result)
