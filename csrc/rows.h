/* Softmax and log-sum-exp of rows of logits.
 *
 *   m = max(z),  e_k = exp(z_k - m),  total = sum(e),  p = e / total,  lse = m + log(total)
 *
 * Decisions:
 *   - Three passes over a row (maximum; exponentials and their sum; scaling). A row of up to some 64k
 *     float32 stays in the cache, so memory is read once.
 *   - total is summed lane by lane within blocks of BLOCK elements, and block by block in double: the
 *     rounding error does not grow with the number of classes, nor does the order of the sum depend on
 *     anything but the row.
 *   - A row without a softmax shows in total, which is NaN then: no pass looks for it.
 */
#ifndef FASTSOFTMAX_ROWS_H
#define FASTSOFTMAX_ROWS_H

#include "exponential.h"

/* UNROLLED vectors of exponentials are computed side by side. */
enum { BLOCK = 64 * LANES, UNROLLED = 2 };

static const real MINUS_INFINITY = -(real)INFINITY;
static const size_t NO_LABEL = SIZE_MAX;

ALWAYS_INLINE vec load_up_to(const real *p, size_t n, real fill) {
    return n >= LANES ? load(p) : load_first(p, n, fill);
}

ALWAYS_INLINE void store_up_to(real *p, vec v, size_t n) {
    if (n >= LANES) {
        store(p, v);
    } else {
        store_first(p, v, n);
    }
}

/* Four maxima at once: each waits for the one before it. */
static inline real row_maximum(const real *z, size_t n) {
    vec largest[4];
    UNROLL for (int i = 0; i < 4; ++i) largest[i] = broadcast(MINUS_INFINITY);
    size_t k = 0;
    for (; k + 4 * LANES <= n; k += 4 * LANES) {
        UNROLL for (int i = 0; i < 4; ++i) {
            largest[i] = maximum(largest[i], load(z + k + i * LANES));
        }
    }
    for (; k + LANES <= n; k += LANES) largest[0] = maximum(largest[0], load(z + k));
    if (k < n) largest[1] = maximum(largest[1], load_first(z + k, n - k, MINUS_INFINITY));
    return largest_lane(maximum(maximum(largest[0], largest[1]), maximum(largest[2], largest[3])));
}

/* Stores the exponentials of n elements, of whole vectors, unless e is NULL; returns sum plus these, vector
 * after vector. */
ALWAYS_INLINE vec whole_exponentials(const real *z, size_t n, vec shift, real *e, vec sum) {
    size_t k = 0;
    for (; k + UNROLLED * LANES <= n; k += UNROLLED * LANES) {
        vec terms[UNROLLED];
        UNROLL for (int i = 0; i < UNROLLED; ++i) {
            terms[i] = exponential(sub(load(z + k + i * LANES), shift));
        }
        UNROLL for (int i = 0; i < UNROLLED; ++i) {
            if (e) store(e + k + i * LANES, terms[i]);
            sum = add(sum, terms[i]);
        }
    }
    for (; k < n; k += LANES) {
        vec term = exponential(sub(load(z + k), shift));
        if (e) store(e + k, term);
        sum = add(sum, term);
    }
    return sum;
}

/* The same of the n <= LANES elements from k on, perhaps fewer than a vector, without the one of the label. */
ALWAYS_INLINE vec special_exponentials(const real *z, size_t k, size_t n, vec shift, size_t label,
                                       real *e, vec sum) {
    vec term = exponential(sub(load_up_to(z + k, n, MINUS_INFINITY), shift));
    if (e) store_up_to(e + k, term, n);
    if (label - k < LANES) {
        term = select_equal(lane_indices(), broadcast((real)(label - k)), broadcast(0), term);
    }
    return add(sum, term);
}

/* Stores e_k = exp(z_k - m) unless e is NULL, and returns their sum without e_label. e may be z. */
ALWAYS_INLINE double exponentials(const real *z, size_t n, real m, size_t label, real *e) {
    vec shift = broadcast(m);
    double total = 0;
    for (size_t block = 0; block < n; block += BLOCK) {
        size_t end = n - block < BLOCK ? n : block + BLOCK;
        size_t whole = block + (end - block) / LANES * LANES, k = block;
        vec sum = broadcast(0);
        if (label - block < whole - block) {
            k = block + (label - block) / LANES * LANES;
            sum = whole_exponentials(z + block, k - block, shift, e ? e + block : NULL, sum);
            sum = special_exponentials(z, k, LANES, shift, label, e, sum);
            k += LANES;
        }
        sum = whole_exponentials(z + k, whole - k, shift, e ? e + k : NULL, sum);
        if (whole < end) sum = special_exponentials(z, whole, end - whole, shift, label, e, sum);
        total += (double)sum_lanes(sum);
    }
    return total;
}

static inline void scale_row(real *e, size_t n, real factor) {
    vec factors = broadcast(factor);
    size_t k = 0;
    for (; k + LANES <= n; k += LANES) store(e + k, mul(load(e + k), factors));
    if (k < n) store_first(e + k, mul(load_first(e + k, n - k, 0), factors), n - k);
}

static ptrdiff_t softmax(const void *logits, size_t n_rows, size_t n_classes, void *out) {
    ptrdiff_t invalid = -1;
    for (size_t i = 0; i < n_rows; ++i) {
        const real *z = (const real *)logits + i * n_classes;
        real *p = (real *)out + i * n_classes;
        double total = exponentials(z, n_classes, row_maximum(z, n_classes), NO_LABEL, p);
        scale_row(p, n_classes, (real)(1 / total));
        if (isnan(total) && invalid < 0) invalid = (ptrdiff_t)i;
    }
    return invalid;
}

static ptrdiff_t log_softmax(const void *logits, size_t n_rows, size_t n_classes, void *out) {
    ptrdiff_t invalid = -1;
    for (size_t i = 0; i < n_rows; ++i) {
        const real *z = (const real *)logits + i * n_classes;
        real *log_p = (real *)out + i * n_classes;
        real m = row_maximum(z, n_classes);
        double total = exponentials(z, n_classes, m, NO_LABEL, NULL);
        vec shift = broadcast(m), log_total = broadcast((real)logarithm(total));
        for (size_t k = 0; k < n_classes; k += LANES) {
            size_t n = n_classes - k;
            store_up_to(log_p + k, sub(sub(load_up_to(z + k, n, 0), shift), log_total), n);
        }
        if (isnan(total) && invalid < 0) invalid = (ptrdiff_t)i;
    }
    return invalid;
}

/* The log-sum-exp of a row without a softmax: NaN where one is in it, else the infinity. */
static real edge_value(const real *z, size_t n, real m) {
    for (size_t k = 0; k < n; ++k) {
        if (isnan(z[k])) return z[k];
    }
    return m;
}

static void logsumexp(const void *logits, size_t n_rows, size_t n_classes, void *out) {
    for (size_t i = 0; i < n_rows; ++i) {
        const real *z = (const real *)logits + i * n_classes;
        real m = row_maximum(z, n_classes);
        double total = exponentials(z, n_classes, m, NO_LABEL, NULL);
        ((real *)out)[i] = isnan(total) ? edge_value(z, n_classes, m)
                                        : (real)((double)m + logarithm(total));
    }
}

#endif
