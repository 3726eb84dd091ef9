/* Of test_kernels_bits.c: the steps of training on dense data. */
#ifndef KERNELS_BITS_STEPS_H
#define KERNELS_BITS_STEPS_H

#include "dense.h"

static const void *const *rows_in(const char *start, size_t n, size_t stride) {
    static const void *rows[64];
    for (size_t i = 0; i < n; ++i) rows[i] = start + i * stride * kernels->element_size;
    return rows;
}

/* A step with many classes, there and back: all slabs at once or, of every other shape, one by one. */
static void packed_case(const struct shape *s) {
    struct sgd_rule rule = rule_of(s);
    size_t lanes = kernels->lanes, size = kernels->element_size, n_strips = s->stride / lanes;
    size_t n_slabs = (s->c + lanes - 1) / lanes, n_blocks = (s->n + lanes - 1) / lanes;
    size_t columns = n_slabs * lanes, block_stride = (s->stride + 1) * lanes;
    const void *const *rows = rows_of(s);
    char *blocks = stale(LOGITS, n_blocks * block_stride);
    for (size_t i = 0; i < n_blocks; ++i) {
        size_t left = s->n - i * lanes;
        kernels->packed->pack_block(rows + i * lanes, left < lanes ? left : lanes, s->d,
                                    blocks + i * block_stride * size);
    }
    char *coef = padded_weights(WEIGHTS, s), *velocity = padded_weights(VELOCITY, s);
    char *intercept = uniforms(INTERCEPT, s->c);
    /* What is read from now on: the arrays of both directions share the other slots. */
    size_t slab_bytes = s->stride * lanes * size;
    char *slabs = stale(OUT, n_slabs * s->stride * lanes);
    char *velocities = stale(TARGETS, n_slabs * s->stride * lanes);
    size_t n_logits = s->n * columns;
    /* Those of a row are added to what is there, or not. */
    char *logits = option(s, 5) ? constant(DATA, 2 * n_logits, STALE) : stale(DATA, 2 * n_logits);
    char *dlogits = logits + n_logits * size;
    for (size_t k = 0; k < s->c; k += lanes) {
        size_t width = s->c - k < lanes ? s->c - k : lanes;
        kernels->packed->pack_block(rows_in(coef + k * s->stride * size, width, s->stride), width,
                                    s->d, slabs + k / lanes * slab_bytes);
        kernels->packed->pack_block(rows_in(velocity + k * s->stride * size, width, s->stride),
                                    width, s->d, velocities + k / lanes * slab_bytes);
    }
    size_t at_once = option(s, 7) ? columns : lanes;
    struct blocks_view samples = {blocks, block_stride, s->n};
    for (size_t k = 0; k < s->c; k += at_once) {
        struct weights_view weights = {
            .coef = slabs + k / lanes * slab_bytes,
            .intercept = option(s, 4) ? intercept + k * size : NULL,
            .stride = s->stride * lanes,
            .n_features = s->stride,
            .n_classes = s->c - k < at_once ? s->c - k : at_once,
        };
        kernels->packed->packed_scores(&samples, &weights, option(s, 5), logits + k * size,
                                       columns);
    }
    hash_reals(logits, s->n * columns);
    kernels->packed->pack_rows(logits, columns, 0, s->n, s->c, dlogits, s->n * lanes);
    /* Of each class a rule of its own, with a sum of squares for every lane. */
    int of_classes = option(s, 6);
    size_t n_sums = of_classes ? s->stride : n_strips;
    const char *rules = of_classes ? uniforms(RULES, 3 * columns) : NULL;
    double *squares = malloc(2 * n_slabs * n_sums * sizeof(double));
    double *magnitudes = squares + n_slabs * n_sums;
    for (size_t k = 0; k < s->c; k += at_once) {
        size_t sums = k / lanes * n_sums;
        struct update_view update = {
            .weights = slabs + k / lanes * slab_bytes,
            .velocity = rule.momentum != 0 ? velocities + k / lanes * slab_bytes : NULL,
            .stride = s->stride * lanes,
            .n_classes = s->c - k < at_once ? s->c - k : at_once,
            .squares = squares + sums,
            .magnitudes = magnitudes + sums,
        };
        if (of_classes) rule.negative_rates = rules + k * size;
        if (of_classes) rule.twice_l2s = rules + (columns + k) * size;
        if (of_classes) rule.thresholds = rules + (2 * columns + k) * size;
        kernels->packed->packed_update(&samples, 0, s->stride, dlogits + k * s->n * size, &rule,
                                       &update);
    }
    for (size_t i = 0; i < n_slabs * n_sums; ++i) {
        if (rule.l2 != 0) hash_double(squares[i]);
        if (rule.l1 != 0) hash_double(magnitudes[i]);
    }
    free(squares);
    for (size_t k = 0; k < s->c; k += lanes) {
        size_t width = s->c - k < lanes ? s->c - k : lanes;
        if (of_classes) rule.negative_rates = rules + k * size;
        if (of_classes) rule.twice_l2s = rules + (columns + k) * size;
        if (of_classes) rule.thresholds = rules + (2 * columns + k) * size;
        kernels->packed->packed_update_intercept(dlogits + k * s->n * size, s->n, width, &rule,
                                                 intercept + k * size, NULL);
        kernels->packed->unpack_block(
            slabs + k / lanes * slab_bytes, width, s->d,
            (void *const *)rows_in(coef + k * s->stride * size, width, s->stride));
    }
    hash_reals(coef, s->c * s->stride);
    if (rule.momentum != 0) hash_reals(velocities, n_slabs * s->stride * lanes);
    hash_reals(intercept, s->c);
}

/* The sum over rows that the gradient of linear_cross_entropy is: two matrices in slabs, one of them packed from any
 * strides, added to what is there or not. */
static void sum_over_rows_case(const struct shape *s) {
    size_t lanes = kernels->lanes, size = kernels->element_size;
    size_t width = s->c < lanes ? s->c : lanes, n_blocks = (s->n + lanes - 1) / lanes;
    ptrdiff_t depth[] = {(ptrdiff_t)width, 1, (ptrdiff_t)width * 2};
    ptrdiff_t across[] = {1, (ptrdiff_t)s->n, 2}, bytes = (ptrdiff_t)size;
    int way = (int)below(3), add = option(s, 0);
    char *x = uniforms(DATA, s->n * s->d), *left = stale(LOGITS, s->n * s->stride);
    for (size_t j = 0; j < s->d; j += lanes) {
        kernels->packed->pack_slab(x + j * size, (ptrdiff_t)s->d * bytes, bytes, s->n,
                                   s->d - j < lanes ? s->d - j : lanes, left + j * s->n * size);
    }
    void *dlogits = uniforms(TARGETS, s->n * width * 2),
         *slab = stale(WEIGHTS, n_blocks * lanes * lanes);
    kernels->packed->pack_slab(dlogits, depth[way] * bytes, across[way] * bytes, s->n, width, slab);
    hash_reals(slab, s->n * lanes);
    void *out = add ? uniforms(OUT, s->d * width) : stale(OUT, s->d * width);
    struct blocks_view rows = {left, s->n * lanes, s->d};
    struct weights_view columns = {
        .coef = slab, .stride = s->n * lanes, .n_features = s->n, .n_classes = width};
    kernels->packed->packed_scores(&rows, &columns, add, out, width);
    hash_reals(out, s->d * width);
}

/* A step with few classes, in two panels where there are two vectors of features. */
static void panels_case(const struct shape *s) {
    if (s->c > FEW_CLASSES) return;
    struct sgd_rule rule = rule_of(s);
    size_t lanes = kernels->lanes, n_vectors = s->stride / lanes;
    size_t n_blocks = (s->n + lanes - 1) / lanes, block = lanes * s->c;
    size_t cut = n_vectors / 2 * lanes, n_panels = cut ? 2 : 1;
    const void *const *rows = rows_of(s);
    const struct target_weights *target_weights = weights_of(s->n, s->c, s->number);
    if (target_weights && target_weights->classes) target_weights = NULL;
    void *coef = padded_weights(WEIGHTS, s);
    void *velocity = rule.momentum != 0 ? padded_weights(VELOCITY, s) : NULL;
    void *intercept = uniforms(INTERCEPT, s->c), *dlogits = stale(OUT, n_blocks * block);
    char *scores = stale(LOGITS, n_panels * n_blocks * block);
    int64_t labels[64];
    double losses[64], squares[MANY_FEATURES] = {0}, magnitudes[MANY_FEATURES] = {0};
    for (size_t i = 0; i < s->n; ++i) labels[i] = (int64_t)below(s->c);
    struct weights_view weights = {coef, NULL, s->stride, s->d, s->c};
    struct parts_view parts = {scores, n_panels, n_blocks * block};
    struct targets_view targets = {labels, NULL, target_weights, s->c};
    struct update_view update = {coef, velocity, s->stride, s->c, squares, magnitudes};
    size_t starts[] = {0, cut ? cut : s->d, s->d};
    for (size_t p = 0; p < n_panels; ++p) {
        kernels->panels->panel_scores(rows, s->n, starts[p], starts[p + 1] - starts[p],
                                      (enum ahead)below(3), &weights,
                                      scores + p * n_blocks * block * kernels->element_size);
    }
    kernels->panels->training_cross_entropy(&parts, s->n, intercept, &targets, 0.5, losses,
                                            dlogits);
    hash_double(losses[0]);
    hash_reals(dlogits, s->n / kernels->lanes * kernels->lanes * s->c);
    kernels->panels->panel_cross_entropy(&parts, s->n, intercept, &targets, 0.5, losses, dlogits);
    struct rows_to_fetch fetch = {rows, s->n, 0, s->d};
    for (size_t p = 0; p < n_panels; ++p) {
        kernels->panels->panel_update(rows, s->n, &fetch, starts[p], starts[p + 1] - starts[p],
                                      dlogits, &rule, &update);
    }
    kernels->panels->panel_update_intercept(dlogits, s->n, s->c, &rule, intercept, NULL);
    for (size_t i = 0; i < s->n; ++i) hash_double(losses[i]);
    hash_reals(coef, s->c * s->stride);
    if (velocity) hash_reals(velocity, s->c * s->stride);
    hash_reals(intercept, s->c);
}

/* A step with few classes on short rows, in two chunks where there are two samples. */
static void short_rows_case(const struct shape *s) {
    if (s->c > FEW_CLASSES) return;
    struct sgd_rule rule = rule_of(s);
    size_t lanes = kernels->lanes, size = kernels->element_size, block = lanes * s->c;
    size_t n_blocks = (s->n + lanes - 1) / lanes, stride = s->c * (s->stride + lanes);
    size_t cut = s->n / 2, n_chunks = cut ? 2 : 1, starts[] = {0, cut ? cut : s->n, s->n};
    const void *const *rows = rows_of(s);
    const void *next_rows[64];
    /* The sums of the weights follow them. */
    size_t n_weights = s->c * s->stride, n_averaged = option(s, 5) ? 2 : 1;
    void *strips = uniforms(WEIGHTS, n_averaged * n_weights);
    void *velocity = rule.momentum != 0 ? uniforms(VELOCITY, n_weights) : NULL;
    void *intercept = uniforms(INTERCEPT, n_averaged * s->c);
    if (n_averaged > 1) {
        rule.to_sums = (ptrdiff_t)n_weights;
        rule.intercept_to_sums = (ptrdiff_t)s->c;
    }
    char *scores = stale(LOGITS, (n_blocks + 1) * block), *gradients = stale(OUT, 2 * stride);
    double squares[MANY_FEATURES], magnitudes[MANY_FEATURES];
    for (size_t i = 0; i < lanes; ++i) next_rows[i] = rows[0];
    for (size_t p = 0; p < n_chunks; ++p) {
        size_t n = starts[p + 1] - starts[p], half = n / 2;
        for (size_t i = 0; i < n; i += lanes) {
            kernels->short_rows->short_scores(rows + starts[p] + i, n - i < lanes ? n - i : lanes,
                                              s->d, option(s, 4) ? next_rows : NULL, strips, s->c,
                                              scores + i * s->c * size);
        }
        hash_reals(scores, (n + lanes - 1) / lanes * block);
        /* Scores in place of gradients; those of the first samples come once more. */
        char *out = gradients + p * stride * size;
        kernels->short_rows->short_gradient(rows + starts[p], n, s->d, scores, s->c, 0, out);
        if (half)
            kernels->short_rows->short_gradient(rows + starts[p], half, s->d, scores, s->c, 1, out);
        hash_reals(out, stride);
    }
    struct parts_view parts = {gradients, n_chunks, stride};
    struct update_view update = {strips, velocity, 0, s->c, squares, magnitudes};
    kernels->short_rows->short_update(&parts, s->d, &rule, &update, intercept, NULL);
    for (size_t i = 0; i < s->stride / lanes; ++i) {
        if (rule.l2 != 0) hash_double(squares[i]);
        if (rule.l1 != 0) hash_double(magnitudes[i]);
    }
    hash_reals(strips, n_averaged * n_weights);
    if (velocity) hash_reals(velocity, n_weights);
    hash_reals(intercept, n_averaged * s->c);
}

#endif
