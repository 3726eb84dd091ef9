/* The vector vocabulary (SIMD) that the kernels are written in, chosen at compile time.
 *
 * Each translation unit is one instruction set and one type: the build defines FASTSOFTMAX_<INSTRUCTION SET> and
 * FASTSOFTMAX_FLOAT32 or FASTSOFTMAX_FLOAT64. The header of an instruction set provides, for `real` = float or
 * double:
 *
 *   vec                           LANES reals; always 64 bytes, in as many registers as that takes
 *   load(p), store(p, v)          from and to memory, without alignment
 *   load_uint8(p), load_float16(p), load_float32(p)
 *                                 the same from other types, exactly; float16 is given by its bits
 *   load_first(p, n, fill)        the first n < LANES from memory, the others `fill`; reads nothing beyond
 *   store_first(p, v, n)          only the first n < LANES lanes
 *   broadcast(x), lane_indices()  x in every lane; 0, 1, 2, ...
 *   add sub mul maximum           lane by lane; maximum returns its second argument where one is NaN
 *   fmadd(a, b, c)                a * b + c, rounded once where the instruction set can
 *   magnitude(v)                  |v|
 *   select_less(a, b, x, y)       x in lanes where a < b, else y (NaN is not less)
 *   any_less(a, b)                whether a < b in any lane
 *   select_equal(a, b, x, y)      x in lanes where a == b, else y
 *   copy_sign(v, s)               v >= 0 with the sign bit of s
 *   shift_exponent(p, t)          p * 2**n, where n is in the low bits of t (see kernels/exp_log.h)
 *   sum_lanes(v), largest_lane(v)
 *   wide, wide_zero(), add_to_wide(w, v), load_wide(p), store_wide(p, w)
 *                                 float32 only: LANES sums in double
 *   load_transposed(rows, first, v)
 *                                 v[j][i] = rows[i][first + j], for COLUMNS_PER_TRANSPOSE columns j of LANES rows
 *   store_transposed(p, stride, v)
 *                                 the inverse, to rows `stride` elements apart
 *   sum_lanes_4(v, sums)          sums[i] = sum_lanes(v[i]) for four vectors, sharing the shuffles where it pays
 *
 * and its name INSTRUCTION_SET, and the register tiles of the kernels, which follow from the number of registers:
 * TILE_ROWS x TILE_CLASSES dot products (dot_tiles.h), TILE_COLUMNS columns of an outer sum (sgd_update.h), and
 * TILE_OUTER scalars (a divisor of LANES) times TILE_SLABS vectors of classes, one or SLABS_PER_TILE (step_packed.h).
 *
 * The number of lanes is fixed, and a sum over lanes folds halves onto each other (lane i takes lane
 * i + LANES / 2, and so on), so every instruction set with FMA gives the same bits.
 */
#ifndef FASTSOFTMAX_SIMD_H
#define FASTSOFTMAX_SIMD_H

#include <string.h>

#include "runtime/platform.h"

#if defined(FASTSOFTMAX_FLOAT32)
typedef float real;
enum { LANES = 16 };
#elif defined(FASTSOFTMAX_FLOAT64)
typedef double real;
enum { LANES = 8 };
#else
#error "define FASTSOFTMAX_FLOAT32 or FASTSOFTMAX_FLOAT64"
#endif

/* Columns in a block of the transpose: 16 bytes of a row, which are transposed within 16-byte parts of
 * registers. */
enum { COLUMNS_PER_TRANSPOSE = LANES / 4 };

#if defined(FASTSOFTMAX_AVX512)
#include "simd/avx512.h"
#elif defined(FASTSOFTMAX_AVX2)
#include "simd/avx2.h"
#elif defined(FASTSOFTMAX_NEON)
#include "simd/neon.h"
#elif defined(FASTSOFTMAX_PORTABLE)
#include "simd/portable.h"
#else
#error "define the instruction set, FASTSOFTMAX_PORTABLE for example"
#endif

/* Load a vector, once, that several operations need. */
#if !defined(HAS_LOAD_SHARED)
ALWAYS_INLINE vec load_shared(const real *p) { return load(p); }
#endif

/* Load a vector; where n < LANES, its first n lanes, the others being `fill`. Nothing beyond is read. */
ALWAYS_INLINE vec load_up_to(const real *p, size_t n, real fill) {
    return n >= LANES ? load(p) : load_first(p, n, fill);
}

/* Store a vector; where n < LANES, its first n lanes. Nothing beyond is written. */
ALWAYS_INLINE void store_up_to(real *p, vec v, size_t n) {
    if (n >= LANES) {
        store(p, v);
    } else {
        store_first(p, v, n);
    }
}

/* Return a * b + c, rounded once where the instruction set can. */
ALWAYS_INLINE double multiply_add(double a, double b, double c) {
#if defined(FASTSOFTMAX_PORTABLE)
    return a * b + c;
#else
    return __builtin_fma(a, b, c);
#endif
}

/* Return a - b * c, rounded once where the instruction set can; else 0, as the result would be rounding
 * error alone. */
ALWAYS_INLINE double exact_remainder(double a, double b, double c) {
#if defined(FASTSOFTMAX_PORTABLE)
    return 0 * (a + b + c);
#else
    return __builtin_fma(-b, c, a);
#endif
}

/* Do load_transposed on rows `stride` elements apart. */
ALWAYS_INLINE void load_transposed_strided(const real *p, size_t stride, vec *v) {
    const real *rows[LANES];
    UNROLL for (int i = 0; i < LANES; ++i) rows[i] = p + (size_t)i * stride;
    load_transposed(rows, 0, v);
}

#endif
