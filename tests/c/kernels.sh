# For the scripts beside it, which source it: compiles a program with units, those of the kernels as a rule,
# once for each instruction set and type, as setup.py does.
. csrc/build_flags.sh
# Unquoted, here and below: several flags, or none. So is a compiler, which may be a command with arguments.
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

compile() { # PREFIX COMPILER INSTRUCTION_SET...; link takes what it leaves in objects and have
    local prefix=$1 compiler=$2 set name type unit
    shift 2
    have=() objects=()
    for set in "$@"; do
        name=${set^^}
        have+=("-DHAVE_$name")
        for type in FLOAT32 FLOAT64; do
            for unit in "${units[@]}"; do
                objects+=("$prefix.$set.$type.${unit##*/}.o")
                $compiler "${flags[@]}" ${!name} "-DFASTSOFTMAX_$name" \
                    "-DFASTSOFTMAX_$type" -c "$unit" -o "${objects[-1]}"
            done
        done
    done
}

link() { # PROGRAM COMPILER "SOURCE OR FLAG..."
    $2 "${flags[@]}" "${have[@]}" -Wall -Wextra $3 "${dispatch[@]}" "${objects[@]}" -lm -pthread -o "$1"
}

build() { # PROGRAM COMPILER "SOURCE OR FLAG..." INSTRUCTION_SET...
    compile "$1" "$2" "${@:4}"
    link "$1" "$2" "$3"
}
