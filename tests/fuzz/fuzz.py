"""Fuzzes every target, or those named, and prints a table; fails where there is a finding.

    python -m tests.fuzz.fuzz [--target NAME ...] [--runs N] [--minimise] [--list]

Run by an environment that has fastsoftmax and atheris (`make fuzz` makes it), on Linux with clang. Targets
of C are compiled into build/fuzz/, and what is found lies there. The corpora of the repository are unpacked
there and grow; `--minimise` writes them back.
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

from . import c_targets, corpora

ROOT = c_targets.ROOT
BUILD = ROOT / "build" / "fuzz"

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
    "stored_run": 30_000,
    "checkpoint": 5_000,
    "rows": 30_000,
    "cross_entropy": 15_000,
    "linear": 15_000,
    "training": 5_000,
    "evaluate": 10_000,
    "calibrate": 10_000,
    "c_api": 15_000,
}
TARGETS = {**c_targets.TARGETS, **PYTHON_TARGETS}

# Longer inputs are seldom needed: the sizes of arrays are a byte each, and images stand as a mark.
LONGEST = 4500
SECONDS_AN_INPUT = 20
# Code that atheris has instrumented leaks up to 3 KB an input; the same code without it leaks nothing.
MAX_MEGABYTES = 5000
CORPUS_BYTES, CORPUS_INPUTS = 12_000, 150  # of one target, in the repository

# The checks of the pointer at every load take the compiler minutes, and find nothing that the address
# sanitizer does not. The targets themselves are neither checked nor followed: that would take most of the
# time.
SANITIZERS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
OF_KERNELS = [*SANITIZERS, "-fno-sanitize=null,object-size,pointer-overflow"]
OF_KERNELS += ["-fno-omit-frame-pointer", "-fsanitize-coverage=inline-8bit-counters,pc-table"]
OF_PROGRAMS = [*SANITIZERS, "-fsanitize=fuzzer"]
LIBFUZZER = c_targets.Build(
    BUILD, ["clang"], ["portable", "avx2", "avx512"], OF_KERNELS, OF_PROGRAMS
)


def main() -> int:
    arguments = arguments_of(sys.argv[1:])
    if arguments.list:
        print(*TARGETS, sep="\n")
        return 0
    names = arguments.target or list(TARGETS)
    BUILD.mkdir(parents=True, exist_ok=True)
    compile_c([name for name in names if name in c_targets.TARGETS])
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
    parser.add_argument("--processes", type=int, default=c_targets.PROCESSES, help="at a time")
    parser.add_argument(
        "--minimise",
        action="store_true",
        help="put the least inputs of all coverage into the corpus",
    )
    parser.add_argument("--list", action="store_true", help="print the targets")
    return parser.parse_args(words)


def compile_c(names: list[str]) -> None:
    if not names:
        return
    if shutil.which("clang") is None or platform.machine() not in ("x86_64", "AMD64"):
        sys.exit(
            "fuzz: the targets of C need an x86-64 and clang with libFuzzer; on Debian and Ubuntu: "
            "apt install clang libclang-rt-14-dev (or of clang's version)"
        )
    print("compiling, with sanitizers, what has changed: some minutes", flush=True)
    c_targets.compile_targets(names, LIBFUZZER)


def command_of(name: str, *options: str) -> list[str]:
    if name in c_targets.TARGETS:
        return [str(LIBFUZZER.program(name)), *options]
    grown = str(BUILD / name / "corpus")
    return [sys.executable, "-m", "tests.fuzz.under_atheris", name, grown, *options]


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
    found.mkdir(parents=True)
    corpora.unpack(corpora.read(name), grown)
    options = [f"-runs={runs}", f"-timeout={SECONDS_AN_INPUT}", f"-rss_limit_mb={MAX_MEGABYTES}"]
    options += [
        f"-max_len={LONGEST}",
        f"-artifact_prefix={found}/",
        "-print_final_stats=1",
        str(grown),
    ]
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


def seeds_of(name: str) -> list[bytes]:
    """Return the seeds of a target of Python."""
    if name not in PYTHON_TARGETS:
        return []
    from . import seeds  # imports the library: the rest of this file needs none

    return seeds.seeds_of(name)


def minimise(name: str) -> None:
    """Keep, beside the seeds, the least of the inputs that have all of the coverage, or the smallest."""
    grown, least = BUILD / name / "corpus", BUILD / name / "least"
    shutil.rmtree(least, ignore_errors=True)
    corpora.unpack(corpora.read(name), grown)
    seeds = corpora.unpack(seeds_of(name), least)
    command = command_of(name, "-merge=1", f"-max_len={LONGEST}", str(least), str(grown))
    subprocess.run(command, cwd=ROOT, env=environment(), check=True, capture_output=True)
    found = [file.read_bytes() for file in {*least.iterdir()} - {*seeds}]
    kept: list[bytes] = []
    for data in sorted(found, key=lambda data: (len(data), corpora.name_of(data)))[:CORPUS_INPUTS]:
        if sum(map(len, kept)) + len(data) > CORPUS_BYTES:
            break
        kept.append(data)
    corpora.write(name, kept)
    print(f"{name}: {len(kept)} inputs in the corpus")


if __name__ == "__main__":
    sys.exit(main())
