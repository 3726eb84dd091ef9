/* A step of training on sparse rows, plain SGD: its cost is that of the values stored.
 *
 *   z[s] = intercept + sum over the values x of row s, in column j, of x * w[j]         scores
 *   w[j] <- w[j] + factor * x * dz[s]                                                   update
 *
 * where x is a value as it is stored or, with inverse scales, that times its column's, rounded once.
 *
 * Decisions:
 *   - Weights are feature-major, in slabs of some vectors of classes, which stay in registers while the values
 *     of a row pass: a value is a number times these vectors, in the order in which the values are stored. No
 *     sum is folded, so the bits follow from the rows alone. Slabs have nothing in common but the rows: each
 *     may have a thread.
 *   - What the penalty alone does to a feature's weights in the steps s+1 .. t that do not meet it,
 *
 *       w <- sign(a_i w) * max(|a_i w| - h_i, 0),   a_i = 1 - 2 * l2 * rate_i,   h_i = rate_i * l1,
 *
 *     is one such map: a weight that has reached 0 stays there, so
 *
 *       w <- sign(a w) * max(|a w| - h, 0),   a = A_t / A_s,   h = |A_t| * (C_t - C_s),
 *       A_t = product of a_i up to t,   C_t = sum of h_i / |A_i| up to t.
 *
 *     A and C are float64, and each feature keeps the number of steps that its weights have undergone.
 *   - scores() takes the weights that it meets to the current step. update() divides its factor by this step's
 *     a_i (the caller does), so that the step's own penalty may come later too: a (w + g / a) = a w + g.
 *   - Columns are checked where they are used: the arrays are the caller's, who may have changed them since.
 *     One that does not exist makes a score NaN, and the step is not taken.
 *   - A row of weights is somewhere in memory: those of the next sparse row are fetched while this one computes.
 */
#ifndef FASTSOFTMAX_SPARSE_H
#define FASTSOFTMAX_SPARSE_H

#include "linear.h"

struct slab {
    real *start;
    uint32_t *steps;
    size_t first, n_classes, stride; /* of its classes */
};

ALWAYS_INLINE struct slab slab_of(const struct sparse_weights *weights, size_t i) {
    size_t most = SPARSE_SLAB_VECTORS * LANES, left = weights->n_classes - i * most;
    size_t n_classes = left < most ? left : most;
    return (struct slab){
        (real *)weights->start + i * most * weights->n_features,
        weights->steps ? weights->steps + i * weights->n_features : NULL,
        i * most,
        n_classes,
        (n_classes + LANES - 1) / LANES * LANES,
    };
}

/* Runs a function of the width of a slab in vectors, of whether indices are wide and of whether there are
 * inverse scales, with these as constants. */
#define FOR_KIND_OF(slab, weights, RUN)                   \
    switch ((slab).stride / LANES) {                      \
    case 1:                                               \
        FOR_VALUES_OF(weights, RUN, 1);                   \
        break;                                            \
    case 2:                                               \
        FOR_VALUES_OF(weights, RUN, 2);                   \
        break;                                            \
    case 3:                                               \
        FOR_VALUES_OF(weights, RUN, 3);                   \
        break;                                            \
    default:                                              \
        FOR_VALUES_OF(weights, RUN, SPARSE_SLAB_VECTORS); \
    }

#define FOR_VALUES_OF(weights, RUN, width)                              \
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

ALWAYS_INLINE size_t column_of(const struct sparse_row *row, size_t i, int wide) {
    return wide ? (size_t)((const int64_t *)row->indices)[i]
                : (size_t)((const int32_t *)row->indices)[i];
}

/* A value of column j as training sees it. */
ALWAYS_INLINE vec value_of(real x, const real *inverse_scale, size_t j, int scaled) {
    return broadcast(scaled ? x * inverse_scale[j] : x);
}

/* The penalty of some steps as one map of the weights. */
struct penalty_map {
    vec factor; /* less 1 where it is near 1: how far it is from that has more digits */
    vec threshold;
    int is_near_1, has_threshold;
};

/* That of the steps since..now. */
ALWAYS_INLINE struct penalty_map penalty_map_of(const struct sparse_weights *weights,
                                                size_t since) {
    const struct penalty_prefix *then = weights->prefixes + since;
    const struct penalty_prefix *now = weights->prefixes + weights->now;
    double scale = now->scale * then->inverse_scale;
    double threshold = fabs(now->scale) * (now->shrinkage - then->shrinkage);
    int is_near_1 = fabs(scale - 1) < 0.5;
    return (struct penalty_map){broadcast((real)(is_near_1 ? scale - 1 : scale)),
                                broadcast((real)threshold), is_near_1, threshold != 0};
}

ALWAYS_INLINE vec penalised(vec w, const struct penalty_map *map) {
    w = map->is_near_1 ? fmadd(map->factor, w, w) : mul(map->factor, w);
    return map->has_threshold ? soft_threshold(w, map->threshold) : w;
}

/* Fetches the weights of the features of a row that comes next. */
ALWAYS_INLINE void fetch_weights(const struct sparse_row *row, const struct sparse_weights *weights,
                                 const struct slab *slab, int width, int wide, int scaled) {
    for (size_t i = 0; i < row->n_values; ++i) {
        size_t j = column_of(row, i, wide);
        if (j >= weights->n_features) continue;
        UNROLL for (int v = 0; v < width; ++v) {
            PREFETCH_NEAR(slab->start + (j * (size_t)width + (size_t)v) * LANES);
        }
        if (slab->steps) PREFETCH_NEAR(slab->steps + j);
        if (scaled) PREFETCH_NEAR((const real *)weights->inverse_scale + j);
    }
}

ALWAYS_INLINE void fetch_values(const struct sparse_row *row, int wide) {
    size_t index_size = wide ? sizeof(int64_t) : sizeof(int32_t);
    for (size_t i = 0; i < row->n_values; i += CACHE_LINE / sizeof(real)) {
        PREFETCH_NEAR((const real *)row->values + i);
    }
    for (size_t i = 0; i < row->n_values; i += CACHE_LINE / index_size) {
        PREFETCH_NEAR((const char *)row->indices + i * index_size);
    }
}

/* The scores of one row: z holds the intercept. */
ALWAYS_INLINE void scores_of_row(const struct sparse_row *row, const struct sparse_weights *weights,
                                 const struct slab *slab, int width, int wide, int scaled, vec *z) {
    const real *x = row->values, *inverse_scale = weights->inverse_scale;
    for (size_t i = 0; i < row->n_values; ++i) {
        size_t j = column_of(row, i, wide);
        if (j >= weights->n_features) {
            z[0] = broadcast((real)NAN);
            return;
        }
        vec value = value_of(x[i], inverse_scale, j, scaled);
        real *w = slab->start + j * (size_t)width * LANES;
        if (slab->steps && slab->steps[j] != weights->now) {
            struct penalty_map map = penalty_map_of(weights, slab->steps[j]);
            slab->steps[j] = (uint32_t)weights->now;
            UNROLL for (int v = 0; v < width; ++v) {
                vec of_classes = penalised(load(w + v * LANES), &map);
                store(w + v * LANES, of_classes);
                z[v] = fmadd(value, of_classes, z[v]);
            }
        } else {
            UNROLL for (int v = 0; v < width; ++v) {
                z[v] = fmadd(value, load(w + v * LANES), z[v]);
            }
        }
    }
}

ALWAYS_INLINE void scores_of_rows(const struct sparse_row *rows, size_t n_rows,
                                  const struct sparse_weights *weights, const struct slab *slab,
                                  const real *intercept, real *logits, size_t stride, int width,
                                  int wide, int scaled) {
    vec offset[SPARSE_SLAB_VECTORS], z[SPARSE_SLAB_VECTORS];
    UNROLL for (int v = 0; v < width; ++v) {
        size_t k = (size_t)v * LANES;
        offset[v] = intercept ? load_up_to(intercept + slab->first + k, slab->n_classes - k, 0)
                              : broadcast(0);
    }
    for (size_t s = 0; s < n_rows; ++s) {
        fetch_values(rows + s + SPARSE_ROWS_AHEAD, wide);
        fetch_weights(rows + s + 1, weights, slab, width, wide, scaled);
        UNROLL for (int v = 0; v < width; ++v) z[v] = offset[v];
        scores_of_row(rows + s, weights, slab, width, wide, scaled, z);
        real *out = logits + s * stride + slab->first;
        UNROLL for (int v = 0; v < width; ++v) store(out + v * LANES, z[v]);
    }
}

/* The scores of rows and the classes of a slab; the stride holds all classes, in whole vectors. After rows come
 * SPARSE_ROWS_AHEAD that may be next: they are fetched. */
static void sparse_scores(const struct sparse_row *rows, size_t n_rows,
                          const struct sparse_weights *weights, size_t slab, const void *intercept,
                          void *logits, size_t logits_stride) {
    struct slab it = slab_of(weights, slab);
#define SCORES(width, wide, scaled)                                                           \
    scores_of_rows(rows, n_rows, weights, &it, intercept, logits, logits_stride, width, wide, \
                   scaled)
    FOR_KIND_OF(it, weights, SCORES)
#undef SCORES
}

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
            size_t j = column_of(rows + s, i, wide);
            if (j >= weights->n_features) break;
            vec value = value_of(x[i], inverse_scale, j, scaled);
            real *w = slab->start + j * (size_t)width * LANES;
            UNROLL for (int v = 0; v < width; ++v) {
                store(w + v * LANES, fmadd(value, change[v], load(w + v * LANES)));
            }
        }
    }
}

/* Adds factor * x * dlogits[s] to a slab's weights of every value, which scores() has taken to this step. */
static void sparse_update(const struct sparse_row *rows, size_t n_rows,
                          const struct sparse_weights *weights, size_t slab, const void *dlogits,
                          size_t dlogits_stride, double factor) {
    struct slab it = slab_of(weights, slab);
    vec factors = broadcast((real)factor);
#define UPDATE(width, wide, scaled)                                                             \
    update_with_rows(rows, n_rows, weights, &it, dlogits, dlogits_stride, factors, width, wide, \
                     scaled)
    FOR_KIND_OF(it, weights, UPDATE)
#undef UPDATE
}

static void sparse_update_intercept(const void *dlogits, size_t stride, size_t n_rows,
                                    size_t n_classes, double rate, void *intercept) {
    vec negative_rate = broadcast((real)-rate);
    for (size_t k = 0; k < n_classes; k += LANES) {
        size_t width = n_classes - k;
        real *b = (real *)intercept + k;
        vec gradient = column_sum((const real *)dlogits + k, stride, n_rows, width, broadcast(0));
        store_up_to(b, fmadd(negative_rate, gradient, load_up_to(b, width, 0)), width);
    }
}

/* Takes a slab's weights of all features to the current step, and calls that step 0. */
static void sparse_catch_up(const struct sparse_weights *weights, size_t slab) {
    struct slab it = slab_of(weights, slab);
    for (size_t j = 0; j < weights->n_features; ++j) {
        if (it.steps[j] != weights->now) {
            struct penalty_map map = penalty_map_of(weights, it.steps[j]);
            real *w = it.start + j * it.stride;
            for (size_t k = 0; k < it.stride; k += LANES) {
                store(w + k, penalised(load(w + k), &map));
            }
        }
        it.steps[j] = 0;
    }
}

/* COLUMNS_AT_ONCE features of LANES classes are turned around as vectors; what does not fill these, one by
 * one. */
ALWAYS_INLINE int fills_vectors(const struct slab *slab, size_t n_features, size_t j, size_t k) {
    return j + COLUMNS_AT_ONCE <= n_features && k + LANES <= slab->n_classes;
}

/* A slab's weights from coef (n_classes, n_features) in C order; what pads them is 0. */
static void sparse_pack(const void *coef, const struct sparse_weights *weights, size_t slab) {
    struct slab it = slab_of(weights, slab);
    size_t n_features = weights->n_features;
    const real *from = (const real *)coef + it.first * n_features;
    if (it.n_classes < it.stride) memset(it.start, 0, n_features * it.stride * sizeof(real));
    for (size_t j = 0; j < n_features; j += COLUMNS_AT_ONCE) {
        size_t end = j + COLUMNS_AT_ONCE < n_features ? j + COLUMNS_AT_ONCE : n_features;
        for (size_t k = 0; k < it.n_classes; k += LANES) {
            vec columns[COLUMNS_AT_ONCE];
            if (fills_vectors(&it, n_features, j, k)) {
                load_spaced_columns(from + k * n_features + j, n_features, columns);
                UNROLL for (size_t i = 0; i < COLUMNS_AT_ONCE; ++i) {
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

/* And back. */
static void sparse_unpack(const struct sparse_weights *weights, size_t slab, void *coef) {
    struct slab it = slab_of(weights, slab);
    size_t n_features = weights->n_features;
    real *to = (real *)coef + it.first * n_features;
    for (size_t j = 0; j < n_features; j += COLUMNS_AT_ONCE) {
        size_t end = j + COLUMNS_AT_ONCE < n_features ? j + COLUMNS_AT_ONCE : n_features;
        for (size_t k = 0; k < it.n_classes; k += LANES) {
            vec columns[COLUMNS_AT_ONCE];
            if (fills_vectors(&it, n_features, j, k)) {
                UNROLL for (size_t i = 0; i < COLUMNS_AT_ONCE; ++i) {
                    columns[i] = load(it.start + (j + i) * it.stride + k);
                }
                store_columns(to + k * n_features + j, n_features, columns);
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
