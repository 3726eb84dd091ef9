/* csrc/kernels/exp_log.h compiled for one instruction set and type, as functions of arrays. */
#ifndef FASTSOFTMAX_EXPONENTIAL_OF_H
#define FASTSOFTMAX_EXPONENTIAL_OF_H

#include <stddef.h>

struct exponential {
    const char *name; /* of the set and the type */
    int is_double, has_fma;
    int (*runs)(void);                               /* on this CPU */
    void (*apply)(const void *x, void *y, size_t n); /* n a multiple of 16 */
    void (*logarithm)(const double *x, double *y, size_t n);
};

/* One of each, in tests/c/exponential_of.c. */
extern const struct exponential exponential_avx512_float32, exponential_avx512_float64;
extern const struct exponential exponential_avx2_float32, exponential_avx2_float64;
extern const struct exponential exponential_portable_float32, exponential_portable_float64;

#endif
