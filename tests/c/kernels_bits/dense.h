/* Of test_kernels_bits.c: products and conversions of dense data. */
#ifndef KERNELS_BITS_DENSE_H
#define KERNELS_BITS_DENSE_H

#include "inputs.h"

/* The samples in an order other than that in memory. */
static const void *const *rows_of(const struct shape *s) {
    static const void *rows[64 + ROWS_AHEAD];
    const char *X = uniforms(DATA, s->n * s->d);
    for (size_t i = 0; i < s->n; ++i) rows[i] = X + (s->n - 1 - i) * s->d * kernels->element_size;
    for (size_t i = s->n; i < s->n + ROWS_AHEAD; ++i) rows[i] = X;
    return rows;
}

/* Class-major, padded with zeros; a fifth of them 0, as L1 makes them. */
static void *padded_weights(enum slot slot, const struct shape *s) {
    void *weights = constant(slot, s->c * s->stride, 0);
    for (size_t k = 0; k < s->c; ++k) {
        for (size_t j = 0; j < s->d; ++j) {
            if (below(5)) put(weights, k * s->stride + j, uniform() / 16);
        }
    }
    return weights;
}

static void scores_case(const struct shape *s) {
    size_t stride = s->c + (size_t)option(s, 1) * 3;
    const void *intercept = option(s, 0) ? uniforms(INTERCEPT, s->c) : NULL;
    const void *const *rows = rows_of(s), *coef = padded_weights(WEIGHTS, s);
    void *logits = stale(OUT, s->n * stride);
    struct weights_view weights = {coef, intercept, s->stride, s->d, s->c};
    kernels->dense->scores(rows, s->n, &weights, logits, stride);
    hash_reals(logits, s->n * stride);
}

static void outer_sum_case(const struct shape *s) {
    int add_to_out = option(s, 0), is_transposed = option(s, 1);
    const void *const *rows = rows_of(s), *g = uniforms(LOGITS, s->n * s->c);
    void *out = add_to_out ? uniforms(OUT, s->c * s->d) : stale(OUT, s->c * s->d);
    struct matrix_view view = {g, is_transposed ? 1 : s->c, is_transposed ? s->n : 1, s->c};
    for (size_t first = 0; first < s->d; first += kernels->lanes) {
        kernels->dense->outer_sum(rows, s->n, first, s->d, &view, add_to_out, out, s->d);
    }
    hash_reals(out, s->c * s->d);
}

/* Labels, differences of logits and a gradient, of rows that are long enough. */
static void two_classes_case(const struct shape *s) {
    if (s->d < kernels->lanes) return;
    const void *const *rows = rows_of(s), *weights = padded_weights(WEIGHTS, s);
    const int64_t *labels = labels_of(s->n, 2);
    const double *row_weights = NULL;
    double losses[64], some_weights[64];
    for (size_t i = 0; i < s->n; ++i) some_weights[i] = uniform() + 1;
    if (option(s, 0)) row_weights = some_weights;
    void *dots = stale(OUT, s->n);
    kernels->two_classes->row_dots(rows, s->n, s->d, weights, dots);
    hash_reals(dots, s->n);
    kernels->two_classes->two_class_cross_entropy(dots, s->n, 0.25, labels, row_weights, 0.5,
                                                  losses);
    for (size_t i = 0; i < s->n; ++i) hash_double(losses[i]);
    hash_reals(dots, s->n);
}

static struct sgd_rule rule_of(const struct shape *s) {
    return (struct sgd_rule){
        .rate = 0.1,
        .l2 = option(s, 0) ? 0.03 : 0,
        .l1 = option(s, 1) ? 0.02 : 0,
        .momentum = option(s, 2) ? 0.9 : 0,
        .nesterov = option(s, 3),
        .subgradient = option(s, 4),
    };
}

/* Every type of number, of any bits: NaN and infinities among those of float16. */
static void convert_case(const struct shape *s) {
    static const size_t sizes[] = {
        [INPUT_UINT8] = 1, [INPUT_FLOAT16] = 2, [INPUT_FLOAT32] = 4, [INPUT_REAL] = 0};
    static const void *rows[64 + ROWS_AHEAD];
    enum input_dtype number = (enum input_dtype)(s->number % 4);
    size_t size = sizes[number] ? sizes[number] : kernels->element_size;
    char *X = array_of(DATA, s->n * s->d, size);
    for (size_t i = 0; i < s->n * s->d; ++i) {
        if (number == INPUT_UINT8) ((uint8_t *)X)[i] = (uint8_t)next();
        if (number == INPUT_FLOAT16) ((uint16_t *)(void *)X)[i] = (uint16_t)next();
        if (number == INPUT_FLOAT32) ((float *)(void *)X)[i] = (float)uniform();
        if (number == INPUT_REAL) put(X, i, uniform());
    }
    for (size_t i = 0; i < s->n + ROWS_AHEAD; ++i) rows[i] = X + (i < s->n ? i : 0) * s->d * size;
    struct scaling_view scaling;
    scaling.mean = option(s, 2) ? uniforms(INTERCEPT, s->d) : NULL;
    scaling.inverse_scale = option(s, 3) ? uniforms(VELOCITY, s->d) : NULL;
    char *out = stale(OUT, s->n * s->stride);
    kernels->input->convert(rows, s->n, number, 0, s->d, &scaling, out, s->stride);
    hash_reals(out, s->n * s->stride);
    if (number != INPUT_UINT8 && kernels->element_size == sizeof(float)) return;
    double *sums = array_of(LOSSES, 3 * s->d, sizeof(double));
    double *squares = sums + s->d, *origin = squares + s->d;
    for (size_t j = 0; j < 2 * s->d; ++j) sums[j] = 0;
    for (size_t j = 0; j < s->d; ++j)
        origin[j] = number == INPUT_UINT8 ? (double)below(256) : uniform();
    kernels->input->moments(X, s->d * size, s->n, s->d, number, origin, sums, squares);
    for (size_t j = 0; j < 2 * s->d; ++j) hash_double(sums[j]);
}

static void column_sums_case(const struct shape *s) { /* d columns */
    int add_to_out = option(s, 0);
    void *out = add_to_out ? uniforms(OUT, s->d) : stale(OUT, s->d);
    kernels->dense->column_sums(uniforms(LOGITS, s->n * s->d), s->d, s->n, s->d, add_to_out, out);
    hash_reals(out, s->d);
}

static void penalty_case(const struct shape *s) { /* of c * d weights, as they lie */
    struct sgd_rule rule = rule_of(s);
    size_t n = s->c * s->d;
    void *weights = uniforms(WEIGHTS, n), *gradient = option(s, 2) ? stale(OUT, n) : NULL;
    for (size_t j = 0; j < n; j += 1 + below(9)) put(weights, j, below(2) ? 0.0 : -0.0);
    hash_double(kernels->dense->penalty(weights, n, rule.l2, rule.l1, gradient));
    if (gradient) hash_reals(gradient, n);
}

/* There and back, of W in C order and in Fortran order. */
static void pack_case(const struct shape *s) {
    ptrdiff_t size = (ptrdiff_t)kernels->element_size, d = (ptrdiff_t)s->d, c = (ptrdiff_t)s->c;
    ptrdiff_t feature_stride = size * (option(s, 0) ? c : 1);
    ptrdiff_t class_stride = size * (option(s, 0) ? 1 : d);
    const void *W = uniforms(DATA, s->c * s->d);
    void *coef = stale(WEIGHTS, s->c * s->stride), *back = stale(OUT, s->c * s->d);
    kernels->dense->pack(W, feature_stride, class_stride, s->d, s->c, coef, s->stride);
    kernels->dense->unpack(coef, s->stride, s->d, s->c, back, feature_stride, class_stride);
    hash_reals(coef, s->c * s->stride);
    hash_reals(back, s->c * s->d);
}

#endif
