"""Minibatches of the linear classifier, and `linear_cross_entropy` over them."""


cdef extern from "Python.h":
    # Without Cython's check of what it returns: the exception stays set.
    int set_pending_exception "PyErr_CheckSignals" () noexcept


cdef enum:
    INTERRUPTED = -3  # an exception is set


cdef struct LinearLoss:
    # The arguments of `linear_cross_entropy`; NULL for what is not there or not asked for
    const kernel_table *kernels
    size_t n_rows, n_features, n_classes
    const char *X
    const char *W
    ptrdiff_t W_strides[2]  # of features and classes, in bytes
    char *intercept
    targets_view targets
    RowOptions options
    double scale
    double *losses
    char *dW
    ptrdiff_t dW_strides[2]
    char *dintercept
    char *dX
    int n_threads
    bint is_interruptible  # by signals, for which it takes the GIL
    Memory memory


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


cdef ptrdiff_t linear_loss(LinearLoss *l) noexcept nogil:
    """Compute all of `l`; return the first row without a loss, -1, FASTSOFTMAX_NO_MEMORY or INTERRUPTED.

    The caller frees the memory.
    """
    cdef ptrdiff_t invalid
    l.memory.block = NULL
    if l.n_classes > FEW_CLASSES:
        return packed_linear_loss(l)
    cdef bint has_gradient_of_weights = l.dW != NULL or l.dintercept != NULL
    if l.dX == NULL and has_gradient_of_weights and not l.options.given and has_plain_labels(l):
        if l.n_classes == 2:
            invalid = labelled_linear_loss(l, True)
            if invalid < 0:
                return invalid
            free_memory(&l.memory)
        return labelled_linear_loss(l, False)
    return minibatch_linear_loss(l)


cdef ptrdiff_t minibatch_linear_loss(LinearLoss *l) noexcept nogil:
    cdef RowTargets shifted
    cdef Minibatch m
    m.kernels, m.n_features, m.n_classes = l.kernels, l.n_features, l.n_classes
    m.coef_stride = padded(m.n_features, m.kernels.lanes)
    m.intercept, m.scale = l.intercept, l.scale
    cdef size_t size = m.kernels.element_size, n_rows = l.n_rows
    cdef size_t n_dcoef = m.n_classes if l.dW != NULL else 0
    cdef Gradients gradients
    begin_memory(&l.memory)
    ask_for(&l.memory, &m.coef, m.n_classes, m.coef_stride, size)
    ask_for(&l.memory, &gradients.dcoef, n_dcoef, m.coef_stride, size)
    ask_for(&l.memory, &m.dlogits, LOSS_ROWS_PER_BLOCK, m.n_classes, size)
    ask_for(
        &l.memory, <char **>&m.rows, LOSS_ROWS_PER_BLOCK + ROWS_AHEAD, 1, sizeof(void *))
    ask_for(&l.memory, <char **>&gradients.coef_rows, m.n_classes, 1, sizeof(void *))
    split_minibatch(&m, min(n_rows, <size_t>LOSS_ROWS_PER_BLOCK), l.n_threads)
    ask_for_option_scratch(&l.memory, &l.options, m.n_classes, size, m.samples.n_chunks)
    if not take_memory(&l.memory):
        return FASTSOFTMAX_NO_MEMORY
    gradients.minibatch = &m
    if l.dW == NULL:
        gradients.dcoef = NULL
    gradients.dintercept, gradients.dX = l.dintercept, l.dX
    cdef pool *helpers = NULL
    cdef size_t block, first, n, i
    cdef ptrdiff_t invalid = -1
    cdef float_state caller = float_state_enter()
    m.kernels.pack(
        l.W, l.W_strides[0], l.W_strides[1], m.n_features, m.n_classes, m.coef, m.coef_stride)
    for i in range(m.n_classes):
        gradients.coef_rows[i] = m.coef + i * m.coef_stride * size
    if uses_threads(min(n_rows, <size_t>LOSS_ROWS_PER_BLOCK), m.n_features, m.n_classes):
        helpers = pool_begin(l.n_threads)
    for block in range((n_rows + LOSS_ROWS_PER_BLOCK - 1) // LOSS_ROWS_PER_BLOCK):
        first = block * LOSS_ROWS_PER_BLOCK
        n = min(<size_t>LOSS_ROWS_PER_BLOCK, n_rows - first)
        split_minibatch(&m, n, l.n_threads)
        for i in range(n + ROWS_AHEAD):
            m.rows[i] = l.X + min(first + i, n_rows - 1) * m.n_features * size
        m.targets = targets_from(&l.targets, first, size, &shifted)[0]
        m.options = options_from(&l.options, first)
        m.losses = l.losses + first
        pool_for(helpers, forward_chunk, &m, m.samples.n_chunks)
        for i in range(n):
            if isnan(m.losses[i]):
                invalid = <ptrdiff_t>(first + i)
                break
        if invalid >= 0:
            break
        gradients.add = block > 0
        if l.dW != NULL or l.dintercept != NULL:
            pool_for(helpers, gradient_chunk, &gradients, m.strips.n_chunks)
        if gradients.dX != NULL:
            pool_for(helpers, gradient_of_x_chunk, &gradients, m.samples.n_chunks)
            gradients.dX += n * m.n_features * size
    pool_end(helpers)
    if invalid < 0 and l.dW != NULL:
        m.kernels.unpack(
            gradients.dcoef, m.coef_stride, m.n_features, m.n_classes, l.dW, l.dW_strides[0],
            l.dW_strides[1])
    float_state_leave(&caller)
    return invalid


cdef ptrdiff_t raise_for(ptrdiff_t invalid, const Memory *memory) except INTERRUPTED:
    """Raise for FASTSOFTMAX_NO_MEMORY, and what INTERRUPTED has set."""
    if invalid == FASTSOFTMAX_NO_MEMORY:
        raise no_memory(<double>memory.n_bytes)
    return invalid


def linear_cross_entropy(
    X, W, intercept, targets, double scale, losses, dW, dintercept, dX, int n_threads, weights=None,
    options=None
):
    cdef View x = View(X), w = View(W), b = View(intercept), loss = View(losses, True)
    cdef View dw = View(dW, True), db = View(dintercept, True), dx = View(dX, True)
    cdef Targets t = Targets(targets, weights, w.length(1))
    cdef Options o = Options(options, scale, w.length(1))
    cdef LinearLoss l
    cdef ptrdiff_t invalid
    l.kernels, l.n_rows, l.n_features, l.n_classes = (
        x.kernels(), x.length(0), x.length(1), w.length(1))
    l.X, l.W, l.intercept, l.targets, l.options = x.start, w.start, b.start, t.view, o.rows
    l.W_strides[0], l.W_strides[1] = w.buffer.strides[0], w.buffer.strides[1]
    l.scale, l.losses = scale, <double *>loss.start
    l.dW, l.dintercept, l.dX = dw.start, db.start, dx.start
    if dw.held:
        l.dW_strides[0], l.dW_strides[1] = dw.buffer.strides[0], dw.buffer.strides[1]
    l.n_threads, l.is_interruptible = n_threads, True
    with nogil:
        invalid = linear_loss(&l)
        free_memory(&l.memory)
    return raise_for(invalid, &l.memory)
