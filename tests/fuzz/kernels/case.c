#include "case.h"

const struct kernels *kernels;
const char *set_name, *function_name;
double stale_value;
int is_moderate, is_checked;

void fail(const char *what, size_t at) {
    fprintf(stderr, "finding: %s %s %s: %s (%zu)\n", set_name,
            kernels->element_size == sizeof(float) ? "float32" : "float64", function_name, what,
            at);
    abort();
}

/* ---- Bytes into choices ---- */

const uint8_t *bytes;
size_t n_bytes, at_byte;
uint64_t state;

size_t below(size_t n) {
    size_t byte = at_byte < n_bytes ? bytes[at_byte] : 0;
    ++at_byte;
    return byte % n;
}

size_t one_of(const size_t *values, size_t n) { return values[below(n)]; }

uint64_t next(void) { /* SplitMix64 */
    uint64_t x = state += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

double uniform(void) { return ((double)(next() >> 11) - 0x1p52) * 0x1p-52; }

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

void *allocate(size_t size) {
    if (n_blocks == LENGTH(blocks)) fail("the target makes too many arrays", n_blocks);
    char *start = malloc(size ? size : 1);
    if (!start) fail("no memory", size);
    blocks[n_blocks++] = (struct block){start, NULL, size};
    return start;
}

void *fixed(void *array) {
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

void free_arrays(void) {
    for (size_t i = 0; i < n_blocks; ++i) {
        if (blocks[i].copy && memcmp(blocks[i].copy, blocks[i].start, blocks[i].n_bytes)) {
            fail("an input has changed", i);
        }
        free(blocks[i].copy);
        free(blocks[i].start);
    }
    n_blocks = 0;
}

void *reals(size_t n) { return allocate(n * kernels->element_size); }

void *stale(size_t n) {
    void *array = reals(n);
    for (size_t i = 0; i < n; ++i) put(array, i, stale_value);
    return array;
}

double *stale_doubles(size_t n) {
    double *array = allocate(n * sizeof *array);
    for (size_t i = 0; i < n; ++i) array[i] = stale_value;
    return array;
}

void fill(void *array, size_t n) {
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

void *numbers(size_t n) {
    void *array = reals(n);
    fill(array, n);
    return array;
}

void *weights(size_t n) {
    void *array = numbers(n);
    for (size_t i = 0; i < n; ++i) {
        double x = fabs(get(array, i));
        put(array, i, x < 1e6 ? x : 1);
    }
    return array;
}

void *padded(size_t n_rows, size_t n, size_t stride) {
    void *array = numbers(n_rows * stride);
    for (size_t i = 0; i < n_rows; ++i) {
        for (size_t j = n; j < stride; ++j) put(array, i * stride + j, 0);
    }
    return array;
}

size_t whole_vectors(size_t n) {
    return (n + kernels->lanes - 1) / kernels->lanes * kernels->lanes;
}

const void *const *rows_of(size_t n, size_t d) {
    const void **rows = allocate((n + ROWS_AHEAD) * sizeof *rows);
    for (size_t i = n; i-- > 0;) rows[i] = fixed(numbers(d));
    const void *byte = allocate(1);
    for (size_t i = n; i < n + ROWS_AHEAD; ++i) rows[i] = byte;
    return rows;
}

int64_t *labels_of(size_t n, size_t c, int all_valid) {
    int64_t *labels = allocate(n * sizeof *labels);
    state = below(256);
    for (size_t i = 0; i < n; ++i) labels[i] = (int64_t)(next() % c);
    if (!all_valid && below(8) == 7) {
        const int64_t bad[] = {-1, (int64_t)c, INT64_MAX, INT64_MIN, (int64_t)c + 1};
        labels[below(n)] = bad[below(LENGTH(bad))];
    }
    return fixed(labels);
}

struct target_weights *weights_of(size_t n, size_t c, int may_have_classes) {
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

/* ---- Results ---- */

struct results *recorded;

void record(double x) {
    if (recorded->n == recorded->room) {
        recorded->room = recorded->room ? 2 * recorded->room : 1024;
        recorded->values = realloc(recorded->values, recorded->room * sizeof x);
        if (!recorded->values) abort();
    }
    recorded->values[recorded->n++] = x;
}

void record_reals(const void *array, size_t n) {
    for (size_t i = 0; i < n; ++i) record(get(array, i));
}

void record_doubles(const double *array, size_t n) {
    for (size_t i = 0; i < n; ++i) record(array[i]);
}

int same_bits(double a, double b) {
    return (isnan(a) && isnan(b)) || memcmp(&a, &b, sizeof a) == 0;
}

void check_stale(double x, size_t i) {
    if (!same_bits(x, kernels->element_size == sizeof(float) ? (double)(float)stale_value
                                                             : stale_value)) {
        fail("what pads an output has changed", i);
    }
}

void record_rows(const void *array, size_t n_rows, size_t n, size_t stride) {
    for (size_t i = 0; i < n_rows; ++i) {
        for (size_t j = 0; j < n; ++j) record(get(array, i * stride + j));
        for (size_t j = n; j < stride; ++j) check_stale(get(array, i * stride + j), i);
    }
}

long double epsilon(void) {
    return kernels->element_size == sizeof(float) ? (long double)FLT_EPSILON
                                                  : (long double)DBL_EPSILON;
}

long double tiny(void) {
    return kernels->element_size == sizeof(float) ? 8 * 0x1p-149L : 8 * 0x1p-1074L;
}

void check_near(double x, long double expected, long double bound, const char *what, size_t at) {
    if (isnan(x) || !(fabsl((long double)x - expected) <= bound + tiny())) {
        long double most = kernels->element_size == sizeof(float) ? (long double)FLT_MAX
                                                                  : (long double)DBL_MAX;
        if (isinf(x) && fabsl(expected) >= most * (1 - 8 * epsilon()) && (x > 0) == (expected > 0))
            return;
        fprintf(stderr, "got %.17g, expected %.20Lg within %.3Lg\n", x, expected, bound + tiny());
        fail(what, at);
    }
}

void check_sum(double x, const struct sum *expected, size_t n, size_t at) {
    if (!is_moderate || !is_checked) return;
    long double bound = (long double)(n + 4) * epsilon() * expected->magnitudes;
    check_near(x, expected->value, bound, "a sum is off", at);
}
