# For the scripts beside it, which source it: compiles a program with units, those of the kernels as a rule,
# once for each instruction set and type, as setup.py does.
. csrc/build_flags.sh
# Unquoted, here and below: several flags, or none.
flags=($COMMON $RELEASE -Icsrc)
units=(csrc/kernels/kernel*.c)
dispatch=(csrc/kernels/dispatch.c)

# What lacks a program ends with 77, as autotools have it for a test that is skipped.
need() { # PACKAGES PROGRAM...
    local packages=$1 program
    shift
    for program in "$@"; do
        command -v "$program" >/dev/null || {
            echo "${0##*/}: needs $program; on Debian and Ubuntu: apt install $packages" >&2
            exit 77
        }
    done
}

build() { # PROGRAM COMPILER "SOURCE OR FLAG..." INSTRUCTION_SET...
    local program=$1 compiler=$2 sources=$3 set name type unit have=() objects=()
    shift 3
    for set in "$@"; do
        name=${set^^}
        have+=("-DHAVE_$name")
        for type in FLOAT32 FLOAT64; do
            for unit in "${units[@]}"; do
                objects+=("$program.$set.$type.${unit##*/}.o")
                "$compiler" "${flags[@]}" ${!name} "-DFASTSOFTMAX_$name" \
                    "-DFASTSOFTMAX_$type" -c "$unit" -o "${objects[-1]}"
            done
        done
    done
    "$compiler" "${flags[@]}" "${have[@]}" -Wall -Wextra $sources "${dispatch[@]}" "${objects[@]}" \
        -lm -pthread -o "$program"
}
