/* Rows of logits: softmax, its logarithm, log-sum-exp and cross-entropy. */
#include "case.h"

static const size_t N_CLASSES[] = {1,   2,   3,   4,   5,   7,   8,   9,   10,  12, 15,
                                   16,  17,  24,  31,  32,  33,  40,  63,  64,  65, 100,
                                   127, 128, 129, 256, 257, 300, 511, 512, 513, 600};

struct expected {
    int has_softmax;
    size_t of_largest;
    long double largest, others; /* the sum of exp(z - largest) without that of the largest */
};

static struct expected expected_of(const void *logits, size_t first, size_t n) {
    struct expected row = {1, 0, -INFINITY, 0};
    for (size_t k = 0; k < n; ++k) {
        double z = get(logits, first + k);
        if (isnan(z) || z == INFINITY) row.has_softmax = 0;
        if ((long double)z > row.largest) {
            row.largest = (long double)z;
            row.of_largest = k;
        }
    }
    if (row.largest == -INFINITY) row.has_softmax = 0;
    for (size_t k = 0; is_checked && row.has_softmax && k < n; ++k) {
        if (k == row.of_largest) continue;
        row.others += expl((long double)get(logits, first + k) - row.largest);
    }
    return row;
}

static long double probability(const struct expected *row, double z) {
    return expl((long double)z - row->largest) / (1 + row->others);
}

static long double gap(const struct expected *row, double z) {
    return row->largest - (long double)z + log1pl(row->others);
}

static size_t n_rows_of(size_t n_classes) { return 1 + below(n_classes > 64 ? 3 : 20); }

static void rows_case(void) {
    size_t c = one_of(N_CLASSES, LENGTH(N_CLASSES)), n = n_rows_of(c);
    size_t which = below(3), in_place = below(2);
    void *logits = numbers(n * c), *out = in_place ? reals(n * c) : stale(n * c);
    const void *original = logits;
    if (in_place) {
        memcpy(out, logits, n * c * kernels->element_size);
        original = fixed(logits);
    } else {
        fixed(logits);
    }
    if (which == 2) {
        function_name = "logsumexp";
        void *lse = stale(n);
        kernels->loss->logsumexp(logits, n, c, lse);
        for (size_t i = 0; i < n; ++i) {
            struct expected row = expected_of(logits, i * c, c);
            if (!row.has_softmax || !is_checked) continue;
            long double bound = 8 * epsilon() * (1 + fabsl(row.largest) + log1pl(row.others));
            check_near(get(lse, i), row.largest + log1pl(row.others), bound, "is off", i);
        }
        record_reals(lse, n);
        return;
    }
    function_name = which ? "log_softmax" : "softmax";
    const void *read = in_place ? out : logits;
    ptrdiff_t invalid = (which ? kernels->loss->log_softmax : kernels->loss->softmax)(read, n, c,
                                                                                      out),
              first = -1;
    record((double)invalid);
    for (size_t i = 0; i < n; ++i) {
        struct expected row = expected_of(original, i * c, c);
        if (!row.has_softmax) {
            if (first < 0) first = (ptrdiff_t)i;
            continue;
        }
        long double sum = 0;
        for (size_t k = i * c; k < (i + 1) * c; ++k) {
            double z = get(original, k), y = get(out, k);
            record(y);
            if (!is_checked) continue;
            long double expected = which ? -gap(&row, z) : probability(&row, z);
            sum += (long double)y;
            if (isinf(z) && which && y == -INFINITY) continue;
            /* A logarithm of the sum of all terms keeps the digits of 1. */
            long double bound = 8 * epsilon() * (fabsl(expected) + (which ? 1 : 0));
            check_near(y, expected, bound, "is off", k);
        }
        if (!which && is_checked && fabsl(sum - 1) > 8 * epsilon()) fail("the sum is not 1", i);
    }
    if (first != invalid) fail("reports another row", (size_t)first);
}

struct target {
    int is_looked_at, is_valid;
};

/* The weight u of class k in the target of row i. */
static double weight_of(const struct target_weights *w, const int64_t *labels, const void *t,
                        size_t i, size_t k, size_t c) {
    double target = labels ? (size_t)labels[i] == k : get(t, i * c + k);
    if (!w) return target;
    double u = (1 - w->smoothing) * target + w->smoothing / (double)c;
    if (w->rows) u *= w->rows[i];
    return w->classes ? u * get(w->classes, k) : u;
}

static struct target target_of(const struct target_weights *w, const int64_t *labels, size_t i,
                               size_t c) {
    struct target found = {!w || !w->rows || w->rows[i] != 0, 1};
    if (!labels) return found;
    found.is_valid = (size_t)labels[i] < c;
    if (w && w->classes && w->smoothing == 0 && found.is_valid)
        found.is_looked_at &= get(w->classes, (size_t)labels[i]) != 0;
    return found;
}

static void check_loss(double loss, const void *logits, size_t first,
                       const struct target_weights *w, const int64_t *labels, const void *t,
                       size_t i, size_t c, const struct expected *row) {
    long double expected = 0, mass = 0, gaps = 0;
    for (size_t k = 0; k < c; ++k) {
        double u = weight_of(w, labels, t, i, k, c);
        if (u <= 0) continue;
        expected += (long double)u * gap(row, get(logits, first + k));
        mass += (long double)u;
        gaps += gap(row, get(logits, first + k));
    }
    /* A gap may be a subnormal number; with more classes than the label's, a logarithm of float32's whole sum. A weight
     * is computed in double, and may be subnormal there. */
    long double of_gap = tiny(), of_weight = 8 * 0x1p-1074L;
    if ((t || (w && w->smoothing != 0)) && kernels->element_size == sizeof(float))
        of_gap = (long double)DBL_EPSILON;
    if (isinf(loss) && loss > 0 && (expected > (long double)DBL_MAX / 2 || isinf(expected))) return;
    long double bound = 64 * epsilon() * expected + mass * of_gap + gaps * of_weight + tiny();
    if (isnan(loss) || isinf(expected) || fabsl((long double)loss - expected) > bound) {
        fprintf(stderr, "got %.17g, expected %.20Lg\n", loss, expected);
        fail("a loss is off", i);
    }
}

/* Terms are 2**64 or 2**512 at the most (kernels/exp_log.h), and factors of the type make them gradients: what the
 * smallest number is off by. */
static long double of_factors(void) {
    return kernels->element_size == sizeof(float) ? 0x1p-84L : 0x1p-561L;
}

static void cross_entropy_case(void) {
    function_name = "cross_entropy";
    size_t c = one_of(N_CLASSES, LENGTH(N_CLASSES)), n = n_rows_of(c), with_labels = below(3);
    size_t stride = c + below(3), out_stride = c + below(3);
    void *logits = numbers((n - 1) * stride + c), *t = NULL;
    int64_t *labels = with_labels ? labels_of(n, c, 0) : NULL;
    if (!labels) t = fixed(weights(n * c));
    const struct target_weights *w = weights_of(n, c, 1);
    double scale = below(2) ? 1.0 : 1.0 / (double)n, *losses = stale_doubles(n);
    fixed(logits);
    void *in_place = reals((n - 1) * stride + c);
    memcpy(in_place, logits, ((n - 1) * stride + c) * kernels->element_size);
    void *out = stale((n - 1) * out_stride + c);
    struct targets_view targets = {labels, t, w, c};
    ptrdiff_t invalid = kernels->loss->cross_entropy(logits, stride, n, &targets, scale, losses,
                                                     out, out_stride);
    record((double)invalid);
    ptrdiff_t first = -1;
    for (size_t i = 0; i < n; ++i) {
        struct expected row = expected_of(logits, i * stride, c);
        struct target target = target_of(w, labels, i, c);
        for (size_t k = c; k < out_stride && i + 1 < n; ++k)
            check_stale(get(out, i * out_stride + k), i);
        if (!target.is_valid && !target.is_looked_at) return; /* either way */
        if (target.is_looked_at && (!row.has_softmax || !target.is_valid)) {
            if (first < 0) first = (ptrdiff_t)i;
            continue;
        }
        record(losses[i]);
        for (size_t k = 0; k < c; ++k) record(get(out, i * out_stride + k));
        if (!target.is_looked_at) {
            for (size_t k = 0; k < c; ++k) {
                if (get(out, i * out_stride + k) != 0)
                    fail("a row that does not count has a gradient", i);
            }
            if (losses[i] != 0) fail("a row that does not count has a loss", i);
            continue;
        }
        if (!is_checked) continue;
        check_loss(losses[i], logits, i * stride, w, labels, t, i, c, &row);
        long double mass = 0;
        for (size_t k = 0; k < c; ++k) mass += (long double)weight_of(w, labels, t, i, k, c);
        for (size_t k = 0; k < c; ++k) {
            long double of_p = mass * probability(&row, get(logits, i * stride + k));
            long double u = (long double)weight_of(w, labels, t, i, k, c);
            check_near(get(out, i * out_stride + k), (long double)scale * (of_p - u),
                       64 * epsilon() * (long double)scale * (of_p + u) + of_factors(),
                       "a gradient is off", k);
        }
    }
    if (first != invalid) fail("reports another row", (size_t)first);
    double *again = stale_doubles(n);
    kernels->loss->cross_entropy(in_place, stride, n, &targets, scale, again, in_place, stride);
    is_checked = 0;
    for (size_t i = 0; i < n; ++i) {
        struct expected row = expected_of(logits, i * stride, c);
        if (!row.has_softmax || !target_of(w, labels, i, c).is_valid) continue;
        if (!same_bits(again[i], losses[i])) fail("in place a loss differs", i);
        for (size_t k = 0; k < c; ++k) {
            if (!same_bits(get(in_place, i * stride + k), get(out, i * out_stride + k)))
                fail("in place a gradient differs", i * c + k);
        }
    }
    kernels->loss->cross_entropy(logits, stride, n, &targets, scale, again, NULL, 0);
    for (size_t i = 0; i < n; ++i) {
        if (!same_bits(again[i], losses[i])) fail("without a gradient a loss differs", i);
    }
}

void (*const CASES[])(void) = {rows_case, cross_entropy_case};
const size_t N_CASES = LENGTH(CASES);
