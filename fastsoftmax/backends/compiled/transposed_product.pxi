"""`transposed_product`, A' B: the sum over rows of outer products, as the gradient of the weights is.

Sums over some rows are in the compute dtype, and are added in float64, in order. Which rows follows from
the shape alone, and so do the bits.
"""


cdef struct RowSums:
    # out = wide' narrow, by chunks of rows, each with a sum of its own (n_narrow, n_wide)
    const kernel_table *kernels
    const char *wide
    const char *narrow
    size_t n_wide, n_narrow, stride
    Split rows
    size_t rows_per_block
    size_t first, n_chunks  # of this round
    char *sums
    double *out
    ptrdiff_t wide_step, narrow_step  # in out


cdef double number(const char *start, size_t i, size_t size) noexcept nogil:
    return (<const float *>start)[i] if size == sizeof(float) else (<const double *>start)[i]


cdef void row_sums_chunk(void *context, size_t chunk) noexcept nogil:
    cdef const RowSums *s = <const RowSums *>context
    cdef size_t size = s.kernels.element_size, i, n, j
    cdef size_t first = (s.first + chunk) * s.rows.size
    cdef size_t end = first + length_of(&s.rows, s.first + chunk)
    cdef char *out = s.sums + chunk * s.n_narrow * s.stride * size
    cdef const void *rows[MAX_SUMMED_ROWS]
    cdef matrix_view factors
    cdef bint add = False
    factors.n_columns, factors.row_stride, factors.column_stride = s.n_narrow, s.n_narrow, 1
    while first < end:
        n = min(s.rows_per_block, end - first)
        for i in range(n):
            rows[i] = s.wide + (first + i) * s.n_wide * size
        factors.start = s.narrow + first * s.n_narrow * size
        j = 0
        while j < s.n_wide:
            s.kernels.outer_sum(rows, n, j, s.n_wide, &factors, add, out, s.stride)
            j += s.kernels.lanes
        first += n
        add = True


cdef void add_sums_chunk(void *context, size_t chunk) noexcept nogil:
    """Add the sums of the chunks of this round to a column of `narrow`."""
    cdef const RowSums *s = <const RowSums *>context
    cdef size_t size = s.kernels.element_size, j, of_rows
    cdef const char *sums = s.sums + chunk * s.stride * size
    cdef double *out = s.out + <ptrdiff_t>chunk * s.narrow_step
    cdef double total
    for j in range(s.n_wide):
        total = out[<ptrdiff_t>j * s.wide_step]
        for of_rows in range(s.n_chunks):
            total += number(sums, of_rows * s.n_narrow * s.stride + j, size)
        out[<ptrdiff_t>j * s.wide_step] = total


cdef narrow_product(View a, View b, double *out, int n_threads):
    cdef RowSums s
    cdef size_t n_left = a.length(1), n_right = b.length(1), n_rows = a.length(0), size
    s.kernels, s.out = a.kernels(), out
    size = s.kernels.element_size
    if n_left >= n_right:
        s.wide, s.narrow, s.n_wide, s.n_narrow = a.start, b.start, n_left, n_right
        s.wide_step, s.narrow_step = <ptrdiff_t>n_right, 1
    else:
        s.wide, s.narrow, s.n_wide, s.n_narrow = b.start, a.start, n_right, n_left
        s.wide_step, s.narrow_step = 1, <ptrdiff_t>n_right
    s.stride = padded(s.n_wide, s.kernels.lanes)
    s.rows_per_block = min(
        max(SUMMED_BYTES // (s.n_wide * size), <size_t>MIN_SUMMED_ROWS), <size_t>MAX_SUMMED_ROWS)
    s.rows.n_items = n_rows
    s.rows.size = max(
        (n_rows + MAX_SAMPLE_CHUNKS - 1) // MAX_SAMPLE_CHUNKS,
        PRODUCTS_PER_CHUNK // (s.n_wide * s.n_narrow))
    s.rows.size = max(min(s.rows.size, <size_t>MAX_ROWS_PER_SUM), <size_t>1)
    s.rows.n_chunks = (n_rows + s.rows.size - 1) // s.rows.size
    cdef Scratch sums = Scratch(
        min(s.rows.n_chunks, <size_t>MAX_SAMPLE_CHUNKS), s.n_narrow * s.stride, size)
    s.sums = sums.start
    cdef pool *helpers = NULL
    cdef FloatState floats = FloatState()
    with nogil:
        floats.set()
        memset(out, 0, n_left * n_right * sizeof(double))
        if uses_threads(n_rows, s.n_wide, s.n_narrow):
            helpers = pool_begin(n_threads)
        s.first = 0
        while s.first < s.rows.n_chunks:
            s.n_chunks = min(s.rows.n_chunks - s.first, <size_t>MAX_SAMPLE_CHUNKS)
            pool_for(helpers, row_sums_chunk, &s, s.n_chunks)
            pool_for(helpers, add_sums_chunk, &s, s.n_narrow)
            s.first += s.n_chunks
        pool_end(helpers)


cdef struct SlabSums:
    # out = A' B, by slabs of columns of B
    Products products
    bint is_gram  # A is B: only features up to those of the slab are summed
    bint is_last
    char *sums
    double *out


cdef void slab_sums_chunk(void *context, size_t chunk) noexcept nogil:
    """Add the products of a block of rows for some slabs."""
    cdef SlabSums *s = <SlabSums *>context
    cdef Products *p = &s.products
    cdef Minibatch *m = p.minibatch
    cdef size_t size = m.kernels.element_size, lanes = m.kernels.lanes, n = m.samples.n_items
    cdef size_t k = chunk * p.slabs.size * lanes, width, height, i, j
    cdef size_t end = min(k + length_of(&p.slabs, chunk) * lanes, m.n_classes)
    cdef char *slabs = own_buffer(p)
    cdef char *sums
    cdef double *out
    while k < end:
        width = min(SLABS_PER_TILE * lanes, end - k)
        height = min(m.n_features, k + width) if s.is_gram else m.n_features
        pack_in_slabs(
            m.kernels, m.dlogits + k * size, p.logits_stride * size, size, n, width, slabs,
            n * lanes)
        sums = s.sums + k * size
        add_products(p, p.x_slabs, height, slabs, width, p.add, sums, p.logits_stride)
        if s.is_last:
            for j in range(height):
                out = s.out + j * m.n_classes + k
                for i in range(width):
                    out[i] += number(sums, j * p.logits_stride + i, size)
        k += width


cdef wide_product(View a, View b, double *out, int n_threads):
    cdef SlabSums s
    cdef Products *p = &s.products
    cdef Minibatch m
    m.kernels, m.n_features, m.n_classes = a.kernels(), a.length(1), b.length(1)
    cdef size_t size = m.kernels.element_size, lanes = m.kernels.lanes, n_rows = a.length(0), first
    cdef size_t rows_per_block = min(<size_t>MAX_SUMMED_ROWS, padded(n_rows, lanes)), n, i, j
    m.coef_stride = padded(m.n_features, lanes)
    p.minibatch, p.logits_stride = &m, m.n_classes
    p.slabs = split(padded(m.n_classes, lanes) // lanes, SLABS_PER_TILE, n_threads)
    p.buffer_stride = lanes * SLABS_PER_TILE * rows_per_block
    s.is_gram, s.out = a.start == b.start and m.n_features == m.n_classes, out
    cdef Scratch x_slabs = Scratch(rows_per_block, m.coef_stride, size)
    cdef Scratch buffers = Scratch(<size_t>n_threads, p.buffer_stride, size)
    cdef Scratch sums = Scratch(m.n_features, m.n_classes, size)
    cdef const void *rows[MAX_SUMMED_ROWS]
    p.x_slabs, p.blocks, p.buffers, s.sums = x_slabs.start, NULL, buffers.start, sums.start
    m.rows = rows
    cdef pool *helpers = NULL
    cdef FloatState floats = FloatState()
    with nogil:
        floats.set()
        memset(out, 0, m.n_features * m.n_classes * sizeof(double))
        if uses_threads(n_rows, m.n_features, m.n_classes):
            helpers = pool_begin(n_threads)
        first = 0
        while first < n_rows:
            n = min(rows_per_block, n_rows - first)
            split_minibatch(&m, n, n_threads)
            for i in range(n):
                rows[i] = a.start + (first + i) * m.n_features * size
            m.dlogits = b.start + first * m.n_classes * size
            p.add = first % MAX_ROWS_PER_SUM > 0
            s.is_last = (first + n) % MAX_ROWS_PER_SUM == 0 or first + n == n_rows
            pool_for(helpers, pack_rows_chunk, p, m.samples.n_chunks)
            pool_for(helpers, slab_sums_chunk, &s, p.slabs.n_chunks)
            first += n
        pool_end(helpers)
        if s.is_gram:
            for j in range(m.n_features):
                for i in range(j):
                    out[j * m.n_features + i] = out[i * m.n_features + j]


def transposed_product(A, B, out, int n_threads):
    cdef View a = View(A), b = View(B), total = View(out, True)
    if min(a.length(1), b.length(1)) <= FEW_CLASSES:
        narrow_product(a, b, <double *>total.start, n_threads)
    else:
        wide_product(a, b, <double *>total.start, n_threads)
