"""Logits of rows, for predictions: forward alone, on rows as they lie."""


cdef enum:
    # Rows that a thread scores at once: of many classes, weights come once for all of them.
    ROWS_TO_SCORE = 64
    # ... or as many as have no more bytes, where they are converted or packed
    BYTES_TO_SCORE = 1 << 20


cdef struct Scores:
    Minibatch minibatch  # its weights: padded, or in slabs
    const char *X
    ptrdiff_t row_stride
    number_kind number
    bint many_classes
    size_t rows_at_once, block_stride, row_stride_converted
    char *converted  # of every chunk; NULL where rows are read as they lie
    char *blocks
    char *logits


cdef void score_rows(const Scores *s, size_t chunk, size_t first, size_t n) noexcept nogil:
    """The logits of at most `rows_at_once` rows."""
    cdef const Minibatch *m = &s.minibatch
    cdef size_t size = m.kernels.element_size, lanes = m.kernels.lanes, i
    cdef const void *rows[ROWS_TO_SCORE + ROWS_AHEAD]
    cdef linear_weights weights
    cdef char *converted = s.converted
    cdef char *blocks = s.blocks
    cdef char *logits = s.logits + first * m.n_classes * size
    for i in range(ROWS_TO_SCORE + ROWS_AHEAD):
        rows[i] = s.X + <ptrdiff_t>(first + min(i, n - 1)) * s.row_stride
    if converted != NULL:
        converted += chunk * s.rows_at_once * s.row_stride_converted * size
        m.kernels.convert(
            rows, n, s.number, 0, m.n_features, NULL, NULL, converted, s.row_stride_converted)
        for i in range(ROWS_TO_SCORE + ROWS_AHEAD):
            rows[i] = converted + min(i, n - 1) * s.row_stride_converted * size
    if not s.many_classes:
        weights = weights_of(m)
        m.kernels.scores(rows, n, &weights, logits, m.n_classes)
        return
    blocks += chunk * (s.rows_at_once // lanes) * s.block_stride * size
    i = 0
    while i < n:
        m.kernels.pack_block(
            rows + i, min(lanes, n - i), m.n_features, blocks + i // lanes * s.block_stride * size)
        i += lanes
    m.kernels.packed_scores(
        blocks, s.block_stride, n, m.n_features, m.coef, m.coef_stride * lanes, m.intercept,
        m.n_classes, False, logits, m.n_classes)


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
    s.X, s.row_stride, s.number = x.start, x.buffer.strides[0], number_of(x, size)
    s.many_classes, s.logits = m.n_classes > FEW_CLASSES, z.start
    s.rows_at_once = ROWS_TO_SCORE
    if (s.many_classes or s.number != REAL) and (
            ROWS_TO_SCORE * m.coef_stride * size > BYTES_TO_SCORE):
        s.rows_at_once = lanes
    m.samples = split(n, s.rows_at_once, n_threads)
    s.row_stride_converted = m.coef_stride + CACHE_LINE // size
    s.block_stride = m.coef_stride * lanes + CACHE_LINE // size
    cdef size_t rows_of_chunks = m.samples.n_chunks * s.rows_at_once
    cdef Scratch weights = Scratch(padded(m.n_classes, lanes), m.coef_stride, size)
    cdef Scratch converted = Scratch(
        rows_of_chunks if s.number != REAL else 0, s.row_stride_converted, size)
    cdef Scratch blocks = Scratch(
        rows_of_chunks // lanes if s.many_classes else 0, s.block_stride, size)
    m.coef, s.blocks = weights.start, blocks.start
    s.converted = converted.start if s.number != REAL else NULL
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
    SparseEpoch rows_of  # the matrix, and how its weights lie
    Split samples
    const char *coef  # where the weights lie as they came, NULL where they are packed
    char *padded_logits  # of some rows of every chunk
    char *logits


cdef void sparse_scores_of_rows(void *context, size_t chunk) noexcept nogil:
    cdef const SparseScores *s = <const SparseScores *>context
    cdef const SparseEpoch *e = &s.rows_of
    cdef size_t size = e.kernels.element_size, n_classes = e.weights.n_classes, slab, i, n
    cdef size_t first = chunk * s.samples.size, end = first + length_of(&s.samples, chunk)
    cdef char *some = s.padded_logits + chunk * ROWS_TO_SCORE * e.stride * size
    cdef char *logits
    cdef sparse_row rows[ROWS_TO_SCORE + SPARSE_ROWS_AHEAD]
    while first < end:
        n = min(<size_t>ROWS_TO_SCORE, end - first)
        for i in range(n + SPARSE_ROWS_AHEAD):
            point_at_row(e, <int64_t>min(first + i, s.samples.n_items - 1), rows + i)
        logits = s.logits + first * n_classes * size
        first += n
        if s.coef != NULL:
            e.kernels.sparse_unpacked_scores(
                rows, n, s.coef, e.weights.n_features, n_classes, e.intercept,
                e.weights.wide_indices, logits)
            continue
        for slab in range(e.n_slabs):
            e.kernels.sparse_scores(rows, n, &e.weights, slab, e.intercept, some, e.stride)
        for i in range(n):
            memcpy(logits + i * n_classes * size, some + i * e.stride * size, n_classes * size)


cdef sparse_linear_scores(X, coef, intercept, logits, int n_threads):
    cdef View values = View(X.values), columns = View(X.indices), starts = View(X.indptr)
    cdef View w = View(coef), b = View(intercept), z = View(logits, True)
    cdef SparseScores s
    cdef SparseEpoch *e = &s.rows_of
    cdef pool *helpers = NULL
    cdef FloatState floats = FloatState()
    cdef size_t slab
    describe_matrix(e, values, columns, starts, w)
    e.intercept, s.logits = b.start, z.start
    s.samples = split(e.n_rows, ROWS_TO_SCORE, n_threads)
    cdef size_t size = e.kernels.element_size
    cdef bint packs = X.has_many_values
    s.coef = NULL if packs else w.start
    cdef Scratch weights = Scratch(e.weights.n_features if packs else 0, e.stride, size)
    cdef Scratch some = Scratch(s.samples.n_chunks * ROWS_TO_SCORE, e.stride, size)
    e.weights.start, s.padded_logits = weights.start, some.start
    with nogil:
        floats.set()
        for slab in range(e.n_slabs if packs else 0):
            e.kernels.sparse_pack(w.start, &e.weights, slab)
        if uses_threads(e.n_values, 1, e.weights.n_classes):
            helpers = pool_begin(n_threads)
        if e.n_rows:
            pool_for(helpers, sparse_scores_of_rows, &s, s.samples.n_chunks)
        pool_end(helpers)
