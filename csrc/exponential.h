/* exp of x <= 0 and log without libm, so that every instruction set gives the same bits.
 *
 * exp(x): x = n * ln 2 + r with n = round(x / ln 2), |r| <= ln 2 / 2; exp(x) = 2**n * exp(r).
 *   - n comes from adding 1.5 * 2**mantissa_bits: the sum is rounded to an integer, which then stands in
 *     its low bits, where shift_exponent takes it from. No conversion between integers and floats.
 *   - n * ln 2 is subtracted in two parts. The high part has so few bits that the product is exact
 *     also without FMA.
 *   - exp(r) = 1 + r + r**2 * q(r), with q the polynomial of least relative error (Remez):
 *     3.1e-9 in float32, 3.6e-18 in float64, a twentieth of the rounding error or less.
 * exp is 0 where the result would be below the smallest normal number (also for -inf), NaN for NaN and +inf;
 * else less than 0.90 ulp off in float32 (for every x there is) and 0.92 in float64 (a dense sample), and the
 * logarithm below less than 0.84: `make exp-check` measures it. That holds for x > 0 too, up to the largest result.
 * x is a logit less the largest: where it is above 0, a NaN has hidden the largest, and so that NaN is found.
 *
 * log(x) for x >= 1, in double in every translation unit: x = 2**n * m with m in [sqrt(1/2), sqrt(2)),
 * f = m - 1, log(1 + f) = f - f**2 / 2 + s * (f**2 / 2 + R(s**2)) with s = f / (2 + f), where R is the
 * rest of the series 2 * atanh(s) - 2 * s, cut after s**20. Plain operations, each rounded once, and no
 * branch: the same bits everywhere, and loops over it become vectors.
 */
#ifndef FASTSOFTMAX_EXPONENTIAL_H
#define FASTSOFTMAX_EXPONENTIAL_H

#include <math.h> /* INFINITY, isnan, fabs: nothing that calls libm */

#include "vector.h"

ALWAYS_INLINE vec exponential(vec x) {
#if defined(FASTSOFTMAX_FLOAT32)
    static const real coefficients[] = {0x1.6a23d0p-10f, 0x1.123a20p-7f, 0x1.5558f2p-5f,
                                        0x1.555492p-3f, 0x1.fffffcp-2f};
    const real magic = 0x1.8p23f, log2_e = 0x1.715476p0f;
    const real ln2_high = 0x1.62e4p-1f, ln2_low = 0x1.7f7d1cp-20f;
    const real below = -0x1.5d58a0p6f;
#else
    static const real coefficients[] = {
        0x1.ad7f3ee016e7dp-26, 0x1.28ad9b8551757p-22, 0x1.71df25b3100a2p-19, 0x1.a01999e2633fdp-16,
        0x1.a01a012a0f351p-13, 0x1.6c16c18438b08p-10, 0x1.1111111127d0ep-7,  0x1.555555555083ep-5,
        0x1.55555555554f9p-3,  0x1.000000000000ap-1};
    const real magic = 0x1.8p52, log2_e = 0x1.71547652b82fep0;
    const real ln2_high = 0x1.62e42fefa3p-1, ln2_low = 0x1.3de6af278ece6p-42;
    const real below = -0x1.6232bdd7abcd3p9;
#endif
    enum { N_COEFFICIENTS = sizeof coefficients / sizeof coefficients[0] };
    vec shifted = fmadd(x, broadcast(log2_e), broadcast(magic));
    vec n = sub(shifted, broadcast(magic));
    vec high = fmadd(n, broadcast(-ln2_high), x), r = fmadd(n, broadcast(-ln2_low), high);
    vec q = broadcast(coefficients[0]);
    UNROLL for (int i = 1; i < N_COEFFICIENTS; ++i) q = fmadd(q, r, broadcast(coefficients[i]));
#if defined(FASTSOFTMAX_PORTABLE)
    /* Without FMA the product with r is rounded. So r itself must not be in it, and what rounding r has
     * lost is put back, for less than 1 ulp. */
    vec lost = fmadd(n, broadcast(-ln2_low), sub(high, r));
    vec p = add(add(r, fmadd(mul(r, r), q, lost)), broadcast(1));
#else
    vec p = fmadd(fmadd(q, r, broadcast(1)), r, broadcast(1));
#endif
    vec result = shift_exponent(p, shifted);
    /* maximum is its second argument where that is a NaN, whose bits the shift may have spoilt. */
    return select_less(broadcast(below), x, result, maximum(broadcast(0), x));
}

ALWAYS_INLINE double logarithm(double x) {
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
    double low = s * (half_square + rest) + n * ln2_low;
    double result = n * ln2_high - ((half_square - low) - f);
    /* NaN and inf as they are; sums of exponentials shifted by their maximum are never below 1 */
    return x < (double)INFINITY ? result : x;
}

/* log(1 + x) for x >= 0, with the part of x that 1 + x rounds away put back. */
static inline double logarithm_of_1_plus(double x) {
    double sum = 1 + x;
    double lost = x - (sum - 1);
    return sum < (double)INFINITY ? logarithm(sum) + lost / sum : logarithm(sum);
}

#endif
