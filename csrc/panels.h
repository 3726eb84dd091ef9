/* A step of training with few classes, panel of features by panel of features.
 *
 *   z[s, k] = sum over panels of rows[s][panel] . coef[k][panel]  +  intercept[k]
 *
 * Decisions:
 *   - The features are cut into panels of at most PANEL_VECTORS vectors, and a panel is the work of one
 *     thread in both directions: it updates its weights with this minibatch and scores the next one with
 *     them at once. So its weights and its columns of X stay in that thread's caches; only scores and
 *     their gradient pass from thread to thread, and a step has one loop over panels and one over rows.
 *   - Rows come from memory for the scores alone. They are fetched while the update before computes, so
 *     that the memory has the whole step to bring them and not its first half.
 *   - Scores and their gradient lie in blocks of LANES samples, block[k][lane] (columns.h): the sums of a
 *     tile's rows go there side by side, the softmax takes vectors of samples, and the update finds the
 *     factors of one sample at fixed distances. Nothing is ever turned around.
 *   - The panels follow from the number of features alone, and so do the bits: every panel's scores are
 *     folded first and then added up in order.
 */
#ifndef FASTSOFTMAX_PANELS_H
#define FASTSOFTMAX_PANELS_H

#include "linear.h"

ALWAYS_INLINE void score_block_tile(const real *const *rows, int n_rows, size_t first,
                                    size_t n_features, const real *coef, size_t coef_stride,
                                    size_t n_classes, real *block) {
    size_t k = 0;
#define TILE_OF(n)                                                                                 \
    score_tile(rows, n_rows, first, n_features, coef + k * coef_stride, coef_stride, n, NULL,      \
               block + k * LANES, 1, LANES, NULL, NOTHING)
    for (; k + TILE_CLASSES <= n_classes; k += TILE_CLASSES) TILE_OF(TILE_CLASSES);
    for (; TILE_CLASSES > 2 && k + 2 <= n_classes; k += 2) TILE_OF(TILE_CLASSES > 2 ? 2 : 1);
    for (; k < n_classes; ++k) TILE_OF(1);
#undef TILE_OF
}

static void panel_scores(const void *const *rows, size_t n_rows, size_t first, size_t n_features,
                         const void *coef, size_t coef_stride, size_t n_classes, void *scores) {
    const real *const *x = (const real *const *)rows;
    const real *w = (const real *)coef + first;
    for (size_t s = 0; s < n_rows;) {
        real *block = (real *)scores + s / LANES * LANES * n_classes + s % LANES;
        if (s + TILE_ROWS <= n_rows) {
            score_block_tile(x + s, TILE_ROWS, first, n_features, w, coef_stride, n_classes, block);
            s += TILE_ROWS;
        } else {
            score_block_tile(x + s, 1, first, n_features, w, coef_stride, n_classes, block);
            s += 1;
        }
    }
}

static void panel_update(const void *const *rows, const void *const *next_rows, size_t n_rows,
                         size_t first, size_t n_features, const void *dlogits, size_t n_classes,
                         const struct rule *rule, void *coef, void *velocity, size_t coef_stride,
                         double *squares, double *magnitudes) {
    struct step step = step_of(rule);
    struct layout in_blocks = {LANES * n_classes, 1, LANES};
    for (size_t j = 0; j < n_features; j += LANES) {
        update_strip((const real *const *)rows, n_rows, first + j, n_features - j, dlogits,
                     in_blocks, n_classes, &step, coef, velocity, coef_stride,
                     (const real *const *)next_rows, squares + j / LANES, magnitudes + j / LANES);
    }
}

/* Soft targets of one block: row by row, as rows.h has it. */
static void probabilities_of_block(real (*columns)[LANES], size_t n_rows, size_t n_classes,
                                   const real *probabilities, double scale, double *losses) {
    for (size_t i = 0; i < n_rows; ++i) {
        real z[MOST_COLUMNS];
        for (size_t k = 0; k < n_classes; ++k) z[k] = columns[k][i];
        probability_row(z, n_classes, probabilities + i * n_classes, scale, losses + i, z);
        for (size_t k = 0; k < n_classes; ++k) columns[k][i] = z[k];
    }
}

static void panel_cross_entropy(const void *scores, size_t n_panels, size_t panel_stride,
                                size_t n_rows, size_t n_classes, const void *intercept,
                                const int64_t *labels, const void *probabilities, double scale,
                                double *losses, void *dlogits) {
    const real *offsets = intercept, *targets = probabilities;
    for (size_t s = 0; s < n_rows; s += LANES) {
        size_t n = n_rows - s < LANES ? n_rows - s : LANES;
        const real *block = (const real *)scores + s * n_classes;
        real(*columns)[LANES] = (real(*)[LANES])((real *)dlogits + s * n_classes);
        for (size_t k = 0; k < n_classes; ++k) {
            vec z = load_up_to(block + k * LANES, n, 0);
            for (size_t panel = 1; panel < n_panels; ++panel) {
                z = add(z, load_up_to(block + panel * panel_stride + k * LANES, n, 0));
            }
            store(columns[k], offsets ? add(z, broadcast(offsets[k])) : z);
        }
        if (labels) {
            cross_entropy_of_columns(columns, n, n_classes, labels + s, scale, losses + s, 1);
        } else {
            probabilities_of_block(columns, n, n_classes, targets + s * n_classes, scale,
                                   losses + s);
        }
    }
}

static void panel_update_intercept(const void *dlogits, size_t n_rows, size_t n_classes,
                                   const struct rule *rule, void *intercept, void *velocity) {
    struct step step = step_of(rule);
    real gradients[MOST_COLUMNS], *b = intercept;
    for (size_t k = 0; k < n_classes; ++k) {
        vec sum = broadcast(0);
        for (size_t s = 0; s < n_rows; s += LANES) {
            const real *column = (const real *)dlogits + s * n_classes + k * LANES;
            sum = add(sum, load_up_to(column, n_rows - s, 0));
        }
        gradients[k] = sum_lanes(sum);
    }
    for (size_t k = 0; k < n_classes; k += LANES) {
        size_t width = n_classes - k;
        real *v = velocity ? (real *)velocity + k : NULL;
        vec gradient = load_up_to(gradients + k, width, 0);
        store_up_to(b + k, moved(load_up_to(b + k, width, 0), gradient, &step, v, width), width);
    }
}

#endif
