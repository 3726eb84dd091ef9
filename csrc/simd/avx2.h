/* The vector vocabulary in AVX2 and FMA: a vec is two registers of 32 bytes. See simd.h. */

#include <immintrin.h>

#define INSTRUCTION_SET avx2

/* Dot products: 2 x 2 accumulators of two registers, 2 x 2 registers for rows of X and two for W: eight loads
 * for eight multiply-adds, as many as a core does. With 2 x 3 no register is left for W, which is loaded for
 * every row. Outer products: 4 x 1 accumulators of two registers, and the vector of one slab. With 2 x 2, GCC
 * reads the slabs once for each scalar: ten loads for eight multiply-adds, half the speed on a Zen 3. */
enum { TILE_ROWS = 2, TILE_CLASSES = 2, TILE_COLUMNS = 5, TILE_OUTER = 4, TILE_SLABS = 1 };

#if defined(FASTSOFTMAX_FLOAT32)
typedef __m256 half;
#define HALF(name) _mm256_##name##_ps
#define HALF_MASK(name) _mm256_##name##_epi32
#define CAST_TO_BITS _mm256_castps_si256
#define CAST_TO_REAL _mm256_castsi256_ps
typedef int32_t mask_lane;
enum { MANTISSA_BITS = 23 };
#else
typedef __m256d half;
#define HALF(name) _mm256_##name##_pd
#define HALF_MASK(name) _mm256_##name##_epi64
#define CAST_TO_BITS _mm256_castpd_si256
#define CAST_TO_REAL _mm256_castsi256_pd
typedef int64_t mask_lane;
enum { MANTISSA_BITS = 52 };
#endif

enum { HALF_LANES = LANES / 2 };

typedef struct {
    half low, high;
} vec;

ALWAYS_INLINE vec load(const real *p) { return (vec){HALF(loadu)(p), HALF(loadu)(p + HALF_LANES)}; }

#if defined(__GNUC__) || defined(__clang__)
#define HAS_LOAD_SHARED
/* The compiler would make it an operand in memory of each operation, and load it as often. */
ALWAYS_INLINE vec load_shared(const real *p) {
    vec v = load(p);
    __asm__("" : "+x"(v.low), "+x"(v.high));
    return v;
}
#endif

ALWAYS_INLINE void store(real *p, vec v) {
    HALF(storeu)(p, v.low);
    HALF(storeu)(p + HALF_LANES, v.high);
}

/* Return a window of LANES into ones followed by zeros, of which the first n lanes are set. */
ALWAYS_INLINE const mask_lane *first_lanes(size_t n) {
    static const mask_lane window[2 * LANES] = {
#if defined(FASTSOFTMAX_FLOAT32)
        -1, -1, -1, -1, -1, -1, -1, -1,
#endif
        -1, -1, -1, -1, -1, -1, -1, -1,
    };
    return window + (LANES - n);
}

ALWAYS_INLINE __m256i mask_at(const mask_lane *window) {
    return _mm256_loadu_si256((const __m256i *)window);
}

ALWAYS_INLINE half load_masked(const real *p, __m256i mask, half fill) {
    return HALF(blendv)(fill, HALF(maskload)(p, mask), CAST_TO_REAL(mask));
}

ALWAYS_INLINE vec load_first(const real *p, size_t n, real fill) {
    const mask_lane *window = first_lanes(n);
    half filler = HALF(set1)(fill);
    return (vec){load_masked(p, mask_at(window), filler),
                 load_masked(p + HALF_LANES, mask_at(window + HALF_LANES), filler)};
}

ALWAYS_INLINE void store_first(real *p, vec v, size_t n) {
    const mask_lane *window = first_lanes(n);
    HALF(maskstore)(p, mask_at(window), v.low);
    HALF(maskstore)(p + HALF_LANES, mask_at(window + HALF_LANES), v.high);
}

ALWAYS_INLINE vec broadcast(real x) {
    half every = HALF(set1)(x);
    return (vec){every, every};
}

ALWAYS_INLINE vec lane_indices(void) {
    static const real indices[LANES] = {
        0, 1, 2,  3,  4,  5,  6,  7,
#if defined(FASTSOFTMAX_FLOAT32)
        8, 9, 10, 11, 12, 13, 14, 15,
#endif
    };
    return load(indices);
}

/* Defines an operation on the lanes of two vectors. */
#define LANE_BY_LANE(name, instruction)                                                   \
    ALWAYS_INLINE vec name(vec a, vec b) {                                                \
        return (vec){HALF(instruction)(a.low, b.low), HALF(instruction)(a.high, b.high)}; \
    }
LANE_BY_LANE(add, add)
LANE_BY_LANE(sub, sub)
LANE_BY_LANE(mul, mul)
LANE_BY_LANE(maximum, max)

ALWAYS_INLINE vec fmadd(vec a, vec b, vec c) {
    return (vec){HALF(fmadd)(a.low, b.low, c.low), HALF(fmadd)(a.high, b.high, c.high)};
}

ALWAYS_INLINE vec select_less(vec a, vec b, vec x, vec y) {
    return (vec){HALF(blendv)(y.low, x.low, HALF(cmp)(a.low, b.low, _CMP_LT_OQ)),
                 HALF(blendv)(y.high, x.high, HALF(cmp)(a.high, b.high, _CMP_LT_OQ))};
}

ALWAYS_INLINE int any_less(vec a, vec b) {
    half low = HALF(cmp)(a.low, b.low, _CMP_LT_OQ), high = HALF(cmp)(a.high, b.high, _CMP_LT_OQ);
    return HALF(movemask)(HALF(or)(low, high)) != 0;
}

ALWAYS_INLINE vec select_equal(vec a, vec b, vec x, vec y) {
    return (vec){HALF(blendv)(y.low, x.low, HALF(cmp)(a.low, b.low, _CMP_EQ_OQ)),
                 HALF(blendv)(y.high, x.high, HALF(cmp)(a.high, b.high, _CMP_EQ_OQ))};
}

ALWAYS_INLINE vec magnitude(vec v) {
    half sign = HALF(set1)((real)-0.0);
    return (vec){HALF(andnot)(sign, v.low), HALF(andnot)(sign, v.high)};
}

ALWAYS_INLINE vec copy_sign(vec v, vec s) {
    half sign = HALF(set1)((real)-0.0);
    return (vec){HALF(or)(v.low, HALF(and)(sign, s.low)),
                 HALF(or)(v.high, HALF(and)(sign, s.high))};
}

ALWAYS_INLINE half shift_exponent_half(half p, half t) {
    __m256i exponent = HALF_MASK(slli)(CAST_TO_BITS(t), MANTISSA_BITS);
    return CAST_TO_REAL(HALF_MASK(add)(CAST_TO_BITS(p), exponent));
}

ALWAYS_INLINE vec shift_exponent(vec p, vec t) {
    return (vec){shift_exponent_half(p.low, t.low), shift_exponent_half(p.high, t.high)};
}

#if defined(FASTSOFTMAX_FLOAT32)

/* Defines a fold of all lanes by halves, in the order that simd.h prescribes. */
#define FOLD_LANES(name, instruction)                                            \
    ALWAYS_INLINE real name(vec v) {                                             \
        __m256 eight = _mm256_##instruction##_ps(v.low, v.high);                 \
        __m128 four = _mm_##instruction##_ps(_mm256_castps256_ps128(eight),      \
                                             _mm256_extractf128_ps(eight, 1));   \
        __m128 two = _mm_##instruction##_ps(four, _mm_movehl_ps(four, four));    \
        return _mm_cvtss_f32(_mm_##instruction##_ss(two, _mm_movehdup_ps(two))); \
    }

#else

#define FOLD_LANES(name, instruction)                                                 \
    ALWAYS_INLINE real name(vec v) {                                                  \
        __m256d four = _mm256_##instruction##_pd(v.low, v.high);                      \
        __m128d two = _mm_##instruction##_pd(_mm256_castpd256_pd128(four),            \
                                             _mm256_extractf128_pd(four, 1));         \
        return _mm_cvtsd_f64(_mm_##instruction##_sd(two, _mm_unpackhi_pd(two, two))); \
    }

#endif

FOLD_LANES(sum_lanes, add)
FOLD_LANES(largest_lane, max)

#if defined(FASTSOFTMAX_FLOAT32)

typedef struct {
    __m256d reg[4];
} wide;

ALWAYS_INLINE wide wide_zero(void) {
    __m256d zero = _mm256_setzero_pd();
    return (wide){{zero, zero, zero, zero}};
}

ALWAYS_INLINE wide add_to_wide(wide w, vec v) {
    __m128 four[4] = {_mm256_castps256_ps128(v.low), _mm256_extractf128_ps(v.low, 1),
                      _mm256_castps256_ps128(v.high), _mm256_extractf128_ps(v.high, 1)};
    UNROLL for (int i = 0; i < 4; ++i) w.reg[i] = _mm256_add_pd(w.reg[i], _mm256_cvtps_pd(four[i]));
    return w;
}

ALWAYS_INLINE wide load_wide(const double *p) {
    wide w;
    UNROLL for (int i = 0; i < 4; ++i) w.reg[i] = _mm256_loadu_pd(p + i * (LANES / 4));
    return w;
}

ALWAYS_INLINE void store_wide(double *p, wide w) {
    UNROLL for (int i = 0; i < 4; ++i) _mm256_storeu_pd(p + i * (LANES / 4), w.reg[i]);
}

#endif

ALWAYS_INLINE void sum_lanes_4(const vec *v, real *sums) {
    UNROLL for (int i = 0; i < 4; ++i) sums[i] = sum_lanes(v[i]);
}

/* A register takes 16 bytes each of the rows i and i + COLUMNS_PER_TRANSPOSE, so that each 16-byte part of
 * the registers is a square to transpose. */
#if defined(FASTSOFTMAX_FLOAT32)

ALWAYS_INLINE half load_parts(const real *const *rows, size_t first) {
    return _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(rows[0] + first)),
                                _mm_loadu_ps(rows[COLUMNS_PER_TRANSPOSE] + first), 1);
}

ALWAYS_INLINE void store_parts(real *p, size_t stride, half v) {
    _mm_storeu_ps(p, _mm256_castps256_ps128(v));
    _mm_storeu_ps(p + COLUMNS_PER_TRANSPOSE * stride, _mm256_extractf128_ps(v, 1));
}

ALWAYS_INLINE void transpose_parts(half *v) {
    half low = _mm256_unpacklo_ps(v[0], v[1]), high = _mm256_unpackhi_ps(v[0], v[1]);
    half low_2 = _mm256_unpacklo_ps(v[2], v[3]), high_2 = _mm256_unpackhi_ps(v[2], v[3]);
    v[0] = _mm256_shuffle_ps(low, low_2, 0x44);
    v[1] = _mm256_shuffle_ps(low, low_2, 0xee);
    v[2] = _mm256_shuffle_ps(high, high_2, 0x44);
    v[3] = _mm256_shuffle_ps(high, high_2, 0xee);
}

#else

ALWAYS_INLINE half load_parts(const real *const *rows, size_t first) {
    return _mm256_insertf128_pd(_mm256_castpd128_pd256(_mm_loadu_pd(rows[0] + first)),
                                _mm_loadu_pd(rows[COLUMNS_PER_TRANSPOSE] + first), 1);
}

ALWAYS_INLINE void store_parts(real *p, size_t stride, half v) {
    _mm_storeu_pd(p, _mm256_castpd256_pd128(v));
    _mm_storeu_pd(p + COLUMNS_PER_TRANSPOSE * stride, _mm256_extractf128_pd(v, 1));
}

ALWAYS_INLINE void transpose_parts(half *v) {
    half low = _mm256_unpacklo_pd(v[0], v[1]);
    v[1] = _mm256_unpackhi_pd(v[0], v[1]);
    v[0] = low;
}

#endif

ALWAYS_INLINE void load_transposed(const real *const *rows, size_t first, vec *v) {
    half low[COLUMNS_PER_TRANSPOSE], high[COLUMNS_PER_TRANSPOSE];
    UNROLL for (int i = 0; i < COLUMNS_PER_TRANSPOSE; ++i) {
        low[i] = load_parts(rows + i, first);
        high[i] = load_parts(rows + i + HALF_LANES, first);
    }
    transpose_parts(low);
    transpose_parts(high);
    UNROLL for (int i = 0; i < COLUMNS_PER_TRANSPOSE; ++i) v[i] = (vec){low[i], high[i]};
}

ALWAYS_INLINE void store_transposed(real *p, size_t stride, const vec *v) {
    half low[COLUMNS_PER_TRANSPOSE], high[COLUMNS_PER_TRANSPOSE];
    UNROLL for (int i = 0; i < COLUMNS_PER_TRANSPOSE; ++i) {
        low[i] = v[i].low;
        high[i] = v[i].high;
    }
    transpose_parts(low);
    transpose_parts(high);
    UNROLL for (int i = 0; i < COLUMNS_PER_TRANSPOSE; ++i) {
        store_parts(p + i * stride, stride, low[i]);
        store_parts(p + (i + HALF_LANES) * stride, stride, high[i]);
    }
}

/* Conversions from the other input types. */
#if defined(FASTSOFTMAX_FLOAT32)

ALWAYS_INLINE half half_from_uint8(const uint8_t *p) {
    return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)p)));
}
ALWAYS_INLINE half half_from_float16(const uint16_t *p) {
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p));
}
ALWAYS_INLINE half half_from_float32(const float *p) { return _mm256_loadu_ps(p); }

#else

ALWAYS_INLINE half half_from_uint8(const uint8_t *p) {
    int32_t four;
    memcpy(&four, p, sizeof four);
    return _mm256_cvtepi32_pd(_mm_cvtepu8_epi32(_mm_cvtsi32_si128(four)));
}
ALWAYS_INLINE half half_from_float16(const uint16_t *p) {
    return _mm256_cvtps_pd(_mm_cvtph_ps(_mm_loadl_epi64((const __m128i *)p)));
}
ALWAYS_INLINE half half_from_float32(const float *p) { return _mm256_cvtps_pd(_mm_loadu_ps(p)); }

#endif

ALWAYS_INLINE vec load_uint8(const uint8_t *p) {
    return (vec){half_from_uint8(p), half_from_uint8(p + HALF_LANES)};
}
ALWAYS_INLINE vec load_float16(const uint16_t *p) {
    return (vec){half_from_float16(p), half_from_float16(p + HALF_LANES)};
}
ALWAYS_INLINE vec load_float32(const float *p) {
    return (vec){half_from_float32(p), half_from_float32(p + HALF_LANES)};
}
