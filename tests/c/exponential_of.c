/* Compiled once for every instruction set and type; see exponential_of.h. */
#include "exponential_of.h"

#include <math.h>

#include "kernels/exp_log.h"
#include "runtime/platform.h"

#if defined(FASTSOFTMAX_FLOAT32)
#define TYPE float32
#else
#define TYPE float64
#endif
#define JOIN(a, b, c) a##b##_##c
#define NAME_OF(set, type) JOIN(exponential_, set, type)
#define QUOTE(word) #word
#define QUOTED(word) QUOTE(word)

static int runs(void) {
#if defined(FASTSOFTMAX_AVX512)
    return platform_has_avx512();
#elif defined(FASTSOFTMAX_AVX2)
    return platform_has_avx2();
#else
    return 1;
#endif
}

/* exp(x) as a row has it whose largest logit is next to n * ln 2: a term, times a power of 2. */
static vec exponential_below(vec x, int n) {
    struct exp_shift shift = exp_shift_from(broadcast((real)n * LN2));
    real power = sizeof(real) < sizeof(double) ? (real)ldexpf(1, n - (int)HEADROOM)
                                               : (real)ldexp(1, n - (int)HEADROOM);
    return mul(exponential(x, &shift), broadcast(power));
}

static void apply(const void *x, void *y, size_t n) {
    int largest = sizeof(real) < sizeof(double) ? 128 : 1024; /* results are up to 2**largest */
    for (size_t i = 0; i < n; i += LANES) {
        vec v = load((const real *)x + i);
        vec result = select_less(broadcast(0), v, exponential_below(v, largest),
                                 exponential_below(v, 0));
        store((real *)y + i, result);
    }
}

static void apply_logarithm(const double *x, double *y, size_t n) {
    for (size_t i = 0; i < n; ++i) y[i] = logarithm(x[i]);
}

const struct exponential NAME_OF(INSTRUCTION_SET, TYPE) = {
    .name = QUOTED(INSTRUCTION_SET) " " QUOTED(TYPE),
    .is_double = sizeof(real) == sizeof(double),
#if defined(FASTSOFTMAX_PORTABLE)
    .has_fma = 0,
#else
    .has_fma = 1,
#endif
    .runs = runs,
    .apply = apply,
    .logarithm = apply_logarithm,
};
