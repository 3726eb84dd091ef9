/* The kernels that every instruction set provides for float32 and for float64, as a table.
 *
 * Matrices are given by a pointer and the distance between rows in elements ("stride"). `void *` stands
 * for float * or double *, by the table. Losses are double. A function over rows of logits returns the
 * index of the first row without a softmax (a NaN or +inf in it, or nothing but -inf), or -1; what it
 * then wrote into that row has no meaning. No function allocates, locks or keeps state.
 */
#ifndef FASTSOFTMAX_KERNEL_TABLE_H
#define FASTSOFTMAX_KERNEL_TABLE_H

#include <stddef.h>
#include <stdint.h>

/* The update of a step; formulas in fastsoftmax/backends/protocol.py. */
struct sgd_rule {
    double rate, l2, l1, momentum;
    int nesterov, subgradient;
    /* Where the sums of the weights after each step lie, in elements from the weights; 0 for none. */
    ptrdiff_t to_sums, intercept_to_sums;
    /* Of every class its own -rate, 2 * l2 and rate * l1, in the kernel's type; or NULL. step_packed.h alone, where
     * lanes are classes, and they may be those of several models. */
    const void *negative_rates, *twice_l2s, *thresholds;
};

enum { ROWS_AHEAD = 32 };

/* Labels of up to MAX_TRANSPOSED_CLASSES classes: rows of logits are turned on their side (softmax_transposed.h). */
enum { MAX_TRANSPOSED_CLASSES = 32 };

/* Up to FEW_CLASSES a step of training goes by panels of features: one for every PANEL_VECTORS vectors, and
 * no more than MAX_PANELS, as memory gives long runs of a row faster than short ones. With more it goes
 * by packed operands, which lose what is left of the last vector of classes: at 48, where they lose
 * nothing, they are a tenth faster, at 40 a seventh slower. */
enum { FEW_CLASSES = 40, PANEL_VECTORS = 32, MAX_PANELS = 2 };

/* How panel_scores fetches rows that come later. Rows drawn at random are where no hardware prefetcher
 * looks, and the first level of the cache can wait for few lines at once: so a little with each tile. */
enum ahead {
    SECOND_HALVES, /* of the next block's rows; panel_update has fetched the first ones */
    WHOLE_ROWS, /* the next few: where a minibatch would not stay in the cache until it is used */
    NO_ROWS,    /* none: they have been converted, and are in the cache */
};

/* Rows that come next, and which of their features, for the cache to have them by then. */
struct rows_to_fetch {
    const void *const *rows;
    size_t n_rows, first, n_features;
};

/* What an element of X is; REAL is the type of the table. */
enum input_dtype { UINT8, FLOAT16, FLOAT32, REAL };

/* A step on sparse rows; see step_sparse.h. Of a row: its values and their columns, int64_t or int32_t. */
struct sparse_row {
    const void *values, *indices;
    size_t n_values;
};

enum { SPARSE_ROWS_AHEAD = 4 };

/* Weights lie in slabs of so many vectors of classes, the last one of fewer. */
enum { SPARSE_SLAB_VECTORS = 4 };

/* Slabs of step_packed.h that a tile takes, where there are so many. */
enum { SLABS_PER_TILE = 2 };

/* A and C of step_sparse.h after so many steps, the first being those of none: 1, 1 and 0. */
struct penalty_prefix {
    double scale, inverse_scale, shrinkage;
};

/* What penalty and momentum alone do to a weight w and its velocity v in some steps:
 * (w, v) <- (ww * w + wv * v, vw * w + vv * v). */
struct momentum_map {
    double ww, wv, vw, vv;
};

struct sparse_weights {
    void *start; /* of every slab (n_features, its classes padded with zeros to whole vectors) */
    size_t n_features, n_classes;
    int wide_indices;
    const void *inverse_scale; /* (n_features): what values are multiplied by; or NULL */
    uint32_t *steps; /* of every slab (n_features): how many its weights have undergone; or NULL */
    const struct penalty_prefix *prefixes;
    size_t now;
    void *velocity; /* as start; NULL without momentum */
    struct momentum_map
        *maps; /* with momentum, two for each step that there may be: see step_sparse.h */
};

/* What the targets t of a row count: u_k = row * class_k * ((1 - smoothing) * t_k + smoothing / n_classes),
 * rows and classes being 1 where they are NULL. */
struct target_weights {
    const double *rows;  /* (n_rows); a row of weight 0 is not looked at */
    const void *classes; /* (n_classes) */
    double smoothing;
};

struct kernels {
    size_t lanes; /* elements of a vector; the strides of padded matrices are multiples of it */
    size_t element_size;

    /* out may be logits */
    ptrdiff_t (*softmax)(const void *logits, size_t n_rows, size_t n_classes, void *out);
    ptrdiff_t (*log_softmax)(const void *logits, size_t n_rows, size_t n_classes, void *out);
    void (*logsumexp)(const void *logits, size_t n_rows, size_t n_classes, void *out);

    /* losses[i] = -sum(t * log(p)), dlogits[i] = scale * (sum(t) * p - t); dlogits may be logits.
     * Just one of labels (n_rows) and probabilities (n_rows, n_classes) is given, the other is NULL.
     * Without weights, which may be NULL, the targets count as they are. */
    ptrdiff_t (*cross_entropy)(const void *logits, size_t stride, size_t n_rows, size_t n_classes,
                               const int64_t *labels, const void *probabilities,
                               const struct target_weights *weights, double scale, double *losses,
                               void *dlogits, size_t dlogits_stride);

    /* coef[k, j] = W[j, k] and back; the strides of W are in bytes. coef is padded with zeros. */
    void (*pack)(const void *W, ptrdiff_t feature_stride, ptrdiff_t class_stride, size_t n_features,
                 size_t n_classes, void *coef, size_t coef_stride);
    void (*unpack)(const void *coef, size_t coef_stride, size_t n_features, size_t n_classes,
                   void *W, ptrdiff_t feature_stride, ptrdiff_t class_stride);

    /* logits[i] = coef @ rows[i] + intercept. rows has ROWS_AHEAD pointers more than n_rows, to rows that
     * may come next: they are prefetched, not read. coef (n_classes, n_features) is padded with zeros to
     * its stride, a multiple of lanes; intercept may be NULL. */
    void (*scores)(const void *const *rows, size_t n_rows, size_t n_features, const void *coef,
                   size_t coef_stride, size_t n_classes, const void *intercept, void *logits,
                   size_t logits_stride);

    /* out[k, first:] (+)= sum over s of g[s, k] * rows[s][first:], for up to `lanes` elements from
     * `first` on, samples in order. g[s, k] lies at g[s * g_row_stride + k * g_column_stride]. */
    void (*outer_sum)(const void *const *rows, size_t n_rows, size_t first, size_t n_features,
                      const void *g, size_t g_row_stride, size_t g_column_stride, size_t n_columns,
                      int add_to_out, void *out, size_t out_stride);

    /* out[i, j] = (rows[i][j] - mean[j]) * inverse_scale[j] for the features j of [first, first + n_features),
     * first a multiple of lanes; mean and inverse_scale may be NULL. Padded with zeros to whole vectors.
     * rows has ROWS_AHEAD pointers more than n_rows, as above. */
    void (*convert)(const void *const *rows, size_t n_rows, enum input_dtype number, size_t first,
                    size_t n_features, const void *mean, const void *inverse_scale, void *out,
                    size_t out_stride);

    /* sums[j] += sum of x, squares[j] += sum of x**2, with x = row[j] - origin[j], over rows that lie
     * `stride` bytes apart; of UINT8 alone in the table of float32. */
    void (*moments)(const void *rows, size_t stride, size_t n_rows, size_t n_features,
                    enum input_dtype number, const double *origin, double *sums, double *squares);

    /* A step with at most FEW_CLASSES classes, by panels: the features [first, first + n_features), first
     * a multiple of lanes. Scores and dlogits lie in blocks of `lanes` samples, [n_classes][lanes] each.
     * scores of one panel; losses and dlogits of samples from the scores of all panels, which lie
     * panel_stride apart (of weights, which may be NULL, those of rows and the smoothing); the update of a panel, which meanwhile fetches what it is given. The sums of
     * squares and of magnitudes of the weights before the step go to squares and magnitudes, a number for
     * every vector of features, where l2, l1 are not 0. velocity, of coef's stride, is NULL without
     * momentum. */
    void (*panel_scores)(const void *const *rows, size_t n_rows, size_t first, size_t n_features,
                         enum ahead ahead, const void *coef, size_t coef_stride, size_t n_classes,
                         void *scores);
    void (*panel_cross_entropy)(const void *scores, size_t n_panels, size_t panel_stride,
                                size_t n_rows, size_t n_classes, const void *intercept,
                                const int64_t *labels, const void *probabilities,
                                const struct target_weights *weights, double scale, double *losses,
                                void *dlogits);
    void (*panel_update)(const void *const *rows, size_t n_rows, const struct rows_to_fetch *fetch,
                         size_t first, size_t n_features, const void *dlogits, size_t n_classes,
                         const struct sgd_rule *rule, void *coef, void *velocity,
                         size_t coef_stride, double *squares, double *magnitudes);
    void (*panel_update_intercept)(const void *dlogits, size_t n_rows, size_t n_classes,
                                   const struct sgd_rule *rule, void *intercept, void *velocity);

    /* A step on short rows with few classes; see step_short_rows.h. Scores of at most `lanes` samples, in a block
     * [n_classes][lanes] as above; next_rows are `lanes` rows that come later, or NULL. The gradient of a
     * chunk of samples, n_classes vectors for every vector of features and as many for the intercept, from
     * blocks of dlogits. The update with the sum of the chunks' gradients, which lie `stride` apart. */
    void (*short_scores)(const void *const *rows, size_t n_rows, size_t n_features,
                         const void *const *next_rows, const void *strips, size_t n_classes,
                         void *block);
    void (*short_gradient)(const void *const *rows, size_t n_rows, size_t n_features,
                           const void *dlogits, size_t n_classes, int add_to_out, void *out);
    void (*short_update)(const void *gradients, size_t n_chunks, size_t stride, size_t n_features,
                         size_t n_classes, const struct sgd_rule *rule, void *strips,
                         void *velocity, void *intercept, void *intercept_velocity, double *squares,
                         double *magnitudes);

    /* A step with many classes, on packed operands; see step_packed.h. Samples lie in blocks of `lanes`, block[j][lane],
     * block_stride apart; weights and their velocity in slabs of `lanes` classes, slab[j][lane]; dlogits in
     * slabs as well, slab[sample][lane]. What is packed is padded with zeros to whole vectors, and so is
     * n_features, but for the first three, which pack or unpack at most `lanes` rows, or numbers at any
     * strides, and the gradient. The others, of n_classes in slabs that lie slab_stride apart, those of dlogits
     * one after another: scores; some rows of dlogits into their slabs; the update; the gradient alone, rows
     * of out being features; the update of at most `lanes` values of the intercept. */
    void (*pack_block)(const void *const *rows, size_t n_rows, size_t n_features, void *block);
    void (*pack_slab)(const void *start, ptrdiff_t depth_stride, ptrdiff_t lane_stride,
                      size_t depth, size_t n_lanes, void *slab);
    void (*unpack_block)(const void *block, size_t n_rows, size_t n_features, void *const *rows);
    void (*packed_scores)(const void *blocks, size_t block_stride, size_t n_rows, size_t n_features,
                          const void *slabs, size_t slab_stride, const void *intercept,
                          size_t n_classes, int add_to_logits, void *logits, size_t logits_stride);
    void (*pack_dlogits)(const void *dlogits, size_t stride, size_t first_row, size_t n_rows,
                         size_t n_classes, void *slabs, size_t slab_stride);
    void (*packed_update)(const void *blocks, size_t block_stride, size_t n_samples, size_t first,
                          size_t n_features, const void *dlogits, const struct sgd_rule *rule,
                          size_t n_classes, void *slabs, size_t slab_stride, void *velocity,
                          double *squares, double *magnitudes);
    void (*packed_gradient)(const void *blocks, size_t block_stride, size_t n_samples,
                            size_t n_features, const void *dlogits, size_t n_classes,
                            int add_to_out, void *out, size_t out_stride);
    void (*packed_update_intercept)(const void *dlogits, size_t n_samples, size_t n_classes,
                                    const struct sgd_rule *rule, void *intercept, void *velocity);

    /* A step on sparse rows; see step_sparse.h. */
    void (*sparse_pack)(const void *coef, const struct sparse_weights *weights, size_t slab);
    void (*sparse_unpack)(const struct sparse_weights *weights, size_t slab, void *coef);
    void (*sparse_catch_up)(const struct sparse_weights *weights, size_t slab);
    void (*sparse_scores)(const struct sparse_row *rows, size_t n_rows,
                          const struct sparse_weights *weights, size_t slab, const void *intercept,
                          void *logits, size_t logits_stride);
    void (*sparse_unpacked_scores)(const struct sparse_row *rows, size_t n_rows, const void *coef,
                                   size_t n_features, size_t n_classes, const void *intercept,
                                   int wide_indices, void *logits);
    void (*sparse_update)(const struct sparse_row *rows, size_t n_rows,
                          const struct sparse_weights *weights, size_t slab, const void *dlogits,
                          size_t dlogits_stride, double factor);
    void (*sparse_add_map)(struct sparse_weights *weights, const struct momentum_map *map);
    void (*sparse_update_velocity)(const struct sparse_row *rows, size_t n_rows,
                                   const struct sparse_weights *weights, size_t slab,
                                   const void *dlogits, size_t dlogits_stride, double factor);
    void (*sparse_update_intercept)(const void *dlogits, size_t stride, size_t n_rows,
                                    size_t n_classes, const struct sgd_rule *rule, void *intercept,
                                    void *velocity);

    /* out[k] = sum over rows of g[s, k] */
    void (*column_sums)(const void *g, size_t stride, size_t n_rows, size_t n_columns,
                        int add_to_out, void *out);

    /* What the machine can do at the most; see peak_throughput.h. The first returns its floating-point operations. */
    double (*multiply_adds)(size_t n_rounds, double *sink);
    double (*read_memory)(const void *memory, size_t n);
    void (*copy_memory)(const void *from, size_t n, void *to);

    /* Returns l2 * sum(w**2) + l1 * sum(|w|); gradient = 2 * l2 * w + l1 * sign(w), unless NULL. */
    double (*penalty)(const void *weights, size_t n, double l2, double l1, void *gradient);
};

struct instruction_set {
    const char *name;
    int (*is_supported)(void);
    const struct kernels *float32, *float64;
};

/* Best first; ends with an entry whose name is NULL. The last real one runs everywhere. */
extern const struct instruction_set instruction_sets[];

#endif
