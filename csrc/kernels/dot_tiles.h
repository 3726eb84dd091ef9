/* Scores of dense rows: register tiles of dot products.
 *
 *   z[i, k] = rows[i] . coef[k] + intercept[k]
 *
 * Decisions:
 *   - Weights are class-major (n_classes, n_features), padded with zeros to whole vectors: a score is the dot
 *     product of two contiguous runs.
 *   - A tile of TILE_ROWS x TILE_CLASSES dot products shares its loads. Lane i of each accumulator sums the
 *     features i, i + LANES, ...; then the lanes are folded. The result does not depend on the tile size.
 */
#ifndef FASTSOFTMAX_DOT_TILES_H
#define FASTSOFTMAX_DOT_TILES_H

#include "kernels/kernel_table.h"
#include "kernels/tile_sizes.h"
#include "simd/simd.h"

/* Kernel: coef[k, j] = W[j, k], for any strides of W in bytes; coef is padded with zeros to its stride. */
static inline void pack(const void *W, ptrdiff_t feature_stride, ptrdiff_t class_stride,
                        size_t n_features, size_t n_classes, void *coef, size_t coef_stride) {
    for (size_t k = 0; k < n_classes; ++k) {
        const char *column = (const char *)W + (ptrdiff_t)k * class_stride;
        real *row = (real *)coef + k * coef_stride;
        for (size_t j = 0; j < n_features; ++j) {
            memcpy(row + j, column + (ptrdiff_t)j * feature_stride, sizeof(real));
        }
        for (size_t j = n_features; j < coef_stride; ++j) row[j] = 0;
    }
}

/* Kernel: W[j, k] = coef[k, j], in the order in which W lies in memory. */
static inline void unpack(const void *coef, size_t coef_stride, size_t n_features, size_t n_classes,
                          void *W, ptrdiff_t feature_stride, ptrdiff_t class_stride) {
    if (class_stride == (ptrdiff_t)sizeof(real)) {
        for (size_t j = 0; j < n_features; ++j) {
            char *row = (char *)W + (ptrdiff_t)j * feature_stride;
            for (size_t k = 0; k < n_classes; ++k) {
                memcpy(row + k * sizeof(real), (const real *)coef + k * coef_stride + j,
                       sizeof(real));
            }
        }
        return;
    }
    for (size_t k = 0; k < n_classes; ++k) {
        const real *row = (const real *)coef + k * coef_stride;
        char *column = (char *)W + (ptrdiff_t)k * class_stride;
        for (size_t j = 0; j < n_features; ++j) {
            memcpy(column + (ptrdiff_t)j * feature_stride, row + j, sizeof(real));
        }
    }
}

/* Which level of the cache a tile prefetches later rows into: rows drawn at random are where no hardware
 * prefetcher looks. Short rows are consumed before memory answers: they are prefetched well ahead, into
 * the first level. Long ones would evict the weights from it: the next few are prefetched into the second. */
enum prefetch { NO_PREFETCH, INTO_L1, INTO_L2 };

/* logits[i, k] = rows[i][first:] . coef[k] + intercept[k] for a tile of rows and classes, over n_features
 * features. */
ALWAYS_INLINE void dot_tile(const real *const *rows, int n_rows, size_t first, size_t n_features,
                            const real *coef, size_t coef_stride, int n_classes,
                            const real *intercept, real *logits, size_t row_stride,
                            size_t class_stride, const real *const *next_rows, int n_fetched,
                            enum prefetch fetch) {
    vec sums[TILE_CLASSES][TILE_ROWS];
    UNROLL for (int k = 0; k < n_classes; ++k) {
        UNROLL for (int i = 0; i < n_rows; ++i) sums[k][i] = broadcast(0);
    }
    size_t j = 0;
    for (; j + LANES <= n_features; j += LANES) {
        vec x[TILE_ROWS];
        UNROLL for (int i = 0; i < n_rows; ++i) x[i] = load_shared(rows[i] + first + j);
        if (fetch == INTO_L1) {
            UNROLL for (int i = 0; i < n_fetched; ++i) PREFETCH_L1(next_rows[i] + first + j);
        } else if (fetch == INTO_L2) {
            UNROLL for (int i = 0; i < n_fetched; ++i) PREFETCH_L2(next_rows[i] + first + j);
        }
        UNROLL for (int k = 0; k < n_classes; ++k) {
            vec w = load_shared(coef + k * coef_stride + j);
            UNROLL for (int i = 0; i < n_rows; ++i) sums[k][i] = fmadd(x[i], w, sums[k][i]);
        }
    }
    if (fetch != NO_PREFETCH) { /* a row that starts within a cache line ends in one more */
        UNROLL for (int i = 0; i < n_fetched; ++i) {
            PREFETCH_L2(next_rows[i] + first + n_features - 1);
        }
    }
    if (j < n_features) {
        vec x[TILE_ROWS];
        UNROLL for (int i = 0; i < n_rows; ++i)
            x[i] = load_first(rows[i] + first + j, n_features - j, 0);
        UNROLL for (int k = 0; k < n_classes; ++k) {
            vec w = load(coef + k * coef_stride + j);
            UNROLL for (int i = 0; i < n_rows; ++i) sums[k][i] = fmadd(x[i], w, sums[k][i]);
        }
    }
    UNROLL for (int k = 0; k < n_classes; ++k) {
        real row_sums[TILE_ROWS], offset = intercept ? intercept[k] : 0;
        if (n_rows == 4) {
            sum_lanes_4(sums[k], row_sums);
        } else {
            UNROLL for (int i = 0; i < n_rows; ++i) row_sums[i] = sum_lanes(sums[k][i]);
        }
        UNROLL for (int i = 0; i < n_rows; ++i) {
            logits[(size_t)i * row_stride + (size_t)k * class_stride] = row_sums[i] + offset;
        }
    }
}

/* Compute the scores of a tile of rows for all classes, tile by tile; the first tile of classes
 * prefetches. */
ALWAYS_INLINE void dot_tiles(const real *const *rows, int n_rows,
                             const struct weights_view *weights, real *logits, size_t stride) {
    const real *coef = weights->coef, *intercept = weights->intercept;
    size_t n_features = weights->n_features, n_classes = weights->n_classes;
    size_t coef_stride = weights->stride;
    enum prefetch fetch = n_features * sizeof(real) <= MAX_NEAR_PREFETCH_BYTES ? INTO_L1 : INTO_L2;
    const real *const *next_rows = rows + (fetch == INTO_L1 ? ROWS_AHEAD - TILE_ROWS : TILE_ROWS);
    for (size_t k = 0, n_tile; k < n_classes; k += n_tile) {
        n_tile = tile_size(n_classes - k, TILE_CLASSES);
#define CALL(n)                                                                          \
    dot_tile(rows, n_rows, 0, n_features, coef + k * coef_stride, coef_stride, n,        \
             intercept ? intercept + k : NULL, logits + k, stride, 1, next_rows, n_rows, \
             k ? NO_PREFETCH : fetch)
        FOR_TILE_SIZE(n_tile, TILE_CLASSES, CALL)
#undef CALL
    }
}

/* Kernel: the scores of rows. */
static inline void scores(const void *const *rows, size_t n_rows,
                          const struct weights_view *weights, void *logits, size_t logits_stride) {
    const real *const *x = (const real *const *)rows;
    const struct weights_view own = *weights; /* nothing that is stored can change it */
    real *z = logits;
    size_t i = 0;
    for (; i + TILE_ROWS <= n_rows; i += TILE_ROWS) {
        dot_tiles(x + i, TILE_ROWS, &own, z + i * logits_stride, logits_stride);
    }
    for (; i < n_rows; ++i) dot_tiles(x + i, 1, &own, z + i * logits_stride, logits_stride);
}

#endif
