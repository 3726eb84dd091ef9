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
#ifndef FASTSOFTMAX_ROWS_H
#define FASTSOFTMAX_ROWS_H

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
struct row {
    real largest;
    struct shift shift;
};

ALWAYS_INLINE struct row row_of(const real *z, size_t n) {
    real largest = row_maximum(z, n);
    return (struct row){largest, shift_of(broadcast(largest))};
}

/* The term of one logit, with the bits that it has in the row. */
ALWAYS_INLINE double term_of(real z, const struct row *row) {
    return (double)largest_lane(exponential(broadcast(z), &row->shift));
}

/* Sums of vectors lane by lane, beyond the type's precision. */
#if defined(FASTSOFTMAX_FLOAT32)

typedef wide sums;

ALWAYS_INLINE sums no_sums(void) { return wide_zero(); }

ALWAYS_INLINE sums add_terms(sums s, vec terms) { return add_to_wide(s, terms); }

/* The sum in lane i is total[i] + lost[i]. */
ALWAYS_INLINE void store_sums(double *total, double *lost, sums s) {
    store_wide(total, s);
    for (int i = 0; i < LANES; ++i) lost[i] = 0;
}

/* The sum of the lanes is the result plus *lost. */
ALWAYS_INLINE double fold_lanes(sums s, double *lost) {
    double lane[LANES];
    store_wide(lane, s);
    UNROLL for (int half = LANES / 2; half > 0; half /= 2) {
        UNROLL for (int i = 0; i < half; ++i) lane[i] += lane[i + half];
    }
    *lost = 0;
    return lane[0];
}

ALWAYS_INLINE sums scale_sums(sums s, double factor) {
    double lane[LANES];
    store_wide(lane, s);
    for (int i = 0; i < LANES; ++i) lane[i] *= factor;
    return load_wide(lane);
}

#else

typedef struct {
    vec sum, lost;
} sums;

ALWAYS_INLINE sums scale_sums(sums s, double factor) {
    vec factors = broadcast(factor);
    return (sums){mul(s.sum, factors), mul(s.lost, factors)};
}

ALWAYS_INLINE sums no_sums(void) { return (sums){broadcast(0), broadcast(0)}; }

ALWAYS_INLINE sums add_terms(sums s, vec terms) {
    vec sum = add(s.sum, terms), of_terms = sub(sum, s.sum);
    vec lost = add(sub(s.sum, sub(sum, of_terms)), sub(terms, of_terms));
    return (sums){sum, add(s.lost, lost)};
}

ALWAYS_INLINE void store_sums(double *total, double *lost, sums s) {
    store(total, s.sum);
    store(lost, s.lost);
}

ALWAYS_INLINE double fold_lanes(sums s, double *lost) {
    double lane[LANES], total = 0;
    store(lane, s.sum);
    *lost = sum_lanes(s.lost);
    for (int i = 0; i < LANES; ++i) {
        double of_lane;
        total = sum_of(total, lane[i], &of_lane);
        *lost += of_lane;
    }
    return total;
}

#endif

/* Terms are added by GROUP vectors, a power of 2: equal ones have an exact sum. */
enum { GROUP = 8 };

/* Stores the exponentials of `width` whole vectors, a power of 2 up to GROUP, unless e is NULL; returns their sum
 * as a tree. */
ALWAYS_INLINE vec tree_of_exponentials(const real *z, int width, const struct shift *shift, int far,
                                       real *e) {
    vec sum[GROUP];
    UNROLL for (int i = 0; i < width; ++i) {
        vec x = load(z + i * LANES);
        sum[i] = exponential_of_difference(far ? sub(x, shift->from) : x, shift);
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
ALWAYS_INLINE sums other_exponentials(const real *z, size_t n, const struct shift *shift,
                                      size_t label, real *e, sums s) {
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

ALWAYS_INLINE double exponentials_of(const real *z, size_t n, const struct row *row, int far,
                                     size_t label, real *e, double *lost) {
    struct shift own = row->shift, *shift = &own; /* nothing that is stored can change it */
    sums s = no_sums();
    enum { STEP = GROUP * LANES };
    size_t k = 0;
    for (; k + STEP <= n; k += STEP) {
        if (label - k < STEP) {
            s = other_exponentials(z + k, STEP, shift, label - k, e ? e + k : NULL, s);
        } else {
            s = add_terms(s, tree_of_exponentials(z + k, GROUP, shift, far, e ? e + k : NULL));
        }
    }
    s = other_exponentials(z + k, n - k, shift, label - k, e ? e + k : NULL, s);
    return fold_lanes(s, lost);
}

/* Stores the terms e_k unless e is NULL, and returns their sum without e_label, which is the result plus
 * *lost. e may be z. */
static inline double exponentials(const real *z, size_t n, const struct row *row, size_t label,
                                  real *e, double *lost) {
    /* Most rows are near 0, and have nothing to subtract. */
    if (!(fabs((double)row->largest) < (double)FAR_FROM_0)) {
        return exponentials_of(z, n, row, 1, label, e, lost);
    }
    if (!e) return exponentials_of(z, n, row, 0, label, NULL, lost);
    return exponentials_of(z, n, row, 0, label, e, lost);
}

/* How far above 2**HEADROOM, as a logarithm, a term may be: their sum still is a number. */
static const real LIMIT = 40;

/* Of 2 in a normal number. */
enum { LEAST_EXPONENT = sizeof(real) == sizeof(float) ? -126 : -1022 };

/* The first n_done elements of a row have their terms in e, and s is their sum, relative to *shift; later ones are too
 * large for that. Makes both relative to the largest of the rest, z. Powers of 2 apart it is exact. The power comes in
 * two factors: a term far above 2**HEADROOM counts still where the whole power would be too small for a number. */
static sums begin_anew(const real *z, size_t n, struct shift *shift, real *e, size_t n_done,
                       sums s) {
    struct shift now = shift_of(broadcast(row_maximum(z, n)));
    real magic[LANES], magic_now[LANES], from[LANES];
    store(magic, shift->magic);
    store(magic_now, now.magic);
    store(from, now.from);
    double power = (double)(magic_now[0] - magic[0]), factors[2] = {0, 0};
    if (from[0] == 0) { /* else the terms so far are nothing beside the rest */
        int whole = power > 2 * LEAST_EXPONENT ? (int)power : 2 * LEAST_EXPONENT, half = whole / 2;
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

ALWAYS_INLINE double exponentials_and_maximum(const real *z, size_t n, struct row *row,
                                              size_t label, real *e, double *lost) {
    struct shift shift = row->shift; /* nothing that is stored can change it */
    vec largest = broadcast(row->largest), most = broadcast(row->largest + LIMIT);
    sums s = no_sums();
    enum { STEP = GROUP * LANES };
    size_t k = 0;
    for (; k + STEP <= n; k += STEP) {
        vec here = load(z + k);
        UNROLL for (int i = 1; i < GROUP; ++i) here = maximum(here, load(z + k + i * LANES));
        if (any_less(most, here)) break;
        largest = maximum(largest, here);
        if (label - k < STEP) {
            s = other_exponentials(z + k, STEP, &shift, label - k, e ? e + k : NULL, s);
        } else {
            s = add_terms(s, tree_of_exponentials(z + k, GROUP, &shift, 0, e ? e + k : NULL));
        }
    }
    real of_rest = row_maximum(z + k, n - k);
    if (!(of_rest <= row->largest + LIMIT)) s = begin_anew(z + k, n - k, &shift, e, k, s);
    row->largest = largest_lane(maximum(largest, broadcast(of_rest)));
    row->shift = shift;
    s = other_exponentials(z + k, n - k, &shift, label - k, e ? e + k : NULL, s);
    return fold_lanes(s, lost);
}

/* The same of a row of which nothing is known; fills *row. To look for the maximum first would read the row twice.
 * The power of 2 that terms are relative to need only be about that of the largest: here it is that of the
 * first ones, and where a later one is much larger, the row begins anew from there. Terms are the same but
 * for the power of 2. */
static double exponentials_of_row(const real *z, size_t n, struct row *row, size_t label, real *e,
                                  double *lost) {
    size_t first = GROUP * LANES;
    real largest = row_maximum(z, n < first ? n : first);
    /* A row that begins anew beyond FAR_FROM_0 then is so much larger that terms so far would be 0. */
    if (n < 2 * first || !(fabs((double)largest) < (double)FAR_FROM_0 / 4)) {
        *row = row_of(z, n);
        return exponentials(z, n, row, label, e, lost);
    }
    *row = (struct row){largest, shift_of(broadcast(largest))};
    if (!e) return exponentials_and_maximum(z, n, row, label, NULL, lost);
    return exponentials_and_maximum(z, n, row, label, e, lost);
}

/* A number in two parts. */
struct factor {
    real high, low;
};

ALWAYS_INLINE struct factor split(double x) {
    return (struct factor){(real)x, (real)(x - (double)(real)x)};
}

/* (numerator + of_numerator) / (total + of_total) */
ALWAYS_INLINE struct factor quotient_of(double numerator, double of_numerator, double total,
                                        double of_total) {
    double high = numerator / total;
    if (sizeof(real) < sizeof(double)) return split(high);
    double rest = exact_remainder(numerator, high, total) + (of_numerator - high * of_total);
    return (struct factor){(real)high, (real)(rest / total)};
}

/* m - z + log(total / e_m), a loss, of total = others + lost + term: the term of the label, or 0. Where that is e_m
 * nothing of the others is lost. */
ALWAYS_INLINE double loss_of(double m, double z, double others, double lost, double term,
                             double largest_term) {
    if (sizeof(real) < sizeof(double)) {
        double y = (others + (term - largest_term)) / largest_term, ratio = 1 + y;
        double of_ratio = y - (ratio - 1); /* counts where the ratio is about 1 */
        return (m - z) + (logarithm(ratio) + of_ratio);
    }
    /* The result has no bits to spare, so what each sum has lost is put back. */
    double of_term, of_others;
    term = sum_of(term, -largest_term, &of_term);
    others = sum_of(others, term, &of_others);
    of_others += of_term;
    double y = others / largest_term, of_gap, of_ratio, of_log, of_loss;
    double of_y = exact_remainder(others, y, largest_term) + (of_others + lost);
    double gap = sum_of(m, -z, &of_gap), ratio = sum_of(1, y, &of_ratio);
    double log_ratio = split_logarithm(ratio, &of_log);
    double loss = sum_of(gap, log_ratio, &of_loss);
    of_log += (of_ratio + of_y / largest_term) / ratio;
    double rest = of_loss + (of_gap + of_log);
    return loss + (loss < (double)INFINITY ? rest : 0 * ratio); /* ratio may be NaN */
}

/* Below this, a factor of terms has too few bits left for a probability. */
static const double LEAST_FACTOR = sizeof(real) == sizeof(float) ? 0x1p-110 : 0x1p-1006;

/* What terms of this total are to be multiplied by before scale / total is a factor of theirs: 1, or where that would
 * be too small, a power of 2 that makes the total about 1. */
ALWAYS_INLINE double reduction_of(double scale, double total) {
    uint64_t word;
    memcpy(&word, &total, sizeof word);
    word = (2046 - (word >> 52)) << 52;
    double power;
    memcpy(&power, &word, sizeof power);
    return (scale > 0) & (scale < LEAST_FACTOR * total) ? power : 1;
}

static inline void reduce_terms(real *e, size_t n, double reduction) {
    vec power = broadcast((real)reduction);
    for (size_t k = 0; reduction != 1 && k < n; k += LANES) {
        store_up_to(e + k, mul(load_up_to(e + k, n - k, 0), power), n - k);
    }
}

/* dz = factor * e, but for the label: -scale * others / total, which does not cancel where the label dominates. */
struct label_gradient {
    struct factor factor;
    real of_label;
};

ALWAYS_INLINE struct label_gradient label_gradient_of(double others, double lost, double label_term,
                                                      double scale) {
    if (sizeof(real) < sizeof(double)) { /* one division is enough */
        double inverse = 1 / (others + label_term);
        return (struct label_gradient){split(scale * inverse), (real)(-scale * (others * inverse))};
    }
    double of_total, total = sum_of(others, label_term, &of_total);
    of_total += lost;
    struct factor of_others = quotient_of(others, lost, total, of_total);
    double of_label = scale * (double)of_others.high + scale * (double)of_others.low;
    return (struct label_gradient){quotient_of(scale, 0, total, of_total), (real)-of_label};
}

ALWAYS_INLINE vec times(vec v, struct factor f) {
    return fmadd(v, broadcast(f.high), mul(v, broadcast(f.low)));
}

static inline void scale_row(real *e, size_t n, struct factor factor) {
    size_t k = 0;
    for (; k + LANES <= n; k += LANES) store(e + k, times(load(e + k), factor));
    if (k < n) store_first(e + k, times(load_first(e + k, n - k, 0), factor), n - k);
}

static ptrdiff_t softmax(const void *logits, size_t n_rows, size_t n_classes, void *out) {
    ptrdiff_t invalid = -1;
    for (size_t i = 0; i < n_rows; ++i) {
        const real *z = (const real *)logits + i * n_classes;
        real *p = (real *)out + i * n_classes;
        struct row row;
        double lost, total = exponentials_of_row(z, n_classes, &row, NO_LABEL, p, &lost);
        scale_row(p, n_classes, quotient_of(1, 0, total, lost));
        if (isnan(total) && invalid < 0) invalid = (ptrdiff_t)i;
    }
    return invalid;
}

static ptrdiff_t log_softmax(const void *logits, size_t n_rows, size_t n_classes, void *out) {
    ptrdiff_t invalid = -1;
    for (size_t i = 0; i < n_rows; ++i) {
        const real *z = (const real *)logits + i * n_classes;
        real *log_p = (real *)out + i * n_classes;
        struct row row;
        double lost, total = exponentials_of_row(z, n_classes, &row, NO_LABEL, NULL, &lost);
        double relative = loss_of(0, 0, total, lost, 0, term_of(row.largest, &row));
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
        struct row row;
        double lost, total = exponentials_of_row(z, n_classes, &row, NO_LABEL, NULL, &lost);
        double largest_term = term_of(row.largest, &row);
        double lse = loss_of((double)row.largest, 0, total, lost, 0, largest_term);
        ((real *)out)[i] = isnan(total) ? edge_value(z, n_classes, row.largest) : (real)lse;
    }
}

#endif
