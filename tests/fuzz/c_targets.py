"""Compiles the targets of C: for libFuzzer under the sanitizers, or by any C compiler to replay inputs."""

import platform
import re
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
PROCESSES = 2

# Inputs a run, so that all of them take some ten minutes on two cores: the slow ones get fewer.
TARGETS = {
    "kernels_rows": 30_000,
    "kernels_products": 100_000,
    "kernels_steps": 50_000,
    "kernels_sparse": 50_000,
    "kernels_convert": 100_000,
    "pool": 50_000,
}

# Those of the build that ships.
SHIPPED = {
    name: flags.split()
    for name, flags in re.findall(
        r'^(\w+)="(.*)"$', (ROOT / "csrc" / "build_flags.sh").read_text(), re.MULTILINE
    )
}
FLAGS = [*SHIPPED["COMMON"], *SHIPPED["RELEASE"], "-g1", "-Icsrc"]


class Build(NamedTuple):
    """How the targets are compiled, and the folder that holds what comes of it."""

    folder: Path
    compiler: Sequence[str]
    instruction_sets: Sequence[str]
    of_kernels: Sequence[str] = ()  # flags besides those that ship
    of_programs: Sequence[str] = ()  # flags and sources

    def program(self, name: str) -> Path:
        """Return where the program of a target is."""
        return self.folder / f"{name}.program"


def for_replay(folder: Path, compiler: Sequence[str]) -> Build:
    """Return a build without libFuzzer, whose programs run the files that they are given.

    Of the instruction sets it has portable C and the one that nearly all machines of this kind have: each
    takes a minute to compile.
    """
    vectors = {"x86_64": ["avx2"], "AMD64": ["avx2"], "aarch64": ["neon"], "arm64": ["neon"]}
    sets = ["portable", *vectors.get(platform.machine(), [])]
    return Build(folder, compiler, sets, of_programs=["tests/fuzz/replay.c"])


def compile_targets(names: Sequence[str], build: Build) -> None:
    """Compile the programs of some targets."""
    kernels = compiled_kernels(build) if set(names) - {"pool"} else []
    for name in names:
        if name == "pool":
            inputs = ["tests/fuzz/pool.c", "csrc/runtime/thread_pool.c", "csrc/runtime/timers.c"]
        else:
            inputs = [*kernels, "-lm"]
            for part in ("run", "case", name.removeprefix("kernels_")):
                source, target = f"tests/fuzz/kernels/{part}.c", build.folder / f"{part}.o"
                _compile(build, target, ["-Wall", "-Wextra", "-c"], [source])
                inputs.insert(0, str(target))
        _compile(build, build.program(name), build.of_programs, inputs)


def compiled_kernels(build: Build) -> list[str]:
    """Compile the kernels of every set and type, and return the objects."""
    jobs = []
    for name in build.instruction_sets:
        for type_name in ("FLOAT32", "FLOAT64"):
            macros = [f"-DFASTSOFTMAX_{name.upper()}", f"-DFASTSOFTMAX_{type_name}"]
            flags = [*build.of_kernels, *SHIPPED[name.upper()], *macros, "-c"]
            for unit in sorted((ROOT / "csrc" / "kernels").glob("kernel*.c")):
                compiled = build.folder / f"{name}.{type_name}.{unit.stem}.o"
                jobs.append((compiled, flags, [str(unit.relative_to(ROOT))]))
    have = [f"-DHAVE_{name.upper()}" for name in build.instruction_sets]
    flags = [*build.of_kernels, *have, "-c"]
    jobs.append((build.folder / "dispatch.o", flags, ["csrc/kernels/dispatch.c"]))
    with ThreadPoolExecutor(PROCESSES) as pool:
        list(pool.map(lambda job: _compile(build, *job), jobs))
    return [str(output) for output, _, _ in jobs]


def _compile(build: Build, output: Path, flags: Sequence[str], inputs: Sequence[str]) -> None:
    """Compile what is older than its sources."""
    sources = [ROOT / name for name in [*flags, *inputs] if not name.startswith("-")]
    sources += [*(ROOT / "csrc").rglob("*.h"), *(ROOT / "tests" / "fuzz").glob("kernels/*.h")]
    newest = max(source.stat().st_mtime for source in sources)
    if output.exists() and output.stat().st_mtime > newest:
        return
    # Beside it first: what was interrupted is not there.
    beside = output.with_name(f"{output.name}.new")
    command = [*build.compiler, *FLAGS, *flags, *inputs, "-o", str(beside)]
    subprocess.run(command, cwd=ROOT, check=True)
    beside.replace(output)
