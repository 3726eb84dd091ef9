/* The vector vocabulary in plain C, for any compiler and CPU. fmadd rounds twice: results differ from the
 * other sets in the last bits. See simd.h. */

#define INSTRUCTION_SET portable

enum { TILE_ROWS = 2, TILE_CLASSES = 2, TILE_COLUMNS = 2, TILE_OUTER = 2, TILE_SLABS = 2 };

#if defined(FASTSOFTMAX_FLOAT32)
typedef uint32_t bits;
enum { MANTISSA_BITS = 23 };
#else
typedef uint64_t bits;
enum { MANTISSA_BITS = 52 };
#endif

#define EACH_LANE for (size_t i = 0; i < LANES; ++i)

/* GCC and Clang have vectors of any length, which they cut into the registers that there are. A structure that is
 * unrolled lane by lane does the same, and takes them ten times as long to compile. */
#if defined(__GNUC__) || defined(__clang__)
/* How such a vector is passed depends on flags; here it never is, as everything is inlined. */
#pragma GCC diagnostic ignored "-Wpsabi"
typedef real vec __attribute__((vector_size(64)));
typedef bits bit_vec __attribute__((vector_size(64)));
#define LANE(v, i) (v)[i]
#else
typedef struct {
    real lane[LANES];
} vec;
#define LANE(v, i) (v).lane[i]
#endif

ALWAYS_INLINE vec load(const real *p) {
    vec v;
    memcpy(&v, p, sizeof v);
    return v;
}

ALWAYS_INLINE void store(real *p, vec v) { memcpy(p, &v, sizeof v); }

ALWAYS_INLINE vec load_first(const real *p, size_t n, real fill) {
    real lanes[LANES];
    EACH_LANE lanes[i] = i < n ? p[i] : fill;
    return load(lanes);
}

ALWAYS_INLINE void store_first(real *p, vec v, size_t n) {
    for (size_t i = 0; i < n; ++i) p[i] = LANE(v, i);
}

ALWAYS_INLINE vec lane_indices(void) {
    real lanes[LANES];
    EACH_LANE lanes[i] = (real)i;
    return load(lanes);
}

ALWAYS_INLINE bits to_bits(real x) {
    bits b;
    memcpy(&b, &x, sizeof b);
    return b;
}

ALWAYS_INLINE real to_real(bits b) {
    real x;
    memcpy(&x, &b, sizeof x);
    return x;
}

static const bits SIGN_BIT = (bits)1 << (8 * sizeof(bits) - 1);

#if defined(__GNUC__) || defined(__clang__)

ALWAYS_INLINE vec broadcast(real x) { return x - (vec){0}; }
ALWAYS_INLINE vec add(vec a, vec b) { return a + b; }
ALWAYS_INLINE vec sub(vec a, vec b) { return a - b; }
ALWAYS_INLINE vec mul(vec a, vec b) { return a * b; }
ALWAYS_INLINE vec fmadd(vec a, vec b, vec c) { return c + a * b; }

/* x in the lanes of the mask, y in the others. */
ALWAYS_INLINE vec blend(bit_vec mask, vec x, vec y) {
    return (vec)((mask & (bit_vec)x) | (~mask & (bit_vec)y));
}

ALWAYS_INLINE vec maximum(vec a, vec b) { return blend((bit_vec)(a > b), a, b); }
ALWAYS_INLINE vec select_less(vec a, vec b, vec x, vec y) { return blend((bit_vec)(a < b), x, y); }
ALWAYS_INLINE vec select_equal(vec a, vec b, vec x, vec y) {
    return blend((bit_vec)(a == b), x, y);
}

ALWAYS_INLINE int any_less(vec a, vec b) {
    bit_vec less = (bit_vec)(a < b);
    bits any = 0;
    EACH_LANE any |= less[i];
    return any != 0;
}

ALWAYS_INLINE vec magnitude(vec v) { return (vec)((bit_vec)v & ~SIGN_BIT); }
ALWAYS_INLINE vec copy_sign(vec v, vec s) { return (vec)((bit_vec)v | ((bit_vec)s & SIGN_BIT)); }
ALWAYS_INLINE vec shift_exponent(vec p, vec t) {
    return (vec)((bit_vec)p + ((bit_vec)t << MANTISSA_BITS));
}

#else
ALWAYS_INLINE vec broadcast(real x) {
    vec v;
    EACH_LANE v.lane[i] = x;
    return v;
}

ALWAYS_INLINE vec add(vec a, vec b) {
    EACH_LANE a.lane[i] += b.lane[i];
    return a;
}

ALWAYS_INLINE vec sub(vec a, vec b) {
    EACH_LANE a.lane[i] -= b.lane[i];
    return a;
}

ALWAYS_INLINE vec mul(vec a, vec b) {
    EACH_LANE a.lane[i] *= b.lane[i];
    return a;
}

ALWAYS_INLINE vec fmadd(vec a, vec b, vec c) {
    EACH_LANE c.lane[i] += a.lane[i] * b.lane[i];
    return c;
}

ALWAYS_INLINE vec maximum(vec a, vec b) {
    EACH_LANE a.lane[i] = a.lane[i] > b.lane[i] ? a.lane[i] : b.lane[i];
    return a;
}

ALWAYS_INLINE vec select_less(vec a, vec b, vec x, vec y) {
    EACH_LANE y.lane[i] = a.lane[i] < b.lane[i] ? x.lane[i] : y.lane[i];
    return y;
}

ALWAYS_INLINE int any_less(vec a, vec b) {
    int any = 0;
    EACH_LANE any |= a.lane[i] < b.lane[i];
    return any;
}

ALWAYS_INLINE vec select_equal(vec a, vec b, vec x, vec y) {
    EACH_LANE y.lane[i] = a.lane[i] == b.lane[i] ? x.lane[i] : y.lane[i];
    return y;
}

ALWAYS_INLINE vec magnitude(vec v) {
    EACH_LANE v.lane[i] = to_real(to_bits(v.lane[i]) & ~SIGN_BIT);
    return v;
}

ALWAYS_INLINE vec copy_sign(vec v, vec s) {
    EACH_LANE v.lane[i] = to_real(to_bits(v.lane[i]) | (to_bits(s.lane[i]) & SIGN_BIT));
    return v;
}

ALWAYS_INLINE vec shift_exponent(vec p, vec t) {
    EACH_LANE p.lane[i] = to_real(to_bits(p.lane[i]) + (to_bits(t.lane[i]) << MANTISSA_BITS));
    return p;
}

#endif

ALWAYS_INLINE real sum_lanes(vec v) {
    for (size_t half = LANES / 2; half > 0; half /= 2) {
        for (size_t i = 0; i < half; ++i) LANE(v, i) += LANE(v, i + half);
    }
    return LANE(v, 0);
}

ALWAYS_INLINE real largest_lane(vec v) {
    real largest = LANE(v, 0);
    for (size_t i = 1; i < LANES; ++i) largest = LANE(v, i) > largest ? LANE(v, i) : largest;
    return largest;
}

#if defined(FASTSOFTMAX_FLOAT32)

typedef struct {
    double lane[LANES];
} wide;

ALWAYS_INLINE wide wide_zero(void) { return (wide){{0}}; }

ALWAYS_INLINE wide add_to_wide(wide w, vec v) {
    EACH_LANE w.lane[i] += (double)LANE(v, i);
    return w;
}

ALWAYS_INLINE wide load_wide(const double *p) {
    wide w;
    memcpy(w.lane, p, sizeof w.lane);
    return w;
}

ALWAYS_INLINE void store_wide(double *p, wide w) { memcpy(p, w.lane, sizeof w.lane); }

#endif

ALWAYS_INLINE void sum_lanes_4(const vec *v, real *sums) {
    UNROLL for (int i = 0; i < 4; ++i) sums[i] = sum_lanes(v[i]);
}

ALWAYS_INLINE void load_transposed(const real *const *rows, size_t first, vec *v) {
    EACH_LANE {
        for (size_t j = 0; j < COLUMNS_PER_TRANSPOSE; ++j) LANE(v[j], i) = rows[i][first + j];
    }
}

ALWAYS_INLINE void store_transposed(real *p, size_t stride, const vec *v) {
    EACH_LANE {
        for (size_t j = 0; j < COLUMNS_PER_TRANSPOSE; ++j) p[i * stride + j] = LANE(v[j], i);
    }
}

/* Conversions from the other input types. */
ALWAYS_INLINE vec load_uint8(const uint8_t *p) {
    real lanes[LANES];
    EACH_LANE lanes[i] = (real)p[i];
    return load(lanes);
}

ALWAYS_INLINE vec load_float32(const float *p) {
    real lanes[LANES];
    EACH_LANE lanes[i] = (real)p[i];
    return load(lanes);
}

/* Return a float16 as float: (-1)**sign * 2**(exponent - 15) * (1 + fraction / 1024); with exponent 0,
 * 2**-14 * fraction / 1024; with 31, infinity or NaN. */
ALWAYS_INLINE float float16_to_float(uint16_t half) {
    uint32_t sign = (uint32_t)(half & 0x8000) << 16, exponent = half >> 10 & 31;
    uint32_t fraction = half & 1023, word;
    float x;
    if (exponent == 0) {
        x = (float)fraction * 0x1p-24f;
        memcpy(&word, &x, sizeof word);
        word |= sign;
    } else {
        word = sign | (exponent == 31 ? 255 : exponent + 112) << 23 | fraction << 13;
    }
    memcpy(&x, &word, sizeof x);
    return x;
}

ALWAYS_INLINE vec load_float16(const uint16_t *p) {
    real lanes[LANES];
    EACH_LANE lanes[i] = (real)float16_to_float(p[i]);
    return load(lanes);
}
