/* Steps of training on dense rows. */
#include "case.h"

static struct sgd_rule rule_of(void) {
    size_t bits = below(64);
    static const double rates[] = {0.1, 1e-30, 1e30, 3};
    return (struct sgd_rule){
        .rate = rates[below(4)],
        .l2 = bits & 1 ? 0.03 : 0,
        .l1 = bits & 2 ? 0.02 : 0,
        .momentum = bits & 4 ? 0.9 : 0,
        .nesterov = (bits & 8) != 0,
        .subgradient = (bits & 16) != 0,
    };
}

static void record_penalty(const struct sgd_rule *rule, const double *squares,
                           const double *magnitudes, size_t n) {
    if (rule->l2 != 0) record_doubles(squares, n);
    if (rule->l1 != 0) record_doubles(magnitudes, n);
}

/* A step with few classes, in two panels where there are two vectors of features. */
static void panels_case(void) {
    function_name = "panels";
    struct sgd_rule rule = rule_of();
    size_t n = 1 + below(40), d = 1 + below(80), c = 1 + below(FEW_CLASSES), lanes = kernels->lanes;
    size_t stride = whole_vectors(d), n_vectors = stride / lanes, block = lanes * c;
    size_t n_blocks_of_rows = (n + lanes - 1) / lanes, with_labels = below(3);
    size_t cut = n_vectors / 2 * lanes, n_panels = cut ? 2 : 1, panel = n_blocks_of_rows * block;
    size_t starts[] = {0, cut ? cut : d, d};
    const void *const *rows = rows_of(n, d);
    const struct target_weights *w = weights_of(n, c, 0);
    int64_t *labels = with_labels ? labels_of(n, c, 1) : NULL;
    const void *t = labels ? NULL : fixed(weights(n * c));
    void *coef = padded(c, d, stride), *velocity = rule.momentum != 0 ? padded(c, d, stride) : NULL;
    void *intercept = numbers(c), *of_intercept = rule.momentum != 0 ? numbers(c) : NULL;
    char *scores = stale(n_panels * panel);
    void *dlogits = stale(panel);
    double *losses = stale_doubles(n), *squares = stale_doubles(n_vectors);
    double *magnitudes = stale_doubles(n_vectors);
    struct weights_view weights_of_scores = {coef, NULL, stride, d, c};
    struct parts_view parts = {scores, n_panels, panel};
    struct targets_view targets = {labels, t, w, c};
    struct update_view update = {coef, velocity, stride, c, squares, magnitudes};
    for (size_t p = 0; p < n_panels; ++p) {
        enum ahead ahead = (enum ahead)below(3);
        kernels->panels->panel_scores(rows, n, starts[p], starts[p + 1] - starts[p], ahead,
                                      &weights_of_scores,
                                      scores + p * panel * kernels->element_size);
    }
    kernels->panels->training_cross_entropy(&parts, n, intercept, &targets, 0.5, losses, dlogits);
    record_doubles(losses, (n + kernels->lanes - 1) / kernels->lanes);
    kernels->panels->panel_cross_entropy(&parts, n, intercept, &targets, 0.5, losses, dlogits);
    record_doubles(losses, n);
    struct rows_to_fetch fetch = {rows, below(n + 1), 0, d};
    for (size_t p = 0; p < n_panels; ++p) {
        kernels->panels->panel_update(rows, n, &fetch, starts[p], starts[p + 1] - starts[p],
                                      dlogits, &rule, &update);
    }
    kernels->panels->panel_update_intercept(dlogits, n, c, &rule, intercept, of_intercept);
    record_penalty(&rule, squares, magnitudes, n_vectors);
    record_reals(coef, c * stride);
    if (velocity) record_reals(velocity, c * stride);
    record_reals(intercept, c);
    if (of_intercept) record_reals(of_intercept, c);
}

/* A step with few classes on short rows, in two chunks where there are two samples. */
static void short_rows_case(void) {
    function_name = "short_rows";
    struct sgd_rule rule = rule_of();
    size_t n = 1 + below(40), d = 1 + below(80), c = 1 + below(FEW_CLASSES), lanes = kernels->lanes;
    size_t block = lanes * c, wide = whole_vectors(d), stride = c * (wide + lanes);
    size_t cut = n / 2, n_chunks = cut ? 2 : 1, starts[] = {0, cut ? cut : n, n};
    size_t n_weights = c * wide, n_averaged = 1 + below(2), size = kernels->element_size;
    const void *const *rows = rows_of(n, d);
    void *strips = numbers(n_averaged * n_weights), *intercept = numbers(n_averaged * c);
    void *velocity = rule.momentum != 0 ? numbers(n_weights) : NULL;
    void *of_intercept = rule.momentum != 0 ? numbers(c) : NULL;
    if (n_averaged > 1) {
        rule.to_sums = (ptrdiff_t)n_weights;
        rule.intercept_to_sums = (ptrdiff_t)c;
    }
    char *gradients = stale(n_chunks * stride);
    double *squares = stale_doubles(wide / lanes), *magnitudes = stale_doubles(wide / lanes);
    for (size_t p = 0; p < n_chunks; ++p) {
        size_t n_rows = starts[p + 1] - starts[p], n_blocks_of_rows = (n_rows + lanes - 1) / lanes;
        char *scores = stale(n_blocks_of_rows * block), *out = gradients + p * stride * size;
        for (size_t i = 0; i < n_rows; i += lanes) {
            kernels->short_rows->short_scores(
                rows + starts[p] + i, n_rows - i < lanes ? n_rows - i : lanes, d,
                below(2) ? rows + n : NULL, strips, c, scores + i * c * size);
        }
        for (size_t i = 0; i < n_rows; ++i) {
            for (size_t k = 0; k < c; ++k) {
                record(get(scores, i / lanes * block + k * lanes + i % lanes));
            }
        }
        /* Scores in place of gradients; those of the first samples come once more. */
        kernels->short_rows->short_gradient(rows + starts[p], n_rows, d, scores, c, 0, out);
        if (n_rows / 2)
            kernels->short_rows->short_gradient(rows + starts[p], n_rows / 2, d, scores, c, 1, out);
        record_reals(out, stride);
    }
    struct parts_view parts = {gradients, n_chunks, stride};
    struct update_view update = {strips, velocity, 0, c, squares, magnitudes};
    kernels->short_rows->short_update(&parts, d, &rule, &update, intercept, of_intercept);
    record_penalty(&rule, squares, magnitudes, wide / lanes);
    record_reals(strips, n_averaged * n_weights);
    if (velocity) record_reals(velocity, n_weights);
    record_reals(intercept, n_averaged * c);
}

static const void *const *rows_in(const void *start, size_t n, size_t stride) {
    const void **rows = allocate(n * sizeof *rows);
    for (size_t i = 0; i < n; ++i)
        rows[i] = (const char *)start + i * stride * kernels->element_size;
    return rows;
}

static char *blocks_of(const void *const *rows, size_t n, size_t d, size_t block_stride) {
    size_t lanes = kernels->lanes, n_blocks_of_rows = (n + lanes - 1) / lanes;
    /* The last block need not be as long as the stride. */
    char *packed = stale((n_blocks_of_rows - 1) * block_stride + whole_vectors(d) * lanes);
    for (size_t i = 0; i < n; i += lanes) {
        kernels->packed->pack_block(rows + i, n - i < lanes ? n - i : lanes, d,
                                    packed + i / lanes * block_stride * kernels->element_size);
    }
    return packed;
}

/* A step with many classes, there and back: all slabs at once or one by one. */
static void packed_case(void) {
    function_name = "packed";
    struct sgd_rule rule = rule_of();
    size_t n = 1 + below(40), d = 1 + below(80), c = 1 + below(48), lanes = kernels->lanes;
    if (below(16) == 15) d += 128; /* more than one sum of features */
    size_t stride = whole_vectors(d), n_slabs = (c + lanes - 1) / lanes,
           size = kernels->element_size;
    size_t columns = n_slabs * lanes, block_stride = (stride + below(2)) * lanes,
           slab = stride * lanes;
    const void *const *rows = rows_of(n, d);
    char *packed = fixed(blocks_of(rows, n, d, block_stride));
    char *coef = padded(c, d, stride), *velocity = padded(c, d, stride), *intercept = numbers(c);
    char *slabs = stale(n_slabs * slab), *velocities = stale(n_slabs * slab);
    int add = (int)below(2), with_intercept = (int)below(2), of_classes = (int)below(4) == 3;
    for (size_t k = 0; k < c; k += lanes) {
        size_t width = c - k < lanes ? c - k : lanes;
        kernels->packed->pack_block(rows_in(coef + k * stride * size, width, stride), width, d,
                                    slabs + k * stride * size);
        kernels->packed->pack_block(rows_in(velocity + k * stride * size, width, stride), width, d,
                                    velocities + k * stride * size);
    }
    char *logits = add ? numbers(n * columns) : stale(n * columns), *dlogits = stale(n * columns);
    size_t at_once = below(2) ? columns : lanes;
    struct blocks_view samples = {packed, block_stride, n};
    for (size_t k = 0; k < c; k += at_once) {
        struct weights_view of_slabs = {
            .coef = slabs + k * stride * size,
            .intercept = with_intercept ? intercept + k * size : NULL,
            .stride = slab,
            .n_features = stride,
            .n_classes = c - k < at_once ? c - k : at_once,
        };
        kernels->packed->packed_scores(&samples, &of_slabs, add, logits + k * size, columns);
    }
    if (add) {
        for (size_t i = 0; i < n; ++i) record_reals(logits + i * columns * size, c);
    } else {
        record_rows(logits, n, c, columns);
    }
    kernels->packed->pack_rows(logits, columns, 0, n, c, dlogits, n * lanes);
    size_t n_sums = of_classes ? stride : stride / lanes;
    const char *rules = of_classes ? fixed(numbers(3 * columns)) : NULL;
    double *squares = stale_doubles(n_slabs * n_sums),
           *magnitudes = stale_doubles(n_slabs * n_sums);
    for (size_t k = 0; k < c; k += at_once) {
        size_t width = c - k < at_once ? c - k : at_once, sums = k / lanes * n_sums;
        struct update_view update = {
            .weights = slabs + k * stride * size,
            .velocity = rule.momentum != 0 ? velocities + k * stride * size : NULL,
            .stride = slab,
            .n_classes = width,
            .squares = squares + sums,
            .magnitudes = magnitudes + sums,
        };
        if (of_classes) {
            rule.negative_rates = rules + k * size;
            rule.twice_l2s = rules + (columns + k) * size;
            rule.thresholds = rules + (2 * columns + k) * size;
        }
        kernels->packed->packed_update(&samples, 0, stride, dlogits + k * n * size, &rule, &update);
        if (at_once == lanes) {
            kernels->packed->packed_update_intercept(dlogits + k * n * size, n, width, &rule,
                                                     intercept + k * size, NULL);
        }
    }
    record_penalty(&rule, squares, magnitudes, n_slabs * n_sums);
    for (size_t k = 0; k < c; k += lanes) {
        size_t width = c - k < lanes ? c - k : lanes;
        const void *const *classes = rows_in(coef + k * stride * size, width, stride);
        kernels->packed->unpack_block(slabs + k * stride * size, width, d, (void *const *)classes);
    }
    for (size_t k = 0; k < c; ++k) record_reals(coef + k * stride * size, d);
    if (rule.momentum != 0) record_reals(velocities, n_slabs * slab);
    record_reals(intercept, c);
}

/* Numbers at any strides into a slab, and the sum over rows of its products with other slabs. */
static void sum_over_rows_case(void) {
    function_name = "packed_scores of slabs";
    size_t n = 1 + below(200), d = 1 + below(80), lanes = kernels->lanes, width = 1 + below(lanes);
    size_t n_blocks_of_rows = (n + lanes - 1) / lanes, size = kernels->element_size, way = below(3);
    size_t out_stride = width + below(3);
    int add = (int)below(2);
    char *x = fixed(numbers(n * d)), *left = stale(n * whole_vectors(d));
    for (size_t j = 0; j < d; j += lanes) {
        kernels->packed->pack_slab(x + j * size, (ptrdiff_t)(d * size), (ptrdiff_t)size, n,
                                   d - j < lanes ? d - j : lanes, left + j * n * size);
    }
    size_t depth = (size_t[]){width, 1, width * 2}[way], across = (size_t[]){1, n, 2}[way];
    const void *dlogits = fixed(numbers((n - 1) * depth + (width - 1) * across + 1));
    void *slab = stale(n_blocks_of_rows * lanes * lanes),
         *out = stale((d - 1) * out_stride + width);
    kernels->packed->pack_slab(dlogits, (ptrdiff_t)(depth * size), (ptrdiff_t)(across * size), n,
                               width, slab);
    for (size_t s = 0; s < n; ++s) {
        for (size_t k = 0; k < lanes; ++k) {
            double x = k < width ? get(dlogits, s * depth + k * across) : 0;
            if (!same_bits(get(slab, s * lanes + k), x)) fail("a slab has another number", s);
        }
    }
    void *before = numbers(d * width);
    for (size_t j = 0; add && j < d; ++j) {
        for (size_t k = 0; k < width; ++k) put(out, j * out_stride + k, get(before, j * width + k));
    }
    struct blocks_view of_left = {left, n * lanes, d};
    struct weights_view columns = {
        .coef = slab, .stride = n * lanes, .n_features = n, .n_classes = width};
    kernels->packed->packed_scores(&of_left, &columns, add, out, out_stride);
    for (size_t j = 0; j < d; ++j) {
        for (size_t k = 0; k < width; ++k) {
            struct sum sum = sum_from(add ? get(before, j * width + k) : 0);
            for (size_t s = 0; is_checked && s < n; ++s)
                add_product(&sum, get(x, s * d + j), get(slab, s * lanes + k));
            record(get(out, j * out_stride + k));
            check_sum(get(out, j * out_stride + k), &sum, n, j * width + k);
        }
        for (size_t k = width; k < out_stride && j + 1 < d; ++k)
            check_stale(get(out, j * out_stride + k), j);
    }
}

void (*const CASES[])(void) = {panels_case, short_rows_case, packed_case, sum_over_rows_case};
const size_t N_CASES = LENGTH(CASES);
