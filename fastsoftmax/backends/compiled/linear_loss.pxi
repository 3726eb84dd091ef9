"""Minibatches of the linear classifier, and `linear_cross_entropy` over them."""


cdef struct Minibatch:
    # Some rows of X with their targets, and what becomes of them
    const kernel_table *kernels
    size_t n_features, n_classes
    const void **rows
    targets_view targets  # from the first of the rows on
    char *coef
    size_t coef_stride
    char *intercept
    double scale
    double *losses
    char *dlogits  # first the logits
    RowOptions options  # from the first of the rows on
    Split samples  # of the forward pass
    Split strips  # of the backward pass, one vector of features wide


cdef void split_minibatch(Minibatch *m, size_t n, int n_threads) noexcept nogil:
    m.samples = split(n, MIN_ROWS_PER_CHUNK, n_threads)
    m.strips = split(m.coef_stride // m.kernels.lanes, 1, n_threads)


cdef weights_view weights_of(const Minibatch *m) noexcept nogil:
    """View the padded weights of a minibatch, class by class."""
    cdef weights_view weights
    weights.coef, weights.intercept, weights.stride = m.coef, m.intercept, m.coef_stride
    weights.n_features, weights.n_classes = m.n_features, m.n_classes
    return weights


cdef void minibatch_losses(
    const Minibatch *m, size_t chunk, char *dlogits, size_t stride
) noexcept nogil:
    """Losses of a chunk of rows, and the gradient in place of its logits, which begin at `dlogits`."""
    cdef size_t first = chunk * m.samples.size, n = length_of(&m.samples, chunk)
    cdef RowTargets shifted
    cdef const targets_view *targets = targets_from(
        &m.targets, first, m.kernels.element_size, &shifted)
    if m.options.given:
        losses_with_options(
            m.kernels, dlogits, stride, n, targets, &m.options, first, chunk, m.losses + first,
            dlogits, stride)
    else:
        m.kernels.cross_entropy(
            dlogits, stride, n, targets, m.scale, m.losses + first, dlogits, stride)


cdef void forward_chunk(void *context, size_t chunk) noexcept nogil:
    """Losses and gradient of the logits of some rows; the loss of a row without a softmax is NaN."""
    cdef Minibatch *m = <Minibatch *>context
    cdef size_t first = chunk * m.samples.size, n = length_of(&m.samples, chunk)
    cdef size_t offset = first * m.n_classes * m.kernels.element_size
    cdef uint64_t start = phase_begin()
    cdef weights_view weights = weights_of(m)
    m.kernels.scores(m.rows + first, n, &weights, m.dlogits + offset, m.n_classes)
    start = phase_next(PHASE_SCORES, start)
    minibatch_losses(m, chunk, m.dlogits + offset, m.n_classes)
    phase_next(PHASE_LOSS, start)


cdef bint uses_threads(size_t n_rows, size_t n_features, size_t n_classes) noexcept nogil:
    return <double>n_rows * n_features * n_classes >= MIN_PRODUCTS_FOR_THREADS


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
    cdef matrix_view dlogits
    dlogits.start, dlogits.n_columns = m.dlogits, m.n_classes
    dlogits.row_stride, dlogits.column_stride = m.n_classes, 1
    cdef uint64_t start = phase_begin()
    if chunk == 0 and g.dintercept != NULL:
        m.kernels.column_sums(m.dlogits, m.n_classes, n, m.n_classes, g.add, g.dintercept)
    if g.dcoef != NULL:
        for strip in range(first, first + length_of(&m.strips, chunk)):
            m.kernels.outer_sum(
                m.rows, n, strip * m.kernels.lanes, m.n_features, &dlogits, g.add, g.dcoef,
                m.coef_stride)
    phase_next(PHASE_UPDATE, start)


cdef void gradient_of_x_chunk(void *context, size_t chunk) noexcept nogil:
    """dX = dlogits @ W.T: the same sum, over classes instead of samples."""
    cdef Gradients *g = <Gradients *>context
    cdef Minibatch *m = g.minibatch
    cdef size_t size = m.kernels.element_size, strip
    cdef size_t first = chunk * m.samples.size, n = length_of(&m.samples, chunk)
    cdef matrix_view dlogits  # transposed
    dlogits.start, dlogits.n_columns = m.dlogits + first * m.n_classes * size, n
    dlogits.row_stride, dlogits.column_stride = 1, m.n_classes
    cdef uint64_t start = phase_begin()
    for strip in range(m.strips.n_items):
        m.kernels.outer_sum(
            g.coef_rows, m.n_classes, strip * m.kernels.lanes, m.n_features, &dlogits, False,
            g.dX + first * m.n_features * size, m.n_features)
    phase_next(PHASE_UPDATE, start)


def linear_cross_entropy(
    X, W, intercept, targets, double scale, losses, dW, dintercept, dX, int n_threads, weights=None,
    options=None
):
    if W.shape[1] > FEW_CLASSES:
        return packed_linear_cross_entropy(
            X, W, intercept, targets, scale, losses, dW, dintercept, dX, n_threads, weights, options)
    cdef View x = View(X), w = View(W), b = View(intercept), loss = View(losses, True)
    cdef View dw = View(dW, True), db = View(dintercept, True), dx = View(dX, True)
    cdef Targets t = Targets(targets, weights, w.length(1))
    cdef RowTargets shifted
    cdef Minibatch m
    if options is None and not dx.held and (dw.held or db.held) and has_plain_labels(&t.view, x):
        if w.length(1) == 2 and labelled_linear_cross_entropy(
                x, w, b, t, scale, loss, dw, db, n_threads, True) < 0:
            return -1
        return labelled_linear_cross_entropy(
            x, w, b, t, scale, loss, dw, db, n_threads, False)
    m.kernels, m.n_features, m.n_classes = x.kernels(), x.length(1), w.length(1)
    m.coef_stride = padded(m.n_features, m.kernels.lanes)
    m.intercept, m.scale = b.start, scale
    cdef size_t size = m.kernels.element_size, n_rows = x.length(0)
    split_minibatch(&m, min(n_rows, <size_t>LOSS_ROWS_PER_BLOCK), n_threads)
    cdef Options o = Options(options, scale, m.n_classes, size, m.samples.n_chunks)
    cdef Scratch coef = Scratch(m.n_classes, m.coef_stride, size)
    cdef Scratch dcoef = Scratch(m.n_classes if dw.held else 0, m.coef_stride, size)
    cdef Scratch dlogits = Scratch(LOSS_ROWS_PER_BLOCK, m.n_classes, size)
    cdef Scratch rows = Scratch(LOSS_ROWS_PER_BLOCK + ROWS_AHEAD, 1, sizeof(void *))
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
    cdef FloatState floats = FloatState()
    with nogil:
        floats.set()
        m.kernels.pack(
            w.start, w.buffer.strides[0], w.buffer.strides[1], m.n_features, m.n_classes, m.coef,
            m.coef_stride)
        for i in range(m.n_classes):
            gradients.coef_rows[i] = m.coef + i * m.coef_stride * size
        if uses_threads(min(n_rows, <size_t>LOSS_ROWS_PER_BLOCK), m.n_features, m.n_classes):
            helpers = pool_begin(n_threads)
        for block in range((n_rows + LOSS_ROWS_PER_BLOCK - 1) // LOSS_ROWS_PER_BLOCK):
            first = block * LOSS_ROWS_PER_BLOCK
            n = min(<size_t>LOSS_ROWS_PER_BLOCK, n_rows - first)
            split_minibatch(&m, n, n_threads)
            for i in range(n + ROWS_AHEAD):
                m.rows[i] = x.start + min(first + i, n_rows - 1) * m.n_features * size
            m.targets = targets_from(&t.view, first, size, &shifted)[0]
            m.options = options_from(&o.rows, first)
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
