/* Steps of training on sparse rows. */
#include "case.h"

static const size_t SPARSE_CLASSES[] = {1, 2, 3, 8, 10, 16, 17, 31, 33, 48, 49, 64, 65, 70, 100};

/* Up to eight values a row, in any columns, also the same, and of some rows in one that does not exist. */
static struct sparse_row *sparse_rows_of(size_t n, size_t d, int wide, int *has_none) {
    struct sparse_row *rows = allocate((n + SPARSE_ROWS_AHEAD) * sizeof *rows);
    static const size_t none[] = {0, 1, SIZE_MAX, INT32_MAX, (size_t)1 << 31};
    for (size_t i = 0; i < n; ++i) {
        size_t n_values = below(9), index_size = wide ? sizeof(int64_t) : sizeof(int32_t);
        char *indices = allocate(n_values * index_size);
        rows[i] = (struct sparse_row){fixed(numbers(n_values)), indices, n_values};
        for (size_t v = 0; v < n_values; ++v) {
            size_t column = (size_t)(next() % d);
            if (next() % 64 == 0) {
                column = d + none[next() % LENGTH(none)];
                *has_none = 1;
            }
            int64_t as_wide = (int64_t)column;
            int32_t as_narrow = (int32_t)(uint32_t)column;
            if (!wide && (size_t)as_narrow < d) as_narrow = -1;
            memcpy(indices + v * index_size, wide ? (void *)&as_wide : (void *)&as_narrow,
                   index_size);
        }
        fixed(indices);
    }
    for (size_t i = n; i < n + SPARSE_ROWS_AHEAD; ++i) rows[i] = rows[n - 1];
    return rows;
}

static size_t column_in(const struct sparse_row *row, size_t v, int wide) {
    return wide ? (size_t)((const int64_t *)row->indices)[v]
                : (size_t)((const int32_t *)row->indices)[v];
}

/* Scores against those of the weights as they were, where no penalty changes them on the way. */
static void check_sparse_scores(const struct sparse_row *row, int wide, const void *coef, size_t d,
                                size_t c, const void *inverse_scale, const void *intercept,
                                const char *logits, size_t at) {
    for (size_t k = 0; k < c; ++k) {
        struct sum sum = sum_from(intercept ? get(intercept, k) : 0);
        for (size_t v = 0; v < row->n_values; ++v) {
            size_t j = column_in(row, v, wide);
            if (j >= d) {
                if (!isnan(get(logits, 0))) fail("a column that is not there has a score", at);
                return;
            }
            long double x = (long double)get(row->values, v) * (long double)get(coef, k * d + j);
            add_term(&sum, inverse_scale ? x * (long double)get(inverse_scale, j) : x);
        }
        check_sum(get(logits, k), &sum, row->n_values, at);
    }
}

/* Two steps, and what the penalty, or momentum, alone does to the weights that they do not meet. */
static void sparse_case(void) {
    function_name = "sparse";
    size_t n = 1 + below(12), d = 1 + below(60), lanes = kernels->lanes,
           size = kernels->element_size;
    size_t c = one_of(SPARSE_CLASSES, LENGTH(SPARSE_CLASSES)), columns = whole_vectors(c);
    size_t n_slabs = (c - 1) / (SPARSE_SLAB_VECTORS * lanes) + 1;
    int wide = (int)below(2), has_momentum = (int)below(2), has_none = 0;
    int has_penalty = has_momentum || below(2);
    struct penalty_prefix *prefixes = allocate(3 * sizeof *prefixes);
    prefixes[0] = (struct penalty_prefix){1, 1, 0};
    uint32_t *steps = allocate(n_slabs * d * sizeof *steps);
    memset(steps, 0, n_slabs * d * sizeof *steps);
    const void *inverse_scale = below(2) ? fixed(numbers(d)) : NULL;
    struct sparse_weights w = {stale(d * columns),         d,        c, wide, inverse_scale,
                               has_penalty ? steps : NULL, prefixes, 0, NULL, NULL};
    struct sgd_rule rule = {
        .rate = 0.1, .momentum = has_momentum ? 0.9 : 0, .nesterov = (int)below(2)};
    void *of_intercept = has_momentum ? numbers(c) : NULL;
    if (has_momentum) {
        w.velocity = allocate(d * columns * size);
        w.maps = allocate(4 * sizeof *w.maps);
        struct sparse_weights velocity = w;
        velocity.start = w.velocity;
        const void *given = fixed(numbers(c * d));
        for (size_t k = 0; k < n_slabs; ++k) kernels->sparse->sparse_pack(given, &velocity, k);
    }
    const void *coef = fixed(numbers(c * d));
    void *intercept = numbers(c), *back = stale(c * d), *logits = stale(n * columns);
    for (size_t k = 0; k < n_slabs; ++k) kernels->sparse->sparse_pack(coef, &w, k);
    for (size_t k = 0; k < n_slabs; ++k) kernels->sparse->sparse_unpack(&w, k, back);
    for (size_t i = 0; i < c * d; ++i) {
        if (!same_bits(get(back, i), get(coef, i))) fail("a weight comes back as another", i);
    }
    for (int i = 0; i < 2; ++i) {
        const struct sparse_row *rows = sparse_rows_of(n, d, wide, &has_none);
        double factor = (double[]){0.9, -0.3, 1, 1e-30}[below(4)], threshold = below(2) ? 0.01 : 0;
        int with_intercept = (int)below(2);
        for (size_t k = 0; k < n_slabs; ++k) {
            kernels->sparse->sparse_scores(rows, n, &w, k, with_intercept ? intercept : NULL,
                                           logits, columns);
        }
        /* The same scores from the weights where they lie. */
        char *unpacked = stale(n * c);
        if (i == 0 && !inverse_scale)
            kernels->sparse->sparse_unpacked_scores(rows, n, coef, d, c, intercept, wide, unpacked);
        /* The same scores without prefetching, and of values as they are stored. */
        void *products = stale(n * columns);
        for (size_t k = 0; k < n_slabs; ++k) {
            kernels->sparse->sparse_products(rows, n, &w, k, with_intercept ? intercept : NULL,
                                             products, columns);
        }
        for (size_t s = 0; i == 0 && !inverse_scale && s < n * columns; ++s) {
            if (!same_bits(get(products, s), get(logits, s)))
                fail("products are other scores", s / columns);
        }
        for (size_t s = 0; s < n; ++s) {
            const char *row = (const char *)logits + s * columns * size;
            record_reals(row, c);
            int is_whole = with_intercept && !isnan(get(row, 0));
            for (size_t k = 0; i == 0 && !inverse_scale && is_whole && k < c; ++k) {
                if (!same_bits(get(unpacked, s * c + k), get(row, k)))
                    fail("weights where they lie give other scores", s);
            }
            if (i == 0)
                check_sparse_scores(rows + s, wide, coef, d, c, inverse_scale,
                                    with_intercept ? intercept : NULL, row, s);
        }
        if (has_momentum) {
            struct momentum_map map = {factor, threshold, 0.5 * factor, 0.9};
            kernels->sparse->sparse_add_map(&w, &map);
        }
        for (size_t k = 0; k < n_slabs; ++k) {
            if (has_momentum)
                kernels->sparse->sparse_update_velocity(rows, n, &w, k, logits, columns, -0.02);
            kernels->sparse->sparse_update(rows, n, &w, k, logits, columns, -0.01);
        }
        kernels->sparse->sparse_update_intercept(logits, columns, n, c, &rule, intercept,
                                                 of_intercept);
        if (has_momentum) continue;
        struct penalty_prefix *last = prefixes + w.now++;
        last[1].scale = last->scale * factor;
        last[1].inverse_scale = 1 / last[1].scale;
        last[1].shrinkage = last->shrinkage + threshold * fabs(last[1].inverse_scale);
    }
    for (size_t k = 0; k < n_slabs; ++k) {
        if (has_penalty) kernels->sparse->sparse_catch_up(&w, k);
        kernels->sparse->sparse_unpack(&w, k, back);
    }
    record_reals(w.start, d * columns);
    if (has_momentum) record_reals(w.velocity, d * columns);
    record_reals(back, c * d);
    record_reals(intercept, c);
}

void (*const CASES[])(void) = {sparse_case};
const size_t N_CASES = LENGTH(CASES);
