/* Cross-entropy of rows with few classes and a label each: LANES rows side by side, one in every lane.
 *
 * A row of ten logits fills little of a vector, and its maximum, its sum and its logarithm would be work
 * on single numbers. Turned on its side, a vector holds the same class of LANES rows: maximum and sum run
 * over vectors without a fold, and the logarithms are taken LANES at a time. The formulas are those of
 * cross_entropy.h; the sum over classes is in their order, so a row's result does not depend on its neighbours.
 */
#ifndef FASTSOFTMAX_COLUMNS_H
#define FASTSOFTMAX_COLUMNS_H

#include "exponential.h"
#include "kernels.h" /* MOST_COLUMNS: with more classes rows lie better as they are */

/* Whether rows are turned around as vectors: all lanes have one, and it is as long as a step. */
ALWAYS_INLINE int turns_as_vectors(size_t n_rows, size_t n_classes) {
    return n_rows == LANES && n_classes >= COLUMNS_AT_ONCE;
}

/* The step that begins at class k or, the last one, before it: it ends with the row. */
ALWAYS_INLINE size_t step_within(size_t k, size_t n_classes) {
    return k + COLUMNS_AT_ONCE <= n_classes ? k : n_classes - COLUMNS_AT_ONCE;
}

/* columns[k][i] = rows[i][k]; lanes without a row are 0. */
ALWAYS_INLINE void gather_columns(const real *rows, size_t stride, size_t n_rows, size_t n_classes,
                                  real (*columns)[LANES]) {
    if (turns_as_vectors(n_rows, n_classes)) {
        for (size_t k = 0; k < n_classes; k += COLUMNS_AT_ONCE) {
            vec v[COLUMNS_AT_ONCE];
            size_t first = step_within(k, n_classes);
            load_spaced_columns(rows + first, stride, v);
            UNROLL for (int j = 0; j < COLUMNS_AT_ONCE; ++j) store(columns[first + j], v[j]);
        }
        return;
    }
    for (size_t k = 0; k < n_classes; ++k) store(columns[k], broadcast(0));
    for (size_t i = 0; i < n_rows; ++i) {
        for (size_t k = 0; k < n_classes; ++k) columns[k][i] = rows[i * stride + k];
    }
}

ALWAYS_INLINE void scatter_columns(real (*columns)[LANES], size_t n_rows, size_t n_classes,
                                   real *rows, size_t stride) {
    if (turns_as_vectors(n_rows, n_classes)) {
        for (size_t k = 0; k < n_classes; k += COLUMNS_AT_ONCE) {
            vec v[COLUMNS_AT_ONCE];
            size_t first = step_within(k, n_classes);
            UNROLL for (int j = 0; j < COLUMNS_AT_ONCE; ++j) v[j] = load(columns[first + j]);
            store_columns(rows + first, stride, v);
        }
        return;
    }
    for (size_t i = 0; i < n_rows; ++i) {
        for (size_t k = 0; k < n_classes; ++k) rows[i * stride + k] = columns[k][i];
    }
}

/* Losses and gradients of n_rows <= LANES rows, in place: columns[k][i] is the logit and then, unless
 * only losses are asked for, the gradient of class k of row i, times scales[i], of which there are LANES. A row without a softmax has the loss NaN,
 * and so has one whose label is no class: it may have changed since it was checked. Returns how many of
 * the losses are NaN. */
ALWAYS_INLINE int cross_entropy_of_columns(real (*columns)[LANES], size_t n_rows, size_t n_classes,
                                           const int64_t *labels, const double *scales,
                                           double *losses, int with_gradient) {
    real label_of[LANES] = {0};
    for (size_t i = 0; i < n_rows; ++i) label_of[i] = (real)labels[i];
    vec label = load(label_of), zero = broadcast(0);
    vec largest = load(columns[0]);
    for (size_t k = 1; k < n_classes; ++k) largest = maximum(largest, load(columns[k]));
    vec sum = zero, of_label = zero, score = broadcast((real)NAN);
    for (size_t k = 0; k < n_classes; ++k) {
        vec z = load(columns[k]), class = broadcast((real)k);
        vec e = exponential(sub(z, largest));
        store(columns[k], e);
        sum = add(sum, select_equal(label, class, zero, e));
        of_label = select_equal(label, class, e, of_label);
        score = select_equal(label, class, z, score);
    }
    real maxima[LANES], scores[LANES], others_of[LANES], label_terms[LANES];
    store(maxima, largest);
    store(scores, score);
    store(others_of, sum);
    store(label_terms, of_label);
    real factors[LANES], of_labels[LANES];
    double loss_of[LANES];
    /* Over all lanes, without a branch: the compiler makes vectors of it. */
    for (size_t i = 0; i < LANES; ++i) {
        double others = (double)others_of[i], term = (double)label_terms[i];
        double total = others + term;
        /* Where the label dominates, term is 1, and what 1 + others rounds away is put back. */
        double lost = others - (total - term);
        double gap = (double)maxima[i] - (double)scores[i];
        double inverse = 1 / total;
        double loss = gap + (logarithm(total) + lost * inverse);
        loss_of[i] = total < (double)INFINITY ? loss : (double)NAN;
        factors[i] = (real)(scales[i] * inverse);
        of_labels[i] = (real)(-scales[i] * (others * inverse));
    }
    int n_invalid = 0;
    for (size_t i = 0; i < n_rows; ++i) {
        losses[i] = loss_of[i];
        n_invalid += isnan(loss_of[i]) != 0;
    }
    if (!with_gradient) return n_invalid;
    vec factor = load(factors), gradient_of_label = load(of_labels);
    for (size_t k = 0; k < n_classes; ++k) {
        vec gradient = mul(load(columns[k]), factor);
        store(columns[k], select_equal(label, broadcast((real)k), gradient_of_label, gradient));
    }
    return n_invalid;
}

/* The same of rows. */
static inline int label_columns(const real *logits, size_t stride, size_t n_rows, size_t n_classes,
                                const int64_t *labels, const double *scales, double *losses,
                                real *dlogits, size_t dlogits_stride) {
    real columns[MOST_COLUMNS][LANES];
    gather_columns(logits, stride, n_rows, n_classes, columns);
    int n_invalid = cross_entropy_of_columns(columns, n_rows, n_classes, labels, scales, losses,
                                             dlogits != NULL);
    if (dlogits) scatter_columns(columns, n_rows, n_classes, dlogits, dlogits_stride);
    return n_invalid;
}

#endif
