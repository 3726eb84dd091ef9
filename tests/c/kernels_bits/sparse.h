/* Of test_kernels_bits.c: a step of training on sparse rows. */
#ifndef KERNELS_BITS_SPARSE_H
#define KERNELS_BITS_SPARSE_H

#include "dense.h"

/* Up to four values a row, in any columns, also the same; as SPARSE_ROWS_AHEAD expects it, the last row
 * comes once more. The first row, where there are others, has a column that does not exist if asked for. */
static const struct sparse_row *sparse_rows_of(const struct shape *s, int wide, int has_none) {
    static struct sparse_row rows[64 + SPARSE_ROWS_AHEAD];
    size_t n_values = s->n * 4, index_size = wide ? sizeof(int64_t) : sizeof(int32_t);
    char *values = uniforms(DATA, n_values), *indices = array_of(TARGETS, n_values, index_size);
    for (size_t i = 0; i < n_values; ++i) {
        size_t column = has_none && i == 1 ? (size_t)-1 : below(s->d);
        if (wide) {
            ((int64_t *)(void *)indices)[i] = (int64_t)column;
        } else {
            ((int32_t *)(void *)indices)[i] = (int32_t)column;
        }
    }
    for (size_t i = 0; i < s->n; ++i) {
        rows[i].values = values + i * 4 * kernels->element_size;
        rows[i].indices = indices + i * 4 * index_size;
        rows[i].n_values = has_none && i == 0 ? 4 : below(5);
    }
    for (size_t i = s->n; i < s->n + SPARSE_ROWS_AHEAD; ++i) rows[i] = rows[s->n - 1];
    return rows;
}

/* Two steps on sparse rows, and what the penalty, or momentum, alone does to the weights that they do not
 * meet. */
static void sparse_case(const struct shape *s) {
    size_t lanes = kernels->lanes, columns = (s->c + lanes - 1) / lanes * lanes;
    size_t n_slabs = (s->c - 1) / (SPARSE_SLAB_VECTORS * lanes) + 1;
    int wide = option(s, 1), has_penalty = option(s, 0), has_none = s->n > 1 && below(4) == 0;
    int has_momentum = has_penalty && below(2);
    struct penalty_prefix prefixes[3] = {{1, 1, 0}};
    struct momentum_map maps[4];
    struct sgd_rule rule = {.rate = 0.1, .momentum = 0.9, .nesterov = option(s, 2)};
    uint32_t steps[2 * MANY_FEATURES] = {0};
    struct sparse_weights weights = {
        .start = stale(WEIGHTS, s->d * columns),
        .n_features = s->d,
        .n_classes = s->c,
        .wide_indices = wide,
        .inverse_scale = option(s, 5) ? uniforms(OUT, s->d) : NULL,
        .steps = has_penalty ? steps : NULL,
        .prefixes = prefixes,
    };
    void *coef = uniforms(VELOCITY, s->c * s->d), *intercept = uniforms(INTERCEPT, s->c);
    void *logits = stale(LOGITS, s->n * columns), *of_intercept = NULL;
    for (size_t k = 0; k < n_slabs; ++k) kernels->sparse->sparse_pack(coef, &weights, k);
    if (has_momentum) {
        weights.velocity = uniforms(LOSSES, s->d * columns);
        weights.maps = maps;
        of_intercept = uniforms(RULES, s->c);
    }
    for (int i = 0; i < 2; ++i) {
        const struct sparse_row *rows = sparse_rows_of(s, wide, has_none && i);
        double factor = option(s, 2) ? -0.3 : 0.9, threshold = option(s, 3) ? 0.01 : 0;
        for (size_t k = 0; k < n_slabs; ++k) {
            kernels->sparse->sparse_scores(rows, s->n, &weights, k, option(s, 4) ? intercept : NULL,
                                           logits, columns);
        }
        hash_reals(logits, s->n * columns);
        if (i == 0 && !weights.inverse_scale) {
            void *unpacked = stale(OUT, s->n * s->c);
            kernels->sparse->sparse_unpacked_scores(rows, s->n, coef, s->d, s->c, intercept, wide,
                                                    unpacked);
            hash_reals(unpacked, s->n * s->c);
        }
        if (i == 0) {
            void *products = stale(PRODUCTS, s->n * columns);
            for (size_t k = 0; k < n_slabs; ++k)
                kernels->sparse->sparse_products(rows, s->n, &weights, k, intercept, products,
                                                 columns);
            hash_reals(products, s->n * columns);
        }
        /* Scores in place of gradients; those of a row without a column would be NaN. */
        size_t first = has_none && i;
        void *dlogits = (char *)logits + first * columns * kernels->element_size;
        if (has_momentum) {
            struct momentum_map map = {factor, 0.81, -0.1, 0.9};
            kernels->sparse->sparse_add_map(&weights, &map);
        }
        for (size_t k = 0; k < n_slabs; ++k) {
            if (has_momentum)
                kernels->sparse->sparse_update_velocity(rows + first, s->n - first, &weights, k,
                                                        dlogits, columns, -0.02);
            kernels->sparse->sparse_update(rows + first, s->n - first, &weights, k, dlogits,
                                           columns, -0.01);
        }
        kernels->sparse->sparse_update_intercept(dlogits, columns, s->n - first, s->c, &rule,
                                                 intercept, of_intercept);
        if (has_momentum) continue;
        struct penalty_prefix *last = prefixes + weights.now++;
        last[1].scale = last->scale * factor;
        last[1].inverse_scale = 1 / last[1].scale;
        last[1].shrinkage = last->shrinkage + threshold * fabs(last[1].inverse_scale);
    }
    for (size_t k = 0; k < n_slabs; ++k) {
        if (has_penalty) kernels->sparse->sparse_catch_up(&weights, k);
        kernels->sparse->sparse_unpack(&weights, k, coef);
    }
    hash_reals(weights.start, s->d * columns);
    if (has_momentum) hash_reals(weights.velocity, s->d * columns);
    hash_reals(coef, s->c * s->d);
    hash_reals(intercept, s->c);
}

#endif
