/* Conversion of rows of X (uint8, float16, float32) to the type of the kernels, with standardisation; and the
 * moments of columns, from which mean and scale are computed.
 *
 *   x' = (x - mean) * inverse_scale      each operation rounded once, in the type of the kernels
 *
 * Decisions:
 *   - Rows are converted once a step, into a buffer of one minibatch, just before the thread that scores them
 *     reads them. The buffer is in the cache then, and again when the update reads it. Converting in every
 *     kernel would repeat the work for every tile of classes, and compile every kernel once for every type.
 *   - The input types are exact in float32, except for float64, which is not offered to it.
 *   - Subtracting first keeps the digits of columns with a large mean: x * a + b would lose them.
 *   - Moments are of x - origin, in float64, where origin is a row of X. With n rows
 *     (origin - mean)**2 <= n * variance, so n * eps bounds the relative error of the variance, and the variance
 *     of a constant column is exactly 0. Moments of bytes are summed as whole numbers, in float32 for as many
 *     rows as that is exact, with twice the lanes.
 */
#ifndef FASTSOFTMAX_CONVERT_H
#define FASTSOFTMAX_CONVERT_H

#include "kernels/kernel_table.h"
#include "simd/simd.h"

/* Bytes of an element of each input type. */
static const size_t ITEMSIZE[] = {
    [INPUT_UINT8] = 1, [INPUT_FLOAT16] = 2, [INPUT_FLOAT32] = 4, [INPUT_REAL] = sizeof(real)};

/* Return the elements [j, j + LANES) of a row. */
ALWAYS_INLINE vec load_input(const char *row, size_t j, enum input_dtype dtype) {
    if (dtype == INPUT_UINT8) return load_uint8((const uint8_t *)row + j);
    if (dtype == INPUT_FLOAT16) return load_float16((const uint16_t *)(const void *)row + j);
    if (dtype == INPUT_FLOAT32) return load_float32((const float *)(const void *)row + j);
    return load((const real *)(const void *)row + j);
}

/* Return the elements [j, j + LANES) of a row that may end after n of them: the others are 0. */
ALWAYS_INLINE vec load_input_up_to(const char *row, size_t j, size_t n, enum input_dtype dtype) {
    if (n >= LANES) return load_input(row, j, dtype);
    char last[LANES * sizeof(double)] = {0};
    memcpy(last, row + j * ITEMSIZE[dtype], n * ITEMSIZE[dtype]);
    return load_input(last, 0, dtype);
}

/* Convert one row, padded with zeros to whole vectors, and prefetch another. */
ALWAYS_INLINE void convert_row(const char *row, const char *next, enum input_dtype dtype,
                               size_t n_features, const real *mean, const real *inverse_scale,
                               real *out) {
    for (size_t j = 0; j < n_features; j += LANES) {
        size_t n = n_features - j, offset = j * ITEMSIZE[dtype];
        if (offset % CACHE_LINE == 0) PREFETCH_L1(next + offset);
        vec x = load_input_up_to(row, j, n, dtype);
        if (mean) x = sub(x, load_up_to(mean + j, n, 0));
        if (inverse_scale) x = mul(x, load_up_to(inverse_scale + j, n, 0));
        store(out + j, x);
    }
}

/* Kernel: rows converted and standardised. */
static void convert(const void *const *rows, size_t n_rows, enum input_dtype dtype, size_t first,
                    size_t n_features, const struct scaling_view *scaling, void *out,
                    size_t out_stride) {
    const real *mean = scaling->mean, *inverse_scale = scaling->inverse_scale;
    if (mean) mean += first;
    if (inverse_scale) inverse_scale += first;
    for (size_t i = 0; i < n_rows; ++i) {
        size_t offset = first * ITEMSIZE[dtype];
        const char *row = (const char *)rows[i] + offset;
        const char *next = (const char *)rows[i + CONVERTED_ROWS_AHEAD] + offset;
        real *converted = (real *)out + i * out_stride + first;
#define ROW_OF(dtype) convert_row(row, next, dtype, n_features, mean, inverse_scale, converted)
        if (dtype == INPUT_UINT8) {
            ROW_OF(INPUT_UINT8);
        } else if (dtype == INPUT_FLOAT16) {
            ROW_OF(INPUT_FLOAT16);
        } else if (dtype == INPUT_FLOAT32) {
            ROW_OF(INPUT_FLOAT32);
        } else {
            ROW_OF(INPUT_REAL);
        }
#undef ROW_OF
    }
}

#if defined(FASTSOFTMAX_FLOAT32)

/* Add the moments of a block of rows of bytes, for one tile of columns. */
ALWAYS_INLINE void byte_moments_tile(const uint8_t *rows, size_t stride, size_t n_rows, size_t n,
                                     int n_vectors, const double *origin, double *sums,
                                     double *squares) {
    vec sum[MOMENT_VECTORS], square[MOMENT_VECTORS];
    UNROLL for (int v = 0; v < n_vectors; ++v) sum[v] = square[v] = broadcast(0);
    for (size_t i = 0; i < n_rows; ++i) {
        PREFETCH_L1(rows + (i + BYTE_ROWS_PER_BLOCK) * stride);
        UNROLL for (int v = 0; v < n_vectors; ++v) {
            vec x = load_input_up_to((const char *)rows + i * stride, v * LANES, n - v * LANES,
                                     INPUT_UINT8);
            sum[v] = add(sum[v], x);
            square[v] = fmadd(x, x, square[v]);
        }
    }
    real s[MOMENT_VECTORS * LANES], q[MOMENT_VECTORS * LANES];
    UNROLL for (int v = 0; v < n_vectors; ++v) {
        store(s + v * LANES, sum[v]);
        store(q + v * LANES, square[v]);
    }
    for (size_t j = 0; j < n && j < (size_t)n_vectors * LANES; ++j) {
        /* Whole numbers below 2**53: exact. */
        sums[j] += (double)s[j] - (double)n_rows * origin[j];
        squares[j] += (double)q[j] + origin[j] * ((double)n_rows * origin[j] - 2 * (double)s[j]);
    }
}

/* Kernel: moments of columns, of bytes alone in float32. */
static void moments(const void *rows, size_t stride, size_t n_rows, size_t n_features,
                    enum input_dtype dtype, const double *origin, double *sums, double *squares) {
    (void)dtype; /* INPUT_UINT8 */
    for (size_t i = 0; i < n_rows; i += BYTE_ROWS_PER_BLOCK) {
        size_t n = n_rows - i < BYTE_ROWS_PER_BLOCK ? n_rows - i : BYTE_ROWS_PER_BLOCK, j = 0;
        const uint8_t *block = (const uint8_t *)rows + i * stride;
        for (; j + MOMENT_VECTORS * LANES <= n_features; j += MOMENT_VECTORS * LANES) {
            byte_moments_tile(block + j, stride, n, MOMENT_VECTORS * LANES, MOMENT_VECTORS,
                              origin + j, sums + j, squares + j);
        }
        for (; j < n_features; j += LANES) {
            byte_moments_tile(block + j, stride, n, n_features - j, 1, origin + j, sums + j,
                              squares + j);
        }
    }
}

#else

/* Add the moments of a block of rows, for one tile of columns. */
ALWAYS_INLINE void moments_tile(const char *rows, size_t stride, size_t n_rows, size_t j, size_t n,
                                int n_vectors, enum input_dtype dtype, const double *origin,
                                double *sums, double *squares) {
    vec sum[MOMENT_VECTORS], square[MOMENT_VECTORS], zero[MOMENT_VECTORS];
    UNROLL for (int v = 0; v < n_vectors; ++v) {
        zero[v] = load_up_to(origin + v * LANES, n - v * LANES, 0);
        sum[v] = load_up_to(sums + v * LANES, n - v * LANES, 0);
        square[v] = load_up_to(squares + v * LANES, n - v * LANES, 0);
    }
    for (size_t i = 0; i < n_rows; ++i) {
        const char *next = rows + (i + MOMENT_ROWS_PER_BLOCK) * stride + j * ITEMSIZE[dtype];
        PREFETCH_L1(next);
        if (dtype == INPUT_FLOAT32 || dtype == INPUT_REAL) PREFETCH_L1(next + CACHE_LINE);
        UNROLL for (int v = 0; v < n_vectors; ++v) {
            vec x = load_input_up_to(rows + i * stride, j + v * LANES, n - v * LANES, dtype);
            x = sub(x, zero[v]);
            sum[v] = add(sum[v], x);
            square[v] = fmadd(x, x, square[v]);
        }
    }
    UNROLL for (int v = 0; v < n_vectors; ++v) {
        store_up_to(sums + v * LANES, sum[v], n - v * LANES);
        store_up_to(squares + v * LANES, square[v], n - v * LANES);
    }
}

/* Add the moments of rows, block by block; dtype is a constant for the compiler. */
ALWAYS_INLINE void add_moments(const char *rows, size_t stride, size_t n_rows, size_t n_features,
                               enum input_dtype dtype, const double *origin, double *sums,
                               double *squares) {
    for (size_t i = 0; i < n_rows; i += MOMENT_ROWS_PER_BLOCK) {
        size_t n = n_rows - i < MOMENT_ROWS_PER_BLOCK ? n_rows - i : MOMENT_ROWS_PER_BLOCK, j = 0;
        const char *block = rows + i * stride;
        for (; j + MOMENT_VECTORS * LANES <= n_features; j += MOMENT_VECTORS * LANES) {
            moments_tile(block, stride, n, j, MOMENT_VECTORS * LANES, MOMENT_VECTORS, dtype,
                         origin + j, sums + j, squares + j);
        }
        for (; j < n_features; j += LANES) {
            moments_tile(block, stride, n, j, n_features - j, 1, dtype, origin + j, sums + j,
                         squares + j);
        }
    }
}

/* Kernel: moments of columns. */
static void moments(const void *rows, size_t stride, size_t n_rows, size_t n_features,
                    enum input_dtype dtype, const double *origin, double *sums, double *squares) {
#define MOMENTS_OF(dtype) \
    add_moments(rows, stride, n_rows, n_features, dtype, origin, sums, squares)
    if (dtype == INPUT_UINT8) {
        MOMENTS_OF(INPUT_UINT8);
    } else if (dtype == INPUT_FLOAT16) {
        MOMENTS_OF(INPUT_FLOAT16);
    } else if (dtype == INPUT_FLOAT32) {
        MOMENTS_OF(INPUT_FLOAT32);
    } else {
        MOMENTS_OF(INPUT_REAL);
    }
#undef MOMENTS_OF
}

#endif

#endif
