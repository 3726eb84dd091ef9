"""The two loops of L-BFGS's recursion; see `Backend.subtract_pairs`. Sums are in float64, in four parts.

Nothing is fused and the parts are added in one order: the bits are those of every instruction set.
"""

ctypedef fused real:
    float
    double


cdef double dot_with(const real *a, const double *b, size_t n) noexcept nogil:
    cdef double s0 = 0, s1 = 0, s2 = 0, s3 = 0
    cdef size_t i, whole = n - n % 4
    for i in range(0, whole, 4):
        s0 += a[i] * b[i]
        s1 += a[i + 1] * b[i + 1]
        s2 += a[i + 2] * b[i + 2]
        s3 += a[i + 3] * b[i + 3]
    for i in range(whole, n):
        s0 += a[i] * b[i]
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
