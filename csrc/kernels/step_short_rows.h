/* The step algorithm short_rows: rows of some dozens of features, as tables have them, and few classes.
 *
 *   z[s, k] = sum over j of x[s, j] * w[k, j]                                    scores
 *   dw[k, j] = sum over s of dz[s, k] * x[s, j],  applied to w (sgd_update.h)    gradient, update
 *
 * Decisions:
 *   - A dot product of 54 features is four multiply-adds and a fold of sixteen lanes, which takes longer. So LANES rows
 *     are transposed, a few features at a time and in registers, and a vector holds one feature of LANES samples: no
 *     sum is folded, and the scores are in the layout of the softmax (softmax_transposed.h).
 *   - Where the classes are several register tiles, the first one keeps the transposed columns of some features for the
 *     others. Transposing them for each took 1.25 (64 features, 10 classes) to 1.44 (100, 20) times as long.
 *   - The weights are so few that every thread may read them all, and have a gradient of its own. So samples are cut
 *     into chunks, and a chunk goes all the way from its rows to its gradient while it is in the first level of the
 *     cache; threads meet once a step, and no row passes between them.
 *   - The gradients of the chunks are added in order. The chunks follow from the size of the minibatch alone, and so
 *     does the result; within one, sums are over features and over samples in order.
 *   - A row that ends within a vector is loaded up to its end, not masked: the cache line after it is that of a row which
 *     nobody has fetched, and at 18 features and 2 classes a quarter of the time was waiting for it.
 *   - Weights, their velocity and gradients are in strips of LANES features, strip[k][lane]: all classes of a feature
 *     are at fixed distances from one pointer. After the strips of a gradient comes that of the intercept, whose lanes
 *     are still to be folded.
 */
#ifndef FASTSOFTMAX_STEP_SHORT_ROWS_H
#define FASTSOFTMAX_STEP_SHORT_ROWS_H

#include "kernels/sgd_update.h"

/* sums[k] += w[k][j] * column j of the rows, for j in [first, first + n_features); `strip` holds these
 * weights. The columns are kept in `columns`, unless that is NULL. */
ALWAYS_INLINE void score_strip(const real *const *rows, size_t first, size_t n_features,
                               const real *strip, int n_classes, vec *sums,
                               real (*columns)[LANES]) {
    vec x[COLUMNS_PER_TRANSPOSE];
    size_t j = 0;
    for (; j + COLUMNS_PER_TRANSPOSE <= n_features; j += COLUMNS_PER_TRANSPOSE) {
        load_transposed(rows, first + j, x);
        UNROLL for (int i = 0; i < COLUMNS_PER_TRANSPOSE; ++i) {
            if (columns) store(columns[j + (size_t)i], x[i]);
            UNROLL for (int k = 0; k < n_classes; ++k) {
                sums[k] = fmadd(broadcast(strip[(size_t)k * LANES + j + (size_t)i]), x[i], sums[k]);
            }
        }
    }
    if (j == n_features) return;
    /* The columns that are left are the last ones of a transpose which ends with the row. */
    int n_done = (int)(j + COLUMNS_PER_TRANSPOSE - n_features);
    load_transposed(rows, first + n_features - COLUMNS_PER_TRANSPOSE, x);
    UNROLL for (int i = 1; i < COLUMNS_PER_TRANSPOSE; ++i) {
        if (i < n_done) continue;
        size_t at = j + (size_t)(i - n_done);
        if (columns) store(columns[at], x[i]);
        UNROLL for (int k = 0; k < n_classes; ++k) {
            sums[k] = fmadd(broadcast(strip[(size_t)k * LANES + at]), x[i], sums[k]);
        }
    }
}

/* Do what score_strip does, with columns that it has kept. */
ALWAYS_INLINE void score_columns(real (*columns)[LANES], size_t n_features, const real *strip,
                                 int n_classes, vec *sums) {
    for (size_t j = 0; j < n_features; ++j) {
        vec x = load_shared(columns[j]);
        UNROLL for (int k = 0; k < n_classes; ++k) {
            sums[k] = fmadd(broadcast(strip[(size_t)k * LANES + j]), x, sums[k]);
        }
    }
}

/* Features whose columns are kept for the next classes: 4 KiB of them. */
enum { KEPT_STRIPS = 4 };

/* What the columns of a tile are for. */
enum columns_use { USED_ONCE, KEPT, READ_AGAIN };

/* Compute the scores of n_classes classes by the features [first, end), or add to them from the second time on. */
ALWAYS_INLINE void short_scores_tile(const real *const *rows, size_t first, size_t end,
                                     const real *const *next_rows, const real *strips,
                                     size_t strip_stride, int n_classes, real (*columns)[LANES],
                                     enum columns_use use, real *block) {
    vec sums[TILE_COLUMNS];
    UNROLL for (int k = 0; k < n_classes; ++k) {
        sums[k] = first ? load(block + k * LANES) : broadcast(0);
    }
    for (size_t j = first; j < end; j += LANES, strips += strip_stride) {
        size_t width = end - j < LANES ? end - j : LANES;
        if (use == READ_AGAIN) {
            score_columns(columns + (j - first), width, strips, n_classes, sums);
            continue;
        }
        if (next_rows) {
            UNROLL for (int i = 0; i < LANES; ++i) PREFETCH_L2(next_rows[i] + j);
        }
        score_strip(rows, j, width, strips, n_classes, sums,
                    use == KEPT ? columns + (j - first) : NULL);
    }
    if (next_rows && use != READ_AGAIN) {
        /* A row that starts within a cache line ends in one more. */
        UNROLL for (int i = 0; i < LANES; ++i) PREFETCH_L2(next_rows[i] + end - 1);
    }
    UNROLL for (int k = 0; k < n_classes; ++k) store(block + k * LANES, sums[k]);
}

/* Kernel: the scores of one block. */
static void short_scores(const void *const *rows, size_t n_rows, size_t n_features,
                         const void *const *next_rows, const void *strips, size_t n_classes,
                         void *block) {
    const real *x[LANES], *const *next = (const real *const *)next_rows, *w = strips;
    real padded_rows[LANES][COLUMNS_PER_TRANSPOSE]; /* of rows that are too short to transpose */
    real columns[KEPT_STRIPS * LANES][LANES], *z = block;
    for (size_t i = 0; i < LANES; ++i) x[i] = (const real *)rows[i < n_rows ? i : n_rows - 1];
    if (n_features < COLUMNS_PER_TRANSPOSE) {
        memset(padded_rows, 0, sizeof padded_rows);
        for (size_t i = 0; i < LANES; ++i) {
            for (size_t j = 0; j < n_features; ++j) padded_rows[i][j] = x[i][j];
            x[i] = padded_rows[i];
        }
        n_features = COLUMNS_PER_TRANSPOSE;
    }
#define TILE_OF(n, use)                                                                            \
    short_scores_tile(x, first, end, next, w + (first * n_classes + k * LANES), n_classes * LANES, \
                      n, columns, use, z + k * LANES)
    if (n_classes <= TILE_COLUMNS) {
        size_t k = 0, first = 0, end = n_features;
#define CALL(n) TILE_OF(n, USED_ONCE)
        FOR_TILE_SIZE(n_classes, TILE_COLUMNS, CALL)
#undef CALL
        return;
    }
    for (size_t first = 0, end; first < n_features; first = end) {
        size_t k = 0;
        end = n_features - first < KEPT_STRIPS * LANES ? n_features : first + KEPT_STRIPS * LANES;
        size_t n_tile = tile_size(n_classes, TILE_COLUMNS);
#define CALL(n) TILE_OF(n, KEPT)
        FOR_TILE_SIZE(n_tile, TILE_COLUMNS, CALL)
#undef CALL
        for (k = n_tile; k < n_classes; k += n_tile) {
            n_tile = tile_size(n_classes - k, TILE_COLUMNS);
#define CALL(n) TILE_OF(n, READ_AGAIN)
            FOR_TILE_SIZE(n_tile, TILE_COLUMNS, CALL)
#undef CALL
        }
    }
#undef TILE_OF
}

/* Strips of the gradient that are summed together with n classes, a divisor of STRIPS_PER_GROUP: they share the factors,
 * and few classes alone would wait for the sums before. As many as have room for their sums and rows. */
enum { STRIPS_PER_GROUP = 6, MAX_GROUP_VECTORS = TILE_COLUMNS >= 10 ? 30 : 7 };
#define STRIPS_WITH(n)                                \
    ((n) == 1 || 6 * (n) + 6 <= MAX_GROUP_VECTORS ? 6 \
     : 3 * (n) + 3 <= MAX_GROUP_VECTORS           ? 3 \
     : 2 * (n) + 2 <= MAX_GROUP_VECTORS           ? 2 \
                                                  : 1)

/* Return the lanes of a vector `by` places further up, or further down where it is negative; 0 comes in. */
ALWAYS_INLINE vec moved_lanes(vec v, int by) {
    real lanes[3 * LANES];
    store(lanes, broadcast(0));
    store(lanes + LANES, v);
    store(lanes + 2 * LANES, broadcast(0));
    return load(lanes + LANES - by);
}

/* Compute the gradient of n_strips strips from `first` on, the last one `width` wide, for n classes. The features of a
 * strip that is not full are the last ones of a vector which ends with the row: a masked load would wait for the cache
 * line after the row, which nobody has fetched. is_short: rows are shorter than a vector. */
ALWAYS_INLINE void short_gradient_tile(const real *const *rows, size_t n_rows, size_t first,
                                       int n_strips, size_t width, int is_short,
                                       const real *dlogits, size_t n_classes, int n, int add_to_out,
                                       real *out) {
    vec sums[STRIPS_PER_GROUP][TILE_COLUMNS];
    int last = n_strips - 1, moved = is_short || width >= LANES ? 0 : LANES - (int)width;
    UNROLL for (int t = 0; t < n_strips; ++t) {
        UNROLL for (int k = 0; k < n; ++k) {
            const real *sum = out + ((size_t)t * n_classes + (size_t)k) * LANES;
            sums[t][k] = add_to_out ? load(sum) : broadcast(0);
            if (t == last && moved) sums[t][k] = moved_lanes(sums[t][k], moved);
        }
    }
    for (size_t block = 0; block < n_rows; block += LANES, dlogits += LANES * n_classes) {
        size_t in_block = n_rows - block < LANES ? n_rows - block : LANES;
        for (size_t i = 0; i < in_block; ++i) {
            const real *row = rows[block + i] + first, *factors = dlogits + i;
            vec x[STRIPS_PER_GROUP];
            UNROLL for (int t = 0; t < last; ++t) x[t] = load(row + t * LANES);
            row += last * LANES - moved;
            x[last] = is_short ? load_first(row, width, 0) : load(row);
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
            vec sum = t == last && moved ? moved_lanes(sums[t][k], -moved) : sums[t][k];
            store(out + ((size_t)t * n_classes + (size_t)k) * LANES, sum);
        }
    }
}

/* Compute the gradient of up to STRIPS_PER_GROUP strips, `width` features from `first` on, for n classes. */
ALWAYS_INLINE void short_gradient_group(const real *const *rows, size_t n_rows, size_t first,
                                        size_t width, const real *dlogits, size_t n_classes, int n,
                                        int add_to_out, real *out) {
    if (first + width < LANES) {
        short_gradient_tile(rows, n_rows, 0, 1, width, 1, dlogits, n_classes, n, add_to_out, out);
        return;
    }
    for (size_t done = 0; done < width;) {
        size_t left = (width - done + LANES - 1) / LANES;
        real *sums = out + done * n_classes;
#define TILE_OF(n_strips)                                                                    \
    if (n_strips <= STRIPS_WITH(n) && left >= n_strips) {                                    \
        short_gradient_tile(rows, n_rows, first + done, n_strips,                            \
                            width - done - (n_strips - 1) * LANES, 0, dlogits, n_classes, n, \
                            add_to_out, sums);                                               \
        done += n_strips * LANES;                                                            \
        continue;                                                                            \
    }
        TILE_OF(6)
        TILE_OF(3)
        TILE_OF(2)
        TILE_OF(1)
#undef TILE_OF
    }
}

/* Kernel: the gradient of a chunk of samples. */
static void short_gradient(const void *const *rows, size_t n_rows, size_t n_features,
                           const void *dlogits, size_t n_classes, int add_to_out, void *out) {
    const real *const *x = (const real *const *)rows;
    const real *g = dlogits;
    real *strip = out;
    for (size_t j = 0; j < n_features; j += STRIPS_PER_GROUP * LANES) {
        size_t left = n_features - j;
        size_t width = left < STRIPS_PER_GROUP * LANES ? left : STRIPS_PER_GROUP * LANES;
        for (size_t k = 0, n_tile; k < n_classes; k += n_tile) {
            n_tile = tile_size(n_classes - k, TILE_COLUMNS);
#define CALL(n)                                                                        \
    short_gradient_group(x, n_rows, j, width, g + k * LANES, n_classes, n, add_to_out, \
                         strip + k * LANES)
            FOR_TILE_SIZE(n_tile, TILE_COLUMNS, CALL)
#undef CALL
        }
        strip += (width + LANES - 1) / LANES * n_classes * LANES;
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
