/* Dispatch: the list of the kernel tables, best instruction set first. The build defines HAVE_<INSTRUCTION
 * SET> for those that it compiles. */
#include "kernels/kernel_table.h"
#include "runtime/platform.h"

#if !defined(HAVE_AVX512) && !defined(HAVE_AVX2) && !defined(HAVE_NEON) && !defined(HAVE_PORTABLE)
#error "define HAVE_<INSTRUCTION SET>, for example HAVE_PORTABLE, for each set of the kernels"
#endif

/* Supported by all CPUs that the build is for: there is no AArch64 without NEON. */
static inline int runs_everywhere(void) { return 1; }

#define DECLARE(name) extern const struct kernels kernels_##name##_float32, kernels_##name##_float64
#define ROW(name, is_supported) \
    {#name, is_supported, &kernels_##name##_float32, &kernels_##name##_float64}

#if defined(HAVE_AVX512)
DECLARE(avx512);
#endif
#if defined(HAVE_AVX2)
DECLARE(avx2);
#endif
#if defined(HAVE_NEON)
DECLARE(neon);
#endif
#if defined(HAVE_PORTABLE)
DECLARE(portable);
#endif

const struct instruction_set instruction_sets[] = {
#if defined(HAVE_AVX512)
    ROW(avx512, platform_has_avx512),
#endif
#if defined(HAVE_AVX2)
    ROW(avx2, platform_has_avx2),
#endif
#if defined(HAVE_NEON)
    ROW(neon, runs_everywhere),
#endif
#if defined(HAVE_PORTABLE)
    ROW(portable, runs_everywhere),
#endif
    /* the end */
    {NULL, NULL, NULL, NULL},
};
