/* Softmax and cross-entropy of LANES rows at a time, transposed: one row in each lane.
 *
 *   columns[k][i] = z_k of row i;   loss and gradient as in cross_entropy.h
 *
 * Decisions:
 *   - A row of ten logits fills little of a vector, and its maximum, its sum and its logarithm would be scalar
 *     work. Transposed, a vector holds the same class of LANES rows: maximum and sum run over vectors without a
 *     fold, and LANES logarithms are computed together. Above MAX_TRANSPOSED_CLASSES (tuning.h) rows are as fast
 *     where they lie.
 *   - The sum over classes is in their order, so the result of a row does not depend on its neighbours.
 */
#ifndef FASTSOFTMAX_SOFTMAX_TRANSPOSED_H
#define FASTSOFTMAX_SOFTMAX_TRANSPOSED_H

#include "kernels/kernel_table.h" /* MAX_TRANSPOSED_CLASSES */
#include "kernels/softmax.h"

/* Return whether rows are transposed by vectors: every lane has a row, and a row is at least as long as a
 * block of the transpose. */
ALWAYS_INLINE int fills_transpose_block(size_t n_rows, size_t n_classes) {
    return n_rows == LANES && n_classes >= COLUMNS_PER_TRANSPOSE;
}

/* Return where the block of the transpose at class k starts: at k or, for the last one, earlier, so that
 * it ends with the row. */
ALWAYS_INLINE size_t transpose_block_start(size_t k, size_t n_classes) {
    return k + COLUMNS_PER_TRANSPOSE <= n_classes ? k : n_classes - COLUMNS_PER_TRANSPOSE;
}

/* Transpose rows into columns[k][i] = rows[i][k]; lanes without a row are 0. */
ALWAYS_INLINE void gather_transposed(const real *rows, size_t stride, size_t n_rows,
                                     size_t n_classes, real (*columns)[LANES]) {
    if (fills_transpose_block(n_rows, n_classes)) {
        for (size_t k = 0; k < n_classes; k += COLUMNS_PER_TRANSPOSE) {
            vec v[COLUMNS_PER_TRANSPOSE];
            size_t first = transpose_block_start(k, n_classes);
            load_transposed_strided(rows + first, stride, v);
            UNROLL for (int j = 0; j < COLUMNS_PER_TRANSPOSE; ++j) store(columns[first + j], v[j]);
        }
        return;
    }
    for (size_t k = 0; k < n_classes; ++k) store(columns[k], broadcast(0));
    for (size_t i = 0; i < n_rows; ++i) {
        for (size_t k = 0; k < n_classes; ++k) columns[k][i] = rows[i * stride + k];
    }
}

/* Transpose columns back into rows[i][k] = columns[k][i]. */
ALWAYS_INLINE void scatter_transposed(real (*columns)[LANES], size_t n_rows, size_t n_classes,
                                      real *rows, size_t stride) {
    if (fills_transpose_block(n_rows, n_classes)) {
        for (size_t k = 0; k < n_classes; k += COLUMNS_PER_TRANSPOSE) {
            vec v[COLUMNS_PER_TRANSPOSE];
            size_t first = transpose_block_start(k, n_classes);
            UNROLL for (int j = 0; j < COLUMNS_PER_TRANSPOSE; ++j) v[j] = load(columns[first + j]);
            store_transposed(rows + first, stride, v);
        }
        return;
    }
    for (size_t i = 0; i < n_rows; ++i) {
        for (size_t k = 0; k < n_classes; ++k) rows[i * stride + k] = columns[k][i];
    }
}

/* What the losses of LANES rows with a label each are computed from. */
struct label_terms {
    real maximum[LANES], score[LANES], label_term[LANES], largest_term[LANES];
    /* The sum of the terms but the label, and the rounding error of that sum. */
    double others[LANES], error[LANES];
};

/* Compute LANES losses, NaN where the score or a term is. LANES rows share the logarithm, and as there is
 * no branch the compiler vectorises the loop. */
ALWAYS_INLINE void lane_losses(const struct label_terms *of, double *losses) {
    for (size_t i = 0; i < LANES; ++i) {
        losses[i] = log_loss((double)of->maximum[i], (double)of->score[i], of->others[i],
                             of->error[i], (double)of->label_term[i], (double)of->largest_term[i]);
    }
}

/* Multiply the terms by a power of two for each lane. */
ALWAYS_INLINE void rescale_columns(real (*columns)[LANES], size_t n_classes, vec rescalings) {
    if (!any_less(rescalings, broadcast(1))) return;
    for (size_t k = 0; k < n_classes; ++k) store(columns[k], mul(load(columns[k]), rescalings));
}

/* Replace the logits of n_rows <= LANES rows by their terms, and fill what their losses are computed from; the score of a
 * row whose label is no class is NaN. Return the labels. */
ALWAYS_INLINE vec fill_label_terms(real (*columns)[LANES], size_t n_rows, size_t n_classes,
                                   const int64_t *labels, struct label_terms *lanes) {
    real row_labels[LANES] = {0};
    for (size_t i = 0; i < n_rows; ++i) row_labels[i] = (real)labels[i];
    vec label = load(row_labels), zero = broadcast(0);
    vec largest = load(columns[0]);
    for (size_t k = 1; k < n_classes; ++k) largest = maximum(largest, load(columns[k]));
    struct exp_shift shift = exp_shift_from(largest);
    vec label_term = zero, largest_term = zero, score = broadcast((real)NAN);
    precise_sums s = zero_sums();
    /* Two classes at a time: equal terms, and a pair without the label, have an exact sum. */
    for (size_t first = 0; first < n_classes; first += 2) {
        vec others[2] = {zero, zero};
        UNROLL for (size_t j = 0; j < 2; ++j) {
            if (first + j == n_classes) break;
            vec z = load(columns[first + j]), class = broadcast((real)(first + j));
            vec e = exponential(z, &shift);
            store(columns[first + j], e);
            largest_term = maximum(largest_term, e);
            label_term = select_equal(label, class, e, label_term);
            score = select_equal(label, class, z, score);
            others[j] = select_equal(label, class, zero, e);
        }
        if (sizeof(real) < sizeof(double)) {
            s = add_terms(s, add(others[0], others[1]));
        } else { /* the error of the sum of two would show */
            s = add_terms(add_terms(s, others[0]), others[1]);
        }
    }
    store(lanes->maximum, largest);
    store(lanes->score, score);
    store(lanes->label_term, label_term);
    store(lanes->largest_term, largest_term);
    store_sums(lanes->others, lanes->error, s);
    return label;
}

/* Compute losses and gradients of n_rows <= LANES rows with labels, in place: columns[k][i] is the logit
 * of class k of row i and becomes, with_gradient, its gradient times scales[i] (LANES of them). The loss
 * of a row without a softmax is NaN, and so is that of a row whose label is no class: it may have changed
 * since it was validated. Return how many of the losses are NaN. */
ALWAYS_INLINE int transposed_cross_entropy(real (*columns)[LANES], size_t n_rows, size_t n_classes,
                                           const int64_t *labels, const double *scales,
                                           double *losses, int with_gradient) {
    struct label_terms lanes;
    double row_losses[LANES];
    vec label = fill_label_terms(columns, n_rows, n_classes, labels, &lanes);
    lane_losses(&lanes, row_losses);
    int n_invalid = 0;
    for (size_t i = 0; i < n_rows; ++i) {
        losses[i] = row_losses[i];
        n_invalid += isnan(row_losses[i]) != 0;
    }
    if (!with_gradient) return n_invalid;
    real high[LANES], low[LANES], label_gradients[LANES], rescalings[LANES];
    for (size_t i = 0; i < LANES; ++i) {
        double term = (double)lanes.label_term[i], rescaling;
        rescaling = rescaling_power(scales[i], lanes.others[i] + term);
        struct label_gradient g = make_label_gradient(
            lanes.others[i] * rescaling, lanes.error[i] * rescaling, term * rescaling, scales[i]);
        rescalings[i] = (real)rescaling;
        high[i] = g.factor.high;
        low[i] = g.factor.low;
        label_gradients[i] = g.label_value;
    }
    rescale_columns(columns, n_classes, load(rescalings));
    vec factor = load(high), rest = load(low), label_gradient = load(label_gradients);
    for (size_t k = 0; k < n_classes; ++k) {
        vec e = load(columns[k]), gradient = fmadd(e, factor, mul(e, rest));
        store(columns[k], select_equal(label, broadcast((real)k), label_gradient, gradient));
    }
    return n_invalid;
}

/* Compute losses and gradients with any targets u instead of labels, in place: the loss of a row is sum(u
 * * (m - z)) + sum(u) * log(total / e_m), its gradient scale * (sum(u) * p - u). Where e_m, the term of
 * the first largest logit, is above the sum of the others, its gradient is computed without what cancels
 * where p rounds to 1: scale * (rest - sum(u) * others / total), from sums without m. Elsewhere rest may
 * be much larger than the gradient. */
static inline void transposed_soft_cross_entropy(real (*columns)[LANES], real (*targets)[LANES],
                                                 size_t n_rows, size_t n_classes, double scale,
                                                 double *losses) {
    vec largest = load(columns[0]), zero = broadcast(0), place = zero;
    for (size_t k = 1; k < n_classes; ++k) {
        vec z = load(columns[k]);
        place = select_less(largest, z, broadcast((real)k), place);
        largest = maximum(largest, z);
    }
    struct exp_shift shift = exp_shift_from(largest);
    vec largest_term = zero, largest_target = zero;
    precise_sums others = zero_sums(), gaps = zero_sums(), rest = zero_sums();
    for (size_t k = 0; k < n_classes; ++k) {
        vec z = load(columns[k]), u = load(targets[k]), e = exponential(z, &shift);
        vec class = broadcast((real)k);
        store(columns[k], e);
        largest_term = select_equal(place, class, e, largest_term);
        largest_target = select_equal(place, class, u, largest_target);
        others = add_terms(others, select_equal(place, class, zero, e));
        rest = add_terms(rest, select_equal(place, class, zero, u));
        /* 0 * inf does not contribute */
        gaps = add_terms(gaps, select_less(zero, u, mul(u, sub(largest, z)), zero));
    }
    double other[LANES], error[LANES], gap[LANES], gap_error[LANES], mass[LANES], mass_error[LANES];
    double row_losses[LANES];
    real term[LANES], target[LANES], high[LANES], low[LANES], rescalings[LANES];
    real places[LANES], place_gradients[LANES];
    store_sums(other, error, others);
    store_sums(gap, gap_error, gaps);
    store_sums(mass, mass_error, rest);
    store(term, largest_term);
    store(target, largest_target);
    store(places, place);
    for (size_t i = 0; i < LANES; ++i) {
        double e = (double)term[i], row_rest = mass[i] + mass_error[i];
        double row_mass = row_rest + (double)target[i];
        double log_total = log_loss(0, 0, other[i], error[i], e, e);
        row_losses[i] = gap[i] + gap_error[i] + row_mass * log_total;
    }
    for (size_t i = 0; i < LANES; ++i) {
        double row_rest = mass[i] + mass_error[i], row_mass = row_rest + (double)target[i];
        double total_error, total = two_sum(other[i], (double)term[i], &total_error);
        double rescaling = rescaling_power(scale * row_mass, total);
        struct split_real f = quotient(scale * row_mass, 0, total * rescaling,
                                       (total_error + error[i]) * rescaling);
        rescalings[i] = (real)rescaling;
        high[i] = f.high;
        low[i] = f.low;
        places[i] = (double)term[i] > other[i] ? places[i] : -1; /* no class */
        place_gradients[i] = (real)(scale * (row_rest - row_mass * (other[i] / total)));
    }
    for (size_t i = 0; i < n_rows; ++i) losses[i] = row_losses[i];
    rescale_columns(columns, n_classes, load(rescalings));
    vec factor = load(high), remainder = load(low), negative = broadcast((real)-scale);
    vec place_gradient = load(place_gradients);
    place = load(places);
    for (size_t k = 0; k < n_classes; ++k) {
        vec e = load(columns[k]), target = mul(load(targets[k]), negative);
        vec gradient = fmadd(e, remainder, fmadd(e, factor, target));
        store(columns[k], select_equal(place, broadcast((real)k), place_gradient, gradient));
    }
}

/* Compute losses and gradients of rows with labels by transposing them and back. */
static inline int label_rows_transposed(const real *logits, size_t stride, size_t n_rows,
                                        size_t n_classes, const int64_t *labels,
                                        const double *scales, double *losses, real *dlogits,
                                        size_t dlogits_stride) {
    real columns[MAX_TRANSPOSED_CLASSES][LANES];
    store(columns[0], broadcast(0)); /* GCC warns else: it does not know that there is a class */
    gather_transposed(logits, stride, n_rows, n_classes, columns);
    int n_invalid = transposed_cross_entropy(columns, n_rows, n_classes, labels, scales, losses,
                                             dlogits != NULL);
    if (dlogits) scatter_transposed(columns, n_rows, n_classes, dlogits, dlogits_stride);
    return n_invalid;
}

#endif
