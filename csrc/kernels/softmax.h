/* Softmax, log-softmax and log-sum-exp of rows of logits.
 *
 *   m = max(z),  e_k = exp(z_k - s),  total = sum(e),  p = e / total,  lse = m + log(total / e_m)
 *
 * where s is the multiple of ln 2 next to m (exp_log.h), so that e_m is about 2**HEADROOM. An e_k is called a term:
 * one exponential of a row, before the division by the total. The softmax of rows with few classes, many rows at a
 * time, is in softmax_transposed.h; the loss in cross_entropy.h.
 *
 * Decisions:
 *   - Online softmax: two passes over a row (exponentials with their sum and the maximum; scaling), and three over
 *     a short row or with soft targets (the maximum first). A row of up to some 64k float32 stays in the cache,
 *     so memory is read once.
 *   - TREE_VECTORS vectors of terms are added as a tree, and these sums in double (float32) or with compensation
 *     (float64). The rounding error does not grow with the number of classes, equal terms have an exact sum, and
 *     the order of summation depends on the row alone.
 *   - 1 / total is kept as two reals, so that p is e / total rounded once.
 *   - total is NaN for a row without a softmax, so no pass checks for one.
 */
#ifndef FASTSOFTMAX_SOFTMAX_H
#define FASTSOFTMAX_SOFTMAX_H

#include "kernels/exp_log.h"
#include "kernels/partial_sums.h"

static const real MINUS_INFINITY = -(real)INFINITY;
static const size_t NO_LABEL = SIZE_MAX;

/* Return the largest element, or a NaN that may hide it. Four running maxima: each would wait for the
 * previous one. */
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

/* The maximum of a row, and the shift that its terms are relative to. */
struct row_shift {
    real largest;
    struct exp_shift shift;
};

/* Find the maximum of a row in a pass of its own. */
ALWAYS_INLINE struct row_shift find_row_shift(const real *z, size_t n) {
    real largest = row_maximum(z, n);
    return (struct row_shift){largest, exp_shift_from(broadcast(largest))};
}

/* Return the term of one logit, with the bits that it has in the row. */
ALWAYS_INLINE double row_term(real z, const struct row_shift *row) {
    return (double)largest_lane(exponential(broadcast(z), &row->shift));
}

/* Sums of vectors lane by lane, more precise than the type: in double for float32, compensated for
 * float64. */
#if defined(FASTSOFTMAX_FLOAT32)

typedef wide precise_sums;

/* Return sums that are 0. */
ALWAYS_INLINE precise_sums zero_sums(void) { return wide_zero(); }

/* Return s + terms, lane by lane. */
ALWAYS_INLINE precise_sums add_terms(precise_sums s, vec terms) { return add_to_wide(s, terms); }

/* Store the sums: that of lane i is total[i] + error[i]. */
ALWAYS_INLINE void store_sums(double *total, double *error, precise_sums s) {
    store_wide(total, s);
    for (int i = 0; i < LANES; ++i) error[i] = 0;
}

/* Return the sum of the lanes, in a fixed order; *error is what rounding has lost of it. */
ALWAYS_INLINE double fold_lanes(precise_sums s, double *error) {
    double lane[LANES];
    store_wide(lane, s);
    UNROLL for (int half = LANES / 2; half > 0; half /= 2) {
        UNROLL for (int i = 0; i < half; ++i) lane[i] += lane[i + half];
    }
    *error = 0;
    return lane[0];
}

/* Return s * factor, exact for a power of two. */
ALWAYS_INLINE precise_sums scale_sums(precise_sums s, double factor) {
    double lane[LANES];
    store_wide(lane, s);
    for (int i = 0; i < LANES; ++i) lane[i] *= factor;
    return load_wide(lane);
}

#else

typedef struct {
    vec sum, error;
} precise_sums;

/* Return s * factor, exact for a power of two. */
ALWAYS_INLINE precise_sums scale_sums(precise_sums s, double factor) {
    vec factors = broadcast(factor);
    return (precise_sums){mul(s.sum, factors), mul(s.error, factors)};
}

/* Return sums that are 0. */
ALWAYS_INLINE precise_sums zero_sums(void) { return (precise_sums){broadcast(0), broadcast(0)}; }

/* Return s + terms, lane by lane, with the rounding errors added up (two_sum). */
ALWAYS_INLINE precise_sums add_terms(precise_sums s, vec terms) {
    vec sum = add(s.sum, terms), terms_part = sub(sum, s.sum);
    vec error = add(sub(s.sum, sub(sum, terms_part)), sub(terms, terms_part));
    return (precise_sums){sum, add(s.error, error)};
}

/* Store the sums: that of lane i is total[i] + error[i]. */
ALWAYS_INLINE void store_sums(double *total, double *error, precise_sums s) {
    store(total, s.sum);
    store(error, s.error);
}

/* Return the sum of the lanes, in a fixed order; *error is what rounding has lost of it. */
ALWAYS_INLINE double fold_lanes(precise_sums s, double *error) {
    double lane[LANES], total = 0;
    store(lane, s.sum);
    *error = sum_lanes(s.error);
    for (int i = 0; i < LANES; ++i) {
        double lane_error;
        total = two_sum(total, lane[i], &lane_error);
        *error += lane_error;
    }
    return total;
}

#endif

/* Vectors of terms that are added as a tree, a power of two: equal terms have an exact sum. */
enum { TREE_VECTORS = 8 };

/* Return the sum, as a tree, of the exponentials of `width` whole vectors, a power of two up to
 * TREE_VECTORS; store them in e unless it is NULL. `far`: whether shift->from is not 0. */
ALWAYS_INLINE vec exponentials_tree(const real *z, int width, const struct exp_shift *shift,
                                    int far, real *e) {
    vec sum[TREE_VECTORS];
    UNROLL for (int i = 0; i < width; ++i) {
        vec x = load(z + i * LANES);
        sum[i] = exponential_shifted(far ? sub(x, shift->from) : x, shift);
        if (e) store(e + i * LANES, sum[i]);
        /* Two sums of equally many terms are added as soon as they exist: few wait in registers. */
        UNROLL for (int half = 1; (i + 1) % (2 * half) == 0; half *= 2) {
            sum[i + 1 - 2 * half] = add(sum[i + 1 - 2 * half], sum[i + 1 - half]);
        }
    }
    return sum[0];
}

/* Return s plus the sum of the exponentials of n elements but for the label; store them in e unless it is
 * NULL. n need not fill whole vectors. Pairs of vectors are added first: equal terms still have an exact
 * sum. */
ALWAYS_INLINE precise_sums exponentials_but_label(const real *z, size_t n,
                                                  const struct exp_shift *shift, size_t label,
                                                  real *e, precise_sums s) {
    for (size_t k = 0; k < n; k += 2 * LANES) {
        vec terms[2];
        UNROLL for (size_t i = 0; i < 2; ++i) {
            size_t at = k + i * LANES, left = n > at ? n - at : 0;
            terms[i] = exponential(load_up_to(z + at, left, MINUS_INFINITY), shift);
            if (e) store_up_to(e + at, terms[i], left);
            terms[i] = select_equal(lane_indices(), broadcast((real)(label - at)), broadcast(0),
                                    terms[i]);
        }
        s = add_terms(s, add(terms[0], terms[1]));
    }
    return s;
}

/* Return the sum of the exponentials of a row but for the label; *error is what rounding has lost of it.
 * Store them in e unless it is NULL. `far`: whether shift->from is not 0. */
ALWAYS_INLINE double row_exponentials_with(const real *z, size_t n, const struct row_shift *row,
                                           int far, size_t label, real *e, double *error) {
    struct exp_shift own = row->shift, *shift = &own; /* nothing that is stored can change it */
    precise_sums s = zero_sums();
    enum { STEP = TREE_VECTORS * LANES };
    size_t k = 0;
    for (; k + STEP <= n; k += STEP) {
        if (label - k < STEP) {
            s = exponentials_but_label(z + k, STEP, shift, label - k, e ? e + k : NULL, s);
        } else {
            s = add_terms(s, exponentials_tree(z + k, TREE_VECTORS, shift, far, e ? e + k : NULL));
        }
    }
    s = exponentials_but_label(z + k, n - k, shift, label - k, e ? e + k : NULL, s);
    return fold_lanes(s, error);
}

/* Return the sum of the terms e_k but for e_label, to which *error adds what rounding has lost; store the
 * terms in e unless it is NULL. Constant arguments make a copy of the loop for each case. */
static inline double row_exponentials(const real *z, size_t n, const struct row_shift *row,
                                      size_t label, real *e, double *error) {
    /* Most rows are near 0, and have nothing to subtract. */
    if (!(fabs((double)row->largest) < (double)FAR_FROM_0)) {
        return row_exponentials_with(z, n, row, 1, label, e, error);
    }
    if (!e) return row_exponentials_with(z, n, row, 0, label, NULL, error);
    return row_exponentials_with(z, n, row, 0, label, e, error);
}

/* How far the logarithm of a term may be above that of 2**HEADROOM: the sum of such terms is still finite. */
static const real MAX_ABOVE_SHIFT = 40;

/* The smallest exponent of a normal number. */
enum { MIN_EXPONENT = sizeof(real) == sizeof(float) ? -126 : -1022 };

/* Rebase the online softmax. The terms e[0:n_done] and their sum s are relative to *shift, and later
 * elements, z[0:n], are too large for that: rescale both to the maximum of z, which *shift becomes. The
 * factor is a power of two, hence exact. It is applied in two parts, since a term far above 2**HEADROOM
 * may still contribute where the whole power would underflow. */
static precise_sums rebase(const real *z, size_t n, struct exp_shift *shift, real *e, size_t n_done,
                           precise_sums s) {
    struct exp_shift now = exp_shift_from(broadcast(row_maximum(z, n)));
    real magic[LANES], magic_now[LANES], from[LANES];
    store(magic, shift->magic);
    store(magic_now, now.magic);
    store(from, now.from);
    double power = (double)(magic_now[0] - magic[0]), factors[2] = {0, 0};
    if (from[0] == 0) { /* else the terms so far are negligible */
        int whole = power > 2 * MIN_EXPONENT ? (int)power : 2 * MIN_EXPONENT, half = whole / 2;
        uint64_t bits[2] = {(uint64_t)(1023 + whole - half) << 52, (uint64_t)(1023 + half) << 52};
        memcpy(factors, bits, sizeof factors);
    }
    *shift = now;
    vec first = broadcast((real)factors[0]), second = broadcast((real)factors[1]);
    for (size_t k = 0; e && k < n_done; k += LANES) {
        store(e + k, mul(mul(load(e + k), first), second));
    }
    return scale_sums(scale_sums(s, factors[0]), factors[1]);
}

/* Do the online pass over a row: row_exponentials relative to *row, which is an estimate from its first
 * elements and becomes that of the whole row. */
ALWAYS_INLINE double online_exponentials_pass(const real *z, size_t n, struct row_shift *row,
                                              size_t label, real *e, double *error) {
    struct exp_shift shift = row->shift; /* nothing that is stored can change it */
    vec largest = broadcast(row->largest), most = broadcast(row->largest + MAX_ABOVE_SHIFT);
    precise_sums s = zero_sums();
    enum { STEP = TREE_VECTORS * LANES };
    size_t k = 0;
    for (; k + STEP <= n; k += STEP) {
        vec here = load(z + k);
        UNROLL for (int i = 1; i < TREE_VECTORS; ++i) here = maximum(here, load(z + k + i * LANES));
        if (any_less(most, here)) break;
        largest = maximum(largest, here);
        if (label - k < STEP) {
            s = exponentials_but_label(z + k, STEP, &shift, label - k, e ? e + k : NULL, s);
        } else {
            s = add_terms(s, exponentials_tree(z + k, TREE_VECTORS, &shift, 0, e ? e + k : NULL));
        }
    }
    real rest_largest = row_maximum(z + k, n - k);
    if (!(rest_largest <= row->largest + MAX_ABOVE_SHIFT))
        s = rebase(z + k, n - k, &shift, e, k, s);
    row->largest = largest_lane(maximum(largest, broadcast(rest_largest)));
    row->shift = shift;
    s = exponentials_but_label(z + k, n - k, &shift, label - k, e ? e + k : NULL, s);
    return fold_lanes(s, error);
}

/* Do row_exponentials on a row whose maximum is not known; fill *row. Finding the maximum first would read
 * the row twice. The power of two that terms are relative to need only be close to the largest one: it
 * comes from the first elements, and where a later element is much larger, the row is rebased from there.
 * The terms differ from those of the other way by a power of two alone. */
static double online_exponentials(const real *z, size_t n, struct row_shift *row, size_t label,
                                  real *e, double *error) {
    size_t first = TREE_VECTORS * LANES;
    real largest = row_maximum(z, n < first ? n : first);
    /* Beyond FAR_FROM_0 a rebase would be to elements so much larger that all terms so far would be 0. */
    if (n < 2 * first || !(fabs((double)largest) < (double)FAR_FROM_0 / 4)) {
        *row = find_row_shift(z, n);
        return row_exponentials(z, n, row, label, e, error);
    }
    *row = (struct row_shift){largest, exp_shift_from(broadcast(largest))};
    if (!e) return online_exponentials_pass(z, n, row, label, NULL, error);
    return online_exponentials_pass(z, n, row, label, e, error);
}

/* A number in two parts: its value is high + low. */
struct split_real {
    real high, low;
};

/* Return x in two parts. */
ALWAYS_INLINE struct split_real split_double(double x) {
    return (struct split_real){(real)x, (real)(x - (double)(real)x)};
}

/* Return (numerator + numerator_error) / (total + total_error) in two parts. */
ALWAYS_INLINE struct split_real quotient(double numerator, double numerator_error, double total,
                                         double total_error) {
    double high = numerator / total;
    if (sizeof(real) < sizeof(double)) return split_double(high);
    double rest = exact_remainder(numerator, high, total) + (numerator_error - high * total_error);
    return (struct split_real){(real)high, (real)(rest / total)};
}

/* Return the loss m - z + log(total / e_m), where total = others + error + term, and term is that of the
 * label, or 0. Where the label has the largest term, e_m, no digit of the others is lost. */
ALWAYS_INLINE double log_loss(double m, double z, double others, double error, double term,
                              double largest_term) {
    if (sizeof(real) < sizeof(double)) {
        double y = (others + (term - largest_term)) / largest_term, ratio = 1 + y;
        double ratio_error = y - (ratio - 1); /* matters where the ratio is about 1 */
        return (m - z) + (logarithm(ratio) + ratio_error);
    }
    /* Float64 has no bits to spare, so the rounding error of each sum is added back. */
    double term_error, others_error;
    term = two_sum(term, -largest_term, &term_error);
    others = two_sum(others, term, &others_error);
    others_error += term_error;
    double y = others / largest_term, gap_error, ratio_error, log_error, loss_error;
    double y_error = exact_remainder(others, y, largest_term) + (others_error + error);
    double gap = two_sum(m, -z, &gap_error), ratio = two_sum(1, y, &ratio_error);
    double log_ratio = split_logarithm(ratio, &log_error);
    double loss = two_sum(gap, log_ratio, &loss_error);
    log_error += (ratio_error + y_error / largest_term) / ratio;
    double rest = loss_error + (gap_error + log_error);
    return loss + (loss < (double)INFINITY ? rest : 0 * ratio); /* ratio may be NaN */
}

/* Below this, the factor of the terms has too few bits left for a probability. */
static const double MIN_FACTOR = sizeof(real) == sizeof(float) ? 0x1p-110 : 0x1p-1006;

/* Return the power of two that terms with this total are multiplied by before scale / total becomes their
 * factor: 1, or where that factor would be too small, what makes the total about 1. */
ALWAYS_INLINE double rescaling_power(double scale, double total) {
    uint64_t word;
    memcpy(&word, &total, sizeof word);
    word = (2046 - (word >> 52)) << 52;
    double power;
    memcpy(&power, &word, sizeof power);
    double size = fabs(scale);
    return ((size > 0) & (size < MIN_FACTOR * total)) ? power : 1;
}

/* Multiply the terms by a power of two. */
static inline void rescale_terms(real *e, size_t n, double rescaling) {
    vec power = broadcast((real)rescaling);
    for (size_t k = 0; rescaling != 1 && k < n; k += LANES) {
        store_up_to(e + k, mul(load_up_to(e + k, n - k, 0), power), n - k);
    }
}

/* The gradient dz = factor * e, but for the label: -scale * others / total, which does not cancel where
 * the label dominates. */
struct label_gradient {
    struct split_real factor;
    real label_value;
};

/* Return the gradient of a row with a label, from the sum of the other terms (with its rounding error) and
 * that of the label. */
ALWAYS_INLINE struct label_gradient make_label_gradient(double others, double error,
                                                        double label_term, double scale) {
    if (sizeof(real) < sizeof(double)) { /* one division is enough */
        double inverse = 1 / (others + label_term);
        return (struct label_gradient){split_double(scale * inverse),
                                       (real)(-scale * (others * inverse))};
    }
    double total_error, total = two_sum(others, label_term, &total_error);
    total_error += error;
    struct split_real others_error = quotient(others, error, total, total_error);
    double label_value = scale * (double)others_error.high + scale * (double)others_error.low;
    return (struct label_gradient){quotient(scale, 0, total, total_error), (real)-label_value};
}

/* Return v * f, rounded about once. */
ALWAYS_INLINE vec mul_split(vec v, struct split_real f) {
    return fmadd(v, broadcast(f.high), mul(v, broadcast(f.low)));
}

/* Multiply a row by a factor in two parts. */
static inline void scale_row(real *e, size_t n, struct split_real factor) {
    size_t k = 0;
    for (; k + LANES <= n; k += LANES) store(e + k, mul_split(load(e + k), factor));
    if (k < n) store_first(e + k, mul_split(load_first(e + k, n - k, 0), factor), n - k);
}

/* Kernel: the softmax of rows. */
static inline ptrdiff_t softmax(const void *logits, size_t n_rows, size_t n_classes, void *out) {
    ptrdiff_t invalid = -1;
    for (size_t i = 0; i < n_rows; ++i) {
        const real *z = (const real *)logits + i * n_classes;
        real *p = (real *)out + i * n_classes;
        struct row_shift row;
        double error, total = online_exponentials(z, n_classes, &row, NO_LABEL, p, &error);
        scale_row(p, n_classes, quotient(1, 0, total, error));
        if (isnan(total) && invalid < 0) invalid = (ptrdiff_t)i;
    }
    return invalid;
}

/* Kernel: the logarithm of the softmax of rows, (z - m) - log(total / e_m). */
static inline ptrdiff_t log_softmax(const void *logits, size_t n_rows, size_t n_classes,
                                    void *out) {
    ptrdiff_t invalid = -1;
    for (size_t i = 0; i < n_rows; ++i) {
        const real *z = (const real *)logits + i * n_classes;
        real *log_p = (real *)out + i * n_classes;
        struct row_shift row;
        double error, total = online_exponentials(z, n_classes, &row, NO_LABEL, NULL, &error);
        double relative = log_loss(0, 0, total, error, 0, row_term(row.largest, &row));
        vec shift = broadcast(row.largest), log_total = broadcast((real)relative);
        for (size_t k = 0; k < n_classes; k += LANES) {
            size_t n = n_classes - k;
            store_up_to(log_p + k, sub(sub(load_up_to(z + k, n, 0), shift), log_total), n);
        }
        if (isnan(total) && invalid < 0) invalid = (ptrdiff_t)i;
    }
    return invalid;
}

/* Return the log-sum-exp of a row without a softmax: its NaN if it contains one, else the infinity m. */
static real edge_value(const real *z, size_t n, real m) {
    for (size_t k = 0; k < n; ++k) {
        if (isnan(z[k])) return z[k];
    }
    return m;
}

/* Kernel: the log-sum-exp of rows. */
static inline void logsumexp(const void *logits, size_t n_rows, size_t n_classes, void *out) {
    for (size_t i = 0; i < n_rows; ++i) {
        const real *z = (const real *)logits + i * n_classes;
        struct row_shift row;
        double error, total = online_exponentials(z, n_classes, &row, NO_LABEL, NULL, &error);
        double largest_term = row_term(row.largest, &row);
        double lse = log_loss((double)row.largest, 0, total, error, 0, largest_term);
        ((real *)out)[i] = isnan(total) ? edge_value(z, n_classes, row.largest) : (real)lse;
    }
}

#endif
