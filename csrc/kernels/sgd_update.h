/* The SGD update: gradient of the weights, penalty, momentum and step in one pass over the weights.
 *
 *   g = sum over s of dz[s, k] * x[s, j] + 2 * l2 * w  (+ l1 * sign(w), with subgradients)
 *   v <- momentum * v - rate * g,    w <- w + v    (Nesterov: w <- w + momentum * v - rate * g)
 *   w <- sign(w) * max(|w| - rate * l1, 0)         (proximal step of L1, without subgradients)
 *
 * Decisions:
 *   - The gradient is split by features, not by samples. A strip of one vector of features stays in registers
 *     for a tile of classes while all samples of the minibatch pass, in order; then penalty, momentum and step
 *     are applied to the strip. Except with short_rows, no gradient is written and no sum over threads is
 *     needed. The bits are the same for every number of threads.
 *   - Sums of averaged weights are updated while the weights are in registers.
 */
#ifndef FASTSOFTMAX_SGD_UPDATE_H
#define FASTSOFTMAX_SGD_UPDATE_H

#include <math.h> /* fabs */

#include "kernels/kernel_table.h"
#include "kernels/partial_sums.h"
#include "kernels/tile_sizes.h"
#include "simd/simd.h"

/* Where the gradient of logit k of sample s is: g[s / LANES * block + s % LANES * lane + k * column], in
 * blocks of LANES samples. For rows of `stride` elements, block is LANES * stride. */
struct dlogits_layout {
    size_t block, lane, column;
};

/* Prefetch half a block of vectors of the next rows, and the last few of a row together with those before.
 * The update of all samples takes as many blocks, so it prefetches half as many rows as it has samples. *done:
 * how many features of the first row have been prefetched. */
ALWAYS_INLINE void prefetch_half_block(struct rows_to_fetch *fetch, size_t *done) {
    if (fetch->n_rows == 0) return;
    const real *next = (const real *)*fetch->rows + fetch->first + *done;
    size_t left = fetch->n_features - *done;
    UNROLL for (int i = 0; i < LANES / 2; ++i) {
        if ((size_t)i * LANES < left) PREFETCH_L2(next + i * LANES);
    }
    *done += LANES / 2 * LANES;
    if (left > LANES / 2 * LANES + LANES / 4 * LANES) return;
    for (size_t j = LANES / 2 * LANES; j < left; j += LANES) PREFETCH_L2(next + j);
    PREFETCH_L2(next + left - 1); /* the cache line in which a row ends that starts within one */
    *done = 0;
    ++fetch->rows;
    --fetch->n_rows;
}

/* Do add_outer_products, where it is known whether the strip is full. */
ALWAYS_INLINE void add_products_of_strip(const real *const *rows, size_t n_rows, size_t first,
                                         size_t width, int is_full, const real *g,
                                         struct dlogits_layout layout, int n_columns,
                                         struct rows_to_fetch *fetch, size_t *fetched, vec *sums) {
    for (size_t block = 0; block < n_rows; block += LANES) {
        size_t n = n_rows - block < LANES ? n_rows - block : LANES;
        const real *block_g = g + block / LANES * layout.block;
        if (fetch) prefetch_half_block(fetch, fetched);
        /* One pointer is advanced: the compiler would keep one for each k, and has no registers for them. */
        for (size_t i = 0; i < n; ++i, block_g += layout.lane) {
            const real *row = rows[block + i] + first;
            vec x = is_full ? load(row) : load_first(row, width, 0);
            /* Of the next strip where it ends: rows may start within a cache line, and in the line where it
             * begins this one ends. */
            if (is_full && width > LANES) PREFETCH_L1(row + 2 * LANES - 1);
            UNROLL for (int k = 0; k < n_columns; ++k) {
                sums[k] = fmadd(broadcast(block_g[(size_t)k * layout.column]), x, sums[k]);
            }
        }
    }
}

/* sums[k] += sum over s of g[s, k] * rows[s][first : first + LANES], for n_columns values of k. With each
 * block of samples part of the next rows is prefetched. */
ALWAYS_INLINE void add_outer_products(const real *const *rows, size_t n_rows, size_t first,
                                      size_t width, const real *g, struct dlogits_layout layout,
                                      int n_columns, struct rows_to_fetch *fetch, size_t *fetched,
                                      vec *sums) {
    if (width >= LANES) {
        add_products_of_strip(rows, n_rows, first, width, 1, g, layout, n_columns, fetch, fetched,
                              sums);
    } else {
        add_products_of_strip(rows, n_rows, first, width, 0, g, layout, n_columns, fetch, fetched,
                              sums);
    }
}

/* Compute outer_sum for one tile of n_columns columns. */
ALWAYS_INLINE void outer_sum_tile(const real *const *rows, size_t n_rows, size_t first,
                                  size_t width, const real *g, size_t row_stride,
                                  size_t column_stride, int n_columns, int add_to_out, real *out,
                                  size_t out_stride) {
    vec sums[TILE_COLUMNS];
    UNROLL for (int k = 0; k < n_columns; ++k) {
        sums[k] = add_to_out ? load_up_to(out + k * out_stride, width, 0) : broadcast(0);
    }
    struct dlogits_layout layout = {LANES * row_stride, row_stride, column_stride};
    add_outer_products(rows, n_rows, first, width, g, layout, n_columns, NULL, NULL, sums);
    UNROLL for (int k = 0; k < n_columns; ++k) store_up_to(out + k * out_stride, sums[k], width);
}

/* Kernel: the sum over samples of an outer product, for one strip: the gradient alone, without a step. */
static inline void outer_sum(const void *const *rows, size_t n_rows, size_t first,
                             size_t n_features, const struct matrix_view *g, int add_to_out,
                             void *out, size_t out_stride) {
    const real *const *x = (const real *const *)rows;
    const real *factors = g->start;
    real *sums = (real *)out + first;
    size_t row_stride = g->row_stride, column_stride = g->column_stride, n_columns = g->n_columns;
    size_t width = n_features - first;
    for (size_t k = 0, n_tile; k < n_columns; k += n_tile) {
        n_tile = tile_size(n_columns - k, TILE_COLUMNS);
#define CALL(n)                                                                      \
    outer_sum_tile(x, n_rows, first, width, factors + k * column_stride, row_stride, \
                   column_stride, n, add_to_out, sums + k * out_stride, out_stride)
        FOR_TILE_SIZE(n_tile, TILE_COLUMNS, CALL)
#undef CALL
    }
}

/* The rule of a step, each factor broadcast in the kernel's type. */
struct vector_rule {
    vec negative_rate, twice_l2, l1, threshold, momentum;
    int has_l2, has_l1, has_threshold, nesterov;
    ptrdiff_t to_sums, intercept_to_sums;
};

/* Return the rule with its factors broadcast. */
static inline struct vector_rule broadcast_rule(const struct sgd_rule *rule) {
    return (struct vector_rule){
        .negative_rate = broadcast((real)-rule->rate),
        .twice_l2 = broadcast((real)(2 * rule->l2)),
        .l1 = broadcast((real)rule->l1),
        .threshold = broadcast((real)(rule->rate * rule->l1)),
        .momentum = broadcast((real)rule->momentum),
        .has_l2 = rule->l2 != 0,
        .has_l1 = rule->l1 != 0,
        .has_threshold = rule->l1 != 0 && !rule->subgradient,
        .nesterov = rule->nesterov,
        .to_sums = rule->to_sums,
        .intercept_to_sums = rule->intercept_to_sums,
    };
}

/* Apply the step to one vector of weights and its velocity, which is NULL without momentum; return the new
 * weights. */
ALWAYS_INLINE vec apply_step(vec w, vec gradient, const struct vector_rule *step, real *velocity,
                             size_t width) {
    if (!velocity) return fmadd(step->negative_rate, gradient, w);
    vec v = mul(step->momentum, load_up_to(velocity, width, 0));
    v = fmadd(step->negative_rate, gradient, v);
    store_up_to(velocity, v, width);
    if (!step->nesterov) return add(w, v);
    return fmadd(step->momentum, v, fmadd(step->negative_rate, gradient, w));
}

/* Return the subgradient of l1 * |w|: l1 * sign(w), 0 for 0, NaN for NaN. */
ALWAYS_INLINE vec l1_subgradient(vec w, vec l1) {
    vec zero = broadcast(0);
    return select_less(zero, magnitude(w), copy_sign(l1, w), mul(w, zero));
}

/* Return sign(w) * max(|w| - threshold, 0), the proximal step of L1. */
ALWAYS_INLINE vec soft_threshold(vec w, vec threshold) {
    /* maximum returns its second argument where one is NaN: a NaN remains. */
    return copy_sign(maximum(broadcast(0), sub(magnitude(w), threshold)), w);
}

/* Classes whose squares and magnitudes are summed lane by lane in the type, before they go to a double:
 * many classes lose no digits in float32. Which classes a partial sum has does not depend on the tiles. */
enum { CLASSES_PER_PARTIAL_SUM = 16 };

/* Sums of squares and of magnitudes of the weights of a strip: what the penalty of the objective needs. */
struct penalty_sums {
    vec squares, magnitudes;
    double total_squares, total_magnitudes;
};

/* Add the partial sums to the totals and start new ones. */
ALWAYS_INLINE void fold_penalty(struct penalty_sums *sums) {
    sums->total_squares += (double)sum_lanes(sums->squares);
    sums->total_magnitudes += (double)sum_lanes(sums->magnitudes);
    sums->squares = sums->magnitudes = broadcast(0);
}

/* Sum squares and magnitudes of the weights of a strip over all classes, as far as there is a penalty. By loops of their
 * own: beside the sums of a tile there are no registers left, and each class would wait for the one before to go to
 * memory and back. */
ALWAYS_INLINE void strip_penalty(const real *coef, size_t coef_stride, size_t n_classes,
                                 const struct vector_rule *step, double *squares,
                                 double *magnitudes) {
    double total_squares = 0, total_magnitudes = 0;
    for (size_t first = 0; first < n_classes; first += CLASSES_PER_PARTIAL_SUM) {
        size_t left = n_classes - first;
        size_t n = left < CLASSES_PER_PARTIAL_SUM ? left : CLASSES_PER_PARTIAL_SUM;
        const real *w = coef + first * coef_stride;
        vec sum = broadcast(0), magnitude_sum = broadcast(0);
        for (size_t k = 0; step->has_l2 && k < n; ++k) {
            vec v = load(w + k * coef_stride);
            sum = fmadd(v, v, sum);
        }
        for (size_t k = 0; step->has_l1 && k < n; ++k) {
            magnitude_sum = add(magnitude_sum, magnitude(load(w + k * coef_stride)));
        }
        total_squares += (double)sum_lanes(sum);
        total_magnitudes += (double)sum_lanes(magnitude_sum);
    }
    *squares = total_squares;
    *magnitudes = total_magnitudes;
}

/* Move one vector of weights: the gradient of the penalty, momentum, step and proximal step, and the sum of averaged
 * weights. */
ALWAYS_INLINE void move_vector(real *weights, real *velocity, vec gradient,
                               const struct vector_rule *step) {
    vec w = load(weights);
    if (step->has_l2) gradient = fmadd(step->twice_l2, w, gradient);
    if (step->has_l1 && !step->has_threshold) gradient = add(gradient, l1_subgradient(w, step->l1));
    w = apply_step(w, gradient, step, velocity, LANES);
    if (step->has_threshold) w = soft_threshold(w, step->threshold);
    store(weights, w);
    if (step->to_sums) store(weights + step->to_sums, add(load(weights + step->to_sums), w));
}

/* Update one vector of weights: its penalty, and what move_vector does. */
ALWAYS_INLINE void update_vector(real *weights, real *velocity, vec gradient,
                                 const struct vector_rule *step, struct penalty_sums *sums) {
    vec w = load(weights);
    if (step->has_l2) sums->squares = fmadd(w, w, sums->squares);
    if (step->has_l1) sums->magnitudes = add(sums->magnitudes, magnitude(w));
    move_vector(weights, velocity, gradient, step);
}

/* Update one vector of the intercept, of `width` elements: it has no penalty. */
ALWAYS_INLINE void update_intercept_vector(real *intercept, real *velocity, vec gradient,
                                           const struct vector_rule *step, size_t width) {
    vec b = apply_step(load_up_to(intercept, width, 0), gradient, step, velocity, width);
    store_up_to(intercept, b, width);
    if (!step->intercept_to_sums) return;
    real *sums = intercept + step->intercept_to_sums;
    store_up_to(sums, add(load_up_to(sums, width, 0), b), width);
}

/* Update a strip for one tile of classes. */
ALWAYS_INLINE void update_tile(const real *const *rows, size_t n_rows, size_t first, size_t width,
                               const real *g, struct dlogits_layout layout, int n_classes,
                               const struct vector_rule *step, real *coef, real *velocity,
                               size_t coef_stride, struct rows_to_fetch *fetch, size_t *fetched) {
    vec gradient[TILE_COLUMNS];
    UNROLL for (int k = 0; k < n_classes; ++k) gradient[k] = broadcast(0);
    add_outer_products(rows, n_rows, first, width, g, layout, n_classes, fetch, fetched, gradient);
    UNROLL for (int k = 0; k < n_classes; ++k) {
        real *v = velocity ? velocity + k * coef_stride : NULL;
        move_vector(coef + k * coef_stride, v, gradient[k], step);
    }
}

/* Update one strip, LANES features from `first` on, for all classes. */
ALWAYS_INLINE void update_strip(const real *const *rows, size_t n_rows, size_t first, size_t width,
                                const real *g, struct dlogits_layout layout, size_t n_classes,
                                const struct vector_rule *step, real *coef, real *velocity,
                                size_t coef_stride, struct rows_to_fetch *fetch, size_t *fetched,
                                double *squares, double *magnitudes) {
    real *w = coef + first, *v = velocity ? velocity + first : NULL;
    strip_penalty(w, coef_stride, n_classes, step, squares, magnitudes);
    for (size_t k = 0, n_tile; k < n_classes; k += n_tile) {
        n_tile = tile_size(n_classes - k, TILE_COLUMNS);
#define CALL(n)                                                                     \
    update_tile(rows, n_rows, first, width, g + k * layout.column, layout, n, step, \
                w + k * coef_stride, v ? v + k * coef_stride : NULL, coef_stride,   \
                k ? NULL : fetch, fetched)
        FOR_TILE_SIZE(n_tile, TILE_COLUMNS, CALL)
#undef CALL
    }
}

/* The most classes with which two strips are updated together: one alone has too few sums to hide the time of a
 * multiply-add. */
enum { MAX_PAIRED_CLASSES = TILE_COLUMNS >= 10 ? 4 : 2 };

/* Update two full strips from `first` on, for all classes, n of them. */
ALWAYS_INLINE void update_two_strips(const real *const *rows, size_t n_rows, size_t first,
                                     const real *g, struct dlogits_layout layout, int n,
                                     const struct vector_rule *step, real *coef, real *velocity,
                                     size_t coef_stride, struct rows_to_fetch *fetch,
                                     size_t *fetched, double *squares, double *magnitudes) {
    vec gradient[2][MAX_PAIRED_CLASSES];
    UNROLL for (int k = 0; k < n; ++k) gradient[0][k] = gradient[1][k] = broadcast(0);
    for (size_t block = 0; block < n_rows; block += LANES) {
        size_t in_block = n_rows - block < LANES ? n_rows - block : LANES;
        const real *block_g = g + block / LANES * layout.block;
        prefetch_half_block(fetch, fetched);
        prefetch_half_block(fetch, fetched);
        for (size_t i = 0; i < in_block; ++i, block_g += layout.lane) {
            const real *row = rows[block + i] + first;
            vec x[2] = {load(row), load(row + LANES)};
            PREFETCH_L1(row + 3 * LANES - 1);
            PREFETCH_L1(row + 4 * LANES - 1);
            UNROLL for (int k = 0; k < n; ++k) {
                vec factor = broadcast(block_g[(size_t)k * layout.column]);
                UNROLL for (int t = 0; t < 2; ++t) {
                    gradient[t][k] = fmadd(factor, x[t], gradient[t][k]);
                }
            }
        }
    }
    UNROLL for (int t = 0; t < 2; ++t) {
        struct penalty_sums sums = {broadcast(0), broadcast(0), 0, 0};
        UNROLL for (int k = 0; k < n; ++k) {
            size_t at = (size_t)k * coef_stride + first + (size_t)t * LANES;
            update_vector(coef + at, velocity ? velocity + at : NULL, gradient[t][k], step, &sums);
        }
        fold_penalty(&sums);
        squares[t] = sums.total_squares;
        magnitudes[t] = sums.total_magnitudes;
    }
}

/* Update the intercept, given its gradient. */
static inline void update_intercept(const real *gradient, size_t n_classes,
                                    const struct vector_rule *step, real *intercept,
                                    real *velocity) {
    for (size_t k = 0; k < n_classes; k += LANES) {
        size_t width = n_classes - k;
        update_intercept_vector(intercept + k, velocity ? velocity + k : NULL,
                                load_up_to(gradient + k, width, 0), step, width);
    }
}

/* Return `sum` plus the rows of g, `width` columns of them, in order. */
ALWAYS_INLINE vec column_sum(const real *g, size_t stride, size_t n_rows, size_t width, vec sum) {
    for (size_t s = 0; s < n_rows; ++s) sum = add(sum, load_up_to(g + s * stride, width, 0));
    return sum;
}

/* Kernel: the sum of the rows of g: the gradient of the intercept. */
static inline void column_sums(const void *g, size_t stride, size_t n_rows, size_t n_columns,
                               int add_to_out, void *out) {
    real *sums = out;
    for (size_t k = 0; k < n_columns; k += LANES) {
        size_t width = n_columns - k;
        vec sum = add_to_out ? load_up_to(sums + k, width, 0) : broadcast(0);
        store_up_to(sums + k, column_sum((const real *)g + k, stride, n_rows, width, sum), width);
    }
}

/* Kernel: the penalty of weights, and its gradient. */
static inline double penalty(const void *weights, size_t n, double l2, double l1, void *gradient) {
    const real *w = weights;
    real *g = gradient;
    vec twice_l2 = broadcast((real)(2 * l2)), positive = broadcast((real)l1);
    for (size_t j = 0; g && j < n; j += LANES) {
        vec v = load_up_to(w + j, n - j, 0);
        store_up_to(g + j, fmadd(twice_l2, v, l1_subgradient(v, positive)), n - j);
    }
    double squares[PARTIAL_SUMS] = {0}, magnitudes[PARTIAL_SUMS] = {0};
    size_t j = 0;
    for (; j + PARTIAL_SUMS <= n; j += PARTIAL_SUMS) {
        UNROLL for (size_t i = 0; i < PARTIAL_SUMS; ++i) {
            double x = (double)w[j + i];
            squares[i] += x * x;
            magnitudes[i] += fabs(x);
        }
    }
    for (size_t i = 0; j + i < n; ++i) {
        double x = (double)w[j + i];
        squares[i] += x * x;
        magnitudes[i] += fabs(x);
    }
    return (l2 != 0 ? l2 * fold_partial_sums(squares) : 0) +
           (l1 != 0 ? l1 * fold_partial_sums(magnitudes) : 0);
}

#endif
