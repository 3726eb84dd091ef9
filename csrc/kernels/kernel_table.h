/* The kernel table: the functions that every instruction set provides for float32 and for float64.
 *
 *   kernels->softmax(logits, n_rows, n_classes, out)     kernels: &kernels_<instruction set>_<type>, see dispatch.c
 *
 * What holds for all of them, unless a comment says otherwise:
 *   - `void *` stands for float * or double *, by the table; losses and penalties are double.
 *   - Strides are in elements, not in bytes. No pointer needs more alignment than its type.
 *   - Outputs are written in full, overlap nothing else, and need not be initialised; `add_to_out` adds to them.
 *   - "Padded" means: up to a whole number of vectors (of `lanes` elements), with zeros that are read.
 *   - Results depend on the arguments alone, not on tiles, chunks of work, threads or the instruction set, among
 *     those with FMA; the portable one has bits of its own.
 *   - No function allocates, locks or keeps state.
 *
 * Blocking (csrc/README.md has the picture): a strip is one vector of features, a slab one vector of classes (or of
 * sparse weights, SPARSE_SLAB_VECTORS), a panel a run of strips, a block one vector of samples, transposed.
 */
#ifndef FASTSOFTMAX_KERNEL_TABLE_H
#define FASTSOFTMAX_KERNEL_TABLE_H

#include <stddef.h>
#include <stdint.h>

#include "kernels/tuning.h"

/* The update of a step; formulas in fastsoftmax/backends/protocol.py and sgd_update.h. */
struct sgd_rule {
    double rate, l2, l1, momentum;
    int nesterov, subgradient;
    /* Where the sums of the weights after each step lie, in elements from the weights; 0 for none. */
    ptrdiff_t to_sums, intercept_to_sums;
    /* -rate, 2 * l2 and rate * l1 of each class, in the kernel's type; or NULL. Only step_packed.h takes them:
     * there lanes are classes, and may belong to several models. */
    const void *negative_rates, *twice_l2s, *thresholds;
};

/* How panel_scores prefetches later rows. Rows drawn at random are where no hardware prefetcher looks, and the first
 * level of the cache can wait for few lines at a time: so each tile prefetches a little. */
enum ahead {
    SECOND_HALVES, /* of the rows of the next block; panel_update has prefetched the first ones */
    WHOLE_ROWS, /* the next few: where a minibatch would not stay in the cache until it is used */
    NO_ROWS,    /* none: they have been converted, and are in the cache */
};

/* Rows to prefetch, and which of their features. */
struct rows_to_fetch {
    const void *const *rows;
    size_t n_rows, first, n_features;
};

/* The type of the elements of X; INPUT_REAL is that of the table. (UINT8 alone is a type of Windows.) */
enum input_dtype { INPUT_UINT8, INPUT_FLOAT16, INPUT_FLOAT32, INPUT_REAL };

/* A sparse row: its values and their columns, int64_t or int32_t. */
struct sparse_row {
    const void *values, *indices;
    size_t n_values;
};

/* A, 1 / A and C of step_sparse.h after a number of steps; those of no step, 1, 1 and 0, come first. */
struct penalty_prefix {
    double scale, inverse_scale, shrinkage;
};

/* What penalty and momentum alone do to a weight w and its velocity v in some steps:
 * (w, v) <- (ww * w + wv * v, vw * w + vv * v). */
struct momentum_map {
    double ww, wv, vw, vv;
};

/* Packed weights of a sparse epoch, and how far each has been brought up to date; see step_sparse.h. */
struct sparse_weights {
    void *start; /* slab after slab, each (n_features, its classes padded) */
    size_t n_features, n_classes;
    int wide_indices;
    const void *inverse_scale; /* (n_features): values are multiplied by it; or NULL */
    uint32_t *steps; /* (n_features) of each slab: how many steps its weights have seen; or NULL */
    const struct penalty_prefix *prefixes;
    size_t now;
    void *velocity;            /* as start; NULL without momentum */
    struct momentum_map *maps; /* with momentum: two for each possible step, see step_sparse.h */
};

/* How the targets t of a row are weighted: u_k = row * class_k * ((1 - smoothing) * t_k + smoothing / n_classes),
 * where rows and classes stand for ones if they are NULL. */
struct target_weights {
    const double *rows;  /* (n_rows); a row of weight 0 is not read */
    const void *classes; /* (n_classes) */
    double smoothing;
    const double *upstream; /* (n_rows): factors of the gradient alone, of any sign; or NULL */
};

/* The targets of rows: either labels (n_rows) or probabilities (n_rows, n_classes), contiguous, the other one NULL;
 * their weights, or NULL. */
struct targets_view {
    const int64_t *labels;
    const void *probabilities;
    const struct target_weights *weights;
    size_t n_classes;
};

/* Metrics of rows, outputs (n_rows) or NULL; formulas in row_metrics.h. A row that does not count has the argmax -1, and
 * 0 of the others. */
struct row_metrics {
    int64_t *argmax;
    uint8_t *top_k_correct;
    double *label_log_prob, *entropy;
    size_t top_k;
};

/* What happens to logits before the loss, and what it has besides the cross-entropy; formulas in logit_options.h. */
struct logit_options {
    double scale;                        /* of the gradient, as cross_entropy's */
    double temperature, softcap, z_loss; /* a softcap of 0 stands for none */
    const uint8_t *mask; /* (n_rows or 1, n_classes), 0 where a class takes no part; or NULL */
    size_t mask_stride;  /* of its rows; 0 if there is one */
    const double *lse_upstream; /* (n_rows): the gradient from above for lse; or NULL */
    double *lse;   /* out, (n_rows): the log-sum-exp of q, 0 for rows that do not count; or NULL */
    void *scratch; /* for the kernel's use: 2 times scratch_width elements, 4 times with a mask */
    size_t scratch_width; /* at least n_classes and lanes * MAX_TRANSPOSED_CLASSES */
    struct row_metrics metrics;
};

/* What features are shifted and scaled by, (x - mean) * inverse_scale, of all features; NULL for nothing. */
struct scaling_view {
    const void *mean, *inverse_scale;
};

/* Weights that scores are computed with: coef, class-major (n_classes, n_features), rows `stride` apart, a multiple of
 * lanes, and padded to it; or in slabs, `stride` apart. The intercept (n_classes), or NULL. */
struct weights_view {
    const void *coef, *intercept;
    size_t stride, n_features, n_classes;
};

/* Weights that an update changes, of n_classes and of all features, in the layout of the kernel: rows or slabs `stride`
 * apart, or strips. The velocity lies as they do; NULL without momentum. Out: squares and magnitudes, one number for each
 * strip of features, the sums over the weights before the step where l2, l1 are not 0. */
struct update_view {
    void *weights, *velocity;
    size_t stride, n_classes;
    double *squares, *magnitudes;
};

/* Samples in blocks of lanes, block[j][lane], `stride` apart. */
struct blocks_view {
    const void *start;
    size_t stride, n_samples;
};

/* The parts of a sum, `stride` apart: they are added in order. */
struct parts_view {
    const void *start;
    size_t n_parts, stride;
};

/* A matrix of n_columns at any strides, in elements: [s, k] is at start[s * row_stride + k * column_stride]. */
struct matrix_view {
    const void *start;
    size_t row_stride, column_stride, n_columns;
};

/* Rows of logits (softmax.h, cross_entropy.h). Those that return ptrdiff_t return the index of the first
 * row without a softmax (it contains NaN or +inf, or nothing but -inf), or -1; that row of the output
 * then has no meaning. */
struct loss_kernels {
    /* In: logits (n_rows, n_classes), contiguous. Out: out, of the same shape, the softmax of each row; it may be
     * logits. Bits: those of a row depend on that row alone. */
    ptrdiff_t (*softmax)(const void *logits, size_t n_rows, size_t n_classes, void *out);

    /* In: logits (n_rows, n_classes), contiguous. Out: out, of the same shape, the logarithm of the softmax; it may
     * be logits. Bits: those of a row depend on that row alone. */
    ptrdiff_t (*log_softmax)(const void *logits, size_t n_rows, size_t n_classes, void *out);

    /* In: logits (n_rows, n_classes), contiguous. Out: out (n_rows); NaN or an infinity for a row without a softmax.
     * Bits: those of a row depend on that row alone. */
    void (*logsumexp)(const void *logits, size_t n_rows, size_t n_classes, void *out);

    /* In: logits, rows `stride` apart; targets. Out: losses[i] = -sum(u * log(p)); unless NULL, dlogits, rows
     * dlogits_stride apart: scale * (sum(u) * p - u). dlogits may be logits. A label that is no class makes the loss
     * NaN. Bits: those of a row depend on that row, its weights and n_classes, not on its neighbours. */
    ptrdiff_t (*cross_entropy)(const void *logits, size_t stride, size_t n_rows,
                               const struct targets_view *targets, double scale, double *losses,
                               void *dlogits, size_t dlogits_stride);

    /* In: as cross_entropy's, and options. Out: losses[i] = sum(u * (lse(q) - q + z_loss * lse(q)**2)); unless NULL,
     * dlogits: scale times its gradient in the logits, with 0 for masked classes. dlogits may be logits. A row without a
     * class that takes part has no softmax. Bits: those of a row depend on that row, its weights and options. */
    ptrdiff_t (*cross_entropy_with_options)(const void *logits, size_t stride, size_t n_rows,
                                            const struct targets_view *targets,
                                            const struct logit_options *options, double *losses,
                                            void *dlogits, size_t dlogits_stride);
};

/* Dense weights and scores (dot_tiles.h), gradients and the update (sgd_update.h). */
struct dense_kernels {
    /* In: W (n_features, n_classes), any strides, in bytes. Out: coef[k, j] = W[j, k], each row padded to coef_stride.
     * Bits: copies. */
    void (*pack)(const void *W, ptrdiff_t feature_stride, ptrdiff_t class_stride, size_t n_features,
                 size_t n_classes, void *coef, size_t coef_stride);

    /* The inverse of pack. In: coef, rows coef_stride apart. Out: W[j, k] = coef[k, j], any strides, in bytes.
     * Bits: copies. */
    void (*unpack)(const void *coef, size_t coef_stride, size_t n_features, size_t n_classes,
                   void *W, ptrdiff_t feature_stride, ptrdiff_t class_stride);

    /* In: rows, n_rows pointers to elements of every feature, followed by ROWS_AHEAD pointers to rows that may come next,
     * which are prefetched, not read; weights. Out: logits[i] = coef @ rows[i] + intercept, rows logits_stride
     * apart. Bits: lane i of a dot product sums the features i, i + lanes, ...; then the lanes are folded. */
    void (*scores)(const void *const *rows, size_t n_rows, const struct weights_view *weights,
                   void *logits, size_t logits_stride);

    /* In: rows, n_rows pointers to n_features elements; g (n_rows, n_columns), at any strides. Out: out[k, first:] (+)=
     * sum over s of g[s, k] * rows[s][first:], rows out_stride apart, for up to `lanes` features from `first` on.
     * Bits: samples in order, fused multiply-adds. */
    void (*outer_sum)(const void *const *rows, size_t n_rows, size_t first, size_t n_features,
                      const struct matrix_view *g, int add_to_out, void *out, size_t out_stride);

    /* In: g (n_rows, n_columns), rows `stride` apart. Out: out[k] (+)= sum over s of g[s, k]. Bits: rows in order. */
    void (*column_sums)(const void *g, size_t stride, size_t n_rows, size_t n_columns,
                        int add_to_out, void *out);

    /* In: weights (n), contiguous. Returns l2 * sum(w**2) + l1 * sum(|w|), summed in double. Out: unless NULL,
     * gradient (n) = 2 * l2 * w + l1 * sign(w). Bits: element i goes to partial sum i % PARTIAL_SUMS. */
    double (*penalty)(const void *weights, size_t n, double l2, double l1, void *gradient);
};

/* The input (convert.h). */
struct input_kernels {
    /* In: rows, n_rows pointers to elements of type dtype, followed by ROWS_AHEAD pointers to rows that may come
     * next, which are prefetched; features [first, first + n_features), first a multiple of lanes; scaling. Out:
     * out[i, j] = (rows[i][j] - mean[j]) * inverse_scale[j], rows out_stride apart, padded. Bits: each operation
     * rounded once. */
    void (*convert)(const void *const *rows, size_t n_rows, enum input_dtype dtype, size_t first,
                    size_t n_features, const struct scaling_view *scaling, void *out,
                    size_t out_stride);

    /* In: rows `stride` bytes apart, of type dtype, INPUT_UINT8 alone in the table of float32; origin (n_features). Out,
     * added to: sums[j] += sum of x and squares[j] += sum of x**2, with x = row[j] - origin[j], (n_features) each.
     * May prefetch beyond the last row. Bits: rows in order; exact for INPUT_UINT8. */
    void (*moments)(const void *rows, size_t stride, size_t n_rows, size_t n_features,
                    enum input_dtype dtype, const double *origin, double *sums, double *squares);
};

/* The step algorithm panels (step_panels.h). For at most FEW_CLASSES classes. Scores and dlogits are in
 * blocks of `lanes` samples, [n_classes][lanes] each. A panel is the features [first, first +
 * n_features), first a multiple of lanes. */
struct panels_kernels {
    /* In: rows, n_rows pointers, followed by those that `ahead` prefetches; class-major weights of all features.
     * Out: scores of one panel, without the intercept, in blocks. Bits: as those of scores. */
    void (*panel_scores)(const void *const *rows, size_t n_rows, size_t first, size_t n_features,
                         enum ahead ahead, const struct weights_view *weights, void *scores);

    /* In: scores, of which each panel has a part, in blocks; intercept (n_classes), or NULL; targets, whose weights
     * have none of classes. Out: losses (n_rows); dlogits, in blocks, times scale. Bits: panels are added in order,
     * then as transposed_cross_entropy. */
    void (*panel_cross_entropy)(const struct parts_view *scores, size_t n_rows,
                                const void *intercept, const struct targets_view *targets,
                                double scale, double *losses, void *dlogits);

    /* As panel_cross_entropy. Out: losses, one number for each block, the sum of the losses of its rows. Bits: in float32
     * with labels and without weights, quotients and logarithms are taken together; else those of panel_cross_entropy,
     * added in order. */
    void (*training_cross_entropy)(const struct parts_view *scores, size_t n_rows,
                                   const void *intercept, const struct targets_view *targets,
                                   double scale, double *losses, void *dlogits);

    /* In: rows, n_rows pointers; fetch, rows that are prefetched meanwhile; dlogits in blocks; rule. In and out: the
     * class-major weights of the panel. Bits: samples in order; see sgd_update.h. */
    void (*panel_update)(const void *const *rows, size_t n_rows, const struct rows_to_fetch *fetch,
                         size_t first, size_t n_features, const void *dlogits,
                         const struct sgd_rule *rule, const struct update_view *update);

    /* In: dlogits in blocks; rule. In and out: intercept and velocity (n_classes); velocity is NULL without momentum.
     * Bits: lanes over the blocks in order, then the lanes are folded. */
    void (*panel_update_intercept)(const void *dlogits, size_t n_rows, size_t n_classes,
                                   const struct sgd_rule *rule, void *intercept, void *velocity);
};

/* The step algorithm short_rows (step_short_rows.h). For at most FEW_CLASSES classes. Weights, velocity
 * and gradients are in strips, [n_classes][lanes] each; after the strips of a gradient comes one for the
 * intercept, its lanes not yet folded. */
struct short_rows_kernels {
    /* In: rows, n_rows <= lanes pointers; next_rows, `lanes` pointers to rows that are prefetched, or NULL; strips
     * of weights. Out: one block of scores, without the intercept. Bits: features in order, one fused multiply-add
     * each. */
    void (*short_scores)(const void *const *rows, size_t n_rows, size_t n_features,
                         const void *const *next_rows, const void *strips, size_t n_classes,
                         void *block);

    /* In: rows, n_rows pointers, a chunk of samples; dlogits in blocks. Out: out (+)= the gradient of the weights
     * and of the intercept. Bits: samples in order. */
    void (*short_gradient)(const void *const *rows, size_t n_rows, size_t n_features,
                           const void *dlogits, size_t n_classes, int add_to_out, void *out);

    /* In: gradients, of which each chunk has a part; rule. In and out: weights in strips; intercept, which may be
     * NULL, and its velocity (n_classes). Bits: chunks are added in order. */
    void (*short_update)(const struct parts_view *gradients, size_t n_features,
                         const struct sgd_rule *rule, const struct update_view *update,
                         void *intercept, void *intercept_velocity);
};

/* linear_cross_entropy with two classes, by the difference of their logits (two_classes.h). */
struct two_class_kernels {
    /* In: rows, n_rows pointers to n_features >= lanes elements; weights (n_features), padded. Out: dots (n_rows).
     * Bits: lane i sums the features i, i + lanes, ... but those of the last vector, which ends with the row, in its
     * lanes; then the lanes are folded. */
    void (*row_dots)(const void *const *rows, size_t n_rows, size_t n_features, const void *weights,
                     void *dots);

    /* In: n_rows <= SAMPLES_PER_PASS; labels 0 and 1; row_weights (n_rows), or NULL. In and out: differences (n_rows),
     * to which `offset` is added, become the gradients in the logit of class 1. Out: losses; NaN where the difference
     * is not finite, or the label is another. Bits: those of a row depend on that row alone. */
    void (*two_class_cross_entropy)(void *differences, size_t n_rows, double offset,
                                    const int64_t *labels, const double *row_weights, double scale,
                                    double *losses);
};

/* Products of a partial sum of the step algorithm packed. It fixes the order of the sum, and so is part of the result. */
enum { FEATURES_PER_SUM = 128 };

/* The step algorithm packed (step_packed.h). For any number of classes. Samples are in blocks; weights
 * and velocity in slabs of `lanes` classes, slab[j][lane], `stride` apart; dlogits in slabs,
 * slab[sample][lane], one after another. What is packed is padded, and so is n_features, where no
 * comment says otherwise. */
struct packed_kernels {
    /* In: rows, n_rows <= lanes pointers to n_features elements, not padded. Out: block[j][i] = rows[i][j], padded.
     * Bits: copies. */
    void (*pack_block)(const void *const *rows, size_t n_rows, size_t n_features, void *block);

    /* In: numbers at start + t * depth_stride + i * lane_stride, in bytes, for t < depth and i < n_lanes <= lanes.
     * Out: slab[t][i], the other lanes 0; it has room for whole vectors of depth, which may be written. Bits:
     * copies. */
    void (*pack_slab)(const void *start, ptrdiff_t depth_stride, ptrdiff_t lane_stride,
                      size_t depth, size_t n_lanes, void *slab);

    /* The inverse of pack_block. In: block, of n_features, not padded. Out: rows[i][j] = block[j][i], n_rows <= lanes
     * pointers. Bits: copies. */
    void (*unpack_block)(const void *block, size_t n_rows, size_t n_features, void *const *rows);

    /* In: samples; weights in slabs. Out: logits, rows logits_stride apart, (+)= scores; with add_to_logits the
     * intercept is not added. Bits: features in order, by sums of FEATURES_PER_SUM of them. Slabs of two matrices with
     * the same rows give left.T @ right: then rows take the place of features. */
    void (*packed_scores)(const struct blocks_view *samples, const struct weights_view *weights,
                          int add_to_logits, void *logits, size_t logits_stride);

    /* In: rows (n_rows, n_columns), `stride` apart. Out: the rows [first_row, first_row + n_rows) of slabs of columns,
     * slab_stride apart, padded. Bits: copies. */
    void (*pack_rows)(const void *rows, size_t stride, size_t first_row, size_t n_rows,
                      size_t n_columns, void *slabs, size_t slab_stride);

    /* In: samples; features [first, first + n_features), whole strips; dlogits in slabs; rule, whose negative_rates,
     * twice_l2s and thresholds may give each class its own. In and out: weights in slabs. The squares and magnitudes
     * are of each slab and strip or, with factors of each class, of each slab, strip and lane. Bits: samples in
     * order; see sgd_update.h. */
    void (*packed_update)(const struct blocks_view *samples, size_t first, size_t n_features,
                          const void *dlogits, const struct sgd_rule *rule,
                          const struct update_view *update);

    /* In: one slab of dlogits, of n_classes <= lanes; rule. In and out: intercept and velocity (n_classes);
     * velocity is NULL without momentum. Bits: samples in order. */
    void (*packed_update_intercept)(const void *dlogits, size_t n_samples, size_t n_classes,
                                    const struct sgd_rule *rule, void *intercept, void *velocity);
};

/* The step algorithm sparse (step_sparse.h). `slab` is the number of a slab of weights; different slabs
 * may be in work on different threads. Where a row has a column that does not exist, its scores are NaN,
 * and the update leaves out the rest of the row. */
struct sparse_kernels {
    /* In: coef (n_classes, n_features), contiguous. Out: the weights of a slab, padded. Bits: copies. */
    void (*sparse_pack)(const void *coef, const struct sparse_weights *weights, size_t slab);

    /* The inverse of sparse_pack. In: the weights of a slab. Out: its rows of coef (n_classes, n_features),
     * contiguous. Bits: copies. */
    void (*sparse_unpack)(const struct sparse_weights *weights, size_t slab, void *coef);

    /* In and out: the weights, velocities and step counts of a slab. Brings all features up to date with weights->now,
     * which becomes step 0. Bits: one map, in float64, for all steps that a feature has missed. */
    void (*sparse_catch_up)(const struct sparse_weights *weights, size_t slab);

    /* In: n_rows rows, followed by SPARSE_ROWS_AHEAD that may come next, which are prefetched; intercept
     * (n_classes), or NULL. Out: logits of the classes of a slab, padded, rows logits_stride apart. In and out:
     * the weights that the rows meet are brought up to date. Bits: values in order. */
    void (*sparse_scores)(const struct sparse_row *rows, size_t n_rows,
                          const struct sparse_weights *weights, size_t slab, const void *intercept,
                          void *logits, size_t logits_stride);

    /* In: n_rows rows; weights, of which start, n_features, n_classes and wide_indices are read; intercept (n_classes),
     * or NULL. Out: logits of the classes of a slab, padded, rows logits_stride apart. Bits: those of sparse_scores. */
    void (*sparse_products)(const struct sparse_row *rows, size_t n_rows,
                            const struct sparse_weights *weights, size_t slab,
                            const void *intercept, void *logits, size_t logits_stride);

    /* In: n_rows rows; coef (n_classes, n_features), contiguous, not packed: for few values; intercept
     * (n_classes). Out: logits (n_rows, n_classes), contiguous. Bits: those of sparse_scores. */
    void (*sparse_unpacked_scores)(const struct sparse_row *rows, size_t n_rows, const void *coef,
                                   size_t n_features, size_t n_classes, const void *intercept,
                                   int wide_indices, void *logits);

    /* In: n_rows rows, which sparse_scores has brought up to date; dlogits, rows dlogits_stride apart. In and out: the
     * weights of a slab, w[j] += x * (factor * dlogits[s]) for each value. Bits: rows and values in order. */
    void (*sparse_update)(const struct sparse_row *rows, size_t n_rows,
                          const struct sparse_weights *weights, size_t slab, const void *dlogits,
                          size_t dlogits_stride, double factor);

    /* In: what penalty and momentum do in the next step. In and out: the maps of weights, and weights->now, which
     * grows by 1. Bits: products of maps in float64, by runs of 2**k steps. */
    void (*sparse_add_map)(struct sparse_weights *weights, const struct momentum_map *map);

    /* As sparse_update, of velocities; weights and velocities that the rows meet are brought up to date before.
     * Bits: rows and values in order. */
    void (*sparse_update_velocity)(const struct sparse_row *rows, size_t n_rows,
                                   const struct sparse_weights *weights, size_t slab,
                                   const void *dlogits, size_t dlogits_stride, double factor);

    /* In: dlogits (n_rows, n_classes), rows `stride` apart; rule. In and out: intercept and velocity (n_classes);
     * velocity is NULL without momentum. Bits: rows in order. */
    void (*sparse_update_intercept)(const void *dlogits, size_t stride, size_t n_rows,
                                    size_t n_classes, const struct sgd_rule *rule, void *intercept,
                                    void *velocity);
};

/* Peak throughput (peak_throughput.h). */
struct peak_kernels {
    /* Runs n_rounds rounds of multiply-adds; *sink is what keeps the compiler from removing them. Returns the
     * floating-point operations. */
    double (*multiply_adds)(size_t n_rounds, double *sink);

    /* In: n elements. Returns their maximum. */
    double (*read_memory)(const void *memory, size_t n);

    /* In: n elements. Out: whole vectors of them. Bits: copies. */
    void (*copy_memory)(const void *from, size_t n, void *to);
};

/* The kernels of an instruction set and type. Each subject's table is compiled with its kernels. */
struct kernels {
    size_t lanes; /* elements of a vector; the strides of padded matrices are multiples of it */
    size_t element_size;
    const struct loss_kernels *loss;
    const struct dense_kernels *dense;
    const struct input_kernels *input;
    const struct panels_kernels *panels;
    const struct short_rows_kernels *short_rows;
    const struct two_class_kernels *two_classes;
    const struct packed_kernels *packed;
    const struct sparse_kernels *sparse;
    const struct peak_kernels *peak;
};

struct instruction_set {
    const char *name;
    int (*is_supported)(void);
    const struct kernels *float32, *float64;
};

/* Best first; ends with an entry whose name is NULL. The one before it runs everywhere, unless the build has left out
 * portable C. */
extern const struct instruction_set instruction_sets[];

#endif
