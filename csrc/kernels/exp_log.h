/* exp and log without libm, so that every instruction set gives the same bits.
 *
 *   exp(x) = 2**n * exp(r)   with n = round(x / ln 2), r = x - n * ln 2, |r| <= ln 2 / 2
 *   log(x) = n * ln 2 + log(1 + f)   with x = 2**n * (1 + f), 1 + f in [sqrt(1/2), sqrt(2))
 *
 * Decisions on exp:
 *   - n comes from adding 1.5 * 2**mantissa_bits: the sum is rounded to an integer that occupies its low bits,
 *     from which shift_exponent takes it. There is no conversion between integers and floats.
 *   - n * ln 2 is subtracted in two parts (Cody and Waite). The high part has so few bits that the difference is
 *     exact: with FMA for |x| < FAR_FROM_0, without FMA for the smaller bound given there.
 *   - exp(r) = 1 + r + r**2 * q(r), with q the minimax polynomial (Remez). Its relative error, 3.1e-9 in float32
 *     and 3.6e-18 in float64, is at most a twentieth of the rounding error.
 *   - A softmax needs exp(z - m), where m is the largest logit of a row. Rounding z - m would cost up to half an
 *     ulp of it, more than everything else. So the exponential of z itself is computed, and N, the multiple of
 *     ln 2 next to m, is subtracted from the exponent, where that is exact. It costs nothing: N is part of the
 *     constant that is added to round. (Dukhan and Ablavatski, The Two-Pass Softmax Algorithm, 2020, keep
 *     exponents apart in a similar way, to save the pass for m.) Where m is far from 0, z - m is exact for every
 *     z whose term contributes, and is used.
 *   - The largest term of a row is about 2**HEADROOM. A probability that is a subnormal number therefore still
 *     comes from normal terms, and is rounded once, when they are divided by their sum. A term is 0 where it
 *     would be below the smallest normal number, and for -inf; it is NaN for NaN and +inf.
 *   - exp(x) for x <= 0, which is exponential() / 2**HEADROOM, has an error below 0.90 ulp in float32 (every x
 *     there is) and 0.74 ulp in float64 (a dense sample), and below 1 of the smallest numbers where the result
 *     is subnormal; the error of the logarithm is below 0.84 ulp. `make exp-check` measures them.
 *
 * Decisions on log, for x >= 1 and in double in every translation unit:
 *   - log(1 + f) = f - f**2 / 2 + s * (f**2 / 2 + R(s**2)) with s = f / (2 + f), where R is the rest of the
 *     series 2 * atanh(s) - 2 * s, truncated after s**20.
 *   - Plain operations, each rounded once, and no branch: the same bits everywhere, and the compiler vectorises
 *     loops over it.
 */
#ifndef FASTSOFTMAX_EXP_LOG_H
#define FASTSOFTMAX_EXP_LOG_H

#include <math.h> /* INFINITY, isnan, fabs: nothing that calls libm */

#include "simd/simd.h"

#if defined(FASTSOFTMAX_FLOAT32)
static const real MAGIC = 0x1.8p23f, LOG2_E = 0x1.715476p0f, LN2 = 0x1.62e43p-1f;
static const real LN2_HIGH = 0x1.62e4p-1f, LN2_LOW = 0x1.7f7d1cp-20f;
static const real LOG_MIN_NORMAL = -0x1.5d58a0p6f; /* the log of the smallest normal number */
static const real HEADROOM = 64;
#else
static const real MAGIC = 0x1.8p52, LOG2_E = 0x1.71547652b82fep0, LN2 = 0x1.62e42fefa39efp-1;
static const real LN2_HIGH = 0x1.62e42fefa3p-1, LN2_LOW = 0x1.3de6af278ece6p-42;
static const real LOG_MIN_NORMAL = -0x1.6232bdd7abcd3p9, HEADROOM = 512;
#endif

/* From |m| >= FAR_FROM_0 on, z - m is exact for every z whose term contributes; below it, n * LN2_HIGH is
 * exact. */
#if !defined(FASTSOFTMAX_PORTABLE)
static const real FAR_FROM_0 = 32768;
#elif defined(FASTSOFTMAX_FLOAT32)
static const real FAR_FROM_0 = 256;
#else
static const real FAR_FROM_0 = 2048;
#endif

/* What the terms of a row are relative to: they are exp(z - from - N * ln 2). */
struct exp_shift {
    vec from, magic,
        least; /* magic: MAGIC - N; least: where z - from is not above it, the term is 0 */
};

/* Return the shift for rows with these maxima, one in each lane. Where a maximum is NaN or infinite, so
 * are z - from and terms of the row. */
ALWAYS_INLINE struct exp_shift exp_shift_from(vec largest) {
    vec size = magnitude(largest), zero = broadcast(0), magic = broadcast(MAGIC);
    vec from = select_less(size, broadcast(FAR_FROM_0), zero, largest);
    vec near = select_less(size, broadcast(FAR_FROM_0), largest, zero);
    vec N = sub(sub(fmadd(near, broadcast(LOG2_E), magic), magic), broadcast(HEADROOM));
    vec least = fmadd(N, broadcast(LN2), broadcast(LOG_MIN_NORMAL));
    return (struct exp_shift){from, sub(magic, N), least};
}

/* Return exp(x - N * ln 2) for x = z - from. */
ALWAYS_INLINE vec exponential_shifted(vec x, const struct exp_shift *shift) {
#if defined(FASTSOFTMAX_FLOAT32)
    static const real coefficients[] = {0x1.6a23d0p-10f, 0x1.123a20p-7f, 0x1.5558f2p-5f,
                                        0x1.555492p-3f, 0x1.fffffcp-2f};
#else
    static const real coefficients[] = {
        0x1.ad7f3ee016e7dp-26, 0x1.28ad9b8551757p-22, 0x1.71df25b3100a2p-19, 0x1.a01999e2633fdp-16,
        0x1.a01a012a0f351p-13, 0x1.6c16c18438b08p-10, 0x1.1111111127d0ep-7,  0x1.555555555083ep-5,
        0x1.55555555554f9p-3,  0x1.000000000000ap-1};
#endif
    enum { N_COEFFICIENTS = sizeof coefficients / sizeof coefficients[0] };
    vec shifted = fmadd(x, broadcast(LOG2_E), shift->magic);
    vec n = sub(shifted, shift->magic);
    vec high = fmadd(n, broadcast(-LN2_HIGH), x), r = fmadd(n, broadcast(-LN2_LOW), high);
    vec q = broadcast(coefficients[0]);
    UNROLL for (int i = 1; i < N_COEFFICIENTS; ++i) q = fmadd(q, r, broadcast(coefficients[i]));
#if defined(FASTSOFTMAX_FLOAT64)
    /* 1 + r, and the rounding errors of that and of r: a third of the error, for a third more time. */
    vec error = fmadd(n, broadcast(-LN2_LOW), sub(high, r));
    vec sum = add(broadcast(1), r);
    vec rest = add(sub(r, sub(sum, broadcast(1))), fmadd(mul(r, r), q, error));
    vec p = add(sum, rest);
#elif defined(FASTSOFTMAX_PORTABLE)
    /* Without FMA the product with r is rounded. So r itself is kept out of it, and the rounding error of
     * r is added back, for less than 1 ulp. */
    vec error = fmadd(n, broadcast(-LN2_LOW), sub(high, r));
    vec p = add(add(r, fmadd(mul(r, r), q, error)), broadcast(1));
#else
    vec p = fmadd(fmadd(q, r, broadcast(1)), r, broadcast(1));
#endif
    vec result = shift_exponent(p, shifted), above = sub(x, shift->least);
    /* maximum returns its second argument where that is NaN, whose bits the shift may have changed. */
    return select_less(broadcast(0), above, result, maximum(broadcast(0), above));
}

/* Return exp(z - from - N * ln 2), the term of the logit z. */
ALWAYS_INLINE vec exponential(vec z, const struct exp_shift *shift) {
    return exponential_shifted(sub(z, shift->from), shift);
}

/* Return a + b, rounded, and its rounding error (Knuth, The Art of Computer Programming, volume 2, 4.2.2). */
ALWAYS_INLINE double two_sum(double a, double b, double *error) {
    double sum = a + b, b_part = sum - a;
    *error = (a - (sum - b_part)) + (b - b_part);
    return sum;
}

/* Return the high part of log(x), for x >= 1; *low is the rest. */
ALWAYS_INLINE double split_logarithm(double x, double *low) {
    uint64_t word;
    memcpy(&word, &x, sizeof word);
    /* Subtracting the bits of sqrt(1/2) makes the exponent change there, instead of at 1. */
    uint64_t power = (word - 0x3fe6a09e667f3bcdu) >> 52;
    word -= power << 52;
    double m, n;
    memcpy(&m, &word, sizeof m);
    /* power in the low bits of 2**52: a conversion that every instruction set can do on vectors */
    power |= 0x4330000000000000u;
    memcpy(&n, &power, sizeof n);
    n -= 0x1p52;
    double f = m - 1, s = f / (2 + f), s2 = s * s, half_square = 0.5 * f * f;
    static const double series[] = {2.0 / 21, 2.0 / 19, 2.0 / 17, 2.0 / 15, 2.0 / 13,
                                    2.0 / 11, 2.0 / 9,  2.0 / 7,  2.0 / 5,  2.0 / 3};
    double rest = 0;
    UNROLL for (int k = 0; k < 10; ++k) rest = (rest + series[k]) * s2;
    const double ln2_high = 0x1.62e42fefa3p-1, ln2_low = 0x1.3de6af278ece6p-42;
    double n_part = n * ln2_high, high = n_part + f, error = (n_part - high) + f;
    *low = error - (half_square - (s * (half_square + rest) + n * ln2_low));
    return high;
}

/* Return log(x) for x >= 1, and x itself for NaN and infinity. */
ALWAYS_INLINE double logarithm(double x) {
    double low, high = split_logarithm(x, &low), result = high + low;
    return x < (double)INFINITY ? result : x; /* NaN and inf pass through */
}

#endif
