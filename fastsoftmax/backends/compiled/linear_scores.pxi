"""Logits of rows, for predictions: the forward pass alone, on rows as they lie."""


cdef struct Scores:
    Minibatch minibatch  # its weights: padded, or in slabs
    const char *X
    ptrdiff_t row_stride
    input_dtype dtype
    bint many_classes
    size_t rows_at_once, block_stride, row_stride_converted
    char *converted  # of every chunk; NULL where rows are read as they lie
    char *blocks
    char *logits


cdef void score_rows(const Scores *s, size_t chunk, size_t first, size_t n) noexcept nogil:
    """The logits of at most `rows_at_once` rows."""
    cdef const Minibatch *m = &s.minibatch
    cdef size_t size = m.kernels.element_size, lanes = m.kernels.lanes, i
    cdef const void *rows[PREDICTED_ROWS_PER_BLOCK + ROWS_AHEAD]
    cdef weights_view weights = weights_of(m)
    cdef blocks_view samples
    cdef scaling_view unscaled
    cdef char *converted = s.converted
    cdef char *blocks = s.blocks
    cdef char *logits = s.logits + first * m.n_classes * size
    for i in range(<size_t>PREDICTED_ROWS_PER_BLOCK + ROWS_AHEAD):
        rows[i] = s.X + <ptrdiff_t>(first + min(i, n - 1)) * s.row_stride
    if converted != NULL:
        converted += chunk * s.rows_at_once * s.row_stride_converted * size
        unscaled.mean = unscaled.inverse_scale = NULL
        m.kernels.convert(
            rows, n, s.dtype, 0, m.n_features, &unscaled, converted, s.row_stride_converted)
        for i in range(<size_t>PREDICTED_ROWS_PER_BLOCK + ROWS_AHEAD):
            rows[i] = converted + min(i, n - 1) * s.row_stride_converted * size
    if not s.many_classes:
        m.kernels.scores(rows, n, &weights, logits, m.n_classes)
        return
    blocks += chunk * (s.rows_at_once // lanes) * s.block_stride * size
    i = 0
    while i < n:
        m.kernels.pack_block(
            rows + i, min(lanes, n - i), m.n_features, blocks + i // lanes * s.block_stride * size)
        i += lanes
    samples.start, samples.stride, samples.n_samples = blocks, s.block_stride, n
    weights.stride = m.coef_stride * lanes
    m.kernels.packed_scores(&samples, &weights, False, logits, m.n_classes)


cdef void scores_chunk(void *context, size_t chunk) noexcept nogil:
    cdef const Scores *s = <const Scores *>context
    cdef const Split *samples = &s.minibatch.samples
    cdef size_t first = chunk * samples.size, end = first + length_of(samples, chunk)
    while first < end:
        score_rows(s, chunk, first, min(s.rows_at_once, end - first))
        first += s.rows_at_once


def linear_scores(X, coef, intercept, logits, int n_threads):
    if isinstance(X, SparseRows):
        sparse_linear_scores(X, coef, intercept, logits, n_threads)
    elif len(X):
        dense_linear_scores(X, coef, intercept, logits, n_threads)


cdef dense_linear_scores(X, coef, intercept, logits, int n_threads):
    cdef View x = View(X), w = View(coef), b = View(intercept), z = View(logits, True)
    cdef Scores s
    cdef Minibatch *m = &s.minibatch
    cdef pool *helpers = NULL
    cdef FloatState floats = FloatState()
    m.kernels, m.n_features, m.n_classes = w.kernels(), x.length(1), w.length(0)
    m.coef_stride, m.intercept = padded(m.n_features, m.kernels.lanes), b.start
    cdef size_t size = m.kernels.element_size, lanes = m.kernels.lanes, n = x.length(0)
    s.X, s.row_stride, s.dtype = x.start, x.buffer.strides[0], input_dtype_of(x, size)
    s.many_classes, s.logits = m.n_classes > FEW_CLASSES, z.start
    s.rows_at_once = PREDICTED_ROWS_PER_BLOCK
    if (s.many_classes or s.dtype != INPUT_REAL) and (
            PREDICTED_ROWS_PER_BLOCK * m.coef_stride * size > MAX_PREDICTED_BYTES):
        s.rows_at_once = lanes
    m.samples = split(n, s.rows_at_once, n_threads)
    s.row_stride_converted = m.coef_stride + CACHE_LINE // size
    s.block_stride = m.coef_stride * lanes + CACHE_LINE // size
    cdef size_t rows_of_chunks = m.samples.n_chunks * s.rows_at_once
    cdef Scratch weights = Scratch(padded(m.n_classes, lanes), m.coef_stride, size)
    cdef Scratch converted = Scratch(
        rows_of_chunks if s.dtype != INPUT_REAL else 0, s.row_stride_converted, size)
    cdef Scratch blocks = Scratch(
        rows_of_chunks // lanes if s.many_classes else 0, s.block_stride, size)
    m.coef, s.blocks = weights.start, blocks.start
    s.converted = converted.start if s.dtype != INPUT_REAL else NULL
    with nogil:
        floats.set()
        if s.many_classes:
            pack_slabs(m, w.start, m.coef)
        else:
            m.kernels.pack(
                w.start, size, m.n_features * size, m.n_features, m.n_classes, m.coef,
                m.coef_stride)
        if uses_threads(n, m.n_features, m.n_classes):
            helpers = pool_begin(n_threads)
        pool_for(helpers, scores_chunk, &s, m.samples.n_chunks)
        pool_end(helpers)


cdef struct SparseScores:
    Minibatch minibatch  # kernels, shape and intercept
    SparseMatrix matrix
    sparse_weights weights
    size_t n_slabs, stride, n_chunks
    const char *coef  # where the weights lie as they came, NULL where they are packed
    char *padded_logits  # of some rows of every chunk
    char *logits
    ptrdiff_t row_stride, class_stride  # of logits, in bytes


cdef size_t first_row_of_chunk(const SparseScores *s, size_t chunk) noexcept nogil:
    """Return where a chunk begins: all have about as many values, and rows, together."""
    cdef const SparseMatrix *x = &s.matrix
    cdef size_t low = 0, high = x.n_rows, middle
    if chunk == s.n_chunks:
        return high
    cdef size_t before = (x.n_values + x.n_rows) // s.n_chunks * chunk
    while low < high:
        middle = low + (high - low) // 2
        if indptr_at(x, <int64_t>middle) + middle < before:
            low = middle + 1
        else:
            high = middle
    return low


cdef void sparse_rows_chunk(void *context, size_t chunk) noexcept nogil:
    cdef const SparseScores *s = <const SparseScores *>context
    cdef const Minibatch *m = &s.minibatch
    cdef size_t size = m.kernels.element_size, slab, i, n
    cdef size_t first = first_row_of_chunk(s, chunk), end = first_row_of_chunk(s, chunk + 1)
    cdef char *padded_logits = s.padded_logits + chunk * PREDICTED_ROWS_PER_BLOCK * s.stride * size
    cdef char *logits
    cdef sparse_row rows[PREDICTED_ROWS_PER_BLOCK]
    while first < end:
        n = min(<size_t>PREDICTED_ROWS_PER_BLOCK, end - first)
        for i in range(n):
            point_at_row(&s.matrix, <int64_t>(first + i), rows + i)
        logits = s.logits + <ptrdiff_t>first * s.row_stride
        first += n
        if s.coef != NULL:
            m.kernels.sparse_unpacked_scores(
                rows, n, s.coef, m.n_features, m.n_classes, m.intercept, s.weights.wide_indices,
                logits)
            continue
        for slab in range(s.n_slabs):
            m.kernels.sparse_products(
                rows, n, &s.weights, slab, m.intercept, padded_logits, s.stride)
        m.kernels.unpack(
            padded_logits, s.stride, m.n_classes, n, logits, s.class_stride, s.row_stride)


cdef void pack_transposed(
    const Minibatch *m, const char *coef, ptrdiff_t class_stride, ptrdiff_t feature_stride,
    char *packed
) noexcept nogil:
    """From weights at any strides, in bytes, to slabs of classes, as `pack_sparse` does."""
    cdef size_t size = m.kernels.element_size, width = SPARSE_SLAB_VECTORS * m.kernels.lanes
    cdef size_t first = 0, n
    while first < m.n_classes:
        n = min(width, m.n_classes - first)
        m.kernels.pack(
            coef + <ptrdiff_t>first * class_stride, class_stride, feature_stride, n, m.n_features,
            packed + first * m.n_features * size, padded(n, m.kernels.lanes))
        first += n


cdef sparse_linear_scores(X, coef, intercept, logits, int n_threads):
    cdef View values = View(X.values), indices = View(X.indices), indptr = View(X.indptr)
    cdef View w = View(coef), b = View(intercept), z = View(logits, True)
    cdef bint is_in_order = coef.flags.c_contiguous
    cdef bint packs = X.has_many_values or not (is_in_order and logits.flags.c_contiguous)
    cdef SparseScores s
    cdef Minibatch *m = &s.minibatch
    cdef pool *helpers = NULL
    cdef FloatState floats = FloatState()
    s.matrix = sparse_matrix(values, indices, indptr)
    m.kernels, m.n_features, m.n_classes = w.kernels(), w.length(1), w.length(0)
    m.intercept, s.logits = b.start, z.start
    s.row_stride, s.class_stride = z.buffer.strides[0], z.buffer.strides[1]
    s.n_chunks = split(s.matrix.n_rows, PREDICTED_ROWS_PER_BLOCK, n_threads).n_chunks
    s.n_slabs, s.stride = sparse_slabs(m.kernels, m.n_classes), padded(m.n_classes, m.kernels.lanes)
    cdef size_t size = m.kernels.element_size
    s.coef = NULL if packs else w.start
    cdef Scratch weights = Scratch(m.n_features if packs else 0, s.stride, size)
    cdef Scratch padded_logits = Scratch(s.n_chunks * PREDICTED_ROWS_PER_BLOCK, s.stride, size)
    s.weights, s.padded_logits = plain_weights(m, weights.start), padded_logits.start
    s.weights.wide_indices = s.matrix.index_size == sizeof(int64_t)
    with nogil:
        floats.set()
        if packs and is_in_order:
            pack_sparse(m, w.start, weights.start)
        elif packs:
            pack_transposed(m, w.start, w.buffer.strides[0], w.buffer.strides[1], weights.start)
        if uses_threads(s.matrix.n_values, 1, m.n_classes):
            helpers = pool_begin(n_threads)
        if s.matrix.n_rows:
            pool_for(helpers, sparse_rows_chunk, &s, s.n_chunks)
        pool_end(helpers)
