/* Cross-entropy of rows of logits and its gradient.
 *
 *   loss = sum over k of t_k * (lse - z_k),  dz = scale * (sum(t) * p - t)       as in rows.h
 *
 * Decisions:
 *   - With a label y, the sum of exponentials leaves e_y out: others = sum of e_k for k != y. Where y has the
 *     largest logit the loss is log(1 + others / e_y), and the label's gradient -others / total: no cancellation
 *     where the label dominates.
 *   - The losses of LANES rows are taken at once: a logarithm is a long chain of operations.
 *   - Weights of rows and classes and label smoothing make other targets u of t (struct target_weights). They
 *     are made where they are used, once for the loss and once for the gradient: a matrix of them would be
 *     as large as the logits. With a label, its own share keeps the exact way, and the rest is added:
 *     u = a * onehot(y) + u', loss = a * loss of y + sum of u'_k * (lse - z_k).
 *   - A row whose targets all count nothing is not looked at: its loss and gradient are 0, also where it holds a NaN.
 */
#ifndef FASTSOFTMAX_CROSS_ENTROPY_H
#define FASTSOFTMAX_CROSS_ENTROPY_H

#include "columns.h"
#include "rows.h"

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
    struct label_gradient g = label_gradient_of(others, lanes->lost[i],
                                                (double)lanes->label_term[i], scale);
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

/* mass = sum(t); returns sum(t * (m - z)) over t > 0: 0 * inf has no part in it. In double from the
 * difference on, which float32 may not hold. */
static inline double expected_gap(const real *z, const real *t, size_t n, real m, double *mass) {
    double gaps[SUMS] = {0}, masses[SUMS] = {0};
    for (size_t first = 0; first < n; first += SUMS) {
        size_t end = n - first < SUMS ? n - first : SUMS;
        for (size_t i = 0; i < end; ++i) {
            double target = (double)t[first + i], below = (double)m - (double)z[first + i];
            gaps[i] += target > 0 ? target * below : 0;
            masses[i] += target;
        }
    }
    *mass = fold_sums(masses);
    return fold_sums(gaps);
}

/* Returns total; where that is NaN, so is the loss. */
static inline double probability_row(const real *z, size_t n, const real *t, double scale,
                                     double *loss, real *dz) {
    struct row row = row_of(z, n);
    double mass, gap = expected_gap(z, t, n, row.largest, &mass);
    double lost, total = exponentials(z, n, &row, NO_LABEL, dz, &lost);
    double log_total = loss_of(0, 0, total, lost, 0, term_of(row.largest, &row));
    *loss = gap + mass * log_total;
    if (dz) {
        struct factor factor = quotient_of(scale * mass, 0, total, lost);
        vec high = broadcast(factor.high), low = broadcast(factor.low);
        vec negative = broadcast((real)-scale);
        for (size_t k = 0; k < n; k += LANES) {
            vec target = mul(load_up_to(t + k, n - k, 0), negative);
            vec term = load_up_to(dz + k, n - k, 0);
            store_up_to(dz + k, fmadd(term, high, fmadd(term, low, target)), n - k);
        }
    }
    return total;
}

static ptrdiff_t first_nan(const double *values, size_t n) {
    for (size_t i = 0; i < n; ++i) {
        if (isnan(values[i])) return (ptrdiff_t)i;
    }
    return -1;
}

/* The weights of one row: u_k = v_k * (of_target * t_k + of_every_class), with v = NULL for ones. */
struct row_weights {
    double of_target, of_every_class;
    const real *classes;
};

static inline double class_weight(const struct row_weights *w, size_t k) {
    return w->classes ? (double)w->classes[k] : 1;
}

/* mass = sum(u), without the label's own share; returns sum(u * (m - z)) over u > 0. t is NULL with a label. */
static inline double weighted_gap(const real *z, const real *t, size_t n, real m,
                                  const struct row_weights *w, double *mass) {
    double gaps[SUMS] = {0}, masses[SUMS] = {0};
    for (size_t first = 0; first < n; first += SUMS) {
        size_t end = n - first < SUMS ? n - first : SUMS;
        for (size_t i = 0; i < end; ++i) {
            double target = t ? w->of_target * (double)t[first + i] : 0;
            double u = class_weight(w, first + i) * (target + w->of_every_class);
            double below = (double)m - (double)z[first + i];
            gaps[i] += u > 0 ? u * below : 0;
            masses[i] += u;
        }
    }
    *mass = fold_sums(masses);
    return fold_sums(gaps);
}

/* dz_k = factor * e_k - scale * u_k, without the label's own share. */
ALWAYS_INLINE void weighted_gradient(const real *t, size_t n, const struct row_weights *w,
                                     double scale, struct factor factor, real *dz) {
    vec high = broadcast(factor.high), low = broadcast(factor.low);
    vec of_target = broadcast((real)(-scale * w->of_target));
    vec of_every_class = broadcast((real)(-scale * w->of_every_class));
    for (size_t k = 0; k < n; k += LANES) {
        vec u = t ? fmadd(of_target, load_up_to(t + k, n - k, 0), of_every_class) : of_every_class;
        if (w->classes) u = mul(u, load_up_to(w->classes + k, n - k, 0));
        vec term = load_up_to(dz + k, n - k, 0);
        store_up_to(dz + k, fmadd(term, high, fmadd(term, low, u)), n - k);
    }
}

/* With a label or, where that is NO_LABEL, probabilities t. Returns total; where that is NaN, so is the loss. */
static inline double weighted_row(const real *z, size_t n, size_t label, const real *t,
                                  const struct row_weights *w, double scale, double *loss,
                                  real *dz) {
    if (!t && label >= n) return *loss = (double)NAN; /* changed since it was checked */
    double of_label = t ? 0 : w->of_target * class_weight(w, label), mass;
    struct row row = row_of(z, n);
    real score = t ? row.largest : z[label];
    double gap = weighted_gap(z, t, n, row.largest, w, &mass);
    double lost, others = exponentials(z, n, &row, t ? NO_LABEL : label, dz, &lost);
    double term = 0, of_total;
    if (!t) term = dz ? (double)dz[label] : term_of(score, &row);
    double total = sum_of(others, term, &of_total), largest_term = term_of(row.largest, &row);
    double m = (double)row.largest;
    *loss = gap + mass * loss_of(m, m, others, lost, term, largest_term);
    if (of_label > 0) {
        *loss += of_label * loss_of(m, (double)score, others, lost, term, largest_term);
    }
    if (isnan(total)) *loss = total;
    if (!dz) return total;
    struct factor factor = quotient_of(scale * (mass + of_label), 0, total, of_total + lost);
    weighted_gradient(t, n, w, scale, factor, dz);
    if (!t) {
        double of_classes = mass * (term / total) - class_weight(w, label) * w->of_every_class;
        dz[label] = (real)(scale * (of_classes - of_label * (others / total)));
    }
    return total;
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
    struct row_weights w = {of_row * (1 - smoothing), of_row * smoothing / (double)n,
                            weights->classes};
    if (!t && label >= n) {
        *loss = (double)NAN;
        return 0;
    }
    if (of_row == 0) {
        nothing_of(n, loss, dz);
        return 1;
    }
    return !isnan(weighted_row(z, n, label, t, &w, scale, loss, dz));
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
            valid = !isnan(probability_row(z, n_classes, t, scale, losses + i, dz));
        }
        if (!valid && invalid < 0) invalid = (ptrdiff_t)i;
    }
    return invalid;
}

#endif
