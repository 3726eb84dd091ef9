/* Two classes: scores, loss and gradient from the difference of the logits alone.
 *
 *   u = z_1 - z_0 = x . (w_1 - w_0) + b_1 - b_0,   v = u for label 1, -u for label 0
 *   loss = max(-v, 0) + log(1 + exp(-|v|)),   dz_1 = -dz_0 = scale * (1 / (1 + exp(-u)) - label)
 *
 * Decisions:
 *   - That is one column of the gradient instead of two, and one exponential. Nothing cancels: where the label dominates
 *     the gradient is exp(-v) / (1 + exp(-v)). The difference of the weights is rounded once.
 *   - In float32 the logarithm is y * q(y) for y = exp(-|v|) in [0, 1], with q an interpolation at the zeros of a
 *     Chebyshev polynomial, in double: its relative error, 8.5e-10, is a seventieth of the rounding error of y, and it
 *     takes no division and no exponent. In float64 it is log_loss (softmax.h).
 *   - Two logits may overflow where their difference does not, and an infinite difference does not tell which does. So
 *     the caller computes the logit of class 0 as well, and where one is large starts again from the logits themselves.
 *     The loss is still that of one difference, and the gradient has one column.
 *   - A dot product of four rows at a time: one alone would wait for the sum before. Its last vector ends with the row,
 *     and weights of 0 stand for the features that the one before had.
 */
#ifndef FASTSOFTMAX_TWO_CLASSES_H
#define FASTSOFTMAX_TWO_CLASSES_H

#include "kernels/kernel_table.h"
#include "kernels/softmax.h"

enum { ROWS_PER_DOT = 4 };

/* Kernel: the dot products of rows with weights; n_features >= LANES. */
static void row_dots(const void *const *rows, size_t n_rows, size_t n_features, const void *weights,
                     void *dots) {
    const real *w = weights;
    real *out = dots, shifted[2 * LANES], sums[ROWS_PER_DOT];
    size_t end = n_features / LANES * LANES, last = n_features - LANES;
    store(shifted, broadcast(0));
    store(shifted + LANES, end < n_features ? load(w + end) : broadcast(0));
    vec last_weights = load(shifted + (n_features - end));
    for (size_t i = 0; i < n_rows; i += ROWS_PER_DOT) {
        const real *x[ROWS_PER_DOT];
        vec sum[ROWS_PER_DOT], first_weights = load(w);
        UNROLL for (size_t r = 0; r < ROWS_PER_DOT; ++r) {
            x[r] = (const real *)rows[i + r < n_rows ? i + r : n_rows - 1];
            sum[r] = mul(load(x[r]), first_weights);
        }
        for (size_t j = LANES; j < end; j += LANES) {
            vec v = load(w + j);
            UNROLL for (int r = 0; r < ROWS_PER_DOT; ++r) sum[r] = fmadd(load(x[r] + j), v, sum[r]);
        }
        if (end < n_features) {
            UNROLL for (int r = 0; r < ROWS_PER_DOT; ++r) {
                sum[r] = fmadd(load(x[r] + last), last_weights, sum[r]);
            }
        }
        sum_lanes_4(sum, sums);
        for (size_t r = 0; r < ROWS_PER_DOT && i + r < n_rows; ++r) out[i + r] = sums[r];
    }
}

/* Return log(1 + y) for y in [0, 1]. */
ALWAYS_INLINE double logarithm_of_1_plus(double y) {
    static const double coefficients[] = {
        0x1.046679cb2b7ebp-9, -0x1.b02381e6f92c7p-7, 0x1.4fed049df857ap-5, -0x1.4f61d4fd9d9cap-4,
        0x1.fb00b1a6ce14cp-4, -0x1.49797a179fca6p-3, 0x1.9742f82e42739p-3, -0x1.ffb933dac867dp-3,
        0x1.55532471bce50p-2, -0x1.fffff23ca5d8fp-2, 0x1.fffffff8bf536p-1};
    double q = coefficients[0];
    UNROLL for (int k = 1; k < 11; ++k) q = multiply_add(q, y, coefficients[k]);
    return y * q;
}

/* Kernel: losses of rows with labels 0 and 1, and the gradient in z_1. */
static void two_class_cross_entropy(void *differences, size_t n_rows, double offset,
                                    const int64_t *labels, const double *row_weights, double scale,
                                    double *losses) {
    real *u = differences, terms[SAMPLES_PER_PASS];
    double scales[SAMPLES_PER_PASS];
    struct exp_shift shift = exp_shift_from(broadcast(0));
    const double one = sizeof(real) == sizeof(float) ? 0x1p64 : 0x1p512; /* 2**HEADROOM: exp(0) */
    vec zero = broadcast(0), added = broadcast((real)offset);
    for (size_t s = 0; s < n_rows; s += LANES) {
        vec v = add(load_up_to(u + s, n_rows - s, 0), added);
        store_up_to(u + s, v, n_rows - s);
        store(terms + s, exponential(sub(zero, magnitude(v)), &shift));
    }
    for (size_t i = 0; i < n_rows; ++i) scales[i] = row_weights ? scale * row_weights[i] : scale;
    for (size_t i = 0; i < n_rows; ++i) {
        double difference = (double)u[i], term = (double)terms[i];
        double gap = labels[i] ? -difference : difference, largest = gap > 0 ? gap : 0;
        double loss, gradient;
        if (sizeof(real) < sizeof(double)) {
            double y = term * (1 / one), inverse = scales[i] / (1 + y);
            loss = largest + logarithm_of_1_plus(y);
            gradient = gap > 0 ? inverse : y * inverse;
        } else {
            double others = gap > 0 ? one : term, label_term = gap > 0 ? term : one;
            loss = log_loss(largest, 0, others, 0, label_term, one);
            gradient = -(double)make_label_gradient(others, 0, label_term, scales[i]).label_value;
        }
        /* Neither an infinite difference nor a label that has changed since it was validated. */
        losses[i] = (uint64_t)labels[i] >> 1 ? (double)NAN : loss + 0 * gap;
        u[i] = (real)(labels[i] ? -gradient : gradient);
    }
    for (size_t i = 0; row_weights && i < n_rows; ++i) losses[i] *= row_weights[i];
}

#endif
