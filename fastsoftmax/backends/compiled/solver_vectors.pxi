"""The solver's own vectors: dot products, the two loops of L-BFGS's recursion, and the terms of the bound.

Sums are in float64. Nothing is fused and their order is fixed: bits are those of every set of instructions.
"""


cdef double dot_with(const real *a, const other_real *b, size_t n) noexcept nogil:
    """The sum of products, in four parts."""
    cdef double s0 = 0, s1 = 0, s2 = 0, s3 = 0
    cdef size_t i, whole = n - n % 4
    for i in range(0, whole, 4):
        s0 += <double>a[i] * b[i]
        s1 += <double>a[i + 1] * b[i + 1]
        s2 += <double>a[i + 2] * b[i + 2]
        s3 += <double>a[i + 3] * b[i + 3]
    for i in range(whole, n):
        s0 += <double>a[i] * b[i]
    return (s0 + s1) + (s2 + s3)


cdef void add_multiple(const real *a, double factor, double *b, size_t n) noexcept nogil:
    cdef size_t i
    for i in range(n):
        b[i] += factor * a[i]


cdef void loop_over(
    const real *steps, const real *differences, const double *products, double *q, double *factors,
    size_t n_pairs, size_t n, bint adds,
) noexcept nogil:
    cdef size_t i, k
    cdef double left
    for k in range(n_pairs):
        if adds:
            left = factors[k] - dot_with(differences + k * n, q, n) / products[k]
            add_multiple(steps + k * n, left, q, n)
        else:
            i = n_pairs - 1 - k
            factors[i] = dot_with(steps + i * n, q, n) / products[i]
            add_multiple(differences + i * n, -factors[i], q, n)


cdef run_loop(steps, differences, products, q, factors, bint adds):
    cdef View s = View(steps), y = View(differences), sy = View(products)
    cdef View vector = View(q, True), of_pairs = View(factors, True)
    cdef size_t n_pairs = s.length(0), n = s.length(1)
    cdef const double *of_products = <const double *>sy.start
    cdef double *numbers = <double *>vector.start
    cdef double *shares = <double *>of_pairs.start
    cdef FloatState floats = FloatState()
    with nogil:
        floats.set()
        if s.buffer.itemsize == 4:
            loop_over[float](
                <const float *>s.start, <const float *>y.start, of_products, numbers, shares,
                n_pairs, n, adds)
        else:
            loop_over[double](
                <const double *>s.start, <const double *>y.start, of_products, numbers, shares,
                n_pairs, n, adds)


def subtract_pairs(steps, differences, products, q, factors):
    run_loop(steps, differences, products, q, factors, False)


def add_pairs(steps, differences, products, q, factors):
    run_loop(steps, differences, products, q, factors, True)


cdef double dot_of_rows(const real *a, const other_real *b, View of_a, View of_b) noexcept nogil:
    cdef size_t n_rows = of_a.length(0), n = of_a.length(1), i
    cdef size_t a_step = of_a.buffer.strides[0], b_step = of_b.buffer.strides[0]
    cdef double total = 0
    if a_step == n * sizeof(real) and b_step == n * sizeof(other_real):
        return dot_with(a, b, n_rows * n)
    for i in range(n_rows):
        total += dot_with(
            <const real *>(<const char *>a + i * a_step),
            <const other_real *>(<const char *>b + i * b_step), n)
    return total


def dot(a, b):
    cdef View of_a = View(a), of_b = View(b)
    cdef bint a_is_single = of_a.buffer.itemsize == 4, b_is_single = of_b.buffer.itemsize == 4
    cdef FloatState floats = FloatState()
    cdef double total
    with nogil:
        floats.set()
        if a_is_single and b_is_single:
            total = dot_of_rows(<const float *>of_a.start, <const float *>of_b.start, of_a, of_b)
        elif a_is_single:
            total = dot_of_rows(<const float *>of_a.start, <const double *>of_b.start, of_a, of_b)
        elif b_is_single:
            total = dot_of_rows(<const double *>of_a.start, <const float *>of_b.start, of_a, of_b)
        else:
            total = dot_of_rows(<const double *>of_a.start, <const double *>of_b.start, of_a, of_b)
    return total


cdef struct BoundTerms:
    double of_slopes, of_penalty, of_conjugate


cdef void add_bound_terms(
    const real *w, const double *slopes, double q, const double *features, const double *target_features,
    size_t n, double share, double l2, double l1, BoundTerms *terms,
) noexcept nogil:
    cdef size_t i
    cdef double G, beyond, distance, weight, part, inverse = 0.5 / l2
    cdef double of_slopes = 0, squares = 0, of_conjugate = 0
    if l1 == 0 and isfinite(inverse):
        for i in range(n):
            weight = w[i]
            G = (q * features[i] - share * target_features[i]) + (1 - share) * slopes[i]
            distance = weight + G * inverse
            of_slopes += slopes[i] * weight
            squares += distance * distance
            of_conjugate += G * weight
        terms.of_slopes += of_slopes
        terms.of_penalty += l2 * squares
        terms.of_conjugate += of_conjugate
        return
    for i in range(n):
        weight = w[i]
        G = (q * features[i] - share * target_features[i]) + (1 - share) * slopes[i]
        beyond = fabs(G) - l1 if fabs(G) > l1 else 0.0
        if G < 0:
            beyond = -beyond
        distance = weight + beyond / (2 * l2)
        part = l2 * (distance * distance)
        if l1 > 0:
            part += l1 * fabs(weight) + weight * (G - beyond)
        terms.of_slopes += slopes[i] * weight
        terms.of_penalty += part
        terms.of_conjugate += G * weight


cdef double repair_row(
    const double *targets, const double *gradient, size_t stride, size_t n, double min_share, double *q,
    double *entropy,
) noexcept nogil:
    """The share of the constant row q, that row, and its entropy: as `solver_vectors.repaired_row`."""
    cdef size_t k
    cdef double p, needed = 0, share, total = 0
    for k in range(n):
        p = targets[k] + gradient[k * stride]
        if p != 0 and 1 - targets[k] / p > needed:
            needed = 1 - targets[k] / p
    share = min(needed + min_share, 1.0)
    for k in range(n):
        p = targets[k] + gradient[k * stride]
        q[k] = max((targets[k] - (1 - share) * p) / share, 0.0)
        total += q[k]
    entropy[0] = 0
    for k in range(n):
        q[k] /= total
        if q[k] > 0:
            entropy[0] -= q[k] * log(q[k])
    return share


cdef double gap_of(
    const real *w, const double *gradient, double loss, const double *targets,
    const double *target_features, const double *features, size_t n_rows, size_t n, size_t n_columns,
    double min_share, double l2, double l1, double *q,
) noexcept nogil:
    cdef BoundTerms terms
    cdef double share = 0, entropy = 0, of_intercept = 0
    cdef size_t i
    terms.of_slopes = terms.of_penalty = terms.of_conjugate = 0
    memset(q, 0, n_rows * sizeof(double))
    if n_columns > n:
        share = repair_row(targets, gradient + n, n_columns, n_rows, min_share, q, &entropy)
        for i in range(n_rows):
            of_intercept += gradient[i * n_columns + n] * w[i * n_columns + n]
    for i in range(n_rows):
        add_bound_terms(
            w + i * n_columns, gradient + i * n_columns, share * q[i], features,
            target_features + i * n, n, share, l2, l1, &terms)
    return terms.of_penalty - terms.of_conjugate + (
        (1 - share) * (terms.of_slopes + of_intercept) + share * (loss - entropy))


def duality_gap(weights, gradient, double loss, means, double min_share, double l2, double l1):
    targets, target_features, features = means
    cdef View w = View(weights), g = View(gradient), t = View(targets), tx = View(target_features)
    cdef View x = View(features)
    cdef size_t n_rows = w.length(0), n_columns = w.length(1), n = x.length(0)
    cdef Scratch q = Scratch(n_rows, 1, sizeof(double))
    cdef FloatState floats = FloatState()
    cdef double gap
    with nogil:
        floats.set()
        if w.buffer.itemsize == 4:
            gap = gap_of(
                <const float *>w.start, <const double *>g.start, loss, <const double *>t.start,
                <const double *>tx.start, <const double *>x.start, n_rows, n, n_columns, min_share, l2,
                l1, <double *>q.start)
        else:
            gap = gap_of(
                <const double *>w.start, <const double *>g.start, loss, <const double *>t.start,
                <const double *>tx.start, <const double *>x.start, n_rows, n, n_columns, min_share, l2,
                l1, <double *>q.start)
    return gap


cdef void penalised(
    const real *w, const double *mean, double curvature, size_t n, size_t n_columns, size_t size,
    double *gradient, double *squares,
) noexcept nogil:
    """The gradient with the penalty of the first of the columns, and the squares over those."""
    cdef size_t first, i
    memcpy(gradient, mean, size * sizeof(double))
    squares[0] = squares[1] = 0
    first = 0
    while first < size:
        for i in range(first, first + n):
            gradient[i] += curvature * w[i]
        squares[0] += dot_with(w + first, w + first, n)
        squares[1] += dot_with(gradient + first, gradient + first, n)
        first += n_columns


def add_penalty(weights, mean, double l2, size_t n_columns, gradient):
    cdef View w = View(weights), f = View(mean), g = View(gradient, True)
    cdef size_t width = w.length(1), size = w.length(0) * width
    cdef double squares[2]
    cdef FloatState floats = FloatState()
    with nogil:
        floats.set()
        if w.buffer.itemsize == 4:
            penalised(
                <const float *>w.start, <const double *>f.start, 2 * l2, n_columns, width, size,
                <double *>g.start, squares)
        else:
            penalised(
                <const double *>w.start, <const double *>f.start, 2 * l2, n_columns, width, size,
                <double *>g.start, squares)
    return squares[0], squares[1]


cdef bint step_from(
    const real *w, const double *direction, double step, size_t n, real *found, real *moved
) noexcept nogil:
    cdef size_t i
    cdef bint has_moved = False
    for i in range(n):
        found[i] = <real>(w[i] + step * direction[i])
        moved[i] = found[i] - w[i]
        has_moved |= moved[i] != 0
    return has_moved


def take_step(weights, direction, double size, slopes, found, moved):
    cdef View w = View(weights), d = View(direction), g = View(slopes), to = View(found, True)
    cdef View by = View(moved, True)
    cdef size_t n = w.length(0) * w.length(1)
    cdef bint has_moved
    cdef double promised
    cdef FloatState floats = FloatState()
    with nogil:
        floats.set()
        if w.buffer.itemsize == 4:
            has_moved = step_from(
                <const float *>w.start, <const double *>d.start, size, n, <float *>to.start,
                <float *>by.start)
            promised = dot_with(<const double *>g.start, <const float *>by.start, n)
        else:
            has_moved = step_from(
                <const double *>w.start, <const double *>d.start, size, n, <double *>to.start,
                <double *>by.start)
            promised = dot_with(<const double *>g.start, <const double *>by.start, n)
    return promised, has_moved


cdef void pair_between(
    const real *from_w, const real *to_w, const double *from_g, const double *to_g, size_t n, real *step,
    real *difference, double *products,
) noexcept nogil:
    cdef size_t i
    for i in range(n):
        step[i] = to_w[i] - from_w[i]
        difference[i] = <real>(to_g[i] - from_g[i])
    products[0] = dot_with(step, difference, n)
    products[1] = dot_with(step, step, n)
    products[2] = dot_with(difference, difference, n)


def fill_pair(ends, gradients, step, difference):
    cdef View w0 = View(ends[0]), w1 = View(ends[1]), g0 = View(gradients[0]), g1 = View(gradients[1])
    cdef View s = View(step, True), y = View(difference, True)
    cdef size_t n = w0.length(0) * w0.length(1)
    cdef double products[3]
    cdef FloatState floats = FloatState()
    with nogil:
        floats.set()
        if w0.buffer.itemsize == 4:
            pair_between(
                <const float *>w0.start, <const float *>w1.start, <const double *>g0.start,
                <const double *>g1.start, n, <float *>s.start, <float *>y.start, products)
        else:
            pair_between(
                <const double *>w0.start, <const double *>w1.start, <const double *>g0.start,
                <const double *>g1.start, n, <double *>s.start, <double *>y.start, products)
    return products[0], products[1], products[2]
