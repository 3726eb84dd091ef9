/* The vector vocabulary in AVX-512 (F and DQ): a vec is one register, a mask selects lanes. See simd.h. */

#include <immintrin.h>

#define INSTRUCTION_SET avx512

/* Dot products: 20 accumulators, 4 vectors of X and one of W, 25 of 32 registers. */
enum { TILE_ROWS = 4, TILE_CLASSES = 5, TILE_COLUMNS = 10, TILE_OUTER = 8, TILE_SLABS = 2 };

#if defined(FASTSOFTMAX_FLOAT32)
typedef __m512 vec;
typedef __mmask16 lanes_mask;
#define VEC(name) _mm512_##name##_ps
#define VEC_MASK(name) _mm512_##name##_ps_mask
#define VEC_BITS(name) _mm512_##name##_epi32
#define CAST_TO_BITS _mm512_castps_si512
#define CAST_TO_REAL _mm512_castsi512_ps
enum { MANTISSA_BITS = 23 };
#else
typedef __m512d vec;
typedef __mmask8 lanes_mask;
#define VEC(name) _mm512_##name##_pd
#define VEC_MASK(name) _mm512_##name##_pd_mask
#define VEC_BITS(name) _mm512_##name##_epi64
#define CAST_TO_BITS _mm512_castpd_si512
#define CAST_TO_REAL _mm512_castsi512_pd
enum { MANTISSA_BITS = 52 };
#endif

ALWAYS_INLINE vec load(const real *p) { return VEC(loadu)(p); }

ALWAYS_INLINE void store(real *p, vec v) { VEC(storeu)(p, v); }

ALWAYS_INLINE vec broadcast(real x) { return VEC(set1)(x); }

ALWAYS_INLINE lanes_mask first_lanes(size_t n) { return (lanes_mask)((1u << n) - 1); }

ALWAYS_INLINE vec load_first(const real *p, size_t n, real fill) {
    return VEC(mask_loadu)(broadcast(fill), first_lanes(n), p);
}

ALWAYS_INLINE void store_first(real *p, vec v, size_t n) { VEC(mask_storeu)(p, first_lanes(n), v); }

ALWAYS_INLINE vec lane_indices(void) {
    static const real indices[LANES] = {
        0, 1, 2,  3,  4,  5,  6,  7,
#if defined(FASTSOFTMAX_FLOAT32)
        8, 9, 10, 11, 12, 13, 14, 15,
#endif
    };
    return load(indices);
}

ALWAYS_INLINE vec add(vec a, vec b) { return VEC(add)(a, b); }
ALWAYS_INLINE vec sub(vec a, vec b) { return VEC(sub)(a, b); }
ALWAYS_INLINE vec mul(vec a, vec b) { return VEC(mul)(a, b); }
ALWAYS_INLINE vec maximum(vec a, vec b) { return VEC(max)(a, b); }
ALWAYS_INLINE vec fmadd(vec a, vec b, vec c) { return VEC(fmadd)(a, b, c); }
ALWAYS_INLINE vec magnitude(vec v) { return VEC(abs)(v); }

ALWAYS_INLINE vec select_less(vec a, vec b, vec x, vec y) {
    return VEC(mask_blend)(VEC_MASK(cmp)(a, b, _CMP_LT_OQ), y, x);
}

ALWAYS_INLINE int any_less(vec a, vec b) { return VEC_MASK(cmp)(a, b, _CMP_LT_OQ) != 0; }

ALWAYS_INLINE vec select_equal(vec a, vec b, vec x, vec y) {
    return VEC(mask_blend)(VEC_MASK(cmp)(a, b, _CMP_EQ_OQ), y, x);
}

ALWAYS_INLINE vec copy_sign(vec v, vec s) { return VEC(or)(v, VEC(and)(broadcast((real)-0.0), s)); }

ALWAYS_INLINE vec shift_exponent(vec p, vec t) {
    __m512i exponent = VEC_BITS(slli)(CAST_TO_BITS(t), MANTISSA_BITS);
    return CAST_TO_REAL(VEC_BITS(add)(CAST_TO_BITS(p), exponent));
}

#if defined(FASTSOFTMAX_FLOAT32)

#define FOLD_LANES(name, instruction)                                            \
    ALWAYS_INLINE real name(vec v) {                                             \
        __m256 eight = _mm256_##instruction##_ps(_mm512_castps512_ps256(v),      \
                                                 _mm512_extractf32x8_ps(v, 1));  \
        __m128 four = _mm_##instruction##_ps(_mm256_castps256_ps128(eight),      \
                                             _mm256_extractf128_ps(eight, 1));   \
        __m128 two = _mm_##instruction##_ps(four, _mm_movehl_ps(four, four));    \
        return _mm_cvtss_f32(_mm_##instruction##_ss(two, _mm_movehdup_ps(two))); \
    }

#else

#define FOLD_LANES(name, instruction)                                                 \
    ALWAYS_INLINE real name(vec v) {                                                  \
        __m256d four = _mm256_##instruction##_pd(_mm512_castpd512_pd256(v),           \
                                                 _mm512_extractf64x4_pd(v, 1));       \
        __m128d two = _mm_##instruction##_pd(_mm256_castpd256_pd128(four),            \
                                             _mm256_extractf128_pd(four, 1));         \
        return _mm_cvtsd_f64(_mm_##instruction##_sd(two, _mm_unpackhi_pd(two, two))); \
    }

#endif

FOLD_LANES(sum_lanes, add)
FOLD_LANES(largest_lane, max)

#if defined(FASTSOFTMAX_FLOAT32)

typedef struct {
    __m512d low, high;
} wide;

ALWAYS_INLINE wide wide_zero(void) { return (wide){_mm512_setzero_pd(), _mm512_setzero_pd()}; }

ALWAYS_INLINE wide add_to_wide(wide w, vec v) {
    return (wide){_mm512_add_pd(w.low, _mm512_cvtps_pd(_mm512_castps512_ps256(v))),
                  _mm512_add_pd(w.high, _mm512_cvtps_pd(_mm512_extractf32x8_ps(v, 1)))};
}

ALWAYS_INLINE wide load_wide(const double *p) {
    return (wide){_mm512_loadu_pd(p), _mm512_loadu_pd(p + LANES / 2)};
}

ALWAYS_INLINE void store_wide(double *p, wide w) {
    _mm512_storeu_pd(p, w.low);
    _mm512_storeu_pd(p + LANES / 2, w.high);
}

#endif

#if defined(FASTSOFTMAX_FLOAT32)
#define SHUFFLE_PARTS(a, b, order) _mm512_shuffle_f32x4(a, b, order)
#else
#define SHUFFLE_PARTS(a, b, order) _mm512_shuffle_f64x2(a, b, order)
#endif

/* Return the lower halves of a and b plus their upper halves. */
ALWAYS_INLINE vec fold_halves(vec a, vec b) {
    return add(SHUFFLE_PARTS(a, b, 0x44), SHUFFLE_PARTS(a, b, 0xee));
}

ALWAYS_INLINE void sum_lanes_4(const vec *v, real *sums) {
    vec a = fold_halves(v[0], v[1]), b = fold_halves(v[2], v[3]);
    /* Now each of the four vectors has 16 bytes of a register. */
    vec four = add(SHUFFLE_PARTS(a, b, 0x88), SHUFFLE_PARTS(a, b, 0xdd));
#if defined(FASTSOFTMAX_FLOAT32)
    four = add(four, _mm512_permute_ps(four, 0xee));
    four = add(four, _mm512_permute_ps(four, 0x55));
    __m512i firsts = _mm512_setr_epi32(0, 4, 8, 12, 0, 4, 8, 12, 0, 4, 8, 12, 0, 4, 8, 12);
    _mm_storeu_ps(sums, _mm512_castps512_ps128(_mm512_permutexvar_ps(firsts, four)));
#else
    four = add(four, _mm512_permute_pd(four, 0xff));
    __m512i firsts = _mm512_setr_epi64(0, 2, 4, 6, 0, 2, 4, 6);
    _mm256_storeu_pd(sums, _mm512_castpd512_pd256(_mm512_permutexvar_pd(firsts, four)));
#endif
}

/* Load a register from the rows i, i + COLUMNS_PER_TRANSPOSE, ..., 16 bytes of each, so that each 16-byte
 * part of the registers is a square to transpose. */
ALWAYS_INLINE vec load_parts(const real *const *rows, size_t first) {
    const real *const *next = rows + COLUMNS_PER_TRANSPOSE;
#if defined(FASTSOFTMAX_FLOAT32)
    vec v = _mm512_castps128_ps512(_mm_loadu_ps(rows[0] + first));
    v = _mm512_mask_broadcast_f32x4(v, 0x00f0, _mm_loadu_ps(next[0] + first));
    v = _mm512_mask_broadcast_f32x4(v, 0x0f00, _mm_loadu_ps(next[COLUMNS_PER_TRANSPOSE] + first));
    return _mm512_mask_broadcast_f32x4(v, 0xf000,
                                       _mm_loadu_ps(next[2 * COLUMNS_PER_TRANSPOSE] + first));
#else
    vec v = _mm512_castpd128_pd512(_mm_loadu_pd(rows[0] + first));
    v = _mm512_mask_broadcast_f64x2(v, 0x0c, _mm_loadu_pd(next[0] + first));
    v = _mm512_mask_broadcast_f64x2(v, 0x30, _mm_loadu_pd(next[COLUMNS_PER_TRANSPOSE] + first));
    return _mm512_mask_broadcast_f64x2(v, 0xc0,
                                       _mm_loadu_pd(next[2 * COLUMNS_PER_TRANSPOSE] + first));
#endif
}

ALWAYS_INLINE void store_parts(real *p, size_t stride, vec v) {
    size_t step = COLUMNS_PER_TRANSPOSE * stride;
#if defined(FASTSOFTMAX_FLOAT32)
    _mm_storeu_ps(p, _mm512_castps512_ps128(v));
    _mm_storeu_ps(p + step, _mm512_extractf32x4_ps(v, 1));
    _mm_storeu_ps(p + 2 * step, _mm512_extractf32x4_ps(v, 2));
    _mm_storeu_ps(p + 3 * step, _mm512_extractf32x4_ps(v, 3));
#else
    _mm_storeu_pd(p, _mm512_castpd512_pd128(v));
    _mm_storeu_pd(p + step, _mm512_extractf64x2_pd(v, 1));
    _mm_storeu_pd(p + 2 * step, _mm512_extractf64x2_pd(v, 2));
    _mm_storeu_pd(p + 3 * step, _mm512_extractf64x2_pd(v, 3));
#endif
}

ALWAYS_INLINE void transpose_parts(vec *v) {
    vec low = VEC(unpacklo)(v[0], v[1]), high = VEC(unpackhi)(v[0], v[1]);
#if defined(FASTSOFTMAX_FLOAT32)
    vec low_2 = VEC(unpacklo)(v[2], v[3]), high_2 = VEC(unpackhi)(v[2], v[3]);
    v[0] = _mm512_shuffle_ps(low, low_2, 0x44);
    v[1] = _mm512_shuffle_ps(low, low_2, 0xee);
    v[2] = _mm512_shuffle_ps(high, high_2, 0x44);
    v[3] = _mm512_shuffle_ps(high, high_2, 0xee);
#else
    v[0] = low;
    v[1] = high;
#endif
}

ALWAYS_INLINE void load_transposed(const real *const *rows, size_t first, vec *v) {
    UNROLL for (int i = 0; i < COLUMNS_PER_TRANSPOSE; ++i) v[i] = load_parts(rows + i, first);
    transpose_parts(v);
}

ALWAYS_INLINE void store_transposed(real *p, size_t stride, const vec *v) {
    vec rows[COLUMNS_PER_TRANSPOSE];
    UNROLL for (int i = 0; i < COLUMNS_PER_TRANSPOSE; ++i) rows[i] = v[i];
    transpose_parts(rows);
    UNROLL for (int i = 0; i < COLUMNS_PER_TRANSPOSE; ++i)
        store_parts(p + i * stride, stride, rows[i]);
}

/* Conversions from the other input types. */
#if defined(FASTSOFTMAX_FLOAT32)

ALWAYS_INLINE vec load_uint8(const uint8_t *p) {
    return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)p)));
}
ALWAYS_INLINE vec load_float16(const uint16_t *p) {
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p));
}
ALWAYS_INLINE vec load_float32(const float *p) { return load(p); }

#else

ALWAYS_INLINE vec load_uint8(const uint8_t *p) {
    return _mm512_cvtepi32_pd(_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)p)));
}
ALWAYS_INLINE vec load_float16(const uint16_t *p) {
    return _mm512_cvtps_pd(_mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p)));
}
ALWAYS_INLINE vec load_float32(const float *p) { return _mm512_cvtps_pd(_mm256_loadu_ps(p)); }

#endif
