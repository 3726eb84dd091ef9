/* A step of training with many classes, on operands packed for it.
 *
 *   z[s, k] = sum over j of x[s, j] * w[k, j]  +  intercept[k]          scores
 *   dw[k, j] = sum over s of dz[s, k] * x[s, j],  and w moved by it      update
 *
 * Decisions:
 *   - Samples are packed once a step, in blocks of LANES: block[j][lane]. Weights are kept packed for a whole
 *     epoch, in slabs of LANES classes: slab[j][lane], and the gradient of the logits alike, slab[s][lane].
 *   - With that, both products are one tile: TILE_OUTER numbers of a block, each broadcast, times one vector
 *     of a slab, added to TILE_OUTER accumulators. The loads of a tile are few and in order, no sum is
 *     folded, and all lanes work whatever the number of classes. (One core of a Zen 4: 115 of 116 GFLOP/s,
 *     where dot products of rows with rows reach 100.)
 *   - The same blocks serve both ways: scores walk over j and broadcast samples, the update walks over
 *     samples and broadcasts features.
 *   - A tile of scores is summed over FEATURES_OF_A_SUM features, for which block and slab stay in the
 *     caches, and then added to the scores. Sums within are in order, and so is the gradient's over the
 *     samples: the tile's size does not enter the bits.
 *   - What is left of a slab, of a block or of a vector of features is padded with zeros; padded weights stay
 *     0 whatever the rule.
 */
#ifndef FASTSOFTMAX_PACKED_H
#define FASTSOFTMAX_PACKED_H

#include "linear.h"

enum { FEATURES_OF_A_SUM = 512 };

/* Features of a block that are packed at once: the rows of a tile stay in the first level of the cache. */
enum { FEATURES_AT_ONCE = 4 * LANES };

/* block[j][i] = rows[i][j], for n_rows <= LANES rows: samples, or classes of the weights. */
static void pack_block(const void *const *rows, size_t n_rows, size_t n_features, void *block) {
    const real *const *x = (const real *const *)rows;
    real tile[LANES][FEATURES_AT_ONCE], *out = block;
    for (size_t i = n_rows; i < LANES; ++i) {
        for (size_t j = 0; j < FEATURES_AT_ONCE; ++j) tile[i][j] = 0;
    }
    for (size_t first = 0; first < n_features; first += FEATURES_AT_ONCE) {
        size_t left = n_features - first, n = left < FEATURES_AT_ONCE ? left : FEATURES_AT_ONCE;
        for (size_t i = 0; i < n_rows; ++i) {
            const real *row = x[i] + first;
            for (size_t j = 0; j < n; j += LANES) {
                store(&tile[i][j], load_up_to(row + j, n - j, 0));
                if (left > FEATURES_AT_ONCE) PREFETCH_NEAR(row + FEATURES_AT_ONCE + j);
            }
        }
        size_t padded = (n + LANES - 1) / LANES * LANES;
        for (size_t j = 0; j < padded; j += COLUMNS_AT_ONCE) {
            vec columns[COLUMNS_AT_ONCE];
            load_spaced_columns(&tile[0][j], FEATURES_AT_ONCE, columns);
            UNROLL for (int k = 0; k < COLUMNS_AT_ONCE; ++k) {
                store(out + (first + j + (size_t)k) * LANES, columns[k]);
            }
        }
    }
}

/* slab[t][i] = the number t steps along the depth and i along the lanes, of n_lanes <= LANES, the others 0.
 * Strides are in bytes; where one of them is a step from number to number, whole vectors are read. The slab
 * has room for whole vectors of depth, which may be written. */
static void pack_slab(const void *start, ptrdiff_t depth_stride, ptrdiff_t lane_stride,
                      size_t depth, size_t n_lanes, void *slab) {
    const char *from = start;
    real *out = slab;
    if (lane_stride == sizeof(real)) {
        for (size_t t = 0; t < depth; ++t, from += depth_stride) {
            store(out + t * LANES, load_up_to((const real *)from, n_lanes, 0));
            PREFETCH_NEAR(from + ROWS_AHEAD * depth_stride);
        }
    } else if (depth_stride == sizeof(real)) {
        const void *rows[LANES];
        for (size_t i = 0; i < n_lanes; ++i) rows[i] = from + (ptrdiff_t)i * lane_stride;
        pack_block(rows, n_lanes, depth, slab);
    } else {
        for (size_t t = 0; t < depth; ++t, out += LANES, from += depth_stride) {
            for (size_t i = 0; i < LANES; ++i) {
                out[i] = i < n_lanes ? *(const real *)(from + (ptrdiff_t)i * lane_stride) : 0;
            }
        }
    }
}

/* rows[i][j] = block[j][i]: a slab of weights back to its classes. */
static void unpack_block(const void *block, size_t n_rows, size_t n_features, void *const *rows) {
    real *const *out = (real *const *)rows;
    real tile[LANES][FEATURES_AT_ONCE];
    for (size_t first = 0; first < n_features; first += FEATURES_AT_ONCE) {
        size_t left = n_features - first, n = left < FEATURES_AT_ONCE ? left : FEATURES_AT_ONCE;
        for (size_t j = 0; j < n; j += COLUMNS_AT_ONCE) {
            vec columns[COLUMNS_AT_ONCE];
            UNROLL for (int k = 0; k < COLUMNS_AT_ONCE; ++k) {
                columns[k] = load((const real *)block + (first + j + (size_t)k) * LANES);
            }
            store_columns(&tile[0][j], FEATURES_AT_ONCE, columns);
        }
        for (size_t i = 0; i < n_rows; ++i) memcpy(out[i] + first, tile[i], n * sizeof(real));
    }
}

/* sums[i] = sum over j of x[j][i] * slab[j], for n values of i. */
ALWAYS_INLINE void outer_product_tile(const real *x, size_t n_features, const real *slab, int n,
                                      vec *sums) {
    UNROLL for (int i = 0; i < n; ++i) sums[i] = broadcast(0);
    for (size_t j = 0; j < n_features; ++j) {
        vec w = load(slab + j * LANES);
        UNROLL for (int i = 0; i < n; ++i) {
            sums[i] = fmadd(broadcast(x[j * LANES + (size_t)i]), w, sums[i]);
        }
    }
}

ALWAYS_INLINE void packed_scores_tile(const real *x, size_t n_features, const real *slab, int n,
                                      vec offset, int is_first, real *logits, size_t stride,
                                      size_t width) {
    vec sums[TILE_OUTER];
    outer_product_tile(x, n_features, slab, n, sums);
    UNROLL for (int i = 0; i < n; ++i) {
        real *z = logits + (size_t)i * stride;
        store_up_to(z, add(is_first ? offset : load_up_to(z, width, 0), sums[i]), width);
    }
}

/* Scores of n_rows samples in blocks, and one slab of classes. */
static void packed_scores(const void *blocks, size_t block_stride, size_t n_rows, size_t n_features,
                          const void *slab, const void *intercept, size_t n_classes,
                          int add_to_logits, void *logits, size_t logits_stride) {
    vec offset = intercept ? load_up_to(intercept, n_classes, 0) : broadcast(0);
    for (size_t first = 0; first < n_features; first += FEATURES_OF_A_SUM) {
        size_t left = n_features - first, n = left < FEATURES_OF_A_SUM ? left : FEATURES_OF_A_SUM;
        const real *w = (const real *)slab + first * LANES;
        int is_first = first == 0 && !add_to_logits;
        for (size_t s = 0; s < n_rows;) {
            const real *x = (const real *)blocks + s / LANES * block_stride + first * LANES;
            real *z = (real *)logits + s * logits_stride;
#define TILE_OF(size)                                                                             \
    packed_scores_tile(x + s % LANES, n, w, size, offset, is_first, z, logits_stride, n_classes), \
        s += size
            if (s + TILE_OUTER <= n_rows) {
                TILE_OF(TILE_OUTER);
            } else if (TILE_OUTER > 4 && s + 4 <= n_rows) {
                TILE_OF(TILE_OUTER > 4 ? 4 : 1);
            } else {
                TILE_OF(1);
            }
#undef TILE_OF
        }
    }
}

/* The rows of dlogits, of n_classes, into their places [first_row + s] of slabs that lie slab_stride apart. */
static void pack_dlogits(const void *dlogits, size_t stride, size_t first_row, size_t n_rows,
                         size_t n_classes, void *slabs, size_t slab_stride) {
    for (size_t s = 0; s < n_rows; ++s) {
        const real *row = (const real *)dlogits + s * stride;
        real *out = (real *)slabs + (first_row + s) * LANES;
        for (size_t k = 0; k < n_classes; k += LANES) {
            store(out + k / LANES * slab_stride, load_up_to(row + k, n_classes - k, 0));
        }
    }
}

/* sums[f] = sum over samples of x[s][f] * dz[s], for TILE_OUTER features f: in a block they are rows. The
 * next vector of features is fetched, from a block that another thread may have packed. */
ALWAYS_INLINE void gradient_tile(const real *blocks, size_t block_stride, size_t n_samples,
                                 const real *dlogits, vec *sums) {
    UNROLL for (int f = 0; f < TILE_OUTER; ++f) sums[f] = broadcast(0);
    for (size_t s = 0; s < n_samples; s += LANES, blocks += block_stride) {
        size_t n = n_samples - s < LANES ? n_samples - s : LANES;
        for (size_t i = 0; i < n; ++i, dlogits += LANES) {
            vec dz = load(dlogits);
            PREFETCH_NEAR(blocks + (LANES + i) * LANES);
            UNROLL for (int f = 0; f < TILE_OUTER; ++f) {
                sums[f] = fmadd(broadcast(blocks[f * LANES + i]), dz, sums[f]);
            }
        }
    }
}

/* The rule of a slab, whose lanes are classes. */
static inline struct step step_of_slab(const struct rule *rule) {
    struct step step = step_of(rule);
    if (rule->negative_rates) {
        step.negative_rate = load((const real *)rule->negative_rates);
        step.twice_l2 = load((const real *)rule->twice_l2s);
        step.threshold = load((const real *)rule->thresholds);
    }
    return step;
}

/* The update of one slab for the features [first, first + n_features), whole vectors of them; sums of
 * squares and magnitudes go to one place for each vector or, where the rule has those of several models, for
 * each lane. */
static void packed_update(const void *blocks, size_t block_stride, size_t n_samples, size_t first,
                          size_t n_features, const void *dlogits, const struct rule *rule,
                          void *slab, void *velocity, double *squares, double *magnitudes) {
    struct step step = step_of_slab(rule);
    for (size_t strip = first; strip < first + n_features; strip += LANES) {
        struct penalty_sums sums = {broadcast(0), broadcast(0), 0, 0};
        for (size_t j = strip; j < strip + LANES; j += TILE_OUTER) {
            vec gradient[TILE_OUTER];
            gradient_tile((const real *)blocks + j * LANES, block_stride, n_samples, dlogits,
                          gradient);
            UNROLL for (int f = 0; f < TILE_OUTER; ++f) {
                size_t at = (j + (size_t)f) * LANES;
                real *v = velocity ? (real *)velocity + at : NULL;
                update_vector((real *)slab + at, v, gradient[f], &step, &sums);
            }
        }
        if (rule->negative_rates) { /* lanes are of several models */
            real of_lanes[2][LANES];
            store(of_lanes[0], sums.squares);
            store(of_lanes[1], sums.magnitudes);
            for (size_t i = 0; i < LANES; ++i) squares[strip + i] = (double)of_lanes[0][i];
            for (size_t i = 0; i < LANES; ++i) magnitudes[strip + i] = (double)of_lanes[1][i];
            continue;
        }
        fold_penalty(&sums);
        squares[strip / LANES] = sums.total_squares;
        magnitudes[strip / LANES] = sums.total_magnitudes;
    }
}

/* out[j] (+)= sum over samples of x[s][j] * dz[s], for a slab of n_classes <= LANES classes: the gradient itself. */
static void packed_gradient(const void *blocks, size_t block_stride, size_t n_samples,
                            size_t n_features, const void *dlogits, size_t n_classes,
                            int add_to_out, void *out, size_t out_stride) {
    for (size_t j = 0; j < n_features; j += TILE_OUTER) {
        vec gradient[TILE_OUTER];
        size_t n = n_features - j < TILE_OUTER ? n_features - j : TILE_OUTER;
        real *rows = (real *)out + j * out_stride;
        for (size_t f = 0; f < n; ++f) PREFETCH_NEAR(rows + f * out_stride);
        gradient_tile((const real *)blocks + j * LANES, block_stride, n_samples, dlogits, gradient);
        UNROLL for (size_t f = 0; f < TILE_OUTER; ++f) {
            real *row = rows + f * out_stride;
            if (f >= n) break;
            if (add_to_out) gradient[f] = add(load_up_to(row, n_classes, 0), gradient[f]);
            store_up_to(row, gradient[f], n_classes);
        }
    }
}

/* The update of n_classes <= LANES values of the intercept. */
static void packed_update_intercept(const void *dlogits, size_t n_samples, size_t n_classes,
                                    const struct rule *rule, void *intercept, void *velocity) {
    struct step step = step_of_slab(rule);
    vec gradient = broadcast(0);
    for (size_t s = 0; s < n_samples; ++s) {
        gradient = add(gradient, load((const real *)dlogits + s * LANES));
    }
    update_offsets(intercept, velocity, gradient, &step, n_classes);
}

#endif
