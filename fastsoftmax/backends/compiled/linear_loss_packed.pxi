"""`linear_cross_entropy` with many classes: the logits of a few rows at a time, on packed operands.

Rows of X go in blocks of some hundreds, so that their logits, with c classes, take some MB. For each block:

    x -> blocks, slabs          once, for both products that it is in
    z = x @ W + intercept       by slabs of W, two at a time, each packed for all rows
    z <- dlogits                row by row, in place
    dW += x.T @ dlogits         by some dozens of classes, from slabs of x and of dlogits; where the
                                features of dW are contiguous, its transpose, dlogits.T @ x
    dx = dlogits @ W.T          over some hundreds of classes at a time, by strips of features

Nothing is computed twice. W is read twice a block, and dW read and written, so a block has as many rows as
the bytes of its logits allow. All sums are in an order that the sizes alone decide. See
csrc/kernels/step_packed.h.
"""


cdef struct Products:
    Minibatch *minibatch
    const char *W
    ptrdiff_t feature_stride, class_stride  # in bytes, as all of W and dW
    char *blocks  # rows of X, packed for the logits; or NULL
    size_t block_stride, logits_stride
    char *x_slabs  # the same rows in slabs of features, for dW; or NULL
    Split slabs
    Split parts  # of dW: strips of its features, where the slabs alone are too few for the threads
    Split strips  # of dX
    char *buffers  # one for each thread
    size_t buffer_stride
    char *dlogits_blocks
    size_t first_class, n_pass_classes
    char *dW
    ptrdiff_t dW_feature_stride, dW_class_stride
    char *dintercept
    char *dX
    bint add  # to dW and dintercept, from the second block on


cdef char *own_buffer(const Products *p) noexcept nogil:
    """Return the buffer of the calling thread."""
    return p.buffers + pool_thread_index() * p.buffer_stride * p.minibatch.kernels.element_size


cdef void pack_rows_chunk(void *context, size_t chunk) noexcept nogil:
    """Pack some rows of X."""
    cdef Products *p = <Products *>context
    cdef Minibatch *m = p.minibatch
    cdef size_t size = m.kernels.element_size, lanes = m.kernels.lanes, first = chunk * m.samples.size
    cdef size_t n = length_of(&m.samples, chunk), end = first + n
    cdef uint64_t begun = phase_begin()
    if p.x_slabs != NULL:
        m.kernels.pack_rows(
            m.rows[first], m.n_features, first, n, m.n_features, p.x_slabs, m.samples.n_items * lanes)
    while p.blocks != NULL and first < end:
        m.kernels.pack_block(
            m.rows + first, min(lanes, end - first), m.n_features,
            p.blocks + first // lanes * p.block_stride * size)
        first += lanes
    phase_next(PHASE_CONVERT, begun)


cdef void pack_in_slabs(
    const kernel_table *kernels, const char *start, ptrdiff_t depth_stride, ptrdiff_t lane_stride,
    size_t depth, size_t width, char *slabs, size_t slab_stride
) noexcept nogil:
    """Pack a matrix of any strides, in bytes: slabs[i // lanes][t][i % lanes], t < depth, i < width."""
    cdef size_t lanes = kernels.lanes, size = kernels.element_size, i = 0
    if lane_stride == <ptrdiff_t>size and depth_stride > 0 and depth_stride % <ptrdiff_t>size == 0:
        kernels.pack_rows(start, <size_t>depth_stride // size, 0, depth, width, slabs, slab_stride)
        return
    while i < width:
        kernels.pack_slab(
            start + <ptrdiff_t>i * lane_stride, depth_stride, lane_stride, depth,
            min(lanes, width - i), slabs + i // lanes * slab_stride * size)
        i += lanes


cdef blocks_view rows_of_block(const Products *p) noexcept nogil:
    """View the packed rows of X."""
    cdef blocks_view rows
    rows.start, rows.stride, rows.n_samples = p.blocks, p.block_stride, p.minibatch.samples.n_items
    return rows


cdef void slab_logits_chunk(void *context, size_t chunk) noexcept nogil:
    """Logits of all rows and some slabs of classes."""
    cdef Products *p = <Products *>context
    cdef Minibatch *m = p.minibatch
    cdef size_t size = m.kernels.element_size, lanes = m.kernels.lanes, width
    cdef size_t slab_stride = lanes * m.coef_stride, k = chunk * p.slabs.size * lanes
    cdef size_t end = min(k + length_of(&p.slabs, chunk) * lanes, m.n_classes)
    cdef char *slabs = own_buffer(p)
    cdef blocks_view samples = rows_of_block(p)
    cdef weights_view weights
    cdef uint64_t begun
    weights.coef, weights.stride, weights.n_features = slabs, slab_stride, m.n_features
    while k < end:
        begun = phase_begin()
        width = min(SLABS_PER_TILE * lanes, end - k)
        pack_in_slabs(
            m.kernels, p.W + <ptrdiff_t>k * p.class_stride, p.feature_stride, p.class_stride,
            m.n_features, width, slabs, slab_stride)
        begun = phase_next(PHASE_CONVERT, begun)
        weights.intercept = m.intercept + k * size if m.intercept != NULL else NULL
        weights.n_classes = width
        m.kernels.packed_scores(
            &samples, &weights, False, m.dlogits + k * size, p.logits_stride)
        phase_next(PHASE_SCORES, begun)
        k += width


cdef void row_losses_chunk(void *context, size_t chunk) noexcept nogil:
    cdef Products *p = <Products *>context
    cdef Minibatch *m = p.minibatch
    cdef size_t first = chunk * m.samples.size
    cdef uint64_t begun = phase_begin()
    minibatch_losses(
        m, chunk, m.dlogits + first * p.logits_stride * m.kernels.element_size, p.logits_stride)
    phase_next(PHASE_LOSS, begun)


cdef void slab_gradients_chunk(void *context, size_t chunk) noexcept nogil:
    """dW and dintercept of some slabs of classes and a part of the features."""
    cdef Products *p = <Products *>context
    cdef Minibatch *m = p.minibatch
    cdef size_t part = chunk % p.parts.n_chunks, of_slabs = chunk // p.parts.n_chunks
    cdef size_t size = m.kernels.element_size, lanes = m.kernels.lanes, n = m.samples.n_items
    cdef size_t k = of_slabs * p.slabs.size * lanes, width
    cdef size_t end = min(k + length_of(&p.slabs, of_slabs) * lanes, m.n_classes)
    cdef char *dlogits = own_buffer(p)
    cdef uint64_t begun = phase_begin()
    while k < end:
        width = min(classes_of_gradient(p), end - k)
        if part == 0 and p.dintercept != NULL:
            m.kernels.column_sums(
                m.dlogits + k * size, p.logits_stride, n, width, p.add, p.dintercept + k * size)
        if p.dW != NULL:
            pack_in_slabs(
                m.kernels, m.dlogits + k * size, p.logits_stride * size, size, n, width, dlogits,
                n * lanes)
            slab_gradients(p, part, k, width, dlogits)
        k += width
    phase_next(PHASE_UPDATE, begun)


cdef enum GradientLayout:
    CLASS_MAJOR, FEATURE_MAJOR, OTHER_STRIDES


cdef GradientLayout layout_of_dW(const Products *p) noexcept nogil:
    cdef ptrdiff_t item = <ptrdiff_t>p.minibatch.kernels.element_size
    if p.dW_feature_stride == item and p.dW_class_stride > 0 and p.dW_class_stride % item == 0:
        return CLASS_MAJOR
    if p.dW_class_stride == item and p.dW_feature_stride > 0 and p.dW_feature_stride % item == 0:
        return FEATURE_MAJOR
    return OTHER_STRIDES


cdef size_t classes_of_gradient(const Products *p) noexcept nogil:
    """Of how many classes dW is summed at a time."""
    cdef size_t lanes = p.minibatch.kernels.lanes, tile = SLABS_PER_TILE * lanes
    if layout_of_dW(p) == OTHER_STRIDES:
        return tile
    return max(PACKED_DLOGITS // (padded(p.minibatch.samples.n_items, lanes) * tile), <size_t>1) * tile


cdef void add_products(
    const Products *p, char *left, size_t n_left, const char *right, size_t n_right, bint add, char *out,
    size_t stride
) noexcept nogil:
    """out (+)= left.T @ right, for the rows of a block, of matrices in slabs."""
    cdef size_t n = p.minibatch.samples.n_items, slab_stride = n * p.minibatch.kernels.lanes
    cdef blocks_view rows
    cdef weights_view columns
    rows.start, rows.stride, rows.n_samples = left, slab_stride, n_left
    columns.coef, columns.intercept, columns.stride = <char *>right, NULL, slab_stride
    columns.n_features, columns.n_classes = n, n_right
    p.minibatch.kernels.packed_scores(&rows, &columns, add, out, stride)


cdef void slab_gradients(
    const Products *p, size_t part, size_t k, size_t width, char *dlogits
) noexcept nogil:
    """dW of a part of the features and `width` classes from k on, from slabs of dlogits.

    After two of these there is room for a slab of dW. The sums are in the same order, whatever its strides.
    """
    cdef const Minibatch *m = p.minibatch
    cdef size_t size = m.kernels.element_size, lanes = m.kernels.lanes, n = m.samples.n_items
    cdef size_t slab_size = n * lanes * size, j = part * p.parts.size * lanes, some
    cdef size_t n_features = min(length_of(&p.parts, part) * lanes, m.n_features - j)
    cdef ptrdiff_t item = <ptrdiff_t>size
    cdef char *x = p.x_slabs + j // lanes * slab_size
    cdef char *out = p.dW + <ptrdiff_t>k * p.dW_class_stride + <ptrdiff_t>j * p.dW_feature_stride
    cdef char *gathered = dlogits + SLABS_PER_TILE * slab_size
    cdef GradientLayout layout = layout_of_dW(p)
    if layout == CLASS_MAJOR:
        add_products(p, dlogits, width, x, n_features, p.add, out, p.dW_class_stride // item)
    elif layout == FEATURE_MAJOR:
        # Some features at a time, whose slabs of x stay in the cache for all of these classes.
        while n_features > 0:
            some = min(<size_t>GRADIENT_FEATURES, n_features)
            add_products(p, x, some, dlogits, width, p.add, out, p.dW_feature_stride // item)
            x += some // lanes * slab_size
            out += <ptrdiff_t>some * p.dW_feature_stride
            n_features -= some
    else:
        while width > 0:
            some = min(lanes, width)
            if p.add:
                m.kernels.pack_slab(
                    out, p.dW_feature_stride, p.dW_class_stride, n_features, some, gathered)
            add_products(p, x, n_features, dlogits, some, p.add, gathered, lanes)
            m.kernels.unpack(
                gathered, lanes, some, n_features, out, p.dW_class_stride, p.dW_feature_stride)
            dlogits += slab_size
            out += <ptrdiff_t>lanes * p.dW_class_stride
            width -= some


cdef size_t pass_stride(const Products *p) noexcept nogil:
    """The stride of blocks of dlogits and slabs of W for dX: odd in vectors, as they share a cache."""
    cdef size_t lanes = p.minibatch.kernels.lanes
    return (CLASSES_PER_PASS + 1) * lanes


cdef void pack_dlogits_chunk(void *context, size_t chunk) noexcept nogil:
    """Pack some classes of the gradient of the logits into blocks, transposed, for dX."""
    cdef Products *p = <Products *>context
    cdef Minibatch *m = p.minibatch
    cdef size_t size = m.kernels.element_size, lanes = m.kernels.lanes
    cdef size_t first = chunk * m.samples.size, i, some
    cdef size_t end = first + length_of(&m.samples, chunk)
    cdef const void *rows[MAX_LANES]
    cdef uint64_t begun = phase_begin()
    while first < end:
        some = min(lanes, end - first)
        for i in range(some):
            rows[i] = m.dlogits + ((first + i) * p.logits_stride + p.first_class) * size
        m.kernels.pack_block(
            rows, some, p.n_pass_classes, p.dlogits_blocks + first // lanes * pass_stride(p) * size)
        first += lanes
    phase_next(PHASE_CONVERT, begun)


cdef void strips_of_x_chunk(void *context, size_t chunk) noexcept nogil:
    """Some strips of features of dX: what some classes add to them."""
    cdef Products *p = <Products *>context
    cdef Minibatch *m = p.minibatch
    cdef size_t size = m.kernels.element_size, lanes = m.kernels.lanes, j = chunk * p.strips.size * lanes
    cdef blocks_view dlogits
    cdef weights_view weights
    cdef uint64_t begun = phase_begin()
    dlogits.start, dlogits.stride, dlogits.n_samples = (
        p.dlogits_blocks, pass_stride(p), m.samples.n_items)
    weights.coef, weights.intercept, weights.stride = own_buffer(p), NULL, pass_stride(p)
    weights.n_features = p.n_pass_classes  # the product runs over the classes
    weights.n_classes = min(length_of(&p.strips, chunk) * lanes, m.n_features - j)
    pack_in_slabs(
        m.kernels, p.W + <ptrdiff_t>j * p.feature_stride + <ptrdiff_t>p.first_class * p.class_stride,
        p.class_stride, p.feature_stride, p.n_pass_classes, weights.n_classes, <char *>weights.coef,
        pass_stride(p))
    m.kernels.packed_scores(
        &dlogits, &weights, p.first_class > 0, p.dX + j * size, m.n_features)
    phase_next(PHASE_UPDATE, begun)


cdef ptrdiff_t block_of_products(Products *p, pool *helpers) noexcept nogil:
    """Compute all of a block of rows; return the first row without a loss, or -1."""
    cdef Minibatch *m = p.minibatch
    cdef size_t i
    pool_for(helpers, pack_rows_chunk, p, m.samples.n_chunks)
    pool_for(helpers, slab_logits_chunk, p, p.slabs.n_chunks)
    pool_for(helpers, row_losses_chunk, p, m.samples.n_chunks)
    for i in range(m.samples.n_items):
        if isnan(m.losses[i]):
            return <ptrdiff_t>i
    if p.dW != NULL or p.dintercept != NULL:
        pool_for(helpers, slab_gradients_chunk, p, p.slabs.n_chunks * p.parts.n_chunks)
    p.first_class = 0
    while p.dX != NULL and p.first_class < m.n_classes:
        p.n_pass_classes = min(<size_t>CLASSES_PER_PASS, m.n_classes - p.first_class)
        pool_for(helpers, pack_dlogits_chunk, p, m.samples.n_chunks)
        pool_for(helpers, strips_of_x_chunk, p, p.strips.n_chunks)
        p.first_class += CLASSES_PER_PASS
    return -1


cdef size_t rows_per_packed_block(const LinearLoss *l, size_t logits_stride) noexcept nogil:
    """As many as their logits allow: a multiple of the rows in a partial sum, if they are so many."""
    cdef size_t lanes = l.kernels.lanes, multiple = lanes
    cdef size_t most = PACKED_LOGITS_BYTES // (logits_stride * l.kernels.element_size)
    most = min(max(most, l.n_features // 2), <size_t>MAX_PACKED_LOSS_ROWS)
    if most >= FEATURES_PER_SUM:
        multiple = FEATURES_PER_SUM
    return min(max(most // multiple, <size_t>1) * multiple, padded(l.n_rows, lanes))


cdef ptrdiff_t packed_linear_loss(LinearLoss *l) noexcept nogil:
    cdef RowTargets shifted
    cdef Minibatch m
    cdef Products p
    m.kernels, m.n_features, m.n_classes = l.kernels, l.n_features, l.n_classes
    m.intercept, m.scale = l.intercept, l.scale
    cdef size_t size = m.kernels.element_size, lanes = m.kernels.lanes, n_rows = l.n_rows
    cdef int n_threads = l.n_threads
    m.coef_stride = padded(m.n_features, lanes)
    cdef size_t n_slabs = padded(m.n_classes, lanes) // lanes, n_strips = m.coef_stride // lanes
    p.logits_stride = n_slabs * lanes | lanes  # odd in vectors: rows do not share the sets of the cache
    cdef size_t rows_per_block = rows_per_packed_block(l, p.logits_stride)
    p.minibatch, p.W = &m, l.W
    p.feature_stride, p.class_stride = l.W_strides[0], l.W_strides[1]
    p.block_stride = m.coef_stride * lanes + CACHE_LINE // size
    cdef bint is_enough = n_slabs >= <size_t>(SLABS_PER_TILE * n_threads)
    p.slabs = split(n_slabs, SLABS_PER_TILE if is_enough else 1, n_threads)
    cdef size_t most_parts = max(m.n_features // GRADIENT_FEATURES, <size_t>1)
    cdef size_t n_parts = min(
        (2 * <size_t>n_threads + p.slabs.n_chunks - 1) // p.slabs.n_chunks, most_parts)
    p.parts = in_chunks(n_strips, (n_strips + n_parts - 1) // n_parts)
    # Of dX a thread takes GRADIENT_FEATURES or so, long runs of the rows of W, as often as the others.
    cdef size_t n_pieces = padded(
        (m.n_features + GRADIENT_FEATURES - 1) // GRADIENT_FEATURES, n_threads)
    p.strips = in_chunks(n_strips, (n_strips + n_pieces - 1) // n_pieces)
    p.dW, p.dintercept, p.dX = l.dW, l.dintercept, l.dX
    p.dW_feature_stride, p.dW_class_stride = l.dW_strides[0], l.dW_strides[1]
    split_minibatch(&m, rows_per_block, n_threads)
    p.buffer_stride = lanes * SLABS_PER_TILE * (m.coef_stride + rows_per_block)
    p.buffer_stride = max(p.buffer_stride, classes_of_gradient(&p) * rows_per_block)
    p.buffer_stride = max(p.buffer_stride, p.strips.size * pass_stride(&p))
    begin_memory(&l.memory)
    ask_for(&l.memory, &p.blocks, rows_per_block // lanes, p.block_stride, size)
    ask_for(&l.memory, &m.dlogits, rows_per_block, p.logits_stride, size)
    ask_for(
        &l.memory, &p.dlogits_blocks, rows_per_block // lanes if l.dX != NULL else 0, pass_stride(&p),
        size)
    ask_for(&l.memory, &p.buffers, <size_t>n_threads, p.buffer_stride, size)
    ask_for(&l.memory, <char **>&m.rows, rows_per_block, 1, sizeof(void *))
    ask_for(&l.memory, &p.x_slabs, rows_per_block if l.dW != NULL else 0, m.coef_stride, size)
    ask_for_option_scratch(&l.memory, &l.options, m.n_classes, size, m.samples.n_chunks)
    if not take_memory(&l.memory):
        return FASTSOFTMAX_NO_MEMORY
    if l.dW == NULL:
        p.x_slabs = NULL
    cdef size_t first = 0, n, i
    cdef pool *helpers
    cdef ptrdiff_t invalid
    cdef float_state caller
    while first < n_rows:
        caller = float_state_enter()
        n = min(rows_per_block, n_rows - first)
        split_minibatch(&m, n, n_threads)
        for i in range(n):
            m.rows[i] = l.X + (first + i) * m.n_features * size
        m.targets = targets_from(&l.targets, first, size, &shifted)[0]
        m.options = options_from(&l.options, first)
        m.losses = l.losses + first
        p.add = first > 0
        helpers = NULL
        if uses_threads(n, m.n_features, m.n_classes):
            helpers = pool_begin(n_threads)
        invalid = block_of_products(&p, helpers)
        pool_end(helpers)
        float_state_leave(&caller)
        if invalid >= 0:
            return <ptrdiff_t>first + invalid
        if l.dX != NULL:
            p.dX += n * m.n_features * size
        if l.is_interruptible and has_pending_exception():
            return INTERRUPTED
        first += n
    return -1


cdef bint has_pending_exception() noexcept with gil:
    """Run the handlers of signals; return whether one has raised, and left the exception set."""
    return set_pending_exception() != 0
