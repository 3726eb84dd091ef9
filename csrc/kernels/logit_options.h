/* Options of the losses that act on the logits (struct logit_options): temperature, softcap, mask, z_loss,
 * the log-sum-exp and the metrics of each row.
 *
 *   q = softcap * tanh(z / temperature / softcap), or z / temperature
 *   loss = sum over k of u_k * (lse(q) - q_k + z_loss * lse(q)**2),   u as in cross_entropy.h
 *
 * Decisions:
 *   - A row becomes q, in place of its gradient or in scratch memory, and goes through cross_entropy, which
 *     stays as it is; then the chain rule takes the gradient from q to z. Without a softcap the temperature divides the
 *     scale of the gradient instead.
 *   - A masked class has the logit -inf: no probability, and the gradient 0. Where targets have weight on other classes
 *     than a label, it is removed from the row, its targets and the weights of classes, and zeros are put into the
 *     gradient.
 *   - q and its derivative are computed in double, without branches: the compiler vectorises the loop, and every
 *     instruction set with FMA gives the same bits. float32 has bits to spare there, and takes a shorter polynomial, and
 *     products with inverses for quotients. The derivative of tanh comes from exp(-2 |x|), since 1 - tanh**2 has no
 *     digits left where tanh is near 1.
 *   - An infinite logit stays what it is: -inf is a class without probability, +inf a row without a softmax.
 *   - z_loss and a gradient from above for lse add a multiple of p, which costs a second pass of exponentials.
 */
#ifndef FASTSOFTMAX_LOGIT_OPTIONS_H
#define FASTSOFTMAX_LOGIT_OPTIONS_H

#include "kernels/cross_entropy.h"
#include "kernels/row_metrics.h"

struct tanh_and_slope {
    double tanh, slope; /* its derivative, 1 - tanh**2 */
};

/* Return tanh(x) and its derivative: with m = -expm1(-2 |x|), which keeps its digits near 0, and e = 1 - m they are
 * t = m / (2 - m) and 1 - t**2 or, where that cancels, (2 e / (2 - m)) * (1 + t). In float64 the errors are below 0.9 and
 * 4 ulp (2 below |x| = 0.8), for which m and 2 - m are kept in two parts; float32, to which the results are rounded, has
 * bits to spare: they are below 2**-30. */
ALWAYS_INLINE struct tanh_and_slope tanh_and_slope(double x) {
    /* 1 / k! from k = 13 down to 2: the remainder is below 1e-17 of r for |r| <= ln 2 / 2. float32 begins at k = 9:
     * 2e-11. */
    static const double coefficients[] = {
        1.0 / 6227020800, 1.0 / 479001600, 1.0 / 39916800, 1.0 / 3628800, 1.0 / 362880, 1.0 / 40320,
        1.0 / 5040,       1.0 / 720,       1.0 / 120,      1.0 / 24,      1.0 / 6,      1.0 / 2};
    enum {
        N_COEFFICIENTS = sizeof coefficients / sizeof coefficients[0],
        FIRST = sizeof(real) < sizeof(double) ? 4 : 0
    };
    const double magic = 0x1.8p52, log2_e = 0x1.71547652b82fep0;
    const double ln2_high = 0x1.62e42fefa3p-1, ln2_low = 0x1.3de6af278ece6p-42;
    double y = -2 * fabs(x);
    y = y > -700 ? y : -700; /* from there on the slope is what it is at -700, and tanh is 1 */
    double shifted = y * log2_e + magic, n = shifted - magic, rest = coefficients[FIRST], power;
    double high = y - n * ln2_high, r = high - n * ln2_low;
    UNROLL for (int i = FIRST + 1; i < N_COEFFICIENTS; ++i) {
        rest = multiply_add(rest, r, coefficients[i]);
    }
    uint64_t word;
    memcpy(&word, &shifted, sizeof word);
    word = (word + 1023) << 52; /* n is in the low bits */
    memcpy(&power, &word, sizeof power);
    if (sizeof(real) < sizeof(double)) {
        double expm1_of_r = r + r * r * rest, e = power + power * expm1_of_r;
        double inverse = 1 / (1 + e), m = (1 - power) - power * expm1_of_r;
        return (struct tanh_and_slope){copysign(m * inverse, x), 4 * e * (inverse * inverse)};
    }
    /* expm1(r) = r + tail, and what r lost */
    double tail = multiply_add(r * r, rest, (high - r) - n * ln2_low);
    double of_power = 1 - power, first = power * r, sum = of_power - first;
    double low = ((of_power - sum) - first) - power * tail, m = sum + low, m_low = (sum - m) + low;
    double d = 2 - m, d_low = ((2 - d) - m) - m_low, quotient = m / d;
    quotient += (exact_remainder(m, quotient, d) + (m_low - quotient * d_low)) / d;
    double e = power + power * (r + tail);
    double near = multiply_add(-quotient, quotient, 1), far = (2 * e / d) * (1 + quotient);
    return (struct tanh_and_slope){copysign(quotient, x), quotient < 0.7 ? near : far};
}

/* Return x / divisor; float32, to which the quotient is rounded, takes the product with `inverse`. */
ALWAYS_INLINE double quotient_of(double x, double divisor, double inverse) {
    return sizeof(real) < sizeof(double) ? x * inverse : x / divisor;
}

/* Return 1 / x for quotient_of: finite, which leaves 0 / x at 0. */
ALWAYS_INLINE double finite_inverse(double x) {
    double inverse = 1 / x;
    return inverse < 0x1p1023 ? inverse : 0x1p1023;
}

/* Compute q of n logits, and unless slopes is NULL dq/dz, times the temperature. q may be z. A constant NULL makes a
 * copy of the loop. */
ALWAYS_INLINE void transform_row_with(const real *z, size_t n, const struct logit_options *options,
                                      real *q, real *slopes) {
    double temperature = options->temperature, softcap = options->softcap;
    double inverse = finite_inverse(temperature), inverse_cap = finite_inverse(softcap);
    for (size_t k = 0; k < n; ++k) {
        real logit = z[k];
        double scaled = quotient_of((double)logit, temperature, inverse);
        struct tanh_and_slope capped = tanh_and_slope(quotient_of(scaled, softcap, inverse_cap));
        real cap = (real)(softcap * capped.tanh);
        q[k] = fabs((double)logit) < (double)INFINITY ? cap : logit;
        if (slopes) slopes[k] = (real)capped.slope;
    }
}

static void transform_row(const real *z, size_t n, const struct logit_options *options, real *q,
                          real *slopes) {
    double temperature = options->temperature;
    double inverse = finite_inverse(temperature);
    if (options->softcap == 0) {
        for (size_t k = 0; k < n; ++k) q[k] = (real)quotient_of((double)z[k], temperature, inverse);
    } else if (slopes) {
        transform_row_with(z, n, options, q, slopes);
    } else {
        transform_row_with(z, n, options, q, NULL);
    }
}

/* Make the logits of masked classes -inf. */
static void fill_masked(real *q, size_t n, const uint8_t *mask) {
    for (size_t k = 0; k < n; ++k) q[k] = mask[k] ? q[k] : MINUS_INFINITY;
}

/* Remove the elements without a mask; return how many remain. */
static size_t remove_masked(real *row, size_t n, const uint8_t *mask) {
    size_t left = 0;
    for (size_t k = 0; k < n; ++k) {
        row[left] = row[k];
        left += mask[k] != 0;
    }
    return left;
}

/* The inverse of remove_masked: the last of the elements come first, so that none is overwritten. */
static void insert_zeros(real *row, size_t n, size_t left, const uint8_t *mask) {
    for (size_t k = n; k-- > 0;) row[k] = mask[k] ? row[--left] : 0;
}

/* What a group of rows is computed in: `size` elements each, in options->scratch. */
struct option_rows {
    real *slopes, *p, *t, *classes;
    double masses[LANES], lse[LANES];
    int counts[LANES];
    struct row_metrics metrics;
};

/* Fill what z_loss, lse and metrics need of row i of a group, out of its q; its terms in e unless that is NULL, and with
 * `has_p` the probabilities. */
static void fill_lse(const real *q, size_t n, const struct targets_view *targets, size_t i,
                     struct option_rows *rows, real *e, int has_p) {
    const struct target_weights *weights = targets->weights;
    double row_weight = weights && weights->rows ? weights->rows[i] : 1;
    double smoothing = weights ? weights->smoothing : 0, mass = 0;
    const int64_t *labels = targets->labels;
    struct row_targets u = {labels ? NULL : (const real *)targets->probabilities + i * n,
                            labels ? (size_t)labels[i] : NO_LABEL,
                            weights ? weights->classes : NULL, row_weight * (1 - smoothing),
                            row_weight * smoothing / (double)n};
    if (labels && smoothing == 0) {
        mass = u.label < n ? soft_target(&u, u.label) : 0;
    } else {
        for (size_t k = 0; k < n; ++k) mass += soft_target(&u, k);
    }
    rows->masses[i] = mass;
    rows->counts[i] = mass != 0;
    rows->lse[i] = 0;
    if (!rows->counts[i]) {
        clear_metrics(&rows->metrics, i);
        return;
    }
    struct row_shift row;
    double error, total = online_exponentials(q, n, &row, NO_LABEL, e, &error);
    rows->lse[i] = log_loss((double)row.largest, 0, total, error, 0, row_term(row.largest, &row));
    if (isnan(total)) rows->lse[i] = total;
    if (e) fill_log_metrics(&rows->metrics, i, q, n, u.label, &row, e);
    if (has_p) scale_row(e, n, quotient(1, 0, total, error));
}

/* Add what z_loss and the gradient from above for lse make of the gradient of a row, `extra` times p, or nothing where p
 * is NULL; with a softcap, take it from q to z. */
static void chain_rule(real *dz, size_t n, const struct logit_options *options, const real *slopes,
                       const real *p, double extra) {
    if (options->softcap == 0) {
        for (size_t k = 0; p && k < n; ++k) dz[k] = (real)((double)dz[k] + extra * (double)p[k]);
        return;
    }
    double temperature = options->temperature, inverse = finite_inverse(temperature);
    for (size_t k = 0; k < n; ++k) {
        double g = (double)dz[k];
        if (p) g += extra * (double)p[k];
        dz[k] = (real)quotient_of(g * (double)slopes[k], temperature, inverse);
    }
}

/* Return the label among the classes that remain, or -1 where it is none of them. */
static int64_t label_among(size_t label, size_t n_classes, const uint8_t *mask) {
    if (label >= n_classes || !mask[label]) return -1;
    int64_t before = 0;
    for (size_t k = 0; k < label; ++k) before += mask[k] != 0;
    return before;
}

/* Whether masked classes are removed: with a label and no smoothing, no other class has a target. */
static int removes_masked(const struct targets_view *targets, const struct logit_options *options) {
    const struct target_weights *weights = targets->weights;
    return options->mask && !(targets->labels && !(weights && weights->smoothing != 0));
}

/* The group of rows from `first` on: at most LANES, one if masked classes are removed. */
static ptrdiff_t rows_with_options(const real *logits, size_t stride, size_t n_rows,
                                   const struct targets_view *targets,
                                   const struct logit_options *options, size_t first,
                                   double *losses, real *dlogits, size_t dlogits_stride) {
    size_t n_classes = targets->n_classes, n = n_classes, width = options->scratch_width;
    struct option_rows rows = {.slopes = options->scratch,
                               .metrics = metrics_from(&options->metrics, first)};
    rows.p = rows.slopes + width;
    rows.t = rows.p + width;
    rows.classes = rows.t + width;
    const uint8_t *mask = options->mask ? options->mask + first * options->mask_stride : NULL;
    int has_slopes = dlogits && options->softcap != 0, removes = removes_masked(targets, options);
    int has_ranks = rows.metrics.argmax || rows.metrics.top_k_correct;
    int has_log_metrics = rows.metrics.label_log_prob || rows.metrics.entropy;
    for (size_t i = 0; has_ranks && i < n_rows; ++i) { /* q may take the place of the logits */
        size_t label = targets->labels ? (size_t)targets->labels[first + i] : NO_LABEL;
        fill_ranks(&rows.metrics, i, logits + i * stride, n_classes,
                   mask ? mask + i * options->mask_stride : NULL, label);
    }
    const real *q = logits;
    size_t q_stride = stride;
    if (mask || options->softcap != 0 || options->temperature != 1) {
        real *out = dlogits ? dlogits : rows.slopes; /* without a gradient there are no slopes */
        q_stride = dlogits ? dlogits_stride : n_classes;
        for (size_t i = 0; i < n_rows; ++i) {
            transform_row(logits + i * stride, n_classes, options, out + i * q_stride,
                          has_slopes ? rows.slopes + i * n_classes : NULL);
            if (!mask) continue;
            if (removes) {
                n = remove_masked(out, n_classes, mask);
                if (has_slopes) remove_masked(rows.slopes, n_classes, mask);
            } else {
                fill_masked(out + i * q_stride, n_classes, mask + i * options->mask_stride);
            }
        }
        q = out;
    }
    struct targets_view view = *targets;
    struct target_weights weights = {.rows = NULL};
    int64_t labels[LANES];
    if (view.labels) {
        view.labels += first;
    } else {
        view.probabilities = (const real *)view.probabilities + first * n_classes;
    }
    if (view.weights) {
        weights = *view.weights;
        if (weights.rows) weights.rows += first;
        if (weights.upstream) weights.upstream += first;
        view.weights = &weights;
    }
    if (removes) {
        if (view.labels) {
            labels[0] = label_among((size_t)view.labels[0], n_classes, mask);
            view.labels = labels;
        } else {
            memcpy(rows.t, view.probabilities, n_classes * sizeof(real));
            remove_masked(rows.t, n_classes, mask);
            view.probabilities = rows.t;
        }
        if (view.weights && weights.classes) {
            memcpy(rows.classes, weights.classes, n_classes * sizeof(real));
            remove_masked(rows.classes, n_classes, mask);
            weights.classes = rows.classes;
        }
        view.n_classes = n;
        if (n == 0) {
            int counts = !(view.weights && weights.rows && weights.rows[0] == 0);
            zero_row(n_classes, losses, dlogits);
            if (options->lse) options->lse[first] = 0;
            clear_metrics(&rows.metrics, 0);
            if (counts) losses[0] = (double)NAN;
            return counts ? 0 : -1;
        }
    } else if (mask) {
        for (size_t i = 0; i < n_rows; ++i) {
            size_t label = (size_t)view.labels[i];
            int takes_part = label < n_classes && mask[i * options->mask_stride + label];
            labels[i] = takes_part ? (int64_t)label : -1;
        }
        view.labels = labels;
    }
    int has_p = dlogits && (options->z_loss != 0 || options->lse_upstream);
    int has_e = has_p || has_log_metrics;
    int has_lse = options->lse || options->z_loss != 0 || has_e || has_ranks;
    for (size_t i = 0; has_lse && i < n_rows; ++i) {
        real *e = has_e ? rows.p + i * n_classes : NULL;
        fill_lse(q + i * q_stride, n, &view, i, &rows, e, has_p);
    }
    double divisor = options->softcap != 0 ? 1 : options->temperature;
    ptrdiff_t invalid = cross_entropy(q, q_stride, n_rows, &view, options->scale / divisor, losses,
                                      dlogits, dlogits_stride);
    for (size_t i = 0; i < n_rows; ++i) {
        double lse = has_lse ? rows.lse[i] : 0, z_loss = options->z_loss * lse, extra = 0;
        if (has_lse && rows.counts[i]) {
            double scale = options->scale;
            if (view.weights && weights.upstream) scale *= weights.upstream[i];
            if (z_loss != 0) losses[i] += rows.masses[i] * (z_loss * lse);
            if (z_loss != 0) extra = 2 * z_loss * rows.masses[i] * scale;
            if (options->lse_upstream) extra += options->lse_upstream[first + i];
        }
        if (options->lse) options->lse[first + i] = lse;
        if (!dlogits) continue;
        real *dz = dlogits + i * dlogits_stride;
        int adds = has_p && rows.counts[i];
        chain_rule(dz, n, options, rows.slopes + i * n_classes,
                   adds ? rows.p + i * n_classes : NULL, extra / divisor);
        if (removes) insert_zeros(dz, n_classes, n, mask);
    }
    return invalid;
}

/* Kernel: cross_entropy with options on the logits. */
static inline ptrdiff_t cross_entropy_with_options(const void *logits, size_t stride, size_t n_rows,
                                                   const struct targets_view *targets,
                                                   const struct logit_options *options,
                                                   double *losses, void *dlogits,
                                                   size_t dlogits_stride) {
    /* Rows of few classes go through cross_entropy in groups. */
    int grouped = !removes_masked(targets, options) && targets->n_classes <= MAX_TRANSPOSED_CLASSES;
    size_t most = grouped ? LANES : 1;
    ptrdiff_t invalid = -1;
    for (size_t i = 0; i < n_rows; i += most) {
        size_t n = n_rows - i < most ? n_rows - i : most;
        ptrdiff_t found = rows_with_options(
            (const real *)logits + i * stride, stride, n, targets, options, i, losses + i,
            dlogits ? (real *)dlogits + i * dlogits_stride : NULL, dlogits_stride);
        if (found >= 0 && invalid < 0) invalid = (ptrdiff_t)i + found;
    }
    return invalid;
}

#endif
