/* The linear classifier's scores, and the gradient of its weights applied on the spot.
 *
 * Decisions:
 *   - Weights are class-major (n_classes, n_features), padded with zeros to whole vectors: scores are
 *     dot products of two contiguous runs.
 *   - Scores: a tile of TILE_ROWS x TILE_CLASSES dot products shares its loads. Lane i of each sums the
 *     features i, i + LANES, ...; then the lanes are folded. The tile's size does not enter the bits.
 *   - Gradient: split by features, not by samples. A strip of one vector of features stays in registers
 *     for a tile of classes while all samples of the minibatch pass, in order; then the penalty, the
 *     momentum and the step are applied to the strip. No gradient is ever written, no sum over threads
 *     is needed, and the bits are the same for every number of threads.
 *   - The proximal step of L1 follows the step: w <- sign(w) * max(|w| - rate * l1, 0); the subgradient,
 *     where that is asked for, is added to the gradient.
 *   - Weights that are to be averaged are added to their sums while they are in registers.
 */
#ifndef FASTSOFTMAX_LINEAR_H
#define FASTSOFTMAX_LINEAR_H

#include "kernels/kernel_table.h"
#include "kernels/softmax.h"

/* Rows drawn at random are where no hardware prefetcher looks, so a tile fetches rows that come later.
 * Short ones are done before memory answers: those are fetched well ahead, and near. Long ones would
 * push the weights out of the first level of the cache: the next few are fetched, to the second. */
enum fetch { NOTHING, NEAR, FAR };
enum { SHORT_ROW = 1024 /* bytes */ };

/* logits[i, k] = rows[i][first:] . coef[k] + intercept[k] for a tile of rows and classes, over
 * n_features features. */
ALWAYS_INLINE void score_tile(const real *const *rows, int n_rows, size_t first, size_t n_features,
                              const real *coef, size_t coef_stride, int n_classes,
                              const real *intercept, real *logits, size_t row_stride,
                              size_t class_stride, const real *const *next_rows, int n_fetched,
                              enum fetch fetch) {
    vec sums[TILE_CLASSES][TILE_ROWS];
    UNROLL for (int k = 0; k < n_classes; ++k) {
        UNROLL for (int i = 0; i < n_rows; ++i) sums[k][i] = broadcast(0);
    }
    size_t j = 0;
    for (; j + LANES <= n_features; j += LANES) {
        vec x[TILE_ROWS];
        UNROLL for (int i = 0; i < n_rows; ++i) x[i] = load(rows[i] + first + j);
        if (fetch == NEAR) {
            UNROLL for (int i = 0; i < n_fetched; ++i) PREFETCH_NEAR(next_rows[i] + first + j);
        } else if (fetch == FAR) {
            UNROLL for (int i = 0; i < n_fetched; ++i) PREFETCH_FAR(next_rows[i] + first + j);
        }
        UNROLL for (int k = 0; k < n_classes; ++k) {
            vec w = load(coef + k * coef_stride + j);
            UNROLL for (int i = 0; i < n_rows; ++i) sums[k][i] = fmadd(x[i], w, sums[k][i]);
        }
    }
    if (j < n_features) {
        vec x[TILE_ROWS];
        UNROLL for (int i = 0; i < n_rows; ++i)
            x[i] = load_first(rows[i] + first + j, n_features - j, 0);
        if (fetch != NOTHING) {
            UNROLL for (int i = 0; i < n_fetched; ++i) {
                PREFETCH_NEAR(next_rows[i] + first + n_features - 1);
            }
        }
        UNROLL for (int k = 0; k < n_classes; ++k) {
            vec w = load(coef + k * coef_stride + j);
            UNROLL for (int i = 0; i < n_rows; ++i) sums[k][i] = fmadd(x[i], w, sums[k][i]);
        }
    }
    UNROLL for (int k = 0; k < n_classes; ++k) {
        real of_rows[TILE_ROWS], offset = intercept ? intercept[k] : 0;
        if (n_rows == 4) {
            sum_lanes_of_4(sums[k], of_rows);
        } else {
            UNROLL for (int i = 0; i < n_rows; ++i) of_rows[i] = sum_lanes(sums[k][i]);
        }
        UNROLL for (int i = 0; i < n_rows; ++i) {
            logits[(size_t)i * row_stride + (size_t)k * class_stride] = of_rows[i] + offset;
        }
    }
}

ALWAYS_INLINE void score_rows(const real *const *rows, int n_rows, size_t n_features,
                              const real *coef, size_t coef_stride, size_t n_classes,
                              const real *intercept, real *logits, size_t stride) {
    enum fetch fetch = n_features * sizeof(real) <= SHORT_ROW ? NEAR : FAR;
    const real *const *next_rows = rows + (fetch == NEAR ? ROWS_AHEAD - TILE_ROWS : TILE_ROWS);
    size_t k = 0;
#define TILE_OF(n)                                                                         \
    score_tile(rows, n_rows, 0, n_features, coef + k * coef_stride, coef_stride, n,        \
               intercept ? intercept + k : NULL, logits + k, stride, 1, next_rows, n_rows, \
               k ? NOTHING : fetch)
    for (; k + TILE_CLASSES <= n_classes; k += TILE_CLASSES) TILE_OF(TILE_CLASSES);
    for (; TILE_CLASSES > 2 && k + 2 <= n_classes; k += 2) TILE_OF(TILE_CLASSES > 2 ? 2 : 1);
    for (; k < n_classes; ++k) TILE_OF(1);
#undef TILE_OF
}

static void scores(const void *const *rows, size_t n_rows, size_t n_features, const void *coef,
                   size_t coef_stride, size_t n_classes, const void *intercept, void *logits,
                   size_t logits_stride) {
    const real *const *x = (const real *const *)rows;
    real *z = logits;
    size_t i = 0;
    for (; i + TILE_ROWS <= n_rows; i += TILE_ROWS) {
        score_rows(x + i, TILE_ROWS, n_features, coef, coef_stride, n_classes, intercept,
                   z + i * logits_stride, logits_stride);
    }
    for (; i < n_rows; ++i) {
        score_rows(x + i, 1, n_features, coef, coef_stride, n_classes, intercept,
                   z + i * logits_stride, logits_stride);
    }
}

/* Where g[s, k] lies: samples in blocks of LANES, at g[s / LANES * block + s % LANES * lane + k * column].
 * Rows of `stride` elements are blocks of LANES * stride. */
struct layout {
    size_t block, lane, column;
};

/* Half a block of the vectors that are to be fetched, and the last few of a row with those before: so the
 * update of all samples, which takes as many blocks, fetches half of as many samples. `done` features of
 * the first row have been. */
ALWAYS_INLINE void fetch_some(struct rows_to_fetch *fetch, size_t *done) {
    if (fetch->n_rows == 0) return;
    const real *next = (const real *)*fetch->rows + fetch->first + *done;
    size_t left = fetch->n_features - *done;
    UNROLL for (int i = 0; i < LANES / 2; ++i) {
        if ((size_t)i * LANES < left) PREFETCH_FAR(next + i * LANES);
    }
    *done += LANES / 2 * LANES;
    if (left > LANES / 2 * LANES + LANES / 4 * LANES) return;
    for (size_t j = LANES / 2 * LANES; j < left; j += LANES) PREFETCH_FAR(next + j);
    PREFETCH_FAR(next + left - 1); /* the line that a row which begins within one ends in */
    *done = 0;
    ++fetch->rows;
    --fetch->n_rows;
}

/* sums[k] += sum over s of g[s, k] * rows[s][first : first + LANES], for n_columns values of k. With every
 * block of samples something of the next rows is fetched. */
ALWAYS_INLINE void accumulate(const real *const *rows, size_t n_rows, size_t first, size_t width,
                              const real *g, struct layout layout, int n_columns,
                              struct rows_to_fetch *fetch, size_t *fetched, vec *sums) {
    for (size_t block = 0; block < n_rows; block += LANES) {
        size_t n = n_rows - block < LANES ? n_rows - block : LANES;
        const real *of_block = g + block / LANES * layout.block;
        if (fetch) fetch_some(fetch, fetched);
        /* One pointer goes along: the compiler would keep one for each k, and has no registers for them. */
        for (size_t i = 0; i < n; ++i, of_block += layout.lane) {
            const real *row = rows[block + i] + first;
            vec x = width >= LANES ? load(row) : load_first(row, width, 0);
            if (width > LANES) PREFETCH_NEAR(row + LANES);
            UNROLL for (int k = 0; k < n_columns; ++k) {
                sums[k] = fmadd(broadcast(of_block[(size_t)k * layout.column]), x, sums[k]);
            }
        }
    }
}

ALWAYS_INLINE void outer_sum_tile(const real *const *rows, size_t n_rows, size_t first,
                                  size_t width, const real *g, size_t row_stride,
                                  size_t column_stride, int n_columns, int add_to_out, real *out,
                                  size_t out_stride) {
    vec sums[TILE_COLUMNS];
    UNROLL for (int k = 0; k < n_columns; ++k) {
        sums[k] = add_to_out ? load_up_to(out + k * out_stride, width, 0) : broadcast(0);
    }
    struct layout layout = {LANES * row_stride, row_stride, column_stride};
    accumulate(rows, n_rows, first, width, g, layout, n_columns, NULL, NULL, sums);
    UNROLL for (int k = 0; k < n_columns; ++k) store_up_to(out + k * out_stride, sums[k], width);
}

static void outer_sum(const void *const *rows, size_t n_rows, size_t first, size_t n_features,
                      const void *g, size_t g_row_stride, size_t g_column_stride, size_t n_columns,
                      int add_to_out, void *out, size_t out_stride) {
    const real *const *x = (const real *const *)rows;
    const real *factors = g;
    real *sums = (real *)out + first;
    size_t width = n_features - first, k = 0;
#define TILE_OF(n)                                                                       \
    outer_sum_tile(x, n_rows, first, width, factors + k * g_column_stride, g_row_stride, \
                   g_column_stride, n, add_to_out, sums + k * out_stride, out_stride)
    for (; k + TILE_COLUMNS <= n_columns; k += TILE_COLUMNS) TILE_OF(TILE_COLUMNS);
    for (; TILE_COLUMNS > 5 && k + 5 <= n_columns; k += 5) TILE_OF(TILE_COLUMNS > 5 ? 5 : 1);
    for (; TILE_COLUMNS > 2 && k + 2 <= n_columns; k += 2) TILE_OF(TILE_COLUMNS > 2 ? 2 : 1);
    for (; k < n_columns; ++k) TILE_OF(1);
#undef TILE_OF
}

/* The rule of a step in the kernel's type. */
struct step {
    vec negative_rate, twice_l2, l1, threshold, momentum;
    int has_l2, has_l1, has_threshold, nesterov;
    ptrdiff_t to_sums, intercept_to_sums;
};

static inline struct step step_of(const struct rule *rule) {
    return (struct step){
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

/* One vector of weights moved against its gradient. velocity is NULL without momentum. */
ALWAYS_INLINE vec moved(vec w, vec gradient, const struct step *step, real *velocity,
                        size_t width) {
    if (!velocity) return fmadd(step->negative_rate, gradient, w);
    vec v = mul(step->momentum, load_up_to(velocity, width, 0));
    v = fmadd(step->negative_rate, gradient, v);
    store_up_to(velocity, v, width);
    if (!step->nesterov) return add(w, v);
    return fmadd(step->momentum, v, fmadd(step->negative_rate, gradient, w));
}

/* l1 * sign(w), and NaN for NaN. */
ALWAYS_INLINE vec slope_of(vec w, vec l1) {
    vec zero = broadcast(0);
    return select_less(zero, magnitude(w), with_sign_of(l1, w), mul(w, zero));
}

ALWAYS_INLINE vec soft_threshold(vec w, vec threshold) {
    /* maximum returns its second argument where one is NaN: a NaN stays one. */
    return with_sign_of(maximum(broadcast(0), sub(magnitude(w), threshold)), w);
}

/* Sums of squares and of magnitudes over the classes of a strip: lane by lane for CLASSES_OF_A_SUM classes,
 * then in double, so that many classes lose no digits in float32. Which classes make a sum does not
 * depend on the tiles. */
enum { CLASSES_OF_A_SUM = 16 };

struct penalty_sums {
    vec squares, magnitudes;
    double total_squares, total_magnitudes;
};

ALWAYS_INLINE void fold_penalty(struct penalty_sums *sums) {
    sums->total_squares += (double)sum_lanes(sums->squares);
    sums->total_magnitudes += (double)sum_lanes(sums->magnitudes);
    sums->squares = sums->magnitudes = broadcast(0);
}

/* One vector of weights: penalty, momentum and step. */
ALWAYS_INLINE void update_vector(real *weights, real *velocity, vec gradient,
                                 const struct step *step, struct penalty_sums *sums) {
    vec w = load(weights);
    if (step->has_l2) {
        sums->squares = fmadd(w, w, sums->squares);
        gradient = fmadd(step->twice_l2, w, gradient);
    }
    if (step->has_l1) {
        sums->magnitudes = add(sums->magnitudes, magnitude(w));
        if (!step->has_threshold) gradient = add(gradient, slope_of(w, step->l1));
    }
    w = moved(w, gradient, step, velocity, LANES);
    if (step->has_threshold) w = soft_threshold(w, step->threshold);
    store(weights, w);
    if (step->to_sums) store(weights + step->to_sums, add(load(weights + step->to_sums), w));
}

/* Some of the intercept, at most a vector. */
ALWAYS_INLINE void update_offsets(real *intercept, real *velocity, vec gradient,
                                  const struct step *step, size_t width) {
    vec b = moved(load_up_to(intercept, width, 0), gradient, step, velocity, width);
    store_up_to(intercept, b, width);
    if (!step->intercept_to_sums) return;
    real *sums = intercept + step->intercept_to_sums;
    store_up_to(sums, add(load_up_to(sums, width, 0), b), width);
}

ALWAYS_INLINE void update_tile(const real *const *rows, size_t n_rows, size_t first, size_t width,
                               const real *g, struct layout layout, size_t first_class,
                               int n_classes, const struct step *step, real *coef, real *velocity,
                               size_t coef_stride, struct rows_to_fetch *fetch, size_t *fetched,
                               struct penalty_sums *sums) {
    vec gradient[TILE_COLUMNS];
    UNROLL for (int k = 0; k < n_classes; ++k) gradient[k] = broadcast(0);
    accumulate(rows, n_rows, first, width, g, layout, n_classes, fetch, fetched, gradient);
    UNROLL for (int k = 0; k < n_classes; ++k) {
        real *v = velocity ? velocity + k * coef_stride : NULL;
        update_vector(coef + k * coef_stride, v, gradient[k], step, sums);
        if ((first_class + (size_t)k) % CLASSES_OF_A_SUM == CLASSES_OF_A_SUM - 1)
            fold_penalty(sums);
    }
}

/* One strip, LANES features from `first` on, of all classes. */
ALWAYS_INLINE void update_strip(const real *const *rows, size_t n_rows, size_t first, size_t width,
                                const real *g, struct layout layout, size_t n_classes,
                                const struct step *step, real *coef, real *velocity,
                                size_t coef_stride, struct rows_to_fetch *fetch, size_t *fetched,
                                double *squares, double *magnitudes) {
    struct penalty_sums sums = {broadcast(0), broadcast(0), 0, 0};
    real *w = coef + first, *v = velocity ? velocity + first : NULL;
    size_t k = 0;
#define TILE_OF(n)                                                                     \
    update_tile(rows, n_rows, first, width, g + k * layout.column, layout, k, n, step, \
                w + k * coef_stride, v ? v + k * coef_stride : NULL, coef_stride,      \
                k ? NULL : fetch, fetched, &sums)
    for (; k + TILE_COLUMNS <= n_classes; k += TILE_COLUMNS) TILE_OF(TILE_COLUMNS);
    for (; TILE_COLUMNS > 5 && k + 5 <= n_classes; k += 5) TILE_OF(TILE_COLUMNS > 5 ? 5 : 1);
    for (; TILE_COLUMNS > 2 && k + 2 <= n_classes; k += 2) TILE_OF(TILE_COLUMNS > 2 ? 2 : 1);
    for (; k < n_classes; ++k) TILE_OF(1);
#undef TILE_OF
    fold_penalty(&sums);
    *squares = sums.total_squares;
    *magnitudes = sums.total_magnitudes;
}

static inline void update_intercept(const real *gradient, size_t n_classes, const struct step *step,
                                    real *intercept, real *velocity) {
    for (size_t k = 0; k < n_classes; k += LANES) {
        size_t width = n_classes - k;
        update_offsets(intercept + k, velocity ? velocity + k : NULL,
                       load_up_to(gradient + k, width, 0), step, width);
    }
}

ALWAYS_INLINE vec column_sum(const real *g, size_t stride, size_t n_rows, size_t width, vec sum) {
    for (size_t s = 0; s < n_rows; ++s) sum = add(sum, load_up_to(g + s * stride, width, 0));
    return sum;
}

static void column_sums(const void *g, size_t stride, size_t n_rows, size_t n_columns,
                        int add_to_out, void *out) {
    real *sums = out;
    for (size_t k = 0; k < n_columns; k += LANES) {
        size_t width = n_columns - k;
        vec sum = add_to_out ? load_up_to(sums + k, width, 0) : broadcast(0);
        store_up_to(sums + k, column_sum((const real *)g + k, stride, n_rows, width, sum), width);
    }
}

/* coef[k, j] = W[j, k], for any strides (in bytes) of W; coef is padded with zeros to its stride. */
static void pack(const void *W, ptrdiff_t feature_stride, ptrdiff_t class_stride, size_t n_features,
                 size_t n_classes, void *coef, size_t coef_stride) {
    for (size_t k = 0; k < n_classes; ++k) {
        const char *column = (const char *)W + (ptrdiff_t)k * class_stride;
        real *row = (real *)coef + k * coef_stride;
        for (size_t j = 0; j < n_features; ++j) {
            memcpy(row + j, column + (ptrdiff_t)j * feature_stride, sizeof(real));
        }
        for (size_t j = n_features; j < coef_stride; ++j) row[j] = 0;
    }
}

/* W[j, k] = coef[k, j]. */
static void unpack(const void *coef, size_t coef_stride, size_t n_features, size_t n_classes,
                   void *W, ptrdiff_t feature_stride, ptrdiff_t class_stride) {
    for (size_t k = 0; k < n_classes; ++k) {
        const real *row = (const real *)coef + k * coef_stride;
        char *column = (char *)W + (ptrdiff_t)k * class_stride;
        for (size_t j = 0; j < n_features; ++j) {
            memcpy(column + (ptrdiff_t)j * feature_stride, row + j, sizeof(real));
        }
    }
}

static double penalty(const void *weights, size_t n, double l2, double l1, void *gradient) {
    const real *w = weights;
    real *g = gradient;
    vec twice_l2 = broadcast((real)(2 * l2)), positive = broadcast((real)l1);
    for (size_t j = 0; g && j < n; j += LANES) {
        vec v = load_up_to(w + j, n - j, 0);
        store_up_to(g + j, fmadd(twice_l2, v, slope_of(v, positive)), n - j);
    }
    double squares[SUMS] = {0}, magnitudes[SUMS] = {0};
    size_t j = 0;
    for (; j + SUMS <= n; j += SUMS) {
        UNROLL for (size_t i = 0; i < SUMS; ++i) {
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
    return (l2 != 0 ? l2 * fold_sums(squares) : 0) + (l1 != 0 ? l1 * fold_sums(magnitudes) : 0);
}

#endif
