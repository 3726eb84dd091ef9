"""The inverse of a Cholesky factor: as `factorization.inverse_factor`, whose sums are in the same order."""


cdef bint invert_factor(double *A, double *inverse, size_t n) noexcept nogil:
    """No lanes fold and nothing is fused: the bits are those of every instruction set."""
    cdef size_t i, j, k
    cdef double pivot, factor
    cdef double *row
    cdef double *of_row
    cdef const double *above
    cdef const double *of_above
    memset(inverse, 0, n * n * sizeof(double))
    for j in range(n):
        inverse[j * n + j] = 1
    for j in range(n):
        above, of_above = A + j * n, inverse + j * n
        pivot = above[j]
        if not (pivot > 0 and isfinite(pivot)):
            return False
        pivot = sqrt(pivot)
        for k in range(j, n):
            A[j * n + k] /= pivot
        for k in range(j + 1):
            inverse[j * n + k] /= pivot
        for i in range(j + 1, n):
            row, of_row, factor = A + i * n, inverse + i * n, above[i]
            for k in range(i, n):
                row[k] -= factor * above[k]
            for k in range(j + 1):
                of_row[k] -= factor * of_above[k]
    return True


def inverse_factor(A, out):
    cdef View a = View(A, True), inverse = View(out, True)
    cdef FloatState floats = FloatState()
    cdef bint is_definite
    with nogil:
        floats.set()
        is_definite = invert_factor(<double *>a.start, <double *>inverse.start, a.length(0))
    return is_definite
