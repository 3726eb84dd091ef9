"""Fuzzes every target, or those named, and prints a table; fails where there is a finding.

    python -m tests.fuzz.fuzz [--target NAME ...] [--runs N] [--minimise] [--list]

Run by an environment that has fastsoftmax and atheris (`make fuzz` makes it), on Linux with clang. Targets
of C are compiled into build/fuzz/, where the corpora that grow and what is found lie too.
"""

import argparse
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha1
from pathlib import Path

ROOT = Path(__file__).parents[2]
HERE = ROOT / "tests" / "fuzz"
BUILD = ROOT / "build" / "fuzz"
CORPUS = HERE / "corpus"

# Inputs a run, so that all of them take some ten minutes on two cores: the slow ones get fewer.
PYTHON_TARGETS = {
    "cifar": 30_000,
    "cifar_archive": 15_000,
    "svhn": 30_000,
    "idx": 30_000,
    "libsvm": 30_000,
    "npy": 30_000,
    "npz": 20_000,
    "csv": 20_000,
    "parquet": 20_000,
    "any_format": 30_000,
    "model_npz": 10_000,
    "model_safetensors": 10_000,
    "checkpoint": 5_000,
    "rows": 30_000,
    "cross_entropy": 15_000,
    "linear": 15_000,
    "training": 5_000,
}
KERNEL_TARGETS = {
    "kernels_rows": 30_000,
    "kernels_products": 100_000,
    "kernels_steps": 50_000,
    "kernels_sparse": 50_000,
    "kernels_convert": 100_000,
    "pool": 50_000,
}
TARGETS = {**KERNEL_TARGETS, **PYTHON_TARGETS}

# Longer inputs are seldom needed: the sizes of arrays are a byte each, and images stand as a mark.
LONGEST = 4500
SECONDS_AN_INPUT = 20
# Code that atheris has instrumented leaks up to 3 KB an input; the same code without it leaks nothing.
MOST_MEGABYTES = 5000
CORPUS_BYTES, CORPUS_FILES = 12_000, 150  # of one target, in the repository
PROCESSES = 2

INSTRUCTION_SETS = ["portable", "avx2", "avx512"]
# Those of the build that ships, and the sanitizers'. The checks of the pointer at every load take the
# compiler minutes, and find nothing that the address sanitizer does not. The targets themselves are neither
# checked nor followed: that would take most of the time.
SHIPPED = {
    name: flags.split()
    for name, flags in re.findall(
        r'^(\w+)="(.*)"$', (ROOT / "csrc" / "build_flags.sh").read_text(), re.MULTILINE
    )
}
FLAGS = [*SHIPPED["COMMON"], *SHIPPED["RELEASE"], "-g1", "-Icsrc"]
SANITIZERS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
OF_KERNELS = [*SANITIZERS, "-fno-sanitize=null,object-size,pointer-overflow"]
OF_KERNELS += ["-fno-omit-frame-pointer", "-fsanitize-coverage=inline-8bit-counters,pc-table"]
OF_PROGRAMS = [*SANITIZERS, "-fsanitize=fuzzer"]


def main() -> int:
    arguments = arguments_of(sys.argv[1:])
    if arguments.list:
        print(*TARGETS, sep="\n")
        return 0
    names = arguments.target or list(TARGETS)
    BUILD.mkdir(parents=True, exist_ok=True)
    compile_targets([name for name in names if name in KERNEL_TARGETS])
    if arguments.minimise:
        for name in names:
            minimise(name)
        return 0
    print(
        f"{'target':<18} {'inputs':>9} {'/s':>6} {'edges':>6} {'features':>8}  findings", flush=True
    )
    with ThreadPoolExecutor(arguments.processes) as pool:
        n_found = sum(pool.map(lambda name: fuzz(name, arguments.runs or TARGETS[name]), names))
    if not arguments.runs:
        print('for 10**6 inputs of each: make fuzz ARGS="--runs 1000000"')
    return min(n_found, 1)


def arguments_of(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make fuzz", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--target", action="append", choices=TARGETS, metavar="NAME")
    parser.add_argument("--runs", type=int, help="inputs a target; by default fewer for slow ones")
    parser.add_argument("--processes", type=int, default=PROCESSES, help="at a time")
    parser.add_argument(
        "--minimise",
        action="store_true",
        help="put the least inputs of all coverage into the corpus",
    )
    parser.add_argument("--list", action="store_true", help="print the targets")
    return parser.parse_args(words)


# --- Targets of C --------------------------------------------------------------------------------


def compile_targets(names: list[str]) -> None:
    if names and (shutil.which("clang") is None or platform.machine() not in ("x86_64", "AMD64")):
        sys.exit(
            "fuzz: the targets of C need an x86-64 and clang with libFuzzer; on Debian and Ubuntu: "
            "apt install clang libclang-rt-14-dev (or of clang's version)"
        )
    kernels = compiled_kernels() if set(names) - {"pool"} else []
    for name in names:
        if name == "pool":
            sources = ["tests/fuzz/pool.c", "csrc/runtime/thread_pool.c", "csrc/runtime/timers.c"]
            compile_one(program_of(name), OF_PROGRAMS, sources)
            continue
        objects = []
        for part in ("run", "case", name.removeprefix("kernels_")):
            source, target = f"tests/fuzz/kernels/{part}.c", BUILD / f"{part}.o"
            compile_one(target, ["-Wall", "-Wextra", "-c"], [source])
            objects.append(str(target))
        compile_one(program_of(name), OF_PROGRAMS, [*objects, *kernels, "-lm"])


def program_of(name: str) -> Path:
    return BUILD / f"{name}.program"


def compiled_kernels() -> list[str]:
    """Compile the kernels of every set and type, and return the objects."""
    print(
        "compiling the kernels with sanitizers, where they have changed: some minutes", flush=True
    )
    jobs = []
    for name in INSTRUCTION_SETS:
        for type_name in ("FLOAT32", "FLOAT64"):
            macros = [f"-DFASTSOFTMAX_{name.upper()}", f"-DFASTSOFTMAX_{type_name}"]
            all_flags = [*OF_KERNELS, *SHIPPED[name.upper()], *macros, "-c"]
            jobs.append(
                (BUILD / f"{name}.{type_name}.o", all_flags, ["csrc/kernels/kernel_table.c"])
            )
    have = [f"-DHAVE_{name.upper()}" for name in INSTRUCTION_SETS]
    jobs.append((BUILD / "dispatch.o", [*OF_KERNELS, *have, "-c"], ["csrc/kernels/dispatch.c"]))
    with ThreadPoolExecutor(PROCESSES) as pool:
        list(pool.map(lambda job: compile_one(*job), jobs))
    return [str(output) for output, _, _ in jobs]


def compile_one(output: Path, flags: list[str], inputs: list[str]) -> None:
    """Compile what is older than its sources."""
    sources = [ROOT / name for name in inputs if not name.startswith("-")]
    sources += [*(ROOT / "csrc").glob("*.h"), *HERE.glob("kernels/*.h")]
    newest = max(source.stat().st_mtime for source in sources)
    if output.exists() and output.stat().st_mtime > newest:
        return
    # Beside it first: what was interrupted is not there.
    beside = output.with_name(f"{output.name}.new")
    subprocess.run(["clang", *FLAGS, *flags, *inputs, "-o", str(beside)], cwd=ROOT, check=True)
    beside.replace(output)


# --- Runs ----------------------------------------------------------------------------------------


def command_of(name: str, *options: str) -> list[str]:
    if name in KERNEL_TARGETS:
        return [str(program_of(name)), *options]
    grown = BUILD / name / "corpus"
    return [sys.executable, "-m", "tests.fuzz.under_atheris", name, str(grown), *options]


def environment() -> dict[str, str]:
    # PyArrow's own allocators reserve far more than they use; one thread a library, as two targets run.
    more = {"ARROW_DEFAULT_MEMORY_POOL": "system", "OMP_NUM_THREADS": "1"}
    more |= {"UBSAN_OPTIONS": "print_stacktrace=1", "ASAN_OPTIONS": "quarantine_size_mb=32"}
    return {**os.environ, **more}


def fuzz(name: str, runs: int) -> int:
    """Run one target, print its line, and return how many findings there are."""
    folder = BUILD / name
    grown, found = folder / "corpus", folder / "found"
    shutil.rmtree(found, ignore_errors=True)
    for made in (grown, found):
        made.mkdir(parents=True, exist_ok=True)
    options = [f"-runs={runs}", f"-timeout={SECONDS_AN_INPUT}", f"-rss_limit_mb={MOST_MEGABYTES}"]
    options += [
        f"-max_len={LONGEST}",
        f"-artifact_prefix={found}/",
        "-print_final_stats=1",
        str(grown),
    ]
    if (CORPUS / name).is_dir():
        options.append(str(CORPUS / name))
    started, log = time.monotonic(), folder / "log"
    with log.open("wb") as stream:
        status = subprocess.run(
            command_of(name, *options), cwd=ROOT, env=environment(), stdout=stream, stderr=stream
        ).returncode
    seconds = time.monotonic() - started
    text = log.read_text(errors="replace")
    findings = sorted(found.iterdir())
    done, edges, features = figures_of(text)
    n_found = max(len(findings), int(status != 0))
    print(
        f"{name:<18} {done:>9} {done / seconds:>6.0f} {edges:>6} {features:>8}  {n_found or 'none'}",
        flush=True,
    )
    for finding in findings:
        print(f"  {log}\n  again: {' '.join(command_of(name, str(finding)))}", flush=True)
    if status and not findings:
        print(f"  it ended with status {status}: {log}", flush=True)
    return n_found


def figures_of(log: str) -> tuple[int, int, int]:
    """How many inputs there were, and the edges and features of the last line that tells them."""
    done = re.findall(r"number_of_executed_units: (\d+)", log)
    lines = re.findall(r"cov: (\d+) ft: (\d+)", log)
    edges, features = lines[-1] if lines else ("0", "0")
    return int(done[-1]) if done else 0, int(edges), int(features)


def seeds_in(name: str, folder: Path) -> set[str]:
    """Write the seeds of a target of Python, and return their names, which are those of libFuzzer."""
    if name not in PYTHON_TARGETS:
        return set()
    from . import seeds  # imports the library: the rest of this file needs none

    named = {sha1(seed).hexdigest(): seed for seed in seeds.seeds_of(name)}
    for digest, seed in named.items():
        (folder / digest).write_bytes(seed)
    return set(named)


def minimise(name: str) -> None:
    """Keep, beside the seeds, the least of the inputs that have all of the coverage, or the smallest."""
    grown, least = BUILD / name / "corpus", BUILD / name / "least"
    shutil.rmtree(least, ignore_errors=True)
    least.mkdir(parents=True)
    folders = [str(folder) for folder in (least, grown, CORPUS / name) if folder.is_dir()]
    seeds = seeds_in(name, least)
    command = command_of(name, "-merge=1", f"-max_len={LONGEST}", *folders)
    subprocess.run(command, cwd=ROOT, env=environment(), check=True, capture_output=True)
    kept, size = CORPUS / name, 0
    shutil.rmtree(kept, ignore_errors=True)
    kept.mkdir(parents=True)
    found = [file for file in least.iterdir() if file.name not in seeds]
    smallest = sorted(found, key=lambda file: (file.stat().st_size, file.name))
    for file in smallest[:CORPUS_FILES]:
        size += file.stat().st_size
        if size > CORPUS_BYTES:
            break
        shutil.copy(file, kept / file.name[:16])
    print(f"{name}: {len(list(kept.iterdir()))} inputs in the corpus")


if __name__ == "__main__":
    sys.exit(main())
