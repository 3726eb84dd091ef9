/* What differs between compilers and systems, in one place: attributes, aligned memory, threads and
 * atomics, the clock, CPU detection. */
#ifndef FASTSOFTMAX_PLATFORM_H
#define FASTSOFTMAX_PLATFORM_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>

/* Elsewhere the kernels run on one thread. */
#if defined(_WIN32) || defined(__STDC_NO_ATOMICS__)
#define PLATFORM_HAS_THREADS 0
#else
#define PLATFORM_HAS_THREADS 1
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <unistd.h>
#endif

#if defined(__linux__)
#include <sched.h>
#endif

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

/* Whether the CPU and the operating system both support an instruction set. AVX2 is taken to come with
 * F16C, which is older and which not every compiler can ask for. */
#if (defined(__x86_64__) || defined(__i386__)) && (defined(__GNUC__) || defined(__clang__))
static inline int platform_has_avx2(void) {
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}
static inline int platform_has_avx512(void) {
    return platform_has_avx2() && __builtin_cpu_supports("avx512f") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}
#else
static inline int platform_has_avx2(void) { return 0; }
static inline int platform_has_avx512(void) { return 0; }
#endif

/* Start to fetch a cache line that will be read, into the first level of the cache or the second. They do
 * no harm where the address is invalid. */
#if defined(__GNUC__) || defined(__clang__)
#define PREFETCH_NEAR(address) __builtin_prefetch(address, 0, 3)
#define PREFETCH_FAR(address) __builtin_prefetch(address, 0, 2)
#else
#define PREFETCH_NEAR(address) ((void)(address))
#define PREFETCH_FAR(address) ((void)(address))
#endif

/* The same of a whole stretch of memory, to the second level. */
static inline void platform_fetch(const void *memory, size_t n_bytes) {
    for (size_t i = 0; i < n_bytes; i += CACHE_LINE) PREFETCH_FAR((const char *)memory + i);
}

/* Tells the CPU that this is a loop that waits. */
static inline void platform_pause(void) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ __volatile__("yield");
#endif
}

/* The number of the CPU that the calling thread runs on, or -1 where the system does not tell. */
static inline int platform_cpu(void) {
#if defined(__linux__)
    return sched_getcpu();
#else
    return -1;
#endif
}

/* Moves the calling thread to another CPU than these, if it may run on one, and leaves what it may run on as
 * it was: the system is free to move it again. */
static inline void platform_leave_cpus(const int *cpus, int n) {
#if defined(__linux__)
    cpu_set_t allowed, others;
    if (sched_getaffinity(0, sizeof allowed, &allowed) != 0) return;
    others = allowed;
    for (int i = 0; i < n; ++i) {
        if (cpus[i] >= 0 && cpus[i] < CPU_SETSIZE) CPU_CLR(cpus[i], &others);
    }
    if (CPU_COUNT(&others) == 0 || sched_setaffinity(0, sizeof others, &others) != 0) return;
    sched_setaffinity(0, sizeof allowed, &allowed);
#else
    (void)cpus;
    (void)n;
#endif
}

/* How many CPUs are online; a large number where the system does not tell. */
static inline int platform_cpus(void) {
#if defined(_SC_NPROCESSORS_ONLN)
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    if (online > 0) return (int)online;
#endif
    return 1 << 16;
}

/* Nanoseconds of a clock that only goes forward, from an arbitrary start. */
static inline uint64_t platform_nanoseconds(void) {
#if defined(_WIN32)
    return (uint64_t)clock() * (1000000000 / CLOCKS_PER_SEC); /* wall time on Windows */
#else
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
#endif
}

static inline double platform_seconds(void) { return 1e-9 * (double)platform_nanoseconds(); }

#endif
