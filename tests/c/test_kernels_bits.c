/* Prints a hash of what every kernel returns and writes, for each instruction set that this CPU can run:
 *
 *   avx512 float32 softmax 6c62272e07bb0142
 *
 * The inputs come from integers and no library function has a part in them. So the hashes of two builds
 * differ only where the kernels do, whatever the compilers and the CPUs; tests/c/check_platforms compares such
 * builds. With an argument, one line is printed for every case: the first that differs is the one to look at.
 *
 * Every array ends at a page that may not be touched: a kernel that goes one element too far crashes. With
 * MEMCHECK defined it is for valgrind: outputs count as not written until a kernel writes them, and must not
 * come of what has not been.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#if defined(_WIN32)
#include <windows.h>
#undef OUT /* nothing, for declarations */
#else
#include <sys/mman.h>
#include <unistd.h>
#endif

#include "kernels/kernel_table.h"

#ifdef MEMCHECK
#include <valgrind/memcheck.h>
#endif

static const struct kernels *kernels; /* under test */

/* ---- Inputs ---- */

static uint64_t state;

/* SplitMix64. Two draws never stand in one call: compilers differ in the order of arguments. */
static uint64_t next(void) {
    uint64_t x = state += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

static size_t below(size_t n) { return (size_t)(next() % n); }

/* In [-1, 1), on a grid of 2**-52: exact. */
static double uniform(void) { return ((double)(next() >> 11) - 0x1p52) * 0x1p-52; }

enum slot {
    LOGITS,
    OUT,
    TARGETS,
    LOSSES,
    DATA,
    WEIGHTS,
    VELOCITY,
    INTERCEPT,
    RULES,
    PRODUCTS,
    N_SLOTS
};
enum { SLOT_BYTES = 1 << 20 };
static char *slot_end[N_SLOTS];

/* Return memory of SLOT_BYTES in front of a page that may not be touched, or NULL. */
static char *guarded_slot(void) {
#if defined(_WIN32)
    SYSTEM_INFO system;
    DWORD before;
    GetSystemInfo(&system);
    char *start = VirtualAlloc(NULL, SLOT_BYTES + system.dwPageSize, MEM_COMMIT | MEM_RESERVE,
                               PAGE_READWRITE);
    int is_guarded = start &&
                     VirtualProtect(start + SLOT_BYTES, system.dwPageSize, PAGE_NOACCESS, &before);
#else
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    char *start = mmap(NULL, SLOT_BYTES + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
                       -1, 0);
    int is_guarded = start != MAP_FAILED && mprotect(start + SLOT_BYTES, page, PROT_NONE) == 0;
#endif
    return is_guarded ? start : NULL;
}

static void make_slots(void) {
    for (int i = 0; i < N_SLOTS; ++i) {
        char *start = guarded_slot();
        if (!start) {
            fputs("test_kernels_bits: no memory\n", stderr);
            exit(1);
        }
        slot_end[i] = start + SLOT_BYTES;
    }
}

static void *array_of(enum slot slot, size_t n, size_t element_size) {
    if (n * element_size > SLOT_BYTES) {
        fprintf(stderr, "test_kernels_bits: SLOT_BYTES is too small for %zu elements\n", n);
        exit(1);
    }
    return slot_end[slot] - n * element_size;
}

static void put(void *array, size_t i, double x) {
    if (kernels->element_size == sizeof(float)) {
        ((float *)array)[i] = (float)x;
    } else {
        ((double *)array)[i] = x;
    }
}

static void *constant(enum slot slot, size_t n, double x) {
    void *array = array_of(slot, n, kernels->element_size);
    for (size_t i = 0; i < n; ++i) put(array, i, x);
    return array;
}

static void *uniforms(enum slot slot, size_t n) {
    void *array = array_of(slot, n, kernels->element_size);
    for (size_t i = 0; i < n; ++i) put(array, i, uniform());
    return array;
}

/* What an output holds before, and keeps where the kernel has nothing to write. */
enum { STALE = -77 };
static void *stale(enum slot slot, size_t n) {
    void *array = constant(slot, n, STALE);
#ifdef MEMCHECK
    VALGRIND_MAKE_MEM_UNDEFINED(array, n * kernels->element_size);
#endif
    return array;
}

/* Rows on scales from 1e-3 to 1e4; every second with -inf in it; a ninth has no softmax. */
static void *logits_of(size_t n_rows, size_t n_classes, size_t stride) {
    static const double scales[] = {1e-3, 1, 30, 1e4};
    void *logits = uniforms(LOGITS, n_rows * stride);
    for (size_t i = 0; i < n_rows; ++i) {
        for (size_t k = 0; k < n_classes; ++k) {
            double z = uniform() * scales[i % 4];
            put(logits, i * stride + k, i % 2 && below(8) == 0 ? -(double)INFINITY : z);
        }
        switch (below(27)) {
        case 0:
            put(logits, i * stride + below(n_classes), (double)NAN);
            break;
        case 1:
            put(logits, i * stride + below(n_classes), (double)INFINITY);
            break;
        case 2:
            for (size_t k = 0; k < n_classes; ++k) put(logits, i * stride + k, -(double)INFINITY);
        }
    }
    return logits;
}

static int64_t *labels_of(size_t n_rows, size_t n_classes) {
    int64_t *labels = array_of(TARGETS, n_rows, sizeof *labels);
    for (size_t i = 0; i < n_rows; ++i) labels[i] = (int64_t)below(n_classes);
    return labels;
}

/* Not negative, a third of them 0. */
static void *probabilities_of(size_t n_rows, size_t n_classes) {
    void *t = array_of(TARGETS, n_rows * n_classes, kernels->element_size);
    for (size_t i = 0; i < n_rows * n_classes; ++i) {
        put(t, i, below(3) ? (1 + uniform()) / (double)n_classes : 0);
    }
    return t;
}

/* ---- Hashes ---- */

static uint64_t hash;
static const char *kernel_name; /* with set and type before it */
static int prints_cases;

static void hash_word(uint64_t word) { /* FNV-1a of its bytes */
    for (int i = 0; i < 8; ++i) hash = (hash ^ (word >> (8 * i) & 0xff)) * 0x100000001b3u;
}

static void hash_double(double x) {
    uint64_t word;
    if (isnan(x)) x = (double)NAN; /* CPUs make NaN with bits of their own choice */
    memcpy(&word, &x, sizeof word);
    hash_word(word);
}

static double real_at(const void *array, size_t i) {
    union {
        float single;
        double wide;
    } x;
    size_t size = kernels->element_size;
    memcpy(&x, (const char *)array + i * size, size);
#ifdef MEMCHECK
    uint64_t unwritten_bits = 0;
    VALGRIND_GET_VBITS(&x, &unwritten_bits, size);
    VALGRIND_MAKE_MEM_DEFINED(&x, size);
    if (unwritten_bits && (size == sizeof(float) ? x.single : x.wide) != STALE) {
        printf("%s: element %zu comes of what has not been written\n", kernel_name, i);
        exit(1);
    }
#endif
    return size == sizeof(float) ? x.single : x.wide;
}

static void hash_reals(const void *array, size_t n) {
    for (size_t i = 0; i < n; ++i) hash_double(real_at(array, i));
}

static void end_case(size_t n_rows, size_t n_features, size_t n_classes) {
    if (prints_cases) {
        printf("%s n=%zu d=%zu c=%zu %016llx\n", kernel_name, n_rows, n_features, n_classes,
               (unsigned long long)hash);
    }
}

/* ---- Functions of rows ---- */

static const size_t N_ROWS[] = {1, 2, 3, 4, 5, 7, 17, 40};
/* After every number up to 40: around multiples of vectors and of blocks. */
static const size_t N_CLASSES[] = {63, 64, 65, 100, 515, 1000, 1030, 2100};
enum { ALL_CLASSES = 40, ALL_FEATURES = 100, MANY_FEATURES = 784 };
#define LENGTH(array) (sizeof(array) / sizeof *(array))

/* Every shape; for valgrind, which takes a hundred times as long, every fifth and every thirteenth: they share no
 * factor with the lengths of the lists, so that every number of rows, features and classes, and every option, is
 * among them. */
#ifdef MEMCHECK
enum { ROW_SHAPES_APART = 5, SHAPES_APART = 13 };
#else
enum { ROW_SHAPES_APART = 1, SHAPES_APART = 1 };
#endif

/* Calls test(n_rows, n_classes, the number of the call). */
static void for_row_shapes(void (*test)(size_t, size_t, size_t)) {
    size_t number = 0;
    for (size_t c = 1; c <= ALL_CLASSES + LENGTH(N_CLASSES); ++c) {
        size_t n_classes = c <= ALL_CLASSES ? c : N_CLASSES[c - ALL_CLASSES - 1];
        for (size_t i = 0; i < LENGTH(N_ROWS); ++i, ++number) {
            if (number % ROW_SHAPES_APART) continue;
            test(N_ROWS[i], n_classes, number);
            end_case(N_ROWS[i], 0, n_classes);
        }
    }
}

static void softmax_case(size_t n, size_t c, size_t number) {
    void *logits = logits_of(n, c, c), *out = number % 2 ? logits : stale(OUT, n * c);
    hash_word((uint64_t)kernels->loss->softmax(logits, n, c, out));
    hash_reals(out, n * c);
}

static void log_softmax_case(size_t n, size_t c, size_t number) {
    void *logits = logits_of(n, c, c), *out = number % 2 ? logits : stale(OUT, n * c);
    hash_word((uint64_t)kernels->loss->log_softmax(logits, n, c, out));
    hash_reals(out, n * c);
}

static void logsumexp_case(size_t n, size_t c, size_t number) {
    void *out = stale(OUT, n);
    (void)number;
    kernels->loss->logsumexp(logits_of(n, c, c), n, c, out);
    hash_reals(out, n);
}

/* Of rows, of classes, both, with label smoothing, or none at all: the bits of the number say. */
static const struct target_weights *weights_of(size_t n, size_t c, size_t number) {
    static struct target_weights weights;
    static double rows[64];
    for (size_t i = 0; i < n; ++i) rows[i] = below(4) ? (double)below(100) / 64 : 0;
    void *classes = uniforms(WEIGHTS, c);
    for (size_t k = 0; k < c; ++k) put(classes, k, below(5) ? (1 + uniform()) / 2 : 0);
    weights.rows = number & 1 ? rows : NULL;
    weights.classes = number & 2 ? classes : NULL;
    weights.smoothing = number & 4 ? 0.1 : 0;
    return number & 7 ? &weights : NULL;
}

/* Without a gradient, into an array of its own, and in place. */
static void cross_entropy_case(size_t n, size_t c, const int64_t *labels, const void *probabilities,
                               size_t number) {
    const struct target_weights *weights = weights_of(n, c, number / LENGTH(N_ROWS));
    struct targets_view targets = {labels, probabilities, weights, c};
    double *losses = array_of(LOSSES, n, sizeof *losses);
    for (size_t gradient = 0; gradient < 3; ++gradient) {
        size_t stride = c + gradient, out_stride = gradient == 1 ? c : stride;
        void *logits = logits_of(n, c, stride);
        void *dlogits = (void *[]){NULL, stale(OUT, n * c), logits}[gradient];
        hash_word((uint64_t)kernels->loss->cross_entropy(
            logits, stride, n, &targets, 1.0 / (double)n, losses, dlogits, out_stride));
        for (size_t i = 0; i < n; ++i) hash_double(losses[i]);
        if (dlogits) hash_reals(dlogits, n * out_stride);
    }
}

static void cross_entropy_of_labels_case(size_t n, size_t c, size_t number) {
    cross_entropy_case(n, c, labels_of(n, c), NULL, number);
}

static void cross_entropy_of_probabilities_case(size_t n, size_t c, size_t number) {
    cross_entropy_case(n, c, NULL, probabilities_of(n, c), number);
}

/* Temperature, softcap, z_loss, a mask of all rows or of each, lse and metrics: the bits of the number say. Masked rows, and
 * labels of masked classes, are among them. */
static void logit_options_case(size_t n, size_t c, size_t number) {
    size_t bits = number / LENGTH(N_ROWS), width = c > 16 * MAX_TRANSPOSED_CLASSES ? c : 512;
    const struct target_weights *weights = weights_of(n, c, bits / 4);
    struct targets_view targets = {labels_of(n, c), NULL, weights, c};
    if (number & 1) {
        targets.labels = NULL;
        targets.probabilities = probabilities_of(n, c);
    }
    double *losses = array_of(LOSSES, 5 * n, sizeof *losses), *lse = losses + n,
           *upstream = lse + n, *label_log_prob = upstream + n, *entropy = label_log_prob + n;
    uint8_t *mask = array_of(INTERCEPT, n * c, 1);
    int64_t *argmax = array_of(DATA, n, sizeof *argmax);
    uint8_t *top_k_correct = array_of(VELOCITY, n, 1);
    for (size_t k = 0; k < n * c; ++k) mask[k] = below(4) != 0;
    for (size_t gradient = 0; gradient < 3; ++gradient) {
        struct logit_options options = {1.0 / (double)n,
                                        bits & 1 ? 1 : 0.7,
                                        bits & 2 ? 0 : 3.5,
                                        bits & 4 ? 0 : 0.01,
                                        number & 2 ? mask : NULL,
                                        number & 4 ? c : 0,
                                        bits & 8 ? upstream : NULL,
                                        bits & 16 ? lse : NULL,
                                        stale(PRODUCTS, 4 * width),
                                        width,
                                        {0}};
        /* Each of the metrics with some of the cases, and none with others. */
        size_t metrics = number * 3 + gradient;
        if (metrics & 1) options.metrics.argmax = argmax;
        if (metrics & 2 && targets.labels) options.metrics.top_k_correct = top_k_correct;
        if (metrics & 4 && targets.labels) options.metrics.label_log_prob = label_log_prob;
        if (metrics & 8) options.metrics.entropy = entropy;
        options.metrics.top_k = 1 + number % 3;
        size_t stride = c + gradient, out_stride = gradient == 1 ? c : stride;
        for (size_t i = 0; i < n; ++i) upstream[i] = uniform();
        for (size_t i = 0; i < n; ++i) lse[i] = 0;
        void *logits = logits_of(n, c, stride);
        void *dlogits = (void *[]){NULL, stale(OUT, n * c), logits}[gradient];
        hash_word((uint64_t)kernels->loss->cross_entropy_with_options(
            logits, stride, n, &targets, &options, losses, dlogits, out_stride));
        for (size_t i = 0; i < 2 * n; ++i) hash_double(losses[i]);
        for (size_t i = 0; i < n; ++i) {
            if (options.metrics.argmax) hash_word((uint64_t)argmax[i]);
            if (options.metrics.top_k_correct) hash_word(top_k_correct[i]);
            if (options.metrics.label_log_prob) hash_double(label_log_prob[i]);
            if (options.metrics.entropy) hash_double(entropy[i]);
        }
        if (dlogits) hash_reals(dlogits, n * out_stride);
    }
}

/* ---- Products ---- */

struct shape {
    size_t n, d, c, stride; /* samples, features, classes; d in whole vectors */
    size_t number;          /* of the shape: its bits are options */
};

static int option(const struct shape *s, int bit) { return (int)(s->number >> bit & 1); }

static void for_shapes(void (*test)(const struct shape *)) {
    struct shape s = {0};
    for (s.c = 1; s.c <= ALL_CLASSES; ++s.c) {
        for (size_t d = 1; d <= ALL_FEATURES + 1; ++d, ++s.number) {
            if (s.number % SHAPES_APART) continue;
            s.d = d <= ALL_FEATURES ? d : MANY_FEATURES;
            s.stride = (s.d + kernels->lanes - 1) / kernels->lanes * kernels->lanes;
            s.n = N_ROWS[below(LENGTH(N_ROWS))];
            test(&s);
            end_case(s.n, s.d, s.c);
        }
    }
}

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

static const void *const *rows_in(const char *start, size_t n, size_t stride) {
    static const void *rows[64];
    for (size_t i = 0; i < n; ++i) rows[i] = start + i * stride * kernels->element_size;
    return rows;
}

/* A step with many classes, there and back: all slabs at once or, of every other shape, one by one. */
static void packed_case(const struct shape *s) {
    struct sgd_rule rule = rule_of(s);
    size_t lanes = kernels->lanes, size = kernels->element_size, n_strips = s->stride / lanes;
    size_t n_slabs = (s->c + lanes - 1) / lanes, n_blocks = (s->n + lanes - 1) / lanes;
    size_t columns = n_slabs * lanes, block_stride = (s->stride + 1) * lanes;
    const void *const *rows = rows_of(s);
    char *blocks = stale(LOGITS, n_blocks * block_stride);
    for (size_t i = 0; i < n_blocks; ++i) {
        size_t left = s->n - i * lanes;
        kernels->packed->pack_block(rows + i * lanes, left < lanes ? left : lanes, s->d,
                                    blocks + i * block_stride * size);
    }
    char *coef = padded_weights(WEIGHTS, s), *velocity = padded_weights(VELOCITY, s);
    char *intercept = uniforms(INTERCEPT, s->c);
    /* What is read from now on: the arrays of both directions share the other slots. */
    size_t slab_bytes = s->stride * lanes * size;
    char *slabs = stale(OUT, n_slabs * s->stride * lanes);
    char *velocities = stale(TARGETS, n_slabs * s->stride * lanes);
    size_t n_logits = s->n * columns;
    /* Those of a row are added to what is there, or not. */
    char *logits = option(s, 5) ? constant(DATA, 2 * n_logits, STALE) : stale(DATA, 2 * n_logits);
    char *dlogits = logits + n_logits * size;
    for (size_t k = 0; k < s->c; k += lanes) {
        size_t width = s->c - k < lanes ? s->c - k : lanes;
        kernels->packed->pack_block(rows_in(coef + k * s->stride * size, width, s->stride), width,
                                    s->d, slabs + k / lanes * slab_bytes);
        kernels->packed->pack_block(rows_in(velocity + k * s->stride * size, width, s->stride),
                                    width, s->d, velocities + k / lanes * slab_bytes);
    }
    size_t at_once = option(s, 7) ? columns : lanes;
    struct blocks_view samples = {blocks, block_stride, s->n};
    for (size_t k = 0; k < s->c; k += at_once) {
        struct weights_view weights = {
            .coef = slabs + k / lanes * slab_bytes,
            .intercept = option(s, 4) ? intercept + k * size : NULL,
            .stride = s->stride * lanes,
            .n_features = s->stride,
            .n_classes = s->c - k < at_once ? s->c - k : at_once,
        };
        kernels->packed->packed_scores(&samples, &weights, option(s, 5), logits + k * size,
                                       columns);
    }
    hash_reals(logits, s->n * columns);
    kernels->packed->pack_rows(logits, columns, 0, s->n, s->c, dlogits, s->n * lanes);
    /* Of each class a rule of its own, with a sum of squares for every lane. */
    int of_classes = option(s, 6);
    size_t n_sums = of_classes ? s->stride : n_strips;
    const char *rules = of_classes ? uniforms(RULES, 3 * columns) : NULL;
    double *squares = malloc(2 * n_slabs * n_sums * sizeof(double));
    double *magnitudes = squares + n_slabs * n_sums;
    for (size_t k = 0; k < s->c; k += at_once) {
        size_t sums = k / lanes * n_sums;
        struct update_view update = {
            .weights = slabs + k / lanes * slab_bytes,
            .velocity = rule.momentum != 0 ? velocities + k / lanes * slab_bytes : NULL,
            .stride = s->stride * lanes,
            .n_classes = s->c - k < at_once ? s->c - k : at_once,
            .squares = squares + sums,
            .magnitudes = magnitudes + sums,
        };
        if (of_classes) rule.negative_rates = rules + k * size;
        if (of_classes) rule.twice_l2s = rules + (columns + k) * size;
        if (of_classes) rule.thresholds = rules + (2 * columns + k) * size;
        kernels->packed->packed_update(&samples, 0, s->stride, dlogits + k * s->n * size, &rule,
                                       &update);
    }
    for (size_t i = 0; i < n_slabs * n_sums; ++i) {
        if (rule.l2 != 0) hash_double(squares[i]);
        if (rule.l1 != 0) hash_double(magnitudes[i]);
    }
    free(squares);
    for (size_t k = 0; k < s->c; k += lanes) {
        size_t width = s->c - k < lanes ? s->c - k : lanes;
        if (of_classes) rule.negative_rates = rules + k * size;
        if (of_classes) rule.twice_l2s = rules + (columns + k) * size;
        if (of_classes) rule.thresholds = rules + (2 * columns + k) * size;
        kernels->packed->packed_update_intercept(dlogits + k * s->n * size, s->n, width, &rule,
                                                 intercept + k * size, NULL);
        kernels->packed->unpack_block(
            slabs + k / lanes * slab_bytes, width, s->d,
            (void *const *)rows_in(coef + k * s->stride * size, width, s->stride));
    }
    hash_reals(coef, s->c * s->stride);
    if (rule.momentum != 0) hash_reals(velocities, n_slabs * s->stride * lanes);
    hash_reals(intercept, s->c);
}

/* The sum over rows that the gradient of linear_cross_entropy is: two matrices in slabs, one of them packed from any
 * strides, added to what is there or not. */
static void sum_over_rows_case(const struct shape *s) {
    size_t lanes = kernels->lanes, size = kernels->element_size;
    size_t width = s->c < lanes ? s->c : lanes, n_blocks = (s->n + lanes - 1) / lanes;
    ptrdiff_t depth[] = {(ptrdiff_t)width, 1, (ptrdiff_t)width * 2};
    ptrdiff_t across[] = {1, (ptrdiff_t)s->n, 2}, bytes = (ptrdiff_t)size;
    int way = (int)below(3), add = option(s, 0);
    char *x = uniforms(DATA, s->n * s->d), *left = stale(LOGITS, s->n * s->stride);
    for (size_t j = 0; j < s->d; j += lanes) {
        kernels->packed->pack_slab(x + j * size, (ptrdiff_t)s->d * bytes, bytes, s->n,
                                   s->d - j < lanes ? s->d - j : lanes, left + j * s->n * size);
    }
    void *dlogits = uniforms(TARGETS, s->n * width * 2),
         *slab = stale(WEIGHTS, n_blocks * lanes * lanes);
    kernels->packed->pack_slab(dlogits, depth[way] * bytes, across[way] * bytes, s->n, width, slab);
    hash_reals(slab, s->n * lanes);
    void *out = add ? uniforms(OUT, s->d * width) : stale(OUT, s->d * width);
    struct blocks_view rows = {left, s->n * lanes, s->d};
    struct weights_view columns = {
        .coef = slab, .stride = s->n * lanes, .n_features = s->n, .n_classes = width};
    kernels->packed->packed_scores(&rows, &columns, add, out, width);
    hash_reals(out, s->d * width);
}

/* A step with few classes, in two panels where there are two vectors of features. */
static void panels_case(const struct shape *s) {
    if (s->c > FEW_CLASSES) return;
    struct sgd_rule rule = rule_of(s);
    size_t lanes = kernels->lanes, n_vectors = s->stride / lanes;
    size_t n_blocks = (s->n + lanes - 1) / lanes, block = lanes * s->c;
    size_t cut = n_vectors / 2 * lanes, n_panels = cut ? 2 : 1;
    const void *const *rows = rows_of(s);
    const struct target_weights *target_weights = weights_of(s->n, s->c, s->number);
    if (target_weights && target_weights->classes) target_weights = NULL;
    void *coef = padded_weights(WEIGHTS, s);
    void *velocity = rule.momentum != 0 ? padded_weights(VELOCITY, s) : NULL;
    void *intercept = uniforms(INTERCEPT, s->c), *dlogits = stale(OUT, n_blocks * block);
    char *scores = stale(LOGITS, n_panels * n_blocks * block);
    int64_t labels[64];
    double losses[64], squares[MANY_FEATURES] = {0}, magnitudes[MANY_FEATURES] = {0};
    for (size_t i = 0; i < s->n; ++i) labels[i] = (int64_t)below(s->c);
    struct weights_view weights = {coef, NULL, s->stride, s->d, s->c};
    struct parts_view parts = {scores, n_panels, n_blocks * block};
    struct targets_view targets = {labels, NULL, target_weights, s->c};
    struct update_view update = {coef, velocity, s->stride, s->c, squares, magnitudes};
    size_t starts[] = {0, cut ? cut : s->d, s->d};
    for (size_t p = 0; p < n_panels; ++p) {
        kernels->panels->panel_scores(rows, s->n, starts[p], starts[p + 1] - starts[p],
                                      (enum ahead)below(3), &weights,
                                      scores + p * n_blocks * block * kernels->element_size);
    }
    kernels->panels->training_cross_entropy(&parts, s->n, intercept, &targets, 0.5, losses,
                                            dlogits);
    hash_double(losses[0]);
    hash_reals(dlogits, s->n / kernels->lanes * kernels->lanes * s->c);
    kernels->panels->panel_cross_entropy(&parts, s->n, intercept, &targets, 0.5, losses, dlogits);
    struct rows_to_fetch fetch = {rows, s->n, 0, s->d};
    for (size_t p = 0; p < n_panels; ++p) {
        kernels->panels->panel_update(rows, s->n, &fetch, starts[p], starts[p + 1] - starts[p],
                                      dlogits, &rule, &update);
    }
    kernels->panels->panel_update_intercept(dlogits, s->n, s->c, &rule, intercept, NULL);
    for (size_t i = 0; i < s->n; ++i) hash_double(losses[i]);
    hash_reals(coef, s->c * s->stride);
    if (velocity) hash_reals(velocity, s->c * s->stride);
    hash_reals(intercept, s->c);
}

/* A step with few classes on short rows, in two chunks where there are two samples. */
static void short_rows_case(const struct shape *s) {
    if (s->c > FEW_CLASSES) return;
    struct sgd_rule rule = rule_of(s);
    size_t lanes = kernels->lanes, size = kernels->element_size, block = lanes * s->c;
    size_t n_blocks = (s->n + lanes - 1) / lanes, stride = s->c * (s->stride + lanes);
    size_t cut = s->n / 2, n_chunks = cut ? 2 : 1, starts[] = {0, cut ? cut : s->n, s->n};
    const void *const *rows = rows_of(s);
    const void *next_rows[64];
    /* The sums of the weights follow them. */
    size_t n_weights = s->c * s->stride, n_averaged = option(s, 5) ? 2 : 1;
    void *strips = uniforms(WEIGHTS, n_averaged * n_weights);
    void *velocity = rule.momentum != 0 ? uniforms(VELOCITY, n_weights) : NULL;
    void *intercept = uniforms(INTERCEPT, n_averaged * s->c);
    if (n_averaged > 1) {
        rule.to_sums = (ptrdiff_t)n_weights;
        rule.intercept_to_sums = (ptrdiff_t)s->c;
    }
    char *scores = stale(LOGITS, (n_blocks + 1) * block), *gradients = stale(OUT, 2 * stride);
    double squares[MANY_FEATURES], magnitudes[MANY_FEATURES];
    for (size_t i = 0; i < lanes; ++i) next_rows[i] = rows[0];
    for (size_t p = 0; p < n_chunks; ++p) {
        size_t n = starts[p + 1] - starts[p], half = n / 2;
        for (size_t i = 0; i < n; i += lanes) {
            kernels->short_rows->short_scores(rows + starts[p] + i, n - i < lanes ? n - i : lanes,
                                              s->d, option(s, 4) ? next_rows : NULL, strips, s->c,
                                              scores + i * s->c * size);
        }
        hash_reals(scores, (n + lanes - 1) / lanes * block);
        /* Scores in place of gradients; those of the first samples come once more. */
        char *out = gradients + p * stride * size;
        kernels->short_rows->short_gradient(rows + starts[p], n, s->d, scores, s->c, 0, out);
        if (half)
            kernels->short_rows->short_gradient(rows + starts[p], half, s->d, scores, s->c, 1, out);
        hash_reals(out, stride);
    }
    struct parts_view parts = {gradients, n_chunks, stride};
    struct update_view update = {strips, velocity, 0, s->c, squares, magnitudes};
    kernels->short_rows->short_update(&parts, s->d, &rule, &update, intercept, NULL);
    for (size_t i = 0; i < s->stride / lanes; ++i) {
        if (rule.l2 != 0) hash_double(squares[i]);
        if (rule.l1 != 0) hash_double(magnitudes[i]);
    }
    hash_reals(strips, n_averaged * n_weights);
    if (velocity) hash_reals(velocity, n_weights);
    hash_reals(intercept, n_averaged * s->c);
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

/* Up to four values a row, in any columns, also the same; as SPARSE_ROWS_AHEAD expects it, the last row
 * comes once more. The first row, where there are others, has a column that does not exist if asked for. */
static const struct sparse_row *sparse_rows_of(const struct shape *s, int wide, int has_none) {
    static struct sparse_row rows[64 + SPARSE_ROWS_AHEAD];
    size_t n_values = s->n * 4, index_size = wide ? sizeof(int64_t) : sizeof(int32_t);
    char *values = uniforms(DATA, n_values), *indices = array_of(TARGETS, n_values, index_size);
    for (size_t i = 0; i < n_values; ++i) {
        size_t column = has_none && i == 1 ? (size_t)-1 : below(s->d);
        if (wide) {
            ((int64_t *)(void *)indices)[i] = (int64_t)column;
        } else {
            ((int32_t *)(void *)indices)[i] = (int32_t)column;
        }
    }
    for (size_t i = 0; i < s->n; ++i) {
        rows[i].values = values + i * 4 * kernels->element_size;
        rows[i].indices = indices + i * 4 * index_size;
        rows[i].n_values = has_none && i == 0 ? 4 : below(5);
    }
    for (size_t i = s->n; i < s->n + SPARSE_ROWS_AHEAD; ++i) rows[i] = rows[s->n - 1];
    return rows;
}

/* Two steps on sparse rows, and what the penalty, or momentum, alone does to the weights that they do not
 * meet. */
static void sparse_case(const struct shape *s) {
    size_t lanes = kernels->lanes, columns = (s->c + lanes - 1) / lanes * lanes;
    size_t n_slabs = (s->c - 1) / (SPARSE_SLAB_VECTORS * lanes) + 1;
    int wide = option(s, 1), has_penalty = option(s, 0), has_none = s->n > 1 && below(4) == 0;
    int has_momentum = has_penalty && below(2);
    struct penalty_prefix prefixes[3] = {{1, 1, 0}};
    struct momentum_map maps[4];
    struct sgd_rule rule = {.rate = 0.1, .momentum = 0.9, .nesterov = option(s, 2)};
    uint32_t steps[2 * MANY_FEATURES] = {0};
    struct sparse_weights weights = {
        .start = stale(WEIGHTS, s->d * columns),
        .n_features = s->d,
        .n_classes = s->c,
        .wide_indices = wide,
        .inverse_scale = option(s, 5) ? uniforms(OUT, s->d) : NULL,
        .steps = has_penalty ? steps : NULL,
        .prefixes = prefixes,
    };
    void *coef = uniforms(VELOCITY, s->c * s->d), *intercept = uniforms(INTERCEPT, s->c);
    void *logits = stale(LOGITS, s->n * columns), *of_intercept = NULL;
    for (size_t k = 0; k < n_slabs; ++k) kernels->sparse->sparse_pack(coef, &weights, k);
    if (has_momentum) {
        weights.velocity = uniforms(LOSSES, s->d * columns);
        weights.maps = maps;
        of_intercept = uniforms(RULES, s->c);
    }
    for (int i = 0; i < 2; ++i) {
        const struct sparse_row *rows = sparse_rows_of(s, wide, has_none && i);
        double factor = option(s, 2) ? -0.3 : 0.9, threshold = option(s, 3) ? 0.01 : 0;
        for (size_t k = 0; k < n_slabs; ++k) {
            kernels->sparse->sparse_scores(rows, s->n, &weights, k, option(s, 4) ? intercept : NULL,
                                           logits, columns);
        }
        hash_reals(logits, s->n * columns);
        if (i == 0 && !weights.inverse_scale) {
            void *unpacked = stale(OUT, s->n * s->c);
            kernels->sparse->sparse_unpacked_scores(rows, s->n, coef, s->d, s->c, intercept, wide,
                                                    unpacked);
            hash_reals(unpacked, s->n * s->c);
        }
        if (i == 0) {
            void *products = stale(PRODUCTS, s->n * columns);
            for (size_t k = 0; k < n_slabs; ++k)
                kernels->sparse->sparse_products(rows, s->n, &weights, k, intercept, products,
                                                 columns);
            hash_reals(products, s->n * columns);
        }
        /* Scores in place of gradients; those of a row without a column would be NaN. */
        size_t first = has_none && i;
        void *dlogits = (char *)logits + first * columns * kernels->element_size;
        if (has_momentum) {
            struct momentum_map map = {factor, 0.81, -0.1, 0.9};
            kernels->sparse->sparse_add_map(&weights, &map);
        }
        for (size_t k = 0; k < n_slabs; ++k) {
            if (has_momentum)
                kernels->sparse->sparse_update_velocity(rows + first, s->n - first, &weights, k,
                                                        dlogits, columns, -0.02);
            kernels->sparse->sparse_update(rows + first, s->n - first, &weights, k, dlogits,
                                           columns, -0.01);
        }
        kernels->sparse->sparse_update_intercept(dlogits, columns, s->n - first, s->c, &rule,
                                                 intercept, of_intercept);
        if (has_momentum) continue;
        struct penalty_prefix *last = prefixes + weights.now++;
        last[1].scale = last->scale * factor;
        last[1].inverse_scale = 1 / last[1].scale;
        last[1].shrinkage = last->shrinkage + threshold * fabs(last[1].inverse_scale);
    }
    for (size_t k = 0; k < n_slabs; ++k) {
        if (has_penalty) kernels->sparse->sparse_catch_up(&weights, k);
        kernels->sparse->sparse_unpack(&weights, k, coef);
    }
    hash_reals(weights.start, s->d * columns);
    if (has_momentum) hash_reals(weights.velocity, s->d * columns);
    hash_reals(coef, s->c * s->d);
    hash_reals(intercept, s->c);
}

/* ---- All of them ---- */

/* Each has a function of one of the two kinds of shapes. */
static const struct {
    const char *name;
    void (*of_rows)(size_t, size_t, size_t);
    void (*of_shape)(const struct shape *);
} TESTS[] = {
    {"softmax", softmax_case, NULL},
    {"log_softmax", log_softmax_case, NULL},
    {"logsumexp", logsumexp_case, NULL},
    {"cross_entropy_of_labels", cross_entropy_of_labels_case, NULL},
    {"cross_entropy_of_probabilities", cross_entropy_of_probabilities_case, NULL},
    {"logit_options", logit_options_case, NULL},
    {"pack", NULL, pack_case},
    {"scores", NULL, scores_case},
    {"outer_sum", NULL, outer_sum_case},
    {"packed", NULL, packed_case},
    {"sum_over_rows", NULL, sum_over_rows_case},
    {"panels", NULL, panels_case},
    {"short_rows", NULL, short_rows_case},
    {"convert", NULL, convert_case},
    {"column_sums", NULL, column_sums_case},
    {"penalty", NULL, penalty_case},
    {"sparse", NULL, sparse_case},
    {"two_classes", NULL, two_classes_case},
};

static void test_table(const char *set_name, const char *type_name, const struct kernels *table) {
    char name[100];
    kernels = table;
    for (size_t i = 0; i < LENGTH(TESTS); ++i) {
        snprintf(name, sizeof name, "%s %s %s", set_name, type_name, TESTS[i].name);
        kernel_name = name;
        state = i; /* the same inputs whatever was tested before */
        hash = 0xcbf29ce484222325u;
        if (TESTS[i].of_rows) for_row_shapes(TESTS[i].of_rows);
        if (TESTS[i].of_shape) for_shapes(TESTS[i].of_shape);
        printf("%s %016llx\n", name, (unsigned long long)hash);
    }
}

int main(int argc, char **argv) {
    (void)argv;
    prints_cases = argc > 1;
    setvbuf(stdout, NULL, _IONBF,
            0); /* for the last line before a crash; Windows buffers no lines */
    make_slots();
    for (const struct instruction_set *set = instruction_sets; set->name; ++set) {
        if (!set->is_supported()) continue;
        test_table(set->name, "float32", set->float32);
        test_table(set->name, "float64", set->float64);
    }
    return 0;
}
