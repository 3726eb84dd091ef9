"""An epoch of minibatch SGD in one call: one driver for all step algorithms."""


# The first that can train a problem and applies does so, unless one is forced.
cdef enum:
    N_STEP_ALGORITHMS = 4
cdef const StepAlgorithm *step_algorithms[N_STEP_ALGORITHMS]
step_algorithms[0], step_algorithms[1] = &short_rows, &panels
step_algorithms[2], step_algorithms[3] = &packed, &sparse

cdef const StepAlgorithm *forced_algorithm = NULL


def force_step_algorithm(name):
    """Have all problems trained by the step algorithm of that name, or each by its own for an empty name.

    Returns the name that was forced before. For tests and benchmarks: it acts on all threads.
    """
    global forced_algorithm
    before = "" if forced_algorithm == NULL else forced_algorithm.name.decode()
    names = [step_algorithms[i].name.decode() for i in range(N_STEP_ALGORITHMS)]
    if name and name not in names:
        raise ValueError(
            f"the environment variable FASTSOFTMAX_STEP must name a step algorithm, one of "
            f"{', '.join(names)}; got {name!r}"
        )
    forced_algorithm = step_algorithms[names.index(name)] if name else NULL
    return before


force_step_algorithm(os.environ.get("FASTSOFTMAX_STEP", ""))


cdef const StepAlgorithm *choose_step_algorithm(const TrainingShape *shape) except NULL:
    cdef size_t i
    cdef const char *obstacle
    if forced_algorithm != NULL:
        obstacle = forced_algorithm.obstacle(shape)
        if obstacle == NULL:
            return forced_algorithm
        kind = "sparse" if shape.is_sparse else "dense"
        models = " of several models" if shape.has_models else ""
        raise ValueError(
            f"the environment variable FASTSOFTMAX_STEP must name a step algorithm that can train "
            f"{kind} rows of {shape.n_features} features for {shape.n_classes} classes{models}; "
            f"{forced_algorithm.name.decode()!r} {obstacle.decode()}"
        )
    for i in range(<size_t>N_STEP_ALGORITHMS):
        if step_algorithms[i].obstacle(shape) == NULL and step_algorithms[i].applies(shape):
            return step_algorithms[i]
    raise ValueError("no step algorithm trains several models on sparse rows")


def step_algorithm(
    size_t n_features, size_t n_classes, dtype, bint is_sparse=False, bint has_models=False
):
    """Return the name of the step algorithm that trains on such rows, by the dtype of the weights."""
    cdef TrainingShape shape
    shape.n_features, shape.n_classes = n_features, n_classes
    shape.element_size = np.dtype(dtype).itemsize
    shape.is_sparse, shape.has_models = is_sparse, has_models
    return choose_step_algorithm(&shape).name.decode()


cdef class EpochArrays:
    """The arrays of an epoch, held for as long as the object lives, and where they lie."""

    cdef View X, values, indices, indptr, mean, inverse_scale, order, rates, objectives, l2s, l1s
    cdef View coef, intercept, coef_velocity, intercept_velocity, coef_sum, intercept_sum
    cdef Targets targets
    cdef TrainingShape shape
    cdef Epoch epoch

    def __cinit__(self, data, state, rule, order, size_t batch_size, rates, objectives, l2s, l1s):
        self.order, self.rates, self.objectives = View(order), View(rates), View(objectives, True)
        self.l2s, self.l1s = View(l2s), View(l1s)
        self.mean, self.inverse_scale = View(data.mean), View(data.inverse_scale)
        coef, intercept, coef_velocity, intercept_velocity, coef_sum, intercept_sum = state
        self.coef, self.intercept = View(coef, True), View(intercept, True)
        self.coef_velocity = View(coef_velocity, True)
        self.intercept_velocity = View(intercept_velocity, True)
        self.coef_sum, self.intercept_sum = View(coef_sum, True), View(intercept_sum, True)
        self.shape.n_classes, self.shape.n_features = self.coef.length(0), self.coef.length(1)
        self.shape.element_size = self.coef.buffer.itemsize
        self.shape.is_sparse, self.shape.has_models = isinstance(data.X, SparseRows), self.l2s.held
        self.describe_model(rule)
        self.describe_steps(data, batch_size)
        if self.shape.is_sparse:
            self.describe_sparse_rows(data.X, batch_size)
        else:
            self.describe_dense_rows(data.X)

    cdef describe_model(self, rule):
        cdef Minibatch *m = &self.epoch.minibatch
        cdef ModelArrays *model = &self.epoch.model
        cdef sgd_rule *to = &self.epoch.rule
        m.kernels = self.coef.kernels()
        m.n_features, m.n_classes = self.shape.n_features, self.shape.n_classes
        m.coef_stride = padded(m.n_features, m.kernels.lanes)
        model.coef, model.intercept = self.coef.start, self.intercept.start
        model.coef_velocity = self.coef_velocity.start
        model.intercept_velocity = self.intercept_velocity.start
        model.coef_sum, model.intercept_sum = self.coef_sum.start, self.intercept_sum.start
        to.l2, to.l1, to.momentum, to.nesterov, to.subgradient = rule

    cdef describe_steps(self, data, size_t batch_size):
        cdef Epoch *e = &self.epoch
        cdef size_t n_outputs = e.minibatch.n_classes  # of one model
        e.order, e.n_samples = <const int64_t *>self.order.start, self.order.length(0)
        e.batch_size = min(batch_size, e.n_samples)
        e.rates = <const double *>self.rates.start
        e.n_steps = self.rates.length(self.rates.buffer.ndim - 1)
        e.objectives = <double *>self.objectives.start
        if self.shape.has_models:
            e.models.n_models = self.l2s.length(0)
            e.models.l2s = <const double *>self.l2s.start
            e.models.l1s = <const double *>self.l1s.start
            n_outputs //= e.models.n_models
        self.targets = Targets(data.targets, data.weights, n_outputs)
        e.targets, e.n_targets = self.targets.view, len(data.targets)

    cdef describe_dense_rows(self, X):
        cdef Epoch *e = &self.epoch
        cdef Minibatch *m = &e.minibatch
        self.X = View(X)
        e.dense.start, e.dense.stride = self.X.start, self.X.buffer.strides[0]
        e.dense.dtype = input_dtype_of(self.X, m.kernels.element_size)
        e.dense.item_size = self.X.buffer.itemsize
        e.scaling.mean, e.scaling.inverse_scale = self.mean.start, self.inverse_scale.start
        e.converts_rows = (
            e.dense.dtype != INPUT_REAL or self.mean.held or self.inverse_scale.held)
        e.uses_threads = uses_threads(e.batch_size, m.n_features, m.n_classes)

    cdef describe_sparse_rows(self, X, size_t batch_size):
        cdef Epoch *e = &self.epoch
        self.values, self.indices, self.indptr = View(X.values), View(X.indices), View(X.indptr)
        e.sparse = sparse_matrix(self.values, self.indices, self.indptr)
        e.scaling.inverse_scale = self.inverse_scale.start
        e.steps_between_penalties = steps_between_penalties(X, batch_size)


cdef void pack_model(const StepAlgorithm *algorithm, const Epoch *e) noexcept nogil:
    cdef const Minibatch *m = &e.minibatch
    cdef const ModelArrays *model = &e.model
    cdef size_t size = m.kernels.element_size
    algorithm.pack(m, model.coef, m.coef)
    if model.coef_velocity != NULL:
        algorithm.pack(m, model.coef_velocity, e.velocity)
    if model.coef_sum != NULL:
        algorithm.pack(m, model.coef_sum, m.coef + e.rule.to_sums * size)
    if model.intercept_sum != NULL:
        memcpy(m.intercept, model.intercept, m.n_classes * size)
        memcpy(m.intercept + m.n_classes * size, model.intercept_sum, m.n_classes * size)


cdef void unpack_model(const StepAlgorithm *algorithm, const Epoch *e) noexcept nogil:
    cdef const Minibatch *m = &e.minibatch
    cdef const ModelArrays *model = &e.model
    cdef size_t size = m.kernels.element_size
    algorithm.unpack(m, m.coef, model.coef)
    if model.coef_velocity != NULL:
        algorithm.unpack(m, e.velocity, model.coef_velocity)
    if model.coef_sum != NULL:
        algorithm.unpack(m, m.coef + e.rule.to_sums * size, model.coef_sum)
    if model.intercept_sum != NULL:
        memcpy(model.intercept, m.intercept, m.n_classes * size)
        memcpy(model.intercept_sum, m.intercept + m.n_classes * size, m.n_classes * size)


cdef bint run_steps(
    const StepAlgorithm *algorithm, void *plan, const Epoch *e, size_t *step, int n_threads
) noexcept nogil:
    """Take steps until the last one, or the time to look for signals; return whether others can follow."""
    cdef double deadline = platform_seconds() + SECONDS_BETWEEN_SIGNALS
    cdef pool *helpers = pool_begin(n_threads) if e.uses_threads else NULL
    cdef bint goes_on = True
    while goes_on and step[0] < e.n_steps:
        goes_on = algorithm.step(plan, step[0], helpers)
        step[0] += 1
        if platform_seconds() > deadline:
            break
    pool_end(helpers)
    return goes_on


cdef run_epoch(EpochArrays arrays, int n_threads):
    """Change the model by the steps of an epoch, and return how many have been tried."""
    cdef Epoch *e = &arrays.epoch
    cdef const StepAlgorithm *algorithm = choose_step_algorithm(&arrays.shape)
    cdef Buffers buffers = Buffers()
    cdef void *plan = algorithm.plan(e, buffers)
    cdef size_t step = 0
    cdef bint goes_on = True
    cdef FloatState floats = FloatState()
    pack_model(algorithm, e)
    try:
        while goes_on and step < e.n_steps:
            with nogil:
                floats.set()
                goes_on = run_steps(algorithm, plan, e, &step, n_threads)
            if goes_on:
                PyErr_CheckSignals()
    finally:
        floats.set()
        algorithm.finish(plan)
        unpack_model(algorithm, e)
    return step


def sgd_epoch(data, state, rule, order, size_t batch_size, rates, int n_threads):
    objectives = np.empty(len(rates))
    arrays = EpochArrays(data, state, rule, order, batch_size, rates, objectives, None, None)
    return objectives[:run_epoch(arrays, n_threads)]


def sgd_epoch_of_models(
    data, state, rule, l2s, l1s, order, size_t batch_size, rates, int n_threads
):
    objectives = np.empty(rates.shape)
    run_epoch(
        EpochArrays(data, state, rule, order, batch_size, rates, objectives, l2s, l1s), n_threads)
    return objectives


def shuffle_in(order, size_t first, uniforms):
    """See `fastsoftmax.backends.shuffling`."""
    cdef View u = View(uniforms), out = View(order, True)
    cdef const double *numbers = <const double *>u.start
    cdef int64_t *taken = <int64_t *>out.start
    cdef int64_t i, j, begin = first, end = min(first + u.length(0), out.length(0))
    cdef FloatState floats = FloatState()
    with nogil:
        floats.set()
        for i in range(begin, end):
            j = <int64_t>(numbers[i - begin] * <double>(i + 1))  # signed: one instruction each way
            taken[i] = taken[j]
            taken[j] = i
