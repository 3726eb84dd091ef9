/* exp and log without libm, so that every instruction set gives the same bits.
 *
 * exp(x): x = n * ln 2 + r with n = round(x / ln 2), |r| <= ln 2 / 2; exp(x) = 2**n * exp(r).
 *   - n comes from adding 1.5 * 2**mantissa_bits: the sum is rounded to an integer, which then stands in
 *     its low bits, where shift_exponent takes it from. No conversion between integers and floats.
 *   - n * ln 2 is subtracted in two parts. The high part has so few bits that the difference is exact, with FMA
 *     for |x| < FAR_FROM_0, and without for the smaller one there.
 *   - exp(r) = 1 + r + r**2 * q(r), with q the polynomial of least relative error (Remez):
 *     3.1e-9 in float32, 3.6e-18 in float64, a twentieth of the rounding error or less.
 *
 * A softmax needs exp(z - m), with m the largest logit of a row. Rounding z - m would cost more than all
 * the rest, up to half an ulp of it, so it is not rounded: the exponential of z itself is taken, and N, the
 * multiple of ln 2 next to m, leaves the exponent, where that is exact. It costs nothing: N is part of the number
 * that is added to round. (Dukhan, Ablavatski: The Two-Pass Softmax Algorithm (2020), keep exponents apart
 * likewise, to save the pass for m.) Where m is far from 0, z - m is exact for every z whose term counts, and is taken.
 *
 * A row's largest term is about 2**HEADROOM: so a probability that is a subnormal number still comes from normal
 * terms, and is rounded when they are divided by their sum. A term is 0 where it would be below the smallest normal
 * number, for -inf too, and NaN for NaN and +inf.
 *
 * So exp(x) for x <= 0, which is exponential() / 2**HEADROOM, is less than 0.90 ulp off in float32 (for every
 * x there is) and 0.74 in float64 (a dense sample), less than 1 of the smallest numbers where the result is
 * subnormal; and the logarithm below less than 0.84: `make exp-check` measures it.
 *
 * log(x) for x >= 1, in double in every translation unit: x = 2**n * m with m in [sqrt(1/2), sqrt(2)),
 * f = m - 1, log(1 + f) = f - f**2 / 2 + s * (f**2 / 2 + R(s**2)) with s = f / (2 + f), where R is the
 * rest of the series 2 * atanh(s) - 2 * s, cut after s**20. Plain operations, each rounded once, and no
 * branch: the same bits everywhere, and loops over it become vectors.
 */
#ifndef FASTSOFTMAX_EXP_LOG_H
#define FASTSOFTMAX_EXP_LOG_H

#include <math.h> /* INFINITY, isnan, fabs: nothing that calls libm */

#include "simd/simd.h"

#if defined(FASTSOFTMAX_FLOAT32)
static const real MAGIC = 0x1.8p23f, LOG2_E = 0x1.715476p0f, LN2 = 0x1.62e43p-1f;
static const real LN2_HIGH = 0x1.62e4p-1f, LN2_LOW = 0x1.7f7d1cp-20f;
static const real LOG_MIN_NORMAL = -0x1.5d58a0p6f; /* what exp makes a normal number of */
static const real HEADROOM = 64;
#else
static const real MAGIC = 0x1.8p52, LOG2_E = 0x1.71547652b82fep0, LN2 = 0x1.62e42fefa39efp-1;
static const real LN2_HIGH = 0x1.62e42fefa3p-1, LN2_LOW = 0x1.3de6af278ece6p-42;
static const real LOG_MIN_NORMAL = -0x1.6232bdd7abcd3p9, HEADROOM = 512;
#endif

/* Where |m| is at least this, z - m is exact for every z whose term counts; below, so is n * LN2_HIGH. */
#if !defined(FASTSOFTMAX_PORTABLE)
static const real FAR_FROM_0 = 32768;
#elif defined(FASTSOFTMAX_FLOAT32)
static const real FAR_FROM_0 = 256;
#else
static const real FAR_FROM_0 = 2048;
#endif

/* A row's terms are exp(z - from - N * ln 2). */
struct exp_shift {
    vec from, magic, least; /* magic: MAGIC - N; least: the z - from where the term becomes 0 */
};

/* For rows with these maxima. Where one is NaN or an infinity, so are z - from and terms of the row. */
ALWAYS_INLINE struct exp_shift exp_shift_from(vec largest) {
    vec size = magnitude(largest), zero = broadcast(0), magic = broadcast(MAGIC);
    vec from = select_less(size, broadcast(FAR_FROM_0), zero, largest);
    vec near = select_less(size, broadcast(FAR_FROM_0), largest, zero);
    vec N = sub(sub(fmadd(near, broadcast(LOG2_E), magic), magic), broadcast(HEADROOM));
    vec least = fmadd(N, broadcast(LN2), broadcast(LOG_MIN_NORMAL));
    return (struct exp_shift){from, sub(magic, N), least};
}

/* exp(x - N * ln 2) for x = z - from */
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
    /* 1 + r, and what rounding that and r has error: a third of the error, for a third of the time more. */
    vec error = fmadd(n, broadcast(-LN2_LOW), sub(high, r));
    vec sum = add(broadcast(1), r);
    vec rest = add(sub(r, sub(sum, broadcast(1))), fmadd(mul(r, r), q, error));
    vec p = add(sum, rest);
#elif defined(FASTSOFTMAX_PORTABLE)
    /* Without FMA the product with r is rounded. So r itself must not be in it, and what rounding r has
     * error is put back, for less than 1 ulp. */
    vec error = fmadd(n, broadcast(-LN2_LOW), sub(high, r));
    vec p = add(add(r, fmadd(mul(r, r), q, error)), broadcast(1));
#else
    vec p = fmadd(fmadd(q, r, broadcast(1)), r, broadcast(1));
#endif
    vec result = shift_exponent(p, shifted), above = sub(x, shift->least);
    /* maximum is its second argument where that is a NaN, whose bits the shift may have spoilt. */
    return select_less(broadcast(0), above, result, maximum(broadcast(0), above));
}

ALWAYS_INLINE vec exponential(vec z, const struct exp_shift *shift) {
    return exponential_shifted(sub(z, shift->from), shift);
}

/* a + b, rounded, and what that has error (Knuth, The Art of Computer Programming, volume 2, 4.2.2) */
ALWAYS_INLINE double two_sum(double a, double b, double *error) {
    double sum = a + b, b_part = sum - a;
    *error = (a - (sum - b_part)) + (b - b_part);
    return sum;
}

/* log(x) of a number is the result plus *low. */
ALWAYS_INLINE double split_logarithm(double x, double *low) {
    uint64_t word;
    memcpy(&word, &x, sizeof word);
    /* Subtracting the bits of sqrt(1/2) moves the exponent's step to there. */
    uint64_t power = (word - 0x3fe6a09e667f3bcdu) >> 52;
    word -= power << 52;
    double m, n;
    memcpy(&m, &word, sizeof m);
    /* power in the low bits of 2**52: a conversion that every instruction set has for vectors */
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

ALWAYS_INLINE double logarithm(double x) {
    double low, high = split_logarithm(x, &low), result = high + low;
    return x < (double)INFINITY ? result : x; /* NaN and inf as they are */
}

#endif
