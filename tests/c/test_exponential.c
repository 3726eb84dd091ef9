/* The exponential and the logarithm of csrc/kernels/exp_log.h against references that are right.
 *
 * float32: every one of the 2**32 numbers. The reference is exp in double, whose error of less than 1 ulp is
 * 2**-29 ulp of a float: it decides how far off a result is to that. float64: a dense sample of numbers below
 * 0, against expl in long double (64 bits of mantissa, 2**-10 ulp of a double); and of numbers from 1 on for the
 * logarithm. What is printed is the largest error in units in the last place of the exact result.
 *
 * What a term divided by 2**HEADROOM promises, and this holds it to:
 *   - at most 1 ulp where the result is a normal number, and where it is subnormal, in units of the smallest
 *     number; exactly 1 for 0 and -0
 *   - 0 for -inf, NaN for a NaN and for +inf
 *   - where the exact result is too large for the type, nothing
 * x > 0 is taken relative to the largest result there is: as in a row, no term is larger than the largest.
 *
 * The sets with FMA have to give the same bits.
 */
#include <math.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "exponential_of.h"

enum { AT_ONCE = 1 << 14, N_THREADS = 2 };

struct tally {
    double worst; /* error in ulp, of normal results */
    double where; /* of it */
    double worst_subnormal;
    uint64_t inexact; /* results that are not the exact ones rounded to nearest */
    uint64_t n_normal, n_wrong;
    uint64_t hash; /* of all inputs and results, in any order */
};

static const struct exponential *under_test;

static void complain(struct tally *t, double x, double y, const char *what) {
    if (t->n_wrong++ < 5) printf("%s: exp(%a) = %a: %s\n", under_test->name, x, y, what);
}

/* SplitMix64 of the number: a sample, and a hash, that are the same everywhere. */
static uint64_t mixed(uint64_t x) {
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

static uint64_t bits_of(double x) {
    uint64_t word;
    memcpy(&word, &x, sizeof word);
    return word;
}

static double largest(void) {
    return under_test->is_double ? 0x1.fffffffffffffp1023 : 0x1.fffffep127;
}

static double smallest_normal(void) { return under_test->is_double ? 0x1p-1022 : 0x1p-126; }

/* One result; `exact` is the reference, good to far more than the type's precision. */
static void look_at(struct tally *t, double x, double y, long double exact) {
    t->hash += mixed(bits_of(x) ^ mixed(isnan(y) ? 0 : bits_of(y)));
    if (isnan(x) || x == (double)INFINITY) {
        if (!isnan(y)) complain(t, x, y, "expected NaN");
    } else if (exact > (long double)largest()) {
        return; /* nothing is promised */
    } else if (x == 0) {
        if (y != 1) complain(t, x, y, "expected 1");
    } else {
        int exponent, normal = exact >= (long double)smallest_normal();
        frexpl(exact, &exponent);
        int of_ulp = exponent - (under_test->is_double ? 53 : 24);
        int least = under_test->is_double ? -1074 : -149;
        long double ulp = ldexpl(1, of_ulp > least ? of_ulp : least);
        double error = (double)(fabsl((long double)y - exact) / ulp);
        double nearest = under_test->is_double ? (double)exact : (double)(float)exact;
        if (normal) {
            ++t->n_normal;
            t->inexact += y != nearest;
            if (error > t->worst) t->worst = error, t->where = x;
        } else if (error > t->worst_subnormal) {
            t->worst_subnormal = error;
        }
        if (!(error <= 1)) complain(t, x, y, "more than 1 ulp from the exact result");
    }
}

struct part {
    uint64_t first, end;
    struct tally tally;
};

static void *floats(void *argument) {
    struct part *part = argument;
    static _Thread_local float x[AT_ONCE], y[AT_ONCE];
    for (uint64_t first = part->first; first < part->end; first += AT_ONCE) {
        for (uint32_t i = 0; i < AT_ONCE; ++i) {
            uint32_t word = (uint32_t)first + i;
            memcpy(x + i, &word, sizeof word);
        }
        under_test->apply(x, y, AT_ONCE);
        for (size_t i = 0; i < AT_ONCE; ++i) {
            double wide = (double)x[i];
            look_at(&part->tally, wide, (double)y[i], (long double)exp(wide));
        }
    }
    return NULL;
}

/* Sample i: of every exponent, evenly over the range of normal results, next to multiples of ln 2 / 2 where n
 * changes, next to the cut-off, and the edges. */
static double sample(uint64_t i) {
    static const double edges[] = {0.0,        -0.0,     INFINITY,  -INFINITY,  NAN, 1,  0x1p-1074,
                                   -0x1p-1074, 0x1p1023, -0x1p1023, -0x1p-1022, 700, 710};
    uint64_t bits = mixed(i);
    double unit = (double)(bits >> 11) * 0x1p-53, x;
    switch (i % 4) {
    case 0: /* any number */
        memcpy(&x, &bits, sizeof x);
        return i / 4 < sizeof edges / sizeof *edges ? edges[i / 4] : x;
    case 1: /* results from 1 down to the smallest normal number */
        return -unit * 0x1.6232bdd7abcd3p9;
    case 2: /* within some thousand numbers of n * ln 2 / 2 */
        x = -(double)(1 + bits % 2044) * 0x1.62e42fefa39efp-2;
        return x * (1 + (double)((int64_t)(bits >> 50) - 8192) * 0x1p-52);
    default: /* and of the smallest normal result; subnormal results */
        if (i % 8 < 4) return -0x1.6232bdd7abcd3p9 - unit * 40;
        return -0x1.6232bdd7abcd3p9 * (1 + (double)((int64_t)(bits >> 50) - 8192) * 0x1p-52);
    }
}

static void *doubles(void *argument) {
    struct part *part = argument;
    static _Thread_local double x[AT_ONCE], y[AT_ONCE];
    for (uint64_t first = part->first; first < part->end; first += AT_ONCE) {
        for (uint64_t i = 0; i < AT_ONCE; ++i) x[i] = sample(first + i);
        under_test->apply(x, y, AT_ONCE);
        for (size_t i = 0; i < AT_ONCE; ++i) {
            look_at(&part->tally, x[i], y[i], expl((long double)x[i]));
        }
    }
    return NULL;
}

/* The logarithm of numbers from 1 to 2**1023: it may be near 0, so its error is counted in ulp there too. */
static void *logarithms(void *argument) {
    struct part *part = argument;
    static _Thread_local double x[AT_ONCE], y[AT_ONCE];
    for (uint64_t first = part->first; first < part->end; first += AT_ONCE) {
        for (uint64_t i = 0; i < AT_ONCE; ++i) {
            uint64_t bits = mixed(first + i);
            double unit = (double)(bits >> 11) * 0x1p-53;
            double steps[] = {1 + unit, 1 + ldexp(unit, -(int)(bits % 52)), 1 + unit * 4000,
                              ldexp(1 + unit, (int)(bits % 1023))};
            x[i] = steps[i % 4];
        }
        under_test->logarithm(x, y, AT_ONCE);
        for (size_t i = 0; i < AT_ONCE; ++i) {
            int exponent;
            long double exact = logl((long double)x[i]);
            if (x[i] == 1) {
                if (y[i] != 0) complain(&part->tally, x[i], y[i], "expected log 1 = 0");
                continue;
            }
            frexpl(exact, &exponent);
            double error = (double)(fabsl((long double)y[i] - exact) / ldexpl(1, exponent - 53));
            ++part->tally.n_normal;
            part->tally.inexact += y[i] != (double)exact;
            if (error > part->tally.worst) part->tally.worst = error, part->tally.where = x[i];
            if (!(error <= 1)) complain(&part->tally, x[i], y[i], "log: more than 1 ulp off");
        }
    }
    return NULL;
}

/* Whether all went as promised. */
static int run(const char *what, void *(*work)(void *), uint64_t n) {
    struct part parts[N_THREADS] = {{0}};
    pthread_t threads[N_THREADS];
    struct tally all = {0};
    for (uint64_t i = 0; i < N_THREADS; ++i) {
        parts[i].first = i * n / N_THREADS / AT_ONCE * AT_ONCE;
        parts[i].end = i + 1 < N_THREADS ? (i + 1) * n / N_THREADS / AT_ONCE * AT_ONCE : n;
        if (pthread_create(&threads[i], NULL, work, &parts[i]) != 0) exit(2);
    }
    for (int i = 0; i < N_THREADS; ++i) {
        pthread_join(threads[i], NULL);
        const struct tally *t = &parts[i].tally;
        all.hash += t->hash;
        all.inexact += t->inexact, all.n_normal += t->n_normal, all.n_wrong += t->n_wrong;
        if (t->worst > all.worst) all.worst = t->worst, all.where = t->where;
        if (t->worst_subnormal > all.worst_subnormal) all.worst_subnormal = t->worst_subnormal;
    }
    printf("%-16s %-10s %12llu %12llu   %.6f at %-14a %6.3f %%   %.6f\n", under_test->name, what,
           (unsigned long long)n, (unsigned long long)all.n_normal, all.worst, all.where,
           100 * (double)all.inexact / (double)all.n_normal, all.worst_subnormal);
    fflush(stdout);
    int same = 1;
    if (under_test->has_fma && work != logarithms) {
        static uint64_t hashes[2];
        uint64_t *hash = &hashes[under_test->is_double];
        same = *hash == 0 || *hash == all.hash;
        if (!same) printf("%s: other bits than the set before\n", under_test->name);
        *hash = all.hash;
    }
    return same && all.n_wrong == 0 && all.n_normal > 0;
}

int main(void) {
    int right = 1;
    printf("%-16s %-10s %12s %12s   %-28s %s   %s\n", "", "", "inputs", "normal",
           "largest error, ulp", "not nearest", "of subnormal results");
    const struct exponential *all[] = {
        &exponential_avx512_float32, &exponential_avx2_float32, &exponential_portable_float32,
        &exponential_avx512_float64, &exponential_avx2_float64, &exponential_portable_float64,
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; ++i) {
        under_test = all[i];
        if (!under_test->runs()) continue;
        if (!under_test->is_double) {
            right &= run("exp", floats, (uint64_t)1 << 32);
        } else {
            right &= run("exp", doubles, (uint64_t)1 << 26);
            right &= run("log", logarithms, (uint64_t)1 << 25);
        }
    }
    puts(right ? "all as promised" : "not as promised");
    return !right;
}
