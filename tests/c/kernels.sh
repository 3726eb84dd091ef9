# For the scripts beside it, which source it: compiles a program with one unit, the kernels as a rule, once for
# each instruction set and type, as setup.py does.
flags=(-std=c11 -D_GNU_SOURCE -O3 -ffp-contract=off -Icsrc)
declare -A flags_of=(
    [portable]=""
    [avx2]="-mavx2 -mfma -mf16c"
    [avx512]="-mavx512f -mavx512dq -mavx512vl -mfma -mf16c -mprefer-vector-width=512"
    [neon]=""
)
unit=csrc/kernels.c
dispatch=(csrc/dispatch.c)

need() { # PACKAGES PROGRAM...
    local packages=$1 program
    shift
    for program in "$@"; do
        command -v "$program" >/dev/null || {
            echo "${0##*/}: needs $program; on Debian and Ubuntu: apt install $packages" >&2
            exit 1
        }
    done
}

build() { # PROGRAM COMPILER "SOURCE OR FLAG..." INSTRUCTION_SET...
    local program=$1 compiler=$2 sources=$3 set type have=() objects=()
    shift 3
    for set in "$@"; do
        have+=("-DHAVE_${set^^}")
        for type in FLOAT32 FLOAT64; do
            objects+=("$program.$set.$type.o")
            # Unquoted: several flags, or none.
            "$compiler" "${flags[@]}" ${flags_of[$set]} "-DFASTSOFTMAX_${set^^}" \
                "-DFASTSOFTMAX_$type" -c "$unit" -o "${objects[-1]}"
        done
    done
    "$compiler" "${flags[@]}" "${have[@]}" -Wall -Wextra $sources "${dispatch[@]}" "${objects[@]}" \
        -lm -pthread -o "$program"
}
