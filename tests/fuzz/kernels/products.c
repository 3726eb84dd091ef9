/* Products and sums of matrices, and what else linear functions need. */
#include "case.h"

static void pack_case(void) {
    function_name = "pack";
    size_t d = 1 + below(40), c = 1 + below(40), size = kernels->element_size;
    size_t stride = whole_vectors(d) + kernels->lanes * below(2), spread = 1 + below(3),
           way = below(8);
    ptrdiff_t of_feature = (ptrdiff_t)(size * spread * (way & 1 ? 1 : c));
    ptrdiff_t of_class = (ptrdiff_t)(size * spread * (way & 1 ? d : 1));
    size_t span = (d * c - 1) * spread + 1;
    ptrdiff_t start = 0;
    if (way & 2) start -= (ptrdiff_t)(d - 1) * (of_feature = -of_feature);
    if (way & 4) start -= (ptrdiff_t)(c - 1) * (of_class = -of_class);
    char *W = fixed(numbers(span)), *back = stale(span);
    void *coef = stale(c * stride);
    kernels->dense->pack(W + start, of_feature, of_class, d, c, coef, stride);
    kernels->dense->unpack(coef, stride, d, c, back + start, of_feature, of_class);
    for (size_t k = 0; k < c; ++k) {
        for (size_t j = 0; j < stride; ++j) {
            ptrdiff_t place = start + (ptrdiff_t)j * of_feature + (ptrdiff_t)k * of_class;
            double x = j < d ? get(W + place, 0) : 0;
            if (!same_bits(get(coef, k * stride + j), x)) fail("is another number", j);
            if (j < d && !same_bits(get(back + place, 0), x)) fail("comes back as another", j);
        }
    }
    for (size_t i = 0; i < span; ++i) {
        if (i % spread) check_stale(get(back, i), i);
    }
    record_reals(coef, c * stride);
}

static void scores_case(void) {
    function_name = "scores";
    size_t n = 1 + below(20), d = 1 + below(80), c = 1 + below(24), stride = whole_vectors(d);
    size_t out_stride = c + below(3);
    const void *const *rows = rows_of(n, d);
    const void *coef = fixed(padded(c, d, stride));
    const void *intercept = below(2) ? fixed(numbers(c)) : NULL;
    void *out = stale((n - 1) * out_stride + c);
    struct weights_view weights = {coef, intercept, stride, d, c};
    kernels->dense->scores(rows, n, &weights, out, out_stride);
    for (size_t i = 0; i < n; ++i) {
        for (size_t k = 0; k < c; ++k) {
            struct sum sum = sum_from(intercept ? get(intercept, k) : 0);
            for (size_t j = 0; is_checked && j < d; ++j)
                add_product(&sum, get(rows[i], j), get(coef, k * stride + j));
            record(get(out, i * out_stride + k));
            check_sum(get(out, i * out_stride + k), &sum, d, i * c + k);
        }
        for (size_t k = c; k < out_stride && i + 1 < n; ++k)
            check_stale(get(out, i * out_stride + k), i);
    }
}

static void row_dots_case(void) {
    function_name = "row_dots";
    size_t n = 1 + below(20), d = kernels->lanes + below(80), stride = whole_vectors(d);
    const void *const *rows = rows_of(n, d);
    const void *weights = fixed(padded(1, d, stride));
    void *out = stale(n);
    kernels->two_classes->row_dots(rows, n, d, weights, out);
    for (size_t i = 0; i < n; ++i) {
        struct sum sum = sum_from(0);
        for (size_t j = 0; is_checked && j < d; ++j)
            add_product(&sum, get(rows[i], j), get(weights, j));
        record(get(out, i));
        check_sum(get(out, i), &sum, d, i);
    }
}

static void outer_sum_case(void) {
    function_name = "outer_sum";
    size_t n = 1 + below(20), d = 1 + below(60), c = 1 + below(24), lanes = kernels->lanes;
    int add = (int)below(2), turned = (int)below(2);
    size_t out_stride = d + below(3), of_row = turned ? 1 : c, of_column = turned ? n : 1;
    const void *const *rows = rows_of(n, d);
    const void *g = fixed(numbers(n * c));
    void *out = stale((c - 1) * out_stride + d), *before = numbers(c * d);
    for (size_t k = 0; add && k < c; ++k) {
        for (size_t j = 0; j < d; ++j) put(out, k * out_stride + j, get(before, k * d + j));
    }
    struct matrix_view view = {g, of_row, of_column, c};
    for (size_t first = 0; first < d; first += lanes) {
        kernels->dense->outer_sum(rows, n, first, d, &view, add, out, out_stride);
    }
    for (size_t k = 0; k < c; ++k) {
        for (size_t j = 0; j < d; ++j) {
            struct sum sum = sum_from(add ? get(before, k * d + j) : 0);
            for (size_t s = 0; is_checked && s < n; ++s)
                add_product(&sum, get(rows[s], j), get(g, s * of_row + k * of_column));
            record(get(out, k * out_stride + j));
            check_sum(get(out, k * out_stride + j), &sum, n, k * d + j);
        }
        for (size_t j = d; j < out_stride && k + 1 < c; ++j)
            check_stale(get(out, k * out_stride + j), k);
    }
}

static void column_sums_case(void) {
    function_name = "column_sums";
    size_t n = 1 + below(40), d = 1 + below(80), stride = d + below(3);
    int add = (int)below(2);
    const void *g = fixed(numbers((n - 1) * stride + d));
    void *before = numbers(d), *out = stale(d);
    if (add) memcpy(out, before, d * kernels->element_size);
    kernels->dense->column_sums(g, stride, n, d, add, out);
    for (size_t k = 0; k < d; ++k) {
        struct sum sum = sum_from(add ? get(before, k) : 0);
        for (size_t s = 0; s < n; ++s) add_product(&sum, get(g, s * stride + k), 1);
        check_sum(get(out, k), &sum, n, k);
    }
    record_reals(out, d);
}

static void penalty_case(void) {
    function_name = "penalty";
    static const double factors[] = {0, 0.03, 1, 1e-300, 1e30};
    size_t n = 1 + below(200);
    double l2 = factors[below(5)], l1 = factors[below(5)];
    const void *w = fixed(numbers(n));
    void *gradient = below(2) ? stale(n) : NULL;
    record(kernels->dense->penalty(w, n, l2, l1, gradient));
    if (gradient) record_reals(gradient, n);
}

void (*const CASES[])(void) = {pack_case,      scores_case,      row_dots_case,
                               outer_sum_case, column_sums_case, penalty_case};
const size_t N_CASES = LENGTH(CASES);
