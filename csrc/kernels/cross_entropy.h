/* Cross-entropy of rows of logits and its gradient.
 *
 *   loss = sum over k of t_k * (lse - z_k),  dz = scale * (sum(t) * p - t)       as in softmax.h
 *
 * Decisions:
 *   - With a label y, the sum of exponentials leaves e_y out: others = sum of e_k for k != y. Where y has the
 *     largest logit the loss is log(1 + others / e_y), and the label's gradient -others / total: no cancellation
 *     where the label dominates.
 *   - With other targets t, the largest logit z_m takes the place of the label, as p can round to 1 nowhere
 *     else: others leaves out e_m, rest = sum of t_k for k != m, and where e_m > others,
 *     dz_m = scale * (rest - sum(t) * others / total).
 *   - The losses of LANES rows are taken at once: a logarithm is a long chain of operations.
 *   - Weights of rows and classes and label smoothing make other targets u of t (struct target_weights). They
 *     are made where they are used, once for the loss and once for the gradient: a matrix of them would be
 *     as large as the logits.
 *   - A row whose targets all count nothing is not looked at: its loss and gradient are 0, also where it holds a NaN.
 */
#ifndef FASTSOFTMAX_CROSS_ENTROPY_H
#define FASTSOFTMAX_CROSS_ENTROPY_H

#include "kernels/softmax_transposed.h"
#include "kernels/softmax.h"

/* One row with a label: fills lane i, and dz unless that is NULL. */
static inline void label_row(const real *z, size_t n, size_t label, double scale,
                             struct lanes *lanes, size_t i, real *dz) {
    struct row row;
    real score = z[label]; /* dz may be z */
    double others = exponentials_of_row(z, n, &row, label, dz, lanes->lost + i);
    lanes->largest_term[i] = (real)term_of(row.largest, &row);
    lanes->maximum[i] = row.largest;
    lanes->score[i] = score;
    lanes->others[i] = others;
    lanes->label_term[i] = dz ? dz[label] : (real)term_of(score, &row);
    if (!dz) return;
    double label_term = (double)lanes->label_term[i];
    double reduction = reduction_of(scale, others + label_term);
    struct label_gradient g = label_gradient_of(others * reduction, lanes->lost[i] * reduction,
                                                label_term * reduction, scale);
    reduce_terms(dz, n, reduction);
    scale_row(dz, n, g.factor);
    dz[label] = g.of_label;
}

/* n_rows <= LANES of them; returns how many of the losses are NaN. */
static int label_rows(const real *logits, size_t stride, size_t n_rows, size_t n_classes,
                      const int64_t *labels, const double *scales, double *losses, real *dlogits,
                      size_t dlogits_stride) {
    struct lanes lanes = {.maximum = {0}};
    for (size_t i = 0; i < n_rows; ++i) {
        /* A label that has changed since it was checked leaves zeros, and 0 / 0. */
        if ((size_t)labels[i] >= n_classes) continue;
        label_row(logits + i * stride, n_classes, (size_t)labels[i], scales[i], &lanes, i,
                  dlogits ? dlogits + i * dlogits_stride : NULL);
    }
    double loss_of_row[LANES];
    losses_of_lanes(&lanes, loss_of_row);
    int n_invalid = 0;
    for (size_t i = 0; i < n_rows; ++i) {
        losses[i] = loss_of_row[i];
        n_invalid += isnan(losses[i]) != 0;
    }
    return n_invalid;
}

/* Sums in double of float32 too: one for every eighth element, then folded. */
enum { SUMS = 8 };

static inline double fold_sums(const double *sums) {
    return ((sums[0] + sums[4]) + (sums[2] + sums[6])) +
           ((sums[1] + sums[5]) + (sums[3] + sums[7]));
}

/* The targets of one row: u_k = v_k * (of_target * t_k + of_every_class), with v = NULL for ones, and t a row of
 * probabilities or, where that is NULL, the one-hot row of the label. */
struct row_targets {
    const real *t;
    size_t label;
    const real *classes;
    double of_target, of_every_class;
};

ALWAYS_INLINE double target_of(const struct row_targets *u, size_t k) {
    double t = u->t ? (double)u->t[k] : (double)(k == u->label);
    return (u->classes ? (double)u->classes[k] : 1) * (u->of_target * t + u->of_every_class);
}

/* The index of the first element that is m, the maximum of the row; 0 in a row with a NaN that hides it. */
static inline size_t place_of(const real *z, size_t n, real m) {
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

/* u * (m - z), 0 where u is, also of an infinite difference. In double from the difference on, which float32
 * may not hold; float64 has no bits to spare, so what rounding loses is added to *lost. */
ALWAYS_INLINE double gap_of(double u, double m, double z, double *lost) {
    if (sizeof(real) < sizeof(double)) return u > 0 ? u * (m - z) : 0;
    double of_below, below = sum_of(m, -z, &of_below), gap = u * below;
    *lost += u > 0 ? u * of_below - exact_remainder(gap, u, below) : 0;
    return u > 0 ? gap : 0;
}

/* Returns sum(u * (m - z)), which is the result plus *lost; rest = sum(u) but for the element at `place`. */
ALWAYS_INLINE double expected_gap(const real *z, size_t n, real m, size_t place,
                                  const struct row_targets *u, double *lost, double *rest) {
    double gaps[SUMS] = {0}, losts[SUMS] = {0}, masses[SUMS] = {0}, of_masses[SUMS] = {0}, of_sum;
    for (size_t first = 0; first < n; first += SUMS) {
        size_t end = n - first < SUMS ? n - first : SUMS;
        for (size_t i = 0; i < end; ++i) {
            double target = target_of(u, first + i);
            double gap = gap_of(target, (double)m, (double)z[first + i], losts + i);
            double other = first + i == place ? 0 : target;
            if (sizeof(real) < sizeof(double)) {
                gaps[i] += gap;
                masses[i] += other;
            } else {
                gaps[i] = sum_of(gaps[i], gap, &of_sum);
                losts[i] += of_sum;
                /* Shares of smoothing are alike, and so would be their roundings. */
                masses[i] = sum_of(masses[i], other, &of_sum);
                of_masses[i] += of_sum;
            }
        }
    }
    *rest = fold_sums(masses) + fold_sums(of_masses);
    *lost = fold_sums(losts);
    if (sizeof(real) < sizeof(double)) return fold_sums(gaps);
    double gap = 0;
    for (size_t i = 0; i < SUMS; ++i) {
        gap = sum_of(gap, gaps[i], &of_sum);
        *lost += of_sum;
    }
    return gap;
}

/* dz_k = factor * e_k - scale * u_k, of a label without its own share. The two largest parts come first: what
 * remains of them where they cancel is exact. */
ALWAYS_INLINE void soft_gradient(const struct row_targets *u, size_t n, double scale,
                                 struct factor factor, real *dz) {
    vec high = broadcast(factor.high), low = broadcast(factor.low);
    vec of_target = broadcast((real)(-scale * u->of_target));
    vec of_every_class = broadcast((real)(-scale * u->of_every_class));
    for (size_t k = 0; k < n; k += LANES) {
        vec target = of_every_class;
        if (u->t) target = fmadd(of_target, load_up_to(u->t + k, n - k, 0), of_every_class);
        if (u->classes) target = mul(target, load_up_to(u->classes + k, n - k, 0));
        vec term = load_up_to(dz + k, n - k, 0);
        store_up_to(dz + k, fmadd(term, low, fmadd(term, high, target)), n - k);
    }
}

/* One row of targets that are not just a label. Returns total; where that is NaN, so is the loss. */
ALWAYS_INLINE double soft_row(const real *z, size_t n, const struct row_targets *u, double scale,
                              double *loss, real *dz) {
    struct row row = row_of(z, n);
    size_t place = place_of(z, n, row.largest), label = u->t ? place : u->label;
    double rest, of_gap, gap = expected_gap(z, n, row.largest, place, u, &of_gap, &rest);
    double mass = rest + target_of(u, place);
    double lost, others = exponentials(z, n, &row, place, dz, &lost); /* dz may be z */
    double term = dz ? (double)dz[place] : term_of(row.largest, &row);
    double of_total, total = sum_of(others, term, &of_total);
    double of_loss;
    *loss = sum_of(gap, mass * loss_of(0, 0, others, lost, term, term), &of_loss);
    if (*loss < (double)INFINITY) *loss += of_loss + of_gap;
    if (isnan(total)) *loss = total;
    if (!dz) return total;
    double label_term = (double)dz[label], reduction = reduction_of(scale * mass, total);
    struct factor factor = quotient_of(scale * mass, 0, total * reduction,
                                       (of_total + lost) * reduction);
    reduce_terms(dz, n, reduction);
    soft_gradient(u, n, scale, factor, dz);
    int dominates = term > others; /* else p is at most 1 / 2, and rest may be far larger than dz */
    if (label != place || !dominates) {
        dz[label] = (real)(scale * (mass * (label_term / total) - target_of(u, label)));
    }
    if (dominates) dz[place] = (real)(scale * (rest - mass * (others / total)));
    return total;
}

static ptrdiff_t first_nan(const double *values, size_t n) {
    for (size_t i = 0; i < n; ++i) {
        if (isnan(values[i])) return (ptrdiff_t)i;
    }
    return -1;
}

static void nothing_of(size_t n, double *loss, real *dz) {
    *loss = 0;
    for (size_t k = 0; dz && k < n; ++k) dz[k] = 0;
}

/* One row of probabilities, or of a label with smoothing; returns whether it has a softmax or is not looked at. */
static inline int weighted_cross_entropy(const real *z, size_t n, size_t label, const real *t,
                                         const struct target_weights *weights, size_t i,
                                         double scale, double *loss, real *dz) {
    double of_row = weights->rows ? weights->rows[i] : 1, smoothing = weights->smoothing;
    struct row_targets u = {t, label, weights->classes, of_row * (1 - smoothing),
                            of_row * smoothing / (double)n};
    if (!t && label >= n) { /* changed since it was checked */
        *loss = (double)NAN;
        return 0;
    }
    if (of_row != 0) {
        if (!isnan(soft_row(z, n, &u, scale, loss, dz))) return 1;
        for (size_t k = 0; k < n; ++k) {
            if (target_of(&u, k) > 0) return 0;
        }
    }
    nothing_of(n, loss, dz);
    return 1;
}

/* Up to LANES rows with a label each, which the weights of its row and class multiply. */
static int weighted_labels(const real *logits, size_t stride, size_t n_rows, size_t n_classes,
                           const int64_t *labels, const struct target_weights *weights,
                           size_t first, double scale, double *losses, real *dlogits,
                           size_t dlogits_stride) {
    double scales[LANES], of_rows[LANES];
    for (size_t i = 0; i < LANES; ++i) scales[i] = scale;
    for (size_t i = 0; weights && i < n_rows; ++i) {
        const real *classes = weights->classes;
        size_t label = (size_t)labels[i];
        of_rows[i] = weights->rows ? weights->rows[first + i] : 1;
        if (classes && label < n_classes) of_rows[i] *= (double)classes[label];
        scales[i] = scale * of_rows[i];
    }
    /* With few classes rows lie side by side. */
    int n_invalid = (n_classes <= MOST_COLUMNS ? label_columns : label_rows)(
        logits, stride, n_rows, n_classes, labels, scales, losses, dlogits, dlogits_stride);
    if (!weights) return n_invalid;
    n_invalid = 0;
    for (size_t i = 0; i < n_rows; ++i) {
        losses[i] *= of_rows[i];
        if (of_rows[i] == 0) {
            nothing_of(n_classes, losses + i, dlogits ? dlogits + i * dlogits_stride : NULL);
        }
        n_invalid += isnan(losses[i]) != 0;
    }
    return n_invalid;
}

static ptrdiff_t cross_entropy(const void *logits, size_t stride, size_t n_rows, size_t n_classes,
                               const int64_t *labels, const void *probabilities,
                               const struct target_weights *weights, double scale, double *losses,
                               void *dlogits, size_t dlogits_stride) {
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
        const real *t = labels ? NULL : (const real *)probabilities + i * n_classes;
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
