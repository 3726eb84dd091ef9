/* Of test_kernels_bits.c: inputs that end at a page that may not be touched, the shapes that the cases run over, and the
 * hash of what they compute. */
#ifndef KERNELS_BITS_INPUTS_H
#define KERNELS_BITS_INPUTS_H

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

/* ---- Shapes ---- */

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

#endif
