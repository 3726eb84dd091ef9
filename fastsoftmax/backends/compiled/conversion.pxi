"""Rows of X in the compute dtype, standardised, for passes whose kernels read rows of that dtype alone."""


cdef struct Conversion:
    const kernel_table *kernels
    const char *X
    ptrdiff_t row_stride
    const int64_t *numbers  # of the rows; NULL for all of X
    input_dtype dtype
    size_t n_features
    scaling_view scaling
    char *out
    char *padded_rows  # one for each chunk
    size_t padded_size  # of a row, in whole vectors
    Split rows


cdef void convert_some(
    const Conversion *c, size_t first, size_t n, char *out, size_t out_stride
) noexcept nogil:
    """Convert at most PREDICTED_ROWS_PER_BLOCK rows; the last vector of each is written as a whole."""
    cdef const void *rows[PREDICTED_ROWS_PER_BLOCK + ROWS_AHEAD]
    cdef size_t i
    cdef ptrdiff_t row
    for i in range(n + ROWS_AHEAD):
        row = <ptrdiff_t>min(first + i, c.rows.n_items - 1)
        rows[i] = c.X + (row if c.numbers == NULL else <ptrdiff_t>c.numbers[row]) * c.row_stride
    c.kernels.convert(rows, n, c.dtype, 0, c.n_features, &c.scaling, out, out_stride)


cdef void convert_chunk(void *context, size_t chunk) noexcept nogil:
    cdef const Conversion *c = <const Conversion *>context
    cdef size_t size = c.kernels.element_size, row_bytes = c.n_features * size
    cdef size_t first = chunk * c.rows.size, end = first + length_of(&c.rows, chunk), n
    cdef char *padded_row = c.padded_rows + chunk * c.padded_size * size
    cdef uint64_t begun = phase_begin()
    # What a row writes beyond its end, later rows overwrite; the last ones would write beyond the chunk.
    cdef size_t n_last = (c.padded_size - 1) // c.n_features
    while first + n_last < end:
        n = min(<size_t>PREDICTED_ROWS_PER_BLOCK, end - n_last - first)
        convert_some(c, first, n, c.out + first * row_bytes, c.n_features)
        first += n
    while first < end:
        convert_some(c, first, 1, padded_row, c.padded_size)
        memcpy(c.out + first * row_bytes, padded_row, row_bytes)
        first += 1
    phase_next(PHASE_CONVERT, begun)


def convert_rows(X, rows, mean, inverse_scale, out, int n_threads):
    cdef View x = View(X), numbers = View(rows), m = View(mean), scale = View(inverse_scale)
    cdef View converted = View(out, True)
    cdef Conversion c
    c.kernels, c.n_features = converted.kernels(), converted.length(1)
    cdef size_t size = c.kernels.element_size
    c.X, c.row_stride, c.dtype = x.start, x.buffer.strides[0], input_dtype_of(x, size)
    c.numbers, c.out = <const int64_t *>numbers.start, converted.start
    c.scaling.mean, c.scaling.inverse_scale = m.start, scale.start
    if converted.length(0) == 0:
        return
    c.rows = split(converted.length(0), MIN_ROWS_PER_CHUNK, n_threads)
    c.padded_size = padded(c.n_features, c.kernels.lanes)
    cdef Scratch padded_rows = Scratch(c.rows.n_chunks, c.padded_size, size)
    c.padded_rows = padded_rows.start
    cdef pool *helpers = NULL
    cdef FloatState floats = FloatState()
    with nogil:
        floats.set()
        if c.rows.n_items * c.n_features >= MIN_ELEMENTS_FOR_THREADS:
            helpers = pool_begin(n_threads)
        pool_for(helpers, convert_chunk, &c, c.rows.n_chunks)
        pool_end(helpers)
