/* Cross-entropy of rows of logits and its gradient.
 *
 *   loss = sum over k of t_k * (lse - z_k),  dz = scale * (sum(t) * p - t)       as in rows.h
 *
 * Decisions:
 *   - With a label y, the sum of exponentials leaves e_y out: others = sum of e_k for k != y. Where y has the
 *     largest logit the loss is log(1 + others), and the label's gradient -others / total: no cancellation
 *     where the label dominates.
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

/* Returns total; where that is NaN, so is the loss. */
static inline double label_row(const real *z, size_t n, size_t label, double scale, double *loss,
                               real *dz) {
    if (label >= n) return *loss = (double)NAN; /* changed since it was checked */
    real m = row_maximum(z, n), score = z[label], e_label;
    double others = exponentials(z, n, m, label, dz);
    if (dz) {
        e_label = dz[label];
    } else {
        e_label = largest_lane(exponential(broadcast(score - m)));
    }
    double total = others + (double)e_label;
    if (isnan(total)) {
        *loss = total;
    } else if (score == m) {
        *loss = logarithm_of_1_plus(others);
    } else {
        *loss = ((double)m - (double)score) + logarithm(total);
    }
    if (dz) {
        scale_row(dz, n, (real)(scale / total));
        dz[label] = (real)(-scale * (others / total));
    }
    return total;
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
    double mass;
    real m = row_maximum(z, n);
    double gap = expected_gap(z, t, n, m, &mass);
    double total = exponentials(z, n, m, NO_LABEL, dz);
    *loss = gap + mass * logarithm(total);
    if (dz) {
        vec factor = broadcast((real)(scale * mass / total)), negative = broadcast((real)-scale);
        for (size_t k = 0; k < n; k += LANES) {
            vec target = mul(load_up_to(t + k, n - k, 0), negative);
            store_up_to(dz + k, fmadd(load_up_to(dz + k, n - k, 0), factor, target), n - k);
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
                                     double scale, double factor, real *dz) {
    vec factors = broadcast((real)factor), of_target = broadcast((real)(-scale * w->of_target));
    vec of_every_class = broadcast((real)(-scale * w->of_every_class));
    for (size_t k = 0; k < n; k += LANES) {
        vec u = t ? fmadd(of_target, load_up_to(t + k, n - k, 0), of_every_class) : of_every_class;
        if (w->classes) u = mul(u, load_up_to(w->classes + k, n - k, 0));
        store_up_to(dz + k, fmadd(load_up_to(dz + k, n - k, 0), factors, u), n - k);
    }
}

/* With a label or, where that is NO_LABEL, probabilities t. Returns total; where that is NaN, so is the loss. */
static inline double weighted_row(const real *z, size_t n, size_t label, const real *t,
                                  const struct row_weights *w, double scale, double *loss,
                                  real *dz) {
    if (!t && label >= n) return *loss = (double)NAN; /* changed since it was checked */
    double of_label = t ? 0 : w->of_target * class_weight(w, label), mass;
    real m = row_maximum(z, n), score = t ? m : z[label];
    double gap = weighted_gap(z, t, n, m, w, &mass);
    double others = exponentials(z, n, m, t ? NO_LABEL : label, dz);
    double term = 0;
    if (!t) term = (double)(dz ? dz[label] : largest_lane(exponential(broadcast(score - m))));
    double total = others + term, log_total = logarithm(total);
    *loss = gap + mass * log_total;
    if (of_label > 0) {
        double below = (double)m - (double)score;
        *loss += of_label * (score == m ? logarithm_of_1_plus(others) : below + log_total);
    }
    if (isnan(total)) *loss = total;
    if (!dz) return total;
    weighted_gradient(t, n, w, scale, scale * ((mass + of_label) / total), dz);
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

/* One row with its weights; returns whether it has a softmax or is not looked at. */
static inline int weighted_cross_entropy(const real *z, size_t n, size_t label, const real *t,
                                         const struct target_weights *weights, size_t i,
                                         double scale, double *loss, real *dz) {
    double of_row = weights->rows ? weights->rows[i] : 1, smoothing = weights->smoothing;
    const real *classes = weights->classes;
    struct row_weights w = {of_row * (1 - smoothing), of_row * smoothing / (double)n, classes};
    if (!t && label >= n) {
        *loss = (double)NAN;
        return 0;
    }
    if (of_row == 0 || (!t && smoothing == 0 && class_weight(&w, label) == 0)) {
        nothing_of(n, loss, dz);
        return 1;
    }
    double total;
    if (!t && smoothing == 0) {
        double of_label = w.of_target * class_weight(&w, label);
        total = label_row(z, n, label, scale * of_label, loss, dz);
        *loss *= of_label;
    } else {
        total = weighted_row(z, n, label, t, &w, scale, loss, dz);
    }
    return !isnan(total);
}

/* Rows with few classes and a label each. */
static int few_labels(const real *logits, size_t stride, size_t n_rows, size_t n_classes,
                      const int64_t *labels, const struct target_weights *weights, size_t first,
                      double scale, double *losses, real *dlogits, size_t dlogits_stride) {
    double scales[LANES], of_rows[LANES];
    for (size_t i = 0; i < LANES; ++i) scales[i] = scale;
    for (size_t i = 0; weights && i < n_rows; ++i) {
        const real *classes = weights->classes;
        size_t label = (size_t)labels[i];
        of_rows[i] = weights->rows ? weights->rows[first + i] : 1;
        if (classes && label < n_classes) of_rows[i] *= (double)classes[label];
        scales[i] = scale * of_rows[i];
    }
    int n_invalid = label_columns(logits, stride, n_rows, n_classes, labels, scales, losses,
                                  dlogits, dlogits_stride);
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
    if (labels && n_classes <= MOST_COLUMNS && !(weights && weights->smoothing != 0)) {
        int n_invalid = 0;
        for (size_t i = 0; i < n_rows; i += LANES) {
            size_t n = n_rows - i < LANES ? n_rows - i : LANES;
            n_invalid |= few_labels((const real *)logits + i * stride, stride, n, n_classes,
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
        size_t label = labels ? (size_t)labels[i] : NO_LABEL;
        int valid;
        if (weights) {
            valid = weighted_cross_entropy(z, n_classes, label, t, weights, i, scale, losses + i,
                                           dz);
        } else if (labels) {
            valid = !isnan(label_row(z, n_classes, label, scale, losses + i, dz));
        } else {
            valid = !isnan(probability_row(z, n_classes, t, scale, losses + i, dz));
        }
        if (!valid && invalid < 0) invalid = (ptrdiff_t)i;
    }
    return invalid;
}

#endif
