/* What the cases of the kernels share: choices out of the bytes of an input, arrays of just their size that are
 * watched, and results that are compared between runs. One case is in work at a time, so there is one state.
 */
#ifndef FASTSOFTMAX_FUZZ_CASE_H
#define FASTSOFTMAX_FUZZ_CASE_H

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/kernel_table.h"

#define LENGTH(array) (sizeof(array) / sizeof *(array))

/* Each target of the kernels has these: what one of them tests is chosen by the input. */
extern void (*const CASES[])(void);
extern const size_t N_CASES;

/* ---- The case in work ---- */

extern const struct kernels *kernels;
extern const char *set_name, *function_name;
extern double stale_value;
extern int is_moderate; /* all numbers so far are */
extern int is_checked;  /* against long double, which takes long: one of the sets in each input */

void fail(const char *what, size_t at);

/* ---- Bytes into choices ---- */

extern const uint8_t *bytes;
extern size_t n_bytes, at_byte;
extern uint64_t state; /* of the random numbers */

size_t below(size_t n);
size_t one_of(const size_t *values, size_t n);
uint64_t next(void);
double uniform(void);

/* ---- Arrays ---- */

static inline void put(void *array, size_t i, double x) {
    if (kernels->element_size == sizeof(float)) {
        ((float *)array)[i] = (float)x;
    } else {
        ((double *)array)[i] = x;
    }
}

static inline double get(const void *array, size_t i) {
    return kernels->element_size == sizeof(float) ? (double)((const float *)array)[i]
                                                  : ((const double *)array)[i];
}

/* Freed after the run. */
void *allocate(size_t size);
/* From now on an array stays as it is. */
void *fixed(void *array);
void free_arrays(void);

void *reals(size_t n);
/* What an output holds before. */
void *stale(size_t n);
double *stale_doubles(size_t n);

/* Numbers of a seed on some scale, a few of them extremes; or of any bits, from the input. */
void fill(void *array, size_t n);
void *numbers(size_t n);
/* Finite and not negative. */
void *weights(size_t n);
/* Class-major and padded with zeros to whole vectors. */
void *padded(size_t n_rows, size_t n, size_t stride);
size_t whole_vectors(size_t n);
/* Rows that lie apart, in another order than in memory. Those that come after may be fetched and not read: of
 * them there is one byte. */
const void *const *rows_of(size_t n, size_t d);

int64_t *labels_of(size_t n, size_t c, int all_valid);
/* Of rows, of classes, both, with label smoothing, or none at all. */
struct target_weights *weights_of(size_t n, size_t c, int may_have_classes);

/* ---- Results, to be compared between runs ---- */

struct results {
    double *values;
    size_t n, room;
};

extern struct results *recorded;

void record(double x);
void record_reals(const void *array, size_t n);
void record_doubles(const double *array, size_t n);
/* Rows of an output; what lies between them stays as it was. */
void record_rows(const void *array, size_t n_rows, size_t n, size_t stride);

int same_bits(double a, double b);
void check_stale(double x, size_t i);
long double epsilon(void);
/* Far more than a rounding of the smallest numbers. */
long double tiny(void);
/* In the kernel's type; losses, which are double, by themselves. */
void check_near(double x, long double expected, long double bound, const char *what, size_t at);

/* A sum that is expected, and that of the magnitudes of its terms, to which its error is relative. */
struct sum {
    long double value, magnitudes;
};

static inline void add_term(struct sum *sum, long double x) {
    sum->value += x;
    sum->magnitudes += fabsl(x);
}

static inline void add_product(struct sum *sum, double a, double b) {
    add_term(sum, (long double)a * (long double)b);
}

static inline struct sum sum_from(double x) {
    return (struct sum){(long double)x, fabsl((long double)x)};
}

/* Of n terms, where numbers are moderate. */
void check_sum(double x, const struct sum *expected, size_t n, size_t at);

#endif
