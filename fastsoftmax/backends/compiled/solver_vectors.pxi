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
    cdef double G, beyond, distance, weight, part
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


def bound_terms(weights, slopes, row, features, target_features, double share, double l2, double l1):
    cdef View w = View(weights), g = View(slopes), q = View(row), x = View(features)
    cdef View t = View(target_features)
    cdef size_t n_rows = w.length(0), n = w.length(1), i
    cdef BoundTerms terms
    cdef const double *numbers
    cdef const char *of_w
    cdef FloatState floats = FloatState()
    terms.of_slopes = terms.of_penalty = terms.of_conjugate = 0
    with nogil:
        floats.set()
        for i in range(n_rows):
            of_w = w.start + i * w.buffer.strides[0]
            numbers = <const double *>(g.start + i * g.buffer.strides[0])
            if w.buffer.itemsize == 4:
                add_bound_terms(
                    <const float *>of_w, numbers, share * (<const double *>q.start)[i],
                    <const double *>x.start, <const double *>t.start + i * n, n, share, l2, l1, &terms)
            else:
                add_bound_terms(
                    <const double *>of_w, numbers, share * (<const double *>q.start)[i],
                    <const double *>x.start, <const double *>t.start + i * n, n, share, l2, l1, &terms)
    return terms.of_slopes, terms.of_penalty, terms.of_conjugate
