/* Which kernels there are. The build defines HAVE_<INSTRUCTION SET> for those it compiles. */
#include "kernels.h"
#include "platform.h"

static int runs_everywhere(void) { return 1; }

#define DECLARE(name) extern const struct kernels kernels_##name##_float32, kernels_##name##_float64
#define ROW(name, is_supported) \
    {#name, is_supported, &kernels_##name##_float32, &kernels_##name##_float64}

#if defined(HAVE_AVX512)
DECLARE(avx512);
#endif
#if defined(HAVE_AVX2)
DECLARE(avx2);
#endif
DECLARE(portable);

const struct instruction_set instruction_sets[] = {
#if defined(HAVE_AVX512)
    ROW(avx512, platform_has_avx512),
#endif
#if defined(HAVE_AVX2)
    ROW(avx2, platform_has_avx2),
#endif
    ROW(portable, runs_everywhere),
    {NULL, NULL, NULL, NULL},
};
