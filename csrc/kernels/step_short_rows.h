/* The step algorithm short_rows: rows of some dozens of features, as tables have them, and few classes.
 *
 *   z[s, k] = sum over j of x[s, j] * w[k, j]                                    scores
 *   dw[k, j] = sum over s of dz[s, k] * x[s, j],  applied to w (sgd_update.h)    gradient, update
 *
 * Decisions:
 *   - A dot product of 54 features is four multiply-adds and a fold of sixteen lanes, which takes longer. So LANES rows
 *     are transposed, a few features at a time and in registers, and a vector holds one feature of LANES samples: no
 *     sum is folded, and the scores are in the layout of the softmax (softmax_transposed.h).
 *   - The weights are so few that every thread may read them all, and have a gradient of its own. So samples are cut
 *     into chunks, and a chunk goes all the way from its rows to its gradient while it is in the first level of the
 *     cache; threads meet once a step, and no row passes between them.
 *   - The gradients of the chunks are added in order. The chunks follow from the size of the minibatch alone, and so
 *     does the result; within one, sums are over features and over samples in order.
 *   - Weights, their velocity and gradients are in strips of LANES features, strip[k][lane]: all classes of a feature
 *     are at fixed distances from one pointer. After the strips of a gradient comes that of the intercept, whose lanes
 *     are still to be folded.
 */
#ifndef FASTSOFTMAX_STEP_SHORT_ROWS_H
#define FASTSOFTMAX_STEP_SHORT_ROWS_H

#include "kernels/sgd_update.h"

/* sums[k] += w[k][j] * column j of the rows, for j in [first, first + n_features); `strip` holds these
 * weights. */
ALWAYS_INLINE void score_strip(const real *const *rows, size_t first, size_t n_features,
                               const real *strip, int n_classes, vec *sums) {
    for (size_t j = 0; j < n_features; j += COLUMNS_PER_TRANSPOSE) {
        vec x[COLUMNS_PER_TRANSPOSE];
        load_transposed(rows, first + j, x);
        UNROLL for (int i = 0; i < COLUMNS_PER_TRANSPOSE; ++i) {
            UNROLL for (int k = 0; k < n_classes; ++k) {
                sums[k] = fmadd(broadcast(strip[(size_t)k * LANES + j + (size_t)i]), x[i], sums[k]);
            }
        }
    }
}

/* Compute the scores of n_classes classes; `ends` are the last features of the rows, padded with zeros. */
ALWAYS_INLINE void short_scores_tile(const real *const *rows, size_t n_features,
                                     const real *const *ends, const real *const *next_rows,
                                     const real *strips, size_t strip_stride, int n_classes,
                                     real *block) {
    vec sums[TILE_COLUMNS];
    UNROLL for (int k = 0; k < n_classes; ++k) sums[k] = broadcast(0);
    size_t j = 0;
    for (; j + LANES <= n_features; j += LANES, strips += strip_stride) {
        if (next_rows) {
            UNROLL for (int i = 0; i < LANES; ++i) PREFETCH_L1(next_rows[i] + j);
        }
        score_strip(rows, j, LANES, strips, n_classes, sums);
    }
    if (next_rows) {
        /* A row that starts within a cache line ends in one more. */
        UNROLL for (int i = 0; i < LANES; ++i) PREFETCH_L1(next_rows[i] + n_features - 1);
    }
    if (j < n_features) {
        if (next_rows) {
            UNROLL for (int i = 0; i < LANES; ++i) PREFETCH_L1(next_rows[i] + j);
        }
        score_strip(ends, 0, n_features - j, strips, n_classes, sums);
    }
    UNROLL for (int k = 0; k < n_classes; ++k) store(block + k * LANES, sums[k]);
}

/* Calls CALL(n) with n as a constant, for n up to the size of a tile. */
#define FOR_TILE_SIZE(n, most, CALL)       \
    switch ((n) < (most) ? (n) : (most)) { \
    case 1:                                \
        CALL(1);                           \
        break;                             \
    case 2:                                \
        CALL(2);                           \
        break;                             \
    case 3:                                \
        CALL(3 < (most) ? 3 : (most));     \
        break;                             \
    case 4:                                \
        CALL(4 < (most) ? 4 : (most));     \
        break;                             \
    case 5:                                \
        CALL(5 < (most) ? 5 : (most));     \
        break;                             \
    case 6:                                \
        CALL(6 < (most) ? 6 : (most));     \
        break;                             \
    case 7:                                \
        CALL(7 < (most) ? 7 : (most));     \
        break;                             \
    case 8:                                \
        CALL(8 < (most) ? 8 : (most));     \
        break;                             \
    case 9:                                \
        CALL(9 < (most) ? 9 : (most));     \
        break;                             \
    default:                               \
        CALL(most);                        \
        break;                             \
    }

/* Kernel: the scores of one block. */
static void short_scores(const void *const *rows, size_t n_rows, size_t n_features,
                         const void *const *next_rows, const void *strips, size_t n_classes,
                         void *block) {
    const real *x[LANES], *end_rows[LANES];
    real ends[LANES][LANES];
    size_t end = n_features / LANES * LANES;
    for (size_t i = 0; i < LANES; ++i) {
        x[i] = (const real *)rows[i < n_rows ? i : n_rows - 1];
        end_rows[i] = ends[i];
        if (end < n_features) store(ends[i], load_first(x[i] + end, n_features - end, 0));
    }
    for (size_t k = 0; k < n_classes; k += TILE_COLUMNS) {
        const real *const *next = k ? NULL : (const real *const *)next_rows;
#define CALL(n)                                                                        \
    short_scores_tile(x, n_features, end_rows, next, (const real *)strips + k * LANES, \
                      n_classes * LANES, n, (real *)block + k * LANES)
        FOR_TILE_SIZE(n_classes - k, TILE_COLUMNS, CALL)
#undef CALL
    }
}

/* Strips of the gradient that are summed together: they share the factors. */
enum { TILE_STRIPS = TILE_COLUMNS >= 10 ? 2 : 1 };

/* Compute the gradient of n_strips strips from `first` on, the last one `width` wide, for n classes. */
ALWAYS_INLINE void short_gradient_tile(const real *const *rows, size_t n_rows, size_t first,
                                       int n_strips, size_t width, const real *dlogits,
                                       size_t n_classes, int n, int add_to_out, real *out) {
    vec sums[TILE_STRIPS][TILE_COLUMNS];
    UNROLL for (int t = 0; t < n_strips; ++t) {
        UNROLL for (int k = 0; k < n; ++k) {
            const real *sum = out + ((size_t)t * n_classes + (size_t)k) * LANES;
            sums[t][k] = add_to_out ? load(sum) : broadcast(0);
        }
    }
    for (size_t block = 0; block < n_rows; block += LANES, dlogits += LANES * n_classes) {
        size_t in_block = n_rows - block < LANES ? n_rows - block : LANES;
        for (size_t i = 0; i < in_block; ++i) {
            const real *row = rows[block + i] + first, *factors = dlogits + i;
            vec x[TILE_STRIPS];
            UNROLL for (int t = 0; t < n_strips - 1; ++t) x[t] = load(row + t * LANES);
            row += (n_strips - 1) * LANES;
            x[n_strips - 1] = width >= LANES ? load(row) : load_first(row, width, 0);
            UNROLL for (int k = 0; k < n; ++k) {
                vec factor = broadcast(factors[(size_t)k * LANES]);
                UNROLL for (int t = 0; t < n_strips; ++t) {
                    sums[t][k] = fmadd(factor, x[t], sums[t][k]);
                }
            }
        }
    }
    UNROLL for (int t = 0; t < n_strips; ++t) {
        UNROLL for (int k = 0; k < n; ++k) {
            store(out + ((size_t)t * n_classes + (size_t)k) * LANES, sums[t][k]);
        }
    }
}

/* Kernel: the gradient of a chunk of samples. */
static void short_gradient(const void *const *rows, size_t n_rows, size_t n_features,
                           const void *dlogits, size_t n_classes, int add_to_out, void *out) {
    const real *const *x = (const real *const *)rows;
    const real *g = dlogits;
    real *strip = out;
    for (size_t j = 0; j < n_features;) {
        size_t left = n_features - j;
        int n_strips = left > LANES ? TILE_STRIPS : 1;
        size_t width = left - (size_t)(n_strips - 1) * LANES;
        for (size_t k = 0; k < n_classes; k += TILE_COLUMNS) {
#define CALL_WITH(strips, n)                                                                  \
    short_gradient_tile(x, n_rows, j, strips, width, g + k * LANES, n_classes, n, add_to_out, \
                        strip + k * LANES)
#define CALL(n) CALL_WITH(TILE_STRIPS, n)
            if (n_strips == TILE_STRIPS) {
                FOR_TILE_SIZE(n_classes - k, TILE_COLUMNS, CALL)
            } else {
#undef CALL
#define CALL(n) CALL_WITH(1, n)
                FOR_TILE_SIZE(n_classes - k, TILE_COLUMNS, CALL)
            }
#undef CALL
#undef CALL_WITH
        }
        j += (size_t)n_strips * LANES;
        strip += (size_t)n_strips * n_classes * LANES;
    }
    for (size_t k = 0; k < n_classes; ++k) {
        vec sum = add_to_out ? load(strip + k * LANES) : broadcast(0);
        for (size_t s = 0; s < n_rows; s += LANES) {
            sum = add(sum, load_up_to(g + s * n_classes + k * LANES, n_rows - s, 0));
        }
        store(strip + k * LANES, sum);
    }
}

/* Return the vector at i of the sum of the gradients of the chunks. */
ALWAYS_INLINE vec chunk_sum(const real *gradients, size_t n_chunks, size_t stride, size_t i) {
    vec sum = load(gradients + i);
    for (size_t chunk = 1; chunk < n_chunks; ++chunk) {
        sum = add(sum, load(gradients + chunk * stride + i));
    }
    return sum;
}

/* Kernel: the update with the sum of the gradients of the chunks. */
static void short_update(const struct parts_view *gradients, size_t n_features,
                         const struct sgd_rule *rule, const struct update_view *update,
                         void *intercept, void *intercept_velocity) {
    const real *chunks = gradients->start;
    size_t n_chunks = gradients->n_parts, stride = gradients->stride, i = 0;
    real *w = update->weights, *v = update->velocity;
    size_t n_classes = update->n_classes;
    double *squares = update->squares, *magnitudes = update->magnitudes;
    struct vector_rule step = broadcast_rule(rule);
    for (size_t j = 0; j < n_features; j += LANES) {
        struct penalty_sums sums = {broadcast(0), broadcast(0), 0, 0};
        for (size_t k = 0; k < n_classes; ++k, i += LANES) {
            vec gradient = chunk_sum(chunks, n_chunks, stride, i);
            update_vector(w + i, v ? v + i : NULL, gradient, &step, &sums);
            if (k % CLASSES_PER_PARTIAL_SUM == CLASSES_PER_PARTIAL_SUM - 1) fold_penalty(&sums);
        }
        fold_penalty(&sums);
        squares[j / LANES] = sums.total_squares;
        magnitudes[j / LANES] = sums.total_magnitudes;
    }
    if (!intercept) return;
    real intercept_gradient[FEW_CLASSES];
    for (size_t k = 0; k < n_classes; ++k, i += LANES) {
        intercept_gradient[k] = sum_lanes(chunk_sum(chunks, n_chunks, stride, i));
    }
    update_intercept(intercept_gradient, n_classes, &step, intercept, intercept_velocity);
}

#endif
