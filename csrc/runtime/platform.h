/* Portability, the part that kernels include: attributes, aligned memory, CPU detection, prefetching. What is the
 * system's, threads, the clock and where they run, is in runtime/system.h: the header of Windows defines words that
 * kernels use, such as near and far. */
#ifndef FASTSOFTMAX_PLATFORM_H
#define FASTSOFTMAX_PLATFORM_H

/* The kernels rely on the order of their sums, on NaN and on infinity. setup.py removes such flags from
 * CFLAGS. */
#if defined(__FAST_MATH__) || defined(__ASSOCIATIVE_MATH__) || defined(__RECIPROCAL_MATH__) || \
    defined(_M_FP_FAST) || (defined(__FINITE_MATH_ONLY__) && __FINITE_MATH_ONLY__)
#error "compile without -ffast-math, -Ofast and their parts: results would be wrong"
#endif

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#if defined(__linux__)
#include <sys/mman.h>
#include <unistd.h>
#endif

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#endif

#if (defined(__x86_64__) || defined(__i386__)) && (defined(__GNUC__) || defined(__clang__))
#include <cpuid.h>
#endif

/* Seen from outside of the library. */
#if defined(_WIN32)
#define EXPORTED __declspec(dllexport)
#elif defined(__GNUC__) || defined(__clang__)
#define EXPORTED __attribute__((visibility("default")))
#else
#define EXPORTED
#endif

#if defined(__GNUC__) || defined(__clang__)
#define ALWAYS_INLINE static inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 16")
#define UNROLL_BY_4 _Pragma("GCC unroll 4")
#else
#define ALWAYS_INLINE static inline
#define UNROLL
#define UNROLL_BY_4
#endif

/* Our own buffers start on a cache line, which is also as wide as a vector. */
enum { CACHE_LINE = 64 };

/* Bytes from which on memory is whole huge pages, where Linux gives them on request: logits of thousands of classes
 * touch a page for each of their rows, and faults of small pages, which come again with every call, take milliseconds:
 * in a virtual machine that has been idle for a tenth of a second 12 us each, so 3 ms for a MiB, where a huge page of
 * two takes 0.4 ms.
 *   python -m benchmarks.tune MIN_HUGE_BYTES=1073741824 --shape 1024 512 8192 0 --loss */
enum { HUGE_PAGE = 2 << 20, MIN_HUGE_BYTES = 2 << 20 };

/* Return memory aligned to a cache line, or NULL where there is none; free it with platform_free. */
static inline void *platform_allocate(size_t bytes) {
#if defined(MADV_HUGEPAGE)
    size_t alignment = bytes >= MIN_HUGE_BYTES ? HUGE_PAGE : CACHE_LINE;
#else
    size_t alignment = CACHE_LINE;
#endif
    size_t rounded = (bytes + alignment - 1) / alignment * alignment;
    if (rounded < bytes) {
        return NULL; /* overflow */
    }
#if defined(_WIN32)
    return _aligned_malloc(rounded ? rounded : CACHE_LINE, CACHE_LINE);
#else
    void *memory = aligned_alloc(alignment, rounded ? rounded : CACHE_LINE);
#if defined(MADV_HUGEPAGE)
    if (memory && alignment == HUGE_PAGE)
        madvise(memory, rounded, MADV_HUGEPAGE); /* a wish: it may fail */
#endif
    return memory;
#endif
}

/* Bytes between the pieces of a block of memory. AddressSanitizer reports who reads or writes them. */
enum { PIECE_GAP = CACHE_LINE };

static inline void platform_guard(void *gap) {
#if defined(__SANITIZE_ADDRESS__)
    __asan_poison_memory_region(gap, PIECE_GAP);
#else
    (void)gap;
#endif
}

/* Free memory of platform_allocate; NULL is accepted. */
static inline void platform_free(void *memory) {
#if defined(_WIN32)
    _aligned_free(memory);
#else
    free(memory);
#endif
}

/* Detection of instruction sets that the CPU and the operating system both support. __builtin_cpu_supports
 * would ask the runtime library of the compiler, and that of zig cc, which builds the wheels for Linux,
 * detects nothing. */
#if (defined(__x86_64__) || defined(__i386__)) && (defined(__GNUC__) || defined(__clang__))
enum { CPUID_FMA = 1 << 12, CPUID_OSXSAVE = 1 << 27, CPUID_F16C = 1 << 29 };     /* leaf 1, ecx */
enum { CPUID_AVX2 = 1 << 5, CPUID_AVX512F = 1 << 16, CPUID_AVX512DQ = 1 << 17 }; /* leaf 7, ebx */
#define CPUID_AVX512VL (1u << 31)
/* The registers that the system saves when it switches threads (XCR0). */
enum { SAVED_YMM = 0x6, SAVED_ZMM = 0xe0 };

/* Return whether the CPU has all of these features. */
static inline int platform_cpu_has(unsigned leaf_1_ecx, unsigned leaf_7_ebx) {
    unsigned eax, ebx, ecx, edx;
    if (!__get_cpuid(1, &eax, &ebx, &ecx, &edx) || (ecx & leaf_1_ecx) != leaf_1_ecx) return 0;
    if (!__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx)) return 0;
    return (ebx & leaf_7_ebx) == leaf_7_ebx;
}

/* Return whether the system saves these registers; the CPU must have CPUID_OSXSAVE. */
static inline int platform_saves(unsigned registers) {
    unsigned low, high;
    __asm__ __volatile__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (low & registers) == registers;
}

static inline int platform_has_avx2(void) {
    return platform_cpu_has(CPUID_OSXSAVE | CPUID_FMA | CPUID_F16C, CPUID_AVX2) &&
           platform_saves(SAVED_YMM);
}

static inline int platform_has_avx512(void) {
#if defined(__APPLE__)
    unsigned registers = SAVED_YMM; /* macOS starts to save the others when a thread uses them */
#else
    unsigned registers = SAVED_YMM | SAVED_ZMM;
#endif
    return platform_has_avx2() &&
           platform_cpu_has(0, CPUID_AVX512F | CPUID_AVX512DQ | CPUID_AVX512VL) &&
           platform_saves(registers);
}
#else
static inline int platform_has_avx2(void) { return 0; }
static inline int platform_has_avx512(void) { return 0; }
#endif

/* Prefetch a cache line that will be read, into the first level of the cache or the second. An invalid
 * address does no harm. */
#if defined(__GNUC__) || defined(__clang__)
#define PREFETCH_L1(address) __builtin_prefetch(address, 0, 3)
#define PREFETCH_L2(address) __builtin_prefetch(address, 0, 2)
#else
#define PREFETCH_L1(address) ((void)(address))
#define PREFETCH_L2(address) ((void)(address))
#endif

/* Prefetch a range of memory into the second level of the cache. */
static inline void platform_fetch(const void *memory, size_t n_bytes) {
    for (size_t i = 0; i < n_bytes; i += CACHE_LINE) PREFETCH_L2((const char *)memory + i);
}

/* Tell the CPU that this is a spin loop. */
static inline void platform_pause(void) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ __volatile__("yield");
#endif
}

#endif
