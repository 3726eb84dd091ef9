/* The floating-point state that results must not depend on: rounding to nearest, subnormal numbers kept, no traps.
 * Another thread, library or compiler flag may have set it otherwise in the thread of the caller.
 *
 *   struct float_state caller = float_state_enter();
 *   ...                                               computes in the default state
 *   float_state_leave(&caller);                       restores that of the caller, including the exception flags
 *
 * Reading the state takes a few nanoseconds, and it is written only where it differs.
 */
#ifndef FASTSOFTMAX_FLOAT_STATE_H
#define FASTSOFTMAX_FLOAT_STATE_H

#include <stdint.h>

#if defined(__SSE2__) || defined(_M_X64)

#include <xmmintrin.h>

/* MXCSR: six flags; the default masks all exceptions and rounds to nearest, with neither flush-to-zero nor
 * denormals-are-zero. In the control word of the x87, which long double obeys: the same masks, and the
 * rounding mode. */
enum { MXCSR_FLAGS = 0x3f, MXCSR_DEFAULT = 0x1f80 };
enum { X87_MASKS = 0x3f, X87_ROUNDING = 0xc00 };

struct float_state {
    unsigned mxcsr;
    uint16_t x87;
};

/* Return whether the control word of the x87 differs from the default. */
static inline int x87_differs(const struct float_state *state) {
    return (state->x87 & (X87_MASKS | X87_ROUNDING)) != X87_MASKS;
}

static inline struct float_state float_state_enter(void) {
    struct float_state caller = {_mm_getcsr(), X87_MASKS};
    if ((caller.mxcsr & ~(unsigned)MXCSR_FLAGS) != MXCSR_DEFAULT) _mm_setcsr(MXCSR_DEFAULT);
#if defined(__GNUC__) || defined(__clang__)
    __asm__ __volatile__("fnstcw %0" : "=m"(caller.x87));
    if (x87_differs(&caller)) {
        uint16_t ours = (uint16_t)((caller.x87 & ~X87_ROUNDING) | X87_MASKS);
        __asm__ __volatile__("fldcw %0" : : "m"(ours) : "memory");
    }
#endif
    return caller;
}

static inline void float_state_leave(const struct float_state *caller) {
    if (_mm_getcsr() != caller->mxcsr) _mm_setcsr(caller->mxcsr);
#if defined(__GNUC__) || defined(__clang__)
    if (x87_differs(caller)) {
        /* With a flag set and its trap enabled, the next instruction of the caller would trap. */
        __asm__ __volatile__("fnclex\n\tfldcw %0" : : "m"(caller->x87) : "memory");
    }
#endif
}

#elif defined(__aarch64__) && (defined(__GNUC__) || defined(__clang__))

/* FPCR: 0 is the default in all its fields. FPSR: the flags. */
struct float_state {
    uint64_t control, flags;
};

static inline uint64_t float_control(void) {
    uint64_t control;
    __asm__ __volatile__("mrs %0, fpcr" : "=r"(control) : : "memory");
    return control;
}

static inline void set_float_control(uint64_t control) {
    __asm__ __volatile__("msr fpcr, %0" : : "r"(control) : "memory");
}

static inline struct float_state float_state_enter(void) {
    struct float_state caller = {float_control(), 0};
    __asm__ __volatile__("mrs %0, fpsr" : "=r"(caller.flags) : : "memory");
    if (caller.control != 0) set_float_control(0);
    return caller;
}

static inline void float_state_leave(const struct float_state *caller) {
    __asm__ __volatile__("msr fpsr, %0" : : "r"(caller->flags) : "memory");
    if (float_control() != caller->control) set_float_control(caller->control);
}

#else

#include <fenv.h>

struct float_state {
    fenv_t environment;
};

static inline struct float_state float_state_enter(void) {
    struct float_state caller;
    feholdexcept(&caller.environment);
    fesetround(FE_TONEAREST);
    return caller;
}

static inline void float_state_leave(const struct float_state *caller) {
    fesetenv(&caller->environment);
}

#endif

#endif
