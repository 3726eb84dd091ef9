/* A target of libFuzzer for the kernels: bytes choose the type, the function, shapes, strides, options and
 * numbers, the extreme ones among them. tests/fuzz/fuzz.py compiles it once for each TARGET, with the sanitizers of
 * addresses and of undefined behaviour.
 *
 * Every array is an allocation of its own, of exactly its size, and so is every row. What is held to:
 *   - nothing beside the outputs is touched: inputs stay as they are, and so does what pads the outputs;
 *   - what was in the outputs before does not matter: a second run on other contents has the same bits;
 *   - AVX2 and AVX-512 have the same bits;
 *   - a row without a softmax is reported, any other has losses and gradients near those of long double;
 *   - products and sums of moderate numbers are near those of long double.
 */
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels.h"

#define LENGTH(array) (sizeof(array) / sizeof *(array))

/* ---- The case in work ---- */

static const struct kernels *kernels;
static const char *set_name, *function_name;
static double stale_value;
static int is_moderate; /* all numbers so far are */
static int is_checked;  /* against long double, which takes long: one of the sets in each input */

static void fail(const char *what, size_t at) {
    fprintf(stderr, "finding: %s %s %s: %s (%zu)\n", set_name,
            kernels->element_size == sizeof(float) ? "float32" : "float64", function_name, what,
            at);
    abort();
}

/* ---- Bytes into choices ---- */

static const uint8_t *bytes;
static size_t n_bytes, at_byte;

static size_t below(size_t n) {
    size_t byte = at_byte < n_bytes ? bytes[at_byte] : 0;
    ++at_byte;
    return byte % n;
}

static size_t one_of(const size_t *values, size_t n) { return values[below(n)]; }

static uint64_t state;

static uint64_t next(void) { /* SplitMix64 */
    uint64_t x = state += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

static double uniform(void) { return ((double)(next() >> 11) - 0x1p52) * 0x1p-52; }

static const double EXTREMES[] = {
    0,        -0.0,    1,        -1,      1 + 0x1p-23, 1 - 0x1p-24, 0x1p-1074,  -0x1p-149, 1.2e-38,
    2.3e-308, FLT_MAX, -FLT_MAX, DBL_MAX, -DBL_MAX,    88.7,        -103.9,     709.8,     -745.1,
    0.5,      1e-3,    256,      32768,   INFINITY,    -INFINITY,   (double)NAN};

/* ---- Arrays ---- */

static struct block {
    char *start, *copy; /* the copy is NULL where the kernels may write */
    size_t n_bytes;
} blocks[512];
static size_t n_blocks;

static void *allocate(size_t size) {
    if (n_blocks == LENGTH(blocks)) fail("the target makes too many arrays", n_blocks);
    char *start = malloc(size ? size : 1);
    if (!start) fail("no memory", size);
    blocks[n_blocks++] = (struct block){start, NULL, size};
    return start;
}

/* From now on an array stays as it is. */
static void *fixed(void *array) {
    for (size_t i = n_blocks; i-- > 0;) {
        struct block *block = blocks + i;
        if (block->start != array) continue;
        block->copy = malloc(block->n_bytes ? block->n_bytes : 1);
        memcpy(block->copy, block->start, block->n_bytes);
        return array;
    }
    fail("no array of the target", 0);
    return NULL;
}

static void free_arrays(void) {
    for (size_t i = 0; i < n_blocks; ++i) {
        if (blocks[i].copy && memcmp(blocks[i].copy, blocks[i].start, blocks[i].n_bytes)) {
            fail("an input has changed", i);
        }
        free(blocks[i].copy);
        free(blocks[i].start);
    }
    n_blocks = 0;
}

static void put(void *array, size_t i, double x) {
    if (kernels->element_size == sizeof(float)) {
        ((float *)array)[i] = (float)x;
    } else {
        ((double *)array)[i] = x;
    }
}

static double get(const void *array, size_t i) {
    return kernels->element_size == sizeof(float) ? (double)((const float *)array)[i]
                                                  : ((const double *)array)[i];
}

static void *reals(size_t n) { return allocate(n * kernels->element_size); }

/* What an output holds before. */
static void *stale(size_t n) {
    void *array = reals(n);
    for (size_t i = 0; i < n; ++i) put(array, i, stale_value);
    return array;
}

static double *stale_doubles(size_t n) {
    double *array = allocate(n * sizeof *array);
    for (size_t i = 0; i < n; ++i) array[i] = stale_value;
    return array;
}

/* Numbers of a seed on some scale, a few of them extremes; or of any bits, from the input. */
static void fill(void *array, size_t n) {
    static const double scales[] = {1, 1e-3, 30, 1e4};
    size_t kind = below(8), size = kernels->element_size;
    state = below(256);
    for (size_t i = 0; i < n; ++i) put(array, i, uniform() * scales[kind % 4]);
    if (kind == 7) {
        size_t left = at_byte < n_bytes ? n_bytes - at_byte : 0, used = n * size;
        if (left < used) used = left / size * size;
        if (used) memcpy(array, bytes + at_byte, used);
        at_byte += used;
    } else if (kind >= 4) {
        for (size_t left = 1 + below(4); n && left > 0; --left) {
            size_t place = below(256) + 256 * below(4);
            put(array, place % n, EXTREMES[below(LENGTH(EXTREMES))]);
        }
    }
    for (size_t i = 0; i < n; ++i) {
        double x = fabs(get(array, i));
        is_moderate &= x == 0 || (x < 1e5 && x > 1e-9);
    }
}

static void *numbers(size_t n) {
    void *array = reals(n);
    fill(array, n);
    return array;
}

/* Finite and not negative. */
static void *weights(size_t n) {
    void *array = numbers(n);
    for (size_t i = 0; i < n; ++i) {
        double x = fabs(get(array, i));
        put(array, i, x < 1e6 ? x : 1);
    }
    return array;
}

/* Class-major and padded with zeros to whole vectors. */
static void *padded(size_t n_rows, size_t n, size_t stride) {
    void *array = numbers(n_rows * stride);
    for (size_t i = 0; i < n_rows; ++i) {
        for (size_t j = n; j < stride; ++j) put(array, i * stride + j, 0);
    }
    return array;
}

static size_t whole_vectors(size_t n) {
    return (n + kernels->lanes - 1) / kernels->lanes * kernels->lanes;
}

/* Rows that lie apart, in another order than in memory. Those that come after may be fetched and not read: of
 * them there is one byte. */
static const void *const *rows_of(size_t n, size_t d) {
    const void **rows = allocate((n + ROWS_AHEAD) * sizeof *rows);
    for (size_t i = n; i-- > 0;) rows[i] = fixed(numbers(d));
    const void *byte = allocate(1);
    for (size_t i = n; i < n + ROWS_AHEAD; ++i) rows[i] = byte;
    return rows;
}

/* ---- Results, to be compared between runs ---- */

struct results {
    double *values;
    size_t n, room;
};

static struct results results[5];
static struct results *recorded;

static void record(double x) {
    if (recorded->n == recorded->room) {
        recorded->room = recorded->room ? 2 * recorded->room : 1024;
        recorded->values = realloc(recorded->values, recorded->room * sizeof x);
        if (!recorded->values) abort();
    }
    recorded->values[recorded->n++] = x;
}

static void record_reals(const void *array, size_t n) {
    for (size_t i = 0; i < n; ++i) record(get(array, i));
}

static void record_doubles(const double *array, size_t n) {
    for (size_t i = 0; i < n; ++i) record(array[i]);
}

static int same_bits(double a, double b) {
    return (isnan(a) && isnan(b)) || memcmp(&a, &b, sizeof a) == 0;
}

static void check_stale(double x, size_t i) {
    if (!same_bits(x, kernels->element_size == sizeof(float) ? (double)(float)stale_value
                                                             : stale_value)) {
        fail("what pads an output has changed", i);
    }
}

/* Rows of an output; what lies between them stays as it was. */
static void record_rows(const void *array, size_t n_rows, size_t n, size_t stride) {
    for (size_t i = 0; i < n_rows; ++i) {
        for (size_t j = 0; j < n; ++j) record(get(array, i * stride + j));
        for (size_t j = n; j < stride; ++j) check_stale(get(array, i * stride + j), i);
    }
}

static long double epsilon(void) {
    return kernels->element_size == sizeof(float) ? (long double)FLT_EPSILON
                                                  : (long double)DBL_EPSILON;
}

/* Far more than a rounding of the smallest numbers. */
static long double tiny(void) {
    return kernels->element_size == sizeof(float) ? 8 * 0x1p-149L : 8 * 0x1p-1074L;
}

/* In the kernel's type; losses, which are double, by themselves. */
static void check_near(double x, long double expected, long double bound, const char *what,
                       size_t at) {
    if (isnan(x) || !(fabsl((long double)x - expected) <= bound + tiny())) {
        long double most = kernels->element_size == sizeof(float) ? (long double)FLT_MAX
                                                                  : (long double)DBL_MAX;
        if (isinf(x) && fabsl(expected) >= most * (1 - 8 * epsilon()) && (x > 0) == (expected > 0))
            return;
        fprintf(stderr, "got %.17g, expected %.20Lg within %.3Lg\n", x, expected, bound + tiny());
        fail(what, at);
    }
}

/* ---- Rows of logits ---- */

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
        kernels->logsumexp(logits, n, c, lse);
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
    ptrdiff_t invalid = (which ? kernels->log_softmax : kernels->softmax)(read, n, c, out),
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

static int64_t *labels_of(size_t n, size_t c, int all_valid) {
    int64_t *labels = allocate(n * sizeof *labels);
    state = below(256);
    for (size_t i = 0; i < n; ++i) labels[i] = (int64_t)(next() % c);
    if (!all_valid && below(8) == 7) {
        const int64_t bad[] = {-1, (int64_t)c, INT64_MAX, INT64_MIN, (int64_t)c + 1};
        labels[below(n)] = bad[below(LENGTH(bad))];
    }
    return fixed(labels);
}

/* Of rows, of classes, both, with label smoothing, or none at all. */
static struct target_weights *weights_of(size_t n, size_t c, int may_have_classes) {
    static struct target_weights found;
    size_t bits = below(8);
    double *rows = allocate(n * sizeof *rows);
    state = below(256);
    for (size_t i = 0; i < n; ++i) rows[i] = next() % 4 ? fabs(uniform()) * 3 : 0;
    void *classes = weights(c);
    found = (struct target_weights){bits & 1 ? fixed(rows) : NULL,
                                    bits & 2 && may_have_classes ? fixed(classes) : NULL,
                                    bits & 4 ? 0.1 : 0};
    return bits ? &found : NULL;
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
    long double expected = 0;
    for (size_t k = 0; k < c; ++k) {
        double u = weight_of(w, labels, t, i, k, c);
        if (u > 0) expected += (long double)u * gap(row, get(logits, first + k));
    }
    if (isinf(loss) && loss > 0 && (expected > (long double)DBL_MAX / 2 || isinf(expected))) return;
    if (isnan(loss) || fabsl((long double)loss - expected) > 64 * epsilon() * expected + tiny()) {
        fprintf(stderr, "got %.17g, expected %.20Lg\n", loss, expected);
        fail("a loss is off", i);
    }
}

/* Terms are 2**64 or 2**512 at the most (exponential.h), and factors of the type make them gradients: what the
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
    ptrdiff_t invalid = kernels->cross_entropy(logits, stride, n, c, labels, t, w, scale, losses,
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
    kernels->cross_entropy(in_place, stride, n, c, labels, t, w, scale, again, in_place, stride);
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
    kernels->cross_entropy(logits, stride, n, c, labels, t, w, scale, again, NULL, 0);
    for (size_t i = 0; i < n; ++i) {
        if (!same_bits(again[i], losses[i])) fail("without a gradient a loss differs", i);
    }
}

/* ---- Products ---- */

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
    kernels->pack(W + start, of_feature, of_class, d, c, coef, stride);
    kernels->unpack(coef, stride, d, c, back + start, of_feature, of_class);
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

/* The sum of n products, near that of long double where numbers are moderate. */
static void check_dot(double x, long double expected, long double magnitudes, size_t n, size_t at) {
    if (!is_moderate || !is_checked) return;
    check_near(x, expected, (long double)(n + 4) * epsilon() * magnitudes, "a product is off", at);
}

static void scores_case(void) {
    function_name = "scores";
    size_t n = 1 + below(20), d = 1 + below(80), c = 1 + below(24), stride = whole_vectors(d);
    size_t out_stride = c + below(3);
    const void *const *rows = rows_of(n, d);
    const void *coef = fixed(padded(c, d, stride));
    const void *intercept = below(2) ? fixed(numbers(c)) : NULL;
    void *out = stale((n - 1) * out_stride + c);
    kernels->scores(rows, n, d, coef, stride, c, intercept, out, out_stride);
    for (size_t i = 0; i < n; ++i) {
        for (size_t k = 0; k < c; ++k) {
            long double sum = intercept ? (long double)get(intercept, k) : 0, all = fabsl(sum);
            for (size_t j = 0; is_checked && j < d; ++j) {
                long double x = (long double)get(rows[i], j) *
                                (long double)get(coef, k * stride + j);
                sum += x;
                all += fabsl(x);
            }
            record(get(out, i * out_stride + k));
            check_dot(get(out, i * out_stride + k), sum, all, d, i * c + k);
        }
        for (size_t k = c; k < out_stride && i + 1 < n; ++k)
            check_stale(get(out, i * out_stride + k), i);
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
    for (size_t first = 0; first < d; first += lanes) {
        kernels->outer_sum(rows, n, first, d, g, of_row, of_column, c, add, out, out_stride);
    }
    for (size_t k = 0; k < c; ++k) {
        for (size_t j = 0; j < d; ++j) {
            long double sum = add ? (long double)get(before, k * d + j) : 0, all = fabsl(sum);
            for (size_t s = 0; is_checked && s < n; ++s) {
                long double x = (long double)get(rows[s], j) *
                                (long double)get(g, s * of_row + k * of_column);
                sum += x;
                all += fabsl(x);
            }
            record(get(out, k * out_stride + j));
            check_dot(get(out, k * out_stride + j), sum, all, n, k * d + j);
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
    kernels->column_sums(g, stride, n, d, add, out);
    for (size_t k = 0; k < d; ++k) {
        long double sum = add ? (long double)get(before, k) : 0, all = fabsl(sum);
        for (size_t s = 0; s < n; ++s) {
            sum += (long double)get(g, s * stride + k);
            all += fabsl((long double)get(g, s * stride + k));
        }
        check_dot(get(out, k), sum, all, n, k);
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
    record(kernels->penalty(w, n, l2, l1, gradient));
    if (gradient) record_reals(gradient, n);
}

/* ---- Steps of training ---- */

static struct rule rule_of(void) {
    size_t bits = below(64);
    static const double rates[] = {0.1, 1e-30, 1e30, 3};
    return (struct rule){
        .rate = rates[below(4)],
        .l2 = bits & 1 ? 0.03 : 0,
        .l1 = bits & 2 ? 0.02 : 0,
        .momentum = bits & 4 ? 0.9 : 0,
        .nesterov = (bits & 8) != 0,
        .subgradient = (bits & 16) != 0,
    };
}

static void record_penalty(const struct rule *rule, const double *squares, const double *magnitudes,
                           size_t n) {
    if (rule->l2 != 0) record_doubles(squares, n);
    if (rule->l1 != 0) record_doubles(magnitudes, n);
}

/* A step with few classes, in two panels where there are two vectors of features. */
static void panels_case(void) {
    function_name = "panels";
    struct rule rule = rule_of();
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
    for (size_t p = 0; p < n_panels; ++p) {
        enum ahead ahead = below(4) == 3 ? NO_ROWS : (enum ahead)below(3);
        kernels->panel_scores(rows, n, starts[p], starts[p + 1] - starts[p], ahead, coef, stride, c,
                              scores + p * panel * kernels->element_size);
    }
    kernels->panel_cross_entropy(scores, n_panels, panel, n, c, intercept, labels, t, w, 0.5,
                                 losses, dlogits);
    record_doubles(losses, n);
    struct rows_to_fetch fetch = {rows, below(n + 1), 0, d};
    for (size_t p = 0; p < n_panels; ++p) {
        kernels->panel_update(rows, n, &fetch, starts[p], starts[p + 1] - starts[p], dlogits, c,
                              &rule, coef, velocity, stride, squares + starts[p] / lanes,
                              magnitudes + starts[p] / lanes);
    }
    kernels->panel_update_intercept(dlogits, n, c, &rule, intercept, of_intercept);
    record_penalty(&rule, squares, magnitudes, n_vectors);
    record_reals(coef, c * stride);
    if (velocity) record_reals(velocity, c * stride);
    record_reals(intercept, c);
    if (of_intercept) record_reals(of_intercept, c);
}

/* A step with few classes on short rows, in two chunks where there are two samples. */
static void short_rows_case(void) {
    function_name = "short_rows";
    struct rule rule = rule_of();
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
            kernels->short_scores(rows + starts[p] + i, n_rows - i < lanes ? n_rows - i : lanes, d,
                                  below(2) ? rows + n : NULL, strips, c, scores + i * c * size);
        }
        for (size_t i = 0; i < n_rows; ++i) {
            for (size_t k = 0; k < c; ++k) {
                record(get(scores, i / lanes * block + k * lanes + i % lanes));
            }
        }
        /* Scores in place of gradients; those of the first samples come once more. */
        kernels->short_gradient(rows + starts[p], n_rows, d, scores, c, 0, out);
        if (n_rows / 2) kernels->short_gradient(rows + starts[p], n_rows / 2, d, scores, c, 1, out);
        record_reals(out, stride);
    }
    kernels->short_update(gradients, n_chunks, stride, d, c, &rule, strips, velocity, intercept,
                          of_intercept, squares, magnitudes);
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
        kernels->pack_block(rows + i, n - i < lanes ? n - i : lanes, d,
                            packed + i / lanes * block_stride * kernels->element_size);
    }
    return packed;
}

/* A step with many classes, there and back: all slabs at once or one by one. */
static void packed_case(void) {
    function_name = "packed";
    struct rule rule = rule_of();
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
        kernels->pack_block(rows_in(coef + k * stride * size, width, stride), width, d,
                            slabs + k * stride * size);
        kernels->pack_block(rows_in(velocity + k * stride * size, width, stride), width, d,
                            velocities + k * stride * size);
    }
    char *logits = add ? numbers(n * columns) : stale(n * columns), *dlogits = stale(n * columns);
    size_t at_once = below(2) ? columns : lanes;
    for (size_t k = 0; k < c; k += at_once) {
        size_t width = c - k < at_once ? c - k : at_once;
        kernels->packed_scores(packed, block_stride, n, stride, slabs + k * stride * size, slab,
                               with_intercept ? intercept + k * size : NULL, width, add,
                               logits + k * size, columns);
    }
    if (add) {
        for (size_t i = 0; i < n; ++i) record_reals(logits + i * columns * size, c);
    } else {
        record_rows(logits, n, c, columns);
    }
    kernels->pack_dlogits(logits, columns, 0, n, c, dlogits, n * lanes);
    size_t n_sums = of_classes ? stride : stride / lanes;
    const char *rules = of_classes ? fixed(numbers(3 * columns)) : NULL;
    double *squares = stale_doubles(n_slabs * n_sums),
           *magnitudes = stale_doubles(n_slabs * n_sums);
    for (size_t k = 0; k < c; k += at_once) {
        size_t width = c - k < at_once ? c - k : at_once, sums = k / lanes * n_sums;
        char *v = rule.momentum != 0 ? velocities + k * stride * size : NULL;
        if (of_classes) {
            rule.negative_rates = rules + k * size;
            rule.twice_l2s = rules + (columns + k) * size;
            rule.thresholds = rules + (2 * columns + k) * size;
        }
        kernels->packed_update(packed, block_stride, n, 0, stride, dlogits + k * n * size, &rule,
                               width, slabs + k * stride * size, slab, v, squares + sums,
                               magnitudes + sums);
        if (at_once == lanes) {
            kernels->packed_update_intercept(dlogits + k * n * size, n, width, &rule,
                                             intercept + k * size, NULL);
        }
    }
    record_penalty(&rule, squares, magnitudes, n_slabs * n_sums);
    for (size_t k = 0; k < c; k += lanes) {
        size_t width = c - k < lanes ? c - k : lanes;
        const void *const *classes = rows_in(coef + k * stride * size, width, stride);
        kernels->unpack_block(slabs + k * stride * size, width, d, (void *const *)classes);
    }
    for (size_t k = 0; k < c; ++k) record_reals(coef + k * stride * size, d);
    if (rule.momentum != 0) record_reals(velocities, n_slabs * slab);
    record_reals(intercept, c);
}

/* Numbers at any strides into a slab, and the gradient from it. */
static void packed_gradient_case(void) {
    function_name = "packed_gradient";
    size_t n = 1 + below(40), d = 1 + below(80), lanes = kernels->lanes, width = 1 + below(lanes);
    size_t n_blocks_of_rows = (n + lanes - 1) / lanes, size = kernels->element_size, way = below(3);
    size_t block_stride = (whole_vectors(d) + below(2)) * lanes, out_stride = width + below(3);
    int add = (int)below(2);
    const void *const *rows = rows_of(n, d);
    char *packed = fixed(blocks_of(rows, n, d, block_stride));
    size_t depth = (size_t[]){width, 1, width * 2}[way], across = (size_t[]){1, n, 2}[way];
    const void *dlogits = fixed(numbers((n - 1) * depth + (width - 1) * across + 1));
    void *slab = stale(n_blocks_of_rows * lanes * lanes),
         *out = stale((d - 1) * out_stride + width);
    kernels->pack_slab(dlogits, (ptrdiff_t)(depth * size), (ptrdiff_t)(across * size), n, width,
                       slab);
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
    kernels->packed_gradient(packed, block_stride, n, d, slab, width, add, out, out_stride);
    for (size_t j = 0; j < d; ++j) {
        for (size_t k = 0; k < width; ++k) {
            long double sum = add ? (long double)get(before, j * width + k) : 0, all = fabsl(sum);
            for (size_t s = 0; is_checked && s < n; ++s) {
                long double x = (long double)get(rows[s], j) *
                                (long double)get(slab, s * lanes + k);
                sum += x;
                all += fabsl(x);
            }
            record(get(out, j * out_stride + k));
            check_dot(get(out, j * out_stride + k), sum, all, n, j * width + k);
        }
        for (size_t k = width; k < out_stride && j + 1 < d; ++k)
            check_stale(get(out, j * out_stride + k), j);
    }
}

/* ---- Sparse rows ---- */

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
        long double sum = intercept ? (long double)get(intercept, k) : 0, all = fabsl(sum);
        for (size_t v = 0; v < row->n_values; ++v) {
            size_t j = column_in(row, v, wide);
            if (j >= d) {
                if (!isnan(get(logits, 0))) fail("a column that is not there has a score", at);
                return;
            }
            long double x = (long double)get(row->values, v) * (long double)get(coef, k * d + j);
            if (inverse_scale) x *= (long double)get(inverse_scale, j);
            sum += x;
            all += fabsl(x);
        }
        check_dot(get(logits, k), sum, all, row->n_values, at);
    }
}

/* Two steps, and what the penalty alone does to the weights that they do not meet. */
static void sparse_case(void) {
    function_name = "sparse";
    size_t n = 1 + below(12), d = 1 + below(60), lanes = kernels->lanes,
           size = kernels->element_size;
    size_t c = one_of(SPARSE_CLASSES, LENGTH(SPARSE_CLASSES)), columns = whole_vectors(c);
    size_t n_slabs = (c - 1) / (SPARSE_SLAB_VECTORS * lanes) + 1;
    int wide = (int)below(2), has_penalty = (int)below(2), has_none = 0;
    struct penalty_prefix *prefixes = allocate(3 * sizeof *prefixes);
    prefixes[0] = (struct penalty_prefix){1, 1, 0};
    uint32_t *steps = allocate(n_slabs * d * sizeof *steps);
    memset(steps, 0, n_slabs * d * sizeof *steps);
    const void *inverse_scale = below(2) ? fixed(numbers(d)) : NULL;
    struct sparse_weights w = {stale(d * columns),         d,        c, wide, inverse_scale,
                               has_penalty ? steps : NULL, prefixes, 0};
    const void *coef = fixed(numbers(c * d));
    void *intercept = numbers(c), *back = stale(c * d), *logits = stale(n * columns);
    for (size_t k = 0; k < n_slabs; ++k) kernels->sparse_pack(coef, &w, k);
    for (size_t k = 0; k < n_slabs; ++k) kernels->sparse_unpack(&w, k, back);
    for (size_t i = 0; i < c * d; ++i) {
        if (!same_bits(get(back, i), get(coef, i))) fail("a weight comes back as another", i);
    }
    for (int i = 0; i < 2; ++i) {
        const struct sparse_row *rows = sparse_rows_of(n, d, wide, &has_none);
        double factor = (double[]){0.9, -0.3, 1, 1e-30}[below(4)], threshold = below(2) ? 0.01 : 0;
        int with_intercept = (int)below(2);
        for (size_t k = 0; k < n_slabs; ++k) {
            kernels->sparse_scores(rows, n, &w, k, with_intercept ? intercept : NULL, logits,
                                   columns);
        }
        for (size_t s = 0; s < n; ++s) {
            const char *row = (const char *)logits + s * columns * size;
            record_reals(row, c);
            if (i == 0)
                check_sparse_scores(rows + s, wide, coef, d, c, inverse_scale,
                                    with_intercept ? intercept : NULL, row, s);
        }
        for (size_t k = 0; k < n_slabs; ++k) {
            kernels->sparse_update(rows, n, &w, k, logits, columns, -0.01);
        }
        kernels->sparse_update_intercept(logits, columns, n, c, 0.1, intercept);
        struct penalty_prefix *last = prefixes + w.now++;
        last[1].scale = last->scale * factor;
        last[1].inverse_scale = 1 / last[1].scale;
        last[1].shrinkage = last->shrinkage + threshold * fabs(last[1].inverse_scale);
    }
    for (size_t k = 0; k < n_slabs; ++k) {
        if (has_penalty) kernels->sparse_catch_up(&w, k);
        kernels->sparse_unpack(&w, k, back);
    }
    record_reals(w.start, d * columns);
    record_reals(back, c * d);
    record_reals(intercept, c);
}

/* ---- Conversion ---- */

static size_t size_of(enum number number) {
    return (size_t[]){1, 2, 4, kernels->element_size}[number];
}

static void *any_numbers(size_t n, enum number number) {
    uint8_t *array = allocate(n * size_of(number));
    state = below(256);
    if (number == REAL) {
        fill(array, n);
    } else if (number == FLOAT32 && below(2)) {
        for (size_t i = 0; i < n; ++i) {
            float x = (float)uniform();
            memcpy(array + i * sizeof x, &x, sizeof x);
        }
    } else {
        for (size_t i = 0; i < n * size_of(number); ++i) array[i] = (uint8_t)next();
    }
    return fixed(array);
}

static double of_half(uint16_t bits) {
    int exponent = bits >> 10 & 31, sign = bits >> 15 ? -1 : 1;
    double mantissa = bits & 1023;
    if (exponent == 31) return mantissa != 0 ? (double)NAN : sign * (double)INFINITY;
    return sign * (exponent ? ldexp(1024 + mantissa, exponent - 25) : ldexp(mantissa, -24));
}

static double number_at(const void *array, size_t i, enum number number) {
    const char *place = (const char *)array + i * size_of(number);
    if (number == UINT8) return *(const uint8_t *)place;
    if (number == REAL) return get(place, 0);
    uint16_t half;
    float single;
    memcpy(number == FLOAT16 ? (void *)&half : (void *)&single, place, size_of(number));
    return number == FLOAT16 ? of_half(half) : (double)single;
}

static void convert_case(void) {
    function_name = "convert";
    size_t n = 1 + below(20), d = 1 + below(80), lanes = kernels->lanes;
    enum number number = (enum number)below(4);
    size_t first = below(2) && d > lanes ? lanes : 0, stride = whole_vectors(d);
    const void **rows = allocate((n + ROWS_AHEAD) * sizeof *rows);
    const void *byte = allocate(1);
    for (size_t i = 0; i < n + ROWS_AHEAD; ++i) rows[i] = i < n ? any_numbers(d, number) : byte;
    const void *mean = below(2) ? fixed(numbers(d)) : NULL,
               *scale = below(2) ? fixed(numbers(d)) : NULL;
    void *out = stale(n * stride);
    kernels->convert((const void *const *)rows, n, number, first, d - first, mean, scale, out,
                     stride);
    for (size_t i = 0; i < n; ++i) {
        for (size_t j = 0; j < stride; ++j) {
            double x = get(out, i * stride + j);
            if (j < first) {
                check_stale(x, j);
                continue;
            }
            double expected = 0;
            if (j < d) {
                char one[sizeof(double)]; /* each operation rounded in the type */
                put(one, 0, number_at(rows[i], j, number));
                if (mean) put(one, 0, get(one, 0) - get(mean, j));
                if (scale) put(one, 0, get(one, 0) * get(scale, j));
                expected = get(one, 0);
                if (!same_bits(x, expected)) fail("is another number", j);
            } else if (x != 0 && !mean && !scale) {
                fail("the padding is not 0", j);
            }
            record(x);
        }
    }
}

static void moments_case(void) {
    function_name = "moments";
    size_t n = 1 + below(200), d = 1 + below(80);
    enum number number = kernels->element_size == sizeof(float) ? UINT8 : (enum number)below(4);
    size_t size = size_of(number), stride = d + below(3);
    is_moderate &= number == UINT8;
    const char *rows = any_numbers((n - 1) * stride + d, number);
    double *sums = allocate(d * sizeof *sums), *squares = allocate(d * sizeof *squares);
    double *origin = allocate(d * sizeof *origin);
    for (size_t j = 0; j < d; ++j) {
        sums[j] = squares[j] = 0;
        origin[j] = number_at(rows, j, number);
    }
    fixed(origin);
    kernels->moments(rows, stride * size, n, d, number, origin, sums, squares);
    for (size_t j = 0; j < d && number == UINT8; ++j) {
        double sum = 0, square = 0;
        for (size_t i = 0; i < n; ++i) {
            double x = number_at(rows, i * stride + j, number) - origin[j];
            sum += x;
            square += x * x;
        }
        if (sums[j] != sum || squares[j] != square) fail("whole numbers have another sum", j);
    }
    record_doubles(sums, d);
    record_doubles(squares, d);
}

/* ---- All of them ---- */

static const struct {
    const char *target;
    void (*test)(void);
} CASES[] = {
    {"rows", rows_case},        {"rows", cross_entropy_case},    {"products", pack_case},
    {"products", scores_case},  {"products", outer_sum_case},    {"products", column_sums_case},
    {"products", penalty_case}, {"steps", panels_case},          {"steps", short_rows_case},
    {"steps", packed_case},     {"steps", packed_gradient_case}, {"sparse", sparse_case},
    {"convert", convert_case},  {"convert", moments_case},
};
#define STRING_(target) #target
#define STRING(target) STRING_(target)

/* One of the cases of this program's target. */
static void (*case_of(size_t choice))(void) {
    size_t n_cases = 0;
    for (size_t i = 0; i < LENGTH(CASES); ++i) n_cases += !strcmp(CASES[i].target, STRING(TARGET));
    choice %= n_cases;
    for (size_t i = 0;; ++i) {
        if (!strcmp(CASES[i].target, STRING(TARGET)) && choice-- == 0) return CASES[i].test;
    }
}

/* The same input in every run: the choices begin anew. */
static void run(void (*test)(void), struct results *into, double before, int checked) {
    recorded = into;
    recorded->n = 0;
    stale_value = before;
    is_moderate = 1;
    is_checked = checked;
    at_byte = 2;
    test();
    free_arrays();
}

static void compare(const struct results *a, const struct results *b, const char *what) {
    if (a->n != b->n) fail("another number of results", b->n);
    for (size_t i = 0; i < a->n; ++i) {
        if (same_bits(a->values[i], b->values[i])) continue;
        fprintf(stderr, "%.17g against %.17g\n", a->values[i], b->values[i]);
        fail(what, i);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    bytes = data;
    n_bytes = n;
    at_byte = 0;
    size_t kind = below(256);
    void (*test)(void) = case_of(below(256));
    const struct results *with_fma = NULL;
    size_t i = 0;
    for (const struct instruction_set *set = instruction_sets; set->name; ++set, ++i) {
        if (!set->is_supported()) continue;
        set_name = set->name;
        kernels = kind & 1 ? set->float32 : set->float64;
        int is_chosen = (kind >> 1) % 3 == i % 3;
        run(test, results + i, -77, is_chosen);
        if (is_chosen) { /* twice */
            run(test, results + LENGTH(results) - 1, (double)NAN, 0);
            compare(results + i, results + LENGTH(results) - 1, "what was there before matters");
        }
        if (set[1].name == NULL) break; /* portable C has bits of its own */
        if (with_fma) compare(with_fma, results + i, "instruction sets differ");
        with_fma = results + i;
    }
    return 0;
}
