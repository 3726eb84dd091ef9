/* The vocabulary in AArch64's Advanced SIMD: four registers of 16 bytes make a vec. */

#include <arm_neon.h>

#define INSTRUCTION_SET neon

/* Of 32 registers, 28 for 2 x 2 accumulators, two vectors of X and one of W (2 x 3 would spill), and 24
 * for 5 accumulators and one of X. */
enum { TILE_ROWS = 2, TILE_CLASSES = 2, TILE_COLUMNS = 5, TILE_OUTER = 4 };

#if defined(FASTSOFTMAX_FLOAT32)
typedef float32x4_t quarter;
#define REALS(name) name##_f32
#define BITS(name) name##_s32
#define CAST_TO_BITS vreinterpretq_s32_f32
#define CAST_TO_REAL vreinterpretq_f32_s32
#define MASK_AS_WORDS(mask) (mask)
enum { MANTISSA_BITS = 23 };
#else
typedef float64x2_t quarter;
#define REALS(name) name##_f64
#define BITS(name) name##_s64
#define CAST_TO_BITS vreinterpretq_s64_f64
#define CAST_TO_REAL vreinterpretq_f64_s64
#define MASK_AS_WORDS vreinterpretq_u32_u64
enum { MANTISSA_BITS = 52 };
#endif

enum { QUARTER_LANES = LANES / 4 };

typedef struct {
    quarter of[4];
} vec;

#define EACH_QUARTER UNROLL for (int i = 0; i < 4; ++i)

ALWAYS_INLINE vec load(const real *p) {
    vec v;
    EACH_QUARTER v.of[i] = REALS(vld1q)(p + i * QUARTER_LANES);
    return v;
}

ALWAYS_INLINE void store(real *p, vec v) {
    EACH_QUARTER REALS(vst1q)(p + i * QUARTER_LANES, v.of[i]);
}

ALWAYS_INLINE vec broadcast(real x) {
    vec v;
    EACH_QUARTER v.of[i] = REALS(vdupq_n)(x);
    return v;
}

/* There are no masks for memory: whole quarters, and then lane by lane. n is often that of the call
 * before, and then the branches cost nothing. */
ALWAYS_INLINE quarter load_first_of_quarter(const real *p, size_t n, quarter v) {
    if (n >= QUARTER_LANES) return REALS(vld1q)(p);
    if (n > 0) v = REALS(vld1q_lane)(p, v, 0);
#if defined(FASTSOFTMAX_FLOAT32)
    if (n > 1) v = REALS(vld1q_lane)(p + 1, v, 1);
    if (n > 2) v = REALS(vld1q_lane)(p + 2, v, 2);
#endif
    return v;
}

ALWAYS_INLINE void store_first_of_quarter(real *p, quarter v, size_t n) {
    if (n >= QUARTER_LANES) {
        REALS(vst1q)(p, v);
        return;
    }
    if (n > 0) REALS(vst1q_lane)(p, v, 0);
#if defined(FASTSOFTMAX_FLOAT32)
    if (n > 1) REALS(vst1q_lane)(p + 1, v, 1);
    if (n > 2) REALS(vst1q_lane)(p + 2, v, 2);
#endif
}

/* How many of the first n lanes are in quarter i or after it. */
ALWAYS_INLINE size_t lanes_from_quarter(size_t n, size_t i) {
    return n > i * QUARTER_LANES ? n - i * QUARTER_LANES : 0;
}

ALWAYS_INLINE vec load_first(const real *p, size_t n, real fill) {
    vec v = broadcast(fill);
    EACH_QUARTER {
        v.of[i] = load_first_of_quarter(p + i * QUARTER_LANES, lanes_from_quarter(n, i), v.of[i]);
    }
    return v;
}

ALWAYS_INLINE void store_first(real *p, vec v, size_t n) {
    EACH_QUARTER {
        store_first_of_quarter(p + i * QUARTER_LANES, v.of[i], lanes_from_quarter(n, i));
    }
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

ALWAYS_INLINE vec add(vec a, vec b) {
    EACH_QUARTER a.of[i] = REALS(vaddq)(a.of[i], b.of[i]);
    return a;
}

ALWAYS_INLINE vec sub(vec a, vec b) {
    EACH_QUARTER a.of[i] = REALS(vsubq)(a.of[i], b.of[i]);
    return a;
}

ALWAYS_INLINE vec mul(vec a, vec b) {
    EACH_QUARTER a.of[i] = REALS(vmulq)(a.of[i], b.of[i]);
    return a;
}

/* a > b ? a : b, as x86 has it: the second where one is NaN. FMAX would return the NaN. */
ALWAYS_INLINE quarter maximum_of_quarter(quarter a, quarter b) {
    return REALS(vbslq)(REALS(vcgtq)(a, b), a, b);
}

ALWAYS_INLINE vec maximum(vec a, vec b) {
    EACH_QUARTER a.of[i] = maximum_of_quarter(a.of[i], b.of[i]);
    return a;
}

ALWAYS_INLINE vec fmadd(vec a, vec b, vec c) {
    EACH_QUARTER c.of[i] = REALS(vfmaq)(c.of[i], a.of[i], b.of[i]);
    return c;
}

ALWAYS_INLINE vec magnitude(vec v) {
    EACH_QUARTER v.of[i] = REALS(vabsq)(v.of[i]);
    return v;
}

ALWAYS_INLINE vec select_less(vec a, vec b, vec x, vec y) {
    EACH_QUARTER y.of[i] = REALS(vbslq)(REALS(vcltq)(a.of[i], b.of[i]), x.of[i], y.of[i]);
    return y;
}

ALWAYS_INLINE int any_less(vec a, vec b) {
    uint32x4_t any = vdupq_n_u32(0);
    EACH_QUARTER any = vorrq_u32(any, MASK_AS_WORDS(REALS(vcltq)(a.of[i], b.of[i])));
    return vmaxvq_u32(any) != 0;
}

ALWAYS_INLINE vec select_equal(vec a, vec b, vec x, vec y) {
    EACH_QUARTER y.of[i] = REALS(vbslq)(REALS(vceqq)(a.of[i], b.of[i]), x.of[i], y.of[i]);
    return y;
}

ALWAYS_INLINE vec with_sign_of(vec v, vec s) {
    EACH_QUARTER {
        v.of[i] = CAST_TO_REAL(BITS(vorrq)(
            CAST_TO_BITS(v.of[i]),
            BITS(vandq)(CAST_TO_BITS(s.of[i]), CAST_TO_BITS(REALS(vdupq_n)((real)-0.0)))));
    }
    return v;
}

ALWAYS_INLINE vec shift_exponent(vec p, vec t) {
    EACH_QUARTER {
        p.of[i] = CAST_TO_REAL(BITS(vaddq)(CAST_TO_BITS(p.of[i]),
                                           BITS(vshlq_n)(CAST_TO_BITS(t.of[i]), MANTISSA_BITS)));
    }
    return p;
}

ALWAYS_INLINE real sum_lanes(vec v) {
    quarter sum = REALS(vaddq)(REALS(vaddq)(v.of[0], v.of[2]), REALS(vaddq)(v.of[1], v.of[3]));
#if defined(FASTSOFTMAX_FLOAT32)
    sum = vaddq_f32(sum, vextq_f32(sum, sum, 2));
#endif
    return REALS(vgetq_lane)(sum, 0) + REALS(vgetq_lane)(sum, 1);
}

ALWAYS_INLINE real largest_lane(vec v) {
    quarter largest = maximum_of_quarter(maximum_of_quarter(v.of[0], v.of[2]),
                                         maximum_of_quarter(v.of[1], v.of[3]));
#if defined(FASTSOFTMAX_FLOAT32)
    largest = maximum_of_quarter(largest, vextq_f32(largest, largest, 2));
#endif
    real first = REALS(vgetq_lane)(largest, 0), second = REALS(vgetq_lane)(largest, 1);
    return first > second ? first : second;
}

#if defined(FASTSOFTMAX_FLOAT32)

typedef struct {
    float64x2_t of[8];
} wide;

ALWAYS_INLINE wide wide_zero(void) {
    wide w;
    UNROLL for (int i = 0; i < 8; ++i) w.of[i] = vdupq_n_f64(0);
    return w;
}

ALWAYS_INLINE wide add_to_wide(wide w, vec v) {
    EACH_QUARTER {
        w.of[2 * i] = vaddq_f64(w.of[2 * i], vcvt_f64_f32(vget_low_f32(v.of[i])));
        w.of[2 * i + 1] = vaddq_f64(w.of[2 * i + 1], vcvt_high_f64_f32(v.of[i]));
    }
    return w;
}

ALWAYS_INLINE wide load_wide(const double *p) {
    wide w;
    UNROLL for (int i = 0; i < 8; ++i) w.of[i] = vld1q_f64(p + 2 * i);
    return w;
}

ALWAYS_INLINE void store_wide(double *p, wide w) {
    UNROLL for (int i = 0; i < 8; ++i) vst1q_f64(p + 2 * i, w.of[i]);
}

#endif

ALWAYS_INLINE void sum_lanes_of_4(const vec *v, real *sums) {
    UNROLL for (int i = 0; i < 4; ++i) sums[i] = sum_lanes(v[i]);
}

ALWAYS_INLINE void turn_quarters(quarter *v) {
#if defined(FASTSOFTMAX_FLOAT32)
    float32x4_t a = vzip1q_f32(v[0], v[2]), b = vzip1q_f32(v[1], v[3]);
    float32x4_t c = vzip2q_f32(v[0], v[2]), d = vzip2q_f32(v[1], v[3]);
    v[0] = vzip1q_f32(a, b);
    v[1] = vzip2q_f32(a, b);
    v[2] = vzip1q_f32(c, d);
    v[3] = vzip2q_f32(c, d);
#else
    float64x2_t first = vzip1q_f64(v[0], v[1]);
    v[1] = vzip2q_f64(v[0], v[1]);
    v[0] = first;
#endif
}

/* Quarter q of every column comes from as many rows: squares to turn around. */
ALWAYS_INLINE void load_columns(const real *const *rows, size_t first, vec *v) {
    UNROLL for (int q = 0; q < 4; ++q) {
        quarter square[COLUMNS_AT_ONCE];
        UNROLL for (int i = 0; i < COLUMNS_AT_ONCE; ++i) {
            square[i] = REALS(vld1q)(rows[q * COLUMNS_AT_ONCE + i] + first);
        }
        turn_quarters(square);
        UNROLL for (int i = 0; i < COLUMNS_AT_ONCE; ++i) v[i].of[q] = square[i];
    }
}

ALWAYS_INLINE void store_columns(real *p, size_t stride, const vec *v) {
    UNROLL for (int q = 0; q < 4; ++q) {
        quarter square[COLUMNS_AT_ONCE];
        UNROLL for (int i = 0; i < COLUMNS_AT_ONCE; ++i) square[i] = v[i].of[q];
        turn_quarters(square);
        UNROLL for (int i = 0; i < COLUMNS_AT_ONCE; ++i) {
            REALS(vst1q)(p + (q * COLUMNS_AT_ONCE + i) * stride, square[i]);
        }
    }
}

/* Numbers of other types, as reals. */
#if defined(FASTSOFTMAX_FLOAT32)

ALWAYS_INLINE vec load_uint8(const uint8_t *p) {
    uint8x16_t bytes = vld1q_u8(p);
    uint16x8_t low = vmovl_u8(vget_low_u8(bytes)), high = vmovl_u8(vget_high_u8(bytes));
    return (vec){{vcvtq_f32_u32(vmovl_u16(vget_low_u16(low))),
                  vcvtq_f32_u32(vmovl_u16(vget_high_u16(low))),
                  vcvtq_f32_u32(vmovl_u16(vget_low_u16(high))),
                  vcvtq_f32_u32(vmovl_u16(vget_high_u16(high)))}};
}
ALWAYS_INLINE vec load_float16(const uint16_t *p) {
    vec v;
    EACH_QUARTER v.of[i] = vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p + i * QUARTER_LANES)));
    return v;
}
ALWAYS_INLINE vec load_float32(const float *p) { return load(p); }

#else

ALWAYS_INLINE vec doubles_of(float32x4_t low, float32x4_t high) {
    return (vec){{vcvt_f64_f32(vget_low_f32(low)), vcvt_high_f64_f32(low),
                  vcvt_f64_f32(vget_low_f32(high)), vcvt_high_f64_f32(high)}};
}
ALWAYS_INLINE vec load_uint8(const uint8_t *p) {
    uint16x8_t words = vmovl_u8(vld1_u8(p));
    return doubles_of(vcvtq_f32_u32(vmovl_u16(vget_low_u16(words))),
                      vcvtq_f32_u32(vmovl_u16(vget_high_u16(words))));
}
ALWAYS_INLINE vec load_float16(const uint16_t *p) {
    float16x8_t v = vreinterpretq_f16_u16(vld1q_u16(p));
    return doubles_of(vcvt_f32_f16(vget_low_f16(v)), vcvt_high_f32_f16(v));
}
ALWAYS_INLINE vec load_float32(const float *p) {
    return doubles_of(vld1q_f32(p), vld1q_f32(p + 4));
}

#endif
