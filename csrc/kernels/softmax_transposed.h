/* Cross-entropy of rows with few classes and a label each: LANES rows side by side, one in every lane.
 *
 * A row of ten logits fills little of a vector, and its maximum, its sum and its logarithm would be work
 * on single numbers. Turned on its side, a vector holds the same class of LANES rows: maximum and sum run
 * over vectors without a fold, and the logarithms are taken LANES at a time. The formulas are those of
 * cross_entropy.h; the sum over classes is in their order, so a row's result does not depend on its neighbours.
 */
#ifndef FASTSOFTMAX_COLUMNS_H
#define FASTSOFTMAX_COLUMNS_H

#include "kernels/kernel_table.h" /* MOST_COLUMNS: with more classes rows lie better as they are */
#include "kernels/softmax.h"

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

/* LANES rows with a label each: what a loss takes of them. */
struct lanes {
    real maximum[LANES], score[LANES], label_term[LANES], largest_term[LANES];
    /* Of the terms but the label's: their sum, and what it has lost. */
    double others[LANES], lost[LANES];
};

/* NaN where the score or a term is. LANES rows share the logarithm, and without a branch the compiler makes
 * vectors of it. */
ALWAYS_INLINE void losses_of_lanes(const struct lanes *of, double *losses) {
    for (size_t i = 0; i < LANES; ++i) {
        losses[i] = loss_of((double)of->maximum[i], (double)of->score[i], of->others[i],
                            of->lost[i], (double)of->label_term[i], (double)of->largest_term[i]);
    }
}

/* As reduce_terms, with a power of 2 for each lane. */
ALWAYS_INLINE void reduce_columns(real (*columns)[LANES], size_t n_classes, vec reductions) {
    if (!any_less(reductions, broadcast(1))) return;
    for (size_t k = 0; k < n_classes; ++k) store(columns[k], mul(load(columns[k]), reductions));
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
    struct shift shift = shift_of(largest);
    vec of_label = zero, of_largest = zero, score = broadcast((real)NAN);
    sums s = no_sums();
    /* Two classes at a time: equal terms, and one that is left out, have an exact sum. */
    for (size_t first = 0; first < n_classes; first += 2) {
        vec others[2] = {zero, zero};
        UNROLL for (size_t j = 0; j < 2; ++j) {
            if (first + j == n_classes) break;
            vec z = load(columns[first + j]), class = broadcast((real)(first + j));
            vec e = exponential(z, &shift);
            store(columns[first + j], e);
            of_largest = maximum(of_largest, e);
            of_label = select_equal(label, class, e, of_label);
            score = select_equal(label, class, z, score);
            others[j] = select_equal(label, class, zero, e);
        }
        if (sizeof(real) < sizeof(double)) {
            s = add_terms(s, add(others[0], others[1]));
        } else { /* what the sum of two loses would show */
            s = add_terms(add_terms(s, others[0]), others[1]);
        }
    }
    struct lanes lanes;
    double loss_of_row[LANES];
    store(lanes.maximum, largest);
    store(lanes.score, score);
    store(lanes.label_term, of_label);
    store(lanes.largest_term, of_largest);
    store_sums(lanes.others, lanes.lost, s);
    losses_of_lanes(&lanes, loss_of_row);
    int n_invalid = 0;
    for (size_t i = 0; i < n_rows; ++i) {
        losses[i] = loss_of_row[i];
        n_invalid += isnan(loss_of_row[i]) != 0;
    }
    if (!with_gradient) return n_invalid;
    real high[LANES], low[LANES], of_labels[LANES], reductions[LANES];
    for (size_t i = 0; i < LANES; ++i) {
        double term = (double)lanes.label_term[i], reduction;
        reduction = reduction_of(scales[i], lanes.others[i] + term);
        struct label_gradient g = label_gradient_of(
            lanes.others[i] * reduction, lanes.lost[i] * reduction, term * reduction, scales[i]);
        reductions[i] = (real)reduction;
        high[i] = g.factor.high;
        low[i] = g.factor.low;
        of_labels[i] = g.of_label;
    }
    reduce_columns(columns, n_classes, load(reductions));
    vec factor = load(high), rest = load(low), gradient_of_label = load(of_labels);
    for (size_t k = 0; k < n_classes; ++k) {
        vec e = load(columns[k]), gradient = fmadd(e, factor, mul(e, rest));
        store(columns[k], select_equal(label, broadcast((real)k), gradient_of_label, gradient));
    }
    return n_invalid;
}

/* As above, of any targets u, which replace labels: a row's loss is sum(u * (m - z)) + sum(u) * log(total / e_m),
 * and its gradient scale * (sum(u) * p - u). Where e_m of m, the first of the largest logits, is larger than the
 * sum of the others, that of m is taken without what cancels where p rounds to 1: scale * (rest - sum(u) * others /
 * total), of the sums without m. Elsewhere rest may be far larger than the gradient. */
static inline void targets_of_columns(real (*columns)[LANES], real (*targets)[LANES], size_t n_rows,
                                      size_t n_classes, double scale, double *losses) {
    vec largest = load(columns[0]), zero = broadcast(0), place = zero;
    for (size_t k = 1; k < n_classes; ++k) {
        vec z = load(columns[k]);
        place = select_less(largest, z, broadcast((real)k), place);
        largest = maximum(largest, z);
    }
    struct shift shift = shift_of(largest);
    vec of_largest = zero, its_target = zero;
    sums others = no_sums(), gaps = no_sums(), rest = no_sums();
    for (size_t k = 0; k < n_classes; ++k) {
        vec z = load(columns[k]), u = load(targets[k]), e = exponential(z, &shift);
        vec class = broadcast((real)k);
        store(columns[k], e);
        of_largest = select_equal(place, class, e, of_largest);
        its_target = select_equal(place, class, u, its_target);
        others = add_terms(others, select_equal(place, class, zero, e));
        rest = add_terms(rest, select_equal(place, class, zero, u));
        /* 0 * inf has no part in it */
        gaps = add_terms(gaps, select_less(zero, u, mul(u, sub(largest, z)), zero));
    }
    double other[LANES], lost[LANES], gap[LANES], lost_gap[LANES], mass[LANES], lost_mass[LANES];
    double loss_of_row[LANES];
    real term[LANES], target[LANES], high[LANES], low[LANES], reductions[LANES];
    real places[LANES], of_places[LANES];
    store_sums(other, lost, others);
    store_sums(gap, lost_gap, gaps);
    store_sums(mass, lost_mass, rest);
    store(term, of_largest);
    store(target, its_target);
    store(places, place);
    for (size_t i = 0; i < LANES; ++i) {
        double e = (double)term[i], rest_of_row = mass[i] + lost_mass[i];
        double mass_of_row = rest_of_row + (double)target[i];
        double log_total = loss_of(0, 0, other[i], lost[i], e, e);
        loss_of_row[i] = gap[i] + lost_gap[i] + mass_of_row * log_total;
    }
    for (size_t i = 0; i < LANES; ++i) {
        double rest_of_row = mass[i] + lost_mass[i], mass_of_row = rest_of_row + (double)target[i];
        double of_total, total = sum_of(other[i], (double)term[i], &of_total);
        double reduction = reduction_of(scale * mass_of_row, total);
        struct factor f = quotient_of(scale * mass_of_row, 0, total * reduction,
                                      (of_total + lost[i]) * reduction);
        reductions[i] = (real)reduction;
        high[i] = f.high;
        low[i] = f.low;
        places[i] = (double)term[i] > other[i] ? places[i] : -1; /* no class */
        of_places[i] = (real)(scale * (rest_of_row - mass_of_row * (other[i] / total)));
    }
    for (size_t i = 0; i < n_rows; ++i) losses[i] = loss_of_row[i];
    reduce_columns(columns, n_classes, load(reductions));
    vec factor = load(high), remainder = load(low), negative = broadcast((real)-scale);
    vec of_place = load(of_places);
    place = load(places);
    for (size_t k = 0; k < n_classes; ++k) {
        vec e = load(columns[k]), of_target = mul(load(targets[k]), negative);
        vec gradient = fmadd(e, remainder, fmadd(e, factor, of_target));
        store(columns[k], select_equal(place, broadcast((real)k), of_place, gradient));
    }
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
