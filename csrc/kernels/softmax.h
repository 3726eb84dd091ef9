/* Softmax and log-sum-exp of rows of logits.
 *
 *   m = max(z),  e_k = exp(z_k - s),  total = sum(e),  p = e / total,  lse = m + log(total / e_m)
 *
 * with s the multiple of ln 2 next to m (exp_log.h), so that e_m is about 1.
 *
 * Decisions:
 *   - Two passes over a row (exponentials, their sum and the maximum; scaling), and three over a short one or
 *     with soft targets (the maximum first). A row of up to some 64k float32 stays in the cache, so memory is read once.
 *   - Four vectors of terms are added as a tree, and these sums in double, or in float64 with what each
 *     addition loses: the rounding error does not grow with the number of classes, equal terms have an exact sum,
 *     and the order of the sum depends on nothing but the row.
 *   - 1 / total is kept as two reals, so that p is e / total rounded once.
 *   - A row without a softmax shows in total, which is NaN then: no pass looks for it.
 */
#ifndef FASTSOFTMAX_SOFTMAX_H
#define FASTSOFTMAX_SOFTMAX_H

#include "kernels/exp_log.h"

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

/* What a row's terms are relative to. */
struct row_shift {
    real largest;
    struct exp_shift shift;
};

ALWAYS_INLINE struct row_shift find_row_shift(const real *z, size_t n) {
    real largest = row_maximum(z, n);
    return (struct row_shift){largest, exp_shift_from(broadcast(largest))};
}

/* The term of one logit, with the bits that it has in the row. */
ALWAYS_INLINE double row_term(real z, const struct row_shift *row) {
    return (double)largest_lane(exponential(broadcast(z), &row->shift));
}

/* Sums of vectors lane by lane, beyond the type's precision. */
#if defined(FASTSOFTMAX_FLOAT32)

typedef wide precise_sums;

ALWAYS_INLINE precise_sums zero_sums(void) { return wide_zero(); }

ALWAYS_INLINE precise_sums add_terms(precise_sums s, vec terms) { return add_to_wide(s, terms); }

/* The sum in lane i is total[i] + error[i]. */
ALWAYS_INLINE void store_sums(double *total, double *error, precise_sums s) {
    store_wide(total, s);
    for (int i = 0; i < LANES; ++i) error[i] = 0;
}

/* The sum of the lanes is the result plus *error. */
ALWAYS_INLINE double fold_lanes(precise_sums s, double *error) {
    double lane[LANES];
    store_wide(lane, s);
    UNROLL for (int half = LANES / 2; half > 0; half /= 2) {
        UNROLL for (int i = 0; i < half; ++i) lane[i] += lane[i + half];
    }
    *error = 0;
    return lane[0];
}

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

ALWAYS_INLINE precise_sums scale_sums(precise_sums s, double factor) {
    vec factors = broadcast(factor);
    return (precise_sums){mul(s.sum, factors), mul(s.error, factors)};
}

ALWAYS_INLINE precise_sums zero_sums(void) { return (precise_sums){broadcast(0), broadcast(0)}; }

ALWAYS_INLINE precise_sums add_terms(precise_sums s, vec terms) {
    vec sum = add(s.sum, terms), terms_part = sub(sum, s.sum);
    vec error = add(sub(s.sum, sub(sum, terms_part)), sub(terms, terms_part));
    return (precise_sums){sum, add(s.error, error)};
}

ALWAYS_INLINE void store_sums(double *total, double *error, precise_sums s) {
    store(total, s.sum);
    store(error, s.error);
}

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

/* Sums in double of float32 too: one for every eighth element, then folded. */
enum { PARTIAL_SUMS = 8 };

static inline double fold_partial_sums(const double *sums) {
    return ((sums[0] + sums[4]) + (sums[2] + sums[6])) +
           ((sums[1] + sums[5]) + (sums[3] + sums[7]));
}

/* Terms are added by TREE_VECTORS vectors, a power of 2: equal ones have an exact sum. */
enum { TREE_VECTORS = 8 };

/* Stores the exponentials of `width` whole vectors, a power of 2 up to TREE_VECTORS, unless e is NULL; returns their sum
 * as a tree. */
ALWAYS_INLINE vec exponentials_tree(const real *z, int width, const struct exp_shift *shift,
                                    int far, real *e) {
    vec sum[TREE_VECTORS];
    UNROLL for (int i = 0; i < width; ++i) {
        vec x = load(z + i * LANES);
        sum[i] = exponential_shifted(far ? sub(x, shift->from) : x, shift);
        if (e) store(e + i * LANES, sum[i]);
        /* As soon as there are two sums of as many terms they are one: few wait in registers. */
        UNROLL for (int half = 1; (i + 1) % (2 * half) == 0; half *= 2) {
            sum[i + 1 - 2 * half] = add(sum[i + 1 - 2 * half], sum[i + 1 - half]);
        }
    }
    return sum[0];
}

/* The same of n elements, not all of them in whole vectors, by pairs of vectors without the label's term: equal
 * ones still have an exact sum. Returns s plus this. */
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

/* Stores the terms e_k unless e is NULL, and returns their sum without e_label, which is the result plus
 * *error. e may be z. */
static inline double row_exponentials(const real *z, size_t n, const struct row_shift *row,
                                      size_t label, real *e, double *error) {
    /* Most rows are near 0, and have nothing to subtract. */
    if (!(fabs((double)row->largest) < (double)FAR_FROM_0)) {
        return row_exponentials_with(z, n, row, 1, label, e, error);
    }
    if (!e) return row_exponentials_with(z, n, row, 0, label, NULL, error);
    return row_exponentials_with(z, n, row, 0, label, e, error);
}

/* How far above 2**HEADROOM, as a logarithm, a term may be: their sum still is a number. */
static const real MAX_ABOVE_SHIFT = 40;

/* Of 2 in a normal number. */
enum { MIN_EXPONENT = sizeof(real) == sizeof(float) ? -126 : -1022 };

/* The first n_done elements of a row have their terms in e, and s is their sum, relative to *shift; later ones are too
 * large for that. Makes both relative to the largest of the rest, z. Powers of 2 apart it is exact. The power comes in
 * two factors: a term far above 2**HEADROOM counts still where the whole power would be too small for a number. */
static precise_sums rebase(const real *z, size_t n, struct exp_shift *shift, real *e, size_t n_done,
                           precise_sums s) {
    struct exp_shift now = exp_shift_from(broadcast(row_maximum(z, n)));
    real magic[LANES], magic_now[LANES], from[LANES];
    store(magic, shift->magic);
    store(magic_now, now.magic);
    store(from, now.from);
    double power = (double)(magic_now[0] - magic[0]), factors[2] = {0, 0};
    if (from[0] == 0) { /* else the terms so far are nothing beside the rest */
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

/* The same of a row of which nothing is known; fills *row. To look for the maximum first would read the row twice.
 * The power of 2 that terms are relative to need only be about that of the largest: here it is that of the
 * first ones, and where a later one is much larger, the row begins anew from there. Terms are the same but
 * for the power of 2. */
static double online_exponentials(const real *z, size_t n, struct row_shift *row, size_t label,
                                  real *e, double *error) {
    size_t first = TREE_VECTORS * LANES;
    real largest = row_maximum(z, n < first ? n : first);
    /* A row that begins anew beyond FAR_FROM_0 then is so much larger that terms so far would be 0. */
    if (n < 2 * first || !(fabs((double)largest) < (double)FAR_FROM_0 / 4)) {
        *row = find_row_shift(z, n);
        return row_exponentials(z, n, row, label, e, error);
    }
    *row = (struct row_shift){largest, exp_shift_from(broadcast(largest))};
    if (!e) return online_exponentials_pass(z, n, row, label, NULL, error);
    return online_exponentials_pass(z, n, row, label, e, error);
}

/* A number in two parts. */
struct split_real {
    real high, low;
};

ALWAYS_INLINE struct split_real split_double(double x) {
    return (struct split_real){(real)x, (real)(x - (double)(real)x)};
}

/* (numerator + numerator_error) / (total + total_error) */
ALWAYS_INLINE struct split_real quotient(double numerator, double numerator_error, double total,
                                         double total_error) {
    double high = numerator / total;
    if (sizeof(real) < sizeof(double)) return split_double(high);
    double rest = exact_remainder(numerator, high, total) + (numerator_error - high * total_error);
    return (struct split_real){(real)high, (real)(rest / total)};
}

/* m - z + log(total / e_m), a loss, of total = others + error + term: the term of the label, or 0. Where that is e_m
 * nothing of the others is error. */
ALWAYS_INLINE double log_loss(double m, double z, double others, double error, double term,
                              double largest_term) {
    if (sizeof(real) < sizeof(double)) {
        double y = (others + (term - largest_term)) / largest_term, ratio = 1 + y;
        double ratio_error = y - (ratio - 1); /* counts where the ratio is about 1 */
        return (m - z) + (logarithm(ratio) + ratio_error);
    }
    /* The result has no bits to spare, so what each sum has error is put back. */
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

/* Below this, a factor of terms has too few bits left for a probability. */
static const double MIN_FACTOR = sizeof(real) == sizeof(float) ? 0x1p-110 : 0x1p-1006;

/* What terms of this total are to be multiplied by before scale / total is a factor of theirs: 1, or where that would
 * be too small, a power of 2 that makes the total about 1. */
ALWAYS_INLINE double rescaling_power(double scale, double total) {
    uint64_t word;
    memcpy(&word, &total, sizeof word);
    word = (2046 - (word >> 52)) << 52;
    double power;
    memcpy(&power, &word, sizeof power);
    return (scale > 0) & (scale < MIN_FACTOR * total) ? power : 1;
}

static inline void rescale_terms(real *e, size_t n, double rescaling) {
    vec power = broadcast((real)rescaling);
    for (size_t k = 0; rescaling != 1 && k < n; k += LANES) {
        store_up_to(e + k, mul(load_up_to(e + k, n - k, 0), power), n - k);
    }
}

/* dz = factor * e, but for the label: -scale * others / total, which does not cancel where the label dominates. */
struct label_gradient {
    struct split_real factor;
    real label_value;
};

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

ALWAYS_INLINE vec mul_split(vec v, struct split_real f) {
    return fmadd(v, broadcast(f.high), mul(v, broadcast(f.low)));
}

static inline void scale_row(real *e, size_t n, struct split_real factor) {
    size_t k = 0;
    for (; k + LANES <= n; k += LANES) store(e + k, mul_split(load(e + k), factor));
    if (k < n) store_first(e + k, mul_split(load_first(e + k, n - k, 0), factor), n - k);
}

static ptrdiff_t softmax(const void *logits, size_t n_rows, size_t n_classes, void *out) {
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

static ptrdiff_t log_softmax(const void *logits, size_t n_rows, size_t n_classes, void *out) {
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
        struct row_shift row;
        double error, total = online_exponentials(z, n_classes, &row, NO_LABEL, NULL, &error);
        double largest_term = row_term(row.largest, &row);
        double lse = log_loss((double)row.largest, 0, total, error, 0, largest_term);
        ((real *)out)[i] = isnan(total) ? edge_value(z, n_classes, row.largest) : (real)lse;
    }
}

#endif
