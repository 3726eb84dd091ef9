/* The step algorithm packed: any number of classes, best where they are many, on packed operands.
 *
 *   z[s, k] = sum over j of x[s, j] * w[k, j]  +  intercept[k]                    scores
 *   dw[k, j] = sum over s of dz[s, k] * x[s, j],  applied to w (sgd_update.h)    update
 *
 * Decisions:
 *   - Samples are packed once a step, in blocks of LANES: block[j][lane]. Weights stay packed for a whole epoch, in
 *     slabs of LANES classes: slab[j][lane]. The gradient of the logits is in slabs as well, slab[s][lane].
 *   - Both products then have one tile: TILE_OUTER scalars of a block, each broadcast, times a vector of each of
 *     TILE_SLABS slabs (simd.h), added to as many accumulators. Loads are in order, no sum is folded, and all
 *     lanes work whatever the number of classes. A single slab that is left has a tile of its own.
 *   - The same blocks serve both directions: scores run over j and broadcast samples, the update runs over samples and
 *     broadcasts features.
 *   - The first tile of a block prefetches the block after it: its lines come one by one while the tile multiplies.
 *     Measured on one core of a Sapphire Rapids: 208 GFLOP/s without, 221 with it, of 242.
 *   - The loops over features and samples are unrolled by 4, which GCC does not do by itself. Measured on that core, with
 *     AVX2 as well: the update is 6 to 20 % faster, scores are 2 to 9 %; prefetching in the update would lose a part of it.
 *   - A tile of scores is summed over FEATURES_PER_SUM features, for which block and slabs stay in the first level of the
 *     cache, and then added to the scores. Sums are in order, over features as over samples: the result does not
 *     depend on the tile size.
 *   - What a tile is added to is prefetched before its first multiplication: a gradient of many classes comes from memory.
 *     Measured on that core, 32000 classes of 1024 features: 126 GFLOP/s without, 140 with it.
 *   - What is left of a slab, of a block or of a vector of features is padded with zeros; padded weights stay 0 under
 *     every rule.
 */
#ifndef FASTSOFTMAX_STEP_PACKED_H
#define FASTSOFTMAX_STEP_PACKED_H

#include "kernels/sgd_update.h"

/* How many of n_slabs slabs, 1 or SLABS_PER_TILE, a register tile has. */
#define SLABS_OF_TILE(n_slabs) ((n_slabs) < TILE_SLABS ? (n_slabs) : TILE_SLABS)

/* Features of a block that are packed per pass: the rows of a pass stay in the first level of the cache. */
enum { FEATURES_PER_PASS = 4 * LANES };

/* Kernel: block[j][i] = rows[i][j], for n_rows <= LANES rows: samples, or classes of the weights. */
static void pack_block(const void *const *rows, size_t n_rows, size_t n_features, void *block) {
    const real *const *x = (const real *const *)rows;
    real tile[LANES][FEATURES_PER_PASS], *out = block;
    for (size_t i = n_rows; i < LANES; ++i) {
        for (size_t j = 0; j < FEATURES_PER_PASS; ++j) tile[i][j] = 0;
    }
    for (size_t first = 0; first < n_features; first += FEATURES_PER_PASS) {
        size_t left = n_features - first, n = left < FEATURES_PER_PASS ? left : FEATURES_PER_PASS;
        for (size_t i = 0; i < n_rows; ++i) {
            const real *row = x[i] + first;
            for (size_t j = 0; j < n; j += LANES) {
                store(&tile[i][j], load_up_to(row + j, n - j, 0));
                if (left > FEATURES_PER_PASS) PREFETCH_L1(row + FEATURES_PER_PASS + j);
            }
        }
        size_t padded = (n + LANES - 1) / LANES * LANES;
        for (size_t j = 0; j < padded; j += COLUMNS_PER_TRANSPOSE) {
            vec columns[COLUMNS_PER_TRANSPOSE];
            load_transposed_strided(&tile[0][j], FEATURES_PER_PASS, columns);
            UNROLL for (int k = 0; k < COLUMNS_PER_TRANSPOSE; ++k) {
                store(out + (first + j + (size_t)k) * LANES, columns[k]);
            }
        }
    }
}

/* Kernel: slab[t][i] = the number t steps along the depth and i along the lanes, for n_lanes <= LANES; the
 * other lanes are 0. Strides are in bytes; where one of them is the size of a number, whole vectors are
 * read. The slab has room for whole vectors of depth, which may be written. */
static void pack_slab(const void *start, ptrdiff_t depth_stride, ptrdiff_t lane_stride,
                      size_t depth, size_t n_lanes, void *slab) {
    const char *from = start;
    real *out = slab;
    if (lane_stride == sizeof(real)) {
        for (size_t t = 0; t < depth; ++t, from += depth_stride) {
            store(out + t * LANES, load_up_to((const real *)from, n_lanes, 0));
            PREFETCH_L1(from + ROWS_AHEAD * depth_stride);
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

/* Kernel: rows[i][j] = block[j][i], the inverse of pack_block. */
static void unpack_block(const void *block, size_t n_rows, size_t n_features, void *const *rows) {
    real *const *out = (real *const *)rows;
    real tile[LANES][FEATURES_PER_PASS];
    for (size_t first = 0; first < n_features; first += FEATURES_PER_PASS) {
        size_t left = n_features - first, n = left < FEATURES_PER_PASS ? left : FEATURES_PER_PASS;
        for (size_t j = 0; j < n; j += COLUMNS_PER_TRANSPOSE) {
            vec columns[COLUMNS_PER_TRANSPOSE];
            UNROLL for (int k = 0; k < COLUMNS_PER_TRANSPOSE; ++k) {
                columns[k] = load((const real *)block + (first + j + (size_t)k) * LANES);
            }
            store_transposed(&tile[0][j], FEATURES_PER_PASS, columns);
        }
        for (size_t i = 0; i < n_rows; ++i) memcpy(out[i] + first, tile[i], n * sizeof(real));
    }
}

/* sums[b][i] = sum over j of x[j][i] * slab b[j], for n values of i: the tile. A line of `next` is prefetched for each
 * j. */
ALWAYS_INLINE void outer_product_tile(const real *x, size_t n_features, const real *slabs,
                                      size_t slab_stride, int n_slabs, int n, const real *next,
                                      vec (*sums)[TILE_OUTER]) {
    UNROLL for (int b = 0; b < n_slabs; ++b) {
        UNROLL for (int i = 0; i < n; ++i) sums[b][i] = broadcast(0);
    }
    UNROLL_BY_4 for (size_t j = 0; j < n_features; ++j) {
        vec w[TILE_SLABS];
        UNROLL for (int b = 0; b < n_slabs; ++b) {
            w[b] = load(slabs + (size_t)b * slab_stride + j * LANES);
        }
        PREFETCH_L1(next + j * LANES);
        UNROLL for (int i = 0; i < n; ++i) {
            vec number = broadcast(x[j * LANES + (size_t)i]);
            UNROLL for (int b = 0; b < n_slabs; ++b) sums[b][i] = fmadd(number, w[b], sums[b][i]);
        }
    }
}

/* Compute a tile of scores from n_features of the features, and add it to the logits, or to the intercept
 * first. */
ALWAYS_INLINE void packed_scores_tile(const real *x, size_t n_features, const real *slabs,
                                      size_t slab_stride, int n_slabs, int n, const real *next,
                                      const vec *offsets, int is_first, real *logits, size_t stride,
                                      size_t n_classes) {
    vec sums[TILE_SLABS][TILE_OUTER];
    if (!is_first) {
        UNROLL for (int i = 0; i < n; ++i) {
            UNROLL for (int b = 0; b < n_slabs; ++b) {
                PREFETCH_L1(logits + (size_t)i * stride + (size_t)b * LANES);
            }
        }
    }
    outer_product_tile(x, n_features, slabs, slab_stride, n_slabs, n, next, sums);
    UNROLL for (int b = 0; b < n_slabs; ++b) {
        size_t k = (size_t)b * LANES, width = n_classes - k;
        UNROLL for (int i = 0; i < n; ++i) {
            real *z = logits + (size_t)i * stride + k;
            vec before = is_first ? offsets[b] : load_up_to(z, width, 0);
            store_up_to(z, add(before, sums[b][i]), width);
        }
    }
}

/* Compute the scores of n_slabs slabs, 1 or SLABS_PER_TILE: a block stays in the first level of the cache for all
 * of them. */
ALWAYS_INLINE void packed_scores_slabs(const real *blocks, size_t block_stride, size_t n_rows,
                                       size_t n_features, const real *slabs, size_t slab_stride,
                                       int n_slabs, const real *intercept, size_t n_classes,
                                       int add_to_logits, real *logits, size_t logits_stride) {
    vec offsets[SLABS_PER_TILE];
    UNROLL for (int b = 0; b < n_slabs; ++b) {
        size_t k = (size_t)b * LANES;
        offsets[b] = intercept ? load_up_to(intercept + k, n_classes - k, 0) : broadcast(0);
    }
    for (size_t first = 0; first < n_features; first += FEATURES_PER_SUM) {
        size_t left = n_features - first, n = left < FEATURES_PER_SUM ? left : FEATURES_PER_SUM;
        int is_first = first == 0 && !add_to_logits;
        for (size_t block = 0; block < n_rows; block += LANES) {
            size_t end = block + LANES < n_rows ? block + LANES : n_rows;
            UNROLL for (int b = 0; b < n_slabs; b += TILE_SLABS) {
                const real *x = blocks + block / LANES * block_stride + first * LANES;
                const real *w = slabs + (size_t)b * slab_stride + first * LANES;
                size_t s = block, k = (size_t)b * LANES;
#define TILE_OF(size)                                                                    \
    packed_scores_tile(x + (s - block), n, w, slab_stride, SLABS_OF_TILE(n_slabs), size, \
                       s == block ? x + block_stride : x, offsets + b, is_first,         \
                       logits + s * logits_stride + k, logits_stride, n_classes - k),    \
        s += size
                while (s + TILE_OUTER <= end) TILE_OF(TILE_OUTER);
                if (TILE_OUTER > 4 && s + 4 <= end) TILE_OF(TILE_OUTER > 4 ? 4 : 1);
                while (s < end) TILE_OF(1);
#undef TILE_OF
            }
        }
    }
}

/* Kernel: the scores of samples in blocks with slabs of weights. */
static void packed_scores(const struct blocks_view *samples, const struct weights_view *weights,
                          int add_to_logits, void *logits, size_t logits_stride) {
    const real *x = samples->start, *w = weights->coef, *b = weights->intercept;
    size_t block_stride = samples->stride, n_rows = samples->n_samples;
    size_t slab_stride = weights->stride, n_classes = weights->n_classes;
    size_t n_features = weights->n_features, k = 0;
    real *z = logits;
#define SLABS_OF(n_slabs)                                                                     \
    packed_scores_slabs(x, block_stride, n_rows, n_features, w + k / LANES * slab_stride,     \
                        slab_stride, n_slabs, b ? b + k : NULL, n_classes - k, add_to_logits, \
                        z + k, logits_stride)
    for (; k + LANES < n_classes; k += SLABS_PER_TILE * LANES) SLABS_OF(SLABS_PER_TILE);
    if (k < n_classes) SLABS_OF(1);
#undef SLABS_OF
}

/* Kernel: copy rows to the rows first_row + s of slabs that are slab_stride apart. They may be short parts of long rows,
 * where no hardware prefetcher sees the next one coming. */
static void pack_rows(const void *rows, size_t stride, size_t first_row, size_t n_rows,
                      size_t n_columns, void *slabs, size_t slab_stride) {
    for (size_t s = 0; s < n_rows; ++s) {
        const real *row = (const real *)rows + s * stride;
        real *out = (real *)slabs + (first_row + s) * LANES;
        for (size_t k = 0; k < n_columns; k += LANES) {
            store(out + k / LANES * slab_stride, load_up_to(row + k, n_columns - k, 0));
            PREFETCH_L1(row + PACKED_ROWS_AHEAD * stride + k);
        }
    }
}

/* sums[b][f] += x[f][i] * dz of slab b, of sample i of a block, for TILE_OUTER features f: in a block they are rows. */
ALWAYS_INLINE void gradient_of_sample(const real *block, size_t i, const real *dlogits,
                                      size_t slab_stride, int n_slabs, vec (*sums)[TILE_OUTER]) {
    vec dz[TILE_SLABS];
    UNROLL for (int b = 0; b < n_slabs; ++b) {
        dz[b] = load(dlogits + (size_t)b * slab_stride + i * LANES);
    }
    UNROLL for (int f = 0; f < TILE_OUTER; ++f) {
        vec number = broadcast(block[(size_t)f * LANES + i]);
        UNROLL for (int b = 0; b < n_slabs; ++b) { sums[b][f] = fmadd(number, dz[b], sums[b][f]); }
    }
}

/* The same for all samples. */
ALWAYS_INLINE void gradient_tile(const real *blocks, size_t block_stride, size_t n_samples,
                                 const real *dlogits, size_t slab_stride, int n_slabs,
                                 vec (*sums)[TILE_OUTER]) {
    size_t s = 0;
    for (; s + LANES <= n_samples; s += LANES, blocks += block_stride, dlogits += LANES * LANES) {
        UNROLL_BY_4 for (size_t i = 0; i < LANES; ++i) {
            gradient_of_sample(blocks, i, dlogits, slab_stride, n_slabs, sums);
        }
    }
    for (size_t i = 0; i < n_samples - s; ++i) {
        gradient_of_sample(blocks, i, dlogits, slab_stride, n_slabs, sums);
    }
}

/* Return the rule for the slab of the classes from k on: its lanes are classes, which may have rules of
 * their own. */
static inline struct vector_rule broadcast_slab_rule(const struct sgd_rule *rule, size_t k) {
    struct vector_rule step = broadcast_rule(rule);
    if (rule->negative_rates) {
        step.negative_rate = load((const real *)rule->negative_rates + k);
        step.twice_l2 = load((const real *)rule->twice_l2s + k);
        step.threshold = load((const real *)rule->thresholds + k);
    }
    return step;
}

/* Store the sums of one slab and strip: in one place for the strip or, where the lanes have rules of their
 * own, one for each lane. */
static inline void store_penalty(struct penalty_sums *sums, int has_lane_rules, size_t strip,
                                 double *squares, double *magnitudes) {
    if (has_lane_rules) {
        real lanes[2][LANES];
        store(lanes[0], sums->squares);
        store(lanes[1], sums->magnitudes);
        for (size_t i = 0; i < LANES; ++i) squares[strip * LANES + i] = (double)lanes[0][i];
        for (size_t i = 0; i < LANES; ++i) magnitudes[strip * LANES + i] = (double)lanes[1][i];
        return;
    }
    fold_penalty(sums);
    squares[strip] = sums->total_squares;
    magnitudes[strip] = sums->total_magnitudes;
}

/* Update n_slabs slabs, 1 or SLABS_PER_TILE, strip by strip. */
ALWAYS_INLINE void packed_update_slabs(const real *blocks, size_t block_stride, size_t n_samples,
                                       size_t first, size_t n_features, const real *dlogits,
                                       const struct sgd_rule *rule, size_t k, int n_slabs,
                                       real *slabs, size_t slab_stride, real *velocity,
                                       double *squares, double *magnitudes) {
    struct vector_rule steps[SLABS_PER_TILE];
    int has_lane_rules = rule->negative_rates != NULL;
    size_t places = slab_stride / LANES / (has_lane_rules ? 1 : LANES), slab = k / LANES;
    UNROLL for (int b = 0; b < n_slabs; ++b)
        steps[b] = broadcast_slab_rule(rule, k + (size_t)b * LANES);
    for (size_t strip = first; strip < first + n_features; strip += LANES) {
        struct penalty_sums sums[SLABS_PER_TILE];
        UNROLL for (int b = 0; b < n_slabs; ++b) {
            sums[b] = (struct penalty_sums){broadcast(0), broadcast(0), 0, 0};
        }
        UNROLL for (int first_slab = 0; first_slab < n_slabs; first_slab += TILE_SLABS) {
            const real *dz = dlogits + (slab + (size_t)first_slab) * n_samples * LANES;
            for (size_t j = strip; j < strip + LANES; j += TILE_OUTER) {
                vec gradient[TILE_SLABS][TILE_OUTER];
                UNROLL for (int i = 0; i < SLABS_OF_TILE(n_slabs); ++i) {
                    UNROLL for (int f = 0; f < TILE_OUTER; ++f) gradient[i][f] = broadcast(0);
                }
                gradient_tile(blocks + j * LANES, block_stride, n_samples, dz, n_samples * LANES,
                              SLABS_OF_TILE(n_slabs), gradient);
                UNROLL for (int i = 0; i < SLABS_OF_TILE(n_slabs); ++i) {
                    int b = first_slab + i;
                    UNROLL for (int f = 0; f < TILE_OUTER; ++f) {
                        size_t at = (slab + (size_t)b) * slab_stride + (j + (size_t)f) * LANES;
                        real *v = velocity ? velocity + at : NULL;
                        update_vector(slabs + at, v, gradient[i][f], &steps[b], &sums[b]);
                    }
                }
            }
        }
        UNROLL for (int b = 0; b < n_slabs; ++b) {
            size_t before = (slab + (size_t)b) * places;
            store_penalty(&sums[b], has_lane_rules, strip / LANES, squares + before,
                          magnitudes + before);
        }
    }
}

/* Kernel: the update of the slabs of n_classes for the features [first, first + n_features), whole strips;
 * the stride of the slabs covers all features. The sums of squares and magnitudes go to one place for each slab and
 * strip or, where the lanes have rules of their own, for each lane. */
static void packed_update(const struct blocks_view *samples, size_t first, size_t n_features,
                          const void *dlogits, const struct sgd_rule *rule,
                          const struct update_view *update) {
    const real *blocks = samples->start;
    size_t block_stride = samples->stride, n_samples = samples->n_samples;
    real *slabs = update->weights, *velocity = update->velocity;
    size_t slab_stride = update->stride, n_classes = update->n_classes, k = 0;
    double *squares = update->squares, *magnitudes = update->magnitudes;
#define SLABS_OF(n_slabs)                                                                     \
    packed_update_slabs(blocks, block_stride, n_samples, first, n_features, dlogits, rule, k, \
                        n_slabs, slabs, slab_stride, velocity, squares, magnitudes)
    for (; k + LANES < n_classes; k += SLABS_PER_TILE * LANES) SLABS_OF(SLABS_PER_TILE);
    if (k < n_classes) SLABS_OF(1);
#undef SLABS_OF
}

/* Kernel: the update of n_classes <= LANES values of the intercept. */
static void packed_update_intercept(const void *dlogits, size_t n_samples, size_t n_classes,
                                    const struct sgd_rule *rule, void *intercept, void *velocity) {
    struct vector_rule step = broadcast_slab_rule(rule, 0);
    vec gradient = broadcast(0);
    for (size_t s = 0; s < n_samples; ++s) {
        gradient = add(gradient, load((const real *)dlogits + s * LANES));
    }
    update_intercept_vector(intercept, velocity, gradient, &step, n_classes);
}

#endif
