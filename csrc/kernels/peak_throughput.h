/* Peak throughput of this machine, for the roofline: loops that do nothing but what is measured.
 *
 *   multiply_adds: 2 * LANES * PEAK_ACCUMULATORS operations a round;   read_memory, copy_memory: n elements
 *
 * Decisions:
 *   - Multiply-adds: PEAK_ACCUMULATORS independent vectors, enough to hide the latency of one, few enough to stay
 *     in registers; the operands are in registers as well.
 *   - Reading is a maximum over vectors, with four accumulators; copying loads and stores vectors.
 */
#ifndef FASTSOFTMAX_PEAK_THROUGHPUT_H
#define FASTSOFTMAX_PEAK_THROUGHPUT_H

#include "kernels/kernel_table.h"
#include "kernels/softmax.h"

enum { PEAK_ACCUMULATORS = TILE_COLUMNS };

/* Return the floating-point operations of n_rounds rounds; *sink keeps the compiler from removing them. */
static double multiply_adds(size_t n_rounds, double *sink) {
    vec sums[PEAK_ACCUMULATORS], a = broadcast((real)0.999), b = broadcast((real)0.001);
    UNROLL for (int i = 0; i < PEAK_ACCUMULATORS; ++i) sums[i] = broadcast((real)i);
    for (size_t n = 0; n < n_rounds; ++n) {
        UNROLL for (int i = 0; i < PEAK_ACCUMULATORS; ++i) sums[i] = fmadd(sums[i], a, b);
    }
    UNROLL for (int i = 0; i < PEAK_ACCUMULATORS; ++i) *sink += (double)sum_lanes(sums[i]);
    return 2.0 * LANES * PEAK_ACCUMULATORS * (double)n_rounds;
}

/* Read n elements; return their maximum. */
static double read_memory(const void *memory, size_t n) {
    return (double)row_maximum((const real *)memory, n);
}

/* Copy n elements, whole vectors of them. */
static void copy_memory(const void *from, size_t n, void *to) {
    const real *source = from;
    real *target = to;
    for (size_t i = 0; i + LANES <= n; i += LANES) store(target + i, load(source + i));
}

#endif
