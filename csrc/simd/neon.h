/* The vector vocabulary in NEON (AArch64 Advanced SIMD): a vec is four Q registers of 16 bytes. See
 * simd.h. */

#include <arm_neon.h>

#define INSTRUCTION_SET neon

/* Dot products: 2 x 2 accumulators, two vectors of X and one of W, 28 of 32 registers (2 x 3 would spill).
 * Outer sums: 5 accumulators and one vector of X, 24 registers. */
enum { TILE_ROWS = 2, TILE_CLASSES = 2, TILE_COLUMNS = 5, TILE_OUTER = 4, TILE_SLABS = 2 };

#if defined(FASTSOFTMAX_FLOAT32)
typedef float32x4_t qreg;
#define REALS(name) name##_f32
#define BITS(name) name##_s32
#define CAST_TO_BITS vreinterpretq_s32_f32
#define CAST_TO_REAL vreinterpretq_f32_s32
#define MASK_AS_WORDS(mask) (mask)
enum { MANTISSA_BITS = 23 };
#else
typedef float64x2_t qreg;
#define REALS(name) name##_f64
#define BITS(name) name##_s64
#define CAST_TO_BITS vreinterpretq_s64_f64
#define CAST_TO_REAL vreinterpretq_f64_s64
#define MASK_AS_WORDS vreinterpretq_u32_u64
enum { MANTISSA_BITS = 52 };
#endif

enum { QREG_LANES = LANES / 4 };

typedef struct {
    qreg reg[4];
} vec;

#define EACH_QREG UNROLL for (int i = 0; i < 4; ++i)

ALWAYS_INLINE vec load(const real *p) {
    vec v;
    EACH_QREG v.reg[i] = REALS(vld1q)(p + i * QREG_LANES);
    return v;
}

ALWAYS_INLINE void store(real *p, vec v) { EACH_QREG REALS(vst1q)(p + i * QREG_LANES, v.reg[i]); }

ALWAYS_INLINE vec broadcast(real x) {
    vec v;
    EACH_QREG v.reg[i] = REALS(vdupq_n)(x);
    return v;
}

/* Load the first n elements of a register. NEON has no masked loads: whole registers, then lane by lane. n
 * is often that of the previous call, and then the branches are predicted. */
ALWAYS_INLINE qreg load_first_qreg(const real *p, size_t n, qreg v) {
    if (n >= QREG_LANES) return REALS(vld1q)(p);
    if (n > 0) v = REALS(vld1q_lane)(p, v, 0);
#if defined(FASTSOFTMAX_FLOAT32)
    if (n > 1) v = REALS(vld1q_lane)(p + 1, v, 1);
    if (n > 2) v = REALS(vld1q_lane)(p + 2, v, 2);
#endif
    return v;
}

/* Store the first n elements of a register. */
ALWAYS_INLINE void store_first_qreg(real *p, qreg v, size_t n) {
    if (n >= QREG_LANES) {
        REALS(vst1q)(p, v);
        return;
    }
    if (n > 0) REALS(vst1q_lane)(p, v, 0);
#if defined(FASTSOFTMAX_FLOAT32)
    if (n > 1) REALS(vst1q_lane)(p + 1, v, 1);
    if (n > 2) REALS(vst1q_lane)(p + 2, v, 2);
#endif
}

/* Return how many of the first n lanes are in register i or after it. */
ALWAYS_INLINE size_t lanes_from_qreg(size_t n, size_t i) {
    return n > i * QREG_LANES ? n - i * QREG_LANES : 0;
}

ALWAYS_INLINE vec load_first(const real *p, size_t n, real fill) {
    vec v = broadcast(fill);
    EACH_QREG { v.reg[i] = load_first_qreg(p + i * QREG_LANES, lanes_from_qreg(n, i), v.reg[i]); }
    return v;
}

ALWAYS_INLINE void store_first(real *p, vec v, size_t n) {
    EACH_QREG { store_first_qreg(p + i * QREG_LANES, v.reg[i], lanes_from_qreg(n, i)); }
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
    EACH_QREG a.reg[i] = REALS(vaddq)(a.reg[i], b.reg[i]);
    return a;
}

ALWAYS_INLINE vec sub(vec a, vec b) {
    EACH_QREG a.reg[i] = REALS(vsubq)(a.reg[i], b.reg[i]);
    return a;
}

ALWAYS_INLINE vec mul(vec a, vec b) {
    EACH_QREG a.reg[i] = REALS(vmulq)(a.reg[i], b.reg[i]);
    return a;
}

/* The maximum as x86 defines it: the second argument where one is NaN. FMAX would return the NaN. */
ALWAYS_INLINE qreg maximum_qreg(qreg a, qreg b) { return REALS(vbslq)(REALS(vcgtq)(a, b), a, b); }

ALWAYS_INLINE vec maximum(vec a, vec b) {
    EACH_QREG a.reg[i] = maximum_qreg(a.reg[i], b.reg[i]);
    return a;
}

ALWAYS_INLINE vec fmadd(vec a, vec b, vec c) {
    EACH_QREG c.reg[i] = REALS(vfmaq)(c.reg[i], a.reg[i], b.reg[i]);
    return c;
}

ALWAYS_INLINE vec magnitude(vec v) {
    EACH_QREG v.reg[i] = REALS(vabsq)(v.reg[i]);
    return v;
}

ALWAYS_INLINE vec select_less(vec a, vec b, vec x, vec y) {
    EACH_QREG y.reg[i] = REALS(vbslq)(REALS(vcltq)(a.reg[i], b.reg[i]), x.reg[i], y.reg[i]);
    return y;
}

ALWAYS_INLINE int any_less(vec a, vec b) {
    uint32x4_t any = vdupq_n_u32(0);
    EACH_QREG any = vorrq_u32(any, MASK_AS_WORDS(REALS(vcltq)(a.reg[i], b.reg[i])));
    return vmaxvq_u32(any) != 0;
}

ALWAYS_INLINE vec select_equal(vec a, vec b, vec x, vec y) {
    EACH_QREG y.reg[i] = REALS(vbslq)(REALS(vceqq)(a.reg[i], b.reg[i]), x.reg[i], y.reg[i]);
    return y;
}

ALWAYS_INLINE vec copy_sign(vec v, vec s) {
    EACH_QREG {
        v.reg[i] = CAST_TO_REAL(BITS(vorrq)(
            CAST_TO_BITS(v.reg[i]),
            BITS(vandq)(CAST_TO_BITS(s.reg[i]), CAST_TO_BITS(REALS(vdupq_n)((real)-0.0)))));
    }
    return v;
}

ALWAYS_INLINE vec shift_exponent(vec p, vec t) {
    EACH_QREG {
        p.reg[i] = CAST_TO_REAL(BITS(vaddq)(CAST_TO_BITS(p.reg[i]),
                                            BITS(vshlq_n)(CAST_TO_BITS(t.reg[i]), MANTISSA_BITS)));
    }
    return p;
}

ALWAYS_INLINE real sum_lanes(vec v) {
    qreg sum = REALS(vaddq)(REALS(vaddq)(v.reg[0], v.reg[2]), REALS(vaddq)(v.reg[1], v.reg[3]));
#if defined(FASTSOFTMAX_FLOAT32)
    sum = vaddq_f32(sum, vextq_f32(sum, sum, 2));
#endif
    return REALS(vgetq_lane)(sum, 0) + REALS(vgetq_lane)(sum, 1);
}

ALWAYS_INLINE real largest_lane(vec v) {
    qreg largest = maximum_qreg(maximum_qreg(v.reg[0], v.reg[2]), maximum_qreg(v.reg[1], v.reg[3]));
#if defined(FASTSOFTMAX_FLOAT32)
    largest = maximum_qreg(largest, vextq_f32(largest, largest, 2));
#endif
    real first = REALS(vgetq_lane)(largest, 0), second = REALS(vgetq_lane)(largest, 1);
    return first > second ? first : second;
}

#if defined(FASTSOFTMAX_FLOAT32)

typedef struct {
    float64x2_t reg[8];
} wide;

ALWAYS_INLINE wide wide_zero(void) {
    wide w;
    UNROLL for (int i = 0; i < 8; ++i) w.reg[i] = vdupq_n_f64(0);
    return w;
}

ALWAYS_INLINE wide add_to_wide(wide w, vec v) {
    EACH_QREG {
        w.reg[2 * i] = vaddq_f64(w.reg[2 * i], vcvt_f64_f32(vget_low_f32(v.reg[i])));
        w.reg[2 * i + 1] = vaddq_f64(w.reg[2 * i + 1], vcvt_high_f64_f32(v.reg[i]));
    }
    return w;
}

ALWAYS_INLINE wide load_wide(const double *p) {
    wide w;
    UNROLL for (int i = 0; i < 8; ++i) w.reg[i] = vld1q_f64(p + 2 * i);
    return w;
}

ALWAYS_INLINE void store_wide(double *p, wide w) {
    UNROLL for (int i = 0; i < 8; ++i) vst1q_f64(p + 2 * i, w.reg[i]);
}

#endif

ALWAYS_INLINE void sum_lanes_4(const vec *v, real *sums) {
    UNROLL for (int i = 0; i < 4; ++i) sums[i] = sum_lanes(v[i]);
}

ALWAYS_INLINE void transpose_parts(qreg *v) {
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

/* Register q of every column comes from as many rows: squares to transpose. */
ALWAYS_INLINE void load_transposed(const real *const *rows, size_t first, vec *v) {
    UNROLL for (int q = 0; q < 4; ++q) {
        qreg square[COLUMNS_PER_TRANSPOSE];
        UNROLL for (int i = 0; i < COLUMNS_PER_TRANSPOSE; ++i) {
            square[i] = REALS(vld1q)(rows[q * COLUMNS_PER_TRANSPOSE + i] + first);
        }
        transpose_parts(square);
        UNROLL for (int i = 0; i < COLUMNS_PER_TRANSPOSE; ++i) v[i].reg[q] = square[i];
    }
}

ALWAYS_INLINE void store_transposed(real *p, size_t stride, const vec *v) {
    UNROLL for (int q = 0; q < 4; ++q) {
        qreg square[COLUMNS_PER_TRANSPOSE];
        UNROLL for (int i = 0; i < COLUMNS_PER_TRANSPOSE; ++i) square[i] = v[i].reg[q];
        transpose_parts(square);
        UNROLL for (int i = 0; i < COLUMNS_PER_TRANSPOSE; ++i) {
            REALS(vst1q)(p + (q * COLUMNS_PER_TRANSPOSE + i) * stride, square[i]);
        }
    }
}

/* Conversions from the other input types. */
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
    EACH_QREG v.reg[i] = vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p + i * QREG_LANES)));
    return v;
}
ALWAYS_INLINE vec load_float32(const float *p) { return load(p); }

#else

ALWAYS_INLINE vec widen(float32x4_t low, float32x4_t high) {
    return (vec){{vcvt_f64_f32(vget_low_f32(low)), vcvt_high_f64_f32(low),
                  vcvt_f64_f32(vget_low_f32(high)), vcvt_high_f64_f32(high)}};
}
ALWAYS_INLINE vec load_uint8(const uint8_t *p) {
    uint16x8_t words = vmovl_u8(vld1_u8(p));
    return widen(vcvtq_f32_u32(vmovl_u16(vget_low_u16(words))),
                 vcvtq_f32_u32(vmovl_u16(vget_high_u16(words))));
}
ALWAYS_INLINE vec load_float16(const uint16_t *p) {
    float16x8_t v = vreinterpretq_f16_u16(vld1q_u16(p));
    return widen(vcvt_f32_f16(vget_low_f16(v)), vcvt_high_f32_f16(v));
}
ALWAYS_INLINE vec load_float32(const float *p) { return widen(vld1q_f32(p), vld1q_f32(p + 4)); }

#endif
