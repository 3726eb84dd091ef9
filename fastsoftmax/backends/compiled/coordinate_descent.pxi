"""Coordinate descent on a quadratic model with L1: as `backends.coordinate_descent`, in loops of C.

One thread, nothing fused, sums in one order: the bits are those of every instruction set.
"""

# The extrapolation takes the differences of that many sweeps.
cdef enum:
    N_EXTRAPOLATED = 5


cdef struct quadratic:
    const double *S
    const double *G
    const int64_t *classes
    const int64_t *features
    const double *slopes
    const double *curvature
    const double *thresholds
    const double *diagonal
    const double *pairs
    const double *signs
    const double *start
    size_t n_classes, n_features, n_pairs, n
    bint is_diagonal


cdef double curved(const quadratic *model, const double *moved, size_t i) noexcept nogil:
    """Return entry i of the product of S kron G with the step, from `moved`, that of the step with G."""
    cdef const double *row = model.S + <size_t>model.classes[i] * model.n_classes
    cdef const double *column = moved + model.features[i]
    cdef double total = 0
    cdef size_t k
    for k in range(model.n_classes):
        total += row[k] * column[k * model.n_features]
    return total


cdef double sweep(
    const quadratic *model, double *state, unsigned char *is_moving, bint takes_all
) noexcept nogil:
    """Minimise over one coordinate after the other; return the largest step times its curvature."""
    cdef double *weights = state
    cdef double *moved = state + model.n
    cdef double *shares = moved + model.n_classes * model.n_features
    cdef double largest = 0, slope, step, threshold, w, unshrunk, h
    cdef const double *pair
    cdef size_t i, j, m
    for i in range(model.n):
        h = model.diagonal[i]
        if not (h > 0 and (takes_all or is_moving[i])):
            continue
        w, pair = weights[i], model.pairs + i * model.n_pairs
        slope = model.slopes[i] + model.curvature[i] * (w - model.start[i])
        slope += curved(model, moved, i)
        slope += dot_with[double, double](pair, shares, model.n_pairs)
        unshrunk, threshold = w - slope / h, model.thresholds[i] / h
        if unshrunk > threshold:
            step = unshrunk - threshold
        elif unshrunk < -threshold:
            step = unshrunk + threshold
        else:
            step = 0
        if takes_all:
            is_moving[i] = step != 0 or w != 0
        weights[i], step = step, step - w
        if step == 0:
            continue
        largest = max(largest, fabs(h * step))
        j = <size_t>model.features[i]
        if model.is_diagonal:
            moved[<size_t>model.classes[i] * model.n_features + j] += step * model.G[j]
        else:
            add_multiple[double](
                model.G + j * model.n_features, step,
                moved + <size_t>model.classes[i] * model.n_features, model.n_features)
        for m in range(model.n_pairs):
            shares[m] += model.signs[m] * pair[m] * step
    return largest


cdef double value_of(const quadratic *model, const double *state) noexcept nogil:
    cdef const double *moved = state + model.n
    cdef const double *shares = moved + model.n_classes * model.n_features
    cdef double total = 0, step
    cdef size_t i
    for i in range(model.n):
        step = state[i] - model.start[i]
        total += step * (model.slopes[i] + (model.curvature[i] * step + curved(model, moved, i)) / 2)
        total += model.thresholds[i] * (fabs(state[i]) - fabs(model.start[i]))
    for i in range(model.n_pairs):
        total += model.signs[i] * shares[i] * shares[i] / 2
    return total


cdef bint solve_few(double *A, double *x) noexcept nogil:
    """Solve A x = 1 by elimination; A is symmetric positive definite, and overwritten."""
    cdef size_t i, j, k, n = N_EXTRAPOLATED
    cdef double factor
    for i in range(n):
        x[i] = 1
    for i in range(n):
        if not A[i * n + i] > 0:
            return False
        for j in range(i + 1, n):
            factor = A[j * n + i] / A[i * n + i]
            for k in range(i, n):
                A[j * n + k] -= factor * A[i * n + k]
            x[j] -= factor * x[i]
    for i in range(n):
        j = n - 1 - i
        for k in range(j + 1, n):
            x[j] -= A[j * n + k] * x[k]
        x[j] /= A[j * n + j]
    return True


cdef bint extrapolate(const quadratic *model, double *state, double *history, size_t size) noexcept nogil:
    """Move the state to Anderson's combination of the last ones, in `history`, if that is lower."""
    cdef double A[N_EXTRAPOLATED * N_EXTRAPOLATED]
    cdef double z[N_EXTRAPOLATED]
    cdef double total = 0, trace = 0
    cdef const double *a
    cdef const double *b
    cdef size_t i, j, k, n = N_EXTRAPOLATED
    for i in range(n):
        for j in range(i + 1):
            a, b, total = history + i * size, history + j * size, 0
            for k in range(model.n):
                total += (a[size + k] - a[k]) * (b[size + k] - b[k])
            A[i * n + j] = A[j * n + i] = total
        trace += A[i * n + i]
    for i in range(n):
        A[i * n + i] += 1e-10 * trace
    if not solve_few(A, z):
        return False
    total = 0
    for i in range(n):
        total += z[i]
    if not (total > 0 or total < 0):
        return False
    memset(history, 0, size * sizeof(double))
    for i in range(n):
        add_multiple[double](history + (i + 1) * size, z[i] / total, history, size)
    if not value_of(model, history) < value_of(model, state):
        return False
    memcpy(state, history, size * sizeof(double))
    return True


cdef size_t descend(
    const quadratic *model, double *state, double *history, unsigned char *is_moving, double tolerance,
    size_t max_sweeps,
) noexcept nogil:
    cdef size_t size = model.n + model.n_classes * model.n_features + model.n_pairs
    cdef size_t n_kept = 0, n_sweeps = 0
    cdef double first = 0, largest
    cdef bint takes_all = True
    while n_sweeps < max_sweeps:
        largest = sweep(model, state, is_moving, takes_all)
        n_sweeps += 1
        if takes_all:
            if n_sweeps == 1:
                first = largest
            if largest <= tolerance * first and (n_sweeps > 1 or first == 0):
                break
            takes_all, n_kept = False, 0
        elif largest <= 0.3 * tolerance * first:
            takes_all = True
            continue
        memcpy(history + n_kept * size, state, size * sizeof(double))
        n_kept += 1
        if n_kept == N_EXTRAPOLATED + 1:
            extrapolate(model, state, history, size)
            memcpy(history, state, size * sizeof(double))
            n_kept = 1
    return n_sweeps


def coordinate_descent(model, weights, tolerance, max_sweeps):
    cdef View S = View(model.S), G = View(model.G), classes = View(model.classes)
    cdef View features = View(model.features), slopes = View(model.slopes)
    cdef View curvature = View(model.curvature), thresholds = View(model.thresholds)
    cdef View diagonal = View(model.diagonal), pairs = View(model.pairs), signs = View(model.signs)
    cdef View out = View(weights, True)
    cdef quadratic view
    view.S, view.G = <const double *>S.start, <const double *>G.start
    view.classes, view.features = <const int64_t *>classes.start, <const int64_t *>features.start
    view.slopes, view.curvature = <const double *>slopes.start, <const double *>curvature.start
    view.thresholds, view.diagonal = <const double *>thresholds.start, <const double *>diagonal.start
    view.pairs, view.signs = <const double *>pairs.start, <const double *>signs.start
    view.n, view.n_pairs = out.length(0), signs.length(0)
    view.n_classes, view.n_features = S.length(0), G.length(G.buffer.ndim - 1)
    view.is_diagonal = G.buffer.ndim == 1
    cdef size_t size = view.n + view.n_classes * view.n_features + view.n_pairs, n_sweeps
    cdef double allowed = tolerance
    cdef size_t limit = max_sweeps
    state_array, history_array = np.zeros(size), np.empty((N_EXTRAPOLATED + 1) * size)
    start_array, moving_array = weights.copy(), np.ones(view.n, np.uint8)
    cdef View state = View(state_array, True), history = View(history_array, True)
    cdef View start = View(start_array), moving = View(moving_array, True)
    view.start = <const double *>start.start
    cdef FloatState floats = FloatState()
    with nogil:
        floats.set()
        memcpy(state.start, start.start, view.n * sizeof(double))
        n_sweeps = descend(
            &view, <double *>state.start, <double *>history.start, <unsigned char *>moving.start,
            allowed, limit)
        memcpy(out.start, state.start, view.n * sizeof(double))
    return n_sweeps
