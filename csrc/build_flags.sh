# The flags that GCC and Clang get in the build that ships, NAME="FLAGS" a line: setup.py reads them, and so do the
# C tests and the fuzz targets, so that what is tested is what ships.
# -std=gnu11: with c11, GCC computes in double what is float where float.h says so (FLT_EVAL_METHOD), as on s390x.
# -ffp-contract=off: without it GCC fuses what is written as two roundings.
# -fno-trapping-math: without it GCC vectorises no loop over lanes with a choice in it, such as that of the losses. It
# changes no value, only which exception flags are set, and nothing reads these.
COMMON="-std=gnu11 -D_GNU_SOURCE -pthread -fvisibility=hidden -ffp-contract=off -fno-trapping-math"
RELEASE="-O3"
# Instruction sets. The CPU's is chosen at run time; -march=native would build something that runs nowhere else.
# -O3 takes GCC twice as long for the portable one.
PORTABLE="-O2"
AVX2="-mavx2 -mfma -mf16c"
AVX512="-mavx512f -mavx512dq -mavx512vl -mfma -mf16c -mprefer-vector-width=512"
NEON=""
