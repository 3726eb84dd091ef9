/* The step algorithm panels: rows of any length and few classes, panel of features by panel of features.
 *
 *   z[s, k] = sum over panels of rows[s][panel] . coef[k][panel]  +  intercept[k]      scores (dot_tiles.h)
 *   dw[k, j] = sum over s of dz[s, k] * x[s, j],  applied to w                        update (sgd_update.h)
 *
 * Decisions:
 *   - The features are cut into panels (tuning.h), and a panel can be the work of one thread in both directions: it
 *     updates its weights with this minibatch and scores the next one with them at the same time. So its weights and
 *     its columns of X stay in the caches of that thread; only scores and their gradient pass between threads, and a
 *     step has one loop over panels and one over rows. Where a minibatch is larger than the caches, scores are still
 *     computed by rows and the update by strips.
 *   - Rows come from memory for the scores. Where two minibatches fit into the cache, the first half of every block is
 *     prefetched during the previous update, and the second half during the scores of the previous block, a little
 *     with each tile: the memory has the whole step to deliver them.
 *   - Scores and their gradient are in blocks of LANES samples, block[k][lane] (softmax_transposed.h): the sums of the
 *     rows of a tile go there next to each other, the softmax takes vectors of samples, and the update finds the
 *     factors of one sample at fixed distances. Nothing is ever transposed.
 *   - Training needs the mean loss and not that of each row, and at two classes half of the loss's time was logarithms: so
 *     a block has one (label_losses).
 *   - The panels follow from the number of features alone, and so does the result: the scores of every panel are folded
 *     first and then added up in order.
 */
#ifndef FASTSOFTMAX_STEP_PANELS_H
#define FASTSOFTMAX_STEP_PANELS_H

#include "kernels/cross_entropy.h"
#include "kernels/dot_tiles.h"
#include "kernels/sgd_update.h"

/* Compute the scores of a tile of rows, and prefetch n_fetched of the next rows: half of them with each of
 * the first two tiles of classes, where there are two. */
ALWAYS_INLINE void score_block_tile(const real *const *rows, int n_rows, size_t first,
                                    size_t n_features, const real *coef, size_t coef_stride,
                                    size_t n_classes, const real *const *next_rows, int n_fetched,
                                    real *block) {
    int fetched_per_tile = n_classes > TILE_CLASSES ? (n_fetched + 1) / 2 : n_fetched;
    for (size_t k = 0, n_tile; k < n_classes; k += n_tile) {
        n_tile = tile_size(n_classes - k, TILE_CLASSES);
#define CALL(n)                                                                             \
    dot_tile(rows, n_rows, first, n_features, coef + k * coef_stride, coef_stride, n, NULL, \
             block + k * LANES, 1, LANES, next_rows, fetched_per_tile,                      \
             n_fetched > 0 ? INTO_L2 : NO_PREFETCH)
        FOR_TILE_SIZE(n_tile, TILE_CLASSES, CALL)
#undef CALL
        next_rows += fetched_per_tile;
        n_fetched -= fetched_per_tile;
    }
}

/* Compute the scores of one panel, in blocks. */
ALWAYS_INLINE void score_blocks(const real *const *rows, size_t n_rows, size_t first,
                                size_t n_features, enum ahead ahead, const real *coef,
                                size_t coef_stride, size_t n_classes, real *scores) {
    for (size_t s = 0; s < n_rows;) {
        size_t lane = s % LANES, block = s - lane;
        real *z = scores + block * n_classes + lane;
        if (s + TILE_ROWS > n_rows) {
            score_block_tile(rows + s, 1, first, n_features, coef, coef_stride, n_classes, rows, 0,
                             z);
            s += 1;
            continue;
        }
        if (ahead == SECOND_HALVES) {
            score_block_tile(rows + s, TILE_ROWS, first, n_features, coef, coef_stride, n_classes,
                             rows + block + LANES + LANES / 2 + lane / 2, TILE_ROWS / 2, z);
        } else if (ahead == WHOLE_ROWS) {
            score_block_tile(rows + s, TILE_ROWS, first, n_features, coef, coef_stride, n_classes,
                             rows + s + TILE_ROWS, TILE_ROWS, z);
        } else {
            score_block_tile(rows + s, TILE_ROWS, first, n_features, coef, coef_stride, n_classes,
                             rows, 0, z);
        }
        s += TILE_ROWS;
    }
}

/* Kernel: the scores of one panel. */
static void panel_scores(const void *const *rows, size_t n_rows, size_t first, size_t n_features,
                         enum ahead ahead, const struct weights_view *weights, void *scores) {
    const real *coef = weights->coef;
    score_blocks((const real *const *)rows, n_rows, first, n_features, ahead, coef + first,
                 weights->stride, weights->n_classes, scores);
}

/* Kernel: the update of one panel, strip by strip. */
static void panel_update(const void *const *rows, size_t n_rows, const struct rows_to_fetch *fetch,
                         size_t first, size_t n_features, const void *dlogits,
                         const struct sgd_rule *rule, const struct update_view *update) {
    real *coef = update->weights, *velocity = update->velocity;
    size_t coef_stride = update->stride, n_classes = update->n_classes, strip = first / LANES;
    double *squares = update->squares + strip, *magnitudes = update->magnitudes + strip;
    struct vector_rule step = broadcast_rule(rule);
    struct dlogits_layout in_blocks = {LANES * n_classes, 1, LANES};
    struct rows_to_fetch left = *fetch;
    size_t fetched = 0;
    size_t j = 0;
    for (; n_classes <= MAX_PAIRED_CLASSES && j + 2 * LANES <= n_features; j += 2 * LANES) {
#define CALL(n)                                                                                   \
    update_two_strips((const real *const *)rows, n_rows, first + j, dlogits, in_blocks, n, &step, \
                      coef, velocity, coef_stride, &left, &fetched, squares + j / LANES,          \
                      magnitudes + j / LANES)
        FOR_TILE_SIZE(n_classes, MAX_PAIRED_CLASSES, CALL)
#undef CALL
    }
    for (; j < n_features; j += LANES) {
        update_strip((const real *const *)rows, n_rows, first + j, n_features - j, dlogits,
                     in_blocks, n_classes, &step, coef, velocity, coef_stride, &left, &fetched,
                     squares + j / LANES, magnitudes + j / LANES);
    }
}

/* Compute loss and gradient of one block with soft targets, or with labels and smoothing: `labels` or
 * `probabilities` is NULL. The weights, which may be NULL, are those from row `first` on. */
static void block_soft_targets(real (*columns)[LANES], size_t n_rows, size_t n_classes,
                               const int64_t *labels, const real *probabilities,
                               const struct target_weights *weights, size_t first, double scale,
                               double *losses) {
    real targets[FEW_CLASSES][LANES], row_weights[LANES] = {0}, row_labels[LANES];
    double smoothing = weights ? weights->smoothing : 0;
    for (size_t i = 0; i < LANES; ++i) row_labels[i] = i < n_rows && labels ? (real)labels[i] : -1;
    for (size_t i = 0; i < n_rows; ++i) {
        row_weights[i] = (real)(weights && weights->rows ? weights->rows[first + i] : 1);
    }
    if (probabilities) gather_transposed(probabilities, n_classes, n_rows, n_classes, targets);
    vec label = load(row_labels), row_weight = load(row_weights), one = broadcast(1),
        zero = broadcast(0);
    vec target_weight = broadcast((real)(1 - smoothing));
    vec class_share = broadcast((real)(smoothing / (double)n_classes));
    for (size_t k = 0; k < n_classes; ++k) {
        vec t = probabilities ? load(targets[k])
                              : select_equal(label, broadcast((real)k), one, zero);
        store(targets[k], mul(row_weight, fmadd(target_weight, t, class_share)));
    }
    transposed_soft_cross_entropy(columns, targets, n_rows, n_classes, scale, losses);
    for (size_t i = 0; labels && i < n_rows; ++i) {
        if ((size_t)labels[i] >= n_classes)
            losses[i] = (double)NAN; /* changed since it was validated */
    }
}

/* Compute loss and gradient of one block with labels; row_weights are the weights of its rows, or NULL. */
static void block_labels(real (*columns)[LANES], size_t n_rows, size_t n_classes,
                         const int64_t *labels, const double *row_weights, double scale,
                         double *losses) {
    double scales[LANES];
    for (size_t i = 0; i < LANES; ++i) scales[i] = scale;
    for (size_t i = 0; row_weights && i < n_rows; ++i) scales[i] *= row_weights[i];
    transposed_cross_entropy(columns, n_rows, n_classes, labels, scales, losses, 1);
    for (size_t i = 0; row_weights && i < n_rows; ++i) losses[i] *= row_weights[i];
}

/* Compute the scores of a block from those of its panels: columns[k][i] of row i. */
ALWAYS_INLINE void add_panels(const struct parts_view *scores, size_t first, size_t n_rows,
                              size_t n_classes, const real *intercept, real (*columns)[LANES]) {
    const real *block = (const real *)scores->start + first * n_classes;
    for (size_t k = 0; k < n_classes; ++k) {
        vec z = load_up_to(block + k * LANES, n_rows, 0);
        for (size_t panel = 1; panel < scores->n_parts; ++panel) {
            z = add(z, load_up_to(block + panel * scores->stride + k * LANES, n_rows, 0));
        }
        store(columns[k], intercept ? add(z, broadcast(intercept[k])) : z);
    }
}

/* Compute the losses and the gradient of one block, of rows from `first` on. */
static void block_losses(real (*columns)[LANES], size_t first, size_t n_rows,
                         const struct targets_view *targets, double scale, double *losses) {
    const struct target_weights *weights = targets->weights;
    const int64_t *labels = targets->labels ? targets->labels + first : NULL;
    const real *probabilities = targets->probabilities;
    size_t n_classes = targets->n_classes;
    if (labels && !(weights && weights->smoothing != 0)) {
        block_labels(columns, n_rows, n_classes, labels,
                     weights && weights->rows ? weights->rows + first : NULL, scale, losses);
    } else {
        block_soft_targets(columns, n_rows, n_classes, labels,
                           labels ? NULL : probabilities + first * n_classes, weights, first, scale,
                           losses);
    }
}

/* Kernel: losses and gradients from the scores of all panels. */
static void panel_cross_entropy(const struct parts_view *scores, size_t n_rows,
                                const void *intercept, const struct targets_view *targets,
                                double scale, double *losses, void *dlogits) {
    size_t n_classes = targets->n_classes;
    for (size_t s = 0; s < n_rows; s += LANES) {
        size_t n = n_rows - s < LANES ? n_rows - s : LANES;
        real(*columns)[LANES] = (real(*)[LANES])((real *)dlogits + s * n_classes);
        add_panels(scores, s, n, n_classes, intercept, columns);
        block_losses(columns, s, n, targets, scale, losses + s);
    }
}

/* The sum of some losses: gap + log(1 + y). */
struct joined_losses {
    double gap, y;
};

/* Return the losses of a block with labels, in float32, and compute its gradient. A loss is m - z_y + log(1 + y) with
 * y = total / e_m - 1, and
 *
 *   log(1 + a) + log(1 + b) = log(1 + (a + b + a * b)),
 *
 * which keeps the digits of small losses: so one logarithm is enough for all rows. A probability is rounded once more
 * than those of transposed_cross_entropy: its error is below 2 ulp. */
ALWAYS_INLINE struct joined_losses label_losses(real (*columns)[LANES], size_t n_rows,
                                                size_t n_classes, const int64_t *labels,
                                                double scale) {
    real factors[LANES], label_gradients[LANES];
    double gaps[LANES], y[LANES];
    struct label_terms lanes;
    vec label = fill_label_terms(columns, n_rows, n_classes, labels, &lanes);
    for (size_t i = 0; i < LANES; ++i) {
        double others = lanes.others[i], term = (double)lanes.label_term[i];
        double largest_of_row = (double)lanes.largest_term[i], total = others + term;
        double inverse = 1 / (total * largest_of_row); /* one division for both quotients */
        double factor = scale * (largest_of_row * inverse);
        y[i] = (others + (term - largest_of_row)) * (total * inverse);
        gaps[i] = (double)lanes.maximum[i] - (double)lanes.score[i];
        factors[i] = (real)factor;
        label_gradients[i] = (real)(-others * factor);
    }
    for (size_t i = n_rows; i < LANES; ++i) gaps[i] = y[i] = 0;
    vec factor = load(factors), label_gradient = load(label_gradients);
    for (size_t k = 0; k < n_classes; ++k) {
        vec gradient = mul(load(columns[k]), factor);
        store(columns[k], select_equal(label, broadcast((real)k), label_gradient, gradient));
    }
    UNROLL for (size_t half = LANES / 2; half > 0; half /= 2) {
        for (size_t i = 0; i < half; ++i) {
            y[i] = (y[i] + y[i + half]) + y[i] * y[i + half];
            gaps[i] += gaps[i + half];
        }
    }
    return (struct joined_losses){gaps[0], y[0]};
}

/* Compute the sums of the losses of n blocks. They are independent: one alone would wait for its own logarithm. */
ALWAYS_INLINE void sums_of_losses(const struct joined_losses *of, size_t n, double *losses) {
    for (size_t i = 0; i < n; ++i) {
        double ratio = 1 + of[i].y;
        losses[i] = of[i].gap + (logarithm(ratio) + (of[i].y - (ratio - 1)) / ratio);
    }
}

/* Blocks whose logarithms are computed together. */
enum { JOINED_BLOCKS = 4 };

/* Kernel: gradients for training, and losses by blocks. */
static void training_cross_entropy(const struct parts_view *scores, size_t n_rows,
                                   const void *intercept, const struct targets_view *targets,
                                   double scale, double *losses, void *dlogits) {
    const struct target_weights *weights = targets->weights;
    size_t n_classes = targets->n_classes;
    int is_plain = targets->labels && !(weights && (weights->rows || weights->smoothing != 0));
    struct joined_losses joined[JOINED_BLOCKS];
    for (size_t s = 0, n_joined = 0; s < n_rows; s += LANES) {
        size_t n = n_rows - s < LANES ? n_rows - s : LANES;
        real(*columns)[LANES] = (real(*)[LANES])((real *)dlogits + s * n_classes);
        add_panels(scores, s, n, n_classes, intercept, columns);
        if (is_plain && sizeof(real) < sizeof(double)) {
            joined[n_joined++] = label_losses(columns, n, n_classes, targets->labels + s, scale);
            if (n_joined == JOINED_BLOCKS) {
                sums_of_losses(joined, JOINED_BLOCKS, losses);
            } else if (s + LANES >= n_rows) {
                sums_of_losses(joined, n_joined, losses);
            } else {
                continue;
            }
            losses += n_joined;
            n_joined = 0;
            continue;
        }
        double of_rows[LANES], sum = 0;
        block_losses(columns, s, n, targets, scale, of_rows);
        for (size_t i = 0; i < n; ++i) sum += of_rows[i];
        *losses++ = sum;
    }
}

/* Kernel: the update of the intercept from blocks of dlogits. */
static void panel_update_intercept(const void *dlogits, size_t n_rows, size_t n_classes,
                                   const struct sgd_rule *rule, void *intercept, void *velocity) {
    struct vector_rule step = broadcast_rule(rule);
    real gradient[FEW_CLASSES];
    for (size_t k = 0; k < n_classes; ++k) {
        vec sum = broadcast(0);
        for (size_t s = 0; s < n_rows; s += LANES) {
            const real *column = (const real *)dlogits + s * n_classes + k * LANES;
            sum = add(sum, load_up_to(column, n_rows - s, 0));
        }
        gradient[k] = sum_lanes(sum);
    }
    update_intercept(gradient, n_classes, &step, intercept, velocity);
}

#endif
