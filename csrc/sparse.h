/* A step of training on sparse rows, plain SGD: its cost is that of the values stored.
 *
 *   z[s] = intercept + sum over the values x of row s, in column j, of x * w[j]         scores
 *   w[j] <- w[j] + factor * x * dz[s]                                                   update
 *
 * Decisions:
 *   - Weights are feature-major, w[j] padded with zeros to whole vectors of classes: a value is then a
 *     vector of classes times a number, in the order in which the values are stored. No sum is folded, so
 *     the bits follow from the rows alone.
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

/* So many vectors of classes stay in registers while the values of a row pass. */
enum { CLASS_VECTORS = 4 };

/* Does it for as many whole tiles of n vectors, from class k on, as there are left. */
#define EACH_TILE(n, of_tile) \
    for (; k + (n) * LANES <= weights->stride; k += (n) * LANES) of_tile

ALWAYS_INLINE size_t column_of(const struct sparse_row *row, size_t i, int wide) {
    return wide ? (size_t)((const int64_t *)row->indices)[i]
                : (size_t)((const int32_t *)row->indices)[i];
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

/* Takes n weights, of whole vectors, through it. */
ALWAYS_INLINE void penalise(real *w, size_t n, const struct penalty_map *map) {
    for (size_t k = 0; k < n; k += LANES) store(w + k, penalised(load(w + k), map));
}

/* Fetches the weights of the features of a row that comes next, and where its own arrays go on. */
ALWAYS_INLINE void fetch_weights(const struct sparse_row *row, const struct sparse_weights *weights,
                                 int wide) {
    size_t line = CACHE_LINE / sizeof(real);
    for (size_t i = 0; i < row->n_values; ++i) {
        size_t j = column_of(row, i, wide);
        const real *w = (const real *)weights->start + j * weights->stride;
        if (j >= weights->n_features) continue;
        for (size_t k = 0; k < weights->stride && k < 4 * line; k += line) PREFETCH_NEAR(w + k);
        if (weights->steps) PREFETCH_NEAR(weights->steps + j);
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

/* Scores of n vectors of classes. The first of them takes all weights of a feature to the current step. */
ALWAYS_INLINE void sparse_scores_tile(const struct sparse_row *row,
                                      const struct sparse_weights *weights, size_t first, int n,
                                      const real *intercept, real *logits, int wide) {
    const real *x = row->values;
    real *w = (real *)weights->start + first;
    size_t n_classes = weights->n_classes - first;
    vec sums[CLASS_VECTORS];
    UNROLL for (int v = 0; v < n; ++v) {
        size_t k = (size_t)v * LANES;
        sums[v] = intercept ? load_up_to(intercept + first + k, n_classes - k, 0) : broadcast(0);
    }
    for (size_t i = 0; i < row->n_values; ++i) {
        size_t j = column_of(row, i, wide);
        if (j >= weights->n_features) {
            sums[0] = broadcast((real)NAN);
            break;
        }
        vec value = broadcast(x[i]);
        real *of_feature = w + j * weights->stride;
        if (first == 0 && weights->steps && weights->steps[j] != weights->now) {
            struct penalty_map map = penalty_map_of(weights, weights->steps[j]);
            weights->steps[j] = (uint32_t)weights->now;
            penalise(of_feature + n * LANES, weights->stride - (size_t)n * LANES, &map);
            UNROLL for (int v = 0; v < n; ++v) {
                vec weight = penalised(load(of_feature + v * LANES), &map);
                store(of_feature + v * LANES, weight);
                sums[v] = fmadd(value, weight, sums[v]);
            }
            continue;
        }
        UNROLL for (int v = 0; v < n; ++v) {
            sums[v] = fmadd(value, load(of_feature + v * LANES), sums[v]);
        }
    }
    UNROLL for (int v = 0; v < n; ++v) store(logits + first + v * LANES, sums[v]);
}

ALWAYS_INLINE void scores_of_rows(const struct sparse_row *rows, size_t n_rows,
                                  const struct sparse_weights *weights, const real *intercept,
                                  real *logits, int wide) {
    for (size_t s = 0; s < n_rows; ++s, logits += weights->stride) {
        const struct sparse_row *row = rows + s;
        fetch_values(row + SPARSE_ROWS_AHEAD, wide);
        fetch_weights(row + 1, weights, wide);
        size_t k = 0;
        EACH_TILE(CLASS_VECTORS,
                  sparse_scores_tile(row, weights, k, CLASS_VECTORS, intercept, logits, wide));
        EACH_TILE(2, sparse_scores_tile(row, weights, k, 2, intercept, logits, wide));
        EACH_TILE(1, sparse_scores_tile(row, weights, k, 1, intercept, logits, wide));
    }
}

/* The scores of rows into logits of the weights' stride. After rows come SPARSE_ROWS_AHEAD that may be next:
 * they are fetched. */
static void sparse_scores(const struct sparse_row *rows, size_t n_rows,
                          const struct sparse_weights *weights, const void *intercept,
                          void *logits) {
    if (weights->wide_indices) {
        scores_of_rows(rows, n_rows, weights, intercept, logits, 1);
    } else {
        scores_of_rows(rows, n_rows, weights, intercept, logits, 0);
    }
}

ALWAYS_INLINE void sparse_update_tile(const struct sparse_row *row,
                                      const struct sparse_weights *weights, size_t first, int n,
                                      vec factor, const real *dlogits, int wide) {
    const real *x = row->values;
    real *w = (real *)weights->start + first;
    vec change[CLASS_VECTORS];
    UNROLL for (int v = 0; v < n; ++v) {
        size_t k = first + (size_t)v * LANES;
        change[v] = mul(factor, load_up_to(dlogits + k, weights->n_classes - k, 0));
    }
    for (size_t i = 0; i < row->n_values; ++i) {
        size_t j = column_of(row, i, wide);
        if (j >= weights->n_features) break;
        vec value = broadcast(x[i]);
        UNROLL for (int v = 0; v < n; ++v) {
            real *at = w + j * weights->stride + v * LANES;
            store(at, fmadd(value, change[v], load(at)));
        }
    }
}

ALWAYS_INLINE void update_with_rows(const struct sparse_row *rows, size_t n_rows,
                                    const struct sparse_weights *weights, const real *dlogits,
                                    vec factor, int wide) {
    for (size_t s = 0; s < n_rows; ++s, dlogits += weights->stride) {
        size_t k = 0;
        EACH_TILE(CLASS_VECTORS,
                  sparse_update_tile(rows + s, weights, k, CLASS_VECTORS, factor, dlogits, wide));
        EACH_TILE(2, sparse_update_tile(rows + s, weights, k, 2, factor, dlogits, wide));
        EACH_TILE(1, sparse_update_tile(rows + s, weights, k, 1, factor, dlogits, wide));
    }
}

/* Adds factor * x * dlogits[s] to the weights of every value, which scores() has taken to this step. */
static void sparse_update(const struct sparse_row *rows, size_t n_rows,
                          const struct sparse_weights *weights, const void *dlogits,
                          double factor) {
    vec factors = broadcast((real)factor);
    if (weights->wide_indices) {
        update_with_rows(rows, n_rows, weights, dlogits, factors, 1);
    } else {
        update_with_rows(rows, n_rows, weights, dlogits, factors, 0);
    }
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

/* Takes the weights of all features to the current step, and calls that step 0. */
static void sparse_catch_up(const struct sparse_weights *weights) {
    real *w = weights->start;
    for (size_t j = 0; j < weights->n_features; ++j, w += weights->stride) {
        if (weights->steps[j] != weights->now) {
            struct penalty_map map = penalty_map_of(weights, weights->steps[j]);
            penalise(w, weights->stride, &map);
        }
        weights->steps[j] = 0;
    }
}

/* Weights from (n_classes, n_features) in C order; what pads them is 0. */
static void sparse_pack(const void *coef, const struct sparse_weights *weights) {
    const real *from = coef;
    size_t stride = weights->stride, n_features = weights->n_features;
    real *to = weights->start;
    memset(to, 0, n_features * stride * sizeof(real));
    size_t j = 0;
    for (; j + COLUMNS_AT_ONCE <= n_features; j += COLUMNS_AT_ONCE) {
        size_t k = 0;
        for (; k + LANES <= weights->n_classes; k += LANES) {
            vec columns[COLUMNS_AT_ONCE];
            load_columns(from + k * n_features + j, n_features, columns);
            UNROLL for (int i = 0; i < COLUMNS_AT_ONCE; ++i) {
                store(to + (j + (size_t)i) * stride + k, columns[i]);
            }
        }
        for (; k < weights->n_classes; ++k) {
            for (size_t i = j; i < j + COLUMNS_AT_ONCE; ++i) {
                to[i * stride + k] = from[k * n_features + i];
            }
        }
    }
    for (; j < n_features; ++j) {
        for (size_t k = 0; k < weights->n_classes; ++k)
            to[j * stride + k] = from[k * n_features + j];
    }
}

/* And back. */
static void sparse_unpack(const struct sparse_weights *weights, void *coef) {
    const real *from = weights->start;
    size_t stride = weights->stride, n_features = weights->n_features;
    real *to = coef;
    size_t j = 0;
    for (; j + COLUMNS_AT_ONCE <= n_features; j += COLUMNS_AT_ONCE) {
        size_t k = 0;
        for (; k + LANES <= weights->n_classes; k += LANES) {
            vec columns[COLUMNS_AT_ONCE];
            UNROLL for (int i = 0; i < COLUMNS_AT_ONCE; ++i) {
                columns[i] = load(from + (j + (size_t)i) * stride + k);
            }
            store_columns(to + k * n_features + j, n_features, columns);
        }
        for (; k < weights->n_classes; ++k) {
            for (size_t i = j; i < j + COLUMNS_AT_ONCE; ++i) {
                to[k * n_features + i] = from[i * stride + k];
            }
        }
    }
    for (; j < n_features; ++j) {
        for (size_t k = 0; k < weights->n_classes; ++k)
            to[k * n_features + j] = from[j * stride + k];
    }
}

#endif
