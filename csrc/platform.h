/* What differs between compilers and systems, in one place: attributes, aligned memory, CPU detection. */
#ifndef FASTSOFTMAX_PLATFORM_H
#define FASTSOFTMAX_PLATFORM_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>

#if defined(__GNUC__) || defined(__clang__)
#define ALWAYS_INLINE static inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 16")
#else
#define ALWAYS_INLINE static inline
#define UNROLL
#endif

/* Buffers of our own start on a cache line, which is also the widest vector. */
enum { CACHE_LINE = 64 };

/* Returns NULL where there is no memory; free with platform_free. */
static inline void *platform_allocate(size_t bytes) {
    size_t rounded = (bytes + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE;
    if (rounded < bytes) {
        return NULL; /* overflow */
    }
#if defined(_WIN32)
    return _aligned_malloc(rounded ? rounded : CACHE_LINE, CACHE_LINE);
#else
    return aligned_alloc(CACHE_LINE, rounded ? rounded : CACHE_LINE);
#endif
}

static inline void platform_free(void *memory) {
#if defined(_WIN32)
    _aligned_free(memory);
#else
    free(memory);
#endif
}

/* Whether the CPU and the operating system both support AVX2 and FMA. */
static inline int platform_has_avx2(void) {
#if (defined(__x86_64__) || defined(__i386__)) && (defined(__GNUC__) || defined(__clang__))
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#else
    return 0;
#endif
}

/* Seconds of a clock that only goes forward, from an arbitrary start. */
static inline double platform_seconds(void) {
#if defined(_WIN32)
    return (double)clock() / CLOCKS_PER_SEC; /* wall time on Windows */
#else
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
#endif
}

#endif
