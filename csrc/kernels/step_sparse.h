/* The step algorithm sparse: CSR rows; the cost of a step is that of the stored values.
 *
 *   z[s] = intercept + sum over the values x of row s, in column j, of x * w[j]         scores
 *   w[j] <- w[j] + factor * x * dz[s]                                                   update
 *
 * where x is a value as it is stored or, with inverse scales, that times the inverse scale of its column, rounded once.
 *
 * Decisions:
 *   - Weights are feature-major, in slabs of some vectors of classes, which stay in registers while the values of a
 *     row pass: a value is a scalar times these vectors, in the order in which the values are stored. No sum is
 *     folded, so the result follows from the rows alone. Slabs share nothing but the rows: each may have a thread.
 *   - What the penalty alone does to the weights of a feature in the steps s+1 .. t that do not meet it,
 *
 *       w <- sign(a_i w) * max(|a_i w| - h_i, 0),   a_i = 1 - 2 * l2 * rate_i,   h_i = rate_i * l1,
 *
 *     is one such map: a weight that has reached 0 stays there, so
 *
 *       w <- sign(a w) * max(|a w| - h, 0),   a = A_t / A_s,   h = |A_t| * (C_t - C_s),
 *       A_t = product of a_i up to t,   C_t = sum of h_i / |A_i| up to t.
 *
 *     A and C are float64, and each feature stores the number of steps that its weights have undergone.
 *   - sparse_scores brings the weights that it meets up to date. sparse_update divides its factor by a_i of this step
 *     (the caller does), so that the penalty of the step itself may come later too: a (w + g / a) = a w + g.
 *   - With momentum m each weight w has a velocity v, and a step that does not meet them is linear in both:
 *
 *       v <- m v - b_i w,   w <- w + v  (Nesterov: w + m v - b_i w, with the new v),   b_i = 2 * l2 * rate_i.
 *
 *     What the steps s+1 .. t do is a product of 2 x 2 matrices. As the quotient of two prefixes it would have no
 *     digits left, since these contract. So the products of all runs of 2^k steps that start at a multiple of 2^k are
 *     stored, that of the steps [s, s + 2^k) at 2 s + 2^k - 1; any other run is at most 2 log2(length) of them. All
 *     of it is float64, and nothing is divided. Soft thresholds are not linear: with momentum there are none.
 *   - With momentum sparse_update_velocity applies the map of the step itself, where sparse_update without it divides
 *     its factor: a map may have no inverse.
 *   - Columns are checked where they are used: the arrays are the caller's, who may have changed them since. One that
 *     does not exist makes a score NaN, and the step is not taken.
 *   - In a step, which draws its rows, the weights of a feature may be anywhere in memory: those of the next sparse row
 *     are prefetched while this one computes. sparse_products computes the scores of rows in order, and as products
 *     with the transposed matrix the gradient of a whole training set: a sum then stays in registers.
 */
#ifndef FASTSOFTMAX_STEP_SPARSE_H
#define FASTSOFTMAX_STEP_SPARSE_H

#include <float.h>
#include <math.h> /* fabs */

#include "kernels/sgd_update.h"

/* A slab of the weights. */
struct slab {
    real *start, *velocity; /* the latter NULL without momentum */
    uint32_t *steps;
    size_t first, n_classes, stride; /* of its classes */
};

/* Return slab i. */
ALWAYS_INLINE struct slab view_slab(const struct sparse_weights *weights, size_t i) {
    size_t most = SPARSE_SLAB_VECTORS * LANES, left = weights->n_classes - i * most;
    size_t n_classes = left < most ? left : most;
    size_t begin = i * most * weights->n_features;
    return (struct slab){
        (real *)weights->start + begin,
        weights->velocity ? (real *)weights->velocity + begin : NULL,
        weights->steps ? weights->steps + i * weights->n_features : NULL,
        i * most,
        n_classes,
        (n_classes + LANES - 1) / LANES * LANES,
    };
}

/* Runs RUN(width of a slab in vectors, whether indices are wide, whether there are inverse scales) with
 * these as constants. */
#define FOR_EACH_KIND(slab, weights, RUN) FOR_EACH_WIDTH(slab, weights, RUN, FOR_EACH_VALUE_KIND)

#define FOR_EACH_WIDTH(slab, weights, RUN, FOR_EACH) \
    switch ((slab).stride / LANES) {                 \
    case 1:                                          \
        FOR_EACH(weights, RUN, 1);                   \
        break;                                       \
    case 2:                                          \
        FOR_EACH(weights, RUN, 2);                   \
        break;                                       \
    case 3:                                          \
        FOR_EACH(weights, RUN, 3);                   \
        break;                                       \
    default:                                         \
        FOR_EACH(weights, RUN, SPARSE_SLAB_VECTORS); \
    }

#define FOR_EACH_INDEX_KIND(weights, RUN, width) \
    if ((weights)->wide_indices) {               \
        RUN(width, 1, 0);                        \
    } else {                                     \
        RUN(width, 0, 0);                        \
    }

#define FOR_EACH_VALUE_KIND(weights, RUN, width)                        \
    switch (!(weights)->inverse_scale * 2 + !(weights)->wide_indices) { \
    case 0:                                                             \
        RUN(width, 1, 1);                                               \
        break;                                                          \
    case 1:                                                             \
        RUN(width, 0, 1);                                               \
        break;                                                          \
    case 2:                                                             \
        RUN(width, 1, 0);                                               \
        break;                                                          \
    default:                                                            \
        RUN(width, 0, 0);                                               \
    }

/* Return the column of value i of a row. */
ALWAYS_INLINE size_t sparse_column(const struct sparse_row *row, size_t i, int wide) {
    return wide ? (size_t)((const int64_t *)row->indices)[i]
                : (size_t)((const int32_t *)row->indices)[i];
}

/* Return a value of column j as training sees it, in every lane. */
ALWAYS_INLINE vec sparse_value(real x, const real *inverse_scale, size_t j, int scaled) {
    return broadcast(scaled ? x * inverse_scale[j] : x);
}

/* The penalty of some steps as one map of the weights. */
struct penalty_map {
    vec factor; /* less 1 where it is near 1: how far it is from that has more digits */
    vec threshold;
    int is_near_1, has_threshold;
};

/* Return the penalty of the steps since..now. */
ALWAYS_INLINE struct penalty_map missed_penalty(const struct sparse_weights *weights,
                                                size_t since) {
    const struct penalty_prefix *then = weights->prefixes + since;
    const struct penalty_prefix *now = weights->prefixes + weights->now;
    double scale = now->scale * then->inverse_scale;
    double threshold = fabs(now->scale) * (now->shrinkage - then->shrinkage);
    int is_near_1 = fabs(scale - 1) < 0.5;
    return (struct penalty_map){broadcast((real)(is_near_1 ? scale - 1 : scale)),
                                broadcast((real)threshold), is_near_1, threshold != 0};
}

/* Apply the penalty of some steps to a vector of weights. */
ALWAYS_INLINE vec apply_penalty(vec w, const struct penalty_map *map) {
    w = map->is_near_1 ? fmadd(map->factor, w, w) : mul(map->factor, w);
    return map->has_threshold ? soft_threshold(w, map->threshold) : w;
}

/* Return the map that applies b and then a. */
static inline struct momentum_map compose_maps(const struct momentum_map *a,
                                               const struct momentum_map *b) {
    return (struct momentum_map){
        a->ww * b->ww + a->wv * b->vw,
        a->ww * b->wv + a->wv * b->vv,
        a->vw * b->ww + a->vv * b->vw,
        a->vw * b->wv + a->vv * b->vv,
    };
}

/* Kernel: append the map of one more step, and the products of the runs that end with it. */
static void sparse_add_map(struct sparse_weights *weights, const struct momentum_map *map) {
    struct momentum_map *maps = weights->maps;
    size_t end = ++weights->now;
    maps[2 * (end - 1)] = *map;
    for (size_t length = 1; end % (2 * length) == 0; length *= 2) {
        size_t middle = end - length, first = middle - length;
        maps[2 * first + 2 * length - 1] = compose_maps(maps + 2 * middle + length - 1,
                                                        maps + 2 * first + length - 1);
    }
}

/* Return the map of the steps since..now: the product of the longest runs that fit, which first grow and
 * then shrink. */
static inline struct momentum_map missed_momentum(const struct sparse_weights *weights,
                                                  size_t since) {
    struct momentum_map map = {1, 0, 0, 1};
    size_t first = since, length = 1;
    while (first < weights->now) {
        if (first % (2 * length) == 0 && first + 2 * length <= weights->now) {
            length *= 2;
        } else if (first + length > weights->now) {
            length /= 2;
        } else {
            map = compose_maps(weights->maps + 2 * first + length - 1, &map);
            first += length;
        }
    }
    return map;
}

/* Return x broadcast, made finite in the type of the kernel: where steps let weights grow without bound,
 * those of 0 stay 0. */
ALWAYS_INLINE vec broadcast_finite(double x) {
    const double most = sizeof(real) == sizeof(float) ? (double)FLT_MAX : DBL_MAX;
    return broadcast((real)(x < most ? (x > -most ? x : -most) : most));
}

/* Bring the weights and the velocities of a feature up to date, with momentum. */
static void catch_up(const struct sparse_weights *weights, const struct slab *slab, size_t j) {
    struct momentum_map map = missed_momentum(weights, slab->steps[j]);
    int is_near_1 = fabs(map.ww - 1) < 0.5; /* then its distance from 1 has more digits */
    vec ww = broadcast_finite(is_near_1 ? map.ww - 1 : map.ww), wv = broadcast_finite(map.wv);
    vec vw = broadcast_finite(map.vw), vv = broadcast_finite(map.vv);
    real *w = slab->start + j * slab->stride, *v = slab->velocity + j * slab->stride;
    for (size_t k = 0; k < slab->stride; k += LANES) {
        vec weight = load(w + k), velocity = load(v + k);
        vec moved = is_near_1 ? fmadd(ww, weight, weight) : mul(ww, weight);
        store(w + k, fmadd(wv, velocity, moved));
        store(v + k, fmadd(vv, velocity, mul(vw, weight)));
    }
    slab->steps[j] = (uint32_t)weights->now;
}

/* Prefetch the weights of the features of a row that comes next. */
ALWAYS_INLINE void prefetch_weights(const struct sparse_row *row,
                                    const struct sparse_weights *weights, const struct slab *slab,
                                    int width, int wide, int scaled) {
    for (size_t i = 0; i < row->n_values; ++i) {
        size_t j = sparse_column(row, i, wide);
        if (j >= weights->n_features) continue;
        UNROLL for (int v = 0; v < width; ++v) {
            PREFETCH_L1(slab->start + (j * (size_t)width + (size_t)v) * LANES);
        }
        if (slab->velocity) {
            UNROLL for (int v = 0; v < width; ++v) {
                PREFETCH_L1(slab->velocity + (j * (size_t)width + (size_t)v) * LANES);
            }
        }
        if (slab->steps) PREFETCH_L1(slab->steps + j);
        if (scaled) PREFETCH_L1((const real *)weights->inverse_scale + j);
    }
}

/* Prefetch the values and indices of a row. */
ALWAYS_INLINE void prefetch_values(const struct sparse_row *row, int wide) {
    size_t index_size = wide ? sizeof(int64_t) : sizeof(int32_t);
    for (size_t i = 0; i < row->n_values; i += CACHE_LINE / sizeof(real)) {
        PREFETCH_L1((const real *)row->values + i);
    }
    for (size_t i = 0; i < row->n_values; i += CACHE_LINE / index_size) {
        PREFETCH_L1((const char *)row->indices + i * index_size);
    }
}

/* Add the scores of one row to z, which holds the intercept; bring the weights that it meets up to date. */
ALWAYS_INLINE void sparse_row_scores(const struct sparse_row *row,
                                     const struct sparse_weights *weights, const struct slab *slab,
                                     int width, int wide, int scaled, vec *z) {
    const real *x = row->values, *inverse_scale = weights->inverse_scale;
    for (size_t i = 0; i < row->n_values; ++i) {
        size_t j = sparse_column(row, i, wide);
        if (j >= weights->n_features) {
            z[0] = broadcast((real)NAN);
            return;
        }
        vec value = sparse_value(x[i], inverse_scale, j, scaled);
        real *w = slab->start + j * (size_t)width * LANES;
        if (slab->velocity && slab->steps[j] != weights->now) catch_up(weights, slab, j);
        if (slab->steps && slab->steps[j] != weights->now) {
            struct penalty_map map = missed_penalty(weights, slab->steps[j]);
            slab->steps[j] = (uint32_t)weights->now;
            UNROLL for (int v = 0; v < width; ++v) {
                vec updated = apply_penalty(load(w + v * LANES), &map);
                store(w + v * LANES, updated);
                z[v] = fmadd(value, updated, z[v]);
            }
        } else {
            UNROLL for (int v = 0; v < width; ++v) {
                z[v] = fmadd(value, load(w + v * LANES), z[v]);
            }
        }
    }
}

/* Compute the scores of rows for the classes of a slab; with `ahead`, the next rows are prefetched. */
ALWAYS_INLINE void sparse_rows_scores(const struct sparse_row *rows, size_t n_rows,
                                      const struct sparse_weights *weights, const struct slab *slab,
                                      const real *intercept, real *logits, size_t stride, int width,
                                      int wide, int scaled, int ahead) {
    vec offset[SPARSE_SLAB_VECTORS], z[SPARSE_SLAB_VECTORS];
    UNROLL for (int v = 0; v < width; ++v) {
        size_t k = (size_t)v * LANES;
        offset[v] = intercept ? load_up_to(intercept + slab->first + k, slab->n_classes - k, 0)
                              : broadcast(0);
    }
    for (size_t s = 0; s < n_rows; ++s) {
        if (ahead) {
            prefetch_values(rows + s + SPARSE_ROWS_AHEAD, wide);
            prefetch_weights(rows + s + 1, weights, slab, width, wide, scaled);
        }
        UNROLL for (int v = 0; v < width; ++v) z[v] = offset[v];
        sparse_row_scores(rows + s, weights, slab, width, wide, scaled, z);
        real *out = logits + s * stride + slab->first;
        UNROLL for (int v = 0; v < width; ++v) store(out + v * LANES, z[v]);
    }
}

/* Kernel: the scores of rows for the classes of a slab; logits_stride covers all classes, in whole
 * vectors. The rows are followed by SPARSE_ROWS_AHEAD that may come next and are prefetched. */
static void sparse_scores(const struct sparse_row *rows, size_t n_rows,
                          const struct sparse_weights *weights, size_t slab, const void *intercept,
                          void *logits, size_t logits_stride) {
    struct slab it = view_slab(weights, slab);
#define SCORES(width, wide, scaled)                                                               \
    sparse_rows_scores(rows, n_rows, weights, &it, intercept, logits, logits_stride, width, wide, \
                       scaled, 1)
    FOR_EACH_KIND(it, weights, SCORES)
#undef SCORES
}

/* Kernel: the same with weights that are up to date, and values as they are stored. Rows come in the order
 * in which they are stored: no prefetching makes it twice as fast where the weights are in the cache. */
static void sparse_products(const struct sparse_row *rows, size_t n_rows,
                            const struct sparse_weights *weights, size_t slab,
                            const void *intercept, void *logits, size_t logits_stride) {
    struct slab it = view_slab(weights, slab);
    it.velocity = NULL;
    it.steps = NULL;
#define PRODUCTS(width, wide, scaled)                                                             \
    sparse_rows_scores(rows, n_rows, weights, &it, intercept, logits, logits_stride, width, wide, \
                       scaled, 0)
    FOR_EACH_WIDTH(it, weights, PRODUCTS, FOR_EACH_INDEX_KIND)
#undef PRODUCTS
}

/* Return the weights of column j for `width` <= LANES classes from k on, gathered from where they lie. */
ALWAYS_INLINE vec gather_weights(const real *coef, size_t n_features, size_t j, size_t k,
                                 size_t width) {
    real column[LANES] = {0};
    for (size_t c = 0; c < width; ++c) column[c] = coef[(k + c) * n_features + j];
    return load(column);
}

/* Compute the scores of one row with weights that are not packed. */
ALWAYS_INLINE void unpacked_row_scores(const struct sparse_row *row, const real *coef,
                                       size_t n_features, size_t n_classes, const real *intercept,
                                       int wide, real *logits) {
    for (size_t k = 0; k < n_classes; k += LANES) {
        size_t width = n_classes - k < LANES ? n_classes - k : LANES;
        vec z = load_up_to(intercept + k, width, 0);
        for (size_t i = 0; i < row->n_values; ++i) {
            size_t j = sparse_column(row, i, wide);
            if (j >= n_features) {
                z = broadcast((real)NAN);
                break;
            }
            vec value = broadcast(((const real *)row->values)[i]);
            z = fmadd(value, gather_weights(coef, n_features, j, k, width), z);
        }
        store_up_to(logits + k, z, width);
    }
}

/* Kernel: scores (n_rows, n_classes) with coef (n_classes, n_features) in C order, not packed: for few
 * values. They have the bits of those with packed weights, since each class sums in the same order. */
static void sparse_unpacked_scores(const struct sparse_row *rows, size_t n_rows, const void *coef,
                                   size_t n_features, size_t n_classes, const void *intercept,
                                   int wide_indices, void *logits) {
    for (size_t s = 0; s < n_rows; ++s) {
        real *out = (real *)logits + s * n_classes;
        if (wide_indices) {
            unpacked_row_scores(rows + s, coef, n_features, n_classes, intercept, 1, out);
        } else {
            unpacked_row_scores(rows + s, coef, n_features, n_classes, intercept, 0, out);
        }
    }
}

/* Add factor * x * dlogits[s] to the weights, or velocities, of each value. */
ALWAYS_INLINE void update_with_rows(const struct sparse_row *rows, size_t n_rows,
                                    const struct sparse_weights *weights, const struct slab *slab,
                                    const real *dlogits, size_t stride, vec factor, int width,
                                    int wide, int scaled) {
    const real *inverse_scale = weights->inverse_scale;
    for (size_t s = 0; s < n_rows; ++s) {
        const real *x = rows[s].values, *dz = dlogits + s * stride + slab->first;
        vec change[SPARSE_SLAB_VECTORS];
        UNROLL for (int v = 0; v < width; ++v) {
            size_t k = (size_t)v * LANES;
            change[v] = mul(factor, load_up_to(dz + k, slab->n_classes - k, 0));
        }
        for (size_t i = 0; i < rows[s].n_values; ++i) {
            size_t j = sparse_column(rows + s, i, wide);
            if (j >= weights->n_features) break;
            vec value = sparse_value(x[i], inverse_scale, j, scaled);
            real *w = slab->start + j * (size_t)width * LANES;
            UNROLL for (int v = 0; v < width; ++v) {
                store(w + v * LANES, fmadd(value, change[v], load(w + v * LANES)));
            }
        }
    }
}

/* Do update_with_rows on a slab of any kind. */
static void update_slab(const struct sparse_row *rows, size_t n_rows,
                        const struct sparse_weights *weights, const struct slab *slab,
                        const void *dlogits, size_t dlogits_stride, double factor) {
    vec factors = broadcast((real)factor);
#define UPDATE(width, wide, scaled)                                                              \
    update_with_rows(rows, n_rows, weights, slab, dlogits, dlogits_stride, factors, width, wide, \
                     scaled)
    FOR_EACH_KIND(*slab, weights, UPDATE)
#undef UPDATE
}

/* Kernel: add factor * x * dlogits[s] to the weights of each value, which sparse_scores has brought up to
 * date. */
static void sparse_update(const struct sparse_row *rows, size_t n_rows,
                          const struct sparse_weights *weights, size_t slab, const void *dlogits,
                          size_t dlogits_stride, double factor) {
    struct slab it = view_slab(weights, slab);
    update_slab(rows, n_rows, weights, &it, dlogits, dlogits_stride, factor);
}

/* Kernel: sparse_update of the velocities. Weights and velocities of the features of the rows are brought
 * up to date before. */
static void sparse_update_velocity(const struct sparse_row *rows, size_t n_rows,
                                   const struct sparse_weights *weights, size_t slab,
                                   const void *dlogits, size_t dlogits_stride, double factor) {
    struct slab it = view_slab(weights, slab);
    for (size_t s = 0; s < n_rows; ++s) {
        for (size_t i = 0; i < rows[s].n_values; ++i) {
            size_t j = sparse_column(rows + s, i, weights->wide_indices);
            if (j >= weights->n_features) break;
            if (it.steps[j] != weights->now) catch_up(weights, &it, j);
        }
    }
    it.start = it.velocity;
    update_slab(rows, n_rows, weights, &it, dlogits, dlogits_stride, factor);
}

/* Kernel: the update of the intercept. */
static void sparse_update_intercept(const void *dlogits, size_t stride, size_t n_rows,
                                    size_t n_classes, const struct sgd_rule *rule, void *intercept,
                                    void *velocity) {
    struct vector_rule step = broadcast_rule(rule);
    for (size_t k = 0; k < n_classes; k += LANES) {
        size_t width = n_classes - k;
        vec gradient = column_sum((const real *)dlogits + k, stride, n_rows, width, broadcast(0));
        update_intercept_vector((real *)intercept + k, velocity ? (real *)velocity + k : NULL,
                                gradient, &step, width);
    }
}

/* Kernel: bring the weights of all features of a slab up to date; the current step becomes step 0. */
static void sparse_catch_up(const struct sparse_weights *weights, size_t slab) {
    struct slab it = view_slab(weights, slab);
    for (size_t j = 0; j < weights->n_features; ++j) {
        if (it.velocity && it.steps[j] != weights->now) catch_up(weights, &it, j);
        if (it.steps[j] != weights->now) {
            struct penalty_map map = missed_penalty(weights, it.steps[j]);
            real *w = it.start + j * it.stride;
            for (size_t k = 0; k < it.stride; k += LANES) {
                store(w + k, apply_penalty(load(w + k), &map));
            }
        }
        it.steps[j] = 0;
    }
}

/* Return whether COLUMNS_PER_TRANSPOSE features of LANES classes are there to be transposed as vectors;
 * the rest is copied one by one. */
ALWAYS_INLINE int fills_vectors(const struct slab *slab, size_t n_features, size_t j, size_t k) {
    return j + COLUMNS_PER_TRANSPOSE <= n_features && k + LANES <= slab->n_classes;
}

/* Kernel: pack the weights of a slab from coef (n_classes, n_features) in C order; padding is 0. */
static void sparse_pack(const void *coef, const struct sparse_weights *weights, size_t slab) {
    struct slab it = view_slab(weights, slab);
    size_t n_features = weights->n_features;
    const real *from = (const real *)coef + it.first * n_features;
    if (it.n_classes < it.stride) memset(it.start, 0, n_features * it.stride * sizeof(real));
    for (size_t j = 0; j < n_features; j += COLUMNS_PER_TRANSPOSE) {
        size_t end = j + COLUMNS_PER_TRANSPOSE < n_features ? j + COLUMNS_PER_TRANSPOSE
                                                            : n_features;
        for (size_t k = 0; k < it.n_classes; k += LANES) {
            vec columns[COLUMNS_PER_TRANSPOSE];
            if (fills_vectors(&it, n_features, j, k)) {
                load_transposed_strided(from + k * n_features + j, n_features, columns);
                UNROLL for (size_t i = 0; i < COLUMNS_PER_TRANSPOSE; ++i) {
                    store(it.start + (j + i) * it.stride + k, columns[i]);
                }
                continue;
            }
            size_t end_class = k + LANES < it.n_classes ? k + LANES : it.n_classes;
            for (size_t c = k; c < end_class; ++c) {
                for (size_t i = j; i < end; ++i)
                    it.start[i * it.stride + c] = from[c * n_features + i];
            }
        }
    }
}

/* Kernel: the inverse of sparse_pack. */
static void sparse_unpack(const struct sparse_weights *weights, size_t slab, void *coef) {
    struct slab it = view_slab(weights, slab);
    size_t n_features = weights->n_features;
    real *to = (real *)coef + it.first * n_features;
    for (size_t j = 0; j < n_features; j += COLUMNS_PER_TRANSPOSE) {
        size_t end = j + COLUMNS_PER_TRANSPOSE < n_features ? j + COLUMNS_PER_TRANSPOSE
                                                            : n_features;
        for (size_t k = 0; k < it.n_classes; k += LANES) {
            vec columns[COLUMNS_PER_TRANSPOSE];
            if (fills_vectors(&it, n_features, j, k)) {
                UNROLL for (size_t i = 0; i < COLUMNS_PER_TRANSPOSE; ++i) {
                    columns[i] = load(it.start + (j + i) * it.stride + k);
                }
                store_transposed(to + k * n_features + j, n_features, columns);
                continue;
            }
            size_t end_class = k + LANES < it.n_classes ? k + LANES : it.n_classes;
            for (size_t c = k; c < end_class; ++c) {
                for (size_t i = j; i < end; ++i)
                    to[c * n_features + i] = it.start[i * it.stride + c];
            }
        }
    }
}

#endif
