"""Sums over the columns of X: with their squares, for mean and spread, and of each class."""


cdef input_dtype input_dtype_of(View x, size_t real_size) noexcept:
    """What the elements of X are, by their size: validated to be one of these."""
    cdef size_t size = x.buffer.itemsize
    if size == real_size:
        return INPUT_REAL
    return INPUT_UINT8 if size == 1 else INPUT_FLOAT16 if size == 2 else INPUT_FLOAT32


cdef struct Moments:
    const char *X
    ptrdiff_t row_stride
    input_dtype number
    size_t n_features
    const double *origin
    double *sums  # of every chunk, and then its squares
    Split rows


cdef void moments_chunk(void *context, size_t chunk) noexcept nogil:
    cdef Moments *m = <Moments *>context
    cdef double *sums = m.sums + 2 * chunk * m.n_features
    memset(sums, 0, 2 * m.n_features * sizeof(double))
    cdef const kernel_table *kernels = chosen.float32 if m.number == INPUT_UINT8 else chosen.float64
    kernels.moments(
        m.X + <ptrdiff_t>(chunk * m.rows.size) * m.row_stride, m.row_stride,
        length_of(&m.rows, chunk), m.n_features, m.number, m.origin, sums, sums + m.n_features)


def column_moments(X, origin, sums, squares, int n_threads):
    cdef View x = View(X), start = View(origin), total = View(sums, True), square = View(squares, True)
    cdef Moments m
    m.X, m.row_stride, m.number = x.start, x.buffer.strides[0], input_dtype_of(x, sizeof(double))
    m.n_features, m.origin = x.length(1), <const double *>start.start
    # The chunks follow from the shape alone, and so do the bits.
    cdef size_t wanted = MAX_MOMENTS // (2 * m.n_features)
    wanted = min(max(wanted, <size_t>4), <size_t>MAX_MOMENT_CHUNKS)
    m.rows.n_items = x.length(0)
    m.rows.size = max((m.rows.n_items + wanted - 1) // wanted, <size_t>MIN_ROWS_PER_MOMENT_CHUNK)
    m.rows.n_chunks = (m.rows.n_items + m.rows.size - 1) // m.rows.size
    cdef Scratch scratch = Scratch(2 * m.rows.n_chunks, m.n_features, sizeof(double))
    m.sums = <double *>scratch.start
    cdef double *all_sums = <double *>total.start
    cdef double *all_squares = <double *>square.start
    cdef pool *helpers = NULL
    cdef const double *of_chunk
    cdef size_t chunk, j
    cdef FloatState floats = FloatState()
    with nogil:
        floats.set()
        if m.rows.n_items * m.n_features >= MIN_ELEMENTS_FOR_THREADS:
            helpers = pool_begin(n_threads)
        pool_for(helpers, moments_chunk, &m, m.rows.n_chunks)
        pool_end(helpers)
        for chunk in range(m.rows.n_chunks):
            of_chunk = m.sums + 2 * chunk * m.n_features
            for j in range(m.n_features):
                all_sums[j] = of_chunk[j] + (all_sums[j] if chunk else 0)
                all_squares[j] = of_chunk[m.n_features + j] + (all_squares[j] if chunk else 0)


cdef void add_rows_by_class(
    const real *first, size_t row_stride, const int64_t *labels, const double *weights, double *sums,
    size_t n_rows, size_t n_features, size_t n_columns,
) noexcept nogil:
    """Add columns of rows to those of their classes; `n_features` is the length of a row of `sums`."""
    cdef size_t i, j
    cdef const real *x = first
    cdef double *total
    cdef double weight
    for i in range(n_rows):
        total = sums + labels[i] * n_features
        if weights == NULL:
            for j in range(n_columns):
                total[j] += x[j]
        else:
            weight = weights[i]
            for j in range(n_columns):
                total[j] += weight * x[j]
        x = <const real *>(<const char *>x + row_stride)


cdef struct RowsByClass:
    const char *X
    size_t row_stride, item_size, n_rows
    const int64_t *labels
    const double *weights
    double *sums
    Split columns


cdef void class_sums_chunk(void *context, size_t chunk) noexcept nogil:
    cdef RowsByClass *r = <RowsByClass *>context
    cdef size_t first = chunk * r.columns.size, n = length_of(&r.columns, chunk)
    cdef const char *x = r.X + first * r.item_size
    if r.item_size == sizeof(float):
        add_rows_by_class(
            <const float *>x, r.row_stride, r.labels, r.weights, r.sums + first, r.n_rows,
            r.columns.n_items, n)
    else:
        add_rows_by_class(
            <const double *>x, r.row_stride, r.labels, r.weights, r.sums + first, r.n_rows,
            r.columns.n_items, n)


def add_class_sums(X, labels, weights, sums, int n_threads):
    cdef View x = View(X), classes = View(labels), of_rows = View(weights), total = View(sums, True)
    cdef RowsByClass r
    r.X, r.row_stride, r.item_size = x.start, x.buffer.strides[0], x.buffer.itemsize
    r.n_rows, r.labels = x.length(0), <const int64_t *>classes.start
    r.weights, r.sums = <const double *>of_rows.start, <double *>total.start
    cdef pool *helpers = NULL
    cdef FloatState floats = FloatState()
    with nogil:
        floats.set()
        # Each column is added by one thread, in the order of the rows, in one long piece a thread.
        r.columns.n_items = x.length(1)
        r.columns.size = max(padded((x.length(1) + n_threads - 1) // n_threads, 16), <size_t>16)
        r.columns.n_chunks = (x.length(1) + r.columns.size - 1) // r.columns.size
        if r.n_rows * x.length(1) >= MIN_ELEMENTS_FOR_THREADS:
            helpers = pool_begin(n_threads)
        pool_for(helpers, class_sums_chunk, &r, r.columns.n_chunks)
        pool_end(helpers)
