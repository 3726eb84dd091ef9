/* Cross-entropy loss of rows of logits, and its gradient: the formula of the loss.
 *
 *   loss = sum over k of t_k * (lse - z_k),   dz = scale * (sum(t) * p - t),   with lse, p as in softmax.h
 *
 * Decisions:
 *   - With a label y, the sum of exponentials leaves out e_y: others = sum of e_k for k != y. Where y has the
 *     largest logit the loss is log(1 + others / e_y), and the gradient of the label -others / total: no
 *     cancellation where the label dominates.
 *   - With other targets t, the largest logit z_m takes the place of the label, since p can round to 1 nowhere
 *     else: others leaves out e_m, rest = sum of t_k for k != m, and where e_m > others,
 *     dz_m = scale * (rest - sum(t) * others / total).
 *   - LANES rows share the logarithm of the loss, which is a long chain of operations.
 *   - Weights of rows and classes and label smoothing turn the targets t into u (struct target_weights). u is
 *     computed where it is used, once for the loss and once for the gradient: a matrix of it would be as large
 *     as the logits.
 *   - A row whose targets all have weight 0 is not read: its loss and gradient are 0, even if it contains NaN.
 */
#ifndef FASTSOFTMAX_CROSS_ENTROPY_H
#define FASTSOFTMAX_CROSS_ENTROPY_H

#include "kernels/softmax_transposed.h"
#include "kernels/softmax.h"

/* Fill lane i with what the loss of a row with a label needs; write the gradient to dz unless that is
 * NULL. */
static inline void label_row(const real *z, size_t n, size_t label, double scale,
                             struct label_terms *lanes, size_t i, real *dz) {
    struct row_shift row;
    real score = z[label]; /* dz may be z */
    double others = online_exponentials(z, n, &row, label, dz, lanes->error + i);
    lanes->largest_term[i] = (real)row_term(row.largest, &row);
    lanes->maximum[i] = row.largest;
    lanes->score[i] = score;
    lanes->others[i] = others;
    lanes->label_term[i] = dz ? dz[label] : (real)row_term(score, &row);
    if (!dz) return;
    double label_term = (double)lanes->label_term[i];
    double rescaling = rescaling_power(scale, others + label_term);
    struct label_gradient g = make_label_gradient(others * rescaling, lanes->error[i] * rescaling,
                                                  label_term * rescaling, scale);
    rescale_terms(dz, n, rescaling);
    scale_row(dz, n, g.factor);
    dz[label] = g.label_value;
}

/* Compute losses and gradients of n_rows <= LANES rows with labels; return how many of the losses are NaN. */
static int label_rows(const real *logits, size_t stride, size_t n_rows, size_t n_classes,
                      const int64_t *labels, const double *scales, double *losses, real *dlogits,
                      size_t dlogits_stride) {
    struct label_terms lanes = {.maximum = {0}};
    for (size_t i = 0; i < n_rows; ++i) {
        /* A label that has changed since it was validated leaves zeros, and its loss is 0 / 0. */
        if ((size_t)labels[i] >= n_classes) continue;
        label_row(logits + i * stride, n_classes, (size_t)labels[i], scales[i], &lanes, i,
                  dlogits ? dlogits + i * dlogits_stride : NULL);
    }
    double row_losses[LANES];
    lane_losses(&lanes, row_losses);
    int n_invalid = 0;
    for (size_t i = 0; i < n_rows; ++i) {
        losses[i] = row_losses[i];
        n_invalid += isnan(losses[i]) != 0;
    }
    return n_invalid;
}

/* The targets of one row: u_k = v_k * (target_weight * t_k + class_share). v = NULL stands for ones; t is
 * a row of probabilities or, where it is NULL, the one-hot row of the label. */
struct row_targets {
    const real *t;
    size_t label;
    const real *classes;
    double target_weight, class_share;
};

/* Return u_k. */
ALWAYS_INLINE double soft_target(const struct row_targets *u, size_t k) {
    double t = u->t ? (double)u->t[k] : (double)(k == u->label);
    return (u->classes ? (double)u->classes[k] : 1) * (u->target_weight * t + u->class_share);
}

/* Return the index of the first element equal to m, the maximum of the row; 0 in a row with a NaN that
 * hides it. */
static inline size_t find_first(const real *z, size_t n, real m) {
    vec largest = broadcast(m), zero = broadcast(0), one = broadcast(1);
    for (size_t k = 0; k < n; k += LANES) {
        vec here = load_up_to(z + k, n - k, (real)NAN);
        if (!any_less(select_equal(here, largest, zero, one), one)) continue;
        for (size_t i = k; i < n && i < k + LANES; ++i) {
            if (z[i] == m) return i;
        }
    }
    return 0;
}

/* Return u * (m - z), which is 0 where u is, even if the difference is infinite. It is in double from the
 * difference on, which may overflow in float32; float64 has no bits to spare, so the rounding error is
 * added to *error. */
ALWAYS_INLINE double weighted_gap(double u, double m, double z, double *error) {
    if (sizeof(real) < sizeof(double)) return u > 0 ? u * (m - z) : 0;
    double below_error, below = two_sum(m, -z, &below_error), gap = u * below;
    *error += u > 0 ? u * below_error - exact_remainder(gap, u, below) : 0;
    return u > 0 ? gap : 0;
}

/* Return sum(u * (m - z)), to which *error adds what rounding has lost; *rest = sum(u) without the element
 * at `place`. */
ALWAYS_INLINE double expected_gap(const real *z, size_t n, real m, size_t place,
                                  const struct row_targets *u, double *error, double *rest) {
    double gaps[PARTIAL_SUMS] = {0}, errors[PARTIAL_SUMS] = {0}, masses[PARTIAL_SUMS] = {0},
           mass_errors[PARTIAL_SUMS] = {0}, sum_error;
    for (size_t first = 0; first < n; first += PARTIAL_SUMS) {
        size_t end = n - first < PARTIAL_SUMS ? n - first : PARTIAL_SUMS;
        for (size_t i = 0; i < end; ++i) {
            double target = soft_target(u, first + i);
            double gap = weighted_gap(target, (double)m, (double)z[first + i], errors + i);
            double other = first + i == place ? 0 : target;
            if (sizeof(real) < sizeof(double)) {
                gaps[i] += gap;
                masses[i] += other;
            } else {
                gaps[i] = two_sum(gaps[i], gap, &sum_error);
                errors[i] += sum_error;
                /* Shares of label smoothing are equal, and so would be their rounding errors. */
                masses[i] = two_sum(masses[i], other, &sum_error);
                mass_errors[i] += sum_error;
            }
        }
    }
    *rest = fold_partial_sums(masses) + fold_partial_sums(mass_errors);
    *error = fold_partial_sums(errors);
    if (sizeof(real) < sizeof(double)) return fold_partial_sums(gaps);
    double gap = 0;
    for (size_t i = 0; i < PARTIAL_SUMS; ++i) {
        gap = two_sum(gap, gaps[i], &sum_error);
        *error += sum_error;
    }
    return gap;
}

/* Compute dz_k = factor * e_k - scale * u_k, but for the label. The two largest terms come first: what
 * remains where they cancel is exact. */
ALWAYS_INLINE void soft_gradient(const struct row_targets *u, size_t n, double scale,
                                 struct split_real factor, real *dz) {
    vec high = broadcast(factor.high), low = broadcast(factor.low);
    vec target_weight = broadcast((real)(-scale * u->target_weight));
    vec class_share = broadcast((real)(-scale * u->class_share));
    for (size_t k = 0; k < n; k += LANES) {
        vec target = class_share;
        if (u->t) target = fmadd(target_weight, load_up_to(u->t + k, n - k, 0), class_share);
        if (u->classes) target = mul(target, load_up_to(u->classes + k, n - k, 0));
        vec term = load_up_to(dz + k, n - k, 0);
        store_up_to(dz + k, fmadd(term, low, fmadd(term, high, target)), n - k);
    }
}

/* Compute the loss and the gradient of one row with soft targets; return total. Where that is NaN, so is
 * the loss. */
ALWAYS_INLINE double soft_row(const real *z, size_t n, const struct row_targets *u, double scale,
                              double *loss, real *dz) {
    struct row_shift row = find_row_shift(z, n);
    size_t place = find_first(z, n, row.largest), label = u->t ? place : u->label;
    double rest, gap_error, gap = expected_gap(z, n, row.largest, place, u, &gap_error, &rest);
    double mass = rest + soft_target(u, place);
    double error, others = row_exponentials(z, n, &row, place, dz, &error); /* dz may be z */
    double term = dz ? (double)dz[place] : row_term(row.largest, &row);
    double total_error, total = two_sum(others, term, &total_error);
    double loss_error;
    *loss = two_sum(gap, mass * log_loss(0, 0, others, error, term, term), &loss_error);
    if (*loss < (double)INFINITY) *loss += loss_error + gap_error;
    if (isnan(total)) *loss = total;
    if (!dz) return total;
    double label_term = (double)dz[label], rescaling = rescaling_power(scale * mass, total);
    struct split_real factor = quotient(scale * mass, 0, total * rescaling,
                                        (total_error + error) * rescaling);
    rescale_terms(dz, n, rescaling);
    soft_gradient(u, n, scale, factor, dz);
    int dominates = term > others; /* else p is at most 1/2, and rest may be much larger than dz */
    if (label != place || !dominates) {
        dz[label] = (real)(scale * (mass * (label_term / total) - soft_target(u, label)));
    }
    if (dominates) dz[place] = (real)(scale * (rest - mass * (others / total)));
    return total;
}

/* Return the index of the first NaN, or -1. */
static ptrdiff_t first_nan(const double *values, size_t n) {
    for (size_t i = 0; i < n; ++i) {
        if (isnan(values[i])) return (ptrdiff_t)i;
    }
    return -1;
}

/* Set the loss and the gradient of a row of weight 0. */
static void zero_row(size_t n, double *loss, real *dz) {
    *loss = 0;
    for (size_t k = 0; dz && k < n; ++k) dz[k] = 0;
}

/* Compute the loss and the gradient of one row of probabilities, or of a label with smoothing; return
 * whether it has a softmax or has weight 0. */
static inline int weighted_cross_entropy(const real *z, size_t n, size_t label, const real *t,
                                         const struct target_weights *weights, size_t i,
                                         double scale, double *loss, real *dz) {
    double row_weight = weights->rows ? weights->rows[i] : 1, smoothing = weights->smoothing;
    struct row_targets u = {t, label, weights->classes, row_weight * (1 - smoothing),
                            row_weight * smoothing / (double)n};
    if (!t && label >= n) { /* changed since it was validated */
        *loss = (double)NAN;
        return 0;
    }
    if (weights->upstream) scale *= weights->upstream[i];
    if (row_weight != 0) {
        if (!isnan(soft_row(z, n, &u, scale, loss, dz))) return 1;
        for (size_t k = 0; k < n; ++k) {
            if (soft_target(&u, k) > 0) return 0;
        }
    }
    zero_row(n, loss, dz);
    return 1;
}

/* Compute losses and gradients of up to LANES rows with labels, multiplied by the weights of row and
 * class; return how many of the losses are NaN. */
static int weighted_labels(const real *logits, size_t stride, size_t n_rows, size_t n_classes,
                           const int64_t *labels, const struct target_weights *weights,
                           size_t first, double scale, double *losses, real *dlogits,
                           size_t dlogits_stride) {
    double scales[LANES], row_weights[LANES];
    for (size_t i = 0; i < LANES; ++i) scales[i] = scale;
    for (size_t i = 0; weights && i < n_rows; ++i) {
        const real *classes = weights->classes;
        size_t label = (size_t)labels[i];
        row_weights[i] = weights->rows ? weights->rows[first + i] : 1;
        if (classes && label < n_classes) row_weights[i] *= (double)classes[label];
        scales[i] = scale * row_weights[i];
        if (weights->upstream) scales[i] *= weights->upstream[first + i];
    }
    /* With few classes the rows are transposed. */
    int n_invalid = (n_classes <= MAX_TRANSPOSED_CLASSES ? label_rows_transposed : label_rows)(
        logits, stride, n_rows, n_classes, labels, scales, losses, dlogits, dlogits_stride);
    if (!weights) return n_invalid;
    n_invalid = 0;
    for (size_t i = 0; i < n_rows; ++i) {
        losses[i] *= row_weights[i];
        if (row_weights[i] == 0) {
            zero_row(n_classes, losses + i, dlogits ? dlogits + i * dlogits_stride : NULL);
        }
        n_invalid += isnan(losses[i]) != 0;
    }
    return n_invalid;
}

/* Kernel: losses of rows, and their gradients. */
static inline ptrdiff_t cross_entropy(const void *logits, size_t stride, size_t n_rows,
                                      const struct targets_view *targets, double scale,
                                      double *losses, void *dlogits, size_t dlogits_stride) {
    const int64_t *labels = targets->labels;
    const real *probabilities = targets->probabilities;
    const struct target_weights *weights = targets->weights;
    size_t n_classes = targets->n_classes;
    if (labels && !(weights && weights->smoothing != 0)) {
        int n_invalid = 0;
        for (size_t i = 0; i < n_rows; i += LANES) {
            size_t n = n_rows - i < LANES ? n_rows - i : LANES;
            n_invalid |= weighted_labels((const real *)logits + i * stride, stride, n, n_classes,
                                         labels + i, weights, i, scale, losses + i,
                                         dlogits ? (real *)dlogits + i * dlogits_stride : NULL,
                                         dlogits_stride);
        }
        return n_invalid ? first_nan(losses, n_rows) : -1;
    }
    ptrdiff_t invalid = -1;
    for (size_t i = 0; i < n_rows; ++i) {
        const real *z = (const real *)logits + i * stride;
        const real *t = labels ? NULL : probabilities + i * n_classes;
        real *dz = dlogits ? (real *)dlogits + i * dlogits_stride : NULL;
        int valid;
        if (weights) {
            size_t label = labels ? (size_t)labels[i] : NO_LABEL;
            valid = weighted_cross_entropy(z, n_classes, label, t, weights, i, scale, losses + i,
                                           dz);
        } else {
            struct row_targets u = {t, NO_LABEL, NULL, 1, 0};
            valid = !isnan(soft_row(z, n_classes, &u, scale, losses + i, dz));
        }
        if (!valid && invalid < 0) invalid = (ptrdiff_t)i;
    }
    return invalid;
}

#endif
