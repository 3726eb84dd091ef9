"""A step of Newton's method on a small problem: the Hessian and its Cholesky factor.

Sums are in float64. Nothing is fused and their order is fixed: bits are those of every set of instructions.
"""


cdef enum:
    ROWS_PER_UPDATE = 4


cdef struct newton:
    const double *x
    const double *targets
    const double *factor
    const double *of_logits
    size_t n_rows, size, n_unknown


cdef void curvatures(const newton *problem, size_t row, double *p, double *v, size_t stride) noexcept nogil:
    """The curvature v_kl of a row, for each pair of classes k <= l; p has room for the classes."""
    cdef size_t n = problem.n_unknown, k, m, place = 0
    cdef double last
    for k in range(n + 1):
        p[k] = (
            problem.of_logits[k * problem.n_rows + row] + problem.targets[k * problem.n_rows + row])
    last = p[n]
    for k in range(n):
        v[place] = (p[k] - last) * (p[k] - last) * problem.factor[row] + last + p[k]
        place += stride
        for m in range(k + 1, n):
            v[place] = (p[k] - last) * (p[m] - last) * problem.factor[row] + last
            place += stride


cdef void add_rows(
    const double *x, const double *v, size_t size, double *block
) noexcept nogil:
    """Add the sum of v x x' over some rows, below the diagonal."""
    cdef const double *x0 = x
    cdef const double *x1 = x + size
    cdef const double *x2 = x + 2 * size
    cdef const double *x3 = x + 3 * size
    cdef double a0, a1, a2, a3
    cdef double *out = block
    cdef size_t i, j
    for i in range(size):
        a0, a1, a2, a3 = v[0] * x0[i], v[1] * x1[i], v[2] * x2[i], v[3] * x3[i]
        for j in range(i + 1):
            out[j] += (a0 * x0[j] + a1 * x1[j]) + (a2 * x2[j] + a3 * x3[j])
        out += size


cdef void add_hessian(
    const newton *problem, double *blocks, double *v, double *p, double *few
) noexcept nogil:
    """Add the blocks of the pairs of classes; `few` has room for the last rows."""
    cdef size_t n_pairs = problem.n_unknown * (problem.n_unknown + 1) // 2
    cdef size_t size = problem.size, first = 0, n, i
    cdef const double *x
    while first < problem.n_rows:
        n = min(problem.n_rows - first, <size_t>ROWS_PER_UPDATE)
        x = problem.x + first * size
        if n < ROWS_PER_UPDATE:
            memset(v, 0, n_pairs * ROWS_PER_UPDATE * sizeof(double))
            memset(few, 0, ROWS_PER_UPDATE * size * sizeof(double))
            memcpy(few, x, n * size * sizeof(double))
            x = few
        for i in range(n):
            curvatures(problem, first + i, p, v + i, ROWS_PER_UPDATE)
        for i in range(n_pairs):
            add_rows(x, v + i * ROWS_PER_UPDATE, size, blocks + i * size * size)
        first += ROWS_PER_UPDATE


cdef void assemble(
    const newton *problem, const double *blocks, const double *curvature, const double *floor,
    double damping, double *H,
) noexcept nogil:
    """The upper triangle of the Hessian, with its penalty and its damping."""
    cdef size_t size = problem.size, n = problem.n_unknown * size, k, m, i, j
    cdef const double *block = blocks
    cdef double *place
    for k in range(problem.n_unknown):
        for m in range(k, problem.n_unknown):
            for i in range(size):
                place = H + (k * size + i) * n + m * size
                for j in range(i + 1):
                    place[j] = block[i * size + j]
                for j in range(i + 1, size):
                    place[j] = block[j * size + i]
                place[i] += curvature[i]
                if k == m:
                    place[i] += curvature[i] + floor[i]
                    place[i] *= 1 + damping
            block += size * size


cdef bint solve(double *H, double *b, size_t n) noexcept nogil:
    """b = inv(H) b, by H = U' U in place; False unless H is positive definite to rounding."""
    cdef size_t i, j, k
    cdef double pivot, factor, total
    cdef double *row
    cdef double *below
    for j in range(n):
        row = H + j * n
        if not (row[j] > 0 and isfinite(row[j])):
            return False
        pivot = 1 / sqrt(row[j])
        for k in range(j, n):
            row[k] *= pivot
        b[j] *= pivot
        for i in range(j + 1, n):
            below, factor = H + i * n, row[i]
            for k in range(i, n):
                below[k] -= factor * row[k]
            b[i] -= factor * b[j]
    for j in range(n):
        i = n - 1 - j
        row, total = H + i * n, b[i]
        for k in range(i + 1, n):
            total -= row[k] * b[k]
        b[i] = total / row[i]
    return True


cdef void fill_direction(
    const double *solution, const real *weights, const double *curvature, size_t n_unknown, size_t size,
    double *direction,
) noexcept nogil:
    """The steps of all classes; those in which the weights of all move alike take these to 0."""
    cdef size_t i, k
    cdef double total, mean
    for i in range(size):
        total = mean = 0
        for k in range(n_unknown):
            total += solution[k * size + i]
        if curvature[i] > 0:
            for k in range(n_unknown + 1):
                mean += weights[k * size + i]
            mean /= n_unknown + 1
        for k in range(n_unknown):
            direction[k * size + i] = solution[k * size + i] - mean
        direction[n_unknown * size + i] = -total - mean


def newton_direction(rows, of_logits, gradient, weights, double damping, direction):
    cdef View x = View(rows.x), t = View(rows.targets), f = View(rows.factor), g = View(gradient)
    cdef View curvature = View(rows.curvature), floor = View(rows.floor), z = View(of_logits)
    cdef View w = View(weights), out = View(direction, True)
    cdef newton problem
    problem.n_rows, problem.size, problem.n_unknown = x.length(0), x.length(1), z.length(0) - 1
    problem.x, problem.targets = <const double *>x.start, <const double *>t.start
    problem.factor, problem.of_logits = <const double *>f.start, <const double *>z.start
    cdef size_t size = problem.size, n = problem.n_unknown * size, i, k
    cdef size_t n_pairs = problem.n_unknown * (problem.n_unknown + 1) // 2
    cdef Scratch blocks = Scratch(n_pairs, size * size, sizeof(double))
    cdef Scratch H = Scratch(n, n, sizeof(double)), b = Scratch(n, 1, sizeof(double))
    cdef Scratch v = Scratch(n_pairs, ROWS_PER_UPDATE, sizeof(double))
    cdef Scratch p = Scratch(problem.n_unknown + 1, 1, sizeof(double))
    cdef Scratch few = Scratch(ROWS_PER_UPDATE, size, sizeof(double))
    cdef double *solution = <double *>b.start
    cdef const double *slopes = <const double *>g.start
    cdef bint is_definite
    cdef FloatState floats = FloatState()
    with nogil:
        floats.set()
        memset(blocks.start, 0, n_pairs * size * size * sizeof(double))
        add_hessian(
            &problem, <double *>blocks.start, <double *>v.start, <double *>p.start, <double *>few.start)
        assemble(
            &problem, <const double *>blocks.start, <const double *>curvature.start,
            <const double *>floor.start, damping, <double *>H.start)
        for k in range(problem.n_unknown):
            for i in range(size):
                solution[k * size + i] = problem.n_rows * (
                    slopes[problem.n_unknown * size + i] - slopes[k * size + i])
        is_definite = solve(<double *>H.start, solution, n)
        if is_definite and w.buffer.itemsize == 4:
            fill_direction(
                solution, <const float *>w.start, <const double *>curvature.start, problem.n_unknown,
                size, <double *>out.start)
        elif is_definite:
            fill_direction(
                solution, <const double *>w.start, <const double *>curvature.start, problem.n_unknown,
                size, <double *>out.start)
    return is_definite
