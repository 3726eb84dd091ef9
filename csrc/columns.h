/* Cross-entropy of rows with few classes and a label each: LANES rows side by side, one in every lane.
 *
 * A row of ten logits fills little of a vector, and its maximum, its sum and its logarithm would be work
 * on single numbers. Turned on its side, a vector holds the same class of LANES rows: maximum and sum run
 * over vectors without a fold, and the logarithms are taken LANES at a time. The formulas are those of
 * rows.h; the sum over classes is in their order, so a row's result does not depend on its neighbours.
 */
#ifndef FASTSOFTMAX_COLUMNS_H
#define FASTSOFTMAX_COLUMNS_H

#include "exponential.h"
#include "kernels.h" /* MOST_COLUMNS: with more classes rows lie better as they are */

/* columns[k][i] = rows[i][k]; lanes without a row are 0. */
ALWAYS_INLINE void gather_columns(const real *rows, size_t stride, size_t n_rows, size_t n_classes,
                                  real (*columns)[LANES]) {
    for (size_t i = 0; i < n_rows; ++i) {
        for (size_t k = 0; k < n_classes; ++k) columns[k][i] = rows[i * stride + k];
    }
    for (size_t i = n_rows; i < LANES; ++i) {
        for (size_t k = 0; k < n_classes; ++k) columns[k][i] = 0;
    }
}

ALWAYS_INLINE void scatter_columns(real (*columns)[LANES], size_t n_rows, size_t n_classes,
                                   real *rows, size_t stride) {
    for (size_t i = 0; i < n_rows; ++i) {
        for (size_t k = 0; k < n_classes; ++k) rows[i * stride + k] = columns[k][i];
    }
}

/* Losses and gradients of n_rows <= LANES rows, in place: columns[k][i] is the logit and then, unless
 * only losses are asked for, the gradient of class k of row i. A row without a softmax has the loss NaN. */
ALWAYS_INLINE void cross_entropy_of_columns(real (*columns)[LANES], size_t n_rows, size_t n_classes,
                                            const int64_t *labels, double scale, double *losses,
                                            int with_gradient) {
    real label_of[LANES], score_of[LANES];
    for (size_t i = 0; i < LANES; ++i) {
        size_t label = i < n_rows ? (size_t)labels[i] : 0;
        if (label >= n_classes) label = 0; /* changed since it was checked; see below */
        label_of[i] = (real)label;
        score_of[i] = columns[label][i];
    }
    vec label = load(label_of), zero = broadcast(0);
    vec largest = load(columns[0]);
    for (size_t k = 1; k < n_classes; ++k) largest = maximum(largest, load(columns[k]));
    vec sum = zero, of_label = zero;
    for (size_t k = 0; k < n_classes; ++k) {
        vec e = exponential(sub(load(columns[k]), largest)), class = broadcast((real)k);
        store(columns[k], e);
        sum = add(sum, select_equal(label, class, zero, e));
        of_label = select_equal(label, class, e, of_label);
    }
    real maxima[LANES], others_of[LANES], label_terms[LANES], factors[LANES] = {0},
                                                              of_labels[LANES] = {0};
    store(maxima, largest);
    store(others_of, sum);
    store(label_terms, of_label);
    for (size_t i = 0; i < n_rows; ++i) {
        double others = (double)others_of[i], term = (double)label_terms[i];
        double total = others + term;
        /* Where the label dominates, term is 1, and what 1 + others rounds away is put back. */
        double lost = others - (total - term);
        double gap = (double)maxima[i] - (double)score_of[i];
        double loss = gap + (logarithm(total) + lost / total);
        int is_valid = total < (double)INFINITY && (size_t)labels[i] < n_classes;
        losses[i] = is_valid ? loss : (double)NAN;
        factors[i] = (real)(scale / total);
        of_labels[i] = (real)(-scale * (others / total));
    }
    if (!with_gradient) return;
    vec factor = load(factors), gradient_of_label = load(of_labels);
    for (size_t k = 0; k < n_classes; ++k) {
        vec gradient = mul(load(columns[k]), factor);
        store(columns[k], select_equal(label, broadcast((real)k), gradient_of_label, gradient));
    }
}

/* The same of rows. */
static inline void label_columns(const real *logits, size_t stride, size_t n_rows, size_t n_classes,
                                 const int64_t *labels, double scale, double *losses, real *dlogits,
                                 size_t dlogits_stride) {
    real columns[MOST_COLUMNS][LANES];
    gather_columns(logits, stride, n_rows, n_classes, columns);
    cross_entropy_of_columns(columns, n_rows, n_classes, labels, scale, losses, dlogits != NULL);
    if (dlogits) scatter_columns(columns, n_rows, n_classes, dlogits, dlogits_stride);
}

#endif
